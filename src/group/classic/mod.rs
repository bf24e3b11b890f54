//! Classic groups: members choose a protocol, one of them assigns.

use kafka_protocol::error::ResponseError;

use super::{Context, Groups, OffsetRetention, Outcome};
use crate::clock::Now;
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::group::{GroupMetadataKey, GroupMetadataValue, Record};

/// What of a classic group has a deadline.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Timer {}

/// A classic group.
#[derive(Debug)]
pub struct ClassicGroup {}

impl ClassicGroup {
    /// What holds the offsets of someone who commits without being a member: an empty group without a protocol.
    pub(super) fn simple() -> ClassicGroup {
        ClassicGroup {}
    }

    /// The records that make the group what it is.
    pub fn records(&self, _id: &str) -> Vec<Record> {
        Vec::new()
    }

    pub fn is_empty(&self) -> bool {
        true
    }

    pub fn is_subscribed_to(&self, _topic: &str) -> bool {
        false
    }

    pub fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        _is_transactional: bool,
        _version: i16,
    ) -> Result<(), ApiError> {
        match generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            true if generation >= 0 => Err(ApiError::bare(ResponseError::UnknownMemberId)),
            _ => Ok(()),
        }
    }

    pub fn validate_offset_delete(&self) -> Result<(), ApiError> {
        Ok(())
    }

    pub fn offset_retention(&self) -> OffsetRetention {
        OffsetRetention::SinceCommit
    }
}

impl Groups {
    /// A member has committed offsets, which keeps its session alive.
    pub(super) fn classic_committed(&mut self, _group: &str, _member_id: &str, _context: &Context<'_>) {}

    pub(super) fn classic_timer(&mut self, timer: Timer, _context: &Context<'_>, _outcome: &mut Outcome) {
        match timer {}
    }

    pub(super) fn apply_classic(&mut self, key: GroupMetadataKey, value: Option<GroupMetadataValue>) {
        if value.is_none() {
            self.groups.remove(key.group.as_str());
        }
    }

    pub(super) fn classic_loaded(&mut self, _now: Now) {}
}
