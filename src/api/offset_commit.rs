//! OffsetCommit: a group's offsets, kept when the answer leaves. What does not exist is answered here; whether
//! the member may commit is its group's decision.

use std::sync::Arc;

use ahash::AHashMap;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};
use uuid::Uuid;

use super::Context;
use super::errors::Code;
use crate::metadata::Image;
use crate::protocol::wire::StrBytes;
use crate::types::{PartitionId, TopicId};

/// The first version that names topics by their ids.
const TOPIC_IDS_FROM: i16 = 10;

pub async fn handle(context: &Context, mut asked: OffsetCommitRequest, version: i16) -> OffsetCommitResponse {
    let image = context.shard.image();
    let mut lines = Lines::default();
    if version >= TOPIC_IDS_FROM {
        asked.topics.iter_mut().for_each(|topic| topic.name = name_of(&image, topic.topic_id));
    }
    asked.topics.retain_mut(|topic| keep_existing(topic, version, &image, &mut lines));
    if asked.topics.is_empty() {
        return OffsetCommitResponse::default().with_topics(lines.topics);
    }
    let asked = Arc::new(asked);
    let request = asked.clone();
    let committed = context
        .shard
        .ask_group(&asked.group_id, move |groups, context, outcome| {
            groups.commit_offsets(&request, version, context, outcome)
        })
        .await;
    lines.merge(match committed {
        Ok(Ok(topics)) => topics,
        Ok(Err(error)) => refused(&asked, error.code()),
        Err(unavailable) => refused(&asked, unavailable.code()),
    });
    OffsetCommitResponse::default().with_topics(lines.topics)
}

/// The name of the topic with this id, empty where there is none.
pub(super) fn name_of(image: &Image, id: Uuid) -> TopicName {
    let topic = image.topic_by_id(TopicId(id));
    TopicName(topic.map_or(StrBytes::default(), |topic| StrBytes::from_string(topic.name.to_string())))
}

/// Leaves of a topic the partitions that exist and answers the others; true where any is left.
fn keep_existing(
    topic: &mut OffsetCommitRequestTopic,
    version: i16,
    image: &Image,
    lines: &mut Lines,
) -> bool {
    let error = match version >= TOPIC_IDS_FROM && topic.name.is_empty() {
        true => ResponseError::UnknownTopicId,
        false => ResponseError::UnknownTopicOrPartition,
    };
    let Some(found) = image.topic(&topic.name) else {
        let all = topic.partitions.iter().map(|partition| partition.partition_index);
        lines.add(&topic.name, topic.topic_id, all, error.code());
        return false;
    };
    let exists = |index: i32| found.partition(PartitionId(index)).is_some();
    let missing = topic.partitions.iter().map(|p| p.partition_index).filter(|index| !exists(*index));
    let missing: Vec<i32> = missing.collect();
    if !missing.is_empty() {
        lines.add(&topic.name, topic.topic_id, missing.into_iter(), error.code());
        topic.partitions.retain(|partition| exists(partition.partition_index));
    }
    !topic.partitions.is_empty()
}

fn refused(asked: &OffsetCommitRequest, code: i16) -> Vec<OffsetCommitResponseTopic> {
    let answer = |topic: &OffsetCommitRequestTopic| {
        let lines = topic.partitions.iter().map(|partition| line(partition.partition_index, code));
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(lines.collect())
    };
    asked.topics.iter().map(answer).collect()
}

fn line(partition: i32, code: i16) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default().with_partition_index(partition).with_error_code(code)
}

/// The answer as it grows. As in Kafka a topic stands once in it where any of the request does not exist, and
/// else as often as in the request.
#[derive(Default)]
struct Lines {
    topics: Vec<OffsetCommitResponseTopic>,
    places: AHashMap<(TopicName, Uuid), usize>,
}

impl Lines {
    fn add(&mut self, name: &TopicName, id: Uuid, partitions: impl Iterator<Item = i32>, code: i16) {
        let place = *self.places.entry((name.clone(), id)).or_insert(self.topics.len());
        if place == self.topics.len() {
            self.topics.push(OffsetCommitResponseTopic::default().with_name(name.clone()).with_topic_id(id));
        }
        self.topics[place].partitions.extend(partitions.map(|partition| line(partition, code)));
    }

    fn merge(&mut self, topics: Vec<OffsetCommitResponseTopic>) {
        if self.topics.is_empty() {
            self.topics = topics;
            return;
        }
        for topic in topics {
            let place = *self.places.entry((topic.name.clone(), topic.topic_id)).or_insert(self.topics.len());
            match self.topics.get_mut(place) {
                Some(there) => there.partitions.extend(topic.partitions),
                None => self.topics.push(topic),
            }
        }
    }
}
