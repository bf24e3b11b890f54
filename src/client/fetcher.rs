//! Partitions read from their leaders, a thread and a connection for each leader.
//!
//! A thread asks, hands what came to a bounded channel, and asks for what follows while the receiver still
//! unpacks: the next offset stands in the headers of the batches. A partition whose leader moved or whose
//! answer was an error is handed back, with the offset that comes next; the receiver decides what then.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};

use super::cluster::{Client, topic_name};
use super::connection::Connection;
use super::error::ClientError;
use crate::protocol::batch::BatchIter;
use crate::types::{NodeId, Offset, PartitionId};

/// The newest version that names topics; later ones want their ids.
pub(super) const FETCH_VERSION_MAX: i16 = 12;
/// What one answer may hold.
const ANSWER_BYTES_MAX: i32 = 16 << 20;
const PARTITION_BYTES_MAX: i32 = 4 << 20;
/// Answers that wait to be unpacked.
const ANSWERS_WAITING_MAX: usize = 4;

/// A partition and where to read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub topic: std::sync::Arc<str>,
    pub partition: PartitionId,
    pub next: Offset,
    /// Read until here; `None`: for ever.
    pub until: Option<Offset>,
}

/// What arrives.
pub enum Fetched {
    /// Whole batches of one partition in order; the first may begin before `from`.
    Batches {
        topic: std::sync::Arc<str>,
        partition: PartitionId,
        from: Offset,
        until: Option<Offset>,
        bytes: Bytes,
    },
    /// The partition is read up to its `until`.
    Ended(Position),
    /// The thread reads this partition no more.
    HandedBack { position: Position, error: ClientError },
}

/// How a broker is to answer.
#[derive(Clone, Copy, Debug)]
pub struct FetchSettings {
    /// How long it may wait for the first byte.
    pub max_wait: Duration,
}

/// Where the threads put what they read, and where the receiver takes it from.
pub fn channel() -> (flume::Sender<Fetched>, flume::Receiver<Fetched>) {
    flume::bounded(ANSWERS_WAITING_MAX)
}

/// Starts to read `positions`, all led by `leader`. The thread ends when none is left, or the receiver is gone.
pub fn start(
    client: &mut Client,
    leader: NodeId,
    positions: Vec<Position>,
    settings: FetchSettings,
    out: flume::Sender<Fetched>,
) -> Result<(), ClientError> {
    let connection = client.dial(leader)?;
    let version = connection.version_below::<FetchRequest>(FETCH_VERSION_MAX)?;
    let fetcher = Fetcher {
        connection,
        version,
        positions,
        settings,
        out,
        request_timeout: client.options().request_timeout,
    };
    let spawned = std::thread::Builder::new().name("fetch".to_owned()).spawn(move || fetcher.run());
    spawned.expect("a thread can be started");
    Ok(())
}

struct Fetcher {
    connection: Connection,
    version: i16,
    positions: Vec<Position>,
    settings: FetchSettings,
    request_timeout: Duration,
    out: flume::Sender<Fetched>,
}

/// The receiver is gone.
struct Gone;

impl Fetcher {
    fn run(mut self) {
        while !self.positions.is_empty() {
            let outcome = match self.ask() {
                Ok(response) => self.take(response),
                Err(error) => self.hand_back_all(&error),
            };
            if outcome.is_err() {
                return;
            }
        }
    }

    fn ask(&mut self) -> Result<FetchResponse, ClientError> {
        let request = self.request();
        let correlation_id = self.connection.send(self.version, &request)?;
        let patience = self.request_timeout + self.settings.max_wait;
        let frame = self.connection.receive(correlation_id, "Fetch", patience)?;
        let response = super::wire::decode_response::<FetchRequest>(frame, self.version)?;
        ClientError::check(|| "a fetch".to_owned(), response.error_code, None)?;
        Ok(response)
    }

    fn request(&self) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for position in &self.positions {
            let partition = FetchPartition::default()
                .with_partition(position.partition.0)
                .with_fetch_offset(position.next.0)
                .with_log_start_offset(-1)
                .with_current_leader_epoch(-1)
                .with_last_fetched_epoch(-1)
                .with_partition_max_bytes(PARTITION_BYTES_MAX);
            match topics.iter_mut().find(|topic| topic.topic.0.as_str() == &*position.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(
                    FetchTopic::default()
                        .with_topic(topic_name(&position.topic))
                        .with_partitions(vec![partition]),
                ),
            }
        }
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.settings.max_wait.as_millis() as i32)
            .with_min_bytes(1)
            .with_max_bytes(ANSWER_BYTES_MAX)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(topics)
    }

    fn take(&mut self, response: FetchResponse) -> Result<(), Gone> {
        for topic in response.responses {
            for answer in topic.partitions {
                let is_asked = |position: &Position| {
                    position.partition.0 == answer.partition_index
                        && topic.topic.0.as_str() == &*position.topic
                };
                let Some(index) = self.positions.iter().position(is_asked) else { continue };
                let what = || format!("{}-{}", self.positions[index].topic, self.positions[index].partition);
                if let Err(error) = ClientError::check(what, answer.error_code, None) {
                    let position = self.positions.swap_remove(index);
                    self.post(Fetched::HandedBack { position, error })?;
                    continue;
                }
                self.take_records(index, answer.records.unwrap_or_default())?;
            }
        }
        // Those that were answered first do not stay first.
        if self.positions.len() > 1 {
            self.positions.rotate_left(1);
        }
        Ok(())
    }

    fn take_records(&mut self, index: usize, records: Bytes) -> Result<(), Gone> {
        let position = &mut self.positions[index];
        let from = position.next;
        let mut whole = 0;
        let mut broken = None;
        for batch in BatchIter::new(&records) {
            match batch {
                Ok(batch) if !batch.crc_matches() => {
                    broken = Some(format!(
                        "the batch at offset {} fails its checksum",
                        batch.header.base_offset()
                    ));
                    break;
                }
                Ok(batch) => {
                    position.next = position.next.max(batch.header.next_offset());
                    whole = batch.position + batch.bytes.len();
                }
                Err(error) => {
                    broken = Some(error.to_string());
                    break;
                }
            }
        }
        let (topic, partition, until) = (position.topic.clone(), position.partition, position.until);
        if position.next > from {
            let bytes = records.slice(..whole);
            self.post(Fetched::Batches { topic: topic.clone(), partition, from, until, bytes })?;
        }
        if let Some(why) = broken {
            let position = self.positions.swap_remove(index);
            let code = ResponseError::CorruptMessage;
            let error =
                ClientError::Refused { what: format!("{topic}-{partition}"), code, message: Some(why) };
            return self.post(Fetched::HandedBack { position, error });
        }
        if until.is_some_and(|until| self.positions[index].next >= until) {
            let position = self.positions.swap_remove(index);
            return self.post(Fetched::Ended(position));
        }
        Ok(())
    }

    fn hand_back_all(&mut self, error: &ClientError) -> Result<(), Gone> {
        let address = self.connection.address().to_owned();
        for position in std::mem::take(&mut self.positions) {
            let error = ClientError::Lost {
                address: address.clone(),
                source: std::io::Error::other(error.to_string()),
            };
            self.post(Fetched::HandedBack { position, error })?;
        }
        Ok(())
    }

    fn post(&self, fetched: Fetched) -> Result<(), Gone> {
        self.out.send(fetched).map_err(|_| Gone)
    }
}
