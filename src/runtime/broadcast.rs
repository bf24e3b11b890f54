//! One immutable value that every core reads: the metadata image, the ACLs.
//!
//! A publisher replaces the value and then raises the version; both under a lock that is held for the swap
//! of a pointer. A reader compares one atomic with the version it holds, and takes the lock only after a
//! change. So reading costs one load, and a reader that learned of a publication (by a message, or by an
//! earlier read) never sees an older value.

#[cfg(loom)]
use loom::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

/// The writing end, shared by all cores.
pub struct Broadcast<T> {
    /// Changes only while `current` is locked.
    version: AtomicU64,
    current: Mutex<Arc<T>>,
}

impl<T> Broadcast<T> {
    pub fn new(first: Arc<T>) -> Broadcast<T> {
        Broadcast { version: AtomicU64::new(1), current: Mutex::new(first) }
    }

    /// Makes `value` what every later [`Reader::get`] returns. The old value is dropped by whoever holds it
    /// last.
    pub fn publish(&self, value: Arc<T>) {
        let old = {
            let mut current = self.current.lock().expect("no panic happens under this lock");
            let old = std::mem::replace(&mut *current, value);
            self.version.fetch_add(1, Ordering::Release);
            old
        };
        drop(old);
    }

    /// The current value, for a thread without a reader of its own.
    pub fn latest(&self) -> Arc<T> {
        self.current.lock().expect("no panic happens under this lock").clone()
    }

    /// A reader for one core.
    pub fn reader(self: &Arc<Self>) -> Reader<T> {
        let (version, value) = self.versioned();
        Reader { from: self.clone(), seen: Cell::new(version), cached: RefCell::new(View(Rc::new(value))) }
    }

    fn versioned(&self) -> (u64, Arc<T>) {
        let current = self.current.lock().expect("no panic happens under this lock");
        (self.version.load(Ordering::Relaxed), current.clone())
    }
}

/// One core's reading end: caches the value, so that cores do not share a reference count.
pub struct Reader<T> {
    from: Arc<Broadcast<T>>,
    seen: Cell<u64>,
    cached: RefCell<View<T>>,
}

impl<T> Reader<T> {
    /// The value as of now. Holding a view does not delay a publication; it only keeps the old value alive.
    pub fn get(&self) -> View<T> {
        if self.from.version.load(Ordering::Acquire) != self.seen.get() {
            let (version, value) = self.from.versioned();
            self.seen.set(version);
            let old = self.cached.replace(View(Rc::new(value)));
            drop(old);
        }
        self.cached.borrow().clone()
    }
}

/// A core's hold on one published value.
#[expect(clippy::redundant_allocation, reason = "the outer count is the core's own, the inner is shared")]
pub struct View<T>(Rc<Arc<T>>);

impl<T> View<T> {
    /// Whether both hold the very same publication.
    pub fn is_same(&self, other: &View<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The value in a form that may leave the core.
    pub fn share(&self) -> Arc<T> {
        (*self.0).clone()
    }
}

impl<T> Clone for View<T> {
    fn clone(&self) -> View<T> {
        View(self.0.clone())
    }
}

impl<T> Deref for View<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_was_published_and_allocates_only_then() {
        let broadcast = Arc::new(Broadcast::new(Arc::new(1)));
        let reader = broadcast.reader();
        let (first, again) = (reader.get(), reader.get());
        assert!(Rc::ptr_eq(&first.0, &again.0));
        broadcast.publish(Arc::new(2));
        assert_eq!((*first, *reader.get(), *broadcast.latest()), (1, 2, 2));
        assert_eq!(Arc::strong_count(&reader.get().share()), 3);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::thread;

    #[test]
    fn loom_a_reader_during_publication_never_goes_back() {
        loom::model(|| {
            let broadcast = Arc::new(Broadcast::new(Arc::new(0)));
            let reader = Reader {
                from: broadcast.clone(),
                seen: Cell::new(1),
                cached: RefCell::new(View(Rc::new(broadcast.latest()))),
            };
            let publisher = {
                let broadcast = broadcast.clone();
                thread::spawn(move || {
                    broadcast.publish(Arc::new(1));
                    broadcast.publish(Arc::new(2));
                })
            };
            let first = *reader.get();
            let second = *reader.get();
            assert!(first <= second);
            publisher.join().unwrap();
            assert_eq!(*reader.get(), 2, "who learned of the publication sees it");
        });
    }

    #[test]
    fn loom_two_publishers_leave_one_value_that_all_see() {
        loom::model(|| {
            let broadcast = Arc::new(Broadcast::new(Arc::new(0)));
            let publishers: Vec<_> = (1..3)
                .map(|value| {
                    let broadcast = broadcast.clone();
                    thread::spawn(move || broadcast.publish(Arc::new(value)))
                })
                .collect();
            let reader = Reader {
                from: broadcast.clone(),
                seen: Cell::new(0),
                cached: RefCell::new(View(Rc::new(Arc::new(0)))),
            };
            let _ = reader.get();
            publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
            assert_eq!(*reader.get(), *broadcast.latest());
        });
    }
}
