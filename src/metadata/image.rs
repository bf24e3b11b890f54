//! The image: all that the metadata log says up to one offset.
//!
//! Maps are persistent, so a clone shares all but what changes after it. What this build does not act on
//! (quotas, credentials, access control entries, tokens) is kept all the same: a snapshot of the image must
//! say no less than the records it replaces.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{HashMap, OrdMap};
use uuid::Uuid;

pub use crate::config::ResourceType;

use super::features::{KRAFT_VERSION, Levels};
use super::{Broker, Controller, Partition, Topic};
use crate::protocol::stored::metadata::{
    AccessControlEntryRecord, DelegationTokenRecord, QuotaEntity, Record, UserScramCredentialRecord,
};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionId, ProducerId, TopicId};

/// Why a record cannot follow the records before it. The log or snapshot it came from is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("{record} speaks of topic {topic}, which does not exist")]
    NoTopic { record: &'static str, topic: TopicId },
    #[error("{record} speaks of partition {partition} of topic {topic}, which does not exist")]
    NoPartition { record: &'static str, topic: TopicId, partition: PartitionId },
    #[error("topic {name} exists already with id {id}")]
    DuplicateTopic { name: String, id: TopicId },
    #[error("{record} speaks of broker {broker} at epoch {epoch}, which is not registered")]
    NoBroker { record: &'static str, broker: NodeId, epoch: i64 },
    #[error("{0} holds a value that no version of Kafka writes")]
    Malformed(&'static str),
}

/// The settings of one resource, by key.
pub type Settings = Arc<BTreeMap<String, String>>;

/// Type and name of each part of a quota's entity, in order; no name is the default of its type.
type QuotaEntityParts = Vec<(String, Option<String>)>;

/// The cluster's metadata up to `offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The offset of the last record that this image contains; -1 before the first.
    pub offset: Offset,
    /// The leader epoch of that record.
    pub epoch: LeaderEpoch,
    /// The append time of that record's batch, in milliseconds.
    pub timestamp_ms: i64,
    /// The cluster's id, from `meta.properties`; no record holds it.
    pub cluster_id: Arc<str>,
    /// The finalized version of the quorum's protocol, which control records hold.
    pub kraft_version: i16,
    pub features: Levels,
    pub(super) topics: HashMap<TopicId, Arc<Topic>>,
    pub(super) names: OrdMap<Arc<str>, TopicId>,
    pub(super) brokers: OrdMap<NodeId, Arc<Broker>>,
    pub(super) controllers: OrdMap<NodeId, Arc<Controller>>,
    pub(super) configs: OrdMap<(ResourceType, Arc<str>), Settings>,
    /// The first producer id that no block holds; `None` before the first block.
    pub next_producer_id: Option<ProducerId>,
    pub(super) quotas: OrdMap<QuotaEntityParts, Arc<BTreeMap<String, f64>>>,
    pub(super) scram: OrdMap<(i8, String), Arc<UserScramCredentialRecord>>,
    pub(super) acls: OrdMap<Uuid, Arc<AccessControlEntryRecord>>,
    pub(super) tokens: OrdMap<String, Arc<DelegationTokenRecord>>,
}

impl Image {
    /// An image of nothing.
    pub fn empty() -> Image {
        Image {
            offset: Offset::NONE,
            epoch: LeaderEpoch(0),
            timestamp_ms: 0,
            cluster_id: Arc::from(""),
            kraft_version: 0,
            features: Levels::default(),
            topics: HashMap::new(),
            names: OrdMap::new(),
            brokers: OrdMap::new(),
            controllers: OrdMap::new(),
            configs: OrdMap::new(),
            next_producer_id: None,
            quotas: OrdMap::new(),
            scram: OrdMap::new(),
            acls: OrdMap::new(),
            tokens: OrdMap::new(),
        }
    }

    /// Every finalized feature with its level as ApiVersions tells them, kraft.version among them.
    pub fn finalized_features(&self) -> Vec<(&str, i16)> {
        let kraft = (self.kraft_version > 0).then_some((KRAFT_VERSION, self.kraft_version));
        self.features.iter().chain(kraft).collect()
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(name)?)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// Topics whose name is `from` or later, by name.
    pub fn topics_from(&self, from: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.range::<_, str>((Included(from), Unbounded)).filter_map(|(_, id)| self.topics.get(id))
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Whether no topic or partition changed between `before` and this image, which came from it. It can be
    /// false where nothing did.
    pub fn has_topics_of(&self, before: &Image) -> bool {
        self.topics.ptr_eq(&before.topics)
    }

    /// As [`Image::has_topics_of`], for brokers' registrations.
    pub fn has_brokers_of(&self, before: &Image) -> bool {
        self.brokers.ptr_eq(&before.brokers)
    }

    /// Whether a topic came, or came again, after `before`.
    pub fn has_created_since(&self, before: &Image) -> bool {
        before.names.diff(&self.names).any(|change| !matches!(change, DiffItem::Remove(..)))
    }

    /// The names of topics that went after `before`, also where another came in their place. Costs what changed.
    pub fn names_gone_since<'a>(&'a self, before: &'a Image) -> impl Iterator<Item = &'a str> {
        before.names.diff(&self.names).filter_map(|change| match change {
            DiffItem::Remove(name, _) | DiffItem::Update { old: (name, _), .. } => Some(&**name),
            DiffItem::Add(..) => None,
        })
    }

    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }

    pub fn partition(&self, topic: &str, partition: PartitionId) -> Option<&Partition> {
        self.topic(topic)?.partition(partition)
    }

    pub fn broker(&self, id: NodeId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// Every registered broker, fenced ones too, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// The brokers that clients are told of.
    pub fn alive_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    pub fn is_active(&self, broker: NodeId) -> bool {
        self.brokers.get(&broker).is_some_and(|broker| broker.is_active())
    }

    pub fn controllers(&self) -> impl Iterator<Item = &Arc<Controller>> {
        self.controllers.values()
    }

    /// The settings of one resource; `None` where nothing is set.
    pub fn settings(&self, kind: ResourceType, name: &str) -> Option<&Settings> {
        self.configs.get(&(kind, Arc::from(name)))
    }

    /// One key of one resource.
    pub fn setting(&self, kind: ResourceType, name: &str, key: &str) -> Option<&str> {
        self.settings(kind, name)?.get(key).map(String::as_str)
    }

    /// Every resource that has settings.
    pub fn configured(&self) -> impl Iterator<Item = (ResourceType, &str, &Settings)> {
        self.configs.iter().map(|((kind, name), settings)| (*kind, &**name, settings))
    }

    /// The topic, if any, whose name is `name` once `.` and `_` count as one; metric names cannot tell
    /// such topics apart.
    pub fn colliding_topic(&self, name: &str) -> Option<&Arc<str>> {
        if !name.contains(['.', '_']) {
            return None;
        }
        let unified = unify(name);
        // A colliding name agrees with this one up to its first '.' or '_'.
        let head = &name[..name.find(['.', '_']).unwrap_or(0)];
        self.names
            .range::<_, str>((Included(head), Unbounded))
            .map(|(other, _)| other)
            .take_while(|other| other.starts_with(head))
            .find(|other| other.contains(['.', '_']) && unify(other) == unified)
    }

    /// Makes this the image after `record`. On an error the image is as before.
    ///
    /// Transaction records (begin, end, abort) change nothing here: who replays a log applies only the
    /// records that count.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        let name = record.name();
        match record {
            Record::Topic(topic) => self.add_topic(&topic.name, topic.topic_id)?,
            Record::Partition(record) => {
                let at = usize::try_from(record.partition_id.0)
                    .ok()
                    .filter(|at| *at < PARTITIONS_MAX)
                    .ok_or(ApplyError::Malformed(name))?;
                let topic = self.topic_mut(record.topic_id, name)?;
                if topic.partitions.len() <= at {
                    topic.partitions.resize_with(at + 1, Partition::absent);
                }
                topic.partitions[at] = Partition::from(record);
            }
            Record::PartitionChange(change) => {
                let topic = self.topic_mut(change.topic_id, name)?;
                let partition = usize::try_from(change.partition_id.0)
                    .ok()
                    .and_then(|at| topic.partitions.get_mut(at))
                    .filter(|partition| partition.exists())
                    .ok_or(ApplyError::NoPartition {
                        record: name,
                        topic: change.topic_id,
                        partition: change.partition_id,
                    })?;
                *partition = partition.merge(change);
            }
            Record::RemoveTopic(record) => {
                let topic = self
                    .topics
                    .remove(&record.topic_id)
                    .ok_or(ApplyError::NoTopic { record: name, topic: record.topic_id })?;
                self.names.remove(&topic.name);
                self.configs.remove(&(ResourceType::Topic, Arc::clone(&topic.name)));
            }
            Record::Config(config) => {
                let kind =
                    ResourceType::from_wire(config.resource_type).ok_or(ApplyError::Malformed(name))?;
                self.set_config(kind, &config.resource_name, &config.name, config.value.as_deref());
            }
            Record::RegisterBroker(record) => {
                self.brokers.insert(record.broker_id, Arc::new(Broker::from(record)));
            }
            Record::UnregisterBroker(record) => {
                self.broker_mut(record.broker_id, record.broker_epoch, name)?;
                self.brokers.remove(&record.broker_id);
            }
            Record::BrokerRegistrationChange(record) => {
                self.broker_mut(record.broker_id, record.broker_epoch, name)?.change(record);
            }
            Record::FenceBroker(record) => self.broker_mut(record.id, record.epoch, name)?.fenced = true,
            Record::UnfenceBroker(record) => {
                self.broker_mut(record.id, record.epoch, name)?.fenced = false;
            }
            Record::RegisterController(record) => {
                self.controllers.insert(record.controller_id, Arc::new(record.clone()));
            }
            Record::FeatureLevel(record) => self.features.set(&record.name, record.feature_level),
            Record::ProducerIds(record) => self.next_producer_id = Some(record.next_producer_id),
            Record::ClientQuota(record) => {
                self.set_quota(&record.entity, &record.key, (!record.remove).then_some(record.value));
            }
            Record::UserScramCredential(record) => {
                self.scram.insert((record.mechanism, record.name.clone()), Arc::new(record.clone()));
            }
            Record::RemoveUserScramCredential(record) => {
                self.scram.remove(&(record.mechanism, record.name.clone()));
            }
            Record::AccessControlEntry(record) => {
                self.acls.insert(record.id, Arc::new(record.clone()));
            }
            Record::RemoveAccessControlEntry(record) => {
                self.acls.remove(&record.id);
            }
            Record::DelegationToken(record) => {
                self.tokens.insert(record.token_id.clone(), Arc::new(record.clone()));
            }
            Record::RemoveDelegationToken(record) => {
                self.tokens.remove(&record.token_id);
            }
            Record::ClearElr(record) => self.clear_elr(&record.topic_name),
            Record::NoOp(_)
            | Record::ZkMigrationState(_)
            | Record::BeginTransaction(_)
            | Record::EndTransaction(_)
            | Record::AbortTransaction(_) => {}
        }
        Ok(())
    }

    fn add_topic(&mut self, name: &str, id: TopicId) -> Result<(), ApplyError> {
        if self.names.contains_key(name) || self.topics.contains_key(&id) {
            return Err(ApplyError::DuplicateTopic { name: name.to_owned(), id });
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name), id);
        self.topics.insert(id, Arc::new(Topic { name, id, partitions: Vec::new() }));
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId, record: &'static str) -> Result<&mut Topic, ApplyError> {
        let topic = self.topics.get_mut(&id).ok_or(ApplyError::NoTopic { record, topic: id })?;
        Ok(Arc::make_mut(topic))
    }

    fn broker_mut(
        &mut self,
        id: NodeId,
        epoch: i64,
        record: &'static str,
    ) -> Result<&mut Broker, ApplyError> {
        match self.brokers.get_mut(&id) {
            Some(broker) if broker.epoch == epoch => Ok(Arc::make_mut(broker)),
            _ => Err(ApplyError::NoBroker { record, broker: id, epoch }),
        }
    }

    fn set_config(&mut self, kind: ResourceType, name: &str, key: &str, value: Option<&str>) {
        let resource = (kind, Arc::from(name));
        match value {
            Some(value) => {
                let settings = self.configs.entry(resource).or_default();
                Arc::make_mut(settings).insert(key.to_owned(), value.to_owned());
            }
            None => {
                let Some(settings) = self.configs.get_mut(&resource) else { return };
                let settings = Arc::make_mut(settings);
                settings.remove(key);
                if settings.is_empty() {
                    self.configs.remove(&resource);
                }
            }
        }
    }

    fn set_quota(&mut self, entity: &[QuotaEntity], key: &str, value: Option<f64>) {
        let mut entity: Vec<_> =
            entity.iter().map(|part| (part.entity_type.clone(), part.entity_name.clone())).collect();
        entity.sort();
        let quotas = Arc::make_mut(self.quotas.entry(entity.clone()).or_default());
        match value {
            Some(value) => drop(quotas.insert(key.to_owned(), value)),
            None => drop(quotas.remove(key)),
        }
        if quotas.is_empty() {
            self.quotas.remove(&entity);
        }
    }

    fn clear_elr(&mut self, topic_name: &str) {
        let ids: Vec<TopicId> = match topic_name {
            "" => self.topics.keys().copied().collect(),
            name => self.names.get(name).copied().into_iter().collect(),
        };
        for id in ids {
            let has_elr = |partition: &Partition| {
                !partition.eligible_leader_replicas.is_empty() || !partition.last_known_elr.is_empty()
            };
            let Some(topic) = self.topics.get_mut(&id) else { continue };
            if !topic.partitions.iter().any(has_elr) {
                continue;
            }
            for partition in Arc::make_mut(topic).partitions.iter_mut().filter(|p| has_elr(p)) {
                partition.eligible_leader_replicas.clear();
                partition.last_known_elr.clear();
                partition.partition_epoch += 1;
            }
        }
    }
}

/// More partitions than this in one topic are not a cluster's but a damaged record's.
const PARTITIONS_MAX: usize = 10_000_000;

fn unify(name: &str) -> String {
    name.replace('.', "_")
}
