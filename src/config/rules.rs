//! What must hold between several broker keys, as Kafka checks it when it starts and when keys change.

use std::collections::BTreeSet;

use super::error::ConfigError;
use super::server::QUEUED_MAX_REQUEST_BYTES;
use super::typed::Typed;
use super::value;

/// What Scala puts before the sentence of a failed check; clients of AlterConfigs see it.
pub(super) const REQUIREMENT_FAILED: &str = "requirement failed: ";

/// Kafka's `require`: the sentence of a check that failed.
pub(super) fn require(holds: bool, sentence: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::config(format!("{REQUIREMENT_FAILED}{sentence}"))) }
}

/// Every rule between keys, but for those about listeners.
pub(super) fn check(typed: &Typed) -> Result<(), ConfigError> {
    check_roles(typed)?;
    check_numbers(typed)?;
    check_groups(typed)
}

/// The node's part in the cluster: it is alone, so it is broker and controller, and its own voter.
fn check_roles(typed: &Typed) -> Result<(), ConfigError> {
    let node_id = typed.int("node.id");
    if node_id != typed.int("broker.id") {
        return Err(ConfigError::config("You must set `node.id` to the same value as `broker.id`."));
    }
    let roles = typed.list("process.roles");
    let distinct: BTreeSet<&String> = roles.iter().collect();
    if distinct.len() != roles.len() {
        return Err(ConfigError::config(format!(
            "Duplicate role names found in `process.roles`: {}",
            roles.join(",")
        )));
    }
    if distinct.len() != 2 {
        return Err(ConfigError::config(format!(
            "process.roles={} needs a second node for the other role, and clusters of several nodes do not \
             work yet: set process.roles=broker,controller",
            roles.join(",")
        )));
    }
    let voters = typed.list("controller.quorum.voters");
    let ids = voters.iter().map(|entry| value::voter(entry).map(|(id, _)| id));
    let ids = ids.collect::<Result<BTreeSet<i32>, _>>()?;
    if !ids.is_empty() && !ids.contains(&node_id) {
        return Err(ConfigError::config(format!(
            "If process.roles contains the 'controller' role, the node id {node_id} must be included in the \
             set of voters controller.quorum.voters={}",
            voters.join(",")
        )));
    }
    if ids.len() > 1 {
        return Err(ConfigError::config(format!(
            "controller.quorum.voters={} names other nodes, and clusters of several nodes do not work yet: \
             leave only {node_id}",
            voters.join(",")
        )));
    }
    Ok(())
}

/// What must hold between numbers: Kafka's `KafkaConfig.validateValues`.
fn check_numbers(typed: &Typed) -> Result<(), ConfigError> {
    let t = typed;
    let roll_ms = t.optional("log.roll.ms").unwrap_or(t.long("log.roll.hours") * 3_600_000);
    require(roll_ms >= 1, "log.roll.ms must be greater than or equal to 1")?;
    let jitter_ms = t.optional("log.roll.jitter.ms").unwrap_or(0);
    require(jitter_ms >= 0, "log.roll.jitter.ms must be greater than or equal to 0")?;
    let retention = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
    let retention = retention.iter().find_map(|name| t.optional(name)).unwrap_or(-1);
    require(retention != 0, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1")?;
    let cleaners = t.long("log.cleaner.threads");
    require(
        cleaners > 0 && t.long("log.cleaner.dedupe.buffer.size") / cleaners > 1024 * 1024,
        "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
    )?;
    let fetch_wait_ms = t.long("replica.fetch.wait.max.ms");
    require(
        fetch_wait_ms <= t.long("replica.socket.timeout.ms"),
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary \
         socket timeouts",
    )?;
    require(
        fetch_wait_ms <= t.long("replica.lag.time.max.ms"),
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent \
         frequent changes in ISR",
    )?;
    let queued = t.long("queued.max.request.bytes");
    require(
        queued <= 0
            || queued >= t.long("socket.request.max.bytes")
            || queued == i64::try_from(QUEUED_MAX_REQUEST_BYTES).unwrap_or(i64::MAX),
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
    )?;
    let idle_ms = t.long("connections.max.idle.ms");
    let delay_ms = t.long("connection.failed.authentication.delay.ms");
    require(
        idle_ms < 0 || delay_ms < idle_ms,
        &format!(
            "connection.failed.authentication.delay.ms={delay_ms} should always be less than \
             connections.max.idle.ms={idle_ms} to prevent failed authentication responses from timing out"
        ),
    )
}

/// What must hold between the keys of the group coordinator, a family of names each.
fn check_groups(typed: &Typed) -> Result<(), ConfigError> {
    if !typed.list("group.coordinator.rebalance.protocols").iter().any(|name| name == "classic") {
        return Err(ConfigError::config("Disabling the 'CLASSIC' protocol is not supported."));
    }
    let plain = |holds: bool, sentence: String| {
        if holds { Ok(()) } else { Err(ConfigError::config(sentence)) }
    };
    let at_least = |a: &str, b: &str| {
        plain(typed.long(a) >= typed.long(b), format!("{a} must be greater than or equal to {b}"))
    };
    let at_most = |a: &str, b: &str| {
        plain(typed.long(a) <= typed.long(b), format!("{a} must be less than or equal to {b}"))
    };
    for family in ["consumer", "share", "streams"] {
        let key = |name: &str| format!("group.{family}.{name}");
        for what in ["heartbeat.interval.ms", "session.timeout.ms"] {
            let (least, most) = (key(&format!("min.{what}")), key(&format!("max.{what}")));
            at_least(&most, &least)?;
            at_least(&key(what), &least)?;
            at_most(&key(what), &most)?;
        }
        let (beat, session) = (key("heartbeat.interval.ms"), key("session.timeout.ms"));
        plain(typed.long(&beat) < typed.long(&session), format!("{beat} must be less than {session}"))?;
    }
    let assignors = typed.list("group.share.assignors").len();
    plain(
        assignors == 1,
        format!("group.share.assignors must contain exactly one assignor, but found {assignors}"),
    )?;
    at_most("group.streams.num.standby.replicas", "group.streams.max.standby.replicas")?;
    at_least("group.share.record.lock.duration.ms", "group.share.min.record.lock.duration.ms")?;
    at_least("group.share.max.record.lock.duration.ms", "group.share.record.lock.duration.ms")?;
    at_least("group.share.max.share.sessions", "group.share.max.size")
}
