//! DescribeLogDirs: each log directory's size and the partitions in it. Partitions whose logs are offline are
//! left out; a directory where all of them are is offline itself, which in Kafka the first failure makes it.

use std::collections::BTreeMap;

use ahash::AHashSet;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};

use super::Context;
use crate::protocol::wire::StrBytes;
use crate::shard::LogDir;
use crate::types::TopicPartition;

pub async fn handle(
    context: &Context,
    asked: DescribeLogDirsRequest,
    _version: i16,
) -> DescribeLogDirsResponse {
    let shard = &context.shard;
    let wanted: Option<AHashSet<(String, i32)>> = asked.topics.map(|topics| {
        topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic.to_string(), *p)))
            .collect()
    });
    let mut by_dir: Vec<BTreeMap<String, Vec<DescribeLogDirsPartition>>> =
        vec![BTreeMap::new(); shard.node.log_dirs.len()];
    // Partitions of each directory that can be used, and that cannot.
    let mut counts = vec![(0, 0); by_dir.len()];
    for (name, dir, size_bytes) in shard.log_sizes().await {
        let Some(size_bytes) = size_bytes else {
            counts[dir].1 += 1;
            continue;
        };
        counts[dir].0 += 1;
        if wanted.as_ref().is_some_and(|w| !w.contains(&(name.topic.to_string(), name.partition.0))) {
            continue;
        }
        by_dir[dir].entry(name.topic.to_string()).or_default().push(line(&name, size_bytes));
    }
    let node = shard.node.clone();
    // A file system that hangs (NFS, a broken disk) does not hang the core.
    let results = glommio::executor()
        .spawn_blocking(move || {
            let of_dir = |((dir, topics), counts)| match counts {
                (0, 1..) => failed(dir),
                _ => describe(dir, topics),
            };
            node.log_dirs.iter().zip(by_dir).zip(counts).map(of_dir).collect()
        })
        .await;
    DescribeLogDirsResponse::default().with_results(results)
}

fn line(name: &TopicPartition, size_bytes: u64) -> DescribeLogDirsPartition {
    DescribeLogDirsPartition::default()
        .with_partition_index(name.partition.0)
        .with_partition_size(i64::try_from(size_bytes).unwrap_or(i64::MAX))
        .with_offset_lag(0)
        .with_is_future_key(false)
}

fn named(dir: &LogDir) -> DescribeLogDirsResult {
    let path = std::path::absolute(&dir.path).unwrap_or_else(|_| dir.path.clone());
    DescribeLogDirsResult::default().with_log_dir(StrBytes::from_string(path.display().to_string()))
}

fn failed(dir: &LogDir) -> DescribeLogDirsResult {
    named(dir).with_error_code(ResponseError::KafkaStorageError.code())
}

fn describe(dir: &LogDir, topics: BTreeMap<String, Vec<DescribeLogDirsPartition>>) -> DescribeLogDirsResult {
    let Ok(space) = rustix::fs::statvfs(&dir.path) else { return failed(dir) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(space.f_frsize)).unwrap_or(i64::MAX);
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| {
            DescribeLogDirsTopic::default()
                .with_name(TopicName(StrBytes::from_string(name)))
                .with_partitions(partitions)
        })
        .collect();
    named(dir)
        .with_topics(topics)
        .with_total_bytes(bytes(space.f_blocks))
        .with_usable_bytes(bytes(space.f_bavail))
}
