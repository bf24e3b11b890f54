//! Futures that wait until a log has come to an offset.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::{Context, Waker};

use crate::types::Offset;

/// Who waits for which offset. A waiter that goes away takes its entry along.
#[derive(Default)]
pub struct Waiting {
    by_offset: RefCell<BTreeMap<(Offset, u64), Waker>>,
    next_key: Cell<u64>,
}

impl Waiting {
    /// Registers or renews; gives the key to renew or remove with.
    pub fn register(&self, offset: Offset, key: Option<u64>, context: &Context<'_>) -> u64 {
        let key = key.unwrap_or_else(|| self.next_key.replace(self.next_key.get() + 1));
        self.by_offset.borrow_mut().insert((offset, key), context.waker().clone());
        key
    }

    pub fn remove(&self, offset: Offset, key: u64) {
        self.by_offset.borrow_mut().remove(&(offset, key));
    }

    /// Wakes those that wait for `reached` or less.
    pub fn wake_to(&self, reached: Offset) {
        loop {
            let mut waiting = self.by_offset.borrow_mut();
            let Some(first) = waiting.first_entry().filter(|entry| entry.key().0 <= reached) else { return };
            let waker = first.remove();
            drop(waiting);
            waker.wake();
        }
    }

    pub fn wake_all(&self) {
        self.wake_to(Offset(i64::MAX));
    }
}
