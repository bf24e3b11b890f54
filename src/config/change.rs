//! AlterConfigs and IncrementalAlterConfigs: what a change comes to, checked as Kafka checks it.
//!
//! Kafka checks twice: the broker that was asked ([`preprocess_incremental`], [`preprocess_legacy`]: broker
//! keys against the running broker, INVALID_REQUEST), then the controller ([`incremental`], [`legacy`]:
//! INVALID_CONFIG). The records to write are the controller's.

use std::collections::{BTreeMap, BTreeSet};

use super::describe::{Resource, ResourceType, java_int};
use super::error::ConfigError;
use super::keys::{self, Table, Type};
use super::layers::{self, Layers};
use super::value::{self, Value};
use super::{group, topic};

type Map = BTreeMap<String, String>;

/// What IncrementalAlterConfigs does with one key, as the protocol numbers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Op {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl Op {
    /// The operation with this number on the wire.
    pub fn from_wire(number: i8) -> Option<Op> {
        [Op::Set, Op::Delete, Op::Append, Op::Subtract].into_iter().find(|op| *op as i8 == number)
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Op::Set => "SET",
            Op::Delete => "DELETE",
            Op::Append => "APPEND",
            Op::Subtract => "SUBTRACT",
        }
    }
}

/// One key's change in IncrementalAlterConfigs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub name: String,
    /// The operation's number as it came.
    pub op: i8,
    pub value: Option<String>,
}

/// A key to write to the metadata: its new value, or `None` to remove it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    pub name: String,
    pub value: Option<String>,
}

/// The longest value a ConfigRecord takes, in UTF-16 units.
const VALUE_LENGTH_MAX: usize = i16::MAX as usize;

/// The broker's checks before an incremental change is handed to the controller; `stored` are the keys that
/// `resource` has. A change of BROKER_LOGGER goes on to [`super::loggers::Loggers::changed`] instead.
///
/// # Errors
/// INVALID_REQUEST or INVALID_CONFIG with Kafka's sentence.
pub fn preprocess_incremental(
    layers: &Layers,
    resource: &Resource,
    stored: &Map,
    changes: &[Change],
) -> Result<(), ConfigError> {
    check_names(changes.iter().map(|change| change.name.as_str()))?;
    let deletes = |change: &Change| change.op == Op::Delete as i8;
    let null = changes.iter().filter(|change| !deletes(change) && change.value.is_none());
    check_nulls(null.map(|change| change.name.as_str()))?;
    if resource.kind != ResourceType::Broker {
        return Ok(());
    }
    let per_broker = check_node(layers, &resource.name)?;
    let (mut keys_after, _) = layers::sanitized(stored, per_broker);
    if let Some(change) = changes.iter().find(|change| Op::from_wire(change.op).is_none()) {
        return Err(ConfigError::request(format!("Unknown operations type {}", change.op)));
    }
    for change in changes {
        apply_to_broker(&mut keys_after, change)?;
    }
    layers.validate_dynamic(&keys_after, per_broker)
}

/// The broker's checks before AlterConfigs is handed to the controller.
///
/// # Errors
/// INVALID_REQUEST with Kafka's sentence.
pub fn preprocess_legacy(
    layers: &Layers,
    resource: &Resource,
    configs: &[(String, Option<String>)],
) -> Result<(), ConfigError> {
    check_names(configs.iter().map(|(name, _)| name.as_str()))?;
    check_nulls(configs.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()))?;
    match resource.kind {
        ResourceType::Broker => {
            let per_broker = check_node(layers, &resource.name)?;
            let set = configs.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
            layers.validate_dynamic(&set.collect(), per_broker)
        }
        ResourceType::BrokerLogger => {
            Err(ConfigError::request(format!("Unknown resource type {}", ResourceType::BrokerLogger as i8)))
        }
        ResourceType::Topic | ResourceType::ClientMetrics | ResourceType::Group => Ok(()),
    }
}

/// The controller's decision on an incremental change of `resource`, whose keys are `stored` now. `elr` says
/// whether eligible leader replicas are on, which pins `min.insync.replicas` of brokers. Whether the topic
/// or broker exists is for the caller to check, after this.
///
/// # Errors
/// INVALID_CONFIG, INVALID_REQUEST or INVALID_TOPIC_EXCEPTION with Kafka's sentence.
pub fn incremental(
    layers: &Layers,
    resource: &Resource,
    stored: &Map,
    changes: &[Change],
    elr: bool,
) -> Result<Vec<Write>, ConfigError> {
    let mut writes = Vec::new();
    for change in changes {
        let current = stored.get(&change.name);
        let value = match Op::from_wire(change.op) {
            Some(Op::Set) => change.value.clone(),
            Some(Op::Delete) => None,
            Some(op @ (Op::Append | Op::Subtract)) => {
                let operand = change.value.as_deref().unwrap_or_default();
                Some(edit_list(resource.kind, &change.name, current, op, operand)?)
            }
            None => return Err(ConfigError::stumble()),
        };
        // A broker reloads files when it sees a record, so its keys are written even unchanged.
        if value.as_ref() != current || resource.kind == ResourceType::Broker {
            writes.push(Write { name: change.name.clone(), value });
        }
    }
    check_writes(layers, resource, stored, &writes, elr)?;
    Ok(writes)
}

/// The controller's decision on AlterConfigs: `configs` replaces everything `resource` has.
///
/// # Errors
/// As [`incremental`].
pub fn legacy(
    layers: &Layers,
    resource: &Resource,
    stored: &Map,
    configs: &[(String, Option<String>)],
    elr: bool,
) -> Result<Vec<Write>, ConfigError> {
    let set = configs
        .iter()
        .filter(|(name, value)| value.as_ref() != stored.get(name) || resource.kind == ResourceType::Broker);
    let removed = stored.keys().filter(|name| !configs.iter().any(|(kept, _)| kept == *name));
    let writes: Vec<Write> = set
        .map(|(name, value)| Write { name: name.clone(), value: value.clone() })
        .chain(removed.map(|name| Write { name: name.clone(), value: None }))
        .collect();
    check_writes(layers, resource, stored, &writes, elr)?;
    Ok(writes)
}

/// Checks the whole configuration of a resource, as CreateTopics does for its topics.
///
/// # Errors
/// As [`incremental`].
pub fn validate(layers: &Layers, resource: &Resource, old: &Map, new: &Map) -> Result<(), ConfigError> {
    match resource.kind {
        ResourceType::Topic if resource.name.is_empty() => {
            Err(ConfigError::request("Default topic resources are not allowed."))
        }
        ResourceType::Topic => {
            topic::validate_name(&resource.name)?;
            topic::validate(&layers.server, old, new)
        }
        ResourceType::Broker => check_broker_name(&resource.name),
        ResourceType::ClientMetrics => validate_client_metrics(&resource.name, new),
        ResourceType::Group if resource.name.is_empty() => {
            Err(ConfigError::request("Default group resources are not allowed."))
        }
        ResourceType::Group => group::validate(&layers.server, new),
        ResourceType::BrokerLogger => Err(ConfigError::request("Unknown resource type BROKER_LOGGER")),
    }
}

fn check_names<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    if names.all(|name| seen.insert(name)) {
        return Ok(());
    }
    Err(ConfigError::request("Error due to duplicate config keys"))
}

fn check_nulls<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), ConfigError> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(ConfigError::request(format!("Null value not supported for : {}", names.join(", "))))
}

/// Refuses a BROKER resource that is another broker's; whether it is ours rather than the whole cluster's.
fn check_node(layers: &Layers, name: &str) -> Result<bool, ConfigError> {
    if name.is_empty() {
        return Ok(false);
    }
    let id = java_int(name)
        .ok_or_else(|| ConfigError::request(format!("Node id must be an integer, but it is: {name}")))?;
    let own = layers.server.node_id;
    if id == own {
        return Ok(true);
    }
    Err(ConfigError::request(format!("Unexpected broker id, expected {own}, but received {name}")))
}

fn check_broker_name(name: &str) -> Result<(), ConfigError> {
    match (name, java_int(name)) {
        ("", _) => Ok(()),
        (_, None) => Err(ConfigError::request("Unable to parse broker name as a base 10 number.")),
        (_, Some(id)) if id < 0 => Err(ConfigError::request("Invalid negative broker ID.")),
        (_, Some(_)) => Ok(()),
    }
}

/// One change as the broker previews it: Kafka's `prepareIncrementalConfigs`.
fn apply_to_broker(keys_after: &mut Map, change: &Change) -> Result<(), ConfigError> {
    let name = &change.name;
    let operand = change.value.as_deref().unwrap_or_default();
    match Op::from_wire(change.op) {
        Some(Op::Set) => {
            keys_after.insert(name.clone(), operand.to_owned());
        }
        Some(Op::Delete) | None => {
            keys_after.remove(name);
        }
        Some(op @ (Op::Append | Op::Subtract)) => {
            let Some(key) = keys::BROKER.get(name) else {
                // Kafka looks the key up without asking whether it is there.
                return Err(ConfigError::stumble());
            };
            if key.kind != Type::List {
                return Err(ConfigError::config(format!(
                    "Config value {} is not allowed for config key: {name}",
                    op.name().to_lowercase()
                )));
            }
            let old = keys_after.get(name).map(String::as_str).or(key.default_text()).unwrap_or_default();
            let edited = edited(old, op, operand);
            keys_after.insert(name.clone(), edited);
        }
    }
    Ok(())
}

/// APPEND and SUBTRACT as the controller does them, on a key whose type is a list.
fn edit_list(
    kind: ResourceType,
    name: &str,
    current: Option<&String>,
    op: Op,
    operand: &str,
) -> Result<String, ConfigError> {
    let key = table(kind).and_then(|table| table.get(name)).filter(|key| key.kind == Type::List);
    let Some(key) = key else {
        return Err(ConfigError::config(format!(
            "Can't {} to key {name} because its type is not LIST.",
            op.name()
        )));
    };
    let old = current.map(String::as_str).or(key.default_text()).unwrap_or_default();
    Ok(edited(old, op, operand))
}

fn edited(old: &str, op: Op, operand: &str) -> String {
    let mut elements: Vec<&str> = old.split(',').filter(|element| !element.is_empty()).collect();
    for element in operand.split(',') {
        let at = elements.iter().position(|old| *old == element);
        match (op, at) {
            (Op::Subtract, Some(at)) => {
                elements.remove(at);
            }
            (Op::Append, None) => elements.push(element),
            _ => {}
        }
    }
    elements.join(",")
}

fn table(kind: ResourceType) -> Option<&'static Table> {
    match kind {
        ResourceType::Topic => Some(&keys::TOPIC),
        ResourceType::Broker => Some(&keys::BROKER),
        ResourceType::ClientMetrics => Some(&keys::CLIENT_METRICS),
        ResourceType::Group => Some(&keys::GROUP),
        ResourceType::BrokerLogger => None,
    }
}

/// Checks what `resource` would have after `writes`.
fn check_writes(
    layers: &Layers,
    resource: &Resource,
    stored: &Map,
    writes: &[Write],
    elr: bool,
) -> Result<(), ConfigError> {
    const MIN_ISR: &str = "min.insync.replicas";
    let mut after = stored.clone();
    for write in writes {
        if elr && resource.kind == ResourceType::Broker && write.name == MIN_ISR {
            if !resource.name.is_empty() {
                return Err(ConfigError::config(format!(
                    "Broker-level {MIN_ISR} cannot be altered while ELR is enabled."
                )));
            }
            if write.value.is_none() {
                return Err(ConfigError::config(format!(
                    "Cluster-level {MIN_ISR} cannot be removed while ELR is enabled."
                )));
            }
        }
        match &write.value {
            Some(value) if value.encode_utf16().count() > VALUE_LENGTH_MAX => {
                return Err(ConfigError::config(format!(
                    "The configuration value cannot be added because it exceeds the maximum value size of \
                     {VALUE_LENGTH_MAX} bytes."
                )));
            }
            Some(value) => {
                after.insert(write.name.clone(), value.clone());
            }
            None => {
                after.remove(&write.name);
            }
        }
    }
    validate(layers, resource, stored, &after)
}

/// Kafka's `ClientMetricsConfigs.validate`.
fn validate_client_metrics(name: &str, new: &Map) -> Result<(), ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::request("Subscription name can't be empty"));
    }
    if let Some(unknown) = new.keys().find(|name| !keys::CLIENT_METRICS.contains(name)) {
        return Err(ConfigError::request(format!("Unknown client metrics configuration: {unknown}")));
    }
    for (name, text) in new {
        let key = keys::CLIENT_METRICS.get(name).expect("the name was found above");
        match (name.as_str(), value::parse(key, text)?) {
            ("interval.ms", Value::Integer(ms)) if !(100..=3_600_000).contains(&ms) => {
                return Err(ConfigError::request(format!(
                    "Invalid value {ms} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
                )));
            }
            ("match", Value::List(patterns)) => patterns.iter().try_for_each(|p| check_pattern(p))?,
            _ => {}
        }
    }
    Ok(())
}

/// A pattern is `parameter=regular expression`, with one `=`.
fn check_pattern(pattern: &str) -> Result<(), ConfigError> {
    const PARAMETERS: &[&str] = &[
        "client_instance_id",
        "client_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    ];
    let fits = pattern.split_once('=').is_some_and(|(parameter, expression)| {
        PARAMETERS.contains(&value::java_trim(parameter))
            && !expression.is_empty()
            && !expression.contains('=')
            && brackets_close(value::java_trim(expression))
    });
    if fits {
        return Ok(());
    }
    Err(ConfigError::config(format!("Illegal client matching pattern: {pattern}")))
}

/// Whether an expression's brackets close and nothing is repeated that is not there: the mistakes people
/// make, short of reading the whole grammar of Java's regular expressions.
fn brackets_close(expression: &str) -> bool {
    let (mut round, mut square, mut escaped, mut repeatable) = (0i32, false, false, false);
    for c in expression.chars() {
        if escaped {
            (escaped, repeatable) = (false, true);
            continue;
        }
        match c {
            '\\' => escaped = true,
            ']' if square => (square, repeatable) = (false, true),
            _ if square => {}
            '[' => square = true,
            '(' => (round, repeatable) = (round + 1, false),
            ')' if round == 0 => return false,
            ')' => (round, repeatable) = (round - 1, true),
            '*' | '+' | '?' if !repeatable => return round > 0 && c == '?',
            '|' => repeatable = false,
            _ => repeatable = true,
        }
    }
    round == 0 && !square && !escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ErrorKind, Properties, ServerConfig};

    fn layers() -> Layers {
        Layers::new(ServerConfig::load(&Properties::default()).expect("defaults stand").0)
    }

    fn resource(kind: ResourceType, name: &str) -> Resource {
        Resource { kind, name: name.to_owned() }
    }

    fn change(name: &str, op: Op, value: Option<&str>) -> Change {
        Change { name: name.to_owned(), op: op as i8, value: value.map(str::to_owned) }
    }

    fn map(pairs: &[(&str, &str)]) -> Map {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn lists_grow_and_shrink() {
        let topic = resource(ResourceType::Topic, "t");
        let decide = |stored: &Map, change| incremental(&layers(), &topic, stored, &[change], false);
        let value = |writes: Result<Vec<Write>, ConfigError>| writes.expect("stands")[0].value.clone();
        let appended = decide(&Map::new(), change("cleanup.policy", Op::Append, Some("compact")));
        assert_eq!(value(appended).as_deref(), Some("delete,compact"));
        let stored = map(&[("cleanup.policy", "delete,compact")]);
        let subtracted = decide(&stored, change("cleanup.policy", Op::Subtract, Some("delete")));
        assert_eq!(value(subtracted).as_deref(), Some("compact"));
        let unchanged = decide(&stored, change("cleanup.policy", Op::Append, Some("compact")));
        assert_eq!(unchanged, Ok(vec![]));
        let error = decide(&stored, change("retention.ms", Op::Append, Some("1"))).expect_err("no list");
        assert_eq!(error.message, "Can't APPEND to key retention.ms because its type is not LIST.");
    }

    #[test]
    fn alter_configs_replaces_everything() {
        let topic = resource(ResourceType::Topic, "t");
        let stored = map(&[("retention.ms", "1"), ("segment.ms", "2")]);
        let configs = [("retention.ms".to_owned(), Some("5".to_owned()))];
        let writes = legacy(&layers(), &topic, &stored, &configs, false).expect("stands");
        let expected = [("retention.ms", Some("5")), ("segment.ms", None)];
        let shown: Vec<_> = writes.iter().map(|w| (w.name.as_str(), w.value.as_deref())).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn topics_refuse_in_kafkas_words() {
        let topic = resource(ResourceType::Topic, "t");
        let refused = |name: &str, value: &str| {
            let changes = [change(name, Op::Set, Some(value))];
            let error = incremental(&layers(), &topic, &Map::new(), &changes, false).expect_err("refused");
            assert_eq!(error.kind, ErrorKind::InvalidConfig);
            error.message
        };
        assert_eq!(refused("foo", "1"), "Unknown topic config name: foo");
        assert_eq!(
            refused("retention.ms", "-2"),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1"
        );
        let changes = [
            change("min.compaction.lag.ms", Op::Set, Some("5")),
            change("max.compaction.lag.ms", Op::Set, Some("4")),
        ];
        let error = incremental(&layers(), &topic, &Map::new(), &changes, false).expect_err("a conflict");
        assert_eq!(
            error.message,
            "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)"
        );
    }

    #[test]
    fn broker_keys_are_checked_against_the_running_broker() {
        let own = resource(ResourceType::Broker, "1");
        let all = resource(ResourceType::Broker, "");
        let check = |resource: &Resource, name: &str, value: &str| {
            let changes = [change(name, Op::Set, Some(value))];
            preprocess_incremental(&layers(), resource, &Map::new(), &changes)
                .map_err(|error| (error.kind, error.message))
        };
        assert_eq!(check(&own, "log.retention.ms", "1000"), Ok(()));
        assert_eq!(check(&all, "log.retention.ms", "1000"), Ok(()));
        assert_eq!(check(&own, "my.own.key", "x"), Ok(()));
        let request = |message: &str| Err((ErrorKind::InvalidRequest, message.to_owned()));
        assert_eq!(
            check(&own, "num.partitions", "3"),
            request("Cannot update these configs dynamically: Set(num.partitions)")
        );
        assert_eq!(
            check(&resource(ResourceType::Broker, "2"), "log.retention.ms", "1"),
            request("Unexpected broker id, expected 1, but received 2")
        );
        assert_eq!(
            check(&own, "log.retention.ms", "x"),
            request("Invalid value x for configuration log.retention.ms: Not a number of type LONG")
        );
        assert_eq!(
            check(&own, "log.retention.ms", "0"),
            request(
                "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1"
            )
        );
    }

    #[test]
    fn groups_and_client_metrics_are_checked() {
        let check = |kind, name: &str, key: &str, value: &str| {
            validate(&layers(), &resource(kind, name), &Map::new(), &map(&[(key, value)]))
                .map_err(|error| error.message)
        };
        let group = ResourceType::Group;
        assert_eq!(check(group, "g", "consumer.session.timeout.ms", "50000"), Ok(()));
        assert_eq!(
            check(group, "g", "consumer.session.timeout.ms", "1000"),
            Err("consumer.session.timeout.ms must be greater than or equal to \
                 group.consumer.min.session.timeout.ms"
                .into())
        );
        assert_eq!(check(group, "g", "x", "1"), Err("Unknown group config name: x".into()));
        let metrics = ResourceType::ClientMetrics;
        assert_eq!(check(metrics, "m", "match", "client_id=a.*"), Ok(()));
        assert_eq!(
            check(metrics, "m", "match", "client_id=a("),
            Err("Illegal client matching pattern: client_id=a(".into())
        );
        assert_eq!(check(metrics, "m", "x", "1"), Err("Unknown client metrics configuration: x".into()));
    }
}
