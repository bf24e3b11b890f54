//! What one member is to read: topics by id, each with its partitions.
//!
//! Always in order: topics ascending by id as Kafka compares ids, partitions ascending, neither twice, and
//! no topic without a partition. So equality is equality of sets.

use crate::types::TopicId;

/// The partitions one member is to read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignment {
    topics: Vec<(TopicId, Vec<i32>)>,
}

impl Assignment {
    /// From topics and partitions in any order; repeated ones count once.
    pub fn new(topics: impl IntoIterator<Item = (TopicId, Vec<i32>)>) -> Assignment {
        let mut topics: Vec<_> = topics.into_iter().collect();
        topics.sort_by_key(|(topic, _)| id_order(*topic));
        topics.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1.append(&mut later.1);
            }
            same
        });
        for (_, partitions) in &mut topics {
            partitions.sort_unstable();
            partitions.dedup();
        }
        topics.retain(|(_, partitions)| !partitions.is_empty());
        Assignment { topics }
    }

    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// How many partitions, over all topics.
    pub fn partition_count(&self) -> usize {
        self.topics.iter().map(|(_, partitions)| partitions.len()).sum()
    }

    /// Topics ascending, each with its partitions ascending.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, &[i32])> {
        self.topics.iter().map(|(topic, partitions)| (*topic, partitions.as_slice()))
    }

    /// The partitions of one topic, ascending; empty where it has none.
    pub fn partitions(&self, topic: TopicId) -> &[i32] {
        match self.topics.binary_search_by_key(&id_order(topic), |(topic, _)| id_order(*topic)) {
            Ok(found) => &self.topics[found].1,
            Err(_) => &[],
        }
    }

    pub fn contains(&self, topic: TopicId, partition: i32) -> bool {
        self.partitions(topic).binary_search(&partition).is_ok()
    }
}

/// Kafka's order of topic ids: two signed 64-bit halves.
pub(super) fn id_order(topic: TopicId) -> (i64, i64) {
    let (high, low) = topic.0.as_u64_pair();
    (high as i64, low as i64)
}
