//! AlterConfigs: the whole set of a resource is replaced.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::pair::Pair;

pub const API: &str = "AlterConfigs";

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn resource(kind: i8, name: &str, configs: &[(&str, Option<&str>)]) -> Value {
    let list: Vec<_> = configs.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
    json!({"resourceType": kind, "resourceName": name, "configs": list})
}

fn alter(pair: &mut Pair, v: i16, resources: Value, dry: bool) {
    pair.both(API, v, json!({"resources": resources, "validateOnly": dry}));
}

/// Only what is not a default.
fn look(pair: &mut Pair, kind: i8, name: &str, keys: &[&str]) {
    pair.settles(
        "DescribeConfigs",
        4,
        json!({"includeSynonyms": true, "resources": [
        {"resourceType": kind, "resourceName": name, "configurationKeys": keys}]}),
    );
}

pub const CASES: &[Case] = &[
    every("a topic", |pair, v| {
        let topic = pair.topic("t", 1, &[("retention.ms", "5000")]);
        let keys = ["retention.ms", "segment.bytes", "cleanup.policy"];
        alter(pair, v, json!([resource(TOPIC, &topic, &[("segment.bytes", Some("2000000"))])]), false);
        look(pair, TOPIC, &topic, &keys);
        alter(pair, v, json!([resource(TOPIC, &topic, &[("cleanup.policy", Some("compact"))])]), true);
        look(pair, TOPIC, &topic, &keys);
        alter(pair, v, json!([resource(TOPIC, &topic, &[])]), false);
        look(pair, TOPIC, &topic, &keys);
    }),
    every("bad values", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for (key, value) in [
            ("retention.ms", Some("abc")),
            ("retention.ms", None),
            ("no.such.key", Some("1")),
            ("", Some("1")),
            ("segment.bytes", Some("13")),
            ("cleanup.policy", Some("")),
            ("min.insync.replicas", Some("0")),
        ] {
            for dry in [false, true] {
                alter(pair, v, json!([resource(TOPIC, &topic, &[(key, value)])]), dry);
            }
        }
        let twice = [("retention.ms", Some("1")), ("retention.ms", Some("2"))];
        alter(pair, v, json!([resource(TOPIC, &topic, &twice)]), false);
    }),
    every("resources that are not there", |pair, v| {
        for name in ["nobody-made-this", "", "a/b"] {
            alter(pair, v, json!([resource(TOPIC, name, &[("retention.ms", Some("1000"))])]), false);
        }
        for (kind, name) in [
            (BROKER, "7"),
            (BROKER, "one"),
            (8, "1"),
            (0, ""),
            (1, "x"),
            (3, "x"),
            (-1, "x"),
            (16, ""),
            (32, ""),
        ] {
            alter(pair, v, json!([resource(kind, name, &[])]), false);
            alter(pair, v, json!([resource(kind, name, &[("a", Some("b"))])]), false);
        }
        alter(pair, v, json!([]), false);
    }),
    every("several, one bad", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let good = resource(TOPIC, &topic, &[("retention.ms", Some("1000"))]);
        alter(pair, v, json!([good, resource(TOPIC, "nobody-made-this", &[])]), false);
        // The same one twice is no case: Apache Kafka never answers it.
    }),
    every("brokers", |pair, v| {
        let keys = ["log.retention.ms", "log.cleaner.threads", "num.io.threads"];
        for name in ["1", ""] {
            alter(
                pair,
                v,
                json!([resource(BROKER, name, &[("log.retention.ms", Some("360000000"))])]),
                false,
            );
            look(pair, BROKER, name, &keys);
            alter(pair, v, json!([resource(BROKER, name, &[("log.retention.ms", Some("x"))])]), false);
            alter(pair, v, json!([resource(BROKER, name, &[("node.id", Some("5"))])]), false);
            alter(pair, v, json!([resource(BROKER, name, &[("no.such.key", Some("5"))])]), true);
            alter(pair, v, json!([resource(BROKER, name, &[])]), false);
            look(pair, BROKER, name, &keys);
        }
    }),
];
