//! A broker with few descriptors: more segments, more partitions and more connections than it may hold open.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{BINARY, FETCH, answers, append, connect, connect_to, create, fetch, logged};
use crate::harness::batch::Stored;
use crate::harness::schema::unhex;
use crate::harness::{Batch, Connection, Record, Thalweg, scratch};
use crate::turn;

const LIMIT: usize = 512;
const PARTITIONS: i32 = 300;
const ROUNDS: usize = 10;

/// The binary under a limit of open files that it cannot raise.
fn limited(directory: &Path) -> PathBuf {
    let path = directory.join("limited");
    fs::write(&path, format!("#!/bin/sh\nulimit -n {LIMIT}\nexec {BINARY} \"$@\"\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
    path
}

fn start(name: &str) -> Thalweg {
    let directory = scratch(name);
    Thalweg::start_binary(&limited(&directory), &directory, &["thalweg.cores=0,1"], &[])
}

/// Descriptors of the broker below its data directory.
fn files_of_logs(broker: &Thalweg) -> usize {
    let all = fs::read_dir(format!("/proc/{}/fd", broker.id())).expect("the broker runs").flatten();
    all.filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(broker.data()))).count()
}

/// A quarter of what is left beside the process's own and its pipes, and some that the work of blocking
/// threads and the metadata log hold for moments.
fn check_files_of_logs(broker: &Thalweg) {
    let count = files_of_logs(broker);
    assert!(count <= 2 * 20 + 16, "{count} files of logs are open");
}

fn batch(partition: i32, round: usize) -> Batch {
    Batch::of(vec![Record::value(format!("round {round} of partition {partition}"))])
}

/// One request with a batch for every partition.
fn produce_round(connection: &mut Connection, round: usize) {
    let lines: Vec<Value> =
        (0..PARTITIONS).map(|p| json!({"index": p, "records": batch(p, round).hex()})).collect();
    let tree = json!({"acks": -1, "timeoutMs": 30_000, "topicData": [{"name": "t", "partitionData": lines}]});
    let answer = connection.call("Produce", 9, &tree).body();
    let told = answer["responses"][0]["partitionResponses"].as_array().expect("partitions");
    assert_eq!(told.len(), PARTITIONS as usize);
    for line in told {
        assert_eq!((&line["errorCode"], &line["baseOffset"]), (&json!(0), &json!(round)), "{line}");
    }
}

/// Reads every partition to its end, all of them in every request, and checks each record.
fn read_all(broker: &Thalweg) {
    let mut connection = connect(broker);
    let mut next = vec![0usize; PARTITIONS as usize];
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut requests = 0;
    while next.iter().any(|offset| *offset < ROUNDS) {
        assert!(Instant::now() < deadline, "after {requests} requests: {next:?}");
        requests += 1;
        let lines: Vec<Value> = next
            .iter()
            .enumerate()
            .filter(|(_, offset)| **offset < ROUNDS)
            .map(|(p, offset)| json!({"partition": p, "fetchOffset": offset, "partitionMaxBytes": 1 << 20}))
            .collect();
        let tree = json!({"replicaId": -1, "maxWaitMs": 500, "minBytes": 1, "maxBytes": 50_000_000,
            "topics": [{"topic": "t", "partitions": lines}]});
        let answer = connection.call("Fetch", FETCH, &tree).body();
        for line in answer["responses"][0]["partitions"].as_array().expect("partitions") {
            assert_eq!(line["errorCode"], 0, "{line}");
            let p = line["partitionIndex"].as_i64().expect("a number") as usize;
            let bytes = unhex(line["records"].as_str().unwrap_or(""));
            for stored in Stored::read_all(&bytes).expect("whole batches") {
                let records = stored.records().expect("whole records");
                let wanted = &batch(p as i32, next[p]).records[0].value;
                assert_eq!((records[0].0, &records[0].2.value), (next[p] as i64, wanted));
                next[p] += 1;
            }
        }
        check_files_of_logs(broker);
    }
    println!("{} segments read in {requests} requests", PARTITIONS as usize * ROUNDS);
}

#[test]
fn more_segments_than_descriptors_are_written_and_read() {
    let _turn = turn();
    let mut broker = start("limits-open-files");
    let mut connection = connect(&broker);
    // An index without room for a second entry: every batch has a segment of its own.
    create(&mut connection, "t", PARTITIONS, &[("segment.index.bytes", "12")]);
    for round in 0..ROUNDS {
        produce_round(&mut connection, round);
        check_files_of_logs(&broker);
    }
    let logs = |p: i32| fs::read_dir(broker.data().join(format!("t-{p}"))).expect("its directory").flatten();
    let segments = logs(7).filter(|file| file.path().extension().is_some_and(|suffix| suffix == "log"));
    assert_eq!(segments.count(), ROUNDS);
    read_all(&broker);
    // Recovery reads them all.
    broker.kill();
    broker.restart();
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(|| read_all(&broker)))));
    assert!(broker.stop().success());
    assert!(broker.data().join(".kafka_cleanshutdown").exists());
    assert_eq!(logged(&broker, "the log is offline"), Vec::<Value>::new());
}

#[test]
fn connections_leave_files_for_the_logs() {
    let _turn = turn();
    crate::costs::allow_files(2_000);
    let broker = start("limits-open-files-crowd");
    let mut connection = connect(&broker);
    let crowd: Vec<_> = (0..2 * LIMIT).filter_map(|_| Connection::open(broker.address).ok()).collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    while logged(&broker, "a connection is refused: the limit of open files is reached").is_empty() {
        assert!(Instant::now() < deadline, "nobody was refused: {}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    create(&mut connection, "t", 50, &[]);
    for partition in 0..50 {
        assert_eq!(append(&mut connection, "t", partition, &batch(partition, 0)), 0);
    }
    for partition in 0..50 {
        let answer = connection.call("Fetch", FETCH, &fetch("t", &[partition], 0)).body();
        let line = &answer["responses"][0]["partitions"][0];
        let bytes = unhex(line["records"].as_str().expect("records"));
        let stored = Stored::read_all(&bytes).expect("a whole batch");
        assert_eq!(stored[0].records().expect("a record")[0].2.value, batch(partition, 0).records[0].value);
    }
    assert!(broker.open_files() < LIMIT);
    assert_eq!(logged(&broker, "cannot be accepted"), Vec::<Value>::new());
    drop(crowd);
    let mut later = connect_to(broker.address);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !answers(&mut later) {
        assert!(Instant::now() < deadline, "there is room again");
        std::thread::sleep(Duration::from_millis(50));
        later = connect_to(broker.address);
    }
}
