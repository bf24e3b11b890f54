//! A topic's configuration: its own keys over the broker's defaults, as values that act.

use std::collections::BTreeMap;

use super::describe::DescribedEntry;
use super::error::ConfigError;
use super::layers::Layers;

/// Whose clock a record's timestamp is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// The codec a topic keeps its batches in, with its level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicCompression {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip(i32),
    Snappy,
    Lz4(i32),
    Zstd(i32),
}

/// Every topic key that acts, after all layers. Times are milliseconds, sizes bytes; -1 stands for "no
/// limit" in the two retentions.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: u32,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub max_message_bytes: u32,
    pub index_interval_bytes: u32,
    pub delete_retention_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub file_delete_delay_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    /// `cleanup.policy` holds `compact`.
    pub compact: bool,
    /// `cleanup.policy` holds `delete`.
    pub delete: bool,
    pub unclean_leader_election: bool,
    pub min_insync_replicas: i32,
    pub compression: TopicCompression,
    pub preallocate: bool,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    pub remote_storage: bool,
    pub local_retention_bytes: i64,
    pub local_retention_ms: i64,
}

impl Default for TopicConfig {
    /// Kafka's defaults, with no broker and no topic key set.
    fn default() -> TopicConfig {
        todo!()
    }
}

/// The configuration of a topic whose own keys are `overrides`.
///
/// # Errors
/// INVALID_CONFIG when a value does not parse; the sentences are Kafka's.
pub fn resolve_topic(
    _layers: &Layers,
    _overrides: &BTreeMap<String, String>,
) -> Result<TopicConfig, ConfigError> {
    todo!()
}

/// A topic's effective configuration as CreateTopics answers it: every key that is not internal, with the
/// layer its value comes from.
pub fn effective_topic_configs(
    _layers: &Layers,
    _overrides: &BTreeMap<String, String>,
) -> Vec<DescribedEntry> {
    todo!()
}
