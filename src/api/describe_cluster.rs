//! DescribeCluster: the cluster's id, controller and brokers.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{CLUSTER_OPERATIONS, Context};
use crate::protocol::wire::StrBytes;

/// The endpoint type of brokers (KIP-919); controllers are asked at their own listener.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub async fn handle(
    context: &Context,
    asked: DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    let mut response = DescribeClusterResponse::default().with_endpoint_type(BROKERS);
    if version >= 1 && asked.endpoint_type != BROKERS {
        let (error, message) = match asked.endpoint_type {
            CONTROLLERS => (
                ResponseError::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                    .to_owned(),
            ),
            other => {
                (ResponseError::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))
            }
        };
        return response
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(message)));
    }
    let node = &context.shard.node;
    let image = context.shard.image();
    response.cluster_id = StrBytes::from_string(node.cluster_id.clone());
    response.controller_id = BrokerId(node.id.0);
    response.brokers = image
        .brokers()
        .filter(|broker| !broker.fenced || (version >= 2 && asked.include_fenced_brokers))
        .filter_map(|broker| {
            let endpoint = context.shard.endpoint(broker, &context.listener)?;
            Some(
                DescribeClusterBroker::default()
                    .with_broker_id(BrokerId(broker.id.0))
                    .with_host(StrBytes::from_string(endpoint.host))
                    .with_port(i32::from(endpoint.port))
                    .with_rack(broker.rack.clone().map(StrBytes::from_string))
                    .with_is_fenced(version >= 2 && broker.fenced),
            )
        })
        .collect();
    if asked.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}
