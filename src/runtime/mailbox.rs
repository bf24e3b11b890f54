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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_order_and_a_full_mailbox_refuses() {
        let mailbox = Mailbox::new(2, 2);
        assert_eq!(mailbox.post(0, 'a'), Ok(()));
        assert_eq!(mailbox.post(1, 'b'), Ok(()));
        assert_eq!(mailbox.post(1, 'c'), Err(Refused::Full('c')));
        let mut told = Vec::new();
        assert_eq!(mailbox.take(|sender| told.push(sender)), Some('a'));
        assert_eq!(told, [1]);
        assert_eq!(mailbox.take(|_| panic!("nobody waits")), Some('b'));
        assert_eq!(mailbox.take(|_| ()), None);
    }

    #[test]
    fn a_closed_mailbox_drops_what_it_holds_and_refuses_the_rest() {
        let mailbox = Mailbox::new(1, 1);
        let message = std::rc::Rc::new(());
        mailbox.post(0, message.clone()).unwrap();
        assert!(matches!(mailbox.post(0, message.clone()), Err(Refused::Full(_))));
        let mut told = 0;
        mailbox.close(|_| told += 1);
        assert_eq!((told, std::rc::Rc::strong_count(&message)), (1, 1));
        assert!(matches!(mailbox.post(0, message), Err(Refused::Closed(_))));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::runtime::park::{Bell, model::EventCount};
    use loom::sync::Arc;
    use loom::thread;

    /// A model with at most so many preemptions in one run: all runs would take hours.
    fn bounded(preemptions: usize) -> loom::model::Builder {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model
    }

    struct Core {
        bell: Bell<EventCount>,
        room: Room,
    }

    fn core() -> Core {
        Core { bell: Bell::new(EventCount::default()), room: Room::new(1) }
    }

    fn sleep(core: &Core) {
        if core.bell.park() {
            core.bell.signal().sleep();
            core.bell.unpark();
        }
    }

    /// Posts as a core does: on a full mailbox it waits for word of room, parked on its own bell.
    fn post_all(mailbox: &Mailbox<u32>, sender: usize, me: &Core, owner: &Core, messages: u32) {
        for message in 0..messages {
            while mailbox.post(sender, message).is_err() {
                let mut told = false;
                while !told {
                    match me.bell.answer() {
                        true => me.room.look(|_| told = true),
                        false => sleep(me),
                    }
                }
            }
            owner.bell.ring();
        }
    }

    fn take_all(mailbox: &Mailbox<u32>, owner: &Core, senders: &[Arc<Core>], messages: usize) -> Vec<u32> {
        let mut taken = Vec::new();
        while taken.len() < messages {
            if !owner.bell.answer() {
                sleep(owner);
                continue;
            }
            let tell = |sender: usize| {
                senders[sender].room.tell(0);
                senders[sender].bell.ring();
            };
            while let Some(message) = mailbox.take(tell) {
                taken.push(message);
            }
        }
        taken
    }

    #[test]
    fn loom_a_full_mailbox_delays_and_loses_nothing() {
        bounded(3).check(|| {
            let mailbox = Arc::new(Mailbox::new(1, 1));
            let (owner, sender) = (Arc::new(core()), Arc::new(core()));
            let posting = {
                let (mailbox, owner, sender) = (mailbox.clone(), owner.clone(), sender.clone());
                thread::spawn(move || post_all(&mailbox, 0, &sender, &owner, 2))
            };
            let taken = take_all(&mailbox, &owner, &[sender], 2);
            assert_eq!(taken, [0, 1]);
            posting.join().unwrap();
        });
    }

    #[test]
    fn loom_two_senders_share_one_place() {
        bounded(2).check(|| {
            let mailbox = Arc::new(Mailbox::new(1, 2));
            let owner = Arc::new(core());
            let senders = [Arc::new(core()), Arc::new(core())];
            let posting: Vec<_> = (0..2)
                .map(|index| {
                    let (mailbox, owner, me) = (mailbox.clone(), owner.clone(), senders[index].clone());
                    thread::spawn(move || post_all(&mailbox, index, &me, &owner, 1))
                })
                .collect();
            assert_eq!(take_all(&mailbox, &owner, &senders, 2), [0, 0]);
            posting.into_iter().for_each(|posting| posting.join().unwrap());
        });
    }

    #[test]
    fn loom_a_message_posted_during_the_close_is_refused_or_dropped() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new(1, 1));
            let alive = std::sync::Arc::new(());
            let posting = {
                let (mailbox, alive) = (mailbox.clone(), alive.clone());
                thread::spawn(move || drop(mailbox.post(0, alive)))
            };
            mailbox.close(|_| ());
            posting.join().unwrap();
            assert_eq!(std::sync::Arc::strong_count(&alive), 1);
        });
    }
}
