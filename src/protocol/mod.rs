//! Bytes on the wire and in files: frames, bounds, batches, records, messages, stored records.

pub mod stored;
