//! Shards for tests: one a core, over a directory of their own and an image that the test makes. What is staged
//! stays staged until [`begin_to_write`], so that a test can look at what waits for it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{LogDir, Node, Shard, Spread};
use crate::config::properties::Properties;
use crate::config::{Layers, ServerConfig};
use crate::metadata::Image;
use crate::protocol::stored::metadata::{PartitionRecord, Record, TopicRecord};
use crate::runtime::broadcast::Broadcast;
use crate::runtime::shards::{self, RuntimeOptions};
use crate::runtime::tasks::{self, Queue};
use crate::storage::checkpoint::Offsets;
use crate::types::{LeaderEpoch, NodeId, PartitionId, ShardId, TopicId};

/// A test that takes longer waits for what does not come.
const LONGEST: Duration = Duration::from_secs(20);

/// Runs `test` on the first of so many cores, each with its shard, under the broker's keys of `properties`.
pub fn on_cores<Fut: Future<Output = ()> + 'static>(
    cores: usize,
    properties: &str,
    test: impl Fn(Rc<Shard>) -> Fut + Send + Clone + 'static,
) {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::new(ServerConfig::load(&Properties::parse(properties).unwrap()).unwrap().0);
    let node = Arc::new(node(dir.path().to_owned(), &server));
    let (arrive, arrived) = flume::unbounded();
    let (end, ended) = flume::unbounded();
    let options = RuntimeOptions { cores: (0..cores).collect(), name: "test".into() };
    shards::run(&options, move || {
        let (test, node, server) = (test.clone(), node.clone(), server.clone());
        let (arrive, arrived, end, ended) = (arrive.clone(), arrived.clone(), end.clone(), ended.clone());
        async move {
            let shard = Shard::install(node, server, cores);
            arrive.send(()).unwrap();
            if shard.id == ShardId(0) {
                for _ in 0..cores {
                    arrived.recv_async().await.unwrap();
                }
                let in_time = super::until(LONGEST, test(shard.clone())).await;
                assert!(in_time, "what the test waits for does not come");
                (1..cores).for_each(|_| end.send(()).unwrap());
            } else {
                ended.recv_async().await.unwrap();
            }
            shard.stop_groups();
            shard.appender.stop();
            Shard::uninstall();
        }
    })
    .unwrap();
}

fn node(path: PathBuf, server: &ServerConfig) -> Node {
    let dir = LogDir {
        path,
        id: TopicId::random(),
        clean: true,
        recovery_points: Offsets::new(),
        log_starts: Offsets::new(),
    };
    Node {
        id: NodeId(1),
        cluster_id: "test".into(),
        log_dirs: vec![dir],
        endpoints: Arc::new(Broadcast::new(Arc::default())),
        images: Arc::new(Broadcast::new(Arc::new(Image::empty()))),
        layers: Arc::new(Broadcast::new(Arc::new(Layers::new(server.clone())))),
        offline: Arc::new(Broadcast::new(Arc::default())),
        spread: Spread::default(),
    }
}

/// Where the logs are.
pub fn log_dir(shard: &Shard) -> &Path {
    &shard.node.log_dirs[0].path
}

/// Makes a topic of this node; every core follows.
pub async fn make_topic(shard: &Rc<Shard>, name: &str, partitions: i32) -> TopicId {
    let id = TopicId::random();
    let mut records = vec![Record::from(TopicRecord { name: name.to_owned(), topic_id: id })];
    records.extend(partitions_of(shard, id, 0..partitions));
    publish(shard, &records).await;
    id
}

/// Gives a topic more partitions; every core follows.
pub async fn grow_topic(shard: &Rc<Shard>, id: TopicId, added: Range<i32>) {
    publish(shard, &partitions_of(shard, id, added)).await;
}

fn partitions_of(shard: &Shard, id: TopicId, numbers: Range<i32>) -> Vec<Record> {
    let record = |partition| {
        Record::from(PartitionRecord {
            partition_id: PartitionId(partition),
            topic_id: id,
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            directories: vec![shard.node.log_dirs[0].id.0],
            ..PartitionRecord::default()
        })
    };
    numbers.map(record).collect()
}

/// Publishes the image with these records; every core follows.
pub async fn publish(shard: &Rc<Shard>, records: &[Record]) {
    let mut image = Image::clone(&shard.image());
    records.iter().for_each(|record| image.apply(record).unwrap());
    image.offset = image.offset.plus(1);
    shard.node.images.publish(Arc::new(image));
    shard.follow_everywhere().await;
}

/// Has every core write what is appended from now on, and what was staged.
pub async fn begin_to_write(shard: &Shard) {
    shard
        .on_every_core(|shard| {
            tasks::spawn(Queue::Requests, shard.appender.clone().run()).detach();
            std::future::ready(())
        })
        .await;
}

/// Waits until every coordinator of every core has its state.
pub async fn groups_are_loaded(shard: &Shard) {
    loop {
        let progress = shard.gather(|shard| vec![shard.replay_progress()]).await;
        if progress.iter().all(|core| core.partitions_done == core.partitions) {
            return;
        }
        tasks::yield_now().await;
    }
}
