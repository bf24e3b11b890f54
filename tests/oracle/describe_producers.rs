//! DescribeProducers: what a partition knows of its idempotent producers.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::harness::Batch;

pub const API: &str = "DescribeProducers";

fn ask(name: &str, partitions: &[i32]) -> Value {
    json!({"topics": [{"name": name, "partitionIndexes": partitions}]})
}

pub const CASES: &[Case] = &[
    every("producers", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        pair.both(API, v, ask(&topic, &[0, 1]));
        pair.append(&topic, 0, &Batch::small(2).by(700, 3, 0));
        pair.append(&topic, 0, &Batch::small(1));
        pair.append(&topic, 0, &Batch::small(2).by(700, 3, 2));
        pair.append(&topic, 0, &Batch::small(1).by(701, 0, i32::MAX));
        pair.append(&topic, 0, &Batch::small(1).by(700, 4, 0));
        pair.both(API, v, ask(&topic, &[0, 1]));
    }),
    every("topics and partitions that are not there", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for name in ["nobody-made-this", "", "a/b", "__cluster_metadata"] {
            pair.both(API, v, ask(name, &[0]));
        }
        pair.both(API, v, ask(&topic, &[0, 5, -1]));
        pair.both(API, v, ask(&topic, &[]));
        pair.both(API, v, json!({"topics": []}));
    }),
];
