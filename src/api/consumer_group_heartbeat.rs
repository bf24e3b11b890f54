//! ConsumerGroupHeartbeat: a member of a consumer group (KIP-848) joins, stays, says what it owns, leaves.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::errors::Code;
use super::{Context, consumer_groups_enabled};
use crate::group::consumer::check_heartbeat;
use crate::protocol::api_error::ApiError;
use crate::protocol::wire::StrBytes;
use crate::types::TopicId;

pub async fn handle(
    context: &Context,
    mut asked: ConsumerGroupHeartbeatRequest,
    version: i16,
) -> ConsumerGroupHeartbeatResponse {
    let shard = &context.shard;
    if !consumer_groups_enabled(shard) {
        return refuse(&ApiError::bare(ResponseError::UnsupportedVersion));
    }
    if let Err(error) = check_heartbeat(&asked, version, &shard.group_settings()) {
        return refuse(&error);
    }
    if asked.member_id.is_empty() {
        // Ids as Kafka makes them: 128 random bits, base64.
        asked.member_id = StrBytes::from_string(TopicId::random().to_string());
    }
    let client = context.group_client();
    let group = asked.group_id.0.clone();
    let decided = shard
        .ask_group(&group, move |groups, context, outcome| {
            groups.consumer_heartbeat(&asked, &client, context, outcome)
        })
        .await;
    match decided {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => refuse(&error),
        Err(unavailable) => ConsumerGroupHeartbeatResponse::default().with_error_code(unavailable.code()),
    }
}

fn refuse(error: &ApiError) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default().with_error_code(error.code()).with_error_message(error.text())
}
