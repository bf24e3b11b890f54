//! What can go wrong between a client and a broker, as far as a caller can act on it.

use std::io;

use kafka_protocol::error::ResponseError;

use crate::protocol::wire::WireError;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The name of a host has no address, or the text is none.
    #[error("cannot find the address of {address}: {source}")]
    Address { address: String, source: io::Error },
    /// No bootstrap broker, or not this broker, accepts connections.
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    /// The connection ended before its answer came.
    #[error("the connection to {address} was lost: {source}")]
    Lost { address: String, source: io::Error },
    #[error("{address} did not answer {request} within {after_ms} ms")]
    TimedOut { address: String, request: &'static str, after_ms: u128 },
    /// What listens there answers something that is not Kafka's protocol in plain text.
    #[error("{address} does not answer as a Kafka broker does: {why}")]
    NotKafka { address: String, why: String },
    /// The broker knows no version of a request that we know.
    #[error("{address} does not offer {request} in a version known here ({ours}; it has {theirs})")]
    Unsupported { address: String, request: &'static str, ours: String, theirs: String },
    /// The broker answered with an error code.
    #[error("{what}: {}", reason(code, message))]
    Refused { what: String, code: ResponseError, message: Option<String> },
    /// A message that cannot be encoded or decoded.
    #[error("{what} cannot be coded: {source}")]
    Codec { what: &'static str, source: WireError },
    /// The cluster's metadata name no such broker, or a partition has no leader.
    #[error("{0}")]
    NoLeader(String),
    #[error("topic {topic} has no partition {partition}; it has {count}")]
    NoPartition { topic: String, partition: i32, count: usize },
    #[error("{0}")]
    NoAnswer(String),
}

impl ClientError {
    /// `Ok` for code 0, else [`ClientError::Refused`].
    pub fn check(what: impl FnOnce() -> String, code: i16, message: Option<&str>) -> Result<(), ClientError> {
        match ResponseError::try_from_code(code) {
            None => Ok(()),
            Some(code) => {
                Err(ClientError::Refused { what: what(), code, message: message.map(str::to_owned) })
            }
        }
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The same error once more, for each of several things that failed together.
    pub fn again(&self) -> ClientError {
        let same = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            ClientError::Address { address, source } => {
                ClientError::Address { address: address.clone(), source: same(source) }
            }
            ClientError::Connect { address, source } => {
                ClientError::Connect { address: address.clone(), source: same(source) }
            }
            ClientError::Lost { address, source } => {
                ClientError::Lost { address: address.clone(), source: same(source) }
            }
            ClientError::TimedOut { address, request, after_ms } => {
                ClientError::TimedOut { address: address.clone(), request, after_ms: *after_ms }
            }
            ClientError::NotKafka { address, why } => {
                ClientError::NotKafka { address: address.clone(), why: why.clone() }
            }
            ClientError::Unsupported { address, request, ours, theirs } => ClientError::Unsupported {
                address: address.clone(),
                request,
                ours: ours.clone(),
                theirs: theirs.clone(),
            },
            ClientError::Refused { what, code, message } => {
                ClientError::Refused { what: what.clone(), code: *code, message: message.clone() }
            }
            ClientError::NoLeader(text) => ClientError::NoLeader(text.clone()),
            ClientError::NoPartition { topic, partition, count } => {
                ClientError::NoPartition { topic: topic.clone(), partition: *partition, count: *count }
            }
            ClientError::Codec { .. } | ClientError::NoAnswer(_) => ClientError::NoAnswer(self.to_string()),
        }
    }

    /// Whether a broker that can be reached may soon answer otherwise.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Refused { code, .. } => code.is_retriable(),
            ClientError::NoLeader(_) => true,
            _ => false,
        }
    }

    /// Whether another connection, another leader or some time may help.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Refused { code, .. } => code.is_retriable(),
            ClientError::Lost { .. }
            | ClientError::Connect { .. }
            | ClientError::TimedOut { .. }
            | ClientError::NoLeader(_) => true,
            _ => false,
        }
    }
}

/// Kafka's name of a code, in its capitals: `TOPIC_ALREADY_EXISTS`.
pub fn code_name(code: &ResponseError) -> String {
    if let ResponseError::Unknown(code) = code {
        return format!("error code {code}");
    }
    let mut name = String::new();
    for (i, c) in format!("{code}").chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

fn reason(code: &ResponseError, message: &Option<String>) -> String {
    match message {
        Some(message) if !message.is_empty() => {
            format!("{} ({})", message.trim_end_matches('.'), code_name(code))
        }
        _ => code_name(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(code_name(&ResponseError::TopicAlreadyExists), "TOPIC_ALREADY_EXISTS");
        assert_eq!(code_name(&ResponseError::Unknown(999)), "error code 999");
    }

    #[test]
    fn a_refusal_says_the_brokers_words_and_its_code() {
        let error = ClientError::check(|| "topic a".to_owned(), 36, Some("Topic 'a' already exists."));
        assert_eq!(
            error.unwrap_err().to_string(),
            "topic a: Topic 'a' already exists (TOPIC_ALREADY_EXISTS)"
        );
        assert!(ClientError::check(String::new, 0, None).is_ok());
    }
}
