//! ConsumerGroupDescribe: consumer groups (KIP-848) with their members' current and target assignments.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId};

use super::errors::Code;
use super::{Context, GROUP_OPERATIONS, consumer_groups_enabled};

pub async fn handle(
    context: &Context,
    asked: ConsumerGroupDescribeRequest,
    _version: i16,
) -> ConsumerGroupDescribeResponse {
    let refused = |id: GroupId, code| DescribedGroup::default().with_group_id(id).with_error_code(code);
    let shard = &context.shard;
    if !consumer_groups_enabled(shard) {
        let code = ResponseError::UnsupportedVersion.code();
        let groups = asked.group_ids.into_iter().map(|id| refused(id, code)).collect();
        return ConsumerGroupDescribeResponse::default().with_groups(groups);
    }
    let mut groups = Vec::with_capacity(asked.group_ids.len());
    for id in asked.group_ids {
        if id.is_empty() {
            groups.push(refused(id, ResponseError::InvalidGroupId.code()));
            continue;
        }
        let name = id.0.clone();
        let told = shard
            .ask_group(&id, move |groups, context, _| groups.describe_consumer_group(&name, context))
            .await;
        groups.push(match told {
            Ok(group) if asked.include_authorized_operations && group.error_code == 0 => {
                group.with_authorized_operations(GROUP_OPERATIONS)
            }
            Ok(group) => group,
            Err(unavailable) => refused(id, unavailable.code()),
        });
    }
    ConsumerGroupDescribeResponse::default().with_groups(groups)
}
