//! CreateTopics: counts, assignments, names, configs, validate-only.

use serde_json::{Value, json};

use crate::cases::{Case, every, newest, versions};
use crate::pair::Pair;

pub const API: &str = "CreateTopics";

/// Brokers by partition.
type Assignment<'a> = &'a [(i32, &'a [i32])];

fn plain(name: &str, partitions: i32, replicas: i16) -> Value {
    json!({"name": name, "numPartitions": partitions, "replicationFactor": replicas})
}

fn ask(topics: Value) -> Value {
    json!({"timeoutMs": 30000, "topics": topics})
}

fn create(pair: &mut Pair, v: i16, topics: Value) {
    pair.both(API, v, ask(topics));
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> Value {
    let mut topic = plain(name, 1, 1);
    topic["configs"] = configs.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
    topic
}

fn assigned(name: &str, partitions: i32, replicas: i16, list: Assignment) -> Value {
    let mut topic = plain(name, partitions, replicas);
    topic["assignments"] = list.iter().map(|(p, b)| json!({"partitionIndex": p, "brokerIds": b})).collect();
    topic
}

fn look(pair: &mut Pair, name: &str) {
    pair.wait_for(name);
    pair.both("Metadata", 12, json!({"topics": [{"name": name}], "allowAutoTopicCreation": false}));
}

/// Values that are right, wrong, or on the edge, for keys of each kind.
const CONFIGS: &[(&str, &str)] = &[
    ("no.such.key", "1"),
    ("", "1"),
    ("cleanup.policy", "compact"),
    ("cleanup.policy", "compact,delete"),
    ("cleanup.policy", "delete, compact"),
    ("cleanup.policy", "delete,delete"),
    ("cleanup.policy", ""),
    ("cleanup.policy", "none"),
    ("cleanup.policy", "Compact"),
    ("retention.ms", "-1"),
    ("retention.ms", "-2"),
    ("retention.ms", "abc"),
    ("retention.ms", ""),
    ("retention.ms", " 1000 "),
    ("retention.ms", "9223372036854775807"),
    ("retention.ms", "9223372036854775808"),
    ("retention.bytes", "-5"),
    ("segment.bytes", "13"),
    ("segment.bytes", "1048575"),
    ("segment.bytes", "1048576"),
    ("segment.bytes", "2147483648"),
    ("segment.bytes", "1.5"),
    ("segment.ms", "0"),
    ("segment.ms", "1"),
    ("max.message.bytes", "-1"),
    ("max.message.bytes", "0"),
    ("compression.type", "lz5"),
    ("compression.type", "producer"),
    ("compression.type", "Gzip"),
    ("compression.gzip.level", "0"),
    ("compression.gzip.level", "-1"),
    ("compression.gzip.level", "10"),
    ("compression.lz4.level", "0"),
    ("compression.lz4.level", "18"),
    ("compression.zstd.level", "23"),
    ("compression.zstd.level", "-131072"),
    ("compression.zstd.level", "-131073"),
    ("min.cleanable.dirty.ratio", "1.1"),
    ("min.cleanable.dirty.ratio", "0.25"),
    ("min.insync.replicas", "0"),
    ("min.insync.replicas", "3"),
    ("unclean.leader.election.enable", "maybe"),
    ("unclean.leader.election.enable", "TRUE"),
    ("message.timestamp.type", "CreateTime"),
    ("message.timestamp.type", "createtime"),
    ("message.timestamp.before.max.ms", "-1"),
    ("message.timestamp.after.max.ms", "0"),
    ("message.timestamp.difference.max.ms", "1000"),
    ("message.format.version", "2.0"),
    ("message.downconversion.enable", "true"),
    ("preallocate", "yes"),
    ("index.interval.bytes", "-1"),
    ("segment.index.bytes", "3"),
    ("segment.index.bytes", "4"),
    ("segment.jitter.ms", "-1"),
    ("flush.messages", "0"),
    ("flush.messages", "1"),
    ("flush.ms", "-1"),
    ("file.delete.delay.ms", "-1"),
    ("delete.retention.ms", "-1"),
    ("min.compaction.lag.ms", "-1"),
    ("max.compaction.lag.ms", "0"),
    ("max.compaction.lag.ms", "1"),
    ("leader.replication.throttled.replicas", "*"),
    ("leader.replication.throttled.replicas", "0:1,1:2"),
    ("leader.replication.throttled.replicas", "0-1"),
    ("follower.replication.throttled.replicas", ""),
    ("remote.storage.enable", "true"),
    ("remote.storage.enable", "false"),
    ("local.retention.ms", "-2"),
    ("local.retention.ms", "-3"),
    ("local.retention.bytes", "100"),
    ("remote.log.copy.disable", "true"),
    ("remote.log.delete.on.disable", "true"),
    ("internal.segment.bytes", "100"),
];

pub const CASES: &[Case] = &[
    every("counts", |pair, v| {
        for (index, (partitions, replicas)) in
            [(1, 1), (3, 1), (0, 1), (-1, 1), (-2, 1), (1, -1), (-1, -1), (1, 0), (1, 2), (1, -2), (2, 3)]
                .iter()
                .enumerate()
        {
            let name = pair.name(&index.to_string());
            create(pair, v, json!([plain(&name, *partitions, *replicas)]));
        }
        let name = pair.name("1");
        look(pair, &name);
    }),
    every("several, some bad", |pair, v| {
        let (a, b) = (pair.name("a"), pair.name("b"));
        create(pair, v, json!([plain(&a, 1, 1), plain("b/d", 1, 1), plain(&b, 1, 9)]));
        create(pair, v, json!([plain(&a, 1, 1)]));
        create(pair, v, json!([plain(&b, 1, 1), plain(&b, 2, 1)]));
        create(pair, v, json!([]));
    }),
    every("names that are not allowed", |pair, v| {
        for name in ["", ".", "..", "a/b", "with space", "ä", "a:b", "line\nbreak"] {
            create(pair, v, json!([plain(name, 1, 1)]));
        }
        create(pair, v, json!([plain(&"x".repeat(250), 1, 1)]));
        create(pair, v, json!([plain("__cluster_metadata", 1, 1)]));
    }),
    every("names that collide", |pair, v| {
        let (dot, line) = (pair.name("a.b"), pair.name("a_b"));
        create(pair, v, json!([plain(&dot, 1, 1)]));
        pair.wait_for(&dot);
        create(pair, v, json!([plain(&line, 1, 1)]));
        let (dot, line) = (pair.name("c.d_e"), pair.name("c_d.e"));
        create(pair, v, json!([plain(&line, 1, 1), plain(&dot, 1, 1)]));
    }),
    every("validate only", |pair, v| {
        let name = pair.name("t");
        for topic in [plain(&name, 3, 1), plain(&name, 0, 1), plain(&name, 1, 4), plain("a/b", 1, 1)] {
            let mut tree = ask(json!([topic]));
            tree["validateOnly"] = json!(true);
            pair.both(API, v, tree);
        }
        pair.both("Metadata", 12, json!({"topics": [{"name": name}], "allowAutoTopicCreation": false}));
    }),
    every("assignments", |pair, v| {
        let cases: [(i32, i16, Assignment); 13] = [
            (-1, -1, &[(0, &[1]), (1, &[1])]),
            (1, 1, &[(0, &[1])]),
            (2, -1, &[(0, &[1])]),
            (-1, 1, &[(0, &[1])]),
            (-1, -1, &[(0, &[2])]),
            (-1, -1, &[(0, &[1, 1])]),
            (-1, -1, &[(0, &[1, 2])]),
            (-1, -1, &[(0, &[])]),
            (-1, -1, &[(1, &[1])]),
            (-1, -1, &[(0, &[1]), (2, &[1])]),
            (-1, -1, &[(0, &[1]), (0, &[1])]),
            (-1, -1, &[(-1, &[1])]),
            (-1, -1, &[(0, &[-1])]),
        ];
        for (index, (partitions, replicas, list)) in cases.into_iter().enumerate() {
            let name = pair.name(&index.to_string());
            create(pair, v, json!([assigned(&name, partitions, replicas, list)]));
        }
        let name = pair.name("0");
        look(pair, &name);
    }),
    every("configs come back", |pair, v| {
        let name = pair.name("t");
        let configs = [("retention.ms", Some("1000")), ("cleanup.policy", Some("compact"))];
        create(pair, v, json!([configured(&name, &configs)]));
        let none = pair.name("none");
        create(pair, v, json!([configured(&none, &[("retention.ms", None)])]));
        let twice = pair.name("twice");
        create(
            pair,
            v,
            json!([configured(&twice, &[("retention.ms", Some("1")), ("retention.ms", Some("2"))])]),
        );
        look(pair, &name);
    }),
    newest("values of configs", |pair, v| {
        for (index, (key, value)) in CONFIGS.iter().enumerate() {
            let name = pair.name(&index.to_string());
            create(pair, v, json!([configured(&name, &[(key, Some(value))])]));
        }
    }),
    versions(5, 7, "pairs of configs", |pair, v| {
        let pairs: [[(&str, Option<&str>); 2]; 4] = [
            [("min.compaction.lag.ms", Some("100")), ("max.compaction.lag.ms", Some("10"))],
            [("cleanup.policy", Some("compact")), ("remote.storage.enable", Some("true"))],
            [("retention.ms", Some("10")), ("local.retention.ms", Some("100"))],
            [("retention.ms", Some("abc")), ("no.such.key", Some("1"))],
        ];
        for (index, configs) in pairs.iter().enumerate() {
            let name = pair.name(&index.to_string());
            create(pair, v, json!([configured(&name, configs)]));
        }
    }),
    newest("time limits", |pair, v| {
        for (part, limit) in [("zero", 0), ("negative", -1)] {
            let name = pair.name(part);
            pair.both(API, v, json!({"timeoutMs": limit, "topics": [plain(&name, 1, 1)]}));
        }
    }),
    newest("ten thousand partitions and one", |pair, v| {
        let name = pair.name("many");
        create(pair, v, json!([plain(&name, 10_001, 1)]));
    }),
];
