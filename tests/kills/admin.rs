//! Makes, grows, reconfigures and deletes topics while the broker is killed, and keeps account.

use std::collections::{BTreeMap, HashSet};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::Random;
use crate::world::World;

/// What is known of one topic. A request without an answer makes the old and the new state both right.
#[derive(Default, Debug)]
struct Known {
    may_be_there: bool,
    may_be_gone: bool,
    partitions: HashSet<i64>,
    retention_ms: HashSet<String>,
}

#[derive(Default)]
pub struct Admin {
    topics: BTreeMap<String, Known>,
    producer_ids: HashSet<i64>,
    pub changes: usize,
}

impl Admin {
    pub fn run(mut self, world: &World, mut random: Random) -> Admin {
        while !world.is_stopping() {
            let name = format!("admin-{}", random.below(12));
            match random.below(6) {
                0 | 1 => self.create(world, &name, 1 + random.below(3) as i64),
                2 => self.delete(world, &name),
                3 => self.grow(world, &name, random.below(6) as i64),
                4 => self.set(world, &name, (1_000_000 + random.below(1_000_000)).to_string()),
                _ => self.producer_id(world),
            }
            thread::sleep(Duration::from_millis(5));
        }
        self
    }

    fn create(&mut self, world: &World, name: &str, partitions: i64) {
        let tree = json!({"timeoutMs": 10000, "topics": [{"name": name, "numPartitions": partitions,
            "replicationFactor": 1, "configs": [{"name": "retention.ms", "value": "1000000"}]}]});
        let answer = world.ask_once("CreateTopics", 7, &tree);
        let known = self.topics.entry(name.into()).or_insert(Known { may_be_gone: true, ..Known::default() });
        let fresh = |known: &mut Known| {
            known.partitions.insert(partitions);
            known.retention_ms.insert("1000000".into());
            known.may_be_there = true;
        };
        match answer.map(|a| a["topics"][0]["errorCode"].as_i64()) {
            Some(Some(0)) => {
                if !known.may_be_gone {
                    world.accuse(format!("{name} was there, and is made again"));
                }
                *known = Known::default();
                fresh(known);
                self.changes += 1;
            }
            Some(Some(36)) => {
                if !known.may_be_there {
                    world.accuse(format!("{name} was deleted, and is said to exist"));
                }
                known.may_be_gone = false;
            }
            Some(error) => world.accuse(format!("{name} cannot be made: {error:?}")),
            // It may have been made; then only if it was not there.
            None if known.may_be_gone => fresh(known),
            None => {}
        }
    }

    fn delete(&mut self, world: &World, name: &str) {
        let tree = json!({"timeoutMs": 10000, "topicNames": [name]});
        let answer = world.ask_once("DeleteTopics", 5, &tree);
        let Some(known) = self.topics.get_mut(name) else { return };
        match answer.map(|a| a["responses"][0]["errorCode"].as_i64()) {
            Some(Some(0)) => {
                if !known.may_be_there {
                    world.accuse(format!("{name} was gone, and is deleted"));
                }
                *known = Known { may_be_gone: true, ..Known::default() };
                self.changes += 1;
            }
            Some(Some(3)) => {
                if !known.may_be_gone {
                    world.accuse(format!("{name} was made, and is said to be unknown"));
                }
                *known = Known { may_be_gone: true, ..Known::default() };
            }
            Some(error) => world.accuse(format!("{name} cannot be deleted: {error:?}")),
            None => known.may_be_gone = true,
        }
    }

    fn grow(&mut self, world: &World, name: &str, count: i64) {
        let Some(known) = self.topics.get_mut(name).filter(|k| k.may_be_there) else { return };
        let tree =
            json!({"timeoutMs": 10000, "topics": [{"name": name, "count": count, "assignments": null}]});
        match world.ask_once("CreatePartitions", 3, &tree).map(|a| a["results"][0]["errorCode"].as_i64()) {
            Some(Some(0)) => {
                known.partitions = HashSet::from([count]);
                (known.may_be_gone, self.changes) = (false, self.changes + 1);
            }
            Some(_) => {}
            None => {
                known.partitions.insert(count);
            }
        }
    }

    fn set(&mut self, world: &World, name: &str, value: String) {
        let Some(known) = self.topics.get_mut(name).filter(|k| k.may_be_there) else { return };
        let tree = json!({"resources": [{"resourceType": 2, "resourceName": name, "configs": [
            {"name": "retention.ms", "configOperation": 0, "value": value}]}]});
        let answer = world.ask_once("IncrementalAlterConfigs", 1, &tree);
        match answer.map(|a| a["responses"][0]["errorCode"].as_i64()) {
            Some(Some(0)) => {
                known.retention_ms = HashSet::from([value]);
                (known.may_be_gone, self.changes) = (false, self.changes + 1);
            }
            Some(_) => {}
            None => {
                known.retention_ms.insert(value);
            }
        }
    }

    /// No producer id is ever given twice.
    fn producer_id(&mut self, world: &World) {
        let tree = json!({"transactionalId": null, "transactionTimeoutMs": 60000});
        if let Some(answer) = world.ask_once("InitProducerId", 4, &tree)
            && answer["errorCode"] == 0
            && let Some(id) = answer["producerId"].as_i64()
            && !self.producer_ids.insert(id)
        {
            world.accuse(format!("producer id {id} is given twice"));
        }
    }

    /// Holds the account against what the broker says.
    pub fn check(&self, world: &World) -> Result<(), String> {
        let answer = world.ask("Metadata", 12, &json!({"topics": null})).ok_or("the run ended")?;
        let there = answer["topics"].as_array().ok_or("no topics")?;
        for (name, known) in &self.topics {
            let Some(topic) = there.iter().find(|t| t["name"] == **name) else {
                if known.may_be_gone {
                    continue;
                }
                return Err(format!("topic {name} was acknowledged and is lost"));
            };
            if !known.may_be_there {
                return Err(format!("topic {name} was deleted and is back"));
            }
            let count = topic["partitions"].as_array().map_or(0, Vec::len) as i64;
            if !known.partitions.contains(&count) {
                return Err(format!(
                    "topic {name} has {count} partitions, not one of {:?}",
                    known.partitions
                ));
            }
            let tree = json!({"resources": [{"resourceType": 2, "resourceName": name,
                "configurationKeys": ["retention.ms"]}]});
            let answer = world.ask("DescribeConfigs", 4, &tree).ok_or("the run ended")?;
            let value = answer["results"][0]["configs"][0]["value"].as_str().unwrap_or_default().to_owned();
            if !known.retention_ms.contains(&value) {
                return Err(format!(
                    "topic {name} has retention.ms {value}, not one of {:?}",
                    known.retention_ms
                ));
            }
        }
        Ok(())
    }
}
