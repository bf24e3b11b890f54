//! Long computations of a core, on a thread beside it that gives way: the assignment of a large group takes
//! milliseconds, which no request should wait for.
//!
//! Two kinds wait in one line. A whole computation runs to its end; one in slices, whose length a client has in its
//! hand, runs for [`SLICE`] at a time and goes behind all others of its kind. Where both wait they take turns, so a
//! whole one waits for one slice for each of the whole ones before it, however many there are in slices.
//!
//! The thread has the lowest priority, so that the kernel runs the core's executor first where both want the
//! processor; a computation still gets some hundredths of a core that never rests. Calls that block rather than
//! compute belong to glommio's pool, which keeps the executor's priority.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::priority;

/// How long a computation in slices goes on before others have their turn.
const SLICE: Duration = Duration::from_millis(2);

type Whole = Box<dyn FnOnce() + Send>;
/// Goes on for a slice; true once it has come to its end.
type Sliced = Box<dyn FnMut() -> bool + Send>;

enum Job {
    Whole(Whole),
    Sliced(Sliced),
}

thread_local! {
    static THREAD: OnceCell<Option<flume::Sender<Job>>> = const { OnceCell::new() };
}

/// Runs `work` on the core's computing thread, one after the other, and gives its result to this core. Who calls
/// bounds how many wait: a group has one of a kind under way, a request one expression.
///
/// # Panics
/// When `work` does.
pub async fn compute<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = flume::bounded(1);
    let job: Whole = Box::new(move || {
        let _nobody_waits = done.send(work());
    });
    match thread() {
        Some(thread) => thread.send(Job::Whole(job)).expect(LIVES_ON),
        None => glommio::executor().spawn_blocking(job).await,
    }
    result.recv_async().await.expect("a computation does not panic")
}

/// The same for work of any length: `work` is called again and again until it gives its result, and returns `None`
/// soon after what it is handed says that the slice is over. It ends early where nobody waits for it any more.
///
/// # Panics
/// When `work` does.
pub async fn compute_in_slices<R: Send + 'static>(
    mut work: impl FnMut(&dyn Fn() -> bool) -> Option<R> + Send + 'static,
) -> R {
    let (done, result) = flume::bounded(1);
    let mut job: Sliced = Box::new(move || {
        if done.is_disconnected() {
            return true;
        }
        let until = Instant::now() + SLICE;
        match work(&|| Instant::now() >= until) {
            Some(worked) => {
                let _nobody_waits = done.send(worked);
                true
            }
            None => false,
        }
    });
    match thread() {
        Some(thread) => thread.send(Job::Sliced(job)).expect(LIVES_ON),
        None => loop {
            let slice = move || (job(), job);
            let (ended, rest) = glommio::executor().spawn_blocking(slice).await;
            if ended {
                break;
            }
            job = rest;
        },
    }
    result.recv_async().await.expect("a computation does not panic")
}

const LIVES_ON: &str = "the thread lives as long as its core";

/// The core's thread. `None` where the process may have no more threads.
fn thread() -> Option<flume::Sender<Job>> {
    THREAD.with(|thread| thread.get_or_init(start).clone())
}

/// The thread ends with its core.
fn start() -> Option<flume::Sender<Job>> {
    let (sender, jobs) = flume::unbounded();
    let run = move || {
        if let Err(error) = priority::give_way() {
            tracing::warn!(%error, "computations run at the priority of requests");
        }
        work_off(&jobs);
    };
    match std::thread::Builder::new().name("compute".into()).spawn(run) {
        Ok(_runs_by_itself) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "computations run on the threads of blocking calls");
            None
        }
    }
}

/// Runs what comes until the core ends; nobody waits then for what is left.
fn work_off(jobs: &flume::Receiver<Job>) {
    let mut line = Line::default();
    loop {
        if line.is_empty() {
            match jobs.recv() {
                Ok(job) => line.put(job),
                Err(_core_ended) => return,
            }
        }
        jobs.try_iter().for_each(|job| line.put(job));
        if jobs.is_disconnected() {
            return;
        }
        line.step();
    }
}

/// What waits for the thread.
#[derive(Default)]
struct Line {
    whole: VecDeque<Whole>,
    sliced: VecDeque<Sliced>,
    /// A whole one ran last.
    slice_is_next: bool,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.sliced.is_empty()
    }

    fn put(&mut self, job: Job) {
        match job {
            Job::Whole(job) => self.whole.push_back(job),
            Job::Sliced(job) => self.sliced.push_back(job),
        }
    }

    /// Runs one whole computation or one slice. A caller whose computation panics finds its answer gone; the
    /// next are computed.
    fn step(&mut self) {
        let yields = self.slice_is_next && !self.sliced.is_empty();
        let whole = if yields { None } else { self.whole.pop_front() };
        self.slice_is_next = whole.is_some();
        if let Some(job) = whole {
            let _panicked = catch_unwind(AssertUnwindSafe(job));
        } else if let Some(mut job) = self.sliced.pop_front() {
            let ended = catch_unwind(AssertUnwindSafe(&mut job)).unwrap_or(true);
            if !ended {
                self.sliced.push_back(job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_lite::future::zip;

    use super::*;
    use crate::runtime::shards::{RuntimeOptions, run};

    fn on_a_core<F: Future<Output = ()> + 'static>(test: impl Fn() -> F + Clone + Send + 'static) {
        run(&RuntimeOptions { cores: vec![0], name: "test".into() }, test).expect("a core can be made");
    }

    #[test]
    fn computations_give_way_and_their_results_come_back_in_order() {
        on_a_core(|| async {
            let niceness = || rustix::process::getpriority_process(None).unwrap();
            let own = niceness();
            assert_eq!(compute(niceness).await, 19);
            assert_eq!(compute_in_slices(move |_| Some(niceness())).await, 19);
            assert_eq!(niceness(), own, "the core keeps its own");
            let (first, second) = (compute(|| 1), compute(|| 2));
            assert_eq!((first.await, second.await), (1, 2));
        });
    }

    #[test]
    fn whole_computations_wait_for_a_slice_each_and_slices_for_all_others_of_their_kind() {
        on_a_core(|| async {
            let order = Arc::new(Mutex::new(String::new()));
            let say = |letter: char| {
                let order = order.clone();
                move || order.lock().unwrap().push(letter)
            };
            // Holds the thread until all others wait.
            let (open, gate) = flume::bounded(1);
            let holds = compute(move || gate.recv().unwrap());
            let sliced = |letter, mut slices: usize| {
                let say = say(letter);
                compute_in_slices(move |_| {
                    say();
                    slices -= 1;
                    (slices == 0).then_some(())
                })
            };
            let (long, short) = (sliced('l', 6), sliced('s', 2));
            let (first, second) = (compute(say('A')), compute(say('B')));
            let all_wait = async { open.send(()).unwrap() };
            let jobs = zip(zip(long, short), zip(first, second));
            zip(zip(holds, jobs), all_wait).await;
            assert_eq!(*order.lock().unwrap(), "lAsBlsllll");
        });
    }

    #[test]
    fn a_slice_is_told_when_it_is_over() {
        on_a_core(|| async {
            let mut slices = 0;
            let work = move |is_over: &dyn Fn() -> bool| {
                slices += 1;
                while !is_over() {}
                (slices == 3).then_some(slices)
            };
            let began = Instant::now();
            assert_eq!(compute_in_slices(work).await, 3);
            assert!(began.elapsed() >= 3 * SLICE);
        });
    }

    #[test]
    fn a_computation_for_which_nobody_waits_ends_and_a_panic_hinders_no_other() {
        on_a_core(|| async {
            let (held, ended) = flume::bounded::<()>(0);
            let (began, begun) = flume::bounded(1);
            let endless = compute_in_slices(move |_| {
                let _held = &held;
                let _begun_before = began.try_send(());
                None::<()>
            });
            let until_begun = async { begun.recv_async().await.unwrap() };
            futures_lite::future::or(endless, until_begun).await;
            assert!(ended.recv_async().await.is_err(), "it has ended");
            let mut line = Line::default();
            line.put(Job::Sliced(Box::new(|| panic!("on purpose"))));
            line.put(Job::Whole(Box::new(|| panic!("on purpose"))));
            line.step();
            line.step();
            assert!(line.is_empty());
        });
    }
}
