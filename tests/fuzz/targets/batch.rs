//! What a producer sends for one partition: checked, opened, compressed anew, stamped.
//!
//! The first byte says what the topic demands and whether the CRC is made right, so that the fuzzer gets
//! behind it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use thalweg::protocol::batch::{
    BatchIter, CRC_START, HEADER_BYTES, ProduceLimits, TimestampType, check_produced, crc_matches,
};
use thalweg::protocol::compression::{Compression, CompressionLevels, OpenLimits};
use thalweg::protocol::opened::{open_checked, recompress};
use thalweg::types::{LeaderEpoch, Offset, PartitionId};

#[path = "allocations.rs"]
mod allocations;

const OPEN: OpenLimits = OpenLimits { bytes_max: 1 << 18, ratio_max: 64 };
/// What the codecs keep for themselves: tables, windows, blocks.
const CODEC_BYTES: usize = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((&flags, records)) = bytes.split_first() else { return };
    let mut records = records.to_vec();
    if flags & 1 == 0 && records.len() >= HEADER_BYTES {
        let length = i32::from_be_bytes(records[8..12].try_into().expect("four bytes")) as i64;
        let end = (length + 12).clamp(CRC_START as i64, records.len() as i64) as usize;
        let crc = crc32c::crc32c(&records[CRC_START..end]);
        records[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    }
    let limits = ProduceLimits {
        topic: "t",
        partition: PartitionId(0),
        api_version: 9,
        message_bytes_max: 1 << 20,
        compacted: flags & 2 != 0,
        timestamp_type: if flags & 4 != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        timestamp_before_max_ms: if flags & 8 != 0 { 1000 } else { i64::MAX },
        timestamp_after_max_ms: 3_600_000,
        now_ms: 1_700_000_000_000,
        open: OPEN,
    };
    let target = Compression::ALL[usize::from(flags >> 4) % 5];
    allocations::within(CODEC_BYTES + 8 * OPEN.bytes_max, || check(records.into(), &limits, target));
});

fn check(records: Bytes, limits: &ProduceLimits<'_>, target: Compression) {
    let Ok(batch) = check_produced(records, limits) else { return };
    let levels = CompressionLevels { gzip: 1, lz4: 1, zstd: 1 };
    let same = open_checked(batch.clone(), limits);
    let other = recompress(batch.clone(), target, limits, &levels);
    for batch in [Ok(batch), same, other].into_iter().flatten() {
        assert_eq!(batch.last_offset_delta + 1, batch.record_count);
        for append_time in [None, Some(5)] {
            let header = batch.stamp(Offset(1 << 40), LeaderEpoch(3), append_time);
            let stored = [&header[..], batch.record_bytes()].concat();
            assert!(crc_matches(&stored));
            let back = BatchIter::new(&stored).next().expect("a batch").expect("a whole one");
            assert_eq!(back.header.next_offset(), Offset((1 << 40) + i64::from(batch.record_count)));
        }
    }
}
