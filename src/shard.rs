//! All that one core owns, and what all cores share.
//!
//! A [`Shard`] is state of one thread: its partitions, fetch sessions, request memory and appender, in `Rc`
//! and `Cell`. Other cores reach it by [`post`] only. A [`Node`] is immutable or published: identity, log
//! directories, addresses, the metadata image and the configuration's layers.
//!
//! Placement is a function: partition p of a topic lives on core `(hash(topic id) + p) mod cores`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use ahash::AHashMap;

use crate::broker::fetch_session::FetchSessions;
use crate::broker::partition::{Partition, log_config};
use crate::cluster::Controller;
use crate::config::{Layers, ServerConfig, TopicConfig, resolve_topic};
use crate::metadata::{Image, Topic};
use crate::runtime::broadcast::{Broadcast, Reader};
use crate::runtime::memory::MemoryBound;
use crate::runtime::shards::{self, Reply};
use crate::storage::checkpoint::Checkpoints;
use crate::storage::{Appender, Log, Opening, StorageError};
use crate::types::{NodeId, Offset, PartitionId, ShardId, TopicId, TopicPartition};

/// What all cores share.
pub struct Node {
    pub id: NodeId,
    pub cluster_id: String,
    pub log_dirs: Vec<LogDir>,
    /// One a bound listener, with the address that clients are told.
    pub endpoints: Vec<Endpoint>,
    pub images: Broadcast<Image>,
    pub layers: Broadcast<Layers>,
}

/// One of `log.dirs`.
pub struct LogDir {
    pub path: PathBuf,
    /// `directory.id` of its meta.properties.
    pub id: TopicId,
    /// The last stop was clean: its logs are not scanned.
    pub clean: bool,
    /// What its checkpoint files said at start.
    pub checkpoints: Checkpoints,
}

/// A listener's name and what it advertises.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub listener: Arc<str>,
    pub host: String,
    pub port: u16,
}

/// The state of one core.
pub struct Shard {
    pub id: ShardId,
    pub cores: usize,
    pub node: Arc<Node>,
    pub memory: MemoryBound,
    pub sessions: RefCell<FetchSessions>,
    pub appender: Rc<Appender>,
    /// On the first core only.
    pub controller: RefCell<Option<Rc<Controller>>>,
    pub stopping: Cell<bool>,
    server: Arc<ServerConfig>,
    images: Reader<Image>,
    layers: Reader<Layers>,
    partitions: RefCell<AHashMap<(TopicId, PartitionId), Rc<Partition>>>,
    topic_configs: RefCell<AHashMap<TopicId, ResolvedConfig>>,
}

/// A topic's configuration and what it was made of.
struct ResolvedConfig {
    overrides: Option<Arc<std::collections::BTreeMap<String, String>>>,
    layers: Arc<Layers>,
    config: Rc<TopicConfig>,
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

impl Shard {
    /// Makes this thread's shard and installs it.
    pub fn install(node: Arc<Node>, server: Arc<ServerConfig>, cores: usize) -> Rc<Shard> {
        let id = shards::shard_id();
        let memory_bytes = usize::try_from(server.queued_max_request_bytes / cores as u64).unwrap_or(usize::MAX);
        let sessions = FetchSessions::new(id, cores, server.max_incremental_fetch_session_cache_slots as usize);
        let shard = Rc::new(Shard {
            id,
            cores,
            // One largest frame a core always fits.
            memory: MemoryBound::new(memory_bytes.max(server.socket_request_max_bytes as usize)),
            sessions: RefCell::new(sessions),
            appender: Appender::new(),
            controller: RefCell::new(None),
            stopping: Cell::new(false),
            images: node.images.reader(),
            layers: node.layers.reader(),
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

    pub fn layers(&self) -> Arc<Layers> {
        self.layers.get()
    }

    pub fn image(&self) -> Arc<Image> {
        self.images.get()
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

    /// A topic's configuration now; resolved again only when something under it changed.
    pub fn topic_config(&self, topic: &Topic) -> Rc<TopicConfig> {
        let image = self.image();
        let overrides = image.topic_overrides(&topic.name);
        let layers = self.layers();
        let mut resolved = self.topic_configs.borrow_mut();
        if let Some(known) = resolved.get(&topic.id)
            && Arc::ptr_eq(&known.layers, &layers)
            && same(&known.overrides, &overrides)
        {
            return known.config.clone();
        }
        let empty = std::collections::BTreeMap::new();
        let config = match resolve_topic(&layers, overrides.as_deref().unwrap_or(&empty)) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(topic = %topic.name, %error, "a stored topic configuration does not parse; the broker's defaults act");
                layers.server.topic_defaults.clone()
            }
        };
        let config = Rc::new(config);
        resolved.insert(topic.id, ResolvedConfig { overrides, layers, config: config.clone() });
        config
    }

    /// Brings this core's partitions in line with the image: opens what it now owns, drops what is gone,
    /// takes epochs and configurations. Opening runs side by side.
    pub async fn follow_image(self: &Rc<Self>) {
        let image = self.image();
        self.drop_deleted(&image);
        let mut opening = Vec::new();
        for topic in image.topics() {
            for (index, registration) in topic.partitions.iter().enumerate() {
                let id = PartitionId(i32::try_from(index).expect("partitions are counted in i32"));
                if self.owner(topic.id, id) != self.id {
                    continue;
                }
                match self.partition(topic.id, id) {
                    Some(partition) => {
                        partition.take_registration(registration);
                        let config = self.topic_config(topic);
                        partition.take_config(&config);
                        let expiration = self.layers().server.producer_id_expiration_ms;
                        partition.log().set_config(Rc::new(log_config(&config, expiration)));
                    }
                    None if registration.leader == self.node.id.0 => {
                        let (shard, topic) = (self.clone(), topic.clone());
                        opening.push(glommio::spawn_local(async move { shard.open(&topic, id).await }));
                    }
                    None => {}
                }
            }
        }
        for open in opening {
            open.await;
        }
    }

    fn drop_deleted(&self, image: &Image) {
        let gone: Vec<Rc<Partition>> = {
            let mut partitions = self.partitions.borrow_mut();
            let keys: Vec<_> =
                partitions.keys().filter(|(topic, _)| image.topic_by_id(*topic).is_none()).copied().collect();
            keys.iter().filter_map(|key| partitions.remove(key)).collect()
        };
        for partition in gone {
            self.topic_configs.borrow_mut().remove(&partition.topic_id);
            partition.waiters().rouse_all();
            glommio::spawn_local(async move {
                if let Err(error) = partition.log().delete().await {
                    tracing::error!(topic = %partition.topic, partition = partition.id.0, %error, "a deleted partition's files stay");
                }
            })
            .detach();
        }
    }

    async fn open(self: Rc<Self>, topic: &Arc<Topic>, id: PartitionId) {
        let name = TopicPartition { topic: topic.name.clone(), partition: id };
        let dir = self.dir_of(&name);
        let config = self.topic_config(topic);
        let expiration = self.layers().server.producer_id_expiration_ms;
        let opening = Opening {
            clean: dir.clean,
            recovery_point: dir.checkpoints.recovery_point(&name).unwrap_or(Offset::ZERO),
            log_start: dir.checkpoints.log_start(&name).unwrap_or(Offset::ZERO),
            topic_id: Some(topic.id),
        };
        let path = dir.path.join(name.to_string());
        match Log::open(path, Rc::new(log_config(&config, expiration)), opening, &self.appender).await {
            Ok(log) => {
                let registration = &topic.partitions[id.0 as usize];
                let partition =
                    Partition::leading(topic.name.clone(), topic.id, id, log, registration, &config);
                self.partitions.borrow_mut().entry((topic.id, id)).or_insert(partition);
            }
            Err(error) => {
                tracing::error!(partition = %name, %error, "a partition is offline: its log cannot be opened");
            }
        }
    }

    /// The log directory that holds a partition, or will: where its files are, else by its number.
    pub fn dir_of(&self, name: &TopicPartition) -> &LogDir {
        let dirs = &self.node.log_dirs;
        if dirs.len() > 1
            && let Some(dir) = dirs.iter().find(|dir| dir.path.join(name.to_string()).is_dir())
        {
            return dir;
        }
        &dirs[name.partition.0 as usize % dirs.len()]
    }

    /// Flushes and closes every log of this core. Nothing is appended after.
    pub async fn close_logs(&self) -> Result<(), StorageError> {
        let mut first_error = Ok(());
        for partition in self.partitions() {
            if let Err(error) = partition.log().close().await {
                tracing::error!(topic = %partition.topic, partition = partition.id.0, %error, "a log did not close cleanly");
                first_error = first_error.and(Err(error));
            }
        }
        first_error
    }
}

fn same<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
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
