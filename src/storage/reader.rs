//! Finding the file bytes for an offset: answers are slices of segment files, never bytes.

use std::sync::Arc;

use crate::storage::file::SegmentFile;
use crate::storage::log::StorageError;
use crate::types::Offset;

/// Whole batches (the last one may be cut by `max_bytes`, as Kafka cuts it) in one segment file. `Send`: any core may splice from it.
#[derive(Clone)]
pub struct Slice {
    pub file: Arc<SegmentFile>,
    /// Byte in `file` where the first batch begins.
    pub position: u64,
    /// Bytes.
    pub length: u32,
    /// The base offset of the first batch; it may lie below the offset that was asked for.
    pub first_offset: Offset,
}

#[derive(Clone, Debug)]
pub enum ReadError {
    /// The offset lies below the log's start or above its end.
    OutOfRange { log_start: Offset, log_end: Offset },
    /// The place must be searched for in pages that are not in memory: call [`crate::storage::log::Log::warm`] and read again.
    Cold(Cold),
    Offline(StorageError),
}

/// A range of a file that a read needs and the page cache lacks.
#[derive(Clone)]
pub struct Cold {
    pub file: Arc<SegmentFile>,
    pub position: u64,
    pub length: u32,
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cold({}+{})", self.position, self.length)
    }
}
