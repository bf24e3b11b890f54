//! ListOffsets: by time, and the times that stand for a place.

use serde_json::{Value, json};

use crate::cases::{Case, every, newest, versions};
use crate::harness::batch::time;
use crate::harness::{Batch, Record};
use crate::pair::Pair;

pub const API: &str = "ListOffsets";

fn at(name: &str, timestamps: &[i64]) -> Value {
    let list = |t: &i64| json!({"partitionIndex": 0, "timestamp": t});
    // One partition a request: Kafka refuses a partition that stands twice.
    json!({"replicaId": -1, "topics": [{"name": name, "partitions": timestamps.iter().map(list).collect::<Vec<_>>()}]})
}

fn each_time(pair: &mut Pair, v: i16, name: &str, times: &[i64]) {
    for time in times {
        pair.both(API, v, at(name, &[*time]));
    }
}

/// Offsets 0 to 8 at time(), +10, +20; +30, +20, +25; then three equal times in a gzip batch.
fn timed(pair: &mut Pair) -> String {
    let name = pair.topic("t", 1, &[]);
    let record = |delta: i64| Record { timestamp_delta: delta, ..Record::of("k", "v") };
    pair.append(&name, 0, &Batch::of(vec![record(0), record(10), record(20)]));
    pair.append(&name, 0, &Batch::of(vec![record(30), record(20), record(25)]));
    pair.append(&name, 0, &Batch::of(vec![record(40), record(40), record(40)]).codec(1));
    name
}

pub const CASES: &[Case] = &[
    every("times", |pair, v| {
        let name = timed(pair);
        let times = [
            -2,
            time() - 1,
            time(),
            time() + 1,
            time() + 10,
            time() + 20,
            time() + 22,
            time() + 25,
            time() + 26,
        ];
        each_time(pair, v, &name, &times);
        each_time(pair, v, &name, &[time() + 30, time() + 31, time() + 40, time() + 41, 0, i64::MAX, -1]);
    }),
    every("times that stand for a place, and numbers that do not", |pair, v| {
        let name = timed(pair);
        each_time(pair, v, &name, &[-1, -2, -3, -4, -5, -6, -7, -100, i64::MIN]);
        let empty = pair.topic("empty", 1, &[]);
        each_time(pair, v, &empty, &[-1, -2, -3, -4, -5, 0, time()]);
    }),
    every("after records were deleted", |pair, v| {
        let name = timed(pair);
        pair.prepare(
            "DeleteRecords",
            2,
            json!({"timeoutMs": 5000, "topics": [
            {"name": name, "partitions": [{"partitionIndex": 0, "offset": 4}]}]}),
        );
        each_time(pair, v, &name, &[-1, -2, -3, -4, 0, time(), time() + 20, time() + 25, time() + 30]);
    }),
    every("with the time of the append", |pair, v| {
        let name = pair.topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
        pair.append(&name, 0, &Batch::small(3));
        each_time(pair, v, &name, &[-1, -2, 0, i64::MAX]);
    }),
    every("unknown topics and partitions", |pair, v| {
        let name = timed(pair);
        pair.both(API, v, at("nobody-made-this", &[-1]));
        pair.both(API, v, at("", &[-1]));
        pair.both(API, v, json!({"replicaId": -1, "topics": [{"name": name, "partitions": [
            {"partitionIndex": 9, "timestamp": -1}, {"partitionIndex": -1, "timestamp": -1}, {"partitionIndex": 0, "timestamp": -1}]}]}));
        pair.both(API, v, json!({"replicaId": -1, "topics": []}));
        pair.both(API, v, json!({"replicaId": -1, "topics": [{"name": name, "partitions": []}]}));
    }),
    every("one partition twice", |pair, v| {
        let name = timed(pair);
        pair.both(API, v, at(&name, &[-1, -2]));
    }),
    versions(4, 10, "leader epochs", |pair, v| {
        let name = timed(pair);
        for epoch in [-2, -1, 0, 1, i32::MAX] {
            pair.both(
                API,
                v,
                json!({"replicaId": -1, "topics": [{"name": name, "partitions": [
                {"partitionIndex": 0, "currentLeaderEpoch": epoch, "timestamp": -1}]}]}),
            );
        }
    }),
    every("replica ids", |pair, v| {
        let name = timed(pair);
        for id in [-2, -3, 0, 1, 7] {
            let mut tree = at(&name, &[-1]);
            tree["replicaId"] = json!(id);
            pair.both(API, v, tree);
        }
    }),
    versions(2, 10, "isolation levels", |pair, v| {
        let name = timed(pair);
        for level in [0, 1, 2, -1] {
            for time in [-1, time()] {
                let mut tree = at(&name, &[time]);
                tree["isolationLevel"] = json!(level);
                pair.both(API, v, tree);
            }
        }
    }),
    newest("a time limit", |pair, v| {
        let name = timed(pair);
        for limit in [-1, 0, 1] {
            let mut tree = at(&name, &[time()]);
            tree["timeoutMs"] = json!(limit);
            pair.both(API, v, tree);
        }
    }),
];
