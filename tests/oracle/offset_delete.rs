//! OffsetDelete: offsets of a group without members, and what is not there.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::offset_commit::{commit, consume, join, offsets, sync};

pub const API: &str = "OffsetDelete";

fn ask(group: &str, topics: &[(&str, &[i32])]) -> Value {
    let partitions = |ids: &[i32]| ids.iter().map(|id| json!({"partitionIndex": id})).collect::<Vec<_>>();
    let list: Vec<_> =
        topics.iter().map(|(name, ids)| json!({"name": name, "partitions": partitions(ids)})).collect();
    json!({"groupId": group, "topics": list})
}

pub const CASES: &[Case] = &[
    every("offsets of a group without members", |pair, v| {
        let topic = pair.topic("t", 3, &[]);
        let group = pair.group("g");
        pair.both("OffsetCommit", 6, commit(&group, json!([offsets(&topic, &[(0, 1), (1, 2), (2, 3)])])));
        let all = json!({"groupId": group, "topics": null});
        for ids in [&[1][..], &[1, 1, 0], &[7, 2, -1], &[], &[0, 1, 2]] {
            pair.both(API, v, ask(&group, &[(&topic, ids)]));
            pair.both("OffsetFetch", 7, all.clone());
        }
        // The group is there without offsets.
        pair.both(API, v, ask(&group, &[(&topic, &[0])]));
        pair.both(API, v, ask(&group, &[]));
    }),
    every("a group with members", |pair, v| {
        let topics = [pair.topic("t", 2, &[]), pair.topic("u", 2, &[])];
        let (classic, other, consumer) = (pair.group("classic"), pair.group("other"), pair.group("consumer"));
        for group in [&classic, &other, &consumer] {
            let all = json!([offsets(&topics[0], &[(0, 1)]), offsets(&topics[1], &[(0, 1)])]);
            pair.both("OffsetCommit", 6, commit(group, all));
        }
        for (group, kind) in [(&classic, "consumer"), (&other, "connect")] {
            let ids = join(pair, group, kind, &topics[0], json!(null));
            pair.both(API, v, ask(group, &[(&topics[1], &[1])]));
            sync(pair, group, &ids);
        }
        consume(pair, &consumer, "member", &topics[0]);
        for group in [&classic, &other, &consumer] {
            pair.both(API, v, ask(group, &[(&topics[0], &[0, 9]), ("nobody", &[0]), (&topics[1], &[0])]));
            pair.both(API, v, ask(group, &[(&topics[0], &[0])]));
            pair.both("OffsetFetch", 7, json!({"groupId": group, "topics": null}));
        }
    }),
    every("what is not there", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        let group = pair.group("g");
        pair.both(API, v, ask(&group, &[(&topic, &[0])]));
        pair.both(API, v, ask(&group, &[("nobody", &[0])]));
        pair.both("OffsetCommit", 6, commit(&group, json!([offsets(&topic, &[(0, 1)])])));
        pair.both(
            API,
            v,
            ask(&group, &[("nobody", &[0, 1]), (&topic, &[0, 5]), ("nobody", &[2]), (&topic, &[1])]),
        );
        pair.both(API, v, ask(&group, &[("", &[0]), ("nobody", &[])]));
        pair.both(API, v, ask("", &[(&topic, &[0]), ("nobody", &[0])]));
        pair.both(API, v, ask("", &[]));
    }),
];
