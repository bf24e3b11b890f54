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

mod append;
mod read;
mod upkeep;
mod write;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use crate::storage::appender::Appender;
use crate::storage::config::{LogConfig, Opening};
use crate::storage::errors::StorageError;
use crate::storage::file::blocking;
use crate::storage::producers::ProducerState;
use crate::storage::recovery::{self, Loaded};
use crate::storage::segment::Segment;
use crate::storage::state::State;
use crate::storage::waiting::Waiting;
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

pub struct Log {
    /// The directory's name, which is how log lines and error texts call a partition.
    name: Box<str>,
    appender: Rc<Appender>,
    log_start: Cell<Offset>,
    log_end: Cell<Offset>,
    written: Cell<Offset>,
    flushed: Cell<Offset>,
    offline: RefCell<Option<StorageError>>,
    /// A segment's files are made, or cut, or cannot be opened for want of descriptors; or a write is under way
    /// off the core.
    writes_wait: Cell<bool>,
    /// How often in a row a write found no descriptor.
    out_of_files: Cell<u32>,
    /// Writes leave the core until so many more were quick; 0 for a log that does not stall.
    quick_writes_wanted: Cell<u32>,
    dirty: Cell<bool>,
    flush_wanted: Cell<Offset>,
    /// A segment ended below `flush_wanted`: the next flush seals it, also where it is flushed already.
    seal_wanted: Cell<bool>,
    flushing: Cell<bool>,
    /// Work on its files in the background that is not done.
    jobs: Cell<u32>,
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
            writes_wait: Cell::new(false),
            out_of_files: Cell::new(0),
            quick_writes_wanted: Cell::new(0),
            dirty: Cell::new(false),
            flush_wanted: Cell::default(),
            seal_wanted: Cell::new(false),
            flushing: Cell::new(false),
            jobs: Cell::new(0),
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

    /// A write took too long: for a while writes do not hold up the core.
    pub fn stalls(&self) -> bool {
        self.quick_writes_wanted.get() > 0
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
}
