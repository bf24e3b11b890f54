//! ConsumerGroupHeartbeat: joining, reconciling step by step, static members, subscriptions, and every refusal.
//!
//! Members are called by single letters: Apache Kafka's assignors follow the order of a hash map, which for
//! these is the order of the alphabet.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cases::{Case, every, newest, versions};
use crate::pair::Pair;

pub const API: &str = "ConsumerGroupHeartbeat";

/// What joins `group` as `member`.
pub fn join(group: &str, member: &str, topics: &[&str]) -> Value {
    json!({
        "groupId": group, "memberId": member, "memberEpoch": 0, "rebalanceTimeoutMs": 60000,
        "subscribedTopicNames": topics, "topicPartitions": [],
    })
}

pub fn beat(group: &str, member: &str, epoch: i32) -> Value {
    json!({"groupId": group, "memberId": member, "memberEpoch": epoch})
}

fn owning(group: &str, member: &str, epoch: i32, topic: &str, owned: &[i32]) -> Value {
    let owned = json!([{"topicId": format!("@id:{topic}"), "partitions": owned}]);
    with(beat(group, member, epoch), &[("topicPartitions", owned)])
}

pub fn with(mut request: Value, fields: &[(&str, Value)]) -> Value {
    for (name, value) in fields {
        request[name] = value.clone();
    }
    request
}

/// Waits until the coordinators of `group` know of `topic`, which Kafka's hear of later than who made it: another
/// group of the same partition is assigned it.
pub fn heard_of(pair: &mut Pair, group: &str, topic: &str) {
    let probe = (0..).map(|i| format!("probe-{i}")).find(|name| place(name) == place(group));
    let probe = probe.expect("some name has the same place");
    let began = Instant::now();
    loop {
        let answers = pair.prepare(API, 1, join(&probe, topic, &[topic]));
        let knows = |answer: &Value| {
            answer["assignment"]["topicPartitions"].as_array().is_some_and(|it| !it.is_empty())
        };
        let done = answers.iter().all(knows);
        pair.prepare(API, 1, beat(&probe, topic, -1));
        if done {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{topic} is not heard of: {answers:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The partition of the offsets topic that keeps a group.
fn place(group: &str) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    hash.wrapping_abs() % 50
}

/// Describes the group on both.
fn describe(pair: &mut Pair, group: &str) {
    pair.both("ConsumerGroupDescribe", 1, json!({"groupIds": [group]}));
}

/// Heartbeats until both answer with an epoch above `epoch`: expressions are resolved in the background, and a
/// coordinator hears of topics later than who made them. The first whose epoch rises is asked on as if it had
/// not had the answer, and an assignment stands in the first answer alone, so it is left to `describe`.
fn beat_past(pair: &mut Pair, group: &str, member: &str, epoch: i32) {
    let began = Instant::now();
    loop {
        let request = with(beat(group, member, epoch), &[("topicPartitions", json!([]))]);
        let answers = pair.prepare(API, 1, request);
        if answers.iter().all(|answer| answer["memberEpoch"].as_i64() > Some(epoch.into())) {
            let bare = answers.map(|answer| with(answer, &[("assignment", Value::Null)]));
            return pair.compared_as(API, 1, bare);
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the epoch does not rise: {answers:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub const CASES: &[Case] = &[
    every("one member from joining to leaving", |pair, v| {
        pair.offsets_topic();
        let (topic, group) = (pair.topic("t", 3, &[]), pair.name("g"));
        heard_of(pair, &group, &topic);
        pair.both(API, v, join(&group, "a", &[&topic]));
        describe(pair, &group);
        pair.both(API, v, beat(&group, "a", 1));
        pair.both(API, v, owning(&group, "a", 1, &topic, &[0, 1, 2]));
        pair.both(
            API,
            v,
            with(
                owning(&group, "a", 1, &topic, &[0]),
                &[("rebalanceTimeoutMs", json!(1000)), ("subscribedTopicNames", json!([topic]))],
            ),
        );
        pair.both(API, v, beat(&group, "a", -1));
        describe(pair, &group);
        pair.both(API, v, beat(&group, "a", 1));
        pair.both(API, v, beat(&group, "a", -1));
    }),
    every("partitions move step by step", |pair, v| {
        pair.offsets_topic();
        let (topic, group) = (pair.topic("t", 4, &[]), pair.name("g"));
        heard_of(pair, &group, &topic);
        pair.both(API, v, join(&group, "a", &[&topic]));
        pair.both(API, v, join(&group, "b", &[&topic]));
        describe(pair, &group);
        pair.both(API, v, beat(&group, "b", 2));
        pair.both(API, v, beat(&group, "a", 1));
        describe(pair, &group);
        pair.both(API, v, beat(&group, "a", 1));
        pair.both(API, v, owning(&group, "a", 1, &topic, &[0, 1, 2, 3]));
        pair.both(API, v, beat(&group, "b", 2));
        pair.both(API, v, owning(&group, "a", 1, &topic, &[0, 1]));
        describe(pair, &group);
        // The answer was lost: the epoch before, with no more than it has.
        pair.both(API, v, owning(&group, "a", 1, &topic, &[0, 1]));
        pair.both(API, v, owning(&group, "a", 1, &topic, &[0, 3]));
        pair.both(API, v, beat(&group, "a", 1));
        pair.both(API, v, beat(&group, "a", 3));
        pair.both(API, v, beat(&group, "b", 2));
        describe(pair, &group);
        pair.both(API, v, beat(&group, "a", -1));
        pair.both(API, v, beat(&group, "b", 2));
        describe(pair, &group);
    }),
    newest("range is named", |pair, v| {
        pair.offsets_topic();
        let (one, two, group) = (pair.topic("t", 3, &[]), pair.topic("u", 3, &[]), pair.name("g"));
        heard_of(pair, &group, &one);
        heard_of(pair, &group, &two);
        let range = [("serverAssignor", json!("range"))];
        pair.both(API, v, with(join(&group, "a", &[&one, &two]), &range));
        pair.both(API, v, with(join(&group, "b", &[&one, &two]), &range));
        describe(pair, &group);
        pair.both(API, v, with(join(&group, "c", &[&one]), &[("serverAssignor", json!("uniform"))]));
        describe(pair, &group);
    }),
    every("requests that make no sense", |pair, v| {
        pair.offsets_topic();
        let group = pair.name("g");
        let good = join(&group, "a", &["nowhere"]);
        for fields in [
            &[("groupId", json!(""))][..],
            &[("groupId", json!(" "))],
            &[("memberId", json!(" \t"))],
            &[("memberId", json!("")), ("memberEpoch", json!(1))],
            &[("memberId", json!("")), ("memberEpoch", json!(-1))],
            &[("instanceId", json!(""))],
            &[("rackId", json!("  "))],
            &[("rebalanceTimeoutMs", json!(-1))],
            &[("topicPartitions", Value::Null)],
            &[("topicPartitions", json!([{"topicId": "@id:nowhere", "partitions": []}]))],
            &[("subscribedTopicNames", Value::Null)],
            &[("memberEpoch", json!(-2))],
            &[("memberEpoch", json!(-3))],
            &[("memberEpoch", json!(i32::MIN))],
            &[("serverAssignor", json!("no such"))],
            &[("serverAssignor", json!(""))],
        ] {
            pair.both(API, v, with(good.clone(), fields));
        }
        describe(pair, &group);
    }),
    versions(1, i16::MAX, "a member without a name", |pair, v| {
        pair.offsets_topic();
        let group = pair.name("g");
        pair.both(API, v, join(&group, "", &["t"]));
    }),
    versions(0, 0, "a member that the broker names", |pair, v| {
        pair.offsets_topic();
        let (topic, group) = (pair.topic("t", 2, &[]), pair.name("g"));
        heard_of(pair, &group, &topic);
        let answers = pair.prepare(API, v, join(&group, "", &[&topic]));
        let length = |answer: &Value| answer["memberId"].as_str().map(str::len);
        assert_eq!(length(&answers[0]), length(&answers[1]));
        let nameless = |answers: [Value; 2]| answers.map(|answer| with(answer, &[("memberId", json!("m"))]));
        pair.compared_as(API, v, nameless(answers));
    }),
    every("who is not there", |pair, v| {
        pair.offsets_topic();
        let (topic, group) = (pair.topic("t", 2, &[]), pair.name("g"));
        heard_of(pair, &group, &topic);
        let instance = [("instanceId", json!("i"))];
        for epoch in [1, -1] {
            pair.both(API, v, beat(&group, "a", epoch));
        }
        pair.both(API, v, with(beat(&group, "a", -2), &instance));
        pair.both(API, v, join(&group, "a", &[&topic]));
        for epoch in [1, -1] {
            pair.both(API, v, beat(&group, "b", epoch));
            pair.both(API, v, with(beat(&group, "b", epoch), &instance));
        }
        pair.both(API, v, with(beat(&group, "a", -2), &instance));
    }),
    every("static members", |pair, v| {
        pair.offsets_topic();
        let (topic, group) = (pair.topic("t", 2, &[]), pair.name("g"));
        heard_of(pair, &group, &topic);
        let instance = [("instanceId", json!("i"))];
        let fixed = |request| with(request, &instance);
        pair.both(API, v, fixed(join(&group, "a", &[&topic])));
        // Held still: by another member, and by itself.
        pair.both(API, v, fixed(join(&group, "b", &[&topic])));
        pair.both(API, v, fixed(join(&group, "a", &[&topic])));
        pair.both(API, v, fixed(beat(&group, "a", -2)));
        describe(pair, &group);
        pair.both(API, v, fixed(join(&group, "b", &[&topic])));
        describe(pair, &group);
        for epoch in [1, -1, -2] {
            pair.both(API, v, fixed(beat(&group, "a", epoch)));
        }
        pair.both(API, v, beat(&group, "a", 1));
        pair.both(API, v, beat(&group, "b", 1));
        pair.both(API, v, fixed(beat(&group, "b", 1)));
        // Away and back under the same name, with another subscription.
        pair.both(API, v, fixed(beat(&group, "b", -2)));
        pair.both(API, v, fixed(beat(&group, "b", -2)));
        pair.both(API, v, fixed(join(&group, "b", &[&topic, "nowhere"])));
        describe(pair, &group);
        pair.both(API, v, fixed(beat(&group, "b", -1)));
        describe(pair, &group);
    }),
    newest("subscriptions change", |pair, v| {
        pair.offsets_topic();
        let (one, two, group) = (pair.topic("t", 1, &[]), pair.topic("u", 1, &[]), pair.name("g"));
        heard_of(pair, &group, &one);
        heard_of(pair, &group, &two);
        pair.both(API, v, join(&group, "a", &[&one]));
        pair.both(API, v, with(beat(&group, "a", 1), &[("subscribedTopicNames", json!([two, one, two]))]));
        pair.both(API, v, with(beat(&group, "a", 2), &[("rackId", json!("r"))]));
        pair.both(API, v, with(beat(&group, "a", 2), &[("subscribedTopicNames", json!([]))]));
        describe(pair, &group);
        pair.both(API, v, with(beat(&group, "a", 2), &[("topicPartitions", json!([]))]));
        describe(pair, &group);
    }),
    newest("topics that come and go", |pair, v| {
        pair.offsets_topic();
        let (group, later) = (pair.name("g"), pair.name("later"));
        pair.both(API, v, join(&group, "a", &[&later]));
        assert_eq!(pair.topic("later", 2, &[]), later);
        beat_past(pair, &group, "a", 1);
        describe(pair, &group);
        let topics = json!([{"name": later, "count": 3, "assignments": null}]);
        pair.prepare(
            "CreatePartitions",
            3,
            json!({"topics": topics, "timeoutMs": 10000, "validateOnly": false}),
        );
        beat_past(pair, &group, "a", 2);
        describe(pair, &group);
        pair.delete(&later);
        beat_past(pair, &group, "a", 3);
        describe(pair, &group);
    }),
    versions(1, i16::MAX, "an expression", |pair, v| {
        pair.offsets_topic();
        let (one, group) = (pair.topic("t-1", 2, &[]), pair.name("g"));
        heard_of(pair, &group, &one);
        let stem = one.strip_suffix('1').expect("the topic's name ends so");
        let regex = |pattern: String| {
            [("subscribedTopicNames", Value::Null), ("subscribedTopicRegex", json!(pattern))]
        };
        pair.both(API, v, with(join(&group, "a", &[]), &regex(format!("{stem}.*"))));
        beat_past(pair, &group, "a", 1);
        describe(pair, &group);
        pair.both(API, v, with(join(&group, "b", &[]), &regex(format!("{stem}.*"))));
        describe(pair, &group);
        pair.both(
            API,
            v,
            with(
                beat(&group, "b", 3),
                &[("subscribedTopicRegex", json!("")), ("subscribedTopicNames", json!([one]))],
            ),
        );
        describe(pair, &group);
        pair.both(API, v, beat(&group, "a", -1));
        pair.both(API, v, beat(&group, "b", 4));
        describe(pair, &group);
    }),
    versions(1, i16::MAX, "expressions that are none", |pair, v| {
        pair.offsets_topic();
        let group = pair.name("g");
        for pattern in ["(", "[", "a**", "\\8", "(?<n>a", "a{2,1}", "(?=a)"] {
            let fields = [("subscribedTopicNames", Value::Null), ("subscribedTopicRegex", json!(pattern))];
            pair.both(API, v, with(join(&group, "a", &[]), &fields));
        }
        describe(pair, &group);
        pair.both(API, v, join(&group, "a", &["t"]));
        pair.both(API, v, with(beat(&group, "a", 1), &[("subscribedTopicRegex", json!("*"))]));
        describe(pair, &group);
    }),
    newest("a group's own time-outs", |pair, v| {
        pair.offsets_topic();
        let group = pair.name("g");
        let configs =
            json!([{"name": "consumer.heartbeat.interval.ms", "configOperation": 0, "value": "6000"}]);
        let resources = json!([{"resourceType": 32, "resourceName": group, "configs": configs}]);
        pair.prepare("IncrementalAlterConfigs", 1, json!({"resources": resources, "validateOnly": false}));
        // Kafka's coordinator hears of it later. A member may join again, as if it had not had the answer.
        let joins = join(&group, "a", &["t"]);
        let began = Instant::now();
        while pair.prepare(API, v, joins.clone()).iter().any(|answer| answer["heartbeatIntervalMs"] != 6000) {
            assert!(began.elapsed() < Duration::from_secs(30), "{group} does not have its own interval");
            thread::sleep(Duration::from_millis(20));
        }
        pair.both(API, v, joins);
    }),
];
