//! The Fetch request decoded and its answer encoded around slices of records: versions 4 to 18.
//!
//! ```text
//! request   replica_id i32 (to 14) | max_wait_ms i32 | min_bytes i32 | max_bytes i32 | isolation_level i8
//!           | session_id i32, session_epoch i32 (7) | topics [ name (to 12) or topic_id (13)
//!           | partitions [ partition i32 | current_leader_epoch i32 (9) | fetch_offset i64
//!           | last_fetched_epoch i32 (12) | log_start_offset i64 (5) | partition_max_bytes i32
//!           | tag 0: replica_directory_id uuid (17) | tag 1: high_watermark i64 (18) ] ]
//!           | forgotten [ name or topic_id | partitions [ i32 ] ] (7) | rack_id (11)
//!           | tag 0: cluster_id? (12) | tag 1: replica_state: replica_id i32, replica_epoch i64 (15)
//! response  throttle_time_ms i32 | error_code i16, session_id i32 (7) | topics [ name or topic_id
//!           | partitions [ partition i32 | error_code i16 | high_watermark i64 | last_stable_offset i64
//!           | log_start_offset i64 (5) | aborted_transactions? [ i64 | i64 ] | preferred_read_replica i32 (11)
//!           | records? | tag 0: diverging_epoch i32 i64 | tag 1: current_leader i32 i32
//!           | tag 2: snapshot_id i64 i32 ] ] | tag 0: node_endpoints (16)
//! ```
//!
//! From version 12 on strings and arrays are compact and each structure ends in tagged fields.
//! Source: FetchRequest.json and FetchResponse.json of Kafka 4.1.

use bytes::{BufMut, Bytes, BytesMut};

pub use super::produce::NodeEndpoint;
use super::produce::{end_of_structure, put_current_leader, put_node_endpoints};
use super::wire::{Budget, Reader, StrBytes, WireError, put_length, put_text, required, share};
use crate::types::TopicId;

pub const VERSIONS: std::ops::RangeInclusive<i16> = 4..=18;
const FLEXIBLE_FROM: i16 = 12;
const TOPIC_IDS_FROM: i16 = 13;
const NODE_ENDPOINTS_FROM: i16 = 16;
/// Records in memory up to this size are copied: that costs less than one more piece to send.
const COPIED_BYTES_MAX: usize = 4096;

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

impl FetchRecords {
    /// Bytes of records; `None` for null.
    pub fn length(&self) -> Option<usize> {
        match self {
            FetchRecords::Null => None,
            FetchRecords::Bytes(bytes) => Some(bytes.len()),
            FetchRecords::Slice { length, .. } => Some(*length as usize),
        }
    }
}

/// One stretch of an encoded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Bytes(Bytes),
    /// The slice with this index follows here.
    Records(usize),
}

/// Decodes a request's body. What is reserved is bounded by the body's length, so no walk is needed before.
/// Bytes after the message are accepted, as Kafka accepts them.
pub fn decode_request(body: &Bytes, version: i16) -> Result<FetchRequest, WireError> {
    if !VERSIONS.contains(&version) {
        return Err(WireError::UnknownApi { api_key: 1, api_version: version });
    }
    let flexible = version >= FLEXIBLE_FROM;
    let mut budget = Budget::of(body);
    let mut reader = Reader::new(body);
    let mut request = FetchRequest {
        cluster_id: None,
        replica_id: if version < 15 { reader.i32("replica_id")? } else { -1 },
        replica_epoch: -1,
        max_wait_ms: reader.i32("max_wait_ms")?,
        min_bytes: reader.i32("min_bytes")?,
        max_bytes: reader.i32("max_bytes")?,
        isolation_level: reader.i8("isolation_level")?,
        session_id: if version >= 7 { reader.i32("session_id")? } else { 0 },
        session_epoch: if version >= 7 { reader.i32("session_epoch")? } else { -1 },
        topics: Vec::new(),
        forgotten: Vec::new(),
        rack_id: StrBytes::new(),
    };
    let topics = budget.array(&mut reader, flexible, 3, "topics", |reader, budget| {
        decode_topic(body, reader, budget, version)
    })?;
    request.topics = required(topics, "topics")?;
    if version >= 7 {
        let what = "forgotten_topics_data";
        let forgotten = budget.array(&mut reader, flexible, 3, what, |reader, budget| {
            let (name, topic_id) = decode_topic_key(body, reader, version)?;
            let partitions =
                budget.array(reader, flexible, 4, "partitions", |reader, _| reader.i32("partition"))?;
            end_of_structure(reader, flexible)?;
            Ok(ForgottenTopic { name, topic_id, partitions: required(partitions, "partitions")? })
        })?;
        request.forgotten = required(forgotten, what)?;
    }
    if version >= 11 {
        request.rack_id = share(body, required(reader.text(flexible, "rack_id")?, "rack_id")?);
    }
    if flexible {
        reader.tagged(|tag, field| decode_request_tag(body, &mut request, version, tag, field))?;
    }
    Ok(request)
}

fn decode_request_tag(
    body: &Bytes,
    request: &mut FetchRequest,
    version: i16,
    tag: u32,
    field: &[u8],
) -> Result<(), WireError> {
    let mut field = Reader::new(field);
    match tag {
        0 => request.cluster_id = field.text(true, "cluster_id")?.map(|text| share(body, text)),
        1 if version >= 15 => {
            request.replica_id = field.i32("replica_id")?;
            request.replica_epoch = field.i64("replica_epoch")?;
            field.tagged(|_, _| Ok(()))?;
        }
        // Kafka refuses a tag in a version that does not have it yet.
        1 => return Err(WireError::Malformed),
        _ => return Ok(()),
    }
    end_of_field(&field)
}

fn decode_topic_key(
    body: &Bytes,
    reader: &mut Reader<'_>,
    version: i16,
) -> Result<(StrBytes, TopicId), WireError> {
    if version >= TOPIC_IDS_FROM {
        return Ok((StrBytes::new(), reader.topic_id("topic_id")?));
    }
    let name = required(reader.text(version >= FLEXIBLE_FROM, "topic")?, "topic")?;
    Ok((share(body, name), TopicId::ZERO))
}

fn decode_topic(
    body: &Bytes,
    reader: &mut Reader<'_>,
    budget: &mut Budget,
    version: i16,
) -> Result<FetchTopic, WireError> {
    let flexible = version >= FLEXIBLE_FROM;
    let (name, topic_id) = decode_topic_key(body, reader, version)?;
    let partitions =
        budget.array(reader, flexible, 16, "partitions", |reader, _| decode_partition(reader, version))?;
    end_of_structure(reader, flexible)?;
    Ok(FetchTopic { name, topic_id, partitions: required(partitions, "partitions")? })
}

fn decode_partition(reader: &mut Reader<'_>, version: i16) -> Result<FetchPartition, WireError> {
    let mut partition = FetchPartition {
        partition: reader.i32("partition")?,
        current_leader_epoch: if version >= 9 { reader.i32("current_leader_epoch")? } else { -1 },
        fetch_offset: reader.i64("fetch_offset")?,
        last_fetched_epoch: if version >= 12 { reader.i32("last_fetched_epoch")? } else { -1 },
        log_start_offset: if version >= 5 { reader.i64("log_start_offset")? } else { -1 },
        partition_max_bytes: reader.i32("partition_max_bytes")?,
        replica_directory_id: TopicId::ZERO,
        high_watermark: i64::MAX,
    };
    if version >= FLEXIBLE_FROM {
        reader.tagged(|tag, field| {
            let mut field = Reader::new(field);
            match tag {
                0 if version >= 17 => partition.replica_directory_id = field.topic_id("directory")?,
                1 if version >= 18 => partition.high_watermark = field.i64("high_watermark")?,
                0 | 1 => return Err(WireError::Malformed),
                _ => return Ok(()),
            }
            end_of_field(&field)
        })?;
    }
    Ok(partition)
}

fn end_of_field(field: &Reader<'_>) -> Result<(), WireError> {
    if field.left().is_empty() { Ok(()) } else { Err(WireError::Malformed) }
}

/// Encodes the answer behind what `out` already holds (length prefix and header), as parts in sending order.
/// Empty parts are left out. Records in memory up to 4 KiB are copied between their neighbours.
pub fn encode_response(out: BytesMut, response: &FetchResponse, version: i16) -> Vec<Part> {
    let flexible = version >= FLEXIBLE_FROM;
    let mut parts = Parts { parts: Vec::new(), out };
    let out = &mut parts.out;
    out.put_i32(response.throttle_time_ms);
    if version >= 7 {
        out.put_i16(response.error_code);
        out.put_i32(response.session_id);
    }
    put_length(out, Some(response.topics.len()), flexible);
    for topic in &response.topics {
        let out = &mut parts.out;
        if version >= TOPIC_IDS_FROM {
            out.put_slice(topic.topic_id.0.as_bytes());
        } else {
            put_text(out, Some(&topic.name), flexible);
        }
        put_length(out, Some(topic.partitions.len()), flexible);
        for partition in &topic.partitions {
            encode_partition(&mut parts, partition, version);
        }
        if flexible {
            parts.out.put_u8(0);
        }
    }
    if flexible {
        let endpoints = if version >= NODE_ENDPOINTS_FROM { &response.node_endpoints[..] } else { &[] };
        put_node_endpoints(&mut parts.out, endpoints);
    }
    parts.flush();
    parts.parts
}

/// The bytes that the whole answer makes, slices included, given its `parts`.
pub fn parts_bytes(parts: &[Part], response: &FetchResponse) -> u64 {
    let encoded: u64 =
        parts.iter().map(|part| if let Part::Bytes(b) = part { b.len() as u64 } else { 0 }).sum();
    let slices = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| {
        if let FetchRecords::Slice { length, .. } = partition.records { u64::from(length) } else { 0 }
    });
    encoded + slices.sum::<u64>()
}

/// The parts so far and the bytes that become the next one.
struct Parts {
    parts: Vec<Part>,
    out: BytesMut,
}

impl Parts {
    fn flush(&mut self) {
        if !self.out.is_empty() {
            self.parts.push(Part::Bytes(self.out.split().freeze()));
        }
    }

    fn records(&mut self, records: &FetchRecords) {
        match records {
            FetchRecords::Null => {}
            FetchRecords::Bytes(bytes) if bytes.len() <= COPIED_BYTES_MAX => self.out.put_slice(bytes),
            FetchRecords::Bytes(bytes) => {
                self.flush();
                self.parts.push(Part::Bytes(bytes.clone()));
            }
            FetchRecords::Slice { length: 0, .. } => {}
            FetchRecords::Slice { index, .. } => {
                self.flush();
                self.parts.push(Part::Records(*index));
            }
        }
    }
}

fn encode_partition(parts: &mut Parts, partition: &FetchPartitionResponse, version: i16) {
    let flexible = version >= FLEXIBLE_FROM;
    let out = &mut parts.out;
    out.put_i32(partition.partition);
    out.put_i16(partition.error_code);
    out.put_i64(partition.high_watermark);
    out.put_i64(partition.last_stable_offset);
    if version >= 5 {
        out.put_i64(partition.log_start_offset);
    }
    put_length(out, partition.aborted_transactions.as_ref().map(Vec::len), flexible);
    for (producer_id, first_offset) in partition.aborted_transactions.iter().flatten() {
        out.put_i64(*producer_id);
        out.put_i64(*first_offset);
        if flexible {
            out.put_u8(0);
        }
    }
    if version >= 11 {
        out.put_i32(partition.preferred_read_replica);
    }
    put_length(out, partition.records.length(), flexible);
    parts.records(&partition.records);
    if flexible {
        encode_partition_tags(&mut parts.out, partition);
    }
}

fn encode_partition_tags(out: &mut BytesMut, partition: &FetchPartitionResponse) {
    let FetchPartitionResponse { diverging_epoch, current_leader, snapshot_id, .. } = partition;
    let count = u8::from(diverging_epoch.is_some())
        + u8::from(current_leader.is_some())
        + u8::from(snapshot_id.is_some());
    out.put_u8(count);
    if let Some((epoch, end_offset)) = diverging_epoch {
        out.put_slice(&[0, 13]);
        out.put_i32(*epoch);
        out.put_i64(*end_offset);
        out.put_u8(0);
    }
    if let Some(leader) = current_leader {
        put_current_leader(out, 1, *leader);
    }
    if let Some((end_offset, epoch)) = snapshot_id {
        out.put_slice(&[2, 13]);
        out.put_i64(*end_offset);
        out.put_i32(*epoch);
        out.put_u8(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages as codec;
    use kafka_protocol::messages::fetch_request as parts_of_request;
    use kafka_protocol::protocol::{Decodable, Encodable};
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = StrBytes> {
        "[a-zä]{0,12}".prop_map(StrBytes::from_string)
    }

    fn topic_id() -> impl Strategy<Value = TopicId> {
        any::<u128>().prop_map(|id| TopicId(uuid::Uuid::from_u128(id)))
    }

    fn request() -> impl Strategy<Value = FetchRequest> {
        let partition = (
            (any::<i32>(), any::<i32>(), any::<i64>(), any::<i32>()),
            (any::<i64>(), any::<i32>(), topic_id(), any::<i64>()),
        )
            .prop_map(
                |((partition, leader_epoch, offset, fetched_epoch), (start, max_bytes, directory, high))| {
                    FetchPartition {
                        partition,
                        current_leader_epoch: leader_epoch,
                        fetch_offset: offset,
                        last_fetched_epoch: fetched_epoch,
                        log_start_offset: start,
                        partition_max_bytes: max_bytes,
                        replica_directory_id: directory,
                        high_watermark: high,
                    }
                },
            );
        let topic = (text(), topic_id(), vec(partition, 0..4))
            .prop_map(|(name, topic_id, partitions)| FetchTopic { name, topic_id, partitions });
        let forgotten = (text(), topic_id(), vec(any::<i32>(), 0..4))
            .prop_map(|(name, topic_id, partitions)| ForgottenTopic { name, topic_id, partitions });
        (
            (option::of(text()), any::<i32>(), any::<i64>(), any::<i32>(), any::<i32>(), any::<i32>()),
            (any::<i8>(), any::<i32>(), any::<i32>(), vec(topic, 0..4), vec(forgotten, 0..3), text()),
        )
            .prop_map(
                |(
                    (cluster_id, replica_id, replica_epoch, max_wait_ms, min_bytes, max_bytes),
                    (isolation_level, session_id, session_epoch, topics, forgotten, rack_id),
                )| FetchRequest {
                    cluster_id,
                    replica_id,
                    replica_epoch,
                    max_wait_ms,
                    min_bytes,
                    max_bytes,
                    isolation_level,
                    session_id,
                    session_epoch,
                    topics,
                    forgotten,
                    rack_id,
                },
            )
    }

    /// What is left of a request that goes through `version`.
    fn in_version(mut request: FetchRequest, version: i16) -> FetchRequest {
        let key = |name: &mut StrBytes, id: &mut TopicId| match version >= 13 {
            true => *name = StrBytes::new(),
            false => *id = TopicId::ZERO,
        };
        if version < 7 {
            (request.session_id, request.session_epoch) = (0, -1);
            request.forgotten.clear();
        }
        if version < 11 {
            request.rack_id = StrBytes::new();
        }
        if version < 12 {
            request.cluster_id = None;
        }
        if version < 15 {
            request.replica_epoch = -1;
        }
        request.forgotten.iter_mut().for_each(|topic| key(&mut topic.name, &mut topic.topic_id));
        for topic in &mut request.topics {
            key(&mut topic.name, &mut topic.topic_id);
            for partition in &mut topic.partitions {
                if version < 5 {
                    partition.log_start_offset = -1;
                }
                if version < 9 {
                    partition.current_leader_epoch = -1;
                }
                if version < 12 {
                    partition.last_fetched_epoch = -1;
                }
                if version < 17 {
                    partition.replica_directory_id = TopicId::ZERO;
                }
                if version < 18 {
                    partition.high_watermark = i64::MAX;
                }
            }
        }
        request
    }

    fn as_codecs(request: &FetchRequest, version: i16) -> codec::FetchRequest {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                parts_of_request::FetchPartition::default()
                    .with_partition(partition.partition)
                    .with_current_leader_epoch(partition.current_leader_epoch)
                    .with_fetch_offset(partition.fetch_offset)
                    .with_last_fetched_epoch(partition.last_fetched_epoch)
                    .with_log_start_offset(partition.log_start_offset)
                    .with_partition_max_bytes(partition.partition_max_bytes)
                    .with_replica_directory_id(partition.replica_directory_id.0)
                    .with_high_watermark(partition.high_watermark)
            });
            parts_of_request::FetchTopic::default()
                .with_topic(topic.name.clone().into())
                .with_topic_id(topic.topic_id.0)
                .with_partitions(partitions.collect())
        });
        let forgotten = request.forgotten.iter().map(|topic| {
            parts_of_request::ForgottenTopic::default()
                .with_topic(topic.name.clone().into())
                .with_topic_id(topic.topic_id.0)
                .with_partitions(topic.partitions.clone())
        });
        let message = codec::FetchRequest::default()
            .with_cluster_id(request.cluster_id.clone())
            .with_max_wait_ms(request.max_wait_ms)
            .with_min_bytes(request.min_bytes)
            .with_max_bytes(request.max_bytes)
            .with_isolation_level(request.isolation_level)
            .with_session_id(request.session_id)
            .with_session_epoch(request.session_epoch)
            .with_topics(topics.collect())
            .with_forgotten_topics_data(forgotten.collect())
            .with_rack_id(request.rack_id.clone());
        match version >= 15 {
            true => message.with_replica_state(
                parts_of_request::ReplicaState::default()
                    .with_replica_id(request.replica_id.into())
                    .with_replica_epoch(request.replica_epoch),
            ),
            false => message.with_replica_id(request.replica_id.into()),
        }
    }

    fn response() -> impl Strategy<Value = FetchResponse> {
        let records = prop_oneof![
            Just(FetchRecords::Null),
            vec(any::<u8>(), 0..60).prop_map(|bytes| FetchRecords::Bytes(bytes.into())),
            (4000usize..6000).prop_map(|size| FetchRecords::Bytes(vec![7; size].into())),
            (0u32..200).prop_map(|length| FetchRecords::Slice { index: 0, length }),
        ];
        let partition = (
            (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>(), any::<i64>(), any::<i32>()),
            (option::of((0i32..9, any::<i64>())), option::of((0i32..9, any::<i32>()))),
            (
                option::of((any::<i64>(), 0i32..9)),
                option::of(vec((any::<i64>(), any::<i64>()), 0..3)),
                records,
            ),
        )
            .prop_map(
                |(
                    (partition, error_code, high_watermark, last_stable_offset, log_start_offset, preferred),
                    (diverging_epoch, current_leader),
                    (snapshot_id, aborted_transactions, records),
                )| FetchPartitionResponse {
                    partition,
                    error_code,
                    high_watermark,
                    last_stable_offset,
                    log_start_offset,
                    diverging_epoch,
                    current_leader,
                    snapshot_id,
                    aborted_transactions,
                    preferred_read_replica: preferred,
                    records,
                },
            );
        let topic = (text(), topic_id(), vec(partition, 0..4))
            .prop_map(|(name, topic_id, partitions)| FetchTopicResponse { name, topic_id, partitions });
        let endpoint = (any::<i32>(), text(), any::<i32>(), option::of(text()))
            .prop_map(|(node_id, host, port, rack)| NodeEndpoint { node_id, host, port, rack });
        (any::<i32>(), any::<i16>(), any::<i32>(), vec(topic, 0..4), vec(endpoint, 0..3)).prop_map(
            |(throttle_time_ms, error_code, session_id, mut topics, node_endpoints)| {
                let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                for (number, partition) in partitions.enumerate() {
                    if let FetchRecords::Slice { index, .. } = &mut partition.records {
                        *index = number;
                    }
                }
                FetchResponse { throttle_time_ms, error_code, session_id, topics, node_endpoints }
            },
        )
    }

    /// What stands in the files: slice `index` is that number, again and again.
    fn slice(index: usize, length: u32) -> Bytes {
        vec![index as u8; length as usize].into()
    }

    fn assemble(parts: &[Part], response: &FetchResponse) -> Bytes {
        let partitions: Vec<_> = response.topics.iter().flat_map(|topic| &topic.partitions).collect();
        let mut whole = BytesMut::new();
        for part in parts {
            match part {
                Part::Bytes(bytes) => {
                    assert!(!bytes.is_empty());
                    whole.put_slice(bytes);
                }
                Part::Records(index) => {
                    whole.put_slice(&slice(*index, partitions[*index].records.length().unwrap() as u32));
                }
            }
        }
        whole.freeze()
    }

    proptest! {
        #[test]
        fn requests_are_read_as_the_codec_writes_them(request in request()) {
            for version in VERSIONS {
                let expected = in_version(request.clone(), version);
                let mut body = BytesMut::new();
                as_codecs(&expected, version).encode(&mut body, version).unwrap();
                prop_assert_eq!(decode_request(&body.freeze(), version), Ok(expected), "{}", version);
            }
        }

        #[test]
        fn responses_are_written_as_the_codec_reads_them(response in response()) {
            for version in VERSIONS {
                let parts = encode_response(BytesMut::from(&b"head"[..]), &response, version);
                let mut bytes = assemble(&parts, &response);
                prop_assert_eq!(bytes.len() as u64, parts_bytes(&parts, &response));
                prop_assert_eq!(&bytes.split_to(4)[..], b"head");
                let back = codec::FetchResponse::decode(&mut bytes, version).unwrap();
                prop_assert!(bytes.is_empty(), "{}", version);
                prop_assert_eq!(back.throttle_time_ms, response.throttle_time_ms);
                let top = if version >= 7 { (response.error_code, response.session_id) } else { (0, 0) };
                prop_assert_eq!((back.error_code, back.session_id), top);
                prop_assert_eq!(back.responses.len(), response.topics.len());
                for (back, topic) in back.responses.iter().zip(&response.topics) {
                    match version >= 13 {
                        true => prop_assert_eq!(back.topic_id, topic.topic_id.0),
                        false => prop_assert_eq!(&back.topic.0, &topic.name),
                    }
                    prop_assert_eq!(back.partitions.len(), topic.partitions.len());
                    for (back, partition) in back.partitions.iter().zip(&topic.partitions) {
                        prop_assert_eq!(back.partition_index, partition.partition);
                        prop_assert_eq!(back.error_code, partition.error_code);
                        prop_assert_eq!(back.high_watermark, partition.high_watermark);
                        prop_assert_eq!(back.last_stable_offset, partition.last_stable_offset);
                        let start = if version >= 5 { partition.log_start_offset } else { -1 };
                        prop_assert_eq!(back.log_start_offset, start);
                        let preferred = if version >= 11 { partition.preferred_read_replica } else { -1 };
                        prop_assert_eq!(*back.preferred_read_replica, preferred);
                        let aborted = back.aborted_transactions.as_ref().map(|all| {
                            all.iter().map(|one| (*one.producer_id, one.first_offset)).collect::<Vec<_>>()
                        });
                        prop_assert_eq!(&aborted, &partition.aborted_transactions);
                        let tagged = version >= 12;
                        let diverging = partition.diverging_epoch.filter(|_| tagged).unwrap_or((-1, -1));
                        prop_assert_eq!((back.diverging_epoch.epoch, back.diverging_epoch.end_offset), diverging);
                        let leader = partition.current_leader.filter(|_| tagged).unwrap_or((-1, -1));
                        prop_assert_eq!((*back.current_leader.leader_id, back.current_leader.leader_epoch), leader);
                        let snapshot = partition.snapshot_id.filter(|_| tagged).unwrap_or((-1, -1));
                        prop_assert_eq!((back.snapshot_id.end_offset, back.snapshot_id.epoch), snapshot);
                        let records = match &partition.records {
                            FetchRecords::Null => None,
                            FetchRecords::Bytes(bytes) => Some(bytes.clone()),
                            FetchRecords::Slice { index, length } => Some(slice(*index, *length)),
                        };
                        prop_assert_eq!(&back.records, &records);
                    }
                }
                let endpoints = back.node_endpoints.iter().map(|back| NodeEndpoint {
                    node_id: *back.node_id,
                    host: back.host.clone(),
                    port: back.port,
                    rack: back.rack.clone(),
                });
                let expected = if version >= 16 { &response.node_endpoints[..] } else { &[] };
                prop_assert_eq!(&endpoints.collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn cut_and_damaged_requests_do_no_harm(request in request(), at: usize, value: u8) {
            for version in VERSIONS {
                let mut body = BytesMut::new();
                as_codecs(&in_version(request.clone(), version), version).encode(&mut body, version).unwrap();
                let at = at % body.len();
                let cut = Bytes::copy_from_slice(&body[..at]);
                prop_assert!(decode_request(&cut, version).is_err());
                body[at] = value;
                let _ = decode_request(&body.freeze(), version);
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let body = Bytes::from(bytes);
            for version in 0..20 {
                let _ = decode_request(&body, version);
            }
        }
    }

    #[test]
    fn slices_stand_between_the_bytes_around_them() {
        let records = FetchRecords::Slice { index: 4, length: 100 };
        let partition = FetchPartitionResponse { records, ..FetchPartitionResponse::error(0, 0) };
        let topic = FetchTopicResponse { partitions: vec![partition], ..Default::default() };
        let response = FetchResponse { topics: vec![topic], ..Default::default() };
        let parts = encode_response(BytesMut::new(), &response, 12);
        assert!(matches!(&parts[..], [Part::Bytes(_), Part::Records(4), Part::Bytes(_)]));
    }
}
