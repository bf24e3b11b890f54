//! A bound on bytes of one core, handed out in the order of asking.
//!
//! A reservation that does not fit waits, and so does everyone who asks after it: a large frame is not
//! passed for ever by small ones. Dropping a waiting reservation takes it out of the line. One that is
//! larger than the whole bound is given once nothing else is reserved, so nobody waits for ever.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The bound. Clones share it.
#[derive(Clone)]
pub struct MemoryBound {
    line: Rc<RefCell<Line>>,
}

struct Line {
    bytes_max: u64,
    reserved: u64,
    next_ticket: u64,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    ticket: u64,
    bytes: u64,
    waker: Waker,
}

impl MemoryBound {
    pub fn new(bytes_max: u64) -> MemoryBound {
        let line = Line { bytes_max, reserved: 0, next_ticket: 0, waiting: VecDeque::new() };
        MemoryBound { line: Rc::new(RefCell::new(line)) }
    }

    /// Waits for `bytes`, first come first served. Dropping the future gives up the place.
    pub fn reserve(&self, bytes: u64) -> Reserve {
        Reserve { bound: self.clone(), bytes, ticket: None, done: false }
    }

    /// `bytes` at once, or `None` when they do not fit or others wait already.
    pub fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let mut line = self.line.borrow_mut();
        if line.waiting.is_empty() && line.take(bytes) {
            drop(line);
            return Some(Reservation { bound: self.clone(), bytes });
        }
        None
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> u64 {
        self.line.borrow().reserved
    }

    /// Reservations that wait now.
    pub fn waiting(&self) -> usize {
        self.line.borrow().waiting.len()
    }

    fn release(&self, bytes: u64) {
        let head = {
            let mut line = self.line.borrow_mut();
            line.reserved -= bytes;
            line.fitting_head()
        };
        wake(head);
    }
}

impl Line {
    fn fits(&self, bytes: u64) -> bool {
        self.reserved == 0 || self.reserved.saturating_add(bytes) <= self.bytes_max
    }

    fn take(&mut self, bytes: u64) -> bool {
        let fits = self.fits(bytes);
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    fn fitting_head(&self) -> Option<Waker> {
        self.waiting.front().filter(|head| self.fits(head.bytes)).map(|head| head.waker.clone())
    }
}

fn wake(head: Option<Waker>) {
    if let Some(waker) = head {
        waker.wake();
    }
}

/// A place in the line.
pub struct Reserve {
    bound: MemoryBound,
    bytes: u64,
    ticket: Option<u64>,
    done: bool,
}

impl Future for Reserve {
    type Output = Reservation;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reservation> {
        assert!(!self.done, "a reservation is given once");
        let this = &mut *self;
        let mut line = this.bound.line.borrow_mut();
        let first = match this.ticket {
            None => line.waiting.is_empty(),
            Some(ticket) => line.waiting.front().is_some_and(|head| head.ticket == ticket),
        };
        if first && line.take(this.bytes) {
            if this.ticket.take().is_some() {
                line.waiting.pop_front();
            }
            let next = line.fitting_head();
            drop(line);
            this.done = true;
            wake(next);
            return Poll::Ready(Reservation { bound: this.bound.clone(), bytes: this.bytes });
        }
        match this.ticket {
            Some(ticket) => {
                let waiter = line.waiting.iter_mut().find(|waiter| waiter.ticket == ticket);
                let waiter = waiter.expect("a waiter leaves the line by its own poll or drop");
                waiter.waker.clone_from(cx.waker());
            }
            None => {
                let ticket = line.next_ticket;
                line.next_ticket += 1;
                line.waiting.push_back(Waiter { ticket, bytes: this.bytes, waker: cx.waker().clone() });
                this.ticket = Some(ticket);
            }
        }
        Poll::Pending
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let head = {
            let mut line = self.bound.line.borrow_mut();
            line.waiting.retain(|waiter| waiter.ticket != ticket);
            line.fitting_head()
        };
        wake(head);
    }
}

/// Bytes that are taken from the bound until this is dropped.
pub struct Reservation {
    bound: MemoryBound,
    bytes: u64,
}

impl Reservation {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back all but `bytes`; a no-op when it holds no more than that.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            let excess = self.bytes - bytes;
            self.bytes = bytes;
            self.bound.release(excess);
        }
    }

    /// Takes `bytes` (at most what is held) out into a reservation of their own.
    pub fn split(&mut self, bytes: u64) -> Reservation {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Reservation { bound: self.bound.clone(), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.bound.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn gives_in_the_order_of_asking() {
        let bound = MemoryBound::new(100);
        let first = bound.try_reserve(80).expect("fits");
        let mut large = pin!(bound.reserve(60));
        let mut small = pin!(bound.reserve(10));
        assert!(poll(large.as_mut()).is_pending());
        assert!(poll(small.as_mut()).is_pending(), "20 are free, but the large one was first");
        assert!(bound.try_reserve(1).is_none());
        drop(first);
        assert!(poll(small.as_mut()).is_pending());
        let Poll::Ready(large) = poll(large.as_mut()) else { panic!("it is first and fits") };
        assert!(poll(small.as_mut()).is_ready());
        assert_eq!(large.bytes(), 60);
    }

    #[test]
    fn a_waiter_that_gives_up_lets_the_next_go() {
        let bound = MemoryBound::new(100);
        let held = bound.try_reserve(50).expect("fits");
        let mut large = Box::pin(bound.reserve(100));
        let mut small = pin!(bound.reserve(10));
        assert!(poll(large.as_mut()).is_pending());
        assert!(poll(small.as_mut()).is_pending());
        drop(large);
        assert!(poll(small.as_mut()).is_ready());
        drop(held);
        assert_eq!(bound.reserved(), 10 - 10, "the small one was dropped when its poll returned");
        assert_eq!(bound.waiting(), 0);
    }

    #[test]
    fn more_than_the_bound_is_given_alone() {
        let bound = MemoryBound::new(100);
        let held = bound.try_reserve(1).expect("fits");
        let mut huge = pin!(bound.reserve(1000));
        assert!(poll(huge.as_mut()).is_pending());
        drop(held);
        let Poll::Ready(mut huge) = poll(huge.as_mut()) else { panic!("nothing else is reserved") };
        assert!(bound.try_reserve(1).is_none());
        huge.shrink_to(90);
        let part = huge.split(40);
        assert_eq!((huge.bytes(), part.bytes(), bound.reserved()), (50, 40, 90));
        drop(huge);
        assert_eq!(bound.reserved(), 40);
    }
}
