//! DeleteRecords: up to an offset, inside a batch, to the high watermark, beyond it.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::harness::Batch;
use crate::pair::Pair;

pub const API: &str = "DeleteRecords";

fn ask(name: &str, partitions: &[(i32, i64)]) -> Value {
    let list: Vec<_> = partitions.iter().map(|(p, o)| json!({"partitionIndex": p, "offset": o})).collect();
    json!({"timeoutMs": 5000, "topics": [{"name": name, "partitions": list}]})
}

fn filled(pair: &mut Pair) -> String {
    let topic = pair.topic("t", 2, &[]);
    for count in [2, 3, 1] {
        pair.append(&topic, 0, &Batch::small(count));
    }
    topic
}

pub const CASES: &[Case] = &[
    every("offsets", |pair, v| {
        let topic = filled(pair);
        for offset in [0, 1, 3, 2, 7, 100, -2, i64::MIN, i64::MAX, 5, -1, 6, -1] {
            pair.both(API, v, ask(&topic, &[(0, offset)]));
        }
        pair.both(
            "Fetch",
            11,
            json!({"replicaId": -1, "maxWaitMs": 50, "topics": [{"topic": topic,
            "partitions": [{"partition": 0, "fetchOffset": 6, "partitionMaxBytes": 1000}]}]}),
        );
        pair.append(&topic, 0, &Batch::small(2));
        pair.both(
            "ListOffsets",
            7,
            json!({"replicaId": -1, "topics": [{"name": topic, "partitions": [
            {"partitionIndex": 0, "timestamp": -2}]}]}),
        );
    }),
    every("what is left is served from inside a batch", |pair, v| {
        let topic = filled(pair);
        pair.both(API, v, ask(&topic, &[(0, 3)]));
        for offset in [2, 3, 4] {
            pair.both(
                "Fetch",
                11,
                json!({"replicaId": -1, "maxWaitMs": 50, "topics": [{"topic": topic,
                "partitions": [{"partition": 0, "fetchOffset": offset, "partitionMaxBytes": 1000}]}]}),
            );
        }
    }),
    every("an empty partition", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for offset in [0, -1, 1] {
            pair.both(API, v, ask(&topic, &[(0, offset)]));
        }
    }),
    every("topics and partitions that are not there", |pair, v| {
        let topic = filled(pair);
        pair.both(API, v, ask("nobody-made-this", &[(0, 1)]));
        pair.both(API, v, ask("", &[(0, 1)]));
        pair.both(API, v, ask("__cluster_metadata", &[(0, 1)]));
        pair.both(API, v, ask(&topic, &[(9, 1), (-1, 1), (0, 1)]));
        pair.both(API, v, ask(&topic, &[(0, 2), (0, 1)]));
        pair.both(API, v, ask(&topic, &[]));
        pair.both(API, v, json!({"timeoutMs": 5000, "topics": []}));
    }),
    every("a compacted topic", |pair, v| {
        for policy in ["compact", "compact,delete"] {
            let topic = pair.topic(&policy.replace(',', "-"), 1, &[("cleanup.policy", policy)]);
            pair.append(&topic, 0, &Batch::small(2));
            pair.both(API, v, ask(&topic, &[(0, 1)]));
        }
    }),
    every("time limits", |pair, v| {
        let topic = filled(pair);
        for (limit, offset) in [(0, 1), (-1, 2)] {
            let mut tree = ask(&topic, &[(0, offset)]);
            tree["timeoutMs"] = json!(limit);
            pair.both(API, v, tree);
        }
    }),
];
