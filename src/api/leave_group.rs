//! LeaveGroup: members of a classic group go, one (up to version 2) or several.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::Context;
use super::errors::{Code, NONE};

/// From this version on each member has its own answer.
const BATCHED_FROM: i16 = 3;

pub async fn handle(context: &Context, asked: LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    if asked.group_id.is_empty() {
        return response.with_error_code(ResponseError::InvalidGroupId.code());
    }
    let group = asked.group_id.clone();
    let left = context
        .shard
        .ask_group(&group, move |groups, context, outcome| groups.leave(&asked, version, context, outcome))
        .await;
    match left {
        Ok(Ok(members)) if version < BATCHED_FROM => {
            response.with_error_code(members.first().map_or(NONE, |member| member.error_code))
        }
        Ok(Ok(members)) => response.with_members(members),
        Ok(Err(error)) => response.with_error_code(error.code()),
        Err(unavailable) => response.with_error_code(unavailable.code()),
    }
}
