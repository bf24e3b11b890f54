//! Bounds on what clients make groups keep. Apache Kafka has none of them but the size of a request, the length
//! of a text, and the size of a batch; they lie far above what real groups need.
//!
//! A coordinator is one partition of the offsets topic. What its groups keep of their members is bounded for each
//! group; how many groups there are, and ids that were given out, for all of them together; and all of it, with
//! committed offsets, over all coordinators of a core ([`held`](super::held)).

use super::settings::Settings;
use crate::metadata::{Image, ResourceType};

/// Protocols that a classic member may name. More are refused with INVALID_REQUEST.
pub const MEMBER_PROTOCOLS_MAX: usize = 256;

/// Bytes of one member: its ids, its protocols with their metadata, its subscription, its assignment by a leader.
/// Past it a join or a heartbeat is refused with INVALID_REQUEST.
pub const MEMBER_BYTES_MAX: usize = 8 << 20;

/// What a member takes besides its texts: places in maps, its deadlines.
pub const MEMBER_OVERHEAD_BYTES: usize = 1 << 10;

/// Bytes of all members of a group, with [`MEMBER_OVERHEAD_BYTES`] for each; what several members of a consumer
/// group share counts once. A join or a heartbeat that grows past it is refused with GROUP_MAX_SIZE_REACHED, an
/// assignment with UNKNOWN_SERVER_ERROR, as Kafka answers where a group's record is too large for its topic. An
/// expression that matches more topics than it leaves room for names those that it matched before.
pub const GROUP_BYTES_MAX: usize = 48 << 20;

/// What a topic's name takes in a subscription besides its text.
pub const NAME_OVERHEAD_BYTES: usize = 64;

/// Different regular expressions that the members of a group subscribe to. Who brings one more is refused with
/// GROUP_MAX_SIZE_REACHED: each may match every topic, and all are resolved together.
pub const EXPRESSIONS_MAX: usize = 256;

/// What an expression takes in its group besides its text and the topics that it matched.
pub const EXPRESSION_OVERHEAD_BYTES: usize = 512;

/// Bytes of the ids that a group has given out and whose members have not joined yet, with
/// [`PENDING_OVERHEAD_BYTES`] for each. Past it a join is refused with GROUP_MAX_SIZE_REACHED; ids leave with their
/// session timeout.
pub const PENDING_BYTES_MAX: usize = 16 << 20;

/// The same for all groups of a coordinator. Past it a join is refused with COORDINATOR_NOT_AVAILABLE, upon which
/// clients try again.
pub const COORDINATOR_PENDING_BYTES_MAX: usize = 32 << 20;

/// What an id that was given out takes besides its text: places in two maps, and its deadline.
pub const PENDING_OVERHEAD_BYTES: usize = 256;

/// Bytes of the names of a coordinator's groups, with [`GROUP_OVERHEAD_BYTES`] for each. Past it a join, a
/// heartbeat or a commit that makes another group is refused with COORDINATOR_NOT_AVAILABLE, upon which clients
/// try again; empty groups without offsets leave with the next look for what has expired.
pub const COORDINATOR_GROUPS_BYTES_MAX: usize = 64 << 20;

/// What a group without members takes besides its name.
pub const GROUP_OVERHEAD_BYTES: usize = 1 << 10;

/// What an assigned partition takes: in its member's target and in what the member has, and its owner.
pub const ASSIGNED_PARTITION_BYTES: usize = 32;

/// What a committed offset takes besides its metadata text, and what each topic of a group takes that has some.
pub const OFFSET_BYTES: usize = 96;
pub const OFFSET_TOPIC_BYTES: usize = 192;

/// About what a record takes beside its texts: lengths, versions, numbers.
pub const RECORD_BYTES: usize = 40;

/// What a batch of one record takes besides its key and value, at most.
const BATCH_FRAMING_BYTES: usize = 128;

/// How many bytes the records of one request may take together: they are one batch, and Kafka appends none that
/// is larger than the offsets topic's `max.message.bytes`. A record of ours fits a segment besides.
pub(super) fn batch_bytes_max(image: &Image, settings: &Settings) -> usize {
    let own = |name: &str| {
        let bytes = image.setting(ResourceType::Topic, super::OFFSETS_TOPIC, name)?;
        bytes.parse::<usize>().ok()
    };
    let segment = own("segment.bytes").map_or(usize::MAX, |bytes| bytes.saturating_sub(BATCH_FRAMING_BYTES));
    own("max.message.bytes").unwrap_or(settings.message_max_bytes).min(segment)
}

/// The beginning of a text that a client chose, for a line of the log: an id may be of 32 KiB.
pub(super) fn brief(text: &str) -> &str {
    const CHARACTERS_MAX: usize = 200;
    text.char_indices().nth(CHARACTERS_MAX).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(brief("short"), "short");
        assert_eq!(brief(&"\u{e4}".repeat(30_000)), "\u{e4}".repeat(200));
    }
}
