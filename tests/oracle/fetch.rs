//! Fetch: where reading starts and stops, long polls, sessions, epochs.

use serde_json::{Value, json};

use crate::cases::{Case, every, newest, versions};
use crate::harness::{Batch, Record};
use crate::pair::{NO_ID, Pair};

pub const API: &str = "Fetch";

fn partition(index: i32, offset: i64) -> Value {
    json!({"partition": index, "fetchOffset": offset, "partitionMaxBytes": 1_048_576})
}

fn topic(name: &str, partitions: Value) -> Value {
    json!({"topic": name, "topicId": format!("@id:{name}"), "partitions": partitions})
}

fn ask(topics: Value) -> Value {
    json!({"replicaId": -1, "maxWaitMs": 50, "minBytes": 1, "topics": topics})
}

/// From one place of one partition.
fn from(name: &str, offset: i64) -> Value {
    ask(json!([topic(name, json!([partition(0, offset)]))]))
}

fn with(mut tree: Value, field: &str, value: impl Into<Value>) -> Value {
    tree[field] = value.into();
    tree
}

/// A partition with three batches of 2, 3 and 1 records: offsets 0 to 5.
fn filled(pair: &mut Pair, part: &str) -> String {
    let name = pair.topic(part, 2, &[]);
    for count in [2, 3, 1] {
        pair.append(&name, 0, &Batch::small(count));
    }
    name
}

/// The session ids that each side answered with.
fn sessions(answers: &[Value; 2]) -> [Value; 2] {
    [answers[0]["sessionId"].clone(), answers[1]["sessionId"].clone()]
}

fn in_session(pair: &mut Pair, v: i16, ids: &[Value; 2], epoch: i32, tree: Value) -> [Value; 2] {
    let tree = with(tree, "sessionEpoch", epoch);
    pair.each(
        API,
        v,
        [with(tree.clone(), "sessionId", ids[0].clone()), with(tree, "sessionId", ids[1].clone())],
    )
}

pub const CASES: &[Case] = &[
    every("from each offset", |pair, v| {
        let name = filled(pair, "t");
        for offset in [0, 1, 2, 4, 5, 6, 7, 100, -1, i64::MAX, i64::MIN] {
            pair.both(API, v, from(&name, offset));
        }
    }),
    every("from an empty partition", |pair, v| {
        let name = pair.topic("t", 1, &[]);
        for offset in [0, 1, -1] {
            pair.both(API, v, from(&name, offset));
        }
    }),
    every("limits of bytes", |pair, v| {
        let name = pair.topic("t", 2, &[]);
        for index in 0..6 {
            pair.append(&name, index % 2, &Batch::of(vec![Record::value(vec![b'x'; 500]); 2]));
        }
        for most in [0, 1, 100, 1_200, 2_500, i32::MAX, -1] {
            let part = |index: i32| json!({"partition": index, "fetchOffset": 0, "partitionMaxBytes": most});
            pair.both(API, v, ask(json!([topic(&name, json!([part(0), part(1)]))])));
            let both = json!([topic(&name, json!([partition(1, 0), partition(0, 0)]))]);
            pair.both(API, v, with(ask(both), "maxBytes", most));
        }
    }),
    every("unknown topics and partitions", |pair, v| {
        let name = filled(pair, "t");
        pair.both(API, v, from("nobody-made-this", 0));
        pair.both(API, v, from("", 0));
        pair.both(
            API,
            v,
            ask(json!([topic(&name, json!([partition(9, 0), partition(-1, 0), partition(0, 3)]))])),
        );
        pair.both(API, v, ask(json!([topic(&name, json!([]))])));
        pair.both(API, v, ask(json!([])));
    }),
    every("one topic or partition twice", |pair, v| {
        let name = filled(pair, "t");
        pair.both(API, v, ask(json!([topic(&name, json!([partition(0, 0), partition(0, 5)]))])));
        let twice = json!([topic(&name, json!([partition(0, 0)])), topic(&name, json!([partition(1, 0)]))]);
        pair.both(API, v, ask(twice));
    }),
    every("isolation levels", |pair, v| {
        let name = filled(pair, "t");
        for level in [0, 1, 2, -1] {
            pair.both(API, v, with(from(&name, 0), "isolationLevel", level));
        }
    }),
    every("leader epochs", |pair, v| {
        let name = filled(pair, "t");
        for epoch in [-2, -1, 0, 1, i32::MAX] {
            let part = with(partition(0, 0), "currentLeaderEpoch", epoch);
            pair.both(API, v, ask(json!([topic(&name, json!([part]))])));
        }
        for (epoch, offset) in [(0, 3), (0, 6), (0, 7), (1, 3), (-1, 3), (-2, 3)] {
            let part = with(partition(0, offset), "lastFetchedEpoch", epoch);
            pair.both(API, v, ask(json!([topic(&name, json!([part]))])));
        }
    }),
    every("waiting", |pair, v| {
        let name = filled(pair, "t");
        for (wait, least) in [(0, 1), (0, 1_000_000), (100, 1_000_000), (100, 0), (100, -1), (-1, 1)] {
            let tree = with(with(from(&name, 0), "maxWaitMs", wait), "minBytes", least);
            pair.both(API, v, tree);
        }
    }),
    every("as a replica", |pair, v| {
        let name = filled(pair, "t");
        for id in [-2, -3, 0, 1, 7] {
            let tree = with(from(&name, 0), "replicaId", id);
            pair.both(API, v, with(tree, "replicaState", json!({"replicaId": id, "replicaEpoch": -1})));
        }
    }),
    versions(13, 18, "unknown topic ids", |pair, v| {
        let name = filled(pair, "t");
        let nobody = json!({"topicId": NO_ID, "partitions": [partition(0, 0)]});
        let zero = json!({"topicId": "0".repeat(32), "partitions": [partition(0, 0)]});
        pair.both(API, v, ask(json!([nobody])));
        pair.both(API, v, ask(json!([zero])));
        pair.both(API, v, ask(json!([nobody, topic(&name, json!([partition(0, 0)])), zero])));
    }),
    versions(7, 18, "a session", |pair, v| {
        let name = filled(pair, "t");
        let full = ask(json!([topic(&name, json!([partition(0, 0), partition(1, 0)]))]));
        let ids = sessions(&pair.both(API, v, with(full, "sessionEpoch", 0)));
        let nothing = || ask(json!([]));
        // Still data at offset 0: the partition is told again.
        in_session(pair, v, &ids, 1, nothing());
        let moved = ask(json!([topic(&name, json!([partition(0, 6)]))]));
        in_session(pair, v, &ids, 2, moved);
        in_session(pair, v, &ids, 3, nothing());
        pair.append(&name, 1, &Batch::small(1));
        in_session(pair, v, &ids, 4, nothing());
        let gone = json!([{"topic": name, "topicId": format!("@id:{name}"), "partitions": [1]}]);
        in_session(pair, v, &ids, 5, with(nothing(), "forgottenTopicsData", gone));
        in_session(pair, v, &ids, 6, nothing());
        // An epoch that was not next, an unknown session.
        in_session(pair, v, &ids, 6, nothing());
        in_session(pair, v, &ids, 9, nothing());
        in_session(pair, v, &ids, 7, nothing());
        pair.both(API, v, with(with(nothing(), "sessionId", 12345), "sessionEpoch", 1));
        // The end of the session.
        in_session(pair, v, &ids, -1, from(&name, 0));
        in_session(pair, v, &ids, 8, nothing());
    }),
    versions(7, 18, "a session that meets errors", |pair, v| {
        let name = filled(pair, "t");
        let list = json!([
            topic(&name, json!([partition(0, 100), partition(9, 0)])),
            topic("nobody-made-this", json!([partition(0, 0)]))
        ]);
        let ids = sessions(&pair.both(API, v, with(ask(list), "sessionEpoch", 0)));
        in_session(pair, v, &ids, 1, ask(json!([])));
        in_session(pair, v, &ids, 2, ask(json!([])));
        pair.both(API, v, with(with(from(&name, 0), "sessionId", 0), "sessionEpoch", 5));
        pair.both(API, v, with(with(from(&name, 0), "sessionId", 0), "sessionEpoch", -1));
        pair.both(API, v, with(with(ask(json!([])), "sessionId", 0), "sessionEpoch", 0));
    }),
    versions(7, 18, "a session whose topic is deleted", |pair, v| {
        let name = filled(pair, "t");
        let full = ask(json!([topic(&name, json!([partition(0, 6)]))]));
        let ids = sessions(&pair.both(API, v, with(full, "sessionEpoch", 0)));
        pair.delete(&name);
        in_session(pair, v, &ids, 1, ask(json!([])));
    }),
    every("below the log's start", |pair, v| {
        let name = filled(pair, "t");
        pair.prepare(
            "DeleteRecords",
            2,
            json!({"timeoutMs": 5000, "topics": [
            {"name": name, "partitions": [{"partitionIndex": 0, "offset": 3}]}]}),
        );
        for offset in [0, 2, 3, 6] {
            pair.both(API, v, from(&name, offset));
        }
    }),
    newest("a rack", |pair, v| {
        let name = filled(pair, "t");
        pair.both(API, v, with(from(&name, 0), "rackId", "somewhere"));
    }),
    versions(12, 18, "a cluster id", |pair, v| {
        let name = filled(pair, "t");
        pair.both(API, v, with(from(&name, 0), "clusterId", "another-cluster"));
    }),
];
