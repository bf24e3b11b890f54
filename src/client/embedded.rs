//! What classic members hand to each other through the coordinator, which does not look into it: what each
//! subscribes to, and what the leader assigns.
//!
//! Any client may have written these bytes, so they are read here, step by step within their bounds, and not
//! by the crate that trusts its counts. Only what begins every version is read (Kafka's
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`, all numbers big endian); what is not such
//! bytes has no topics.
//!
//! ```text
//! subscription   version i16 | count i32, of each: topic (length i16, text) | user data (length i32) ...
//! assignment     version i16 | count i32, of each: topic, count i32, partition i32 ... | user data
//! ```

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::{PartitionId, TopicPartition};

/// What is written; every client reads it.
const VERSION: i16 = 0;
/// No user data.
const NULL: i32 = -1;

/// The partitions of an assignment, in order.
pub fn read_assignment(mut bytes: Bytes) -> Vec<TopicPartition> {
    let mut assignment = assigned(&mut bytes).unwrap_or_default();
    assignment.sort();
    assignment
}

fn assigned(bytes: &mut Bytes) -> Option<Vec<TopicPartition>> {
    let mut assignment = Vec::new();
    let _version = bytes.try_get_i16().ok()?;
    for _ in 0..bytes.try_get_i32().ok()? {
        let topic: Arc<str> = string(bytes)?.into();
        for _ in 0..bytes.try_get_i32().ok()? {
            let partition = PartitionId(bytes.try_get_i32().ok()?);
            assignment.push(TopicPartition { topic: topic.clone(), partition });
        }
    }
    Some(assignment)
}

pub fn write_assignment(owned: &[TopicPartition]) -> Bytes {
    let mut topics: Vec<(&Arc<str>, Vec<i32>)> = Vec::new();
    for at in owned {
        match topics.iter_mut().find(|(topic, _)| **topic == at.topic) {
            Some((_, partitions)) => partitions.push(at.partition.0),
            None => topics.push((&at.topic, vec![at.partition.0])),
        }
    }
    let mut out = BytesMut::new();
    out.put_i16(VERSION);
    out.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        put_string(&mut out, topic);
        out.put_i32(partitions.len() as i32);
        partitions.into_iter().for_each(|partition| out.put_i32(partition));
    }
    out.put_i32(NULL);
    out.freeze()
}

/// The topics of a subscription.
pub fn read_subscription(mut bytes: Bytes) -> Vec<String> {
    subscribed(&mut bytes).unwrap_or_default()
}

fn subscribed(bytes: &mut Bytes) -> Option<Vec<String>> {
    let _version = bytes.try_get_i16().ok()?;
    let mut topics = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        topics.push(string(bytes)?);
    }
    Some(topics)
}

pub fn write_subscription(topics: &[String]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(VERSION);
    out.put_i32(topics.len() as i32);
    topics.iter().for_each(|topic| put_string(&mut out, topic));
    out.put_i32(NULL);
    out.freeze()
}

fn string(bytes: &mut Bytes) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    if bytes.remaining() < length {
        return None;
    }
    String::from_utf8(bytes.split_to(length).into()).ok()
}

/// A topic's name is never longer than 249 bytes.
fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message;
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Assigned;
    use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName};
    use kafka_protocol::protocol::StrBytes;

    const VERSIONS: std::ops::RangeInclusive<i16> = 0..=3;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn versioned<T: kafka_protocol::protocol::Encodable>(content: &T, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i16(version);
        message::encode_into(&mut bytes, content, version).unwrap();
        bytes.freeze()
    }

    #[test]
    fn every_version_of_kafkas_layouts_is_read() {
        for version in VERSIONS {
            let topic = Assigned::default().with_topic(TopicName(text("t"))).with_partitions(vec![2, 0]);
            let content = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![topic]);
            let read = read_assignment(versioned(&content, version));
            assert_eq!(read.iter().map(ToString::to_string).collect::<Vec<_>>(), ["t-0", "t-2"]);
            let content = ConsumerProtocolSubscription::default().with_topics(vec![text("a"), text("b")]);
            assert_eq!(read_subscription(versioned(&content, version)), ["a", "b"]);
        }
    }

    #[test]
    fn what_is_written_kafkas_layouts_read() {
        let at = |topic: &str, index| TopicPartition { topic: topic.into(), partition: PartitionId(index) };
        let owned = vec![at("a", 0), at("a", 1), at("b", 7)];
        let written = write_assignment(&owned);
        let content: ConsumerProtocolAssignment = message::decode(written.slice(2..), VERSION).unwrap();
        assert_eq!((content.assigned_partitions.len(), &content.user_data), (2, &None));
        assert_eq!(read_assignment(written), owned);
        let written = write_subscription(&["a".to_owned(), "b".to_owned()]);
        let content: ConsumerProtocolSubscription = message::decode(written.slice(2..), VERSION).unwrap();
        assert_eq!(content.topics, [text("a"), text("b")]);
    }

    #[test]
    fn strange_bytes_have_no_topics_and_claim_no_memory() {
        let strange: [&[u8]; 7] = [
            b"",
            b"\0",
            b"\0\0",
            b"\0\0\x7f\xff\xff\xff",
            b"\x7f\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\x01\x7f\xffab",
            b"strange bytes of another kind",
        ];
        for bytes in strange {
            assert_eq!(read_assignment(Bytes::from_static(bytes)), []);
            assert_eq!(read_subscription(Bytes::from_static(bytes)), [""; 0]);
        }
    }
}
