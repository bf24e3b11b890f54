//! Reads partitions: one follows and notes what it saw, and at the end everything is read.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Answer;
use crate::harness::batch::Stored;
use crate::harness::schema::unhex;
use crate::world::World;

fn fetch(topic: &str, partition: i32, offset: i64) -> Value {
    json!({"replicaId": -1, "maxWaitMs": 100, "minBytes": 1, "maxBytes": 4 << 20, "topics": [{"topic": topic,
        "partitions": [{"partition": partition, "fetchOffset": offset, "partitionMaxBytes": 4 << 20}]}]})
}

/// Follows a partition until the world stops; the CRC of each batch by base offset.
pub fn follow(world: &World, topic: &str, partition: i32) -> HashMap<i64, u32> {
    let mut seen = HashMap::new();
    let mut offset = 0;
    while !world.is_stopping() {
        let Some(mut connection) = world.connect() else { break };
        while !world.is_stopping() {
            let Answer::Body(answer) = connection.call("Fetch", 11, &fetch(topic, partition, offset)) else {
                break;
            };
            let part = &answer["responses"][0]["partitions"][0];
            match part["errorCode"].as_i64() {
                Some(0) => {}
                Some(3 | 5 | 6) => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                error => {
                    world.accuse(format!("{topic}-{partition}: fetch at {offset} is refused with {error:?}"));
                    return seen;
                }
            }
            match Stored::read_all(&unhex(part["records"].as_str().unwrap_or_default())) {
                Ok(batches) => {
                    for batch in batches {
                        seen.insert(batch.base_offset, batch.crc);
                        offset = batch.last_offset() + 1;
                    }
                }
                Err(error) => world.accuse(format!("{topic}-{partition} at {offset}: {error}")),
            }
        }
    }
    seen
}

/// Every batch of a partition.
pub fn read_all(world: &World, topic: &str, partition: i32) -> Result<Vec<Stored>, String> {
    let end = world.log_end(topic, partition).ok_or(format!("{topic}-{partition} has no end"))?;
    let mut held: Vec<Stored> = Vec::new();
    let mut offset = 0;
    while offset < end {
        let answer = world.ask("Fetch", 11, &fetch(topic, partition, offset)).ok_or("the run ended")?;
        let part = &answer["responses"][0]["partitions"][0];
        if part["errorCode"] != 0 {
            return Err(format!("{topic}-{partition}: fetch at {offset} of {end}: {}", part["errorCode"]));
        }
        let batches = Stored::read_all(&unhex(part["records"].as_str().unwrap_or_default()))?;
        let last = batches.last().ok_or(format!("{topic}-{partition}: nothing at {offset} of {end}"))?;
        offset = last.last_offset() + 1;
        held.extend(batches);
    }
    Ok(held)
}
