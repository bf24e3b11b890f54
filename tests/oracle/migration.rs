//! Groups that change between the classic and the consumer protocol, and members of both in one group: the
//! requests of both protocols are asked in turn. The policy is Kafka's default, both ways.
//!
//! Which member gets which partition follows the order of ids in Apache Kafka's hash maps, so a case has no
//! more than one member whose id a broker made, and shares that come out even.

use serde_json::{Value, json};

use crate::cases::{Case, newest};
use crate::consumer_group_heartbeat::{API as HEARTBEAT, beat, heard_of, join, with};
use crate::members::{JOIN, SYNC, beating, come, id_of, joining, syncing};
use crate::pair::Pair;

pub const API: &str = "ConsumerGroupHeartbeat";

fn text(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{:04x}{bytes}", text.len())
}

fn owned(topic: &str, partitions: &[i32]) -> String {
    let partitions: String = partitions.iter().map(|at| format!("{at:08x}")).collect();
    format!("00000001{}{:08x}{partitions}", text(topic), partitions.len() / 8)
}

/// Version 1 of what a consumer says: it reads `topic` and owns these partitions of it.
fn says(topic: &str, partitions: &[i32]) -> String {
    format!("000100000001{}ffffffff{}", text(topic), owned(topic, partitions))
}

/// Version 1 of what a leader assigns.
pub fn assigned(topic: &str, partitions: &[i32]) -> String {
    format!("0001{}ffffffff", owned(topic, partitions))
}

pub fn classic(group: &str, id: &str, topic: &str, partitions: &[i32]) -> Value {
    let protocols = json!([{"name": "range", "metadata": says(topic, partitions)}]);
    with(joining(group, id), &[("protocols", protocols)])
}

/// As [`syncing`], of a member that goes by its own name.
pub fn named_sync(group: &str, id: &str, generation: i32) -> Value {
    with(syncing(group, "", generation, &[]), &[("memberId", json!(id))])
}

pub fn named_beat(group: &str, id: &str, generation: i32) -> Value {
    with(beating(group, "", generation), &[("memberId", json!(id))])
}

fn owning(group: &str, member: &str, epoch: i32, topic: &str, partitions: &[i32]) -> Value {
    let owned = json!([{"topicId": format!("@id:{topic}"), "partitions": partitions}]);
    with(beat(group, member, epoch), &[("topicPartitions", owned)])
}

pub fn describe(pair: &mut Pair, group: &str) {
    // Apache Kafka looks at what is committed, which may trail what it has answered.
    pair.settles("ConsumerGroupDescribe", 1, json!({"groupIds": [group]}));
    pair.settles("DescribeGroups", 6, json!({"groups": [group]}));
    pair.settles("ListGroups", 5, json!({"statesFilter": [], "typesFilter": ["consumer"]}));
}

pub fn leaving(group: &str, id: &str, instance: Option<&str>) -> Value {
    json!({"groupId": group, "members": [{"memberId": id, "groupInstanceId": instance, "reason": "r"}]})
}

pub fn commit(group: &str, id: &str, epoch: i32, topic: &str) -> Value {
    json!({
        "groupId": group, "generationIdOrMemberEpoch": epoch, "memberId": id, "groupInstanceId": null,
        "topics": [{"name": topic, "partitions": [
            {"partitionIndex": 0, "committedOffset": 5, "committedLeaderEpoch": -1, "committedMetadata": ""},
        ]}],
    })
}

/// A group whose classic member `a` (actor 0) owns the four partitions of a topic.
pub fn classic_group(pair: &mut Pair) -> (String, String) {
    pair.offsets_topic();
    let (topic, group) = (pair.topic("t", 4, &[]), pair.group("g"));
    heard_of(pair, &group, &topic);
    let sent = come(pair, JOIN, 0, "a", classic(&group, "", &topic, &[]));
    pair.answered(sent, "a");
    let plan = assigned(&topic, &[0, 1, 2, 3]);
    pair.both("SyncGroup", SYNC, syncing(&group, "a", 1, &[("a", &plan)]));
    (topic, group)
}

/// A group whose member `n` of the consumer protocol owns the four partitions of a topic.
pub fn consumer_group(pair: &mut Pair) -> (String, String) {
    pair.offsets_topic();
    let (topic, group) = (pair.topic("t", 4, &[]), pair.group("g"));
    heard_of(pair, &group, &topic);
    pair.both(HEARTBEAT, 1, join(&group, "n", &[&topic]));
    (topic, group)
}

pub const CASES: &[Case] = &[
    newest("migration up and down again", |pair, v| {
        let (topic, group) = classic_group(pair);
        let a = id_of("a");
        pair.both(HEARTBEAT, v, beat(&group, "n", 1));
        pair.both(HEARTBEAT, v, beat(&group, "n", -1));
        pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
        describe(pair, &group);
        pair.both("OffsetCommit", 9, commit(&group, &a, 1, &topic));
        pair.both("OffsetCommit", 9, commit(&group, &a, 2, &topic));
        pair.both("OffsetCommit", 8, commit(&group, "n", 2, &topic));
        pair.both("OffsetCommit", 9, commit(&group, "n", 1, &topic));
        pair.both("Heartbeat", 4, beating(&group, "a", 1));
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 1, &[]));
        pair.both("JoinGroup", JOIN, classic(&group, &a, &topic, &[0, 1, 2, 3]));
        describe(pair, &group);
        pair.both("Heartbeat", 4, beating(&group, "a", 1));
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 1, &[]));
        pair.both("JoinGroup", JOIN, classic(&group, &a, &topic, &[0, 1]));
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 2, &[]));
        pair.both("Heartbeat", 4, beating(&group, "a", 2));
        pair.both("Heartbeat", 4, beating(&group, "a", 1));
        pair.both(HEARTBEAT, v, beat(&group, "n", 2));
        describe(pair, &group);
        // The last of the consumer protocol goes.
        pair.both(HEARTBEAT, v, beat(&group, "n", -1));
        describe(pair, &group);
        pair.both(HEARTBEAT, v, beat(&group, "n", 2));
        pair.both("Heartbeat", 4, beating(&group, "a", 2));
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 2, &[]));
        pair.both("JoinGroup", JOIN, classic(&group, &a, &topic, &[0, 1]));
        let plan = assigned(&topic, &[0, 1, 2, 3]);
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 3, &[("a", &plan)]));
        describe(pair, &group);
        pair.both("LeaveGroup", 5, leaving(&group, &a, None));
        describe(pair, &group);
        // An empty group changes its kind at once.
        pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
        pair.both(HEARTBEAT, v, beat(&group, "n", -1));
        let sent = come(pair, JOIN, 0, "b", classic(&group, "", &topic, &[]));
        pair.answered(sent, "b");
        describe(pair, &group);
    }),
    newest("migration while members wait", |pair, v| {
        let (topic, group) = classic_group(pair);
        let second = come(pair, JOIN, 1, "b", classic(&group, "", &topic, &[]));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 1), 27);
        pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
        pair.answered(second, "b");
        pair.speak_as(0);
        pair.both("Heartbeat", 4, beating(&group, "a", 1));
        pair.both("JoinGroup", JOIN, classic(&group, &id_of("b"), &topic, &[]));
    }),
    newest("migration of classic members that come to a consumer group", |pair, v| {
        let (topic, group) = consumer_group(pair);
        let protocols = |list: Value| with(joining(&group, "b"), &[("protocols", list)]);
        let other = json!([{"name": "other", "metadata": says(&topic, &[])}]);
        pair.both("JoinGroup", JOIN, protocols(json!([])));
        pair.both(
            "JoinGroup",
            JOIN,
            with(classic(&group, "b", &topic, &[]), &[("protocolType", json!("x"))]),
        );
        let fixed = with(classic(&group, "b", &topic, &[]), &[("groupInstanceId", json!("i"))]);
        pair.both("JoinGroup", JOIN, fixed);
        pair.both("JoinGroup", JOIN, classic(&group, "b", &topic, &[]));
        pair.both("JoinGroup", JOIN, protocols(other));
        pair.both("SyncGroup", SYNC, named_sync(&group, "b", 2));
        pair.both("SyncGroup", SYNC, named_sync(&group, "b", 1));
        pair.both("SyncGroup", SYNC, named_sync(&group, "n", 1));
        pair.both("SyncGroup", SYNC, named_sync(&group, "x", 1));
        for (field, value) in [("protocolType", "x"), ("protocolName", "x"), ("groupInstanceId", "x")] {
            pair.both("SyncGroup", SYNC, with(named_sync(&group, "b", 2), &[(field, json!(value))]));
            if field == "groupInstanceId" {
                pair.both("Heartbeat", 4, with(named_beat(&group, "b", 2), &[(field, json!(value))]));
            }
        }
        for (member, generation) in [("b", 2), ("b", 1), ("n", 1), ("x", 1)] {
            pair.both("Heartbeat", 4, named_beat(&group, member, generation));
        }
        describe(pair, &group);
        pair.both(HEARTBEAT, v, beat(&group, "n", 1));
        pair.both("Heartbeat", 4, named_beat(&group, "b", 2));
        pair.both(HEARTBEAT, v, owning(&group, "n", 1, &topic, &[0, 1]));
        pair.both("Heartbeat", 4, named_beat(&group, "b", 2));
        pair.both("JoinGroup", JOIN, classic(&group, "b", &topic, &[]));
        pair.both("SyncGroup", SYNC, named_sync(&group, "b", 2));
        pair.both("Heartbeat", 4, named_beat(&group, "b", 2));
        describe(pair, &group);
        // It reads another topic too, and the group begins anew.
        let none = pair.name("none");
        let more = format!("000100000002{}{}ffffffff{}", text(&topic), text(&none), owned(&topic, &[2, 3]));
        pair.both("JoinGroup", JOIN, protocols(json!([{"name": "range", "metadata": more}])));
        pair.both("SyncGroup", SYNC, named_sync(&group, "b", 3));
        describe(pair, &group);
        // Admins and members leave.
        pair.both("LeaveGroup", 5, leaving(&group, "x", None));
        pair.both("LeaveGroup", 5, leaving(&group, "", Some("x")));
        pair.both("LeaveGroup", 5, leaving(&group, "b", None));
        pair.both("LeaveGroup", 5, leaving(&group, "n", None));
        describe(pair, &group);
    }),
    newest("migration of static members in their place", |pair, v| {
        let (topic, group) = consumer_group(pair);
        pair.both(HEARTBEAT, v, beat(&group, "n", -1));
        let fixed = |id: &str| with(classic(&group, id, &topic, &[]), &[("groupInstanceId", json!("i"))]);
        let consumer = |id: &str| with(join(&group, id, &[&topic]), &[("instanceId", json!("i"))]);
        pair.both(HEARTBEAT, v, consumer("m"));
        pair.both("JoinGroup", JOIN, fixed("x"));
        // As a classic member: alone, so the group changes its kind at rest.
        let sent = pair.send("JoinGroup", JOIN, fixed(""));
        pair.answered(sent, "c");
        describe(pair, &group);
        let sync = with(syncing(&group, "c", 1, &[]), &[("groupInstanceId", json!("i"))]);
        pair.both("SyncGroup", SYNC, sync);
        pair.both("Heartbeat", 4, beating(&group, "c", 1));
        // And back.
        pair.both(HEARTBEAT, v, consumer("o"));
        describe(pair, &group);
        pair.both("Heartbeat", 4, beating(&group, "c", 1));
        pair.both(HEARTBEAT, v, with(beat(&group, "o", -2), &[("instanceId", json!("i"))]));
        let sent = pair.send("JoinGroup", JOIN, fixed(""));
        pair.answered(sent, "d");
        describe(pair, &group);
        pair.both("LeaveGroup", 5, leaving(&group, "", Some("i")));
        describe(pair, &group);
    }),
    newest("migration up that is refused", |pair, v| {
        pair.offsets_topic();
        let topic = pair.topic("t", 4, &[]);
        let plans = [
            ("no-consumers", "connect", String::new()),
            ("data", "consumer", format!("0001{}0000000178", owned(&topic, &[0]))),
            ("malformed", "consumer", "00010000".to_owned()),
            ("gone", "consumer", assigned("nowhere", &[0])),
        ];
        for (name, kind, plan) in plans {
            let group = pair.group(name);
            heard_of(pair, &group, &topic);
            let joins = with(classic(&group, "", &topic, &[]), &[("protocolType", json!(kind))]);
            let sent = come(pair, JOIN, 0, name, joins);
            pair.answered(sent, name);
            let sync = with(syncing(&group, name, 1, &[(name, &plan)]), &[("protocolType", json!(kind))]);
            pair.both("SyncGroup", SYNC, sync);
            pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
            describe(pair, &group);
        }
    }),
];

/// Under `group.consumer.migration.policy=disabled`.
pub const DISABLED: &[Case] = &[newest("migration that is disabled", |pair, v| {
    let (topic, group) = classic_group(pair);
    pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
    pair.both("LeaveGroup", 5, leaving(&group, &id_of("a"), None));
    // An empty group changes its kind all the same.
    pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
    pair.both("JoinGroup", JOIN, classic(&group, "b", &topic, &[]));
    pair.both(HEARTBEAT, v, beat(&group, "n", -1));
    describe(pair, &group);
    pair.both("Heartbeat", 4, named_beat(&group, "b", 2));
    pair.both("JoinGroup", JOIN, classic(&group, "b", &topic, &[]));
    pair.both("SyncGroup", SYNC, named_sync(&group, "b", 3));
    pair.both("LeaveGroup", 5, leaving(&group, "b", None));
    let sent = come(pair, JOIN, 0, "c", classic(&group, "", &topic, &[]));
    pair.answered(sent, "c");
    describe(pair, &group);
})];

/// Under `group.consumer.migration.policy=upgrade`.
pub const UPGRADE: &[Case] = &[newest("migration up alone", |pair, v| {
    let (topic, group) = classic_group(pair);
    pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
    describe(pair, &group);
    // The last of the consumer protocol goes, and the group stays what it is.
    pair.both(HEARTBEAT, v, beat(&group, "n", -1));
    describe(pair, &group);
    pair.both("Heartbeat", 4, beating(&group, "a", 1));
    pair.both("JoinGroup", JOIN, classic(&group, &id_of("a"), &topic, &[0, 1, 2, 3]));
    pair.both("SyncGroup", SYNC, syncing(&group, "a", 3, &[]));
    pair.both("Heartbeat", 4, beating(&group, "a", 3));
    describe(pair, &group);
    pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
    pair.both(HEARTBEAT, v, beat(&group, "n", -1));
    pair.both("LeaveGroup", 5, leaving(&group, &id_of("a"), None));
    describe(pair, &group);
    // An empty group changes its kind all the same.
    let sent = come(pair, JOIN, 0, "b", classic(&group, "", &topic, &[]));
    pair.answered(sent, "b");
    describe(pair, &group);
})];

/// Under `group.consumer.migration.policy=downgrade`.
pub const DOWNGRADE: &[Case] = &[newest("migration down alone", |pair, v| {
    let (topic, group) = classic_group(pair);
    pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
    describe(pair, &group);
    pair.both("LeaveGroup", 5, leaving(&group, &id_of("a"), None));
    // An empty group changes its kind all the same.
    pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
    pair.both("JoinGroup", JOIN, classic(&group, "b", &topic, &[]));
    describe(pair, &group);
    pair.both(HEARTBEAT, v, beat(&group, "n", -1));
    describe(pair, &group);
    pair.both("Heartbeat", 4, named_beat(&group, "b", 2));
    pair.both("JoinGroup", JOIN, classic(&group, "b", &topic, &[]));
    pair.both("SyncGroup", SYNC, named_sync(&group, "b", 3));
    pair.both(HEARTBEAT, v, join(&group, "n", &[&topic]));
    describe(pair, &group);
})];
