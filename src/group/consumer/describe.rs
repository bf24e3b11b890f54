//! ConsumerGroupDescribe, and whose commits and fetches of offsets a consumer group takes.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment as Told, DescribedGroup, Member as ToldMember, TopicPartitions,
};
use kafka_protocol::messages::{GroupId, TopicName};

use super::member::Member;
use super::state::ConsumerGroup;
use super::{Context, default_assignor, records};
use crate::group::assignors::Assignment;
use crate::group::{Group, Groups};
use crate::metadata::Image;
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::group::Record;
use crate::protocol::wire::StrBytes;

/// Kafka's number of a member by its protocol.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl Groups {
    /// A group as ConsumerGroupDescribe tells it.
    pub fn describe_consumer_group(&self, id: &str, context: &Context<'_>) -> DescribedGroup {
        let told = DescribedGroup::default().with_group_id(GroupId(StrBytes::from_string(id.to_owned())));
        let group = match self.consumer_group(id) {
            Ok(group) => group,
            Err(error) => return told.with_error_code(error.code()).with_error_message(error.text()),
        };
        let assignor =
            group.preferred_assignor().unwrap_or_else(|| default_assignor(context.settings).name());
        let mut members: Vec<&Member> = group.members.values().collect();
        members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        told.with_assignor_name(text(assignor))
            .with_group_epoch(group.epoch)
            .with_group_state(StrBytes::from_static_str(group.state_name()))
            .with_assignment_epoch(group.target_epoch)
            .with_members(members.into_iter().map(|member| tell(group, member, context.image)).collect())
    }

    /// A group that has to be a consumer group.
    pub(in crate::group) fn consumer_group(&self, id: &str) -> Result<&ConsumerGroup, ApiError> {
        let refuse = |message| Err(ApiError::new(ResponseError::GroupIdNotFound, message));
        match self.groups.get(id) {
            Some(Group::Consumer(group)) => Ok(group),
            Some(_) => refuse(format!("Group {id} is not a consumer group.")),
            None => refuse(format!("Group {id} not found.")),
        }
    }
}

fn tell(group: &ConsumerGroup, member: &Member, image: &Image) -> ToldMember {
    let profile = &member.profile;
    let target = group.targets.get(&member.id).map(|target| tell_assignment(target, image));
    ToldMember::default()
        .with_member_id(text(&member.id))
        .with_instance_id(profile.instance_id.as_deref().map(text))
        .with_rack_id(profile.rack_id.as_deref().map(text))
        .with_member_epoch(member.progress.epoch)
        .with_client_id(text(&profile.client_id))
        .with_client_host(text(&profile.client_host))
        .with_subscribed_topic_names(profile.topics.iter().map(|name| TopicName(text(name))).collect())
        .with_subscribed_topic_regex(profile.regex.as_deref().map(text))
        .with_assignment(tell_assignment(&member.progress.assigned, image))
        .with_target_assignment(target.unwrap_or_default())
        .with_member_type(if member.is_classic() { CLASSIC_MEMBER } else { CONSUMER_MEMBER })
}

/// Topics that are gone are left out.
fn tell_assignment(assignment: &Assignment, image: &Image) -> Told {
    let topics = assignment.topics().filter_map(|(id, partitions)| {
        let topic = image.topic_by_id(id)?;
        Some(
            TopicPartitions::default()
                .with_topic_id(id.0)
                .with_topic_name(TopicName(text(&topic.name)))
                .with_partitions(partitions.to_vec()),
        )
    });
    Told::default().with_topic_partitions(topics.collect())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl ConsumerGroup {
    /// Whether who commits may: a member at its epoch, or anybody while the group is empty.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH (ILLEGAL_GENERATION to a classic member), and
    /// UNSUPPORTED_VERSION from a member whose request cannot carry the epoch's errors.
    pub fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        epoch: i32,
        is_transactional: bool,
        version: i16,
    ) -> Result<(), ApiError> {
        if epoch < 0 && self.is_empty() {
            return Ok(());
        }
        // TxnOffsetCommit need not say who commits.
        if is_transactional && epoch == -1 && member_id.is_empty() && instance_id.is_none() {
            return Ok(());
        }
        let member = self.known_member(member_id)?;
        if !is_transactional && !member.is_classic() && version < MODERN_COMMIT_FROM {
            return Err(ApiError::new(
                ResponseError::UnsupportedVersion,
                "OffsetCommit version 9 or above must be used by members using the modern group protocol",
            ));
        }
        check_epoch(member, epoch)
    }

    /// Whether who fetches offsets may: anybody who does not claim to be a member, and members at their epoch.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH (ILLEGAL_GENERATION to a classic member).
    pub fn validate_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ApiError> {
        let member_id = match member_id {
            None if epoch < 0 => return Ok(()),
            member_id => member_id.unwrap_or("null"),
        };
        check_epoch(self.known_member(member_id)?, epoch)
    }

    /// # Errors
    /// UNKNOWN_MEMBER_ID.
    pub(super) fn known_member(&self, id: &str) -> Result<&Member, ApiError> {
        self.members.get(id).ok_or_else(|| {
            let message = format!("Member {id} is not a member of group {}.", self.id);
            ApiError::new(ResponseError::UnknownMemberId, message)
        })
    }

    /// The records that make the group what it is.
    pub fn records(&self, id: &str) -> Vec<Record> {
        let members = || self.members.values();
        let mut made: Vec<Record> =
            members().map(|member| records::member(id, &member.id, &member.profile)).collect();
        made.extend(self.regexes.resolved().map(|(regex, resolved)| {
            records::regex(id, regex, &resolved.topics, resolved.version, resolved.timestamp_ms)
        }));
        made.push(records::epoch(id, self.epoch, self.metadata_hash));
        made.extend(self.targets.iter().map(|(member, target)| records::target(id, member, target)));
        made.push(records::target_epoch(id, self.target_epoch));
        made.extend(members().map(|member| records::current(id, &member.id, &member.progress)));
        made
    }

    /// The records that take the group away.
    pub fn tombstones(&self, id: &str) -> Vec<Record> {
        let each = |f: fn(&str, &str) -> Record| self.members.keys().map(move |member| f(id, member));
        let mut tombstones: Vec<Record> = each(records::current_tombstone).collect();
        tombstones.extend(each(records::target_tombstone));
        tombstones.push(records::target_epoch_tombstone(id));
        tombstones.extend(each(records::member_tombstone));
        tombstones.extend(self.regexes.resolved().map(|(regex, _)| records::regex_tombstone(id, regex)));
        tombstones.push(records::partition_metadata_tombstone(id));
        tombstones.push(records::epoch_tombstone(id));
        tombstones
    }
}

/// The first OffsetCommit version whose errors a member of the consumer protocol understands.
const MODERN_COMMIT_FROM: i16 = 9;

fn check_epoch(member: &Member, epoch: i32) -> Result<(), ApiError> {
    let expected = member.progress.epoch;
    if epoch == expected {
        return Ok(());
    }
    Err(if member.is_classic() {
        let message = format!(
            "The received generation id {epoch} does not match the expected member epoch {expected}."
        );
        ApiError::new(ResponseError::IllegalGeneration, message)
    } else {
        let message =
            format!("The received member epoch {epoch} does not match the expected member epoch {expected}.");
        ApiError::new(ResponseError::StaleMemberEpoch, message)
    })
}
