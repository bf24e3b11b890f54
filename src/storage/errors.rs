//! Why an append is refused, and why a log cannot be used.

use std::io;
use std::path::Path;

use crate::storage::file::Miss;
use crate::storage::producers::Refused;
use crate::types::TopicId;

#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// OUT_OF_ORDER_SEQUENCE_NUMBER
    #[error("{0}")]
    OutOfOrderSequence(String),
    /// INVALID_PRODUCER_EPOCH
    #[error("{0}")]
    InvalidProducerEpoch(String),
    /// INVALID_TXN_STATE
    #[error("{0}")]
    InvalidTransactionState(String),
    /// RECORD_LIST_TOO_LARGE: the batch is larger than `segment.bytes`.
    #[error("{0}")]
    BatchTooLarge(String),
    /// KAFKA_STORAGE_ERROR
    #[error(transparent)]
    Offline(#[from] StorageError),
}

impl From<Refused> for AppendError {
    fn from(refused: Refused) -> AppendError {
        match refused {
            Refused::OutOfOrderSequence(text) => AppendError::OutOfOrderSequence(text),
            Refused::InvalidProducerEpoch(text) => AppendError::InvalidProducerEpoch(text),
            Refused::InvalidTransactionState(text) => AppendError::InvalidTransactionState(text),
        }
    }
}

/// Why a log cannot be used: KAFKA_STORAGE_ERROR to clients until it is opened again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {action} {path}: {message}")]
    Io { action: &'static str, path: String, message: String, kind: io::ErrorKind },
    #[error("{path}: {message}")]
    Unsupported { path: String, message: String },
    #[error("{path} belongs to the topic id {found}, not to {expected}")]
    OtherTopicId { path: String, found: TopicId, expected: TopicId },
    #[error("the log is closed")]
    Closed,
}

impl StorageError {
    pub(super) fn io(action: &'static str, path: &Path, error: &io::Error) -> StorageError {
        StorageError::Io {
            action,
            path: path.display().to_string(),
            message: error.to_string(),
            kind: error.kind(),
        }
    }

    pub(super) fn miss(action: &'static str, path: &Path, miss: Miss) -> StorageError {
        match miss {
            Miss::Io(error) => StorageError::io(action, path, &error),
            Miss::Busy => StorageError::io(action, path, &io::ErrorKind::ResourceBusy.into()),
            Miss::Cold(cold) => StorageError::Io {
                action,
                path: path.display().to_string(),
                message: format!("{cold:?} is not in memory"),
                kind: io::ErrorKind::WouldBlock,
            },
        }
    }
}
