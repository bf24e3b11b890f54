//! Configuration errors as what a decision refuses with.

use kafka_protocol::error::ResponseError;

use crate::config::{ConfigError, ErrorKind};
use crate::protocol::api_error::ApiError;

impl From<ConfigError> for ApiError {
    fn from(e: ConfigError) -> ApiError {
        let error = match e.kind {
            ErrorKind::InvalidConfig => ResponseError::InvalidConfig,
            ErrorKind::InvalidRequest => ResponseError::InvalidRequest,
            ErrorKind::InvalidTopic => ResponseError::InvalidTopicException,
            ErrorKind::UnknownServerError => return ApiError::bare(ResponseError::UnknownServerError),
        };
        ApiError::new(error, e.message)
    }
}
