//! Committed offsets: commits, fetches, deletions, expiry.

use super::{Context, Groups, Outcome};
use crate::metadata::Image;
use crate::protocol::stored::group::{OffsetCommitKey, OffsetCommitValue};

/// The offsets of every group of a partition.
#[derive(Debug, Default)]
pub struct Offsets {}

impl Groups {
    pub(super) fn apply_offset(&mut self, _key: OffsetCommitKey, _value: Option<OffsetCommitValue>) {}

    pub(super) fn expire_offsets(&mut self, _context: &Context<'_>, _outcome: &mut Outcome) {}

    pub(super) fn forget_deleted_topics(
        &mut self,
        _before: &Image,
        _context: &Context<'_>,
        _outcome: &mut Outcome,
    ) {
    }
}
