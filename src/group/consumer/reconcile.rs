//! One step of a member towards its target: revoke first, then move to the target's epoch, then take what
//! others have let go of. A pure function; Kafka's CurrentAssignmentBuilder is the source.

use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;

use super::member::{MemberState, Progress};
use super::owners::Owners;
use crate::group::assignors::Assignment;
use crate::types::TopicId;

/// What a member is led to.
pub struct Target<'a> {
    pub epoch: i32,
    pub assignment: &'a Assignment,
}

/// What a member says that it owns; `None` where its heartbeat says nothing of it.
pub type Reported<'a> = Option<&'a [TopicPartitions]>;

/// The member's next step; `None` where it can take none now. A step can come to what the member has already.
pub fn step(
    member: &Progress,
    target: &Target<'_>,
    owners: &Owners,
    reported: Reported<'_>,
) -> Option<Progress> {
    match member.state {
        MemberState::Stable if member.epoch == target.epoch => None,
        MemberState::Stable | MemberState::Unreleased => {
            Some(next(member, member.epoch, target, owners, reported))
        }
        // Partitions are revoked when the member says what it owns and they are not among it.
        MemberState::Unrevoked if still_owns(reported, &member.revoking) => None,
        MemberState::Unrevoked => Some(next(member, member.epoch + 1, target, owners, reported)),
        // Whoever gets here with partitions of its own was refused before.
        MemberState::Unknown(_) => Some(next(member, target.epoch, target, owners, reported)),
    }
}

/// Whether the member owns any of `assignment`, or does not say what it owns.
fn still_owns(reported: Reported<'_>, assignment: &Assignment) -> bool {
    let Some(reported) = reported else { return true };
    reported.iter().any(|topic| {
        let held = assignment.partitions(TopicId(topic.topic_id));
        !held.is_empty() && topic.partitions.iter().any(|partition| held.binary_search(partition).is_ok())
    })
}

/// Whether the member says that it owns nothing but (some of) `assignment`.
pub fn owns_subset(reported: Reported<'_>, assignment: &Assignment) -> bool {
    let Some(reported) = reported else { return false };
    reported.iter().all(|topic| {
        let held = assignment.partitions(TopicId(topic.topic_id));
        !held.is_empty() && topic.partitions.iter().all(|partition| held.binary_search(partition).is_ok())
    })
}

fn next(
    member: &Progress,
    epoch: i32,
    target: &Target<'_>,
    owners: &Owners,
    reported: Reported<'_>,
) -> Progress {
    let parts = Parts::of(&member.assigned, target.assignment, owners);
    let revoking = Assignment::new(parts.to_revoke);
    let progress = |epoch, state, assigned: Arc<Assignment>, revoking| Progress {
        epoch,
        previous_epoch: member.epoch,
        state,
        assigned,
        revoking,
    };
    if !revoking.is_empty() && still_owns(reported, &revoking) {
        let kept = Arc::new(Assignment::new(parts.kept));
        return progress(epoch, MemberState::Unrevoked, kept, Arc::new(revoking));
    }
    let state = if parts.has_unreleased { MemberState::Unreleased } else { MemberState::Stable };
    // Most often nothing changes but the epoch: the assignment stays shared.
    let assigned = if revoking.is_empty() && parts.free.is_empty() {
        member.assigned.clone()
    } else {
        Arc::new(Assignment::new(parts.kept.into_iter().chain(parts.free)))
    };
    progress(target.epoch, state, assigned, Arc::default())
}

/// A member's partitions and its target's, told apart.
#[derive(Default)]
struct Parts {
    /// Owned and in the target.
    kept: Vec<(TopicId, Vec<i32>)>,
    /// Owned and not in the target.
    to_revoke: Vec<(TopicId, Vec<i32>)>,
    /// In the target, and nobody owns them.
    free: Vec<(TopicId, Vec<i32>)>,
    /// Some of the target is owned by somebody still.
    has_unreleased: bool,
}

impl Parts {
    fn of(assigned: &Assignment, target: &Assignment, owners: &Owners) -> Parts {
        let mut parts = Parts::default();
        let put = |into: &mut Vec<_>, topic, partitions: Vec<i32>| {
            if !partitions.is_empty() {
                into.push((topic, partitions));
            }
        };
        for (topic, owned) in assigned.topics() {
            let wanted = target.partitions(topic);
            let (kept, gone) = owned.iter().partition(|partition| wanted.binary_search(partition).is_ok());
            put(&mut parts.kept, topic, kept);
            put(&mut parts.to_revoke, topic, gone);
        }
        for (topic, wanted) in target.topics() {
            let owned = assigned.partitions(topic);
            let missing = wanted.iter().copied().filter(|partition| owned.binary_search(partition).is_err());
            let (free, held): (Vec<i32>, Vec<i32>) =
                missing.partition(|partition| owners.owner(topic, *partition).is_none());
            parts.has_unreleased |= !held.is_empty();
            put(&mut parts.free, topic, free);
        }
        parts
    }
}
