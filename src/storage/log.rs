//! One partition's log.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use crate::protocol::batch::CheckedBatch;
use crate::storage::appender::Appender;
use crate::storage::producers::ProducerState;
use crate::storage::reader::{Cold, ReadError, Slice};
use crate::types::{LeaderEpoch, Offset, TopicId};

/// The configuration that a log acts on; filled from the topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `retention.bytes`, -1 for no limit
    pub retention_bytes: i64,
    /// `retention.ms`, -1 for no limit
    pub retention_ms: i64,
    /// `cleanup.policy` contains `delete`
    pub delete: bool,
    /// `cleanup.policy` contains `compact`
    pub compact: bool,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: i64,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_ms: i64,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// What is known of a log before it is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The log directory was shut down cleanly: nothing is scanned.
    pub clean: bool,
    /// From `recovery-point-offset-checkpoint`; 0 where it has no entry.
    pub recovery_point: Offset,
    /// From `log-start-offset-checkpoint`; 0 where it has no entry.
    pub log_start: Offset,
    /// Goes to `partition.metadata`; an existing file must name the same.
    pub topic_id: Option<TopicId>,
}

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

#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    #[error("{0}")]
    OutOfOrderSequence(String),
    #[error("{0}")]
    InvalidProducerEpoch(String),
    /// The batch is larger than `segment.bytes`.
    #[error("{0}")]
    BatchTooLarge(String),
    #[error(transparent)]
    Offline(#[from] StorageError),
}

/// A log that can no longer be used: KAFKA_STORAGE_ERROR to clients until it is opened again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    #[error("{action} {path}: {message}")]
    Io { action: &'static str, path: String, message: String, kind: std::io::ErrorKind },
    #[error("{path}: {message}")]
    Unsupported { path: String, message: String },
    #[error("{path} belongs to topic id {found}, not {expected}")]
    OtherTopicId { path: String, found: TopicId, expected: TopicId },
    #[error("the log is closed")]
    Closed,
}

/// One partition's log; the state of one core, used through `Rc`.
pub struct Log {}

impl Log {
    /// Reads (and after an unclean stop recovers) what is in `dir`. A directory that does not exist is
    /// made at the first append.
    pub async fn open(dir: PathBuf, config: Rc<LogConfig>, opening: Opening, appender: &Rc<Appender>) -> Result<Rc<Log>, StorageError> {
        todo!()
    }

    /// Gives the batch its offset and stages it; the appender writes it at the end of the turn.
    pub fn append(self: &Rc<Self>, batch: &CheckedBatch, leader_epoch: LeaderEpoch, now_ms: i64) -> Result<Appended, AppendError> {
        todo!()
    }

    /// Appends one batch that this broker built (coordinators, metadata log): any attributes, no producer check.
    pub fn append_own(self: &Rc<Self>, batch: Bytes, leader_epoch: LeaderEpoch) -> Result<Appended, AppendError> {
        todo!()
    }

    /// Resolves when everything below `offset` is in the page cache (survives a kill of the process).
    pub fn written_to(self: &Rc<Self>, offset: Offset) -> impl Future<Output = Result<(), StorageError>> + use<> {
        async { todo!() }
    }

    /// Asks for a flush and resolves when everything below `offset` is on the device. One fdatasync at a time a log.
    pub fn flushed_to(self: &Rc<Self>, offset: Offset) -> impl Future<Output = Result<(), StorageError>> + use<> {
        async { todo!() }
    }

    /// `flushed_to(log_end)`.
    pub async fn flush(self: &Rc<Self>) -> Result<(), StorageError> {
        todo!()
    }

    /// Bytes of whole batches from `from`, none at or above `below` (the high watermark) nor unwritten.
    /// `None`: nothing there yet. The first batch is whole even above `max_bytes` with `min_one`; without
    /// it a first batch above `max_bytes` gives `None`.
    pub fn read(&self, from: Offset, below: Offset, max_bytes: u32, min_one: bool) -> Result<Option<Slice>, ReadError> {
        todo!()
    }

    /// Brings a range that a read found cold into the page cache.
    pub async fn warm(&self, cold: &Cold) -> Result<(), StorageError> {
        todo!()
    }

    /// The first record at or after the log start whose timestamp is at least `timestamp_ms`: its timestamp, offset and epoch.
    pub async fn offset_for_timestamp(self: &Rc<Self>, timestamp_ms: i64) -> Result<Option<(i64, Offset, LeaderEpoch)>, StorageError> {
        todo!()
    }

    /// The record with the largest timestamp: ListOffsets -3.
    pub async fn max_timestamp(self: &Rc<Self>) -> Result<Option<(i64, Offset, LeaderEpoch)>, StorageError> {
        todo!()
    }

    pub fn log_start(&self) -> Offset {
        todo!()
    }
    /// The next offset to be given out (staged batches included).
    pub fn log_end(&self) -> Offset {
        todo!()
    }
    /// Everything below is in the page cache.
    pub fn written(&self) -> Offset {
        todo!()
    }
    /// Everything below is on the device: the recovery point.
    pub fn flushed(&self) -> Offset {
        todo!()
    }
    /// First offset of an open transaction; `None` until transactions exist.
    pub fn first_unstable(&self) -> Option<Offset> {
        None
    }
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }
    pub fn offline(&self) -> Option<StorageError> {
        todo!()
    }
    pub fn dir(&self) -> PathBuf {
        todo!()
    }

    /// Notes that `epoch` begins at the log end (on becoming leader).
    pub fn begin_epoch(&self, epoch: LeaderEpoch) {
        todo!()
    }
    /// Kafka's answer to OffsetForLeaderEpoch: the largest epoch at most `epoch` and where it ends; (-1, -1) where unknown.
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        todo!()
    }
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        todo!()
    }
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        todo!()
    }
    /// For DescribeProducers.
    pub fn producers(&self) -> Vec<ProducerState> {
        todo!()
    }

    /// Raises the log start (DeleteRecords); `false` where it is there already. Durable once the caller
    /// has written the log-start-offset checkpoint. The caller checks it against the high watermark.
    pub fn advance_log_start(&self, to: Offset) -> bool {
        todo!()
    }
    /// Deletes segments by log start, size and time, none at or above `high_watermark`; returns their number.
    pub async fn retain(self: &Rc<Self>, high_watermark: Offset, now_ms: i64) -> Result<usize, StorageError> {
        todo!()
    }
    /// Housekeeping, every few seconds: flush.ms, producer expiry, idle files closed.
    pub fn tick(self: &Rc<Self>, now_ms: i64) {
        todo!()
    }
    pub fn set_config(&self, config: Rc<LogConfig>) {
        todo!()
    }
    /// Cuts the log back to `to` (a follower that diverged).
    pub async fn truncate(self: &Rc<Self>, to: Offset) -> Result<(), StorageError> {
        todo!()
    }
    /// Writes and flushes everything, takes the producer snapshot, trims the files and closes them.
    pub async fn close(self: &Rc<Self>) -> Result<(), StorageError> {
        todo!()
    }
    /// Renames the directory to `<topic>-<p>.<uuid>-delete`; its files are gone after `file.delete.delay.ms`.
    pub async fn delete(self: &Rc<Self>) -> Result<(), StorageError> {
        todo!()
    }
}
