//! Produced batches that have to be opened: each record checked as in an uncompressed batch, and the batch
//! compressed anew for topics whose `compression.type` names another codec.
//!
//! This takes time in proportion to the opened bytes and belongs off the request queue. Kafka rebuilds a batch
//! whose inner offsets are not 0, 1, 2 and so on; so does this.
//!
//! Source: LogValidator.validateMessagesAndAssignOffsetsCompressed.

use std::borrow::Cow;

use bytes::Bytes;

use super::batch::{Attributes, BatchHeader};
use super::builder::assemble;
use super::compression::{Compression, CompressionError, CompressionLevels, compress, decompress_bounded};
use super::produced::{BatchError, BatchErrorKind, CheckedBatch, ProduceLimits, check_records};
use super::record::{Record, RecordIter};

/// Opens a compressed batch within `limits.open`, checks each record, and gives the batch with its timestamps
/// known. An uncompressed batch comes back as it is.
pub fn open_checked(
    batch: CheckedBatch,
    limits: &ProduceLimits<'_>,
    levels: &CompressionLevels,
) -> Result<CheckedBatch, BatchError> {
    let codec = batch.compression;
    recompress(batch, codec, limits, levels)
}

/// Opens and checks a batch and gives it in codec `to`.
pub fn recompress(
    mut batch: CheckedBatch,
    to: Compression,
    limits: &ProduceLimits<'_>,
    levels: &CompressionLevels,
) -> Result<CheckedBatch, BatchError> {
    let from = batch.compression;
    if from == to && from == Compression::None {
        return Ok(batch);
    }
    let opened = match from {
        Compression::None => Cow::Borrowed(batch.record_bytes()),
        _ => Cow::Owned(decompress_bounded(from, batch.record_bytes(), &limits.open).map_err(unopenable)?),
    };
    let name = if from == to { "PartialDefaultRecord" } else { "DefaultRecord" };
    let seen = check_records(batch.header(), &opened, limits, name)?;
    let rebuilt = match from == to && seen.consecutive {
        true => None,
        false => Some(rebuild(batch.header(), &opened, seen.max_timestamp, to, levels)?),
    };
    batch.max_timestamp = seen.max_timestamp;
    batch.offset_of_max_timestamp = seen.offset_of_max_timestamp;
    batch.must_open = false;
    if let Some(bytes) = rebuilt {
        check_size(bytes.len(), limits)?;
        batch.bytes = bytes;
        batch.compression = to;
        batch.base_timestamp = batch.header().base_timestamp.get();
        // Rebuilt offsets count from 0, whatever the producer wrote.
        if !seen.consecutive {
            batch.offset_of_max_timestamp = -1;
        }
    }
    Ok(batch)
}

/// A batch of the same records with offsets 0 to n - 1, in codec `to`.
fn rebuild(
    header: &BatchHeader,
    opened: &[u8],
    max_timestamp: i64,
    to: Compression,
    levels: &CompressionLevels,
) -> Result<Bytes, BatchError> {
    let append_time = header.attributes().is_log_append_time().then(|| header.max_timestamp.get());
    let mut base_timestamp = None;
    let mut records = Vec::with_capacity(opened.len());
    for (index, record) in (0..).zip(RecordIter::new(opened, header.record_count.get())) {
        let record = record.expect("the records were checked");
        let timestamp =
            append_time.unwrap_or(header.base_timestamp.get().wrapping_add(record.timestamp_delta));
        let base = *base_timestamp.get_or_insert(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(base);
        Record { attributes: 0, offset_delta: index, timestamp_delta, ..record }.encode(&mut records);
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
    header.max_timestamp = max_timestamp.into();
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
