//! What a decision refuses with: Kafka's error code and the sentence that Kafka's controller gives.

use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;

/// An error of one topic, resource or whole request.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub error: ResponseError,
    pub message: Option<String>,
}

impl ApiError {
    pub fn new(error: ResponseError, message: impl Into<String>) -> ApiError {
        ApiError { error, message: Some(message.into()) }
    }

    /// With Kafka's general sentence for that code.
    pub fn general(error: ResponseError) -> ApiError {
        ApiError { message: Some(sentence(error)), error }
    }

    /// With no sentence, as where Kafka throws the code's bare exception.
    pub fn bare(error: ResponseError) -> ApiError {
        ApiError { error, message: None }
    }

    pub fn code(&self) -> i16 {
        self.error.code()
    }

    /// The message as responses carry it.
    pub fn text(&self) -> Option<StrBytes> {
        self.message.clone().map(StrBytes::from_string)
    }
}

/// Kafka's general sentence of the codes that are answered with it here; of another its name.
fn sentence(error: ResponseError) -> String {
    match error {
        ResponseError::UnknownTopicOrPartition => "This server does not host this topic-partition.".into(),
        ResponseError::UnknownTopicId => "This server does not host this topic ID.".into(),
        ResponseError::ElectionNotNeeded => "Leader election not needed for topic partition.".into(),
        ResponseError::PreferredLeaderNotAvailable => "The preferred leader was not available.".into(),
        ResponseError::EligibleLeadersNotAvailable => {
            "Eligible topic partition leaders are not available.".into()
        }
        ResponseError::NotController => "This is not the correct controller for this cluster.".into(),
        ResponseError::InvalidRequest => {
            "This most likely occurs because of a request being malformed by the client library or the message \
             was sent to an incompatible broker. See the broker logs for more details."
                .into()
        }
        ResponseError::CoordinatorNotAvailable => "The coordinator is not available.".into(),
        other => other.to_string(),
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.message {
            Some(message) => f.write_str(message),
            None => std::fmt::Display::fmt(&self.error, f),
        }
    }
}

/// The code and message of an outcome as responses carry them: 0 and null for success.
pub fn code_and_text(outcome: &Result<(), ApiError>) -> (i16, Option<StrBytes>) {
    match outcome {
        Ok(()) => (0, None),
        Err(e) => (e.code(), e.text()),
    }
}
