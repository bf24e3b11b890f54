//! The rooms of the crate that the targets exercise, from the crate's own sources.

#[path = "../../../src/protocol/mod.rs"]
pub mod protocol;
#[path = "../../../src/types.rs"]
pub mod types;
