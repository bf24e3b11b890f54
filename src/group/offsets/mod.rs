//! Committed offsets: what every group of a partition has committed, by topic and partition.
//!
//! | file | what it decides |
//! |---|---|
//! | `commit` | OffsetCommit |
//! | `fetch` | OffsetFetch |
//! | `removal` | OffsetDelete, deleted topics, expiry |
//!
//! [`Offsets`] is made of OffsetCommit records alone. Names are held once: a topic's by every group that
//! committed for it, a group's by the group itself. Offsets of a transaction reach it when the transaction is
//! committed, because only then the driver applies them; what is pending is not seen here.

use std::rc::Rc;

use ahash::{AHashMap, AHashSet};

use super::bounds::{OFFSET_BYTES, OFFSET_TOPIC_BYTES};
use super::held::Held;
use super::{Group, Groups};
use crate::group::classic::ClassicGroup;
use crate::protocol::stored::group::{OffsetCommitKey, OffsetCommitValue, Record};
use crate::types::{LeaderEpoch, Offset, PartitionId, TopicId};

mod commit;
mod fetch;
mod removal;
#[cfg(test)]
mod tests;

/// The offsets of every group of a partition of the offsets topic.
#[derive(Debug, Default)]
pub struct Offsets {
    by_group: AHashMap<Rc<str>, Topics>,
    /// The names that `by_group` holds.
    topics: AHashSet<Rc<str>>,
    sweep: removal::Sweep,
    bytes: Held,
}

type Topics = AHashMap<Rc<str>, AHashMap<i32, Committed>>;

/// What a group committed for one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub offset: Offset,
    /// Milliseconds since 1970.
    pub commit_timestamp_ms: i64,
    /// Of the last record that was consumed; -1 for none.
    pub leader_epoch: LeaderEpoch,
    /// What few commits carry.
    more: Option<Box<More>>,
}

#[derive(Clone, Debug, PartialEq)]
struct More {
    metadata: Box<str>,
    /// Milliseconds since 1970; -1 where the group's retention rules.
    expire_timestamp_ms: i64,
    topic_id: TopicId,
}

const _: () = assert!(size_of::<Committed>() <= 32, "there are millions of these");

impl Committed {
    /// The client's own text.
    pub fn metadata(&self) -> &str {
        self.more.as_ref().map_or("", |more| &more.metadata)
    }

    /// When the offset expires, where the commit said so; milliseconds since 1970.
    pub fn expire_timestamp_ms(&self) -> Option<i64> {
        self.more.as_ref().map(|more| more.expire_timestamp_ms).filter(|at| *at != -1)
    }

    /// What it takes in memory.
    fn bytes(&self) -> usize {
        counted(self.more.as_ref().map(|more| more.metadata.len()))
    }

    /// The topic that was meant; zero where the commit named no id.
    pub fn topic_id(&self) -> TopicId {
        self.more.as_ref().map_or(TopicId::ZERO, |more| more.topic_id)
    }
}

/// Whether nothing of it is what few commits carry.
fn is_plain(value: &OffsetCommitValue) -> bool {
    value.metadata.is_empty() && value.expire_timestamp == -1 && value.topic_id.is_zero()
}

/// What a value will take in memory.
fn bytes_of(value: &OffsetCommitValue) -> usize {
    counted((!is_plain(value)).then_some(value.metadata.len()))
}

/// What an offset takes in memory, with the bytes of its metadata where it has [`More`].
fn counted(metadata: Option<usize>) -> usize {
    OFFSET_BYTES + metadata.map_or(0, |bytes| size_of::<More>() + bytes)
}

impl From<OffsetCommitValue> for Committed {
    fn from(value: OffsetCommitValue) -> Committed {
        Committed {
            offset: value.offset,
            commit_timestamp_ms: value.commit_timestamp,
            leader_epoch: value.leader_epoch,
            more: (!is_plain(&value)).then(|| {
                Box::new(More {
                    metadata: value.metadata.into(),
                    expire_timestamp_ms: value.expire_timestamp,
                    topic_id: value.topic_id,
                })
            }),
        }
    }
}

impl From<&Committed> for OffsetCommitValue {
    fn from(committed: &Committed) -> OffsetCommitValue {
        OffsetCommitValue {
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata().to_owned(),
            commit_timestamp: committed.commit_timestamp_ms,
            expire_timestamp: committed.expire_timestamp_ms().unwrap_or(-1),
            topic_id: committed.topic_id(),
        }
    }
}

impl Offsets {
    pub fn get(&self, group: &str, topic: &str, partition: PartitionId) -> Option<&Committed> {
        self.by_group.get(group)?.get(topic)?.get(&partition.0)
    }

    /// Everything that a group has committed, in no order.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&Rc<str>, PartitionId, &Committed)> {
        self.by_group.get(group).into_iter().flatten().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(id, committed)| (topic, PartitionId(*id), committed))
        })
    }

    /// The groups that have committed anything.
    pub fn groups(&self) -> impl Iterator<Item = &Rc<str>> {
        self.by_group.keys()
    }

    fn put(&mut self, group: &Rc<str>, topic: &str, partition: PartitionId, committed: Committed) {
        let topics = match self.by_group.get_mut(group) {
            Some(topics) => topics,
            None => self.by_group.entry(group.clone()).or_default(),
        };
        let partitions = match topics.get_mut(topic) {
            Some(partitions) => partitions,
            None => {
                let name = match self.topics.get(topic) {
                    Some(name) => name.clone(),
                    None => {
                        let name: Rc<str> = topic.into();
                        self.topics.insert(name.clone());
                        name
                    }
                };
                self.bytes += OFFSET_TOPIC_BYTES;
                topics.entry(name).or_default()
            }
        };
        self.bytes += committed.bytes();
        if let Some(before) = partitions.insert(partition.0, committed) {
            self.bytes -= before.bytes();
        }
    }

    fn remove(&mut self, group: &str, topic: &str, partition: PartitionId) {
        let Some(topics) = self.by_group.get_mut(group) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        if let Some(before) = partitions.remove(&partition.0) {
            self.bytes -= before.bytes();
        }
        if !partitions.is_empty() {
            return;
        }
        if topics.remove(topic).is_some() {
            self.bytes -= OFFSET_TOPIC_BYTES;
        }
        // The set holds one; a second is a group's.
        if self.topics.get(topic).is_some_and(|name| Rc::strong_count(name) == 1) {
            self.topics.remove(topic);
        }
        if topics.is_empty() {
            self.by_group.remove(group);
        }
    }
}

impl Groups {
    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    pub(super) fn apply_offset(&mut self, key: OffsetCommitKey, value: Option<OffsetCommitValue>) {
        let Some(value) = value else {
            return self.offsets.remove(&key.group, &key.topic, key.partition);
        };
        let group = match self.groups.get_key_value(key.group.as_str()) {
            Some((name, _)) => name.clone(),
            // Whoever commits without being a member makes an empty group.
            None => {
                let name: Rc<str> = key.group.into();
                self.groups
                    .insert(name.clone(), Group::Classic(Box::new(ClassicGroup::simple(name.clone()))));
                name
            }
        };
        self.offsets.put(&group, &key.topic, key.partition, value.into());
    }

    /// The records that make a group's offsets what they are.
    pub(super) fn offset_records_of(&self, group: &str) -> Vec<Record> {
        let value = |committed: &Committed| Some(OffsetCommitValue::from(committed));
        self.offsets
            .of_group(group)
            .map(|(topic, partition, committed)| {
                Record::OffsetCommit(key(group, topic, partition), value(committed))
            })
            .collect()
    }

    /// The records that delete all offsets of a group.
    pub fn offset_tombstones(&self, group: &str) -> Vec<Record> {
        self.offsets.of_group(group).map(|(topic, partition, _)| tombstone(group, topic, partition)).collect()
    }
}

fn key(group: &str, topic: &str, partition: PartitionId) -> OffsetCommitKey {
    OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition }
}

fn tombstone(group: &str, topic: &str, partition: PartitionId) -> Record {
    Record::OffsetCommit(key(group, topic, partition), None)
}
