//! Who may commit, fetch and delete the offsets of a classic group, and when they may expire.

use kafka_protocol::error::ResponseError;

use super::group::{ClassicGroup, State};

/// Since when the time counts after which an offset expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpiresSince {
    /// The moment at which the group became empty, in wall-clock milliseconds.
    Empty(i64),
    /// The offset's own commit; topics that are subscribed to are left out by
    /// [`ClassicGroup::is_subscribed_to`].
    Commit,
}

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

    /// Whether an OffsetFetch may be answered: always, for Kafka refuses only groups that are being removed.
    ///
    /// # Errors
    /// None.
    pub fn validate_fetch(&self) -> Result<(), ResponseError> {
        Ok(())
    }

    /// Whether an OffsetDelete may be carried out. Offsets of topics that a consumer subscribes to are refused
    /// one by one, by [`ClassicGroup::is_subscribed_to`].
    ///
    /// # Errors
    /// NON_EMPTY_GROUP where other members than consumers are there.
    pub fn validate_offset_delete(&self) -> Result<(), ResponseError> {
        match self.state == State::Empty || self.is_consumers() {
            true => Ok(()),
            false => Err(ResponseError::NonEmptyGroup),
        }
    }

    /// Whether the group may be deleted.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP.
    pub fn validate_delete(&self) -> Result<(), ResponseError> {
        match self.state {
            State::Empty => Ok(()),
            _ => Err(ResponseError::NonEmptyGroup),
        }
    }

    /// Since when its offsets' retention counts; `None` while they do not expire.
    pub fn offsets_expire_since(&self) -> Option<ExpiresSince> {
        if self.protocol_type.is_none() {
            return Some(ExpiresSince::Commit);
        }
        match self.state {
            State::Empty => Some(self.state_since_ms.map_or(ExpiresSince::Commit, ExpiresSince::Empty)),
            State::Stable if self.is_consumers() && self.subscribed.is_some() => Some(ExpiresSince::Commit),
            _ => None,
        }
    }
}
