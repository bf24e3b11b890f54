//! What can be wrong with a configuration: the kind decides Kafka's error code, the message is Kafka's own
//! where Kafka has one.

use std::fmt;

/// Which of Kafka's errors a wrong configuration is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// INVALID_CONFIG (40).
    InvalidConfig,
    /// INVALID_REQUEST (42).
    InvalidRequest,
    /// INVALID_TOPIC_EXCEPTION (17).
    InvalidTopic,
    /// UNKNOWN_SERVER_ERROR (-1): where Kafka itself stumbles over the request. Its answers carry no message.
    UnknownServerError,
}

/// One sentence about a configuration that cannot stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    pub kind: ErrorKind,
    pub message: String,
}

impl ConfigError {
    /// An error of kind INVALID_CONFIG.
    pub fn config(message: impl Into<String>) -> ConfigError {
        ConfigError { kind: ErrorKind::InvalidConfig, message: message.into() }
    }

    /// An error of kind INVALID_REQUEST.
    pub fn request(message: impl Into<String>) -> ConfigError {
        ConfigError { kind: ErrorKind::InvalidRequest, message: message.into() }
    }

    /// What Kafka answers, without a sentence of its own, where it stumbles over a request.
    pub(super) fn stumble() -> ConfigError {
        let message = "The server experienced an unexpected error when processing the request.".to_owned();
        ConfigError { kind: ErrorKind::UnknownServerError, message }
    }

    /// Kafka's sentence for a value that does not fit its key.
    pub fn value(name: &str, value: impl fmt::Display, why: impl fmt::Display) -> ConfigError {
        ConfigError::config(format!("Invalid value {value} for configuration {name}: {why}"))
    }

    /// The same sentence under another kind.
    pub fn of_kind(self, kind: ErrorKind) -> ConfigError {
        ConfigError { kind, ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}
