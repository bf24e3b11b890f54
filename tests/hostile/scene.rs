//! A broker under attack, with bystanders that must not notice.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Batch, Connection, Thalweg, scratch};

pub const MIB: u64 = 1 << 20;
/// What the broker may log besides a rate: its own life and the topics that are made.
const LOG_LINES: usize = 200;
const LOG_LINES_PER_SECOND: usize = 60;

/// Attacks do not overlap: each measures one broker alone.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct Scene {
    pub broker: Thalweg,
    bystanders: Vec<JoinHandle<Result<Vec<Duration>, String>>>,
    end: Arc<AtomicBool>,
    began: Instant,
    memory_before: u64,
    log_lines_before: usize,
    directory: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    pub fn new(name: &str, options: &[&str]) -> Scene {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let directory = scratch(name);
        let broker = Thalweg::start(&directory, options);
        make_topic(broker.address, "bystander", 4, &[]);
        let end = Arc::new(AtomicBool::new(false));
        let started = Arc::new(AtomicUsize::new(0));
        // Several, so that every core has one.
        let bystanders = (0..4)
            .map(|partition| {
                let (address, end, started) = (broker.address, end.clone(), started.clone());
                thread::spawn(move || bystand(address, partition, &end, &started))
            })
            .collect();
        while started.load(Ordering::Relaxed) < 4 * 50 {
            thread::sleep(Duration::from_millis(5));
        }
        Scene {
            memory_before: broker.memory("VmRSS"),
            log_lines_before: broker.log().lines().count(),
            broker,
            bystanders,
            end,
            began: Instant::now(),
            directory,
            _alone: alone,
        }
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.broker.address).expect("the broker accepts")
    }

    /// Ends the scene: the broker lives, its memory never grew by more than `bytes`, no bystander saw an
    /// error, the log is short. Returns the bystanders' waits, sorted.
    pub fn calm(mut self, bytes: u64) -> Vec<Duration> {
        assert!(self.broker.is_alive(), "the broker is gone:\n{}", self.broker.log());
        let grown = self.broker.memory("VmHWM").saturating_sub(self.memory_before);
        let mut fresh = self.connect();
        fresh.call("ApiVersions", 0, &json!({})).body();
        self.end.store(true, Ordering::Relaxed);
        let mut waits = Vec::new();
        for bystander in self.bystanders.drain(..) {
            waits
                .extend(bystander.join().expect("a bystander's thread").expect("every other client goes on"));
        }
        waits.sort();
        assert!(grown <= bytes, "memory grew by {} MiB, {} are allowed", grown / MIB, bytes / MIB);
        let lines = self.broker.log().lines().count() - self.log_lines_before;
        let allowed = LOG_LINES + LOG_LINES_PER_SECOND * self.began.elapsed().as_secs() as usize;
        assert!(lines <= allowed, "{lines} log lines, {allowed} are allowed");
        let status = self.broker.stop();
        assert!(status.success(), "{status} at the end:\n{}", self.broker.log());
        let _ = std::fs::remove_dir_all(&self.directory);
        println!(
            "memory grew by {} MiB, {lines} log lines, {} requests beside it, median {:?}, p99 {:?}",
            grown / MIB,
            waits.len(),
            at(&waits, 0.5),
            at(&waits, 0.99)
        );
        waits
    }
}

pub fn at(sorted: &[Duration], part: f64) -> Duration {
    sorted.get((sorted.len() as f64 * part) as usize).copied().unwrap_or_default()
}

/// Produces and fetches small batches until told to stop; returns how long each request took.
fn bystand(
    address: SocketAddr,
    partition: i32,
    end: &AtomicBool,
    done: &AtomicUsize,
) -> Result<Vec<Duration>, String> {
    let mut connection = Connection::open(address).map_err(|e| e.to_string())?;
    let mut waits = Vec::new();
    let batch = Batch::small(1);
    while !end.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = connection.call("Produce", 9, &produce("bystander", partition, &batch)).body();
        waits.push(began.elapsed());
        let answer = &answer["responses"][0]["partitionResponses"][0];
        if answer["errorCode"] != 0 {
            return Err(answer.to_string());
        }
        let tree = fetch("bystander", partition, answer["baseOffset"].as_i64().expect("an offset"), 1000);
        let began = Instant::now();
        let answer = connection.call("Fetch", 11, &tree).body();
        waits.push(began.elapsed());
        let answer = &answer["responses"][0]["partitions"][0];
        if answer["errorCode"] != 0 || answer["records"].as_str().is_none_or(str::is_empty) {
            return Err(answer.to_string());
        }
        done.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(waits)
}

pub fn make_topic(address: SocketAddr, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let configs: Vec<_> = configs.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
    let tree = json!({"timeoutMs": 10000, "topics": [
        {"name": name, "numPartitions": partitions, "replicationFactor": 1, "configs": configs}]});
    let mut connection = Connection::open(address).expect("the broker accepts");
    let answer = connection.call("CreateTopics", 7, &tree).body();
    assert_eq!(answer["topics"][0]["errorCode"], 0, "{answer}");
}

pub fn produce(topic: &str, partition: i32, batch: &Batch) -> Value {
    json!({"acks": 1, "timeoutMs": 5000, "topicData": [
        {"name": topic, "partitionData": [{"index": partition, "records": batch.hex()}]}]})
}

pub fn fetch(topic: &str, partition: i32, offset: i64, bytes: i32) -> Value {
    json!({"replicaId": -1, "maxWaitMs": 500, "minBytes": 1, "maxBytes": bytes, "topics": [{"topic": topic,
        "partitions": [{"partition": partition, "fetchOffset": offset, "partitionMaxBytes": bytes}]}]})
}
