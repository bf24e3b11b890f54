//! ListGroups: the groups that this broker coordinates, of every core, by state and type where asked.

use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::Context;
use super::errors::Code;
use crate::broker::state_machine::Unavailable;
use crate::group::listing::Filter;

pub async fn handle(context: &Context, asked: ListGroupsRequest, _version: i16) -> ListGroupsResponse {
    let filter = Filter::of(&asked);
    let listed = context
        .shard
        .on_all_groups(move |coordinator| {
            let filter = filter.clone();
            async move { coordinator.ask(|groups, _, _| groups.list(&filter)).await }
        })
        .await;
    let mut groups = Vec::new();
    for part in listed {
        match part {
            Ok(part) => groups.extend(part),
            Err(Unavailable::NoTopic | Unavailable::NotHere) => {}
            Err(unavailable) => return ListGroupsResponse::default().with_error_code(unavailable.code()),
        }
    }
    ListGroupsResponse::default().with_groups(groups)
}
