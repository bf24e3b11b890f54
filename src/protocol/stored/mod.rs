//! Records that a broker keeps for itself: cluster metadata, the quorum's control records, and (with the
//! same codec) what the group and transaction coordinators write.
//!
//! A record type is one entry of a `stored!` table that says what Kafka's schema of the same name says:
//! key, versions, first flexible version, and for every field its type, default, versions and tag. The
//! macro makes a plain struct and its codec of it. Adding a record is adding a table entry.

#[macro_use]
mod codec;
pub mod control;
pub mod group;
pub mod metadata;

#[cfg(test)]
mod tests;

pub use codec::{Field, Input, Message, StoredError};
