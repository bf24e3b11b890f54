//! ElectLeaders: preferred and unclean elections, decided by the controller.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::Context;

pub async fn handle(context: &Context, asked: ElectLeadersRequest, version: i16) -> ElectLeadersResponse {
    let answer = context.shard.on_controller(move |c| async move { c.elect_leaders(asked, version).await }).await;
    answer.unwrap_or_else(|| {
        ElectLeadersResponse::default().with_error_code(ResponseError::NotController.code())
    })
}
