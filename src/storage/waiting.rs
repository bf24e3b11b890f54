//! Futures that wait until a log has come to an offset.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::storage::errors::StorageError;
use crate::storage::log::Log;
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

    pub fn is_empty(&self) -> bool {
        self.by_offset.borrow().is_empty()
    }

    pub fn wake_all(&self) {
        self.wake_to(Offset(i64::MAX));
    }
}

/// Resolves when a log has come to an offset, or can no longer.
pub struct WaitFor {
    log: Rc<Log>,
    offset: Offset,
    flushed: bool,
    key: Option<u64>,
}

impl WaitFor {
    /// Waits for what is written, or flushed.
    pub(super) fn new(log: Rc<Log>, offset: Offset, flushed: bool) -> WaitFor {
        WaitFor { log, offset, flushed, key: None }
    }

    fn waiting(&self) -> &Waiting {
        if self.flushed { &self.log.waiting_flushed } else { &self.log.waiting_written }
    }
}

impl Future for WaitFor {
    type Output = Result<(), StorageError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reached = if self.flushed { self.log.flushed() } else { self.log.written() };
        if reached >= self.offset {
            return Poll::Ready(Ok(()));
        }
        self.log.check_online()?;
        self.key = Some(self.waiting().register(self.offset, self.key, context));
        Poll::Pending
    }
}

impl Drop for WaitFor {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.waiting().remove(self.offset, key);
        }
    }
}
