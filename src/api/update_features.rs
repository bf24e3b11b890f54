//! UpdateFeatures: moves finalized feature levels, for good.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::Context;

pub async fn handle(context: &Context, asked: UpdateFeaturesRequest, version: i16) -> UpdateFeaturesResponse {
    let answer =
        context.shard.on_controller(move |c| async move { c.update_features(&asked, version).await }).await;
    match answer {
        Some(Ok(response)) => response,
        Some(Err(_)) | None => {
            UpdateFeaturesResponse::default().with_error_code(ResponseError::NotController.code())
        }
    }
}
