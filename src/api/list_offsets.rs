//! ListOffsets: the offset at a time, or at a place that a negative timestamp names.

use std::rc::Rc;

use ahash::{AHashMap, AHashSet};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::Context;
use super::errors::{Code, NONE};
use crate::broker::partition::Partition;
use crate::shard::Ask;
use crate::types::{LeaderEpoch, Offset, PartitionId};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// What the owner needs of one partition's question.
#[derive(Clone, Copy)]
struct Question {
    timestamp: i64,
    current_leader_epoch: i32,
    read_committed: bool,
    from_consumer: bool,
}

/// Timestamp, offset and leader epoch; -1 each where there is none.
type Found = (i64, Offset, LeaderEpoch);
const NOTHING: Found = (-1, Offset::NONE, LeaderEpoch(-1));

pub async fn handle(context: &Context, asked: ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let image = context.shard.image();
    let mut seen = AHashSet::new();
    let mut twice = AHashSet::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            if !seen.insert((&topic.name, partition.partition_index)) {
                twice.insert((&topic.name, partition.partition_index));
            }
        }
    }
    let no_such_isolation = version >= 2 && !matches!(asked.isolation_level, 0 | 1);
    let mut response = ListOffsetsResponse::default();
    let mut asks = Vec::new();
    let mut places = AHashMap::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            // Each partition is answered once.
            if !seen.remove(&(&topic.name, partition.partition_index)) {
                continue;
            }
            let t = *places.entry(&topic.name).or_insert(response.topics.len());
            if t == response.topics.len() {
                response.topics.push(ListOffsetsTopicResponse::default().with_name(topic.name.clone()));
            }
            let partitions = &mut response.topics[t].partitions;
            let found = image
                .topic(&topic.name)
                .filter(|topic| topic.partition(PartitionId(partition.partition_index)).is_some());
            let is_twice = twice.contains(&(&topic.name, partition.partition_index));
            let error = if no_such_isolation || is_twice {
                Some(ResponseError::InvalidRequest)
            } else if is_unsupported(partition.timestamp, version) {
                Some(ResponseError::UnsupportedVersion)
            } else if found.is_none() {
                Some(ResponseError::UnknownTopicOrPartition)
            } else {
                None
            };
            if let (None, Some(topic)) = (error, found) {
                let question = Question {
                    timestamp: partition.timestamp,
                    current_leader_epoch: if version >= 4 { partition.current_leader_epoch } else { -1 },
                    read_committed: version >= 2 && asked.isolation_level == 1,
                    from_consumer: asked.replica_id.0 == -1,
                };
                let partition = PartitionId(partition.partition_index);
                asks.push(Ask { topic: topic.id, partition, with: ((t, partitions.len()), question) });
            }
            partitions.push(line(
                partition.partition_index,
                error.map_or(NONE, |error| error.code()),
                NOTHING,
                version,
            ));
        }
    }
    let answers = context
        .shard
        .on_owners(asks, |partition, (place, question): ((usize, usize), Question)| async move {
            (place, find(partition, question).await)
        })
        .await;
    for ((t, p), found) in answers {
        let answer = &mut response.topics[t].partitions[p];
        *answer = match found {
            Ok(found) => line(answer.partition_index, NONE, found, version),
            Err(code) => line(answer.partition_index, code, NOTHING, version),
        };
    }
    response
}

/// The negative timestamps came one by one with the versions.
fn is_unsupported(timestamp: i64, version: i16) -> bool {
    match timestamp {
        MAX_TIMESTAMP => version < 7,
        EARLIEST_LOCAL => version < 8,
        LATEST_TIERED => version < 9,
        EARLIEST | LATEST => false,
        timestamp => timestamp < 0,
    }
}

/// On the owner.
async fn find(partition: Option<Rc<Partition>>, question: Question) -> Result<Found, i16> {
    let Some(partition) = partition else { return Err(ResponseError::NotLeaderOrFollower.code()) };
    partition.check_online().map_err(|error| error.code())?;
    partition.check_epoch(question.current_leader_epoch).map_err(|mismatch| mismatch.code())?;
    partition.settled().await.map_err(|error| error.code())?;
    let log = partition.log();
    let last_fetchable = match (question.from_consumer, question.read_committed) {
        (false, _) => log.log_end(),
        (true, true) => partition.last_stable(),
        (true, false) => partition.high_watermark(),
    };
    let found = match question.timestamp {
        LATEST => return Ok((-1, last_fetchable, partition.leader_epoch())),
        EARLIEST | EARLIEST_LOCAL => {
            let start = log.log_start();
            return Ok((-1, start, log.epoch_at(start).unwrap_or(LeaderEpoch(-1))));
        }
        // Nothing is tiered here.
        LATEST_TIERED => return Ok(NOTHING),
        MAX_TIMESTAMP => log.max_timestamp().await,
        timestamp => log.offset_for_timestamp(timestamp).await,
    };
    match found.map_err(|error| error.code())? {
        Some(found) if found.1 < last_fetchable => Ok(found),
        _ => Ok(NOTHING),
    }
}

fn line(index: i32, code: i16, found: Found, version: i16) -> ListOffsetsPartitionResponse {
    let (timestamp, offset, epoch) = found;
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_timestamp(timestamp)
        .with_offset(offset.0)
        .with_leader_epoch(if version >= 4 { epoch.0 } else { -1 })
}
