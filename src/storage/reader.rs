//! Finding the bytes of an offset: answers are slices of segment files, never bytes.
//!
//! The newest batches are found in a short list in memory ([`Tail`]); others through the offset index and a
//! walk over batch headers from there. Nothing here waits for the device: what the page cache lacks is given
//! back as [`ReadError::Cold`], to be read ahead off the core.

use std::collections::VecDeque;
use std::sync::Arc;

use zerocopy::FromBytes;

use crate::protocol::batch::{BatchHeader, HEADER_BYTES};
use crate::storage::errors::StorageError;
use crate::storage::file::{Cold, Miss, SegmentFile};
use crate::types::Offset;

/// Batches in one segment file, the first one whole; the last one may be cut, as Kafka cuts at the limit.
/// Any core may send from it, also after the segment was deleted.
#[derive(Clone)]
pub struct Slice {
    pub file: Arc<SegmentFile>,
    /// Byte in `file` where the first batch begins.
    pub position: u64,
    /// Bytes; never 0.
    pub length: u32,
    /// The base offset of the first batch; it may lie below the offset that was asked for.
    pub first_offset: Offset,
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Slice { file, position, length, first_offset } = self;
        write!(f, "{}:{position}+{length} from {first_offset}", file.path().display())
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset lies below the log's start or above its end.
    #[error("the log has the offsets {log_start} to {log_end}")]
    OutOfRange { log_start: Offset, log_end: Offset },
    /// The place must be searched for in pages that are not in memory: `Log::warm` them and read again.
    #[error("{0:?} is not in memory")]
    Cold(Cold),
    /// Too many files are in flight: `Log::room` and read again, or leave it for another time.
    #[error("too many files are in use")]
    Busy,
    #[error(transparent)]
    Offline(#[from] StorageError),
}

/// Where a batch stands in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub first: Offset,
    pub last: Offset,
    pub position: u32,
    pub bytes: u32,
}

/// The newest batches of the newest segment, so that readers at the end of a log touch no index and no file.
#[derive(Default)]
pub struct Tail {
    places: VecDeque<Place>,
}

impl Tail {
    const PLACES_MAX: usize = 256;

    pub fn push(&mut self, place: Place) {
        if self.places.len() == Self::PLACES_MAX {
            self.places.pop_front();
        }
        self.places.push_back(place);
    }

    /// Forgets all; gives the memory back.
    pub fn clear(&mut self) {
        self.places = VecDeque::new();
    }

    /// The first batch whose last offset is at least `offset`, where this list reaches back that far.
    pub fn find(&self, offset: Offset) -> Option<Place> {
        if self.places.front()?.first > offset {
            return None;
        }
        self.places.get(self.places.partition_point(|place| place.last < offset)).copied()
    }
}

/// Whether a walk may wait for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    Never,
    Allowed,
}

/// Walks over batch headers in a segment file from one batch's first byte to `end`.
pub struct HeaderWalk {
    file: Arc<SegmentFile>,
    /// Where the next batch begins.
    position: u64,
    end: u64,
    waiting: Waiting,
    chunk: Box<[u8]>,
    chunk_start: u64,
    chunk_filled: usize,
}

impl HeaderWalk {
    const CHUNK_BYTES: usize = 4096;

    pub fn new(file: Arc<SegmentFile>, position: u64, end: u64, waiting: Waiting) -> HeaderWalk {
        let chunk_bytes =
            if waiting == Waiting::Allowed { 16 * Self::CHUNK_BYTES } else { Self::CHUNK_BYTES };
        HeaderWalk {
            file,
            position,
            end,
            waiting,
            chunk: vec![0; chunk_bytes].into_boxed_slice(),
            chunk_start: position,
            chunk_filled: 0,
        }
    }

    /// The next header and the byte where its batch begins. `None` at the end, and before a batch that does
    /// not fit before it or is not of magic 2.
    pub fn next_header(&mut self) -> Result<Option<(u32, BatchHeader)>, Miss> {
        let position = self.position;
        if position + HEADER_BYTES as u64 > self.end {
            return Ok(None);
        }
        let chunk_end = self.chunk_start + self.chunk_filled as u64;
        if position < self.chunk_start || position + HEADER_BYTES as u64 > chunk_end {
            let wanted = self.chunk.len().min((self.end - position) as usize);
            let chunk = &mut self.chunk[..wanted];
            self.chunk_filled = match self.waiting {
                Waiting::Never => self.file.read_cached_at(chunk, position)?,
                Waiting::Allowed => self.file.read_at(chunk, position)?,
            };
            self.chunk_start = position;
        }
        let bytes = &self.chunk[(position - self.chunk_start) as usize..self.chunk_filled];
        let Ok((header, _)) = BatchHeader::read_from_prefix(bytes) else { return Ok(None) };
        let Some(bytes) = header.batch_bytes().filter(|_| header.magic == 2) else { return Ok(None) };
        if position + bytes as u64 > self.end {
            return Ok(None);
        }
        self.position += bytes as u64;
        Ok(Some((position as u32, header)))
    }

    /// The first batch whose last offset is at least `offset`.
    pub fn find(&mut self, offset: Offset) -> Result<Option<Place>, Miss> {
        while let Some((position, header)) = self.next_header()? {
            if header.last_offset() >= offset {
                return Ok(Some(place_of(position, &header)));
            }
        }
        Ok(None)
    }

    /// Where the walk stands: the batches before are whole.
    pub fn position(&self) -> u64 {
        self.position
    }
}

pub fn place_of(position: u32, header: &BatchHeader) -> Place {
    Place {
        first: header.base_offset(),
        last: header.last_offset(),
        position,
        bytes: header.batch_bytes().unwrap_or(0) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_answers_only_what_it_reaches() {
        let mut tail = Tail::default();
        assert_eq!(tail.find(Offset(0)), None);
        for i in 0..1000u32 {
            let first = Offset(i64::from(i) * 10);
            tail.push(Place { first, last: first.plus(9), position: i * 100, bytes: 100 });
        }
        assert_eq!(tail.find(Offset(0)), None);
        assert_eq!(tail.find(Offset(7439)), None);
        for offset in [7440, 7449, 9985, 9999] {
            assert_eq!(tail.find(Offset(offset)).unwrap().position, offset as u32 / 10 * 100);
        }
        assert_eq!(tail.find(Offset(10_000)), None);
        tail.clear();
        assert_eq!(tail.find(Offset(9_999)), None);
    }
}
