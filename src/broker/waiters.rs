//! Fetches that wait for bytes.
//!
//! A waiting fetch is one [`FetchWait`], shared by the core of its connection and the cores that own its
//! partitions. An append adds the bytes it committed; the wait wakes once when they reach what it needs.
//! Nothing polls: ten thousand waits cost memory, not time. Registration is keyed by the wait's id, so
//! that leaving is one map removal, and a fetch that no partition holds leaves without a word to any core.
//!
//! What must stay true: a wait that has left is held by no partition, or a deregistration is on its way to
//! the one that holds it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::task::Poll;

use ahash::AHashMap;
use atomic_waker::AtomicWaker;

/// One fetch that waits. Wakes when `missing` bytes were committed, or at once by [`FetchWait::rouse`].
pub struct FetchWait {
    id: u64,
    missing: AtomicI64,
    roused: AtomicBool,
    /// [`HELD`] and [`LEFT`]. In one value, so that of holding and leaving one sees the other.
    stage: AtomicU8,
    waker: AtomicWaker,
}

/// Some partition has registered the wait.
const HELD: u8 = 1;
/// The fetch has left: no partition may register the wait any more.
const LEFT: u8 = 2;

impl FetchWait {
    /// A wait for `missing` more bytes; at least one.
    pub fn new(missing: u64) -> Arc<FetchWait> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Arc::new(FetchWait {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            missing: AtomicI64::new(i64::try_from(missing.max(1)).unwrap_or(i64::MAX)),
            roused: AtomicBool::new(false),
            stage: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        })
    }

    /// Counts bytes that became readable; wakes the fetch when it has enough.
    pub fn add(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.missing.fetch_sub(bytes, Ordering::AcqRel);
        if before > 0 && before <= bytes {
            self.rouse();
        }
    }

    /// Wakes the fetch whatever it has: a partition failed, went away, or the broker stops.
    pub fn rouse(&self) {
        self.roused.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// A partition is about to hold the wait; false where the fetch has left.
    fn hold(&self) -> bool {
        self.stage.fetch_or(HELD, Ordering::AcqRel) & LEFT == 0
    }

    /// The fetch leaves. True where partitions may hold the wait, and have to be told.
    pub fn leave(&self) -> bool {
        self.stage.fetch_or(LEFT, Ordering::AcqRel) & HELD != 0
    }

    /// Resolves when the wait was woken; stays resolved.
    pub async fn woken(&self) {
        poll_fn(|cx| {
            if self.roused.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            self.waker.register(cx.waker());
            if self.roused.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// The waits registered at one partition, on the core that owns it.
#[derive(Default)]
pub struct Waiters {
    waits: RefCell<AHashMap<u64, Arc<FetchWait>>>,
}

impl Waiters {
    /// Holds the wait until it is deregistered; one that has left is not taken.
    pub fn register(&self, wait: &Arc<FetchWait>) {
        if wait.hold() {
            self.waits.borrow_mut().insert(wait.id, wait.clone());
        }
    }

    pub fn deregister(&self, wait: &FetchWait) {
        let mut waits = self.waits.borrow_mut();
        waits.remove(&wait.id);
        if waits.is_empty() && waits.capacity() > 64 {
            waits.shrink_to_fit();
        }
    }

    /// Tells every wait that `bytes` more can be read.
    pub fn committed(&self, bytes: u64) {
        for wait in self.waits.borrow().values() {
            wait.add(bytes);
        }
    }

    pub fn rouse_all(&self) {
        for wait in self.waits.borrow().values() {
            wait.rouse();
        }
    }

    pub fn count(&self) -> usize {
        self.waits.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::{Context, Waker};

    fn is_woken(wait: &FetchWait) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(wait.woken()).poll(&mut context).is_ready()
    }

    #[test]
    fn wakes_when_the_sum_over_partitions_reaches_what_is_missing() {
        let (left, right) = (Waiters::default(), Waiters::default());
        let wait = FetchWait::new(100);
        left.register(&wait);
        right.register(&wait);
        left.committed(60);
        assert!(!is_woken(&wait));
        right.committed(40);
        assert!(is_woken(&wait));
    }

    #[test]
    fn a_wait_that_left_is_not_counted() {
        let waiters = Waiters::default();
        let wait = FetchWait::new(1);
        waiters.register(&wait);
        waiters.deregister(&wait);
        assert_eq!(waiters.count(), 0);
        waiters.committed(10);
        assert!(!is_woken(&wait));
    }

    #[test]
    fn a_wait_that_has_left_is_not_taken_and_one_that_is_held_says_so() {
        let waiters = Waiters::default();
        let (early, held) = (FetchWait::new(1), FetchWait::new(1));
        assert!(!early.leave(), "nobody has to be told");
        waiters.register(&early);
        assert_eq!(waiters.count(), 0);
        waiters.register(&held);
        assert!(held.leave(), "a deregistration has to follow");
        assert_eq!(waiters.count(), 1);
    }

    #[test]
    fn rousing_wakes_whatever_is_missing() {
        let waiters = Waiters::default();
        let wait = FetchWait::new(u64::MAX);
        waiters.register(&wait);
        waiters.rouse_all();
        assert!(is_woken(&wait));
    }
}
