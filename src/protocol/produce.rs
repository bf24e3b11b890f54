//! The Produce request decoded in place and its answer encoded: versions 3 to 13.

use bytes::{Bytes, BytesMut};

use super::wire::{StrBytes, WireError};
use crate::types::TopicId;

pub const VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;

/// A Produce request; records and strings share the frame's allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopic {
    /// Empty from version 13 on, which has the id.
    pub name: StrBytes,
    /// Zero up to version 12, which have the name.
    pub topic_id: TopicId,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    pub index: i32,
    pub records: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ProduceResponse {
    pub topics: Vec<ProduceTopicResponse>,
    pub throttle_time_ms: i32,
    /// Where the current leaders are, for partitions that are led elsewhere (version 10 and later).
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ProduceTopicResponse {
    pub name: StrBytes,
    pub topic_id: TopicId,
    pub partitions: Vec<ProducePartitionResponse>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartitionResponse {
    pub index: i32,
    pub error_code: i16,
    /// -1 with an error.
    pub base_offset: i64,
    /// -1 unless the topic has LogAppendTime.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    /// Place in the batch and text of each refused record (version 8 and later).
    pub record_errors: Vec<(i32, Option<String>)>,
    pub error_message: Option<String>,
    /// Leader and its epoch where the error is about the leader (version 10 and later).
    pub current_leader: Option<(i32, i32)>,
}

/// A broker's address in Produce and Fetch answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

/// Decodes a request's body. What is reserved is bounded by the bytes left, so no walk is needed before.
pub fn decode_request(body: &Bytes, version: i16) -> Result<ProduceRequest, WireError> {
    let _ = (body, version);
    todo!()
}

/// Appends the answer's body.
pub fn encode_response(out: &mut BytesMut, response: &ProduceResponse, version: i16) {
    let _ = (out, response, version);
    todo!()
}
