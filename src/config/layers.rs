//! The layers a broker's value can come from: this broker's dynamic keys, the cluster's, the file.
//!
//! A dynamic key hides its synonyms below it: `log.roll.hours` set while running beats `log.roll.ms` of the
//! file, as Kafka has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::addresses;
use super::error::ConfigError;
use super::keys::{self, Key, Mode};
use super::server::ServerConfig;
use super::value;

type Map = BTreeMap<String, String>;

/// The key maps a broker is configured from, with the typed values they come to. Cheap to clone; a change
/// makes a new one.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The file, `-o`, the environment and what node.id implies.
    pub static_: Arc<Map>,
    /// Dynamic keys of the resource BROKER "".
    pub dynamic_default: Arc<Map>,
    /// Dynamic keys of the resource BROKER with our node id.
    pub dynamic_broker: Arc<Map>,
    /// The values all three come to.
    pub server: Arc<ServerConfig>,
}

impl Layers {
    /// The layers of a broker before any dynamic key is known.
    pub fn new(server: ServerConfig) -> Layers {
        Layers {
            static_: Arc::new(server.all.clone()),
            dynamic_default: Arc::default(),
            dynamic_broker: Arc::default(),
            server: Arc::new(server),
        }
    }

    /// The layers with the dynamic keys that the metadata holds now. Keys that may not be dynamic, or whose
    /// values do not parse, are left out as Kafka leaves them out, and where the rest cannot stand together
    /// the values before it go on; the second part says so, a sentence each, for the log.
    pub fn with_dynamic(&self, default: &Map, broker: &Map) -> (Layers, Vec<String>) {
        let (default, mut refused) = sanitized(default, false);
        let (broker, more) = sanitized(broker, true);
        refused.extend(more);
        let server = match ServerConfig::from_map(merged(&self.static_, [&default, &broker])) {
            Ok(server) => Arc::new(server),
            Err(error) => {
                refused.push(format!("Dynamic broker configuration cannot be applied: {error}"));
                self.server.clone()
            }
        };
        let layers = Layers {
            static_: self.static_.clone(),
            dynamic_default: Arc::new(default),
            dynamic_broker: Arc::new(broker),
            server,
        };
        (layers, refused)
    }

    /// Checks dynamic broker keys that would replace those of one layer: Kafka's
    /// `DynamicBrokerConfig.validate`.
    ///
    /// # Errors
    /// INVALID_REQUEST with Kafka's sentence.
    pub(super) fn validate_dynamic(&self, new: &Map, per_broker: bool) -> Result<(), ConfigError> {
        let refuse = |names: Vec<&str>, sentence: &str, set: &str| {
            if names.is_empty() {
                return Ok(());
            }
            Err(ConfigError::request(format!("{sentence}: {set}({})", names.join(", "))))
        };
        let of = |wrong: fn(&str) -> bool| {
            new.keys().map(String::as_str).filter(|name| wrong(name)).collect::<Vec<_>>()
        };
        let as_request = |error: ConfigError| ConfigError::request(error.message);
        refuse(of(is_not_dynamic), "Cannot update these configs dynamically", "Set")?;
        refuse(
            of(is_bare_security_key),
            "These security configs can be dynamically updated only per-listener using the listener prefix",
            "HashSet",
        )?;
        new.iter().try_for_each(|(name, text)| check_type(name, text)).map_err(as_request)?;
        if !per_broker {
            refuse(
                of(is_per_broker),
                "Cannot update these configs at default cluster level, broker id must be specified",
                "Set",
            )?;
        }
        let layers = if per_broker { [&*self.dynamic_default, new] } else { [new, &*self.dynamic_broker] };
        let server = ServerConfig::from_map(merged(&self.static_, layers)).map_err(as_request)?;
        // Kafka passes the sentence where a value belongs; clients know it in this form.
        check_reconfiguration(&self.server, &server).map_err(|sentence| {
            ConfigError::request(format!(
                "Invalid value org.apache.kafka.common.config.ConfigException: {sentence} for configuration \
                 Invalid dynamic configuration"
            ))
        })
    }
}

/// The names under which a broker key may be set, the strongest first. A listener's own key stands above the
/// key without its prefix, where `with_listeners` asks for that.
pub(super) fn broker_synonyms(name: &str, with_listeners: bool) -> Vec<&str> {
    const FAMILIES: &[&[&str]] = &[
        &["log.roll.ms", "log.roll.hours"],
        &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    ];
    const OF_A_MECHANISM: &[&str] = &[
        "sasl.jaas.config",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.server.callback.handler.class",
        "connections.max.reauth.ms",
    ];
    if name == "log.flush.interval.ms" {
        return vec!["log.flush.interval.ms", "log.flush.scheduler.interval.ms"];
    }
    if let Some(family) = FAMILIES.iter().find(|family| family.contains(&name)) {
        return family.to_vec();
    }
    match without_listener(name).filter(|_| with_listeners) {
        Some(base) => {
            let of_a_mechanism = OF_A_MECHANISM.iter().find(|known| base.ends_with(**known));
            vec![name, of_a_mechanism.copied().unwrap_or(base)]
        }
        None => vec![name],
    }
}

/// The key behind `listener.name.{listener}.`, where the name has that prefix.
pub(super) fn without_listener(name: &str) -> Option<&str> {
    name.strip_prefix("listener.name.")?.split_once('.').map(|(_, base)| base)
}

/// A broker key by its exact name, those that only exist while running included.
pub(super) fn broker_key(name: &str) -> Option<&'static Key> {
    keys::BROKER.get(name).or_else(|| keys::BROKER_DYNAMIC_ONLY.get(name)).or_else(|| keys::THALWEG.get(name))
}

/// Whether DescribeConfigs calls a broker key changeable.
pub(super) fn is_dynamic(name: &str) -> bool {
    keys::BROKER.get(name).is_some_and(|key| key.mode != Mode::ReadOnly)
}

fn is_not_dynamic(name: &str) -> bool {
    let read_only = |key: &Key| key.mode == Mode::ReadOnly;
    keys::BROKER.get(name).is_some_and(read_only) || keys::THALWEG.get(name).is_some_and(read_only)
}

pub(super) fn is_bare_security_key(name: &str) -> bool {
    const STORES: &[&str] = &[
        "ssl.keystore.type",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.key.password",
        "ssl.truststore.type",
        "ssl.truststore.location",
        "ssl.truststore.password",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.key",
        "ssl.truststore.certificates",
    ];
    STORES.contains(&name)
}

/// Keys of the whole cluster that a listener can also have by itself.
pub(super) const OF_THE_CLUSTER: &[&str] =
    &["max.connections", "max.connection.creation.rate", "num.network.threads"];

fn is_per_broker(name: &str) -> bool {
    match without_listener(name) {
        Some(base) => !OF_THE_CLUSTER.contains(&base),
        None => keys::BROKER.get(name).is_some_and(|key| key.mode == Mode::PerBroker),
    }
}

/// Checks a dynamic key's value by its type; keys that nobody knows pass.
fn check_type(name: &str, text: &str) -> Result<(), ConfigError> {
    let base = without_listener(name).unwrap_or(name);
    let dynamic = keys::BROKER.get(base).filter(|key| key.mode != Mode::ReadOnly);
    match dynamic.or_else(|| keys::BROKER_DYNAMIC_ONLY.get(base)) {
        Some(key) => value::parse(key, text).map(|_| ()),
        None => Ok(()),
    }
}

/// Leaves out what may not act, as Kafka's `fromPersistentProps` does, with a sentence for each.
pub(super) fn sanitized(stored: &Map, per_broker: bool) -> (Map, Vec<String>) {
    let mut refused = Vec::new();
    let mut kept = Map::new();
    for (name, text) in stored {
        let why = if let Err(error) = check_type(name, text) {
            error.message
        } else if is_not_dynamic(name) {
            "it is not dynamic".to_owned()
        } else if is_bare_security_key(name) {
            "it needs the prefix of its listener".to_owned()
        } else if !per_broker && is_per_broker(name) {
            "it can only be set on one broker".to_owned()
        } else {
            kept.insert(name.clone(), text.clone());
            continue;
        };
        refused.push(format!("Dynamic broker key {name} is ignored: {why}"));
    }
    (kept, refused)
}

/// The file's keys with the dynamic ones over them, each hiding its synonyms.
fn merged(static_: &Map, dynamic: [&Map; 2]) -> Map {
    let mut all = static_.clone();
    for layer in dynamic {
        for (name, text) in layer {
            for synonym in broker_synonyms(name, false) {
                all.remove(synonym);
            }
            all.insert(name.clone(), text.clone());
        }
    }
    all
}

/// What Kafka's parts refuse when their keys change while they run: a pool may at most halve or double, the
/// local part of a log is no longer than the whole, and some of a listener stays.
fn check_reconfiguration(old: &ServerConfig, new: &ServerConfig) -> Result<(), String> {
    const POOLS: &[&str] = &[
        "background.threads",
        "num.io.threads",
        "num.network.threads",
        "num.recovery.threads.per.data.dir",
        "num.replica.fetchers",
        "remote.log.manager.copier.thread.pool.size",
        "remote.log.manager.expiration.thread.pool.size",
        "remote.log.reader.threads",
    ];
    const REPORTER: &str = "org.apache.kafka.common.metrics.JmxReporter";
    let change = |name: &str| (old.integer(name).unwrap_or(0), new.integer(name).unwrap_or(0));
    for name in POOLS {
        let (before, after) = change(name);
        let failed =
            format!("Dynamic thread count update validation failed for {name}={after}, value should");
        if after == before {
            continue;
        } else if after <= 0 {
            return Err(format!("{failed} be at least 1"));
        } else if after < before / 2 {
            return Err(format!("{failed} be at least half the current value {before}"));
        } else if after > before * 2 {
            return Err(format!("{failed} not be greater than double the current value {before}"));
        }
    }
    let (before, after) = change("log.cleaner.threads");
    if after < before / 2 {
        return Err(format!(
            "Log cleaner threads cannot be reduced to less than half the current value {before}"
        ));
    } else if after > before * 2 {
        return Err(format!(
            "Log cleaner threads cannot be increased to more than double the current value {before}"
        ));
    }
    let changed = |name: &str| old.all.get(name) != new.all.get(name);
    if new.all.keys().chain(old.all.keys()).any(|name| keys::is_topic_default(name) && changed(name)) {
        let topic = &new.topic_defaults;
        check_local("ms", topic.local_retention_ms, topic.retention_ms)?;
        check_local("bytes", topic.local_retention_bytes, topic.retention_bytes)?;
    }
    if changed("listeners") || changed("listener.security.protocol.map") {
        addresses::check_change(old, new)?;
    }
    let reporters = new.text("metric.reporters").unwrap_or_default();
    if changed("metric.reporters") && reporters.split(',').any(|r| !r.is_empty() && r.trim() != REPORTER) {
        return Err("Validation of dynamic config update of Set(metric.reporters) failed with class class \
                    kafka.server.DynamicMetricsReporters"
            .to_owned());
    }
    Ok(())
}

fn check_local(unit: &str, local: i64, whole: i64) -> Result<(), String> {
    let why = match (local, whole) {
        (-2, _) | (_, -1) => return Ok(()),
        (-1, _) => format!("Value must not be -1 as log.retention.{unit} value is set as {whole}."),
        (local, whole) if local > whole => {
            format!("Value must not be more than log.retention.{unit} property value: {whole}")
        }
        _ => return Ok(()),
    };
    Err(ConfigError::value(&format!("log.local.retention.{unit}"), local, why).message)
}
