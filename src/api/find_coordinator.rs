//! FindCoordinator: which broker keeps a group. The offsets topic is made when somebody asks for the first time;
//! as in Kafka that answer is COORDINATOR_NOT_AVAILABLE still, and the client asks again.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, TopicName};

use super::{Context, topics};
use crate::group::OFFSETS_TOPIC;
use crate::protocol::api_error::ApiError;
use crate::protocol::wire::StrBytes;
use crate::shard::Endpoint;
use crate::types::NodeId;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
/// The first version that names several keys.
const BATCHED_FROM: i16 = 4;
/// The first version that knows share coordinators.
const SHARE_FROM: i16 = 6;

pub async fn handle(
    context: &Context,
    asked: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    if version < BATCHED_FROM {
        let found = find(context, asked.key_type, &asked.key, version).await;
        let response = FindCoordinatorResponse::default();
        return match found {
            Ok((node, at)) => response
                .with_error_message(Some(StrBytes::from_static_str("NONE")))
                .with_node_id(BrokerId(node.0))
                .with_host(StrBytes::from_string(at.host))
                .with_port(at.port.into()),
            Err(error) => response
                .with_error_code(error.code())
                .with_error_message(ApiError::general(error).text())
                .with_node_id(BrokerId(-1))
                .with_port(-1),
        };
    }
    let mut coordinators = Vec::with_capacity(asked.coordinator_keys.len());
    for key in asked.coordinator_keys {
        let found = find(context, asked.key_type, &key, version).await;
        let coordinator = Coordinator::default().with_key(key);
        coordinators.push(match found {
            Ok((node, at)) => coordinator
                .with_node_id(BrokerId(node.0))
                .with_host(StrBytes::from_string(at.host))
                .with_port(at.port.into()),
            Err(error) => {
                // A kind that nobody knows fails in Kafka as the request as a whole, with that code's sentence.
                let known = [GROUP, TRANSACTION, SHARE].contains(&asked.key_type);
                let message = ApiError::general(error).text().filter(|_| !known).unwrap_or_default();
                coordinator
                    .with_error_code(error.code())
                    .with_error_message(Some(message))
                    .with_node_id(BrokerId(-1))
                    .with_port(-1)
            }
        });
    }
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}

async fn find(
    context: &Context,
    kind: i8,
    key: &str,
    version: i16,
) -> Result<(NodeId, Endpoint), ResponseError> {
    match kind {
        GROUP => {}
        TRANSACTION => return Err(ResponseError::TransactionalIdAuthorizationFailed),
        SHARE if version < SHARE_FROM => return Err(ResponseError::InvalidRequest),
        _ => return Err(ResponseError::InvalidRequest),
    }
    let shard = &context.shard;
    let Some((topic, partition)) = shard.group_partition(key) else {
        topics::auto_create(context, vec![TopicName(StrBytes::from_static_str(OFFSETS_TOPIC))]).await;
        return Err(ResponseError::CoordinatorNotAvailable);
    };
    let image = shard.image();
    let leader = image
        .topic_by_id(topic)
        .and_then(|topic| topic.partition(partition))
        .and_then(|partition| image.broker(partition.leader));
    let leader = leader.ok_or(ResponseError::CoordinatorNotAvailable)?;
    let endpoint = shard.endpoint(leader, &context.listener);
    Ok((leader.id, endpoint.ok_or(ResponseError::CoordinatorNotAvailable)?))
}
