//! Produced batches that have to be opened: each record checked as in an uncompressed batch, and the batch
//! compressed anew for topics whose `compression.type` names another codec.
//!
//! This takes time in proportion to the opened bytes and belongs off the request queue.
//!
//! Source: LogValidator.validateMessagesAndAssignOffsetsCompressed.

use bytes::Bytes;

use super::batch::{Attributes, HEADER_BYTES};
use super::builder::assemble;
use super::compression::{Compression, CompressionError, CompressionLevels, compress, decompress_bounded};
use super::produced::{BatchError, BatchErrorKind, CheckedBatch, ProduceLimits, check_records};
use super::record::{Record, RecordIter};

/// Opens a compressed batch within `limits.open`, checks each record, and gives the same batch with its
/// timestamps known. An uncompressed batch, which [`super::produced::check_produced`] has read already, comes back as it is.
pub fn open_checked(mut batch: CheckedBatch, limits: &ProduceLimits<'_>) -> Result<CheckedBatch, BatchError> {
    if batch.compression != Compression::None {
        open(&mut batch, limits, "PartialDefaultRecord")?;
    }
    Ok(batch)
}

/// Opens and checks a batch and gives it in codec `to`; where that is the codec it has, as [`open_checked`] does.
pub fn recompress(
    mut batch: CheckedBatch,
    to: Compression,
    limits: &ProduceLimits<'_>,
    levels: &CompressionLevels,
) -> Result<CheckedBatch, BatchError> {
    if batch.compression == to {
        return open_checked(batch, limits);
    }
    let opened = open(&mut batch, limits, "DefaultRecord")?;
    batch.bytes = rebuild(&batch, &opened, to, levels)?;
    batch.compression = to;
    batch.base_timestamp = batch.header().base_timestamp.get();
    check_size(batch.bytes.len(), limits)?;
    Ok(batch)
}

/// Gives the uncompressed record bytes, checked, and notes in `batch` what they tell. `name` is Kafka's for a
/// record that it reads in this case.
fn open(
    batch: &mut CheckedBatch,
    limits: &ProduceLimits<'_>,
    name: &'static str,
) -> Result<Bytes, BatchError> {
    let opened = match batch.compression {
        Compression::None => batch.bytes.slice(HEADER_BYTES..),
        codec => decompress_bounded(codec, batch.record_bytes(), &limits.open).map_err(unopenable)?.into(),
    };
    let seen = check_records(batch.header(), &opened, limits, name)?;
    batch.max_timestamp = seen.max_timestamp;
    batch.offset_of_max_timestamp = seen.offset_of_max_timestamp;
    batch.must_open = false;
    Ok(opened)
}

/// A batch of the same records in codec `to`. The base timestamp becomes the first record's, as Kafka's builder
/// has it.
fn rebuild(
    batch: &CheckedBatch,
    opened: &[u8],
    to: Compression,
    levels: &CompressionLevels,
) -> Result<Bytes, BatchError> {
    let header = batch.header();
    let append_time = header.attributes().is_log_append_time().then(|| header.max_timestamp.get());
    let mut base_timestamp = None;
    let mut records = Vec::with_capacity(opened.len());
    for record in RecordIter::new(opened, header.record_count.get()) {
        let record = record.expect("the records were checked");
        let timestamp =
            append_time.unwrap_or(header.base_timestamp.get().wrapping_add(record.timestamp_delta));
        let base = *base_timestamp.get_or_insert(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(base);
        Record { attributes: 0, timestamp_delta, ..record }.encode(&mut records);
    }
    let records = match to {
        Compression::None => records,
        codec => compress(codec, levels, &records).map_err(unopenable)?,
    };
    let attributes = Attributes(header.attributes().0 & Attributes::KNOWN)
        .with_compression(to)
        .with_log_append_time(false)
        .with_delete_horizon(false);
    let mut header = *header;
    header.attributes = attributes.0.into();
    header.base_timestamp = base_timestamp.unwrap_or(header.base_timestamp.get()).into();
    header.max_timestamp = batch.max_timestamp.into();
    Ok(assemble(header, &records))
}

fn check_size(bytes: usize, limits: &ProduceLimits<'_>) -> Result<(), BatchError> {
    if bytes as i64 <= i64::from(limits.message_bytes_max) {
        return Ok(());
    }
    Err(BatchError::too_large(format!(
        "Message batch size is {bytes} bytes in append to partition {}-{} which exceeds the maximum configured \
         size of {}.",
        limits.topic, limits.partition, limits.message_bytes_max
    )))
}

fn unopenable(error: CompressionError) -> BatchError {
    let kind = match error {
        CompressionError::TooLarge(_) => BatchErrorKind::InvalidRecord,
        CompressionError::Corrupt(_) | CompressionError::Encode(_) => BatchErrorKind::UnknownServerError,
    };
    BatchError::of_append(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::batch::{BatchBuilder, TimestampType, check_produced, crc_matches};
    use super::super::compression::OpenLimits;
    use super::super::golden::{self, NOW_MS, limits};
    use super::*;

    fn checked(index: usize, limits: &ProduceLimits<'_>) -> CheckedBatch {
        check_produced(golden::bytes(golden::BATCHES[index]), limits).unwrap()
    }

    #[test]
    fn every_codec_becomes_every_other() {
        let levels = CompressionLevels::default();
        let plain = golden::bytes(golden::BATCHES[0]);
        for from in 0..5 {
            for to in Compression::ALL {
                let batch = recompress(checked(from, &limits()), to, &limits(), &levels).unwrap();
                assert!(crc_matches(&batch.bytes), "{from} to {to:?}");
                assert_eq!(batch.compression, to);
                assert_eq!(batch.header().attributes().compression(), Some(to));
                assert_eq!(batch.max_timestamp, 1_700_000_000_123);
                assert_eq!(batch.offset_of_max_timestamp, 1);
                let opened = decompress_bounded(to, batch.record_bytes(), &OpenLimits::default()).unwrap();
                assert_eq!(opened, plain[HEADER_BYTES..]);
                let again = check_produced(batch.bytes.clone(), &limits()).unwrap();
                assert_eq!(
                    (again.producer_id, again.base_sequence, again.record_count),
                    (batch.producer_id, 7, 3)
                );
            }
        }
    }

    #[test]
    fn a_compressed_batch_is_held_to_what_an_uncompressed_one_is() {
        let compacted = ProduceLimits { compacted: true, ..limits() };
        let narrow = ProduceLimits { timestamp_before_max_ms: 0, ..limits() };
        for codec in 1..5 {
            for limits in [compacted, narrow] {
                let batch = checked(codec, &limits);
                assert!(batch.must_open);
                let compressed = open_checked(batch, &limits).unwrap_err();
                let plain = check_produced(golden::bytes(golden::BATCHES[0]), &limits).unwrap_err();
                assert_eq!(compressed, plain);
            }
        }
    }

    #[test]
    fn inner_offsets_must_follow_each_other() {
        let mut builder = BatchBuilder::new().compression(Compression::Lz4, CompressionLevels::default());
        builder.append_at(5, NOW_MS, Some(b"a"), Some(b"1"), &[]);
        builder.append_at(1, NOW_MS + 1, Some(b"b"), Some(b"2"), &[]);
        let batch = check_produced(builder.build().unwrap(), &limits()).unwrap();
        assert_eq!(open_checked(batch, &limits()).unwrap_err().kind, BatchErrorKind::InvalidRecord);
    }

    #[test]
    fn bombs_broken_streams_and_grown_batches_are_refused() {
        let levels = CompressionLevels::default();
        let mut builder = BatchBuilder::new().compression(Compression::Zstd, levels);
        builder.append(NOW_MS, Some(b"k"), Some(&vec![0; 16 << 20]), &[]);
        let bomb = builder.build().unwrap();
        let tight = ProduceLimits { open: OpenLimits { bytes_max: 8 << 20, ratio_max: 1 << 20 }, ..limits() };
        let batch = check_produced(bomb, &tight).unwrap();
        assert_eq!(open_checked(batch, &tight).unwrap_err().kind, BatchErrorKind::InvalidRecord);

        let mut broken = checked(4, &limits());
        broken.bytes = [&broken.bytes[..HEADER_BYTES], b"no zstd frame"].concat().into();
        let error = open_checked(broken, &limits()).unwrap_err();
        assert_eq!(error.kind, BatchErrorKind::UnknownServerError);

        let small = ProduceLimits { message_bytes_max: 135, ..limits() };
        let grown = recompress(checked(1, &limits()), Compression::None, &small, &levels).unwrap_err();
        assert_eq!(grown.kind, BatchErrorKind::MessageTooLarge);
    }

    #[test]
    fn a_claimed_log_append_time_is_refused_with_kafkas_text() {
        let levels = CompressionLevels::default();
        let append_time = ProduceLimits { timestamp_type: TimestampType::LogAppendTime, ..limits() };
        let mut builder = BatchBuilder::new().log_append_time().compression(Compression::Gzip, levels);
        builder.append(NOW_MS, None, Some(b"v"), &[]);
        let batch = check_produced(builder.build().unwrap(), &append_time).unwrap();
        assert!(batch.must_open);
        let error = open_checked(batch, &append_time).unwrap_err();
        assert_eq!(
            error.record_errors[0].message,
            "Invalid timestamp type in message PartialDefaultRecord(offset=0, timestamp=1700000055555, key=-1 \
             bytes, value=1 bytes). Producer should not set timestamp type to LogAppendTime."
        );
    }
}
