//! A record batch of magic 2 as it stands on the wire and in files.
//!
//! ```text
//!  0 base_offset i64        | 21 attributes i16         | 43 producer_id i64
//!  8 batch_length i32 (*)   | 23 last_offset_delta i32  | 51 producer_epoch i16
//! 12 leader_epoch i32       | 27 base_timestamp i64     | 53 base_sequence i32
//! 16 magic i8 = 2           | 35 max_timestamp i64      | 57 record_count i32
//! 17 crc u32 (**)           |                           | 61 records, compressed as attributes say
//! (*) of all that follows it   (**) CRC32C of all that follows it
//! attributes: bits 0-2 codec | 3 LogAppendTime | 4 transactional | 5 control | 6 has a delete horizon
//! ```
//!
//! Base offset, length and leader epoch stand outside the CRC, so a leader can set them without a second
//! pass. Source: Kafka's message format 2 (KIP-98), DefaultRecordBatch.

use zerocopy::byteorder::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub use super::builder::BatchBuilder;
use super::compression::{Compression, CompressionError, OpenLimits, decompress_bounded};
pub use super::produced::{
    BatchError, BatchErrorKind, CheckedBatch, ProduceLimits, RecordError, TimestampType, check_produced,
    only_batch,
};
use super::record::RecordIter;
use crate::types::{LeaderEpoch, Offset, ProducerId};

/// Base offset and length: what stands before the part that the length counts.
pub const LOG_OVERHEAD: usize = 12;
pub const HEADER_BYTES: usize = 61;
/// The CRC covers a batch from here to its end.
pub const CRC_START: usize = 21;
pub const MAGIC: i8 = 2;
/// The least length field that any message format has; below it the bytes are no batch of any magic.
pub const LENGTH_MIN: i32 = 14;
/// The base offset, length, leader epoch and magic: what is needed to know a batch's extent.
pub const HEADER_BYTES_UP_TO_MAGIC: usize = 17;

pub const NO_TIMESTAMP: i64 = -1;
pub const NO_PRODUCER_ID: ProducerId = ProducerId(-1);
pub const NO_PRODUCER_EPOCH: i16 = -1;
pub const NO_SEQUENCE: i32 = -1;

/// The first 61 bytes of a batch.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct BatchHeader {
    pub base_offset: I64,
    pub batch_length: I32,
    pub partition_leader_epoch: I32,
    pub magic: i8,
    pub crc: U32,
    pub attributes: I16,
    pub last_offset_delta: I32,
    pub base_timestamp: I64,
    pub max_timestamp: I64,
    pub producer_id: I64,
    pub producer_epoch: I16,
    pub base_sequence: I32,
    pub record_count: I32,
}

const _: () = assert!(size_of::<BatchHeader>() == HEADER_BYTES);
const _: () = assert!(std::mem::offset_of!(BatchHeader, attributes) == CRC_START);

/// The attributes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;
    /// The bits that mean something.
    pub(super) const KNOWN: i16 = 0x7f;

    /// The codec; `None` for the ids 5 to 7, which stand for nothing.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_id((self.0 & Self::CODEC) as u8)
    }

    pub fn is_log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }

    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which tombstones may go (set by compaction).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    pub fn with_compression(self, codec: Compression) -> Attributes {
        Attributes(self.0 & !Self::CODEC | codec as i16)
    }

    pub fn with_log_append_time(self, set: bool) -> Attributes {
        self.with(Self::LOG_APPEND_TIME, set)
    }

    pub fn with_transactional(self, set: bool) -> Attributes {
        self.with(Self::TRANSACTIONAL, set)
    }

    pub fn with_control(self, set: bool) -> Attributes {
        self.with(Self::CONTROL, set)
    }

    pub fn with_delete_horizon(self, set: bool) -> Attributes {
        self.with(Self::DELETE_HORIZON, set)
    }

    fn with(self, bit: i16, set: bool) -> Attributes {
        Attributes(if set { self.0 | bit } else { self.0 & !bit })
    }
}

impl BatchHeader {
    /// The header at the start of `bytes`; `None` where fewer than 61 are there.
    pub fn parse(bytes: &[u8]) -> Option<&BatchHeader> {
        BatchHeader::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    pub fn attributes(&self) -> Attributes {
        Attributes(self.attributes.get())
    }

    pub fn base_offset(&self) -> Offset {
        Offset(self.base_offset.get())
    }

    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.get().wrapping_add(i64::from(self.last_offset_delta.get())))
    }

    /// The offset after the last record's.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.partition_leader_epoch.get())
    }

    pub fn producer_id(&self) -> ProducerId {
        ProducerId(self.producer_id.get())
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id.get() > NO_PRODUCER_ID.0
    }

    /// The sequence of the last record, -1 without one.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence.get() {
            NO_SEQUENCE => NO_SEQUENCE,
            base => increment_sequence(base, self.last_offset_delta.get()),
        }
    }

    /// The bytes of the whole batch as its length field claims; at least 61, or `None`.
    pub fn batch_bytes(&self) -> Option<usize> {
        let length = usize::try_from(self.batch_length.get()).ok()?;
        Some(length + LOG_OVERHEAD).filter(|bytes| *bytes >= HEADER_BYTES)
    }

    /// The CRC32C of the header's part of a batch (40 bytes).
    pub(super) fn tail_crc(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[CRC_START..])
    }
}

/// `sequence + increment` in the ring 0 to 2^31 - 1, as producers count.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    (sequence.wrapping_add(increment)) & i32::MAX
}

/// `sequence - decrement` in the ring 0 to 2^31 - 1.
pub fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    (sequence.wrapping_sub(decrement)) & i32::MAX
}

/// Whether the CRC of a whole batch (at least 61 bytes, exactly the batch) is right.
pub fn crc_matches(batch: &[u8]) -> bool {
    match BatchHeader::parse(batch) {
        Some(header) => crc32c::crc32c(&batch[CRC_START..]) == header.crc.get(),
        None => false,
    }
}

/// One whole batch in a slice. Its length is right; its CRC is checked only by [`crc_matches`].
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub header: &'a BatchHeader,
    /// Exactly this batch, header included.
    pub bytes: &'a [u8],
    /// Where the batch begins in the slice that was iterated.
    pub position: usize,
}

impl<'a> Batch<'a> {
    pub fn crc_matches(&self) -> bool {
        crc_matches(self.bytes)
    }

    /// The record bytes, compressed as they stand.
    pub fn record_bytes(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Iterates over the records of an uncompressed batch; of a compressed one give `opened` bytes to
    /// [`RecordIter::new`].
    pub fn records(&self) -> RecordIter<'a> {
        RecordIter::new(self.record_bytes(), self.header.record_count.get())
    }

    /// The record bytes, decompressed where they are compressed.
    pub fn open(&self, limits: &OpenLimits) -> Result<std::borrow::Cow<'a, [u8]>, CompressionError> {
        match self.header.attributes().compression() {
            Some(Compression::None) => Ok(self.record_bytes().into()),
            Some(codec) => decompress_bounded(codec, self.record_bytes(), limits).map(Into::into),
            None => Err(CompressionError::Corrupt("the codec's id is unknown".to_owned())),
        }
    }

    /// The record bytes' timestamps are deltas from this, except under LogAppendTime, where every record
    /// has the batch's max timestamp.
    pub fn timestamp_of(&self, timestamp_delta: i64) -> i64 {
        if self.header.attributes().is_log_append_time() {
            self.header.max_timestamp.get()
        } else {
            self.header.base_timestamp.get().wrapping_add(timestamp_delta)
        }
    }
}

/// Bytes that are no batch of magic 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredBatchError {
    #[error("at byte {position} a batch claims the length {length}")]
    Length { position: usize, length: i32 },
    #[error("at byte {position} a batch has the magic {magic}")]
    Magic { position: usize, magic: i8 },
}

/// Iterates over the batches that stand one behind the other in a slice, as read from a log or a fetch
/// answer. Ends before a batch that the slice cuts; [`BatchIter::position`] tells where. CRCs are not checked.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> BatchIter<'a> {
    pub fn new(bytes: &'a [u8]) -> BatchIter<'a> {
        BatchIter { bytes, position: 0, failed: false }
    }

    /// Where the next batch would begin: the bytes before it are whole batches.
    pub fn position(&self) -> usize {
        self.position
    }

    fn next_batch(&self) -> Result<Option<Batch<'a>>, StoredBatchError> {
        let position = self.position;
        let left = &self.bytes[position..];
        let Some(length) = left.get(8..LOG_OVERHEAD).and_then(|length| length.try_into().ok()) else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(length);
        if length < (HEADER_BYTES - LOG_OVERHEAD) as i32 {
            return Err(StoredBatchError::Length { position, length });
        }
        if let Some(magic) = left.get(HEADER_BYTES_UP_TO_MAGIC - 1).map(|magic| *magic as i8)
            && magic != MAGIC
        {
            return Err(StoredBatchError::Magic { position, magic });
        }
        let Some(bytes) = left.get(..length as usize + LOG_OVERHEAD) else { return Ok(None) };
        let header = BatchHeader::parse(bytes).expect("the batch's length is at least the header's");
        Ok(Some(Batch { header, bytes, position }))
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<Batch<'a>, StoredBatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.next_batch().transpose()? {
            Ok(batch) => {
                self.position += batch.bytes.len();
                Some(Ok(batch))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_as_kafka_wraps_them() {
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 2, 5), 2);
        assert_eq!(increment_sequence(7, 2), 9);
        assert_eq!(decrement_sequence(0, 1), i32::MAX);
        assert_eq!(decrement_sequence(5, 7), i32::MAX - 1);
        for (sequence, increment) in [(0, 0), (5, i32::MAX), (i32::MAX, i32::MAX)] {
            assert_eq!(decrement_sequence(increment_sequence(sequence, increment), increment), sequence);
        }
    }

    #[test]
    fn attributes_keep_their_bits() {
        let all = Attributes::default()
            .with_compression(Compression::Zstd)
            .with_log_append_time(true)
            .with_transactional(true)
            .with_control(true)
            .with_delete_horizon(true);
        assert_eq!(all.0, 0x7c);
        assert_eq!(all.with_compression(Compression::None).with_control(false).0, 0x58);
        assert_eq!(Attributes(5).compression(), None);
    }

    #[test]
    fn lengths_and_magics_that_are_none_are_errors() {
        let mut bytes = [0u8; 100];
        bytes[11] = 49;
        bytes[16] = 1;
        let error = BatchIter::new(&bytes).next().unwrap().unwrap_err();
        assert_eq!(error, StoredBatchError::Magic { position: 0, magic: 1 });
        bytes[11] = 48;
        let mut iter = BatchIter::new(&bytes);
        assert_eq!(iter.next().unwrap().unwrap_err(), StoredBatchError::Length { position: 0, length: 48 });
        assert!(iter.next().is_none());
    }
}
