//! JoinGroup: a member of a classic group joins; it is answered when the round of joining is over.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::Context;
use super::errors::Code;
use crate::group::{Answer, classic};
use crate::protocol::wire::StrBytes;

/// The first version in which the protocol's name may be null; before, it is empty.
const NULL_PROTOCOL_FROM: i16 = 7;

pub async fn handle(context: &Context, asked: JoinGroupRequest, version: i16) -> JoinGroupResponse {
    let client = context.group_client();
    if let Err(error) = classic::check_join(&asked, &client, &context.shard.group_settings()) {
        return named_for(refused(error.code()).with_member_id(asked.member_id), version);
    }
    // A copy: whoever waits holds nothing of the frame.
    let group = asked.group_id.as_str().to_owned();
    let answer = context
        .shard
        .ask_group_later(&group, move |groups, context, ticket, outcome| {
            groups.join(&asked, version, &client, context, ticket, outcome);
        })
        .await;
    let response = match answer {
        Ok(Answer::Join(response)) => *response,
        Ok(Answer::Sync(_)) => refused(ResponseError::UnknownServerError.code()),
        Err(unavailable) => refused(unavailable.code()),
    };
    named_for(response, version)
}

fn refused(code: i16) -> JoinGroupResponse {
    JoinGroupResponse::default().with_error_code(code)
}

/// Names no protocol as the version does.
fn named_for(mut response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    let name = response.protocol_name.take().filter(|name| !name.is_empty());
    response.protocol_name = match version >= NULL_PROTOCOL_FROM {
        true => name,
        false => Some(name.unwrap_or(StrBytes::from_static_str(""))),
    };
    response
}
