//! A group's configuration: its own keys over the broker's `group.*` defaults.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::keys;
use super::server::ServerConfig;
use super::value::{self, Value};

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

impl GroupConfig {
    /// The configuration of a group whose own keys are `overrides`.
    ///
    /// # Errors
    /// INVALID_CONFIG when a value does not parse.
    pub fn resolve(
        server: &ServerConfig,
        overrides: &BTreeMap<String, String>,
    ) -> Result<GroupConfig, ConfigError> {
        let mut values = broker_defaults(server, true);
        values.extend(overrides.iter().map(|(name, value)| (name.as_str(), value.clone())));
        GroupConfig::from_values(&values)
    }

    fn from_values(values: &BTreeMap<&str, String>) -> Result<GroupConfig, ConfigError> {
        let mut typed = BTreeMap::new();
        for key in keys::GROUP.iter() {
            let text = values.get(key.name).map(String::as_str).or(key.default_text()).unwrap_or_default();
            typed.insert(key.name, value::parse(key, text)?);
        }
        let number = |name: &str| match typed.get(name) {
            Some(Value::Integer(number)) => i32::try_from(*number).unwrap_or(i32::MAX),
            _ => panic!("{name} is an integer with a default"),
        };
        let text = |name: &str| typed.get(name).map(Value::to_string).unwrap_or_default();
        Ok(GroupConfig {
            consumer_session_timeout_ms: number("consumer.session.timeout.ms"),
            consumer_heartbeat_interval_ms: number("consumer.heartbeat.interval.ms"),
            share_session_timeout_ms: number("share.session.timeout.ms"),
            share_heartbeat_interval_ms: number("share.heartbeat.interval.ms"),
            share_record_lock_duration_ms: number("share.record.lock.duration.ms"),
            share_auto_offset_reset: text("share.auto.offset.reset"),
            share_isolation_level: text("share.isolation.level"),
            streams_session_timeout_ms: number("streams.session.timeout.ms"),
            streams_heartbeat_interval_ms: number("streams.heartbeat.interval.ms"),
            streams_num_standby_replicas: number("streams.num.standby.replicas"),
        })
    }
}

/// The group keys as the broker's own keys set them. Kafka describes the share keys with the broker's
/// values but checks changes against their fixed defaults, so both are to be had.
pub(super) fn broker_defaults(server: &ServerConfig, with_share: bool) -> BTreeMap<&'static str, String> {
    const CONSUMER: &[&str] = &["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"];
    const SHARE: &[&str] =
        &["share.session.timeout.ms", "share.heartbeat.interval.ms", "share.record.lock.duration.ms"];
    let share = if with_share { SHARE } else { &[] };
    let value = |name: &'static str| Some((name, server.integer(&format!("group.{name}"))?.to_string()));
    CONSUMER.iter().chain(share).filter_map(|name| value(name)).collect()
}

/// Kafka's `GroupConfig.validate`: names, values, and the broker's bounds.
///
/// # Errors
/// INVALID_CONFIG with Kafka's sentence.
pub(super) fn validate(server: &ServerConfig, new: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    if let Some(name) = new.keys().find(|name| !keys::GROUP.contains(name)) {
        return Err(ConfigError::config(format!("Unknown group config name: {name}")));
    }
    let mut values = broker_defaults(server, false);
    values.extend(new.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let group = GroupConfig::from_values(&values)?;
    let refuse = |wrong: bool, name: &str, relation: &str, other: String| {
        if !wrong {
            return Ok(());
        }
        Err(ConfigError::config(format!("{name} must be {relation} {other}")))
    };
    let bounds = |name: &str, least: String, value: i32, most: String| {
        let value = i64::from(value);
        refuse(value < server.integer(&least).unwrap_or(0), name, "greater than or equal to", least)?;
        refuse(value > server.integer(&most).unwrap_or(i64::MAX), name, "less than or equal to", most)
    };
    let families = [
        ("consumer", group.consumer_heartbeat_interval_ms, group.consumer_session_timeout_ms),
        ("share", group.share_heartbeat_interval_ms, group.share_session_timeout_ms),
        ("streams", group.streams_heartbeat_interval_ms, group.streams_session_timeout_ms),
    ];
    for (family, beat, session) in families {
        for (what, value) in [("heartbeat.interval.ms", beat), ("session.timeout.ms", session)] {
            let name = format!("{family}.{what}");
            bounds(&name, format!("group.{family}.min.{what}"), value, format!("group.{family}.max.{what}"))?;
        }
    }
    bounds(
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms".to_owned(),
        group.share_record_lock_duration_ms,
        "group.share.max.record.lock.duration.ms".to_owned(),
    )?;
    let standby_max = "group.streams.max.standby.replicas";
    refuse(
        i64::from(group.streams_num_standby_replicas) > server.integer(standby_max).unwrap_or(i64::MAX),
        "streams.num.standby.replicas",
        "less than or equal to",
        standby_max.to_owned(),
    )?;
    families.into_iter().try_for_each(|(family, beat, session)| {
        let name = format!("{family}.session.timeout.ms");
        refuse(session <= beat, &name, "greater than", format!("{family}.heartbeat.interval.ms"))
    })
}
