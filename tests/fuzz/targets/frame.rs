//! A frame's header, and then a Produce or Fetch body, as the connection reads them.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use thalweg::protocol::{fetch, frame, produce};

#[path = "allocations.rs"]
mod allocations;

fuzz_target!(|bytes: &[u8]| {
    let mut frame = Bytes::copy_from_slice(bytes);
    // Twelve bytes for one and something for the small: far below what a lying count would take.
    allocations::within(64 * 1024 + 24 * bytes.len(), || {
        let Ok(header) = frame::decode_header(&mut frame) else { return };
        assert!(frame.len() <= bytes.len());
        match header.api_key {
            0 => drop(produce::decode_request(&frame, header.api_version)),
            1 => drop(fetch::decode_request(&frame, header.api_version)),
            _ => {}
        }
    });
});
