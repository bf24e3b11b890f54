//! One producer of one partition, five requests in flight, over any number of kills.
//!
//! The idempotent one sends what was not acknowledged again, in order, with the same sequences. The plain
//! one never sends anything twice: what was in flight when the broker died may be there or not.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::schema::message;
use crate::harness::{Answer, Batch, Connection, Random, Record};
use crate::ledger::{Ledger, Sent, value_of};
use crate::world::World;

const IN_FLIGHT: usize = 5;

pub struct Producer {
    pub ledger: Ledger,
    pub acks: i16,
    pub random: Random,
    id: i64,
    sequence: i32,
    in_flight: VecDeque<(u64, Value)>,
}

impl Producer {
    pub fn new(topic: &str, partition: i32, idempotent: bool, acks: i16, random: Random) -> Producer {
        let ledger =
            Ledger { topic: topic.into(), partition, idempotent, sent: Vec::new(), seen: Default::default() };
        Producer { ledger, acks, random, id: -1, sequence: 0, in_flight: VecDeque::new() }
    }

    /// Produces until the world stops, then waits for what is in flight.
    pub fn run(mut self, world: &World) -> Producer {
        if self.ledger.idempotent {
            let tree = json!({"transactionalId": null, "transactionTimeoutMs": 60000});
            while self.id < 0 {
                let Some(answer) = world.ask("InitProducerId", 4, &tree) else { return self };
                self.id = answer["producerId"].as_i64().unwrap_or(-1);
            }
        }
        while !(world.is_stopping() && self.in_flight.is_empty()) && world.accusations().is_empty() {
            let Some(connection) = world.connect() else { break };
            self.with(connection, world);
            if !self.ledger.idempotent {
                self.in_flight.clear();
            }
        }
        self
    }

    /// Goes on with one connection until it breaks or there is nothing left to do.
    fn with(&mut self, mut connection: Connection, world: &World) {
        let api = message("Produce");
        let mut waiting = VecDeque::new();
        let again: Vec<Value> = self.in_flight.iter().map(|(_, tree)| tree.clone()).collect();
        for tree in again {
            let Ok(correlation) = connection.send(api, 9, &tree) else { return };
            waiting.push_back(correlation);
        }
        loop {
            while self.in_flight.len() < IN_FLIGHT && !world.is_stopping() {
                let (number, tree) = self.next();
                self.in_flight.push_back((number, tree.clone()));
                let Ok(correlation) = connection.send(api, 9, &tree) else { return };
                waiting.push_back(correlation);
            }
            let Some(correlation) = waiting.pop_front() else { return };
            match connection.answer(api, 9, correlation) {
                Answer::Body(answer) => {
                    let part = &answer["responses"][0]["partitionResponses"][0];
                    let Some((number, _)) = self.in_flight.front() else { return };
                    let number = *number;
                    match part["errorCode"].as_i64() {
                        Some(0) => {
                            self.ledger.sent[number as usize].acknowledged = part["baseOffset"].as_i64();
                            self.in_flight.pop_front();
                        }
                        // Not there yet, or not the leader yet: in order, so from the first one again.
                        Some(3 | 5 | 6 | 7) => {
                            thread::sleep(Duration::from_millis(10));
                            return;
                        }
                        error => {
                            let topic = &self.ledger.topic;
                            return world.accuse(format!(
                                "{topic}: batch {number} is refused with {error:?}: {part}"
                            ));
                        }
                    }
                }
                Answer::Undecodable(error) => {
                    return world.accuse(format!("an answer that cannot be read: {error}"));
                }
                Answer::Silence => return world.accuse("a produce request without an answer".into()),
                Answer::Closed => return,
            }
            if self.random.one_in(3) {
                thread::sleep(Duration::from_millis(3));
            }
        }
    }

    fn next(&mut self) -> (u64, Value) {
        let number = self.ledger.sent.len() as u64;
        let count = 1 + self.random.below(12);
        let records = (0..count)
            .map(|index| {
                let most = if self.random.one_in(20) { 20_000 } else { 600 };
                let padding = self.random.below(most);
                Record {
                    key: Some(b"key".to_vec()),
                    value: Some(value_of(number, index, padding)),
                    ..Record::default()
                }
            })
            .collect();
        let mut batch = Batch::of(records).codec(self.random.below(5) as i16);
        batch.base_timestamp = crate::harness::batch::now();
        if self.ledger.idempotent {
            batch = batch.by(self.id, 0, self.sequence);
            self.sequence += count as i32;
        }
        self.ledger.sent.push(Sent { number, count, acknowledged: None });
        let tree = json!({"acks": self.acks, "timeoutMs": 10000, "topicData": [{"name": self.ledger.topic,
            "partitionData": [{"index": self.ledger.partition, "records": batch.hex()}]}]});
        (number, tree)
    }
}
