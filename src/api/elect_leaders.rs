//! ElectLeaders: preferred and unclean elections, decided by the controller.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::errors::NONE;
use super::{Context, leaves_no_time};
use crate::cluster::{ApiError, elections};

pub async fn handle(context: &Context, asked: ElectLeadersRequest, version: i16) -> ElectLeadersResponse {
    // Nothing that is asked for is done in no time.
    let is_empty = asked.topic_partitions.as_ref().is_some_and(Vec::is_empty);
    if leaves_no_time(asked.timeout_ms) && !is_empty {
        let refused = elections::refuse_all(&asked, &ApiError::bare(ResponseError::RequestTimedOut));
        // Version 0 has no error of its own.
        return if version >= 1 { refused } else { refused.with_error_code(NONE) };
    }
    let answer = context.shard.on_controller(move |c| async move { c.elect_leaders(&asked).await }).await;
    match answer {
        Some(Ok(response)) => response,
        Some(Err(_)) | None => {
            ElectLeadersResponse::default().with_error_code(ResponseError::NotController.code())
        }
    }
}
