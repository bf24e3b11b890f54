//! CreatePartitions: growth, and every request that is none.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::pair::Pair;

pub const API: &str = "CreatePartitions";

fn grow(pair: &mut Pair, v: i16, name: &str, count: i32, assignments: Value, dry: bool) {
    let topics = json!([{"name": name, "count": count, "assignments": assignments}]);
    pair.both(API, v, json!({"timeoutMs": 10000, "validateOnly": dry, "topics": topics}));
}

fn on(brokers: &[&[i32]]) -> Value {
    brokers.iter().map(|list| json!({"brokerIds": list})).collect()
}

pub const CASES: &[Case] = &[
    every("counts", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        for count in [1, 2, 0, -1, 3, 5] {
            grow(pair, v, &topic, count, Value::Null, false);
        }
        pair.wait_for(&topic);
        pair.both("Metadata", 12, json!({"topics": [{"name": topic}], "allowAutoTopicCreation": false}));
    }),
    every("validate only", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for count in [1, 0, 4] {
            grow(pair, v, &topic, count, Value::Null, true);
        }
        pair.both("Metadata", 12, json!({"topics": [{"name": topic}], "allowAutoTopicCreation": false}));
    }),
    every("assignments", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let lists: [&[&[i32]]; 8] =
            [&[], &[&[2]], &[&[1], &[1]], &[&[1, 2]], &[&[]], &[&[1, 1]], &[&[-1]], &[&[1]]];
        for list in lists {
            grow(pair, v, &topic, 2, on(list), false);
        }
        grow(pair, v, &topic, 4, on(&[&[1]]), false);
        grow(pair, v, &topic, 4, on(&[&[1], &[3]]), false);
    }),
    every("topics that are not there", |pair, v| {
        for name in ["nobody-made-this", "", "a/b", "__cluster_metadata"] {
            grow(pair, v, name, 3, Value::Null, false);
        }
        pair.both(API, v, json!({"timeoutMs": 10000, "topics": []}));
    }),
    every("one topic twice", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let one = |count: i32| json!({"name": topic, "count": count, "assignments": null});
        pair.both(API, v, json!({"timeoutMs": 10000, "topics": [one(2), one(3)]}));
    }),
];
