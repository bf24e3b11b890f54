//! OffsetFetch: what groups have committed, one group a request or several, some partitions or all. An error
//! of a group stands at the group, before version 8 at the top, and in version 1 at every partition.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use super::Context;
use super::errors::Code;
use super::offset_commit::name_of;
use crate::broker::state_machine::Unavailable;
use crate::metadata::Image;
use crate::protocol::api_error::ApiError;
use crate::types::TopicId;

/// The first version with an error of its own for the whole group, not one a partition.
const GROUP_ERROR_FROM: i16 = 2;
/// The first version that asks for several groups.
const SEVERAL_GROUPS_FROM: i16 = 8;
/// The first version that names topics by their ids.
const TOPIC_IDS_FROM: i16 = 10;

pub async fn handle(context: &Context, asked: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    if version >= SEVERAL_GROUPS_FROM {
        return response.with_groups(fetch(context, asked.groups, version).await);
    }
    let topics = |topics: Vec<OffsetFetchRequestTopic>| topics.into_iter().map(as_newer_topic).collect();
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(asked.group_id)
        .with_topics(asked.topics.map(topics));
    let answer = fetch(context, vec![group], version).await.remove(0);
    response
        .with_error_code(answer.error_code)
        .with_topics(answer.topics.into_iter().map(as_older_topic).collect())
}

/// A group's request, and those of its topics that no longer exist.
struct Asked {
    request: OffsetFetchRequestGroup,
    unknown: Vec<OffsetFetchRequestTopics>,
}

/// What groups have committed, in the order of the request.
async fn fetch(
    context: &Context,
    groups: Vec<OffsetFetchRequestGroup>,
    version: i16,
) -> Vec<OffsetFetchResponseGroup> {
    let image = context.shard.image();
    let named = |mut request: OffsetFetchRequestGroup| {
        let mut unknown = Vec::new();
        if version >= TOPIC_IDS_FROM
            && let Some(topics) = &mut request.topics
        {
            topics.iter_mut().for_each(|topic| topic.name = name_of(&image, topic.topic_id));
            unknown = topics.extract_if(.., |topic| topic.name.is_empty()).collect();
        }
        Arc::new(Asked { request, unknown })
    };
    let asked: Vec<_> = groups.into_iter().map(named).collect();
    let fetched = context
        .shard
        .ask_groups(
            asked.clone(),
            |asked| &asked.request.group_id,
            |asked, groups, _, _| groups.fetch_offsets(&asked.request),
        )
        .await;
    let both = asked.iter().zip(fetched);
    both.map(|(asked, fetched)| answer(asked, fetched, version, &image)).collect()
}

fn answer(
    Asked { request: asked, unknown }: &Asked,
    fetched: Result<Result<Vec<OffsetFetchResponseTopics>, ApiError>, Unavailable>,
    version: i16,
    image: &Image,
) -> OffsetFetchResponseGroup {
    let code = match fetched {
        Ok(Ok(mut topics)) => {
            if version >= TOPIC_IDS_FROM {
                topics.retain_mut(|topic| set_id(topic, image));
            }
            topics.extend(unknown.iter().map(|topic| failed(topic, ResponseError::UnknownTopicId.code())));
            return OffsetFetchResponseGroup::default()
                .with_group_id(asked.group_id.clone())
                .with_topics(topics);
        }
        Ok(Err(error)) => error.code(),
        // Consumers before 3.9 do not ask again after another code.
        Err(Unavailable::TimedOut) => ResponseError::NotCoordinator.code(),
        Err(unavailable) => unavailable.code(),
    };
    let answer = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
    match version >= GROUP_ERROR_FROM {
        true => answer.with_error_code(code),
        false => {
            let topics = asked.topics.iter().flatten();
            answer.with_topics(topics.map(|topic| failed(topic, code)).collect())
        }
    }
}

/// Gives a topic of an answer its id; false where it has none, so that it cannot be told.
fn set_id(topic: &mut OffsetFetchResponseTopics, image: &Image) -> bool {
    if topic.topic_id.is_nil() {
        topic.topic_id = image.topic(&topic.name).map_or(TopicId::ZERO, |topic| topic.id).0;
    }
    !topic.topic_id.is_nil()
}

fn failed(topic: &OffsetFetchRequestTopics, code: i16) -> OffsetFetchResponseTopics {
    let line = |partition: &i32| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*partition)
            .with_committed_offset(-1)
            .with_error_code(code)
    };
    OffsetFetchResponseTopics::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id)
        .with_partitions(topic.partition_indexes.iter().map(line).collect())
}

fn as_newer_topic(topic: OffsetFetchRequestTopic) -> OffsetFetchRequestTopics {
    OffsetFetchRequestTopics::default().with_name(topic.name).with_partition_indexes(topic.partition_indexes)
}

fn as_older_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let line = |partition: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    };
    OffsetFetchResponseTopic::default()
        .with_name(topic.name)
        .with_partitions(topic.partitions.into_iter().map(line).collect())
}
