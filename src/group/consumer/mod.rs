//! Consumer groups (KIP-848): the coordinator assigns, members reconcile step by step.

use super::{Context, Groups, Outcome};
use crate::clock::Now;
use crate::metadata::Image;
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::group::Record;

/// What of a consumer group has a deadline.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Timer {}

/// A consumer group.
#[derive(Debug)]
pub struct ConsumerGroup {}

impl ConsumerGroup {
    /// The records that make the group what it is.
    pub fn records(&self, _id: &str) -> Vec<Record> {
        Vec::new()
    }

    pub fn is_empty(&self) -> bool {
        true
    }

    pub fn state_name(&self) -> &'static str {
        "Empty"
    }

    pub fn is_subscribed_to(&self, _topic: &str) -> bool {
        false
    }

    pub fn validate_commit(
        &self,
        _member_id: &str,
        _instance_id: Option<&str>,
        _epoch: i32,
        _is_transactional: bool,
        _version: i16,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    pub fn validate_fetch(&self, _member_id: Option<&str>, _epoch: i32) -> Result<(), ApiError> {
        Ok(())
    }

    pub fn tombstones(&self, _id: &str) -> Vec<Record> {
        Vec::new()
    }
}

impl Groups {
    pub(super) fn consumer_timer(&mut self, timer: Timer, _context: &Context<'_>, _outcome: &mut Outcome) {
        match timer {}
    }

    /// Takes a record of any of the consumer protocol's types.
    pub(super) fn apply_consumer(&mut self, _record: Record) {}

    pub(super) fn consumers_loaded(&mut self, _now: Now) {}

    pub(super) fn consumers_follow_image(
        &mut self,
        _before: &Image,
        _context: &Context<'_>,
        _outcome: &mut Outcome,
    ) {
    }
}
