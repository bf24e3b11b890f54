//! How offsets go: by OffsetDelete, with their topic, or when they are too old; and groups with their last.

use std::rc::Rc;

use ahash::AHashSet;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::OffsetDeleteRequest;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::{Committed, tombstone};
use crate::group::bounds::{RECORD_BYTES, batch_bytes_max};
use crate::group::{Context, Group, Groups, OffsetRetention, Outcome, Timer};
use crate::metadata::Image;
use crate::protocol::api_error::ApiError;
use crate::types::PartitionId;

/// About how many offsets one step looks at to find what has expired, and how many one step deletes.
const OFFSETS_PER_STEP: usize = 5_000;

/// Work that is done a bounded step at a time.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The groups that are left to be searched for what has expired.
    groups: Vec<Rc<str>>,
    /// The topics that are gone and whose offsets are left to delete, with the time at which that was known.
    gone: Vec<(Rc<str>, i64)>,
}

impl Groups {
    /// Deletes offsets of topics that no member reads. The topics and partitions of the request exist.
    ///
    /// # Errors
    /// The group does not exist, or has members of whom nobody knows what they read.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<Vec<OffsetDeleteResponseTopic>, ApiError> {
        let group_id = &*request.group_id;
        let group = self.group(group_id).ok_or_else(|| ApiError::bare(ResponseError::GroupIdNotFound))?;
        group.validate_offset_delete()?;
        let mut deleted = AHashSet::new();
        let mut bytes = 0;
        let mut answers = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let subscribed = group.is_subscribed_to(&topic.name);
            let error = if subscribed { ResponseError::GroupSubscribedToTopic.code() } else { 0 };
            for partition in &topic.partitions {
                let id = PartitionId(partition.partition_index);
                let found = !subscribed && self.offsets.get(group_id, &topic.name, id).is_some();
                if found && deleted.insert((&**topic.name, id)) {
                    bytes += RECORD_BYTES + group_id.len() + topic.name.len();
                }
            }
            let line = |partition: i32| {
                let line = OffsetDeleteResponsePartition::default().with_partition_index(partition);
                line.with_error_code(error)
            };
            answers.push(
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(topic.partitions.iter().map(|p| line(p.partition_index)).collect()),
            );
        }
        if bytes > batch_bytes_max(context.image, context.settings) {
            return Err(ApiError::bare(ResponseError::UnknownServerError));
        }
        for (topic, partition) in deleted {
            outcome.record(tombstone(group_id, topic, partition));
        }
        Ok(answers)
    }

    /// Deletes the offsets of topics that are gone. A topic made again under the name of another is another.
    pub(in crate::group) fn forget_deleted_topics(
        &mut self,
        before: &Image,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) {
        let is_gone = |name: &Rc<str>| {
            before.topic(name).is_some_and(|topic| context.image.topic_by_id(topic.id).is_none())
        };
        let gone: Vec<Rc<str>> = self.offsets.topics.iter().filter(|name| is_gone(name)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        self.offsets.sweep.gone.extend(gone.into_iter().map(|topic| (topic, context.now.wall_ms)));
        if !self.forget_gone(outcome) {
            self.timers.set(Timer::Expiry, context.now.ticks_ms);
        }
    }

    /// Deletes some offsets of topics that are gone; true where that were all.
    fn forget_gone(&mut self, outcome: &mut Outcome) -> bool {
        while let Some((topic, at_ms)) = self.offsets.sweep.gone.last() {
            for (group, topics) in &self.offsets.by_group {
                for (partition, committed) in topics.get(topic).into_iter().flatten() {
                    if outcome.record_count() >= OFFSETS_PER_STEP {
                        return false;
                    }
                    // What came later is for a new topic of that name.
                    if committed.commit_timestamp_ms <= *at_ms {
                        outcome.record(tombstone(group, topic, PartitionId(*partition)));
                    }
                }
            }
            self.offsets.sweep.gone.pop();
            self.offsets.topics.retain(|name| Rc::strong_count(name) > 1);
        }
        true
    }

    /// Deletes what has expired, and empty groups without any offset left: one step, and when the next is due.
    pub(in crate::group) fn expire_offsets(&mut self, context: &Context<'_>, outcome: &mut Outcome) {
        let mut groups = std::mem::take(&mut self.offsets.sweep.groups);
        let mut budget = OFFSETS_PER_STEP;
        let forgotten = self.forget_gone(outcome);
        if forgotten && groups.is_empty() {
            groups.extend(self.groups.keys().cloned());
        }
        while forgotten
            && budget > 0
            && let Some(id) = groups.pop()
        {
            let Some(group) = self.groups.get(&id) else { continue };
            if !self.expire_group(&id, group, context, &mut budget, outcome) {
                groups.push(id);
                break;
            }
        }
        let wait_ms = match forgotten && groups.is_empty() {
            true => context.settings.offsets_retention_check_interval_ms.max(1),
            false => 0,
        };
        self.timers.set(Timer::Expiry, context.now.ticks_ms + wait_ms);
        self.offsets.sweep.groups = groups;
    }

    /// Returns false where the group has to be looked at again, because a step deletes no more than it may.
    fn expire_group(
        &self,
        id: &Rc<str>,
        group: &Group,
        context: &Context<'_>,
        budget: &mut usize,
        outcome: &mut Outcome,
    ) -> bool {
        *budget = budget.saturating_sub(1);
        let retention = group.offset_retention();
        let mut all = true;
        for (topic, partitions) in self.offsets.by_group.get(id).into_iter().flatten() {
            *budget = budget.saturating_sub(partitions.len());
            if retention == OffsetRetention::Kept || group.is_subscribed_to(topic) {
                all = false;
                continue;
            }
            for (partition, committed) in partitions {
                if !is_expired(committed, retention, context) {
                    all = false;
                } else if outcome.record_count() >= OFFSETS_PER_STEP {
                    return false;
                } else {
                    outcome.record(tombstone(id, topic, PartitionId(*partition)));
                }
            }
        }
        if all && group.is_empty() {
            group.tombstones(id).into_iter().for_each(|record| outcome.record(record));
        }
        true
    }
}

fn is_expired(committed: &Committed, retention: OffsetRetention, context: &Context<'_>) -> bool {
    let now_ms = context.now.wall_ms;
    let since = match (committed.expire_timestamp_ms(), retention) {
        (_, OffsetRetention::Kept) => return false,
        (Some(at), _) => return now_ms >= at,
        (None, OffsetRetention::SinceCommit) => committed.commit_timestamp_ms,
        (None, OffsetRetention::Since(at)) => at,
    };
    now_ms.saturating_sub(since) >= context.settings.offsets_retention_ms
}
