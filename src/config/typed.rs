//! Every known key's value, set or default, parsed and checked once, read by name.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::keys;
use super::value::{self, Value};

/// Every known key's value, set or default.
pub(super) struct Typed(BTreeMap<&'static str, Value>);

impl Typed {
    pub(super) fn parse(all: &BTreeMap<String, String>) -> Result<Typed, ConfigError> {
        let mut typed = BTreeMap::new();
        // node.id first: what is wrong with it would else be said of broker.id, which follows it.
        let node_id = keys::BROKER.get("node.id").into_iter();
        for key in node_id.chain(keys::BROKER.iter()).chain(keys::THALWEG.iter()) {
            if let Some(text) = all.get(key.name).map(String::as_str).or(key.default_text()) {
                typed.insert(key.name, value::parse(key, text)?);
            } else if key.default == keys::Default::Required {
                return Err(ConfigError::config(format!(
                    "Missing required configuration \"{}\" which has no default value.",
                    key.name
                )));
            }
        }
        Ok(Typed(typed))
    }

    pub(super) fn optional(&self, name: &str) -> Option<i64> {
        match self.0.get(name) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn long(&self, name: &str) -> i64 {
        self.optional(name).unwrap_or_else(|| panic!("{name} is an integer with a default"))
    }

    pub(super) fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).unwrap_or_else(|_| panic!("{name} fits its type"))
    }

    pub(super) fn short(&self, name: &str) -> i16 {
        i16::try_from(self.long(name)).unwrap_or_else(|_| panic!("{name} fits its type"))
    }

    /// A number that is not negative; Kafka allows less in few keys, where it means 0.
    pub(super) fn size(&self, name: &str) -> u32 {
        u32::try_from(self.long(name)).unwrap_or(0)
    }

    pub(super) fn double(&self, name: &str) -> f64 {
        match self.0.get(name) {
            Some(Value::Double(number)) => *number,
            _ => panic!("{name} is a double with a default"),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Boolean(true))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Value::List(elements)) => elements,
            _ => &[],
        }
    }
}
