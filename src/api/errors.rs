//! Our errors as Kafka's codes: the only place where the two meet. No arm catches all.

use kafka_protocol::error::ResponseError;

use crate::broker::fetch_session::SessionError;
use crate::broker::partition::{AppendRefused, FetchRefused};
use crate::broker::replica::EpochMismatch;
use crate::broker::state_machine::Unavailable;
use crate::config::{ConfigError, ErrorKind};
use crate::protocol::batch::BatchErrorKind;
use crate::storage::{AppendError, StorageError};

/// The code of no error.
pub const NONE: i16 = 0;

/// An error that has a Kafka code.
pub trait Code {
    fn code(&self) -> i16;
}

impl Code for ResponseError {
    fn code(&self) -> i16 {
        ResponseError::code(self)
    }
}

impl Code for BatchErrorKind {
    fn code(&self) -> i16 {
        // The values are Kafka's codes.
        *self as i16
    }
}

impl Code for StorageError {
    fn code(&self) -> i16 {
        match self {
            StorageError::Io { .. }
            | StorageError::Unsupported { .. }
            | StorageError::OtherTopicId { .. }
            | StorageError::Closed => ResponseError::KafkaStorageError.code(),
        }
    }
}

impl Code for AppendRefused {
    fn code(&self) -> i16 {
        match self {
            AppendRefused::NotEnoughReplicas { .. } => ResponseError::NotEnoughReplicas.code(),
            AppendRefused::Log(AppendError::OutOfOrderSequence(_)) => {
                ResponseError::OutOfOrderSequenceNumber.code()
            }
            AppendRefused::Log(AppendError::InvalidProducerEpoch(_)) => {
                ResponseError::InvalidProducerEpoch.code()
            }
            AppendRefused::Log(AppendError::InvalidTransactionState(_)) => {
                ResponseError::InvalidTxnState.code()
            }
            AppendRefused::Log(AppendError::BatchTooLarge(_)) => ResponseError::RecordListTooLarge.code(),
            AppendRefused::Log(AppendError::Offline(error)) => error.code(),
        }
    }
}

impl Code for Unavailable {
    fn code(&self) -> i16 {
        match self {
            Unavailable::NoTopic | Unavailable::NotHere => ResponseError::NotCoordinator.code(),
            Unavailable::Loading => ResponseError::CoordinatorLoadInProgress.code(),
            Unavailable::Failed | Unavailable::TimedOut => ResponseError::CoordinatorNotAvailable.code(),
            Unavailable::NamedTooOften => ResponseError::InvalidRequest.code(),
        }
    }
}

impl Code for EpochMismatch {
    fn code(&self) -> i16 {
        match self {
            EpochMismatch::Fenced => ResponseError::FencedLeaderEpoch.code(),
            EpochMismatch::Unknown => ResponseError::UnknownLeaderEpoch.code(),
        }
    }
}

impl Code for FetchRefused {
    fn code(&self) -> i16 {
        match self {
            FetchRefused::Epoch(mismatch) => mismatch.code(),
            FetchRefused::OutOfRange => ResponseError::OffsetOutOfRange.code(),
            FetchRefused::Storage(error) => error.code(),
        }
    }
}

impl Code for SessionError {
    fn code(&self) -> i16 {
        match self {
            SessionError::NotFound => ResponseError::FetchSessionIdNotFound.code(),
            SessionError::InvalidEpoch => ResponseError::InvalidFetchSessionEpoch.code(),
            SessionError::TopicIdMismatch => ResponseError::FetchSessionTopicIdError.code(),
        }
    }
}

impl Code for ConfigError {
    fn code(&self) -> i16 {
        match self.kind {
            ErrorKind::InvalidConfig => ResponseError::InvalidConfig.code(),
            ErrorKind::InvalidRequest => ResponseError::InvalidRequest.code(),
            ErrorKind::InvalidTopic => ResponseError::InvalidTopicException.code(),
            ErrorKind::UnknownServerError => ResponseError::UnknownServerError.code(),
        }
    }
}
