//! Classic groups: members choose a protocol, one of them assigns.

use super::{Context, Groups, Outcome};
use crate::clock::Now;
use crate::protocol::stored::group::{GroupMetadataKey, GroupMetadataValue};

/// What of a classic group has a deadline.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Timer {}

/// A classic group.
#[derive(Debug)]
pub struct ClassicGroup {}

impl Groups {
    pub(super) fn classic_timer(&mut self, timer: Timer, _context: &Context<'_>, _outcome: &mut Outcome) {
        match timer {}
    }

    pub(super) fn apply_classic(&mut self, _key: GroupMetadataKey, _value: Option<GroupMetadataValue>) {}

    pub(super) fn classic_loaded(&mut self, _now: Now) {}
}
