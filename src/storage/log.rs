//! One partition's log: the state of one core, used through `Rc`; nothing is borrowed across an await.
//!
//! append() returns when the batch has its offset; it is staged, not on disk. written_to() covers what is
//! in the page cache (it survives a kill of the process), flushed_to() what is on the device. Always
//!
//! ```text
//! log_start <= log_end        flushed <= written <= log_end
//! ```
//! Staged batches wait while a segment's files are made, in order. After a write or flush fails the log is
//! offline for good: offsets and producer state come from opening it again, as after a crash.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use zerocopy::{FromBytes, IntoBytes};

use crate::protocol::batch::{BatchHeader, CheckedBatch, HEADER_BYTES, TimestampType};
use crate::storage::appender::{self, Appender, Job};
use crate::storage::cold::Cut;
use crate::storage::config::{LogConfig, Opening};
use crate::storage::errors::{AppendError, StorageError};
use crate::storage::file::{self, Cold, Fault, Miss, SegmentFile, blocking, planted};
use crate::storage::producers::{ProducedBy, ProducerState};
use crate::storage::reader::{Place, ReadError, Slice};
use crate::storage::recovery::{self, Loaded};
use crate::storage::segment::{
    DELETED_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, OnDisk, SNAPSHOT_SUFFIX, Segment, TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX, path_of,
};
use crate::storage::state::{Staged, State};
use crate::storage::waiting::{WaitFor, Waiting};
use crate::types::{LeaderEpoch, Offset, TopicId};

/// What became of an appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// Milliseconds; -1 under CreateTime. Of a duplicate: its original's timestamp, as Kafka answers.
    pub log_append_time_ms: i64,
    pub log_start: Offset,
    /// The batch was there already; offsets are the original's, and so is the promise to wait for.
    pub duplicate: bool,
    /// `flush.messages` is reached: answer only after `flushed_to(last_offset + 1)`.
    pub flush_first: bool,
}

/// Read along where a read finds pages cold: who reads there goes on reading.
const AHEAD_BYTES: usize = 64 << 10;

pub struct Log {
    /// The directory's name, which is how log lines and error texts call a partition.
    name: Box<str>,
    appender: Rc<Appender>,
    log_start: Cell<Offset>,
    log_end: Cell<Offset>,
    written: Cell<Offset>,
    flushed: Cell<Offset>,
    offline: RefCell<Option<StorageError>>,
    /// A segment's files are being made; writes wait.
    making_files: Cell<bool>,
    dirty: Cell<bool>,
    flush_wanted: Cell<Offset>,
    flushing: Cell<bool>,
    pub(super) waiting_written: Waiting,
    pub(super) waiting_flushed: Waiting,
    state: RefCell<State>,
}

impl Log {
    /// Reads, and after an unclean stop mends, what is in `dir`. A directory that does not exist is made at
    /// the first append. `dir`'s last part is the partition's name, `topic-partition`.
    pub async fn open(
        dir: PathBuf,
        config: Rc<LogConfig>,
        opening: Opening,
        appender: &Rc<Appender>,
    ) -> Result<Rc<Log>, StorageError> {
        let now_ms = crate::clock::wall_ms();
        let (loading_dir, loading_config, topic_id) =
            (dir.clone(), LogConfig::clone(&config), opening.topic_id);
        let loaded =
            blocking(move || recovery::load(&loading_dir, &loading_config, &opening, now_ms)).await?;
        let log = Log::empty(dir, config, topic_id, appender, now_ms);
        log.install(loaded, now_ms);
        Ok(Rc::new(log))
    }

    /// Stands for a log that `open` refused with `error`: it says so to everyone, keeps what the checkpoint
    /// files know of it, and can be deleted.
    pub fn unopened(
        dir: PathBuf,
        config: Rc<LogConfig>,
        (recovery_point, log_start): (Offset, Offset),
        appender: &Rc<Appender>,
        error: StorageError,
    ) -> Rc<Log> {
        let now_ms = crate::clock::wall_ms();
        let log = Log::empty(dir, config.clone(), None, appender, now_ms);
        let end = recovery_point.max(log_start);
        let mut state = log.state.borrow_mut();
        state.segments.push_back(Segment::new(end, &config, now_ms));
        state.exists = true;
        drop(state);
        for position in [&log.log_end, &log.written] {
            position.set(end);
        }
        log.log_start.set(log_start);
        log.flushed.set(recovery_point);
        log.flush_wanted.set(recovery_point);
        log.offline.replace(Some(error));
        Rc::new(log)
    }

    /// Without segments: the caller adds them.
    fn empty(
        dir: PathBuf,
        config: Rc<LogConfig>,
        topic_id: Option<TopicId>,
        appender: &Rc<Appender>,
        now_ms: i64,
    ) -> Log {
        let name = dir.file_name().map(|name| name.to_string_lossy().into()).unwrap_or_default();
        Log {
            name,
            appender: appender.clone(),
            log_start: Cell::default(),
            log_end: Cell::default(),
            written: Cell::default(),
            flushed: Cell::default(),
            offline: RefCell::new(None),
            making_files: Cell::new(false),
            dirty: Cell::new(false),
            flush_wanted: Cell::default(),
            flushing: Cell::new(false),
            waiting_written: Waiting::default(),
            waiting_flushed: Waiting::default(),
            state: RefCell::new(State::empty(dir, config, topic_id, now_ms)),
        }
    }

    /// Takes over what was loaded.
    fn install(&self, loaded: Loaded, now_ms: i64) {
        let mut state = self.state.borrow_mut();
        let config = state.config.clone();
        state.segments.clear();
        for stored in loaded.segments {
            let segment = Segment::stored(stored, &config, now_ms);
            state.segments.push_back(segment);
        }
        let ends: Vec<Offset> =
            state.segments.iter().skip(1).map(|s| s.base).chain([loaded.log_end]).collect();
        for (segment, end) in state.segments.iter_mut().zip(ends) {
            segment.synced = end <= loaded.recovery_point;
        }
        if state.segments.is_empty() {
            state.segments.push_back(Segment::new(loaded.log_end, &config, now_ms));
        }
        state.tail.clear();
        state.producers = loaded.producers;
        state.epochs = loaded.epochs;
        state.epochs_dirty = loaded.epochs_changed;
        state.snapshots = loaded.snapshots;
        state.unwritten_snapshots.clear();
        state.exists = loaded.exists;
        state.names_dirty = loaded.exists && loaded.recovery_point < loaded.log_end;
        drop(state);
        self.log_start.set(loaded.log_start);
        self.log_end.set(loaded.log_end);
        self.written.set(loaded.log_end);
        self.flushed.set(loaded.recovery_point);
        self.flush_wanted.set(loaded.recovery_point);
    }

    /// `topic-partition`.
    pub fn name(&self) -> &str {
        &self.name
    }

    // ---- positions ----

    pub fn log_start(&self) -> Offset {
        self.log_start.get()
    }

    /// The next offset to be given out; staged batches lie below it.
    pub fn log_end(&self) -> Offset {
        self.log_end.get()
    }

    /// Everything below is in the page cache.
    pub fn written(&self) -> Offset {
        self.written.get()
    }

    /// Everything below is on the device: the recovery point.
    pub fn flushed(&self) -> Offset {
        self.flushed.get()
    }

    /// Where the oldest open transaction began.
    pub fn first_unstable(&self) -> Option<Offset> {
        self.state.borrow().producers.first_open_transaction()
    }

    /// Bytes of all segments, staged ones included.
    pub fn size_bytes(&self) -> u64 {
        self.state.borrow().segments.iter().map(|segment| u64::from(segment.size)).sum()
    }

    /// Bytes that wait to be written: they are held in memory until then.
    pub fn staged_bytes(&self) -> usize {
        self.state.borrow().staged_bytes
    }

    pub fn segment_count(&self) -> usize {
        self.state.borrow().segments.len()
    }

    /// Why the log cannot be used, once it cannot.
    pub fn offline(&self) -> Option<StorageError> {
        self.offline.borrow().clone()
    }

    pub fn dir(&self) -> PathBuf {
        self.state.borrow().dir.clone()
    }

    pub fn check_online(&self) -> Result<(), StorageError> {
        match &*self.offline.borrow() {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    // ---- append ----

    /// Gives the batch its offset and stages it; the appender writes it at the end of the turn.
    pub fn append(
        self: &Rc<Self>,
        batch: &CheckedBatch,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.check_online()?;
        let bytes = self.check_size(batch.bytes.len())?;
        let first = self.log_end.get();
        let by = ProducedBy::of(batch.header());
        if let Some(by) = by.filter(|_| !planted(Fault::SkipDuplicateCheck))
            && let Some(original) = self.state.borrow().producers.check(&by, first, &self.name)?
        {
            return Ok(Appended {
                base_offset: original.first_offset(),
                last_offset: original.last_offset,
                log_append_time_ms: original.timestamp_ms,
                log_start: self.log_start.get(),
                duplicate: true,
                flush_first: self.flush_is_due(),
            });
        }
        let log_append_time = (batch.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
        let timestamp_ms = log_append_time.unwrap_or(batch.max_timestamp);
        let place = Place { first, last: first.plus(i64::from(batch.last_offset_delta)), position: 0, bytes };
        let header = batch.stamp(first, leader_epoch, log_append_time);
        let staged = Staged { header, batch: batch.bytes.clone(), place };
        self.stage(staged, by, false, timestamp_ms, leader_epoch, now_ms);
        Ok(Appended {
            base_offset: first,
            last_offset: place.last,
            log_append_time_ms: log_append_time.unwrap_or(-1),
            log_start: self.log_start.get(),
            duplicate: false,
            flush_first: self.flush_is_due(),
        })
    }

    /// Appends one batch that this broker built itself (coordinators, the metadata log): it may be a control
    /// batch, and sequences are not looked at. Only base offset and leader epoch are set.
    pub fn append_own(
        self: &Rc<Self>,
        batch: Bytes,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.check_online()?;
        let bytes = self.check_size(batch.len())?;
        let (mut header, _) =
            BatchHeader::read_from_prefix(&batch).expect("a built batch has a whole header");
        let first = self.log_end.get();
        header.base_offset = first.0.into();
        header.partition_leader_epoch = leader_epoch.0.into();
        let place = Place { first, last: header.last_offset(), position: 0, bytes };
        let is_control = header.attributes().is_control();
        let mut stamped = [0; HEADER_BYTES];
        stamped.copy_from_slice(header.as_bytes());
        let staged = Staged { header: stamped, batch, place };
        let timestamp_ms = header.max_timestamp.get();
        self.stage(staged, ProducedBy::of(&header), is_control, timestamp_ms, leader_epoch, now_ms);
        Ok(Appended {
            base_offset: first,
            last_offset: place.last,
            log_append_time_ms: -1,
            log_start: self.log_start.get(),
            duplicate: false,
            flush_first: self.flush_is_due(),
        })
    }

    fn check_size(&self, bytes: usize) -> Result<u32, AppendError> {
        let most = self.state.borrow().config.segment_bytes;
        u32::try_from(bytes).ok().filter(|bytes| *bytes <= most).ok_or_else(|| {
            AppendError::BatchTooLarge(format!(
                "Message batch size is {bytes} bytes in append to partition {}, which exceeds the maximum \
                 configured segment size of {most}.",
                self.name
            ))
        })
    }

    fn flush_is_due(&self) -> bool {
        let unflushed = self.log_end.get().0 - self.flushed.get().0;
        unflushed >= self.state.borrow().config.flush_messages
    }

    fn stage(
        self: &Rc<Self>,
        mut staged: Staged,
        by: Option<ProducedBy>,
        is_control: bool,
        timestamp_ms: i64,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) {
        let place = staged.place;
        debug_assert_eq!(place.first, self.log_end.get());
        let mut state = self.state.borrow_mut();
        state.roll_if_due(place, timestamp_ms, now_ms);
        let interval = state.config.index_interval_bytes;
        let segment = state.newest();
        staged.place.position = segment.size;
        segment.stage(place.bytes, place.last, timestamp_ms, interval);
        if let Some(by) = by {
            match is_control {
                false => state.producers.note(&by, place.first, place.last, timestamp_ms),
                true => state.producers.note_marker(&by, -1, timestamp_ms),
            }
        }
        if state.epochs.assign(leader_epoch, place.first) {
            state.epochs_dirty = true;
        }
        state.staged_bytes += staged.batch.len();
        state.staged.push_back(staged);
        drop(state);
        self.log_end.set(place.last.plus(1));
        self.mark_dirty();
        if self.flush_is_due() {
            self.want_flush(self.log_end.get());
        }
        if planted(Fault::AnswerBeforeWrite) {
            self.set_written(self.log_end.get());
        }
    }

    fn mark_dirty(self: &Rc<Self>) {
        if !self.dirty.replace(true) {
            self.appender.mark_dirty(self);
        }
    }

    // ---- write ----

    /// Writes everything staged, one vectored write for what belongs to one segment. Where a segment's
    /// files must be made first, goes on when they are.
    pub(super) fn write_staged(self: &Rc<Self>) {
        self.dirty.set(false);
        while self.offline.borrow().is_none() && !self.making_files.get() {
            let mut state = self.state.borrow_mut();
            let Some(index) = state.segment_to_write() else { return };
            if state.segments[index].on_disk == OnDisk::Missing {
                drop(state);
                self.make_files(index);
                return;
            }
            match state.write_run(index) {
                Ok(run) => {
                    let jobs = state.jobs_ahead(self, index);
                    drop(state);
                    jobs.into_iter().flatten().for_each(|job| self.appender.post(job));
                    self.set_written(run.end);
                    if run.rolled {
                        // The segment before is complete: bring it to the device.
                        self.want_flush(run.base);
                    }
                }
                Err(error) => {
                    let path = path_of(&state.dir, state.segments[index].base, LOG_SUFFIX);
                    drop(state);
                    self.go_offline(StorageError::io("write", &path, &error));
                }
            }
        }
    }

    /// Makes the files of a segment, and before the first one the directory, off the core.
    fn make_files(self: &Rc<Self>, index: usize) {
        self.making_files.set(true);
        let making = self.state.borrow_mut().making(index);
        let base = making.base;
        let log = self.clone();
        glommio::spawn_local(async move {
            let dir = making.dir.clone();
            let made = blocking(move || making.make()).await;
            log.making_files.set(false);
            match made {
                Ok((file, reserved)) => log.made_files(base, file, reserved),
                Err(error) => log.go_offline(StorageError::io("make a segment in", &dir, &error)),
            }
        })
        .detach();
    }

    fn made_files(self: &Rc<Self>, base: Offset, file: Arc<SegmentFile>, reserved: u64) {
        let mut state = self.state.borrow_mut();
        let turn = state.turn;
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) {
            segment.on_disk = OnDisk::Present;
            segment.file = Some(file);
            segment.used_in = turn;
            segment.reserved(0, reserved);
        } else {
            appender::release(reserved);
        }
        drop(state);
        self.waiting_written.wake_all();
        self.write_staged();
    }

    fn set_written(&self, to: Offset) {
        debug_assert!(to <= self.log_end.get());
        if to > self.written.get() {
            self.written.set(to);
            self.waiting_written.wake_to(to);
        }
    }

    /// Takes the log out of use for good and tells everybody who waits.
    fn go_offline(&self, error: StorageError) {
        if self.offline.borrow().is_some() {
            return;
        }
        if !matches!(error, StorageError::Closed) {
            tracing::error!(log = &*self.name, %error, "the log is offline");
        }
        *self.offline.borrow_mut() = Some(error);
        let mut state = self.state.borrow_mut();
        state.staged.clear();
        state.staged_bytes = 0;
        state.release_reserved();
        drop(state);
        self.waiting_written.wake_all();
        self.waiting_flushed.wake_all();
    }

    /// Space from `from` on was reserved (called by the background loop).
    pub(super) fn reserved(&self, base: Offset, from: u64, bytes: u64, file: Arc<SegmentFile>) {
        let mut state = self.state.borrow_mut();
        let newest_base = state.newest().base;
        let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) else {
            appender::release(bytes);
            return;
        };
        segment.reserving = false;
        if base == newest_base && self.offline.borrow().is_none() {
            segment.reserved(from, bytes);
            return;
        }
        appender::release(bytes);
        // Too late: the segment ends already. Nothing writes to it any more once it is whole.
        if base != newest_base && segment.written == segment.size {
            self.appender.post(Job::Trim { file, bytes: u64::from(segment.written) });
        }
    }

    /// Write-back was started (called by the background loop).
    pub(super) fn wrote_back(&self, base: Offset) {
        let mut state = self.state.borrow_mut();
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) {
            segment.writing_back = false;
        }
    }

    // ---- waiting and flushing ----

    /// Resolves when everything below `offset` is in the page cache.
    pub fn written_to(self: &Rc<Self>, offset: Offset) -> WaitFor {
        WaitFor::new(self.clone(), offset, false)
    }

    /// Asks for a flush and resolves when everything below `offset` is on the device. Who asks while one
    /// is under way shares the next.
    pub fn flushed_to(self: &Rc<Self>, offset: Offset) -> WaitFor {
        self.want_flush(offset);
        WaitFor::new(self.clone(), offset, true)
    }

    /// Brings everything appended so far to the device.
    pub async fn flush(self: &Rc<Self>) -> Result<(), StorageError> {
        self.flushed_to(self.log_end.get()).await
    }

    fn want_flush(self: &Rc<Self>, to: Offset) {
        let to = to.min(self.log_end.get());
        self.flush_wanted.set(self.flush_wanted.get().max(to));
        if self.flush_wanted.get() > self.flushed.get() && !self.flushing.replace(true) {
            glommio::spawn_local(self.clone().flush_wanted()).detach();
        }
    }

    /// Flushes until nobody wants more; one at a time a log.
    async fn flush_wanted(self: Rc<Self>) {
        while self.offline.borrow().is_none() && self.flushed.get() < self.flush_wanted.get() {
            if self.written_to(self.flush_wanted.get()).await.is_err() {
                break;
            }
            let asked = self.flush_target().1;
            let slot = self.appender.flush_slot(asked).await;
            let to = self.flush_target().0;
            let work = self.state.borrow_mut().flush_work(to);
            let done = match work {
                Ok(work) => blocking(move || work.perform()).await,
                Err(error) => Err(error),
            };
            drop(slot);
            match done {
                Ok(done) => {
                    let mut state = self.state.borrow_mut();
                    state.flush_done(done);
                    state.flushed_at_ms = crate::clock::wall_ms();
                    drop(state);
                    self.flushed.set(self.flushed.get().max(to));
                    self.waiting_flushed.wake_to(self.flushed.get());
                }
                Err(error) => self.go_offline(error),
            }
        }
        self.flushing.set(false);
        self.waiting_flushed.wake_to(self.flushed.get());
    }

    /// Up to where to flush: to everything that is written, unless nobody wants more than the older
    /// segments. And whether somebody asked for it.
    fn flush_target(&self) -> (Offset, bool) {
        let newest_base = self.state.borrow_mut().newest().base;
        match self.flush_wanted.get() <= newest_base {
            true => (self.flush_wanted.get(), !self.waiting_flushed.is_empty()),
            false => (self.written.get(), true),
        }
    }

    // ---- read ----

    /// The bytes of batches from `from` on; none at or above `below` (the high watermark), none unwritten.
    /// `None`: nothing there yet. With `min_one` the first batch is whole even above `max_bytes`; without,
    /// a first batch above `max_bytes` gives `None`.
    pub fn read(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: u32,
        min_one: bool,
    ) -> Result<Option<Slice>, ReadError> {
        self.check_online()?;
        let (log_start, log_end) = (self.log_start.get(), self.log_end.get());
        if from < log_start || from > log_end {
            return Err(ReadError::OutOfRange { log_start, log_end });
        }
        let below = below.min(self.written.get());
        if from >= below {
            return Ok(None);
        }
        let read = self.state.borrow_mut().read(from, below, self.written.get(), max_bytes, min_one);
        read.map_err(|miss| match miss {
            Miss::Cold(cold) => ReadError::Cold(cold),
            Miss::Io(error) => ReadError::Offline(StorageError::io("read", &self.dir(), &error)),
        })
    }

    /// Brings a range that a read found cold into the page cache.
    pub async fn warm(&self, cold: Cold) -> Result<(), StorageError> {
        self.bring(cold, AHEAD_BYTES).await
    }

    async fn bring(&self, cold: Cold, bytes_min: usize) -> Result<(), StorageError> {
        blocking(move || {
            let mut bytes = vec![0; (cold.length as usize).max(bytes_min)];
            match cold.file.read_at(&mut bytes, cold.position) {
                Ok(_) => Ok(()),
                Err(error) => Err(StorageError::io("read", cold.file.path(), &error)),
            }
        })
        .await
    }

    /// The bytes of a slice, for who has to look into them. Read off this core where they are not in memory.
    pub async fn bytes_of(&self, slice: &Slice) -> Result<Vec<u8>, StorageError> {
        let Slice { file, position, length, .. } = slice.clone();
        blocking(move || {
            let mut bytes = vec![0; length as usize];
            match file.read_at(&mut bytes, position) {
                Ok(count) => {
                    bytes.truncate(count);
                    Ok(bytes)
                }
                Err(error) => Err(StorageError::io("read", file.path(), &error)),
            }
        })
        .await
    }

    /// The header of the first batch whose last offset is at least `offset`, `None` behind the last batch that is
    /// written. Where it is in memory no thread is asked; where not, no more is read than it takes.
    pub async fn header_at(&self, offset: Offset) -> Result<Option<BatchHeader>, StorageError> {
        self.brought(0, |state| state.header_at(offset)).await
    }

    /// The first record from the log's start on whose timestamp is at least `timestamp_ms`: its timestamp,
    /// offset and leader epoch.
    pub async fn offset_for_timestamp(
        self: &Rc<Self>,
        timestamp_ms: i64,
    ) -> Result<Option<(i64, Offset, LeaderEpoch)>, StorageError> {
        let log_start = self.log_start.get();
        let mut from = Offset::ZERO;
        loop {
            let found = self.warmly(|state| state.search_by_time(timestamp_ms, log_start, from)).await?;
            let Some((search, end)) = found else { return Ok(None) };
            let is_late_enough = move |batch_timestamp_ms| batch_timestamp_ms >= timestamp_ms;
            let is_wanted = move |record_ms, offset| record_ms >= timestamp_ms && offset >= log_start;
            let record = blocking(move || search.first_record(is_late_enough, is_wanted)).await?;
            if record.is_some() {
                return Ok(record);
            }
            from = end;
        }
    }

    /// The first record of the batch with the largest timestamp that has it: timestamp, offset, leader epoch.
    pub async fn max_timestamp(self: &Rc<Self>) -> Result<Option<(i64, Offset, LeaderEpoch)>, StorageError> {
        let search = self.warmly(State::search_largest).await?;
        let Some((search, largest_ms)) = search else { return Ok(None) };
        blocking(move || {
            search.first_record(|batch| batch == largest_ms, |timestamp, _| timestamp == largest_ms)
        })
        .await
    }

    /// Repeats a look into the state until all that it needs is in memory.
    async fn warmly<T>(&self, look: impl Fn(&mut State) -> Result<T, Miss>) -> Result<T, StorageError> {
        self.brought(AHEAD_BYTES, look).await
    }

    /// The same, with so many bytes read at least where something is not.
    async fn brought<T>(
        &self,
        bytes_min: usize,
        look: impl Fn(&mut State) -> Result<T, Miss>,
    ) -> Result<T, StorageError> {
        loop {
            self.check_online()?;
            let looked = look(&mut self.state.borrow_mut());
            match looked {
                Ok(found) => return Ok(found),
                Err(Miss::Cold(cold)) => self.bring(cold, bytes_min).await?,
                Err(Miss::Io(error)) => return Err(StorageError::io("read", &self.dir(), &error)),
            }
        }
    }

    // ---- epochs and producers ----

    /// Notes that `epoch` begins at the log end, on becoming leader.
    pub fn begin_epoch(&self, epoch: LeaderEpoch) {
        let mut state = self.state.borrow_mut();
        if state.epochs.assign(epoch, self.log_end.get()) {
            state.epochs_dirty = true;
        }
    }

    /// Kafka's answer to OffsetForLeaderEpoch: the largest epoch at most `epoch` and the offset where it
    /// ends; (-1, -1) where unknown.
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.state.borrow().epochs.end_offset_for(epoch, self.log_end.get())
    }

    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.state.borrow().epochs.at(offset)
    }

    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.state.borrow().epochs.latest()
    }

    /// The first epoch that is known and where it begins.
    pub fn earliest_epoch(&self) -> Option<(LeaderEpoch, Offset)> {
        self.state.borrow().epochs.earliest()
    }

    /// For DescribeProducers, in the order of their ids.
    pub fn producers(&self) -> Vec<ProducerState> {
        self.state.borrow().producers.states()
    }

    // ---- upkeep ----

    pub fn config(&self) -> Rc<LogConfig> {
        self.state.borrow().config.clone()
    }

    /// Takes effect with the next append or housekeeping.
    pub fn set_config(&self, config: Rc<LogConfig>) {
        self.state.borrow_mut().config = config;
    }

    /// Raises the log start (DeleteRecords, retention); `false` where it is there already. Durable once the
    /// caller has written the log-start-offset checkpoint; the caller has held `to` against the high watermark.
    pub fn advance_log_start(&self, to: Offset) -> bool {
        let to = to.min(self.log_end.get());
        if to <= self.log_start.get() {
            return false;
        }
        self.log_start.set(to);
        let mut state = self.state.borrow_mut();
        if state.epochs.truncate_from_start(to) {
            state.epochs_dirty = true;
        }
        true
    }

    /// Housekeeping; call it every few seconds. Flushes by `flush.ms`, forgets silent producers, closes what
    /// nobody uses.
    pub fn tick(self: &Rc<Self>, now_ms: i64) {
        if self.offline.borrow().is_some() {
            return;
        }
        let mut state = self.state.borrow_mut();
        state.turn = state.turn.wrapping_add(1);
        state.expire_producers(now_ms);
        let idle =
            self.written.get() == self.log_end.get() && !self.making_files.get() && !self.flushing.get();
        let trim = if idle { state.close_idle() } else { None };
        let flush = self.flushed.get() < self.log_end.get()
            && now_ms.saturating_sub(state.flushed_at_ms) >= state.config.flush_ms;
        drop(state);
        if let Some((file, bytes)) = trim {
            self.trim(file, bytes);
        }
        if flush {
            self.want_flush(self.log_end.get());
        }
    }

    /// Gives the reserved space behind the newest segment back; writes wait, as a cut must not meet them.
    fn trim(self: &Rc<Self>, file: Arc<SegmentFile>, bytes: u64) {
        self.making_files.set(true);
        let log = self.clone();
        glommio::spawn_local(async move {
            let trimmed = blocking(move || file.truncate(bytes)).await;
            log.making_files.set(false);
            match trimmed {
                Ok(()) => log.write_staged(),
                Err(error) => log.go_offline(StorageError::io("trim", &log.dir(), &error)),
            }
        })
        .detach();
    }

    /// Deletes segments by log start, size and time, none that reaches past `high_watermark`; gives how many.
    pub async fn retain(self: &Rc<Self>, high_watermark: Offset, now_ms: i64) -> Result<usize, StorageError> {
        self.check_online()?;
        let high_watermark = high_watermark.min(self.written.get());
        let ends = (self.log_start.get(), self.log_end.get());
        let count = self.warmly(|state| state.count_to_delete(ends, high_watermark, now_ms)).await?;
        if count == 0 {
            return Ok(0);
        }
        self.delete_oldest(count, now_ms).await?;
        Ok(count)
    }

    async fn delete_oldest(self: &Rc<Self>, count: usize, now_ms: i64) -> Result<(), StorageError> {
        let last = {
            let mut state = self.state.borrow_mut();
            if count == state.segments.len() {
                // Its file says where the log ends, so it must stand before the others go.
                state.roll(self.log_end.get(), now_ms);
            }
            state.segments[count - 1].base
        };
        self.mark_dirty();
        self.newest_on_disk().await?;
        let (gone, new_start) = {
            let mut state = self.state.borrow_mut();
            let count = state.segments.iter().take_while(|segment| segment.base <= last).count();
            let count = count.min(state.segments.len() - 1);
            let gone: Vec<Segment> = state.segments.drain(..count).collect();
            (gone, state.segments[0].base)
        };
        self.advance_log_start(new_start);
        if self.flushed.get() < new_start {
            self.flushed.set(new_start);
            self.waiting_flushed.wake_to(new_start);
        }
        self.bury(gone).await
    }

    /// Renames the files of segments that nobody finds any more, to be removed after a delay.
    async fn bury(&self, gone: Vec<Segment>) -> Result<(), StorageError> {
        let (dir, delay_ms, snapshots) = {
            let mut state = self.state.borrow_mut();
            let mut snapshots = Vec::new();
            for segment in &gone {
                state.unwritten_snapshots.retain(|(offset, _)| *offset != segment.base);
                snapshots.extend(state.snapshots.remove(&segment.base.0).then_some(segment.base));
            }
            (state.dir.clone(), state.config.file_delete_delay_ms, snapshots)
        };
        let mut paths = Vec::new();
        for mut segment in gone {
            tracing::info!(log = &*self.name, base = %segment.base, bytes = segment.written, "a segment is deleted");
            for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, LOG_SUFFIX] {
                paths.push(path_of(&dir, segment.base, suffix));
            }
            segment.release_reserved();
        }
        paths.extend(snapshots.into_iter().map(|offset| path_of(&dir, offset, SNAPSHOT_SUFFIX)));
        let renamed = blocking(move || rename_deleted(paths)).await?;
        for path in renamed {
            self.appender.bury(path, delay_ms);
        }
        Ok(())
    }

    /// Resolves when the newest segment's files are there.
    async fn newest_on_disk(self: &Rc<Self>) -> Result<(), StorageError> {
        loop {
            self.check_online()?;
            let is_there =
                self.state.borrow().segments.back().is_some_and(|segment| segment.on_disk == OnDisk::Present);
            if is_there {
                return Ok(());
            }
            std::future::poll_fn(|context| {
                let newest = self
                    .state
                    .borrow()
                    .segments
                    .back()
                    .is_some_and(|segment| segment.on_disk == OnDisk::Present);
                if newest || self.offline.borrow().is_some() {
                    return Poll::Ready(());
                }
                self.waiting_written.register(Offset(i64::MAX), None, context);
                Poll::Pending
            })
            .await;
        }
    }

    /// Cuts the log back so that it ends at `to` (a follower that diverged). Nothing may be appended
    /// meanwhile.
    pub async fn truncate(self: &Rc<Self>, to: Offset) -> Result<(), StorageError> {
        self.flush().await?;
        self.idle().await;
        self.check_online()?;
        if to >= self.log_end.get() {
            let mut state = self.state.borrow_mut();
            let changed = state.epochs.truncate_from_end(self.log_end.get());
            state.epochs_dirty |= changed;
            return Ok(());
        }
        let (cut, opening) = {
            let mut state = self.state.borrow_mut();
            state.release_reserved();
            state.segments.iter_mut().for_each(Segment::close);
            let bases: Vec<Offset> = state.segments.iter().map(|segment| segment.base).collect();
            let opening = Opening {
                clean: false,
                recovery_point: to,
                log_start: self.log_start.get().min(to),
                topic_id: state.topic_id,
                progress: None,
            };
            (Cut { dir: state.dir.clone(), config: LogConfig::clone(&state.config), bases, to }, opening)
        };
        let now_ms = crate::clock::wall_ms();
        let loaded = blocking(move || cut.perform(&opening, now_ms)).await;
        match loaded {
            Ok(loaded) => {
                self.install(loaded, now_ms);
                Ok(())
            }
            Err(error) => {
                self.go_offline(error.clone());
                Err(error)
            }
        }
    }

    /// Resolves when no files are being made and no flush is under way.
    async fn idle(&self) {
        while self.making_files.get() || self.flushing.get() {
            glommio::timer::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Writes everything, takes the producer snapshot, completes the indexes, trims and closes the files.
    /// Nothing can be appended or read afterwards. It syncs nothing, as one sync serves all logs of a
    /// directory: [`crate::storage::checkpoint::write_clean_shutdown`] does it, and may be called only when
    /// every log of the directory closed without an error. `flushed` stays what it was.
    pub async fn close(self: &Rc<Self>) -> Result<(), StorageError> {
        self.check_online()?;
        self.written_to(self.log_end.get()).await?;
        self.flush_wanted.set(self.flushed.get());
        self.idle().await;
        self.check_online()?;
        let work = self.state.borrow_mut().close_work(self.log_end.get())?;
        self.go_offline(StorageError::Closed);
        if let Some(work) = work {
            blocking(move || work.perform()).await?;
        }
        self.state.borrow_mut().segments.iter_mut().for_each(Segment::close);
        Ok(())
    }

    /// Takes the log out of use and renames its directory to `<topic>-<partition>.<uuid>-delete`; its files
    /// are gone after `file.delete.delay.ms`. Readers keep what they hold.
    pub async fn delete(self: &Rc<Self>) -> Result<(), StorageError> {
        // Producers that came before the deletion get their answer.
        let _offline = self.written_to(self.log_end.get()).await;
        self.go_offline(StorageError::Closed);
        self.idle().await;
        let (dir, exists, delay_ms) = {
            let mut state = self.state.borrow_mut();
            state.segments.iter_mut().for_each(Segment::close);
            (state.dir.clone(), state.exists, state.config.file_delete_delay_ms)
        };
        if !exists {
            return Ok(());
        }
        let renamed = dir.with_file_name(deleted_name(&self.name));
        let to = renamed.clone();
        blocking(move || match file::rename(&dir, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StorageError::io("rename", &dir, &e)),
            _ => Ok(()),
        })
        .await?;
        self.appender.bury(renamed, delay_ms);
        Ok(())
    }
}

/// The name of a deleted partition's directory, at most 255 bytes: the topic is cut where it is too long.
fn deleted_name(name: &str) -> String {
    let (topic, partition) = name.rsplit_once('-').unwrap_or((name, "0"));
    let suffix = format!("-{partition}.{}-delete", uuid::Uuid::new_v4().simple());
    let most = 255 - suffix.len();
    let end = (0..=topic.len().min(most)).rev().find(|end| topic.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{suffix}", &topic[..end])
}

/// Renames each file that exists to its name with `.deleted`; gives the new names. Blocks.
fn rename_deleted(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, StorageError> {
    let mut renamed = Vec::with_capacity(paths.len());
    for path in paths {
        let mut to = path.clone().into_os_string();
        to.push(DELETED_SUFFIX);
        let to = PathBuf::from(to);
        match file::rename(&path, &to) {
            Ok(()) => renamed.push(to),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StorageError::io("rename", &path, &e)),
        }
    }
    Ok(renamed)
}
