//! OffsetForLeaderEpoch: the end of an epoch, and epochs that never were.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::harness::Batch;

pub const API: &str = "OffsetForLeaderEpoch";

fn ask(name: &str, partitions: &[(i32, i32, i32)]) -> Value {
    let one = |(p, current, epoch): &(i32, i32, i32)| json!({"partition": p, "currentLeaderEpoch": current, "leaderEpoch": epoch});
    let list: Vec<_> = partitions.iter().map(one).collect();
    json!({"replicaId": -1, "topics": [{"topic": name, "partitions": list}]})
}

pub const CASES: &[Case] = &[
    every("epochs", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        pair.append(&topic, 0, &Batch::small(4));
        for epoch in [-2, -1, 0, 1, 5, i32::MAX] {
            pair.both(API, v, ask(&topic, &[(0, -1, epoch)]));
            pair.both(API, v, ask(&topic, &[(1, -1, epoch)]));
            pair.both(API, v, ask(&topic, &[(0, epoch, 0)]));
        }
    }),
    every("topics and partitions that are not there", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        pair.both(API, v, ask("nobody-made-this", &[(0, -1, 0)]));
        pair.both(API, v, ask("", &[(0, -1, 0)]));
        pair.both(API, v, ask(&topic, &[(0, -1, 0), (7, -1, 0), (-1, -1, 0)]));
        pair.both(API, v, ask(&topic, &[]));
        pair.both(API, v, json!({"topics": []}));
    }),
    every("replica ids", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for id in [-2, 0, 1, 9] {
            let mut tree = ask(&topic, &[(0, -1, 0)]);
            tree["replicaId"] = json!(id);
            pair.both(API, v, tree);
        }
    }),
    every("after records were deleted", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        pair.append(&topic, 0, &Batch::small(4));
        pair.prepare(
            "DeleteRecords",
            2,
            json!({"timeoutMs": 5000, "topics": [
            {"name": topic, "partitions": [{"partitionIndex": 0, "offset": 2}]}]}),
        );
        pair.both(API, v, ask(&topic, &[(0, -1, 0)]));
    }),
];
