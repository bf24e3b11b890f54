//! ElectLeaders: preferred and unclean elections, decided by the controller.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::Context;

pub async fn handle(context: &Context, asked: ElectLeadersRequest, _version: i16) -> ElectLeadersResponse {
    let answer = context.shard.on_controller(move |c| async move { c.elect_leaders(&asked).await }).await;
    match answer {
        Some(Ok(response)) => response,
        Some(Err(_)) | None => {
            ElectLeadersResponse::default().with_error_code(ResponseError::NotController.code())
        }
    }
}
