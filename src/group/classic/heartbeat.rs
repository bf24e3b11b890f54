//! Heartbeat: a member says that it is there, and learns whether it has to join anew.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::HeartbeatRequest;

use super::super::{Context, Group, Groups, Outcome};
use super::group::State;

impl Groups {
    /// Counts a member's session anew.
    ///
    /// # Errors
    /// INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION; REBALANCE_IN_PROGRESS to a
    /// member that is to join anew, whose session is counted all the same.
    pub fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        if let Some(Group::Consumer(_)) = self.groups.get(request.group_id.as_str()) {
            return self.heartbeat_as_classic(request, context);
        }
        let round = self.round(request.group_id.as_str(), context, outcome);
        let mut round = round.ok_or(ResponseError::UnknownMemberId)?;
        let member = request.member_id.as_str();
        round.group.check_member(member, request.group_instance_id.as_deref())?;
        if request.generation_id != round.group.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        round.hear_of(member);
        match round.group.state {
            State::Empty => Err(ResponseError::UnknownMemberId),
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }
}
