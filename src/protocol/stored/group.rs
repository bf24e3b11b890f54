//! The records of `__consumer_offsets`, as Kafka 4.1's schemas of the same names describe them.
//!
//! ```text
//! key     record type i16 (the number in `records!` below), then the key's fields in version 0
//! value   version i16, then the fields in that version; no value takes the key away (a tombstone)
//! ```
//!
//! Every version is read; a value is written in the version that Kafka 4.1 writes.

use std::sync::Arc;

use bytes::Bytes;

use super::codec::{Field, Layout};
use super::{Input, Message, StoredError};
use crate::types::{LeaderEpoch, Offset, PartitionId, TopicId};

#[cfg(test)]
mod tests;

macro_rules! records {
    ($($variant:ident($key:ident, $value:ident) = $kind:literal, written $version:literal;)*) => {
        /// Any record of the offsets topic: its key, and its value or `None` for a tombstone.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            $($variant($key, Option<$value>),)*
            /// A record of a kind of group that is not kept here (share and streams groups).
            Other { kind: i16 },
        }

        impl Record {
            /// The record type's number.
            pub fn kind(&self) -> i16 {
                match self {
                    $(Record::$variant(..) => $kind,)*
                    Record::Other { kind } => *kind,
                }
            }

            /// The version that Kafka 4.1 writes this record's value in.
            fn version(&self) -> i16 {
                match self {
                    Record::OffsetCommit(_, Some(value)) if value.expires() => OFFSET_COMMIT_WITH_EXPIRY,
                    $(Record::$variant(..) => $version,)*
                    Record::Other { .. } => 0,
                }
            }

            fn write_key(&self, out: &mut Vec<u8>) -> Result<(), StoredError> {
                match self {
                    $(Record::$variant(key, _) => Message::write(key, out, 0),)*
                    Record::Other { .. } => Err(StoredError::Invalid("record type to write")),
                }
            }

            /// Appends the value's body; false for a tombstone.
            fn write_value(&self, out: &mut Vec<u8>, version: i16) -> Result<bool, StoredError> {
                match self {
                    $(Record::$variant(_, Some(value)) => Message::write(value, out, version).map(|()| true),)*
                    _ => Ok(false),
                }
            }

            fn read(kind: i16, key: &mut Input<'_>, value: Option<&[u8]>) -> Result<Record, StoredError> {
                match kind {
                    LEGACY_OFFSET_COMMIT => Record::read(1, key, value),
                    $($kind => Ok(Record::$variant(Message::read(key, 0)?, read_value(value)?)),)*
                    10..=15 | 17 | 19..=23 => Ok(Record::Other { kind }),
                    _ => Err(StoredError::UnknownType(u32::from(kind as u16))),
                }
            }
        }
    };
}

records! {
    OffsetCommit(OffsetCommitKey, OffsetCommitValue) = 1, written 4;
    GroupMetadata(GroupMetadataKey, GroupMetadataValue) = 2, written 3;
    ConsumerGroupMetadata(ConsumerGroupMetadataKey, ConsumerGroupMetadataValue) = 3, written 0;
    ConsumerGroupPartitionMetadata(
        ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue) = 4, written 0;
    ConsumerGroupMemberMetadata(
        ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue) = 5, written 0;
    ConsumerGroupTargetAssignmentMetadata(
        ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue) = 6, written 0;
    ConsumerGroupTargetAssignmentMember(
        ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue) = 7, written 0;
    ConsumerGroupCurrentMemberAssignment(
        ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue) = 8, written 0;
    ConsumerGroupRegularExpression(
        ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue) = 16, written 0;
}

/// The record type that old brokers gave offset commits. The fields are those of type 1, so it becomes that, with
/// a value of any version where Kafka 4.1 takes version 0 only.
const LEGACY_OFFSET_COMMIT: i16 = 0;
/// The only version of an offset commit that holds an expiry.
const OFFSET_COMMIT_WITH_EXPIRY: i16 = 1;

const PLAIN: Layout = Layout { version: 0, flexible: false };

impl Record {
    /// The record's key and value (`None` for a tombstone), as they stand in a batch's record. Fails for
    /// [`Record::Other`] and for a string past 32,767 bytes, which no reader would take.
    pub fn encode(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), StoredError> {
        let mut key = Vec::with_capacity(64);
        key.extend_from_slice(&self.kind().to_be_bytes());
        self.write_key(&mut key)?;
        let version = self.version();
        let mut value = Vec::with_capacity(64);
        value.extend_from_slice(&version.to_be_bytes());
        let has_value = match self {
            // Version 1 has neither leader epoch nor topic id; Kafka drops them there.
            Record::OffsetCommit(_, Some(commit)) if version == OFFSET_COMMIT_WITH_EXPIRY => {
                let unset = OffsetCommitValue::default();
                let commit = OffsetCommitValue {
                    leader_epoch: unset.leader_epoch,
                    topic_id: unset.topic_id,
                    ..commit.clone()
                };
                Message::write(&commit, &mut value, version).map(|()| true)?
            }
            _ => self.write_value(&mut value, version)?,
        };
        Ok((key, has_value.then_some(value)))
    }

    /// Reads a record. A type that nobody knows is [`StoredError::UnknownType`], which a loader may log and
    /// pass over as Kafka's does (an aborted upgrade can leave such records); after any other error the
    /// partition's state would be wrong. Bytes that follow the last field are passed over, as Kafka does.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Record, StoredError> {
        let mut key = Input(key);
        let kind = i16::read(&mut key, PLAIN)?;
        Record::read(kind, &mut key, value)
    }
}

fn read_value<M: Message>(value: Option<&[u8]>) -> Result<Option<M>, StoredError> {
    let Some(value) = value else { return Ok(None) };
    let mut input = Input(value);
    let version = i16::read(&mut input, PLAIN)?;
    M::read(&mut input, version).map(Some)
}

impl OffsetCommitValue {
    fn expires(&self) -> bool {
        self.expire_timestamp != -1
    }
}

/// As a tagged field: an unsigned varint, 0 for null, then the struct.
impl Field for Option<ClassicMemberMetadata> {
    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), StoredError> {
        out.push(u8::from(self.is_some()));
        self.as_ref().map_or(Ok(()), |metadata| Message::write(metadata, out, layout.version))
    }

    fn read(input: &mut Input<'_>, layout: Layout) -> Result<Self, StoredError> {
        match input.unsigned_varint()? {
            0 => Ok(None),
            _ => Message::read(input, layout.version).map(Some),
        }
    }
}

stored! {
    /// A group's offset in one partition.
    pub struct OffsetCommitKey { versions 0..=0, flexible 1;
        group: String, 0..;
        topic: String, 0..;
        partition: PartitionId, 0..;
    }

    /// What a group committed for one partition.
    pub struct OffsetCommitValue { versions 0..=4, flexible 4;
        offset: Offset, 0..;
        /// Of the last record that was consumed; -1 for none.
        leader_epoch: LeaderEpoch = LeaderEpoch(-1), 3..;
        /// The client's own text.
        metadata: String, 0..;
        /// Milliseconds.
        commit_timestamp: i64, 0..;
        /// Milliseconds; -1 where the group's retention rules. Set by OffsetCommit requests up to version 4.
        expire_timestamp: i64 = -1, 1..=1;
        /// Zero where the commit named no topic id.
        topic_id: TopicId, 4.. tag 0;
    }

    /// A classic group.
    pub struct GroupMetadataKey { versions 0..=0, flexible 1;
        group: String, 0..;
    }

    /// A classic group's generation, written when it is stable or empty.
    pub struct GroupMetadataValue { versions 0..=4, flexible 4;
        protocol_type: String, 0..;
        generation: i32, 0..;
        protocol: Option<String>, 0..;
        leader: Option<String>, 0..;
        /// Milliseconds; -1 for unknown.
        current_state_timestamp: i64 = -1, 2..;
        /// Shared, so that a group which keeps what it wrote has no copy of its own.
        members: Arc<Vec<MemberMetadata>>, 0..;
    }

    /// A member of a classic group.
    pub struct MemberMetadata { versions 0..=4, flexible 4;
        member_id: String, 0..;
        group_instance_id: Option<String>, 3..;
        client_id: String, 0..;
        client_host: String, 0..;
        /// Milliseconds; -1 for unknown, where the session timeout stands for it.
        rebalance_timeout: i32 = -1, 1..;
        /// Milliseconds.
        session_timeout: i32, 0..;
        /// The metadata of the group's chosen protocol.
        subscription: Bytes, 0..;
        assignment: Bytes, 0..;
    }

    /// A consumer group (KIP-848).
    pub struct ConsumerGroupMetadataKey { versions 0..=0, flexible 1;
        group_id: String, 0..;
    }

    /// A consumer group's epoch.
    pub struct ConsumerGroupMetadataValue { versions 0..=0, flexible 0;
        epoch: i32, 0..;
        /// Of all topics that the group subscribes to (KIP-1101); 0 where none was computed.
        metadata_hash: i64, 0.. tag 0;
    }

    /// A consumer group's subscribed topics, which Kafka before 4.1 kept; 4.1 only takes them away.
    pub struct ConsumerGroupPartitionMetadataKey { versions 0..=0, flexible 1;
        group_id: String, 0..;
    }

    /// The topics that a consumer group subscribed to.
    pub struct ConsumerGroupPartitionMetadataValue { versions 0..=0, flexible 0;
        topics: Vec<TopicMetadata>, 0..;
    }

    /// A topic as a consumer group saw it.
    pub struct TopicMetadata { versions 0..=0, flexible 0;
        topic_id: TopicId, 0..;
        topic_name: String, 0..;
        num_partitions: i32, 0..;
        partition_metadata: Vec<PartitionMetadata>, 0..;
    }

    /// The racks of a partition's replicas.
    pub struct PartitionMetadata { versions 0..=0, flexible 0;
        partition: PartitionId, 0..;
        racks: Vec<String>, 0..;
    }

    /// A member of a consumer group.
    pub struct ConsumerGroupMemberMetadataKey { versions 0..=0, flexible 1;
        group_id: String, 0..;
        member_id: String, 0..;
    }

    /// What a member of a consumer group said of itself.
    pub struct ConsumerGroupMemberMetadataValue { versions 0..=0, flexible 0;
        instance_id: Option<String>, 0..;
        rack_id: Option<String>, 0..;
        client_id: String, 0..;
        client_host: String, 0..;
        /// Sorted, as Kafka writes them.
        subscribed_topic_names: Vec<String>, 0..;
        subscribed_topic_regex: Option<String>, 0..;
        /// Milliseconds.
        rebalance_timeout_ms: i32 = -1, 0..;
        server_assignor: Option<String>, 0..;
        /// `None` for a member of the consumer protocol. What stands for an absent field is not null but an
        /// empty struct, so whoever writes a record must set this.
        classic_member_metadata: Option<ClassicMemberMetadata> = Some(ClassicMemberMetadata::default()), 0.. tag 0;
    }

    /// What a member that speaks the classic protocol said when it joined.
    pub struct ClassicMemberMetadata { versions 0..=0, flexible 0;
        session_timeout_ms: i32, 0..;
        supported_protocols: Vec<ClassicProtocol>, 0..;
    }

    /// A protocol that a classic member supports.
    pub struct ClassicProtocol { versions 0..=0, flexible 0;
        name: String, 0..;
        metadata: Bytes, 0..;
    }

    /// A consumer group's target assignment as a whole.
    pub struct ConsumerGroupTargetAssignmentMetadataKey { versions 0..=0, flexible 1;
        group_id: String, 0..;
    }

    /// The group epoch that the target assignment was computed for.
    pub struct ConsumerGroupTargetAssignmentMetadataValue { versions 0..=0, flexible 0;
        assignment_epoch: i32, 0..;
    }

    /// One member's part of the target assignment.
    pub struct ConsumerGroupTargetAssignmentMemberKey { versions 0..=0, flexible 1;
        group_id: String, 0..;
        member_id: String, 0..;
    }

    /// What a member is to own in the end.
    pub struct ConsumerGroupTargetAssignmentMemberValue { versions 0..=0, flexible 0;
        topic_partitions: Vec<TopicPartitions>, 0..;
    }

    /// Partitions of one topic.
    pub struct TopicPartitions { versions 0..=0, flexible 0;
        topic_id: TopicId, 0..;
        partitions: Vec<PartitionId>, 0..;
    }

    /// One member's current assignment.
    pub struct ConsumerGroupCurrentMemberAssignmentKey { versions 0..=0, flexible 1;
        group_id: String, 0..;
        member_id: String, 0..;
    }

    /// What a member owns now and how far it is on its way to the target.
    pub struct ConsumerGroupCurrentMemberAssignmentValue { versions 0..=0, flexible 0;
        member_epoch: i32, 0..;
        /// Taken from a member whose last epoch's answer was lost.
        previous_member_epoch: i32, 0..;
        /// 0 stable, 1 has partitions to revoke, 2 waits for partitions that others hold.
        state: i8, 0..;
        assigned_partitions: Vec<TopicPartitions>, 0..;
        partitions_pending_revocation: Vec<TopicPartitions>, 0..;
    }

    /// A regular expression that members of a consumer group subscribe to.
    pub struct ConsumerGroupRegularExpressionKey { versions 0..=0, flexible 1;
        group_id: String, 0..;
        regular_expression: String, 0..;
    }

    /// The topics that a regular expression matched.
    pub struct ConsumerGroupRegularExpressionValue { versions 0..=0, flexible 0;
        /// Sorted, as Kafka writes them.
        topics: Vec<String>, 0..;
        /// The offset of the metadata image that the topics were taken from.
        version: i64, 0..;
        /// Milliseconds.
        timestamp: i64, 0..;
    }
}
