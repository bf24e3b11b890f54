//! DeleteRecords: raises a partition's log start; durable before its answer.

use std::rc::Rc;

use ahash::AHashMap;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::Context;
use super::errors::NONE;
use crate::broker::partition::Partition;
use crate::shard::Ask;
use crate::types::{Offset, PartitionId, is_internal_topic};

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub async fn handle(context: &Context, asked: DeleteRecordsRequest, _version: i16) -> DeleteRecordsResponse {
    let image = context.shard.image();
    let mut response = DeleteRecordsResponse::default();
    let mut asks = Vec::new();
    // The last offset of a partition that is named again counts.
    let mut offsets = AHashMap::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            offsets.insert((&topic.name, partition.partition_index), partition.offset);
        }
    }
    let mut places = AHashMap::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            let Some(offset) = offsets.remove(&(&topic.name, partition.partition_index)) else { continue };
            let t = *places.entry(&topic.name).or_insert(response.topics.len());
            if t == response.topics.len() {
                response.topics.push(DeleteRecordsTopicResult::default().with_name(topic.name.clone()));
            }
            let partitions = &mut response.topics[t].partitions;
            let id = PartitionId(partition.partition_index);
            let found = image.topic(&topic.name).filter(|topic| topic.partition(id).is_some());
            let error = match found {
                None => Some(ResponseError::UnknownTopicOrPartition),
                Some(_) if is_internal_topic(&topic.name) => Some(ResponseError::InvalidTopicException),
                Some(topic) if !context.shard.topic_config(topic).delete => {
                    Some(ResponseError::PolicyViolation)
                }
                Some(_) => None,
            };
            if let (None, Some(topic)) = (error, found) {
                asks.push(Ask { topic: topic.id, partition: id, with: ((t, partitions.len()), offset) });
            }
            partitions.push(
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(partition.partition_index)
                    .with_low_watermark(-1)
                    .with_error_code(error.map_or(NONE, |error| error.code())),
            );
        }
    }
    let answers = context
        .shard
        .on_owners(asks, |partition, (place, offset): ((usize, usize), i64)| async move {
            (place, raise(partition, offset).await)
        })
        .await;
    let raised = answers.iter().any(|(_, result)| result.is_ok());
    let kept = match raised {
        true => context.shard.keep_log_starts().await,
        false => Ok(()),
    };
    for ((t, p), result) in answers {
        let line = &mut response.topics[t].partitions[p];
        match (result, &kept) {
            (Ok(low_watermark), Ok(())) => line.low_watermark = low_watermark.0,
            (Ok(_), Err(_)) => line.error_code = ResponseError::KafkaStorageError.code(),
            (Err(error), _) => line.error_code = error.code(),
        }
    }
    response
}

/// On the owner; the checkpoint makes it durable.
async fn raise(partition: Option<Rc<Partition>>, offset: i64) -> Result<Offset, ResponseError> {
    let partition = partition.ok_or(ResponseError::NotLeaderOrFollower)?;
    if partition.settled().await.is_err() {
        return Err(ResponseError::KafkaStorageError);
    }
    let high_watermark = partition.high_watermark();
    let to = if offset == HIGH_WATERMARK { high_watermark } else { Offset(offset) };
    if to < Offset::ZERO || to > high_watermark {
        return Err(ResponseError::OffsetOutOfRange);
    }
    partition.log().advance_log_start(to);
    Ok(partition.log().log_start())
}
