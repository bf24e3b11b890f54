//! Builds a record batch: for our client, the metadata log, control records and tests.

use bytes::Bytes;
use zerocopy::IntoBytes;

use super::batch::{
    Attributes, BatchHeader, HEADER_BYTES, LOG_OVERHEAD, MAGIC, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP,
};
use super::compression::{Compression, CompressionError, CompressionLevels, compress};
use super::record::{Header, Headers, Record};
use crate::types::{LeaderEpoch, Offset, ProducerId};

/// Collects records and makes one batch of them.
///
/// ```
/// use thalweg::protocol::batch::{BatchBuilder, BatchIter};
/// let mut builder = BatchBuilder::new();
/// builder.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &[]);
/// let batch = builder.build().expect("nothing is compressed");
/// assert_eq!(BatchIter::new(&batch).count(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Compression,
    levels: CompressionLevels,
    records: Vec<u8>,
    scratch: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// An empty batch at offset 0 without producer, uncompressed, CreateTime, leader epoch -1.
    pub fn new() -> BatchBuilder {
        let header = BatchHeader {
            base_offset: 0.into(),
            batch_length: 0.into(),
            partition_leader_epoch: (-1).into(),
            magic: MAGIC,
            crc: 0.into(),
            attributes: 0.into(),
            last_offset_delta: (-1).into(),
            base_timestamp: NO_TIMESTAMP.into(),
            max_timestamp: NO_TIMESTAMP.into(),
            producer_id: NO_PRODUCER_ID.0.into(),
            producer_epoch: NO_PRODUCER_EPOCH.into(),
            base_sequence: NO_SEQUENCE.into(),
            record_count: 0.into(),
        };
        BatchBuilder {
            header,
            codec: Compression::None,
            levels: CompressionLevels::default(),
            records: Vec::new(),
            scratch: Vec::new(),
        }
    }

    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.header.base_offset = offset.0.into();
        self
    }

    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.header.partition_leader_epoch = epoch.0.into();
        self
    }

    pub fn compression(mut self, codec: Compression, levels: CompressionLevels) -> Self {
        self.codec = codec;
        self.levels = levels;
        self
    }

    pub fn producer(mut self, id: ProducerId, epoch: i16, base_sequence: i32) -> Self {
        self.header.producer_id = id.0.into();
        self.header.producer_epoch = epoch.into();
        self.header.base_sequence = base_sequence.into();
        self
    }

    pub fn transactional(self) -> Self {
        self.attributes(|attributes| attributes.with_transactional(true))
    }

    /// A control batch: its records are the broker's own, never a client's.
    pub fn control(self) -> Self {
        self.attributes(|attributes| attributes.with_control(true))
    }

    /// Marks the batch as LogAppendTime; every record then has the max timestamp.
    pub fn log_append_time(self) -> Self {
        self.attributes(|attributes| attributes.with_log_append_time(true))
    }

    fn attributes(mut self, change: impl Fn(Attributes) -> Attributes) -> Self {
        self.header.attributes = change(self.header.attributes()).0.into();
        self
    }

    /// Appends a record at the next offset. `timestamp` is in milliseconds since 1970.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        self.append_at(self.header.last_offset_delta.get() + 1, timestamp, key, value, headers);
    }

    /// Appends a record at `offset_delta` past the base offset, for batches with gaps (compaction).
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        let headers = Headers::encode(headers, &mut self.scratch);
        if self.header.record_count.get() == 0 {
            self.header.base_timestamp = timestamp.into();
        }
        let record = Record {
            attributes: 0,
            timestamp_delta: timestamp.wrapping_sub(self.header.base_timestamp.get()),
            offset_delta,
            key,
            value,
            headers,
        };
        record.encode(&mut self.records);
        self.header.record_count += 1;
        self.header.last_offset_delta = offset_delta.into();
        self.header.max_timestamp = self.header.max_timestamp.get().max(timestamp).into();
    }

    pub fn record_count(&self) -> i32 {
        self.header.record_count.get()
    }

    pub fn is_empty(&self) -> bool {
        self.record_count() == 0
    }

    /// The bytes of the batch so far, before compression.
    pub fn uncompressed_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The whole batch with its CRC. Without records it is an empty batch, which only compaction may write.
    pub fn build(mut self) -> Result<Bytes, CompressionError> {
        let records = match self.codec {
            Compression::None => self.records,
            codec => compress(codec, &self.levels, &self.records)?,
        };
        self.header.attributes = self.header.attributes().with_compression(self.codec).0.into();
        Ok(assemble(self.header, &records))
    }
}

/// Sets length and CRC of `header` for `records` and gives both as one batch.
pub(super) fn assemble(mut header: BatchHeader, records: &[u8]) -> Bytes {
    header.batch_length = ((HEADER_BYTES - LOG_OVERHEAD + records.len()) as i32).into();
    header.crc = crc32c::crc32c_append(header.tail_crc(), records).into();
    let mut out = Vec::with_capacity(HEADER_BYTES + records.len());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(records);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::super::batch::BatchIter;
    use super::super::compression::OpenLimits;
    use super::super::golden;
    use super::super::record::RecordIter;
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    fn golden_builder() -> BatchBuilder {
        let mut builder = BatchBuilder::new().producer(ProducerId(4000), 3, 7);
        for (timestamp, key, value, headers) in golden::RECORDS {
            builder.append(timestamp, key, value, headers);
        }
        builder
    }

    #[test]
    fn an_uncompressed_batch_is_kafkas_to_the_byte() {
        assert_eq!(golden_builder().build().unwrap(), golden::bytes(golden::BATCHES[0]));
    }

    #[test]
    fn kafkas_batches_of_each_codec_hold_the_records() {
        let plain = golden::bytes(golden::BATCHES[0]);
        for (hex, codec) in golden::BATCHES.iter().zip(Compression::ALL) {
            let bytes = golden::bytes(hex);
            let batch = BatchIter::new(&bytes).next().unwrap().unwrap();
            assert!(batch.crc_matches());
            assert_eq!(batch.header.attributes().compression(), Some(codec));
            assert_eq!(*batch.open(&OpenLimits::default()).unwrap(), plain[HEADER_BYTES..], "{codec:?}");
            let ours = golden_builder().compression(codec, CompressionLevels::default()).build().unwrap();
            let ours = BatchIter::new(&ours).next().unwrap().unwrap();
            assert!(ours.crc_matches());
            assert_eq!(*ours.open(&OpenLimits::default()).unwrap(), plain[HEADER_BYTES..], "{codec:?}");
        }
    }

    type Parts = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

    proptest! {
        #[test]
        fn what_is_appended_is_iterated(
            all in vec((0i64..1 << 50, option::of(vec(any::<u8>(), 0..50)), option::of(vec(any::<u8>(), 0..50))), 1..20),
            codec in 0u8..5, base_offset in 0i64..1 << 60, epoch: i32,
        ) {
            let codec = Compression::from_id(codec).unwrap();
            let mut builder = BatchBuilder::new()
                .base_offset(Offset(base_offset))
                .leader_epoch(LeaderEpoch(epoch))
                .compression(codec, CompressionLevels::default());
            for (timestamp, key, value) in &all {
                builder.append(*timestamp, key.as_deref(), value.as_deref(), &[]);
            }
            let bytes = builder.build().unwrap();
            let two = [bytes.clone(), bytes.clone()].concat();
            for batch in BatchIter::new(&two) {
                let batch = batch.unwrap();
                prop_assert!(batch.crc_matches());
                prop_assert_eq!(batch.header.base_offset(), Offset(base_offset));
                prop_assert_eq!(batch.header.next_offset(), Offset(base_offset + all.len() as i64));
                prop_assert_eq!(batch.header.leader_epoch(), LeaderEpoch(epoch));
                let opened = batch.open(&OpenLimits::default()).unwrap();
                let records = RecordIter::new(&opened, batch.header.record_count.get());
                let back: Vec<Parts> = records.map(|record| {
                    let record = record.unwrap();
                    let timestamp = batch.timestamp_of(record.timestamp_delta);
                    (timestamp, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec))
                }).collect();
                prop_assert_eq!(&back, &all);
            }
            prop_assert_eq!(BatchIter::new(&two).count(), 2);
        }

        #[test]
        fn the_iterator_ends_before_a_cut_batch(cut in 1usize..150) {
            let bytes = golden::bytes(golden::BATCHES[0]);
            let cut = cut.min(bytes.len());
            let two = [bytes.clone(), bytes.slice(..bytes.len() - cut)].concat();
            let mut iter = BatchIter::new(&two);
            prop_assert!(iter.next().unwrap().is_ok());
            prop_assert!(iter.next().is_none());
            prop_assert_eq!(iter.position(), bytes.len());
        }

        #[test]
        fn no_bytes_make_the_batch_iterator_panic(bytes: Vec<u8>) {
            for batch in BatchIter::new(&bytes).flatten() {
                let _ = batch.crc_matches();
                let _ = batch.records().count();
            }
        }
    }
}
