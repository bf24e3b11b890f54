//! DeleteTopics: by name, by id, what is not there, what stands twice.

use serde_json::{Value, json};

use crate::cases::{Case, every, newest, versions};
use crate::pair::{NO_ID, Pair};

pub const API: &str = "DeleteTopics";

/// By name, in the form of each version.
fn named(v: i16, names: &[&str]) -> Value {
    match v {
        6 => {
            json!({"timeoutMs": 10000, "topics": names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()})
        }
        _ => json!({"timeoutMs": 10000, "topicNames": names}),
    }
}

fn by(pair: &mut Pair, topics: Value) {
    pair.both(API, 6, json!({"timeoutMs": 10000, "topics": topics}));
}

pub const CASES: &[Case] = &[
    every("by name", |pair, v| {
        let (a, b) = (pair.topic("a", 2, &[]), pair.topic("b", 1, &[]));
        pair.both(API, v, named(v, &[&a]));
        pair.both(API, v, named(v, &[&b, "nobody-made-this"]));
        pair.both(API, v, named(v, &[&a]));
    }),
    every("nothing, and names that are not allowed", |pair, v| {
        pair.both(API, v, named(v, &[]));
        for name in ["", ".", "a/b", "__cluster_metadata"] {
            pair.both(API, v, named(v, &[name]));
        }
    }),
    every("one name twice", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        pair.both(API, v, named(v, &[&topic, &topic]));
        pair.both(API, v, named(v, &["nobody-made-this", "nobody-made-this"]));
        pair.both("Metadata", 12, json!({"topics": [{"name": topic}], "allowAutoTopicCreation": false}));
    }),
    versions(6, 6, "by id", |pair, _| {
        let topic = pair.topic("t", 1, &[]);
        let id = format!("@id:{topic}");
        by(pair, json!([{"name": null, "topicId": NO_ID}]));
        by(pair, json!([{"name": null, "topicId": "0".repeat(32)}]));
        by(pair, json!([{"name": topic, "topicId": id}]));
        by(pair, json!([{"name": null, "topicId": id}, {"name": null, "topicId": id}]));
        by(pair, json!([{"name": topic}, {"name": null, "topicId": id}]));
        by(pair, json!([{"name": null, "topicId": id}]));
        by(pair, json!([{"name": null, "topicId": id}]));
    }),
    every("made again", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        pair.append(&topic, 0, &crate::harness::Batch::small(2));
        pair.both(API, v, named(v, &[&topic]));
        pair.delete(&topic);
        let topic = pair.topic("t", 2, &[]);
        pair.both(
            "ListOffsets",
            7,
            json!({"replicaId": -1, "topics": [{"name": topic, "partitions": [
            {"partitionIndex": 0, "timestamp": -1}, {"partitionIndex": 1, "timestamp": -1}]}]}),
        );
    }),
    newest("time limits", |pair, v| {
        for (part, limit) in [("zero", 0), ("negative", -1)] {
            let topic = pair.topic(part, 1, &[]);
            let mut tree = named(v, &[&topic]);
            tree["timeoutMs"] = json!(limit);
            pair.both(API, v, tree);
        }
    }),
];
