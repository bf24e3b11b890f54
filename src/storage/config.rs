//! What a log is told: the part of its topic's configuration that it acts on, and what is known of it before
//! it is opened.

use std::sync::Arc;

use crate::storage::recovery::Progress;
use crate::types::{Offset, TopicId};

/// The configuration that a log acts on; filled from the topic's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `retention.bytes`, -1 for no limit
    pub retention_bytes: i64,
    /// `retention.ms`, -1 for no limit
    pub retention_ms: i64,
    /// `cleanup.policy` has `delete`
    pub delete: bool,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: i64,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `flush.ms`
    pub flush_ms: i64,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: WEEK_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: -1,
            retention_ms: WEEK_MS,
            delete: true,
            file_delete_delay_ms: 60_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            producer_id_expiration_ms: 24 * 3600 * 1000,
        }
    }
}

/// What is known of a log before it is opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The log directory was shut down cleanly: nothing is scanned.
    pub clean: bool,
    /// From `recovery-point-offset-checkpoint`; 0 where it has no entry.
    pub recovery_point: Offset,
    /// From `log-start-offset-checkpoint`; 0 where it has no entry.
    pub log_start: Offset,
    /// Goes to `partition.metadata`; an existing file must name the same. `None`: not looked at.
    pub topic_id: Option<TopicId>,
    /// Counts what recovery does.
    pub progress: Option<Arc<Progress>>,
}
