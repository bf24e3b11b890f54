//! Many clients that each do little wrong, and slow ones.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::harness::schema::message;
use crate::harness::{Batch, Record};
use crate::scene::{MIB, Scene, at, fetch, make_topic, produce};

/// Another client's requests may take this long while a crowd is there.
const WAIT_P99: Duration = Duration::from_millis(150);

/// Lets this process hold as many sockets as it may.
fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })
        .expect("up to the hard limit");
    most
}

fn crowd(scene: &Scene, wanted: usize) -> Vec<TcpStream> {
    // The broker has the same limit, and keeps a part of it for its logs.
    let most = (open_files() as usize / 2).min(wanted);
    assert!(most * 2 > wanted, "the limit of open files is too low for a crowd of {wanted}");
    (0..most)
        .map(|_| {
            TcpStream::connect_timeout(&scene.broker.address, Duration::from_secs(10))
                .expect("the broker accepts")
        })
        .collect()
}

#[test]
fn ten_thousand_connections_that_say_nothing() {
    let scene = Scene::new("silent", &[]);
    let silent = crowd(&scene, 10_000);
    std::thread::sleep(Duration::from_secs(3));
    let count = silent.len();
    assert!(scene.broker.open_files() >= count, "{} of {count} were accepted", scene.broker.open_files());
    let waits = scene.calm(100 * MIB);
    assert!(at(&waits, 0.99) < WAIT_P99, "p99 is {:?} beside {count} silent connections", at(&waits, 0.99));
    drop(silent);
}

#[test]
fn three_thousand_frames_of_fifty_megabytes_announced() {
    let options = ["queued.max.request.bytes=268435456", "thalweg.receive.timeout.ms=2000"];
    let scene = Scene::new("announced", &options);
    let mut crowd = crowd(&scene, 3_000);
    let mut head = (50i32 << 20).to_be_bytes().to_vec();
    head.extend(crate::harness::connection::request_header(message("Produce"), 3, 1));
    head.resize(20_000, 0);
    for client in &mut crowd {
        client.set_nonblocking(true).expect("a socket option");
        let _ = client.write(&head);
    }
    std::thread::sleep(Duration::from_secs(5));
    // The bound for requests, what a frame may hold without a reservation, and the connections themselves.
    let waits = scene.calm(256 * MIB + 3_000 * 64 * 1024 + 32 * MIB);
    assert!(at(&waits, 0.99) < WAIT_P99, "p99 is {:?}", at(&waits, 0.99));
}

#[test]
fn two_thousand_clients_with_the_longest_names() {
    let scene = Scene::new("names", &[]);
    let mut crowd = crowd(&scene, 2_000);
    let api = message("ApiVersions");
    let longest = "n".repeat(32_767);
    let mut frame = Vec::new();
    frame.extend(api.request.key.to_be_bytes());
    // Version 3, correlation id 1, the client id, no tags.
    frame.extend([0, 3, 0, 0, 0, 1]);
    frame.extend((longest.len() as i16).to_be_bytes());
    frame.extend(longest.as_bytes());
    frame.push(0);
    let names = json!({"clientSoftwareName": longest, "clientSoftwareVersion": longest});
    frame.extend(api.request.encode(3, &names));
    let length = (frame.len() as i32).to_be_bytes();
    for client in &mut crowd {
        client.write_all(&length).expect("the broker reads");
        client.write_all(&frame).expect("the broker reads");
        let mut head = [0; 4 + 4 + 2];
        client.read_exact(&mut head).expect("the broker answers");
        assert_eq!(head[4..], [0, 0, 0, 1, 0, 0], "names of this length are taken");
    }
    // The names would take 200 MB. What is allowed: the answers' and the connections' own.
    let waits = scene.calm(2_000 * 8 * 1024 + 24 * MIB);
    assert!(at(&waits, 0.99) < WAIT_P99, "p99 is {:?}", at(&waits, 0.99));
}

#[test]
fn a_byte_at_a_time_is_closed() {
    let scene = Scene::new("slow", &["thalweg.receive.timeout.ms=500"]);
    let mut slow = scene.connect();
    slow.stream.write_all(&100_000i32.to_be_bytes()).expect("the broker reads");
    let began = Instant::now();
    let mut closed = false;
    while began.elapsed() < Duration::from_secs(15) && !closed {
        closed = slow.stream.write_all(&[0]).is_err();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(closed, "a connection that sends a byte at a time lives on");
    scene.calm(16 * MIB);
}

#[test]
fn a_client_that_never_reads_its_answers() {
    let scene = Scene::new("deaf", &[]);
    make_topic(scene.broker.address, "wide", 1000, &[]);
    let api = message("Metadata");
    let mut deaf = scene.connect();
    deaf.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    // Each answer is large, each request small: at some point the broker must stop to read.
    let mut sent = 0;
    while sent < 200_000 && deaf.send(api, 9, &json!({"topics": [{"name": "wide"}]})).is_ok() {
        sent += 1;
    }
    assert!(sent < 200_000, "the broker reads on while its answers are not taken");
    scene.calm(64 * MIB);
}

#[test]
fn two_hundred_consumers_that_never_read_fifty_megabytes() {
    let scene = Scene::new("stuck", &["message.max.bytes=2000000"]);
    make_topic(scene.broker.address, "large", 4, &[]);
    let batch = Batch::of(vec![Record::value(vec![b'x'; 1_000_000])]);
    let mut producer = scene.connect();
    for index in 0..220 {
        let answer = producer.call("Produce", 9, &produce("large", index % 4, &batch)).body();
        assert_eq!(answer["responses"][0]["partitionResponses"][0]["errorCode"], 0, "{answer}");
    }
    let api = message("Fetch");
    let mut stuck = Vec::new();
    for index in 0..200 {
        let mut consumer = scene.connect();
        let tree = fetch("large", index % 4, 0, 50 << 20);
        consumer.send(api, 11, &tree).expect("the broker reads");
        stuck.push(consumer);
    }
    std::thread::sleep(Duration::from_secs(6));
    let waits = scene.calm(128 * MIB);
    assert!(at(&waits, 0.99) < WAIT_P99, "p99 is {:?} beside 200 stuck consumers", at(&waits, 0.99));
    drop(stuck);
}
