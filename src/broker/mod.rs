//! What a broker does with its partitions.
//!
//! [`replica`] holds role, epochs and watermarks as a pure value; [`partition`] joins it to the log;
//! [`waiters`] wakes the fetches that wait for bytes; [`fetch_session`] remembers what a consumer asked for;
//! [`state_machine`] makes coordinators of pure state machines, [`replay`] reads what they were out of their log.

pub mod fetch_session;
pub mod partition;
pub mod replay;
pub mod replica;
pub mod state_machine;
pub mod waiters;
