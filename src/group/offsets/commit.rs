//! OffsetCommit: who may commit, and the records of what is committed.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::OffsetCommitRequest;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::{Committed, bytes_of, key};
use crate::group::bounds::{RECORD_BYTES, batch_bytes_max};
use crate::group::{Context, Groups, Outcome, held};
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::group::{OffsetCommitValue, Record};
use crate::types::{LeaderEpoch, Offset, PartitionId, TopicId};

/// From this version on a group that does not exist is called that; before, the generation is wrong.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;
/// Stands for no retention time of the request's own, and for no member.
const NONE: i64 = -1;

impl Groups {
    /// Commits offsets for a member, or for somebody who is none while the group is empty. The topics and
    /// partitions of the request exist.
    ///
    /// # Errors
    /// The whole commit is refused, with what every partition is answered.
    pub fn commit_offsets(
        &mut self,
        request: &OffsetCommitRequest,
        version: i16,
        context: &Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<Vec<OffsetCommitResponseTopic>, ApiError> {
        self.may_commit(request, version)?;
        let metadata_max = context.settings.offset_metadata_max_bytes;
        check_size(request, metadata_max, context)?;
        self.classic_committed(&request.group_id, &request.member_id, context);
        let now_ms = context.now.wall_ms;
        let expire_timestamp = match request.retention_time_ms {
            NONE => NONE,
            retention_ms => now_ms.wrapping_add(retention_ms),
        };
        let mut room = held::room();
        let mut answers = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut answer = OffsetCommitResponseTopic::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id);
            answer.partitions.reserve_exact(topic.partitions.len());
            for partition in &topic.partitions {
                let line = OffsetCommitResponsePartition::default();
                let line = line.with_partition_index(partition.partition_index);
                if is_too_long(metadata(partition), metadata_max) {
                    let error = ResponseError::OffsetMetadataTooLarge.code();
                    answer.partitions.push(line.with_error_code(error));
                    continue;
                }
                let value = OffsetCommitValue {
                    offset: Offset(partition.committed_offset),
                    leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                    metadata: metadata(partition).to_owned(),
                    commit_timestamp: now_ms,
                    expire_timestamp,
                    topic_id: TopicId(topic.topic_id),
                };
                let id = PartitionId(partition.partition_index);
                let mut grows = bytes_of(&value);
                if grows > room {
                    let before = self.offsets.get(&request.group_id, &topic.name, id);
                    grows = grows.saturating_sub(before.map_or(0, Committed::bytes));
                }
                let Some(left) = room.checked_sub(grows) else {
                    let error = ResponseError::CoordinatorNotAvailable.code();
                    answer.partitions.push(line.with_error_code(error));
                    continue;
                };
                room = left;
                outcome.record(Record::OffsetCommit(key(&request.group_id, &topic.name, id), Some(value)));
                answer.partitions.push(line);
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    fn may_commit(&self, request: &OffsetCommitRequest, version: i16) -> Result<(), ApiError> {
        let generation_or_epoch = request.generation_id_or_member_epoch;
        match self.group(&request.group_id) {
            Some(group) => group.validate_commit(
                &request.member_id,
                request.group_instance_id.as_deref(),
                generation_or_epoch,
                false,
                version,
            ),
            // An administrator, or a consumer that manages its partitions itself: the commit makes the group.
            None if generation_or_epoch < 0 => match self.groups.has_room_for(&request.group_id) {
                true => Ok(()),
                false => Err(ApiError::bare(ResponseError::CoordinatorNotAvailable)),
            },
            None if version >= GROUP_ID_NOT_FOUND_FROM => Err(ApiError::bare(ResponseError::GroupIdNotFound)),
            None => Err(ApiError::bare(ResponseError::IllegalGeneration)),
        }
    }
}

fn metadata(partition: &OffsetCommitRequestPartition) -> &str {
    partition.committed_metadata.as_deref().unwrap_or("")
}

/// Whether a text is longer than `units`, which Kafka counts as Java counts characters.
fn is_too_long(text: &str, units: usize) -> bool {
    text.len() > units && text.encode_utf16().count() > units
}

fn check_size(
    request: &OffsetCommitRequest,
    metadata_max: usize,
    context: &Context<'_>,
) -> Result<(), ApiError> {
    let lines = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
    let bytes: usize = lines
        .filter(|(_, partition)| !is_too_long(metadata(partition), metadata_max))
        .map(|(topic, partition)| {
            RECORD_BYTES + request.group_id.len() + topic.name.len() + metadata(partition).len()
        })
        .sum();
    match bytes > batch_bytes_max(context.image, context.settings) {
        true => Err(ApiError::bare(ResponseError::UnknownServerError)),
        false => Ok(()),
    }
}
