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
    let named = asked.group_ids.iter().filter(|id| !id.is_empty()).cloned().collect();
    let told = shard
        .ask_groups(
            named,
            |id: &GroupId| id,
            |id, groups, context, _| groups.describe_consumer_group(&id, context),
        )
        .await;
    let mut told = told.into_iter();
    let mut describe = |id: GroupId| {
        if id.is_empty() {
            return refused(id, ResponseError::InvalidGroupId.code());
        }
        match told.next().expect("every name was asked for") {
            Ok(group) if asked.include_authorized_operations && group.error_code == 0 => {
                group.with_authorized_operations(GROUP_OPERATIONS)
            }
            Ok(group) => group,
            Err(unavailable) => refused(id, unavailable.code()),
        }
    };
    let groups = asked.group_ids.into_iter().map(&mut describe).collect();
    ConsumerGroupDescribeResponse::default().with_groups(groups)
}
