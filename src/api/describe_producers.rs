//! DescribeProducers: the idempotent producers that a partition remembers.

use std::rc::Rc;

use ahash::AHashSet;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::Context;
use super::errors::{Code, NONE};
use crate::broker::partition::Partition;
use crate::cluster::ApiError;
use crate::config::validate_name;
use crate::protocol::wire::StrBytes;
use crate::shard::Ask;
use crate::storage::producers;
use crate::types::PartitionId;

pub async fn handle(
    context: &Context,
    asked: DescribeProducersRequest,
    _version: i16,
) -> DescribeProducersResponse {
    let image = context.shard.image();
    let mut response = DescribeProducersResponse::default();
    let mut asks = Vec::new();
    // A partition that is named again is refused: a small request makes no large answer.
    let mut seen = AHashSet::new();
    for (t, topic) in asked.topics.iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        let invalid = validate_name(&topic.name).err();
        let found = image.topic(&topic.name);
        for (p, index) in topic.partition_indexes.iter().enumerate() {
            let (code, message) = match (&invalid, found) {
                _ if !seen.insert((&topic.name, *index)) => (ResponseError::InvalidRequest.code(), None),
                (Some(why), _) => (ResponseError::InvalidTopicException.code(), Some(why.to_string())),
                (None, Some(topic)) if topic.partition(PartitionId(*index)).is_some() => {
                    asks.push(Ask { topic: topic.id, partition: PartitionId(*index), with: (t, p) });
                    (NONE, None)
                }
                (None, Some(_)) => (ResponseError::UnknownTopicOrPartition.code(), None),
                // Kafka has a sentence for a topic that is not there, and none for a partition.
                (None, None) => {
                    let unknown = ApiError::general(ResponseError::UnknownTopicOrPartition);
                    (unknown.code(), unknown.message)
                }
            };
            partitions.push(
                PartitionResponse::default()
                    .with_partition_index(*index)
                    .with_error_code(code)
                    .with_error_message(message.map(StrBytes::from_string)),
            );
        }
        response
            .topics
            .push(TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    let answers = context
        .shard
        .on_owners(asks, |partition: Option<Rc<Partition>>, place: (usize, usize)| async move {
            let partition = partition.ok_or(ResponseError::NotLeaderOrFollower.code());
            let online = partition.and_then(|partition| match partition.check_online() {
                Ok(()) => Ok(partition),
                Err(error) => Err(error.code()),
            });
            (place, online.map(|partition| partition.log().producers()))
        })
        .await;
    for ((t, p), producers) in answers {
        let line = &mut response.topics[t].partitions[p];
        match producers {
            Ok(producers) => line.active_producers = producers.iter().map(describe).collect(),
            Err(code) => line.error_code = code,
        }
    }
    response
}

fn describe(state: &producers::ProducerState) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(state.producer_id.0))
        .with_producer_epoch(i32::from(state.epoch))
        .with_last_sequence(state.last_sequence)
        .with_last_timestamp(state.last_timestamp_ms)
        .with_coordinator_epoch(state.coordinator_epoch)
        .with_current_txn_start_offset(state.current_transaction_start.map_or(-1, |offset| offset.0))
}
