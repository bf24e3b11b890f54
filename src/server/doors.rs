//! The doors of the broker: which listeners are open, in line with `listeners` as it is now.
//!
//! They are the first core's. A listener that comes is bound and then accepted on every core; one that goes is
//! accepted by none, and then its connections are ended. One that stays keeps its address until the next
//! start, also where the configuration names another one, as Kafka has it. A listener that cannot be bound
//! while the broker runs is told in the log and refuses nothing: the change is durable by then, as in Kafka.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::broker::{self, CoreState};
use super::listener::{self, Bound, ListenError};
use crate::config::{Listener, ServerConfig};
use crate::runtime::tasks::{self, Queue, Task};
use crate::shard::{self, Shard, until};
use crate::types::ShardId;

/// How long a change of metadata waits for the doors; an address that is looked up can take longer.
const FOLLOW_MAX: Duration = Duration::from_secs(2);
/// How long answers that are due may take on a listener that is gone: that of the change itself, maybe.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// The open listeners, each under one name.
pub struct Doors {
    shard: Rc<Shard>,
    open: RefCell<Vec<Arc<Bound>>>,
    /// What was asked for last, whether it could be had or not.
    followed: RefCell<Vec<Listener>>,
    /// Accepted on every core, until the broker stops.
    serving: Cell<bool>,
    changing: RefCell<Option<Task<()>>>,
}

impl Doors {
    /// Takes the ports of all listeners and publishes what they advertise; nothing is accepted yet. `file` is
    /// the configuration without its dynamic keys.
    ///
    /// # Errors
    /// A listener of the file that cannot be bound.
    pub async fn bind(shard: Rc<Shard>, file: Arc<ServerConfig>) -> Result<Rc<Doors>, ListenError> {
        let (server, cores) = (shard.layers().server.clone(), shard.cores);
        let followed = server.listeners.clone();
        let bind = move || listener::bind_all(&server, &file, cores);
        let bound = glommio::executor().spawn_blocking(bind).await?;
        let doors = Doors {
            shard,
            open: RefCell::new(bound.into_iter().map(Arc::new).collect()),
            followed: RefCell::new(followed),
            serving: Cell::new(false),
            changing: RefCell::default(),
        };
        doors.publish_endpoints();
        Ok(Rc::new(doors))
    }

    /// What is bound, in the order of `listeners` and of later changes.
    pub fn bound(&self) -> Vec<Arc<Bound>> {
        self.open.borrow().clone()
    }

    /// Has every core accept, and follows changes from now on.
    pub async fn serve(&self) {
        for bound in self.bound() {
            self.accept(&bound).await;
        }
        self.serving.set(true);
    }

    /// Follows no further change.
    pub async fn stop(&self) {
        self.serving.set(false);
        if let Some(changing) = self.changing.take() {
            changing.cancel().await;
        }
    }

    /// Brings the doors in line with the configuration that was published last; ends when they are, or after
    /// [`FOLLOW_MAX`], and they go on by themselves.
    pub async fn follow(self: &Rc<Self>) {
        let wanted = self.shard.layers().server.listeners.clone();
        if !self.serving.get() || *self.followed.borrow() == wanted {
            return;
        }
        self.followed.replace(wanted);
        let (doors, before) = (self.clone(), self.changing.take());
        let (done, is_done) = flume::bounded(1);
        let change = async move {
            if let Some(before) = before {
                before.await;
            }
            let gone = doors.change().await;
            // Who waited may have gone on.
            let _ = done.send(());
            if !gone.is_empty() {
                glommio::timer::sleep(LAST_ANSWERS).await;
            }
            for bound in gone {
                let name = bound.name.clone();
                let end = move |core: Rc<CoreState>| {
                    broker::end_connections(&core, &name);
                    std::future::ready(())
                };
                doors.on_cores(end).await;
            }
        };
        self.changing.replace(Some(tasks::spawn(Queue::Requests, change)));
        let done = async {
            let _cancelled = is_done.recv_async().await;
        };
        until(FOLLOW_MAX, done).await;
    }

    /// Closes what is not wanted any more, then binds and accepts what is new. Gives what was closed.
    async fn change(&self) -> Vec<Arc<Bound>> {
        let server = self.shard.layers().server.clone();
        let is_wanted = |bound: &Arc<Bound>| server.listeners.iter().any(|l| *l.name == *bound.name);
        let (kept, gone): (Vec<_>, Vec<_>) = self.bound().into_iter().partition(is_wanted);
        self.open.replace(kept);
        self.publish_endpoints();
        for bound in &gone {
            let name = bound.name.clone();
            self.on_cores(move |core| broker::stop_accepting(core, name.clone())).await;
            tracing::info!(listener = %bound.name, address = %bound.listeners.address(), "a listener is closed");
        }
        for listener in &server.listeners {
            if !self.open.borrow().iter().any(|bound| *bound.name == *listener.name) {
                self.add(listener.clone(), &server).await;
            }
        }
        gone
    }

    async fn add(&self, listener: Listener, server: &Arc<ServerConfig>) {
        let (server, cores) = (server.clone(), self.shard.cores);
        let bind = move || listener::bind(&listener, &server, cores);
        match glommio::executor().spawn_blocking(bind).await {
            Ok(bound) => {
                let bound = Arc::new(bound);
                self.open.borrow_mut().push(bound.clone());
                self.publish_endpoints();
                self.accept(&bound).await;
                tracing::info!(listener = %bound.name, address = %bound.listeners.address(), "a listener is open");
            }
            Err(error) => {
                tracing::error!(%error, "a listener that was added is not open; the next change of listeners or the next start tries again");
            }
        }
    }

    async fn accept(&self, bound: &Arc<Bound>) {
        let bound = bound.clone();
        self.on_cores(move |core: Rc<CoreState>| {
            broker::accept_on(&core, &bound);
            std::future::ready(())
        })
        .await;
    }

    fn publish_endpoints(&self) {
        let endpoints = self.open.borrow().iter().filter_map(|bound| bound.endpoint.clone()).collect();
        self.shard.node.endpoints.publish(Arc::new(endpoints));
    }

    /// Runs `f` on one core after the other; those that have stopped are passed over.
    async fn on_cores<Fut>(&self, f: impl Fn(Rc<CoreState>) -> Fut + Clone + Send + 'static)
    where
        Fut: Future<Output = ()> + 'static,
    {
        for core in 0..self.shard.cores {
            let f = f.clone();
            let to = ShardId(u16::try_from(core).expect("cores are counted in 16 bits"));
            let posted = shard::post(to, move |_| async move {
                if let Some(core) = broker::this_core() {
                    f(core).await;
                }
            });
            let _stopped = posted.await.await;
        }
    }
}
