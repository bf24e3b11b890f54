//! LeaveGroup: members go, by their ids or, as an admin says, by their instances.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::LeaveGroupRequest;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;

use super::super::bounds::brief;
use super::super::{Context, Group, Groups, Outcome};
use super::group::State;
use super::round::Round;

/// From this version on a request names several members.
const BATCHED_FROM: i16 = 3;

impl Groups {
    /// Takes members away; each has its own answer.
    ///
    /// # Errors
    /// INVALID_GROUP_ID. A group that is not there is an UNKNOWN_MEMBER_ID of each member.
    pub fn leave(
        &mut self,
        request: &LeaveGroupRequest,
        version: i16,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<Vec<MemberResponse>, ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let alone = [MemberIdentity::default().with_member_id(request.member_id.clone())];
        let members = if version >= BATCHED_FROM { &request.members[..] } else { &alone };
        if let Some(Group::Consumer(_)) = self.groups.get(request.group_id.as_str()) {
            return Ok(self.leave_as_classic(&request.group_id, members, context, outcome));
        }
        let mut round = self.round(request.group_id.as_str(), context, outcome);
        let mut answers = Vec::with_capacity(members.len());
        let mut any_left = false;
        for member in members {
            let left = match &mut round {
                Some(round) => round.leave(member),
                None => Err(ResponseError::UnknownMemberId),
            };
            any_left |= left.is_ok();
            answers.push(
                MemberResponse::default()
                    .with_member_id(member.member_id.clone())
                    .with_group_instance_id(member.group_instance_id.clone())
                    .with_error_code(left.err().map_or(0, |error| error.code())),
            );
        }
        if let Some(round) = round.as_mut().filter(|_| any_left) {
            match round.group.state {
                State::Stable | State::CompletingRebalance => round.prepare(),
                State::PreparingRebalance => round.complete_if_all_joined(),
                State::Empty => {}
            }
        }
        Ok(answers)
    }
}

impl Round<'_> {
    fn leave(&mut self, member: &MemberIdentity) -> Result<(), ResponseError> {
        let (id, instance) = (member.member_id.as_str(), member.group_instance_id.as_deref());
        let left = if id.is_empty() {
            let known = instance.and_then(|instance| self.group.instances.get(instance).cloned());
            known.ok_or(ResponseError::UnknownMemberId)?
        } else {
            if !self.group.pending.contains(id) {
                self.group.check_member(id, instance)?;
            }
            id.into()
        };
        tracing::info!(
            group = brief(&self.group.id),
            member = brief(&left),
            reason = brief(member.reason.as_deref().unwrap_or("not provided")),
            "a member leaves"
        );
        self.remove(&left);
        Ok(())
    }
}
