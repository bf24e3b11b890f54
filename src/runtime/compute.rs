//! Long computations of a core, on a thread beside it that gives way: the assignment of a large group takes
//! milliseconds, which no request should wait for.
//!
//! The thread has the lowest priority, so that the kernel runs the core's executor first where both want the
//! processor; a computation still gets some hundredths of a core that never rests. Calls that block rather than
//! compute belong to glommio's pool, which keeps the executor's priority.

use std::cell::OnceCell;

use super::priority;

type Work = Box<dyn FnOnce() + Send>;

/// Computations that wait for the thread; beyond them callers wait to hand theirs over.
const WAITING_MAX: usize = 64;

thread_local! {
    static THREAD: OnceCell<Option<flume::Sender<Work>>> = const { OnceCell::new() };
}

/// Runs `work` on the core's computing thread, one after the other, and gives its result to this core.
///
/// # Panics
/// When `work` does.
pub async fn compute<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = flume::bounded(1);
    let job: Work = Box::new(move || {
        let _nobody_waits = done.send(work());
    });
    match THREAD.with(|thread| thread.get_or_init(start).clone()) {
        Some(thread) => thread.send_async(job).await.expect("the thread lives as long as its core"),
        None => glommio::executor().spawn_blocking(job).await,
    }
    result.recv_async().await.expect("a computation does not panic")
}

/// The thread ends with its core. `None` where the process may have no more threads.
fn start() -> Option<flume::Sender<Work>> {
    let (sender, jobs) = flume::bounded::<Work>(WAITING_MAX);
    let run = move || {
        if let Err(error) = priority::give_way() {
            tracing::warn!(%error, "computations run at the priority of requests");
        }
        jobs.into_iter().for_each(|job| {
            // A caller whose computation panics finds its answer gone; the next are computed.
            let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        });
    };
    match std::thread::Builder::new().name("compute".into()).spawn(run) {
        Ok(_runs_by_itself) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "computations run on the threads of blocking calls");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shards::{RuntimeOptions, run};

    #[test]
    fn computations_give_way_and_their_results_come_back_in_order() {
        let start = || async {
            let niceness = || rustix::process::getpriority_process(None).unwrap();
            let own = niceness();
            assert_eq!(compute(niceness).await, 19);
            assert_eq!(niceness(), own, "the core keeps its own");
            let (first, second) = (compute(|| 1), compute(|| 2));
            assert_eq!((first.await, second.await), (1, 2));
        };
        run(&RuntimeOptions { cores: vec![0], name: "test".into() }, start).expect("a core can be made");
    }
}
