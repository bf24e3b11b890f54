//! A problem as a user reads it: one line that says what is wrong and how to mend it.

use std::io;

use kafka_protocol::error::ResponseError;

use crate::client::ClientError;
use crate::client::error::code_name;

/// What went wrong, and what to do about it.
#[derive(Debug)]
pub struct Problem {
    what: String,
    mend: Option<String>,
    /// Kafka's name of the code, where a broker gave one.
    code: Option<String>,
}

impl Problem {
    pub fn new(what: impl Into<String>) -> Problem {
        Problem { what: what.into(), mend: None, code: None }
    }

    /// Adds what to do about it.
    pub fn mend(self, mend: impl Into<String>) -> Problem {
        Problem { mend: Some(mend.into()), ..self }
    }

    /// Puts what was being done before what went wrong.
    pub fn while_doing(self, context: &str) -> Problem {
        Problem { what: format!("{context}: {}", self.what), ..self }
    }

    /// Prints it on standard error: a line, or an object for machines.
    pub fn print(&self, json: bool) {
        if json {
            eprintln!("{}", serde_json::json!({"error": self.what, "code": self.code, "mend": self.mend}));
        } else {
            eprintln!("error: {self}");
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.mend {
            Some(mend) => write!(f, "{}; {mend}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl From<&ClientError> for Problem {
    fn from(error: &ClientError) -> Problem {
        let code = error.code().as_ref().map(code_name);
        Problem { what: error.to_string(), mend: mend_of(error), code }
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Problem {
        Problem::from(&error)
    }
}

fn mend_of(error: &ClientError) -> Option<String> {
    let mend = match error {
        ClientError::Address { .. } => "check the name, or name a broker with --bootstrap HOST:PORT",
        ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            "is the broker running? Start one with 'thalweg start', or name another with --bootstrap HOST:PORT"
        }
        ClientError::Connect { .. } => {
            "check the address and what stands between, or name another broker with --bootstrap HOST:PORT"
        }
        ClientError::Lost { .. } => "look into the broker's log, and try again",
        ClientError::TimedOut { .. } => {
            "look whether the broker is busy, or wait longer with --timeout SECONDS"
        }
        ClientError::NotKafka { .. } => "name a PLAINTEXT listener of a broker with --bootstrap HOST:PORT",
        ClientError::Unsupported { .. } => "this needs a broker of another release",
        ClientError::NoLeader(_) => "'thalweg topic describe' shows the partitions and their leaders",
        ClientError::NoPartition { .. } => "'thalweg topic alter NAME --partitions N' adds partitions",
        ClientError::NoAnswer(_) => "look into the broker's log",
        ClientError::Codec { .. } => return None,
        ClientError::Refused { code, .. } => return mend_of_code(code).map(str::to_owned),
    };
    Some(mend.to_owned())
}

fn mend_of_code(code: &ResponseError) -> Option<&'static str> {
    Some(match code {
        ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId => {
            "'thalweg topic list' shows what there is, 'thalweg topic create' makes a topic"
        }
        ResponseError::TopicAlreadyExists => "add --if-not-exists where that is no error",
        ResponseError::InvalidTopicException => {
            "a name has 1 to 249 letters, digits, '.', '_' and '-', and is not '.' or '..'"
        }
        ResponseError::InvalidReplicationFactor => "give a --replication that the number of brokers allows",
        ResponseError::InvalidPartitions => {
            "partitions can be added but not taken away: give a higher number"
        }
        ResponseError::InvalidConfig => "'thalweg config get KIND NAME --all --docs' shows every key",
        ResponseError::TopicDeletionDisabled => "set delete.topic.enable=true on the brokers",
        ResponseError::MessageTooLarge => {
            "send smaller records, or raise max.message.bytes with 'thalweg config set topic'"
        }
        ResponseError::InvalidRecord => "a compacted topic wants a key on each record: --format keyed",
        ResponseError::InvalidTimestamp => {
            "'thalweg config get topic NAME --all' shows the limits of timestamps"
        }
        ResponseError::NotEnoughReplicas | ResponseError::NotEnoughReplicasAfterAppend => {
            "bring back the missing replicas, or lower min.insync.replicas"
        }
        ResponseError::KafkaStorageError => "look into the broker's log: a disk failed or is full",
        ResponseError::OffsetOutOfRange => {
            "'thalweg topic describe' shows where each partition begins and ends"
        }
        ResponseError::UnsupportedCompressionType => "give another --compression",
        ResponseError::OutOfOrderSequenceNumber | ResponseError::UnknownProducerId => {
            "the broker has lost records that it had acknowledged; look into its log"
        }
        ResponseError::NonEmptyGroup => {
            "stop its members first; 'thalweg group describe NAME --members' shows them"
        }
        ResponseError::GroupIdNotFound => "'thalweg group list' shows what there is",
        ResponseError::GroupSubscribedToTopic => "stop the members that read this topic first",
        ResponseError::UnknownMemberId | ResponseError::StaleMemberEpoch => {
            "the group has members now; stop them first"
        }
        ResponseError::InvalidGroupId => "give the group a name",
        ResponseError::GroupMaxSizeReached => "stop another member, or raise group.max.size on the brokers",
        ResponseError::InconsistentGroupProtocol => {
            "its members are of another kind, or share no assignor with this one, which knows 'range'"
        }
        ResponseError::CoordinatorNotAvailable | ResponseError::NotCoordinator => {
            "'thalweg topic describe __consumer_offsets' shows whether its partitions have leaders"
        }
        ResponseError::CoordinatorLoadInProgress => "the broker reads its groups; try again soon",
        ResponseError::TopicAuthorizationFailed
        | ResponseError::ClusterAuthorizationFailed
        | ResponseError::GroupAuthorizationFailed => "ask for the right to do this",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_says_how_to_start_a_broker() {
        let source = io::ErrorKind::ConnectionRefused.into();
        let error = ClientError::Connect { address: "a:1".to_owned(), source };
        let line = Problem::from(error).to_string();
        assert!(line.starts_with("cannot connect to a:1: "), "{line}");
        assert!(line.contains("thalweg start"), "{line}");
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_refusal_keeps_its_code_for_machines() {
        let error = ClientError::check(|| "topic x".to_owned(), 3, None).unwrap_err();
        assert_eq!(Problem::from(error).code.as_deref(), Some("UNKNOWN_TOPIC_OR_PARTITION"));
    }
}
