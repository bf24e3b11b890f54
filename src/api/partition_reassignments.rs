//! ListPartitionReassignments: what moves now. On one node nothing ever does.

use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::Context;
use crate::cluster::partitions;

pub async fn list(
    context: &Context,
    asked: ListPartitionReassignmentsRequest,
    _version: i16,
) -> ListPartitionReassignmentsResponse {
    partitions::list_reassignments(&context.shard.image(), &asked)
}
