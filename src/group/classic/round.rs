//! Rounds of a classic group: members are to join, the generation begins, the leader assigns. Here are the
//! steps between the states and the deadlines that force them.

use std::cell::Cell;
use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::super::bounds::brief;
use super::super::timers::Timers;
use super::super::{self as groups, Answer, Context, Effect, Outcome, Ticket};
use super::group::{ClassicGroup, InitialDelay, State};
use super::member::Member;
use super::{Timer, millis};

/// A decision about one classic group.
pub(super) struct Round<'a> {
    pub group: &'a mut ClassicGroup,
    pub timers: &'a mut Timers<groups::Timer>,
    /// Bytes of the ids that all groups have given out.
    pub pending_bytes: &'a Rc<Cell<usize>>,
    pub context: &'a Context<'a>,
    pub outcome: &'a mut Outcome,
}

impl Round<'_> {
    pub fn answer_join(&mut self, ticket: Ticket, response: JoinGroupResponse) {
        self.outcome.effect(Effect::Answer(ticket, Answer::Join(Box::new(response))));
    }

    pub fn answer_sync(&mut self, ticket: Ticket, response: SyncGroupResponse) {
        self.outcome.effect(Effect::Answer(ticket, Answer::Sync(Box::new(response))));
    }

    /// Writes down what the group is now.
    pub fn store(&mut self) {
        let record = self.group.write();
        self.outcome.applied_record(record);
    }

    /// Counts a member's session from now on.
    pub fn hear_of(&mut self, member: &str) {
        if let Some(member) = self.group.members.get(member) {
            let (id, timeout_ms) = (member.id.clone(), millis(member.session_timeout_ms));
            self.set_session(id, timeout_ms);
        }
    }

    pub fn set_session(&mut self, member: Rc<str>, timeout_ms: u64) {
        let timer = Timer::Session { group: self.group.id.clone(), member };
        self.timers.set(groups::Timer::Classic(timer), self.context.now.ticks_ms + timeout_ms);
    }

    fn set_join_time(&mut self, timeout_ms: u64) {
        let timer = Timer::Join { group: self.group.id.clone() };
        self.timers.set(groups::Timer::Classic(timer), self.context.now.ticks_ms + timeout_ms);
    }

    fn cancel(&mut self, timer: Timer) {
        self.timers.cancel(&groups::Timer::Classic(timer));
    }

    /// Takes a member away, or an id that was given out; who waits under it learns that nobody knows it.
    pub fn remove(&mut self, id: &str) -> bool {
        let pending = self.group.pending.get(id).cloned();
        let removed = self.group.remove(id);
        let Some(id) = removed.as_ref().map(|member| member.id.clone()).or(pending) else { return false };
        self.cancel(Timer::Session { group: self.group.id.clone(), member: id });
        if let Some(member) = removed {
            self.dismiss(member.join, member.sync, ResponseError::UnknownMemberId, "");
        }
        true
    }

    /// Answers whoever waits as a member that is there no more.
    pub fn dismiss(
        &mut self,
        join: Option<Ticket>,
        sync: Option<Ticket>,
        error: ResponseError,
        member_id: &str,
    ) {
        if let Some(ticket) = join {
            self.answer_join(ticket, refused(error, member_id));
        }
        if let Some(ticket) = sync {
            self.answer_sync(ticket, SyncGroupResponse::default().with_error_code(error.code()));
        }
    }

    /// Begins a round where the state allows it; ends the one that runs where everyone is there.
    pub fn prepare_or_complete(&mut self) {
        match self.group.state {
            State::PreparingRebalance => self.complete_if_all_joined(),
            _ => self.prepare(),
        }
    }

    /// Begins a round of joining.
    pub fn prepare(&mut self) {
        if self.group.state == State::CompletingRebalance {
            self.fail_syncs(ResponseError::RebalanceInProgress);
        }
        self.group.pending_sync.clear();
        self.cancel(Timer::Sync { group: self.group.id.clone() });
        let is_first = self.group.state == State::Empty;
        self.group.enter(State::PreparingRebalance, self.context.now.wall_ms);
        if is_first {
            // More members are likely to come soon.
            let delay_ms = self.context.settings.group_initial_rebalance_delay_ms;
            let remaining_ms = self.group.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.group.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
            self.group.came_in_delay = false;
            self.set_join_time(delay_ms);
        } else if self.group.all_joined() {
            self.complete_join();
        } else {
            let timeout_ms = self.group.rebalance_timeout_ms();
            self.set_join_time(timeout_ms);
        }
    }

    /// Takes all assignments back and tells those who wait for one to join again, or what went wrong.
    pub fn fail_syncs(&mut self, error: ResponseError) {
        self.group.assign(Default::default());
        self.answer_syncs(|_| SyncGroupResponse::default().with_error_code(error.code()));
    }

    /// Answers those who wait for their assignment; their sessions count from now on.
    pub fn answer_syncs(&mut self, response: impl Fn(&Member) -> SyncGroupResponse) {
        let waiting: Vec<_> = self
            .group
            .members
            .iter_mut()
            .filter_map(|member| Some((member.id.clone(), member.sync.take()?)))
            .collect();
        for (id, ticket) in waiting {
            if let Some(response) = self.group.members.get(&id).map(&response) {
                self.answer_sync(ticket, response);
                self.hear_of(&id);
            }
        }
    }

    /// Ends the round where everyone has joined. The first round waits for its delay all the same.
    pub fn complete_if_all_joined(&mut self) {
        let may_end =
            self.group.state == State::PreparingRebalance && self.group.previous != Some(State::Empty);
        if may_end && self.group.all_joined() {
            self.complete_join();
        }
    }

    /// Ends the round of joining with those who are there.
    pub fn complete_join(&mut self) {
        self.cancel(Timer::Join { group: self.group.id.clone() });
        self.group.initial_delay = None;
        let late: Vec<Rc<str>> = self
            .group
            .members
            .iter()
            .filter(|member| !member.awaits_join() && member.instance.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in late {
            self.remove(&id);
        }
        if !self.group.elect_joined_leader() && !self.group.members.is_empty() {
            // Only static members are left, and none of them has come: they have until their sessions end.
            let timeout_ms = self.group.rebalance_timeout_ms();
            self.set_join_time(timeout_ms);
            return;
        }
        self.group.next_generation(self.context.now.wall_ms);
        if self.group.state == State::Empty {
            self.store();
            return;
        }
        self.tell_generation();
    }

    /// Answers everyone who joined; they are to synchronise within the rebalance timeout.
    fn tell_generation(&mut self) {
        let ids: Vec<Rc<str>> = self.group.members.iter().map(|member| member.id.clone()).collect();
        for id in ids {
            if let Some(ticket) = self.group.take_join(&id) {
                let response = joined(self.group, &id);
                self.answer_join(ticket, response);
            }
            if let Some(member) = self.group.members.get_mut(&id) {
                member.is_new = false;
            }
            self.hear_of(&id);
            self.group.pending_sync.insert(id);
        }
        let timeout_ms = self.group.rebalance_timeout_ms();
        let timer = Timer::Sync { group: self.group.id.clone() };
        self.timers.set(groups::Timer::Classic(timer), self.context.now.ticks_ms + timeout_ms);
    }

    /// A member that synchronises is not waited for any more.
    pub fn synchronised(&mut self, member: &str) {
        self.group.pending_sync.remove(member);
        if self.group.pending_sync.is_empty() {
            self.cancel(Timer::Sync { group: self.group.id.clone() });
        }
    }

    /// The deadline of a round: the first round's delay, or the time for everyone to join.
    pub fn join_time_over(&mut self) {
        if self.group.state != State::PreparingRebalance {
            return;
        }
        match self.group.initial_delay {
            Some(InitialDelay { delay_ms, remaining_ms })
                if self.group.came_in_delay && remaining_ms != 0 =>
            {
                self.group.came_in_delay = false;
                let next_ms = remaining_ms.min(self.context.settings.group_initial_rebalance_delay_ms);
                let remaining_ms = remaining_ms.saturating_sub(delay_ms);
                self.group.initial_delay = Some(InitialDelay { delay_ms: next_ms, remaining_ms });
                self.set_join_time(next_ms);
            }
            _ => self.complete_join(),
        }
    }

    /// Members that have not synchronised in time are taken away, and the others join anew.
    pub fn sync_time_over(&mut self) {
        let waits = matches!(self.group.state, State::CompletingRebalance | State::Stable);
        if !waits || self.group.pending_sync.is_empty() {
            return;
        }
        let late: Vec<Rc<str>> = self.group.pending_sync.iter().cloned().collect();
        tracing::debug!(group = %self.group.id, ?late, "members have not synchronised in time");
        for id in late {
            self.remove(&id);
        }
        self.prepare();
    }

    /// A member's session has ended, or the time of an id that was given out.
    pub fn session_ended(&mut self, id: &str) {
        if self.group.pending.contains(id) {
            self.remove(id);
            if self.group.state == State::PreparingRebalance && self.group.all_joined() {
                self.complete_join();
            }
            return;
        }
        let Some(member) = self.group.members.get(id) else { return };
        if member.is_excused() {
            return;
        }
        tracing::info!(group = brief(&self.group.id), member = brief(id), "a member is heard of no more");
        self.remove(id);
        match self.group.state {
            State::Stable | State::CompletingRebalance => self.prepare(),
            State::PreparingRebalance if self.group.all_joined() => self.complete_join(),
            State::PreparingRebalance | State::Empty => {}
        }
    }
}

/// The answer to a join that is refused.
pub(in crate::group) fn refused(error: ResponseError, member_id: &str) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_member_id(text(member_id))
        .with_generation_id(-1)
}

/// The answer to a member that is in the current generation; the leader learns who else is.
pub(super) fn joined(group: &ClassicGroup, id: &str) -> JoinGroupResponse {
    let members = if group.is_leader(id) { described(group) } else { Vec::new() };
    JoinGroupResponse::default()
        .with_generation_id(group.generation)
        .with_protocol_type(group.protocol_type.as_deref().map(text))
        .with_protocol_name(group.protocol.as_deref().map(text))
        .with_leader(text(group.leader.as_deref().unwrap_or_default()))
        .with_member_id(text(id))
        .with_members(members)
}

/// The members as the leader sees them.
fn described(group: &ClassicGroup) -> Vec<JoinGroupResponseMember> {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let member = |member: &Member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance.as_deref().map(text))
            .with_metadata(member.metadata(protocol).cloned().unwrap_or_default())
    };
    group.members.iter().map(member).collect()
}

pub(in crate::group) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
