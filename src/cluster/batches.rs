//! Batches of the metadata log and its snapshots: metadata records are values with a frame and no key,
//! control records have key and value, neither is ever compressed.

use bytes::Bytes;

use crate::protocol::batch::BatchBuilder;
use crate::protocol::stored::StoredError;
use crate::protocol::stored::control::ControlRecord;
use crate::protocol::stored::metadata::Versioned;
use crate::types::{LeaderEpoch, Offset};

/// Kafka's bounds on a batch of the metadata log.
pub const RECORDS_PER_BATCH_MAX: usize = 10_000;
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A batch as it goes to the log.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub bytes: Bytes,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub timestamp_ms: i64,
}

impl Encoded {
    pub fn next_offset(&self) -> Offset {
        self.last_offset.plus(1)
    }
}

/// One batch of metadata records; they count together or not at all.
pub fn of_records(
    records: &[Versioned],
    base_offset: Offset,
    epoch: LeaderEpoch,
    timestamp_ms: i64,
) -> Result<Encoded, StoredError> {
    let mut builder = BatchBuilder::new().base_offset(base_offset).leader_epoch(epoch);
    for record in records {
        builder.append(timestamp_ms, None, Some(&record.encode()?), &[]);
    }
    finish(builder, base_offset, records.len(), timestamp_ms)
}

/// One control batch.
pub fn of_control(
    records: &[ControlRecord],
    base_offset: Offset,
    epoch: LeaderEpoch,
    timestamp_ms: i64,
) -> Result<Encoded, StoredError> {
    let mut builder = BatchBuilder::new().base_offset(base_offset).leader_epoch(epoch).control();
    for record in records {
        let (key, value) = record.encode()?;
        builder.append(timestamp_ms, Some(&key), Some(&value), &[]);
    }
    finish(builder, base_offset, records.len(), timestamp_ms)
}

fn finish(
    builder: BatchBuilder,
    base_offset: Offset,
    count: usize,
    timestamp_ms: i64,
) -> Result<Encoded, StoredError> {
    assert!(count > 0, "a batch of the metadata log has records");
    if builder.uncompressed_bytes() > BATCH_BYTES_MAX {
        return Err(StoredError::Invalid("batch size: the records of one change exceed 8 MiB"));
    }
    let bytes = builder.build().expect("a batch that is not compressed is always built");
    Ok(Encoded { bytes, base_offset, last_offset: base_offset.plus(count as i64 - 1), timestamp_ms })
}
