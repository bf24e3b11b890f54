//! One partition on its owning core: the log, the replica's state, and the fetches that wait for it.
//!
//! An append takes effect at once and without awaiting; [`Partition::keep_promise`] then waits for what the
//! producer was promised. The high watermark follows what the log holds safely: the page cache, or the
//! device where `flush.messages` is 1.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::replica::{EpochMismatch, Leadership, Replica};
use super::waiters::{FetchWait, Waiters};
use crate::clock;
use crate::config::TopicConfig;
use crate::metrics;
use crate::protocol::batch::CheckedBatch;
use crate::storage::{self, Appended, Log, LogConfig, ReadError, Slice, StorageError};
use crate::types::{LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};

pub struct Partition {
    pub topic: Arc<str>,
    pub topic_id: TopicId,
    pub id: PartitionId,
    log: Rc<Log>,
    replica: RefCell<Replica>,
    waiters: Waiters,
    flush_each: Cell<bool>,
    in_sync_min: Cell<usize>,
    /// What lies above the high watermark, in order: the end of each append, and its bytes.
    uncommitted: RefCell<VecDeque<(Offset, u64)>>,
    /// The high watermark that the waiters were last told of.
    told: Cell<Offset>,
}

/// What a producer asked to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    None,
    Leader,
    All,
}

/// Why an append was refused; nothing of the batch was kept.
#[derive(Debug)]
pub enum AppendRefused {
    /// NOT_ENOUGH_REPLICAS
    NotEnoughReplicas {
        in_sync: usize,
        needed: usize,
    },
    Log(storage::AppendError),
}

/// What a fetch of one partition gives.
pub struct Fetched {
    pub records: Option<Slice>,
    /// There are records, but too many files are in use to read them now: as if the limit in bytes were
    /// reached, the reader comes again.
    pub put_off: bool,
    pub high_watermark: Offset,
    pub last_stable: Offset,
    pub log_start: Offset,
    /// The reader's log has diverged: its last epoch ends here (KIP-595).
    pub diverging: Option<(LeaderEpoch, Offset)>,
}

/// One partition's part of a fetch.
#[derive(Clone, Copy)]
pub struct FetchFrom {
    pub offset: Offset,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
    pub bytes_max: u32,
    /// The first batch is given whole even when it is larger than `bytes_max`.
    pub at_least_one: bool,
    pub committed_only: bool,
}

/// Why a fetch of one partition failed.
#[derive(Debug)]
pub enum FetchRefused {
    Epoch(EpochMismatch),
    OutOfRange,
    Storage(StorageError),
}

/// What the log takes of a topic's configuration.
pub fn log_config(topic: &TopicConfig, producer_id_expiration_ms: i64) -> LogConfig {
    LogConfig {
        segment_bytes: topic.segment_bytes,
        segment_ms: topic.segment_ms,
        segment_jitter_ms: topic.segment_jitter_ms,
        segment_index_bytes: topic.segment_index_bytes,
        index_interval_bytes: topic.index_interval_bytes,
        retention_bytes: topic.retention_bytes,
        retention_ms: topic.retention_ms,
        delete: topic.delete,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
        producer_id_expiration_ms,
    }
}

impl Partition {
    /// A partition that leads from now on, over an open log.
    pub fn leading(
        topic: Arc<str>,
        topic_id: TopicId,
        id: PartitionId,
        log: Rc<Log>,
        leadership: Leadership,
        config: &TopicConfig,
    ) -> Rc<Partition> {
        log.begin_epoch(leadership.leader_epoch);
        let replica = Replica::leading(leadership, log.written());
        let told = Cell::new(replica.high_watermark());
        let partition = Partition {
            topic,
            topic_id,
            id,
            log,
            replica: RefCell::new(replica),
            waiters: Waiters::default(),
            flush_each: Cell::new(false),
            in_sync_min: Cell::new(1),
            uncommitted: RefCell::default(),
            told,
        };
        partition.take_config(config);
        Rc::new(partition)
    }

    pub fn name(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.id }
    }

    pub fn log(&self) -> &Rc<Log> {
        &self.log
    }

    pub fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.replica.borrow().leader_epoch()
    }

    /// Takes what the topic's configuration says of replication and flushing; the log gets its own part.
    pub fn take_config(&self, config: &TopicConfig) {
        self.flush_each.set(config.flush_messages == 1);
        self.in_sync_min.set(usize::try_from(config.min_insync_replicas).unwrap_or(1));
    }

    /// Takes who leads now.
    pub fn take_leadership(&self, leadership: Leadership) {
        let mut replica = self.replica.borrow_mut();
        let before = replica.leader_epoch();
        replica.update(leadership);
        if replica.leader_epoch() != before {
            self.log.begin_epoch(replica.leader_epoch());
        }
    }

    /// Appends a checked batch, without awaiting.
    pub fn append(&self, batch: &CheckedBatch, acks: Acks) -> Result<Appended, AppendRefused> {
        let epoch = self.check_in_sync(acks, self.in_sync_min.get())?;
        metrics::PRODUCE_BYTES.add(batch.bytes.len() as u64);
        let appended = self.log.append(batch, epoch, clock::wall_ms()).map_err(AppendRefused::Log)?;
        if !appended.duplicate {
            let end = appended.last_offset.plus(1);
            self.uncommitted.borrow_mut().push_back((end, batch.bytes.len() as u64));
        }
        Ok(appended)
    }

    /// Appends a batch that the broker made itself, without awaiting. No more replicas are asked for than there are,
    /// so that `min.insync.replicas` of a larger cluster does not keep coordinators from working.
    pub fn append_own(&self, batch: Bytes, acks: Acks) -> Result<Appended, AppendRefused> {
        let needed = self.in_sync_min.get().min(self.replica.borrow().replica_count());
        let epoch = self.check_in_sync(acks, needed)?;
        let bytes = batch.len() as u64;
        let appended = self.log.append_own(batch, epoch, clock::wall_ms()).map_err(AppendRefused::Log)?;
        self.uncommitted.borrow_mut().push_back((appended.last_offset.plus(1), bytes));
        Ok(appended)
    }

    /// The leader epoch to append under, where `needed` replicas are in sync or `acks` does not ask for it.
    fn check_in_sync(&self, acks: Acks, needed: usize) -> Result<LeaderEpoch, AppendRefused> {
        let replica = self.replica.borrow();
        let in_sync = replica.in_sync_count();
        match acks == Acks::All && in_sync < needed {
            true => Err(AppendRefused::NotEnoughReplicas { in_sync, needed }),
            false => Ok(replica.leader_epoch()),
        }
    }

    /// Starts what [`Partition::keep_promise`] will wait for, where that is more than the write.
    pub fn begin_promise(&self, appended: &Appended) {
        if appended.flush_first {
            let _waited_for_later = self.log.flushed_to(appended.last_offset.plus(1));
        }
    }

    /// Waits until an append is what its producer was promised: in the page cache, or on the device where
    /// the topic says so. With an ISR of one, acks=1 and acks=all promise the same.
    pub async fn keep_promise(&self, appended: &Appended) -> Result<(), StorageError> {
        let end = appended.last_offset.plus(1);
        let kept = match appended.flush_first {
            true => self.log.flushed_to(end).await,
            false => self.log.written_to(end).await,
        };
        if kept.is_err() {
            // The log is offline: who waits for its records learns it now.
            self.waiters.rouse_all();
        }
        kept?;
        self.commit();
        Ok(())
    }

    /// Waits until what was appended before is as visible as it gets without a flush: a request that came
    /// behind a produce on one connection sees that produce. Fails where the log is offline.
    pub async fn settled(&self) -> Result<(), StorageError> {
        self.log.check_online()?;
        self.log.written_to(self.log.log_end()).await
    }

    /// Moves the high watermark to what the log holds safely and tells the waiting fetches.
    pub fn commit(&self) -> Offset {
        let safe_end = if self.flush_each.get() { self.log.flushed() } else { self.log.written() };
        let high_watermark = {
            let mut replica = self.replica.borrow_mut();
            replica.committed_to(safe_end);
            replica.high_watermark()
        };
        if high_watermark > self.told.replace(high_watermark) {
            let mut bytes = 0;
            let mut uncommitted = self.uncommitted.borrow_mut();
            while let Some((_, of_one)) = uncommitted.pop_front_if(|(end, _)| *end <= high_watermark) {
                bytes += of_one;
            }
            drop(uncommitted);
            self.waiters.committed(bytes.max(1));
        }
        high_watermark
    }

    /// Reads for a fetch; may wait for pages that were not in memory.
    pub async fn fetch(&self, from: FetchFrom) -> Result<Fetched, FetchRefused> {
        loop {
            // First of all: an offline log does not know where it ends, and OFFSET_OUT_OF_RANGE would have
            // the reader begin anew.
            self.log.check_online().map_err(FetchRefused::Storage)?;
            self.replica.borrow().check_epoch(from.current_leader_epoch).map_err(FetchRefused::Epoch)?;
            let high_watermark = self.commit();
            let (last_stable, log_start) = (self.replica.borrow().last_stable(), self.log.log_start());
            let mut fetched = Fetched {
                records: None,
                put_off: false,
                high_watermark,
                last_stable,
                log_start,
                diverging: None,
            };
            if from.last_fetched_epoch >= 0 {
                let (epoch, end) = self.log.end_offset_for(LeaderEpoch(from.last_fetched_epoch));
                if epoch.0 < 0 || end.0 < 0 {
                    return Err(FetchRefused::OutOfRange);
                }
                if epoch.0 < from.last_fetched_epoch || end < from.offset {
                    fetched.diverging = Some((epoch, end));
                    return Ok(fetched);
                }
            }
            if from.offset > high_watermark {
                return match from.offset > self.log.log_end() {
                    true => Err(FetchRefused::OutOfRange),
                    false => Ok(fetched),
                };
            }
            let below = if from.committed_only { last_stable } else { high_watermark };
            match self.log.read(from.offset, below, from.bytes_max, from.at_least_one) {
                Ok(records) => {
                    fetched.records = records;
                    return Ok(fetched);
                }
                Err(ReadError::Cold(cold)) => self.log.warm(cold).await.map_err(FetchRefused::Storage)?,
                Err(ReadError::Busy) => {
                    fetched.put_off = true;
                    return Ok(fetched);
                }
                Err(ReadError::OutOfRange { .. }) => return Err(FetchRefused::OutOfRange),
                Err(ReadError::Offline(error)) => return Err(FetchRefused::Storage(error)),
            }
        }
    }

    /// Registers a waiting fetch that has read up to `seen`. Returns false, and registers nothing, where the
    /// high watermark has moved past that since: read again.
    pub fn wait_past(&self, seen: Offset, wait: &Arc<FetchWait>) -> bool {
        if self.commit() > seen {
            return false;
        }
        self.waiters.register(wait);
        true
    }

    /// Why nobody can read or write here, once the log is offline.
    pub fn check_online(&self) -> Result<(), StorageError> {
        self.log.check_online()
    }

    pub fn check_epoch(&self, sent: i32) -> Result<(), EpochMismatch> {
        self.replica.borrow().check_epoch(sent)
    }

    pub fn high_watermark(&self) -> Offset {
        self.commit()
    }

    pub fn last_stable(&self) -> Offset {
        self.commit();
        self.replica.borrow().last_stable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::{BatchBuilder, ProduceLimits, TimestampType, check_produced};
    use crate::protocol::compression::OpenLimits;
    use crate::storage::{Appender, Opening};
    use crate::types::NodeId;

    fn batch(value_bytes: usize) -> CheckedBatch {
        let mut builder = BatchBuilder::new();
        builder.append(1, None, Some(&vec![0; value_bytes]), &[]);
        let limits = ProduceLimits {
            topic: "t",
            partition: PartitionId(0),
            api_version: 11,
            message_bytes_max: i32::MAX,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            now_ms: 1,
            open: OpenLimits::default(),
        };
        check_produced(builder.build().unwrap(), &limits).unwrap()
    }

    async fn partition(dir: &std::path::Path, appender: &Rc<Appender>) -> Rc<Partition> {
        let opening = Opening {
            clean: true,
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            topic_id: None,
            progress: None,
        };
        let config = TopicConfig::default();
        let log_config = Rc::new(log_config(&config, 1000));
        let log = Log::open(dir.join("t-0"), log_config, opening, appender).await.unwrap();
        let leadership = Leadership {
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            isr: vec![NodeId(1)],
            replicas: 1,
        };
        Partition::leading("t".into(), TopicId::random(), PartitionId(0), log, leadership, &config)
    }

    #[test]
    fn a_wait_counts_what_was_committed_and_not_what_is_staged() {
        let dir = tempfile::tempdir().unwrap();
        glommio::LocalExecutor::default().run(async {
            let appender = Appender::new();
            let partition = partition(dir.path(), &appender).await;
            let writer = glommio::spawn_local(appender.clone().run());
            let first = partition.append(&batch(1000), Acks::Leader).unwrap();
            partition.log().written_to(first.last_offset.plus(1)).await.unwrap();
            let second = partition.append(&batch(1000), Acks::Leader).unwrap();
            partition.keep_promise(&first).await.unwrap();
            // Who reads now sees the first batch; the second is staged and has to be counted when it comes.
            let wait = FetchWait::new(500);
            assert!(partition.wait_past(partition.high_watermark(), &wait));
            partition.keep_promise(&second).await.unwrap();
            wait.woken().await;
            assert!(partition.uncommitted.borrow().is_empty());
            appender.stop();
            writer.await;
        });
    }
}
