//! DescribeTopicPartitions (KIP-966): topics page by page, in the order of their names.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};

use super::errors::NONE;
use super::metadata::is_up;
use super::{Context, TOPIC_OPERATIONS};
use crate::config::validate_name;
use crate::metadata::{Image, Partition, Topic};
use crate::protocol::wire::StrBytes;
use crate::shard::OfflinePartitions;
use crate::types::{NodeId, PartitionId, is_internal_topic};

pub async fn handle(
    context: &Context,
    asked: DescribeTopicPartitionsRequest,
    _version: i16,
) -> DescribeTopicPartitionsResponse {
    let image = context.shard.image();
    let offline = context.shard.offline();
    let all = asked.topics.is_empty();
    let start = asked.cursor.as_ref().map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
    let from = start.as_ref().map_or("", |(name, _)| name.as_str());
    let mut names: Vec<String> = match all {
        true => image.topics_from(from).map(|topic| topic.name.to_string()).collect(),
        false => {
            asked.topics.iter().map(|topic| topic.name.to_string()).filter(|name| &**name >= from).collect()
        }
    };
    names.sort_unstable();
    names.dedup();
    let mut response = DescribeTopicPartitionsResponse::default();
    let bad_cursor = match &start {
        Some((name, partition)) => *partition < 0 || (!all && !names.contains(name)),
        None => false,
    };
    let error = if bad_cursor {
        Some(ResponseError::InvalidRequest)
    } else if start.is_none() && names.first().is_some_and(String::is_empty) {
        // Kafka takes the empty name for that of the cursor, which is not there.
        Some(ResponseError::UnknownServerError)
    } else {
        None
    };
    if let Some(error) = error {
        // The answer has no error of its own: each topic carries it, as Kafka does.
        response.topics = asked.topics.iter().map(|topic| refused(topic.name.clone(), error)).collect();
        return response;
    }
    let limit = i64::from(context.shard.server().max_request_partition_size_limit);
    let mut left = i64::from(asked.response_partition_limit).min(limit).max(1) as usize;
    for name in names {
        let first = match &start {
            Some((cursor, partition)) if *cursor == name => *partition as usize,
            _ => 0,
        };
        if left == 0 {
            response.next_cursor = Some(cursor(&name, first));
            break;
        }
        let Some(topic) = image.topic(&name) else {
            let error = match validate_name(&name) {
                Ok(()) => ResponseError::UnknownTopicOrPartition,
                Err(_) => ResponseError::InvalidTopicException,
            };
            let is_internal = is_internal_topic(&name);
            response.topics.push(
                refused(TopicName(StrBytes::from_string(name)), error)
                    .with_is_internal(is_internal)
                    .with_topic_authorized_operations(TOPIC_OPERATIONS),
            );
            continue;
        };
        let end = topic.partitions.len().min(first + left);
        left -= end.saturating_sub(first);
        response.topics.push(describe(&image, &offline, topic, first..end.max(first)));
        if end < topic.partitions.len() {
            response.next_cursor = Some(cursor(&name, end));
            break;
        }
    }
    response
}

fn cursor(topic: &str, partition: usize) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_index(i32::try_from(partition).unwrap_or(i32::MAX))
}

fn refused(name: TopicName, error: ResponseError) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default().with_error_code(error.code()).with_name(Some(name))
}

fn describe(
    image: &Image,
    offline: &OfflinePartitions,
    topic: &Arc<Topic>,
    range: std::ops::Range<usize>,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = range
        .filter_map(|index| {
            let id = PartitionId(i32::try_from(index).ok()?);
            let is_offline = offline.contains(&(topic.id, id));
            Some(describe_partition(image, id, topic.partition(id)?, is_offline))
        })
        .collect();
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(NONE)
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string()))))
        .with_topic_id(topic.id.0)
        .with_is_internal(is_internal_topic(&topic.name))
        .with_partitions(partitions)
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn describe_partition(
    image: &Image,
    id: PartitionId,
    partition: &Partition,
    is_offline: bool,
) -> DescribeTopicPartitionsResponsePartition {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| BrokerId(node.0)).collect::<Vec<_>>();
    let is_up = |node: &NodeId| is_up(image, *node) && !is_offline;
    let led = is_up(&partition.leader);
    let offline = partition.replicas.iter().copied().filter(|node| !is_up(node)).collect::<Vec<_>>();
    DescribeTopicPartitionsResponsePartition::default()
        // Without a leader too: Kafka tells it by the leader's id alone.
        .with_error_code(NONE)
        .with_partition_index(id.0)
        .with_leader_id(BrokerId(if led { partition.leader.0 } else { -1 }))
        .with_leader_epoch(partition.leader_epoch.0)
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&partition.isr))
        .with_eligible_leader_replicas(Some(ids(&partition.eligible_leader_replicas)))
        .with_last_known_elr(Some(ids(&partition.last_known_elr)))
        .with_offline_replicas(ids(&offline))
}
