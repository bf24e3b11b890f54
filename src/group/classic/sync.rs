//! SyncGroup: members ask for what they are assigned, and the leader brings it for all.

use ahash::AHashMap;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::super::{Answer, Context, Effect, Group, Groups, Outcome, Ticket, bounds, held};
use super::group::{ClassicGroup, State};
use super::member::Member;
use super::round::{Round, text};

/// From this version on requests name the group's protocol.
const NAMES_PROTOCOL_FROM: i16 = 5;

impl Groups {
    /// Lets a member synchronise; the ticket is answered now or when the leader has assigned.
    pub fn sync(
        &mut self,
        request: &SyncGroupRequest,
        version: i16,
        context: &Context<'_>,
        ticket: Ticket,
        outcome: &mut Outcome,
    ) {
        if let Err(error) = check_sync(request, version) {
            return answer(outcome, ticket, refused(error));
        }
        if let Some(Group::Consumer(_)) = self.groups.get(request.group_id.as_str()) {
            let synced = self.sync_as_classic(request, context);
            return answer(outcome, ticket, synced.unwrap_or_else(refused));
        }
        let round = self.round(request.group_id.as_str(), context, outcome);
        match round.filter(|round| round.group.state != State::Empty) {
            Some(mut round) => round.sync(request, ticket),
            None => answer(outcome, ticket, refused(ResponseError::UnknownMemberId)),
        }
    }
}

/// What Kafka checks before it looks at the group.
///
/// # Errors
/// INCONSISTENT_GROUP_PROTOCOL for a version that must name the protocol and does not, INVALID_GROUP_ID.
pub fn check_sync(request: &SyncGroupRequest, version: i16) -> Result<(), ResponseError> {
    let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
    if version >= NAMES_PROTOCOL_FROM && unnamed {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    Ok(())
}

fn refused(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}

fn answer(outcome: &mut Outcome, ticket: Ticket, response: SyncGroupResponse) {
    outcome.effect(Effect::Answer(ticket, Answer::Sync(Box::new(response))));
}

impl ClassicGroup {
    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ResponseError> {
        self.check_member(request.member_id.as_str(), request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs =
            |asked: Option<&str>, own: Option<&str>| asked.zip(own).is_some_and(|(asked, own)| asked != own);
        if differs(request.protocol_type.as_deref(), self.protocol_type.as_deref())
            || differs(request.protocol_name.as_deref(), self.protocol.as_deref())
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }
}

impl Round<'_> {
    fn sync(&mut self, request: &SyncGroupRequest, ticket: Ticket) {
        let member = request.member_id.as_str();
        if let Err(error) = self.group.check_sync(request) {
            return self.answer_sync(ticket, refused(error));
        }
        match self.group.state {
            State::Empty => self.answer_sync(ticket, refused(ResponseError::UnknownMemberId)),
            State::PreparingRebalance => {
                self.answer_sync(ticket, refused(ResponseError::RebalanceInProgress));
            }
            State::CompletingRebalance => self.wait_for_assignment(request, ticket),
            State::Stable => {
                self.synchronised(member);
                let response = self.group.members.get(member).map(assigned(self.group)).unwrap_or_default();
                self.answer_sync(ticket, response);
            }
        }
    }

    fn wait_for_assignment(&mut self, request: &SyncGroupRequest, ticket: Ticket) {
        let member = request.member_id.as_str();
        let replaced = self.group.members.get_mut(member).and_then(|member| member.sync.replace(ticket));
        if let Some(replaced) = replaced {
            // Whoever still listens there is told to begin anew.
            self.answer_sync(replaced, refused(ResponseError::RebalanceInProgress));
        }
        self.synchronised(member);
        if self.group.is_leader(member) {
            self.take_assignment(request);
        }
    }

    /// The leader has assigned: the group is stable, once that is written.
    fn take_assignment(&mut self, request: &SyncGroupRequest) {
        let bytes: usize = request.assignments.iter().map(|own| own.assignment.len()).sum();
        if self.group.member_bytes() + bytes > bounds::GROUP_BYTES_MAX {
            self.fail_syncs(ResponseError::UnknownServerError);
            return self.prepare();
        }
        let before: usize = self.group.members.iter().map(|member| member.assignment.len()).sum();
        if bytes.saturating_sub(before) > held::room() {
            self.fail_syncs(ResponseError::CoordinatorNotAvailable);
            return self.prepare();
        }
        let assignments: AHashMap<&str, Bytes> = request
            .assignments
            .iter()
            .map(|own| (own.member_id.as_str(), Bytes::copy_from_slice(&own.assignment)))
            .collect();
        self.group.assign(assignments);
        let batch_max = bounds::batch_bytes_max(self.context.image, self.context.settings);
        if self.group.record_bytes() > batch_max {
            // Takes back what was assigned.
            self.fail_syncs(ResponseError::UnknownServerError);
            return self.prepare();
        }
        self.group.enter(State::Stable, self.context.now.wall_ms);
        self.store();
        let response = assigned(self.group);
        self.answer_syncs(response);
    }
}

/// The answer to a member of a stable group.
fn assigned(group: &ClassicGroup) -> impl Fn(&Member) -> SyncGroupResponse + use<> {
    let kind = group.protocol_type.as_deref().map(text);
    let protocol = group.protocol.as_deref().map(text);
    move |member| {
        SyncGroupResponse::default()
            .with_protocol_type(kind.clone())
            .with_protocol_name(protocol.clone())
            .with_assignment(member.assignment.clone())
    }
}
