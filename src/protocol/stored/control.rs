//! Control records of the quorum's log and its snapshots: what a control batch's records hold.
//!
//! A control record's key is `version i16, type i16`; its value is the message of that type with no frame
//! (Kafka's ControlRecordUtils). Every message repeats its own version in its first field.

use uuid::Uuid;

use super::codec::Field;
use super::{Input, Message, StoredError};
use crate::types::NodeId;

/// A control record of a metadata log or snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlRecord {
    LeaderChange(LeaderChangeMessage),
    SnapshotHeader(SnapshotHeaderRecord),
    SnapshotFooter(SnapshotFooterRecord),
    KRaftVersion(KRaftVersionRecord),
    Voters(VotersRecord),
}

const KEY_VERSION: i16 = 0;

impl ControlRecord {
    /// The key and value of the record, the value in the version that its message names.
    pub fn encode(&self) -> Result<(Vec<u8>, Vec<u8>), StoredError> {
        let mut value = Vec::with_capacity(64);
        let kind: i16 = match self {
            ControlRecord::LeaderChange(m) => Message::write(m, &mut value, m.version).map(|()| 2)?,
            ControlRecord::SnapshotHeader(m) => Message::write(m, &mut value, m.version).map(|()| 3)?,
            ControlRecord::SnapshotFooter(m) => Message::write(m, &mut value, m.version).map(|()| 4)?,
            ControlRecord::KRaftVersion(m) => Message::write(m, &mut value, m.version).map(|()| 5)?,
            ControlRecord::Voters(m) => Message::write(m, &mut value, m.version).map(|()| 6)?,
        };
        let mut key = Vec::with_capacity(4);
        key.extend_from_slice(&KEY_VERSION.to_be_bytes());
        key.extend_from_slice(&kind.to_be_bytes());
        Ok((key, value))
    }

    /// Reads a record of a control batch.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<ControlRecord, StoredError> {
        let mut input = Input(key);
        let plain = super::codec::Layout { version: 0, flexible: false };
        let _version = i16::read(&mut input, plain)?;
        let kind = i16::read(&mut input, plain)?;
        match kind {
            2 => read_versioned(value).map(ControlRecord::LeaderChange),
            3 => read_versioned(value).map(ControlRecord::SnapshotHeader),
            4 => read_versioned(value).map(ControlRecord::SnapshotFooter),
            5 => read_versioned(value).map(ControlRecord::KRaftVersion),
            6 => read_versioned(value).map(ControlRecord::Voters),
            _ => Err(StoredError::UnknownType(u32::from(kind as u16))),
        }
    }
}

/// Reads a message whose first field is the version it is written in.
fn read_versioned<M: Message>(value: &[u8]) -> Result<M, StoredError> {
    let plain = super::codec::Layout { version: 0, flexible: false };
    let version = i16::read(&mut Input(value), plain)?;
    M::read_all(value, version)
}

stored! {
    /// The quorum has a leader for the batch's leader epoch.
    pub struct LeaderChangeMessage { versions 0..=1, flexible 0;
        version: i16, 0..;
        leader_id: NodeId, 0..;
        voters: Vec<LeaderChangeVoter>, 0..;
        granting_voters: Vec<LeaderChangeVoter>, 0..;
    }

    /// A voter as the leader change names it.
    pub struct LeaderChangeVoter { versions 0..=1, flexible 0;
        voter_id: NodeId, 0..;
        voter_directory_id: Uuid, 1..;
    }

    /// The first record of a snapshot.
    pub struct SnapshotHeaderRecord { versions 0..=0, flexible 0;
        version: i16, 0..;
        /// Milliseconds; the append time of the last record that the snapshot contains.
        last_contained_log_timestamp: i64, 0..;
    }

    /// The last record of a snapshot; without it the snapshot is not whole.
    pub struct SnapshotFooterRecord { versions 0..=0, flexible 0;
        version: i16, 0..;
    }

    /// The version of the quorum's protocol from here on.
    pub struct KRaftVersionRecord { versions 0..=0, flexible 0;
        version: i16, 0..;
        kraft_version: i16, 0..;
    }

    /// The voters from here on.
    pub struct VotersRecord { versions 0..=0, flexible 0;
        version: i16, 0..;
        voters: Vec<Voter>, 0..;
    }

    /// A voter, its directory and where it listens.
    pub struct Voter { versions 0..=0, flexible 0;
        voter_id: NodeId, 0..;
        voter_directory_id: Uuid, 0..;
        endpoints: Vec<VoterEndpoint>, 0..;
        kraft_version_feature: KRaftVersionFeature, 0..;
    }

    /// Where a voter listens.
    pub struct VoterEndpoint { versions 0..=0, flexible 0;
        name: String, 0..;
        host: String, 0..;
        port: u16, 0..;
    }

    /// The versions of the quorum's protocol that a voter can speak.
    pub struct KRaftVersionFeature { versions 0..=0, flexible 0;
        min_supported_version: i16, 0..;
        max_supported_version: i16, 0..;
    }
}
