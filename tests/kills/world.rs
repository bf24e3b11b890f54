//! What all threads of one run share: where the broker is, whether to go on, what went wrong.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Connection};

pub struct World {
    pub address: SocketAddr,
    stopping: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

impl World {
    pub fn new(address: SocketAddr) -> World {
        World { address, stopping: AtomicBool::new(false), wrong: Mutex::default() }
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Something that must not be. The run ends.
    pub fn accuse(&self, what: String) {
        self.wrong.lock().expect("no thread panics with it").push(what);
        self.stop();
    }

    pub fn accusations(&self) -> Vec<String> {
        self.wrong.lock().expect("no thread panics with it").clone()
    }

    /// A connection, as soon as the broker is there; `None` when the run ends first.
    pub fn connect(&self) -> Option<Connection> {
        loop {
            if let Ok(connection) = Connection::open(self.address) {
                return Some(connection);
            }
            if !self.accusations().is_empty() {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks until there is an answer, over any number of kills.
    pub fn ask(&self, api: &str, version: i16, tree: &Value) -> Option<Value> {
        loop {
            if let Answer::Body(answer) = self.connect()?.call(api, version, tree) {
                return Some(answer);
            }
        }
    }

    /// Asks once; `None` when the broker died before it answered.
    pub fn ask_once(&self, api: &str, version: i16, tree: &Value) -> Option<Value> {
        match self.connect()?.call(api, version, tree) {
            Answer::Body(answer) => Some(answer),
            _ => None,
        }
    }

    pub fn log_end(&self, topic: &str, partition: i32) -> Option<i64> {
        let tree = json!({"replicaId": -1, "topics": [{"name": topic, "partitions": [
            {"partitionIndex": partition, "timestamp": -1}]}]});
        for _ in 0..1_500 {
            let answer = self.ask("ListOffsets", 7, &tree)?;
            let found = &answer["topics"][0]["partitions"][0];
            if found["errorCode"] == 0 {
                return found["offset"].as_i64();
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }
}
