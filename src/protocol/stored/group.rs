//! Records of the offsets topic.

use super::StoredError;

#[derive(Clone, Debug, PartialEq)]
pub struct OffsetCommitKey {}
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetCommitValue {}
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMetadataKey {}
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMetadataValue {}

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    OffsetCommit(OffsetCommitKey, Option<OffsetCommitValue>),
    GroupMetadata(GroupMetadataKey, Option<GroupMetadataValue>),
    ConsumerGroupMetadata,
    Other { kind: i16 },
}

impl Record {
    pub fn encode(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), StoredError> {
        Err(StoredError::UnknownType(0))
    }

    pub fn decode(_key: &[u8], _value: Option<&[u8]>) -> Result<Record, StoredError> {
        Ok(Record::Other { kind: 0 })
    }
}
