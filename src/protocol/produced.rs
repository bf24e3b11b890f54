//! What the records of one partition in a Produce request must be before they may be appended, in
//! Kafka's order of checks and with its codes and texts.
//!
//! [`check_produced`] reads every byte of the records once for the CRC. What it gives is a batch whose header is
//! still the producer's; [`CheckedBatch::stamp`] gives the header as it goes to disk and combines the CRC from
//! what is known, so that the record bytes are never read or written again.
//!
//! Source: ProduceRequest.validateRecords, UnifiedLog.analyzeAndValidateRecords, LogValidator.

use bytes::Bytes;
use zerocopy::IntoBytes;

use super::batch::{
    Attributes, BatchHeader, HEADER_BYTES, HEADER_BYTES_UP_TO_MAGIC, LENGTH_MIN, LOG_OVERHEAD, MAGIC,
    NO_PRODUCER_ID, NO_TIMESTAMP,
};
use super::compression::{Compression, OpenLimits};
use crate::types::{LeaderEpoch, Offset, PartitionId, ProducerId};

/// Which time a topic's records carry: `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// What a topic and the request demand of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ProduceLimits<'a> {
    /// Names the partition in error texts.
    pub topic: &'a str,
    pub partition: PartitionId,
    /// The Produce request's version: zstd needs 7.
    pub api_version: i16,
    /// `max.message.bytes`.
    pub message_bytes_max: i32,
    /// Whether `cleanup.policy` has `compact`, so that every record needs a key.
    pub compacted: bool,
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    /// The wall clock.
    pub now_ms: i64,
    /// Bounds for batches that have to be opened.
    pub open: OpenLimits,
}

/// The codes a batch can be refused with; the values are Kafka's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum BatchErrorKind {
    /// Kafka's answer where a compressed stream cannot be read.
    UnknownServerError = -1,
    CorruptMessage = 2,
    MessageTooLarge = 10,
    InvalidTimestamp = 32,
    UnsupportedForMessageFormat = 43,
    UnsupportedCompressionType = 76,
    InvalidRecord = 87,
}

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BatchError {
    pub kind: BatchErrorKind,
    /// For the broker's log.
    pub reason: String,
    /// Whether `reason` goes into the answer's `error_message` (Kafka does so only with record errors).
    pub reason_in_answer: bool,
    /// Whether the answer carries the partition's log start offset; otherwise -1.
    pub log_start_in_answer: bool,
    pub record_errors: Vec<RecordError>,
}

/// Why one record of a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's place in its batch, from 0.
    pub index: i32,
    pub message: String,
}

/// A produced batch that may be appended. The header in `bytes` is as its producer wrote it.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    /// Exactly one batch, 61 bytes of header and the records.
    pub bytes: Bytes,
    pub record_count: i32,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    /// The greatest timestamp of the records; of a compressed batch that was not opened, what its header says.
    pub max_timestamp: i64,
    /// The offset delta of the first record with the greatest timestamp; -1 where the batch was not opened.
    pub offset_of_max_timestamp: i32,
    pub compression: Compression,
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub is_transactional: bool,
    /// The topic's timestamp type when the batch was checked.
    pub timestamp_type: TimestampType,
    /// Whether this compressed batch must go through [`super::opened::open_checked`] before it is appended.
    pub must_open: bool,
}

impl CheckedBatch {
    /// The header as it goes to disk. `log_append_time` is the wall clock for a topic with LogAppendTime, and
    /// `None` for one with CreateTime. Nothing but these 61 bytes differs from the producer's batch.
    pub fn stamp(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        log_append_time: Option<i64>,
    ) -> [u8; HEADER_BYTES] {
        let _ = (base_offset, leader_epoch, log_append_time);
        todo!()
    }

    pub fn header(&self) -> &BatchHeader {
        BatchHeader::parse(&self.bytes).expect("a checked batch has a whole header")
    }

    /// The record bytes, compressed as they stand.
    pub fn record_bytes(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id.0 > NO_PRODUCER_ID.0
    }
}

/// Checks what a producer sent for one partition. `records` may carry bytes of a cut second batch, which are
/// dropped, as Kafka does.
pub fn check_produced(records: Bytes, limits: &ProduceLimits<'_>) -> Result<CheckedBatch, BatchError> {
    let _ = (records, limits);
    todo!()
}
