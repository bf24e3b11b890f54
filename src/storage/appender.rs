//! What one core holds for its logs: the list of logs with staged batches and the task that writes them,
//! the queue of cold work, and the files that wait for their deletion.

use std::rc::Rc;

pub struct Appender {}

impl Appender {
    /// One a core.
    pub fn new() -> Rc<Appender> {
        todo!()
    }

    /// Writes what the logs of this core stage, once a turn, until [`Appender::stop`]. Spawn it on the
    /// requests queue; nothing reaches a file while it does not run.
    pub async fn run(self: Rc<Self>) {
        todo!()
    }

    /// Write-back, preallocation and delayed deletions, until [`Appender::stop`]. Spawn it on the
    /// background queue.
    pub async fn run_background(self: Rc<Self>) {
        todo!()
    }

    /// Ends both loops after what is queued is done.
    pub fn stop(&self) {
        todo!()
    }
}
