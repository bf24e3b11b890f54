//! A classic group: its state, who is in it, the protocol it follows. It answers nobody; [`super::round`]
//! carries it from state to state.
//!
//! ```text
//! Empty ──join──> PreparingRebalance ──all joined or time over──> CompletingRebalance ──leader syncs──> Stable
//!   ^                  │        ^                                          │                              │
//!   └── nobody left ───┘        └────────── a member comes, goes or changes its mind ────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::super::bounds;
use super::super::held::Held;
use super::member::{Member, Members, Protocol};
use super::pending::Pending;
use crate::protocol::embedded::Subscription;
use crate::protocol::stored::group::{GroupMetadataKey, GroupMetadataValue, MemberMetadata, Record};

/// The protocol type of groups that share partitions.
pub const CONSUMER: &str = "consumer";

/// Where a group stands. A group that was removed is in no map any more, so there is no state for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No members; offsets may be kept.
    Empty,
    /// Members are to join anew; each waits until all have, or until the time is over.
    PreparingRebalance,
    /// Members know the generation; they wait for what the leader assigns.
    CompletingRebalance,
    Stable,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// The delay of a group's first round, in milliseconds: it begins anew while members still come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InitialDelay {
    pub delay_ms: u64,
    pub remaining_ms: u64,
}

/// A classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    pub(in crate::group) id: Rc<str>,
    pub(in crate::group) state: State,
    /// The state before this one, where the group has changed since it was made or loaded.
    pub(in crate::group) previous: Option<State>,
    /// Since when it is in its state, by the wall clock; `None` in records of old versions.
    pub(in crate::group) state_since_ms: Option<i64>,
    pub(in crate::group) generation: i32,
    /// Of its members; `None` for a group that only keeps offsets.
    pub(in crate::group) protocol_type: Option<Rc<str>>,
    /// The protocol that this generation follows.
    pub(in crate::group) protocol: Option<Rc<str>>,
    /// Always a member, where there is one.
    pub(in crate::group) leader: Option<Rc<str>>,
    pub(in crate::group) members: Members,
    /// Ids of static members by their instance.
    pub(in crate::group) instances: AHashMap<Rc<str>, Rc<str>>,
    /// Ids that were given out and have not joined yet.
    pub(super) pending: Pending,
    /// Members that have not synchronised in this generation.
    pub(in crate::group) pending_sync: AHashSet<Rc<str>>,
    /// How many members wait for the end of the round.
    awaiting_join: usize,
    /// How many members can follow each protocol.
    support: BTreeMap<Rc<str>, usize>,
    /// The topics that members subscribe to; `None` where that is not known.
    pub(in crate::group) subscribed: Option<BTreeSet<String>>,
    /// A member has come while the first round is delayed.
    pub(super) came_in_delay: bool,
    pub(super) initial_delay: Option<InitialDelay>,
    member_bytes: Held,
    /// What its last record says, so that it can be written again while a round runs. `None` for a group that
    /// commits alone have made.
    written: Option<Box<GroupMetadataValue>>,
}

impl ClassicGroup {
    /// An empty group at generation 0.
    pub fn new(id: Rc<str>, now_ms: i64) -> ClassicGroup {
        ClassicGroup {
            id,
            state: State::Empty,
            previous: None,
            state_since_ms: Some(now_ms),
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Members::default(),
            instances: AHashMap::default(),
            pending: Pending::default(),
            pending_sync: AHashSet::default(),
            awaiting_join: 0,
            support: BTreeMap::new(),
            subscribed: None,
            came_in_delay: false,
            initial_delay: None,
            member_bytes: Held::default(),
            written: None,
        }
    }

    /// A group that only keeps offsets, made by a commit. No record of its own says that it is there.
    pub fn simple(id: Rc<str>) -> ClassicGroup {
        ClassicGroup { state_since_ms: None, ..ClassicGroup::new(id, 0) }
    }

    /// A group as a record says it was: with members it is stable.
    pub fn from_record(value: GroupMetadataValue, id: Rc<str>) -> ClassicGroup {
        let mut group = ClassicGroup::new(id, 0);
        group.written = Some(Box::new(value.clone()));
        group.state_since_ms = (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|kind| !kind.is_empty()).map(Rc::from);
        group.protocol = value.protocol.map(Rc::from);
        group.state = if value.members.is_empty() { State::Empty } else { State::Stable };
        let protocol = group.protocol.clone().unwrap_or_default();
        for member in value.members.iter() {
            group.load_member(member.clone(), &protocol);
        }
        // A leader that is no member would be a group that nobody can lead.
        let leader = value.leader.filter(|leader| group.members.contains(leader)).map(Rc::from);
        group.leader = leader.or_else(|| group.members.iter().next().map(|member| member.id.clone()));
        group.subscribed = group.subscriptions();
        group
    }

    fn load_member(&mut self, stored: MemberMetadata, protocol: &Rc<str>) {
        let id: Rc<str> = Rc::from(stored.member_id);
        let instance: Option<Rc<str>> = stored.group_instance_id.map(Rc::from);
        let twice = self.members.contains(&id)
            || instance.as_ref().is_some_and(|instance| self.instances.contains_key(instance));
        if twice {
            tracing::warn!(group = %self.id, member = %id, "a stored group names a member twice");
            return;
        }
        self.add(Member {
            id,
            instance,
            client_id: stored.client_id,
            client_host: stored.client_host,
            rebalance_timeout_ms: match stored.rebalance_timeout {
                -1 => stored.session_timeout,
                timeout_ms => timeout_ms,
            },
            session_timeout_ms: stored.session_timeout,
            protocols: vec![Protocol { name: protocol.clone(), metadata: stored.subscription }],
            assignment: stored.assignment,
            join: None,
            sync: None,
            is_new: false,
        });
    }

    /// What a record says that is written now. `before` is of the last one: of members that are as they were then
    /// nothing is copied, so that one static member which comes back to a large group costs little.
    fn value(&self, before: Arc<Vec<MemberMetadata>>) -> GroupMetadataValue {
        let protocol = self.protocol.as_deref();
        let mut members = before;
        let stored = Arc::make_mut(&mut members);
        stored.truncate(self.members.len());
        for (place, member) in self.members.iter().enumerate() {
            match stored.get_mut(place) {
                Some(before) if member.is_stored_as(before, protocol) => {}
                Some(before) => *before = member.stored(protocol),
                None => stored.push(member.stored(protocol)),
            }
        }
        GroupMetadataValue {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default().to_owned(),
            generation: self.generation,
            protocol: protocol.map(str::to_owned),
            leader: self.leader.as_deref().map(str::to_owned),
            current_state_timestamp: self.state_since_ms.unwrap_or(-1),
            members,
        }
    }

    /// The record of the group as it is now: stable, or empty.
    pub(super) fn write(&mut self) -> Record {
        assert!(matches!(self.state, State::Stable | State::Empty), "a round that runs is not written");
        let before = self.written.take().map(|written| written.members).unwrap_or_default();
        let value = self.value(before);
        self.written = Some(Box::new(value.clone()));
        Record::GroupMetadata(self.key(), Some(value))
    }

    /// The records that make the group what it is: its last one, whatever has begun since.
    pub fn records(&self) -> Vec<Record> {
        let written = self.written.iter();
        written.map(|value| Record::GroupMetadata(self.key(), Some((**value).clone()))).collect()
    }

    fn key(&self) -> GroupMetadataKey {
        GroupMetadataKey { group: self.id.to_string() }
    }

    pub fn id(&self) -> &Rc<str> {
        &self.id
    }

    /// Whether it has no members and no round of joining.
    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether nobody has been in it: it was made by commits, or by a join that came to nothing.
    pub fn is_simple(&self) -> bool {
        self.protocol_type.is_none() && self.is_empty() && self.pending.is_empty()
    }

    pub fn state_name(&self) -> &'static str {
        self.state.name()
    }

    pub fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub fn is_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Moves to another state.
    pub(super) fn enter(&mut self, state: State, now_ms: i64) {
        let allowed = match state {
            State::Empty | State::CompletingRebalance => self.state == State::PreparingRebalance,
            State::PreparingRebalance => self.state != State::PreparingRebalance,
            State::Stable => self.state == State::CompletingRebalance,
        };
        assert!(allowed, "a group does not go from {:?} to {state:?}", self.state);
        self.previous = Some(self.state);
        self.state = state;
        self.state_since_ms = Some(now_ms);
    }

    /// Whether members that speak this type and these protocols fit those that are there.
    pub fn supports<'a>(&self, kind: &str, mut protocols: impl Iterator<Item = &'a str>) -> bool {
        match self.state {
            State::Empty => !kind.is_empty() && protocols.next().is_some(),
            _ => {
                // A round that waits for ids alone has no members yet: then any protocol will do.
                let of_all = |name: &str| self.support.get(name).copied().unwrap_or(0) == self.members.len();
                self.protocol_type.as_deref() == Some(kind) && protocols.any(of_all)
            }
        }
    }

    /// Adds a member; the first one leads, and gives the group its protocol type by [`ClassicGroup::set_type`].
    pub(super) fn add(&mut self, member: Member) {
        if let Some(instance) = &member.instance {
            let before = self.instances.insert(instance.clone(), member.id.clone());
            assert!(before.is_none(), "a static member is added once");
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending.remove(&member.id);
        self.awaiting_join += usize::from(member.awaits_join());
        self.member_bytes += member.bytes();
        self.count_support(&member);
        self.members.insert(member);
    }

    /// Sets the type of the protocols, which is its first member's.
    pub(super) fn set_type(&mut self, kind: &str) {
        if self.members.is_empty() && self.protocol_type.as_deref() != Some(kind) {
            self.protocol_type = Some(Rc::from(kind));
        }
    }

    /// Takes a member, or an id that was given out, away. The eldest of the others leads where it led.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending.remove(id);
        self.pending_sync.remove(id);
        let member = self.members.remove(id)?;
        self.discount_support(&member);
        self.awaiting_join -= usize::from(member.awaits_join());
        self.member_bytes -= member.bytes();
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.iter().next().map(|eldest| eldest.id.clone());
        }
        Some(member)
    }

    /// Changes a member; what is counted over members follows.
    pub(super) fn change<R>(&mut self, id: &str, change: impl FnOnce(&mut Member) -> R) -> Option<R> {
        let mut member = self.members.get(id)?.clone();
        let (awaited, bytes) = (member.awaits_join(), member.bytes());
        self.discount_support(&member);
        let result = change(&mut member);
        self.awaiting_join = self.awaiting_join - usize::from(awaited) + usize::from(member.awaits_join());
        self.member_bytes -= bytes;
        self.member_bytes += member.bytes();
        self.count_support(&member);
        *self.members.get_mut(id)? = member;
        Some(result)
    }

    /// Gives a static member another id. It keeps its place, its lead and its assignment.
    pub(super) fn rename(&mut self, old: &str, new: Rc<str>) {
        let leads = self.is_leader(old);
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        let Some(member) = self.members.rename(old, new.clone()) else { return };
        // Whoever had the old id was told a generation or is fenced now; the new one can heartbeat.
        member.is_new = false;
        self.member_bytes -= old.len();
        self.member_bytes += new.len();
        if let Some(instance) = member.instance.clone() {
            self.instances.insert(instance, new.clone());
        }
        if leads {
            self.leader = Some(new);
        }
    }

    /// Takes the ticket of a member that waits for the end of the round.
    pub(super) fn take_join(&mut self, id: &str) -> Option<super::Ticket> {
        let ticket = self.members.get_mut(id)?.join.take()?;
        self.awaiting_join -= 1;
        Some(ticket)
    }

    /// Sets what members are assigned. Who is not named gets nothing.
    pub(in crate::group) fn assign(&mut self, mut assignments: AHashMap<&str, Bytes>) {
        for member in self.members.iter_mut() {
            self.member_bytes -= member.assignment.len();
            member.assignment = assignments.remove(&*member.id).unwrap_or_default();
            self.member_bytes += member.assignment.len();
        }
    }

    fn count_support(&mut self, member: &Member) {
        for name in member.protocol_names() {
            *self.support.entry(name.clone()).or_default() += 1;
        }
    }

    fn discount_support(&mut self, member: &Member) {
        for name in member.protocol_names() {
            if let Some(count) = self.support.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.support.remove(name);
                }
            }
        }
    }

    /// Bytes that its members take, by what clients decide over.
    pub fn member_bytes(&self) -> usize {
        self.member_bytes.get()
    }

    /// About what its record takes as it is now.
    pub(in crate::group) fn record_bytes(&self) -> usize {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let texts = [&self.protocol_type, &self.protocol, &self.leader];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        let members = self.members.iter().map(|member| member.stored_bytes(protocol));
        bounds::RECORD_BYTES + self.id.len() + texts + members.sum::<usize>()
    }

    /// How many members wait for the end of the round.
    pub fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    /// Whether nobody is awaited any more in a round of joining.
    pub fn all_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending.is_empty()
    }

    /// Sees to it that the leader has joined; false where nobody has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(Member::awaits_join) {
            return true;
        }
        let joined = self.members.iter().find(|member| member.awaits_join()).map(|member| member.id.clone());
        let elected = joined.is_some();
        self.leader = joined.or_else(|| self.leader.take());
        elected
    }

    /// The longest rebalance timeout of its members, in milliseconds.
    pub fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.members.iter().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0);
        u64::try_from(longest).unwrap_or(0)
    }

    /// The protocol that most members like best of those that all can follow; of two the one that the eldest
    /// prefers. `None` without members.
    pub fn chosen_protocol(&self) -> Option<Rc<str>> {
        let of_all = |name: &str| self.support.get(name) == Some(&self.members.len());
        let mut votes: Vec<(Rc<str>, usize)> = Vec::new();
        for member in self.members.iter() {
            let Some(vote) = member.protocols.iter().find(|own| of_all(&own.name)) else { continue };
            match votes.iter_mut().find(|(name, _)| *name == vote.name) {
                Some((_, count)) => *count += 1,
                None => votes.push((vote.name.clone(), 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name)
    }

    /// Begins the next generation with those who are there.
    pub(super) fn next_generation(&mut self, now_ms: i64) {
        self.generation = self.generation.wrapping_add(1).max(0);
        self.protocol = self.chosen_protocol();
        self.subscribed = self.subscriptions();
        let state = if self.members.is_empty() { State::Empty } else { State::CompletingRebalance };
        self.enter(state, now_ms);
        self.pending_sync.clear();
    }

    /// The topics that the members of a group of consumers subscribe to; `None` where that cannot be known.
    pub(super) fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.iter() {
            let own = Subscription::read_topics(member.metadata(protocol)?).ok()?;
            topics.extend(own.into_iter().map(str::to_owned));
        }
        Some(topics)
    }

    /// Whether members may read `topic`. A group of consumers that says nothing readable may read any.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or(self.is_consumers(), |topics| topics.contains(topic))
    }

    /// Whether a request's member is a member, and the one that its instance names.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
    pub fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(id) if **id != *member => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        match self.members.contains(member) {
            true => Ok(()),
            false => Err(ResponseError::UnknownMemberId),
        }
    }
}

#[cfg(test)]
impl ClassicGroup {
    /// Checks what must hold of a group between any two decisions, and gives the bytes of the ids given out: what is counted is there, someone leads,
    /// nobody waits for what does not come, and a group that is stable or empty is what its record says.
    ///
    /// # Panics
    /// Where it does not hold.
    pub fn check(&self) -> usize {
        let id = &self.id;
        let members = || self.members.iter();
        assert_eq!(self.awaiting_join, members().filter(|member| member.awaits_join()).count(), "{id}");
        assert_eq!(self.member_bytes.get(), members().map(Member::bytes).sum::<usize>(), "{id}");
        let mut support: BTreeMap<Rc<str>, usize> = BTreeMap::new();
        for member in members() {
            member.protocol_names().for_each(|name| *support.entry(name.clone()).or_default() += 1);
            let instance = member.instance.as_ref().map(|instance| self.instances.get(instance));
            assert!(instance.is_none_or(|found| found == Some(&member.id)), "{id}: {member:?}");
        }
        assert_eq!(self.support, support, "{id}");
        assert_eq!(
            self.instances.len(),
            members().filter(|member| member.instance.is_some()).count(),
            "{id}"
        );
        let leads = self.leader.as_ref().is_some_and(|leader| self.members.contains(leader));
        assert_eq!(leads, !self.members.is_empty(), "{id} is led by {:?}", self.leader);
        assert!(self.pending_sync.iter().all(|member| self.members.contains(member)), "{id}");
        assert!(self.pending.iter().all(|member| !self.members.contains(member)), "{id}");
        let is_round = self.state == State::PreparingRebalance;
        assert!(is_round || members().all(|member| member.join.is_none()), "{id}: {:?}", self.state);
        let assigns = self.state == State::CompletingRebalance;
        assert!(assigns || members().all(|member| member.sync.is_none()), "{id}: {:?}", self.state);
        assert!(self.state != State::Empty || self.members.is_empty(), "{id}");
        if let (State::Stable | State::Empty, Some(written)) = (self.state, &self.written) {
            assert_eq!(**written, self.value(Arc::default()), "group {id} is not what was written");
        }
        self.pending.check()
    }
}
