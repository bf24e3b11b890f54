//! CreateTopics, DeleteTopics, CreatePartitions: the controller decides; topics made on first use.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};

use super::{Context, leaves_no_time, metadata};
use crate::cluster::{self, ApiError};
use crate::config::{ServerConfig, validate_name};
use crate::protocol::wire::StrBytes;

pub async fn create(context: &Context, asked: CreateTopicsRequest, _version: i16) -> CreateTopicsResponse {
    if leaves_no_time(asked.timeout_ms) {
        return cluster::topics::refuse_all(&asked, &ApiError::bare(ResponseError::RequestTimedOut));
    }
    let request = asked.clone();
    let answer = context.shard.on_controller(move |c| async move { c.create_topics(&request).await }).await;
    match answer {
        Some(Ok(response)) => response,
        Some(Err(_)) | None => {
            cluster::topics::refuse_all(&asked, &ApiError::general(ResponseError::NotController))
        }
    }
}

pub async fn delete(context: &Context, asked: DeleteTopicsRequest, version: i16) -> DeleteTopicsResponse {
    let enabled = context.shard.layers().server.delete_topic_enable;
    if !enabled {
        let error =
            if version < 3 { ResponseError::InvalidRequest } else { ResponseError::TopicDeletionDisabled };
        return refuse_deletion(&asked, error);
    }
    if leaves_no_time(asked.timeout_ms) {
        return refuse_deletion(&asked, ResponseError::RequestTimedOut);
    }
    let request = asked.clone();
    let answer =
        context.shard.on_controller(move |c| async move { c.delete_topics(&request, version).await }).await;
    match answer {
        Some(Ok(response)) => response,
        Some(Err(_)) | None => refuse_deletion(&asked, ResponseError::NotController),
    }
}

pub async fn create_partitions(
    context: &Context,
    asked: CreatePartitionsRequest,
    _version: i16,
) -> CreatePartitionsResponse {
    if leaves_no_time(asked.timeout_ms) {
        return refuse_growth(&asked, ResponseError::RequestTimedOut);
    }
    let request = asked.clone();
    let answer =
        context.shard.on_controller(move |c| async move { c.create_partitions(&request).await }).await;
    match answer {
        Some(Ok(response)) => response,
        Some(Err(_)) | None => refuse_growth(&asked, ResponseError::NotController),
    }
}

fn refuse_growth(asked: &CreatePartitionsRequest, error: ResponseError) -> CreatePartitionsResponse {
    let refused = |topic: &CreatePartitionsTopic| {
        CreatePartitionsTopicResult::default().with_name(topic.name.clone()).with_error_code(error.code())
    };
    CreatePartitionsResponse::default().with_results(asked.topics.iter().map(refused).collect())
}

fn refuse_deletion(asked: &DeleteTopicsRequest, error: ResponseError) -> DeleteTopicsResponse {
    let by_name = asked.topic_names.iter().map(|name| {
        DeletableTopicResult::default().with_name(Some(name.clone())).with_error_code(error.code())
    });
    let by_state = asked.topics.iter().map(|topic| {
        DeletableTopicResult::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_error_code(error.code())
    });
    DeleteTopicsResponse::default().with_responses(by_name.chain(by_state).collect())
}

/// A topic as it is made on first use: the internal ones by the keys that are theirs, others by the defaults.
fn first_use(server: &ServerConfig, name: &TopicName) -> CreatableTopic {
    let (partitions, replicas, configs) = match name.as_str() {
        "__consumer_offsets" => (
            server.offsets_topic_num_partitions,
            server.offsets_topic_replication_factor,
            vec![
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "producer".to_owned()),
                ("segment.bytes", server.offsets_topic_segment_bytes.to_string()),
            ],
        ),
        "__transaction_state" => (
            server.transaction_state_log_num_partitions,
            server.transaction_state_log_replication_factor,
            vec![
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "uncompressed".to_owned()),
                ("min.insync.replicas", server.transaction_state_log_min_isr.to_string()),
                ("segment.bytes", server.transaction_state_log_segment_bytes.to_string()),
                ("unclean.leader.election.enable", "false".to_owned()),
            ],
        ),
        _ => (-1, -1, Vec::new()),
    };
    let config = |(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_string(value)))
    };
    CreatableTopic::default()
        .with_name(name.clone())
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
        .with_configs(configs.into_iter().map(config).collect())
}

/// Makes the topics that a client named in Metadata and that do not exist. As in Kafka, the answer is
/// UNKNOWN_TOPIC_OR_PARTITION still, and the client asks again.
pub async fn auto_create(context: &Context, names: Vec<TopicName>) -> Vec<MetadataResponseTopic> {
    let server = context.shard.layers().server.clone();
    let topics = names
        .iter()
        .filter(|name| validate_name(name).is_ok())
        .map(|name| first_use(&server, name))
        .collect();
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(30_000);
    if !request.topics.is_empty() {
        let made = context.shard.on_controller(move |c| async move { c.create_topics(&request).await }).await;
        let made = made.and_then(Result::ok).unwrap_or_default();
        for topic in made.topics.iter().filter(|topic| topic.error_code != 0) {
            tracing::debug!(
                topic = topic.name.as_str(),
                code = topic.error_code,
                "a topic is not made on first use"
            );
        }
    }
    names.into_iter().map(metadata::unknown).collect()
}
