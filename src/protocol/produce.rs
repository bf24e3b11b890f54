//! The Produce request decoded in place and its answer encoded: versions 3 to 13.
//!
//! ```text
//! request   transactional_id? | acks i16 | timeout_ms i32 | topics [ name (to 12) or topic_id (13)
//!           | partitions [ index i32 | records? ] ]
//! response  topics [ name (to 12) or topic_id (13) | partitions [ index i32 | error_code i16 | base_offset i64
//!           | log_append_time_ms i64 | log_start_offset i64 (5) | record_errors [ i32 | text? ] (8)
//!           | error_message? (8) | tag 0: current_leader i32 i32 (10) ] ] | throttle_time_ms i32
//!           | tag 0: node_endpoints [ node_id i32 | host | port i32 | rack? ] (10)
//! ```
//!
//! From version 9 on strings and arrays are compact and each structure ends in tagged fields. Nullable is
//! marked `?`. Source: ProduceRequest.json and ProduceResponse.json of Kafka 4.1.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{
    Budget, Reader, StrBytes, WireError, put_length, put_text, put_uvarint, required, share, uvarint_bytes,
};
use crate::types::TopicId;

pub const VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;
const FLEXIBLE_FROM: i16 = 9;
const LEADERS_FROM: i16 = 10;
const TOPIC_IDS_FROM: i16 = 13;

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

/// Decodes a request's body. What is reserved is bounded by the body's length, so no walk is needed before.
/// Bytes after the message are accepted, as Kafka accepts them.
pub fn decode_request(body: &Bytes, version: i16) -> Result<ProduceRequest, WireError> {
    if !VERSIONS.contains(&version) {
        return Err(WireError::UnknownApi { api_key: 0, api_version: version });
    }
    let flexible = version >= FLEXIBLE_FROM;
    let mut reader = Reader::new(body);
    let transactional_id = reader.text(flexible, "transactional_id")?.map(|text| share(body, text));
    let acks = reader.i16("acks")?;
    let timeout_ms = reader.i32("timeout_ms")?;
    let topics = Budget::of(body).array(&mut reader, flexible, 3, "topic_data", |reader, budget| {
        decode_topic(body, reader, budget, version)
    })?;
    end_of_structure(&mut reader, flexible)?;
    Ok(ProduceRequest { transactional_id, acks, timeout_ms, topics: required(topics, "topic_data")? })
}

fn decode_topic(
    body: &Bytes,
    reader: &mut Reader<'_>,
    budget: &mut Budget,
    version: i16,
) -> Result<ProduceTopic, WireError> {
    let flexible = version >= FLEXIBLE_FROM;
    let mut name = StrBytes::new();
    let mut topic_id = TopicId::ZERO;
    if version >= TOPIC_IDS_FROM {
        topic_id = reader.topic_id("topic_id")?;
    } else {
        name = share(body, required(reader.text(flexible, "name")?, "name")?);
    }
    let partitions = budget.array(reader, flexible, 5, "partition_data", |reader, _| {
        let index = reader.i32("index")?;
        let records = match reader.bytes_length(flexible, "records")? {
            Some(length) => Some(body.slice_ref(reader.take(length, "records")?)),
            None => None,
        };
        end_of_structure(reader, flexible)?;
        Ok(ProducePartition { index, records })
    })?;
    end_of_structure(reader, flexible)?;
    Ok(ProduceTopic { name, topic_id, partitions: required(partitions, "partition_data")? })
}

/// Appends the answer's body.
pub fn encode_response(out: &mut BytesMut, response: &ProduceResponse, version: i16) {
    let flexible = version >= FLEXIBLE_FROM;
    put_length(out, Some(response.topics.len()), flexible);
    for topic in &response.topics {
        if version >= TOPIC_IDS_FROM {
            out.put_slice(topic.topic_id.0.as_bytes());
        } else {
            put_text(out, Some(&topic.name), flexible);
        }
        put_length(out, Some(topic.partitions.len()), flexible);
        for partition in &topic.partitions {
            encode_partition(out, partition, version);
        }
        if flexible {
            out.put_u8(0);
        }
    }
    out.put_i32(response.throttle_time_ms);
    if flexible {
        let endpoints = if version >= LEADERS_FROM { &response.node_endpoints[..] } else { &[] };
        put_node_endpoints(out, endpoints);
    }
}

fn encode_partition(out: &mut BytesMut, partition: &ProducePartitionResponse, version: i16) {
    let flexible = version >= FLEXIBLE_FROM;
    out.put_i32(partition.index);
    out.put_i16(partition.error_code);
    out.put_i64(partition.base_offset);
    out.put_i64(partition.log_append_time_ms);
    if version >= 5 {
        out.put_i64(partition.log_start_offset);
    }
    if version >= 8 {
        put_length(out, Some(partition.record_errors.len()), flexible);
        for (index, message) in &partition.record_errors {
            out.put_i32(*index);
            put_text(out, message.as_deref(), flexible);
            if flexible {
                out.put_u8(0);
            }
        }
        put_text(out, partition.error_message.as_deref(), flexible);
    }
    match partition.current_leader {
        Some(leader) if version >= LEADERS_FROM => {
            out.put_u8(1);
            put_current_leader(out, 0, leader);
        }
        _ if flexible => out.put_u8(0),
        _ => {}
    }
}

/// A tagged leader: id, epoch, no tags of its own.
pub(super) fn put_current_leader(out: &mut BytesMut, tag: u8, (leader_id, leader_epoch): (i32, i32)) {
    out.put_slice(&[tag, 9]);
    out.put_i32(leader_id);
    out.put_i32(leader_epoch);
    out.put_u8(0);
}

/// The tagged fields at a response's end: tag 0 holds the endpoints, and is left out without any.
pub(super) fn put_node_endpoints(out: &mut BytesMut, endpoints: &[NodeEndpoint]) {
    if endpoints.is_empty() {
        out.put_u8(0);
        return;
    }
    let mut field = BytesMut::new();
    put_length(&mut field, Some(endpoints.len()), true);
    for endpoint in endpoints {
        field.put_i32(endpoint.node_id);
        put_text(&mut field, Some(&endpoint.host), true);
        field.put_i32(endpoint.port);
        put_text(&mut field, endpoint.rack.as_deref(), true);
        field.put_u8(0);
    }
    out.reserve(2 + uvarint_bytes(field.len() as u32) + field.len());
    out.put_slice(&[1, 0]);
    put_uvarint(out, field.len() as u32);
    out.put_slice(&field);
}

/// Skips the tagged fields that a structure without known ones ends in.
pub(super) fn end_of_structure(reader: &mut Reader<'_>, flexible: bool) -> Result<(), WireError> {
    if flexible { reader.tagged(|_, _| Ok(())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages as codec;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::protocol::{Decodable, Encodable};
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = StrBytes> {
        "[a-zä]{0,12}".prop_map(StrBytes::from_string)
    }

    fn request() -> impl Strategy<Value = ProduceRequest> {
        let records = option::of(vec(any::<u8>(), 0..80).prop_map(Bytes::from));
        let partition =
            (any::<i32>(), records).prop_map(|(index, records)| ProducePartition { index, records });
        let topic = (text(), any::<u128>(), vec(partition, 0..4)).prop_map(|(name, id, partitions)| {
            ProduceTopic { name, topic_id: TopicId(uuid::Uuid::from_u128(id)), partitions }
        });
        (option::of(text()), any::<i16>(), any::<i32>(), vec(topic, 0..4)).prop_map(
            |(transactional_id, acks, timeout_ms, topics)| ProduceRequest {
                transactional_id,
                acks,
                timeout_ms,
                topics,
            },
        )
    }

    fn response() -> impl Strategy<Value = ProduceResponse> {
        let error = (any::<i32>(), option::of("[a-z]{0,9}"));
        let partition = (
            (any::<i32>(), any::<i16>(), any::<i64>(), any::<i64>(), any::<i64>()),
            vec(error, 0..3),
            option::of("[a-z]{0,9}"),
            option::of((any::<i32>(), any::<i32>())),
        )
            .prop_map(
                |((index, error_code, base, append, start), record_errors, error_message, leader)| {
                    ProducePartitionResponse {
                        index,
                        error_code,
                        base_offset: base,
                        log_append_time_ms: append,
                        log_start_offset: start,
                        record_errors,
                        error_message,
                        current_leader: leader,
                    }
                },
            );
        let topic = (text(), any::<u128>(), vec(partition, 0..4)).prop_map(|(name, id, partitions)| {
            ProduceTopicResponse { name, topic_id: TopicId(uuid::Uuid::from_u128(id)), partitions }
        });
        let endpoint = (any::<i32>(), text(), any::<i32>(), option::of(text()))
            .prop_map(|(node_id, host, port, rack)| NodeEndpoint { node_id, host, port, rack });
        (vec(topic, 0..4), any::<i32>(), vec(endpoint, 0..3)).prop_map(
            |(topics, throttle_time_ms, node_endpoints)| ProduceResponse {
                topics,
                throttle_time_ms,
                node_endpoints,
            },
        )
    }

    /// The same request as the codec's, with only what `version` carries.
    fn as_codecs(request: &ProduceRequest, version: i16) -> codec::ProduceRequest {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                PartitionProduceData::default()
                    .with_index(partition.index)
                    .with_records(partition.records.clone())
            });
            let topic_data = TopicProduceData::default().with_partition_data(partitions.collect());
            match version >= 13 {
                true => topic_data.with_topic_id(topic.topic_id.0),
                false => topic_data.with_name(topic.name.clone().into()),
            }
        });
        codec::ProduceRequest::default()
            .with_transactional_id(request.transactional_id.clone().map(Into::into))
            .with_acks(request.acks)
            .with_timeout_ms(request.timeout_ms)
            .with_topic_data(topics.collect())
    }

    proptest! {
        #[test]
        fn requests_are_read_as_the_codec_writes_them(request in request()) {
            for version in VERSIONS {
                let mut body = BytesMut::new();
                as_codecs(&request, version).encode(&mut body, version).unwrap();
                let mut expected = request.clone();
                for topic in &mut expected.topics {
                    match version >= 13 {
                        true => topic.name = StrBytes::new(),
                        false => topic.topic_id = TopicId::ZERO,
                    }
                }
                prop_assert_eq!(decode_request(&body.freeze(), version), Ok(expected), "{}", version);
            }
        }

        #[test]
        fn responses_are_written_as_the_codec_reads_them(response in response()) {
            for version in VERSIONS {
                let mut out = BytesMut::new();
                encode_response(&mut out, &response, version);
                let mut bytes = out.freeze();
                let back = codec::ProduceResponse::decode(&mut bytes, version).unwrap();
                prop_assert!(bytes.is_empty(), "{}", version);
                prop_assert_eq!(back.throttle_time_ms, response.throttle_time_ms);
                prop_assert_eq!(back.responses.len(), response.topics.len());
                for (back, topic) in back.responses.iter().zip(&response.topics) {
                    match version >= 13 {
                        true => prop_assert_eq!(back.topic_id, topic.topic_id.0),
                        false => prop_assert_eq!(&back.name.0, &topic.name),
                    }
                    prop_assert_eq!(back.partition_responses.len(), topic.partitions.len());
                    for (back, partition) in back.partition_responses.iter().zip(&topic.partitions) {
                        prop_assert_eq!(back.index, partition.index);
                        prop_assert_eq!(back.error_code, partition.error_code);
                        prop_assert_eq!(back.base_offset, partition.base_offset);
                        prop_assert_eq!(back.log_append_time_ms, partition.log_append_time_ms);
                        let start = if version >= 5 { partition.log_start_offset } else { -1 };
                        prop_assert_eq!(back.log_start_offset, start);
                        let (errors, message) = match version >= 8 {
                            true => (&partition.record_errors[..], partition.error_message.as_deref()),
                            false => (&[][..], None),
                        };
                        prop_assert_eq!(back.error_message.as_deref(), message);
                        let back_errors = back.record_errors.iter().map(|error| {
                            (error.batch_index, error.batch_index_error_message.as_ref().map(|m| m.to_string()))
                        });
                        prop_assert_eq!(&back_errors.collect::<Vec<_>>(), errors);
                        let leader = partition.current_leader.filter(|_| version >= 10).unwrap_or((-1, -1));
                        prop_assert_eq!((*back.current_leader.leader_id, back.current_leader.leader_epoch), leader);
                    }
                }
                let endpoints = back.node_endpoints.iter().map(|back| NodeEndpoint {
                    node_id: *back.node_id,
                    host: back.host.clone(),
                    port: back.port,
                    rack: back.rack.clone(),
                });
                let expected = if version >= 10 { &response.node_endpoints[..] } else { &[] };
                prop_assert_eq!(&endpoints.collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn cut_and_damaged_requests_do_no_harm(request in request(), at: usize, value: u8) {
            for version in VERSIONS {
                let mut body = BytesMut::new();
                as_codecs(&request, version).encode(&mut body, version).unwrap();
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
    fn a_body_of_empty_topics_is_refused_before_it_is_reserved() {
        // 30 million topics of three bytes would take two gigabytes.
        let mut body = BytesMut::from(&[0, 0, 1, 0, 0, 0, 0][..]);
        put_uvarint(&mut body, 300_000);
        body.put_bytes(1, 900_000);
        assert!(matches!(decode_request(&body.freeze(), 9), Err(WireError::TooLarge(_))));
    }
}
