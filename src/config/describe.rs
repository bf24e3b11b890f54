//! What DescribeConfigs answers, resource by resource, as Kafka's ConfigHelper does.

use super::error::ConfigError;
use super::keys::Type;
use super::layers::Layers;
use super::loggers::Loggers;
use std::collections::BTreeMap;

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
    _layers: &Layers,
    _loggers: &Loggers,
    _resource: &Resource,
    _stored: &BTreeMap<String, String>,
) -> Result<Vec<DescribedEntry>, ConfigError> {
    todo!()
}
