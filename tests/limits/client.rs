//! Requests that these tests have in common, each in one version by topic name.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Batch, Connection, Record, Thalweg};

pub const BINARY: &str = env!("CARGO_BIN_EXE_thalweg");

pub fn connect(broker: &Thalweg) -> Connection {
    connect_to(broker.address)
}

pub fn connect_to(address: SocketAddr) -> Connection {
    Connection::open(address).expect("the broker accepts connections")
}

/// Asks for the API versions; whether an answer came.
pub fn answers(connection: &mut Connection) -> bool {
    let answer = connection.call("ApiVersions", 0, &json!({}));
    matches!(answer, crate::harness::Answer::Body(tree) if tree["errorCode"] == 0)
}

pub fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> Value {
    let configs: Vec<_> = configs.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
    json!({"timeoutMs": 10_000, "topics": [
        {"name": name, "numPartitions": partitions, "replicationFactor": 1, "configs": configs}]})
}

pub fn create(connection: &mut Connection, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let made = connection.call("CreateTopics", 5, &topic(name, partitions, configs)).body();
    assert_eq!(made["topics"][0]["errorCode"], 0, "{made}");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = connection.call("Metadata", 9, &metadata(name)).body();
        let led = |p: &Value| p["errorCode"] == 0 && p["leaderId"] == 1;
        if found["topics"][0]["partitions"].as_array().is_some_and(|p| !p.is_empty() && p.iter().all(led)) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is not led after 10 s: {found}");
    }
}

pub fn metadata(name: &str) -> Value {
    json!({"topics": [{"name": name}], "allowAutoTopicCreation": false})
}

pub fn produce(name: &str, partition: i32, acks: i16, batch: &Batch) -> Value {
    json!({"acks": acks, "timeoutMs": 10_000, "topicData": [
        {"name": name, "partitionData": [{"index": partition, "records": batch.hex()}]}]})
}

/// Appends a batch at acks=all and gives its offset.
pub fn append(connection: &mut Connection, name: &str, partition: i32, batch: &Batch) -> i64 {
    base_offset(&connection.call("Produce", 9, &produce(name, partition, -1, batch)).body())
}

pub fn base_offset(answer: &Value) -> i64 {
    let partition = &answer["responses"][0]["partitionResponses"][0];
    assert_eq!(partition["errorCode"], 0, "{answer}");
    partition["baseOffset"].as_i64().expect("an offset")
}

/// One record of about `bytes` bytes that do not compress.
pub fn batch_of(bytes: usize) -> Batch {
    Batch::of(vec![Record::value(crate::harness::Random::new(bytes as u64).bytes(bytes))])
}

/// A fetch from the start of each partition.
pub fn fetch(name: &str, partitions: &[i32], max_wait_ms: i32) -> Value {
    let partitions: Vec<_> = partitions
        .iter()
        .map(|p| json!({"partition": p, "fetchOffset": 0, "partitionMaxBytes": 50_000_000}))
        .collect();
    json!({"replicaId": -1, "maxWaitMs": max_wait_ms, "minBytes": 1, "maxBytes": 50_000_000,
        "topics": [{"topic": name, "partitions": partitions}]})
}

pub const FETCH: i16 = 11;

/// The record bytes of each partition in a fetch's answer.
pub fn record_bytes(answer: &Value) -> Vec<u64> {
    let partitions = answer["responses"].as_array().expect("topics").iter();
    let partitions = partitions.flat_map(|topic| topic["partitions"].as_array().expect("partitions"));
    partitions
        .map(|p| {
            assert_eq!(p["errorCode"], 0, "{p}");
            p["records"].as_str().map_or(0, |hex| hex.len() as u64 / 2)
        })
        .collect()
}

/// A latest-offset question.
pub fn latest(name: &str, partition: i32) -> Value {
    json!({"replicaId": -1, "topics": [
        {"name": name, "partitions": [{"partitionIndex": partition, "timestamp": -1}]}]})
}

/// `thalweg start` with options, for starts that do not come as far as a port.
pub fn start_command(options: &[String]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("start");
    options.iter().for_each(|option| {
        command.arg("-o").arg(option);
    });
    command
}

/// The lines of the broker's log with this message.
pub fn logged(broker: &Thalweg, message: &str) -> Vec<Value> {
    let log = broker.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"].as_str().is_some_and(|text| text.contains(message))).collect()
}
