//! Cores: one pinned executor each, and the calls between them.
//!
//! [`call`] puts a closure into the owner's mailbox; it runs there in mailbox order, and what it returns is
//! a future that may finish later. The answer stays in the call itself: the owner notes the call's ticket
//! and rings the caller's core, whose driver wakes the waiting task. No waker crosses threads.
//! A call to another core costs two allocations: the call with its answer, and the task of its future.
//! A mailbox loop awaits only its next message, so full mailboxes cannot wait for each other.
//! A core that has finished keeps its mailbox open until all have, so that late calls are answered.

use super::mailbox::{Mailbox, Refused, Room};
use super::park::Bell;
use super::priority;
use super::ring::{EventFd, Ring};
use super::tasks::{self, Notice, Queue};
use crate::types::ShardId;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Threads of a core for calls that block: fsync, open, rename, compression.
const BLOCKING_THREADS: usize = 4;
/// Messages that wait in one mailbox; beyond them callers wait.
pub const MAILBOX_MESSAGES: usize = 1024;
/// Messages that a mailbox loop handles before other tasks of the core get a turn.
const MESSAGES_PER_TURN: usize = 64;

/// What the cores are made from.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// The processors to pin to, one core each, in the order of their shard ids.
    pub cores: Vec<usize>,
    /// Name of the threads, followed by the shard id.
    pub name: String,
}

/// The core of a call is gone: all cores have finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the core that was called is gone")]
pub struct ShardGone;

/// Makes one executor per core and runs `start` on each; returns what they returned, by shard, when all
/// have finished and every ring is drained.
///
/// # Errors
/// What the kernel says when an executor or a ring cannot be made: then `start` has run nowhere.
///
/// A panic on a core ends the process: what the core owned is in a state nobody knows, and a broker without
/// one of its cores would serve only half of what it promises.
pub fn run<T, Fut>(
    options: &RuntimeOptions,
    start: impl Fn() -> Fut + Send + Clone + 'static,
) -> io::Result<Vec<T>>
where
    T: Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    let count = options.cores.len();
    assert!(count > 0 && count <= usize::from(u16::MAX), "there are cores to run on");
    let ports = Arc::new(Ports::make(count)?);
    let gate = Arc::new(Gate::default());
    let mut threads = Vec::with_capacity(count);
    for (index, &cpu) in options.cores.iter().enumerate() {
        let shard = ShardId(index as u16);
        let name = format!("{}-{index}", options.name);
        let (ports, ticket, start) = (ports.clone(), GateTicket::new(&gate, count), start.clone());
        let thread = std::thread::Builder::new().name(name.clone());
        threads.push(thread.spawn(move || run_core(shard, cpu, &name, ports, ticket, start)));
    }
    let joined: Vec<_> =
        threads.into_iter().map(|thread| thread.map(std::thread::JoinHandle::join)).collect();
    let mut outputs = Vec::with_capacity(count);
    for output in joined {
        outputs.extend(output?.expect("a core that panics ends the process")?);
    }
    assert_eq!(outputs.len(), count, "a core that cannot be made says why");
    Ok(outputs)
}

/// The life of one core. `None`: another core could not be made.
fn run_core<T, Fut: Future<Output = T> + 'static>(
    shard: ShardId,
    cpu: usize,
    name: &str,
    ports: Arc<Ports>,
    ticket: GateTicket,
    start: impl FnOnce() -> Fut + 'static,
) -> io::Result<Option<T>>
where
    T: 'static,
{
    let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(name)
        // The least it takes: files are read through the page cache, not through its buffers.
        .io_memory(64 << 10)
        // A slow fdatasync must not hold up the making of a segment.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        // The queues of `tasks` ask for shorter turns. Until they are there nothing may interrupt the first
        // task, or the executor could go to sleep before it (see the ring's `Keeper`).
        .preempt_timer(Duration::from_secs(3600))
        .make()
        .map_err(io::Error::from)?;
    // Behind the executor, whose threads for blocking calls would inherit it.
    if let Err(error) = priority::wake_early() {
        tracing::debug!(%error, "the core runs as any other thread");
    }
    let life = async move {
        let ring = Ring::make(ports.by_shard[usize::from(shard.0)].bell.clone())?;
        if !ticket.ready() {
            return Ok(None);
        }
        tasks::make_queues();
        let core = Rc::new(Core::new(shard, ports));
        CORE.set(Some(core.clone()));
        let answering = core.clone();
        let driver = tasks::spawn(Queue::Requests, ring.clone().drive(move || answering.answer_bell()));
        let mail = tasks::spawn(Queue::Requests, core.clone().read_mail());
        let output = tasks::spawn(Queue::Requests, async move { start().await }).await;
        core.leave().await;
        core.port().mailbox.close(|sender| core.tell_room(sender));
        drop(mail);
        ring.close();
        driver.await;
        CORE.set(None);
        Ok(Some(output))
    };
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| executor.run(life)));
    lived.unwrap_or_else(|panic| end_process(name, &*panic))
}

fn end_process(core: &str, panic: &(dyn std::any::Any + Send)) -> ! {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
    // Straight to the descriptor: a test's captured output would end with the process.
    let line = format!("core {core} panicked, the process ends: {text}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
    std::process::abort()
}

/// Lets no core start before all could be made.
#[derive(Default)]
struct Gate {
    /// Cores that are ready, and whether one has failed.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

/// One core's part in the gate; dropped unused it means failure.
struct GateTicket {
    gate: Arc<Gate>,
    count: usize,
    used: Cell<bool>,
}

impl GateTicket {
    fn new(gate: &Arc<Gate>, count: usize) -> GateTicket {
        GateTicket { gate: gate.clone(), count, used: Cell::new(false) }
    }

    /// Blocks until all cores are ready (`true`) or one has failed.
    fn ready(&self) -> bool {
        self.used.set(true);
        let mut state = self.gate.state.lock().expect("nothing panics under this lock");
        state.0 += 1;
        self.gate.changed.notify_all();
        while state.0 < self.count && !state.1 {
            state = self.gate.changed.wait(state).expect("nothing panics under this lock");
        }
        !state.1
    }
}

impl Drop for GateTicket {
    fn drop(&mut self) {
        if !self.used.get() {
            self.gate.state.lock().expect("nothing panics under this lock").1 = true;
            self.gate.changed.notify_all();
        }
    }
}

/// What cores know of each other, by shard.
struct Ports {
    by_shard: Box<[Port]>,
    /// Cores whose start has not finished.
    running: AtomicUsize,
}

/// Where other cores leave what they have for one core; its bell tells it to look.
struct Port {
    bell: Arc<Bell<EventFd>>,
    mailbox: Mailbox<Envelope>,
    room: Room,
    /// Tickets of answered calls. Bounded by the calls that the core itself has made.
    answered: (flume::Sender<u64>, flume::Receiver<u64>),
}

impl Ports {
    fn make(count: usize) -> io::Result<Ports> {
        let make_port = |_| {
            Ok(Port {
                bell: Arc::new(Bell::new(EventFd::make()?)),
                mailbox: Mailbox::new(MAILBOX_MESSAGES, count),
                room: Room::new(count),
                answered: flume::unbounded(),
            })
        };
        let by_shard = (0..count).map(make_port).collect::<io::Result<_>>()?;
        Ok(Ports { by_shard, running: AtomicUsize::new(count) })
    }
}

thread_local! {
    static CORE: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// This thread's side of the calls.
struct Core {
    id: ShardId,
    ports: Arc<Ports>,
    mail: Notice,
    left: Notice,
    replies: RefCell<Replies>,
    /// By owner: callers of this core that wait for room in its mailbox.
    lines: Box<[RefCell<Line>]>,
}

fn current() -> Rc<Core> {
    CORE.with_borrow(|core| core.clone().expect("calls are made on a core"))
}

/// The core that runs this.
///
/// # Panics
/// Outside a core, as all functions here.
pub fn shard_id() -> ShardId {
    CORE.with_borrow(|core| core.as_ref().expect("this runs on a core").id)
}

/// How many cores there are.
pub fn shard_count() -> usize {
    CORE.with_borrow(|core| core.as_ref().expect("this runs on a core").ports.by_shard.len())
}

/// Runs `f` on the core `to`, in the order of its mailbox, and the future that `f` returns to its end.
///
/// Resolves once `f` stands in the mailbox, or, on the caller's own core, has run and its future was polled
/// once. So calls that one task makes and awaits take effect in their order. The future on the owner runs
/// to its end even when the reply is dropped.
pub async fn call<R, Fut>(to: ShardId, f: impl FnOnce() -> Fut + Send + 'static) -> Reply<R>
where
    R: Send + 'static,
    Fut: Future<Output = R> + 'static,
{
    let core = current();
    if to == core.id {
        return Reply { from: ReplyFrom::Here(glommio::spawn_local(f()).detach()) };
    }
    let ticket = core.replies.borrow_mut().take_ticket();
    let call = Arc::new(Call { caller: core.id, ticket, state: Mutex::new(CallState::Asked(f)) });
    // Made first: if this future is dropped, so is the ticket.
    let reply = Reply { from: ReplyFrom::There { core: core.clone(), ticket, call: call.clone() } };
    Post { core: &core, to: usize::from(to.0), envelope: Some(Envelope(Some(call))), place: None }.await;
    reply
}

/// Runs `f` on every core, this one included, and waits until all have.
///
/// # Errors
/// A core is gone; the others have run it.
pub async fn each(f: impl Fn() + Send + Clone + 'static) -> Result<(), ShardGone> {
    let mut replies = Vec::with_capacity(shard_count());
    for shard in 0..shard_count() {
        let f = f.clone();
        let run = move || {
            f();
            std::future::ready(())
        };
        replies.push(call(ShardId(shard as u16), run).await);
    }
    let mut outcome = Ok(());
    for reply in replies {
        outcome = outcome.and(reply.await);
    }
    outcome
}

/// The answer of a call, once it is there.
#[must_use = "await the reply, or drop it on purpose"]
pub struct Reply<R: 'static> {
    from: ReplyFrom<R>,
}

enum ReplyFrom<R: 'static> {
    Here(glommio::task::JoinHandle<R>),
    There { core: Rc<Core>, ticket: u64, call: Arc<dyn Answer<R>> },
}

impl<R> Unpin for Reply<R> {}

impl<R> Future for Reply<R> {
    type Output = Result<R, ShardGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.from {
            ReplyFrom::Here(task) => Pin::new(task).poll(cx).map(|output| output.ok_or(ShardGone)),
            ReplyFrom::There { core, ticket, call } => match call.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    core.replies.borrow_mut().wait(*ticket, cx.waker());
                    Poll::Pending
                }
            },
        }
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        if let ReplyFrom::There { core, ticket, .. } = &self.from {
            let waker = core.replies.borrow_mut().give_back(*ticket);
            drop(waker);
        }
    }
}

/// One call between two cores: first the question, then the answer.
struct Call<F, R> {
    caller: ShardId,
    ticket: u64,
    state: Mutex<CallState<F, R>>,
}

enum CallState<F, R> {
    Asked(F),
    Runs,
    Answered(Result<R, ShardGone>),
    Taken,
}

impl<F, R> Call<F, R> {
    fn replace(&self, state: CallState<F, R>) -> CallState<F, R> {
        std::mem::replace(&mut *self.state.lock().expect("nothing panics under this lock"), state)
    }

    fn answer(&self, answer: Result<R, ShardGone>) {
        drop(self.replace(CallState::Answered(answer)));
        CORE.with_borrow(|core| {
            let Some(core) = core else { return };
            let port = &core.ports.by_shard[usize::from(self.caller.0)];
            // The receiver lives as long as the ports.
            let _ = port.answered.0.send(self.ticket);
            port.bell.ring();
        });
    }
}

/// The owner's view of a call.
trait Message: Send + Sync {
    fn run(self: Arc<Self>);
    fn refuse(&self);
}

/// The caller's view of a call.
trait Answer<R> {
    fn take(&self) -> Option<Result<R, ShardGone>>;
}

impl<F, Fut, R> Message for Call<F, R>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + 'static,
    R: Send + 'static,
{
    fn run(self: Arc<Self>) {
        let CallState::Asked(f) = self.replace(CallState::Runs) else {
            unreachable!("a message runs once");
        };
        let unanswered = Unanswered(self);
        let future = f();
        glommio::spawn_local(async move {
            let answer = future.await;
            unanswered.0.answer(Ok(answer));
        })
        .detach();
    }

    fn refuse(&self) {
        self.answer(Err(ShardGone));
    }
}

impl<F, R> Answer<R> for Call<F, R> {
    fn take(&self) -> Option<Result<R, ShardGone>> {
        let mut state = self.state.lock().expect("nothing panics under this lock");
        match std::mem::replace(&mut *state, CallState::Taken) {
            CallState::Answered(answer) => Some(answer),
            CallState::Taken => panic!("a reply resolves once"),
            other => {
                *state = other;
                None
            }
        }
    }
}

/// A call whose future runs. If the future is dropped before its end, the caller learns that.
struct Unanswered<F, R>(Arc<Call<F, R>>);

impl<F, R> Drop for Unanswered<F, R> {
    fn drop(&mut self) {
        let runs = matches!(*self.0.state.lock().expect("nothing panics under this lock"), CallState::Runs);
        if runs {
            self.0.answer(Err(ShardGone));
        }
    }
}

/// A call on its way. Dropped without being opened, it tells its caller so.
struct Envelope(Option<Arc<dyn Message>>);

impl Envelope {
    fn open(mut self) {
        self.0.take().expect("an envelope is opened once").run();
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        if let Some(message) = self.0.take() {
            message.refuse();
        }
    }
}

/// Waits until an envelope stands in a mailbox, behind the callers of this core that came earlier.
struct Post<'a> {
    core: &'a Core,
    to: usize,
    envelope: Option<Envelope>,
    /// The place in the line, once the mailbox was found full.
    place: Option<u64>,
}

impl Future for Post<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let port = &this.core.ports.by_shard[this.to];
        if this.core.lines[this.to].borrow().is_turn_of(this.place) {
            let envelope = this.envelope.take().expect("a post resolves once");
            match port.mailbox.post(usize::from(this.core.id.0), envelope) {
                Ok(()) => {
                    port.bell.ring();
                    return Poll::Ready(());
                }
                Err(Refused::Closed(envelope)) => {
                    drop(envelope);
                    return Poll::Ready(());
                }
                Err(Refused::Full(envelope)) => this.envelope = Some(envelope),
            }
        }
        this.place = Some(this.core.lines[this.to].borrow_mut().wait(this.place, cx.waker()));
        Poll::Pending
    }
}

impl Drop for Post<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let next = self.core.lines[self.to].borrow_mut().leave(place);
            wake(next);
        }
    }
}

/// Callers of one core that wait for room in one mailbox, oldest first.
#[derive(Default)]
struct Line {
    next_place: u64,
    waiting: VecDeque<(u64, Waker)>,
}

impl Line {
    fn is_turn_of(&self, place: Option<u64>) -> bool {
        self.waiting.front().map(|(first, _)| *first) == place
    }

    fn wait(&mut self, place: Option<u64>, waker: &Waker) -> u64 {
        if let Some(place) = place {
            let waiter = self.waiting.iter_mut().find(|(waiting, _)| *waiting == place);
            waiter.expect("a waiter leaves by itself").1.clone_from(waker);
            return place;
        }
        self.next_place += 1;
        self.waiting.push_back((self.next_place, waker.clone()));
        self.next_place
    }

    /// Whoever is first after `place` has left.
    fn leave(&mut self, place: u64) -> Option<Waker> {
        self.waiting.retain(|(waiting, _)| *waiting != place);
        self.first()
    }

    fn first(&self) -> Option<Waker> {
        self.waiting.front().map(|(_, waker)| waker.clone())
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The wakers of replies that are awaited, by ticket: an index with a generation above it.
#[derive(Default)]
struct Replies {
    slots: Vec<(u32, Option<Waker>)>,
    free: Vec<u32>,
}

impl Replies {
    fn take_ticket(&mut self) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        u64::from(self.slots[index as usize].0) << 32 | u64::from(index)
    }

    fn slot(&mut self, ticket: u64) -> Option<&mut Option<Waker>> {
        let (generation, waker) = &mut self.slots[(ticket & u64::from(u32::MAX)) as usize];
        (u64::from(*generation) == ticket >> 32).then_some(waker)
    }

    fn wait(&mut self, ticket: u64, waker: &Waker) {
        match self.slot(ticket).expect("a reply gives its ticket back once") {
            Some(waiting) => waiting.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    fn answered(&mut self, ticket: u64) -> Option<Waker> {
        self.slot(ticket).and_then(Option::take)
    }

    fn give_back(&mut self, ticket: u64) -> Option<Waker> {
        let waker = self.answered(ticket);
        let index = (ticket & u64::from(u32::MAX)) as u32;
        let generation = &mut self.slots[index as usize].0;
        *generation = generation.wrapping_add(1);
        self.free.push(index);
        waker
    }
}

impl Core {
    fn new(id: ShardId, ports: Arc<Ports>) -> Core {
        let lines = ports.by_shard.iter().map(|_| RefCell::default()).collect();
        Core {
            id,
            ports,
            mail: Notice::default(),
            left: Notice::default(),
            replies: RefCell::default(),
            lines,
        }
    }

    fn port(&self) -> &Port {
        &self.ports.by_shard[usize::from(self.id.0)]
    }

    /// The bell was rung: looks at all that others may have left.
    fn answer_bell(&self) {
        while let Ok(ticket) = self.port().answered.1.try_recv() {
            let waker = self.replies.borrow_mut().answered(ticket);
            wake(waker);
        }
        self.port().room.look(|owner| {
            let first = self.lines[owner].borrow().first();
            wake(first);
        });
        self.mail.give();
        if self.ports.running.load(Ordering::Acquire) == 0 {
            self.left.give();
        }
    }

    /// The mailbox loop.
    async fn read_mail(self: Rc<Self>) {
        loop {
            let mut messages = 0;
            while let Some(envelope) = self.port().mailbox.take(|sender| self.tell_room(sender)) {
                envelope.open();
                messages += 1;
                if messages == MESSAGES_PER_TURN {
                    self.mail.give();
                    break;
                }
            }
            self.mail.wait().await;
            if messages == MESSAGES_PER_TURN {
                tasks::yield_now().await;
            }
        }
    }

    fn tell_room(&self, sender: usize) {
        let port = &self.ports.by_shard[sender];
        port.room.tell(usize::from(self.id.0));
        port.bell.ring();
    }

    /// This core's start has finished: waits until that of every core has.
    async fn leave(&self) {
        if self.ports.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ports.by_shard.iter().for_each(|port| port.bell.ring());
        }
        while self.ports.running.load(Ordering::Acquire) > 0 {
            self.left.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_cores<T: Send + 'static, Fut: Future<Output = T> + 'static>(
        start: impl Fn() -> Fut + Send + Clone + 'static,
    ) -> Vec<T> {
        run(&RuntimeOptions { cores: vec![0, 1], name: "test".into() }, start).expect("cores can be made")
    }

    const OTHER: ShardId = ShardId(1);

    #[test]
    fn answers_come_back_from_here_and_there() {
        let outputs = two_cores(|| async {
            let here = call(shard_id(), || async { shard_id() }).await;
            let there = call(ShardId(1 - shard_id().0), || async {
                glommio::timer::sleep(Duration::from_millis(2)).await;
                shard_id()
            });
            (here.await, there.await.await)
        });
        let (zero, one) = (Ok(ShardId(0)), Ok(ShardId(1)));
        assert_eq!(outputs, [(zero, one), (one, zero)]);
    }

    #[test]
    fn calls_run_in_the_order_of_their_caller() {
        use std::sync::Mutex;
        static SEEN: Mutex<Vec<u32>> = Mutex::new(Vec::new());
        two_cores(|| async {
            if shard_id() == OTHER {
                return;
            }
            let mut last = None;
            for n in 0..10_000 {
                last = Some(
                    call(OTHER, move || {
                        SEEN.lock().expect("no panic").push(n);
                        std::future::ready(())
                    })
                    .await,
                );
            }
            last.expect("there was one").await.expect("the core is there");
        });
        let seen = SEEN.lock().expect("no panic");
        assert!(seen.iter().copied().eq(0..10_000));
    }

    #[test]
    fn a_full_mailbox_makes_callers_wait_and_loses_nothing() {
        use std::sync::atomic::{AtomicBool, AtomicU32};
        static RUN: AtomicU32 = AtomicU32::new(0);
        static POSTED: AtomicU32 = AtomicU32::new(0);
        static GO: AtomicBool = AtomicBool::new(false);
        const CALLS: u32 = 3 * MAILBOX_MESSAGES as u32;
        two_cores(|| async {
            if shard_id() == OTHER {
                return;
            }
            // The owner's thread stands still until the mailbox has been full for a while.
            let blocker = call(OTHER, || {
                while !GO.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                std::future::ready(())
            });
            let blocker = blocker.await;
            let callers: Vec<_> = (0..CALLS)
                .map(|_| {
                    tasks::spawn(Queue::Requests, async {
                        let reply = call(OTHER, || {
                            RUN.fetch_add(1, Ordering::Relaxed);
                            std::future::ready(())
                        });
                        let reply = reply.await;
                        POSTED.fetch_add(1, Ordering::Relaxed);
                        reply.await.expect("the core is there");
                    })
                })
                .collect();
            // One caller gives up in the line; the others behind it must not.
            let mut callers = callers;
            drop(callers.remove(2 * MAILBOX_MESSAGES));
            for _ in 0..100 {
                tasks::yield_now().await;
            }
            let posted = POSTED.load(Ordering::Relaxed) as usize;
            assert!((MAILBOX_MESSAGES - 1..=MAILBOX_MESSAGES + 1).contains(&posted), "{posted} posted");
            GO.store(true, Ordering::Release);
            blocker.await.expect("the core is there");
            for caller in callers {
                caller.await;
            }
        });
        assert_eq!(RUN.load(Ordering::Relaxed), CALLS - 1);
    }

    #[test]
    fn two_cores_that_flood_each_other_do_not_deadlock() {
        two_cores(|| async {
            let to = ShardId(1 - shard_id().0);
            let callers: Vec<_> = (0..4 * MAILBOX_MESSAGES)
                .map(|_| tasks::spawn(Queue::Requests, async move { call(to, || async {}).await.await }))
                .collect();
            for caller in callers {
                caller.await.expect("the core is there");
            }
        });
    }

    #[test]
    fn a_core_that_has_finished_still_answers_until_all_have() {
        two_cores(|| async {
            if shard_id() == OTHER {
                return;
            }
            glommio::timer::sleep(Duration::from_millis(20)).await;
            assert_eq!(call(OTHER, || async { 7 }).await.await, Ok(7));
        });
    }

    #[test]
    fn each_runs_on_every_core() {
        use std::sync::atomic::AtomicU32;
        static SUM: AtomicU32 = AtomicU32::new(0);
        two_cores(|| async {
            if shard_id() == OTHER {
                each(|| {
                    SUM.fetch_add(1 + u32::from(shard_id().0), Ordering::Relaxed);
                })
                .await
                .expect("all are there");
            }
        });
        assert_eq!(SUM.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_core_that_cannot_be_made_is_an_error_and_nothing_starts() {
        let options = RuntimeOptions { cores: vec![0, 4000], name: "test".into() };
        let outcome = run(&options, || async { unreachable!("nothing starts") });
        assert!(outcome.is_err());
    }
}
