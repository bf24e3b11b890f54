//! OffsetCommit: by nobody's member and by members that are not there, of what exists and of what does not.

use serde_json::{Value, json};

use crate::cases::{Case, every, versions};
use crate::pair::Pair;

pub const API: &str = "OffsetCommit";

fn partition(id: i32, offset: i64, metadata: Value) -> Value {
    json!({"partitionIndex": id, "committedOffset": offset, "committedLeaderEpoch": 2, "committedMetadata": metadata})
}

/// A commit as of who is no member.
pub fn commit(group: &str, topics: Value) -> Value {
    json!({
        "groupId": group, "generationIdOrMemberEpoch": -1, "memberId": "", "retentionTimeMs": -1, "topics": topics,
    })
}

pub fn offsets(topic: &str, offsets: &[(i32, i64)]) -> Value {
    let list: Vec<_> = offsets.iter().map(|(id, offset)| partition(*id, *offset, json!("m"))).collect();
    json!({"name": topic, "partitions": list})
}

fn fetch_all(pair: &mut Pair, group: &str) {
    pair.both("OffsetFetch", 7, json!({"groupId": group, "topics": null}));
}

/// What a consumer of one topic says of itself, in version 0 of its protocol, in hex.
fn subscription(topic: &str) -> String {
    let name: String = topic.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("000000000001{:04x}{name}ffffffff", topic.len())
}

/// Joins a group alone, at generation 1 and not yet synchronised; gives the member's id on each side.
pub fn join(pair: &mut Pair, group: &str, kind: &str, topic: &str, instance: Value) -> [String; 2] {
    // Version 3 asks nobody to join again with the id that it gives; static members never are.
    let version = if instance.is_null() { 3 } else { 5 };
    let mut tree = json!({
        "groupId": group, "sessionTimeoutMs": 30000, "rebalanceTimeoutMs": 30000, "memberId": "",
        "protocolType": kind, "protocols": [{"name": "range", "metadata": subscription(topic)}],
    });
    if !instance.is_null() {
        tree["groupInstanceId"] = instance;
    }
    pair.prepare("JoinGroup", version, tree).map(|answer| {
        assert_eq!((&answer["errorCode"], &answer["generationId"]), (&json!(0), &json!(1)), "{answer}");
        answer["memberId"].as_str().expect("an id").to_owned()
    })
}

/// Makes the group of the one who joined stable.
pub fn sync(pair: &mut Pair, group: &str, ids: &[String; 2]) {
    pair.each(
        "SyncGroup",
        3,
        ids.each_ref().map(|id| {
            json!({"groupId": group, "generationId": 1, "memberId": id,
                "assignments": [{"memberId": id, "assignment": "00"}]})
        }),
    );
}

fn by(mut tree: Value, member: &str, generation_or_epoch: i32) -> Value {
    tree["memberId"] = json!(member);
    tree["generationIdOrMemberEpoch"] = json!(generation_or_epoch);
    tree
}

/// Joins a group by the consumer protocol, alone; the member's epoch is 1 then.
pub fn consume(pair: &mut Pair, group: &str, member: &str, topic: &str) {
    let tree = json!({
        "groupId": group, "memberId": member, "memberEpoch": 0, "rebalanceTimeoutMs": 30000,
        "subscribedTopicNames": [topic], "topicPartitions": [],
    });
    for answer in pair.prepare("ConsumerGroupHeartbeat", 0, tree) {
        assert_eq!((&answer["errorCode"], &answer["memberEpoch"]), (&json!(0), &json!(1)), "{answer}");
    }
}

pub const CASES: &[Case] = &[
    every("members of a classic group", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        let group = pair.group("g");
        let tree = commit(&group, json!([offsets(&topic, &[(0, 1), (7, 1)])]));
        let ids = join(pair, &group, "consumer", &topic, json!(null));
        for synchronised in [false, true] {
            if synchronised {
                sync(pair, &group, &ids);
            }
            for generation in [1, 0, 2, -1] {
                pair.each(API, v, ids.each_ref().map(|id| by(tree.clone(), id, generation)));
                pair.both(API, v, by(tree.clone(), "somebody-else", generation));
                pair.both(API, v, by(tree.clone(), "", generation));
            }
        }
        fetch_all(pair, &group);
        pair.each("LeaveGroup", 2, ids.each_ref().map(|id| json!({"groupId": group, "memberId": id})));
        pair.each(API, v, ids.each_ref().map(|id| by(tree.clone(), id, 1)));
        pair.both(API, v, tree);
    }),
    versions(7, i16::MAX, "static members of a classic group", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        let group = pair.group("g");
        let ids = join(pair, &group, "consumer", &topic, json!("one"));
        sync(pair, &group, &ids);
        let tree = commit(&group, json!([offsets(&topic, &[(0, 1)])]));
        for instance in [json!("one"), json!("two"), json!(null)] {
            let mut tree = tree.clone();
            tree["groupInstanceId"] = instance;
            for generation in [1, 2, -1] {
                pair.each(API, v, ids.each_ref().map(|id| by(tree.clone(), id, generation)));
                pair.both(API, v, by(tree.clone(), "somebody-else", generation));
                pair.both(API, v, by(tree.clone(), "", generation));
            }
        }
    }),
    every("members of a consumer group", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        let group = pair.group("g");
        consume(pair, &group, "member", &topic);
        let tree = commit(&group, json!([offsets(&topic, &[(0, 1), (7, 1)])]));
        for epoch in [1, 0, 2, -1, -2] {
            for member in ["member", "somebody-else", ""] {
                pair.both(API, v, by(tree.clone(), member, epoch));
            }
        }
        fetch_all(pair, &group);
        pair.prepare(
            "ConsumerGroupHeartbeat",
            0,
            json!({"groupId": group, "memberId": "member", "memberEpoch": -1}),
        );
        for (member, epoch) in [("member", 1), ("member", -1), ("", -1)] {
            pair.both(API, v, by(tree.clone(), member, epoch));
        }
    }),
    every("offsets and their texts", |pair, v| {
        let topic = pair.topic("t", 3, &[]);
        let other = pair.topic("u", 2, &[]);
        let group = pair.group("g");
        let all = [json!("text"), json!(""), json!(null), json!("h\u{e4}\u{1F600}")];
        for (step, metadata) in all.iter().enumerate() {
            let step = step as i64;
            let lines = [partition(2, 5 + step, metadata.clone()), partition(0, 9 - step, metadata.clone())];
            pair.both(
                API,
                v,
                commit(&group, json!([{"name": topic, "partitions": lines}, offsets(&other, &[(1, step)])])),
            );
            fetch_all(pair, &group);
        }
        for offset in [0, i64::MAX, -1, -2, i64::MIN] {
            pair.both(API, v, commit(&group, json!([offsets(&topic, &[(1, offset)])])));
            fetch_all(pair, &group);
        }
    }),
    every("the length of a text", |pair, v| {
        let topic = pair.topic("t", 3, &[]);
        let group = pair.group("g");
        let texts = ["x".repeat(4096), "x".repeat(4097), "\u{e4}".repeat(4096), "\u{1F600}".repeat(2049)];
        for text in texts {
            let lines = [partition(0, 1, json!(text)), partition(1, 2, json!("short"))];
            pair.both(API, v, commit(&group, json!([{"name": topic, "partitions": lines}])));
            fetch_all(pair, &group);
        }
    }),
    every("topics and partitions that are not there", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        let group = pair.group("g");
        for name in ["nobody-made-this", "", "a/b", "__cluster_metadata"] {
            pair.both(API, v, commit(&group, json!([offsets(name, &[(0, 1), (1, 2)])])));
        }
        pair.both(API, v, commit(&group, json!([offsets(&topic, &[(0, 1), (7, 2), (-1, 3), (1, 4)])])));
        pair.both(
            API,
            v,
            commit(
                &group,
                json!([
                    offsets("nobody", &[(0, 1)]),
                    offsets(&topic, &[(1, 5), (2, 5)]),
                    offsets("nobody", &[(1, 1)]),
                    offsets(&topic, &[(0, 6)]),
                ]),
            ),
        );
        fetch_all(pair, &group);
        pair.both(API, v, commit(&group, json!([])));
        pair.both(API, v, commit(&group, json!([offsets(&topic, &[])])));
        // The offsets topic itself exists.
        pair.both(API, v, commit(&group, json!([offsets("__consumer_offsets", &[(0, 1)])])));
    }),
    every("one partition or topic more than once", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        let group = pair.group("g");
        pair.both(API, v, commit(&group, json!([offsets(&topic, &[(0, 1), (0, 2)])])));
        let twice = json!([offsets(&topic, &[(0, 3), (1, 1)]), offsets(&topic, &[(0, 4)])]);
        pair.both(API, v, commit(&group, twice));
        fetch_all(pair, &group);
    }),
    every("members of a group that is not there", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let group = pair.group("g");
        for (member, generation) in [("m", 0), ("m", 3), ("", 1), ("m", -1), ("", -2)] {
            let mut tree = commit(&group, json!([offsets(&topic, &[(0, 1)]), offsets("nobody", &[(0, 1)])]));
            tree["memberId"] = json!(member);
            tree["generationIdOrMemberEpoch"] = json!(generation);
            pair.both(API, v, tree);
        }
    }),
    every("members that a group without members does not have", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let group = pair.group("g");
        pair.both(API, v, commit(&group, json!([offsets(&topic, &[(0, 1)])])));
        for (member, generation) in [("m", 0), ("m", 3), ("", 0), ("m", -1), ("", -5)] {
            let mut tree = commit(&group, json!([offsets(&topic, &[(0, 2)])]));
            tree["memberId"] = json!(member);
            tree["generationIdOrMemberEpoch"] = json!(generation);
            pair.both(API, v, tree);
        }
        fetch_all(pair, &group);
    }),
    versions(7, i16::MAX, "static members that are not there", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let group = pair.group("g");
        for generation in [-1, 0] {
            let mut tree = commit(&group, json!([offsets(&topic, &[(0, 2)])]));
            tree["groupInstanceId"] = json!("an-instance");
            tree["generationIdOrMemberEpoch"] = json!(generation);
            pair.both(API, v, tree);
        }
        fetch_all(pair, &group);
    }),
    every("a group without a name", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        pair.await_group("");
        pair.both(API, v, commit("", json!([offsets(&topic, &[(0, 1)])])));
        pair.both(
            "OffsetFetch",
            7,
            json!({"groupId": "", "topics": [{"name": topic, "partitionIndexes": [0]}]}),
        );
    }),
    versions(2, 4, "a retention time", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let group = pair.group("g");
        for retention_ms in [0, 3_600_000, -2, i64::MAX] {
            let mut tree = commit(&group, json!([offsets(&topic, &[(0, 2)])]));
            tree["retentionTimeMs"] = json!(retention_ms);
            pair.both(API, v, tree);
        }
        fetch_all(pair, &group);
    }),
    every("more than a batch holds", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let group = pair.group("g");
        let lines: Vec<_> = (0..300).map(|n| partition(0, n, json!("x".repeat(4096)))).collect();
        pair.both(API, v, commit(&group, json!([{"name": topic, "partitions": lines}])));
        pair.both(
            "OffsetFetch",
            7,
            json!({"groupId": group, "topics": [{"name": topic, "partitionIndexes": [0]}]}),
        );
    }),
];
