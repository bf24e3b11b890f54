//! The bound on bytes between a producer and the answers to it.
//!
//! The producer's thread takes from it and waits at the bound; the delivery's thread gives back, and stops
//! it when it fails, so that nobody waits for what will not come.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::producer::Stopped;

/// Bytes of batches that may be undelivered.
const UNDELIVERED_BYTES_MAX: usize = 64 << 20;

/// Bytes of batches that are not answered yet.
#[derive(Debug, Default)]
pub struct Budget {
    state: Mutex<BudgetState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct BudgetState {
    bytes: usize,
    is_stopped: bool,
}

impl Budget {
    /// Waits until `bytes` fit, or anything where nothing else is undelivered.
    pub fn take(&self, bytes: usize) -> Result<(), Stopped> {
        let mut state = self.lock();
        while !state.is_stopped && state.bytes > 0 && state.bytes + bytes > UNDELIVERED_BYTES_MAX {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_stopped {
            return Err(Stopped);
        }
        state.bytes += bytes;
        Ok(())
    }

    /// Counts bytes that take the place of others.
    pub fn add(&self, bytes: usize) {
        self.lock().bytes += bytes;
    }

    /// What is delivered leaves room for others.
    pub fn give_back(&self, bytes: usize) {
        self.lock().bytes -= bytes;
        self.changed.notify_all();
    }

    /// The delivery has failed: nobody waits any longer.
    pub fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, BudgetState> {
        // No holder can panic between two writes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_lets_one_oversized_batch_pass_alone() {
        let budget = Budget::default();
        budget.take(UNDELIVERED_BYTES_MAX * 2).unwrap();
        budget.give_back(UNDELIVERED_BYTES_MAX * 2);
        budget.stop();
        assert!(budget.take(1).is_err());
    }
}
