//! Kafka's configuration keys, their values here, and the server.properties file.
//!
//! [`keys`] holds every key of Kafka 4.1 and our own; [`properties`] reads files, `-o` and the
//! environment into one flat map; [`ServerConfig`] and [`TopicConfig`] are the values that act; [`Layers`]
//! puts what was changed while running above the file; [`describe`] and [`change`] answer and check as
//! Kafka does. Nothing here does I/O beyond reading the file it is told to read.

mod addresses;
pub mod change;
pub mod describe;
mod error;
mod group;
pub mod keys;
mod layers;
pub mod listeners;
pub mod loggers;
mod notices;
#[cfg(test)]
mod oracle;
pub mod properties;
mod rules;
mod server;
mod topic;
mod typed;
pub mod value;

pub use describe::{DescribedEntry, Resource, ResourceType, Source, Synonym};
pub use error::{ConfigError, ErrorKind};
pub use group::GroupConfig;
pub use layers::Layers;
pub use listeners::{AdvertisedListener, Listener, SecurityProtocol};
pub use properties::Properties;
pub use server::{QUEUED_MAX_REQUEST_BYTES, ServerConfig, parse_cores};
pub use topic::{
    TimestampType, TopicCompression, TopicConfig, effective_topic_configs, resolve_topic, validate_name,
};
