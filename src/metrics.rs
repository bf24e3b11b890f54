//! Counters and gauges of the process: plain atomics, each named after what it counts.
//!
//! A hot counter is written by its own core only (relaxed), so a write costs no contention; readers sum.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])* pub static $name: Counter = Counter::new();)*

        /// Every counter with its value, by name in lower case.
        pub fn snapshot() -> Vec<(String, u64)> {
            vec![$((stringify!($name).to_lowercase(), $name.value())),*]
        }
    };
}

counters! {
    /// Record bytes that fetch answers sent from the page cache to the socket without copying.
    FETCH_BYTES_SPLICED,
    /// Record bytes that fetch answers copied through user space.
    FETCH_BYTES_COPIED,
    /// Record bytes that produce requests appended.
    PRODUCE_BYTES,
    /// Requests answered.
    REQUESTS,
    /// Connections accepted.
    CONNECTIONS_ACCEPTED,
    /// Connections closed because of what their client sent or failed to send.
    CONNECTIONS_REFUSED,
}
