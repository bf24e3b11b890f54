//! A core's io_uring: operations as futures, and the one task that drives them.
//!
//! The driver submits and reaps in one enter, wakes the waiting tasks and yields; while nothing arrives it
//! spins for a bounded time that follows how long the last waits were; then it parks on an eventfd that the
//! kernel signals when work for the ring arrives (DEFER_TASKRUN), that other cores signal by ringing the
//! core's [`Bell`], and that glommio reads through its own ring, so that the executor sleeps as one.
//! An operation owns its buffers and its file. Dropping its future asks the kernel to cancel it and keeps
//! what it owns until the completion has come. Buffers for waiting receives are the ring's: a connection
//! that says nothing holds none.

mod buffers;
mod ops;

pub use self::buffers::RECEIVE_BUFFER_BYTES;
use self::buffers::{RECEIVE_GROUP, ReceiveBuffers};
pub(super) use self::buffers::{ReceiveOwner, Received};
pub(super) use self::ops::owned;
pub use self::ops::{
    by_deadline, close, fallocate, open, poll, read_at, rename, sleep, sync, unlink, write_at,
};
use super::park::{Bell, Signal};
use super::tasks::{self, Notice, Queue, Task};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Submission queue entries; more operations than this in one turn are submitted in several enters.
const SUBMISSIONS: u32 = 256;
/// Completion queue entries; beyond them the kernel keeps completions until there is room.
const COMPLETIONS: u32 = 2048;
/// The longest spin of an idle driver. About what a park and the wake from it cost together, so that a spin
/// in vain costs no more than what it hoped to save.
const SPIN_MAX: Duration = Duration::from_micros(20);
/// How long a closing ring waits for operations that the kernel does not give back.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The user data of requests whose completion nobody awaits.
const NOBODY: u64 = u64::MAX;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// The ring of this core.
///
/// # Panics
/// Outside a core of [`shards::run`](super::shards::run).
pub fn current() -> Rc<Ring> {
    CURRENT.with_borrow(|ring| ring.clone().expect("operations run on a core"))
}

/// Whether this thread is a core with a ring.
pub fn is_here() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// Calls `f` with the ring of this core; panics as [`current`] does.
pub fn with<R>(f: impl FnOnce(&Rc<Ring>) -> R) -> R {
    CURRENT.with_borrow(|ring| f(ring.as_ref().expect("operations run on a core")))
}

/// One io_uring, its operations in flight and its receive buffers.
pub struct Ring {
    uring: RefCell<IoUring>,
    ops: RefCell<Ops>,
    buffers: ReceiveBuffers,
    bell: Arc<Bell<EventFd>>,
    in_flight: Cell<usize>,
    /// The driver, while it is parked.
    parked: RefCell<Option<Waker>>,
    closing: Cell<bool>,
    closed: Cell<bool>,
}

impl Ring {
    /// Makes the ring of this thread.
    ///
    /// # Errors
    /// What io_uring_setup says: ENOSYS, EPERM (io_uring_disabled, seccomp), ENOMEM, EINVAL (before 6.1).
    pub(super) fn make(bell: Arc<Bell<EventFd>>) -> io::Result<Rc<Ring>> {
        let uring = IoUring::builder()
            .dontfork()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(SUBMISSIONS)?;
        let buffers = ReceiveBuffers::make(&uring)?;
        uring.submitter().register_eventfd(bell.signal().0.as_raw_fd())?;
        let mut uring = uring;
        uring.completion().disable_eventfd();
        let ring = Rc::new(Ring {
            uring: RefCell::new(uring),
            ops: RefCell::new(Ops::default()),
            buffers,
            bell,
            in_flight: Cell::new(0),
            parked: RefCell::new(None),
            closing: Cell::new(false),
            closed: Cell::new(false),
        });
        CURRENT.set(Some(ring.clone()));
        Ok(ring)
    }

    /// Operations in the kernel or on their way to it.
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Starts an operation.
    ///
    /// # Safety
    /// All that `entry` points to must be owned by `keep` (or be static), at an address that does not change
    /// when `keep` moves, and its descriptor must stay open as long as `keep` lives.
    pub(super) unsafe fn start<K: 'static>(self: &Rc<Self>, entry: squeue::Entry, keep: K) -> Op<K> {
        let id = self.ops.borrow_mut().insert(State::Waiting(None));
        if self.closing.get() {
            self.ops.borrow_mut().slots[index(id)].state = State::Done(-libc::ECANCELED);
        } else {
            self.in_flight.set(self.in_flight.get() + 1);
            // SAFETY: what the entry points to is owned by `keep`, which the `Op` holds or hands to the
            // slot until the completion came.
            unsafe { self.push(&entry.user_data(id)) };
        }
        Op { ring: self.clone(), id, keep: Some(keep), orphan: |_, _| {} }
    }

    /// Starts a receive into a buffer of the ring for `owner`, who holds the descriptor open and is told the
    /// outcome, and returns its id.
    pub(super) fn start_receive(&self, fd: RawFd, owner: Rc<dyn ReceiveOwner>) -> Option<u64> {
        if self.closing.get() {
            return None;
        }
        let id = self.ops.borrow_mut().insert(State::Receive(owner));
        self.in_flight.set(self.in_flight.get() + 1);
        let entry = opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), 0)
            .buf_group(RECEIVE_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(id);
        // SAFETY: the kernel writes to a buffer of the ring; `owner` in the slot keeps the descriptor open.
        unsafe { self.push(&entry) };
        Some(id)
    }

    /// Asks the kernel to end the operation `id` early; its completion comes all the same.
    pub(super) fn cancel(&self, id: u64) {
        if self.closing.get() {
            return;
        }
        let entry = opcode::AsyncCancel::new(id).build().flags(squeue::Flags::SKIP_SUCCESS).user_data(NOBODY);
        // SAFETY: a cancel points to nothing.
        unsafe { self.push(&entry) };
    }

    /// # Safety
    /// As [`start`](Self::start): what `entry` points to lives until its completion.
    unsafe fn push(&self, entry: &squeue::Entry) {
        let mut uring = self.uring.borrow_mut();
        // SAFETY: the caller's promise.
        while unsafe { uring.submission().push(entry) }.is_err() {
            let waiting = uring.submission().len() as u32;
            enter(&uring, waiting, 0);
        }
        drop(uring);
        self.wake_driver();
    }

    fn wake_driver(&self) {
        let parked = self.parked.borrow_mut().take();
        if let Some(driver) = parked {
            driver.wake();
        }
    }

    /// One turn: submits what was pushed, lets the kernel finish what is ready, hands out the completions.
    /// Returns how many there were. Enters the kernel only when there is a reason.
    fn turn(&self, always_enter: bool) -> usize {
        {
            let mut uring = self.uring.borrow_mut();
            let submission = uring.submission();
            let waiting = submission.len() as u32;
            let work = submission.taskrun() || submission.cq_overflow();
            drop(submission);
            if waiting > 0 || work || always_enter {
                enter(&uring, waiting, GETEVENTS);
            }
        }
        let mut count = 0;
        loop {
            let mut taken = [const { MaybeUninit::<cqueue::Entry>::uninit() }; 64];
            let mut uring = self.uring.borrow_mut();
            let mut completion = uring.completion();
            let entries = completion.fill(&mut taken);
            drop(completion);
            drop(uring);
            for entry in entries.iter() {
                self.complete(entry.user_data(), entry.result(), entry.flags());
            }
            count += entries.len();
            if entries.len() < 64 {
                return count;
            }
        }
    }

    fn complete(&self, id: u64, result: i32, flags: u32) {
        if id == NOBODY {
            return;
        }
        self.in_flight.set(self.in_flight.get() - 1);
        let mut ops = self.ops.borrow_mut();
        let slot = &mut ops.slots[index(id)];
        assert_eq!(slot.id, id, "a completion meets its own operation");
        match std::mem::replace(&mut slot.state, State::Done(result)) {
            State::Waiting(waker) => {
                drop(ops);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Receive(owner) => {
                ops.remove(id);
                drop(ops);
                let buffer = cqueue::buffer_select(flags).map(|number| Received { ring: self, number });
                owner.received(result, buffer, cqueue::sock_nonempty(flags));
            }
            State::Orphan(keep) => {
                ops.remove(id);
                drop(ops);
                keep(result);
            }
            State::Free | State::Done(_) => unreachable!("an operation completes once"),
        }
    }

    /// Drives the ring until it is [closed](Self::close). `rung` is called when the core's bell was rung.
    pub(super) async fn drive(self: Rc<Self>, rung: impl Fn()) {
        let mut spin = Spin::default();
        let mut keeper = Keeper::new();
        let sleep = Sleep::new(&self.bell);
        let mut closing_since = None;
        loop {
            std::future::poll_fn(|cx| {
                keeper.keep(cx, KEEP_ACTIVE, KEEP_ACTIVE / 2);
                Poll::Ready(())
            })
            .await;
            let mut count = self.turn(false);
            if self.bell.answer() {
                rung();
                count += 1;
            }
            if self.closing.get() {
                let since = *closing_since.get_or_insert_with(Instant::now);
                if self.in_flight.get() == 0 || since.elapsed() > CLOSE_PATIENCE {
                    break;
                }
                glommio::executor().yield_task_queue_now().await;
            } else if count > 0 {
                spin.arrived();
                tasks::yield_now().await;
            } else if spin.goes_on() {
                glommio::executor().yield_task_queue_now().await;
            } else if !self.park(&sleep, &mut keeper).await {
                // Whatever the reason, the other tasks of this core have their turn.
                glommio::executor().yield_task_queue_now().await;
            }
        }
        self.closed.set(true);
        sleep.end().await;
    }

    /// Sleeps until the kernel, another core or a task of this core has work for the ring; false where it has
    /// some already.
    async fn park(&self, sleep: &Sleep, keeper: &mut Keeper) -> bool {
        self.uring.borrow_mut().completion().enable_eventfd();
        // From here work that arrives signals the eventfd, unless the enters below already see it: the flag
        // must be visible before the kernel's list of work is looked at.
        fence(Ordering::SeqCst);
        let enters_max = 2 + self.in_flight.get() / WORK_BY_ENTER;
        let parks = is_quiet(enters_max, || self.turn(true), || self.has_work()) && self.bell.park();
        if parks {
            std::future::poll_fn(|cx| {
                if self.nudged(cx.waker()) || sleep.woken.poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                keeper.keep(cx, KEEP_PARKED, Duration::ZERO);
                Poll::Pending
            })
            .await;
            self.parked.borrow_mut().take();
            self.bell.unpark();
        }
        self.uring.borrow_mut().completion().disable_eventfd();
        parks
    }

    /// Whether the kernel says that it has more to do for the ring than it did in the last enter.
    fn has_work(&self) -> bool {
        let mut uring = self.uring.borrow_mut();
        let submission = uring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Whether an operation was pushed since the driver's last turn; if not, the next push wakes `driver`.
    fn nudged(&self, driver: &Waker) -> bool {
        let pushed = !self.uring.borrow_mut().submission().is_empty() || self.closing.get();
        if !pushed {
            *self.parked.borrow_mut() = Some(driver.clone());
        }
        pushed
    }

    /// Cancels all operations and lets [`drive`](Self::drive) end once the kernel has given them back.
    /// Operations that start from now on fail with ECANCELED.
    pub(super) fn close(&self) {
        if self.closing.get() {
            return;
        }
        let entry = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build().user_data(NOBODY);
        // SAFETY: a cancel points to nothing.
        unsafe { self.push(&entry) };
        self.closing.set(true);
        self.wake_driver();
    }
}

const GETEVENTS: u32 = 1;

fn enter(uring: &IoUring, waiting: u32, flags: u32) {
    // SAFETY: no argument is passed but counts and flags.
    let entered = unsafe { uring.submitter().enter::<libc::sigset_t>(waiting, 0, flags, None) };
    match entered.map_err(|error| error.raw_os_error()) {
        // What was not taken is taken by the next turn.
        Ok(_) | Err(Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
        Err(code) => panic!("io_uring_enter failed with error {code:?}"),
    }
}

/// How long the driver spins before it parks: not at all while waits are usually long.
#[derive(Default)]
struct Spin {
    /// When the current wait began, once the driver is idle.
    idle_since: Option<Instant>,
    /// Moving average of the last waits, each counted as at most twice [`SPIN_MAX`].
    usual_wait_ns: u64,
}

impl Spin {
    fn arrived(&mut self) {
        if let Some(since) = self.idle_since.take() {
            let cap = 2 * SPIN_MAX.as_nanos() as u64;
            let wait = (since.elapsed().as_nanos() as u64).min(cap);
            self.usual_wait_ns = (7 * self.usual_wait_ns + wait) / 8;
        }
    }

    fn goes_on(&mut self) -> bool {
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        let bound = SPIN_MAX.as_nanos() as u64;
        self.usual_wait_ns < bound && since.elapsed() < SPIN_MAX
    }
}

/// The eventfd of a core's bell.
pub struct EventFd(OwnedFd);

impl EventFd {
    pub(super) fn make() -> io::Result<EventFd> {
        // Blocking on purpose: a ring waits on it by polling, where EAGAIN would end the read.
        Ok(EventFd(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?))
    }
}

impl Signal for EventFd {
    fn signal(&self) {
        let written = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        assert_eq!(written, Ok(8), "an eventfd takes eight bytes");
    }
}

/// The read of the eventfd through glommio's ring, by a task of its own.
struct Sleep {
    woken: Rc<Notice>,
    ended: Rc<Cell<bool>>,
    bell: Arc<Bell<EventFd>>,
    reader: Task<()>,
}

impl Sleep {
    fn new(bell: &Arc<Bell<EventFd>>) -> Sleep {
        let fd = bell.signal().0.try_clone().expect("a core starts with descriptors to spare");
        // SAFETY: the descriptor is ours and glommio's file becomes its only owner.
        let event = unsafe { glommio::io::BufferedFile::from_raw_fd(fd.into_raw_fd()) };
        let (woken, ended) = (Rc::new(Notice::default()), Rc::new(Cell::new(false)));
        let (notice, end) = (woken.clone(), ended.clone());
        let reader = tasks::spawn(Queue::Requests, async move {
            while !end.get() {
                let _ = event.read_at(0, 8).await;
                notice.give();
            }
            let _ = event.close().await;
        });
        Sleep { woken, ended, bell: bell.clone(), reader }
    }

    /// Lets the pending read finish, so that nothing of it is left in glommio's ring.
    async fn end(self) {
        self.ended.set(true);
        self.bell.signal().signal();
        self.reader.await;
    }
}

/// Timers that keep glommio 0.9 from sleeping on while tasks can run.
///
/// Its executor goes to sleep without a look at its queues when the preemption timer ([`tasks::TURN`]) fires
/// between the poll of its rings and the first task, that is, when the kernel takes the processor away for
/// so long just then. What ends such a sleep is a timer; so one is always pending, and renewed before it
/// fires while the driver is active. As its firing can meet the same fate, others follow: first at less
/// than a turn, so that one of them has expired between the poll and the sleep and prevents it, then at
/// doubling distances, so that this never runs dry on a machine that is starved of processors.
struct Keeper {
    timers: [Option<glommio::timer::Timer>; KEEP_TIMERS],
    due: Instant,
}

const KEEP_TIMERS: usize = 12;
/// Of them, how many follow at [`KEEP_STEP`].
const KEEP_STEPS: usize = 4;
const KEEP_STEP: Duration = Duration::from_micros(800);
const _: () = assert!(KEEP_STEP.as_nanos() < tasks::TURN.as_nanos());
/// The longest that tasks stand still by one such sleep, while the driver is active and while it is parked.
const KEEP_ACTIVE: Duration = Duration::from_millis(5);
const KEEP_PARKED: Duration = Duration::from_millis(250);

impl Keeper {
    fn new() -> Keeper {
        Keeper { timers: [const { None }; KEEP_TIMERS], due: Instant::now() }
    }

    /// Sees to it that the calling task is woken within `interval`, but not before `slack` has passed.
    fn keep(&mut self, cx: &mut Context<'_>, interval: Duration, slack: Duration) {
        let now = Instant::now();
        let remaining = self.due.saturating_duration_since(now);
        if remaining > slack && remaining <= interval {
            return;
        }
        self.due = now + interval;
        for (number, kept) in self.timers.iter_mut().enumerate() {
            let steps = KEEP_STEP * number.min(KEEP_STEPS) as u32;
            let doubled = interval * (1 << number.saturating_sub(KEEP_STEPS));
            let mut timer = glommio::timer::Timer::new(doubled + steps);
            let _ = Pin::new(&mut timer).poll(cx);
            *kept = Some(timer);
        }
    }
}

/// How many pieces of work the kernel does in one enter (its IO_LOCAL_TW_DEFAULT_MAX).
const WORK_BY_ENTER: usize = 20;

/// Whether the kernel has nothing to do for the ring. Its flag for more work is set after the work was listed,
/// so when an enter comes between the two it stays set though nothing is listed, until other work comes. It is
/// believed for as many enters as the work of all operations can take, and no longer.
fn is_quiet(enters_max: usize, mut enter: impl FnMut() -> usize, has_work: impl Fn() -> bool) -> bool {
    for _ in 0..enters_max {
        if enter() > 0 {
            return false;
        }
        if !has_work() {
            return true;
        }
    }
    true
}

/// The operations by slot. An id is the slot's index with a generation above it.
#[derive(Default)]
struct Ops {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    id: u64,
    state: State,
}

enum State {
    Free,
    /// The kernel has it, its future waits.
    Waiting(Option<Waker>),
    /// The kernel is done, its future has yet to ask.
    Done(i32),
    /// The kernel has it, its future is gone; what it owned is released with the result.
    Orphan(Box<dyn FnOnce(i32)>),
    /// A receive into a buffer of the ring.
    Receive(Rc<dyn ReceiveOwner>),
}

fn index(id: u64) -> usize {
    (id & u64::from(u32::MAX)) as usize
}

impl Ops {
    fn insert(&mut self, state: State) -> u64 {
        let Some(free) = self.free.pop() else {
            let id = self.slots.len() as u64;
            self.slots.push(Slot { id, state });
            return id;
        };
        let slot = &mut self.slots[free as usize];
        // 31 bits of generation, so that no id is `NOBODY`.
        slot.id = (slot.id + (1 << 32)) & (u64::MAX >> 1);
        slot.state = state;
        slot.id
    }

    fn remove(&mut self, id: u64) -> State {
        let state = std::mem::replace(&mut self.slots[index(id)].state, State::Free);
        self.free.push(index(id) as u32);
        state
    }
}

/// An operation in flight: resolves to the kernel's result and to what the operation owned.
#[must_use = "an operation is cancelled when dropped"]
pub struct Op<K: 'static> {
    ring: Rc<Ring>,
    id: u64,
    /// Taken when the operation has ended.
    keep: Option<K>,
    /// What to do with the kept and the result when the future was dropped first.
    orphan: fn(K, i32),
}

// What is kept stays where it is in memory by the contract of `Ring::start`, wherever the future moves.
impl<K> Unpin for Op<K> {}

impl<K: 'static> Op<K> {
    /// Says what becomes of the kept and the result if the future is dropped before it resolved.
    pub(super) fn or_else(mut self, orphan: fn(K, i32)) -> Op<K> {
        self.orphan = orphan;
        self
    }

    /// Asks the kernel to end the operation early; the future then resolves with ECANCELED, or with its
    /// result if that came first.
    pub fn cancel(&self) {
        if self.keep.is_some() {
            self.ring.cancel(self.id);
        }
    }
}

impl<K: 'static> Future for Op<K> {
    type Output = (io::Result<u32>, K);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut ops = this.ring.ops.borrow_mut();
        match &mut ops.slots[index(this.id)].state {
            State::Done(result) => {
                let result = outcome(*result);
                ops.remove(this.id);
                Poll::Ready((result, this.keep.take().expect("an operation resolves once")))
            }
            State::Waiting(Some(waker)) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            State::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => unreachable!("a future has its slot to itself"),
        }
    }
}

impl<K: 'static> Drop for Op<K> {
    fn drop(&mut self) {
        let Some(keep) = self.keep.take() else { return };
        let mut ops = self.ring.ops.borrow_mut();
        let state = &mut ops.slots[index(self.id)].state;
        if let State::Done(result) = *state {
            ops.remove(self.id);
            drop(ops);
            return (self.orphan)(keep, result);
        }
        if self.ring.closed.get() {
            // The kernel did not give it back in time and nobody reaps any more: its memory stays its own.
            std::mem::forget(keep);
            return;
        }
        let orphan = self.orphan;
        let waiting = std::mem::replace(state, State::Orphan(Box::new(move |result| orphan(keep, result))));
        drop(ops);
        drop(waiting);
        self.ring.cancel(self.id);
    }
}

/// The kernel's result as a count or an error.
pub(super) fn outcome(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shards::{RuntimeOptions, run};

    fn one_core<Fut: Future<Output = ()> + 'static>(start: impl Fn() -> Fut + Send + Clone + 'static) {
        run(&RuntimeOptions { cores: vec![0], name: "test".into() }, start).expect("a core can be made");
    }

    #[test]
    fn a_flag_that_stays_set_without_work_keeps_nobody_awake() {
        let entered = Cell::new(0);
        let enter = |gives: usize| {
            let entered = &entered;
            move || {
                entered.set(entered.get() + 1);
                gives
            }
        };
        assert!(is_quiet(5, enter(0), || true), "work that is only claimed");
        assert_eq!(entered.take(), 5, "it is looked for in every enter that it may take");
        assert!(is_quiet(5, enter(0), || false));
        assert_eq!(entered.take(), 1);
        assert!(!is_quiet(5, enter(3), || true), "there are completions to hand out");
    }

    #[test]
    fn what_a_dropped_operation_owns_lives_until_the_kernel_is_done() {
        one_core(|| async {
            let (event, watch) = {
                let event = Rc::new(EventFd::make().unwrap().0);
                let watch = Rc::downgrade(&event);
                (event, watch)
            };
            let op = poll(event, libc::POLLIN);
            tasks::yield_now().await;
            drop(op);
            assert!(watch.upgrade().is_some());
            while current().in_flight() > 0 {
                tasks::yield_now().await;
            }
            assert!(watch.upgrade().is_none());
        });
    }

    #[test]
    fn more_operations_than_the_ring_has_entries_all_complete() {
        one_core(|| async {
            let event = Rc::new(EventFd::make().unwrap().0);
            const COUNT: usize = 3 * COMPLETIONS as usize;
            let waiting: Vec<_> = (0..COUNT).map(|_| poll(event.clone(), libc::POLLIN)).collect();
            glommio::timer::sleep(Duration::from_millis(5)).await;
            rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
            for op in waiting {
                assert_eq!(op.await.0.unwrap(), libc::POLLIN as u32);
            }
        });
    }

    #[test]
    fn a_core_ends_while_tasks_still_wait() {
        one_core(|| async {
            let event = Rc::new(EventFd::make().unwrap().0);
            let waiting = event.clone();
            glommio::spawn_local(async move {
                let cancelled = poll(waiting.clone(), libc::POLLIN).await.0.unwrap_err();
                assert_eq!(cancelled.raw_os_error(), Some(libc::ECANCELED));
                let late = poll(waiting, libc::POLLIN).await.0.unwrap_err();
                assert_eq!(late.raw_os_error(), Some(libc::ECANCELED));
            })
            .detach();
            drop(poll(event, libc::POLLIN));
        });
    }

    #[test]
    fn an_idle_core_sleeps() {
        const IDLE_CPU_MAX: Duration = Duration::from_millis(5);
        let used = run(&RuntimeOptions { cores: vec![0, 1], name: "test".into() }, || async {
            let event = Rc::new(EventFd::make().unwrap().0);
            let mut waiting: Vec<_> = (0..10_000).map(|_| poll(event.clone(), libc::POLLIN)).collect();
            for op in &mut waiting {
                let _ = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *op).poll(cx))).await;
            }
            glommio::timer::sleep(Duration::from_millis(50)).await;
            // The best of a few windows: what the machine does besides can cost a core time in one of them, and
            // one that does not sleep uses it in all.
            let mut least = Duration::MAX;
            for _ in 0..5 {
                let before = thread_cpu();
                glommio::timer::sleep(Duration::from_millis(1000)).await;
                least = least.min(thread_cpu() - before);
                if least < IDLE_CPU_MAX {
                    break;
                }
            }
            least
        })
        .unwrap();
        assert!(used.iter().all(|used| *used < IDLE_CPU_MAX), "{used:?} of a second");
    }

    fn thread_cpu() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}
