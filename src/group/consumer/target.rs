//! The target assignment: computed when the group's epoch is ahead of it, at once where the group is small,
//! on another thread where it is large. Until a large one is there members keep the old target.

use std::sync::Arc;

use ahash::AHashMap;

use super::records;
use super::state::ConsumerGroup;
use super::{Context, Outcome, store};
use crate::group::assignors::{Assignments, Assignor, AssignorError, Member as Assignee, Spec};
use crate::group::{Effect, Groups, Work, Worked};
use crate::metadata::Image;
use crate::types::TopicId;

/// Members times partitions up to which a target is computed while its request waits.
const INLINE_MAX: usize = 200_000;
/// And bytes of its members: long ids take long to sort.
const INLINE_BYTES_MAX: usize = 4 << 20;
/// A result for an epoch that the group has left is dropped this many times in a row; the next is taken for
/// those who are still members, so that a group that never rests gets on.
const DROPPED_MAX: u32 = 16;

/// A target that is being computed on another thread.
#[derive(Debug)]
pub struct Computing {
    token: u64,
    /// Results dropped before, one after the other.
    dropped: u32,
}

/// What a computation is given, and for which epoch.
struct Order {
    assignor: Assignor,
    epoch: i32,
    spec: Spec,
}

/// Brings the target to the group's epoch, now or in the background; nothing where it is there or under way.
pub fn update(group: &mut ConsumerGroup, next_token: &mut u64, context: &Context<'_>, outcome: &mut Outcome) {
    if group.epoch <= group.target_epoch || group.computing.is_some() {
        return;
    }
    start(group, 0, next_token, context, outcome);
}

fn start(
    group: &mut ConsumerGroup,
    dropped: u32,
    next_token: &mut u64,
    context: &Context<'_>,
    outcome: &mut Outcome,
) {
    let mut order = order(group, context);
    let partitions: usize = order.spec.partition_counts.values().map(|count| *count as usize).sum();
    let is_small = order.spec.members.len().saturating_mul(partitions) <= INLINE_MAX;
    if is_small && group.bytes.get() <= INLINE_BYTES_MAX {
        let assigned = order.assignor.assign(&order.spec);
        take(group, &order, assigned, outcome);
        return;
    }
    if group.target_epoch <= 0 {
        // Nobody may be told to be at epoch 0, so nothing is the target of this epoch and the first that is
        // computed is of the next.
        let (id, epoch, hash) = (group.id.clone(), group.epoch, group.metadata_hash);
        store(group, records::target_epoch(&id, epoch), outcome);
        store(group, records::epoch(&id, epoch.saturating_add(1), hash), outcome);
        order.epoch = group.epoch;
    }
    let token = *next_token;
    *next_token += 1;
    group.computing = Some(Computing { token, dropped });
    let id = group.id.to_string();
    outcome.effect(Effect::Work(Work::Whole(Box::new(move || {
        let assigned = order.assignor.assign(&order.spec);
        Worked(Box::new(move |groups, context, outcome| {
            groups.take_computed(&id, token, &order, assigned, context, outcome);
        }))
    }))));
}

impl Groups {
    /// Takes a target that was computed on another thread, unless the group has moved on.
    fn take_computed(
        &mut self,
        id: &str,
        token: u64,
        order: &Order,
        assigned: Result<Assignments, AssignorError>,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) {
        let Groups { groups, consumers, .. } = self;
        let Some(crate::group::Group::Consumer(group)) = groups.get_mut(id) else { return };
        let Some(computing) = group.computing.take_if(|computing| computing.token == token) else { return };
        if order.epoch == group.epoch || computing.dropped >= DROPPED_MAX {
            take(group, order, assigned, outcome);
            update(group, &mut consumers.next_token, context, outcome);
        } else {
            start(group, computing.dropped + 1, &mut consumers.next_token, context, outcome);
        }
    }
}

/// Stores a target: the members' parts that changed, then its epoch.
fn take(
    group: &mut ConsumerGroup,
    order: &Order,
    assigned: Result<Assignments, AssignorError>,
    outcome: &mut Outcome,
) {
    let assigned = match assigned {
        Ok(assigned) => assigned,
        Err(error) => {
            // The order was made from the topics that exist, so this is a mistake of ours.
            tracing::error!(group = &*group.id, %error, "no target assignment could be computed");
            return;
        }
    };
    let id = group.id.clone();
    for (member, new) in order.spec.members.iter().zip(assigned) {
        // A static member may have come back under another id since, which changes no epoch.
        let instance = member.instance_id.as_ref();
        let here = group.members.get(&member.id).map(|here| &here.id);
        let Some(here) = here.or_else(|| group.statics.get(instance?)).cloned() else { continue };
        let same = |old: &Arc<_>| Arc::ptr_eq(old, &new) || **old == *new;
        if !group.targets.get(&here).is_some_and(same) {
            let record = records::target(&id, &here, &new);
            store(group, record, outcome);
            // The same partitions, in the memory that the assignor shares.
            group.set_target(here, new);
        }
    }
    store(group, records::target_epoch(&id, order.epoch), outcome);
}

fn order(group: &ConsumerGroup, context: &Context<'_>) -> Order {
    Order { assignor: assignor(group, context), epoch: group.epoch, spec: spec(group, context.image) }
}

/// The assignor that most members ask for, or the broker's first.
fn assignor(group: &ConsumerGroup, context: &Context<'_>) -> Assignor {
    let preferred = group.preferred_assignor().and_then(Assignor::from_name);
    preferred.unwrap_or_else(|| super::default_assignor(context.settings))
}

/// Where the shared names of a subscription are, and its expression.
type Subscription<'a> = (*const Arc<str>, Option<&'a str>);

fn spec(group: &ConsumerGroup, image: &Image) -> Spec {
    let mut ids: AHashMap<&str, TopicId> = AHashMap::default();
    let mut partition_counts = AHashMap::default();
    for name in group.topics.keys() {
        if let Some(topic) = image.topic(name) {
            ids.insert(name, topic.id);
            partition_counts.insert(topic.id, i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX));
        }
    }
    // Members with the same names (which are shared) and expression share one list of topics.
    let mut lists: AHashMap<Subscription<'_>, Arc<[TopicId]>> = AHashMap::default();
    let members = group.members.values().map(|member| {
        let (names, regex) = (&member.profile.topics, member.profile.regex());
        let key = (names.as_ptr(), regex.map(|regex| &**regex));
        let subscribed = lists.entry(key).or_insert_with(|| {
            let matched = regex.and_then(|regex| group.regexes.resolution(regex));
            let matched = matched.iter().flat_map(|resolved| resolved.topics.iter());
            let mut topics: Vec<TopicId> =
                names.iter().chain(matched).filter_map(|name| ids.get(&**name).copied()).collect();
            topics.sort_unstable();
            topics.dedup();
            topics.into()
        });
        Assignee {
            id: member.id.clone(),
            instance_id: member.profile.instance_id.clone(),
            subscribed: subscribed.clone(),
            owned: group.targets.get(&member.id).cloned().unwrap_or_default(),
        }
    });
    Spec {
        subscription_type: group.subscription_type(),
        members: members.collect(),
        partition_counts: Arc::new(partition_counts),
    }
}
