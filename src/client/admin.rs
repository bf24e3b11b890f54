//! What the command line asks of a cluster beside records: topics, partitions, offsets, configurations.
//!
//! Each function is one request (or one to each leader concerned) and gives one outcome for each thing that
//! was named, so that a command can say which of them failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_configs_request as alter_configs;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest,
};

use super::cluster::{Client, Topic, text, topic_name};
use super::error::ClientError;
use crate::types::{NodeId, Offset, PartitionId, TopicId};

/// What a timestamp of ListOffsets stands for.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;

/// How long [`Client::wait_for_topics`] waits.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// One outcome for each name, in the order they were given.
pub type Outcomes<T> = Vec<(String, Result<T, ClientError>)>;

/// A topic to be made.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    pub name: String,
    /// `None`: the broker's default, 1 with brokers before Kafka 2.4.
    pub partitions: Option<i32>,
    /// `None`: the broker's default, 1 with brokers before Kafka 2.4.
    pub replication: Option<i16>,
    /// Partition to brokers; where it is not empty, partitions and replication are not given.
    pub assignment: Vec<Vec<NodeId>>,
    pub configs: Vec<(String, String)>,
}

/// A topic as it was made; unknown to brokers before Kafka 2.4.
#[derive(Clone, Debug)]
pub struct CreatedTopic {
    pub id: TopicId,
    pub partitions: Option<i32>,
    pub replication: Option<i16>,
}

/// What has configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub kind: ResourceKind,
    /// A topic's name, a broker's id, or empty for the default of all brokers.
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ResourceKind {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

/// One key as DescribeConfigs gives it.
#[derive(Clone, Debug)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` where it is sensitive or has no value.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    pub documentation: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSource(pub i8);

impl ConfigSource {
    /// The words of Kafka's own tools, in small letters.
    pub fn name(self) -> &'static str {
        match self.0 {
            1 => "topic",
            2 => "broker",
            3 => "brokers default",
            4 => "static",
            5 => "default",
            6 => "broker logger",
            7 => "client metrics",
            8 => "group",
            _ => "unknown",
        }
    }

    /// Set on the very thing that was asked about, not inherited.
    pub fn is_own(self) -> bool {
        matches!(self.0, 1 | 2 | 6 | 7 | 8)
    }
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    pub name: String,
    pub operation: ConfigOperation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    Set(String),
    /// Back to what it inherits.
    Unset,
    /// To a key that is a list.
    Append(String),
    Subtract(String),
}

impl ConfigChange {
    fn apply(&self, configs: &mut BTreeMap<String, String>) {
        let now = configs.get(&self.name).map(String::as_str).unwrap_or_default();
        let items = || now.split(',').map(str::trim).filter(|item| !item.is_empty());
        let list = match &self.operation {
            ConfigOperation::Set(value) => value.clone(),
            ConfigOperation::Unset => {
                configs.remove(&self.name);
                return;
            }
            ConfigOperation::Append(value) if items().any(|item| item == value) => return,
            ConfigOperation::Append(value) => items().chain([value.as_str()]).collect::<Vec<_>>().join(","),
            ConfigOperation::Subtract(value) => {
                items().filter(|item| item != value).collect::<Vec<_>>().join(",")
            }
        };
        configs.insert(self.name.clone(), list);
    }
}

impl Client {
    /// Makes topics; with `validate_only` nothing is made.
    pub fn create_topics(
        &mut self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Outcomes<CreatedTopic>, ClientError> {
        let timeout_ms = self.timeout_ms();
        let response = self.tell_controller(|version| {
            CreateTopicsRequest::default()
                .with_topics(topics.iter().map(|topic| creatable(topic, version)).collect())
                .with_timeout_ms(timeout_ms)
                .with_validate_only(validate_only)
        })?;
        let outcomes = response.topics.into_iter().map(|topic| {
            let name = topic.name.0.to_string();
            let what = || format!("topic {name}");
            let made = ClientError::check(what, topic.error_code, topic.error_message.as_deref());
            let created = CreatedTopic {
                id: TopicId(topic.topic_id),
                partitions: Some(topic.num_partitions).filter(|count| *count >= 0),
                replication: Some(topic.replication_factor).filter(|count| *count >= 0),
            };
            (name, made.map(|()| created))
        });
        Ok(in_order(outcomes.collect(), topics.iter().map(|topic| &topic.name)))
    }

    pub fn delete_topics(&mut self, names: &[String]) -> Result<Outcomes<()>, ClientError> {
        let timeout_ms = self.timeout_ms();
        let response = self.tell_controller(|version| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
            let all = names.iter().map(|name| topic_name(name));
            if version >= 6 {
                let state = |name| DeleteTopicState::default().with_name(Some(name));
                request.with_topics(all.map(state).collect())
            } else {
                request.with_topic_names(all.collect())
            }
        })?;
        let outcomes = response.responses.into_iter().map(|topic| {
            let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
            let what = || format!("topic {name}");
            let outcome = ClientError::check(what, topic.error_code, topic.error_message.as_deref());
            (name, outcome)
        });
        Ok(in_order(outcomes.collect(), names.iter()))
    }

    /// Waits until the broker that is asked sees the topics as `is_seen` wants them (`None`: not there). A
    /// change is done when its answer comes, but brokers learn of it one after the other; some seconds are
    /// enough, and after them the change is done all the same.
    pub fn wait_for_topics(
        &mut self,
        names: &[String],
        is_seen: impl Fn(Option<&Topic>) -> bool,
    ) -> Result<(), ClientError> {
        let give_up = Instant::now() + SEEN_WITHIN;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        while !names.is_empty() && Instant::now() < give_up {
            let cluster = self.metadata(Some(&names), false)?;
            let there = |name: &&str| {
                cluster.topics.iter().find(|topic| topic.name == **name && topic.error.is_none())
            };
            if names.iter().all(|name| is_seen(there(name))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Raises each topic's partition count to `count`.
    pub fn create_partitions(&mut self, names: &[String], count: i32) -> Result<Outcomes<()>, ClientError> {
        let timeout_ms = self.timeout_ms();
        let response = self.tell_controller(|_| {
            let grown = |name: &String| {
                CreatePartitionsTopic::default()
                    .with_name(topic_name(name))
                    .with_count(count)
                    .with_assignments(None)
            };
            CreatePartitionsRequest::default()
                .with_topics(names.iter().map(grown).collect())
                .with_timeout_ms(timeout_ms)
        })?;
        let outcomes = response.results.into_iter().map(|topic| {
            let name = topic.name.0.to_string();
            let what = || format!("topic {name}");
            let outcome = ClientError::check(what, topic.error_code, topic.error_message.as_deref());
            (name, outcome)
        });
        Ok(in_order(outcomes.collect(), names.iter()))
    }

    /// The offsets of partitions at a timestamp, [`EARLIEST`] or [`LATEST`], asked of their leaders. Where no
    /// record is that young the offset is `None`.
    pub fn list_offsets(
        &mut self,
        topic: &str,
        partitions: &[(PartitionId, i64)],
    ) -> Result<BTreeMap<PartitionId, Option<Offset>>, ClientError> {
        self.patiently(|client| client.list_offsets_once(topic, partitions))
    }

    fn list_offsets_once(
        &mut self,
        name: &str,
        partitions: &[(PartitionId, i64)],
    ) -> Result<BTreeMap<PartitionId, Option<Offset>>, ClientError> {
        let mut offsets = BTreeMap::new();
        for (leader, asked) in self.by_leader(name, partitions)? {
            let response = self.ask(leader, |_| {
                let partition = |(id, timestamp): &(PartitionId, i64)| {
                    ListOffsetsPartition::default().with_partition_index(id.0).with_timestamp(*timestamp)
                };
                let topic = ListOffsetsTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(asked.iter().map(partition).collect());
                ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
            })?;
            for partition in response.topics.into_iter().flat_map(|topic| topic.partitions) {
                let what = || format!("offsets of {name}-{}", partition.partition_index);
                ClientError::check(what, partition.error_code, None)?;
                let offset = Some(Offset(partition.offset)).filter(|offset| offset.0 >= 0);
                offsets.insert(PartitionId(partition.partition_index), offset);
            }
        }
        match partitions.iter().find(|(id, _)| !offsets.contains_key(id)) {
            None => Ok(offsets),
            Some((id, _)) => Err(ClientError::NoAnswer(format!(
                "the broker said nothing about the offsets of {name}-{id}"
            ))),
        }
    }

    /// Deletes the records before an offset ([`LATEST`]: all there are); gives where each log now starts.
    pub fn delete_records(
        &mut self,
        topic: &str,
        partitions: &[(PartitionId, i64)],
    ) -> Result<BTreeMap<PartitionId, Offset>, ClientError> {
        self.patiently(|client| client.delete_records_once(topic, partitions))
    }

    fn delete_records_once(
        &mut self,
        name: &str,
        partitions: &[(PartitionId, i64)],
    ) -> Result<BTreeMap<PartitionId, Offset>, ClientError> {
        let timeout_ms = self.timeout_ms();
        let mut starts = BTreeMap::new();
        for (leader, asked) in self.by_leader(name, partitions)? {
            let response = self.ask(leader, |_| {
                let partition = |(id, offset): &(PartitionId, i64)| {
                    DeleteRecordsPartition::default().with_partition_index(id.0).with_offset(*offset)
                };
                let topic = DeleteRecordsTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(asked.iter().map(partition).collect());
                DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms)
            })?;
            for partition in response.topics.into_iter().flat_map(|topic| topic.partitions) {
                let what = || format!("{name}-{}", partition.partition_index);
                ClientError::check(what, partition.error_code, None)?;
                starts.insert(PartitionId(partition.partition_index), Offset(partition.low_watermark));
            }
        }
        Ok(starts)
    }

    /// The configuration of resources; `keys` empty asks for all of them.
    pub fn describe_configs(
        &mut self,
        resources: &[Resource],
        keys: &[String],
        documentation: bool,
    ) -> Result<Outcomes<Vec<ConfigEntry>>, ClientError> {
        let request = |_| {
            let keys = Some(keys.iter().map(|key| text(key)).collect()).filter(|_| !keys.is_empty());
            let resource = |resource: &Resource| {
                DescribeConfigsResource::default()
                    .with_resource_type(resource.kind as i8)
                    .with_resource_name(text(&resource.name))
                    .with_configuration_keys(keys.clone())
            };
            DescribeConfigsRequest::default()
                .with_resources(resources.iter().map(resource).collect())
                .with_include_documentation(documentation)
        };
        let response = match broker_of(resources) {
            Some(id) => self.ask(id, request),
            None => self.ask_any(request),
        }?;
        let outcomes = response.results.into_iter().map(|result| {
            let name = result.resource_name.to_string();
            let what = || describe(result.resource_type, &name);
            let outcome = ClientError::check(what, result.error_code, result.error_message.as_deref());
            let entries = result.configs.into_iter().map(|entry| ConfigEntry {
                name: entry.name.to_string(),
                value: entry.value.map(|value| value.to_string()),
                source: ConfigSource(entry.config_source),
                is_read_only: entry.read_only,
                is_sensitive: entry.is_sensitive,
                documentation: entry.documentation.map(|text| text.to_string()),
            });
            let mut entries: Vec<ConfigEntry> = entries.collect();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            (name.clone(), outcome.map(|()| entries))
        });
        Ok(in_order(outcomes.collect(), resources.iter().map(|resource| &resource.name)))
    }

    /// Changes keys of resources of one kind, each with the same changes. With a broker before Kafka 2.3 the
    /// whole configuration is read, changed and written back.
    pub fn alter_configs(
        &mut self,
        resources: &[Resource],
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<Outcomes<()>, ClientError> {
        match self.alter_incrementally(resources, changes, validate_only) {
            Err(ClientError::Unsupported { .. }) => {}
            other => return other,
        }
        let one = |resource: &Resource| {
            (resource.name.clone(), self.alter_by_replacing(resource, changes, validate_only))
        };
        Ok(resources.iter().map(one).collect())
    }

    fn alter_by_replacing(
        &mut self,
        resource: &Resource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let mut configs = BTreeMap::new();
        for (name, entries) in self.describe_configs(std::slice::from_ref(resource), &[], false)? {
            for entry in entries?.into_iter().filter(|entry| entry.source.is_own()) {
                // What cannot be read cannot be written back.
                let value = entry.value.ok_or_else(|| {
                    ClientError::NoAnswer(format!(
                        "the broker hides {} of {name}, which would be lost",
                        entry.name
                    ))
                })?;
                configs.insert(entry.name, value);
            }
        }
        for change in changes {
            change.apply(&mut configs);
        }
        self.replace_configs(resource, &configs, validate_only)
    }

    fn alter_incrementally(
        &mut self,
        resources: &[Resource],
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<Outcomes<()>, ClientError> {
        let request = |_| {
            let resource = |resource: &Resource| {
                incremental::AlterConfigsResource::default()
                    .with_resource_type(resource.kind as i8)
                    .with_resource_name(text(&resource.name))
                    .with_configs(changes.iter().map(alterable).collect())
            };
            IncrementalAlterConfigsRequest::default()
                .with_resources(resources.iter().map(resource).collect())
                .with_validate_only(validate_only)
        };
        let response = match broker_of(resources) {
            Some(id) => self.tell(id, request),
            None => self.tell_controller(request),
        }?;
        let outcomes = response.responses.into_iter().map(|result| {
            let name = result.resource_name.to_string();
            let what = || describe(result.resource_type, &name);
            let outcome = ClientError::check(what, result.error_code, result.error_message.as_deref());
            (name.clone(), outcome)
        });
        Ok(in_order(outcomes.collect(), resources.iter().map(|resource| &resource.name)))
    }

    /// Replaces the whole configuration of a resource; the only way of brokers before Kafka 2.3.
    pub fn replace_configs(
        &mut self,
        resource: &Resource,
        configs: &BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let request = |_| {
            let config = |(name, value): (&String, &String)| {
                alter_configs::AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)))
            };
            let resource = alter_configs::AlterConfigsResource::default()
                .with_resource_type(resource.kind as i8)
                .with_resource_name(text(&resource.name))
                .with_configs(configs.iter().map(config).collect());
            AlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(validate_only)
        };
        let response = match broker_of(std::slice::from_ref(resource)) {
            Some(id) => self.tell(id, request),
            None => self.tell_controller(request),
        }?;
        for result in response.responses {
            let what = || describe(result.resource_type, &result.resource_name);
            ClientError::check(what, result.error_code, result.error_message.as_deref())?;
        }
        Ok(())
    }

    /// Sorts what is asked about partitions by who leads them now.
    fn by_leader(&mut self, name: &str, asked: &[(PartitionId, i64)]) -> Result<ByLeader, ClientError> {
        let cluster = self.metadata(Some(&[name]), false)?;
        let topic = cluster.topics.iter().find(|topic| topic.name == name);
        let topic =
            topic.ok_or_else(|| ClientError::NoAnswer(format!("the broker said nothing about {name}")))?;
        ClientError::check(|| format!("topic {name}"), topic.error.map_or(0, |error| error.code()), None)?;
        let mut by_leader = ByLeader::new();
        for (id, what) in asked {
            let partition = topic.partitions.iter().find(|partition| partition.id == *id);
            let partition = partition.ok_or_else(|| ClientError::NoPartition {
                topic: name.to_owned(),
                partition: id.0,
                count: topic.partitions.len(),
            })?;
            let leader = partition.leader.filter(|leader| cluster.brokers.contains_key(leader));
            let leader = leader
                .ok_or_else(|| ClientError::NoLeader(format!("{name}-{id} has no leader at present")))?;
            by_leader.entry(leader).or_default().push((*id, *what));
        }
        Ok(by_leader)
    }

    fn timeout_ms(&self) -> i32 {
        // The broker gives up first, so that its own words arrive.
        let timeout = self.options().request_timeout.saturating_sub(Duration::from_secs(1));
        timeout.as_millis().clamp(1_000, 600_000) as i32
    }
}

fn creatable(topic: &NewTopic, version: i16) -> CreatableTopic {
    // The first version in which -1 asks for the broker's default.
    const DEFAULTS_VERSION: i16 = 4;
    let default = if version < DEFAULTS_VERSION { 1 } else { -1 };
    let config = |(name, value): &(String, String)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let assigned = |(index, brokers): (usize, &Vec<NodeId>)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index as i32)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(id.0)).collect())
    };
    let given = topic.assignment.is_empty();
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(if given { topic.partitions.unwrap_or(default) } else { -1 })
        .with_replication_factor(if given { topic.replication.unwrap_or(default as i16) } else { -1 })
        .with_assignments(topic.assignment.iter().enumerate().map(assigned).collect())
        .with_configs(topic.configs.iter().map(config).collect())
}

fn alterable(change: &ConfigChange) -> incremental::AlterableConfig {
    let (operation, value) = match &change.operation {
        ConfigOperation::Set(value) => (0, Some(value)),
        ConfigOperation::Unset => (1, None),
        ConfigOperation::Append(value) => (2, Some(value)),
        ConfigOperation::Subtract(value) => (3, Some(value)),
    };
    incremental::AlterableConfig::default()
        .with_name(text(&change.name))
        .with_config_operation(operation)
        .with_value(value.map(|value| text(value)))
}

/// The broker that alone can answer for these resources: a broker's own configuration.
fn broker_of(resources: &[Resource]) -> Option<NodeId> {
    resources
        .iter()
        .filter(|resource| matches!(resource.kind, ResourceKind::Broker | ResourceKind::BrokerLogger))
        .find_map(|resource| resource.name.parse().ok().map(NodeId))
}

fn describe(kind: i8, name: &str) -> String {
    let kind = match kind {
        2 => "topic",
        4 => "broker",
        8 => "logger of broker",
        16 => "client metrics",
        32 => "group",
        _ => "resource",
    };
    if name.is_empty() { format!("default of all {kind}s") } else { format!("{kind} {name}") }
}

/// What is asked about partitions, by the brokers that lead them.
type ByLeader = BTreeMap<NodeId, Vec<(PartitionId, i64)>>;

/// Puts outcomes into the order of `names`; one that the broker did not give is an error.
fn in_order<'a, T>(mut outcomes: Outcomes<T>, names: impl Iterator<Item = &'a String>) -> Outcomes<T> {
    names
        .map(|name| match outcomes.iter().position(|(given, _)| given == name) {
            Some(index) => outcomes.swap_remove(index),
            None => {
                (name.clone(), Err(ClientError::NoAnswer(format!("the broker said nothing about {name}"))))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_in_the_order_asked() {
        let names = ["b".to_owned(), "a".to_owned(), "c".to_owned()];
        let given = vec![("a".to_owned(), Ok(1)), ("b".to_owned(), Ok(2))];
        let sorted = in_order(given, names.iter());
        assert_eq!(sorted.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
        assert!(sorted[2].1.is_err());
    }

    #[test]
    fn changes_apply_to_a_whole_configuration() {
        let mut configs =
            BTreeMap::from([("a".to_owned(), "1".to_owned()), ("l".to_owned(), "x, y".to_owned())]);
        for (name, operation) in [
            ("a", ConfigOperation::Unset),
            ("b", ConfigOperation::Set("2".to_owned())),
            ("l", ConfigOperation::Append("z".to_owned())),
            ("l", ConfigOperation::Append("x".to_owned())),
            ("l", ConfigOperation::Subtract("y".to_owned())),
        ] {
            ConfigChange { name: name.to_owned(), operation }.apply(&mut configs);
        }
        let expected = [("b", "2"), ("l", "x,z")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(configs, BTreeMap::from(expected));
    }

    #[test]
    fn only_a_named_brokers_configuration_goes_to_that_broker() {
        let resource = |kind, name: &str| [Resource { kind, name: name.to_owned() }];
        assert_eq!(broker_of(&resource(ResourceKind::Broker, "3")), Some(NodeId(3)));
        assert_eq!(broker_of(&resource(ResourceKind::Broker, "")), None);
        assert_eq!(broker_of(&resource(ResourceKind::Topic, "3")), None);
    }
}
