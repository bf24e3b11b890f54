//! ListPartitionReassignments: there are none on one broker.

use serde_json::{Value, json};

use crate::cases::{Case, every};

pub const API: &str = "ListPartitionReassignments";

pub const CASES: &[Case] = &[every("none", |pair, v| {
    let topic = pair.topic("t", 2, &[]);
    let of = |name: &str, list: &[i32]| json!({"timeoutMs": 5000, "topics": [{"name": name, "partitionIndexes": list}]});
    pair.both(API, v, json!({"timeoutMs": 5000, "topics": Value::Null}));
    pair.both(API, v, json!({"timeoutMs": 5000, "topics": []}));
    for list in [&[0, 1][..], &[9], &[-1], &[], &[0, 0]] {
        pair.both(API, v, of(&topic, list));
    }
    pair.both(API, v, of("nobody-made-this", &[0]));
    pair.both(API, v, of("", &[0]));
    pair.both(API, v, json!({"timeoutMs": -1, "topics": []}));
})];
