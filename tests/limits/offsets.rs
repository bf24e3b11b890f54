//! What was committed is there after the process was killed, however much the log of commits had grown.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{append, batch_of, connect, create, logged, metadata};
use crate::harness::{Connection, Thalweg, scratch};
use crate::turn;

/// Waits until a group has a coordinator: the offsets topic is made by who asks first, and loads after a start.
pub fn await_group(connection: &mut Connection, group: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = connection.call("FindCoordinator", 3, &json!({"key": group, "keyType": 0})).body();
        let loaded = connection.call("OffsetFetch", 5, &json!({"groupId": group, "topics": []})).body();
        if found["errorCode"] == 0 && loaded["errorCode"] == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "no coordinator for {group}: {found} {loaded}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn commit(connection: &mut Connection, group: &str, topic: &str, offsets: impl Iterator<Item = (i32, i64)>) {
    let codes = commit_codes(connection, group, topic, offsets);
    assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
}

/// The code that each partition is answered.
fn commit_codes(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    offsets: impl Iterator<Item = (i32, i64)>,
) -> Vec<Value> {
    let line = |(id, offset): (i32, i64)| {
        json!({"partitionIndex": id, "committedOffset": offset, "committedLeaderEpoch": 4,
            "committedMetadata": format!("{group} was here")})
    };
    let topics = json!([{"name": topic, "partitions": offsets.map(line).collect::<Vec<_>>()}]);
    let tree = json!({"groupId": group, "generationIdOrMemberEpoch": -1, "memberId": "", "topics": topics});
    let answer = connection.call("OffsetCommit", 8, &tree).body();
    let lines = answer["topics"][0]["partitions"].as_array().expect("partitions");
    lines.iter().map(|line| line["errorCode"].clone()).collect()
}

pub fn committed(connection: &mut Connection, group: &str) -> Value {
    let answer = connection.call("OffsetFetch", 7, &json!({"groupId": group, "topics": null})).body();
    assert_eq!(answer["errorCode"], 0, "{answer}");
    answer["topics"].clone()
}

#[test]
fn committed_offsets_outlive_a_kill() {
    let _turn = turn();
    let mut broker = Thalweg::start(&scratch("limits-offsets"), &[]);
    let mut connection = connect(&broker);
    for topic in ["orders", "bills"] {
        create(&mut connection, topic, 3, &[]);
    }
    let groups: Vec<String> = (0..20).map(|n| format!("group-{n}")).collect();
    for group in &groups {
        await_group(&mut connection, group);
        commit(&mut connection, group, "orders", (0..3).map(|id| (id, 100)));
        commit(&mut connection, group, "bills", [(1, 7)].into_iter());
        commit(&mut connection, group, "orders", [(2, 200), (0, 50)].into_iter());
    }
    let gone =
        json!({"groupId": groups[0], "topics": [{"name": "orders", "partitions": [{"partitionIndex": 1}]}]});
    let answer = connection.call("OffsetDelete", 0, &gone).body();
    assert_eq!(answer["topics"][0]["partitions"][0]["errorCode"], 0, "{answer}");
    let before: Vec<Value> = groups.iter().map(|group| committed(&mut connection, group)).collect();
    assert_eq!(before[0][1]["partitions"].as_array().map(Vec::len), Some(2), "{}", before[0]);
    assert_eq!(before[1][1]["partitions"][2]["committedOffset"], 200, "{}", before[1]);
    broker.kill();
    broker.restart();
    let mut connection = connect(&broker);
    for (group, before) in groups.iter().zip(before) {
        await_group(&mut connection, group);
        assert_eq!(committed(&mut connection, group), before, "{group}");
    }
}

#[test]
fn a_log_of_commits_that_was_written_again_says_the_same() {
    let _turn = turn();
    let mut broker = Thalweg::start(&scratch("limits-offsets-rewritten"), &[]);
    let mut connection = connect(&broker);
    create(&mut connection, "wide", 1_000, &[]);
    await_group(&mut connection, "g");
    // A megabyte in eight or nine commits; it is written again at eight.
    let mut round = 0;
    while !broker.log().contains("are written again") {
        assert!(round < 1_000, "a log of {round} thousand commits is not written again");
        if round > 100 {
            // It has grown enough; that is looked at now and then.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        commit(&mut connection, "g", "wide", (0..1_000).map(|id| (id, i64::from(id) + 1_000 * round)));
        round += 1;
    }
    commit(&mut connection, "g", "wide", [(3, 5)].into_iter());
    let before = committed(&mut connection, "g");
    assert_eq!(before[0]["partitions"][3]["committedOffset"], 5);
    assert_eq!(before[0]["partitions"].as_array().map(Vec::len), Some(1_000));
    broker.kill();
    broker.restart();
    let mut connection = connect(&broker);
    await_group(&mut connection, "g");
    assert_eq!(committed(&mut connection, "g"), before);
}

/// A member of a classic group.
pub struct Member {
    id: Value,
    generation: Value,
}

/// Who commits without being a member.
pub fn nobody() -> Member {
    Member { id: json!(""), generation: json!(-1) }
}

/// The only member of its group, which follows the topic "t".
pub fn join_for_t(connection: &mut Connection, group: &str) -> Member {
    // Version 0 of a consumer's subscription, to "t".
    let follows_t = "00000000000100017400000000";
    let join = json!({"groupId": group, "sessionTimeoutMs": 300_000, "rebalanceTimeoutMs": 30_000,
        "memberId": "", "protocolType": "consumer",
        "protocols": [{"name": "range", "metadata": follows_t}]});
    let joined = connection.call("JoinGroup", 3, &join).body();
    assert_eq!(joined["errorCode"], 0, "{joined}");
    let member = Member { id: joined["memberId"].clone(), generation: joined["generationId"].clone() };
    let sync = json!({"groupId": group, "generationId": member.generation, "memberId": member.id,
        "assignments": [{"memberId": member.id, "assignment": "00"}]});
    assert_eq!(connection.call("SyncGroup", 3, &sync).body()["errorCode"], 0);
    member
}

pub fn leave(connection: &mut Connection, group: &str, member: &Member) {
    let leave = json!({"groupId": group, "members": [{"memberId": member.id}]});
    assert_eq!(connection.call("LeaveGroup", 3, &leave).body()["errorCode"], 0);
}

/// Commits 5 for "t", to be kept for a time, or for as long as the broker's settings say (-1).
pub fn commit_t(connection: &mut Connection, group: &str, member: &Member, retention_ms: i64) {
    let line = json!({"partitionIndex": 0, "committedOffset": 5, "committedMetadata": null});
    // The last version that says how long.
    let tree = json!({"groupId": group, "generationIdOrMemberEpoch": member.generation, "memberId": member.id,
        "retentionTimeMs": retention_ms, "topics": [{"name": "t", "partitions": [line]}]});
    let answer = connection.call("OffsetCommit", 4, &tree).body();
    assert_eq!(answer["topics"][0]["partitions"][0]["errorCode"], 0, "{answer}");
}

pub fn await_none(connection: &mut Connection, group: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while committed(connection, group) != json!([]) {
        assert!(Instant::now() < deadline, "{group} has its offset after 10 s");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn offsets_are_kept_for_as_long_as_their_commit_asks_or_somebody_follows_the_topic() {
    let _turn = turn();
    let options = ["offsets.retention.check.interval.ms=50", "group.initial.rebalance.delay.ms=0"];
    let broker = Thalweg::start(&scratch("limits-offsets-expire"), &options);
    let mut connection = connect(&broker);
    create(&mut connection, "t", 1, &[]);
    let groups = ["short", "long", "live"];
    groups.iter().for_each(|group| await_group(&mut connection, group));
    let live = join_for_t(&mut connection, "live");
    commit_t(&mut connection, "live", &live, 1);
    commit_t(&mut connection, "long", &nobody(), -1);
    commit_t(&mut connection, "short", &nobody(), 1);
    await_none(&mut connection, "short");
    for group in ["long", "live"] {
        assert_eq!(committed(&mut connection, group)[0]["partitions"][0]["committedOffset"], 5, "{group}");
    }
    leave(&mut connection, "live", &live);
    await_none(&mut connection, "live");
    assert_eq!(committed(&mut connection, "long")[0]["partitions"][0]["committedOffset"], 5);
}

#[test]
fn offsets_past_the_memory_for_groups_are_refused_and_those_that_are_there_move_on() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-offsets-memory"), &["thalweg.group.memory.bytes=40000"]);
    let mut connection = connect(&broker);
    create(&mut connection, "wide", 1_000, &[]);
    await_group(&mut connection, "g");
    let codes = commit_codes(&mut connection, "g", "wide", (0..1_000).map(|id| (id, 1)));
    let kept = codes.iter().take_while(|code| **code == 0).count();
    assert!((20..1_000).contains(&kept), "{kept} of 1000 are kept");
    assert!(codes[kept..].iter().all(|code| *code == COORDINATOR_NOT_AVAILABLE), "{codes:?}");
    assert_eq!(committed(&mut connection, "g")[0]["partitions"].as_array().map(Vec::len), Some(kept));
    commit(&mut connection, "g", "wide", [(0, 2)].into_iter());
    assert_eq!(committed(&mut connection, "g")[0]["partitions"][0]["committedOffset"], 2);
}

#[test]
fn the_offsets_topic_is_made_as_the_configuration_says() {
    let _turn = turn();
    let options = ["offsets.topic.num.partitions=3", "offsets.topic.segment.bytes=20971520"];
    let broker = Thalweg::start(&scratch("limits-offsets-topic"), &options);
    let mut connection = connect(&broker);
    await_group(&mut connection, "g");
    const TOPIC: i8 = 2;
    let tree = json!({"resources": [{"resourceType": TOPIC, "resourceName": "__consumer_offsets", "configurationKeys":
            ["segment.bytes", "cleanup.policy", "compression.type"]}]});
    let answer = connection.call("DescribeConfigs", 4, &tree).body();
    for (key, wanted) in
        [("segment.bytes", "20971520"), ("cleanup.policy", "compact"), ("compression.type", "producer")]
    {
        let configs = answer["results"][0]["configs"].as_array().expect("configs").iter();
        let found = configs.clone().find(|config| config["name"] == key).expect("it is asked for");
        const TOPICS_OWN: i8 = 1;
        assert_eq!((&found["value"], &found["configSource"]), (&json!(wanted), &json!(TOPICS_OWN)), "{key}");
    }
    let found = connection.call("Metadata", 9, &metadata("__consumer_offsets")).body();
    assert_eq!(found["topics"][0]["partitions"].as_array().map(Vec::len), Some(3), "{found}");
}

#[test]
fn how_far_groups_are_behind_is_told_at_the_stop() {
    let _turn = turn();
    let mut broker = Thalweg::start(&scratch("limits-offsets-lag"), &[]);
    let mut connection = connect(&broker);
    create(&mut connection, "t", 1, &[]);
    for offset in 0..3 {
        assert_eq!(append(&mut connection, "t", 0, &batch_of(10)), offset);
    }
    for (group, offset) in [("far", 0), ("near", 2), ("through", 3)] {
        await_group(&mut connection, group);
        commit(&mut connection, group, "t", [(0, offset)].into_iter());
    }
    // It is measured every ten seconds, in the background.
    let mut told = Vec::new();
    for seconds in [11, 30] {
        thread::sleep(Duration::from_secs(seconds));
        assert!(broker.stop().success());
        let line = logged(&broker, "stopped").pop().expect("a line");
        told = ["groups_behind", "lag_records_max"].map(|name| line[name].clone()).to_vec();
        if told[0] != 0 {
            assert!(line["lag_seconds_max"].as_i64().is_some_and(|seconds| seconds > 0), "{line}");
            break;
        }
        broker.restart();
    }
    assert_eq!(told, [2, 3]);
}
