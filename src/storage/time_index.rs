//! Up to which offset a segment's timestamps stay below a time: a sparse index beside the offset index.
//!
//! ```text
//! entry   0  8  timestamp               largest so far in the segment, milliseconds, big endian
//!         8  4  offset - segment base   last offset of the batch that holds it
//! ```
//! A segment that is rolled or closed ends with an entry for its largest timestamp: retention reads it.

use crate::storage::index_file::{Entry, IndexFile};

/// One entry of a `.timeindex` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp_ms: i64,
    pub relative_offset: u32,
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;

    fn encode(self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        into.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(from: &[u8]) -> TimeEntry {
        let (timestamp, offset) = from.split_at(8);
        TimeEntry {
            timestamp_ms: i64::from_be_bytes(timestamp.try_into().expect("eight of twelve bytes")),
            relative_offset: u32::from_be_bytes(offset.try_into().expect("four of twelve bytes")),
        }
    }

    fn key(self) -> i64 {
        self.timestamp_ms
    }
}

pub type TimeIndex = IndexFile<TimeEntry>;

/// Entries that `segment.index.bytes` allows before the segment is rolled; one more is kept for the last.
pub fn entries_max(segment_index_bytes: u32) -> u32 {
    (segment_index_bytes / TimeEntry::BYTES as u32).saturating_sub(1)
}

impl TimeIndex {
    /// Adds an entry where its timestamp is above the last one's, as Kafka does.
    pub fn note(&mut self, entry: TimeEntry) {
        if self.last().is_none_or(|last| entry.timestamp_ms > last.timestamp_ms) && entry.timestamp_ms >= 0 {
            self.push(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rising_timestamps_are_kept() {
        let mut index = TimeIndex::default();
        for (timestamp_ms, relative_offset) in [(-1, 0), (5, 1), (5, 2), (3, 3), (9, 4)] {
            index.note(TimeEntry { timestamp_ms, relative_offset });
        }
        let (position, bytes) = index.lacking();
        assert_eq!((position, bytes.len()), (0, 24));
        assert_eq!(&bytes[..12], [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1]);
        assert_eq!(TimeEntry::decode(&bytes[12..]), TimeEntry { timestamp_ms: 9, relative_offset: 4 });
    }
}
