//! A topic's configuration: its own keys over the broker's defaults, as values that act.

use std::collections::BTreeMap;

use super::describe::{DescribedEntry, Source};
use super::error::ConfigError;
use super::keys::{self, Key};
use super::layers::Layers;
use super::server::ServerConfig;
use super::value::{self, Value};

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
    /// Level -1 is the library's own default.
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
    /// -2: as `retention_bytes`.
    pub local_retention_bytes: i64,
    /// -2: as `retention_ms`.
    pub local_retention_ms: i64,
}

impl Default for TopicConfig {
    /// Kafka's defaults, with no broker and no topic key set.
    fn default() -> TopicConfig {
        let defaults = keys::TOPIC.iter().filter_map(|key| Some((key.name, key.default_text()?.to_owned())));
        TopicConfig::from_values(&defaults.collect()).expect("every default passes its own check")
    }
}

impl TopicConfig {
    /// The longest a segment may stay open: compaction may ask for less than `segment.ms`.
    pub fn segment_ms_max(&self) -> i64 {
        if self.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    /// From a map that may hold any of the topic keys; what it lacks takes the key's default.
    pub(super) fn from_values(values: &BTreeMap<&str, String>) -> Result<TopicConfig, ConfigError> {
        let mut typed = BTreeMap::new();
        for key in keys::TOPIC.iter() {
            if let Some(text) = values.get(key.name).map(String::as_str).or(key.default_text()) {
                typed.insert(key.name, value::parse(key, text)?);
            }
        }
        let integer = |name: &str| match typed.get(name) {
            Some(Value::Integer(number)) => *number,
            _ => panic!("{name} is an integer with a default"),
        };
        let size = |name: &str| u32::try_from(integer(name)).unwrap_or(0);
        let small = |name: &str| i32::try_from(integer(name)).unwrap_or(i32::MAX);
        let boolean = |name: &str| typed.get(name) == Some(&Value::Boolean(true));
        let text = |name: &str| typed.get(name).map(Value::to_string).unwrap_or_default();
        let policies = text("cleanup.policy").to_lowercase();
        let compression = match text("compression.type").as_str() {
            "uncompressed" => TopicCompression::Uncompressed,
            "gzip" => TopicCompression::Gzip(small("compression.gzip.level")),
            "snappy" => TopicCompression::Snappy,
            "lz4" => TopicCompression::Lz4(small("compression.lz4.level")),
            "zstd" => TopicCompression::Zstd(small("compression.zstd.level")),
            _ => TopicCompression::Producer,
        };
        let segment_bytes = match typed.get("internal.segment.bytes") {
            Some(Value::Integer(bytes)) => u32::try_from(*bytes).unwrap_or(1),
            _ => size("segment.bytes"),
        };
        let ratio = match typed.get("min.cleanable.dirty.ratio") {
            Some(Value::Double(ratio)) => *ratio,
            _ => panic!("min.cleanable.dirty.ratio is a double with a default"),
        };
        Ok(TopicConfig {
            segment_bytes,
            segment_ms: integer("segment.ms"),
            segment_jitter_ms: integer("segment.jitter.ms"),
            segment_index_bytes: size("segment.index.bytes"),
            flush_messages: integer("flush.messages"),
            flush_ms: integer("flush.ms"),
            retention_bytes: integer("retention.bytes"),
            retention_ms: integer("retention.ms"),
            max_message_bytes: size("max.message.bytes"),
            index_interval_bytes: size("index.interval.bytes"),
            delete_retention_ms: integer("delete.retention.ms"),
            min_compaction_lag_ms: integer("min.compaction.lag.ms"),
            max_compaction_lag_ms: integer("max.compaction.lag.ms"),
            file_delete_delay_ms: integer("file.delete.delay.ms"),
            min_cleanable_dirty_ratio: ratio,
            compact: policies.split(',').any(|policy| policy == "compact"),
            delete: policies.split(',').any(|policy| policy == "delete"),
            unclean_leader_election: boolean("unclean.leader.election.enable"),
            min_insync_replicas: small("min.insync.replicas"),
            compression,
            preallocate: boolean("preallocate"),
            timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: integer("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: integer("message.timestamp.after.max.ms"),
            remote_storage: boolean("remote.storage.enable"),
            local_retention_bytes: integer("local.retention.bytes"),
            local_retention_ms: integer("local.retention.ms"),
        })
    }
}

/// The configuration of a topic whose own keys are `overrides`.
///
/// # Errors
/// INVALID_CONFIG when a value does not parse; the sentences are Kafka's.
pub fn resolve_topic(
    layers: &Layers,
    overrides: &BTreeMap<String, String>,
) -> Result<TopicConfig, ConfigError> {
    if overrides.is_empty() {
        return Ok(layers.server.topic_defaults.clone());
    }
    let mut values = broker_defaults(&layers.server);
    values.extend(overrides.iter().map(|(name, value)| (name.as_str(), value.clone())));
    TopicConfig::from_values(&values)
}

/// The topic keys as the broker's own keys set them: Kafka's `extractLogConfigMap`. Keys that only a topic
/// has are not among them.
pub(super) fn broker_defaults(server: &ServerConfig) -> BTreeMap<&'static str, String> {
    broker_defaults_of(&server.all)
}

/// The same from a flat map of broker keys, whose values parse.
pub(super) fn broker_defaults_of(all: &BTreeMap<String, String>) -> BTreeMap<&'static str, String> {
    let mut values = BTreeMap::new();
    for key in keys::TOPIC.iter() {
        let synonyms = keys::topic_synonyms(key.name);
        let set = synonyms.iter().find_map(|synonym| {
            let broker_key = keys::BROKER.get(synonym.name)?;
            let text = all.get(synonym.name).map(String::as_str).or(broker_key.default_text())?;
            Some((broker_key, text, synonym.factor))
        });
        if let Some((broker_key, text, factor)) = set {
            values.insert(key.name, converted(key, broker_key, text, factor));
        }
    }
    values
}

/// A broker key's value as the topic key's text. Kafka reads a negative retention as "no limit".
fn converted(key: &Key, broker_key: &Key, text: &str, factor: i64) -> String {
    match value::parse_type(broker_key, text) {
        Ok(Value::Integer(number)) if key.name == "retention.ms" && number < 0 => "-1".to_owned(),
        Ok(Value::Integer(number)) => number.saturating_mul(factor).to_string(),
        Ok(value) => value.to_string(),
        Err(_) => text.to_owned(),
    }
}

/// A topic's effective configuration as CreateTopics answers it: every key that is not internal unless it
/// is set, with the layer its value comes from. Kafka shows raw texts here and never calls a key read-only.
pub fn effective_topic_configs(layers: &Layers, overrides: &BTreeMap<String, String>) -> Vec<DescribedEntry> {
    let shown = keys::TOPIC.iter().filter(|key| !key.internal || overrides.contains_key(key.name));
    let entry = |key: &'static Key| {
        let (value, source) = effective(layers, overrides, key);
        DescribedEntry {
            name: key.name.to_owned(),
            value,
            read_only: false,
            source,
            sensitive: key.sensitive(),
            synonyms: Vec::new(),
            kind: Some(key.kind),
            documentation: None,
        }
    };
    shown.map(entry).collect()
}

fn effective(layers: &Layers, overrides: &BTreeMap<String, String>, key: &Key) -> (Option<String>, Source) {
    if let Some(value) = overrides.get(key.name) {
        return (Some(value.clone()), Source::Topic);
    }
    let maps = [
        (&layers.dynamic_broker, Source::DynamicBroker),
        (&layers.dynamic_default, Source::DynamicDefaultBroker),
        (&layers.static_, Source::StaticBroker),
    ];
    for (map, source) in maps {
        for synonym in keys::topic_synonyms(key.name) {
            if let Some(text) = map.get(synonym.name) {
                // A text in hours or minutes that is no number counts as 0, as in Kafka.
                let value = match synonym.factor {
                    1 => text.clone(),
                    factor => {
                        (value::java_trim(text).parse::<i32>().map_or(0, i64::from) * factor).to_string()
                    }
                };
                return (Some(value), source);
            }
        }
    }
    (key.default_text().map(str::to_owned), Source::Default)
}

/// Kafka's `LogConfig.validate`: names, values, and what holds between several.
///
/// # Errors
/// INVALID_CONFIG with Kafka's sentence.
pub(super) fn validate(
    server: &ServerConfig,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    if let Some(name) = new.keys().find(|name| !keys::TOPIC.contains(name)) {
        return Err(ConfigError::config(format!("Unknown topic config name: {name}")));
    }
    let mut values = broker_defaults(server);
    values.extend(new.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let config = TopicConfig::from_values(&values)?;
    if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
        return Err(ConfigError::config(format!(
            "conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})",
            config.min_compaction_lag_ms, config.max_compaction_lag_ms
        )));
    }
    let set = |map: &BTreeMap<String, String>, name: &str| {
        map.get(name).is_some_and(|text| value::java_trim(text).eq_ignore_ascii_case("true"))
    };
    if config.remote_storage {
        return Err(ConfigError::config(
            "Tiered Storage functionality is disabled in the broker. \
             Topic cannot be configured with remote log storage.",
        ));
    }
    if set(old, "remote.storage.enable") && !set(new, "remote.log.delete.on.disable") {
        return Err(ConfigError::config(
            "It is invalid to disable remote storage without deleting remote data. If you want to keep the \
             remote data and turn to read only, please set \
             `remote.storage.enable=true,remote.log.copy.disable=true`. If you want to disable remote storage \
             and delete all remote data, please set \
             `remote.storage.enable=false,remote.log.delete.on.disable=true`.",
        ));
    }
    Ok(())
}

/// Kafka's `Topic.validate`: what a topic may be called.
///
/// # Errors
/// INVALID_TOPIC_EXCEPTION with Kafka's sentence.
pub fn validate_name(name: &str) -> Result<(), ConfigError> {
    const LENGTH_MAX: usize = 249;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.encode_utf16().count() > LENGTH_MAX {
        format!("the length of '{name}' is longer than the max allowed length {LENGTH_MAX}")
    } else if !name.chars().all(legal) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(ConfigError::config(format!("Topic name is invalid: {why}"))
        .of_kind(super::error::ErrorKind::InvalidTopic))
}
