//! Where static configuration comes from: a Java .properties file, `THALWEG_KEY_NAME` variables, `-o`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::error::ConfigError;

/// Keys and values as they were written, the later source over the earlier.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Properties {
    pub values: BTreeMap<String, String>,
    /// Whether a file was read: without one the defaults are those of a single node.
    pub from_file: bool,
}

impl Properties {
    /// Reads Java's .properties format.
    ///
    /// # Errors
    /// INVALID_CONFIG for a `\u` escape that is not one.
    pub fn parse(_text: &str) -> Result<Properties, ConfigError> {
        todo!()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The file's own error, or InvalidData with the sentence of [`Properties::parse`].
    pub fn read(_path: &Path) -> io::Result<Properties> {
        todo!()
    }

    /// Puts `THALWEG_LOG_RETENTION_MS=1000` and the like over what is there.
    pub fn apply_environment(&mut self, _variables: impl Iterator<Item = (String, String)>) {
        todo!()
    }

    /// Puts one `key=value` of `-o` over what is there.
    ///
    /// # Errors
    /// INVALID_CONFIG when there is no `=`.
    pub fn apply_override(&mut self, _assignment: &str) -> Result<(), ConfigError> {
        todo!()
    }
}
