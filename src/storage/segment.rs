//! One segment of a log: a `.log` file of batches with its two indexes, and when it is full.
//!
//! Only the newest segment grows. Its indexes and sizes run ahead of the file by the batches that are
//! staged; `written` is what the file holds. An older segment is sealed once its indexes are complete on
//! the device and its spare blocks are given back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::appender;
use crate::storage::config::LogConfig;
use crate::storage::file::{Miss, SegmentFile};
use crate::storage::offset_index::{self, OffsetEntry, OffsetIndex};
use crate::storage::open_files::{Handle, Later};
use crate::storage::time_index::{self, TimeEntry, TimeIndex};
use crate::types::Offset;

/// The first reservation of a segment; each further one doubles.
pub const RESERVE_STEP_MIN: u64 = 64 << 10;
const RESERVE_STEP_MAX: u64 = 64 << 20;

pub const LOG_SUFFIX: &str = ".log";
pub const INDEX_SUFFIX: &str = ".index";
pub const TIME_INDEX_SUFFIX: &str = ".timeindex";
pub const TXN_INDEX_SUFFIX: &str = ".txnindex";
pub const SNAPSHOT_SUFFIX: &str = ".snapshot";
pub const DELETED_SUFFIX: &str = ".deleted";

/// The path of one of a segment's files: the base offset in 20 digits and a suffix.
pub fn path_of(dir: &Path, base: Offset, suffix: &str) -> PathBuf {
    dir.join(format!("{:020}{suffix}", base.0))
}

/// Whether a segment's files are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// The next write, or a roll without one, makes them.
    Missing,
    Present,
}

pub struct Segment {
    pub base: Offset,
    /// Bytes in the file.
    pub written: u32,
    /// Bytes in the file and staged for it.
    pub size: u32,
    pub offsets: OffsetIndex,
    pub times: TimeIndex,
    /// The largest timestamp and the last offset of its batch; looked up in the file where not known.
    largest: Option<TimeEntry>,
    largest_known: bool,
    /// The largest timestamp of the first batch: the age of the segment counts from it.
    pub first_timestamp_ms: Option<i64>,
    bytes_since_entry: u32,
    /// When this process began to use the segment.
    pub created_ms: i64,
    jitter_ms: i64,
    /// When the file was last written: stands in for timestamps where batches have none.
    pub modified_ms: i64,
    pub on_disk: OnDisk,
    /// Closed while nobody needs it.
    file: Handle,
    /// The turn of housekeeping in which the segment was last used.
    pub used_in: u32,
    /// The files hold all that they should and nothing more.
    pub sealed: bool,
    /// All that was written is on the device, and the indexes with it where the segment is sealed. What was
    /// flushed before it ended is synced and not sealed.
    pub synced: bool,
    /// Blocks are reserved up to this byte.
    reserved_end: u64,
    /// The next reservation is due when this byte is written.
    reserve_at: u64,
    reserve_step: u64,
    pub reserving: bool,
    /// Write-back was asked for up to this byte.
    pub write_back_end: u64,
    pub writing_back: bool,
}

impl Segment {
    /// A segment that begins at `base` and has no files yet.
    pub fn new(base: Offset, config: &LogConfig, now_ms: i64) -> Segment {
        Segment {
            base,
            written: 0,
            size: 0,
            offsets: OffsetIndex::default(),
            times: TimeIndex::default(),
            largest: None,
            largest_known: true,
            first_timestamp_ms: None,
            bytes_since_entry: 0,
            created_ms: now_ms,
            jitter_ms: jitter(config),
            modified_ms: now_ms,
            on_disk: OnDisk::Missing,
            file: Handle::default(),
            used_in: 0,
            sealed: false,
            synced: false,
            reserved_end: 0,
            reserve_at: 0,
            reserve_step: RESERVE_STEP_MIN,
            reserving: false,
            write_back_end: 0,
            writing_back: false,
        }
    }

    /// A segment whose files hold `written` bytes and that many index entries.
    pub fn stored(stored: Stored, config: &LogConfig, now_ms: i64) -> Segment {
        Segment {
            written: stored.bytes,
            size: stored.bytes,
            offsets: OffsetIndex::stored(stored.offset_entries, stored.last_offset_entry),
            times: TimeIndex::stored(stored.time_entries, stored.last_time_entry),
            largest: stored.last_time_entry,
            largest_known: stored.last_time_entry.is_some() || stored.time_entries == 0,
            first_timestamp_ms: stored.first_timestamp_ms,
            modified_ms: stored.modified_ms,
            on_disk: OnDisk::Present,
            sealed: true,
            reserve_at: u64::from(stored.bytes),
            write_back_end: u64::from(stored.bytes),
            ..Segment::new(stored.base, config, now_ms)
        }
    }

    /// Whether a batch of `bytes` with this largest timestamp and last offset must open a new segment.
    /// Source: LogSegment.shouldRoll.
    pub fn must_roll(
        &self,
        config: &LogConfig,
        bytes: u32,
        timestamp_ms: i64,
        last: Offset,
        now_ms: i64,
    ) -> bool {
        if self.size == 0 {
            return false;
        }
        let waited_ms = match self.first_timestamp_ms {
            Some(first) if first >= 0 => timestamp_ms.saturating_sub(first),
            _ => now_ms - self.created_ms,
        };
        u64::from(self.size) + u64::from(bytes) > u64::from(config.segment_bytes)
            || waited_ms > config.segment_ms - self.jitter_ms
            || self.offsets.entries() >= offset_index::entries_max(config.segment_index_bytes)
            || self.times.entries() >= time_index::entries_max(config.segment_index_bytes)
            || last.0 - self.base.0 > i64::from(i32::MAX)
    }

    /// Counts a staged batch in: sizes, timestamps, and an index entry where one is due.
    pub fn stage(&mut self, bytes: u32, last: Offset, timestamp_ms: i64, index_interval_bytes: u32) {
        let relative_offset = u32::try_from(last.0 - self.base.0).expect("must_roll bounds relative offsets");
        if self.size == 0 {
            self.first_timestamp_ms = Some(timestamp_ms);
        }
        if timestamp_ms > self.largest.map_or(-1, |largest| largest.timestamp_ms) {
            self.largest = Some(TimeEntry { timestamp_ms, relative_offset });
        }
        if self.bytes_since_entry > index_interval_bytes {
            self.offsets.push(OffsetEntry { relative_offset, position: self.size });
            self.note_largest();
            self.bytes_since_entry = 0;
        }
        self.size += bytes;
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(bytes);
        self.sealed = false;
        self.synced = false;
    }

    /// Counts what the file has gained.
    pub fn wrote(&mut self, bytes: u32) {
        let before = u64::from(self.written);
        appender::release(self.reserved_end.saturating_sub(before).min(u64::from(bytes)));
        self.written += bytes;
    }

    /// The next range of blocks to reserve, where one is due.
    pub fn reservation_due(&mut self, segment_bytes: u32) -> Option<(u64, u64)> {
        let written = u64::from(self.written);
        if self.reserving || written < self.reserve_at {
            return None;
        }
        let from = self.reserved_end.max(written);
        let step = self.reserve_step.min(u64::from(segment_bytes).saturating_sub(from));
        if step < RESERVE_STEP_MIN {
            return None;
        }
        self.reserving = true;
        Some((from, step))
    }

    /// `bytes` blocks from `from` on were reserved; 0 where none could be.
    pub fn reserved(&mut self, from: u64, bytes: u64) {
        let written = u64::from(self.written);
        let end = from + bytes;
        // What was written meanwhile is not ahead any more.
        appender::release(bytes - end.saturating_sub(from.max(written)).min(bytes));
        if bytes > 0 {
            self.reserved_end = end;
        }
        self.reserve_at = match bytes {
            0 => written + self.reserve_step,
            _ => end - self.reserve_step / 2,
        };
        self.reserve_step = (self.reserve_step * 2).min(RESERVE_STEP_MAX);
    }

    /// Forgets what is reserved ahead; `true` where something was.
    pub fn release_reserved(&mut self) -> bool {
        let ahead = self.reserved_end.saturating_sub(u64::from(self.written));
        appender::release(ahead);
        self.reserved_end = 0;
        self.reserve_at = u64::from(self.written);
        self.reserve_step = RESERVE_STEP_MIN;
        ahead > 0
    }

    /// Ends the time index with the largest timestamp, as a rolled or closed segment must.
    pub fn note_largest(&mut self) {
        if let Some(largest) = self.largest {
            self.times.note(largest);
        }
    }

    /// The largest timestamp and the last relative offset of its batch; `None` where no batch has one.
    pub fn largest(&mut self, dir: &Path) -> Result<Option<TimeEntry>, Miss> {
        if !self.largest_known {
            self.largest = self.times.read_last(&path_of(dir, self.base, TIME_INDEX_SUFFIX))?;
            self.largest_known = true;
        }
        Ok(self.largest)
    }

    /// The segment's file to read from, opened where it is not open.
    pub fn open(&mut self, dir: &Path, turn: u32) -> Result<Arc<SegmentFile>, Miss> {
        self.used_in = turn;
        self.file.get(|| path_of(dir, self.base, LOG_SUFFIX))
    }

    /// The segment's file to write to, opened where it is not open.
    pub fn open_to_write(&mut self, dir: &Path, turn: u32) -> io::Result<Arc<SegmentFile>> {
        self.used_in = turn;
        self.file.get_to_write(|| path_of(dir, self.base, LOG_SUFFIX))
    }

    /// The segment's file for work off the core, as it is: open or not.
    pub fn file_later(&self, dir: &Path) -> Later {
        self.file.later(|| path_of(dir, self.base, LOG_SUFFIX))
    }

    /// Lets go of all descriptors; slices that were handed out keep theirs.
    pub fn close(&mut self) {
        self.file.close();
        self.offsets.close();
        self.times.close();
    }
}

/// What loading learnt of a segment on disk.
#[derive(Clone, Debug)]
pub struct Stored {
    pub base: Offset,
    pub bytes: u32,
    pub modified_ms: i64,
    pub offset_entries: u32,
    pub time_entries: u32,
    /// Known for segments that were read: the newest, and recovered ones.
    pub last_offset_entry: Option<OffsetEntry>,
    pub last_time_entry: Option<TimeEntry>,
    pub first_timestamp_ms: Option<i64>,
}

/// A random share of `segment.jitter.ms`, so that logs that began together do not roll together.
fn jitter(config: &LogConfig) -> i64 {
    use std::hash::BuildHasher;
    let most = config.segment_jitter_ms.min(config.segment_ms);
    if most <= 0 {
        return 0;
    }
    let random = std::collections::hash_map::RandomState::new().hash_one(0u8);
    (random % most as u64) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(config: &LogConfig) -> Segment {
        Segment::new(Offset(100), config, 5_000)
    }

    #[test]
    fn rolls_by_size_time_index_and_relative_offset() {
        let config = LogConfig {
            segment_bytes: 1000,
            segment_ms: 50,
            segment_index_bytes: 24,
            index_interval_bytes: 0,
            ..LogConfig::default()
        };
        let rolls = |segment: &Segment, bytes, timestamp, last, now| {
            segment.must_roll(&config, bytes, timestamp, Offset(last), now)
        };
        let mut s = segment(&config);
        assert!(!rolls(&s, 999_999, i64::MAX, i64::MAX, i64::MAX), "an empty segment never rolls");
        s.stage(400, Offset(100), 1_000, 0);
        assert!(!rolls(&s, 600, 1_050, 101, 9_000));
        assert!(rolls(&s, 601, 1_050, 101, 9_000), "too large");
        assert!(rolls(&s, 1, 1_051, 101, 0), "too old by its batches' time");
        assert!(!rolls(&s, 1, 1_000, 100 + i64::from(i32::MAX), 0));
        assert!(rolls(&s, 1, 1_000, 101 + i64::from(i32::MAX), 0), "offset too far from the base");
        s.stage(10, Offset(101), 1_001, 0);
        assert!(rolls(&s, 1, 1_001, 102, 0), "the time index keeps one entry of two for the last");
        let mut s = segment(&config);
        s.stage(10, Offset(100), -1, 0);
        assert!(!rolls(&s, 1, -1, 101, 5_050));
        assert!(rolls(&s, 1, -1, 101, 5_051), "without timestamps the wall clock counts");
    }

    #[test]
    fn jitter_rolls_earlier_only() {
        let config = LogConfig { segment_ms: 1_000, segment_jitter_ms: 400, ..LogConfig::default() };
        for _ in 0..100 {
            let s = segment(&config);
            assert!((0..400).contains(&s.jitter_ms));
        }
    }
}
