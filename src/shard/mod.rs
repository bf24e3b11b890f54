//! All that one core owns, and what all cores share.
//!
//! A [`Shard`] is state of one thread: its partitions, fetch sessions, request memory and appender, in `Rc`
//! and `Cell`. Other cores reach it by [`post`] only. A [`Node`] is immutable or published: identity, log
//! directories, addresses, the metadata image and the configuration's layers.
//!
//! Placement is a function: partition p of a topic lives on core `(hash(topic id) + p) mod cores`.

mod checkpoints;
mod groups;
mod lag;
#[cfg(test)]
pub mod testing;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use glommio::sync::Semaphore;
use kafka_protocol::messages::{AllocateProducerIdsRequest, BrokerId};

use crate::broker::fetch_session::FetchSessions;
use crate::broker::partition::{Partition, log_config};
use crate::broker::replica::Leadership;
use crate::cluster::Controller;
use crate::config::{Layers, ServerConfig, TopicConfig, resolve_topic};
use crate::metadata::image::Settings;
use crate::metadata::{self, Broker, Image, ResourceType, Topic};
use crate::runtime::broadcast::{Broadcast, Reader, View};
use crate::runtime::memory::MemoryBound;
use crate::runtime::shards::{self, Reply};
use crate::runtime::tasks::{self, Pace, Queue, Task};
use crate::storage::checkpoint::Offsets;
use crate::storage::{Appender, Log, Opening, Progress};
use crate::types::{NodeId, Offset, PartitionId, ShardId, TopicId, TopicPartition};

pub use groups::{GroupCoordinator, Spread};

/// What all cores share.
pub struct Node {
    pub id: NodeId,
    pub cluster_id: String,
    pub log_dirs: Vec<LogDir>,
    /// One a bound listener, with the address that clients are told.
    pub endpoints: Arc<Broadcast<Vec<Endpoint>>>,
    pub images: Arc<Broadcast<Image>>,
    pub layers: Arc<Broadcast<Layers>>,
    /// Partitions whose log cannot be used; added to on the first core.
    pub offline: Arc<Broadcast<OfflinePartitions>>,
    /// How groups are spread over the offsets topic.
    pub spread: Spread,
}

pub type OfflinePartitions = AHashSet<(TopicId, PartitionId)>;

/// One of `log.dirs`.
#[derive(Clone, Debug)]
pub struct LogDir {
    pub path: PathBuf,
    /// `directory.id` of its meta.properties.
    pub id: TopicId,
    /// The last stop was clean: its logs are not scanned.
    pub clean: bool,
    /// What its checkpoint files said at start.
    pub recovery_points: Offsets,
    pub log_starts: Offsets,
}

/// A listener's name and what it advertises.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub listener: Arc<str>,
    pub host: String,
    pub port: u16,
}

/// The least that small request frames may take on a core.
const SMALL_BYTES_MIN: u64 = 1024 * 1024;
/// Logs that one core opens side by side.
const OPENING_MAX: u64 = 32;

/// The state of one core.
pub struct Shard {
    pub id: ShardId,
    pub cores: usize,
    pub node: Arc<Node>,
    /// For large request frames.
    pub memory: MemoryBound,
    /// For small ones: an eighth of the whole, so that large frames that wait do not hold them up.
    pub small_memory: MemoryBound,
    pub sessions: RefCell<FetchSessions>,
    pub appender: Rc<Appender>,
    /// On the first core only.
    pub controller: RefCell<Option<Controller>>,
    /// Settles what the controller proposes, for as long as there is one.
    pub controller_task: RefCell<Option<Task<()>>>,
    pub stopping: Cell<bool>,
    /// One writer of the checkpoint files at a time; used on the first core.
    checkpoints: Semaphore,
    /// The ids left of the block that was allocated last, and the one who may take from it; on the first core.
    producer_ids: Cell<std::ops::Range<i64>>,
    producer_id_turn: Semaphore,
    /// Bytes that requests may take on this core.
    pub request_bytes_max: u64,
    opening: Semaphore,
    /// What recovery has read and cut on this core.
    pub recovery: Arc<Progress>,
    /// What [`Shard::follow_image`] has brought this core in line with.
    followed: RefCell<(View<Image>, View<Layers>)>,
    groups: groups::GroupCoordinators,
    server: Arc<ServerConfig>,
    images: Reader<Image>,
    layers: Reader<Layers>,
    endpoints: Reader<Vec<Endpoint>>,
    offline: Reader<OfflinePartitions>,
    partitions: RefCell<AHashMap<(TopicId, PartitionId), Rc<Partition>>>,
    topic_configs: RefCell<AHashMap<TopicId, ResolvedConfig>>,
}

/// A topic's configuration and what it was made of.
struct ResolvedConfig {
    overrides: Option<Settings>,
    layers: View<Layers>,
    config: Rc<TopicConfig>,
}

/// The controller gave no block of producer ids.
#[derive(Debug)]
pub struct ProducerIdsGone;

/// One question about a partition, for [`Shard::on_owners`].
pub struct Ask<T> {
    pub topic: TopicId,
    pub partition: PartitionId,
    pub with: T,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Shard>>> = const { RefCell::new(None) };
}

/// The shard of this thread.
pub fn current() -> Rc<Shard> {
    CURRENT.with_borrow(|shard| shard.clone().expect("a shard is installed before its core serves"))
}

/// Puts `f` into the mailbox of `to`; ends when it stands there. `f` runs on that core, in order; the reply
/// resolves when the future that `f` returns has ended.
pub async fn post<R, Fut>(to: ShardId, f: impl FnOnce(Rc<Shard>) -> Fut + Send + 'static) -> Reply<R>
where
    R: Send + 'static,
    Fut: Future<Output = R> + 'static,
{
    shards::call(to, move || f(current())).await
}

/// Which core owns a partition.
pub fn owner(topic: TopicId, partition: PartitionId, cores: usize) -> ShardId {
    let id = topic.0.as_u128();
    let hash = (id as u64) ^ ((id >> 64) as u64);
    let slot = hash.wrapping_add(partition.0 as u64) % cores as u64;
    ShardId(u16::try_from(slot).expect("cores are counted in 16 bits"))
}

/// Adds what `owner` is to get to what each core is to get; cores stand in the order of their first entry.
pub fn push_by_owner<T>(all: &mut Vec<(ShardId, Vec<T>)>, owner: ShardId, one: T) {
    match all.iter_mut().find(|(shard, _)| *shard == owner) {
        Some((_, of_owner)) => of_owner.push(one),
        None => all.push((owner, vec![one])),
    }
}

impl Shard {
    /// Makes this thread's shard and installs it.
    pub fn install(node: Arc<Node>, server: Arc<ServerConfig>, cores: usize) -> Rc<Shard> {
        let id = shards::shard_id();
        let request_bytes_max = server.queued_max_request_bytes / cores as u64;
        // One largest frame a core always fits.
        let large_bytes_max = (request_bytes_max / 8 * 7).max(u64::from(server.socket_request_max_bytes));
        let (images, layers, offline) = (node.images.reader(), node.layers.reader(), node.offline.reader());
        let sessions =
            FetchSessions::new(id, cores, server.max_incremental_fetch_session_cache_slots as usize);
        let shard = Rc::new(Shard {
            id,
            cores,
            memory: MemoryBound::new(large_bytes_max),
            small_memory: MemoryBound::new((request_bytes_max / 8).max(SMALL_BYTES_MIN)),
            sessions: RefCell::new(sessions),
            appender: Appender::new(),
            controller: RefCell::new(None),
            controller_task: RefCell::new(None),
            stopping: Cell::new(false),
            checkpoints: Semaphore::new(1),
            producer_ids: Cell::default(),
            producer_id_turn: Semaphore::new(1),
            request_bytes_max,
            opening: Semaphore::new(OPENING_MAX),
            recovery: Arc::default(),
            followed: RefCell::new((images.get(), layers.get())),
            groups: groups::GroupCoordinators::default(),
            images,
            layers,
            endpoints: node.endpoints.reader(),
            offline,
            node,
            server,
            partitions: RefCell::default(),
            topic_configs: RefCell::default(),
        });
        CURRENT.with_borrow_mut(|current| *current = Some(shard.clone()));
        shard
    }

    /// Takes the shard from its thread; what it owned is dropped with its last `Rc`.
    pub fn uninstall() {
        CURRENT.with_borrow_mut(|current| *current = None);
    }

    /// The configuration that was given at start. What may change while running is in [`Shard::layers`].
    pub fn server(&self) -> &ServerConfig {
        &self.server
    }

    pub fn layers(&self) -> View<Layers> {
        self.layers.get()
    }

    pub fn image(&self) -> View<Image> {
        self.images.get()
    }

    /// A broker's address at a listener. Ours is known without the metadata.
    pub fn endpoint(&self, broker: &Broker, listener: &str) -> Option<Endpoint> {
        if broker.id == self.node.id {
            return self.endpoints.get().iter().find(|endpoint| &*endpoint.listener == listener).cloned();
        }
        let endpoint = broker.endpoint(listener)?;
        Some(Endpoint { listener: listener.into(), host: endpoint.host.clone(), port: endpoint.port })
    }

    /// The partitions of the process whose logs cannot be used.
    pub fn offline(&self) -> View<OfflinePartitions> {
        self.offline.get()
    }

    /// Lets every core know of a partition whose log cannot be used.
    pub async fn tell_offline(&self, topic: TopicId, partition: PartitionId) {
        let posted = post(ShardId(0), move |first| {
            let image = first.image();
            let known = first.offline();
            let there = known.iter().filter(|(topic, _)| image.topic_by_id(*topic).is_some());
            first.node.offline.publish(Arc::new(there.copied().chain([(topic, partition)]).collect()));
            std::future::ready(())
        })
        .await;
        let _stopped = posted.await;
    }

    pub fn owner(&self, topic: TopicId, partition: PartitionId) -> ShardId {
        owner(topic, partition, self.cores)
    }

    pub fn partition(&self, topic: TopicId, partition: PartitionId) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&(topic, partition)).cloned()
    }

    /// Every partition of this core.
    pub fn partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// Visits the partitions of this core, one after the other, without getting in the way of requests. What comes
    /// meanwhile is not visited, nor is what goes.
    pub async fn walk(&self, mut visit: impl AsyncFnMut(Rc<Partition>)) {
        // Not the partitions themselves: to count a reference misses the caches, each time.
        let keys: Vec<_> = self.partitions.borrow().keys().copied().collect();
        let mut pace = Pace::begin();
        for (topic, partition) in keys {
            if let Some(partition) = self.partition(topic, partition) {
                visit(partition).await;
            }
            pace.step().await;
        }
    }

    /// A topic's configuration now; resolved again only when something under it changed.
    pub fn topic_config(&self, topic: &Topic) -> Rc<TopicConfig> {
        let image = self.image();
        let overrides = image.settings(ResourceType::Topic, &topic.name);
        let layers = self.layers();
        let mut resolved = self.topic_configs.borrow_mut();
        if let Some(known) = resolved.get(&topic.id)
            && known.layers.is_same(&layers)
            && same(known.overrides.as_ref(), overrides)
        {
            return known.config.clone();
        }
        let empty = Settings::default();
        let config = match resolve_topic(&layers, overrides.unwrap_or(&empty)) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(topic = %topic.name, %error, "a stored topic configuration does not parse; the broker's defaults act");
                layers.server.topic_defaults.clone()
            }
        };
        let config = Rc::new(config);
        let overrides = overrides.cloned();
        resolved.insert(topic.id, ResolvedConfig { overrides, layers, config: config.clone() });
        config
    }

    /// Brings this core's partitions in line with the image: opens what it now owns, drops what is gone,
    /// takes epochs and configurations. Opening runs side by side.
    ///
    /// It compares with what it followed last and marks the new image as followed before it awaits. That is
    /// right because the controller settles one publish after the other (`Controller::run`): the next image
    /// comes only when every core has followed this one, so no two runs of this function meet on a core and
    /// nothing counts as followed that is still being opened. Whoever publishes besides it has to wait in the
    /// same line.
    pub async fn follow_image(self: &Rc<Self>) {
        let (image, layers) = (self.image(), self.layers());
        let (image_before, layers_before) = self.followed.replace((image.clone(), layers.clone()));
        self.drop_deleted(&image).await;
        let mut opening = Vec::new();
        for topic in image.topics() {
            let settings = |image: &Image| image.settings(ResourceType::Topic, &topic.name).cloned();
            let unchanged =
                image_before.topic_by_id(topic.id).is_some_and(|before| Arc::ptr_eq(before, topic))
                    && same(settings(&image).as_ref(), settings(&image_before).as_ref())
                    && layers.is_same(&layers_before);
            if unchanged {
                continue;
            }
            for (id, registration) in topic.numbered() {
                if self.owner(topic.id, id) != self.id {
                    continue;
                }
                match self.partition(topic.id, id) {
                    Some(partition) => {
                        partition.take_leadership(leadership(registration));
                        let config = self.topic_config(topic);
                        partition.take_config(&config);
                        let expiration = self.layers().server.producer_id_expiration_ms;
                        partition.log().set_config(Rc::new(log_config(&config, expiration)));
                    }
                    None if registration.leader == self.node.id => {
                        let (shard, topic) = (self.clone(), topic.clone());
                        opening.push(tasks::spawn(Queue::Requests, async move {
                            let _in_turn = shard.opening.acquire_permit(1).await;
                            shard.clone().open(&topic, id).await;
                        }));
                    }
                    None => {}
                }
            }
        }
        for open in opening {
            open.await;
        }
        self.follow_groups(&image_before);
    }

    /// When it returns the directories have other names: a topic of the same name can be made.
    async fn drop_deleted(&self, image: &Image) {
        let gone: Vec<Rc<Partition>> = {
            let mut partitions = self.partitions.borrow_mut();
            let keys: Vec<_> =
                partitions.keys().filter(|(topic, _)| image.topic_by_id(*topic).is_none()).copied().collect();
            keys.iter().filter_map(|key| partitions.remove(key)).collect()
        };
        for partition in gone {
            self.topic_configs.borrow_mut().remove(&partition.topic_id);
            partition.waiters().rouse_all();
            if let Err(error) = partition.log().delete().await {
                tracing::error!(partition = %partition.name(), %error, "a deleted partition's files stay");
            }
        }
    }

    async fn open(self: Rc<Self>, topic: &Arc<Topic>, id: PartitionId) {
        let name = TopicPartition { topic: topic.name.clone(), partition: id };
        let dir = self.dir_of(&name);
        let config = self.topic_config(topic);
        let expiration = self.layers().server.producer_id_expiration_ms;
        let opening = Opening {
            clean: dir.clean,
            recovery_point: dir.recovery_points.get(&name).copied().unwrap_or(Offset::ZERO),
            log_start: dir.log_starts.get(&name).copied().unwrap_or(Offset::ZERO),
            topic_id: Some(topic.id),
            progress: Some(self.recovery.clone()),
        };
        let known = (opening.recovery_point, opening.log_start);
        let path = dir.path.join(name.to_string());
        let config_of_log = Rc::new(log_config(&config, expiration));
        let log = match Log::open(path.clone(), config_of_log.clone(), opening, &self.appender).await {
            Ok(log) => log,
            Err(error) => {
                tracing::error!(partition = %name, %error, "a partition is offline: its log cannot be opened");
                self.tell_offline(topic.id, id).await;
                Log::unopened(path, config_of_log, known, &self.appender, error)
            }
        };
        let Some(registration) = topic.partition(id) else { return };
        let leadership = leadership(registration);
        let partition = Partition::leading(topic.name.clone(), topic.id, id, log, leadership, &config);
        self.partitions.borrow_mut().entry((topic.id, id)).or_insert(partition);
    }

    /// The log directory that holds a partition, or will: where its files are, else by its number. Asks the
    /// file system where there are several.
    fn dir_of(&self, name: &TopicPartition) -> &LogDir {
        let dirs = &self.node.log_dirs;
        let held = || dirs.iter().position(|dir| dir.path.join(name.to_string()).is_dir());
        let index = match dirs.len() {
            1 => 0,
            count => held().unwrap_or(name.partition.0 as usize % count),
        };
        &dirs[index]
    }

    /// Which log directory an open partition is in; asks no file system.
    fn dir_index_of(&self, partition: &Partition) -> usize {
        let dirs = &self.node.log_dirs;
        let path = partition.log().dir();
        let index = dirs.iter().position(|dir| path.parent() == Some(&*dir.path));
        index.expect("a log is opened in one of the log directories")
    }

    /// Runs `f` for each question on the core that owns its partition (`None` where that core does not lead
    /// it), in order for each core. The answers come core by core, so `f` returns what tells them apart.
    pub async fn on_owners<T, R, Fut>(
        self: &Rc<Self>,
        asks: Vec<Ask<T>>,
        f: impl Fn(Option<Rc<Partition>>, T) -> Fut + Clone + Send + 'static,
    ) -> Vec<R>
    where
        T: Send + 'static,
        R: Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let mut by_owner = Vec::new();
        for ask in asks {
            push_by_owner(&mut by_owner, self.owner(ask.topic, ask.partition), ask);
        }
        let mut posted = Vec::with_capacity(by_owner.len());
        for (owner, asks) in by_owner {
            let f = f.clone();
            let run = move |shard: Rc<Shard>| async move {
                let mut answers = Vec::with_capacity(asks.len());
                for ask in asks {
                    answers.push(f(shard.partition(ask.topic, ask.partition), ask.with).await);
                }
                answers
            };
            posted.push(post(owner, run).await);
        }
        let mut answers = Vec::new();
        for reply in posted {
            answers.extend(reply.await.unwrap_or_default());
        }
        answers
    }

    /// Asks every core and gathers what they say.
    pub async fn gather<R: Send + 'static>(
        &self,
        f: impl Fn(&Shard) -> Vec<R> + Clone + Send + 'static,
    ) -> Vec<R> {
        let told = self.on_every_core(move |shard| std::future::ready(f(&shard))).await;
        told.into_iter().flatten().collect()
    }

    /// What `line` says of every partition of the process, at the pace of a walk.
    async fn gather_partitions<R: Send + 'static>(
        &self,
        line: impl Fn(&Shard, &Partition) -> R + Clone + Send + 'static,
    ) -> Vec<R> {
        let of_core = move |shard: Rc<Shard>| {
            let line = line.clone();
            async move {
                let mut lines = Vec::new();
                shard.walk(async |partition| lines.push(line(&shard, &partition))).await;
                lines
            }
        };
        self.on_every_core(of_core).await.into_iter().flatten().collect()
    }

    /// Runs `f` on every core, side by side; what it gave on those that have not stopped, in their order.
    async fn on_every_core<R, Fut>(&self, f: impl Fn(Rc<Shard>) -> Fut + Clone + Send + 'static) -> Vec<R>
    where
        R: Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let mut posted = Vec::with_capacity(self.cores);
        for core in 0..self.cores {
            let to = ShardId(u16::try_from(core).expect("cores are counted in 16 bits"));
            posted.push(post(to, f.clone()).await);
        }
        let mut given = Vec::with_capacity(self.cores);
        for reply in posted {
            given.extend(reply.await);
        }
        given
    }

    /// Has every core follow the image that was published last; ends when all have.
    pub async fn follow_everywhere(&self) {
        self.publish_layers();
        self.on_every_core(|shard| async move { shard.follow_image().await }).await;
    }

    /// Publishes the configuration's layers again where the metadata changed a broker key.
    pub fn publish_layers(&self) {
        let image = self.image();
        let layers = self.layers();
        let empty = Settings::default();
        let default = image.settings(ResourceType::Broker, "").unwrap_or(&empty);
        let own = image.settings(ResourceType::Broker, &self.node.id.to_string()).unwrap_or(&empty);
        if *default == layers.dynamic_default && *own == layers.dynamic_broker {
            return;
        }
        let (changed, left_out) = layers.with_dynamic(default, own);
        for key in left_out {
            tracing::warn!(key, "a dynamic broker configuration is left out");
        }
        self.node.layers.publish(Arc::new(changed));
    }

    /// Every partition of the process with its log directory and bytes; no bytes where its log is offline.
    pub async fn log_sizes(&self) -> Vec<(TopicPartition, usize, Option<u64>)> {
        self.gather_partitions(|shard, partition| {
            let bytes = partition.check_online().is_ok().then(|| partition.log().size_bytes());
            (partition.name(), shard.dir_index_of(partition), bytes)
        })
        .await
    }

    /// A producer id that nobody had before, out of the durable block that the first core holds.
    pub async fn next_producer_id(&self) -> Result<i64, ProducerIdsGone> {
        let posted = post(ShardId(0), |first| async move { first.take_producer_id().await }).await;
        posted.await.unwrap_or(Err(ProducerIdsGone))
    }

    async fn take_producer_id(&self) -> Result<i64, ProducerIdsGone> {
        let _in_turn = self.producer_id_turn.acquire_permit(1).await.map_err(|_closed| ProducerIdsGone)?;
        let mut block = self.producer_ids.take();
        if block.is_empty() {
            let controller = self.controller.borrow().clone().ok_or(ProducerIdsGone)?;
            let epoch = self.image().broker(self.node.id).map_or(-1, |broker| broker.epoch);
            let request = AllocateProducerIdsRequest::default()
                .with_broker_id(BrokerId(self.node.id.0))
                .with_broker_epoch(epoch);
            let given =
                controller.allocate_producer_ids(&request).await.map_err(|_failed| ProducerIdsGone)?;
            if given.error_code != 0 || given.producer_id_len <= 0 {
                tracing::error!(code = given.error_code, "the controller gave no producer ids");
                return Err(ProducerIdsGone);
            }
            let start = given.producer_id_start.0;
            block = start..start + i64::from(given.producer_id_len);
        }
        let id = block.start;
        block.start += 1;
        self.producer_ids.set(block);
        Ok(id)
    }

    /// Runs `f` with the controller, on its core; `None` while there is none.
    pub async fn on_controller<R, Fut>(&self, f: impl FnOnce(Controller) -> Fut + Send + 'static) -> Option<R>
    where
        R: Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let posted = post(ShardId(0), move |first| async move {
            let controller = first.controller.borrow().clone()?;
            Some(f(controller).await)
        })
        .await;
        posted.await.ok().flatten()
    }

    /// Writes out and closes every log of this core. Nothing is appended after. True where all closed well, so
    /// none was offline: then the next start need not scan them.
    pub async fn close_logs(&self) -> bool {
        let mut clean = true;
        for partition in self.partitions() {
            if let Err(error) = partition.log().close().await {
                tracing::error!(topic = %partition.topic, partition = partition.id.0, %error, "a log did not close cleanly");
                clean = false;
            }
        }
        clean
    }
}

fn leadership(partition: &metadata::Partition) -> Leadership {
    Leadership {
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: partition.isr.clone(),
        replicas: partition.replicas.len(),
    }
}

/// Waits for `future`, at most `time`; false when the time was up first.
pub async fn until(time: Duration, future: impl Future<Output = ()>) -> bool {
    let timer = async {
        glommio::timer::sleep(time).await;
        false
    };
    let done = async {
        future.await;
        true
    };
    futures_lite::future::or(done, timer).await
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_spread_over_the_cores() {
        let topic = TopicId::random();
        let mut owned = [0; 4];
        for p in 0..8 {
            owned[owner(topic, PartitionId(p), 4).0 as usize] += 1;
        }
        assert_eq!(owned, [2; 4]);
    }
}
