//! Produced batches that have to be opened: each record checked as in an uncompressed batch, and the batch
//! compressed anew for topics whose `compression.type` names another codec.

use super::compression::{Compression, CompressionLevels};
use super::produced::{BatchError, CheckedBatch, ProduceLimits};

/// Opens a compressed batch within `limits.open`, checks each record, and gives the batch with its timestamps known.
/// An uncompressed batch comes back as it is. A batch whose inner offsets are not 0..n is rebuilt in its own
/// codec, as Kafka does.
pub fn open_checked(
    batch: CheckedBatch,
    limits: &ProduceLimits<'_>,
    levels: &CompressionLevels,
) -> Result<CheckedBatch, BatchError> {
    let _ = (batch, limits, levels);
    todo!()
}

/// Opens and checks a batch and gives it in codec `to`. Blocks for as long as compression takes.
pub fn recompress(
    batch: CheckedBatch,
    to: Compression,
    limits: &ProduceLimits<'_>,
    levels: &CompressionLevels,
) -> Result<CheckedBatch, BatchError> {
    let _ = (batch, to, limits, levels);
    todo!()
}
