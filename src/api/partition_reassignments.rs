//! ListPartitionReassignments: what moves now. On one node nothing ever does.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::Context;

pub async fn list(
    context: &Context,
    asked: ListPartitionReassignmentsRequest,
    _version: i16,
) -> ListPartitionReassignmentsResponse {
    let answer =
        context.shard.on_controller(move |c| async move { c.list_partition_reassignments(asked).await }).await;
    answer.unwrap_or_else(|| {
        ListPartitionReassignmentsResponse::default().with_error_code(ResponseError::NotController.code())
    })
}
