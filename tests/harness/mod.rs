//! What the judges share: the broker under test and Apache Kafka as processes, a raw connection, a message
//! codec read from Kafka's own schemas, and record batches that may lie in any field.
//!
//! Nothing here uses the broker's codec, so that a mistake there cannot hide itself.
#![allow(dead_code, unused_imports)]

pub mod batch;
pub mod connection;
pub mod process;
pub mod random;
pub mod schema;

pub use batch::{Batch, Record};
pub use connection::{Answer, Connection};
pub use process::{Apache, Thalweg, scratch};
pub use random::Random;
pub use schema::{message, message_by_key};
