//! DescribeQuorum: the metadata log's leader, voters and how far each is.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::Context;

pub async fn handle(context: &Context, asked: DescribeQuorumRequest, version: i16) -> DescribeQuorumResponse {
    let answer = context.shard.on_controller(move |c| async move { c.describe_quorum(asked, version) }).await;
    answer.unwrap_or_else(|| {
        DescribeQuorumResponse::default().with_error_code(ResponseError::NotController.code())
    })
}
