//! ElectLeaders: one replica is always its own leader, so what is asked is which error says so.

use serde_json::{Value, json};

use crate::cases::{Case, every};

pub const API: &str = "ElectLeaders";

fn ask(kind: i8, topics: &[(&str, &[i32])]) -> Value {
    let list: Vec<_> = topics.iter().map(|(t, p)| json!({"topic": t, "partitions": p})).collect();
    json!({"electionType": kind, "topicPartitions": list, "timeoutMs": 10000})
}

pub const CASES: &[Case] = &[
    every("partitions", |pair, v| {
        let (a, b) = (pair.topic("a", 2, &[]), pair.topic("b", 1, &[]));
        for kind in [0, 1] {
            pair.both(API, v, ask(kind, &[(&a, &[0, 1]), (&b, &[0])]));
            pair.both(API, v, ask(kind, &[(&a, &[0, 9, -1])]));
            pair.both(API, v, ask(kind, &[(&a, &[0, 0])]));
            pair.both(API, v, ask(kind, &[(&a, &[])]));
            pair.both(API, v, ask(kind, &[("nobody-made-this", &[0]), ("", &[0])]));
            pair.both(API, v, ask(kind, &[]));
        }
    }),
    every("every partition", |pair, v| {
        pair.topic("t", 1, &[]);
        for kind in [0, 1] {
            pair.both(API, v, json!({"electionType": kind, "topicPartitions": null, "timeoutMs": 10000}));
        }
    }),
    every("unknown types", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for kind in [2, -1] {
            pair.both(API, v, ask(kind, &[(&topic, &[0])]));
        }
    }),
    every("time limits", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for limit in [0, -1] {
            let mut tree = ask(0, &[(&topic, &[0])]);
            tree["timeoutMs"] = json!(limit);
            pair.both(API, v, tree);
        }
    }),
];
