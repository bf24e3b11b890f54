//! Bytes on the wire and in files: frames, bounds, batches, records, messages, stored records.
//!
//! Everything here is a pure function over bytes. Whatever the bytes are, nothing panics and nothing
//! allocates more than a small multiple of what came in (or the bound that the caller gave).
//!
//! | file | what it reads and writes |
//! |---|---|
//! | [`wire`] | the primitives under all of them, each bounded by the bytes that are left |
//! | [`frame`] | length prefix, request header, response header |
//! | [`walk`] | a whole request against its schema (`walk_table`, generated), before anything decodes it |
//! | [`message`] | the seam to the kafka-protocol crate, for every message that is not hot |
//! | [`embedded`] | what classic consumers hand to each other through their coordinator |
//! | [`produce`], [`fetch`] | the two hot messages, decoded in place and encoded around slices |
//! | [`api_error`] | what a decision refuses with: a code and its sentence |
//! | [`batch`], [`record`] | record batches as they stand in requests and in files |
//! | [`produced`], [`opened`] | what a produced batch must be before it may be appended |
//! | [`stored`] | records that a broker keeps for itself, and their table codec |
//! | [`builder`], [`compression`] | batches made here; the five codecs, bounded |

pub mod api_error;
pub mod batch;
pub mod builder;
pub mod compression;
mod crc;
pub mod embedded;
pub mod fetch;
pub mod frame;
#[cfg(test)]
mod golden;
pub mod message;
pub mod offset_requests;
pub mod opened;
pub mod produce;
pub mod produced;
pub mod record;
pub mod stored;
pub mod walk;
#[rustfmt::skip]
mod walk_table;
pub mod wire;
