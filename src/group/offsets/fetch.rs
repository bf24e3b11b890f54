//! OffsetFetch: what a group has committed, for the partitions asked for or for all.

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};

use super::Committed;
use crate::group::Groups;
use crate::protocol::api_error::ApiError;
use crate::protocol::wire::StrBytes;
use crate::types::TopicId;

impl Groups {
    /// What a group has committed; of partitions without a commit the offset is -1. A group that does not exist
    /// has committed nothing. There are no pending offsets of transactions that a stable fetch would wait for.
    ///
    /// # Errors
    /// The member is not there or behind.
    pub fn fetch_offsets(
        &self,
        asked: &OffsetFetchRequestGroup,
    ) -> Result<Vec<OffsetFetchResponseTopics>, ApiError> {
        let group = self.group(&asked.group_id);
        if let Some(group) = group {
            group.validate_fetch(asked.member_id.as_deref(), asked.member_epoch)?;
        }
        let committed = group.and_then(|_| self.offsets.by_group.get(&**asked.group_id));
        let Some(topics) = &asked.topics else {
            let mut all: Vec<_> = committed.into_iter().flatten().collect();
            all.sort_unstable_by_key(|(name, _)| *name);
            return Ok(all.into_iter().map(|(name, partitions)| every(name, partitions.iter())).collect());
        };
        let answer = |topic: &OffsetFetchRequestTopics| {
            let partitions = committed.and_then(|topics| topics.get(&**topic.name));
            let expected = TopicId(topic.topic_id);
            let lines = topic.partition_indexes.iter().map(|id| {
                let found = partitions.and_then(|partitions| partitions.get(id));
                line(*id, found.filter(|committed| is_of(committed, expected)))
            });
            OffsetFetchResponseTopics::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(lines.collect())
        };
        Ok(topics.iter().map(answer).collect())
    }
}

fn every<'a>(
    name: &str,
    partitions: impl Iterator<Item = (&'a i32, &'a Committed)>,
) -> OffsetFetchResponseTopics {
    let mut partitions: Vec<_> = partitions.collect();
    partitions.sort_unstable_by_key(|(id, _)| **id);
    let lines = partitions.into_iter().map(|(id, committed)| line(*id, Some(committed)));
    OffsetFetchResponseTopics::default()
        .with_name(TopicName(StrBytes::from_string(name.to_owned())))
        .with_partitions(lines.collect())
}

/// Whether a commit was for this topic and not for one of the same name before it, as far as ids were given.
fn is_of(committed: &Committed, expected: TopicId) -> bool {
    let meant = committed.topic_id();
    meant.is_zero() || expected.is_zero() || meant == expected
}

fn line(partition: i32, committed: Option<&Committed>) -> OffsetFetchResponsePartitions {
    let line = OffsetFetchResponsePartitions::default().with_partition_index(partition);
    match committed {
        Some(committed) => line
            .with_committed_offset(committed.offset.0)
            .with_committed_leader_epoch(committed.leader_epoch.0)
            .with_metadata(Some(StrBytes::from_string(committed.metadata().to_owned()))),
        None => line.with_committed_offset(-1),
    }
}
