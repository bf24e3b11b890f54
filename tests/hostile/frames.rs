//! A corpus of frames that no client sends, each on a connection of its own.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use serde_json::json;

use crate::harness::connection::{is_close, request_header};
use crate::harness::schema::{self, message};
use crate::harness::{Connection, message_by_key};
use crate::scene::{MIB, Scene};

/// How a connection ended.
#[derive(Debug, PartialEq)]
enum End {
    Closed,
    Answered(Vec<u8>),
    Silent,
}

/// Sends loose bytes and sees what comes back. `ends` closes our half afterwards.
fn send(scene: &Scene, bytes: &[u8], ends: bool) -> End {
    let mut connection = scene.connect();
    connection.stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    // The broker may close before it has read everything.
    let _ = connection.stream.write_all(bytes);
    if ends {
        let _ = connection.stream.shutdown(Shutdown::Write);
    }
    let mut answer = vec![0; 4096];
    match connection.stream.read(&mut answer) {
        Ok(0) => End::Closed,
        Ok(length) => End::Answered(answer[..length].to_vec()),
        Err(error) if is_close(&error) => End::Closed,
        Err(_) => End::Silent,
    }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as i32).to_be_bytes()[..], frame].concat()
}

#[test]
fn lengths_that_no_frame_has_close_the_connection() {
    let scene = Scene::new("lengths", &[]);
    for length in [-1, i32::MIN, i32::MAX, 104_857_601, 0, 1, 7] {
        let mut bytes = i32::to_be_bytes(length).to_vec();
        bytes.extend([0; 64]);
        assert_eq!(send(&scene, &bytes, false), End::Closed, "length {length}");
    }
    scene.calm(16 * MIB);
}

#[test]
fn other_protocols_close_the_connection() {
    let scene = Scene::new("protocols", &[]);
    let tls_hello =
        [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03][..], &[7; 506]].concat();
    let others: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: localhost:9092\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
        b"POST /topics/t HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"EHLO localhost\r\nMAIL FROM:<a@b>\r\n",
        b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0",
        &tls_hello,
    ];
    for bytes in others {
        // A length that these bytes happen to spell is waited for; the end of the stream ends it.
        let ended = send(&scene, bytes, true);
        assert_eq!(ended, End::Closed, "{}", String::from_utf8_lossy(bytes));
    }
    scene.calm(16 * MIB);
}

#[test]
fn a_request_cut_anywhere_closes_the_connection() {
    let scene = Scene::new("cut", &[]);
    let api = message("Produce");
    let mut frame = request_header(api, 9, 1);
    frame.extend(
        api.request.encode(9, &crate::scene::produce("bystander", 0, &crate::harness::Batch::small(1))),
    );
    let whole = framed(&frame);
    for end in 0..whole.len() {
        assert_eq!(send(&scene, &whole[..end], true), End::Closed, "cut at {end}");
    }
    // Inside of a whole frame, the cut is the body's.
    for end in 0..frame.len() {
        let ended = send(&scene, &framed(&frame[..end]), false);
        assert_ne!(ended, End::Silent, "a body cut at {end}");
    }
    scene.calm(16 * MIB);
}

#[test]
fn unknown_keys_and_versions_are_answered_or_closed() {
    let scene = Scene::new("unknown", &[]);
    for key in (0..110i16).chain([i16::MAX, -1, i16::MIN]) {
        for version in [0i16, 1, 5, 20, i16::MAX, -1, i16::MIN] {
            // What is served has its own judges, and may rightly wait for something.
            if message_by_key(key).is_some_and(|api| api.request.versions.has(version)) {
                continue;
            }
            let mut frame = [key.to_be_bytes(), version.to_be_bytes()].concat();
            // A header of version 2 without tags is one of version 1 with a byte behind it.
            frame.extend([0, 0, 0, 9, 0, 1, b'x', 0]);
            let ended = send(&scene, &framed(&frame), false);
            match key {
                18 => assert!(matches!(ended, End::Answered(_)), "ApiVersions {version}: {ended:?}"),
                _ => assert_eq!(ended, End::Closed, "key {key} version {version}"),
            }
        }
    }
    scene.calm(16 * MIB);
}

#[test]
fn counts_and_lengths_of_two_thousand_million_take_no_memory() {
    let scene = Scene::new("counts", &[]);
    let huge = [i32::MAX, i32::MIN, -2, 0x00ff_ffff];
    let varints: [&[u8]; 3] =
        [&[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 12], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80]];
    for name in schema::names() {
        let api = message(name);
        if message_by_key(api.request.key).is_none() {
            continue;
        }
        for version in [api.stable().min, api.stable().max] {
            let body = api.request.encode(version, &json!({}));
            for at in 0..body.len().min(24) {
                for number in huge {
                    let mut bad = body.clone();
                    bad.splice(at..(at + 4).min(body.len()), number.to_be_bytes());
                    expect_no_harm(&scene, api, version, &bad);
                }
                for varint in varints {
                    let mut bad = body.clone();
                    bad.splice(at..at + 1, varint.iter().copied());
                    expect_no_harm(&scene, api, version, &bad);
                }
            }
        }
    }
    scene.calm(32 * MIB);
}

fn expect_no_harm(scene: &Scene, api: &schema::Api, version: i16, body: &[u8]) {
    let mut connection = scene.connect();
    // A number may have become a time to wait, so silence is no fault here.
    connection.stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    if let Ok(correlation) = connection.send_body(api, version, body) {
        let _ = connection.answer(api, version, correlation);
    }
}

#[test]
fn text_that_is_no_utf_8_is_refused() {
    let scene = Scene::new("utf8", &[]);
    for (name, version) in
        [("Metadata", 1), ("Metadata", 9), ("CreateTopics", 2), ("CreateTopics", 7), ("Fetch", 4)]
    {
        let api = message(name);
        let tree = match name {
            "Metadata" => json!({"topics": [{"name": "XXXX"}]}),
            "Fetch" => json!({"topics": [{"topic": "XXXX", "partitions": []}]}),
            _ => json!({"topics": [{"name": "XXXX", "numPartitions": 1, "replicationFactor": 1}]}),
        };
        let mut body = api.request.encode(version, &tree);
        let place = body.windows(4).position(|w| w == b"XXXX").expect("the name is there");
        for bad in [b"\xff\xfe\xfd\xfc", b"\xc0\x80\xc0\x80", b"\xed\xa0\x80a", b"ab\xf0\x9f"] {
            body[place..place + 4].copy_from_slice(bad);
            let mut connection = scene.connect();
            let correlation = connection.send_body(api, version, &body).expect("the broker reads");
            let answer = connection.answer(api, version, correlation);
            assert_ne!(answer, crate::harness::Answer::Silence, "{name} {version}");
        }
    }
    // A client id that is no text.
    let mut frame = request_header(message("ApiVersions"), 0, 1);
    let id = frame.len() - 5;
    frame[id..].copy_from_slice(&[0xff; 5]);
    assert_ne!(send(&scene, &framed(&frame), false), End::Silent);
    scene.calm(16 * MIB);
}

#[test]
fn garbage_closes_the_connection() {
    let scene = Scene::new("garbage", &[]);
    let (mut random, seed) = crate::harness::Random::from_env("HOSTILE_SEED");
    println!("HOSTILE_SEED={seed}");
    for _ in 0..300 {
        let length = random.below(2000);
        let bytes = random.bytes(length);
        assert_ne!(send(&scene, &bytes, true), End::Silent);
        // With a length that is right.
        assert_ne!(send(&scene, &framed(&bytes), true), End::Silent);
    }
    scene.calm(32 * MIB);
}

#[test]
fn a_connection_that_did_wrong_does_not_trouble_the_next() {
    let scene = Scene::new("next", &[]);
    for _ in 0..2_000 {
        let mut connection: Connection = scene.connect();
        let _ = connection.stream.write_all(&[0xff; 8]);
    }
    scene.calm(32 * MIB);
}
