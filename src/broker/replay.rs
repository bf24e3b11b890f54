//! Replaying an internal topic's partition: records out of batches into a state, and how far that has come.
//!
//! Records of a transaction count when its marker says so. A record of an unknown type is passed over, as Kafka
//! does; anything else that cannot be read ends the replay, for the state would be wrong.

use std::ops::Add;

use ahash::AHashMap;

use super::state_machine::StateMachine;
use crate::protocol::batch::{Batch, BatchIter};
use crate::protocol::compression::OpenLimits;
use crate::protocol::record::RecordIter;
use crate::protocol::stored::StoredError;
use crate::storage::ReadError;
use crate::types::Offset;

/// Why a partition cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the record at offset {offset} cannot be read: {error}")]
    Record { offset: Offset, error: StoredError },
    #[error("the batch at offset {offset} cannot be read: {error}")]
    Batch { offset: Offset, error: String },
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub records: u64,
    pub bytes: u64,
    /// Records of other kinds, which were passed over.
    pub skipped: u64,
    /// Of what the log holds and the state does not: values of other kinds, and of transactions without an end.
    pub unheld: u64,
}

/// How far the replays of some partitions have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub partitions: u64,
    pub partitions_done: u64,
    /// Offsets to read and read; compaction may have left fewer records.
    pub offsets: u64,
    pub offsets_done: u64,
    pub bytes_done: u64,
}

impl Add for Progress {
    type Output = Progress;

    fn add(self, other: Progress) -> Progress {
        Progress {
            partitions: self.partitions + other.partitions,
            partitions_done: self.partitions_done + other.partitions_done,
            offsets: self.offsets + other.offsets,
            offsets_done: self.offsets_done + other.offsets_done,
            bytes_done: self.bytes_done + other.bytes_done,
        }
    }
}

/// A replay under way: what it counted, and the records of transactions whose end has not been seen.
pub(super) struct Replay<M: StateMachine> {
    done: Replayed,
    open: AHashMap<i64, Vec<Held<M::Record>>>,
    /// Where keys were last seen that were taken while a transaction was open.
    newest: AHashMap<Vec<u8>, Offset>,
}

/// A record of a transaction.
struct Held<R> {
    offset: Offset,
    key: Vec<u8>,
    record: R,
}

impl<M: StateMachine> Default for Replay<M> {
    fn default() -> Self {
        Replay { done: Replayed::default(), open: AHashMap::default(), newest: AHashMap::default() }
    }
}

impl<M: StateMachine> Replay<M> {
    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.done.bytes
    }

    /// What was done, when all is replayed.
    pub(super) fn end(self) -> Replayed {
        let open: usize = self.open.values().map(Vec::len).sum();
        Replayed { unheld: self.done.unheld + open as u64, ..self.done }
    }

    /// Takes the whole batches in `bytes` from the offset `from` on; returns where to go on.
    pub(super) async fn take(
        &mut self,
        state: &mut M,
        bytes: &[u8],
        from: Offset,
    ) -> Result<Offset, LoadError> {
        let unreadable =
            |offset, error: &dyn std::fmt::Display| LoadError::Batch { offset, error: error.to_string() };
        let mut next = from;
        for batch in BatchIter::new(bytes) {
            let batch = batch.map_err(|error| unreadable(next, &error))?;
            self.take_batch(state, &batch, from)?;
            next = batch.header.next_offset();
            glommio::yield_if_needed().await;
        }
        match next > from {
            true => Ok(next),
            false => Err(unreadable(from, &"it is cut")),
        }
    }

    fn take_batch(&mut self, state: &mut M, batch: &Batch<'_>, from: Offset) -> Result<(), LoadError> {
        let base = batch.header.base_offset();
        let unreadable =
            |error: &dyn std::fmt::Display| LoadError::Batch { offset: base, error: error.to_string() };
        self.done.bytes += batch.bytes.len() as u64;
        let opened = batch.open(&OpenLimits::default()).map_err(|error| unreadable(&error))?;
        for record in RecordIter::new(&opened, batch.header.record_count.get()) {
            let record = record.map_err(|error| unreadable(&error))?;
            let offset = base.plus(record.offset_delta.into());
            if offset < from {
                continue;
            }
            self.done.records += 1;
            let Some(key) = record.key else {
                self.skip(record.value);
                continue;
            };
            if batch.header.attributes().is_control() {
                self.end_transaction(state, batch.header.producer_id().0, key);
                continue;
            }
            match M::decode(key, record.value) {
                Ok(Some(decoded)) if batch.header.attributes().is_transactional() => {
                    let held = Held { offset, key: key.to_vec(), record: decoded };
                    self.open.entry(batch.header.producer_id().0).or_default().push(held);
                }
                Ok(Some(decoded)) => {
                    if !self.open.is_empty() {
                        self.newest.insert(key.to_vec(), offset);
                    }
                    state.apply(decoded);
                }
                Ok(None) => self.skip(record.value),
                Err(StoredError::UnknownType(kind)) => {
                    self.skip(record.value);
                    tracing::warn!(kind, %offset, "a record of an unknown type is passed over");
                }
                Err(error) => return Err(LoadError::Record { offset, error }),
            }
        }
        Ok(())
    }

    fn skip(&mut self, value: Option<&[u8]>) {
        self.done.skipped += 1;
        self.done.unheld += u64::from(value.is_some());
    }

    /// Takes or drops what a transaction has written. A marker's key is `version i16, type i16`; type 1 commits. What
    /// was taken under the same key from behind its record is newer.
    fn end_transaction(&mut self, state: &mut M, producer: i64, key: &[u8]) {
        let held = self.open.remove(&producer).unwrap_or_default();
        if key.get(2..4) == Some(&[0, 1]) {
            for held in held {
                if self.newest.get(&held.key).is_none_or(|newest| *newest < held.offset) {
                    self.newest.insert(held.key, held.offset);
                    state.apply(held.record);
                }
            }
        }
        if self.open.is_empty() {
            self.newest.clear();
        }
    }
}
