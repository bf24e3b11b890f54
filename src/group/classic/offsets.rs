//! Who may commit, fetch and delete the offsets of a classic group, and when they may expire.

use kafka_protocol::error::ResponseError;

use super::super::{Context, Groups, OffsetRetention, Outcome};
use super::group::{ClassicGroup, State};
use crate::protocol::api_error::ApiError;

impl ClassicGroup {
    /// Whether an OffsetCommit may be taken. Generation -1 is that of tools and of consumers without a group,
    /// who may commit while nobody is in it.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION; REBALANCE_IN_PROGRESS while the leader
    /// assigns.
    pub fn validate_commit(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        is_transactional: bool,
    ) -> Result<(), ApiError> {
        self.check_commit(member, instance, generation, is_transactional).map_err(ApiError::bare)
    }

    fn check_commit(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        is_transactional: bool,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation >= 0 || !member.is_empty() || instance.is_some() {
            self.check_member(member, instance)?;
            if generation != self.generation {
                return Err(ResponseError::IllegalGeneration);
            }
        } else if !is_transactional && self.state != State::Empty {
            return Err(ResponseError::UnknownMemberId);
        }
        if !is_transactional && self.state == State::CompletingRebalance {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether an OffsetDelete may be carried out. Offsets of topics that a consumer subscribes to are refused
    /// one by one, by [`ClassicGroup::is_subscribed_to`].
    ///
    /// # Errors
    /// NON_EMPTY_GROUP where other members than consumers are there.
    pub fn validate_offset_delete(&self) -> Result<(), ApiError> {
        match self.state == State::Empty || self.is_consumers() {
            true => Ok(()),
            false => Err(ApiError::bare(ResponseError::NonEmptyGroup)),
        }
    }

    /// From when the retention of its offsets counts. Those of topics that are subscribed to are left out by
    /// [`ClassicGroup::is_subscribed_to`].
    pub fn offset_retention(&self) -> OffsetRetention {
        if self.protocol_type.is_none() {
            return OffsetRetention::SinceCommit;
        }
        match self.state {
            // Records of old versions do not say since when.
            State::Empty => self.state_since_ms.map_or(OffsetRetention::SinceCommit, OffsetRetention::Since),
            State::Stable if self.is_consumers() && self.subscribed.is_some() => OffsetRetention::SinceCommit,
            _ => OffsetRetention::Kept,
        }
    }
}

impl Groups {
    /// A member has committed offsets, which keeps its session alive.
    pub(in crate::group) fn classic_committed(&mut self, group: &str, member: &str, context: &Context<'_>) {
        let mut none = Outcome::default();
        if let Some(mut round) = self.round(group, context, &mut none) {
            round.hear_of(member);
        }
    }
}
