//! One value: parsed by its key's type, checked, and written back as Kafka would write it.
//!
//! The sentences of the errors are those of Kafka's ConfigDef, because clients show them to people.

use std::fmt;

use super::error::ConfigError;
use super::keys::{Key, Type};

/// A value in its key's type. Passwords and class names are text.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

/// What a value must satisfy beyond its type.
#[derive(Clone, PartialEq, Debug)]
pub enum Check {
    /// `-`
    Any,
    /// `>= N`
    AtLeast(f64),
    /// `N to M`, both included
    Between(f64, f64),
    /// `one of a, b`
    OneOf(Vec<&'static str>),
    /// `each of a, b`: every element of a list
    EachOf(Vec<&'static str>),
    /// `any case of a, b`
    AnyCaseOf(Vec<&'static str>),
    /// `not empty`; null passes
    NotEmpty,
    /// `not null`
    NotNull,
    /// `1 to 9 or -1`
    GzipLevel,
    /// `voters`: `{id}@{host}:{port}` each
    Voters,
    /// `servers`: `{host}:{port}` each
    Servers,
    /// `throttled replicas`: `*` or `{partition}:{broker}` each
    ThrottledReplicas,
    /// `share offset reset`: earliest, latest or by_duration:{ISO 8601}
    ShareOffsetReset,
}

impl Check {
    /// Reads the notation of the key tables.
    pub(super) fn read(_text: &'static str) -> Option<Check> {
        todo!()
    }
}

/// Parses and checks `text` for `key`: Kafka's `ConfigDef.parseValue`. Surrounding blanks do not count.
///
/// # Errors
/// INVALID_CONFIG with Kafka's sentence.
pub fn parse(_key: &Key, _text: &str) -> Result<Value, ConfigError> {
    todo!()
}

impl fmt::Display for Value {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
