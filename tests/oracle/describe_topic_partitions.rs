//! DescribeTopicPartitions: pages of partitions, cursors, names.

use serde_json::{Value, json};

use crate::cases::{Case, every};

pub const API: &str = "DescribeTopicPartitions";

fn ask(names: &[&str], limit: i32, cursor: Value) -> Value {
    let topics: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
    json!({"topics": topics, "responsePartitionLimit": limit, "cursor": cursor})
}

fn cursor(name: &str, partition: i32) -> Value {
    json!({"topicName": name, "partitionIndex": partition})
}

pub const CASES: &[Case] = &[
    every("named topics", |pair, v| {
        let (a, b) = (pair.topic("a", 3, &[]), pair.topic("b", 2, &[]));
        pair.both(API, v, ask(&[&b, &a], 2000, Value::Null));
        pair.both(API, v, ask(&[&a, &a], 2000, Value::Null));
        pair.both(API, v, ask(&[&a, "nobody-made-this"], 2000, Value::Null));
        for name in ["", ".", "a/b", "__cluster_metadata"] {
            pair.both(API, v, ask(&[name], 2000, Value::Null));
        }
    }),
    every("all topics", |pair, v| {
        pair.topic("a", 1, &[]);
        pair.both(API, v, ask(&[], 2000, Value::Null));
        pair.both(API, v, ask(&[], 3, Value::Null));
    }),
    every("pages", |pair, v| {
        let (a, b) = (pair.topic("a", 3, &[]), pair.topic("b", 2, &[]));
        let names = [a.as_str(), b.as_str()];
        for limit in [1, 2, 3, 4, 5, 0, -1, 5000] {
            pair.both(API, v, ask(&names, limit, Value::Null));
        }
        for (topic, partition) in [(&a, 0), (&a, 1), (&a, 3), (&a, 9), (&b, 0), (&b, 1), (&a, -1)] {
            pair.both(API, v, ask(&names, 2, cursor(topic, partition)));
        }
        pair.both(API, v, ask(&names, 2, cursor("nobody-made-this", 0)));
        pair.both(API, v, ask(&names, 2, cursor("", 0)));
        pair.both(API, v, ask(&[], 2, cursor(&a, 1)));
    }),
];
