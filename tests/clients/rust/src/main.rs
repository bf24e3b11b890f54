//! One Rust client library through the calls of `tests/clients/README.md`:
//! `clients rdkafka|rskafka check|write|read|put|get ...`
//!
//! The scenario is here; each library is a file with its [`Face`].

mod records;
mod with_rdkafka;
mod with_rskafka;

use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::{Duration, Instant};

use records::{BASE_TIMESTAMP, CODECS, Record, Unpacked, expected, write_packed};

/// What a library has to offer. Whatever goes wrong inside panics.
pub trait Face {
    fn name(&self) -> &'static str;
    fn lacks(&self) -> &'static [&'static str];
    /// Writes to one partition in order. The producer stays open until the next one is made.
    fn produce(&mut self, topic: &str, partition: i32, records: &[Record], codec: &str, how: &str);
    fn put(&mut self, topic: &str, packed: &mut dyn Iterator<Item = Record>, codec: &str);
    fn read(&mut self, topic: &str, partition: i32, start: i64, count: i64, take: &mut dyn FnMut(Record));
    fn offsets(&mut self, topic: &str, partition: i32) -> (i64, i64);
    fn offset_at(&mut self, topic: &str, partition: i32, timestamp: i64) -> Option<i64>;
    /// False if the topic is there already.
    fn create_topic(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> bool;
    fn topics(&mut self) -> HashSet<String>;
    fn partition_count(&mut self, topic: &str) -> usize;
    fn topic_configs(&mut self, topic: &str) -> HashMap<String, String>;
    fn broker_config_count(&mut self) -> usize;
    fn alter_config(&mut self, topic: &str, configs: &[(&str, &str)]);
    fn grow(&mut self, topic: &str, partitions: i32);
    fn delete_records(&mut self, topic: &str, partition: i32, before: i64);
    fn delete_topic(&mut self, topic: &str);
}

const COUNT: i64 = 150;

fn main() {
    let bootstrap = std::env::var("BOOTSTRAP").expect("BOOTSTRAP is the broker's address");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut face: Box<dyn Face> = match arguments[0] {
        "rdkafka" => Box::new(with_rdkafka::Rdkafka::new(&bootstrap)),
        "rskafka" => Box::new(with_rskafka::Rskafka::new(&bootstrap)),
        other => panic!("no library {other}"),
    };
    let face = face.as_mut();
    match arguments[1..] {
        ["check"] => check(face),
        ["create", topic, partitions] => create(face, topic, partitions.parse().expect("a count")),
        ["write", topic, who, codec, count] => {
            write(face, topic, who, codec, count.parse().expect("a count"));
        }
        ["read", topic] => read(face, topic),
        ["put", topic, codec] => face.put(topic, &mut Unpacked::new(io::stdin().lock()), codec),
        ["get", topic] => get(face, topic),
        ref other => panic!("unknown call {other:?}"),
    }
}

fn check(face: &mut dyn Face) {
    for codec in CODECS {
        let topic = format!("{}-{codec}", face.name());
        assert!(face.create_topic(&topic, 4, &[("retention.ms", "-1")]));
        wait_for(&topic, || face.partition_count(&topic) == 4);
        for partition in 0..4 {
            face.offsets(&topic, partition); // answered by a leader that knows it leads
        }
        for (partition, how) in ["acks=0", "acks=1", "acks=all", "idempotent"].into_iter().enumerate() {
            if !face.lacks().contains(&how) {
                check_written(face, &topic, partition as i32, codec, how);
            }
        }
    }
    check_large(face);
    check_admin(face);
    if !face.lacks().is_empty() {
        println!("{} lacks: {}", face.name(), face.lacks().join(", "));
    }
}

fn check_written(face: &mut dyn Face, topic: &str, partition: i32, codec: &str, how: &str) {
    let who = format!("{topic}-{how}");
    let wanted: Vec<Record> = (0..COUNT).map(|i| expected(&who, i)).collect();
    face.produce(topic, partition, &wanted, codec, how);
    wait_for(&who, || face.offsets(topic, partition) == (0, COUNT));
    equal(&who, &read_all(face, topic, partition, 0, COUNT), &wanted);
    equal(&who, &read_all(face, topic, partition, 76, COUNT - 76), &wanted[76..]);
    for at in [0, 1, COUNT / 3, COUNT - 1] {
        let found = face.offset_at(topic, partition, BASE_TIMESTAMP + 1000 * at - 500);
        assert_eq!(found, Some(at), "{who}: by timestamp");
    }
    let late = face.offset_at(topic, partition, BASE_TIMESTAMP + 1000 * COUNT);
    assert_eq!(late, None, "{who}: past the last timestamp");
    let from = face.offset_at(topic, partition, BASE_TIMESTAMP + 1000 * 40).expect("there are later ones");
    equal(&who, &read_all(face, topic, partition, from, 10), &wanted[40..50]);
    println!("ok {who}");
}

fn check_large(face: &mut dyn Face) {
    let topic = format!("{}-large", face.name());
    assert!(face.create_topic(&topic, 1, &[("retention.ms", "-1")]));
    wait_for(&topic, || face.partition_count(&topic) == 1);
    let mut wanted: Vec<Record> = (0..3).map(|i| expected(&topic, i)).collect();
    for (record, filler) in wanted.iter_mut().zip(b'a'..) {
        record.value = Some(vec![filler; 900_000]);
    }
    face.produce(&topic, 0, &wanted, "none", "acks=all");
    equal(&topic, &read_all(face, &topic, 0, 0, 3), &wanted);
    println!("ok {topic}");
}

fn check_admin(face: &mut dyn Face) {
    let topic = format!("{}-admin", face.name());
    assert!(face.create_topic(&topic, 2, &[("retention.ms", "-1"), ("max.message.bytes", "200000")]));
    wait_for("created", || face.partition_count(&topic) == 2);
    assert!(face.topics().contains(&topic), "the new topic is not listed");
    assert!(!face.create_topic(&topic, 1, &[]), "a topic was created twice");
    let mut partitions = 2;
    if !face.lacks().contains(&"configs") {
        let configs = face.topic_configs(&topic);
        assert_eq!(configs["max.message.bytes"], "200000");
        assert_eq!(configs["delete.retention.ms"], "86400000");
        assert!(face.broker_config_count() > 100);
        face.alter_config(&topic, &[("retention.ms", "-1"), ("max.message.bytes", "300000")]);
        wait_for("altered", || face.topic_configs(&topic)["max.message.bytes"] == "300000");
        face.grow(&topic, 5);
        partitions = 5;
        wait_for("grown", || face.partition_count(&topic) == 5);
    }
    let wanted: Vec<Record> = (0..20).map(|i| expected(&topic, i)).collect();
    for partition in 0..partitions {
        face.offsets(&topic, partition);
        face.produce(&topic, partition, &wanted, "none", "acks=all");
        equal("a grown topic", &read_all(face, &topic, partition, 0, 20), &wanted);
    }
    face.delete_records(&topic, 1, 7);
    wait_for("deleted records", || face.offsets(&topic, 1) == (7, 20));
    equal("after deleted records", &read_all(face, &topic, 1, 7, 13), &wanted[7..]);
    face.delete_topic(&topic);
    wait_for("deleted", || !face.topics().contains(&topic));
    println!("ok {topic}");
}

fn create(face: &mut dyn Face, topic: &str, partitions: i32) {
    assert!(face.create_topic(topic, partitions, &[("retention.ms", "-1")]));
    for partition in 0..partitions {
        face.offsets(topic, partition); // answered by a leader that knows it leads
    }
}

fn write(face: &mut dyn Face, topic: &str, who: &str, codec: &str, count: i64) {
    let how = if face.lacks().contains(&"idempotent") { "acks=all" } else { "idempotent" };
    for partition in 0..3 {
        let records: Vec<Record> = (partition..count).step_by(3).map(|i| expected(who, i)).collect();
        face.produce(topic, partition as i32, &records, codec, how);
    }
}

fn read(face: &mut dyn Face, topic: &str) {
    let mut out = BufWriter::new(io::stdout().lock());
    for partition in 0..3 {
        let (begin, end) = face.offsets(topic, partition);
        face.read(topic, partition, begin, end - begin, &mut |record| {
            writeln!(out, "{}", record.line(partition)).expect("standard output takes it");
        });
    }
}

fn get(face: &mut dyn Face, topic: &str) {
    let mut out = BufWriter::new(io::stdout().lock());
    let (begin, end) = face.offsets(topic, 0);
    face.read(topic, 0, begin, end - begin, &mut |record| write_packed(&mut out, &record));
}

fn read_all(face: &mut dyn Face, topic: &str, partition: i32, start: i64, count: i64) -> Vec<Record> {
    let mut records = Vec::new();
    face.read(topic, partition, start, count, &mut |record| records.push(record));
    records
}

fn equal(what: &str, found: &[Record], wanted: &[Record]) {
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.line(0), wanted.line(0), "{what}: a record differs");
    }
    assert_eq!(found.len(), wanted.len(), "{what}: number of records");
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within 20 s");
        thread::sleep(Duration::from_millis(20));
    }
}
