//! Who owns each partition while an assignment is computed.
//!
//! Members, topics and partitions are dense numbers here: a member is its position in the assignor's order,
//! a topic its place among the subscribed topics in ascending order of id, and a partition has one slot in
//! one array, the partitions of a topic side by side. Every step is an index, and a slot has one owner, so
//! no partition can be given twice.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use super::assignment::id_order;
use super::{Assignment, Assignments, AssignorError, Spec};
use crate::types::TopicId;

/// The owner of a slot that nobody owns.
pub(super) const NOBODY: u32 = u32::MAX;

pub(super) struct Owners {
    /// The subscribed topics, ascending by id.
    topics: Vec<TopicId>,
    /// The first slot of each topic, and one past the last slot of all.
    first_slots: Vec<usize>,
    /// The position of the member that owns each slot, or [`NOBODY`].
    owners: Vec<u32>,
}

impl Owners {
    /// All partitions of `topics`, which ascend by id and are distinct, without owners.
    pub fn new(spec: &Spec, topics: Vec<TopicId>) -> Result<Owners, AssignorError> {
        debug_assert!(topics.is_sorted_by_key(|topic| id_order(*topic)));
        let mut first_slots = Vec::with_capacity(topics.len() + 1);
        let mut slots = 0;
        for topic in &topics {
            let count = spec.partition_counts.get(topic).ok_or(AssignorError::UnknownTopic(*topic))?;
            first_slots.push(slots);
            slots += usize::try_from(*count).unwrap_or(0);
        }
        first_slots.push(slots);
        Ok(Owners { topics, first_slots, owners: vec![NOBODY; slots] })
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn slot_count(&self) -> usize {
        self.owners.len()
    }

    /// The slots of one topic.
    pub fn slots(&self, topic: usize) -> Range<usize> {
        self.first_slots[topic]..self.first_slots[topic + 1]
    }

    pub fn owner(&self, slot: usize) -> u32 {
        self.owners[slot]
    }

    pub fn give(&mut self, slot: usize, member: u32) {
        self.owners[slot] = member;
    }

    /// Gives `member` what it owned before, as far as it is in a topic that `subscribed` accepts, exists, and
    /// was not claimed by a member before it. Returns the number of slots it keeps.
    pub fn keep(
        &mut self,
        member: u32,
        owned: &Assignment,
        subscribed: impl Fn(usize) -> bool,
        mut kept: impl FnMut(usize),
    ) -> usize {
        let mut count = 0;
        for (id, partitions) in owned.topics() {
            let Some(topic) = self.topic(id).filter(|topic| subscribed(*topic)) else { continue };
            let slots = self.slots(topic);
            for partition in partitions {
                let Ok(partition) = usize::try_from(*partition) else { continue };
                let slot = slots.start + partition;
                if slot < slots.end && self.owners[slot] == NOBODY {
                    self.owners[slot] = member;
                    kept(slot);
                    count += 1;
                }
            }
        }
        count
    }

    /// The assignments these owners make, in the order of the spec's members; `order` says which of them
    /// stands at each position. Who keeps exactly what it had gets its own `Arc` back.
    pub fn into_assignments(self, spec: &Spec, order: &[usize]) -> Assignments {
        let mut ends = vec![0usize; order.len()];
        for owner in self.owners.iter().filter(|owner| **owner != NOBODY) {
            ends[*owner as usize] += 1;
        }
        let mut total = 0;
        for end in &mut ends {
            total += *end;
            *end = total - *end;
        }
        // `ends` holds where each member's slots begin; filling moves it to where they end.
        let mut slots = vec![0usize; total];
        for (slot, owner) in self.owners.iter().enumerate() {
            if *owner != NOBODY {
                let end = &mut ends[*owner as usize];
                slots[*end] = slot;
                *end += 1;
            }
        }
        let mut assignments: Assignments = spec.members.iter().map(|member| member.owned.clone()).collect();
        let mut begin = 0;
        for (position, end) in ends.into_iter().enumerate() {
            let assignment = &mut assignments[order[position]];
            if !self.is_made_of(assignment, &slots[begin..end]) {
                *assignment = Arc::new(self.assignment(&slots[begin..end]));
            }
            begin = end;
        }
        assignments
    }

    fn topic(&self, id: TopicId) -> Option<usize> {
        self.topics.binary_search_by_key(&id_order(id), |topic| id_order(*topic)).ok()
    }

    /// Whether `assignment` is exactly these slots, which ascend.
    fn is_made_of(&self, assignment: &Assignment, slots: &[usize]) -> bool {
        let mut rest = slots;
        for (id, partitions) in assignment.topics() {
            let Some(topic) = self.topic(id) else { return false };
            let here = self.slots(topic);
            let Some((these, later)) = rest.split_at_checked(partitions.len()) else { return false };
            let same = |(slot, partition): (&usize, &i32)| {
                here.contains(slot) && (*slot - here.start) as i64 == i64::from(*partition)
            };
            if !these.iter().zip(partitions).all(same) {
                return false;
            }
            rest = later;
        }
        rest.is_empty()
    }

    fn assignment(&self, slots: &[usize]) -> Assignment {
        let mut topics = Vec::new();
        let mut rest = slots;
        while let Some(slot) = rest.first() {
            // The last topic that begins at or before this slot; empty topics before it share its beginning.
            let topic = self.first_slots.partition_point(|first| first <= slot) - 1;
            let here = self.slots(topic);
            let (these, later) = rest.split_at(rest.partition_point(|slot| *slot < here.end));
            let partitions = these.iter().map(|slot| (slot - here.start) as i32).collect();
            topics.push((self.topics[topic], partitions));
            rest = later;
        }
        Assignment::new(topics)
    }
}

/// The members of `spec` by id, as indices.
pub(super) fn order_by_id(spec: &Spec) -> Vec<usize> {
    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    order.sort_by(|a, b| text_order(&spec.members[*a].id, &spec.members[*b].id));
    order
}

/// Kafka's order of texts: by UTF-16 units. It differs from the order of bytes only where a letter beyond
/// U+FFFF meets one from U+E000 on.
pub(super) fn text_order(a: &str, b: &str) -> Ordering {
    match a.bytes().zip(b.bytes()).find(|(a, b)| a != b) {
        Some((a, b)) if a.max(b) < 0xEE => a.cmp(&b),
        None => a.len().cmp(&b.len()),
        Some(_) => a.encode_utf16().cmp(b.encode_utf16()),
    }
}
