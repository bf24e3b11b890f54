//! DeleteGroups: takes groups without members away, with their offsets.

use ahash::AHashSet;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::Context;
use super::errors::Code;

pub async fn handle(context: &Context, asked: DeleteGroupsRequest, _version: i16) -> DeleteGroupsResponse {
    let mut seen = AHashSet::new();
    let mut names = asked.groups_names;
    names.retain(|name| seen.insert(name.clone()));
    let mut results = Vec::with_capacity(names.len());
    let ids = super::by_coordinator(context, names);
    let deleted = context
        .shard
        .ask_groups(ids.clone(), |id| id, |id, groups, _, outcome| groups.delete(&id, outcome))
        .await;
    for (id, deleted) in ids.into_iter().zip(deleted) {
        results.push(deleted.unwrap_or_else(|unavailable| {
            DeletableGroupResult::default().with_group_id(id).with_error_code(unavailable.code())
        }));
    }
    DeleteGroupsResponse::default().with_results(results)
}
