//! Consumer groups (KIP-848): the coordinator assigns, members reconcile step by step.
//!
//! | file | what it holds |
//! |---|---|
//! | [`heartbeat`] | ConsumerGroupHeartbeat: join, stay, leave; who is fenced when a deadline passes |
//! | [`describe`] | ConsumerGroupDescribe, and who may commit and fetch offsets |
//! | [`state`], [`member`], [`owners`] | the group as its records make it |
//! | `size` | what clients make a group keep, in bytes |
//! | [`target`] | the assignment that members are led to |
//! | [`reconcile`] | one step of a member towards it |
//! | [`regexes`], [`topics`] | subscription by expression; when topics ask for a new target |
//! | [`records`] | the stored records |
//!
//! A decision checks first and stores then: [`store`] applies a record at once, so what follows in the same
//! decision sees it. The source of the rules is Kafka 4.1's GroupMetadataManager.

use std::rc::Rc;
use std::sync::Arc;

use super::assignors::Assignor;
use super::settings::Settings;
use super::{Context, Group, Groups, Outcome};
use crate::metadata::Image;
use crate::protocol::stored::group::Record;

mod describe;
pub(in crate::group) mod heartbeat;
pub mod member;
mod owners;
pub(in crate::group) mod reconcile;
pub mod records;
mod regexes;
mod size;
mod state;
pub(in crate::group) mod target;
mod topics;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use heartbeat::{Undecided, check_heartbeat};
pub use state::ConsumerGroup;

/// What of a consumer group has a deadline.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Timer {
    /// Without a heartbeat until then the member is gone.
    Session(Rc<str>, Arc<str>),
    /// What the member was told to revoke has to be revoked by then.
    Rebalance(Rc<str>, Arc<str>),
    /// A classic member was told to join again, and has to by then.
    Join(Rc<str>, Arc<str>),
    /// A classic member has joined, and has to ask for its assignment by then.
    Sync(Rc<str>, Arc<str>),
    /// The group was replayed; its deadlines begin.
    Loaded(Rc<str>),
}

/// What the consumer groups of one coordinator share; nothing of it is stored.
#[derive(Debug, Default)]
pub struct Shared {
    pub(super) topics: topics::Topics,
    /// Names the next computation that runs on another thread.
    pub(super) next_token: u64,
}

/// Applies a record of the group, and has it appended.
pub(super) fn store(group: &mut ConsumerGroup, record: Record, outcome: &mut Outcome) {
    group.apply(record.clone());
    outcome.applied_record(record);
}

/// The assignor of members who name none: the broker's first.
fn default_assignor(settings: &Settings) -> Assignor {
    assignors(settings).next().unwrap_or(Assignor::Uniform)
}

/// The assignors that members may name, in the broker's order. They are configured by name or by Kafka's class.
fn assignors(settings: &Settings) -> impl Iterator<Item = Assignor> {
    settings.consumer_assignors.iter().filter_map(|name| match name.rsplit('.').next() {
        Some("UniformAssignor") => Some(Assignor::Uniform),
        Some("RangeAssignor") => Some(Assignor::Range),
        _ => Assignor::from_name(name),
    })
}

/// The group that a record of the consumer protocol belongs to, and whether the record takes something away.
fn group_of(record: &Record) -> Option<(&str, bool)> {
    Some(match record {
        Record::ConsumerGroupMetadata(key, value) => (&key.group_id, value.is_none()),
        Record::ConsumerGroupPartitionMetadata(key, value) => (&key.group_id, value.is_none()),
        Record::ConsumerGroupMemberMetadata(key, value) => (&key.group_id, value.is_none()),
        Record::ConsumerGroupTargetAssignmentMetadata(key, value) => (&key.group_id, value.is_none()),
        Record::ConsumerGroupTargetAssignmentMember(key, value) => (&key.group_id, value.is_none()),
        Record::ConsumerGroupCurrentMemberAssignment(key, value) => (&key.group_id, value.is_none()),
        Record::ConsumerGroupRegularExpression(key, value) => (&key.group_id, value.is_none()),
        Record::OffsetCommit(..) | Record::GroupMetadata(..) | Record::Other { .. } => return None,
    })
}

impl Groups {
    /// Takes a record of any of the consumer protocol's types.
    pub(super) fn apply_consumer(&mut self, record: Record) {
        let Some((id, takes_away)) = group_of(&record) else { return };
        match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) => {
                let id = group.id.clone();
                if !group.apply(record) {
                    self.remove_consumer(&id);
                }
            }
            _ if takes_away => {}
            // What held offsets only, or was a classic group until this record.
            _ => {
                let mut group = ConsumerGroup::new(id);
                group.apply(record);
                self.groups.insert(group.id.clone(), Group::Consumer(Box::new(group)));
            }
        }
    }

    pub(super) fn remove_consumer(&mut self, id: &str) {
        if let Some(Group::Consumer(group)) = self.groups.remove(id) {
            for member in group.members.into_values() {
                self.cancel_consumer_timers(&group.id, &member.id);
            }
        }
    }

    fn cancel_consumer_timers(&mut self, group: &Rc<str>, member: &Arc<str>) {
        for timer in [Timer::Session, Timer::Rebalance, Timer::Join, Timer::Sync] {
            self.timers.cancel(&super::Timer::Consumer(timer(group.clone(), member.clone())));
        }
    }

    pub(super) fn consumers_follow_image(
        &mut self,
        before: &Image,
        context: &Context<'_>,
        _outcome: &mut Outcome,
    ) {
        self.consumers.topics.follow(before, context.image);
    }
}
