//! Batches to the leaders of their partitions: several requests in flight, retries in order, and a
//! [`Report`] of what became of every batch.
//!
//! One thread owns all of it and waits only on its inbox; a receiving thread per connection posts there.
//! A batch that must be tried again waits until none of its partition is in flight, and goes before those
//! behind it. With idempotence this keeps order and doubles nothing; without, a retry may do both.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::budget::Budget;
use super::cluster::{Client, Cluster, Topic, topic_name};
use super::connection::{Connection, Receiver};
use super::error::ClientError;
use super::producer::Acks;
use super::wire;
use crate::protocol::batch::{BatchBuilder, BatchIter, increment_sequence};
use crate::protocol::compression::{Compression, CompressionLevels, OpenLimits};
use crate::protocol::record::{Header, Record, RecordIter};
use crate::types::NodeId;

/// Requests that one connection may have unanswered. Brokers remember five batches of a producer.
const IN_FLIGHT_MAX: usize = 5;
/// A request takes further batches until it has this many bytes.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// How long to wait before a partition is tried again.
const BACKOFF: Duration = Duration::from_millis(100);
/// Trouble is told when a batch has failed so often: an election passes before.
const FAILURES_TOLD: u32 = 5;
/// The newest version that names topics; later ones want their ids.
const PRODUCE_VERSION_MAX: i16 = 12;
/// The first version that may carry zstd (Kafka 2.1).
const ZSTD_VERSION_MIN: i16 = 7;

/// A sealed batch on its way.
#[derive(Debug)]
pub struct PendingBatch {
    /// The order of delivery within a partition: a count of sealed batches, and for a part of a batch
    /// that was split, the first of its records.
    pub order: (u64, u32),
    pub partition: i32,
    pub bytes: Bytes,
    pub record_count: u32,
    /// The first and the last line of the input that are in it.
    pub lines: (u64, u64),
    pub deadline: Instant,
    pub last_error: Option<ClientError>,
    /// How often it was tried in vain.
    pub failures: u32,
}

/// What the delivery waits for.
pub enum Event {
    Batch(PendingBatch),
    /// No batch follows.
    End,
    Answer {
        link: u64,
        correlation_id: i32,
        frame: Bytes,
    },
    Lost {
        link: u64,
        error: ClientError,
    },
}

/// What became of everything.
#[derive(Debug, Default)]
pub struct Report {
    pub failures: Vec<Failure>,
    /// Records that were not tried, or whose answer did not come.
    pub unsent_records: u64,
}

/// A batch that was refused for good.
#[derive(Debug)]
pub struct Failure {
    pub partition: i32,
    pub records: u32,
    /// The first and the last line of the input that are in it.
    pub lines: (u64, u64),
    pub error: ClientError,
}

/// Acknowledged so far (with acks=0: written to the socket).
#[derive(Debug, Default)]
pub struct Delivered {
    pub records: AtomicU64,
    /// As they went over the wire.
    pub bytes: AtomicU64,
}

/// Is told why something is tried again, when that takes long.
pub type OnTrouble = Box<dyn Fn(&ClientError) + Send>;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub acks: Acks,
    pub idempotent: bool,
    pub delivery_timeout: Duration,
    pub compression: Compression,
    pub levels: CompressionLevels,
}

/// Starts the thread.
pub fn start(
    client: Client,
    cluster: &Cluster,
    topic: &Topic,
    settings: Settings,
    (events, inbox): (flume::Sender<Event>, flume::Receiver<Event>),
    (budget, delivered): (Arc<Budget>, Arc<Delivered>),
    on_trouble: OnTrouble,
) -> JoinHandle<Report> {
    let mut delivery = Delivery {
        request_timeout: client.options().request_timeout,
        client,
        topic: topic.name.clone(),
        settings,
        events,
        budget,
        delivered,
        on_trouble,
        partitions: topic.partitions.iter().map(|_| PartitionQueue::default()).collect(),
        queued: BTreeSet::new(),
        links: HashMap::new(),
        by_node: HashMap::new(),
        next_link: 0,
        refresh_at: None,
        node_failures: 0,
        has_ended: false,
        has_failed: false,
        report: Report::default(),
    };
    delivery.learn(cluster, topic);
    let run = move || delivery.run(inbox);
    std::thread::Builder::new().name("delivery".to_owned()).spawn(run).expect("a thread can be started")
}

/// The batches of one partition that are not in flight, in order.
#[derive(Default)]
struct PartitionQueue {
    leader: Option<NodeId>,
    waiting: VecDeque<PendingBatch>,
    in_flight: usize,
    /// Whether the broker has taken a batch. A broker that knows nothing of a producer takes it up at any
    /// sequence, so with idempotence the first batch goes alone.
    is_begun: bool,
    /// Set while batches must be tried again: nothing goes before this and before `in_flight` is 0.
    retry_at: Option<Instant>,
}

struct Link {
    node: NodeId,
    connection: Connection,
    version: i16,
    in_flight: VecDeque<Request>,
}

/// A request that waits for its answer. One without batches is the question behind acks=0 requests whose
/// answer tells that the broker has read them all.
struct Request {
    correlation_id: i32,
    sent_at: Instant,
    batches: Vec<PendingBatch>,
}

struct Delivery {
    client: Client,
    topic: String,
    settings: Settings,
    request_timeout: Duration,
    /// Given to the receiving threads.
    events: flume::Sender<Event>,
    budget: Arc<Budget>,
    delivered: Arc<Delivered>,
    on_trouble: OnTrouble,
    partitions: Vec<PartitionQueue>,
    /// Partitions with waiting batches.
    queued: BTreeSet<i32>,
    links: HashMap<u64, Link>,
    by_node: HashMap<NodeId, u64>,
    next_link: u64,
    /// When metadata are to be read again.
    refresh_at: Option<Instant>,
    /// How often no connection could be made since the last one was.
    node_failures: u32,
    has_ended: bool,
    has_failed: bool,
    report: Report,
}

impl Delivery {
    fn run(mut self, inbox: flume::Receiver<Event>) -> Report {
        loop {
            self.refresh_if_due();
            self.send_all();
            if self.is_done() && self.confirm() {
                break;
            }
            let event = match self.next_deadline() {
                Some(deadline) => inbox.recv_deadline(deadline).ok(),
                None => inbox.recv().ok(),
            };
            match event {
                Some(event) => self.handle(event),
                None => self.expire(),
            }
        }
        for link in self.links.values() {
            link.connection.close();
        }
        // What was sealed after a failure.
        for event in inbox.try_iter() {
            if let Event::Batch(batch) = event {
                self.report.unsent_records += u64::from(batch.record_count);
            }
        }
        self.report
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Batch(batch) if self.has_failed => self.give_up(batch),
            Event::Batch(batch) => {
                self.queued.insert(batch.partition);
                self.partitions[batch.partition as usize].waiting.push_back(batch);
            }
            Event::End => self.has_ended = true,
            Event::Answer { link, correlation_id, frame } => self.answered(link, correlation_id, frame),
            Event::Lost { link, error } => self.lose(link, error),
        }
    }

    fn is_done(&self) -> bool {
        let in_flight = self.links.values().any(|link| !link.in_flight.is_empty());
        (self.has_ended || self.has_failed) && self.queued.is_empty() && !in_flight
    }

    /// With acks=0, asks each broker something and so learns that it has read all before it. True when
    /// there is nothing to wait for.
    fn confirm(&mut self) -> bool {
        if self.settings.acks != Acks::None || self.has_failed {
            return true;
        }
        let mut asked = true;
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            let link = self.links.get_mut(&id).expect("the key is the map's");
            if link.version < 0 {
                continue;
            }
            asked = false;
            // The version marks that this link has been asked.
            link.version = -1;
            match link.connection.send(0, &wire::api_versions_request()) {
                Ok(correlation_id) => {
                    let request = Request { correlation_id, sent_at: Instant::now(), batches: Vec::new() };
                    link.in_flight.push_back(request);
                }
                Err(error) => self.lose(id, error),
            }
        }
        asked
    }

    /// Sends every batch that may go now.
    fn send_all(&mut self) {
        let now = Instant::now();
        loop {
            let Some((node, first)) = self.next_sendable(now) else { return };
            let id = match self.link_to(node) {
                Ok(id) => id,
                Err(error) => {
                    self.postpone_node(node, error);
                    continue;
                }
            };
            let batches = self.take_batches(node, first, now);
            self.send(id, batches);
        }
    }

    /// A leader with room for a request, and a partition that has something for it.
    fn next_sendable(&self, now: Instant) -> Option<(NodeId, i32)> {
        self.queued.iter().find_map(|partition| {
            let node = self.sendable(*partition, now)?;
            let link = self.by_node.get(&node).and_then(|id| self.links.get(id));
            let has_room = link.is_none_or(|link| link.in_flight.len() < IN_FLIGHT_MAX);
            has_room.then_some((node, *partition))
        })
    }

    fn sendable(&self, partition: i32, now: Instant) -> Option<NodeId> {
        let queue = &self.partitions[partition as usize];
        let may_go = match queue.retry_at {
            Some(at) => queue.in_flight == 0 && at <= now,
            None => queue.in_flight == 0 || queue.is_begun || !self.settings.idempotent,
        };
        queue.leader.filter(|_| may_go)
    }

    fn take_batches(&mut self, node: NodeId, first: i32, now: Instant) -> Vec<PendingBatch> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        let candidates: Vec<i32> = self.queued.range(first..).copied().collect();
        for partition in candidates {
            if self.sendable(partition, now) != Some(node) {
                continue;
            }
            let queue = &mut self.partitions[partition as usize];
            let next = queue.waiting.front().map_or(0, |batch| batch.bytes.len());
            if !batches.is_empty() && bytes + next > REQUEST_BYTES_MAX {
                break;
            }
            if let Some(batch) = queue.waiting.pop_front() {
                bytes += next;
                queue.retry_at = None;
                queue.in_flight += 1;
                batches.push(batch);
            }
            if queue.waiting.is_empty() {
                self.queued.remove(&partition);
            }
        }
        batches
    }

    fn send(&mut self, id: u64, batches: Vec<PendingBatch>) {
        let request = self.request(&batches);
        let link = self.links.get_mut(&id).expect("link_to has just given it");
        let sent = link.connection.send(link.version, &request);
        match sent {
            Ok(_) if self.settings.acks == Acks::None => batches.into_iter().for_each(|b| self.deliver(b)),
            Ok(correlation_id) => {
                link.in_flight.push_back(Request { correlation_id, sent_at: Instant::now(), batches })
            }
            Err(error) => {
                // Its bytes may have left in part; the receiving thread's word about this link is ignored.
                link.in_flight.push_back(Request { correlation_id: 0, sent_at: Instant::now(), batches });
                self.lose(id, error);
            }
        }
    }

    fn request(&self, batches: &[PendingBatch]) -> ProduceRequest {
        let partition = |batch: &PendingBatch| {
            PartitionProduceData::default()
                .with_index(batch.partition)
                .with_records(Some(batch.bytes.clone()))
        };
        let topic = TopicProduceData::default()
            .with_name(topic_name(&self.topic))
            .with_partition_data(batches.iter().map(partition).collect());
        ProduceRequest::default()
            .with_acks(self.settings.acks as i16)
            .with_timeout_ms(self.request_timeout.as_millis().min(600_000) as i32)
            .with_topic_data(vec![topic])
    }

    fn answered(&mut self, id: u64, correlation_id: i32, frame: Bytes) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(request) = link.in_flight.pop_front() else { return };
        if request.batches.is_empty() {
            return;
        }
        let version = link.version;
        let response = match request.correlation_id == correlation_id {
            true => wire::decode_response::<ProduceRequest>(frame, version),
            false => Err(ClientError::NotKafka {
                address: link.connection.address().to_owned(),
                why: format!("it answered {correlation_id} where {} was asked", request.correlation_id),
            }),
        };
        match response {
            Ok(response) => self.settle(request.batches, response),
            Err(error) => {
                link.in_flight.push_front(request);
                self.lose(id, error);
            }
        }
    }

    fn settle(&mut self, batches: Vec<PendingBatch>, response: ProduceResponse) {
        let mut answers: BTreeMap<i32, _> = response
            .responses
            .into_iter()
            .flat_map(|topic| topic.partition_responses)
            .map(|partition| (partition.index, partition))
            .collect();
        for batch in batches {
            self.partitions[batch.partition as usize].in_flight -= 1;
            let (code, message) = match answers.remove(&batch.partition) {
                Some(answer) => {
                    let record = answer.record_errors.into_iter().find_map(|e| e.batch_index_error_message);
                    (ResponseError::try_from_code(answer.error_code), answer.error_message.or(record))
                }
                None => (Some(ResponseError::UnknownServerError), None),
            };
            match code {
                None | Some(ResponseError::DuplicateSequenceNumber) => self.deliver(batch),
                Some(code) => {
                    let what = format!("{}-{}", self.topic, batch.partition);
                    let message = message.map(|message| message.to_string());
                    self.refused(batch, ClientError::Refused { what, code, message });
                }
            }
        }
    }

    fn refused(&mut self, batch: PendingBatch, error: ClientError) {
        let code = error.code();
        let queue = &self.partitions[batch.partition as usize];
        // Behind a batch that is tried again, the next ones come out of order.
        let follows_retry =
            queue.waiting.front().is_some_and(|first| first.order < batch.order) && queue.retry_at.is_some();
        let out_of_order = code == Some(ResponseError::OutOfOrderSequenceNumber);
        if self.has_failed {
            self.fail(batch, error);
        } else if code == Some(ResponseError::MessageTooLarge) && batch.record_count > 1 {
            match split(&batch, &self.settings.levels) {
                Some((first, second)) => {
                    self.budget.give_back(batch.bytes.len());
                    self.budget.add(first.bytes.len() + second.bytes.len());
                    self.try_again(second, Duration::ZERO);
                    self.try_again(first, Duration::ZERO);
                }
                None => self.fail(batch, error),
            }
        } else if error.is_retriable() || (out_of_order && follows_retry) {
            self.refresh_at.get_or_insert_with(|| Instant::now() + BACKOFF);
            self.postpone(batch, error);
        } else {
            self.fail(batch, error);
        }
    }

    fn postpone(&mut self, mut batch: PendingBatch, error: ClientError) {
        if self.has_failed || batch.deadline <= Instant::now() {
            self.fail(batch, error);
        } else {
            batch.failures += 1;
            if batch.failures == FAILURES_TOLD {
                (self.on_trouble)(&error);
            }
            batch.last_error = Some(error);
            self.try_again(batch, BACKOFF);
        }
    }

    /// Puts a batch back before all that were sealed after it.
    fn try_again(&mut self, batch: PendingBatch, after: Duration) {
        self.queued.insert(batch.partition);
        let queue = &mut self.partitions[batch.partition as usize];
        queue.retry_at = Some(Instant::now() + after);
        let at = queue.waiting.partition_point(|other| other.order < batch.order);
        queue.waiting.insert(at, batch);
    }

    fn deliver(&mut self, batch: PendingBatch) {
        let queue = &mut self.partitions[batch.partition as usize];
        queue.is_begun = true;
        if self.settings.acks == Acks::None {
            queue.in_flight -= 1;
        }
        self.budget.give_back(batch.bytes.len());
        self.delivered.records.fetch_add(u64::from(batch.record_count), Ordering::Relaxed);
        self.delivered.bytes.fetch_add(batch.bytes.len() as u64, Ordering::Relaxed);
    }

    /// A batch is lost for good: nothing more is sent, and what is in flight is waited for.
    fn fail(&mut self, batch: PendingBatch, error: ClientError) {
        self.report.failures.push(Failure {
            partition: batch.partition,
            records: batch.record_count,
            lines: batch.lines,
            error,
        });
        self.stop();
    }

    fn stop(&mut self) {
        self.has_failed = true;
        self.budget.stop();
        for partition in std::mem::take(&mut self.queued) {
            for batch in std::mem::take(&mut self.partitions[partition as usize].waiting) {
                self.give_up(batch);
            }
        }
    }

    fn give_up(&mut self, batch: PendingBatch) {
        self.report.unsent_records += u64::from(batch.record_count);
    }

    /// Everything in flight on a link is tried again on a new one.
    fn lose(&mut self, id: u64, error: ClientError) {
        let Some(link) = self.links.remove(&id) else { return };
        link.connection.close();
        self.by_node.remove(&link.node);
        self.refresh_at.get_or_insert_with(|| Instant::now() + BACKOFF);
        let (address, source) = (link.connection.address().to_owned(), error.to_string());
        let lost =
            || ClientError::Lost { address: address.clone(), source: io::Error::other(source.clone()) };
        if self.settings.acks == Acks::None {
            // Which of the records arrived is not known; that must be said.
            self.report.failures.push(Failure { partition: -1, records: 0, lines: (0, 0), error });
            self.stop();
        }
        for batch in link.in_flight.into_iter().flat_map(|request| request.batches) {
            self.partitions[batch.partition as usize].in_flight -= 1;
            self.postpone(batch, lost());
        }
    }

    /// The link to a leader, made where there is none.
    fn link_to(&mut self, node: NodeId) -> Result<u64, ClientError> {
        if let Some(id) = self.by_node.get(&node) {
            return Ok(*id);
        }
        let connection = self.client.dial(node)?;
        let version = connection.version_below::<ProduceRequest>(PRODUCE_VERSION_MAX)?;
        if self.settings.compression == Compression::Zstd && version < ZSTD_VERSION_MIN {
            return Err(ClientError::Unsupported {
                address: connection.address().to_owned(),
                request: "zstd in Produce",
                ours: format!("{ZSTD_VERSION_MIN}..{PRODUCE_VERSION_MAX}"),
                theirs: format!("up to {version}"),
            });
        }
        let id = self.next_link;
        self.next_link += 1;
        start_receiving(id, connection.receiver()?, self.events.clone());
        self.links.insert(id, Link { node, connection, version, in_flight: VecDeque::new() });
        self.by_node.insert(node, id);
        self.node_failures = 0;
        Ok(id)
    }

    /// A leader cannot be reached: its partitions wait, and metadata may name another.
    fn postpone_node(&mut self, node: NodeId, error: ClientError) {
        if !error.is_retriable() {
            self.report.failures.push(Failure { partition: -1, records: 0, lines: (0, 0), error });
            return self.stop();
        }
        self.node_failures += 1;
        if self.node_failures == FAILURES_TOLD {
            (self.on_trouble)(&error);
        }
        self.refresh_at.get_or_insert_with(|| Instant::now() + BACKOFF);
        for partition in self.queued.clone() {
            let queue = &mut self.partitions[partition as usize];
            if queue.leader == Some(node) {
                queue.retry_at = Some(Instant::now() + BACKOFF);
                if let Some(batch) = queue.waiting.front_mut() {
                    batch.last_error = Some(ClientError::NoLeader(error.to_string()));
                }
            }
        }
        self.expire();
    }

    fn refresh_if_due(&mut self) {
        if self.has_failed || self.refresh_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.refresh_at = None;
        match self.client.metadata(Some(&[&self.topic]), false) {
            Ok(cluster) => {
                if let Some(topic) = cluster.topics.iter().find(|topic| topic.name == self.topic) {
                    self.learn(&cluster, topic);
                }
            }
            // Whether a leader can be reached shows when it is tried.
            Err(error) => tracing::debug!("the metadata cannot be read: {error}"),
        }
        let is_leaderless = |partition: &i32| self.partitions[*partition as usize].leader.is_none();
        if self.queued.iter().any(is_leaderless) {
            self.refresh_at = Some(Instant::now() + BACKOFF);
        }
    }

    /// Takes over who leads what.
    fn learn(&mut self, cluster: &Cluster, topic: &Topic) {
        for (id, queue) in self.partitions.iter_mut().enumerate() {
            let partition = topic.partitions.iter().find(|partition| partition.id.0 == id as i32);
            let leader = partition.and_then(|partition| partition.leader);
            queue.leader = leader.filter(|leader| cluster.brokers.contains_key(leader));
            if queue.leader.is_none() {
                self.refresh_at.get_or_insert_with(|| Instant::now() + BACKOFF);
            }
        }
    }

    /// When something is to be done though nothing arrives.
    fn next_deadline(&self) -> Option<Instant> {
        let silence = self.silence_max();
        let answers =
            self.links.values().filter_map(|link| link.in_flight.front()).map(|r| r.sent_at + silence);
        let queues = self.queued.iter().map(|partition| &self.partitions[*partition as usize]);
        let retries = queues.flat_map(|queue| {
            let retry = queue.retry_at.filter(|_| queue.in_flight == 0 && queue.leader.is_some());
            // Without a leader, or with all requests taken, only the deadline is left to watch.
            [retry, queue.waiting.front().map(|batch| batch.deadline)].into_iter().flatten()
        });
        answers.chain(retries).chain(self.refresh_at.filter(|_| !self.has_failed)).min()
    }

    fn silence_max(&self) -> Duration {
        // The broker holds an answer up to the request's own timeout.
        self.request_timeout + Duration::from_secs(5)
    }

    /// Loses links that have been silent too long, and fails batches whose time is over.
    fn expire(&mut self) {
        let now = Instant::now();
        let silence = self.silence_max();
        let is_silent = |link: &Link| link.in_flight.front().is_some_and(|r| r.sent_at + silence <= now);
        let silent: Vec<u64> =
            self.links.iter().filter(|(_, link)| is_silent(link)).map(|(id, _)| *id).collect();
        for id in silent {
            let error = ClientError::TimedOut {
                address: self.links[&id].connection.address().to_owned(),
                request: "Produce",
                after_ms: silence.as_millis(),
            };
            self.lose(id, error);
        }
        for partition in self.queued.clone() {
            let waiting = &mut self.partitions[partition as usize].waiting;
            if let Some(mut batch) = waiting.pop_front_if(|batch| batch.deadline <= now) {
                let error = batch.last_error.take().unwrap_or_else(|| {
                    ClientError::NoLeader(format!("{}-{partition} has no leader at present", self.topic))
                });
                self.fail(batch, error);
            }
        }
    }
}

fn start_receiving(link: u64, mut receiver: Receiver, events: flume::Sender<Event>) {
    let run = move || {
        loop {
            let event = match receiver.receive() {
                Ok((correlation_id, frame)) => Event::Answer { link, correlation_id, frame },
                Err(error) => Event::Lost { link, error },
            };
            let is_last = matches!(event, Event::Lost { .. });
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("answers".to_owned()).spawn(run).expect("a thread can be started");
}

/// Two batches with the records of one, in order and with their sequences.
fn split(batch: &PendingBatch, levels: &CompressionLevels) -> Option<(PendingBatch, PendingBatch)> {
    let stored = BatchIter::new(&batch.bytes).next()?.ok()?;
    let opened = stored.open(&OpenLimits { bytes_max: usize::MAX >> 1, ratio_max: usize::MAX }).ok()?;
    let records: Vec<Record<'_>> =
        RecordIter::new(&opened, stored.header.record_count.get()).collect::<Result<_, _>>().ok()?;
    let half = |skip: usize, records: &[Record<'_>]| {
        let header = stored.header;
        let codec = header.attributes().compression()?;
        let mut builder = BatchBuilder::new().compression(codec, *levels);
        if header.has_producer_id() {
            let sequence = increment_sequence(header.base_sequence.get(), skip as i32);
            builder = builder.producer(header.producer_id(), header.producer_epoch.get(), sequence);
        }
        for record in records {
            let headers: Vec<Header<'_>> = record.headers.iter().collect();
            let timestamp = stored.timestamp_of(record.timestamp_delta);
            builder.append(timestamp, record.key, record.value, &headers);
        }
        Some(PendingBatch {
            order: (batch.order.0, batch.order.1 + skip as u32),
            partition: batch.partition,
            record_count: records.len() as u32,
            bytes: builder.build().ok()?,
            lines: batch.lines,
            deadline: batch.deadline,
            last_error: None,
            failures: 0,
        })
    };
    let middle = records.len() / 2;
    Some((half(0, &records[..middle])?, half(middle, &records[middle..])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ProducerId;

    #[test]
    fn a_split_keeps_records_and_sequences() {
        let mut builder = BatchBuilder::new()
            .compression(Compression::Zstd, CompressionLevels::default())
            .producer(ProducerId(7), 1, i32::MAX - 1);
        for value in 0..5u8 {
            builder.append(
                100 + i64::from(value),
                None,
                Some(&[value]),
                &[Header { key: b"h", value: None }],
            );
        }
        let batch = PendingBatch {
            order: (3, 10),
            failures: 0,
            partition: 0,
            bytes: builder.build().unwrap(),
            record_count: 5,
            lines: (1, 5),
            deadline: Instant::now(),
            last_error: None,
        };
        let (first, second) = split(&batch, &CompressionLevels::default()).unwrap();
        assert_eq!((first.record_count, second.record_count), (2, 3));
        assert_eq!((first.order, second.order), ((3, 10), (3, 12)));
        let mut values = Vec::new();
        for (half, sequence) in [(&first, i32::MAX - 1), (&second, 0)] {
            let stored = BatchIter::new(&half.bytes).next().unwrap().unwrap();
            assert_eq!(stored.header.base_sequence.get(), sequence);
            let opened = stored.open(&OpenLimits::default()).unwrap();
            for record in RecordIter::new(&opened, stored.header.record_count.get()) {
                let record = record.unwrap();
                assert_eq!(record.headers.len(), 1);
                values.push((stored.timestamp_of(record.timestamp_delta), record.value.unwrap()[0]));
            }
        }
        assert_eq!(values, [(100, 0), (101, 1), (102, 2), (103, 3), (104, 4)]);
    }
}
