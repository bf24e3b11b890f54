//! The broker's configuration as values that act, from server.properties, the environment and `-o`.
//!
//! Kafka's rules hold, with four differences, each named where it is made: `queued.max.request.bytes` is
//! finite by default, `node.id` defaults to 1 and `process.roles` to `broker,controller`, a controller
//! listener and a quorum are not asked for, and with no file at all the node is one that works by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::ConfigError;
use super::keys::{self, Default, Key, Table, Type};
use super::listeners::{AdvertisedListener, Listener};
use super::properties::Properties;
use super::topic::TopicConfig;
use super::value::{self, Value};

/// Every broker key that acts, typed. Times are milliseconds unless the name says otherwise, sizes bytes.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub node_id: i32,
    /// Where clients are listened for. Controller listeners are not among these.
    pub listeners: Vec<Listener>,
    /// What clients are told, one for each of `listeners` at most.
    pub advertised_listeners: Vec<AdvertisedListener>,
    /// `listeners` named by `controller.listener.names`: accepted, bound to nothing yet.
    pub controller_listeners: Vec<Listener>,
    pub controller_listener_names: Vec<String>,
    pub inter_broker_listener_name: String,
    pub rack: Option<String>,
    pub log_dirs: Vec<PathBuf>,
    pub metadata_log_dir: PathBuf,

    pub socket_request_max_bytes: u32,
    /// Memory for requests over all cores; `u64::MAX` when switched off by -1.
    pub queued_max_request_bytes: u64,
    pub queued_max_requests: u32,
    /// Negative: never.
    pub connections_max_idle_ms: i64,
    pub max_connections: u32,
    pub max_connections_per_ip: u32,
    /// By IP address or host name.
    pub max_connections_per_ip_overrides: BTreeMap<String, u32>,
    pub max_connection_creation_rate: u32,
    /// -1: as the system sizes it.
    pub socket_send_buffer_bytes: i32,
    /// -1: as the system sizes it.
    pub socket_receive_buffer_bytes: i32,
    pub socket_listen_backlog_size: u32,
    pub request_timeout_ms: i32,

    pub num_partitions: i32,
    pub default_replication_factor: i32,
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub fetch_max_bytes: u32,
    pub max_incremental_fetch_session_cache_slots: u32,
    pub max_request_partition_size_limit: u32,
    pub replica_lag_time_max_ms: i64,
    pub replica_high_watermark_checkpoint_interval_ms: i64,
    pub auto_leader_rebalance_enable: bool,
    pub leader_imbalance_check_interval_seconds: i64,

    /// What a topic without keys of its own has.
    pub topic_defaults: TopicConfig,
    pub log_retention_check_interval_ms: i64,
    pub log_flush_scheduler_interval_ms: i64,
    pub log_flush_offset_checkpoint_interval_ms: i64,
    pub log_flush_start_offset_checkpoint_interval_ms: i64,
    pub log_initial_task_delay_ms: i64,
    pub log_dir_failure_timeout_ms: i64,
    pub num_recovery_threads_per_data_dir: u32,
    pub log_cleaner_enable: bool,
    pub log_cleaner_threads: u32,
    pub log_cleaner_backoff_ms: i64,
    pub log_cleaner_dedupe_buffer_size: u64,
    pub log_cleaner_io_buffer_size: u32,
    pub log_cleaner_io_buffer_load_factor: f64,
    pub log_cleaner_io_max_bytes_per_second: f64,
    pub producer_id_expiration_ms: i64,
    pub producer_id_expiration_check_interval_ms: i64,

    pub metadata_log_segment_bytes: u32,
    pub metadata_log_segment_ms: i64,
    pub metadata_log_max_record_bytes_between_snapshots: u64,
    pub metadata_log_max_snapshot_interval_ms: i64,
    /// How often an idle controller writes a NoOpRecord; 0: never.
    pub metadata_max_idle_interval_ms: i64,
    pub metadata_max_retention_bytes: i64,
    pub metadata_max_retention_ms: i64,
    pub broker_heartbeat_interval_ms: i64,
    pub broker_session_timeout_ms: i64,

    pub offsets_topic_num_partitions: i32,
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: u32,
    pub offsets_topic_compression_codec: i32,
    pub offsets_retention_minutes: i64,
    pub offsets_retention_check_interval_ms: i64,
    pub offset_metadata_max_bytes: u32,
    pub offsets_commit_timeout_ms: i64,
    pub offsets_load_buffer_size: u32,
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_max_size: u32,

    pub transaction_state_log_num_partitions: i32,
    pub transaction_state_log_replication_factor: i16,
    pub transaction_state_log_min_isr: i32,
    pub transaction_state_log_segment_bytes: u32,
    pub transaction_max_timeout_ms: i32,
    pub transactional_id_expiration_ms: i64,
    pub transaction_abort_timed_out_cleanup_interval_ms: i64,
    pub transaction_remove_expired_cleanup_interval_ms: i64,
    pub transaction_partition_verification_enable: bool,

    pub unstable_api_versions_enable: bool,
    pub unstable_feature_versions_enable: bool,

    /// The cores to run on; empty: every core the process may use.
    pub cores: Vec<usize>,
    pub receive_timeout_ms: u64,
    pub max_inflight_requests_per_connection: u32,
    pub pipe_bytes: u32,
    pub pipes_per_core: u32,

    /// Every key that was set, as text: what DescribeConfigs shows, unknown keys included.
    pub all: BTreeMap<String, String>,
}

impl ServerConfig {
    /// The configuration that `properties` come to, and what its reader should be told: deprecated and
    /// unknown keys, and hints.
    ///
    /// # Errors
    /// INVALID_CONFIG with one sentence that says what to mend.
    pub fn load(_properties: &Properties) -> Result<(ServerConfig, Vec<String>), ConfigError> {
        todo!()
    }

    /// The configuration of a flat map of keys, whatever layers it was merged from.
    ///
    /// # Errors
    /// As [`ServerConfig::load`].
    pub fn from_map(_all: BTreeMap<String, String>) -> Result<ServerConfig, ConfigError> {
        todo!()
    }
}

const _: fn(&Key, &Table, Type, Default, &keys::Table, Value) = |_, _, _, _, _, _| {};
const _: fn(&Key, &str) -> Result<Value, ConfigError> = value::parse;
