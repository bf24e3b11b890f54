//! Batches that lie, bombs among them, on topics where the broker must open them.

use serde_json::json;

use crate::harness::batch::{compress, varint};
use crate::harness::{Batch, Random, Record};
use crate::scene::{MIB, Scene, make_topic, produce};

fn refused(scene: &Scene, topic: &str, what: &str, batch: &Batch) {
    let mut connection = scene.connect();
    let answer = connection.call("Produce", 9, &produce(topic, 0, batch)).body();
    let error = answer["responses"][0]["partitionResponses"][0]["errorCode"].as_i64();
    assert_ne!(error, Some(0), "{what} is accepted");
    assert_ne!(error, Some(-1), "{what} is an error of the server");
}

/// One record whose value is `bytes` zeros, compressed: a thousandth of that on the wire, or less.
fn bomb(codec: i16, bytes: usize) -> Batch {
    let mut body = vec![0, 0, 0];
    varint(&mut body, 1);
    body.push(b'k');
    varint(&mut body, bytes as i64);
    body.resize(body.len() + bytes, 0);
    body.push(0);
    let mut plain = Vec::with_capacity(body.len() + 5);
    varint(&mut plain, body.len() as i64);
    plain.extend(body);
    let payload = compress(codec, &plain);
    Batch { payload: Some(payload), count: Some(1), last_offset_delta: Some(0), ..Batch::default() }
        .codec(codec)
}

#[test]
fn compressed_bombs_are_refused() {
    let scene = Scene::new("bombs", &["message.max.bytes=20000000"]);
    make_topic(scene.broker.address, "compacted", 1, &[("cleanup.policy", "compact")]);
    make_topic(scene.broker.address, "recompressed", 1, &[("compression.type", "lz4")]);
    // lz4's ratio ends at 255, snappy's at 21: their bombs are as large as the broker takes.
    for (codec, bytes) in [(1, 800 << 20), (2, 200 << 20), (3, 800 << 20), (4, 800 << 20)] {
        let bomb = bomb(codec, bytes);
        for topic in ["compacted", "recompressed"] {
            if (topic, codec) != ("recompressed", 3) {
                refused(&scene, topic, &format!("a bomb of codec {codec} to {topic}"), &bomb);
            }
        }
    }
    scene.calm(256 * MIB);
}

#[test]
fn counts_that_lie_are_refused() {
    let scene = Scene::new("lies", &[]);
    make_topic(scene.broker.address, "plain", 1, &[]);
    make_topic(scene.broker.address, "compacted", 1, &[("cleanup.policy", "compact")]);
    for count in [0, -1, 2, 4, 1 << 20, i32::MAX, i32::MIN] {
        for codec in 0..=4 {
            let batch = Batch { count: Some(count), ..Batch::small(3) }.codec(codec);
            let whole = Batch { last_offset_delta: Some(count.wrapping_sub(1)), ..batch.clone() };
            refused(&scene, "compacted", &format!("count {count}, codec {codec}"), &batch);
            refused(&scene, "compacted", &format!("count and delta {count}, codec {codec}"), &whole);
            if codec == 0 {
                refused(&scene, "plain", &format!("count {count}"), &batch);
            }
        }
    }
    scene.calm(32 * MIB);
}

#[test]
fn batches_changed_at_random_never_break_the_log() {
    let scene = Scene::new("changed", &[]);
    for (topic, configs) in [("plain", None), ("compacted", Some(("cleanup.policy", "compact")))] {
        make_topic(scene.broker.address, topic, 1, configs.as_slice());
    }
    let (mut random, seed) = Random::from_env("HOSTILE_SEED");
    println!("HOSTILE_SEED={seed}");
    let mut connection = scene.connect();
    for _ in 0..2_000 {
        let codec = random.below(5) as i16;
        let mut batch = Batch::small(1 + random.below(4)).codec(codec);
        batch.records.push(Record { headers: vec![("h".into(), None)], ..Record::of("a", "b") });
        let mut bytes = batch.encode();
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
        // With a CRC that is right again, so that what lies behind it is reached.
        if random.one_in(2) && at > 20 {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let topic = ["plain", "compacted"][random.below(2)];
        let tree = json!({"acks": 1, "timeoutMs": 5000, "topicData": [{"name": topic, "partitionData": [
            {"index": 0, "records": crate::harness::schema::hex(&bytes)}]}]});
        connection.call("Produce", 9, &tree).body();
    }
    // What was taken can be read to its end.
    for topic in ["plain", "compacted"] {
        let mut offset = 0;
        loop {
            let tree = crate::scene::fetch(topic, 0, offset, 1 << 20);
            let answer = connection.call("Fetch", 11, &tree).body();
            let part = &answer["responses"][0]["partitions"][0];
            assert_eq!(part["errorCode"], 0, "{topic} at {offset}");
            let bytes = crate::harness::schema::unhex(part["records"].as_str().unwrap_or_default());
            let batches = crate::harness::batch::Stored::read_all(&bytes).expect("whole batches");
            let Some(last) = batches.last() else { break };
            assert!(last.last_offset() >= offset, "{topic} at {offset}");
            offset = last.last_offset() + 1;
        }
    }
    scene.calm(32 * MIB);
}
