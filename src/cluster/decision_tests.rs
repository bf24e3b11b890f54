//! Configurations, features, elections, producer ids and brokers: what is decided and what is refused.

use kafka_protocol::messages::alter_configs_request::{
    AlterConfigsResource as LegacyResource, AlterableConfig as LegacyConfig,
};
use kafka_protocol::messages::broker_registration_request::Feature;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AlterConfigsRequest, BrokerId, BrokerRegistrationRequest,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::testing::{Cluster, NODE, topic, topic_name};
use super::{brokers, configs, elections, features, producer_ids, topics};
use crate::metadata::topic::NO_LEADER;
use crate::metadata::{Image, ResourceType};
use crate::protocol::stored::metadata::{PartitionChangeRecord, Record, RegisterBrokerRecord};
use crate::types::{LeaderEpoch, NodeId, PartitionId, ProducerId};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn with_topic(properties: &str) -> Cluster {
    let mut cluster = Cluster::new(properties);
    let request = kafka_protocol::messages::CreateTopicsRequest::default().with_topics(vec![topic("a", 2)]);
    let decision = topics::create_topics(&cluster.context(), &request);
    cluster.apply(&decision.batches);
    cluster
}

type Outcome = (i16, Option<String>);
/// Key, operation, value.
type KeyChange<'a> = (&'a str, i8, Option<&'a str>);
/// Type, name, changes.
type ResourceChange<'a> = (i8, &'a str, &'a [KeyChange<'a>]);

fn alter(cluster: &mut Cluster, resources: &[ResourceChange<'_>]) -> Vec<Outcome> {
    let resource = |(kind, name, changes): &ResourceChange<'_>| {
        let change = |(key, op, value): &KeyChange<'_>| {
            AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(*op)
                .with_value(value.map(text))
        };
        AlterConfigsResource::default()
            .with_resource_type(*kind)
            .with_resource_name(text(name))
            .with_configs(changes.iter().map(change).collect())
    };
    let request =
        IncrementalAlterConfigsRequest::default().with_resources(resources.iter().map(resource).collect());
    let decision = configs::incremental_alter(&cluster.context(), &request, &mut |_, _, _| Ok(()));
    cluster.apply(&decision.batches);
    let results = decision.response.responses.into_iter();
    results.map(|r| (r.error_code, r.error_message.map(|m| m.to_string()))).collect()
}

fn setting(image: &Image, kind: ResourceType, name: &str, key: &str) -> Option<String> {
    image.setting(kind, name, key).map(str::to_owned)
}

#[test]
fn incremental_changes_set_remove_append_and_subtract() {
    let mut cluster = with_topic("");
    let (topic, broker) = (ResourceType::Topic as i8, ResourceType::Broker as i8);
    let changes: &[_] = &[("retention.ms", 0, Some("5")), ("cleanup.policy", 2, Some("compact"))];
    assert_eq!(alter(&mut cluster, &[(topic, "a", changes)]), [(0, None)]);
    assert_eq!(setting(&cluster.image, ResourceType::Topic, "a", "retention.ms").as_deref(), Some("5"));
    let policy = setting(&cluster.image, ResourceType::Topic, "a", "cleanup.policy");
    assert_eq!(policy.as_deref(), Some("delete,compact"));
    let changes: &[_] = &[("retention.ms", 1, None), ("cleanup.policy", 3, Some("delete"))];
    assert_eq!(alter(&mut cluster, &[(topic, "a", changes)]), [(0, None)]);
    assert_eq!(setting(&cluster.image, ResourceType::Topic, "a", "retention.ms"), None);
    let policy = setting(&cluster.image, ResourceType::Topic, "a", "cleanup.policy");
    assert_eq!(policy.as_deref(), Some("compact"));
    let threads: &[_] = &[("num.io.threads", 0, Some("9"))];
    assert_eq!(alter(&mut cluster, &[(broker, "", threads), (broker, "1", threads)]), [(0, None), (0, None)]);
    assert_eq!(setting(&cluster.image, ResourceType::Broker, "", "num.io.threads").as_deref(), Some("9"));
}

#[test]
fn a_resource_that_is_refused_does_not_keep_others_from_changing() {
    let mut cluster = with_topic("");
    let topic = ResourceType::Topic as i8;
    let set: &[_] = &[("retention.ms", 0, Some("5"))];
    let unknown: &[_] = &[("no.such.key", 0, Some("5"))];
    let results = alter(&mut cluster, &[(topic, "none", set), (topic, "a", set), (7, "x", set)]);
    let expected: [Outcome; 3] = [
        (3, Some("The topic 'none' does not exist.".into())),
        (0, None),
        (42, Some("Unknown resource type 7".into())),
    ];
    assert_eq!(results, expected);
    assert_eq!(setting(&cluster.image, ResourceType::Topic, "a", "retention.ms").as_deref(), Some("5"));
    let results = alter(&mut cluster, &[(topic, "a", unknown)]);
    assert_eq!(results, [(40, Some("Unknown topic config name: no.such.key".into()))]);
    let twice = alter(&mut cluster, &[(topic, "a", set), (topic, "a", set)]);
    let once = (42, Some("Each resource must appear at most once.".to_owned()));
    assert_eq!(twice, [once.clone(), once]);
    let other = alter(&mut cluster, &[(ResourceType::Broker as i8, "8", set)]);
    assert_eq!(other, [(42, Some("Unexpected broker id, expected 1, but received 8".into()))]);
}

#[test]
fn the_minimum_in_sync_is_the_clusters_while_eligible_replicas_are_kept() {
    let mut cluster = with_topic("");
    let broker = ResourceType::Broker as i8;
    let set: &[_] = &[("min.insync.replicas", 0, Some("2"))];
    let remove: &[_] = &[("min.insync.replicas", 1, None)];
    let refused = "Broker-level min.insync.replicas cannot be altered while ELR is enabled.";
    assert_eq!(alter(&mut cluster, &[(broker, "1", set)]), [(40, Some(refused.into()))]);
    let refused = "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.";
    assert_eq!(alter(&mut cluster, &[(broker, "", remove)]), [(40, Some(refused.into()))]);
    assert_eq!(alter(&mut cluster, &[(broker, "", set)]), [(0, None)]);
}

#[test]
fn legacy_changes_replace_all_keys() {
    let mut cluster = with_topic("");
    alter(&mut cluster, &[(ResourceType::Topic as i8, "a", &[("retention.ms", 0, Some("5"))])]);
    let config = LegacyConfig::default().with_name(text("segment.bytes")).with_value(Some(text("1048576")));
    let resource = LegacyResource::default()
        .with_resource_type(ResourceType::Topic as i8)
        .with_resource_name(text("a"))
        .with_configs(vec![config]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let validated = configs::legacy_alter(&cluster.context(), &request.clone().with_validate_only(true));
    assert!(validated.batches.is_empty());
    let decision = configs::legacy_alter(&cluster.context(), &request);
    assert_eq!(decision.response.responses[0].error_code, 0);
    cluster.apply(&decision.batches);
    let settings = cluster.image.settings(ResourceType::Topic, "a").unwrap();
    assert_eq!(settings.keys().collect::<Vec<_>>(), ["segment.bytes"]);
}

fn update(cluster: &mut Cluster, updates: &[(&str, i16, i8)], version: i16) -> (Outcome, usize) {
    let update = |(name, level, how): &(&str, i16, i8)| {
        FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(*level)
            .with_upgrade_type(*how)
    };
    let request = UpdateFeaturesRequest::default().with_feature_updates(updates.iter().map(update).collect());
    let decision = features::update_features(&cluster.context(), &request, version);
    cluster.apply(&decision.batches);
    let response = decision.response;
    ((response.error_code, response.error_message.map(|m| m.to_string())), response.results.len())
}

#[test]
fn features_move_within_what_is_supported_and_all_or_none() {
    let mut cluster = with_topic("");
    let elr = "eligible.leader.replicas.version";
    assert_eq!(update(&mut cluster, &[("metadata.version", 25, 2)], 1), ((0, None), 1));
    assert_eq!(cluster.image.features.metadata_version(), 25);
    assert_eq!(update(&mut cluster, &[("metadata.version", 27, 1)], 2), ((0, None), 0));
    assert_eq!(update(&mut cluster, &[(elr, 0, 2)], 2).0, (0, None));
    assert_eq!(cluster.image.features.get(elr), 0);
    assert_eq!(update(&mut cluster, &[(elr, 1, 1)], 2).0, (0, None));
    let min_isr = setting(&cluster.image, ResourceType::Broker, "", "min.insync.replicas");
    assert_eq!(min_isr.as_deref(), Some("1"));

    let before = cluster.image.clone();
    let prefix = "The update failed for all features since the following feature had an error: ";
    for (updates, message) in [
        (
            vec![("metadata.version", 26, 1)],
            "Invalid update version 26 for feature metadata.version. Can't downgrade the version of this \
             feature without setting the upgrade type to either safe or unsafe downgrade.",
        ),
        (
            vec![("metadata.version", 28, 1)],
            "Invalid update version 28 for feature metadata.version. Local controller 1 only supports \
             versions 7-27",
        ),
        (
            vec![("metadata.version", 20, 2)],
            "Invalid metadata.version 20. Refusing to perform the requested downgrade because it might \
             delete metadata information.",
        ),
        (
            vec![("metadata.version", 20, 3)],
            "Invalid metadata.version 20. Unsafe metadata downgrade is not supported in this version.",
        ),
        (
            vec![("share.version", 1, 1)],
            "Invalid update version 1 for feature share.version. Local controller 1 does not support this \
             feature.",
        ),
        (
            vec![("no.such.feature", 1, 1)],
            "Invalid update version 1 for feature no.such.feature. Local controller 1 does not support this \
             feature.",
        ),
        (
            vec![(elr, 0, 0)],
            "Invalid update version 0 for feature eligible.leader.replicas.version. The controller does not \
             support the given upgrade type.",
        ),
        (
            vec![(elr, -1, 1)],
            "Invalid update version -1 for feature eligible.leader.replicas.version. A feature version \
             cannot be less than 0.",
        ),
        (
            vec![("kraft.version", 0, 2)],
            "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature.",
        ),
        (
            vec![(elr, 0, 2), ("metadata.version", 28, 1)],
            "Invalid update version 28 for feature metadata.version. Local controller 1 only supports \
             versions 7-27",
        ),
    ] {
        let ((code, text), _) = update(&mut cluster, &updates, 2);
        assert_eq!((code, text), (95, Some(format!("{prefix}{message}"))));
        assert_eq!(cluster.image, before);
    }
}

fn elect(cluster: &mut Cluster, kind: i8, partitions: Option<(&str, &[i32])>) -> Vec<(i32, i16)> {
    let asked = partitions.map(|(name, partitions)| {
        vec![TopicPartitions::default().with_topic(topic_name(name)).with_partitions(partitions.to_vec())]
    });
    let request = ElectLeadersRequest::default().with_election_type(kind).with_topic_partitions(asked);
    let decision = elections::elect_leaders(&cluster.context(), &request);
    cluster.apply(&decision.batches);
    let results = decision.response.replica_election_results.into_iter();
    results.flat_map(|r| r.partition_result).map(|p| (p.partition_id, p.error_code)).collect()
}

fn change(cluster: &mut Cluster, partition: i32, change: PartitionChangeRecord) {
    let topic_id = cluster.image.topic("a").unwrap().id;
    let record = PartitionChangeRecord { topic_id, partition_id: PartitionId(partition), ..change };
    cluster.image.apply(&Record::from(record)).unwrap();
}

#[test]
fn elections_find_the_preferred_leader_or_say_why_not() {
    let mut cluster = with_topic("");
    assert_eq!(elect(&mut cluster, 0, Some(("a", &[0, 9]))), [(0, 84), (9, 3)]);
    assert_eq!(elect(&mut cluster, 0, Some(("none", &[0]))), [(0, 3)]);
    assert_eq!(elect(&mut cluster, 0, None), []);
    assert_eq!(elect(&mut cluster, 0, Some(("a", &[]))), []);
    // A partition whose leader is gone while its replica is in sync.
    let gone = PartitionChangeRecord { leader: NO_LEADER, ..PartitionChangeRecord::default() };
    change(&mut cluster, 0, gone.clone());
    assert_eq!(elect(&mut cluster, 0, None), [(0, 0)]);
    let partition = cluster.image.partition("a", PartitionId(0)).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch), (NODE, LeaderEpoch(2)));
    // One that no replica is in sync of.
    change(&mut cluster, 1, PartitionChangeRecord { isr: Some(vec![]), ..gone });
    assert_eq!(elect(&mut cluster, 0, Some(("a", &[1]))), [(1, 80)]);
    assert_eq!(elect(&mut cluster, 1, Some(("a", &[1, 0]))), [(1, 0), (0, 84)]);
    let partition = cluster.image.partition("a", PartitionId(1)).unwrap();
    assert_eq!((partition.leader, partition.recovering), (NODE, true));
    let request = ElectLeadersRequest::default().with_election_type(5).with_topic_partitions(None);
    let refused = elections::elect_leaders(&cluster.context(), &request).response;
    assert_eq!(refused.error_code, 42);
}

#[test]
fn producer_ids_come_in_blocks_and_only_to_the_broker_that_is() {
    let mut cluster = Cluster::new("");
    let mut allocate = |epoch| {
        let request =
            AllocateProducerIdsRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(epoch);
        let decision = producer_ids::allocate(&cluster.context(), &request);
        cluster.apply(&decision.batches);
        (
            decision.response.error_code,
            decision.response.producer_id_start.0,
            decision.response.producer_id_len,
        )
    };
    assert_eq!(allocate(5), (0, 0, 1000));
    assert_eq!(allocate(5), (0, 1000, 1000));
    assert_eq!(allocate(4).0, 77);
    cluster.image.next_producer_id = Some(ProducerId(i64::MAX - 5));
    let request = AllocateProducerIdsRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(5);
    assert_eq!(producer_ids::allocate(&cluster.context(), &request).response.error_code, -1);
}

#[test]
fn registrations_that_cannot_be_are_refused() {
    let mut cluster = Cluster::new("");
    cluster.image.cluster_id = "mine".into();
    let other = RegisterBrokerRecord {
        broker_id: NodeId(2),
        log_dirs: vec![Uuid::from_u128(2000)],
        ..RegisterBrokerRecord::default()
    };
    cluster.image.apply(&Record::from(other)).unwrap();
    let feature = Feature::default()
        .with_name(text("metadata.version"))
        .with_min_supported_version(7)
        .with_max_supported_version(27);
    let good = BrokerRegistrationRequest::default()
        .with_broker_id(BrokerId(1))
        .with_cluster_id(text("mine"))
        .with_incarnation_id(Uuid::from_u128(9))
        .with_features(vec![feature])
        .with_log_dirs(vec![Uuid::from_u128(1000)]);
    let dirs = |ids: &[u128]| ids.iter().map(|id| Uuid::from_u128(*id)).collect::<Vec<_>>();
    for (request, code, message) in [
        (
            good.clone().with_cluster_id(text("yours")),
            104,
            "Expected cluster ID mine, but got cluster ID yours".to_owned(),
        ),
        (good.clone().with_log_dirs(dirs(&[])), 119, "No directories specified in request".to_owned()),
        (good.clone().with_log_dirs(dirs(&[5])), 119, "Reserved directory ID in request".to_owned()),
        (good.clone().with_log_dirs(dirs(&[500, 500])), 119, "Duplicate directory ID in request".to_owned()),
        (
            good.clone().with_log_dirs(dirs(&[2000])),
            119,
            "Broker 2 is already registered with directory AAAAAAAAAAAAAAAAAAAH0A".to_owned(),
        ),
        (
            good.clone().with_features(vec![]),
            119,
            "Request features do not contain 'metadata.version'".to_owned(),
        ),
    ] {
        let decision = brokers::register(&cluster.context(), &request);
        let error = decision.response.unwrap_err();
        assert_eq!((error.code(), error.message), (code, Some(message)));
        assert!(decision.batches.is_empty());
    }
    let decision = brokers::register(&cluster.context(), &good);
    assert_eq!(decision.response, Ok(cluster.context().next_offset().0));
    cluster.apply(&decision.batches);
    assert!(cluster.image.broker(NODE).unwrap().fenced);
    let stale = brokers::unfence(&cluster.context(), NODE, 77).response.unwrap_err();
    assert_eq!(stale.code(), 77);
}

#[test]
fn no_other_broker_lives_beside_a_single_node() {
    let mut cluster = with_topic("");
    let other = RegisterBrokerRecord { broker_id: NodeId(2), fenced: false, ..Default::default() };
    cluster.image.apply(&Record::from(other)).unwrap();
    let both = Some(vec![NodeId(2), NODE]);
    let led = PartitionChangeRecord {
        leader: NodeId(2),
        replicas: both.clone(),
        isr: both,
        ..PartitionChangeRecord::default()
    };
    change(&mut cluster, 0, led);
    let decision = brokers::fence_others(&cluster.context());
    cluster.apply(&decision.batches);
    assert!(cluster.image.broker(NodeId(2)).unwrap().fenced && !cluster.image.broker(NODE).unwrap().fenced);
    let partition = cluster.image.partition("a", PartitionId(0)).unwrap();
    assert_eq!((partition.leader, partition.isr.as_slice()), (NODE, &[NODE][..]));
}
