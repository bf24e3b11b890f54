//! ConsumerGroupHeartbeat: a member of a consumer group (KIP-848) joins, stays, says what it owns, leaves.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::errors::Code;
use super::{Context, consumer_groups_enabled};
use crate::broker::state_machine::Unavailable;
use crate::group::consumer::{Undecided, check_heartbeat};
use crate::group::regex::{self, Compiled};
use crate::group::{self, Client, Groups, Outcome};
use crate::protocol::api_error::ApiError;
use crate::protocol::wire::StrBytes;
use crate::runtime::compute::compute_in_slices;
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
    let asked = Arc::new(asked);
    let mut decided = ask(context, &asked, None, &client).await;
    if let Ok(Err(Undecided::NotCompiled)) = decided {
        // It waits with the slices, so that no number of them holds up an assignment.
        let regex = asked.subscribed_topic_regex.clone().unwrap_or_default();
        let compiled = compute_in_slices(move |_| Some(regex::compile(&regex))).await;
        decided = ask(context, &asked, Some(compiled), &client).await;
    }
    match decided {
        Ok(Ok(answer)) => answer,
        Ok(Err(Undecided::Refused(error))) => refuse(&error),
        Ok(Err(Undecided::NotCompiled)) => unreachable!("its expression was compiled"),
        Err(unavailable) => ConsumerGroupHeartbeatResponse::default().with_error_code(unavailable.code()),
    }
}

async fn ask(
    context: &Context,
    asked: &Arc<ConsumerGroupHeartbeatRequest>,
    compiled: Option<Compiled>,
    client: &Client,
) -> Result<Result<ConsumerGroupHeartbeatResponse, Undecided>, Unavailable> {
    let (asked, client) = (asked.clone(), client.clone());
    let group = asked.group_id.clone();
    let decide = move |groups: &mut Groups, context: &group::Context<'_>, outcome: &mut Outcome| {
        groups.consumer_heartbeat(&asked, compiled, &client, context, outcome)
    };
    context.shard.ask_group(&group, decide).await
}

fn refuse(error: &ApiError) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default().with_error_code(error.code()).with_error_message(error.text())
}
