//! What a log changes without waiting: its segments, staged batches, producers and epochs. Plain data behind
//! the log's one `RefCell`; nothing here awaits.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::protocol::batch::{BatchHeader, HEADER_BYTES};
use crate::storage::appender::Job;
use crate::storage::cold::{Flush, Making, Search, SegmentFlush};
use crate::storage::config::LogConfig;
use crate::storage::epochs::Epochs;
use crate::storage::errors::StorageError;
use crate::storage::file::{Fault, Miss, PIECES_MAX, SegmentFile, planted};
use crate::storage::log::Log;
use crate::storage::open_files::Later;
use crate::storage::producers::Producers;
use crate::storage::reader::{HeaderWalk, Place, Slice, Tail, Waiting};
use crate::storage::retention::{self, Aged};
use crate::storage::segment::{
    INDEX_SUFFIX, LOG_SUFFIX, OnDisk, RESERVE_STEP_MIN, Segment, TIME_INDEX_SUFFIX, path_of,
};
use crate::types::{Offset, TopicId};

/// Write-back of a segment is asked for whenever so many bytes are new.
const WRITE_BACK_BYTES: u64 = 8 << 20;
/// Files that nobody used for so many turns of housekeeping are closed.
const IDLE_TURNS: u32 = 2;
/// Producers are looked through for silent ones at least and at most so often.
const EXPIRY_INTERVAL_MS: (i64, i64) = (1_000, 600_000);
/// Batches of one write whose pieces need no allocation.
const SMALL_RUN: usize = 16;

/// A batch that has its offset and waits to be written: the stamped header and the producer's bytes.
pub struct Staged {
    pub header: [u8; HEADER_BYTES],
    /// The whole batch as it came; its first 61 bytes are not written.
    pub batch: Bytes,
    pub place: Place,
}

/// One vectored write of staged batches.
#[derive(Clone, Copy)]
pub struct Planned {
    /// The base offset of its segment.
    pub base: Offset,
    /// The byte where it begins.
    pub position: u64,
    /// Staged batches, from the oldest on.
    count: usize,
    /// Of those, how many are left out: none, but for a planted fault.
    skip: usize,
    rolled: bool,
}

/// A planned write with all that it needs.
pub struct OffCore {
    pub file: Arc<SegmentFile>,
    pub pieces: Vec<Bytes>,
    pub planned: Planned,
}

/// What one vectored write brought to a file.
pub struct Run {
    /// Which segment it is at this moment.
    pub index: usize,
    /// The base offset of its segment.
    pub base: Offset,
    /// The offset after its last batch.
    pub end: Offset,
    /// It is the first write of a segment that follows another.
    pub rolled: bool,
}

pub struct State {
    pub dir: PathBuf,
    pub config: Rc<LogConfig>,
    /// In order, never empty; appends go to the last one.
    pub segments: VecDeque<Segment>,
    pub staged: VecDeque<Staged>,
    /// Of the staged batches.
    pub staged_bytes: usize,
    pub tail: Tail,
    pub producers: Producers,
    pub epochs: Epochs,
    /// The epoch file lacks something, or may not be on the device.
    pub epochs_dirty: bool,
    /// Offsets of the snapshot files.
    pub snapshots: BTreeSet<i64>,
    /// Taken at rolls, not on disk yet.
    pub unwritten_snapshots: Vec<(Offset, Vec<u8>)>,
    pub topic_id: Option<TopicId>,
    /// The directory is there.
    pub exists: bool,
    /// Names were made in the directory that may not be on the device.
    pub names_dirty: bool,
    /// Counts housekeeping.
    pub turn: u32,
    pub flushed_at_ms: i64,
    expire_at_ms: i64,
}

impl State {
    /// Without segments: the caller adds them.
    pub fn empty(dir: PathBuf, config: Rc<LogConfig>, topic_id: Option<TopicId>, now_ms: i64) -> State {
        State {
            dir,
            config,
            segments: VecDeque::with_capacity(1),
            staged: VecDeque::new(),
            staged_bytes: 0,
            tail: Tail::default(),
            producers: Producers::default(),
            epochs: Epochs::default(),
            epochs_dirty: false,
            snapshots: BTreeSet::new(),
            unwritten_snapshots: Vec::new(),
            topic_id,
            exists: false,
            names_dirty: false,
            turn: 0,
            flushed_at_ms: now_ms,
            expire_at_ms: 0,
        }
    }

    pub fn newest(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has at least one segment")
    }

    // ---- append and write ----

    pub fn roll_if_due(&mut self, place: Place, timestamp_ms: i64, now_ms: i64) {
        let config = self.config.clone();
        if self.newest().must_roll(&config, place.bytes, timestamp_ms, place.last, now_ms) {
            self.roll(place.first, now_ms);
        }
    }

    /// Ends the newest segment and begins one at `at`; its files are made by the next write.
    pub fn roll(&mut self, at: Offset, now_ms: i64) {
        self.newest().note_largest();
        if !self.snapshots.contains(&at.0) {
            self.unwritten_snapshots.push((at, self.producers.encode()));
        }
        let segment = Segment::new(at, &self.config, now_ms);
        self.segments.push_back(segment);
    }

    /// The segment that the next write goes to; also one that a roll without a batch left without files.
    pub fn segment_to_write(&self) -> Option<usize> {
        if let Some(staged) = self.staged.front() {
            return Some(self.segments.partition_point(|segment| segment.base <= staged.place.first) - 1);
        }
        let newest = self.segments.len() - 1;
        (newest > 0 && self.segments[newest].on_disk == OnDisk::Missing).then_some(newest)
    }

    /// Writes the staged batches of one segment, as many as one vectored write takes.
    pub fn write_run(&mut self, index: usize) -> io::Result<Run> {
        let turn = self.turn;
        let file = self.segments[index].open_to_write(&self.dir, turn)?;
        let planned = self.plan(index);
        let Planned { position, count, skip, .. } = planned;
        let run = self.staged.iter().take(count).skip(skip);
        let pieces = run.flat_map(|staged| [&staged.header[..], &staged.batch[HEADER_BYTES..]]);
        if count <= SMALL_RUN {
            let mut small: [IoSlice<'_>; 2 * SMALL_RUN] = std::array::from_fn(|_| IoSlice::new(&[]));
            let filled =
                small.iter_mut().zip(pieces).map(|(slot, piece)| *slot = IoSlice::new(piece)).count();
            file.write_vectored_at(&mut small[..filled], position)?;
        } else {
            file.write_vectored_at(&mut pieces.map(IoSlice::new).collect::<Vec<_>>(), position)?;
        }
        self.take_in(index, &planned)
    }

    /// The same write as a value, to be made while the core goes on; [`State::wrote_off_core`] follows it. The
    /// batches stay staged until then.
    pub fn run_off_core(&mut self, index: usize) -> io::Result<OffCore> {
        let turn = self.turn;
        let file = self.segments[index].open_to_write(&self.dir, turn)?;
        let planned = self.plan(index);
        let run = || self.staged.iter().take(planned.count).skip(planned.skip);
        let mut headers = BytesMut::with_capacity(planned.count * HEADER_BYTES);
        run().for_each(|staged| headers.extend_from_slice(&staged.header));
        let mut headers = headers.freeze();
        let pieces =
            run().flat_map(|staged| [headers.split_to(HEADER_BYTES), staged.batch.slice(HEADER_BYTES..)]);
        let pieces = pieces.collect();
        Ok(OffCore { file, pieces, planned })
    }

    /// Takes in that such a write was made. The segment is there: nothing takes one away whose batches wait.
    pub fn wrote_off_core(&mut self, planned: &Planned) -> io::Result<Run> {
        let index = self.segments.partition_point(|segment| segment.base <= planned.base) - 1;
        assert_eq!(self.segments[index].base, planned.base);
        self.take_in(index, planned)
    }

    /// What the next write to a segment is.
    fn plan(&self, index: usize) -> Planned {
        let segment = &self.segments[index];
        let next_base = self.segments.get(index + 1).map(|segment| segment.base);
        let belongs = |staged: &&Staged| next_base.is_none_or(|next| staged.place.first < next);
        let rolled = index > 0 && segment.written == 0;
        Planned {
            base: segment.base,
            position: u64::from(segment.written),
            count: self.staged.iter().take(PIECES_MAX / 2).take_while(belongs).count(),
            skip: usize::from(rolled && planted(Fault::LostRoll)),
            rolled,
        }
    }

    /// Takes in that a planned write was made.
    fn take_in(&mut self, index: usize, planned: &Planned) -> io::Result<Run> {
        let is_newest = index + 1 == self.segments.len();
        let Planned { base, count, skip, rolled, .. } = *planned;
        let segment = &mut self.segments[index];
        if is_newest && segment.written == 0 {
            self.tail.clear();
        }
        let mut end = base;
        for (i, staged) in self.staged.drain(..count).enumerate() {
            self.staged_bytes -= staged.batch.len();
            end = staged.place.last.plus(1);
            if i >= skip {
                segment.wrote(staged.place.bytes);
                if is_newest {
                    self.tail.push(staged.place);
                }
            }
        }
        if segment.offsets.wants_spill() {
            segment.offsets.spill(&path_of(&self.dir, base, INDEX_SUFFIX))?;
        }
        if segment.times.wants_spill() {
            segment.times.spill(&path_of(&self.dir, base, TIME_INDEX_SUFFIX))?;
        }
        Ok(Run { index, base, end, rolled })
    }

    /// Reservation and write-back that are due after a write to a segment.
    pub fn jobs_ahead(&mut self, log: &Rc<Log>, index: usize) -> [Option<Job>; 2] {
        let is_newest = index + 1 == self.segments.len();
        let segment_bytes = self.config.segment_bytes;
        let segment = &mut self.segments[index];
        let (base, written) = (segment.base, u64::from(segment.written));
        let mut write_back = None;
        if !segment.writing_back && written - segment.write_back_end >= WRITE_BACK_BYTES {
            let from = std::mem::replace(&mut segment.write_back_end, written);
            segment.writing_back = true;
            write_back = Some(Job::WriteBack { log: log.clone(), base, from, to: written });
        }
        let due = if is_newest { segment.reservation_due(segment_bytes) } else { None };
        let reserve = due.map(|(from, bytes)| Job::Reserve { log: log.clone(), base, from, bytes });
        [reserve, write_back]
    }

    /// What it takes to make the files of a segment.
    pub fn making(&mut self, index: usize) -> Making {
        let staged = u64::from(self.segments[index].size);
        let first_time = !std::mem::replace(&mut self.exists, true);
        self.names_dirty = true;
        Making {
            dir: self.dir.clone(),
            base: self.segments[index].base,
            make_dir: first_time,
            metadata: self.topic_id.filter(|_| first_time),
            epochs: (first_time && self.epochs_dirty).then(|| self.epochs.encode()),
            reserve: staged.next_multiple_of(RESERVE_STEP_MIN).max(RESERVE_STEP_MIN),
        }
    }

    // ---- flush and close ----

    /// What must be brought to the device so that everything below `to` is there.
    pub fn flush_work(&mut self, to: Offset) -> Flush {
        let newest = self.segments.len() - 1;
        let mut segments = Vec::new();
        for index in 0..self.segments.len() {
            let segment = &self.segments[index];
            let has_ended = index < newest && segment.written == segment.size;
            // What was flushed before it ended is synced, and still to be sealed.
            let is_due = !segment.synced || has_ended && !segment.sealed;
            if segment.base < to && is_due && segment.on_disk == OnDisk::Present {
                segments.push(self.segment_flush(index, has_ended));
            }
        }
        let (due, later) = std::mem::take(&mut self.unwritten_snapshots)
            .into_iter()
            .partition(|(offset, _): &(Offset, _)| *offset <= to);
        self.unwritten_snapshots = later;
        Flush {
            dir: self.dir.clone(),
            segments,
            snapshots: due,
            epochs: self.epochs_dirty.then(|| self.epochs.encode()),
            names: self.names_dirty,
            sync: true,
            gone: Vec::new(),
        }
    }

    fn segment_flush(&self, index: usize, seal: bool) -> SegmentFlush {
        let segment = &self.segments[index];
        let is_newest = index + 1 == self.segments.len();
        let file = match is_newest {
            true => segment.file_later(&self.dir),
            false => Later::Closed(path_of(&self.dir, segment.base, LOG_SUFFIX)),
        };
        let nothing = || (0, Vec::new());
        SegmentFlush {
            base: segment.base,
            file,
            bytes: u64::from(segment.written),
            seal,
            offsets: if seal { segment.offsets.lacking() } else { nothing() },
            times: if seal { segment.times.lacking() } else { nothing() },
        }
    }

    /// Takes in that a flush was performed. Fails where files were missing that nobody took away.
    pub fn flush_done(&mut self, done: Flush) -> Result<(), StorageError> {
        if let Some(lost) = self.segments.iter().find(|segment| done.gone.contains(&segment.base)) {
            let path = path_of(&self.dir, lost.base, LOG_SUFFIX);
            return Err(StorageError::io("flush", &path, &io::ErrorKind::NotFound.into()));
        }
        for flushed in done.segments {
            let Some(segment) = self.segments.iter_mut().find(|segment| segment.base == flushed.base) else {
                continue;
            };
            if flushed.seal {
                segment.offsets.completed(flushed.offsets.1.len());
                segment.times.completed(flushed.times.1.len());
                segment.release_reserved();
                segment.sealed = true;
            }
            segment.synced = u64::from(segment.size) == flushed.bytes;
        }
        self.snapshots.extend(done.snapshots.iter().map(|(offset, _)| offset.0));
        if done.epochs.is_some_and(|text| text == self.epochs.encode()) {
            self.epochs_dirty = false;
        }
        if done.names {
            self.names_dirty = false;
        }
        Ok(())
    }

    /// What must be done before the files are left in order; `None` where they are. All is written.
    pub fn close_work(&mut self, log_end: Offset) -> Option<Flush> {
        self.newest().note_largest();
        let mut segments = Vec::new();
        for index in 0..self.segments.len() {
            if !self.segments[index].sealed && self.segments[index].on_disk == OnDisk::Present {
                segments.push(self.segment_flush(index, true));
            }
        }
        let mut snapshots = std::mem::take(&mut self.unwritten_snapshots);
        let newest_snapshot = self.snapshots.last().copied().unwrap_or(self.segments[0].base.0);
        if self.exists && newest_snapshot < log_end.0 {
            snapshots.push((log_end, self.producers.encode()));
        }
        let epochs = (self.exists && self.epochs_dirty).then(|| self.epochs.encode());
        if segments.is_empty() && snapshots.is_empty() && epochs.is_none() {
            return None;
        }
        let (dir, gone) = (self.dir.clone(), Vec::new());
        Some(Flush { dir, segments, snapshots, epochs, names: false, sync: false, gone })
    }

    // ---- read ----

    /// `written` is the offset up to which files hold the log; `from` lies below `below`.
    pub fn read(
        &mut self,
        from: Offset,
        below: Offset,
        written: Offset,
        max_bytes: u32,
        min_one: bool,
    ) -> Result<Option<Slice>, Miss> {
        let first = self.segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for index in first..self.segments.len() {
            let base = self.segments[index].base;
            if base >= below {
                return Ok(None);
            }
            let Some(place) = self.find(index, from.max(base))? else { continue };
            if place.first >= below || place.bytes > max_bytes && !min_one {
                return Ok(None);
            }
            let end = self.end_position(index, below, written)?;
            if end <= place.position {
                return Ok(None);
            }
            let turn = self.turn;
            let file = self.segments[index].open(&self.dir, turn)?;
            return Ok(Some(Slice {
                file,
                position: u64::from(place.position),
                length: (end - place.position).min(max_bytes.max(place.bytes)),
                first_offset: place.first,
            }));
        }
        Ok(None)
    }

    /// The header of the first batch on disk whose last offset is at least `from`.
    pub fn header_at(&mut self, from: Offset) -> Result<Option<BatchHeader>, Miss> {
        let first = self.segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for index in first..self.segments.len() {
            let base = self.segments[index].base;
            let Some(place) = self.find(index, from.max(base))? else { continue };
            let turn = self.turn;
            let file = self.segments[index].open(&self.dir, turn)?;
            let mut bytes = [0; HEADER_BYTES];
            let read = file.read_cached_at(&mut bytes, u64::from(place.position))?;
            return Ok(BatchHeader::parse(&bytes[..read]).copied());
        }
        Ok(None)
    }

    /// The largest timestamps up to somewhere before `offset` and up to somewhere at or behind it, in its segment: the
    /// entries of the time index on both sides. `None` where there is none on one of them.
    pub fn times_around(&mut self, offset: Offset) -> Result<Option<(i64, i64)>, Miss> {
        let index = self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1);
        let Some(segment) = self.segments.get_mut(index) else { return Ok(None) };
        let path = path_of(&self.dir, segment.base, TIME_INDEX_SUFFIX);
        let relative = offset.0 - segment.base.0;
        let (before, after) =
            segment.times.around(|entry| i64::from(entry.relative_offset) < relative, &path)?;
        Ok(before.zip(after).map(|(before, after)| (before.timestamp_ms, after.timestamp_ms)))
    }

    /// The first batch in the segment's file whose last offset is at least `offset`.
    fn find(&mut self, index: usize, offset: Offset) -> Result<Option<Place>, Miss> {
        if index + 1 == self.segments.len()
            && let Some(place) = self.tail.find(offset)
        {
            return Ok(Some(place));
        }
        let turn = self.turn;
        let segment = &mut self.segments[index];
        if segment.written == 0 {
            return Ok(None);
        }
        let index_path = path_of(&self.dir, segment.base, INDEX_SUFFIX);
        let entry = segment.offsets.floor(offset.0 - segment.base.0, &index_path)?;
        let file = segment.open(&self.dir, turn)?;
        let position = entry.map_or(0, |entry| u64::from(entry.position));
        HeaderWalk::new(file, position, u64::from(segment.written), Waiting::Never).find(offset)
    }

    /// Where in the segment's file the batches end that lie below `below`.
    fn end_position(&mut self, index: usize, below: Offset, written: Offset) -> Result<u32, Miss> {
        let next_base = self.segments.get(index + 1).map(|segment| segment.base);
        if below >= written || next_base.is_some_and(|next| next <= below) {
            return Ok(self.segments[index].written);
        }
        let place = self.find(index, below)?;
        Ok(place.map_or(self.segments[index].written, |place| place.position))
    }

    /// Where to look for the first record that is not older than `timestamp_ms`, in a segment from `from` on,
    /// and where that segment ends.
    pub fn search_by_time(
        &mut self,
        timestamp_ms: i64,
        log_start: Offset,
        from: Offset,
    ) -> Result<Option<(Search, Offset)>, Miss> {
        for index in 0..self.segments.len() {
            let end = self.segments.get(index + 1).map_or(Offset(i64::MAX), |next| next.base);
            let segment = &mut self.segments[index];
            if segment.base < from || end <= log_start {
                continue;
            }
            let largest = segment.largest(&self.dir)?;
            if largest.is_none_or(|largest| largest.timestamp_ms < timestamp_ms) {
                continue;
            }
            let path = path_of(&self.dir, segment.base, TIME_INDEX_SUFFIX);
            let floor = segment.times.floor(timestamp_ms, &path)?;
            let relative = floor.map_or(0, |entry| i64::from(entry.relative_offset));
            let search = self.search_from(index, relative.max(log_start.0 - self.segments[index].base.0))?;
            return Ok(search.map(|search| (search, end)));
        }
        Ok(None)
    }

    /// Where to look for the record with the largest timestamp, and that timestamp.
    pub fn search_largest(&mut self) -> Result<Option<(Search, i64)>, Miss> {
        let mut best: Option<(usize, i64, u32)> = None;
        for (index, segment) in self.segments.iter_mut().enumerate() {
            if let Some(largest) = segment.largest(&self.dir)?
                && best.is_none_or(|(_, timestamp_ms, _)| largest.timestamp_ms > timestamp_ms)
            {
                best = Some((index, largest.timestamp_ms, largest.relative_offset));
            }
        }
        let Some((index, timestamp_ms, relative_offset)) = best else { return Ok(None) };
        Ok(self.search_from(index, i64::from(relative_offset))?.map(|search| (search, timestamp_ms)))
    }

    fn search_from(&mut self, index: usize, relative_offset: i64) -> Result<Option<Search>, Miss> {
        let turn = self.turn;
        let segment = &mut self.segments[index];
        if segment.written == 0 {
            return Ok(None);
        }
        let path = path_of(&self.dir, segment.base, INDEX_SUFFIX);
        let entry = segment.offsets.floor(relative_offset, &path)?;
        let end = u64::from(segment.written);
        let file = segment.open(&self.dir, turn)?;
        Ok(Some(Search { file, position: entry.map_or(0, |entry| u64::from(entry.position)), end }))
    }

    // ---- upkeep ----

    /// How many of the oldest segments retention takes. `ends`: log start and log end.
    pub fn count_to_delete(
        &mut self,
        ends: (Offset, Offset),
        high_watermark: Offset,
        now_ms: i64,
    ) -> Result<usize, Miss> {
        let by_time = self.config.delete && self.config.retention_ms >= 0;
        let mut aged = Vec::with_capacity(self.segments.len());
        for segment in &mut self.segments {
            let mut largest_timestamp_ms = segment.modified_ms;
            if by_time && let Some(largest) = segment.largest(&self.dir)? {
                largest_timestamp_ms = largest.timestamp_ms;
            }
            aged.push(Aged { base: segment.base, bytes: u64::from(segment.size), largest_timestamp_ms });
        }
        Ok(retention::segments_to_delete(&aged, &self.config, ends.0, ends.1, high_watermark, now_ms))
    }

    pub fn expire_producers(&mut self, now_ms: i64) {
        if self.producers.is_empty() || now_ms < self.expire_at_ms {
            return;
        }
        let expiration_ms = self.config.producer_id_expiration_ms;
        self.producers.expire(now_ms, expiration_ms);
        self.expire_at_ms = now_ms + (expiration_ms / 4).clamp(EXPIRY_INTERVAL_MS.0, EXPIRY_INTERVAL_MS.1);
    }

    /// Closes what was not used for some turns. Gives the newest segment's file and size where reserved
    /// space behind it is to be given back.
    pub fn close_idle(&mut self) -> Option<(Later, u64)> {
        let turn = self.turn;
        let newest = self.segments.len() - 1;
        let mut trim = None;
        for (index, segment) in self.segments.iter_mut().enumerate() {
            if turn.wrapping_sub(segment.used_in) <= IDLE_TURNS {
                continue;
            }
            if index == newest {
                self.tail.clear();
                if !segment.reserving && segment.release_reserved() {
                    trim = Some((segment.file_later(&self.dir), u64::from(segment.written)));
                }
            }
            segment.close();
        }
        trim
    }

    pub fn release_reserved(&mut self) {
        for segment in &mut self.segments {
            segment.release_reserved();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.release_reserved();
    }
}
