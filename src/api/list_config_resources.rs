//! ListConfigResources: the resources whose configuration can be described, by kind (KIP-1142).
//!
//! Topics and brokers are listed as they exist, groups and client metrics subscriptions where they have keys.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::Context;
use crate::config::ResourceType;
use crate::protocol::wire::StrBytes;

pub async fn handle(
    context: &Context,
    asked: ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    // Version 0 was ListClientMetricsResources.
    let known: &[ResourceType] = match version {
        0 => &[ResourceType::ClientMetrics],
        _ => &[
            ResourceType::Group,
            ResourceType::ClientMetrics,
            ResourceType::BrokerLogger,
            ResourceType::Broker,
            ResourceType::Topic,
        ],
    };
    let is_known = |kind: &i8| known.iter().any(|known| *known as i8 == *kind);
    if !asked.resource_types.iter().all(is_known) {
        return ListConfigResourcesResponse::default()
            .with_error_code(ResponseError::UnsupportedVersion.code());
    }
    let is_wanted = |kind: &&ResourceType| {
        asked.resource_types.is_empty() || asked.resource_types.contains(&(**kind as i8))
    };
    let resources = known.iter().filter(is_wanted).flat_map(|kind| {
        names(context, *kind).into_iter().map(|name| {
            ConfigResource::default()
                .with_resource_name(StrBytes::from_string(name))
                .with_resource_type(*kind as i8)
        })
    });
    ListConfigResourcesResponse::default().with_config_resources(resources.collect())
}

fn names(context: &Context, kind: ResourceType) -> Vec<String> {
    let image = context.shard.image();
    match kind {
        ResourceType::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => {
            image.alive_brokers().map(|broker| broker.id.to_string()).collect()
        }
        ResourceType::Group | ResourceType::ClientMetrics => image
            .configured()
            .filter(|(configured, ..)| *configured == kind)
            .map(|(_, name, _)| name.to_owned())
            .collect(),
    }
}
