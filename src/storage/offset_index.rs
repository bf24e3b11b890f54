//! Which byte of a segment holds which offset: a sparse index, one entry every `index.interval.bytes`.
//!
//! ```text
//! entry   0  4  offset - segment base   last offset of the batch, big endian
//!         4  4  position                byte in the .log file where that batch begins
//! ```

use crate::storage::index_file::{Entry, IndexFile};

/// One entry of an `.index` file. The relative offset is that of the batch's last record, as in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    pub relative_offset: u32,
    pub position: u32,
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;

    fn encode(self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.relative_offset.to_be_bytes());
        into.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(from: &[u8]) -> OffsetEntry {
        let (offset, position) = from.split_at(4);
        OffsetEntry {
            relative_offset: u32::from_be_bytes(offset.try_into().expect("half of eight bytes")),
            position: u32::from_be_bytes(position.try_into().expect("half of eight bytes")),
        }
    }

    fn key(self) -> i64 {
        i64::from(self.relative_offset)
    }
}

pub type OffsetIndex = IndexFile<OffsetEntry>;

/// Entries that `segment.index.bytes` allows; at that number the segment is rolled.
pub fn entries_max(segment_index_bytes: u32) -> u32 {
    segment_index_bytes / OffsetEntry::BYTES as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::SegmentFile;

    #[test]
    fn lookups_find_the_floor_in_file_and_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000000.index");
        SegmentFile::create(&path).unwrap();
        let mut index = OffsetIndex::default();
        assert_eq!(index.floor(5, &path).unwrap(), None);
        let count = 5000u32;
        for i in 0..count {
            index.push(OffsetEntry { relative_offset: 10 * i + 9, position: 100 * i });
            index.spill(&path).unwrap();
        }
        assert!(index.lacking().0 > 0, "older entries have left for the file");
        let check = |index: &mut OffsetIndex| {
            assert_eq!(index.floor(8, &path).unwrap(), None);
            for i in (0..count).step_by(7).chain([count - 1]) {
                let found = index.floor(i64::from(10 * i + 15), &path).unwrap().map(|e| e.position);
                assert_eq!(found, Some(100 * i));
                let found = index.floor(i64::from(10 * i + 9), &path).unwrap().map(|e| e.position);
                assert_eq!(found, Some(100 * i));
                // What lies at the place itself is behind it.
                let around = index.around(|entry| entry.relative_offset < 10 * i + 9, &path).unwrap();
                let positions = (around.0.map(|e| e.position), around.1.map(|e| e.position));
                assert_eq!(positions, (i.checked_sub(1).map(|before| 100 * before), Some(100 * i)));
            }
            let (last, none) = index.around(|_| true, &path).unwrap();
            assert_eq!((last.map(|e| e.position), none.is_none()), (Some(100 * (count - 1)), true));
        };
        check(&mut index);
        let (position, bytes) = index.lacking();
        SegmentFile::open(&path).unwrap().write_at(&bytes, position).unwrap();
        index.completed(bytes.len());
        assert_eq!(index.entries(), count);
        check(&mut index);
        check(&mut OffsetIndex::stored(count, None));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), u64::from(count) * 8);
    }

    #[test]
    fn bytes_are_kafkas() {
        let mut bytes = Vec::new();
        let entry = OffsetEntry { relative_offset: 0x01020304, position: 0x0a0b0c0d };
        entry.encode(&mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 10, 11, 12, 13]);
        assert_eq!(OffsetEntry::decode(&bytes), entry);
    }
}
