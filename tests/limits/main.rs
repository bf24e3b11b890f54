//! What a broker may cost and how it has to behave at its limits, over the real binary: CPU and memory at
//! rest, time to start and to stop, connections, listeners, the order of effects, and what is synced before
//! it is answered.
//!
//! The tests take turns, as some of them measure. What is measured is CPU time and not the clock where that
//! is possible, so that a busy machine changes little; where the clock counts, the test says how it allows
//! for it.
//!
//! limit: 600

#[path = "../harness/mod.rs"]
mod harness;

mod age;
mod client;
mod connections;
mod costs;
mod doors;
mod fetches;
mod groups;
mod listeners;
mod offline;
mod offsets;
mod open_files;
mod order;
mod stop;
mod synced;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
