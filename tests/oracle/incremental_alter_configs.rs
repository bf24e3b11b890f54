//! IncrementalAlterConfigs: set, delete, append, subtract.

use serde_json::{Value, json};

use crate::cases::{Case, every};
use crate::pair::Pair;

pub const API: &str = "IncrementalAlterConfigs";

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Change<'a> = (i8, &'a str, Option<&'a str>);

fn resource(kind: i8, name: &str, changes: &[Change]) -> Value {
    let list: Vec<_> =
        changes.iter().map(|(op, k, v)| json!({"name": k, "configOperation": op, "value": v})).collect();
    json!({"resourceType": kind, "resourceName": name, "configs": list})
}

fn alter(pair: &mut Pair, v: i16, kind: i8, name: &str, changes: &[Change]) {
    pair.both(API, v, json!({"resources": [resource(kind, name, changes)], "validateOnly": false}));
}

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
        let steps: &[&[Change]] = &[
            &[(SET, "segment.bytes", Some("2000000"))],
            &[(APPEND, "cleanup.policy", Some("compact"))],
            &[(APPEND, "cleanup.policy", Some("compact"))],
            &[(SUBTRACT, "cleanup.policy", Some("delete"))],
            &[(SUBTRACT, "cleanup.policy", Some("delete"))],
            &[(SUBTRACT, "cleanup.policy", Some("compact"))],
            &[(DELETE, "retention.ms", None)],
            &[(DELETE, "retention.ms", Some("ignored"))],
            &[(DELETE, "cleanup.policy", None), (SET, "retention.ms", Some("77"))],
            &[],
        ];
        for changes in steps {
            alter(pair, v, TOPIC, &topic, changes);
            look(pair, TOPIC, &topic, &keys);
        }
    }),
    every("bad changes", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let steps: &[&[Change]] = &[
            &[(SET, "retention.ms", None)],
            &[(SET, "retention.ms", Some("abc"))],
            &[(SET, "no.such.key", Some("1"))],
            &[(DELETE, "no.such.key", None)],
            &[(SET, "", Some("1"))],
            &[(APPEND, "retention.ms", Some("1"))],
            &[(SUBTRACT, "retention.ms", Some("1"))],
            &[(APPEND, "cleanup.policy", None)],
            &[(APPEND, "cleanup.policy", Some("bogus"))],
            &[(4, "retention.ms", Some("1"))],
            &[(-1, "retention.ms", Some("1"))],
            &[(SET, "retention.ms", Some("1")), (SET, "retention.ms", Some("2"))],
            &[(SET, "retention.ms", Some("1")), (DELETE, "retention.ms", None)],
            &[(SET, "retention.ms", Some("1")), (SET, "segment.bytes", Some("x"))],
            &[(SET, "segment.bytes", Some("13"))],
            &[(SET, "min.insync.replicas", Some("2"))],
            &[(SET, "remote.storage.enable", Some("true"))],
        ];
        for changes in steps {
            alter(pair, v, TOPIC, &topic, changes);
        }
        look(pair, TOPIC, &topic, &["retention.ms", "segment.bytes", "min.insync.replicas"]);
    }),
    every("validate only", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for change in [(SET, "retention.ms", Some("1")), (SET, "retention.ms", Some("x"))] {
            pair.both(
                API,
                v,
                json!({"resources": [resource(TOPIC, &topic, &[change])], "validateOnly": true}),
            );
        }
        look(pair, TOPIC, &topic, &["retention.ms"]);
    }),
    every("resources that are not there", |pair, v| {
        for name in ["nobody-made-this", "", "a/b"] {
            alter(pair, v, TOPIC, name, &[(SET, "retention.ms", Some("1000"))]);
        }
        for (kind, name) in [
            (BROKER, "7"),
            (BROKER, "one"),
            (0, ""),
            (1, "x"),
            (3, "x"),
            (-1, "x"),
            (16, ""),
            (16, "x"),
            (GROUP, ""),
        ] {
            alter(pair, v, kind, name, &[]);
            alter(pair, v, kind, name, &[(SET, "a", Some("b"))]);
        }
        pair.both(API, v, json!({"resources": []}));
    }),
    every("several, one twice", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let good = resource(TOPIC, &topic, &[(SET, "retention.ms", Some("1000"))]);
        pair.both(API, v, json!({"resources": [good, resource(TOPIC, "nobody-made-this", &[])]}));
        pair.both(API, v, json!({"resources": [good, good]}));
    }),
    every("brokers", |pair, v| {
        let keys = ["log.retention.ms", "log.cleanup.policy", "message.max.bytes", "no.such.key"];
        let steps: &[&[Change]] = &[
            &[(SET, "log.retention.ms", Some("360000000"))],
            &[(SET, "message.max.bytes", Some("2000000"))],
            &[(SET, "message.max.bytes", Some("-1"))],
            &[(APPEND, "log.cleanup.policy", Some("compact"))],
            &[(SET, "node.id", Some("5"))],
            &[(SET, "log.dirs", Some("/tmp"))],
            &[(SET, "num.io.threads", Some("8"))],
            &[(SET, "num.io.threads", Some("1000"))],
            &[(SET, "no.such.key", Some("a"))],
            &[(DELETE, "no.such.key", None)],
            &[(SET, "advertised.listeners", Some("PLAINTEXT://127.0.0.1:1"))],
        ];
        for name in ["1", ""] {
            for changes in steps {
                alter(pair, v, BROKER, name, changes);
            }
            look(pair, BROKER, name, &keys);
            for key in ["log.retention.ms", "message.max.bytes", "log.cleanup.policy", "num.io.threads"] {
                alter(pair, v, BROKER, name, &[(DELETE, key, None)]);
            }
            look(pair, BROKER, name, &keys);
        }
    }),
    every("a topic inherits what changes for brokers", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        alter(pair, v, BROKER, "", &[(SET, "log.retention.ms", Some("111000"))]);
        look(pair, TOPIC, &topic, &["retention.ms"]);
        alter(pair, v, BROKER, "1", &[(SET, "log.retention.ms", Some("222000"))]);
        look(pair, TOPIC, &topic, &["retention.ms"]);
        alter(pair, v, BROKER, "1", &[(DELETE, "log.retention.ms", None)]);
        alter(pair, v, BROKER, "", &[(DELETE, "log.retention.ms", None)]);
        look(pair, TOPIC, &topic, &["retention.ms"]);
    }),
    every("groups", |pair, v| {
        let group = pair.name("group");
        alter(pair, v, GROUP, &group, &[(SET, "consumer.session.timeout.ms", Some("50000"))]);
        alter(pair, v, GROUP, &group, &[(SET, "no.such.key", Some("1"))]);
        alter(pair, v, GROUP, &group, &[(SET, "consumer.session.timeout.ms", Some("x"))]);
        alter(pair, v, GROUP, &group, &[(SET, "consumer.session.timeout.ms", Some("1"))]);
        let keys = ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"];
        look(pair, GROUP, &group, &keys);
        alter(pair, v, GROUP, &group, &[(SET, keys[1], Some("6000"))]);
        alter(pair, v, GROUP, &group, &[(APPEND, keys[1], Some("1"))]);
        alter(pair, v, GROUP, &group, &[(DELETE, "no.such.key", None)]);
        alter(pair, v, GROUP, &group, &[(DELETE, keys[0], Some("what is said is not read"))]);
        look(pair, GROUP, &group, &keys);
        alter(pair, v, GROUP, &group, &[(DELETE, keys[0], None)]);
        alter(pair, v, GROUP, &group, &[(DELETE, keys[1], None), (SET, keys[0], Some("51000"))]);
        look(pair, GROUP, &group, &keys);
        alter(pair, v, GROUP, &group, &[(DELETE, keys[0], None)]);
        look(pair, GROUP, &group, &keys);
        alter(pair, v, GROUP, &pair.name("never-set"), &[(DELETE, keys[0], None)]);
        // Apache Kafka goes on listing a group whose last setting was deleted, until it is started again.
        alter(pair, v, GROUP, &group, &[(SET, keys[0], Some("51000"))]);
    }),
];
