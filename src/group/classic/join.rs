//! JoinGroup: a member comes, comes again, or says that it follows other protocols now.
//!
//! A dynamic member that has no id gets one first (version 4 on) and joins under it: so a client that gives up
//! while it waits leaves no member behind. Who joins waits until the round is over; a member that joins again
//! while it waits takes its earlier request's place.

use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::super::settings::Settings;
use super::super::{Answer, Client, Context, Effect, Group, Groups, Outcome, Ticket, bounds, held};
use super::group::{ClassicGroup, State};
use super::member::{Member, Protocol};
use super::pending::has_room;
use super::round::{Round, joined, refused};
use crate::protocol::wire::STRING_BYTES_MAX;

/// From this version on a member without an id is given one and asked to join again.
const ID_REQUIRED_FROM: i16 = 4;
/// From this version on a leader that comes back is told who is there, and not to assign.
const SKIPS_ASSIGNMENT_FROM: i16 = 9;
/// What a new id has behind the name that it begins with: a hyphen and a UUID.
const ID_SUFFIX_BYTES: usize = 37;
/// How long a member that is new waits in a round, in milliseconds: it has no id yet to heartbeat under.
const NEW_MEMBER_JOIN_TIMEOUT_MS: u64 = 5 * 60 * 1_000;

/// Who asks to join, and how it waits.
struct Joining<'a> {
    request: &'a JoinGroupRequest,
    version: i16,
    client: &'a Client,
    ticket: Ticket,
}

impl Joining<'_> {
    fn id(&self) -> &str {
        self.request.member_id.as_str()
    }

    fn instance(&self) -> Option<&str> {
        self.request.group_instance_id.as_deref()
    }

    /// Version 0 has no rebalance timeout; the session timeout stands for it.
    fn rebalance_timeout_ms(&self) -> i32 {
        match self.version {
            0 => self.request.session_timeout_ms,
            _ => self.request.rebalance_timeout_ms,
        }
    }

    fn member(&self, id: Rc<str>) -> Member {
        Member {
            id,
            instance: self.instance().map(Rc::from),
            client_id: self.client.id.clone(),
            client_host: self.client.host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms(),
            session_timeout_ms: self.request.session_timeout_ms,
            protocols: Protocol::copied(&self.request.protocols),
            assignment: Bytes::new(),
            join: Some(self.ticket),
            sync: None,
            is_new: true,
        }
    }

    /// A new id: the instance or the client's name, and what nobody has had.
    fn new_id(&self, context: &Context<'_>) -> Rc<str> {
        let prefix = id_prefix(self.request, self.client);
        Rc::from(format!("{prefix}-{}", (context.new_id)().0))
    }
}

/// What a new id begins with.
fn id_prefix<'a>(request: &'a JoinGroupRequest, client: &'a Client) -> &'a str {
    request.group_instance_id.as_deref().unwrap_or(&client.id)
}

impl Groups {
    /// Lets a member join; the ticket is answered now or when the round is over.
    pub fn join(
        &mut self,
        request: &JoinGroupRequest,
        version: i16,
        client: &Client,
        context: &Context<'_>,
        ticket: Ticket,
        outcome: &mut Outcome,
    ) {
        let joining = Joining { request, version, client, ticket };
        if let Err(error) = check_join(request, client, context.settings) {
            return answer(outcome, ticket, refused(error, joining.id()));
        }
        let id = request.group_id.as_str();
        if let Some(Group::Consumer(group)) = self.groups.get(id) {
            if !group.is_empty() {
                let joined = self.join_as_classic(request, version, client, context, outcome);
                return answer(outcome, ticket, joined.unwrap_or_else(|error| refused(error, "")));
            }
            if !joining.id().is_empty() {
                return answer(outcome, ticket, refused(ResponseError::UnknownMemberId, joining.id()));
            }
        }
        // A consumer group that nobody is in becomes a classic group.
        let is_born = !matches!(self.groups.get(id), Some(Group::Classic(_)));
        if is_born {
            if !joining.id().is_empty() {
                return answer(outcome, ticket, refused(ResponseError::UnknownMemberId, joining.id()));
            }
            let is_given_id = joining.instance().is_none() && version >= ID_REQUIRED_FROM;
            let has_room = self.groups.has_room_for(id)
                && (!is_given_id || has_room(&self.pending_bytes, client.id.len() + ID_SUFFIX_BYTES));
            if !has_room {
                return answer(outcome, ticket, refused(ResponseError::CoordinatorNotAvailable, ""));
            }
            if let Some(Group::Consumer(group)) = self.groups.get(id) {
                // Its records go before the new group's.
                group.tombstones(id).into_iter().for_each(|record| outcome.applied_record(record));
                self.remove_consumer(id);
            }
            let id: Rc<str> = Rc::from(id);
            let mut group = ClassicGroup::new(id.clone(), context.now.wall_ms);
            outcome.applied_record(group.write());
            self.groups.insert(id, Group::Classic(Box::new(group)));
        }
        if let Some(mut round) = self.round(id, context, outcome) {
            round.join(&joining);
        }
    }
}

/// What Kafka checks before it looks at the group, and our own bounds.
///
/// # Errors
/// INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT; INVALID_REQUEST past [`bounds`].
pub fn check_join(
    request: &JoinGroupRequest,
    client: &Client,
    settings: &Settings,
) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let allowed = settings.group_min_session_timeout_ms..=settings.group_max_session_timeout_ms;
    if !allowed.contains(&request.session_timeout_ms) {
        return Err(ResponseError::InvalidSessionTimeout);
    }
    // An id that is longer than a text may be could neither be told nor stored.
    let is_named =
        request.member_id.is_empty() && id_prefix(request, client).len() > STRING_BYTES_MAX - ID_SUFFIX_BYTES;
    let fits = !is_named
        && request.protocols.len() <= bounds::MEMBER_PROTOCOLS_MAX
        && member_bytes(request, client) <= bounds::MEMBER_BYTES_MAX;
    if fits { Ok(()) } else { Err(ResponseError::InvalidRequest) }
}

/// What a request would have the group keep, in bytes.
fn member_bytes(request: &JoinGroupRequest, client: &Client) -> usize {
    let instance = request.group_instance_id.as_ref().map_or(0, |instance| instance.len());
    let texts = 2 * (request.member_id.len() + client.id.len() + instance);
    bounds::MEMBER_OVERHEAD_BYTES + texts + protocol_bytes(request)
}

fn protocol_bytes(request: &JoinGroupRequest) -> usize {
    request.protocols.iter().map(|own| own.name.len() + own.metadata.len()).sum()
}

fn answer(outcome: &mut Outcome, ticket: Ticket, response: JoinGroupResponse) {
    outcome.effect(Effect::Answer(ticket, Answer::Join(Box::new(response))));
}

impl Round<'_> {
    fn join(&mut self, joining: &Joining<'_>) {
        let (ticket, id) = (joining.ticket, joining.id());
        if !self.has_room_for(joining) {
            self.remove(id);
            return self.answer_join(ticket, refused(ResponseError::GroupMaxSizeReached, ""));
        }
        let request = joining.request;
        if let Err(error) = self.has_bytes_for(joining) {
            return self.answer_join(ticket, refused(error, ""));
        }
        let names = request.protocols.iter().map(|protocol| protocol.name.as_str());
        if !self.group.supports(request.protocol_type.as_str(), names) {
            return self.answer_join(ticket, refused(ResponseError::InconsistentGroupProtocol, id));
        }
        if id.is_empty() {
            return self.join_unknown(joining);
        }
        if self.group.pending.contains(id) {
            if joining.instance().is_some() {
                // Only dynamic members are asked to join again under an id.
                return self.answer_join(ticket, refused(ResponseError::UnknownServerError, id));
            }
            return self.add(joining, Rc::from(id));
        }
        match self.group.check_member(id, joining.instance()) {
            Ok(()) => self.join_again(joining),
            Err(error) => self.answer_join(ticket, refused(error, id)),
        }
    }

    /// Whether the group may take the member. While members join, those who have joined count, so that the
    /// last ones are left out of a group that has become too large.
    fn has_room_for(&self, joining: &Joining<'_>) -> bool {
        let (group, most) = (&*self.group, self.context.settings.group_max_size);
        let known = group.members.get(joining.id());
        match group.state {
            State::Empty => true,
            State::PreparingRebalance => {
                known.is_some_and(Member::awaits_join) || group.awaiting_join() < most
            }
            State::CompletingRebalance | State::Stable => known.is_some() || group.members.len() < most,
        }
    }

    /// Whether what the group keeps of its members stays in its bound. A member that is there may always say as
    /// much as it does already.
    ///
    /// # Errors
    /// GROUP_MAX_SIZE_REACHED where it does not; COORDINATOR_NOT_AVAILABLE where the groups of the core take all the
    /// memory that they may.
    fn has_bytes_for(&self, joining: &Joining<'_>) -> Result<(), ResponseError> {
        let group = &*self.group;
        let place = joining.instance().and_then(|instance| group.instances.get(instance));
        let known = group.members.get(joining.id()).or_else(|| group.members.get(place?));
        let (before, after) = match known {
            Some(known) => (known.protocol_bytes(), protocol_bytes(joining.request)),
            None => (0, member_bytes(joining.request, joining.client)),
        };
        let grows = after.saturating_sub(before);
        if grows > 0 && group.member_bytes() + grows > bounds::GROUP_BYTES_MAX {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        if grows > held::room() { Err(ResponseError::CoordinatorNotAvailable) } else { Ok(()) }
    }

    fn join_unknown(&mut self, joining: &Joining<'_>) {
        let new = joining.new_id(self.context);
        if let Some(instance) = joining.instance() {
            return match self.group.instances.get(instance).cloned() {
                Some(old) => self.replace_static(joining, &old, new),
                None => self.add(joining, new),
            };
        }
        if joining.version < ID_REQUIRED_FROM {
            return self.add(joining, new);
        }
        if let Err(error) = self.group.pending.add(new.clone(), self.pending_bytes) {
            return self.answer_join(joining.ticket, refused(error, ""));
        }
        self.set_session(new.clone(), super::millis(joining.request.session_timeout_ms));
        self.answer_join(joining.ticket, refused(ResponseError::MemberIdRequired, &new));
    }

    /// Adds a member, and begins a round where none runs.
    fn add(&mut self, joining: &Joining<'_>, id: Rc<str>) {
        let in_delay = self.group.state == State::PreparingRebalance && self.group.initial_delay.is_some();
        if in_delay {
            self.group.came_in_delay = true;
        }
        self.group.set_type(joining.request.protocol_type.as_str());
        self.group.add(joining.member(id.clone()));
        self.set_session(id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.prepare_or_complete();
    }

    /// A member of the group joins again.
    fn join_again(&mut self, joining: &Joining<'_>) {
        let id = joining.id();
        let matches = self.group.members.get(id).is_some_and(|own| own.matches(&joining.request.protocols));
        let may_stay = match self.group.state {
            State::PreparingRebalance => false,
            // It may have missed the answer to its join.
            State::CompletingRebalance => matches,
            // A leader joins to have everything assigned anew.
            State::Stable => matches && !self.group.is_leader(id),
            State::Empty => {
                return self.answer_join(joining.ticket, refused(ResponseError::UnknownMemberId, id));
            }
        };
        if may_stay {
            let response = joined(self.group, id);
            return self.answer_join(joining.ticket, response);
        }
        self.update(joining, id);
        self.prepare_or_complete();
    }

    /// Takes over what a member says now, and has it wait.
    fn update(&mut self, joining: &Joining<'_>, id: &str) {
        let before = self.group.change(id, |member| {
            member.protocols = Protocol::copied(&joining.request.protocols);
            member.rebalance_timeout_ms = joining.rebalance_timeout_ms();
            member.session_timeout_ms = joining.request.session_timeout_ms;
            member.join.replace(joining.ticket)
        });
        if let Some(replaced) = before.flatten() {
            // Whoever still listens there is told to join again, under the ticket that waits now.
            self.answer_join(replaced, refused(ResponseError::RebalanceInProgress, id));
        }
    }

    /// A static member has come back without its id: it gets a new one, and whoever has the old one is fenced.
    /// In a stable group that follows the same protocol as before nobody else notices.
    fn replace_static(&mut self, joining: &Joining<'_>, old: &str, new: Rc<str>) {
        if self.group.state == State::Stable && !self.can_store(joining, old, &new) {
            return self.answer_join(joining.ticket, refused(ResponseError::UnknownServerError, ""));
        }
        let leader_before = self.group.leader.clone();
        self.fence(old);
        self.group.rename(old, new.clone());
        self.update(joining, &new);
        self.hear_of(&new);
        match self.group.state {
            State::Stable if self.group.chosen_protocol() == self.group.protocol => {
                self.group.take_join(&new);
                self.store();
                let mut response = joined(self.group, &new);
                if joining.version >= SKIPS_ASSIGNMENT_FROM {
                    response.skip_assignment = self.group.is_leader(&new);
                } else {
                    // It must not take itself for the leader: nobody waits for an assignment.
                    response.leader = super::round::text(leader_before.as_deref().unwrap_or_default());
                    response.members.clear();
                }
                self.answer_join(joining.ticket, response);
            }
            // The leader may have been told of the old id already.
            State::Stable | State::CompletingRebalance => self.prepare(),
            State::PreparingRebalance => self.complete_if_all_joined(),
            State::Empty => {}
        }
    }

    /// Whether the group's record fits the offsets topic with what a static member says now.
    fn can_store(&self, joining: &Joining<'_>, old: &str, new: &str) -> bool {
        let protocol = self.group.protocol.as_deref().unwrap_or_default();
        let said = joining.request.protocols.iter().find(|own| own.name.as_str() == protocol);
        let before = self.group.members.get(old).and_then(|member| member.metadata(protocol));
        // The leader is named twice.
        let grows = said.map_or(0, |said| said.metadata.len()) + 2 * new.len();
        let bytes = self.group.record_bytes() - before.map_or(0, Bytes::len) + grows;
        bytes <= bounds::batch_bytes_max(self.context.image, self.context.settings)
    }

    /// Answers whoever waits under a static member's old id.
    fn fence(&mut self, old: &str) {
        let join = self.group.take_join(old);
        let sync = self.group.members.get_mut(old).and_then(|member| member.sync.take());
        let session = super::Timer::Session { group: self.group.id.clone(), member: Rc::from(old) };
        self.timers.cancel(&super::super::Timer::Classic(session));
        self.dismiss(join, sync, ResponseError::FencedInstanceId, old);
    }
}
