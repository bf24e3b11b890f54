//! The Fetch request decoded and its answer encoded around slices of records: versions 4 to 18.

use bytes::{Bytes, BytesMut};

pub use super::produce::NodeEndpoint;
use super::wire::{StrBytes, WireError};
use crate::types::TopicId;

pub const VERSIONS: std::ops::RangeInclusive<i16> = 4..=18;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    pub cluster_id: Option<StrBytes>,
    /// -1 for a consumer, else the follower (from the tagged replica state from version 15 on).
    pub replica_id: i32,
    pub replica_epoch: i64,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// 0 read uncommitted, 1 read committed.
    pub isolation_level: i8,
    /// 0 without a session.
    pub session_id: i32,
    /// -1 without a session.
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    pub forgotten: Vec<ForgottenTopic>,
    pub rack_id: StrBytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// Empty from version 13 on, which has the id.
    pub name: StrBytes,
    pub topic_id: TopicId,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    pub partition: i32,
    /// -1 where the consumer does not know it.
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    pub last_fetched_epoch: i32,
    pub log_start_offset: i64,
    pub partition_max_bytes: i32,
    pub replica_directory_id: TopicId,
    /// `i64::MAX` where the follower does not say it.
    pub high_watermark: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenTopic {
    pub name: StrBytes,
    pub topic_id: TopicId,
    pub partitions: Vec<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub session_id: i32,
    pub topics: Vec<FetchTopicResponse>,
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FetchTopicResponse {
    pub name: StrBytes,
    pub topic_id: TopicId,
    pub partitions: Vec<FetchPartitionResponse>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartitionResponse {
    pub partition: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Epoch and its end offset, for a follower that diverges.
    pub diverging_epoch: Option<(i32, i64)>,
    /// Leader and its epoch.
    pub current_leader: Option<(i32, i32)>,
    /// End offset and epoch of a snapshot to fetch instead.
    pub snapshot_id: Option<(i64, i32)>,
    /// Producer id and first offset of each aborted transaction; `None` is null.
    pub aborted_transactions: Option<Vec<(i64, i64)>>,
    /// -1 for none.
    pub preferred_read_replica: i32,
    pub records: FetchRecords,
}

impl FetchPartitionResponse {
    /// An answer without records, everything unknown, as Kafka gives it with an error.
    pub fn error(partition: i32, error_code: i16) -> FetchPartitionResponse {
        FetchPartitionResponse {
            partition,
            error_code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: FetchRecords::Bytes(Bytes::new()),
        }
    }
}

/// The records of one partition in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchRecords {
    Null,
    /// Bytes in memory; also the empty records.
    Bytes(Bytes),
    /// `length` bytes that the caller sends itself: `index` comes back in [`Part::Records`].
    Slice {
        index: usize,
        length: u32,
    },
}

/// One stretch of an encoded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Bytes(Bytes),
    /// The slice with this index follows here.
    Records(usize),
}

/// Decodes a request's body. What is reserved is bounded by the bytes left, so no walk is needed before.
pub fn decode_request(body: &Bytes, version: i16) -> Result<FetchRequest, WireError> {
    let _ = (body, version);
    todo!()
}

/// Encodes the answer behind what `out` already holds (length prefix and header), as parts in sending order.
/// Empty parts are left out. Records in memory up to a few KiB are copied between their neighbours.
pub fn encode_response(out: BytesMut, response: &FetchResponse, version: i16) -> Vec<Part> {
    let _ = (out, response, version);
    todo!()
}

/// The bytes that all parts make, slices included.
pub fn parts_bytes(parts: &[Part], response: &FetchResponse) -> u64 {
    let _ = (parts, response);
    todo!()
}
