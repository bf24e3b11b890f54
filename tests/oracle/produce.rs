//! Produce: what is accepted, and every way in which a batch or a request is refused.

use serde_json::{Value, json};

use crate::cases::{Case, every, newest, versions};
use crate::exempt::TWO_COPIES;
use crate::harness::batch::{CONTROL, LOG_APPEND_TIME, Stored, TRANSACTIONAL, compress, time, varint};
use crate::harness::schema::{hex, unhex};
use crate::harness::{Batch, Record};
use crate::pair::{NO_ID, Pair, produce, produce_records};

pub const API: &str = "Produce";

/// A record's bytes with any body: its length is right.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, body.len() as i64);
    out.extend(body);
    out
}

/// attributes 0, timestampDelta 0, offsetDelta 0, then what is given.
fn record_with(tail: &[i64]) -> Vec<u8> {
    let mut body = vec![0];
    varint(&mut body, 0);
    varint(&mut body, 0);
    tail.iter().for_each(|n| varint(&mut body, *n));
    framed(&body)
}

fn one(change: impl Fn(&mut Batch)) -> Vec<u8> {
    let mut batch = Batch::small(3);
    change(&mut batch);
    batch.encode()
}

fn raw(count: i32, bytes: Vec<u8>) -> Vec<u8> {
    Batch { raw: Some(bytes), count: Some(count), last_offset_delta: Some(count - 1), ..Batch::default() }
        .encode()
}

/// Every kind of batch that a broker must look at twice.
fn odd_batches() -> Vec<(&'static str, Vec<u8>)> {
    let two = |a: Batch, b: Batch| [a.encode(), b.encode()].concat();
    let good = Batch::small(3);
    let whole = good.encode();
    let records = |change: fn(&mut Vec<Record>)| one(|b| change(&mut b.records));
    vec![
        ("nothing", vec![]),
        ("one byte", vec![0]),
        ("a length alone", whole[..12].to_vec()),
        ("a header cut short", whole[..60].to_vec()),
        ("a header alone", whole[..61].to_vec()),
        ("cut by one byte", whole[..whole.len() - 1].to_vec()),
        ("a byte too much", [&whole[..], &[0]].concat()),
        ("sixty bytes too much", [&whole[..], &[0; 60]].concat()),
        ("zeros", vec![0; 200]),
        ("two batches", two(good.clone(), good.clone())),
        ("a second, broken batch", two(good.clone(), Batch { crc: Some(1), ..good.clone() })),
        ("length 0", one(|b| b.length = Some(0))),
        ("length -1", one(|b| b.length = Some(-1))),
        ("length 13", one(|b| b.length = Some(13))),
        ("length 48", one(|b| b.length = Some(48))),
        ("length one less", one(|b| b.length = Some(b.encode().len() as i32 - 13))),
        ("length one more", one(|b| b.length = Some(b.encode().len() as i32 - 11))),
        ("length i32::MAX", one(|b| b.length = Some(i32::MAX))),
        ("magic 0", one(|b| b.magic = 0)),
        ("magic 1", one(|b| b.magic = 1)),
        ("magic 3", one(|b| b.magic = 3)),
        ("magic -1", one(|b| b.magic = -1)),
        ("wrong CRC", one(|b| b.crc = Some(0xdead_beef))),
        ("base offset 5", one(|b| b.base_offset = 5)),
        ("base offset -1", one(|b| b.base_offset = -1)),
        ("leader epoch 7", one(|b| b.leader_epoch = 7)),
        ("count 0", one(|b| b.count = Some(0))),
        ("count 0 and delta -1", one(|b| (b.count, b.last_offset_delta) = (Some(0), Some(-1)))),
        ("count -1", one(|b| b.count = Some(-1))),
        ("count one less", one(|b| b.count = Some(2))),
        ("count one less, delta too", one(|b| (b.count, b.last_offset_delta) = (Some(2), Some(1)))),
        ("count one more", one(|b| b.count = Some(4))),
        ("count one more, delta too", one(|b| (b.count, b.last_offset_delta) = (Some(4), Some(3)))),
        ("count i32::MAX", one(|b| (b.count, b.last_offset_delta) = (Some(i32::MAX), Some(i32::MAX - 1)))),
        ("delta one more", one(|b| b.last_offset_delta = Some(3))),
        ("delta one less", one(|b| b.last_offset_delta = Some(1))),
        ("delta -1", one(|b| b.last_offset_delta = Some(-1))),
        ("no records", Batch::of(vec![]).encode()),
        ("an idempotent batch without records", Batch::of(vec![]).by(90, 0, 0).encode()),
        ("control", one(|b| b.attributes = CONTROL)),
        ("transactional", one(|b| b.attributes = TRANSACTIONAL)),
        (
            "transactional with an id",
            one(|b| {
                *b = b.clone().by(91, 0, 0);
                b.attributes = TRANSACTIONAL;
            }),
        ),
        ("log append time set by the producer", one(|b| b.attributes = LOG_APPEND_TIME)),
        ("delete horizon set by the producer", one(|b| b.attributes = 1 << 6)),
        ("unknown attribute bits", one(|b| b.attributes = 1 << 9)),
        ("codec 5", one(|b| (b.attributes, b.payload) = (5, Some(vec![1, 2, 3])))),
        ("codec 7", one(|b| b.attributes = 7)),
        ("id without sequence", one(|b| *b = b.clone().by(92, 0, -1))),
        ("id without epoch", one(|b| *b = b.clone().by(93, -1, 0))),
        ("id with sequence -2", one(|b| *b = b.clone().by(94, 0, -2))),
        ("sequence without id", one(|b| *b = b.clone().by(-1, 0, 0))),
        ("epoch without id", one(|b| *b = b.clone().by(-1, 5, -1))),
        ("id -2", one(|b| *b = b.clone().by(-2, 0, 0))),
        ("max timestamp too low", one(|b| b.max_timestamp = Some(time() - 5))),
        ("max timestamp too high", one(|b| b.max_timestamp = Some(time() + 5))),
        ("max timestamp -1", one(|b| b.max_timestamp = Some(-1))),
        ("no timestamps", one(|b| (b.base_timestamp, b.max_timestamp) = (-1, Some(-1)))),
        ("base timestamp -5", one(|b| b.base_timestamp = -5)),
        ("timestamps that grow", records(|r| (0..3).for_each(|i| r[i].timestamp_delta = i as i64 * 10))),
        ("timestamps that fall", records(|r| (0..3).for_each(|i| r[i].timestamp_delta = -(i as i64) * 10))),
        // Offset deltas that lie are no cases: Apache Kafka stores those of an uncompressed batch unread,
        // ours refuses them.
        ("record attributes 1", records(|r| r[0].attributes = 1)),
        ("null keys and values", records(|r| r.iter_mut().for_each(|r| (r.key, r.value) = (None, None)))),
        (
            "empty keys and values",
            records(|r| r.iter_mut().for_each(|r| (r.key, r.value) = (Some(vec![]), Some(vec![])))),
        ),
        (
            "headers",
            records(|r| {
                r[0].headers =
                    vec![("a".into(), Some(vec![1])), ("".into(), None), ("a".into(), Some(vec![]))]
            }),
        ),
        (
            "a header key that is no UTF-8",
            raw(1, {
                let mut body = vec![0, 0, 0];
                varint(&mut body, -1);
                varint(&mut body, -1);
                varint(&mut body, 1);
                varint(&mut body, 2);
                body.extend([0xff, 0xfe]);
                varint(&mut body, -1);
                framed(&body)
            }),
        ),
        ("a null header key", raw(1, record_with(&[-1, -1, 1, -1, -1]))),
        ("a key longer than its record", raw(1, record_with(&[100]))),
        ("a value longer than its record", raw(1, record_with(&[-1, 100]))),
        ("a key length of -2", raw(1, record_with(&[-2, -1, 0]))),
        ("a negative header count", raw(1, record_with(&[-1, -1, -1]))),
        ("a huge header count", raw(1, record_with(&[-1, -1, 1 << 30]))),
        ("a record that ends early", raw(1, record_with(&[-1]))),
        ("a record with bytes after its headers", raw(1, record_with(&[-1, -1, 0, 7, 7]))),
        ("a record of length 0", raw(1, vec![0])),
        ("a record of length -1", raw(1, vec![1])),
        (
            "a record longer than the batch",
            raw(1, {
                let mut bytes = record_with(&[-1, -1, 0]);
                bytes[0] = 126;
                bytes
            }),
        ),
        ("a varint that never ends", raw(1, vec![0xff; 20])),
        ("bytes after the records", raw(1, [record_with(&[-1, -1, 0]), vec![1, 2, 3]].concat())),
        ("a batch of 200 records", Batch::small(200).encode()),
    ]
}

fn odd_compressed() -> Vec<(String, Vec<u8>)> {
    let mut list = Vec::new();
    for codec in 1..=4 {
        let plain = Batch::small(3);
        let good = plain.clone().codec(codec);
        list.push((format!("codec {codec}"), good.encode()));
        let count = |n: i32| Batch { count: Some(n), last_offset_delta: Some(n - 1), ..good.clone() };
        list.push((format!("codec {codec}, one more"), count(4).encode()));
        list.push((format!("codec {codec}, one less"), count(2).encode()));
        let mut payload = vec![0x55; 40];
        list.push((
            format!("codec {codec}, garbage"),
            Batch { payload: Some(payload.clone()), ..good.clone() }.encode(),
        ));
        payload.clear();
        list.push((
            format!("codec {codec}, nothing"),
            Batch { payload: Some(payload), ..good.clone() }.encode(),
        ));
        let packed = compress(codec, &record_with(&[100]));
        let broken =
            Batch { payload: Some(packed), count: Some(1), last_offset_delta: Some(0), ..good.clone() };
        list.push((format!("codec {codec}, a record that lies"), broken.encode()));
    }
    list
}

/// Sends each batch; after a difference the rest go to a topic of their own, so that it stays one.
fn send_all(
    pair: &mut Pair,
    v: i16,
    configs: &[(&str, &str)],
    batches: impl IntoIterator<Item = (String, Vec<u8>)>,
) {
    let mut topic = pair.topic("t", 1, configs);
    for (index, (name, bytes)) in batches.into_iter().enumerate() {
        let before = pair.differences.len();
        pair.both(API, v, produce_records(&topic, 0, json!(hex(&bytes))));
        if pair.differences.len() > before {
            pair.differences.push(format!("^ {name}"));
            topic = pair.topic(&format!("t{index}"), 1, configs);
        }
    }
    pair.both(
        "ListOffsets",
        7,
        json!({"replicaId": -1, "topics": [{"name": topic, "partitions": [
        {"partitionIndex": 0, "timestamp": -1}]}]}),
    );
    same_records(pair, &topic);
}

/// Batches that the topic's codec makes the broker open. One in the topic's own codec is stored as it came,
/// its header trusted after the CRC (Apache Kafka opens those too).
fn another_codec(pair: &mut Pair, v: i16, wanted: i16) {
    let name = ["uncompressed", "gzip", "snappy", "lz4", "zstd"][wanted as usize];
    let good = (0..=4).map(|codec| (format!("codec {codec}"), Batch::small(5).codec(codec).encode()));
    let own = format!("codec {wanted},");
    let odd = odd_compressed().into_iter().filter(|(name, _)| !name.starts_with(&own));
    send_all(pair, v, &[("compression.type", name)], good.chain(odd));
}

/// What both hold is the same once it is unpacked: two libraries pack the same bytes in their own ways.
fn same_records(pair: &mut Pair, topic: &str) {
    let tree = json!({"replicaId": -1, "maxWaitMs": 100, "minBytes": 0, "topics": [{"topic": topic,
        "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 10_000_000}]}]});
    let held = pair.prepare("Fetch", 11, tree).map(|answer| {
        let records =
            answer["responses"][0]["partitions"][0]["records"].as_str().map(unhex).unwrap_or_default();
        let batches = Stored::read_all(&records).expect("whole batches");
        batches.iter().map(|b| format!("{} {:?}", b.attributes, b.records())).collect::<Vec<_>>()
    });
    if held[0] != held[1] {
        pair.differences.push(format!("the records of {topic}: {:?} against {:?}", held[0], held[1]));
    }
}

/// What both serve afterwards is equal too.
fn read_back(pair: &mut Pair, topic: &str) {
    pair.both(
        "Fetch",
        11,
        json!({"replicaId": -1, "maxWaitMs": 100, "minBytes": 0, "topics": [{"topic": topic,
        "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 10_000_000}]}]}),
    );
}

fn owned(list: Vec<(&'static str, Vec<u8>)>) -> impl Iterator<Item = (String, Vec<u8>)> {
    list.into_iter().map(|(name, bytes)| (name.to_owned(), bytes))
}

/// One partition named twice and more, in one topic's list and in two.
fn named_again(pair: &mut Pair, v: i16) {
    let topic = pair.topic("t", 2, &[]);
    let line = |index: i32, records: Value| json!({"index": index, "records": records});
    let good = |count: usize| json!(Batch::small(count).hex());
    let bad = || json!("00");
    let lists = [
        vec![line(0, good(1)), line(1, good(2)), line(0, good(3))],
        vec![line(0, good(2)), line(0, good(2)), line(0, good(2))],
        vec![line(1, bad()), line(1, bad())],
        // A batch that its log refuses, then a good one.
        vec![line(0, json!(hex(&one(|b| b.base_offset = 5)))), line(0, good(1))],
    ];
    let named = |partitions: &[Value]| json!({"name": topic, "topicId": format!("@id:{topic}"), "partitionData": partitions});
    for list in &lists {
        for acks in [1, -1] {
            pair.both(API, v, json!({"acks": acks, "timeoutMs": 5000, "topicData": [named(list)]}));
            let apart: Vec<Value> = list.iter().map(|line| named(std::slice::from_ref(line))).collect();
            pair.both(API, v, json!({"acks": acks, "timeoutMs": 5000, "topicData": apart}));
        }
    }
    pair.unanswered(API, v, json!({"acks": 0, "timeoutMs": 5000, "topicData": [named(&lists[0])]}));
    let unknown =
        json!({"name": "no-such", "topicId": NO_ID, "partitionData": [line(0, good(1)), line(0, good(1))]});
    pair.both(API, v, json!({"acks": 1, "timeoutMs": 5000, "topicData": [unknown.clone(), unknown]}));
    read_back(pair, &topic);
    // Apache Kafka appends the good one and answers with the bad one's error; the answers are equal, the
    // offsets are not.
    for list in [[line(1, good(1)), line(1, bad())], [line(1, bad()), line(1, good(1))]] {
        pair.both(API, v, json!({"acks": 1, "timeoutMs": 5000, "topicData": [named(&list)]}));
    }
}

pub const CASES: &[Case] = &[
    every("a batch at each acks", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for acks in [1, -1, 2, -2, i16::MIN] {
            let mut ask = produce(&topic, 0, &Batch::small(2));
            ask["acks"] = json!(acks);
            pair.both(API, v, ask);
        }
        read_back(pair, &topic);
    }),
    every("acks 0 has no answer", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let mut ask = produce(&topic, 0, &Batch::small(2));
        ask["acks"] = json!(0);
        pair.unanswered(API, v, ask);
        read_back(pair, &topic);
    }),
    every("acks 0 that fails closes the connection", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for (name, batch) in [
            (topic.as_str(), Batch { crc: Some(1), ..Batch::small(1) }),
            ("nobody-made-this", Batch::small(1)),
            (topic.as_str(), Batch { base_offset: 5, ..Batch::small(1) }),
        ] {
            let mut ask = produce(name, 0, &batch);
            ask["acks"] = json!(0);
            pair.unanswered(API, v, ask);
        }
        let mut ask = produce(&topic, 9, &Batch::small(1));
        ask["acks"] = json!(0);
        pair.unanswered(API, v, ask);
    }),
    every("several topics and partitions, some bad", |pair, v| {
        let (a, b) = (pair.topic("a", 3, &[]), pair.topic("b", 1, &[]));
        let good = Batch::small(2).hex();
        let bad = Batch { crc: Some(1), ..Batch::small(2) }.hex();
        let partition = |index: i32, records: &str| json!({"index": index, "records": records});
        let topic = |name: &str, list: Value| json!({"name": name, "topicId": format!("@id:{name}"), "partitionData": list});
        pair.both(
            API,
            v,
            json!({"acks": -1, "timeoutMs": 5000, "topicData": [
                topic(&a, json!([partition(2, &good), partition(0, &bad), partition(1, &good)])),
                topic(&b, json!([partition(0, &good)])),
            ]}),
        );
        pair.both(
            API,
            v,
            json!({"acks": 1, "timeoutMs": 5000, "topicData": [
                topic(&a, json!([partition(0, &good), partition(7, &good), partition(-1, &good)])),
            ]}),
        );
        pair.both(API, v, json!({"acks": -1, "timeoutMs": 5000, "topicData": [topic(&a, json!([]))]}));
        pair.both(API, v, json!({"acks": -1, "timeoutMs": 5000, "topicData": []}));
    }),
    every("topics that are not there", |pair, v| {
        for name in ["nobody-made-this", "", "a/b", ".", "__cluster_metadata"] {
            pair.both(API, v, produce(name, 0, &Batch::small(1)));
        }
    }),
    // One topic or partition twice in a request is no case: Apache Kafka keeps the last in a hash map and
    // silently drops the others' records.
    // Nor are null records: Apache Kafka never answers them.
    every("odd batches", |pair, v| {
        send_all(pair, v, &[], owned(odd_batches()));
    }),
    newest("odd batches to a compacted topic", |pair, v| {
        let configs = [("cleanup.policy", "compact")];
        send_all(pair, v, &configs, owned(odd_batches()).chain(odd_compressed()));
        let topic = pair.topic("keys", 1, &configs);
        let keyless = |codec| {
            Batch::of(vec![Record::of("k", "v"), Record::value("no key"), Record::value("none")]).codec(codec)
        };
        for codec in 0..=4 {
            pair.both(API, v, produce(&topic, 0, &keyless(codec)));
        }
    }),
    newest("odd batches with the time of the append", |pair, v| {
        send_all(pair, v, &[("message.timestamp.type", "LogAppendTime")], owned(odd_batches()));
    }),
    versions(3, 8, "each codec", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        for codec in 0..=4 {
            pair.both(API, v, produce(&topic, 0, &Batch::small(5).codec(codec)));
        }
        read_back(pair, &topic);
    }),
    newest("uncompressed is asked for", |pair, v| another_codec(pair, v, 0)),
    newest("gzip is asked for", |pair, v| another_codec(pair, v, 1)),
    newest("snappy is asked for", |pair, v| another_codec(pair, v, 2)),
    newest("lz4 is asked for", |pair, v| another_codec(pair, v, 3)),
    newest("zstd is asked for", |pair, v| another_codec(pair, v, 4)),
    every("timestamps out of their limits", |pair, v| {
        let limits =
            [("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "1000")];
        let topic = pair.topic("t", 1, &limits);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_millis() as i64;
        for time in [time(), now + 600_000, -1, i64::MAX - 10] {
            for codec in [0, 4] {
                let batch = Batch { base_timestamp: time, ..Batch::small(2) };
                pair.both(API, v, produce(&topic, 0, &batch.codec(codec)));
            }
        }
        let mut batch = Batch { base_timestamp: now, ..Batch::small(3) };
        batch.records[1].timestamp_delta = -10_000_000;
        pair.both(API, v, produce(&topic, 0, &batch));
        let default = pair.topic("default", 1, &[]);
        for time in [now + 7_200_000, 0, -1] {
            pair.both(API, v, produce(&default, 0, &Batch { base_timestamp: time, ..Batch::small(2) }));
        }
    }),
    every("a batch too large", |pair, v| {
        let topic = pair.topic("t", 1, &[("max.message.bytes", "1000")]);
        let sized = |bytes: usize| {
            let overhead = Batch::of(vec![Record::value(vec![b'x'; 300])]).encode().len() - 300;
            Batch::of(vec![Record::value(vec![b'x'; bytes - overhead])])
        };
        for bytes in [999, 1000, 1001, 5000] {
            pair.both(API, v, produce(&topic, 0, &sized(bytes)));
        }
        let zeros = Batch::of(vec![Record::value(vec![0; 50_000])]);
        pair.both(API, v, produce(&topic, 0, &zeros.codec(4)));
    }),
    every("more in-sync replicas wanted than there are", |pair, v| {
        let configs = [("min.insync.replicas", "2")];
        let topic = pair.topic("t", 1, &configs);
        let mut ask = produce(&topic, 0, &Batch::small(1));
        ask["acks"] = json!(1);
        pair.both(API, v, ask);
        read_back(pair, &topic);
        let topic = pair.topic(TWO_COPIES, 1, &configs);
        pair.both(API, v, produce(&topic, 0, &Batch::small(1)));
    }),
    every("sequences", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let mut send = |id: i64, epoch: i16, sequence: i32, count: usize| {
            pair.both(API, v, produce(&topic, 0, &Batch::small(count).by(id, epoch, sequence)));
        };
        for (sequence, count) in
            [(0, 2), (2, 3), (2, 3), (0, 2), (0, 1), (6, 1), (4, 1), (5, 1), (1, 1), (1000, 1)]
        {
            send(100, 0, sequence, count);
        }
        // Six batches: the first has left the five that are known.
        for sequence in 0..6 {
            send(101, 0, sequence, 1);
        }
        for sequence in [0, 1, 5] {
            send(101, 0, sequence, 1);
        }
        // No state: any sequence begins; then the end of the numbers.
        send(102, 0, 77, 1);
        send(103, 0, i32::MAX - 1, 4);
        send(103, 0, 2, 1);
        send(103, 0, i32::MAX - 1, 4);
        send(104, 0, i32::MAX, 1);
        send(104, 0, 0, 1);
        // Epochs: a new one must begin at 0, an old one is refused.
        send(105, 1, 0, 1);
        send(105, 2, 1, 1);
        send(105, 2, 0, 1);
        send(105, 1, 1, 1);
        send(105, 2, 0, 1);
        send(105, 2, 1, 1);
        read_back(pair, &topic);
        pair.both("DescribeProducers", 0, json!({"topics": [{"name": topic, "partitionIndexes": [0]}]}));
    }),
    every("a partition that is named again", named_again),
    every("a transactional id", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let mut ask = produce(&topic, 0, &Batch::small(1));
        ask["transactionalId"] = json!("tx");
        pair.both(API, v, ask);
    }),
    newest("old and unknown versions", |pair, _| {
        for version in [0, 1, 2, 14, 100, -1] {
            let api = crate::harness::message(API);
            let mut frame = crate::harness::connection::request_header(api, 3, 7);
            frame[2..4].copy_from_slice(&i16::to_be_bytes(version));
            frame.extend(api.request.encode(3, &produce("t", 0, &Batch::small(1))));
            pair.frame(&frame);
        }
    }),
    versions(9, 13, "bodies that end too soon", |pair, v| {
        let whole = crate::harness::message(API)
            .request
            .encode(v, &json!({"acks": 1, "timeoutMs": 1, "topicData": []}));
        for end in 0..whole.len() {
            pair.body(API, v, &whole[..end]);
        }
        pair.body(API, v, &[&whole[..], &[1, 2, 3]].concat());
    }),
];
