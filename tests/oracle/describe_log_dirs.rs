//! DescribeLogDirs: sizes of partitions and of the directory.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::harness::Batch;

pub const API: &str = "DescribeLogDirs";

fn ask(topics: &[(&str, &[i32])]) -> Value {
    json!({"topics": topics.iter().map(|(t, p)| json!({"topic": t, "partitions": p})).collect::<Vec<_>>()})
}

pub const CASES: &[Case] = &[every("some partitions", |pair, v| {
    let (a, b) = (pair.topic("a", 2, &[]), pair.topic("b", 1, &[]));
    pair.append(&a, 0, &Batch::small(10));
    pair.append(&b, 0, &Batch::small(1));
    pair.both(API, v, ask(&[(&a, &[0]), (&b, &[0])]));
    pair.both(API, v, ask(&[(&a, &[0, 7, -1])]));
    pair.both(API, v, ask(&[(&a, &[0, 0])]));
    pair.both(API, v, ask(&[(&a, &[])]));
    pair.both(API, v, ask(&[("nobody-made-this", &[0])]));
    pair.both(API, v, ask(&[]));
})];
