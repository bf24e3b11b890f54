//! The oracle: the same bytes go to our broker and to Apache Kafka 4.1.1, and the decoded answers must be
//! equal but for what `exempt.rs` lists, each with its reason.
//!
//! A file per API, which begins with `pub const API` and holds its cases; a case is one function that is
//! run for each version it names. Both brokers are fresh, and see the same requests in the same order. What
//! differs under another configuration is in `second.rs` and `held_back.rs`, with pairs of brokers of their own.
//! `ORACLE_LEFT` and `ORACLE_RIGHT` (host:port) put running brokers in their place, `ORACLE_ONLY=Fetch` or
//! `ORACLE_ONLY=Fetch/sessions` runs a part, and the whole list of differences is written to
//! `target/tmp/oracle-differences-*.txt`.
//!
//! needs: java
//! limit: 900

#[path = "../harness/mod.rs"]
mod harness;

mod cases;
mod exempt;
mod pair;

mod alter_configs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod held_back;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod members;
mod metadata;
mod migration;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod second;
mod sync_group;
mod update_features;

use cases::{Group, run};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use harness::process::free_port;
use harness::{Apache, Thalweg, scratch};
use pair::{Pair, Side};

/// Every case file. What changes the whole broker stands last.
const GROUPS: &[Group] = &[
    Group { api: api_versions::API, cases: api_versions::CASES },
    Group { api: metadata::API, cases: metadata::CASES },
    Group { api: describe_cluster::API, cases: describe_cluster::CASES },
    Group { api: create_topics::API, cases: create_topics::CASES },
    Group { api: delete_topics::API, cases: delete_topics::CASES },
    Group { api: create_partitions::API, cases: create_partitions::CASES },
    Group { api: produce::API, cases: produce::CASES },
    Group { api: init_producer_id::API, cases: init_producer_id::CASES },
    Group { api: fetch::API, cases: fetch::CASES },
    Group { api: find_coordinator::API, cases: find_coordinator::CASES },
    Group { api: join_group::API, cases: join_group::CASES },
    Group { api: sync_group::API, cases: sync_group::CASES },
    Group { api: heartbeat::API, cases: heartbeat::CASES },
    Group { api: leave_group::API, cases: leave_group::CASES },
    Group { api: list_groups::API, cases: list_groups::CASES },
    Group { api: describe_groups::API, cases: describe_groups::CASES },
    Group { api: delete_groups::API, cases: delete_groups::CASES },
    Group { api: consumer_group_heartbeat::API, cases: consumer_group_heartbeat::CASES },
    Group { api: consumer_group_describe::API, cases: consumer_group_describe::CASES },
    Group { api: migration::API, cases: migration::CASES },
    Group { api: list_offsets::API, cases: list_offsets::CASES },
    Group { api: delete_records::API, cases: delete_records::CASES },
    Group { api: offset_for_leader_epoch::API, cases: offset_for_leader_epoch::CASES },
    Group { api: offset_commit::API, cases: offset_commit::CASES },
    Group { api: offset_fetch::API, cases: offset_fetch::CASES },
    Group { api: offset_delete::API, cases: offset_delete::CASES },
    Group { api: describe_producers::API, cases: describe_producers::CASES },
    Group { api: describe_topic_partitions::API, cases: describe_topic_partitions::CASES },
    Group { api: describe_log_dirs::API, cases: describe_log_dirs::CASES },
    Group { api: describe_quorum::API, cases: describe_quorum::CASES },
    Group { api: elect_leaders::API, cases: elect_leaders::CASES },
    Group { api: list_partition_reassignments::API, cases: list_partition_reassignments::CASES },
    Group { api: describe_configs::API, cases: describe_configs::CASES },
    Group { api: alter_configs::API, cases: alter_configs::CASES },
    Group { api: incremental_alter_configs::API, cases: incremental_alter_configs::CASES },
    Group { api: list_config_resources::API, cases: list_config_resources::CASES },
    Group { api: update_features::API, cases: update_features::CASES },
];

/// What `tests/apache-kafka/run` adds to a file for one node: the same keys are set on both sides, so that
/// DescribeConfigs gives them the same source.
const OPTIONS: &[&str] = &[
    "process.roles=broker,controller",
    "node.id=1",
    "controller.quorum.bootstrap.servers=127.0.0.1:1",
    "controller.listener.names=CONTROLLER",
    "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
    "offsets.topic.replication.factor=1",
    "transaction.state.log.replication.factor=1",
    "share.coordinator.state.topic.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "share.coordinator.state.topic.min.isr=1",
];

/// What a pair of brokers is started with, and the cases that are asked under it.
struct Profile {
    name: &'static str,
    /// For both.
    options: &'static [&'static str],
    /// For ours alone.
    ours: &'static [&'static str],
    /// The listeners, of which each is on a port of its own; `CONTROLLER` is added.
    listeners: &'static [&'static str],
    groups: &'static [Group],
}

#[test]
fn answers_are_those_of_apache_kafka() {
    judge(&Profile {
        name: "default",
        // A group's first round does not wait for those who may come.
        options: &["group.initial.rebalance.delay.ms=0"],
        ours: OPTIONS,
        listeners: &["PLAINTEXT"],
        groups: GROUPS,
    });
}

#[test]
fn answers_are_those_of_apache_kafka_under_another_configuration() {
    judge(&second::PROFILE);
}

#[test]
fn answers_are_those_of_apache_kafka_where_groups_are_small_and_only_go_up() {
    judge(&held_back::UP);
}

#[test]
fn answers_are_those_of_apache_kafka_where_groups_only_go_down() {
    judge(&held_back::DOWN);
}

#[test]
fn answers_are_those_of_apache_kafka_where_no_group_is_a_consumer_group() {
    judge(&held_back::CLASSIC);
}

/// Starts both brokers, asks them all cases of the profile, and stops them. One profile at a time.
fn judge(profile: &Profile) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if !cases::any_wanted(profile.groups) {
        return;
    }
    // Running brokers stand in for the first profile alone.
    let is_default = profile.name == "default";
    let given = |name: &str| std::env::var(name).ok().filter(|_| is_default);
    let given = |name: &str| given(name).map(|text| vec![text.parse().expect("host:port")]);
    let (left, right) = (given("ORACLE_LEFT"), given("ORACLE_RIGHT"));
    let directory = scratch(&format!("oracle-{}", profile.name));
    let (ours_at, theirs_at) = (more_ports(profile), more_ports(profile));
    // The JVM takes seconds to start, so it goes first.
    let apache = std::thread::spawn({
        let directory = directory.join("apache");
        let options = [profile.options.to_vec(), vec![listeners(profile, &theirs_at).leak()]].concat();
        let wanted = right.is_none();
        move || {
            std::fs::create_dir_all(&directory).expect("a directory for Apache Kafka");
            wanted.then(|| Apache::start(&directory, &options))
        }
    });
    let ours = left.is_none().then(|| {
        let directory = directory.join("thalweg");
        std::fs::create_dir_all(&directory).expect("a directory for the broker");
        let listeners = listeners(profile, &ours_at) + ",CONTROLLER://127.0.0.1:1";
        Thalweg::start(&directory, &[profile.options, profile.ours, &[&*listeners]].concat())
    });
    let apache = apache.join().expect("Apache Kafka starts");
    let at = |first: SocketAddr, more: Vec<SocketAddr>| [vec![first], more].concat();
    let left = left.unwrap_or_else(|| at(ours.as_ref().expect("it was started").address, ours_at));
    let right = right.unwrap_or_else(|| at(apache.as_ref().expect("it was started").address, theirs_at));
    let mut pair = Pair::new(Side::new("ours", left), Side::new("Apache Kafka", right));
    let outcome = run(&mut pair, profile.groups);
    println!("{}: {} requests compared in {} cases", profile.name, pair.compared, outcome.cases);
    let report = outcome.differences.join("\n");
    let file = format!("oracle-differences-{}.txt", profile.name);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&file, &report).expect("the report can be written");
    assert!(
        outcome.differences.is_empty(),
        "{} of {} cases differ (all in {}):\n{}",
        outcome.differences.len(),
        outcome.cases,
        file.display(),
        report.chars().take(20_000).collect::<String>()
    );
}

/// Ports for the listeners behind the first, which finds its own.
fn more_ports(profile: &Profile) -> Vec<SocketAddr> {
    profile.listeners[1..].iter().map(|_| SocketAddr::from(([127, 0, 0, 1], free_port()))).collect()
}

fn listeners(profile: &Profile, more: &[SocketAddr]) -> String {
    let mut text = format!("listeners={}://ADDRESS", profile.listeners[0]);
    for (name, address) in profile.listeners[1..].iter().zip(more) {
        text += &format!(",{name}://{address}");
    }
    text
}
