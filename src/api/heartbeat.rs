//! Heartbeat: a member of a classic group says that it is there.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::Context;
use super::errors::{Code, NONE};
use crate::broker::state_machine::Unavailable;

pub async fn handle(context: &Context, asked: HeartbeatRequest, _version: i16) -> HeartbeatResponse {
    if asked.group_id.is_empty() {
        return HeartbeatResponse::default().with_error_code(ResponseError::InvalidGroupId.code());
    }
    let group = asked.group_id.clone();
    let heard = context
        .shard
        .ask_group(&group, move |groups, context, outcome| groups.heartbeat(&asked, context, outcome))
        .await;
    let code = match heard {
        Ok(heard) => heard.err().map_or(NONE, |error| error.code()),
        // Sessions begin when the group is loaded, so nothing is lost.
        Err(Unavailable::Loading) => NONE,
        Err(unavailable) => unavailable.code(),
    };
    HeartbeatResponse::default().with_error_code(code)
}
