//! SyncGroup: a member of a classic group asks for its assignment; it is answered when the leader has assigned.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::Context;
use super::errors::Code;
use crate::group::{Answer, classic};

pub async fn handle(context: &Context, asked: SyncGroupRequest, version: i16) -> SyncGroupResponse {
    if let Err(error) = classic::check_sync(&asked, version) {
        return refused(error.code());
    }
    // A copy: whoever waits holds nothing of the frame.
    let group = asked.group_id.as_str().to_owned();
    let answer = context
        .shard
        .ask_group_later(&group, move |groups, context, ticket, outcome| {
            groups.sync(&asked, version, context, ticket, outcome);
        })
        .await;
    match answer {
        Ok(Answer::Sync(response)) => *response,
        Ok(Answer::Join(_)) => refused(ResponseError::UnknownServerError.code()),
        Err(unavailable) => refused(unavailable.code()),
    }
}

fn refused(code: i16) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code)
}
