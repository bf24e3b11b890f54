//! Produce: checks each batch on the connection's core, appends on the owners, waits for what was promised.
//!
//! The appends stand in the owners' mailboxes when [`handle`] ends, in the order of the requests; only the
//! wait for written, flushed or replicated is left to [`Answer::Later`].

use std::rc::Rc;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::errors::{self, Code};
use super::{Answer, Context, Part, Reply, Request};
use crate::broker::partition::{Acks, AppendRefused};
use crate::clock;
use crate::config::{TimestampType, TopicCompression, TopicConfig};
use crate::metadata::Topic;
use crate::protocol::batch::{self, BatchError, BatchHeader, CheckedBatch, MAGIC, ProduceLimits};
use crate::protocol::compression::{Compression, CompressionLevels, OpenLimits};
use crate::protocol::opened;
use crate::protocol::produce::{
    ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopic,
    ProduceTopicResponse, decode_request, encode_response,
};
use crate::protocol::wire::StrBytes;
use crate::runtime::shards::Reply as Posted;
use crate::shard::{self, Shard};
use crate::storage::StorageError;
use crate::types::{PartitionId, ShardId, TopicId, is_internal_topic};

/// Batches that must be opened are opened in place up to this size, and on a thread of their own above it.
const OPEN_INLINE_BYTES_MAX: usize = 16 * 1024;

/// One partition's part of a request, on its way to the owner.
struct Append {
    /// Its place in the answer: topic, then partition.
    place: (usize, usize),
    topic: TopicId,
    partition: PartitionId,
    /// `None`: the batch was refused, and only the log's start is asked for.
    batch: Option<CheckedBatch>,
}

/// What the owner says of it.
struct Appended {
    place: (usize, usize),
    result: Result<(i64, i64), AppendFailed>,
    log_start: i64,
}

enum AppendFailed {
    /// The owner does not lead the partition (any more).
    NotLeader,
    Refused(AppendRefused),
    Storage(StorageError),
    /// Nothing was to be appended.
    LogStartOnly,
}

pub async fn handle(context: Rc<Context>, request: Request) -> Answer {
    let version = request.header.api_version;
    let mut asked = match decode_request(&request.body, version) {
        Ok(asked) => asked,
        Err(error) => return Answer::Now(Reply::Close(error.to_string())),
    };
    let has_transactional = asked.topics.iter().flat_map(|topic| &topic.partitions).any(is_transactional);
    asked.topics = name_once(asked.topics, version);
    if has_transactional {
        return Answer::Now(refuse_all(&request, &asked, ResponseError::TransactionalIdAuthorizationFailed));
    }
    let acks = match asked.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let mut answer = ProduceResponse::default();
    let mut appends: Vec<(ShardId, Vec<Append>)> = Vec::with_capacity(1);
    let internal_allowed = context.client_id.borrow().as_deref() == Some("__admin_client");
    prepare(&context.shard, &asked, version, acks.is_some(), internal_allowed, &mut answer, &mut appends)
        .await;

    let mut posted = Vec::with_capacity(appends.len());
    for (owner, appends) in appends {
        let acks = acks.expect("nothing is appended under unknown acks");
        posted.push(shard::post(owner, move |shard| append_here(shard, appends, acks)).await);
    }
    Answer::Later(Box::pin(finish(request, asked.acks, answer, posted)))
}

/// Each partition once, as Kafka takes a request that names one again: the records that come last count, unless
/// some of them are not one batch, which is then the answer. (Kafka appends the last good ones all the same;
/// here nothing is appended that is answered by an error.)
fn name_once(topics: Vec<ProduceTopic>, version: i16) -> Vec<ProduceTopic> {
    if topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() < 2 {
        return topics;
    }
    let is_one_batch =
        |p: &ProducePartition| batch::only_batch(p.records.clone().unwrap_or_default(), version).is_ok();
    // Places in 32 bits: a small request with many partitions takes no more memory here than it must.
    let mut topic_places: AHashMap<(StrBytes, TopicId), u32> = AHashMap::new();
    let mut places: AHashMap<(u32, i32), u32> = AHashMap::new();
    let mut once: Vec<ProduceTopic> = Vec::with_capacity(topics.len());
    for ProduceTopic { name, topic_id, partitions } in topics {
        let t = *topic_places.entry((name.clone(), topic_id)).or_insert(once.len() as u32);
        if t as usize == once.len() {
            once.push(ProduceTopic { name, topic_id, partitions: Vec::with_capacity(partitions.len()) });
        }
        let known = &mut once[t as usize].partitions;
        for partition in partitions {
            let p = *places.entry((t, partition.index)).or_insert(known.len() as u32);
            match known.get_mut(p as usize) {
                None => known.push(partition),
                Some(before) if is_one_batch(before) || !is_one_batch(&partition) => *before = partition,
                Some(_) => {}
            }
        }
    }
    once
}

/// Whether the records begin with a batch of a transaction. There are none yet, so nobody may write one.
fn is_transactional(partition: &ProducePartition) -> bool {
    let header = partition.records.as_deref().and_then(BatchHeader::parse);
    header.is_some_and(|header| header.magic == MAGIC && header.attributes().is_transactional())
}

/// The answer when the request as a whole is refused.
fn refuse_all(request: &Request, asked: &ProduceRequest, error: ResponseError) -> Reply {
    if asked.acks == 0 {
        return Reply::Close(format!("a produce request with acks=0 failed: {error:?}"));
    }
    let mut answer = ProduceResponse::default();
    for topic in asked.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let refused = topic.partitions.iter().map(|partition| ProducePartitionResponse {
            error_code: error.code(),
            ..empty_response(partition.index)
        });
        let (name, topic_id) = (topic.name.clone(), topic.topic_id);
        answer.topics.push(ProduceTopicResponse { name, topic_id, partitions: refused.collect() });
    }
    reply(request, &answer)
}

fn reply(request: &Request, answer: &ProduceResponse) -> Reply {
    let mut buffer = super::begin(&request.header);
    encode_response(&mut buffer, answer, request.header.api_version);
    super::finish(vec![Part::Bytes(buffer.freeze())])
}

/// Checks every batch; what may be appended goes to `appends` by owner, the rest is answered at once.
async fn prepare(
    shard: &Rc<Shard>,
    asked: &ProduceRequest,
    version: i16,
    acks_known: bool,
    internal_allowed: bool,
    answer: &mut ProduceResponse,
    appends: &mut Vec<(ShardId, Vec<Append>)>,
) {
    let image = shard.image();
    for topic in asked.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let topic_place = answer.topics.len();
        let found = match topic.topic_id.is_zero() {
            true => image.topic(&topic.name),
            false => image.topic_by_id(topic.topic_id),
        };
        let config = found.map(|topic| shard.topic_config(topic));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (place, partition) in topic.partitions.iter().enumerate() {
            let mut response = empty_response(partition.index);
            let known = found
                .zip(config.as_ref())
                .filter(|(topic, _)| topic.partition(PartitionId(partition.index)).is_some());
            match known {
                None if version >= 13 && found.is_none() => {
                    response.error_code = ResponseError::UnknownTopicId.code();
                }
                None => response.error_code = ResponseError::UnknownTopicOrPartition.code(),
                Some(_) if !acks_known => response.error_code = ResponseError::InvalidRequiredAcks.code(),
                Some((topic, _)) if is_internal_topic(&topic.name) && !internal_allowed => {
                    response.error_code = ResponseError::InvalidTopicException.code();
                }
                Some((topic, config)) => {
                    let records = partition.records.clone().unwrap_or_default();
                    let checked = check(shard, topic, partition.index, config, records, version).await;
                    let batch = match checked {
                        Ok(batch) => Some(batch),
                        Err(error) => {
                            let wants_log_start = error.log_start_in_answer;
                            refuse(&mut response, error);
                            if !wants_log_start {
                                partitions.push(response);
                                continue;
                            }
                            None
                        }
                    };
                    let id = PartitionId(partition.index);
                    let append =
                        Append { place: (topic_place, place), topic: topic.id, partition: id, batch };
                    shard::push_by_owner(appends, shard.owner(topic.id, id), append);
                }
            }
            partitions.push(response);
        }
        answer.topics.push(ProduceTopicResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions,
        });
    }
}

/// Checks one partition's records, opening the batch where the topic demands it.
async fn check(
    shard: &Rc<Shard>,
    topic: &Arc<Topic>,
    partition: i32,
    config: &TopicConfig,
    records: Bytes,
    version: i16,
) -> Result<CheckedBatch, BatchError> {
    let limits = ProduceLimits {
        topic: &topic.name,
        partition: PartitionId(partition),
        api_version: version,
        message_bytes_max: i32::try_from(config.max_message_bytes).unwrap_or(i32::MAX),
        compacted: config.compact,
        timestamp_type: match config.timestamp_type {
            TimestampType::CreateTime => batch::TimestampType::CreateTime,
            TimestampType::LogAppendTime => batch::TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        now_ms: clock::wall_ms(),
        open: open_limits(shard),
    };
    let batch = batch::check_produced(records, &limits)?;
    let (target, levels) = target_codec(config.compression);
    let recompress = target.filter(|codec| *codec != batch.compression);
    if recompress.is_none() && !batch.must_open {
        return Ok(batch);
    }
    let work = move |batch: CheckedBatch, limits: &ProduceLimits<'_>| match recompress {
        Some(codec) => opened::recompress(batch, codec, limits, &levels),
        None => opened::open_checked(batch, limits),
    };
    if batch.bytes.len() <= OPEN_INLINE_BYTES_MAX {
        return work(batch, &limits);
    }
    // Off the core's thread; the connection waits, so its order is kept.
    let name = topic.name.clone();
    let ProduceLimits { topic: _, partition, .. } = limits;
    let limits_without_name = ProduceLimits { topic: "", ..limits };
    glommio::executor()
        .spawn_blocking(move || {
            let limits = ProduceLimits { topic: &name, partition, ..limits_without_name };
            work(batch, &limits)
        })
        .await
}

/// A batch may open to what a request may hold, and a hundred and more times its own size at most.
fn open_limits(shard: &Shard) -> OpenLimits {
    OpenLimits { bytes_max: shard.server().socket_request_max_bytes as usize, ..OpenLimits::default() }
}

fn target_codec(compression: TopicCompression) -> (Option<Compression>, CompressionLevels) {
    let mut levels = CompressionLevels::default();
    let codec = match compression {
        TopicCompression::Producer => None,
        TopicCompression::Uncompressed => Some(Compression::None),
        TopicCompression::Snappy => Some(Compression::Snappy),
        TopicCompression::Gzip(level) => {
            levels.gzip = level;
            Some(Compression::Gzip)
        }
        TopicCompression::Lz4(level) => {
            levels.lz4 = level;
            Some(Compression::Lz4)
        }
        TopicCompression::Zstd(level) => {
            levels.zstd = level;
            Some(Compression::Zstd)
        }
    };
    (codec, levels)
}

/// On the owner: appends everything at once, then waits for the promises.
fn append_here(shard: Rc<Shard>, appends: Vec<Append>, acks: Acks) -> impl Future<Output = Vec<Appended>> {
    let started: Vec<_> = appends
        .into_iter()
        .map(|append| {
            let Some(partition) = shard.partition(append.topic, append.partition) else {
                return (append.place, None, Err(AppendFailed::NotLeader));
            };
            let result = match append.batch {
                _ if let Err(error) = partition.check_online() => Err(AppendFailed::Storage(error)),
                None => Err(AppendFailed::LogStartOnly),
                Some(batch) => partition.append(&batch, acks).map_err(AppendFailed::Refused),
            };
            (append.place, Some(partition), result)
        })
        .collect();
    // Flushes begin side by side; the waits below are one after the other.
    for (_, partition, result) in &started {
        if let (Some(partition), Ok(appended)) = (partition, result) {
            partition.begin_promise(appended);
        }
    }
    async move {
        let mut done = Vec::with_capacity(started.len());
        for (place, partition, result) in started {
            let log_start = partition.as_ref().map_or(-1, |partition| partition.log().log_start().0);
            let result = match (result, partition) {
                (Ok(appended), Some(partition)) => partition
                    .keep_promise(&appended)
                    .await
                    .map(|()| (appended.base_offset.0, appended.log_append_time_ms))
                    .map_err(AppendFailed::Storage),
                (Ok(_), None) => Err(AppendFailed::NotLeader),
                (Err(failed), _) => Err(failed),
            };
            done.push(Appended { place, result, log_start });
        }
        done
    }
}

/// Waits for the owners and makes the reply.
async fn finish(
    request: Request,
    acks: i16,
    mut answer: ProduceResponse,
    posted: Vec<Posted<Vec<Appended>>>,
) -> Reply {
    for reply in posted {
        // A core that went away takes the process with it; what it held is answered by the next start.
        let Ok(appended) = reply.await else {
            return Reply::Close("the broker is stopping".into());
        };
        for done in appended {
            let response = &mut answer.topics[done.place.0].partitions[done.place.1];
            settle(response, done);
        }
    }
    if acks == 0 {
        let failed =
            answer.topics.iter().flat_map(|topic| &topic.partitions).find(|p| p.error_code != errors::NONE);
        return match failed {
            None => Reply::Silence,
            Some(p) => Reply::Close(format!(
                "a produce request with acks=0 failed on partition {} with error code {}",
                p.index, p.error_code
            )),
        };
    }
    reply(&request, &answer)
}

fn settle(response: &mut ProducePartitionResponse, done: Appended) {
    match done.result {
        Ok((base_offset, log_append_time_ms)) => {
            response.base_offset = base_offset;
            response.log_append_time_ms = log_append_time_ms;
            response.log_start_offset = done.log_start;
        }
        Err(AppendFailed::LogStartOnly) => response.log_start_offset = done.log_start,
        Err(AppendFailed::NotLeader) => {
            response.error_code = ResponseError::NotLeaderOrFollower.code();
        }
        Err(AppendFailed::Storage(error)) => {
            // Whatever was wrong with the batch, Kafka does not look at it then.
            *response =
                ProducePartitionResponse { error_code: error.code(), ..empty_response(response.index) };
        }
        Err(AppendFailed::Refused(refused)) => {
            response.error_code = refused.code();
            // Kafka names the log's start with errors of sequence and epoch, not with those of size and storage.
            response.log_start_offset = match refused {
                AppendRefused::Log(
                    crate::storage::AppendError::OutOfOrderSequence(_)
                    | crate::storage::AppendError::InvalidProducerEpoch(_)
                    | crate::storage::AppendError::InvalidTransactionState(_),
                )
                | AppendRefused::NotEnoughReplicas { .. } => done.log_start,
                AppendRefused::Log(_) => -1,
            };
        }
    }
}

fn refuse(response: &mut ProducePartitionResponse, error: BatchError) {
    tracing::debug!(partition = response.index, reason = %error.reason, "a produced batch is refused");
    response.error_code = error.kind.code();
    response.record_errors =
        error.record_errors.into_iter().map(|record| (record.index, Some(record.message))).collect();
    if error.reason_in_answer {
        response.error_message = Some(error.reason);
    }
}

fn empty_response(index: i32) -> ProducePartitionResponse {
    ProducePartitionResponse {
        index,
        error_code: errors::NONE,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        record_errors: Vec::new(),
        error_message: None,
        current_leader: None,
    }
}
