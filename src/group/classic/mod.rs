//! Classic groups: members choose a protocol, one of them assigns.
//!
//! | file | what it holds |
//! |---|---|
//! | [`group`], [`member`] | a group and its members, and how the protocol is chosen |
//! | `round` | how a group goes from state to state: rounds of joining, their deadlines |
//! | `join`, `sync`, `heartbeat`, `leave` | one request each |
//! | `handover` | groups whose members go to another kind, or come from one |
//! | `offsets` | who may commit, fetch and delete offsets |
//! | `pending` | ids that were given out |
//!
//! A GroupMetadata record is written when a group is made, stable or empty. What happens between is volatile:
//! after a restart the group stands as its last record says, and its members join anew where they must.

use std::rc::Rc;

use super::timers::Timers;
use super::{Context, Group, Groups, Outcome, Ticket};
use crate::clock::Now;
use crate::protocol::stored::group::{GroupMetadataKey, GroupMetadataValue};

pub mod group;
pub mod member;

mod handover;
mod heartbeat;
mod join;
mod leave;
mod offsets;
mod pending;
mod round;
mod sync;

#[cfg(test)]
mod tests;

pub use group::{CONSUMER, ClassicGroup, State};
pub use join::check_join;
pub use member::{Member, Members, Protocol};
use round::Round;
pub(in crate::group) use round::{refused, text};
pub use sync::check_sync;

/// What of a classic group has a deadline.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Timer {
    /// A member, or an id that was given out, is heard of no more.
    Session { group: Rc<str>, member: Rc<str> },
    /// The round of joining is over.
    Join { group: Rc<str> },
    /// Members that have not synchronised are taken away.
    Sync { group: Rc<str> },
    /// After a load: groups that are larger than the configuration allows now.
    Loaded,
}

impl Groups {
    pub(super) fn classic_timer(&mut self, timer: Timer, context: &Context<'_>, outcome: &mut Outcome) {
        match timer {
            Timer::Session { group, member } => {
                if let Some(mut round) = self.round(&group, context, outcome) {
                    round.session_ended(&member);
                }
            }
            Timer::Join { group } => {
                if let Some(mut round) = self.round(&group, context, outcome) {
                    round.join_time_over();
                }
            }
            Timer::Sync { group } => {
                if let Some(mut round) = self.round(&group, context, outcome) {
                    round.sync_time_over();
                }
            }
            Timer::Loaded => self.shrink_loaded(context, outcome),
        }
    }

    /// Has groups join anew that are over `group.max.size`, which may have become less: their consumers can
    /// commit, and those who come too late are refused.
    fn shrink_loaded(&mut self, context: &Context<'_>, outcome: &mut Outcome) {
        let over: Vec<Rc<str>> = self
            .classic_groups()
            .filter(|group| group.members.len() > context.settings.group_max_size)
            .map(|group| group.id.clone())
            .collect();
        for id in over {
            if let Some(mut round) = self.round(&id, context, outcome)
                && round.group.state != State::PreparingRebalance
            {
                round.prepare();
            }
        }
    }

    fn classic_groups(&self) -> impl Iterator<Item = &ClassicGroup> {
        self.groups.values().filter_map(|group| match group {
            Group::Classic(group) => Some(&**group),
            Group::Consumer(_) => None,
        })
    }

    /// A classic group with what its rounds need; `None` for one that is not there, or of another kind.
    fn round<'a>(
        &'a mut self,
        id: &str,
        context: &'a Context<'a>,
        outcome: &'a mut Outcome,
    ) -> Option<Round<'a>> {
        let Groups { groups, timers, pending_bytes, .. } = self;
        match groups.get_mut(id)? {
            Group::Classic(group) => Some(Round { group, timers, pending_bytes, context, outcome }),
            Group::Consumer(_) => None,
        }
    }

    pub(super) fn apply_classic(&mut self, key: GroupMetadataKey, value: Option<GroupMetadataValue>) {
        let id: Rc<str> = Rc::from(key.group);
        let before = match value {
            None => self.groups.remove(&id),
            Some(value) => {
                let group = ClassicGroup::from_record(value, id.clone());
                self.groups.insert(id, Group::Classic(Box::new(group)))
            }
        };
        if let Some(Group::Classic(group)) = before {
            forget_deadlines(&group, &mut self.timers);
        }
    }

    pub(super) fn classic_loaded(&mut self, now: Now) {
        let mut sessions = Vec::new();
        for group in self.classic_groups() {
            for member in group.members.iter() {
                let timer = Timer::Session { group: group.id.clone(), member: member.id.clone() };
                sessions.push((timer, now.ticks_ms + millis(member.session_timeout_ms)));
            }
        }
        for (timer, deadline_ms) in sessions {
            self.timers.set(super::Timer::Classic(timer), deadline_ms);
        }
        self.timers.set(super::Timer::Classic(Timer::Loaded), now.ticks_ms);
    }
}

/// A time that a client gave: none before now.
fn millis(ms: i32) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

/// Takes the deadlines of a group that is gone away.
fn forget_deadlines(group: &ClassicGroup, timers: &mut Timers<super::Timer>) {
    let id = &group.id;
    let members = group.members.iter().map(|member| &member.id);
    for member in members.chain(group.pending.iter()) {
        let timer = Timer::Session { group: id.clone(), member: member.clone() };
        timers.cancel(&super::Timer::Classic(timer));
    }
    for timer in [Timer::Join { group: id.clone() }, Timer::Sync { group: id.clone() }] {
        timers.cancel(&super::Timer::Classic(timer));
    }
}
