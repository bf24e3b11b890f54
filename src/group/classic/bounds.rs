//! Bounds on what clients make a classic group keep. Apache Kafka has none of them but the size of a request;
//! they lie far above what real groups need.

/// Protocols that a member may name. More are refused with INVALID_REQUEST.
pub const MEMBER_PROTOCOLS_MAX: usize = 256;

/// Bytes of one member: its ids, its protocols with their metadata, its assignment. Past it a join is refused
/// with INVALID_REQUEST.
pub const MEMBER_BYTES_MAX: usize = 8 << 20;

/// Bytes of all members of a group. A join past it is refused with GROUP_MAX_SIZE_REACHED, an assignment with
/// UNKNOWN_SERVER_ERROR, as Kafka answers where a group's record is too large for its topic.
pub const GROUP_BYTES_MAX: usize = 48 << 20;

/// Bytes of the ids that were given out and whose members have not joined yet, with [`PENDING_OVERHEAD_BYTES`]
/// for each. Past it a join is refused with GROUP_MAX_SIZE_REACHED; ids leave with their session timeout.
pub const PENDING_BYTES_MAX: usize = 16 << 20;

/// What an id that was given out takes besides its text: places in two maps, and its deadline.
pub const PENDING_OVERHEAD_BYTES: usize = 256;
