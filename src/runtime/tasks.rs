//! The task queues of a core. Work is given to the queue it belongs to, and the shares decide who runs when
//! more than one has work: background work never shows in the tail of requests.
//!
//! A background task yields often (`glommio::yield_if_needed`); a queue that has used its turn of
//! [`TURN`] gives way. A walk over all that a core has goes at a [`Pace`].

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

pub use glommio::Task;
use glommio::{Latency, Shares, TaskQueueHandle};

/// Shares of connections, mailboxes and the ring's driver.
pub const REQUESTS_SHARES: usize = 1000;
/// Shares of followers and their fetchers.
pub const REPLICATION_SHARES: usize = 500;
/// Shares of retention, compaction, recovery, index building.
pub const BACKGROUND_SHARES: usize = 100;
/// How long a queue runs before the executor looks at timers, files and the other queues.
pub const TURN: Duration = Duration::from_millis(1);

/// How long a walk runs before it rests, and for how long.
const STRIDE: Duration = Duration::from_micros(100);
const REST: Duration = Duration::from_millis(1);

/// Where a task belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queue {
    Requests,
    Replication,
    Background,
}

thread_local! {
    static QUEUES: RefCell<Option<[TaskQueueHandle; 3]>> = const { RefCell::new(None) };
}

/// Runs `future` on this core in `queue`. Dropping the task cancels it; `detach` lets it run.
///
/// # Panics
/// Outside a core of [`shards::run`](super::shards::run).
pub fn spawn<T: 'static>(queue: Queue, future: impl Future<Output = T> + 'static) -> Task<T> {
    let handle = QUEUES.with_borrow(|queues| queues.expect("tasks run on a core")[queue as usize]);
    glommio::spawn_local_into(future, handle).expect("a core's queues live as long as the core")
}

/// Lets the other tasks of this queue run.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Keeps a long walk out of the way of requests: it rests after each [`STRIDE`], and the core's rings are looked at
/// meanwhile. Yielding is not enough, as the executor looks at them once a [`TURN`]: a request that needs
/// two looks would wait for two turns of the walk.
pub struct Pace {
    since: Instant,
}

impl Pace {
    pub fn begin() -> Pace {
        Pace { since: Instant::now() }
    }

    /// Between two steps of the walk.
    pub async fn step(&mut self) {
        if self.since.elapsed() < STRIDE {
            return;
        }
        glommio::timer::sleep(REST).await;
        self.since = Instant::now();
    }
}

/// Makes the queues of this core.
pub(super) fn make_queues() {
    let executor = glommio::executor();
    let make =
        |shares, name| executor.create_task_queue(Shares::Static(shares), Latency::Matters(TURN), name);
    let queues = [
        make(REQUESTS_SHARES, "requests"),
        make(REPLICATION_SHARES, "replication"),
        make(BACKGROUND_SHARES, "background"),
    ];
    QUEUES.set(Some(queues));
}

/// A flag of this core that one task waits for.
#[derive(Default)]
pub(super) struct Notice {
    given: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Notice {
    pub fn give(&self) {
        self.given.set(true);
        let waiting = self.waiting.borrow_mut().take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Waits until it is given, and takes it.
    pub async fn wait(&self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.given.take() {
            return Poll::Ready(());
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
