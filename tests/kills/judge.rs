//! One run: load, kills, and the verdict.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::admin::Admin;
use crate::consumer::{follow, read_all};
use crate::harness::{Random, Thalweg, scratch};
use crate::producer::Producer;
use crate::world::World;

pub struct Plan<'a> {
    pub name: &'a str,
    pub binary: &'a Path,
    /// The value of `THALWEG_FAULT`.
    pub fault: Option<&'a str>,
    pub kills: usize,
    /// Whether Apache Kafka's dump tool reads the files at the end.
    pub dump: bool,
}

const PARTITIONS: i32 = 3;
const TOPICS: [(&str, bool, i16); 4] = [
    ("idempotent-all", true, -1),
    ("idempotent-one", true, 1),
    ("plain-all", false, -1),
    ("plain-one", false, 1),
];

/// Says what was done, or what is wrong.
pub fn judge(plan: &Plan, mut random: Random) -> Result<String, String> {
    let directory = scratch(plan.name);
    let environment: Vec<_> = plan.fault.map(|fault| ("THALWEG_FAULT", fault)).into_iter().collect();
    let options =
        ["log.roll.jitter.ms=0", "log.segment.delete.delay.ms=500", "log.index.interval.bytes=1024"];
    let mut broker = Thalweg::start_binary(plan.binary, &directory, &options, &environment);
    let world = Arc::new(World::new(broker.address));
    for (name, ..) in TOPICS {
        let tree = json!({"timeoutMs": 10000, "topics": [{"name": name, "numPartitions": PARTITIONS,
            "replicationFactor": 1, "configs": [{"name": "segment.ms", "value": "1000"},
            {"name": "segment.bytes", "value": "1048576"}]}]});
        let answer = world.ask("CreateTopics", 7, &tree).ok_or("the run ended")?;
        if answer["topics"][0]["errorCode"] != 0 {
            return Err(format!("{name} cannot be made: {answer}"));
        }
    }
    let mut producers = Vec::new();
    let mut consumers = Vec::new();
    for (name, idempotent, acks) in TOPICS {
        for partition in 0..PARTITIONS {
            let producer = Producer::new(name, partition, idempotent, acks, Random::new(random.number()));
            let shared = world.clone();
            producers.push(thread::spawn(move || producer.run(&shared)));
        }
        let shared = world.clone();
        consumers.push(thread::spawn(move || follow(&shared, name, 0)));
    }
    let admin = thread::spawn({
        let (shared, random) = (world.clone(), Random::new(random.number()));
        move || Admin::default().run(&shared, random)
    });

    let began = Instant::now();
    let mut kills = 0;
    while kills < plan.kills && world.accusations().is_empty() {
        thread::sleep(Duration::from_millis(200 + random.below(900) as u64));
        broker.kill();
        kills += 1;
        if kills % 5 == 0 && kills < plan.kills {
            // During recovery, at any point of it.
            broker.spawn();
            thread::sleep(Duration::from_millis(random.below(80) as u64));
            broker.kill();
            kills += 1;
        }
        broker.restart();
    }
    thread::sleep(Duration::from_millis(500));
    world.stop();

    let producers: Vec<Producer> =
        producers.into_iter().map(|p| p.join().expect("a producer's thread")).collect();
    let seen: Vec<_> = consumers.into_iter().map(|c| c.join().expect("a consumer's thread")).collect();
    let admin = admin.join().expect("the admin's thread");
    let verdict = verdict(&world, producers, seen, &admin);
    let stopped = broker.stop();
    let verdict = verdict.and_then(|summary| {
        if !stopped.success() {
            return Err(format!("{stopped} at the end"));
        }
        if plan.dump {
            dump(&broker.data())?;
        }
        Ok(format!("{kills} kills in {:.0?}, {summary}", began.elapsed()))
    });
    match verdict {
        Ok(summary) => {
            let _ = std::fs::remove_dir_all(&directory);
            Ok(summary)
        }
        Err(found) => {
            let log = broker.log();
            let tail: Vec<_> = log.lines().rev().take(15).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            Err(format!("{found}\nafter {kills} kills; the data is in {}\n{tail}", directory.display()))
        }
    }
}

fn verdict(
    world: &World,
    mut producers: Vec<Producer>,
    seen: Vec<std::collections::HashMap<i64, u32>>,
    admin: &Admin,
) -> Result<String, String> {
    let accusations = world.accusations();
    if !accusations.is_empty() {
        return Err(accusations.join("\n"));
    }
    // Each topic's first partition had a consumer.
    for (index, seen) in seen.into_iter().enumerate() {
        producers[index * PARTITIONS as usize].ledger.seen = seen;
    }
    let (mut batches, mut acknowledged) = (0, 0);
    let mut wrong = Vec::new();
    for Producer { ledger, .. } in &producers {
        let held = read_all(world, &ledger.topic, ledger.partition)?;
        if let Err(found) = ledger.check(&held) {
            wrong.push(found);
        }
        batches += held.len();
        acknowledged += ledger.acknowledged().count();
    }
    if let Err(found) = admin.check(world) {
        wrong.push(found);
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    if acknowledged == 0 {
        return Err("nothing was acknowledged".into());
    }
    Ok(format!("{acknowledged} batches acknowledged, {batches} held, {} changes of topics", admin.changes))
}

fn dump(data: &Path) -> Result<(), String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    if Command::new("java").arg("-version").output().is_err() {
        println!("no java: the files are not read by Apache Kafka's dump tool");
        return Ok(());
    }
    // The jars come first: what Maven says is no complaint about a file.
    let _ = Command::new(tests.join("apache-kafka/libs")).output();
    let output = Command::new(tests.join("dump/verify"))
        .arg(data)
        .output()
        .map_err(|e| format!("tests/dump/verify: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!("the dump tool complains:\n{}", String::from_utf8_lossy(&text)))
}
