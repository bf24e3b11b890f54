//! Listeners, connections, start and shutdown of the process.

pub mod host;
