//! Records into batches, in the caller's thread; [`delivery`](super::delivery) takes the batches on from
//! there in its own.
//!
//! A record goes to the partition it names, else to its key's, else to the one that is being filled; the
//! next one is filled when a batch is full. Open and undelivered batches are bounded in bytes: at the bound
//! [`Producer::append`] waits. Nothing is dropped without standing in the [`Report`].

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{InitProducerIdRequest, ProducerId as WireProducerId};

use super::budget::Budget;
use super::cluster::{Client, Cluster, Topic};
use super::delivery::{self, Delivered, Event, OnTrouble, PendingBatch, Report};
use super::error::ClientError;
use super::partitioner::partition_for_key;
use crate::protocol::batch::{BatchBuilder, increment_sequence};
use crate::protocol::compression::{Compression, CompressionLevels};
use crate::protocol::record::Header;
use crate::types::ProducerId;

/// The most bytes of batches that are being filled; past it all of them are sent.
const OPEN_BYTES_MAX: usize = 32 << 20;

/// Whose word a record waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Acks {
    /// Nobody's.
    None = 0,
    /// The leader's.
    Leader = 1,
    /// Every in-sync replica's.
    All = -1,
}

#[derive(Clone, Debug)]
pub struct ProducerOptions {
    pub acks: Acks,
    pub compression: Compression,
    pub levels: CompressionLevels,
    /// A batch is sent when its records take this many bytes before compression.
    pub batch_bytes: usize,
    /// How long a batch may wait for more records.
    pub linger: Duration,
    /// Whether a retry can neither double nor reorder records.
    pub idempotent: bool,
    /// How long a batch may be tried for.
    pub delivery_timeout: Duration,
}

/// One record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
    pub partition: Option<i32>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Where it stands in the caller's input, for reports.
    pub line: u64,
}

/// The delivery has failed; [`Producer::finish`] says how.
#[derive(Debug)]
pub struct Stopped;

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the topic has no partition {asked}; it has {count}")]
    NoSuchPartition { asked: i32, count: i32 },
    #[error("the delivery has failed")]
    Stopped,
}

impl From<Stopped> for AppendError {
    fn from(_: Stopped) -> AppendError {
        AppendError::Stopped
    }
}

/// Writes to one topic.
pub struct Producer {
    options: ProducerOptions,
    producer: Option<(ProducerId, i16)>,
    /// By partition; `None` where no batch is open.
    open: Vec<Option<OpenBatch>>,
    open_bytes: usize,
    /// When the oldest of the open batches is due.
    due: Option<Instant>,
    next_sequence: Vec<i32>,
    /// The partition that records without key go to.
    filling: usize,
    next_number: u64,
    events: flume::Sender<Event>,
    budget: Arc<Budget>,
    delivered: Arc<Delivered>,
    delivery: JoinHandle<Report>,
}

struct OpenBatch {
    builder: BatchBuilder,
    first_line: u64,
    last_line: u64,
}

impl Producer {
    /// Begins to write to `topic` of `cluster`, both as `client` has just read them.
    pub fn start(
        mut client: Client,
        cluster: &Cluster,
        topic: &Topic,
        options: ProducerOptions,
        on_trouble: OnTrouble,
    ) -> Result<Producer, ClientError> {
        let producer = if options.idempotent { init_producer(&mut client)? } else { None };
        let (events, inbox) = flume::unbounded();
        let budget = Arc::new(Budget::default());
        let delivered = Arc::new(Delivered::default());
        let delivery = delivery::start(
            client,
            cluster,
            topic,
            delivery::Settings {
                acks: options.acks,
                idempotent: producer.is_some(),
                delivery_timeout: options.delivery_timeout,
                compression: options.compression,
                levels: options.levels,
            },
            (events.clone(), inbox),
            (Arc::clone(&budget), Arc::clone(&delivered)),
            on_trouble,
        );
        let count = topic.partitions.len();
        Ok(Producer {
            options,
            producer,
            open: (0..count).map(|_| None).collect(),
            open_bytes: 0,
            due: None,
            next_sequence: vec![0; count],
            filling: 0,
            next_number: 0,
            events,
            budget,
            delivered,
            delivery,
        })
    }

    /// What has been acknowledged so far.
    pub fn delivered(&self) -> Arc<Delivered> {
        Arc::clone(&self.delivered)
    }

    /// Takes a record into a batch; waits where too much is undelivered.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<(), AppendError> {
        let partition = self.partition(record)?;
        let bytes = record_bytes(record);
        if let Some(open) = &self.open[partition]
            && open.builder.uncompressed_bytes() + bytes > self.options.batch_bytes
        {
            self.seal(partition)?;
        }
        let open = self.open[partition].get_or_insert_with(|| OpenBatch {
            builder: BatchBuilder::new().compression(self.options.compression, self.options.levels),
            first_line: record.line,
            last_line: record.line,
        });
        open.builder.append(record.timestamp, record.key, record.value, record.headers);
        open.last_line = record.line;
        self.open_bytes += bytes;
        self.due.get_or_insert_with(|| Instant::now() + self.options.linger);
        if open.builder.uncompressed_bytes() >= self.options.batch_bytes {
            self.seal(partition)?;
        } else if self.open_bytes > OPEN_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn partition(&self, record: &NewRecord<'_>) -> Result<usize, AppendError> {
        let count = self.open.len();
        match (record.partition, record.key) {
            (Some(asked), _) => usize::try_from(asked)
                .ok()
                .filter(|partition| *partition < count)
                .ok_or(AppendError::NoSuchPartition { asked, count: count as i32 }),
            (None, Some(key)) => Ok(partition_for_key(key, count as i32) as usize),
            (None, None) => Ok(self.filling),
        }
    }

    /// When [`Producer::flush`] is due; `None` while no batch is open.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hands every open batch to the delivery.
    pub fn flush(&mut self) -> Result<(), Stopped> {
        for partition in 0..self.open.len() {
            self.seal(partition)?;
        }
        self.due = None;
        self.open_bytes = 0;
        Ok(())
    }

    fn seal(&mut self, partition: usize) -> Result<(), Stopped> {
        let Some(OpenBatch { builder, first_line, last_line }) = self.open[partition].take() else {
            return Ok(());
        };
        self.open_bytes = self.open_bytes.saturating_sub(builder.uncompressed_bytes());
        if partition == self.filling {
            self.filling = (partition + 1) % self.open.len();
        }
        let record_count = builder.record_count();
        let builder = match self.producer {
            Some((id, epoch)) => {
                let sequence = self.next_sequence[partition];
                self.next_sequence[partition] = increment_sequence(sequence, record_count);
                builder.producer(id, epoch, sequence)
            }
            None => builder,
        };
        let bytes = builder.build().expect("the encoders write to memory");
        self.budget.take(bytes.len())?;
        let batch = PendingBatch {
            order: (self.next_number, 0),
            partition: partition as i32,
            bytes,
            record_count: record_count as u32,
            lines: (first_line, last_line),
            deadline: Instant::now() + self.options.delivery_timeout,
            last_error: None,
            failures: 0,
        };
        self.next_number += 1;
        self.events.send(Event::Batch(batch)).map_err(|_| Stopped)
    }

    /// Sends what is open, waits for every answer, and says what became of it all.
    pub fn finish(mut self) -> Report {
        // Where the delivery has stopped, its report says why, and what is open counts as not sent.
        let _ = self.flush();
        let unsent: u64 = self.open.iter().flatten().map(|open| open.builder.record_count() as u64).sum();
        // The delivery ends by itself where it has failed.
        let _ = self.events.send(Event::End);
        match self.delivery.join() {
            Ok(mut report) => {
                report.unsent_records += unsent;
                report
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// What a record adds to a batch, at most a few bytes too much.
fn record_bytes(record: &NewRecord<'_>) -> usize {
    const FRAMING_BYTES: usize = 21;
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let header = |header: &Header<'_>| header.key.len() + length(header.value) + 10;
    FRAMING_BYTES
        + length(record.key)
        + length(record.value)
        + record.headers.iter().map(header).sum::<usize>()
}

/// A producer id, or `None` from a broker that knows no idempotence.
fn init_producer(client: &mut Client) -> Result<Option<(ProducerId, i16)>, ClientError> {
    let response = client.patiently(|client| {
        let response = client.ask_any(|_| {
            InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(i32::MAX)
                .with_producer_id(WireProducerId(-1))
                .with_producer_epoch(-1)
        })?;
        ClientError::check(|| "a producer id".to_owned(), response.error_code, None)?;
        Ok(response)
    });
    let response = match response {
        Err(ClientError::Unsupported { .. }) => return Ok(None),
        other => other?,
    };
    Ok(Some((ProducerId(response.producer_id.0), response.producer_epoch)))
}
