//! OffsetForLeaderEpoch (KIP-320): where an epoch ends, so that a client sees a truncated log.

use std::rc::Rc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::Context;
use super::errors::{Code, NONE};
use crate::broker::partition::Partition;
use crate::shard::Ask;
use crate::types::{LeaderEpoch, Offset, PartitionId};

#[derive(Clone, Copy)]
struct Question {
    current_leader_epoch: i32,
    leader_epoch: i32,
}

pub async fn handle(
    context: &Context,
    asked: OffsetForLeaderEpochRequest,
    _version: i16,
) -> OffsetForLeaderEpochResponse {
    let image = context.shard.image();
    let mut response = OffsetForLeaderEpochResponse::default();
    let mut asks = Vec::new();
    for (t, topic) in asked.topics.iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (p, partition) in topic.partitions.iter().enumerate() {
            let id = PartitionId(partition.partition);
            let found = image.topic(&topic.topic).filter(|topic| topic.partition(id).is_some());
            let code = match found {
                Some(topic) => {
                    let question = Question {
                        current_leader_epoch: partition.current_leader_epoch,
                        leader_epoch: partition.leader_epoch,
                    };
                    asks.push(Ask { topic: topic.id, partition: id, with: ((t, p), question) });
                    NONE
                }
                None => ResponseError::UnknownTopicOrPartition.code(),
            };
            partitions.push(
                EpochEndOffset::default()
                    .with_error_code(code)
                    .with_partition(partition.partition)
                    .with_leader_epoch(-1)
                    .with_end_offset(-1),
            );
        }
        response.topics.push(
            OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions),
        );
    }
    let answers = context
        .shard
        .on_owners(asks, |partition, (place, question): ((usize, usize), Question)| async move {
            (place, find(partition, question))
        })
        .await;
    for ((t, p), found) in answers {
        let line = &mut response.topics[t].partitions[p];
        match found {
            Ok((epoch, end)) => {
                line.leader_epoch = epoch.0;
                line.end_offset = end.0;
            }
            Err(code) => line.error_code = code,
        }
    }
    response
}

fn find(partition: Option<Rc<Partition>>, question: Question) -> Result<(LeaderEpoch, Offset), i16> {
    let partition = partition.ok_or(ResponseError::NotLeaderOrFollower.code())?;
    partition.check_online().map_err(|error| error.code())?;
    partition.check_epoch(question.current_leader_epoch).map_err(|mismatch| mismatch.code())?;
    Ok(partition.log().end_offset_for(LeaderEpoch(question.leader_epoch)))
}
