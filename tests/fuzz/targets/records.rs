//! Records, batches in a log, and compressed streams of each codec: the first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::protocol::batch::BatchIter;
use thalweg::protocol::compression::{Compression, OpenLimits, decompress_bounded};
use thalweg::protocol::record::RecordIter;

#[path = "allocations.rs"]
mod allocations;

const OPEN: OpenLimits = OpenLimits { bytes_max: 1 << 18, ratio_max: 64 };
/// What the codecs keep for themselves: tables, windows, blocks. zstd's window may be 128 MiB.
const CODEC_BYTES: usize = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    match choice % 6 {
        0 => allocations::within(0, || records(bytes, i32::from(choice))),
        1 => allocations::within(0, || {
            for batch in BatchIter::new(bytes).flatten() {
                let _ = batch.crc_matches();
                batch.records().for_each(drop);
            }
        }),
        codec => {
            let codec = Compression::from_id(codec - 1).expect("the ids are 1 to 4");
            let opened = allocations::within(CODEC_BYTES + 4 * OPEN.bytes_max, || {
                decompress_bounded(codec, bytes, &OPEN)
            });
            if let Ok(opened) = opened {
                assert!(opened.len() <= OPEN.bytes_max);
                records(&opened, 3);
            }
        }
    }
});

/// Reads records and writes them again: those that were written shortest come out as they were.
fn records(bytes: &[u8], count: i32) {
    for record in RecordIter::new(bytes, count).flatten() {
        assert!(record.encoded_bytes() <= bytes.len() + 64);
        assert_eq!(record.headers.iter().count(), record.headers.len());
    }
}
