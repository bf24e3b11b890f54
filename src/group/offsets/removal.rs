//! How offsets go: by OffsetDelete, with their topic, or when they are too old; and groups with their last.

use std::rc::Rc;

use ahash::{AHashMap, AHashSet};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::OffsetDeleteRequest;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::{Committed, Topics, tombstone};
use crate::group::bounds::{RECORD_BYTES, batch_bytes_max};
use crate::group::{Context, Group, Groups, OffsetRetention, Outcome, Timer};
use crate::metadata::Image;
use crate::protocol::api_error::ApiError;
use crate::types::PartitionId;

/// About how much one step looks at to find what has expired or whose topic is gone (groups, topics and offsets), and
/// how many offsets it deletes at most.
const LOOKED_AT_PER_STEP: usize = 5_000;

/// Work that is done a bounded step at a time.
#[derive(Debug, Default)]
pub struct Sweep {
    expiry: Expiry,
    gone: Gone,
    /// The topics that went since the walk for those before began, with the time at which that was known.
    gone_since: AHashMap<Rc<str>, i64>,
}

#[cfg(test)]
impl Sweep {
    /// The groups that are left to be searched for topics that are gone.
    pub fn groups_to_search(&self) -> usize {
        self.gone.groups.len()
    }

    /// The topics that the walk for what has expired has passed over in the group that it is in.
    pub fn topics_passed_over(&self) -> usize {
        self.expiry.passed_over
    }
}

/// A walk over all groups for what has expired.
#[derive(Debug, Default)]
struct Expiry {
    /// Those that are left.
    groups: Vec<Rc<str>>,
    /// Topics of the last of them that were looked at and stay, where that is too large for one step. Where others
    /// commit or delete between the steps, some topics may be looked at twice and some in the next walk alone.
    passed_over: usize,
}

/// A walk over all groups for the offsets of topics that are gone.
#[derive(Debug, Default)]
struct Gone {
    /// When each was known to be gone, in wall milliseconds.
    topics: AHashMap<Rc<str>, i64>,
    /// Their names, in the order in which a group is searched for them.
    names: Vec<Rc<str>>,
    /// The groups that are left.
    groups: Vec<Rc<str>>,
    /// How many of the names the last of the groups is done with.
    searched: usize,
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
        let held = |name| self.offsets.topics.contains(name);
        let gone: Vec<_> = context.image.names_gone_since(before).filter(|name| held(*name)).collect();
        if gone.is_empty() {
            return;
        }
        self.offsets.sweep.gone_since.extend(gone.into_iter().map(|name| (name.into(), context.now.wall_ms)));
        let mut budget = LOOKED_AT_PER_STEP;
        if !self.forget_gone(&mut budget, outcome) {
            self.timers.set(Timer::Expiry, context.now.ticks_ms);
        }
    }

    /// Deletes some offsets of topics that are gone; true where that were all.
    fn forget_gone(&mut self, budget: &mut usize, outcome: &mut Outcome) -> bool {
        let (by_group, sweep) = (&self.offsets.by_group, &mut self.offsets.sweep);
        loop {
            let Some(group) = sweep.gone.groups.last().cloned() else {
                if sweep.gone_since.is_empty() {
                    sweep.gone = Gone::default();
                    return true;
                }
                sweep.gone = Gone::walk(std::mem::take(&mut sweep.gone_since), by_group.keys());
                continue;
            };
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            if let Some(topics) = by_group.get(&group)
                && !sweep.gone.search(&group, topics, budget, outcome)
            {
                return false;
            }
            sweep.gone.groups.pop();
            sweep.gone.searched = 0;
        }
    }

    /// Deletes what has expired, and empty groups without any offset left: one step, and when the next is due.
    pub(in crate::group) fn expire_offsets(&mut self, context: &Context<'_>, outcome: &mut Outcome) {
        let mut budget = LOOKED_AT_PER_STEP;
        let forgotten = self.forget_gone(&mut budget, outcome);
        let Expiry { mut groups, mut passed_over } = std::mem::take(&mut self.offsets.sweep.expiry);
        if forgotten && groups.is_empty() {
            groups.extend(self.groups.keys().cloned());
        }
        while forgotten
            && budget > 0
            && let Some(id) = groups.last()
        {
            budget -= 1;
            if let Some(group) = self.groups.get(id)
                && !self.expire_group(id, group, &mut passed_over, context, &mut budget, outcome)
            {
                break;
            }
            groups.pop();
            passed_over = 0;
        }
        let wait_ms = match forgotten && groups.is_empty() {
            true => context.settings.offsets_retention_check_interval_ms.max(1),
            false => 0,
        };
        self.timers.set(Timer::Expiry, context.now.ticks_ms + wait_ms);
        self.offsets.sweep.expiry = Expiry { groups, passed_over };
    }

    /// Returns false where the group has to be looked at again, behind what is `passed_over`, because a step does no more
    /// than it may.
    fn expire_group(
        &self,
        id: &Rc<str>,
        group: &Group,
        passed_over: &mut usize,
        context: &Context<'_>,
        budget: &mut usize,
        outcome: &mut Outcome,
    ) -> bool {
        let (retention, none) = (group.offset_retention(), Topics::default());
        let topics = self.offsets.by_group.get(id).unwrap_or(&none);
        if retention == OffsetRetention::Kept && !topics.is_empty() {
            return true;
        }
        // Whether some of a topic's offsets stay; `None` where the step may do no more.
        let mut expire = |topic: &str, partitions: &AHashMap<i32, Committed>| {
            if *budget == 0 {
                return None;
            }
            *budget = budget.saturating_sub(1 + partitions.len());
            if group.is_subscribed_to(topic) {
                return Some(true);
            }
            let mut keeps = false;
            for (partition, committed) in partitions {
                if !is_expired(committed, retention, context) {
                    keeps = true;
                } else if outcome.record_count() >= LOOKED_AT_PER_STEP {
                    return None;
                } else {
                    outcome.record(tombstone(id, topic, PartitionId(*partition)));
                }
            }
            Some(keeps)
        };
        for (topic, partitions) in topics.iter().skip(*passed_over) {
            let Some(keeps) = expire(topic, partitions) else { return false };
            *passed_over += usize::from(keeps);
        }
        // Where none is, all that the group has was looked at just now.
        if *passed_over == 0 && group.is_empty() {
            group.tombstones(id).into_iter().for_each(|record| outcome.record(record));
        }
        true
    }
}

impl Gone {
    fn walk<'a>(topics: AHashMap<Rc<str>, i64>, groups: impl Iterator<Item = &'a Rc<str>>) -> Gone {
        let names = topics.keys().cloned().collect();
        Gone { topics, names, groups: groups.cloned().collect(), searched: 0 }
    }

    /// Deletes offsets of the last of the groups; true where it has no more of these topics. It goes by the group's
    /// topics where those are few, else by the names.
    fn search(&mut self, group: &str, topics: &Topics, budget: &mut usize, outcome: &mut Outcome) -> bool {
        if topics.len() <= self.names.len().min(LOOKED_AT_PER_STEP) {
            *budget = budget.saturating_sub(topics.len());
            return topics.iter().all(|(topic, partitions)| {
                let gone = self.topics.get(topic);
                gone.is_none_or(|at_ms| forget(group, topic, partitions, *at_ms, budget, outcome))
            });
        }
        while let Some(topic) = self.names.get(self.searched) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            if let Some(partitions) = topics.get(topic)
                && !forget(group, topic, partitions, self.topics[topic], budget, outcome)
            {
                return false;
            }
            self.searched += 1;
        }
        true
    }
}

/// Deletes what a group has committed for a topic that is gone since `at_ms`; false where a step deletes no more.
fn forget(
    group: &str,
    topic: &str,
    partitions: &AHashMap<i32, Committed>,
    at_ms: i64,
    budget: &mut usize,
    outcome: &mut Outcome,
) -> bool {
    *budget = budget.saturating_sub(partitions.len());
    // What came later is for a new topic of that name.
    for (partition, _) in partitions.iter().filter(|(_, committed)| committed.commit_timestamp_ms <= at_ms) {
        if outcome.record_count() >= LOOKED_AT_PER_STEP {
            return false;
        }
        outcome.record(tombstone(group, topic, PartitionId(*partition)));
    }
    true
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
