//! The records of the metadata log, as Kafka 4.1's schemas of the same names describe them, and their frame.
//!
//! ```text
//! frame version   unsigned varint, always 1
//! record type     unsigned varint, the number in `records!` below
//! version         unsigned varint, of that record type
//! body            the fields in that version
//! ```

use bytes::Bytes;
use uuid::Uuid;

use super::codec::write_unsigned_varint;
use super::{Input, Message, StoredError};
use crate::types::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId};

const FRAME_VERSION: u32 = 1;

/// A metadata record and the version to write it in.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned {
    pub record: Record,
    pub version: i16,
}

impl Versioned {
    /// The framed bytes, as they stand in a batch record's value.
    pub fn encode(&self) -> Result<Vec<u8>, StoredError> {
        let mut out = Vec::with_capacity(64);
        write_unsigned_varint(&mut out, FRAME_VERSION);
        write_unsigned_varint(&mut out, self.record.key().into());
        write_unsigned_varint(&mut out, self.version as u16 as u32);
        self.record.write_body(&mut out, self.version)?;
        Ok(out)
    }

    /// Reads framed bytes. An unknown frame, type or version is an error, never skipped: a record that is
    /// not understood would leave the image wrong.
    pub fn decode(bytes: &[u8]) -> Result<Versioned, StoredError> {
        let mut input = Input(bytes);
        let frame = input.unsigned_varint()?;
        if frame != FRAME_VERSION {
            return Err(StoredError::FrameVersion(frame));
        }
        let key = input.unsigned_varint()?;
        let version = input.unsigned_varint()?;
        let version = i16::try_from(version).map_err(|_| StoredError::Invalid("record version"))?;
        let record = Record::read_body(key, &mut input, version)?;
        input.finish()?;
        Ok(Versioned { record, version })
    }
}

macro_rules! records {
    ($($variant:ident($message:ident) = $key:literal,)*) => {
        /// Any record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            $($variant($message),)*
        }

        impl Record {
            /// The record type's number.
            pub fn key(&self) -> u16 {
                match self { $(Record::$variant(_) => $key,)* }
            }

            /// The schema's name.
            pub fn name(&self) -> &'static str {
                match self { $(Record::$variant(_) => $message::NAME,)* }
            }

            fn write_body(&self, out: &mut Vec<u8>, version: i16) -> Result<(), StoredError> {
                match self { $(Record::$variant(message) => message.write(out, version),)* }
            }

            fn read_body(key: u32, input: &mut Input<'_>, version: i16) -> Result<Record, StoredError> {
                match key {
                    $($key => $message::read(input, version).map(Record::$variant),)*
                    _ => Err(StoredError::UnknownType(key)),
                }
            }
        }

        $(impl From<$message> for Record {
            fn from(message: $message) -> Record {
                Record::$variant(message)
            }
        })*
    };
}

records! {
    RegisterBroker(RegisterBrokerRecord) = 0,
    UnregisterBroker(UnregisterBrokerRecord) = 1,
    Topic(TopicRecord) = 2,
    Partition(PartitionRecord) = 3,
    Config(ConfigRecord) = 4,
    PartitionChange(PartitionChangeRecord) = 5,
    FenceBroker(FenceBrokerRecord) = 7,
    UnfenceBroker(UnfenceBrokerRecord) = 8,
    RemoveTopic(RemoveTopicRecord) = 9,
    DelegationToken(DelegationTokenRecord) = 10,
    UserScramCredential(UserScramCredentialRecord) = 11,
    FeatureLevel(FeatureLevelRecord) = 12,
    ClientQuota(ClientQuotaRecord) = 14,
    ProducerIds(ProducerIdsRecord) = 15,
    BrokerRegistrationChange(BrokerRegistrationChangeRecord) = 17,
    AccessControlEntry(AccessControlEntryRecord) = 18,
    RemoveAccessControlEntry(RemoveAccessControlEntryRecord) = 19,
    NoOp(NoOpRecord) = 20,
    ZkMigrationState(ZkMigrationStateRecord) = 21,
    RemoveUserScramCredential(RemoveUserScramCredentialRecord) = 22,
    BeginTransaction(BeginTransactionRecord) = 23,
    EndTransaction(EndTransactionRecord) = 24,
    AbortTransaction(AbortTransactionRecord) = 25,
    RemoveDelegationToken(RemoveDelegationTokenRecord) = 26,
    RegisterController(RegisterControllerRecord) = 27,
    ClearElr(ClearElrRecord) = 28,
}

impl Record {
    /// This record with the version to write it in.
    pub fn at(self, version: i16) -> Versioned {
        Versioned { record: self, version }
    }
}

stored! {
    /// A broker came, or came again with a new incarnation; it starts fenced.
    pub struct RegisterBrokerRecord { versions 0..=3, flexible 0;
        broker_id: NodeId, 0..;
        is_migrating_zk_broker: bool, 2..;
        incarnation_id: Uuid, 0..;
        broker_epoch: i64, 0..;
        end_points: Vec<Endpoint>, 0..;
        features: Vec<SupportedFeature>, 0..;
        rack: Option<String>, 0..;
        fenced: bool = true, 0..;
        in_controlled_shutdown: bool, 1..;
        log_dirs: Vec<Uuid>, 3.. tag 0;
    }

    /// Where a broker or controller listens.
    pub struct Endpoint { versions 0..=3, flexible 0;
        name: String, 0..;
        host: String, 0..;
        port: u16, 0..;
        security_protocol: i16, 0..;
    }

    /// The levels of a feature that a node can run at.
    pub struct SupportedFeature { versions 0..=3, flexible 0;
        name: String, 0..;
        min_supported_version: i16, 0..;
        max_supported_version: i16, 0..;
    }

    /// A broker was taken out of the cluster.
    pub struct UnregisterBrokerRecord { versions 0..=0, flexible 0;
        broker_id: NodeId, 0..;
        broker_epoch: i64, 0..;
    }

    /// A topic was made; its partitions follow.
    pub struct TopicRecord { versions 0..=0, flexible 0;
        name: String, 0..;
        topic_id: TopicId, 0..;
    }

    /// A partition as a whole.
    pub struct PartitionRecord { versions 0..=2, flexible 0;
        partition_id: PartitionId = PartitionId(-1), 0..;
        topic_id: TopicId, 0..;
        replicas: Vec<NodeId>, 0..;
        isr: Vec<NodeId>, 0..;
        removing_replicas: Vec<NodeId>, 0..;
        adding_replicas: Vec<NodeId>, 0..;
        leader: NodeId = NodeId(-1), 0..;
        leader_recovery_state: i8, 0.. tag 0;
        leader_epoch: LeaderEpoch = LeaderEpoch(-1), 0..;
        partition_epoch: i32 = -1, 0..;
        directories: Vec<Uuid>, 1..;
        eligible_leader_replicas: Option<Vec<NodeId>>, 2.. tag 1;
        last_known_elr: Option<Vec<NodeId>>, 2.. tag 2;
    }

    /// What changed in a partition. Each one raises the partition epoch by one; one that names a leader
    /// raises the leader epoch too.
    pub struct PartitionChangeRecord { versions 0..=2, flexible 0;
        partition_id: PartitionId = PartitionId(-1), 0..;
        topic_id: TopicId, 0..;
        isr: Option<Vec<NodeId>>, 0.. tag 0;
        leader: NodeId = NodeId(-2), 0.. tag 1;
        replicas: Option<Vec<NodeId>>, 0.. tag 2;
        removing_replicas: Option<Vec<NodeId>>, 0.. tag 3;
        adding_replicas: Option<Vec<NodeId>>, 0.. tag 4;
        leader_recovery_state: i8 = -1, 0.. tag 5;
        directories: Option<Vec<Uuid>>, 1.. tag 8;
        eligible_leader_replicas: Option<Vec<NodeId>>, 2.. tag 6;
        last_known_elr: Option<Vec<NodeId>>, 2.. tag 7;
    }

    /// One key of one resource was set, or removed when the value is null.
    pub struct ConfigRecord { versions 0..=0, flexible 0;
        resource_type: i8, 0..;
        resource_name: String, 0..;
        name: String, 0..;
        value: Option<String>, 0..;
    }

    /// A broker was fenced (as written before metadata version 3.3).
    pub struct FenceBrokerRecord { versions 0..=0, flexible 0;
        id: NodeId, 0..;
        epoch: i64, 0..;
    }

    /// A broker was unfenced (as written before metadata version 3.3).
    pub struct UnfenceBrokerRecord { versions 0..=0, flexible 0;
        id: NodeId, 0..;
        epoch: i64, 0..;
    }

    /// A topic and all its partitions are gone.
    pub struct RemoveTopicRecord { versions 0..=0, flexible 0;
        topic_id: TopicId, 0..;
    }

    /// A delegation token was made or renewed.
    pub struct DelegationTokenRecord { versions 0..=0, flexible 0;
        owner: String, 0..;
        requester: String, 0..;
        renewers: Vec<String>, 0..;
        issue_timestamp: i64, 0..;
        max_timestamp: i64, 0..;
        expiration_timestamp: i64, 0..;
        token_id: String, 0..;
    }

    /// A user's SCRAM credential for one mechanism.
    pub struct UserScramCredentialRecord { versions 0..=0, flexible 0;
        name: String, 0..;
        mechanism: i8, 0..;
        salt: Bytes, 0..;
        stored_key: Bytes, 0..;
        server_key: Bytes, 0..;
        iterations: i32, 0..;
    }

    /// A feature was finalized at a level; level 0 takes it away.
    pub struct FeatureLevelRecord { versions 0..=0, flexible 0;
        name: String, 0..;
        feature_level: i16, 0..;
    }

    /// One quota of one client entity was set or removed.
    pub struct ClientQuotaRecord { versions 0..=0, flexible 0;
        entity: Vec<QuotaEntity>, 0..;
        key: String, 0..;
        value: f64, 0..;
        remove: bool, 0..;
    }

    /// One part of a quota's entity; a null name is the default of its type.
    pub struct QuotaEntity { versions 0..=0, flexible 0;
        entity_type: String, 0..;
        entity_name: Option<String>, 0..;
    }

    /// A block of producer ids was given to a broker; the next block starts at `next_producer_id`.
    pub struct ProducerIdsRecord { versions 0..=0, flexible 0;
        broker_id: NodeId, 0..;
        broker_epoch: i64 = -1, 0..;
        next_producer_id: ProducerId, 0..;
    }

    /// What changed in a broker's registration.
    pub struct BrokerRegistrationChangeRecord { versions 0..=2, flexible 0;
        broker_id: NodeId, 0..;
        broker_epoch: i64, 0..;
        /// -1 unfenced, 0 no change, 1 fenced.
        fenced: i8, 0.. tag 0;
        /// 0 no change, 1 in controlled shutdown.
        in_controlled_shutdown: i8, 1.. tag 1;
        log_dirs: Vec<Uuid>, 2.. tag 2;
    }

    /// An access control entry.
    pub struct AccessControlEntryRecord { versions 0..=0, flexible 0;
        id: Uuid, 0..;
        resource_type: i8, 0..;
        resource_name: String, 0..;
        pattern_type: i8, 0..;
        principal: String, 0..;
        host: String, 0..;
        operation: i8, 0..;
        permission_type: i8, 0..;
    }

    /// An access control entry is gone.
    pub struct RemoveAccessControlEntryRecord { versions 0..=0, flexible 0;
        id: Uuid, 0..;
    }

    /// Nothing; Kafka's controller writes it to see its log move.
    pub struct NoOpRecord { versions 0..=0, flexible 0; }

    /// The state of a migration from ZooKeeper; kept for directories that went through one.
    pub struct ZkMigrationStateRecord { versions 0..=0, flexible 0;
        zk_migration_state: i8, 0..;
    }

    /// A user's SCRAM credential is gone.
    pub struct RemoveUserScramCredentialRecord { versions 0..=0, flexible 0;
        name: String, 0..;
        mechanism: i8, 0..;
    }

    /// The records up to the end or abort record count together or not at all (KIP-868).
    pub struct BeginTransactionRecord { versions 0..=0, flexible 0;
        name: Option<String>, 0.. tag 0;
    }

    /// The records since the begin record count.
    pub struct EndTransactionRecord { versions 0..=0, flexible 0; }

    /// The records since the begin record do not count.
    pub struct AbortTransactionRecord { versions 0..=0, flexible 0;
        reason: Option<String>, 0.. tag 0;
    }

    /// A delegation token is gone.
    pub struct RemoveDelegationTokenRecord { versions 0..=0, flexible 0;
        token_id: String, 0..;
    }

    /// A controller came.
    pub struct RegisterControllerRecord { versions 0..=0, flexible 0;
        controller_id: NodeId, 0..;
        incarnation_id: Uuid, 0..;
        zk_migration_ready: bool, 0..;
        end_points: Vec<Endpoint>, 0..;
        features: Vec<SupportedFeature>, 0..;
    }

    /// Eligible leader replicas are cleared, of one topic or (empty name) of all.
    pub struct ClearElrRecord { versions 0..=0, flexible 0;
        topic_name: String, 0..;
    }
}
