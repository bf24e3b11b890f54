//! OffsetDelete: takes offsets of topics that no member of the group reads out of it.

use ahash::AHashMap;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};

use super::Context;
use super::errors::Code;
use crate::metadata::Image;
use crate::types::PartitionId;

pub async fn handle(
    context: &Context,
    mut asked: OffsetDeleteRequest,
    _version: i16,
) -> OffsetDeleteResponse {
    let response = OffsetDeleteResponse::default();
    let mut lines = Lines::default();
    {
        let image = context.shard.image();
        asked.topics.retain_mut(|topic| keep_existing(topic, &image, &mut lines));
    }
    if asked.group_id.is_empty() {
        return response.with_error_code(ResponseError::InvalidGroupId.code());
    }
    let group = asked.group_id.clone();
    let deleted = context
        .shard
        .ask_group(&group, move |groups, context, outcome| groups.delete_offsets(&asked, context, outcome))
        .await;
    match deleted {
        Ok(Ok(topics)) => lines.merge(topics),
        Ok(Err(error)) => return response.with_error_code(error.code()),
        Err(unavailable) => return response.with_error_code(unavailable.code()),
    }
    response.with_topics(lines.topics)
}

/// Leaves of a topic the partitions that exist and answers the others; true where any is left.
fn keep_existing(topic: &mut OffsetDeleteRequestTopic, image: &Image, lines: &mut Lines) -> bool {
    let found = image.topic(&topic.name);
    let exists = |index: i32| found.is_some_and(|topic| topic.partition(PartitionId(index)).is_some());
    let missing = topic.partitions.iter().map(|p| p.partition_index).filter(|index| !exists(*index));
    let missing: Vec<i32> = missing.collect();
    if found.is_none() || !missing.is_empty() {
        lines.add_unknown(&topic.name, missing.into_iter());
        topic.partitions.retain(|partition| exists(partition.partition_index));
    }
    !topic.partitions.is_empty()
}

/// The answer as it grows. As in Kafka a topic stands once in it where any of the request does not exist, and
/// else as often as in the request.
#[derive(Default)]
struct Lines {
    topics: Vec<OffsetDeleteResponseTopic>,
    places: AHashMap<TopicName, usize>,
}

impl Lines {
    fn add_unknown(&mut self, name: &TopicName, partitions: impl Iterator<Item = i32>) {
        let place = *self.places.entry(name.clone()).or_insert(self.topics.len());
        if place == self.topics.len() {
            self.topics.push(OffsetDeleteResponseTopic::default().with_name(name.clone()));
        }
        let line = |partition: i32| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition)
                .with_error_code(ResponseError::UnknownTopicOrPartition.code())
        };
        self.topics[place].partitions.extend(partitions.map(line));
    }

    fn merge(&mut self, topics: Vec<OffsetDeleteResponseTopic>) {
        if self.topics.is_empty() {
            self.topics = topics;
            return;
        }
        for topic in topics {
            let place = *self.places.entry(topic.name.clone()).or_insert(self.topics.len());
            match self.topics.get_mut(place) {
                Some(there) => there.partitions.extend(topic.partitions),
                None => self.topics.push(topic),
            }
        }
    }
}
