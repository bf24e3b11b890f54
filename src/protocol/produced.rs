//! What the records of one partition in a Produce request must be before they may be appended, in
//! Kafka's order of checks and with its codes and texts.
//!
//! [`check_produced`] reads every byte of the records once for the CRC. What it gives is a batch whose header is
//! still the producer's; [`CheckedBatch::stamp`] gives the header as it goes to disk and combines the CRC from
//! what is known, so that the record bytes are never read or written again.
//!
//! Source: ProduceRequest.validateRecords, UnifiedLog.analyzeAndValidateRecords, LogValidator.

use std::fmt;

use bytes::Bytes;

use super::batch::{
    Attributes, BatchHeader, CRC_START, HEADER_BYTES, HEADER_BYTES_UP_TO_MAGIC, LENGTH_MIN, LOG_OVERHEAD,
    MAGIC, NO_PRODUCER_ID, NO_TIMESTAMP,
};
use super::compression::{Compression, OpenLimits};
use super::crc;
use super::record::{RECORD_BYTES_MIN, Record, RecordIter};
use crate::types::{LeaderEpoch, Offset, PartitionId, ProducerId};

/// The record errors that an answer carries at most; Kafka has no bound, and a batch of 1 MB could have 150,000.
pub const RECORD_ERRORS_MAX: usize = 1000;

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

impl BatchError {
    /// An error that Kafka answers without the log start offset.
    fn of_request(kind: BatchErrorKind, reason: String) -> BatchError {
        BatchError {
            kind,
            reason,
            reason_in_answer: false,
            log_start_in_answer: false,
            record_errors: Vec::new(),
        }
    }

    /// An error that Kafka answers with the log start offset.
    pub(super) fn of_append(kind: BatchErrorKind, reason: String) -> BatchError {
        BatchError { log_start_in_answer: true, ..BatchError::of_request(kind, reason) }
    }

    /// A batch that has become too large when it was compressed anew.
    pub(super) fn too_large(reason: String) -> BatchError {
        BatchError::of_request(BatchErrorKind::MessageTooLarge, reason)
    }
}

impl BatchErrorKind {
    /// Kafka's error code.
    pub fn code(self) -> i16 {
        self as i16
    }
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

impl fmt::Display for RecordError {
    /// As Kafka writes it into its summary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordError(batchIndex={}, message='{}')", self.index, self.message)
    }
}

impl ProduceLimits<'_> {
    /// Whether a record's own timestamp lies outside what the topic takes. -1, no timestamp, never does.
    fn timestamp_is_out_of_range(&self, timestamp: i64) -> bool {
        let age = self.now_ms.wrapping_sub(timestamp);
        self.timestamp_type == TimestampType::CreateTime
            && timestamp != NO_TIMESTAMP
            && (age > self.timestamp_before_max_ms || age.wrapping_neg() > self.timestamp_after_max_ms)
    }
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
        let mut header = *self.header();
        header.base_offset = base_offset.0.into();
        header.partition_leader_epoch = leader_epoch.0.into();
        let max_timestamp = log_append_time.unwrap_or(self.max_timestamp);
        let attributes = header.attributes();
        if attributes.is_log_append_time() != log_append_time.is_some()
            || header.max_timestamp.get() != max_timestamp
        {
            let tail_crc = header.tail_crc();
            header.attributes = Attributes(attributes.0 & Attributes::KNOWN)
                .with_log_append_time(log_append_time.is_some())
                .0
                .into();
            header.max_timestamp = max_timestamp.into();
            // The CRC is linear: what the header's part changes by, shifted past the records, is what the
            // whole changes by.
            let change = tail_crc ^ header.tail_crc();
            header.crc = crc::combine(change, header.crc.get(), self.record_bytes().len()).into();
        }
        zerocopy::transmute!(header)
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
    let bytes = only_batch(records, limits.api_version)?;
    let header = check_header(&bytes, limits)?;
    let attributes = header.attributes();
    let compression = attributes.compression().ok_or_else(|| {
        let reason = format!("Unknown compression type id: {}", attributes.0 & 7);
        let error = BatchError::of_append(BatchErrorKind::UnsupportedCompressionType, reason);
        // Before version 7 Kafka refuses it where it looks for zstd, before it looks at the log.
        BatchError { log_start_in_answer: limits.api_version >= 7, ..error }
    })?;
    check_counts(header, limits)?;
    let mut batch = CheckedBatch {
        record_count: header.record_count.get(),
        last_offset_delta: header.last_offset_delta.get(),
        base_timestamp: header.base_timestamp.get(),
        max_timestamp: header.max_timestamp.get(),
        offset_of_max_timestamp: -1,
        compression,
        producer_id: header.producer_id(),
        producer_epoch: header.producer_epoch.get(),
        base_sequence: header.base_sequence.get(),
        is_transactional: attributes.is_transactional(),
        timestamp_type: limits.timestamp_type,
        must_open: compression != Compression::None && header_cannot_be_trusted(header, limits),
        bytes: bytes.clone(),
    };
    if compression == Compression::None {
        let seen = check_records(header, batch.record_bytes(), limits, "DefaultRecord")?;
        batch.max_timestamp = seen.max_timestamp;
        batch.offset_of_max_timestamp = seen.offset_of_max_timestamp;
    }
    Ok(batch)
}

/// Cuts `records` to the one batch that must stand in it: Kafka's `ProduceRequest.validateRecords`, which it does
/// before it looks at any partition.
pub fn only_batch(records: Bytes, api_version: i16) -> Result<Bytes, BatchError> {
    let invalid = |what: &str| {
        let reason = format!("Produce requests with version {api_version} {what}");
        BatchError::of_request(BatchErrorKind::InvalidRecord, reason)
    };
    let extent = batch_extent(&records)
        .map_err(|reason| BatchError {
            reason_in_answer: true,
            ..BatchError::of_request(BatchErrorKind::CorruptMessage, reason)
        })?
        .ok_or_else(|| invalid("must have at least one record batch per partition"))?;
    if records[HEADER_BYTES_UP_TO_MAGIC - 1] as i8 != MAGIC {
        return Err(invalid("are only allowed to contain record batches with magic version 2"));
    }
    // The low byte of the attributes; a batch has at least 26 bytes here.
    let codec = records[CRC_START + 1] & 7;
    if api_version < 7 && codec == Compression::Zstd as u8 {
        return Err(BatchError {
            kind: BatchErrorKind::UnsupportedCompressionType,
            ..invalid("are not allowed to use ZStandard compression")
        });
    }
    match batch_extent(&records[extent..]) {
        Ok(None) => Ok(records.slice(..extent)),
        Ok(Some(_)) => Err(invalid("are only allowed to contain exactly one record batch per partition")),
        Err(reason) => Err(BatchError::of_request(BatchErrorKind::CorruptMessage, reason)),
    }
}

/// The bytes of the batch that `bytes` begins with; `None` where it is cut.
fn batch_extent(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(length) = bytes.get(8..LOG_OVERHEAD).and_then(|length| length.try_into().ok()) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(length);
    if length < LENGTH_MIN {
        return Err(format!("Record size {length} is less than the minimum record overhead ({LENGTH_MIN})"));
    }
    match bytes.get(HEADER_BYTES_UP_TO_MAGIC - 1).map(|magic| *magic as i8) {
        None => Ok(None),
        Some(magic) if !(0..=MAGIC).contains(&magic) => {
            Err(format!("Invalid magic found in record: {magic}"))
        }
        Some(_) => Ok(Some(length as usize + LOG_OVERHEAD).filter(|extent| *extent <= bytes.len())),
    }
}

/// Base offset, size and CRC.
fn check_header<'a>(bytes: &'a [u8], limits: &ProduceLimits<'_>) -> Result<&'a BatchHeader, BatchError> {
    let ProduceLimits { topic, partition, message_bytes_max, .. } = limits;
    let base_offset = bytes.first_chunk().map_or(0, |base| i64::from_be_bytes(*base));
    if base_offset != 0 {
        let reason = format!(
            "The baseOffset of the record batch in the append to {topic}-{partition} should be 0, but it is \
             {base_offset}"
        );
        return Err(BatchError::of_append(BatchErrorKind::InvalidRecord, reason));
    }
    if bytes.len() as i64 > i64::from(*message_bytes_max) {
        let reason = format!(
            "The record batch size in the append to {topic}-{partition} is {} bytes which exceeds the maximum \
             configured value of {message_bytes_max}).",
            bytes.len()
        );
        return Err(BatchError::of_request(BatchErrorKind::MessageTooLarge, reason));
    }
    let corrupt = |crc: u32| {
        let reason =
            format!("Record is corrupt (stored crc = {crc}) in topic partition {topic}-{partition}.");
        BatchError::of_request(BatchErrorKind::CorruptMessage, reason)
    };
    let header = BatchHeader::parse(bytes).ok_or_else(|| corrupt(0))?;
    if crc32c::crc32c(&bytes[CRC_START..]) != header.crc.get() {
        return Err(corrupt(header.crc.get()));
    }
    Ok(header)
}

/// Record count, control flag, sequence.
fn check_counts(header: &BatchHeader, limits: &ProduceLimits<'_>) -> Result<(), BatchError> {
    let ProduceLimits { topic, partition, .. } = limits;
    let last = i64::from(header.last_offset_delta.get());
    let count = i64::from(header.record_count.get());
    let reason = if last < 0 {
        format!("Batch has an invalid offset range: [0, {last}] in topic partition {topic}-{partition}")
    } else if count <= 0 {
        format!("Invalid reported count for record batch: {count} in topic partition {topic}-{partition}")
    } else if last + 1 != count {
        format!(
            "Inconsistent batch offset range [0, {last}] and count of records {count} in topic partition \
             {topic}-{partition}"
        )
    } else if header.attributes().is_control() {
        format!("Clients are not allowed to write control records in topic partition {topic}-{partition}")
    } else if header.has_producer_id() && header.base_sequence.get() < 0 {
        format!(
            "Invalid sequence number {} in record batch with producerId {} in topic partition \
             {topic}-{partition}",
            header.base_sequence, header.producer_id
        )
    } else {
        return Ok(());
    };
    Err(BatchError::of_append(BatchErrorKind::InvalidRecord, reason))
}

/// Whether a compressed batch must be opened: its records may lack keys or be out of time, or there cannot be as
/// many as it says.
fn header_cannot_be_trusted(header: &BatchHeader, limits: &ProduceLimits<'_>) -> bool {
    let record_bytes = header.batch_bytes().map_or(0, |bytes| bytes - HEADER_BYTES);
    let count = header.record_count.get() as usize;
    limits.compacted
        || header.attributes().is_log_append_time()
        || limits.timestamp_is_out_of_range(header.base_timestamp.get())
        || limits.timestamp_is_out_of_range(header.max_timestamp.get())
        || count.saturating_mul(RECORD_BYTES_MIN) > limits.open.bytes_max_of(record_bytes)
}

/// What [`check_records`] found.
pub(super) struct RecordsSeen {
    pub max_timestamp: i64,
    /// The delta of the first record with the greatest timestamp; -1 where no timestamp is above -1.
    pub offset_of_max_timestamp: i32,
}

/// Checks each of the uncompressed `records` of a batch. Offsets that are not 0, 1, 2 and so on are refused: Kafka
/// appends such a batch as it is when it is uncompressed, and fails with an unknown error when it is not. `name` is what Kafka calls a record in the one text that
/// shows it.
pub(super) fn check_records(
    header: &BatchHeader,
    records: &[u8],
    limits: &ProduceLimits<'_>,
    name: &'static str,
) -> Result<RecordsSeen, BatchError> {
    let append_time = header.attributes().is_log_append_time().then(|| header.max_timestamp.get());
    let base_timestamp = header.base_timestamp.get();
    let mut seen = RecordsSeen { max_timestamp: NO_TIMESTAMP, offset_of_max_timestamp: -1 };
    let mut offsets_follow = true;
    let mut refused = RefusedRecords::default();
    for (index, record) in (0..).zip(RecordIter::new(records, header.record_count.get())) {
        let record = record
            .map_err(|error| BatchError::of_append(BatchErrorKind::InvalidRecord, error.to_string()))?;
        let timestamp = append_time.unwrap_or(base_timestamp.wrapping_add(record.timestamp_delta));
        if limits.compacted && record.key.is_none() {
            refused.add(index, false, || no_key(limits));
        } else if limits.timestamp_type == TimestampType::CreateTime && timestamp != NO_TIMESTAMP {
            if limits.timestamp_is_out_of_range(timestamp) {
                refused.add(index, true, || out_of_range(limits, timestamp, record.offset_delta));
            }
        } else if append_time.is_some() {
            refused.add(index, true, || wrong_timestamp_type(name, &record, timestamp));
        }
        offsets_follow &= record.offset_delta == index;
        if timestamp > seen.max_timestamp {
            seen.max_timestamp = timestamp;
            seen.offset_of_max_timestamp = record.offset_delta;
        }
    }
    refused.into_result()?;
    if offsets_follow {
        return Ok(seen);
    }
    let reason = "The offsets of the records do not follow each other from 0".to_owned();
    Err(BatchError::of_append(BatchErrorKind::InvalidRecord, reason))
}

fn no_key(limits: &ProduceLimits<'_>) -> String {
    let ProduceLimits { topic, partition, .. } = limits;
    format!("Compacted topic cannot accept message without key in topic partition {topic}-{partition}")
}

fn out_of_range(limits: &ProduceLimits<'_>, timestamp: i64, offset: i32) -> String {
    let from = limits.now_ms.wrapping_sub(limits.timestamp_before_max_ms);
    let to = limits.now_ms.wrapping_add(limits.timestamp_after_max_ms);
    format!(
        "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be within \
         [{from}, {to}]"
    )
}

fn wrong_timestamp_type(name: &str, record: &Record<'_>, timestamp: i64) -> String {
    // Kafka's whole record counts null as 0 bytes, and the partial one it reads where it need not keep keys
    // and values as -1.
    let null = if name == "DefaultRecord" { 0 } else { -1 };
    let bytes = |part: Option<&[u8]>| part.map_or(null, |part| part.len() as i64);
    format!(
        "Invalid timestamp type in message {name}(offset={}, timestamp={timestamp}, key={} bytes, value={} \
         bytes). Producer should not set timestamp type to LogAppendTime.",
        record.offset_delta,
        bytes(record.key),
        bytes(record.value)
    )
}

/// Record errors as they are found; all are counted and the first [`RECORD_ERRORS_MAX`] kept.
#[derive(Default)]
struct RefusedRecords {
    count: usize,
    any_timestamp: bool,
    errors: Vec<RecordError>,
}

impl RefusedRecords {
    fn add(&mut self, index: i32, is_timestamp: bool, message: impl FnOnce() -> String) {
        self.count += 1;
        self.any_timestamp |= is_timestamp;
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(RecordError { index, message: message() });
        }
    }

    fn into_result(self) -> Result<(), BatchError> {
        if self.count == 0 {
            return Ok(());
        }
        let (kind, reason) = if self.any_timestamp {
            let reason = "One or more records have been rejected due to invalid timestamp".to_owned();
            (BatchErrorKind::InvalidTimestamp, reason)
        } else {
            let first: Vec<String> = self.errors.iter().take(3).map(RecordError::to_string).collect();
            let reason = format!(
                "One or more records have been rejected due to {} record errors in total, and only showing \
                 the first three errors at most: [{}]",
                self.count,
                first.join(", ")
            );
            (BatchErrorKind::InvalidRecord, reason)
        };
        Err(BatchError {
            reason_in_answer: true,
            record_errors: self.errors,
            ..BatchError::of_append(kind, reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{BatchBuilder, crc_matches};
    use super::super::golden::{self, NOW_MS, limits};
    use super::*;
    use proptest::prelude::*;

    fn plain() -> Vec<u8> {
        golden::bytes(golden::BATCHES[0]).to_vec()
    }

    /// Changes the header and makes its CRC right again.
    fn changed(mut batch: Vec<u8>, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
        let (header, _) = zerocopy::FromBytes::mut_from_prefix(&mut batch).unwrap();
        change(header);
        let crc = crc32c::crc32c(&batch[CRC_START..]);
        batch[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
        batch.into()
    }

    fn refused(records: Bytes, limits: &ProduceLimits<'_>) -> BatchError {
        check_produced(records, limits).expect_err("the batch is bad")
    }

    fn with_timestamps(timestamps: &[i64]) -> Bytes {
        let mut builder = BatchBuilder::new();
        timestamps.iter().for_each(|timestamp| builder.append(*timestamp, None, Some(b"v"), &[]));
        builder.build().unwrap()
    }

    #[test]
    fn kafkas_batches_pass_and_tell_what_they_are() {
        for (hex, codec) in golden::BATCHES.iter().zip(Compression::ALL) {
            let batch = check_produced(golden::bytes(hex), &limits()).unwrap();
            assert_eq!((batch.record_count, batch.last_offset_delta), (3, 2));
            assert_eq!(batch.compression, codec);
            assert_eq!((batch.base_timestamp, batch.max_timestamp), (1_700_000_000_000, 1_700_000_000_123));
            assert_eq!(batch.offset_of_max_timestamp, if codec == Compression::None { 1 } else { -1 });
            assert_eq!(
                (batch.producer_id, batch.producer_epoch, batch.base_sequence),
                (ProducerId(4000), 3, 7)
            );
            assert!(!batch.must_open && !batch.is_transactional && batch.has_producer_id());
        }
    }

    #[test]
    fn a_stamped_header_is_kafkas_to_the_byte() {
        let stamped = golden::bytes(golden::STAMPED);
        let sent = changed(plain(), |header| header.attributes = 0x10.into());
        let batch = check_produced(sent.clone(), &limits()).unwrap();
        assert!(batch.is_transactional);
        let header = batch.stamp(Offset(1000), LeaderEpoch(9), Some(NOW_MS));
        assert_eq!([&header, &sent[HEADER_BYTES..]].concat(), stamped);
    }

    #[test]
    fn a_lying_max_timestamp_is_put_right() {
        let sent = changed(plain(), |header| header.max_timestamp = 5.into());
        let batch = check_produced(sent.clone(), &limits()).unwrap();
        let header = batch.stamp(Offset(0), LeaderEpoch(-1), None);
        assert_eq!([&header, &sent[HEADER_BYTES..]].concat(), plain());
    }

    #[test]
    fn a_log_append_time_flag_is_cleared_where_the_topic_has_create_time() {
        let sent = changed(plain(), |header| header.attributes = 0x08.into());
        let batch = check_produced(sent.clone(), &limits()).unwrap();
        let header = batch.stamp(Offset(7), LeaderEpoch(1), None);
        assert!(!BatchHeader::parse(&header).unwrap().attributes().is_log_append_time());
        assert!(crc_matches(&[&header, &sent[HEADER_BYTES..]].concat()));
    }

    proptest! {
        #[test]
        fn every_stamp_leaves_the_crc_right(
            offset in 0i64..i64::MAX, epoch: i32, now in proptest::option::of(any::<i64>()), codec in 0usize..5
        ) {
            let sent = golden::bytes(golden::BATCHES[codec]);
            let batch = check_produced(sent.clone(), &limits()).unwrap();
            let header = batch.stamp(Offset(offset), LeaderEpoch(epoch), now);
            let whole = [&header, &sent[HEADER_BYTES..]].concat();
            prop_assert!(crc_matches(&whole));
            let header = BatchHeader::parse(&whole).unwrap();
            prop_assert_eq!(header.base_offset(), Offset(offset));
            prop_assert_eq!(header.leader_epoch(), LeaderEpoch(epoch));
            prop_assert_eq!(header.max_timestamp.get(), now.unwrap_or(1_700_000_000_123));
            prop_assert_eq!(header.attributes().is_log_append_time(), now.is_some());
        }

        #[test]
        fn no_bytes_make_the_check_panic(bytes: Vec<u8>) {
            let _ = check_produced(bytes.into(), &limits());
        }

        #[test]
        fn a_damaged_batch_is_refused(at in 0usize..140, bit in 0u8..8) {
            let mut bytes = plain();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            // The leader epoch stands outside the CRC and is overwritten anyway.
            let checked = check_produced(bytes.into(), &limits());
            prop_assert_eq!(checked.is_ok(), (12..16).contains(&at));
        }

        #[test]
        fn damage_under_a_right_crc_is_refused_or_stamped_well(at in 0usize..140, value: u8, now: bool) {
            let mut bytes = plain();
            let at = at % bytes.len();
            bytes[at] = value;
            let sent = changed(bytes, |_| ());
            if let Ok(batch) = check_produced(sent, &limits()) {
                let header = batch.stamp(Offset(1), LeaderEpoch(1), now.then_some(5));
                let whole = [&header[..], batch.record_bytes()].concat();
                prop_assert!(crc_matches(&whole));
                prop_assert_eq!(batch.record_count, batch.last_offset_delta + 1);
            }
        }
    }

    #[test]
    fn the_extent_is_checked_as_kafka_checks_it() {
        let one = plain();
        let error = |bytes: &[u8]| refused(Bytes::copy_from_slice(bytes), &limits()).kind;
        assert_eq!(error(&[]), BatchErrorKind::InvalidRecord);
        assert_eq!(error(&one[..one.len() - 1]), BatchErrorKind::InvalidRecord);
        assert_eq!(error(&[one.clone(), one.clone()].concat()), BatchErrorKind::InvalidRecord);
        let with_tail = Bytes::from([&one[..], &one[..30]].concat());
        assert_eq!(check_produced(with_tail, &limits()).unwrap().bytes, one);
        let mut short = one.clone();
        short[8..12].copy_from_slice(&13i32.to_be_bytes());
        assert_eq!(error(&short), BatchErrorKind::CorruptMessage);
        for (magic, kind) in [
            (3, BatchErrorKind::CorruptMessage),
            (0xff, BatchErrorKind::CorruptMessage),
            (1, BatchErrorKind::InvalidRecord),
        ] {
            let mut other = one.clone();
            other[16] = magic;
            assert_eq!(error(&other), kind);
        }
        // A batch whose length ends inside its own header.
        let mut small = one.clone();
        small[8..12].copy_from_slice(&20i32.to_be_bytes());
        assert_eq!(error(&small[..32]), BatchErrorKind::CorruptMessage);
    }

    #[test]
    fn header_fields_are_checked_with_kafkas_texts() {
        type Change = fn(&mut BatchHeader);
        let cases: [(Change, &str); 6] = [
            (
                |h| h.base_offset = 4.into(),
                "The baseOffset of the record batch in the append to orders-3 should be 0, but it is 4",
            ),
            (
                |h| h.last_offset_delta = (-1).into(),
                "Batch has an invalid offset range: [0, -1] in topic partition orders-3",
            ),
            (
                |h| h.record_count = 0.into(),
                "Invalid reported count for record batch: 0 in topic partition orders-3",
            ),
            (
                |h| h.record_count = 4.into(),
                "Inconsistent batch offset range [0, 2] and count of records 4 in topic partition orders-3",
            ),
            (
                |h| h.attributes = 0x20.into(),
                "Clients are not allowed to write control records in topic partition orders-3",
            ),
            (
                |h| h.base_sequence = (-1).into(),
                "Invalid sequence number -1 in record batch with producerId 4000 in topic partition orders-3",
            ),
        ];
        for (change, text) in cases {
            let error = refused(changed(plain(), change), &limits());
            assert_eq!((error.kind, &error.reason[..]), (BatchErrorKind::InvalidRecord, text));
            assert!(error.log_start_in_answer && !error.reason_in_answer);
        }
        let unknown_codec = changed(plain(), |header| header.attributes = 6.into());
        assert_eq!(refused(unknown_codec, &limits()).kind, BatchErrorKind::UnsupportedCompressionType);
    }

    #[test]
    fn counts_that_agree_with_each_other_but_not_with_the_records_are_refused() {
        for count in [1, 2, 4, 1_000_000, i32::MAX] {
            let lying = changed(plain(), |header| {
                header.record_count = count.into();
                header.last_offset_delta = (count - 1).into();
            });
            assert_eq!(refused(lying, &limits()).kind, BatchErrorKind::InvalidRecord);
        }
    }

    #[test]
    fn a_compressed_count_that_cannot_be_is_opened() {
        let zstd = golden::bytes(golden::BATCHES[4]).to_vec();
        let lying = changed(zstd, |header| {
            header.record_count = i32::MAX.into();
            header.last_offset_delta = (i32::MAX - 1).into();
        });
        assert!(check_produced(lying, &limits()).unwrap().must_open);
    }

    #[test]
    fn size_and_crc_are_checked() {
        let small = ProduceLimits { message_bytes_max: 100, ..limits() };
        let error = refused(plain().into(), &small);
        assert_eq!(error.kind, BatchErrorKind::MessageTooLarge);
        assert!(!error.log_start_in_answer && !error.reason_in_answer);
        let mut bytes = plain();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(refused(bytes.into(), &limits()).kind, BatchErrorKind::CorruptMessage);
    }

    #[test]
    fn zstd_needs_version_7() {
        let old = ProduceLimits { api_version: 6, ..limits() };
        let error = refused(golden::bytes(golden::BATCHES[4]), &old);
        assert_eq!(error.kind, BatchErrorKind::UnsupportedCompressionType);
        assert!(check_produced(golden::bytes(golden::BATCHES[3]), &old).is_ok());
    }

    #[test]
    fn records_without_a_key_are_refused_on_compacted_topics() {
        let compacted = ProduceLimits { compacted: true, ..limits() };
        let error = refused(plain().into(), &compacted);
        let text = "Compacted topic cannot accept message without key in topic partition orders-3";
        assert_eq!(error.record_errors, [RecordError { index: 1, message: text.to_owned() }]);
        assert_eq!(error.kind, BatchErrorKind::InvalidRecord);
        assert_eq!(
            error.reason,
            format!(
                "One or more records have been rejected due to 1 record errors in total, and only showing the \
                 first three errors at most: [RecordError(batchIndex=1, message='{text}')]"
            )
        );
        assert!(error.reason_in_answer && error.log_start_in_answer);
        assert!(check_produced(golden::bytes(golden::BATCHES[1]), &compacted).unwrap().must_open);
    }

    #[test]
    fn timestamps_are_held_to_the_topics_range() {
        let narrow = ProduceLimits { timestamp_before_max_ms: 1000, timestamp_after_max_ms: 500, ..limits() };
        let inside = with_timestamps(&[NOW_MS - 1000, NOW_MS + 500, NO_TIMESTAMP]);
        assert!(check_produced(inside, &narrow).is_ok());
        let error = refused(with_timestamps(&[NOW_MS - 1001, NOW_MS, NOW_MS + 501]), &narrow);
        assert_eq!(error.kind, BatchErrorKind::InvalidTimestamp);
        assert_eq!(error.reason, "One or more records have been rejected due to invalid timestamp");
        let text = format!(
            "Timestamp {} of message with offset 2 is out of range. The timestamp should be within [{}, {}]",
            NOW_MS + 501,
            NOW_MS - 1000,
            NOW_MS + 500
        );
        assert_eq!(error.record_errors.len(), 2);
        assert_eq!(error.record_errors[1], RecordError { index: 2, message: text });
        let append_time = ProduceLimits { timestamp_type: TimestampType::LogAppendTime, ..narrow };
        assert!(check_produced(with_timestamps(&[5, i64::MAX]), &append_time).is_ok());
    }

    #[test]
    fn a_producer_may_not_claim_log_append_time() {
        let sent = changed(plain(), |header| header.attributes = 0x08.into());
        let append_time = ProduceLimits { timestamp_type: TimestampType::LogAppendTime, ..limits() };
        let error = refused(sent, &append_time);
        assert_eq!(error.kind, BatchErrorKind::InvalidTimestamp);
        assert_eq!(
            error.record_errors[2].message,
            "Invalid timestamp type in message DefaultRecord(offset=2, timestamp=1700000000123, key=1 bytes, \
             value=0 bytes). Producer should not set timestamp type to LogAppendTime."
        );
    }

    #[test]
    fn record_errors_are_counted_past_their_bound() {
        let compacted = ProduceLimits { compacted: true, ..limits() };
        let error = refused(with_timestamps(&[NOW_MS; 2500]), &compacted);
        assert_eq!(error.record_errors.len(), RECORD_ERRORS_MAX);
        assert!(error.reason.contains("2500 record errors"));
    }

    #[test]
    fn offsets_must_follow_each_other() {
        let mut builder = BatchBuilder::new();
        builder.append_at(1, NOW_MS, None, Some(b"a"), &[]);
        builder.append_at(1, NOW_MS, None, Some(b"b"), &[]);
        assert_eq!(refused(builder.build().unwrap(), &limits()).kind, BatchErrorKind::InvalidRecord);
    }
}
