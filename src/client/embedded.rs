//! What our classic member says and reads of others in [`protocol::embedded`](crate::protocol::embedded)'s
//! bytes, which any client may have written: what is not such bytes has no topics.

use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::embedded::{Assignment, Subscription};
use crate::types::{PartitionId, TopicPartition};

/// What is written; every client reads it.
const VERSION: i16 = 0;

/// The partitions of an assignment, in order.
pub fn read_assignment(bytes: Bytes) -> Vec<TopicPartition> {
    let read = Assignment::read(&bytes).unwrap_or_default();
    let mut assignment = Vec::new();
    for (topic, partitions) in read.partitions {
        let topic: Arc<str> = topic.into();
        let at = |partition| TopicPartition { topic: topic.clone(), partition: PartitionId(partition) };
        assignment.extend(partitions.into_iter().map(at));
    }
    assignment.sort();
    assignment
}

pub fn write_assignment(owned: &[TopicPartition]) -> Bytes {
    let mut partitions: Vec<(&str, Vec<i32>)> = Vec::new();
    for at in owned {
        match partitions.iter_mut().find(|(topic, _)| *topic == &*at.topic) {
            Some((_, partitions)) => partitions.push(at.partition.0),
            None => partitions.push((&at.topic, vec![at.partition.0])),
        }
    }
    Assignment { partitions, user_data: None }.write(VERSION)
}

/// The topics of a subscription.
pub fn read_subscription(bytes: Bytes) -> Vec<String> {
    let topics = Subscription::read_topics(&bytes).unwrap_or_default();
    topics.into_iter().map(str::to_owned).collect()
}

pub fn write_subscription(topics: &[String]) -> Bytes {
    let topics = topics.iter().map(String::as_str).collect();
    Subscription { topics, ..Subscription::default() }.write(VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let at = |topic: &str, index| TopicPartition { topic: topic.into(), partition: PartitionId(index) };
        let owned = vec![at("a", 0), at("a", 1), at("b", 7)];
        assert_eq!(read_assignment(write_assignment(&owned)), owned);
        let topics = ["a".to_owned(), "b".to_owned()];
        assert_eq!(read_subscription(write_subscription(&topics)), topics);
    }

    #[test]
    fn strange_bytes_have_no_topics() {
        for bytes in [&b""[..], b"\0\0\x7f\xff\xff\xff", b"strange bytes of another kind"] {
            assert_eq!(read_assignment(Bytes::from_static(bytes)), []);
            assert_eq!(read_subscription(Bytes::from_static(bytes)), [""; 0]);
        }
    }
}
