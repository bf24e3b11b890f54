//! OffsetCommit and OffsetFetch requests in version 10, which names topics by their ids and which kafka-protocol
//! does not know; every version before it is decoded there.
//!
//! ```text
//! OffsetCommit 10  group_id | generation_or_epoch i32 | member_id | group_instance_id? | topics [ topic_id
//!                  | partitions [ index i32 | offset i64 | leader_epoch i32 | metadata? ] ]
//! OffsetFetch 10   groups [ group_id | member_id? | member_epoch i32 | topics? [ topic_id | [ index i32 ] ] ]
//!                  | require_stable bool
//! ```
//!
//! Strings and arrays are compact, each structure ends in tagged fields, of which none is known. Nullable is
//! marked `?`. Source: OffsetCommitRequest.json and OffsetFetchRequest.json of Kafka 4.1 (unstable there).

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};

use super::message;
use super::wire::{Budget, Reader, StrBytes, WireError, required, share};

const TOPIC_IDS: i16 = 10;

/// Decodes an OffsetCommit request of any version that Kafka 4.1 serves; its body has been walked.
pub fn decode_commit(body: Bytes, version: i16) -> Result<OffsetCommitRequest, WireError> {
    if version != TOPIC_IDS {
        return message::decode(body, version);
    }
    let (reader, budget) = (&mut Reader::new(&body), &mut Budget::of(&body));
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(reader, &body, "a group")?))
        .with_generation_id_or_member_epoch(reader.i32("an epoch")?)
        .with_member_id(text(reader, &body, "a member")?)
        .with_group_instance_id(optional_text(reader, &body, "an instance")?);
    let topics = budget.array(reader, true, 18, "topics", |reader, budget| {
        let topic = OffsetCommitRequestTopic::default().with_topic_id(reader.topic_id("a topic")?.0);
        let partitions = budget.array(reader, true, 18, "partitions", |reader, _| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(reader.i32("a partition")?)
                .with_committed_offset(reader.i64("an offset")?)
                .with_committed_leader_epoch(reader.i32("a leader epoch")?)
                .with_committed_metadata(optional_text(reader, &body, "metadata")?);
            reader.tagged(|_, _| Ok(()))?;
            Ok(partition)
        })?;
        reader.tagged(|_, _| Ok(()))?;
        Ok(topic.with_partitions(required(partitions, "partitions")?))
    })?;
    reader.tagged(|_, _| Ok(()))?;
    Ok(request.with_topics(required(topics, "topics")?))
}

/// Decodes an OffsetFetch request of any version that Kafka 4.1 serves; its body has been walked.
pub fn decode_fetch(body: Bytes, version: i16) -> Result<OffsetFetchRequest, WireError> {
    if version != TOPIC_IDS {
        return message::decode(body, version);
    }
    let (reader, budget) = (&mut Reader::new(&body), &mut Budget::of(&body));
    let groups = budget.array(reader, true, 8, "groups", |reader, budget| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(reader, &body, "a group")?))
            .with_member_id(optional_text(reader, &body, "a member")?)
            .with_member_epoch(reader.i32("an epoch")?);
        let topics = budget.array(reader, true, 18, "topics", |reader, budget| {
            let topic = OffsetFetchRequestTopics::default().with_topic_id(reader.topic_id("a topic")?.0);
            let indexes =
                budget.array(reader, true, 4, "partitions", |reader, _| reader.i32("a partition"))?;
            reader.tagged(|_, _| Ok(()))?;
            Ok(topic.with_partition_indexes(required(indexes, "partitions")?))
        })?;
        reader.tagged(|_, _| Ok(()))?;
        Ok(group.with_topics(topics))
    })?;
    let require_stable = reader.i8("a boolean")? != 0;
    reader.tagged(|_, _| Ok(()))?;
    Ok(OffsetFetchRequest::default()
        .with_groups(required(groups, "groups")?)
        .with_require_stable(require_stable))
}

fn text(reader: &mut Reader<'_>, body: &Bytes, what: &'static str) -> Result<StrBytes, WireError> {
    required(optional_text(reader, body, what)?, what)
}

fn optional_text(
    reader: &mut Reader<'_>,
    body: &Bytes,
    what: &'static str,
) -> Result<Option<StrBytes>, WireError> {
    // The reader stands on the body's own bytes.
    Ok(reader.text(true, what)?.map(|text| share(body, text)))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::ApiKey;
    use uuid::Uuid;

    use super::*;
    use crate::protocol::wire::{put_text, put_uvarint};
    use crate::protocol::{message, walk};

    const ID: Uuid = Uuid::from_u128(0x1234_5678);

    fn commit_body() -> Bytes {
        let mut out = BytesMut::new();
        put_text(&mut out, Some("g"), true);
        out.put_i32(3);
        put_text(&mut out, Some("m"), true);
        put_text(&mut out, None, true);
        put_uvarint(&mut out, 2);
        out.put_slice(ID.as_bytes());
        put_uvarint(&mut out, 3);
        for (partition, metadata) in [(0, None), (7, Some("here"))] {
            out.put_i32(partition);
            out.put_i64(1 << 40);
            out.put_i32(-1);
            put_text(&mut out, metadata, true);
            out.put_u8(0);
        }
        out.put_slice(&[0, 0]);
        out.freeze()
    }

    fn fetch_body() -> Bytes {
        let mut out = BytesMut::new();
        put_uvarint(&mut out, 3);
        for topics in [false, true] {
            put_text(&mut out, Some("g"), true);
            put_text(&mut out, topics.then_some("m"), true);
            out.put_i32(9);
            put_uvarint(&mut out, if topics { 2 } else { 0 });
            if topics {
                out.put_slice(ID.as_bytes());
                put_uvarint(&mut out, 3);
                out.put_i32(4);
                out.put_i32(-5);
                // A tagged field that nobody knows.
                out.put_slice(&[1, 9, 2, 0xAA, 0xBB]);
            }
            out.put_u8(0);
        }
        out.put_slice(&[1, 0]);
        out.freeze()
    }

    #[test]
    fn version_10_is_decoded_with_topic_ids() {
        walk::check_request(ApiKey::OffsetCommit as i16, 10, &commit_body(), 10_000).unwrap();
        let commit = decode_commit(commit_body(), 10).unwrap();
        assert_eq!((commit.group_id.as_str(), commit.generation_id_or_member_epoch), ("g", 3));
        assert_eq!((commit.retention_time_ms, commit.group_instance_id), (-1, None));
        assert_eq!((commit.topics.len(), commit.topics[0].topic_id), (1, ID));
        let partition = &commit.topics[0].partitions[1];
        assert_eq!((partition.partition_index, partition.committed_offset), (7, 1 << 40));
        assert_eq!(partition.committed_metadata.as_deref(), Some("here"));

        walk::check_request(ApiKey::OffsetFetch as i16, 10, &fetch_body(), 10_000).unwrap();
        let fetch = decode_fetch(fetch_body(), 10).unwrap();
        assert!(fetch.require_stable && fetch.groups[0].topics.is_none());
        let group = &fetch.groups[1];
        assert_eq!((group.member_id.as_deref(), group.member_epoch), (Some("m"), 9));
        let topic = &group.topics.as_ref().unwrap()[0];
        assert_eq!((topic.topic_id, &topic.partition_indexes[..]), (ID, &[4, -5][..]));
    }

    #[test]
    fn a_cut_body_is_an_error_and_other_versions_are_the_crates() {
        for cut in 0..commit_body().len() {
            assert!(decode_commit(commit_body().slice(..cut), 10).is_err(), "{cut}");
        }
        for cut in 0..fetch_body().len() {
            assert!(decode_fetch(fetch_body().slice(..cut), 10).is_err(), "{cut}");
        }
        let request = OffsetCommitRequest::default().with_group_id(GroupId(StrBytes::from_static_str("g")));
        let body = message::encode(&request, 9).unwrap().freeze();
        assert_eq!(decode_commit(body, 9), Ok(request));
    }
}
