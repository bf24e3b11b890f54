//! Fetch: session, reads on the owners, the long poll, and an answer made of file slices.
//!
//! A fetch that finds too little registers one [`FetchWait`] with every partition it read, on the owners,
//! and reads again when it wakes: by enough bytes, by its time, or by a partition that failed or went away.
//! Leaving deregisters everywhere ([`Registered`] does so when it is dropped).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashSet;
use kafka_protocol::error::ResponseError;

use super::errors::{self, Code};
use super::{Answer, Context, Part, Reply, Request};
use crate::broker::fetch_session::{
    FetchSessions, NO_SESSION, Outcome, PartitionKey, Plan, SessionRequest, TopicKey, Wanted,
};
use crate::broker::partition::{FetchFrom, FetchRefused, Fetched};
use crate::broker::waiters::FetchWait;
use crate::clock;
use crate::protocol::fetch::{
    self as wire, FetchPartitionResponse, FetchRecords, FetchRequest, FetchResponse, FetchTopicResponse,
    decode_request, encode_response,
};
use crate::protocol::frame::RequestHeader;
use crate::protocol::wire::StrBytes;
use crate::runtime::tasks::{self, Queue};
use crate::shard::{self, Shard};
use crate::storage::Slice;
use crate::types::{LeaderEpoch, Offset, PartitionId, TopicId};

/// The isolation level of a consumer that reads all records.
const READ_UNCOMMITTED: i8 = 0;
/// The isolation level of a consumer that reads committed records only.
const READ_COMMITTED: i8 = 1;
/// A fetch that names more partitions than this that do not exist does not wait: what a waiting fetch holds is
/// bounded by the partitions there are.
const UNKNOWN_MAX: usize = 1000;
/// How soon a fetch looks again that got nothing because too many files are in use.
const PUT_OFF_PAUSE: Duration = Duration::from_millis(20);

/// What one fetch asks, apart from its partitions.
#[derive(Clone, Copy)]
struct Limits {
    max_wait_ms: u64,
    min_bytes: u64,
    max_bytes: u64,
    committed_only: bool,
    /// What every partition is refused with, whatever it is.
    refused: Option<ResponseError>,
    /// What the first partition is refused with; a negative `max_bytes` counts as 0 behind it, as in Kafka.
    first_refused: Option<ResponseError>,
}

/// One partition on its way to its owner.
#[derive(Clone)]
struct Read {
    place: usize,
    topic: TopicId,
    partition: PartitionId,
    wanted: Wanted,
    /// The first of the request that exists.
    is_first: bool,
}

/// What became of one partition, at its place in the answer.
struct Line {
    key: PartitionKey,
    wanted: Wanted,
    topic: TopicId,
    result: Result<Fetched, i16>,
    /// There is no such partition, so nobody was asked.
    is_unknown: bool,
}

pub async fn handle(context: Rc<Context>, request: Request) -> Answer {
    let version = request.header.api_version;
    let asked = match decode_request(&request.body, version) {
        Ok(asked) => asked,
        Err(error) => return Answer::Now(Reply::Close(error.to_string())),
    };
    let shard = context.shard.clone();
    let most = i64::from(shard.server().fetch_max_bytes);
    let max_bytes = i64::from(asked.max_bytes).clamp(0, most) as u64;
    let limits = Limits {
        max_wait_ms: u64::try_from(asked.max_wait_ms).unwrap_or(0),
        min_bytes: (i64::from(asked.min_bytes).max(0) as u64).min(max_bytes),
        max_bytes,
        committed_only: asked.isolation_level == READ_COMMITTED,
        // No follower is assigned here.
        refused: (asked.replica_id >= 0).then_some(ResponseError::NotLeaderOrFollower),
        first_refused: (asked.max_bytes < 0).then_some(ResponseError::UnknownServerError),
    };
    if !(READ_UNCOMMITTED..=READ_COMMITTED).contains(&asked.isolation_level) {
        return Answer::Now(refuse_all(&request.header, &asked, ResponseError::UnknownServerError));
    }
    // Of its frame a waiting fetch keeps nothing: what it wants is copied, and the client's id is not needed.
    let wanted = session_request(asked, version);
    let header = RequestHeader { client_id: None, ..request.header };
    Answer::LongPoll(Box::pin(serve(shard, header, wanted, limits)))
}

/// Finds the request's session on its home core.
async fn begin_session(shard: &Rc<Shard>, request: SessionRequest) -> Plan {
    let now_ms = clock::monotonic_ms();
    let home = match request.session_id {
        NO_SESSION => shard.id,
        id => FetchSessions::home_of(id, shard.cores),
    };
    if home == shard.id {
        return shard.sessions.borrow_mut().begin(request, now_ms);
    }
    let posted =
        shard::post(home, move |home| async move { home.sessions.borrow_mut().begin(request, now_ms) }).await;
    posted.await.unwrap_or_else(|_gone| Plan::Sessionless(Vec::new()))
}

fn session_request(asked: FetchRequest, version: i16) -> SessionRequest {
    let by_topic_id = version >= 13;
    let topic_key = |name: &StrBytes, id: TopicId| match by_topic_id {
        true => TopicKey::Id(id),
        false => TopicKey::Name(Arc::from(&**name)),
    };
    let mut wanted = Vec::new();
    for topic in &asked.topics {
        let topic_key = topic_key(&topic.name, topic.topic_id);
        for partition in &topic.partitions {
            let key = PartitionKey { topic: topic_key.clone(), partition: partition.partition };
            wanted.push((
                key,
                Wanted {
                    fetch_offset: partition.fetch_offset,
                    log_start_offset: partition.log_start_offset,
                    max_bytes: partition.partition_max_bytes,
                    current_leader_epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                    was_known: false,
                },
            ));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &asked.forgotten {
        let topic_key = topic_key(&topic.name, topic.topic_id);
        forgotten.extend(
            topic.partitions.iter().map(|p| PartitionKey { topic: topic_key.clone(), partition: *p }),
        );
    }
    // Versions before 7 know no sessions; they decode to session 0 and the final epoch.
    SessionRequest {
        session_id: asked.session_id,
        epoch: asked.session_epoch,
        by_topic_id,
        wanted,
        forgotten,
    }
}

/// Reads, waits where there is too little, and answers.
async fn serve(shard: Rc<Shard>, header: RequestHeader, request: SessionRequest, limits: Limits) -> Reply {
    // Here and not before: the fetch ahead of it on this connection has settled its session by now.
    let (session, wanted) = match begin_session(&shard, request).await {
        Plan::Refused(error) => return error_reply(&header, error.code()),
        Plan::Sessionless(wanted) => (Session::None, wanted),
        Plan::Full(wanted) => (Session::New, wanted),
        Plan::Incremental { session_id, epoch, wanted } => (Session::Old { session_id, epoch }, wanted),
    };
    let deadline_ms = clock::monotonic_ms() + limits.max_wait_ms;
    let mut unknown_at_first = None;
    let mut lines;
    loop {
        let reads = resolve(&shard, &wanted);
        let unknown = reads.0.len();
        let goes_away = unknown > *unknown_at_first.get_or_insert(unknown) || unknown > UNKNOWN_MAX;
        let left_ms = deadline_ms.saturating_sub(clock::monotonic_ms());
        let wait = (left_ms > 0 && limits.min_bytes > 0 && !shard.stopping.get())
            .then(|| FetchWait::new(limits.min_bytes));
        let registered = Registered { shard: shard.clone(), wait: wait.clone(), reads: reads.1.clone() };
        lines = read_all(&shard, &wanted, reads, limits, wait.clone()).await;
        let have: u64 = lines.iter().map(Line::bytes).sum();
        // What does not exist does not cut the wait for the others short, as in Kafka.
        let urgent = goes_away || lines.iter().filter(|line| line.is_urgent()).count() > unknown;
        let Some(wait) = wait else { break };
        if have >= limits.min_bytes || urgent || lines.len() == unknown {
            break;
        }
        if lines.iter().any(Line::is_put_off) {
            if have > 0 {
                break;
            }
            // Nothing is held meanwhile, so others who wait for files get on.
            drop((std::mem::take(&mut lines), registered));
            glommio::timer::sleep(PUT_OFF_PAUSE.min(Duration::from_millis(left_ms))).await;
            continue;
        }
        // No file is kept from others while this one waits: what is there is read again.
        lines.clear();
        // What is there already counts; an append that came since the read has woken the wait.
        wait.add(have);
        let woken = shard::until(Duration::from_millis(left_ms), wait.woken()).await;
        drop(registered);
        if !woken {
            // The time is up: what is there now is the answer.
            let reads = resolve(&shard, &wanted);
            lines = read_all(&shard, &wanted, reads, limits, None).await;
            break;
        }
    }
    answer(&shard, &header, session, lines, limits.committed_only).await
}

enum Session {
    None,
    New,
    Old { session_id: i32, epoch: i32 },
}

impl Line {
    fn bytes(&self) -> u64 {
        match &self.result {
            Ok(Fetched { records: Some(slice), .. }) => u64::from(slice.length),
            _ => 0,
        }
    }

    fn is_put_off(&self) -> bool {
        self.result.as_ref().is_ok_and(|fetched| fetched.put_off)
    }

    /// Answered at once, however little there is.
    fn is_urgent(&self) -> bool {
        match &self.result {
            Ok(fetched) => fetched.diverging.is_some(),
            Err(_) => true,
        }
    }
}

/// Names become ids; what does not exist is an error at its place. Gives the errors and the reads.
fn resolve(shard: &Shard, wanted: &[(PartitionKey, Wanted)]) -> (Vec<(usize, i16)>, Vec<Read>) {
    let image = shard.image();
    let mut failed = Vec::new();
    let mut reads = Vec::with_capacity(wanted.len());
    for (place, (key, wanted)) in wanted.iter().enumerate() {
        let topic = match &key.topic {
            // A session that knew the topic speaks of it by its name, as Kafka's does.
            TopicKey::Id(id) => image.topic_by_id(*id).ok_or(match wanted.was_known {
                true => ResponseError::UnknownTopicOrPartition,
                false => ResponseError::UnknownTopicId,
            }),
            TopicKey::Name(name) => image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition),
        };
        let partition = PartitionId(key.partition);
        match topic {
            Err(error) => failed.push((place, error.code())),
            Ok(topic) if topic.partition(partition).is_none() => {
                failed.push((place, ResponseError::UnknownTopicOrPartition.code()));
            }
            Ok(topic) => {
                let is_first = reads.is_empty();
                reads.push(Read { place, topic: topic.id, partition, wanted: *wanted, is_first });
            }
        }
    }
    (failed, reads)
}

/// Reads every partition once. With `wait`, owners that have too little register it in the same step.
async fn read_all(
    shard: &Rc<Shard>,
    wanted: &[(PartitionKey, Wanted)],
    (failed, reads): (Vec<(usize, i16)>, Vec<Read>),
    limits: Limits,
    wait: Option<Arc<FetchWait>>,
) -> Vec<Line> {
    let mut results: Vec<Option<(TopicId, Result<Fetched, i16>)>> = Vec::new();
    results.resize_with(wanted.len(), || None);
    let unknown: AHashSet<usize> = failed.iter().map(|(place, _)| *place).collect();
    for (place, code) in failed {
        results[place] = Some((TopicId::ZERO, Err(code)));
    }
    let mut by_owner = Vec::new();
    for read in reads {
        shard::push_by_owner(&mut by_owner, shard.owner(read.topic, read.partition), read);
    }
    let mut posted = Vec::with_capacity(by_owner.len());
    for (owner, reads) in by_owner {
        let wait = wait.clone();
        posted.push(shard::post(owner, move |shard| read_here(shard, reads, limits, wait)).await);
    }
    for reply in posted {
        for (read, result) in reply.await.unwrap_or_default() {
            results[read.place] = Some((read.topic, result));
        }
    }
    let mut lines = Vec::with_capacity(wanted.len());
    let mut left = limits.max_bytes;
    let mut any_given = false;
    for (place, ((key, wanted), result)) in wanted.iter().zip(results).enumerate() {
        let (topic, mut result) =
            result.unwrap_or((TopicId::ZERO, Err(ResponseError::NotLeaderOrFollower.code())));
        if let Ok(fetched) = &mut result
            && let Some(slice) = &fetched.records
        {
            // Each owner kept to the limit; together they may pass it, and the later ones wait their turn.
            let length = u64::from(slice.length);
            let most = left.min(u64::try_from(wanted.max_bytes).unwrap_or(0));
            if length > most && any_given {
                fetched.records = None;
            } else {
                any_given = true;
                left = left.saturating_sub(length);
            }
        }
        let is_unknown = unknown.contains(&place);
        lines.push(Line { key: key.clone(), wanted: *wanted, topic, result, is_unknown });
    }
    // As in Kafka, what nobody was asked for stands behind the rest, topics without a name first.
    lines.sort_by_key(|line| match (line.is_unknown, &line.result) {
        (false, _) => 0,
        (true, Err(code)) if *code == ResponseError::UnknownTopicId.code() => 1,
        (true, _) => 2,
    });
    lines
}

/// On the owner: reads in order within the limit, then registers the wait where there is too little.
async fn read_here(
    shard: Rc<Shard>,
    reads: Vec<Read>,
    limits: Limits,
    wait: Option<Arc<FetchWait>>,
) -> Vec<(Read, Result<Fetched, i16>)> {
    let mut left = limits.max_bytes;
    let mut have = 0;
    let mut urgent = false;
    let mut results = Vec::with_capacity(reads.len());
    for read in reads {
        let negative = (read.wanted.max_bytes < 0).then_some(ResponseError::UnknownServerError);
        let negative = negative.or(limits.first_refused.filter(|_| read.is_first));
        let result = match shard.partition(read.topic, read.partition) {
            _ if let Some(error) = limits.refused.or(negative) => Err(error.code()),
            None => Err(ResponseError::NotLeaderOrFollower.code()),
            Some(partition) => {
                let partition_bytes = u64::try_from(read.wanted.max_bytes).unwrap_or(0);
                let from = FetchFrom {
                    offset: Offset(read.wanted.fetch_offset),
                    // Any negative epoch stands for "unknown".
                    current_leader_epoch: read.wanted.current_leader_epoch.max(-1),
                    last_fetched_epoch: read.wanted.last_fetched_epoch,
                    bytes_max: u32::try_from(partition_bytes.min(left)).unwrap_or(u32::MAX),
                    at_least_one: have == 0,
                    committed_only: limits.committed_only,
                };
                partition.fetch(from).await.map_err(|refused: FetchRefused| refused.code())
            }
        };
        match &result {
            Ok(fetched) => {
                let bytes = fetched.records.as_ref().map_or(0, |slice| u64::from(slice.length));
                have += bytes;
                left = left.saturating_sub(bytes);
                urgent |= fetched.diverging.is_some();
            }
            Err(_) => urgent = true,
        }
        results.push((read, result));
    }
    if let Some(wait) = wait
        && have < limits.min_bytes
        && !urgent
    {
        for (read, result) in &results {
            let Ok(fetched) = result else { continue };
            let partition = shard.partition(read.topic, read.partition);
            let waits = partition.is_some_and(|partition| partition.wait_past(fetched.high_watermark, &wait));
            // It moved on, went away since it was read, or this core has roused its waits to stop.
            if !waits || shard.stopping.get() {
                wait.rouse();
            }
        }
    }
    results
}

/// Takes a wait off every owner's partitions when the fetch leaves. One that is still on its way to an owner
/// is not taken there.
struct Registered {
    shard: Rc<Shard>,
    wait: Option<Arc<FetchWait>>,
    reads: Vec<Read>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Some(wait) = self.wait.take() else { return };
        if !wait.leave() {
            return;
        }
        let mut remote = Vec::new();
        for read in &self.reads {
            let owner = self.shard.owner(read.topic, read.partition);
            if owner == self.shard.id {
                if let Some(partition) = self.shard.partition(read.topic, read.partition) {
                    partition.waiters().deregister(&wait);
                }
                continue;
            }
            shard::push_by_owner(&mut remote, owner, (read.topic, read.partition));
        }
        for (owner, keys) in remote {
            let wait = wait.clone();
            tasks::spawn(Queue::Requests, async move {
                let _runs_without_us = shard::post(owner, move |shard| {
                    for (topic, partition) in keys {
                        if let Some(partition) = shard.partition(topic, partition) {
                            partition.waiters().deregister(&wait);
                        }
                    }
                    std::future::ready(())
                })
                .await;
            })
            .detach();
        }
    }
}

/// Settles the session and makes the reply.
async fn answer(
    shard: &Rc<Shard>,
    header: &RequestHeader,
    session: Session,
    lines: Vec<Line>,
    committed_only: bool,
) -> Reply {
    let (session_id, lines) = match session {
        Session::None => (NO_SESSION, lines),
        Session::New => {
            let partitions = lines.iter().map(|line| (line.wanted, outcome(line))).collect();
            let by_topic_id = header.api_version >= 13;
            let random = random_u32();
            let id =
                shard.sessions.borrow_mut().create(by_topic_id, partitions, random, clock::monotonic_ms());
            (id, lines)
        }
        Session::Old { session_id, epoch } => {
            let outcomes: Vec<Outcome> = lines.iter().map(outcome).collect();
            let home = FetchSessions::home_of(session_id, shard.cores);
            let filtered = if home == shard.id {
                shard.sessions.borrow_mut().filter(session_id, epoch, &outcomes)
            } else {
                let posted = shard::post(home, move |home| async move {
                    home.sessions.borrow_mut().filter(session_id, epoch, &outcomes)
                })
                .await;
                posted.await.unwrap_or_else(|_gone| Ok(vec![true; lines.len()]))
            };
            match filtered {
                Err(error) => return error_reply_in(header, session_id, error.code()),
                Ok(sent) => {
                    let lines =
                        lines.into_iter().zip(sent).filter_map(|(line, sent)| sent.then_some(line)).collect();
                    (session_id, lines)
                }
            }
        }
    };
    reply(shard, header, session_id, lines, committed_only)
}

fn outcome(line: &Line) -> Outcome {
    let key = line.key.clone();
    let is_known = !line.is_unknown;
    match &line.result {
        Ok(fetched) => Outcome {
            key,
            has_records: fetched.records.is_some(),
            high_watermark: fetched.high_watermark,
            log_start: fetched.log_start,
            notable: fetched.diverging.is_some(),
            is_error: false,
            is_known,
        },
        Err(_) => Outcome {
            key,
            has_records: false,
            high_watermark: Offset::NONE,
            log_start: Offset::NONE,
            notable: true,
            is_error: true,
            is_known,
        },
    }
}

fn reply(
    shard: &Shard,
    header: &RequestHeader,
    session_id: i32,
    lines: Vec<Line>,
    committed_only: bool,
) -> Reply {
    let version = header.api_version;
    let mut response = FetchResponse { session_id, ..FetchResponse::default() };
    let mut slices: Vec<Slice> = Vec::new();
    for line in lines {
        let (name, topic_id) = match &line.key.topic {
            TopicKey::Id(id) => (StrBytes::default(), *id),
            TopicKey::Name(name) => (StrBytes::from_string(name.to_string()), TopicId::ZERO),
        };
        let mut partition = partition_response(shard, &line, version, &mut slices);
        // No transaction was aborted; null is for who did not ask.
        let was_found = partition.error_code == errors::NONE;
        if (was_found && committed_only) || is_unknown(partition.error_code) {
            partition.aborted_transactions = Some(Vec::new());
        }
        // Neighbours of one topic share its header, as Kafka groups them.
        match response.topics.last_mut() {
            Some(topic) if topic.name == name && topic.topic_id == topic_id => {
                topic.partitions.push(partition)
            }
            _ => response.topics.push(FetchTopicResponse { name, topic_id, partitions: vec![partition] }),
        }
    }
    let buffer = super::begin(header);
    let parts = encode_response(buffer, &response, version)
        .into_iter()
        .map(|part| match part {
            wire::Part::Bytes(bytes) => Part::Bytes(bytes),
            wire::Part::Records(index) => Part::File(slices[index].clone()),
        })
        .collect();
    super::finish(parts)
}

fn partition_response(
    shard: &Shard,
    line: &Line,
    version: i16,
    slices: &mut Vec<Slice>,
) -> FetchPartitionResponse {
    let index = line.key.partition;
    let fetched = match &line.result {
        Ok(fetched) => fetched,
        Err(code) => {
            // Clients of versions up to 5 do not know KAFKA_STORAGE_ERROR.
            let storage = ResponseError::KafkaStorageError.code();
            let code = match *code == storage && version <= 5 {
                true => ResponseError::NotLeaderOrFollower.code(),
                false => *code,
            };
            let mut response = FetchPartitionResponse::error(index, code);
            let about_leader =
                [ResponseError::NotLeaderOrFollower.code(), ResponseError::FencedLeaderEpoch.code()];
            if version >= 16 && about_leader.contains(&code) {
                response.current_leader = current_leader(shard, line.topic, index);
            }
            return response;
        }
    };
    let mut response = FetchPartitionResponse::error(index, errors::NONE);
    response.high_watermark = fetched.high_watermark.0;
    response.last_stable_offset = fetched.last_stable.0;
    response.log_start_offset = fetched.log_start.0;
    response.diverging_epoch = fetched.diverging.map(|(LeaderEpoch(epoch), end)| (epoch, end.0));
    if let Some(slice) = &fetched.records {
        response.records = FetchRecords::Slice { index: slices.len(), length: slice.length };
        slices.push(slice.clone());
    }
    response
}

fn current_leader(shard: &Shard, topic: TopicId, partition: i32) -> Option<(i32, i32)> {
    let image = shard.image();
    let partition = image.topic_by_id(topic)?.partition(PartitionId(partition))?;
    Some((partition.leader.0, partition.leader_epoch.0))
}

fn is_unknown(code: i16) -> bool {
    [ResponseError::UnknownTopicOrPartition.code(), ResponseError::UnknownTopicId.code()].contains(&code)
}

/// The answer when the request as a whole is refused; clients before version 13 look into the partitions.
fn refuse_all(header: &RequestHeader, asked: &FetchRequest, error: ResponseError) -> Reply {
    let mut response =
        FetchResponse { error_code: error.code(), session_id: asked.session_id, ..FetchResponse::default() };
    if header.api_version < 13 {
        for topic in &asked.topics {
            let refused = topic.partitions.iter().map(|p| FetchPartitionResponse {
                aborted_transactions: Some(Vec::new()),
                ..FetchPartitionResponse::error(p.partition, error.code())
            });
            let (name, topic_id) = (topic.name.clone(), topic.topic_id);
            response.topics.push(FetchTopicResponse { name, topic_id, partitions: refused.collect() });
        }
    }
    send(header, &response)
}

fn error_reply(header: &RequestHeader, error_code: i16) -> Reply {
    error_reply_in(header, NO_SESSION, error_code)
}

fn error_reply_in(header: &RequestHeader, session_id: i32, error_code: i16) -> Reply {
    send(header, &FetchResponse { error_code, session_id, ..FetchResponse::default() })
}

/// Sends an answer without records.
fn send(header: &RequestHeader, response: &FetchResponse) -> Reply {
    let buffer = super::begin(header);
    let parts = encode_response(buffer, response, header.api_version)
        .into_iter()
        .filter_map(|part| match part {
            wire::Part::Bytes(bytes) => Some(Part::Bytes(bytes)),
            wire::Part::Records(_) => None,
        })
        .collect();
    super::finish(parts)
}

/// Session ids must not be guessable in order, no more.
fn random_u32() -> u32 {
    (uuid::Uuid::new_v4().as_u128() >> 96) as u32
}
