//! A partition whose log cannot be opened says so, and the others go on.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::client::{FETCH, append, connect, create, fetch, latest, metadata, produce, record_bytes};
use crate::harness::{Batch, Connection, Thalweg, scratch};
use crate::turn;

const KAFKA_STORAGE_ERROR: i16 = 56;
const LEADER_NOT_AVAILABLE: i16 = 5;

/// A broker with the topics `bad`, whose only log cannot be opened, and `good`, both with three records; and
/// the file that keeps `bad` shut, with what has to stand in it.
fn with_a_bad_log(name: &str) -> (Thalweg, PathBuf, String) {
    let mut broker = Thalweg::start(&scratch(name), &[]);
    let mut connection = connect(&broker);
    for topic in ["bad", "good"] {
        create(&mut connection, topic, 1, &[]);
        append(&mut connection, topic, 0, &Batch::small(3));
    }
    assert!(broker.stop().success());
    let file = broker.data().join("bad-0/partition.metadata");
    let right = fs::read_to_string(&file).expect("a partition that was written to has its file");
    fs::write(&file, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAACg\n").expect("the file can be written");
    broker.restart();
    (broker, file, right)
}

/// What each API that reads or writes a partition says of `topic`.
fn codes(connection: &mut Connection, topic: &str) -> Vec<Value> {
    let epoch = json!({"replicaId": -1, "topics": [{"topic": topic,
        "partitions": [{"partition": 0, "currentLeaderEpoch": -1, "leaderEpoch": 0}]}]});
    let delete = json!({"timeoutMs": 1000, "topics": [{"name": topic,
        "partitions": [{"partitionIndex": 0, "offset": 1}]}]});
    let producers = json!({"topics": [{"name": topic, "partitionIndexes": [0]}]});
    let asked = [
        ("Produce", 9, produce(topic, 0, -1, &Batch::small(1)), "/responses/0/partitionResponses/0"),
        // Refused for itself, where anyone looks at it.
        (
            "Produce",
            9,
            produce(topic, 0, 1, &Batch { base_offset: 9, ..Batch::small(1) }),
            "/responses/0/partitionResponses/0",
        ),
        ("Fetch", FETCH, fetch(topic, &[0], 0), "/responses/0/partitions/0"),
        ("ListOffsets", 6, latest(topic, 0), "/topics/0/partitions/0"),
        ("OffsetForLeaderEpoch", 4, epoch, "/topics/0/partitions/0"),
        ("DeleteRecords", 2, delete, "/topics/0/partitions/0"),
        ("DescribeProducers", 0, producers, "/topics/0/partitions/0"),
    ];
    let mut codes = Vec::new();
    for (api, version, tree, place) in asked {
        let answer = connection.call(api, version, &tree).body();
        codes.push(answer.pointer(place).unwrap_or_else(|| panic!("{api}: {answer}"))["errorCode"].clone());
    }
    codes
}

#[test]
fn a_log_that_cannot_be_opened_is_offline_and_the_others_go_on() {
    let _turn = turn();
    let (mut broker, file, right) = with_a_bad_log("limits-offline");
    let mut connection = connect(&broker);
    assert_eq!(codes(&mut connection, "bad"), vec![json!(KAFKA_STORAGE_ERROR); 7]);
    assert_eq!(codes(&mut connection, "good"), [0, 87, 0, 0, 0, 0, 0].map(|code| json!(code)));
    // Kafka's controller takes the leader from a broker whose log directory is gone.
    let told = connection.call("Metadata", 9, &metadata("bad")).body();
    let partition = &told["topics"][0]["partitions"][0];
    let seen = [&partition["errorCode"], &partition["leaderId"], &partition["offlineReplicas"]];
    assert_eq!(json!(seen), json!([LEADER_NOT_AVAILABLE, -1, [1]]), "{told}");
    let asked = json!({"topics": [{"name": "bad"}], "responsePartitionLimit": 10, "cursor": null});
    let told = connection.call("DescribeTopicPartitions", 0, &asked).body();
    let partition = &told["topics"][0]["partitions"][0];
    let seen = [&partition["errorCode"], &partition["leaderId"], &partition["offlineReplicas"]];
    assert_eq!(json!(seen), json!([0, -1, [1]]), "{told}");
    let told = connection.call("DescribeLogDirs", 4, &json!({"topics": null})).body();
    assert_eq!(told["results"][0]["errorCode"], 0, "{told}");
    let topics = told["results"][0]["topics"].as_array().expect("topics");
    assert_eq!(topics.iter().map(|topic| &topic["name"]).collect::<Vec<_>>(), ["good"], "{told}");
    // Nothing of it was touched: once it can be opened, all is there.
    assert!(broker.stop().success());
    fs::write(&file, right).expect("the file can be written");
    broker.restart();
    let mut connection = connect(&broker);
    let answer = connection.call("Fetch", FETCH, &fetch("bad", &[0], 0)).body();
    assert_eq!(record_bytes(&answer), [Batch::small(3).encode().len() as u64], "{answer}");
    assert_eq!(append(&mut connection, "bad", 0, &Batch::small(1)), 3);
}

#[test]
fn a_directory_without_a_usable_log_is_offline_until_the_bad_ones_are_deleted() {
    let _turn = turn();
    let (broker, file, _) = with_a_bad_log("limits-offline-deleted");
    let mut connection = connect(&broker);
    let delete = |connection: &mut Connection, topic: &str| {
        let tree = json!({"topicNames": [topic], "timeoutMs": 10_000});
        let answer = connection.call("DeleteTopics", 5, &tree).body();
        assert_eq!(answer["responses"][0]["errorCode"], 0, "{answer}");
    };
    delete(&mut connection, "good");
    let ask = |connection: &mut Connection| {
        connection.call("DescribeLogDirs", 4, &json!({"topics": null})).body()["results"][0].clone()
    };
    let told = ask(&mut connection);
    assert_eq!(json!([told["errorCode"], told["topics"]]), json!([KAFKA_STORAGE_ERROR, []]), "{told}");
    delete(&mut connection, "bad");
    assert!(!file.exists(), "the directory of a deleted topic has another name");
    assert_eq!(ask(&mut connection)["errorCode"], 0);
    create(&mut connection, "bad", 1, &[]);
    assert_eq!(append(&mut connection, "bad", 0, &Batch::small(1)), 0);
}

#[test]
fn a_partition_whose_disk_is_full_is_offline_until_the_next_start_and_the_others_go_on() {
    let _turn = turn();
    let mut broker = Thalweg::start(&scratch("limits-disk-full"), &[]);
    let mut connection = connect(&broker);
    create(&mut connection, "t", 2, &[]);
    // The device that is always full.
    let segment = broker.data().join("t-0/00000000000000000000.log");
    fs::create_dir(segment.parent().expect("a partition")).expect("nothing is there before the first append");
    std::os::unix::fs::symlink("/dev/full", &segment).expect("a link");
    let send = |connection: &mut Connection| {
        let answer = connection.call("Produce", 9, &produce("t", 0, -1, &Batch::small(3))).body();
        answer["responses"][0]["partitionResponses"][0]["errorCode"].clone()
    };
    assert_eq!(send(&mut connection), KAFKA_STORAGE_ERROR);
    assert_eq!(append(&mut connection, "t", 1, &Batch::small(3)), 0);
    // There is room again: it stays offline all the same.
    fs::remove_file(&segment).expect("a link");
    assert_eq!(send(&mut connection), KAFKA_STORAGE_ERROR);
    let answer = connection.call("Fetch", FETCH, &fetch("t", &[0], 0)).body();
    assert_eq!(answer["responses"][0]["partitions"][0]["errorCode"], KAFKA_STORAGE_ERROR, "{answer}");
    assert_eq!(append(&mut connection, "t", 1, &Batch::small(3)), 3);
    broker.stop();
    broker.restart();
    let mut connection = connect(&broker);
    assert_eq!(append(&mut connection, "t", 0, &Batch::small(1)), 0, "nothing was acknowledged before");
    assert_eq!(append(&mut connection, "t", 1, &Batch::small(1)), 6);
}
