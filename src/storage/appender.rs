//! What one core holds for its logs: which have staged batches, and the two loops that serve them.
//!
//! [`Appender::run`] writes every log that staged something, once a turn: what arrived together leaves in
//! one vectored write a log. [`Appender::run_background`] does, off the core, what nobody waits for: reserving
//! space ahead, starting write-back, removing files whose delay is over.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::storage::file::{Fault, SegmentFile, blocking, planted};
use crate::storage::log::Log;
use crate::storage::retention::Graveyard;
use crate::types::Offset;

/// Space that all logs of the process together may hold reserved ahead of their ends.
pub const RESERVED_BYTES_MAX: u64 = 1 << 30;
/// Of the free space on a disk, at most this part is reserved ahead.
const RESERVED_PART_OF_FREE: u64 = 16;

/// Flushes under way at once on a core. They share the executor's blocking threads, of which there should be
/// at least one more than these together, so that the files of new segments never wait for a slow device.
const ASKED_FLUSHES_MAX: usize = 2;
const UNASKED_FLUSHES_MAX: usize = 1;

/// Bytes that are reserved past the ends of logs, over all cores.
static RESERVED: AtomicU64 = AtomicU64::new(0);

/// Work that nobody waits for. It holds no file open while it waits for its turn.
pub(super) enum Job {
    Reserve {
        log: Rc<Log>,
        base: Offset,
        from: u64,
        bytes: u64,
    },
    WriteBack {
        log: Rc<Log>,
        base: Offset,
        from: u64,
        to: u64,
    },
    /// Gives reserved blocks back: the file ends at `bytes`.
    Trim {
        log: Rc<Log>,
        base: Offset,
        bytes: u64,
    },
}

impl Job {
    fn log(&self) -> &Rc<Log> {
        match self {
            Job::Reserve { log, .. } | Job::WriteBack { log, .. } | Job::Trim { log, .. } => log,
        }
    }
}

/// One a core.
pub struct Appender {
    dirty: RefCell<Vec<Rc<Log>>>,
    writing: RefCell<Vec<Rc<Log>>>,
    dirty_signal: Signal,
    jobs: RefCell<VecDeque<Job>>,
    job_signal: Signal,
    graveyard: Graveyard,
    asked_flushes: Slots,
    unasked_flushes: Slots,
    stopping: Cell<bool>,
}

impl Appender {
    pub fn new() -> Rc<Appender> {
        Rc::new(Appender {
            dirty: RefCell::default(),
            writing: RefCell::default(),
            dirty_signal: Signal::default(),
            jobs: RefCell::default(),
            job_signal: Signal::default(),
            graveyard: Graveyard::default(),
            asked_flushes: Slots::new(ASKED_FLUSHES_MAX),
            unasked_flushes: Slots::new(UNASKED_FLUSHES_MAX),
            stopping: Cell::new(false),
        })
    }

    /// Writes what the logs of this core stage until [`Appender::stop`]. Spawn it once, on the requests
    /// queue: nothing reaches a file while it does not run.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.dirty_signal.wait().await;
            if planted(Fault::AnswerBeforeWrite) {
                glommio::timer::sleep(Duration::from_millis(20)).await;
            }
            self.write_dirty().await;
            if self.stopping.get() && self.dirty.borrow().is_empty() {
                return;
            }
        }
    }

    async fn write_dirty(&self) {
        let mut logs = self.writing.take();
        std::mem::swap(&mut logs, &mut *self.dirty.borrow_mut());
        for log in logs.drain(..) {
            log.write_staged();
            glommio::yield_if_needed().await;
        }
        // Kept for its capacity.
        self.writing.replace(logs);
    }

    /// Does what nobody waits for until [`Appender::stop`]. Spawn it once, on the background queue.
    pub async fn run_background(self: Rc<Self>) {
        const GRAVEYARD_INTERVAL: Duration = Duration::from_millis(500);
        while !self.stopping.get() {
            self.job_signal.wait_at_most(GRAVEYARD_INTERVAL).await;
            loop {
                let job = self.jobs.borrow_mut().pop_front();
                let Some(job) = job else { break };
                let log = job.log().clone();
                perform(job).await;
                log.job_done();
            }
            self.graveyard.remove_due(crate::clock::monotonic_ms()).await;
        }
    }

    /// Ends both loops once what is staged is written. Files that wait for their deletion stay; the next
    /// start removes them.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.dirty_signal.notify();
        self.job_signal.notify();
    }

    /// Removes a file or directory after a delay. It has its last name already.
    pub fn bury(&self, path: PathBuf, delay_ms: i64) {
        let due_ms = crate::clock::monotonic_ms().saturating_add(u64::try_from(delay_ms).unwrap_or(0));
        self.graveyard.bury(path, due_ms);
    }

    /// The log has something to write; it is written once in this turn however often it says so.
    pub(super) fn mark_dirty(&self, log: &Rc<Log>) {
        self.dirty.borrow_mut().push(log.clone());
        self.dirty_signal.notify();
    }

    /// Waits for its turn to flush; `asked` where somebody waits for the flush.
    pub(super) async fn flush_slot(&self, asked: bool) -> Slot<'_> {
        if asked { self.asked_flushes.take().await } else { self.unasked_flushes.take().await }
    }

    pub(super) fn post(&self, job: Job) {
        job.log().job_posted();
        self.jobs.borrow_mut().push_back(job);
        self.job_signal.notify();
    }
}

async fn perform(job: Job) {
    match job {
        Job::Reserve { log, base, from, bytes } => {
            let reserved = match log.file_of(base) {
                Ok(Some(file)) => blocking(move || reserve(&file, from, bytes)).await,
                // Without its file the write itself will tell.
                Ok(None) | Err(_) => 0,
            };
            log.reserved(base, from, reserved);
        }
        Job::WriteBack { log, base, from, to } => {
            if let Ok(Some(file)) = log.file_of(base) {
                blocking(move || file.start_write_back(from, to - from)).await;
            }
            log.wrote_back(base);
        }
        Job::Trim { log, base, bytes } => {
            let trimmed = match log.file_of(base) {
                Ok(Some(file)) => blocking(move || file.truncate(bytes)).await,
                Ok(None) => return,
                Err(error) => Err(error),
            };
            if let Err(error) = trimmed {
                tracing::warn!(%error, "reserved space is not given back");
            }
        }
    }
}

/// Reserves `bytes` blocks from `from` on as far as the bounds allow; gives how many were. Blocks.
pub(super) fn reserve(file: &SegmentFile, from: u64, bytes: u64) -> u64 {
    let Some(free) = file.free_for_preallocation() else { return 0 };
    let most = RESERVED_BYTES_MAX.min(free / RESERVED_PART_OF_FREE);
    let taken = RESERVED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |reserved| {
        (reserved + bytes <= most).then_some(reserved + bytes)
    });
    if taken.is_err() {
        return 0;
    }
    match file.preallocate(from, bytes) {
        Ok(()) => bytes,
        // No space or not supported: the write itself will tell.
        Err(_) => {
            release(bytes);
            0
        }
    }
}

/// Reserved space was written to or given back.
pub(super) fn release(bytes: u64) {
    if bytes > 0 {
        RESERVED.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A bound on what goes on at once.
struct Slots {
    free: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

/// One of them, until dropped.
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    fn new(count: usize) -> Slots {
        Slots { free: Cell::new(count), waiting: RefCell::default() }
    }

    async fn take(&self) -> Slot<'_> {
        std::future::poll_fn(|context| match self.free.get().checked_sub(1) {
            Some(left) => {
                self.free.set(left);
                Poll::Ready(Slot(self))
            }
            None => {
                self.waiting.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        // All of them: the first may be gone.
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// Wakes the one task that waits for it; a notification that nobody waits for is kept.
#[derive(Default)]
pub(super) struct Signal {
    notified: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Signal {
    pub fn notify(&self) {
        if !self.notified.replace(true)
            && let Some(waker) = self.waiting.take()
        {
            waker.wake();
        }
    }

    pub async fn wait(&self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }

    async fn wait_at_most(&self, time: Duration) {
        let mut timer = std::pin::pin!(glommio::timer::sleep(time));
        std::future::poll_fn(|context| match self.poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => timer.as_mut().poll(context),
        })
        .await;
    }

    fn poll(&self, context: &mut std::task::Context<'_>) -> Poll<()> {
        if self.notified.replace(false) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        match &mut *waiting {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
