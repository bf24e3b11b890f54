//! What groups read of bytes that clients and logs bring: stored records, what classic members hand to each
//! other, and the offset requests that are decoded here. The first byte says which.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use thalweg::protocol::embedded::{Assignment, Subscription};
use thalweg::protocol::offset_requests::{decode_commit, decode_fetch};
use thalweg::protocol::stored::group::Record;

#[path = "allocations.rs"]
mod allocations;

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    // An element of any list takes a byte or more of the input and at most 256 of memory; lists grow by doubling.
    let bound = 4096 + bytes.len() * 768;
    match choice % 5 {
        0 => {
            let middle = usize::from(choice / 5).min(bytes.len());
            let (key, value) = bytes.split_at(middle);
            let read = allocations::within(bound, || Record::decode(key, Some(value)));
            // What was read can be written, but for what is of another kind.
            if let Ok(record) = read
                && !matches!(record, Record::Other { .. })
                && let Ok((key, value)) = record.encode()
            {
                Record::decode(&key, value.as_deref()).expect("what was written is read");
            }
        }
        1 => allocations::within(bound, || drop(Subscription::read(bytes))),
        2 => allocations::within(bound, || drop(Assignment::read(bytes))),
        3 => {
            let body = Bytes::copy_from_slice(bytes);
            allocations::within(bound, || drop(decode_commit(body, 10)));
        }
        _ => {
            let body = Bytes::copy_from_slice(bytes);
            allocations::within(bound, || drop(decode_fetch(body, 10)));
        }
    }
});
