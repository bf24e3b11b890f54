//! The broker's configuration as values that act, from server.properties, the environment and `-o`.
//!
//! Kafka's rules hold, with four differences, each named where it is made: `queued.max.request.bytes` is
//! finite by default, `node.id` defaults to 1 and `process.roles` to `broker,controller`, a controller
//! listener and a quorum are not asked for, and with no file at all the node is one that works by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::addresses::Addresses;
use super::error::ConfigError;
use super::keys;
use super::listeners::{self, AdvertisedListener, Listener};
use super::notices::notices;
use super::properties::Properties;
use super::rules::{self, REQUIREMENT_FAILED, require};
use super::topic::{self, TopicConfig};
use super::typed::Typed;
use super::value;

/// `queued.max.request.bytes` when nobody sets it. Kafka's default is no bound at all.
pub const QUEUED_MAX_REQUEST_BYTES: u64 = 512 << 20;

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
    /// Memory for groups over all cores; `None`: a part of the machine's.
    pub group_memory_bytes: Option<u64>,
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
    pub fn load(properties: &Properties) -> Result<(ServerConfig, Vec<String>), ConfigError> {
        let mut all = properties.values.clone();
        imply(&mut all, properties.from_file);
        let unknown_own = all.keys().find(|key| key.starts_with("thalweg.") && !keys::THALWEG.contains(key));
        if let Some(key) = unknown_own {
            let known: Vec<&str> = keys::THALWEG.iter().map(|key| key.name).collect();
            return Err(ConfigError::config(format!(
                "Unknown key {key}; the keys that begin with thalweg. are: {}",
                known.join(", ")
            )));
        }
        let notices = notices(&all, properties.from_file);
        let server = ServerConfig::from_map(all).map_err(|error| {
            let sentence = error.message.strip_prefix(REQUIREMENT_FAILED).unwrap_or(&error.message);
            ConfigError::config(sentence)
        })?;
        Ok((server, notices))
    }

    /// The configuration of a flat map of keys, whatever layers it was merged from.
    ///
    /// # Errors
    /// INVALID_CONFIG with Kafka's sentence where Kafka has one.
    pub fn from_map(mut all: BTreeMap<String, String>) -> Result<ServerConfig, ConfigError> {
        equate_ids(&mut all);
        let typed = Typed::parse(&all)?;
        rules::check(&typed)?;
        let addresses = Addresses::resolve(&typed, &all)?;
        let topic_defaults = TopicConfig::from_values(&topic::broker_defaults_of(&all))?;
        require(topic_defaults.segment_ms >= 1, "log.roll.ms must be greater than or equal to 1")?;
        let log_dirs = log_dirs(&typed)?;
        let t = &typed;
        Ok(ServerConfig {
            node_id: t.int("node.id"),
            listeners: addresses.listeners,
            advertised_listeners: addresses.advertised,
            controller_listeners: addresses.controllers,
            controller_listener_names: addresses.controller_names,
            inter_broker_listener_name: addresses.inter_broker,
            rack: t.text("broker.rack").map(str::to_owned),
            metadata_log_dir: t.text("metadata.log.dir").map_or_else(|| log_dirs[0].clone(), PathBuf::from),
            log_dirs,

            socket_request_max_bytes: t.size("socket.request.max.bytes"),
            queued_max_request_bytes: queued_max_request_bytes(t, &all),
            queued_max_requests: t.size("queued.max.requests"),
            connections_max_idle_ms: t.long("connections.max.idle.ms"),
            max_connections: t.size("max.connections"),
            max_connections_per_ip: t.size("max.connections.per.ip"),
            max_connections_per_ip_overrides: per_ip_overrides(t)?,
            max_connection_creation_rate: t.size("max.connection.creation.rate"),
            socket_send_buffer_bytes: t.int("socket.send.buffer.bytes"),
            socket_receive_buffer_bytes: t.int("socket.receive.buffer.bytes"),
            socket_listen_backlog_size: t.size("socket.listen.backlog.size"),
            request_timeout_ms: t.int("request.timeout.ms"),

            num_partitions: t.int("num.partitions"),
            default_replication_factor: t.int("default.replication.factor"),
            auto_create_topics_enable: t.boolean("auto.create.topics.enable"),
            delete_topic_enable: t.boolean("delete.topic.enable"),
            fetch_max_bytes: t.size("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: t.size("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: t.size("max.request.partition.size.limit"),
            replica_lag_time_max_ms: t.long("replica.lag.time.max.ms"),
            replica_high_watermark_checkpoint_interval_ms: t
                .long("replica.high.watermark.checkpoint.interval.ms"),
            auto_leader_rebalance_enable: t.boolean("auto.leader.rebalance.enable"),
            leader_imbalance_check_interval_seconds: t.long("leader.imbalance.check.interval.seconds"),

            topic_defaults,
            log_retention_check_interval_ms: t.long("log.retention.check.interval.ms"),
            log_flush_scheduler_interval_ms: t.long("log.flush.scheduler.interval.ms"),
            log_flush_offset_checkpoint_interval_ms: t.long("log.flush.offset.checkpoint.interval.ms"),
            log_flush_start_offset_checkpoint_interval_ms: t
                .long("log.flush.start.offset.checkpoint.interval.ms"),
            log_initial_task_delay_ms: t.long("log.initial.task.delay.ms"),
            log_dir_failure_timeout_ms: t.long("log.dir.failure.timeout.ms"),
            num_recovery_threads_per_data_dir: t.size("num.recovery.threads.per.data.dir"),
            log_cleaner_enable: t.boolean("log.cleaner.enable"),
            log_cleaner_threads: t.size("log.cleaner.threads"),
            log_cleaner_backoff_ms: t.long("log.cleaner.backoff.ms"),
            log_cleaner_dedupe_buffer_size: u64::try_from(t.long("log.cleaner.dedupe.buffer.size"))
                .unwrap_or(0),
            log_cleaner_io_buffer_size: t.size("log.cleaner.io.buffer.size"),
            log_cleaner_io_buffer_load_factor: t.double("log.cleaner.io.buffer.load.factor"),
            log_cleaner_io_max_bytes_per_second: t.double("log.cleaner.io.max.bytes.per.second"),
            producer_id_expiration_ms: t.long("producer.id.expiration.ms"),
            producer_id_expiration_check_interval_ms: t.long("producer.id.expiration.check.interval.ms"),

            metadata_log_segment_bytes: t.optional("internal.metadata.log.segment.bytes").map_or_else(
                || t.size("metadata.log.segment.bytes"),
                |bytes| u32::try_from(bytes).unwrap_or(1),
            ),
            metadata_log_segment_ms: t.long("metadata.log.segment.ms"),
            metadata_log_max_record_bytes_between_snapshots: u64::try_from(
                t.long("metadata.log.max.record.bytes.between.snapshots"),
            )
            .unwrap_or(1),
            metadata_log_max_snapshot_interval_ms: t.long("metadata.log.max.snapshot.interval.ms"),
            metadata_max_idle_interval_ms: t.long("metadata.max.idle.interval.ms"),
            metadata_max_retention_bytes: t.long("metadata.max.retention.bytes"),
            metadata_max_retention_ms: t.long("metadata.max.retention.ms"),
            broker_heartbeat_interval_ms: t.long("broker.heartbeat.interval.ms"),
            broker_session_timeout_ms: t.long("broker.session.timeout.ms"),

            offsets_topic_num_partitions: t.int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: t.short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: t.size("offsets.topic.segment.bytes"),
            offsets_topic_compression_codec: t.int("offsets.topic.compression.codec"),
            offsets_retention_minutes: t.long("offsets.retention.minutes"),
            offsets_retention_check_interval_ms: t.long("offsets.retention.check.interval.ms"),
            offset_metadata_max_bytes: t.size("offset.metadata.max.bytes"),
            offsets_commit_timeout_ms: t.long("offsets.commit.timeout.ms"),
            offsets_load_buffer_size: t.size("offsets.load.buffer.size"),
            group_min_session_timeout_ms: t.int("group.min.session.timeout.ms"),
            group_max_session_timeout_ms: t.int("group.max.session.timeout.ms"),
            group_initial_rebalance_delay_ms: t.int("group.initial.rebalance.delay.ms"),
            group_max_size: t.size("group.max.size"),

            transaction_state_log_num_partitions: t.int("transaction.state.log.num.partitions"),
            transaction_state_log_replication_factor: t.short("transaction.state.log.replication.factor"),
            transaction_state_log_min_isr: t.int("transaction.state.log.min.isr"),
            transaction_state_log_segment_bytes: t.size("transaction.state.log.segment.bytes"),
            transaction_max_timeout_ms: t.int("transaction.max.timeout.ms"),
            transactional_id_expiration_ms: t.long("transactional.id.expiration.ms"),
            transaction_abort_timed_out_cleanup_interval_ms: t
                .long("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            transaction_remove_expired_cleanup_interval_ms: t
                .long("transaction.remove.expired.transaction.cleanup.interval.ms"),
            transaction_partition_verification_enable: t.boolean("transaction.partition.verification.enable"),

            unstable_api_versions_enable: t.boolean("unstable.api.versions.enable"),
            unstable_feature_versions_enable: t.boolean("unstable.feature.versions.enable"),

            cores: parse_cores(t.text("thalweg.cores").unwrap_or_default())?,
            group_memory_bytes: u64::try_from(t.long("thalweg.group.memory.bytes")).ok(),
            receive_timeout_ms: u64::try_from(t.long("thalweg.receive.timeout.ms")).unwrap_or(u64::MAX),
            max_inflight_requests_per_connection: t.size("thalweg.max.inflight.requests.per.connection"),
            pipe_bytes: t.size("thalweg.pipe.bytes"),
            pipes_per_core: t.size("thalweg.pipes.per.core"),
            all,
        })
    }

    /// A key's value as text: what was set, else its default. `None` for null and for unknown keys.
    pub fn text(&self, name: &str) -> Option<&str> {
        let set = self.all.get(name).map(String::as_str);
        set.or_else(|| keys::BROKER.get(name).or_else(|| keys::THALWEG.get(name))?.default_text())
    }

    /// An integer key's value.
    pub fn integer(&self, name: &str) -> Option<i64> {
        value::java_trim(self.text(name)?).parse().ok()
    }
}

/// What a node that works by itself needs, for the keys that nobody set. With a file the replication
/// factors keep Kafka's defaults.
fn imply(all: &mut BTreeMap<String, String>, from_file: bool) {
    let mut put = |key: &str, value: &str| {
        all.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    };
    put("process.roles", "broker,controller");
    if !from_file {
        put("listeners", "PLAINTEXT://:9092");
        for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
            put(&format!("{topic}.replication.factor"), "1");
        }
        put("transaction.state.log.min.isr", "1");
        put("share.coordinator.state.topic.min.isr", "1");
    }
    if !from_file && !all.contains_key("log.dir") {
        all.entry("log.dirs".to_owned()).or_insert_with(|| "./data".to_owned());
    }
    if !all.contains_key("broker.id") {
        all.entry("node.id".to_owned()).or_insert_with(|| "1".to_owned());
    }
}

/// `broker.id` and `node.id` are two names of one thing.
fn equate_ids(all: &mut BTreeMap<String, String>) {
    match (all.get("broker.id").cloned(), all.get("node.id").cloned()) {
        (Some(id), None) => all.insert("node.id".to_owned(), id),
        (None, Some(id)) => all.insert("broker.id".to_owned(), id),
        (Some(_), Some(_)) | (None, None) => None,
    };
}

fn log_dirs(typed: &Typed) -> Result<Vec<PathBuf>, ConfigError> {
    let text = typed.text("log.dirs").or_else(|| typed.text("log.dir")).unwrap_or_default();
    let dirs: Vec<PathBuf> = listeners::names(text).into_iter().map(PathBuf::from).collect();
    require(!dirs.is_empty(), "At least one log directory must be defined via log.dirs or log.dir.")?;
    Ok(dirs)
}

/// Unset, the bound grows with the largest frame; -1 and 0 switch it off, as in Kafka.
fn queued_max_request_bytes(typed: &Typed, all: &BTreeMap<String, String>) -> u64 {
    const KEY: &str = "queued.max.request.bytes";
    let largest_frame = u64::try_from(typed.long("socket.request.max.bytes")).unwrap_or(0);
    if !all.contains_key(KEY) {
        return QUEUED_MAX_REQUEST_BYTES.max(largest_frame);
    }
    u64::try_from(typed.long(KEY)).ok().filter(|bytes| *bytes > 0).unwrap_or(u64::MAX)
}

fn per_ip_overrides(typed: &Typed) -> Result<BTreeMap<String, u32>, ConfigError> {
    const KEY: &str = "max.connections.per.ip.overrides";
    let mut overrides = BTreeMap::new();
    for pair in listeners::names(typed.text(KEY).unwrap_or_default()) {
        let (address, count) = pair.rsplit_once(':').ok_or_else(|| {
            ConfigError::config(format!(
                "Error parsing configuration property '{KEY}': {pair} is not of the form address:count"
            ))
        })?;
        let count = count.trim();
        let parsed = count
            .parse::<i32>()
            .map_err(|_| ConfigError::config(format!("For input string: \"{count}\"")))?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._:%[]".contains(c);
        if !address.trim().chars().all(legal) {
            return Err(ConfigError::config(format!(
                "{KEY} contains invalid addresses : {}",
                address.trim()
            )));
        }
        overrides.insert(address.trim().to_owned(), u32::try_from(parsed).unwrap_or(0));
    }
    require(
        typed.long("max.connections.per.ip") != 0 || !overrides.is_empty(),
        "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
    )?;
    Ok(overrides)
}

/// Reads a list of cores such as `0,2-5`: sorted, each once. Empty stands for every core.
///
/// # Errors
/// INVALID_CONFIG for what is neither a number nor a range.
pub fn parse_cores(text: &str) -> Result<Vec<usize>, ConfigError> {
    let mut cores = BTreeSet::new();
    for part in listeners::names(text) {
        let (first, last) = part.split_once('-').unwrap_or((&part, &part));
        match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < 4096 => cores.extend(first..=last),
            _ => {
                return Err(ConfigError::config(format!(
                    "thalweg.cores: {part} is neither a core nor a range of cores; write it as 0,2-5"
                )));
            }
        }
    }
    Ok(cores.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<(ServerConfig, Vec<String>), String> {
        let properties = Properties::parse(text).expect("well-formed");
        ServerConfig::load(&properties).map_err(|error| error.message)
    }

    #[test]
    fn a_stock_file_starts_a_node() {
        let (server, notices) = load(include_str!("fixtures/stock.properties")).expect("a stock file");
        assert_eq!(notices, Vec::<String>::new());
        assert_eq!(server.node_id, 1);
        let shown = |listeners: &[Listener]| listeners.iter().map(Listener::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&server.listeners), ["PLAINTEXT://:9092"]);
        assert_eq!(shown(&server.advertised_listeners), ["PLAINTEXT://localhost:9092"]);
        assert_eq!(shown(&server.controller_listeners), ["CONTROLLER://:9093"]);
        assert_eq!(server.log_dirs, [PathBuf::from("/tmp/kraft-combined-logs")]);
        assert_eq!(server.offsets_topic_replication_factor, 1);
        assert_eq!(server.topic_defaults, TopicConfig::default());
    }

    #[test]
    fn without_a_file_a_node_works_by_itself() {
        let (server, notices) = ServerConfig::load(&Properties::default()).expect("defaults stand");
        assert_eq!(notices, Vec::<String>::new());
        assert_eq!(server.node_id, 1);
        assert_eq!(server.listeners[0].to_string(), "PLAINTEXT://:9092");
        assert_eq!(server.log_dirs, [PathBuf::from("./data")]);
        assert_eq!(server.offsets_topic_replication_factor, 1);
        assert_eq!(server.transaction_state_log_min_isr, 1);
        assert_eq!(server.queued_max_request_bytes, QUEUED_MAX_REQUEST_BYTES);
        assert_eq!(server.metadata_log_dir, PathBuf::from("./data"));
        assert_eq!(server.cores, Vec::<usize>::new());
    }

    #[test]
    fn with_a_file_replication_factors_are_kafkas_and_a_hint_says_so() {
        let (server, notices) = load("listeners=PLAINTEXT://:1\nlog.dirs=/x\n").expect("enough");
        assert_eq!((server.node_id, server.offsets_topic_replication_factor), (1, 3));
        assert_eq!(notices.len(), 1);
        assert!(notices[0].contains("offsets.topic.replication.factor=1"), "{}", notices[0]);
    }

    #[test]
    fn unknown_and_old_keys_are_told_and_kept() {
        let text = "offsets.topic.replication.factor=1\nlog.retentions.ms=5\nzookeeper.connect=x\nmine=1\n\
                    log.cleaner.enable=true\n";
        let (server, notices) = load(text).expect("unknown keys do no harm");
        assert_eq!(server.all["mine"], "1");
        let told = |part: &str| notices.iter().any(|notice| notice.contains(part));
        assert!(told("did you mean log.retention.ms?"), "{notices:?}");
        assert!(told("zookeeper.connect was removed"), "{notices:?}");
        assert!(told("log.cleaner.enable is deprecated"), "{notices:?}");
        assert_eq!(notices.len(), 4);
    }

    #[test]
    fn what_cannot_stand_is_one_sentence() {
        for (text, sentence) in [
            ("node.id=x", "Invalid value x for configuration node.id: Not a number of type INT"),
            ("node.id=1\nbroker.id=2", "You must set `node.id` to the same value as `broker.id`."),
            ("process.roles=broker", "process.roles=broker needs a second node"),
            ("process.roles=broker,zookeeper", "String must be one of: broker, controller"),
            ("controller.quorum.voters=2@h:1", "the node id 1 must be included"),
            ("controller.quorum.voters=1@h:1,2@h:2", "names other nodes"),
            ("controller.quorum.voters=nonsense", "`{id}@{host}:{port}`"),
            ("listeners=SSL://:1", "inter.broker.listener.name must be a listener name"),
            ("listeners=PLAINTEXT://:1,SSL://:2", "only PLAINTEXT works yet"),
            ("listeners=PLAINTEXT://0.0.0.0:1", "advertised.listeners cannot use the nonroutable"),
            (
                "controller.listener.names=CONTROLLER",
                "must contain at least one value appearing in the 'listeners'",
            ),
            ("queued.max.request.bytes=1000", "queued.max.request.bytes must be larger or equal to"),
            ("thalweg.core=1", "Unknown key thalweg.core; the keys that begin with thalweg. are"),
            ("thalweg.cores=1-", "write it as 0,2-5"),
            ("log.retention.ms=0", "log.retention.ms must be unlimited (-1)"),
            ("log.dirs=,", "At least one log directory"),
            ("group.consumer.session.timeout.ms=1", "group.consumer.session.timeout.ms must be greater"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.contains(sentence) && !error.contains(REQUIREMENT_FAILED), "{text}: {error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn units_convert_and_the_first_synonym_wins() {
        let (server, _) = load("log.retention.hours=1\nlog.roll.hours=2\n").expect("good");
        assert_eq!(server.topic_defaults.retention_ms, 3_600_000);
        assert_eq!(server.topic_defaults.segment_ms, 7_200_000);
        let (server, _) = load("log.retention.hours=1\nlog.retention.minutes=5\n").expect("good");
        assert_eq!(server.topic_defaults.retention_ms, 300_000);
        let (server, _) = load("log.retention.minutes=5\nlog.retention.ms=-7\n").expect("good");
        assert_eq!(server.topic_defaults.retention_ms, -1);
        let (server, _) = load("log.flush.scheduler.interval.ms=9\n").expect("good");
        assert_eq!(server.topic_defaults.flush_ms, 9);
    }

    #[test]
    fn a_switched_off_request_bound_is_none_and_large_frames_raise_it() {
        let (server, _) = load("queued.max.request.bytes=-1\n").expect("good");
        assert_eq!(server.queued_max_request_bytes, u64::MAX);
        let (server, _) = load("socket.request.max.bytes=1000000000\n").expect("good");
        assert_eq!(server.queued_max_request_bytes, 1_000_000_000);
    }

    #[test]
    fn cores_are_lists_of_numbers_and_ranges() {
        assert_eq!(parse_cores("0, 2-4,3").expect("good"), [0, 2, 3, 4]);
        assert!(parse_cores("4-2").is_err());
    }
}
