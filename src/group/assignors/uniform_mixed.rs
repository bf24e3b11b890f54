//! The `uniform` assignor for a group whose members subscribe to different topics.
//!
//! 1. A member keeps what it has of the topics it still subscribes to.
//! 2. Free partitions go to the least loaded subscribers, topics with the most partitions a subscriber first.
//! 3. Topic by topic, partitions move from the most to the least loaded subscribers until they differ by at
//!    most one; over again while anything moves, at most [`ROUNDS_MAX`] times.
//!
//! These are Kafka's steps, so as Kafka's the result may stay short of perfect balance where subscriptions
//! overlap without being equal, and levelling one topic after the other may move more than the least.

use std::cmp::Ordering;

use super::owners::{NOBODY, Owners, order_by_id};
use super::subscribers::Subscribers;
use super::{Assignments, AssignorError, Spec};

/// Rounds over all topics before balancing gives up; as in Kafka.
const ROUNDS_MAX: usize = 16;

pub(super) fn assign(spec: &Spec) -> Result<Assignments, AssignorError> {
    let order = order_by_id(spec);
    let subscribers = Subscribers::new(spec, &order);
    let mut owners = Owners::new(spec, subscribers.topics.clone())?;
    let mut loads = Vec::with_capacity(order.len());
    for (position, index) in order.iter().enumerate() {
        let member = position as u32;
        let owned = &spec.members[*index].owned;
        loads.push(owners.keep(member, owned, |topic| subscribers.subscribes(member, topic), |_| {}) as i64);
    }
    let checked = vec![None; subscribers.lists().len()];
    let mut balance = Balance { owners, subscribers, loads, moves: 0, checked };
    balance.place_free_partitions();
    balance.even_out();
    Ok(balance.owners.into_assignments(spec, &order))
}

struct Balance {
    owners: Owners,
    subscribers: Subscribers,
    /// Partitions owned by each member.
    loads: Vec<i64>,
    /// How often any load changed.
    moves: u64,
    /// For each list of subscribers, the moves at which it was last seen even.
    checked: Vec<Option<u64>>,
}

impl Balance {
    fn place_free_partitions(&mut self) {
        let free: Vec<Vec<usize>> = (0..self.owners.topic_count())
            .map(|topic| self.owners.slots(topic).filter(|slot| self.owners.owner(*slot) == NOBODY).collect())
            .collect();
        let mut ladder = Ladder::default();
        for topic in self.topics_by_weight(|topic| !free[topic].is_empty()) {
            ladder.reset(self.subscribers.of(topic), &self.loads, free[topic].len());
            for slot in &free[topic] {
                let to = ladder.next_least_loaded(&self.loads);
                self.give(*slot, to);
            }
        }
    }

    fn even_out(&mut self) {
        let topics = self.topics_by_weight(|topic| self.subscribers.of(topic).len() >= 2);
        let mut ladder = Ladder::default();
        let mut holdings = Holdings::new(self.loads.len());
        let mut last_moved = None;
        for _ in 0..ROUNDS_MAX {
            for (place, topic) in topics.iter().enumerate() {
                if last_moved == Some(place) {
                    return;
                }
                let moved = self.even_out_topic(*topic, &mut ladder, &mut holdings);
                if moved || last_moved.is_none() {
                    last_moved = Some(place);
                }
            }
        }
    }

    /// Moves partitions of one topic until its subscribers differ by at most one, or those with more have
    /// none of it left to give. Returns whether any moved.
    fn even_out_topic(&mut self, topic: usize, ladder: &mut Ladder, holdings: &mut Holdings) -> bool {
        if self.is_even(self.subscribers.list_of(topic)) {
            return false;
        }
        let members = self.subscribers.of(topic);
        ladder.reset(members, &self.loads, members.len());
        holdings.reset(&self.owners, topic);
        let moves = self.moves;
        while !ladder.is_even() {
            let Some(from) = ladder.next_most_loaded(&self.loads) else { break };
            let Some(slot) = holdings.take_last(from) else {
                ladder.exclude_most_loaded();
                continue;
            };
            let to = ladder.next_least_loaded(&self.loads);
            if ladder.is_even() {
                break;
            }
            self.give(slot, to);
        }
        self.moves > moves
    }

    /// Whether the loads of one list of subscribers differ by at most one.
    fn is_even(&mut self, list: usize) -> bool {
        if self.checked[list] == Some(self.moves) {
            return true;
        }
        let loads = self.subscribers.lists()[list].iter().map(|member| self.loads[*member as usize]);
        let (least, most) =
            loads.fold((i64::MAX, i64::MIN), |(least, most), load| (least.min(load), most.max(load)));
        let even = most - least <= 1;
        if even {
            self.checked[list] = Some(self.moves);
        }
        even
    }

    fn give(&mut self, slot: usize, member: u32) {
        let from = self.owners.owner(slot);
        if from != NOBODY {
            self.loads[from as usize] -= 1;
        }
        self.owners.give(slot, member);
        self.loads[member as usize] += 1;
        self.moves += 1;
    }

    /// The topics that `wanted` accepts: most partitions a subscriber first, then fewest subscribers, then
    /// by id.
    fn topics_by_weight(&self, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let weight = |topic: usize| {
            let subscribers = self.subscribers.of(topic).len();
            (self.owners.slots(topic).len() as f64 / subscribers as f64, subscribers)
        };
        let mut topics: Vec<usize> = (0..self.owners.topic_count()).filter(|topic| wanted(*topic)).collect();
        topics.sort_by(|a, b| {
            let ((a_weight, a_count), (b_weight, b_count)) = (weight(*a), weight(*b));
            let heavier = b_weight.partial_cmp(&a_weight).unwrap_or(Ordering::Equal);
            heavier.then(a_count.cmp(&b_count)).then(a.cmp(b))
        });
        topics
    }
}

/// The partitions that each member has of one topic.
struct Holdings {
    /// Slots, those of one member side by side and ascending.
    slots: Vec<usize>,
    /// Where each member's slots begin and end; begin = end where it has none.
    ranges: Vec<(usize, usize)>,
    /// The members whose range is not empty at first.
    holders: Vec<u32>,
}

impl Holdings {
    fn new(members: usize) -> Holdings {
        Holdings { slots: Vec::new(), ranges: vec![(0, 0); members], holders: Vec::new() }
    }

    fn reset(&mut self, owners: &Owners, topic: usize) {
        for holder in self.holders.drain(..) {
            self.ranges[holder as usize] = (0, 0);
        }
        self.slots.clear();
        self.slots.extend(owners.slots(topic).filter(|slot| owners.owner(*slot) != NOBODY));
        self.slots.sort_by_key(|slot| owners.owner(*slot));
        for (place, slot) in self.slots.iter().enumerate() {
            let owner = owners.owner(*slot);
            let range = &mut self.ranges[owner as usize];
            if range.1 == 0 {
                range.0 = place;
                self.holders.push(owner);
            }
            range.1 = place + 1;
        }
    }

    /// The last of a member's slots that was not taken yet. What it receives meanwhile is not among them.
    fn take_last(&mut self, member: u32) -> Option<usize> {
        let (begin, end) = &mut self.ranges[member as usize];
        if begin == end {
            return None;
        }
        *end -= 1;
        Some(self.slots[*end])
    }
}

/// Members by load, lightest first, with a range that grows from each side.
///
/// ```text
/// load |               [##  ]##   light: every member of it had `light_level` partitions when the range
///      |              #[####]##   last grew; each gets one in turn, then the level rises and the range grows
///      | [..>     ]###[####]##   heavy: likewise from above; behind its end stand heavy members that have
///      | [########]###[####]##   nothing left to give
///      +------------------------
///        light          heavy
/// ```
#[derive(Default)]
struct Ladder {
    members: Vec<u32>,
    /// (load, member) as one number, to sort by.
    keys: Vec<u64>,
    light_end: usize,
    light_level: i64,
    next_light: usize,
    heavy_start: usize,
    heavy_end: usize,
    heavy_level: i64,
    /// One past the next place in the heavy range to take from.
    next_heavy: usize,
}

impl Ladder {
    /// Ranks `members`. Only the `lightest` of them with the least load are put in order and kept, which is
    /// enough for that many calls of [`Ladder::next_least_loaded`]: a place is reached only after all before it.
    fn reset(&mut self, members: &[u32], loads: &[i64], lightest: usize) {
        self.keys.clear();
        self.keys.extend(members.iter().map(|m| (loads[*m as usize] as u64) << 32 | u64::from(*m)));
        if lightest < self.keys.len() {
            self.keys.select_nth_unstable(lightest);
            self.keys.truncate(lightest);
        }
        self.keys.sort_unstable();
        self.members.clear();
        self.members.extend(self.keys.iter().map(|key| *key as u32));
        let load = |member: Option<&u32>| member.map_or(0, |member| loads[*member as usize]);
        self.light_end = 0;
        self.light_level = load(self.members.first()) - 1;
        self.next_light = 0;
        self.heavy_start = self.members.len();
        self.heavy_end = self.members.len();
        self.heavy_level = load(self.members.last()) + 1;
        self.next_heavy = self.members.len();
    }

    /// The member to give a partition to. The caller gives it before the next call.
    fn next_least_loaded(&mut self, loads: &[i64]) -> u32 {
        if self.next_light >= self.light_end {
            self.light_level += 1;
            let level = self.light_level;
            self.light_end += self.members[self.light_end..]
                .iter()
                .take_while(|member| loads[**member as usize] == level)
                .count();
            self.next_light = 0;
        }
        let member = self.members[self.next_light];
        self.next_light += 1;
        member
    }

    /// The member to take a partition from; `None` when all were excluded.
    fn next_most_loaded(&mut self, loads: &[i64]) -> Option<u32> {
        if self.next_heavy <= self.heavy_start {
            if self.heavy_end <= self.heavy_start && self.heavy_start > 0 {
                // Everyone in the range was excluded: go on at the level of the next below.
                self.heavy_level = loads[self.members[self.heavy_start - 1] as usize];
            } else {
                self.heavy_level -= 1;
            }
            let level = self.heavy_level;
            self.heavy_start -= self.members[..self.heavy_start]
                .iter()
                .rev()
                .take_while(|member| loads[**member as usize] == level)
                .count();
            self.next_heavy = self.heavy_end;
        }
        self.next_heavy = self.next_heavy.checked_sub(1)?;
        Some(self.members[self.next_heavy])
    }

    /// Takes the member that [`Ladder::next_most_loaded`] returned last out of the heavy range.
    fn exclude_most_loaded(&mut self) {
        self.heavy_end -= 1;
        self.members.swap(self.next_heavy, self.heavy_end);
    }

    fn is_even(&self) -> bool {
        self.heavy_level - self.light_level <= 1
    }
}
