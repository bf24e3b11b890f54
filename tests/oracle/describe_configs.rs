//! DescribeConfigs: every key of brokers and topics, with types, sources and synonyms.

use serde_json::{Value, json};

use crate::cases::{Case, every, newest};

pub const API: &str = "DescribeConfigs";

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const METRICS: i8 = 16;
const GROUP: i8 = 32;

fn ask(resource: i8, name: &str, keys: Value) -> Value {
    json!({"resources": [{"resourceType": resource, "resourceName": name, "configurationKeys": keys}],
        "includeSynonyms": true, "includeDocumentation": false})
}

pub const CASES: &[Case] = &[
    every("every key of a topic", |pair, v| {
        let topic = pair.topic("t", 1, &[("retention.ms", "12345"), ("cleanup.policy", "compact,delete")]);
        pair.both(API, v, ask(TOPIC, &topic, Value::Null));
        pair.both(API, v, ask(TOPIC, &topic, json!([])));
        let mut tree = ask(TOPIC, &topic, Value::Null);
        tree["includeSynonyms"] = json!(false);
        pair.both(API, v, tree);
    }),
    every("every key of a broker", |pair, v| {
        pair.both(API, v, ask(BROKER, "1", Value::Null));
    }),
    every("every key of all brokers", |pair, v| {
        pair.both(API, v, ask(BROKER, "", Value::Null));
    }),
    every("some keys", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let keys = json!(["retention.ms", "no.such.key", "retention.ms", ""]);
        pair.both(API, v, ask(TOPIC, &topic, keys.clone()));
        pair.both(API, v, ask(BROKER, "1", keys));
        pair.both(
            API,
            v,
            ask(BROKER, "1", json!(["log.retention.ms", "log.retention.hours", "num.io.threads"])),
        );
    }),
    every("resources that are not there", |pair, v| {
        for name in ["nobody-made-this", "", "a/b", "__cluster_metadata"] {
            pair.both(API, v, ask(TOPIC, name, Value::Null));
        }
        for name in ["7", "-1", "one", " 1", "01"] {
            pair.both(API, v, ask(BROKER, name, Value::Null));
            // Logger 1 is there, with names of its own on each side.
            if name != "01" {
                pair.both(API, v, ask(LOGGER, name, Value::Null));
            }
        }
        for kind in [0, 1, 3, 64, -1, 127] {
            pair.both(API, v, ask(kind, "1", Value::Null));
        }
        pair.both(API, v, json!({"resources": []}));
    }),
    every("several resources, one twice", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let one = |kind: i8, name: &str| json!({"resourceType": kind, "resourceName": name, "configurationKeys": ["segment.bytes"]});
        pair.both(
            API,
            v,
            json!({"resources": [one(TOPIC, &topic), one(BROKER, "1"), one(TOPIC, "nobody-made-this")]}),
        );
        pair.both(API, v, json!({"resources": [one(TOPIC, &topic), one(TOPIC, &topic)]}));
    }),
    every("groups and metrics", |pair, v| {
        for kind in [GROUP, METRICS] {
            for name in ["some-name", ""] {
                pair.both(API, v, ask(kind, name, Value::Null));
            }
        }
    }),
    newest("documentation is there", |pair, v| {
        let mut tree = ask(BROKER, "1", Value::Null);
        tree["includeDocumentation"] = json!(true);
        pair.both(API, v, tree);
        let topic = pair.topic("t", 1, &[]);
        let mut tree = ask(TOPIC, &topic, Value::Null);
        tree["includeDocumentation"] = json!(true);
        pair.both(API, v, tree);
    }),
];
