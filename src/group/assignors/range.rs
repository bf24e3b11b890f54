//! The `range` assignor: of each topic, every subscriber gets one run of neighbouring partitions.
//!
//! Subscribers stand in a fixed order, static members first by instance id, then the others by member id.
//! Each topic is cut into runs as equal as can be, longer ones first, and handed out in that order. So topics
//! of equal size and equal subscribers line up, and a static member that restarts finds its own run. What a
//! member owned before has no influence.

use std::cmp::Ordering;

use super::owners::{Owners, text_order};
use super::subscribers::Subscribers;
use super::{Assignments, AssignorError, Member, Spec};

pub(super) fn assign(spec: &Spec) -> Result<Assignments, AssignorError> {
    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    order.sort_by(|a, b| rank(&spec.members[*a], &spec.members[*b]));
    let subscribers = Subscribers::new(spec, &order);
    let mut owners = Owners::new(spec, subscribers.topics.clone())?;
    for topic in 0..owners.topic_count() {
        let slots = owners.slots(topic);
        let members = subscribers.of(topic);
        let (length, longer_runs) = (slots.len() / members.len(), slots.len() % members.len());
        let mut next = slots.start;
        for (place, member) in members.iter().enumerate() {
            let end = next + length + usize::from(place < longer_runs);
            if end == next {
                break;
            }
            (next..end).for_each(|slot| owners.give(slot, *member));
            next = end;
        }
    }
    Ok(owners.into_assignments(spec, &order))
}

fn rank(a: &Member, b: &Member) -> Ordering {
    match (&a.instance_id, &b.instance_id) {
        (Some(a), Some(b)) => text_order(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => text_order(&a.id, &b.id),
    }
}
