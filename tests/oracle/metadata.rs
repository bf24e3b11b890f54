//! Metadata: topics by name and by id, all of them, none, names that are not allowed, auto-creation.

use serde_json::{Value, json};

use crate::cases::{Case, every, newest, versions};
use crate::pair::NO_ID;

pub const API: &str = "Metadata";

fn of(names: &[&str]) -> Value {
    let topics: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
    json!({"topics": topics, "allowAutoTopicCreation": false})
}

const BAD_NAMES: [&str; 8] = ["", ".", "..", "a/b", "with space", "ä", "colon:", "line\nbreak"];

pub const CASES: &[Case] = &[
    every("no topics", |pair, v| {
        pair.both(API, v, json!({"topics": []}));
    }),
    every("all topics", |pair, v| {
        pair.topic("one", 2, &[]);
        pair.both(API, v, json!({ "topics": if v == 0 { json!([]) } else { Value::Null } }));
    }),
    newest("null topics in version 0", |pair, _| {
        pair.both(API, 0, json!({"topics": null}));
    }),
    every("one topic", |pair, v| {
        let topic = pair.topic("one", 3, &[]);
        pair.both(API, v, of(&[&topic]));
    }),
    every("some topics, one twice", |pair, v| {
        let (a, b) = (pair.topic("a", 1, &[]), pair.topic("b", 2, &[]));
        pair.both(API, v, of(&[&b, &a, &b]));
    }),
    versions(4, 13, "an unknown topic", |pair, v| {
        let known = pair.topic("known", 1, &[]);
        pair.both(API, v, of(&["nobody-made-this", &known]));
    }),
    every("names that are not allowed", |pair, v| {
        for name in BAD_NAMES {
            pair.both(API, v, of(&[name]));
        }
        // The longest name is allowed, and made where the version makes what it names.
        let longest = "x".repeat(249);
        pair.both(API, v, of(&[&longest]));
        if v < 4 {
            pair.wait_for(&longest);
        }
        pair.both(API, v, of(&[&"x".repeat(250)]));
    }),
    versions(4, 13, "auto-creation of names that are not allowed", |pair, v| {
        for name in BAD_NAMES {
            pair.both(API, v, json!({"topics": [{"name": name}], "allowAutoTopicCreation": true}));
        }
    }),
    every("auto-creation", |pair, v| {
        let name = pair.name("auto");
        pair.both(API, v, json!({"topics": [{"name": name}], "allowAutoTopicCreation": true}));
        pair.wait_for(&name);
        pair.both(API, v, of(&[&name]));
        pair.both(
            "DescribeConfigs",
            4,
            json!({"resources": [{"resourceType": 2, "resourceName": name,
            "configurationKeys": ["cleanup.policy", "segment.bytes"]}]}),
        );
    }),
    versions(4, 13, "auto-creation that collides", |pair, v| {
        pair.topic("dot.ted", 1, &[]);
        let other = pair.name("dot_ted");
        pair.both(API, v, json!({"topics": [{"name": other}], "allowAutoTopicCreation": true}));
    }),
    versions(8, 13, "authorised operations", |pair, v| {
        let topic = pair.topic("one", 1, &[]);
        let mut ask = of(&[&topic, "nobody-made-this"]);
        ask["includeTopicAuthorizedOperations"] = json!(true);
        ask["includeClusterAuthorizedOperations"] = json!(true);
        pair.both(API, v, ask);
    }),
    versions(10, 13, "by id", |pair, v| {
        let topic = pair.topic("one", 2, &[]);
        let ask = |name: Value, id: &str| json!({"topics": [{"name": name, "topicId": id}], "allowAutoTopicCreation": false});
        let id = format!("@id:{topic}");
        pair.both(API, v, ask(Value::Null, &id));
        pair.both(API, v, ask(json!(topic), &id));
        pair.both(API, v, ask(json!("another-name"), &id));
        pair.both(API, v, ask(Value::Null, NO_ID));
        pair.both(API, v, ask(Value::Null, &"0".repeat(32)));
        pair.both(API, v, ask(json!(topic), NO_ID));
        pair.both(API, v, json!({"topics": [{"name": topic}, {"name": null, "topicId": id}]}));
        pair.both(
            API,
            v,
            json!({"topics": [{"name": null, "topicId": NO_ID}, {"name": null, "topicId": id}]}),
        );
    }),
    versions(1, 9, "a null name", |pair, v| {
        pair.both(API, v, json!({"topics": [{"name": null}]}));
    }),
    versions(4, 13, "a deleted topic", |pair, v| {
        let topic = pair.topic("gone", 1, &[]);
        pair.delete(&topic);
        pair.both(API, v, of(&[&topic]));
        if v >= 10 {
            pair.both(API, v, json!({"topics": [{"name": null, "topicId": format!("@id:{topic}")}]}));
        }
    }),
    newest("an internal topic", |pair, v| {
        pair.both(API, v, of(&["__consumer_offsets", "__transaction_state", "__cluster_metadata"]));
        pair.both(
            API,
            v,
            json!({"topics": [{"name": "__cluster_metadata"}], "allowAutoTopicCreation": true}),
        );
        pair.both(
            API,
            v,
            json!({"topics": [{"name": "__consumer_offsets"}], "allowAutoTopicCreation": true}),
        );
        pair.wait_for("__consumer_offsets");
        pair.both(API, v, of(&["__consumer_offsets"]));
        pair.both(
            "DescribeConfigs",
            4,
            json!({"resources": [
            {"resourceType": 2, "resourceName": "__consumer_offsets", "configurationKeys": null}]}),
        );
    }),
];
