//! What DescribeConfigs answers, resource by resource, as Kafka's ConfigHelper does.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ConfigError;
use super::keys::{self, Key, Table, Type};
use super::layers::{self, Layers};
use super::loggers::Loggers;
use super::{group, topic, value};

/// The kinds of resource that have a configuration, as the protocol numbers them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i8)]
pub enum ResourceType {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ResourceType {
    /// The type with this number on the wire.
    pub fn from_wire(number: i8) -> Option<ResourceType> {
        Some(match number {
            2 => ResourceType::Topic,
            4 => ResourceType::Broker,
            8 => ResourceType::BrokerLogger,
            16 => ResourceType::ClientMetrics,
            32 => ResourceType::Group,
            _ => return None,
        })
    }
}

/// One resource: its kind and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Resource {
    pub kind: ResourceType,
    pub name: String,
}

/// The layer a value comes from, as the protocol numbers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicBrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

/// A layer's value under a key's name or one of its other names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synonym {
    pub name: String,
    /// `None` for a secret.
    pub value: Option<String>,
    pub source: Source,
}

/// One described key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedEntry {
    pub name: String,
    /// `None` for null and for a secret.
    pub value: Option<String>,
    pub read_only: bool,
    pub source: Source,
    pub sensitive: bool,
    /// The strongest layer first.
    pub synonyms: Vec<Synonym>,
    /// `None` when nobody knows the key: type UNKNOWN (0) on the wire.
    pub kind: Option<Type>,
    pub documentation: Option<&'static str>,
}

impl DescribedEntry {
    /// What protocol versions before 1 called `is_default`.
    pub fn is_default(&self) -> bool {
        self.source == Source::Default
    }
}

/// Describes `resource`; `stored` are its keys in the metadata. For a topic the caller has checked that it
/// exists. Entries are in the order of names.
///
/// # Errors
/// INVALID_REQUEST or INVALID_TOPIC_EXCEPTION with Kafka's sentence.
pub fn describe(
    layers: &Layers,
    loggers: &Loggers,
    resource: &Resource,
    stored: &BTreeMap<String, String>,
) -> Result<Vec<DescribedEntry>, ConfigError> {
    let name = resource.name.as_str();
    match resource.kind {
        ResourceType::Topic => {
            topic::validate_name(name)?;
            let defaults = topic::broker_defaults(&layers.server);
            Ok(own_entries(layers, &keys::TOPIC, &defaults, stored, topic_synonyms))
        }
        ResourceType::Group if name.is_empty() => Err(ConfigError::request("Group name must not be empty")),
        ResourceType::Group => {
            let defaults = group::broker_defaults(&layers.server, true);
            Ok(own_entries(layers, &keys::GROUP, &defaults, stored, group_synonyms))
        }
        ResourceType::ClientMetrics if name.is_empty() => {
            Err(ConfigError::request("Client metrics subscription name must not be empty"))
        }
        ResourceType::ClientMetrics => {
            Ok(own_entries(layers, &keys::CLIENT_METRICS, &BTreeMap::new(), stored, client_metrics_synonyms))
        }
        ResourceType::Broker if name.is_empty() => Ok(broker_default_entries(layers)),
        ResourceType::Broker => {
            expect_own_id(layers, name, " or empty string,")?;
            Ok(broker_entries(layers))
        }
        ResourceType::BrokerLogger if name.is_empty() => {
            Err(ConfigError::request("Broker id must not be empty"))
        }
        ResourceType::BrokerLogger => {
            expect_own_id(layers, name, "")?;
            Ok(logger_entries(loggers))
        }
    }
}

/// Refuses a broker's name that is not ours.
fn expect_own_id(layers: &Layers, name: &str, or: &str) -> Result<(), ConfigError> {
    let id: i32 = java_int(name)
        .ok_or_else(|| ConfigError::request(format!("Broker id must be an integer, but it is: {name}")))?;
    let own = layers.server.node_id;
    if id == own {
        return Ok(());
    }
    Err(ConfigError::request(format!("Unexpected broker id, expected {own}{or} but received {name}")))
}

/// Java's `Integer.parseInt`.
pub(super) fn java_int(text: &str) -> Option<i32> {
    text.parse().ok()
}

/// How a resource's own value and the broker's stand above a key.
type SynonymsOf = fn(&Layers, &Key, Option<&str>, bool) -> Vec<Synonym>;

/// The entries of a resource that has a table of its own: every key that is not internal, and the internal
/// ones that are set.
fn own_entries(
    layers: &Layers,
    table: &'static Table,
    defaults: &BTreeMap<&'static str, String>,
    stored: &BTreeMap<String, String>,
    synonyms_of: SynonymsOf,
) -> Vec<DescribedEntry> {
    let shown = table.iter().filter(|key| !key.internal || stored.contains_key(key.name));
    let entry = |key: &'static Key| {
        let set = stored.get(key.name).map(String::as_str);
        let text = set.or(defaults.get(key.name).map(String::as_str)).or(key.default_text());
        let value = text.map(|text| shown_value(key, text));
        let synonyms = synonyms_of(layers, key, value.as_deref(), set.is_some());
        DescribedEntry {
            name: key.name.to_owned(),
            value,
            read_only: false,
            source: synonyms.first().map_or(Source::Default, |first| first.source),
            sensitive: false,
            synonyms,
            kind: Some(key.kind),
            documentation: Some(key.documentation),
        }
    };
    shown.map(entry).collect()
}

/// A value as its type writes it; a text that does not parse is shown as it stands.
fn shown_value(key: &Key, text: &str) -> String {
    if key.internal {
        return text.to_owned();
    }
    value::parse_type(key, text).map_or_else(|_| text.to_owned(), |value| value.to_string())
}

fn topic_synonyms(layers: &Layers, key: &Key, value: Option<&str>, set: bool) -> Vec<Synonym> {
    let own = set.then(|| Synonym {
        name: key.name.to_owned(),
        value: value.map(str::to_owned),
        source: Source::Topic,
    });
    let strongest = keys::topic_synonyms(key.name).first();
    let broker = strongest.map_or_else(Vec::new, |synonym| broker_layers(layers, synonym.name, false));
    own.into_iter().chain(broker).collect()
}

fn group_synonyms(_: &Layers, key: &Key, value: Option<&str>, set: bool) -> Vec<Synonym> {
    vec![Synonym {
        name: key.name.to_owned(),
        value: value.map(str::to_owned),
        source: if set { Source::Group } else { Source::Default },
    }]
}

fn client_metrics_synonyms(_: &Layers, key: &Key, value: Option<&str>, set: bool) -> Vec<Synonym> {
    let own = set.then(|| Synonym {
        name: key.name.to_owned(),
        value: value.map(str::to_owned),
        source: Source::ClientMetrics,
    });
    own.into_iter().collect()
}

/// Every layer's value for a broker key and its other names, the strongest first, from the key itself on.
fn broker_layers(layers: &Layers, name: &str, sensitive: bool) -> Vec<Synonym> {
    let names = layers::broker_synonyms(name, true);
    let maps = [
        (&layers.dynamic_broker, Source::DynamicBroker),
        (&layers.dynamic_default, Source::DynamicDefaultBroker),
        (&layers.static_, Source::StaticBroker),
    ];
    let synonym = |name: &str, text: &str, source| Synonym {
        name: name.to_owned(),
        value: (!sensitive).then(|| text.to_owned()),
        source,
    };
    let set = maps.into_iter().flat_map(|(map, source)| {
        names.iter().filter_map(move |name| Some(synonym(name, map.get(*name)?, source)))
    });
    let defaults = names.iter().filter_map(|name| {
        let key = keys::BROKER.get(name).or_else(|| keys::THALWEG.get(name))?;
        Some(synonym(name, key.default_text()?, Source::Default))
    });
    set.chain(defaults).skip_while(|synonym| synonym.name != name).collect()
}

/// The entries of BROKER with our id: every key that is not internal and everything that is set.
fn broker_entries(layers: &Layers) -> Vec<DescribedEntry> {
    let all = &layers.server.all;
    let known = keys::BROKER.iter().chain(keys::THALWEG.iter()).filter(|key| !key.internal);
    let names: BTreeSet<&str> = known.map(|key| key.name).chain(all.keys().map(String::as_str)).collect();
    let entry = |name: &str| {
        let text = all.get(name).map(String::as_str);
        let key = keys::BROKER.get(name).or_else(|| keys::THALWEG.get(name));
        let value = match key {
            Some(key) => text.or(key.default_text()).map(|text| shown_value(key, text)),
            None => text.map(str::to_owned),
        };
        broker_entry(layers, name, value, |_| true)
    };
    names.into_iter().map(entry).collect()
}

/// The entries of BROKER "": what is set for the whole cluster.
fn broker_default_entries(layers: &Layers) -> Vec<DescribedEntry> {
    let of_the_cluster = |synonym: &Synonym| synonym.source == Source::DynamicDefaultBroker;
    let entries = layers.dynamic_default.iter();
    entries.map(|(name, text)| broker_entry(layers, name, Some(text.clone()), of_the_cluster)).collect()
}

fn broker_entry(
    layers: &Layers,
    name: &str,
    value: Option<String>,
    keep: impl Fn(&Synonym) -> bool,
) -> DescribedEntry {
    let names = layers::broker_synonyms(name, true);
    let key = layers::broker_key(name).or_else(|| names.iter().find_map(|name| keys::BROKER.get(name)));
    // What nobody knows may be a secret.
    let sensitive = key.is_none_or(Key::sensitive);
    let synonyms: Vec<Synonym> = broker_layers(layers, name, sensitive).into_iter().filter(keep).collect();
    let documented = keys::BROKER.get(name).or_else(|| keys::THALWEG.get(name));
    DescribedEntry {
        name: name.to_owned(),
        value: value.filter(|_| !sensitive),
        read_only: !layers::is_dynamic(name),
        source: synonyms.first().map_or(Source::Default, |first| first.source),
        sensitive,
        synonyms,
        kind: key.map(|key| key.kind),
        documentation: documented.map(|key| key.documentation),
    }
}

fn logger_entries(loggers: &Loggers) -> Vec<DescribedEntry> {
    let entry = |(name, level): (String, super::loggers::Level)| DescribedEntry {
        name,
        value: Some(level.name().to_owned()),
        read_only: false,
        source: Source::DynamicBrokerLogger,
        sensitive: false,
        synonyms: Vec::new(),
        kind: None,
        documentation: None,
    };
    loggers.levels().into_iter().map(entry).collect()
}
