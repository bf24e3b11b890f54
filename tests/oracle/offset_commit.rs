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

pub const CASES: &[Case] = &[
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
