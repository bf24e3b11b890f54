//! A core's mailbox: a bounded queue that any core posts to and its owner empties.
//!
//! flume carries the messages; what is ours is the back-pressure, without a waker that crosses threads: a
//! sender that finds the mailbox full raises its flag and tries once more; an owner that has taken a message
//! lowers every raised flag and tells those senders that there is room. A flag is raised before the second
//! try, and the queue's own lock orders that try against every take, so a take that makes room after a
//! failed try finds the flag. Under `cfg(loom)` the queue is a locked deque and the rest is this very code.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a message was not taken; the message comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// No room: the sender's flag is up, and the owner will tell it of room.
    Full(T),
    /// The owner is gone for good.
    Closed(T),
}

/// The mailbox of one core. Senders are counted from 0, as cores are.
pub struct Mailbox<T> {
    queue: queue::Queue<T>,
    closed: AtomicBool,
    /// Some flag in `waiting` may be up.
    any_waiting: AtomicBool,
    /// By sender: it found the mailbox full.
    waiting: Box<[AtomicBool]>,
}

impl<T> Mailbox<T> {
    pub fn new(capacity: usize, senders: usize) -> Mailbox<T> {
        Mailbox {
            queue: queue::Queue::new(capacity),
            closed: AtomicBool::new(false),
            any_waiting: AtomicBool::new(false),
            waiting: (0..senders).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Puts `message` at the end. The caller then rings the owner's bell.
    pub fn post(&self, sender: usize, message: T) -> Result<(), Refused<T>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed(message));
        }
        let Err(message) = self.queue.try_push(message) else { return self.posted() };
        self.waiting[sender].store(true, Ordering::Release);
        self.any_waiting.store(true, Ordering::Release);
        // The owner may have emptied the mailbox between the first try and the flag.
        match self.queue.try_push(message) {
            Ok(()) => self.posted(),
            Err(message) if self.closed.load(Ordering::Acquire) => Err(Refused::Closed(message)),
            Err(message) => Err(Refused::Full(message)),
        }
    }

    /// An owner that closed while a message was on its way has stopped looking: the sender drops what is
    /// inside. (The queue's lock orders the last look of the owner before this push, or finds it there.)
    fn posted(&self) -> Result<(), Refused<T>> {
        if self.closed.load(Ordering::Acquire) {
            while self.queue.pop().is_some() {}
        }
        Ok(())
    }

    /// Takes the oldest message. `room` is called with every sender that waits for room.
    pub fn take(&self, mut room: impl FnMut(usize)) -> Option<T> {
        let message = self.queue.pop()?;
        if self.any_waiting.load(Ordering::Acquire) {
            self.lower_flags(&mut room);
        }
        Some(message)
    }

    /// Refuses all later messages, drops those inside and tells the waiting senders. A message that is
    /// posted meanwhile is refused or dropped.
    pub fn close(&self, mut room: impl FnMut(usize)) {
        self.closed.store(true, Ordering::Release);
        while self.queue.pop().is_some() {}
        self.lower_flags(&mut room);
    }

    fn lower_flags(&self, room: &mut impl FnMut(usize)) {
        self.any_waiting.store(false, Ordering::Release);
        for (sender, waiting) in self.waiting.iter().enumerate() {
            if waiting.swap(false, Ordering::AcqRel) {
                room(sender);
            }
        }
    }
}

/// What a sender has heard of room in others' mailboxes: told by their owners, looked at by the sender when
/// its bell was rung.
pub struct Room {
    /// Some flag in `by_owner` may be up.
    any: AtomicBool,
    by_owner: Box<[AtomicBool]>,
}

impl Room {
    pub fn new(owners: usize) -> Room {
        Room { any: AtomicBool::new(false), by_owner: (0..owners).map(|_| AtomicBool::new(false)).collect() }
    }

    /// There is room in `owner`'s mailbox. The caller then rings the sender's bell.
    pub fn tell(&self, owner: usize) {
        self.by_owner[owner].store(true, Ordering::Release);
        self.any.store(true, Ordering::Release);
    }

    /// Calls `heard` with each owner that told of room since the last look.
    pub fn look(&self, mut heard: impl FnMut(usize)) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        self.any.store(false, Ordering::Relaxed);
        for (owner, told) in self.by_owner.iter().enumerate() {
            if told.swap(false, Ordering::AcqRel) {
                heard(owner);
            }
        }
    }
}

#[cfg(not(loom))]
mod queue {
    pub struct Queue<T> {
        sender: flume::Sender<T>,
        receiver: flume::Receiver<T>,
    }

    impl<T> Queue<T> {
        pub fn new(capacity: usize) -> Queue<T> {
            let (sender, receiver) = flume::bounded(capacity);
            Queue { sender, receiver }
        }

        pub fn try_push(&self, message: T) -> Result<(), T> {
            self.sender.try_send(message).map_err(flume::TrySendError::into_inner)
        }

        pub fn pop(&self) -> Option<T> {
            self.receiver.try_recv().ok()
        }
    }
}

#[cfg(loom)]
mod queue {
    use loom::sync::Mutex;
    use std::collections::VecDeque;

    pub struct Queue<T> {
        capacity: usize,
        messages: Mutex<VecDeque<T>>,
    }

    impl<T> Queue<T> {
        pub fn new(capacity: usize) -> Queue<T> {
            Queue { capacity, messages: Mutex::new(VecDeque::new()) }
        }

        pub fn try_push(&self, message: T) -> Result<(), T> {
            let mut messages = self.messages.lock().expect("no panic happens under this lock");
            if messages.len() == self.capacity {
                return Err(message);
            }
            messages.push_back(message);
            Ok(())
        }

        pub fn pop(&self) -> Option<T> {
            self.messages.lock().expect("no panic happens under this lock").pop_front()
        }
    }
}
