//! CreateTopics, DeleteTopics and CreatePartitions: the cases that Kafka refuses, with its sentences.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    ListPartitionReassignmentsRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::controller::Decision;
use super::testing::{Cluster, NODE, topic, topic_name, with_config};
use super::{partitions, topics};
use crate::metadata::ResourceType;
use crate::protocol::stored::metadata::{Record, RegisterBrokerRecord};
use crate::types::PartitionId;

impl Cluster {
    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<(String, i16, Option<String>)> {
        let request = CreateTopicsRequest::default().with_topics(topics);
        let decision = topics::create_topics(&self.context(), &request);
        self.apply(&decision.batches);
        let results = decision.response.topics.into_iter();
        results.map(|t| (t.name.to_string(), t.error_code, t.error_message.map(|m| m.to_string()))).collect()
    }

    /// The code and sentence with which one topic is refused.
    fn refused(&mut self, topic: CreatableTopic) -> (i16, String) {
        let before = self.image.clone();
        let (_, code, message) = self.create(vec![topic]).remove(0);
        assert_eq!(self.image, before, "a refused topic changes nothing");
        (code, message.unwrap_or_default())
    }
}

fn assigned(name: &str, replicas: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, ids): &(i32, &[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*index)
            .with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
    };
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(replicas.iter().map(assignment).collect())
}

#[test]
fn a_topic_is_its_record_then_its_keys_then_its_partitions() {
    let mut cluster = Cluster::new("");
    let wanted = with_config(topic("orders", 2), "retention.ms", "5");
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]);
    let decision = topics::create_topics(&cluster.context(), &request);
    let names: Vec<_> = decision.batches[0].iter().map(|v| (v.record.name(), v.version)).collect();
    let expected = [("TopicRecord", 0), ("ConfigRecord", 0), ("PartitionRecord", 2), ("PartitionRecord", 2)];
    assert_eq!(names, expected);
    let result = &decision.response.topics[0];
    assert_eq!((result.num_partitions, result.replication_factor), (2, 1));
    let configs = result.configs.as_ref().unwrap();
    let retention = configs.iter().find(|config| &*config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5"), 1));
    cluster.apply(&decision.batches);
    let made = cluster.image.topic("orders").unwrap();
    assert_eq!(made.id.0, result.topic_id);
    assert_eq!(made.partitions[1].directories, [Uuid::from_u128(1000)]);
    assert_eq!(cluster.image.setting(ResourceType::Topic, "orders", "retention.ms"), Some("5"));
}

#[test]
fn defaults_are_the_brokers_and_validate_only_makes_nothing() {
    let cluster = Cluster::new("num.partitions=7\n");
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic("a", -1).with_replication_factor(-1)])
        .with_validate_only(true);
    let decision = topics::create_topics(&cluster.context(), &request);
    assert_eq!(decision.response.topics[0].num_partitions, 7);
    assert!(decision.batches.is_empty());
}

#[test]
fn refuses_names_with_kafkas_sentences() {
    let mut cluster = Cluster::new("");
    let long = "x".repeat(250);
    for (name, why) in [
        ("", "the empty string is not allowed".to_owned()),
        (".", "'.' is not allowed".to_owned()),
        ("..", "'..' is not allowed".to_owned()),
        (&long, format!("the length of '{long}' is longer than the max allowed length 249")),
        (
            "a b",
            "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
                .to_owned(),
        ),
    ] {
        assert_eq!(cluster.refused(topic(name, 1)), (17, format!("Topic name is invalid: {why}")));
    }
    cluster.create(vec![topic("a.b", 1)]);
    assert_eq!(cluster.refused(topic("a.b", 1)), (36, "Topic 'a.b' already exists.".to_owned()));
    let collides = "Topic 'a_b' collides with existing topic: a.b".to_owned();
    assert_eq!(cluster.refused(topic("a_b", 1)), (17, collides));
    let internal = "Creation of internal topic __cluster_metadata is prohibited.".to_owned();
    assert_eq!(cluster.refused(topic("__cluster_metadata", 1)), (42, internal));
}

#[test]
fn a_name_that_stands_twice_is_refused_once_and_the_others_go_on() {
    let mut cluster = Cluster::new("");
    let results = cluster.create(vec![topic("a", 1), topic("b", 1), topic("a", 2)]);
    let duplicate = Some("Duplicate topic name.".to_owned());
    assert_eq!(results, [("b".to_owned(), 0, None), ("a".to_owned(), 42, duplicate)]);
    assert_eq!(cluster.image.topic_count(), 1);
}

#[test]
fn refuses_counts_and_factors_that_cannot_be() {
    let mut cluster = Cluster::new("");
    let positive = "Number of partitions was set to an invalid non-positive value.".to_owned();
    for count in [0, -2] {
        assert_eq!(cluster.refused(topic("a", count)), (37, positive.clone()));
    }
    let factor = "Replication factor must be larger than 0, or -1 to use the default value.".to_owned();
    for count in [0, -2] {
        assert_eq!(cluster.refused(topic("a", 1).with_replication_factor(count)), (38, factor.clone()));
    }
    let few = "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be \
               reached because only 1 broker(s) are registered.";
    assert_eq!(cluster.refused(topic("a", 1).with_replication_factor(2)), (38, few.to_owned()));
    let many = "Excessively large number of partitions per request.".to_owned();
    assert_eq!(cluster.refused(topic("a", 10_001)), (44, many));
    let large = "Unable to perform excessively large batch operation.".to_owned();
    assert_eq!(cluster.refused(topic("a", 10_000)), (44, large));
    assert_eq!(cluster.create(vec![topic("a", 9_999)])[0].1, 0);
}

#[test]
fn refuses_assignments_that_cannot_be_and_takes_those_that_can() {
    let mut cluster = Cluster::new("");
    let invalid = ResponseError::InvalidReplicaAssignment.code();
    for (assignment, message) in [
        (
            assigned("a", &[(0, &[1]), (0, &[1])]),
            "Found multiple manual partition assignments for partition 0",
        ),
        (assigned("a", &[(0, &[])]), "The manual partition assignment includes an empty replica list."),
        (
            assigned("a", &[(0, &[5])]),
            "The manual partition assignment includes broker 5, but no such broker is registered.",
        ),
        (
            assigned("a", &[(0, &[1, 1])]),
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (assigned("a", &[(1, &[1])]), "partitions should be a consecutive 0-based integer sequence"),
    ] {
        assert_eq!(cluster.refused(assignment), (invalid, message.to_owned()));
    }
    let factor = assigned("a", &[(0, &[1])]).with_replication_factor(1);
    let message = "A manual partition assignment was specified, but replication factor was not set to -1.";
    assert_eq!(cluster.refused(factor), (42, message.to_owned()));
    let count = assigned("a", &[(0, &[1])]).with_num_partitions(1);
    let message = "A manual partition assignment was specified, but numPartitions was not set to -1.";
    assert_eq!(cluster.refused(count), (42, message.to_owned()));
    assert_eq!(cluster.create(vec![assigned("a", &[(1, &[1]), (0, &[1])])])[0].1, 0);
    assert_eq!(cluster.image.topic("a").unwrap().partitions.len(), 2);
}

#[test]
fn refuses_keys_and_values_that_are_none() {
    let mut cluster = Cluster::new("");
    let unknown = with_config(topic("a", 1), "no.such.key", "1");
    assert_eq!(cluster.refused(unknown), (40, "Unknown topic config name: no.such.key".to_owned()));
    assert_eq!(cluster.refused(with_config(topic("a", 1), "retention.ms", "soon")).0, 40);
    let null =
        CreatableTopicConfig::default().with_name(StrBytes::from_static_str("retention.ms")).with_value(None);
    let message = "Null value not supported for topic configs: retention.ms".to_owned();
    assert_eq!(cluster.refused(topic("a", 1).with_configs(vec![null])), (40, message));
}

#[test]
fn a_fenced_broker_takes_no_topic() {
    let mut cluster = Cluster::new("");
    let mut broker = RegisterBrokerRecord { broker_id: NODE, ..RegisterBrokerRecord::default() };
    broker.fenced = true;
    cluster.image.apply(&Record::from(broker)).unwrap();
    let message = "Unable to replicate the partition 1 time(s): All brokers are currently fenced.";
    assert_eq!(cluster.refused(topic("a", 1)), (38, message.to_owned()));
    let message = "All brokers specified in the manual partition assignment for partition 0 are fenced or in \
                   controlled shutdown.";
    assert_eq!(cluster.refused(assigned("a", &[(0, &[1])])), (39, message.to_owned()));
}

type Deleted = Vec<(Option<String>, Uuid, i16, Option<String>)>;

fn delete(cluster: &mut Cluster, request: DeleteTopicsRequest, version: i16) -> Deleted {
    let Decision { batches, response } = topics::delete_topics(&cluster.context(), &request, version);
    cluster.apply(&batches);
    let results = response.responses.into_iter();
    results
        .map(|r| {
            let text = r.error_message.map(|m| m.to_string());
            (r.name.map(|n| n.to_string()), r.topic_id, r.error_code, text)
        })
        .collect()
}

fn state(name: Option<&str>, id: Uuid) -> DeleteTopicState {
    DeleteTopicState::default().with_name(name.map(topic_name)).with_topic_id(id)
}

#[test]
fn deletes_by_name_and_by_id_and_tells_what_it_cannot() {
    let mut cluster = Cluster::new("");
    cluster.create(vec![topic("a", 1), topic("b", 1), topic("c", 1)]);
    let id = |cluster: &Cluster, name: &str| cluster.image.topic(name).unwrap().id.0;
    let (a, b, c) = (id(&cluster, "a"), id(&cluster, "b"), id(&cluster, "c"));
    let request = DeleteTopicsRequest::default().with_topics(vec![
        state(Some("a"), Uuid::nil()),
        state(None, b),
        state(None, Uuid::nil()),
        state(Some("c"), c),
        state(None, Uuid::from_u128(77)),
        state(Some("none"), Uuid::nil()),
    ]);
    let mut results = delete(&mut cluster, request, 6);
    results.sort();
    let mut expected: Deleted = vec![
        (Some("a".into()), a, 0, None),
        (Some("b".into()), b, 0, None),
        (None, Uuid::nil(), 42, Some("Neither topic name nor id were specified.".into())),
        (Some("c".into()), c, 42, Some("You may not specify both topic name and topic id.".into())),
        (None, Uuid::from_u128(77), 100, Some("This server does not host this topic ID.".into())),
        (Some("none".into()), Uuid::nil(), 3, Some("This server does not host this topic-partition.".into())),
    ];
    expected.sort();
    assert_eq!(results, expected);
    assert_eq!(cluster.image.topics().map(|topic| topic.name.to_string()).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn what_is_asked_twice_is_not_deleted() {
    let mut cluster = Cluster::new("");
    cluster.create(vec![topic("a", 1), topic("b", 1)]);
    let b = cluster.image.topic("b").unwrap().id.0;
    let names = ["a", "a", "a"].map(topic_name).to_vec();
    let results = delete(&mut cluster, DeleteTopicsRequest::default().with_topic_names(names), 5);
    assert_eq!(results, [(Some("a".into()), Uuid::nil(), 42, Some("Duplicate topic name.".into()))]);
    let both = vec![state(None, b), state(Some("b"), Uuid::nil())];
    let results = delete(&mut cluster, DeleteTopicsRequest::default().with_topics(both), 6);
    let message = "The provided topic name maps to an ID that was already supplied.".to_owned();
    assert_eq!(results, [(Some("b".into()), b, 42, Some(message))]);
    assert_eq!(cluster.image.topic_count(), 2);
}

#[test]
fn deletes_nothing_where_deletion_is_off() {
    let mut cluster = Cluster::new("delete.topic.enable=false\n");
    cluster.create(vec![topic("a", 1)]);
    let request = || DeleteTopicsRequest::default().with_topic_names(vec![topic_name("a")]);
    assert_eq!(delete(&mut cluster, request(), 2), [(Some("a".into()), Uuid::nil(), 42, None)]);
    assert_eq!(delete(&mut cluster, request(), 5), [(Some("a".into()), Uuid::nil(), 73, None)]);
    assert_eq!(cluster.image.topic_count(), 1);
}

fn grow(cluster: &mut Cluster, topics: Vec<CreatePartitionsTopic>) -> Vec<(i16, Option<String>)> {
    let request = CreatePartitionsRequest::default().with_topics(topics);
    let Decision { batches, response } = partitions::create_partitions(&cluster.context(), &request);
    cluster.apply(&batches);
    let results = response.results.into_iter();
    results.map(|r| (r.error_code, r.error_message.map(|m| m.to_string()))).collect()
}

fn growth(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignment = |ids: &&[i32]| {
        CreatePartitionsAssignment::default().with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
    };
    CreatePartitionsTopic::default()
        .with_name(topic_name(name))
        .with_count(count)
        .with_assignments(assignments.map(|all| all.iter().map(assignment).collect()))
}

#[test]
fn topics_grow_and_never_shrink() {
    let mut cluster = Cluster::new("");
    cluster.create(vec![topic("a", 2)]);
    assert_eq!(grow(&mut cluster, vec![growth("a", 5, None)]), [(0, None)]);
    assert_eq!(cluster.image.topic("a").unwrap().partitions.len(), 5);
    assert_eq!(grow(&mut cluster, vec![growth("a", 6, Some(&[&[1]]))]), [(0, None)]);
    assert!(cluster.image.partition("a", PartitionId(5)).is_some());
    for (asked, code, message) in [
        (growth("none", 5, None), 3, None),
        (growth("a", 6, None), 37, Some("Topic already has 6 partition(s).")),
        (
            growth("a", 1, None),
            37,
            Some("The topic a currently has 6 partition(s); 1 would not be an increase."),
        ),
        (
            growth("a", 8, Some(&[&[1]])),
            39,
            Some("Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."),
        ),
        (
            growth("a", 7, Some(&[&[3]])),
            39,
            Some("The manual partition assignment includes broker 3, but no such broker is registered."),
        ),
        (growth("a", i32::MAX, None), -1, None),
    ] {
        assert_eq!(grow(&mut cluster, vec![asked]), [(code, message.map(str::to_owned))]);
    }
    let twice = vec![growth("a", 7, None), growth("a", 8, None)];
    assert_eq!(grow(&mut cluster, twice), [(42, Some("Duplicate topic name.".to_owned()))]);
    assert_eq!(cluster.image.topic("a").unwrap().partitions.len(), 6);
}

#[test]
fn nothing_is_reassigning() {
    let mut cluster = Cluster::new("");
    cluster.create(vec![topic("a", 2)]);
    let all = ListPartitionReassignmentsRequest::default().with_topics(None);
    let response = partitions::list_reassignments(&cluster.image, &all);
    assert_eq!((response.error_code, response.error_message, response.topics.len()), (0, None, 0));
}
