//! The stored records of a consumer group, each in the form that Kafka 4.1 writes.

use super::member::{Names, Profile, Progress};
use crate::group::assignors::Assignment;
use crate::protocol::stored::group::*;
use crate::types::PartitionId;

/// The group's epoch and the hash of its topics.
pub fn epoch(group: &str, epoch: i32, metadata_hash: i64) -> Record {
    let key = ConsumerGroupMetadataKey { group_id: group.to_owned() };
    Record::ConsumerGroupMetadata(key, Some(ConsumerGroupMetadataValue { epoch, metadata_hash }))
}

pub fn epoch_tombstone(group: &str) -> Record {
    Record::ConsumerGroupMetadata(ConsumerGroupMetadataKey { group_id: group.to_owned() }, None)
}

/// Kafka before 4.1 stored the topics themselves; 4.1 takes that record away.
pub fn partition_metadata_tombstone(group: &str) -> Record {
    let key = ConsumerGroupPartitionMetadataKey { group_id: group.to_owned() };
    Record::ConsumerGroupPartitionMetadata(key, None)
}

pub fn member(group: &str, member: &str, profile: &Profile) -> Record {
    Record::ConsumerGroupMemberMetadata(
        member_key(group, member),
        Some(ConsumerGroupMemberMetadataValue {
            instance_id: profile.instance_id.as_deref().map(str::to_owned),
            rack_id: profile.rack_id.clone(),
            client_id: profile.client_id.clone(),
            client_host: profile.client_host.clone(),
            subscribed_topic_names: texts(&profile.topics),
            subscribed_topic_regex: profile.regex.as_deref().map(str::to_owned),
            rebalance_timeout_ms: profile.rebalance_timeout_ms,
            server_assignor: profile.assignor.clone(),
            classic_member_metadata: profile.classic.clone(),
        }),
    )
}

pub fn member_tombstone(group: &str, member: &str) -> Record {
    Record::ConsumerGroupMemberMetadata(member_key(group, member), None)
}

fn member_key(group: &str, member: &str) -> ConsumerGroupMemberMetadataKey {
    ConsumerGroupMemberMetadataKey { group_id: group.to_owned(), member_id: member.to_owned() }
}

pub fn target_epoch(group: &str, assignment_epoch: i32) -> Record {
    let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: group.to_owned() };
    let value = ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch };
    Record::ConsumerGroupTargetAssignmentMetadata(key, Some(value))
}

pub fn target_epoch_tombstone(group: &str) -> Record {
    let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: group.to_owned() };
    Record::ConsumerGroupTargetAssignmentMetadata(key, None)
}

pub fn target(group: &str, member: &str, assignment: &Assignment) -> Record {
    let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topic_partitions(assignment) };
    Record::ConsumerGroupTargetAssignmentMember(target_key(group, member), Some(value))
}

pub fn target_tombstone(group: &str, member: &str) -> Record {
    Record::ConsumerGroupTargetAssignmentMember(target_key(group, member), None)
}

fn target_key(group: &str, member: &str) -> ConsumerGroupTargetAssignmentMemberKey {
    ConsumerGroupTargetAssignmentMemberKey { group_id: group.to_owned(), member_id: member.to_owned() }
}

pub fn current(group: &str, member: &str, progress: &Progress) -> Record {
    Record::ConsumerGroupCurrentMemberAssignment(
        current_key(group, member),
        Some(ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: progress.epoch,
            previous_member_epoch: progress.previous_epoch,
            state: progress.state.number(),
            assigned_partitions: topic_partitions(&progress.assigned),
            partitions_pending_revocation: topic_partitions(&progress.revoking),
        }),
    )
}

pub fn current_tombstone(group: &str, member: &str) -> Record {
    Record::ConsumerGroupCurrentMemberAssignment(current_key(group, member), None)
}

fn current_key(group: &str, member: &str) -> ConsumerGroupCurrentMemberAssignmentKey {
    ConsumerGroupCurrentMemberAssignmentKey { group_id: group.to_owned(), member_id: member.to_owned() }
}

/// What a regular expression matched, in the metadata of offset `version`, at `timestamp` (wall milliseconds).
pub fn regex(group: &str, regex: &str, topics: &Names, version: i64, timestamp: i64) -> Record {
    let value = ConsumerGroupRegularExpressionValue { topics: texts(topics), version, timestamp };
    Record::ConsumerGroupRegularExpression(regex_key(group, regex), Some(value))
}

pub fn regex_tombstone(group: &str, regex: &str) -> Record {
    Record::ConsumerGroupRegularExpression(regex_key(group, regex), None)
}

fn regex_key(group: &str, regex: &str) -> ConsumerGroupRegularExpressionKey {
    ConsumerGroupRegularExpressionKey { group_id: group.to_owned(), regular_expression: regex.to_owned() }
}

fn texts(names: &Names) -> Vec<String> {
    names.iter().map(|name| (**name).to_owned()).collect()
}

fn topic_partitions(assignment: &Assignment) -> Vec<TopicPartitions> {
    assignment
        .topics()
        .map(|(topic_id, partitions)| TopicPartitions {
            topic_id,
            partitions: partitions.iter().copied().map(PartitionId).collect(),
        })
        .collect()
}

/// An assignment as a record holds it.
pub fn assignment(topics: Vec<TopicPartitions>) -> Assignment {
    let numbers = |partitions: Vec<PartitionId>| partitions.into_iter().map(|id| id.0).collect();
    Assignment::new(topics.into_iter().map(|topic| (topic.topic_id, numbers(topic.partitions))))
}
