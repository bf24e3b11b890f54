//! DescribeGroups: state, protocol and members of classic groups.

use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::errors::{Code, NONE};
use super::{Context, GROUP_OPERATIONS};

/// The first version that may ask what may be done with a group.
const OPERATIONS_FROM: i16 = 3;

pub async fn handle(context: &Context, asked: DescribeGroupsRequest, version: i16) -> DescribeGroupsResponse {
    let mut described = Vec::with_capacity(asked.groups.len());
    let ids = super::by_coordinator(context, asked.groups);
    let found = context
        .shard
        .ask_groups(ids.clone(), |id| id, move |id, groups, _, _| groups.describe(&id, version))
        .await;
    for (id, found) in ids.into_iter().zip(found) {
        described.push(found.unwrap_or_else(|unavailable| refused(id, unavailable.code())));
    }
    if version >= OPERATIONS_FROM && asked.include_authorized_operations {
        for group in described.iter_mut().filter(|group| group.error_code == NONE) {
            group.authorized_operations = GROUP_OPERATIONS;
        }
    }
    DescribeGroupsResponse::default().with_groups(described)
}

fn refused(id: GroupId, code: i16) -> DescribedGroup {
    DescribedGroup::default().with_group_id(id).with_error_code(code)
}
