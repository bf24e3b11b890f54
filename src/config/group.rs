//! A group's configuration: its own keys over the broker's `group.*` defaults.

/// Every group key, after all layers. Times are milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    pub consumer_session_timeout_ms: i32,
    pub consumer_heartbeat_interval_ms: i32,
    pub share_session_timeout_ms: i32,
    pub share_heartbeat_interval_ms: i32,
    pub share_record_lock_duration_ms: i32,
    pub share_auto_offset_reset: String,
    pub share_isolation_level: String,
    pub streams_session_timeout_ms: i32,
    pub streams_heartbeat_interval_ms: i32,
    pub streams_num_standby_replicas: i32,
}
