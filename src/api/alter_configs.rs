//! AlterConfigs and IncrementalAlterConfigs: the controller decides; levels of loggers change in this process.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as LegacyResult;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::Context;
use crate::cluster::ApiError;
use crate::config::change::Change;
use crate::config::loggers;

/// Replaces all keys of each resource.
pub async fn legacy(context: &Context, asked: AlterConfigsRequest, _version: i16) -> AlterConfigsResponse {
    let refused = |asked: &AlterConfigsRequest| {
        let result = |r: &kafka_protocol::messages::alter_configs_request::AlterConfigsResource| {
            LegacyResult::default()
                .with_error_code(ResponseError::NotController.code())
                .with_resource_type(r.resource_type)
                .with_resource_name(r.resource_name.clone())
        };
        AlterConfigsResponse::default().with_responses(asked.resources.iter().map(result).collect())
    };
    let sent = asked.clone();
    let answer = context.shard.on_controller(move |c| async move { c.alter_configs(&sent).await }).await;
    match answer {
        Some(Ok(response)) => response,
        Some(Err(_)) | None => refused(&asked),
    }
}

/// Changes single keys of each resource.
pub async fn incremental(
    context: &Context,
    asked: IncrementalAlterConfigsRequest,
    _version: i16,
) -> IncrementalAlterConfigsResponse {
    let refused = |asked: &IncrementalAlterConfigsRequest| {
        let result =
            |r: &kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource| {
                AlterConfigsResourceResponse::default()
                    .with_error_code(ResponseError::NotController.code())
                    .with_resource_type(r.resource_type)
                    .with_resource_name(r.resource_name.clone())
            };
        IncrementalAlterConfigsResponse::default()
            .with_responses(asked.resources.iter().map(result).collect())
    };
    let sent = asked.clone();
    let node_id = context.shard.node.id.0;
    let answer = context.shard.on_controller(move |c| async move {
        let mut change_loggers = |node: &str, changes: &[Change], validate_only: bool| {
            let changed = loggers::current().changed(node_id, node, changes)?;
            if !validate_only {
                loggers::replace(changed);
            }
            Ok::<(), ApiError>(())
        };
        c.incremental_alter_configs(&sent, &mut change_loggers).await
    });
    match answer.await {
        Some(Ok(response)) => response,
        Some(Err(_)) | None => refused(&asked),
    }
}
