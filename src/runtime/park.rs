//! A core's bell: how other threads tell a core that something waits for it, and how the core sleeps
//! without missing that.
//!
//! One atomic holds all there is to know: quiet, rung, or parked. Every change is a read-modify-write of
//! that atomic, so changes have one order. A producer publishes first and rings second; the owner answers
//! first and looks second. Either the ring comes before the answer, and the look that follows sees what was
//! published, or it comes after, and the owner cannot park before it has answered again.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering};

const QUIET: u8 = 0;
const RUNG: u8 = 1;
const PARKED: u8 = 2;

/// What wakes the owner's thread once it sleeps: an eventfd in the broker. A signal given before the owner
/// sleeps must not get lost; more signals than sleeps are harmless.
pub trait Signal {
    fn signal(&self);
}

/// The bell of one core. `ring` is for any thread, the rest for the owner alone.
pub struct Bell<S> {
    state: AtomicU8,
    signal: S,
}

impl<S: Signal> Bell<S> {
    pub fn new(signal: S) -> Bell<S> {
        Bell { state: AtomicU8::new(QUIET), signal }
    }

    /// Tells the owner to look. What it shall find must have been published before.
    pub fn ring(&self) {
        if self.state.swap(RUNG, Ordering::AcqRel) == PARKED {
            self.signal.signal();
        }
    }

    /// Whether the bell was rung since the last answer. On `true` the owner looks at everything that others
    /// may have left for it.
    pub fn answer(&self) -> bool {
        self.state.load(Ordering::Relaxed) == RUNG && self.state.swap(QUIET, Ordering::AcqRel) == RUNG
    }

    /// Announces that the owner is about to sleep on its signal. `false`: it was rung, answer instead.
    pub fn park(&self) -> bool {
        self.state.compare_exchange(QUIET, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends a park, whatever ended the sleep. A ring in between stays to be answered.
    pub fn unpark(&self) {
        let _ = self.state.compare_exchange(PARKED, QUIET, Ordering::AcqRel, Ordering::Acquire);
    }

    pub fn signal(&self) -> &S {
        &self.signal
    }
}

/// A signal for models: what an eventfd and its read are to a core.
#[cfg(all(test, loom))]
pub(super) mod model {
    use super::Signal;
    use loom::sync::{Condvar, Mutex};

    #[derive(Default)]
    pub struct EventCount {
        count: Mutex<u64>,
        counted: Condvar,
    }

    impl EventCount {
        pub fn sleep(&self) {
            let mut count = self.count.lock().unwrap();
            while *count == 0 {
                count = self.counted.wait(count).unwrap();
            }
            *count = 0;
        }
    }

    impl Signal for EventCount {
        fn signal(&self) {
            *self.count.lock().unwrap() += 1;
            self.counted.notify_one();
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::{Bell, model::EventCount};
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    /// Deadlocks in the model are lost wake-ups: loom reports a thread that sleeps for ever.
    #[test]
    fn loom_no_ring_is_lost_on_a_core_that_parks() {
        let mut model = loom::model::Builder::new();
        // All runs would take hours.
        model.preemption_bound = Some(3);
        model.check(|| {
            let bell = Arc::new(Bell::new(EventCount::default()));
            let published = Arc::new(AtomicUsize::new(0));
            let ringers: Vec<_> = (0..2)
                .map(|_| {
                    let (bell, published) = (bell.clone(), published.clone());
                    thread::spawn(move || {
                        published.fetch_add(1, Ordering::Relaxed);
                        bell.ring();
                    })
                })
                .collect();
            let mut seen = 0;
            while seen < 2 {
                if bell.answer() {
                    // Relaxed on purpose: the bell orders what was published before it rang.
                    seen = published.load(Ordering::Relaxed);
                } else if bell.park() {
                    bell.signal().sleep();
                    bell.unpark();
                }
            }
            ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
        });
    }

    /// The owner's sleep also ends for reasons of its own (the ring's work, a pushed operation).
    #[test]
    fn loom_a_ring_stays_to_be_answered_when_the_sleep_ends_otherwise() {
        loom::model(|| {
            let bell = Arc::new(Bell::new(EventCount::default()));
            let ringer = {
                let bell = bell.clone();
                thread::spawn(move || bell.ring())
            };
            if bell.park() {
                bell.unpark();
            }
            ringer.join().unwrap();
            assert!(bell.answer());
            assert!(!bell.answer());
        });
    }
}
