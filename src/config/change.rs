//! AlterConfigs and IncrementalAlterConfigs: what a change comes to, checked as Kafka checks it.
//!
//! Kafka checks twice: the broker that was asked ([`preprocess`]: broker keys against the running broker,
//! INVALID_REQUEST), then the controller ([`incremental`], [`legacy`]: INVALID_CONFIG). The records to write
//! are the controller's.

use std::collections::BTreeMap;

use super::describe::Resource;
use super::error::ConfigError;
use super::layers::Layers;

/// What IncrementalAlterConfigs does with one key, as the protocol numbers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Op {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
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

/// The broker's checks before an incremental change is handed to the controller. BROKER_LOGGER is not for
/// here: see [`super::loggers`].
///
/// # Errors
/// INVALID_REQUEST or INVALID_CONFIG with Kafka's sentence.
pub fn preprocess_incremental(
    _layers: &Layers,
    _resource: &Resource,
    _stored: &BTreeMap<String, String>,
    _changes: &[Change],
) -> Result<(), ConfigError> {
    todo!()
}

/// The broker's checks before AlterConfigs is handed to the controller.
///
/// # Errors
/// INVALID_REQUEST with Kafka's sentence.
pub fn preprocess_legacy(
    _layers: &Layers,
    _resource: &Resource,
    _configs: &[(String, Option<String>)],
) -> Result<(), ConfigError> {
    todo!()
}

/// The controller's decision on an incremental change of `resource`, whose keys are `stored` now. Whether
/// the topic or broker exists is for the caller to check, after this.
///
/// # Errors
/// INVALID_CONFIG, INVALID_REQUEST or INVALID_TOPIC_EXCEPTION with Kafka's sentence.
pub fn incremental(
    _layers: &Layers,
    _resource: &Resource,
    _stored: &BTreeMap<String, String>,
    _changes: &[Change],
) -> Result<Vec<Write>, ConfigError> {
    todo!()
}

/// The controller's decision on AlterConfigs: `configs` replaces everything `resource` has.
///
/// # Errors
/// As [`incremental`].
pub fn legacy(
    _layers: &Layers,
    _resource: &Resource,
    _stored: &BTreeMap<String, String>,
    _configs: &[(String, Option<String>)],
) -> Result<Vec<Write>, ConfigError> {
    todo!()
}

/// Checks the whole configuration of a resource, as CreateTopics does for its topics.
///
/// # Errors
/// As [`incremental`].
pub fn validate(
    _layers: &Layers,
    _resource: &Resource,
    _old: &BTreeMap<String, String>,
    _new: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    todo!()
}
