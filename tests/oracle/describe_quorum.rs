//! DescribeQuorum: the voters of the metadata log.

use serde_json::{Value, json};

use crate::cases::{Case, every};

pub const API: &str = "DescribeQuorum";

fn ask(name: &str, partitions: &[i32]) -> Value {
    let list: Vec<_> = partitions.iter().map(|p| json!({ "partitionIndex": p })).collect();
    json!({"topics": [{"topicName": name, "partitions": list}]})
}

pub const CASES: &[Case] = &[
    every("the metadata log", |pair, v| {
        pair.both(API, v, ask("__cluster_metadata", &[0]));
    }),
    every("anything else", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for (name, list) in [(topic.as_str(), &[0][..]), ("nobody-made-this", &[0]), ("", &[0])] {
            pair.both(API, v, ask(name, list));
        }
        for list in [&[1][..], &[0, 1], &[0, 0], &[-1], &[]] {
            pair.both(API, v, ask("__cluster_metadata", list));
        }
        pair.both(API, v, json!({"topics": []}));
    }),
];
