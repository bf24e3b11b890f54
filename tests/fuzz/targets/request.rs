//! A whole request of any API: what the walk accepts must decode without a panic and within the walk's bound.
#![no_main]

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind};
use libfuzzer_sys::fuzz_target;
use thalweg::protocol::{frame, walk};

#[path = "allocations.rs"]
mod allocations;

const DECODED_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut frame = Bytes::copy_from_slice(bytes);
    let Ok(header) = frame::decode_header(&mut frame) else { return };
    let walked = allocations::within(0, || {
        walk::check_request(header.api_key, header.api_version, &frame, DECODED_BYTES_MAX)
    });
    let Ok(api_key) = ApiKey::try_from(header.api_key) else { return };
    if walked.is_ok() {
        // What an error's text and its backtrace take is the slack.
        allocations::within(DECODED_BYTES_MAX + 16 * 1024, || {
            let _ = RequestKind::decode(api_key, &mut frame, header.api_version);
        });
    }
});
