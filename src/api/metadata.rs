//! Metadata: brokers, topics, partitions; creates topics that do not exist where that is allowed.

use std::sync::Arc;

use ahash::AHashSet;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};

use super::errors::NONE;
use super::{CLUSTER_OPERATIONS, Context, TOPIC_OPERATIONS, topics};
use crate::config::validate_name;
use crate::metadata::{Image, Topic};
use crate::protocol::wire::StrBytes;
use crate::shard::OfflinePartitions;
use crate::types::{NodeId, TopicId, is_internal_topic};

/// The first version in which a topic may be asked for by its id.
const TOPIC_IDS_SINCE: i16 = 12;
/// The first version whose answer has an error of its own.
const ERROR_CODE_SINCE: i16 = 13;

pub async fn handle(context: &Context, asked: MetadataRequest, version: i16) -> MetadataResponse {
    let all = match &asked.topics {
        None => true,
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let wanted = asked.topics.unwrap_or_default();
    let mut response = MetadataResponse::default();
    let image = context.shard.image();
    let offline = context.shard.offline();
    if all {
        response.topics = image.topics().map(|topic| describe(&image, &offline, topic, version)).collect();
    } else if is_mistaken(&wanted, version) {
        // A mistake that a field cannot carry: each topic is refused and nothing else is told, as Kafka does.
        if version >= ERROR_CODE_SINCE {
            response.error_code = ResponseError::InvalidRequest.code();
        }
        let topics = wanted
            .iter()
            .map(|topic| {
                let name = topic.name.clone().unwrap_or_default();
                refused(Some(name), topic.topic_id, ResponseError::InvalidRequest)
            })
            .collect();
        return response.with_topics(topics);
    } else if wanted.iter().any(|topic| !topic.topic_id.is_nil()) {
        // A topic that is named often is described once: a small request makes no large answer.
        let mut seen = AHashSet::new();
        let ids = wanted.iter().map(|topic| topic.topic_id).filter(|id| !id.is_nil() && seen.insert(*id));
        for id in ids {
            response.topics.push(match image.topic_by_id(TopicId(id)) {
                Some(topic) => describe(&image, &offline, topic, version),
                None => refused(None, id, ResponseError::UnknownTopicId),
            });
        }
    } else {
        let mut names: Vec<TopicName> = wanted.into_iter().filter_map(|topic| topic.name).collect();
        names.sort_unstable();
        names.dedup();
        let create = context.shard.layers().server.auto_create_topics_enable
            && (version < 4 || asked.allow_auto_topic_creation);
        let mut missing = Vec::new();
        for name in names {
            match image.topic(&name) {
                Some(topic) => response.topics.push(describe(&image, &offline, topic, version)),
                None => missing.push(name),
            }
        }
        response.topics.extend(match create {
            true => topics::auto_create(context, missing).await,
            false => missing.into_iter().map(unknown).collect(),
        });
    }
    if version >= 8 && asked.include_topic_authorized_operations {
        for topic in &mut response.topics {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    if (8..=10).contains(&version) && asked.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response.brokers = brokers(context, &image);
    response.cluster_id = Some(StrBytes::from_string(context.shard.node.cluster_id.clone()));
    response.controller_id = BrokerId(context.shard.node.id.0);
    response
}

/// Whether a topic has an id before there were ids, or neither name nor id where none has an id.
fn is_mistaken(wanted: &[MetadataRequestTopic], version: i16) -> bool {
    let by_id = wanted.iter().any(|topic| !topic.topic_id.is_nil());
    let nameless = wanted.iter().any(|topic| topic.name.is_none());
    if version < TOPIC_IDS_SINCE { by_id || nameless } else { nameless && !by_id }
}

/// The brokers that are alive, at the listener the request came in by.
fn brokers(context: &Context, image: &Image) -> Vec<MetadataResponseBroker> {
    image
        .alive_brokers()
        .filter_map(|broker| {
            let endpoint = context.shard.endpoint(broker, &context.listener)?;
            let rack = broker.rack.clone().map(StrBytes::from_string);
            Some(
                MetadataResponseBroker::default()
                    .with_node_id(BrokerId(broker.id.0))
                    .with_host(StrBytes::from_string(endpoint.host))
                    .with_port(i32::from(endpoint.port))
                    .with_rack(rack),
            )
        })
        .collect()
}

/// A topic as clients see it. A partition whose log is offline has no leader, as where Kafka's controller has
/// taken it from a broker that lost a log directory.
fn describe(
    image: &Image,
    offline: &OfflinePartitions,
    topic: &Arc<Topic>,
    version: i16,
) -> MetadataResponseTopic {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| BrokerId(node.0)).collect::<Vec<_>>();
    let partitions = topic
        .numbered()
        .map(|(id, partition)| {
            let is_up = |node: &NodeId| is_up(image, *node) && !offline.contains(&(topic.id, id));
            let led = is_up(&partition.leader);
            let offline: Vec<NodeId> =
                partition.replicas.iter().copied().filter(|node| !is_up(node)).collect();
            let code = if led { NONE } else { ResponseError::LeaderNotAvailable.code() };
            MetadataResponsePartition::default()
                .with_error_code(code)
                .with_partition_index(id.0)
                .with_leader_id(BrokerId(if led { partition.leader.0 } else { -1 }))
                .with_leader_epoch(if version >= 7 { partition.leader_epoch.0 } else { -1 })
                .with_replica_nodes(ids(&partition.replicas))
                .with_isr_nodes(ids(&partition.isr))
                .with_offline_replicas(if version >= 5 { ids(&offline) } else { Vec::new() })
        })
        .collect();
    MetadataResponseTopic::default()
        .with_error_code(NONE)
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string()))))
        .with_topic_id(if version >= 10 { topic.id.0 } else { uuid::Uuid::nil() })
        .with_is_internal(version >= 1 && is_internal_topic(&topic.name))
        .with_partitions(partitions)
}

/// Whether a broker serves.
pub fn is_up(image: &Image, node: NodeId) -> bool {
    image.broker(node).is_some_and(|broker| !broker.fenced)
}

/// A topic that does not exist, or cannot by its name.
pub fn unknown(name: TopicName) -> MetadataResponseTopic {
    let error = match validate_name(&name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(_) => ResponseError::InvalidTopicException,
    };
    let is_internal = is_internal_topic(&name);
    refused(Some(name), uuid::Uuid::nil(), error).with_is_internal(is_internal)
}

/// A topic that is answered by an error.
pub fn refused(name: Option<TopicName>, id: uuid::Uuid, error: ResponseError) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(error.code()).with_name(name).with_topic_id(id)
}
