//! Bad input against the real binary: what is sent on purpose or by accident to an open port. Whatever it
//! is, the client gets the protocol's error or a closed connection, memory stays inside its bounds, the
//! log grows at a bounded rate, and every other client goes on.
//!
//! `HOSTILE_SEED` repeats a random test, `HOSTILE_COUNT` makes it longer.
//!
//! limit: 600

#[path = "../harness/mod.rs"]
mod harness;

mod crowds;
mod frames;
mod groups;
mod mutations;
mod records;
mod scene;
