//! One connection's effects are in the order of its requests, though their answers are not waited for.

use serde_json::{Value, json};

use crate::client::{FETCH, base_offset, connect, create, fetch, latest, metadata, produce, topic};
use crate::harness::{Batch, Connection, Thalweg, message, scratch};
use crate::turn;

const ROUNDS: usize = 30;

/// Sends all requests, then reads all answers.
fn pipelined(connection: &mut Connection, requests: &[(&str, i16, Value)]) -> Vec<Value> {
    let sent: Vec<i32> = requests
        .iter()
        .map(|(api, version, tree)| connection.send(message(api), *version, tree).expect("it is sent"))
        .collect();
    let answers = requests.iter().zip(sent);
    answers.map(|((api, version, _), id)| connection.answer(message(api), *version, id).body()).collect()
}

#[test]
fn what_was_produced_is_seen_by_the_next_request() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-order"), &[]);
    let mut connection = connect(&broker);
    // Partitions lie on all cores; each number of acknowledgements.
    create(&mut connection, "seen", 8, &[]);
    let batch = Batch::small(3);
    for partition in 0..8 {
        let acks = [-1, 1][partition as usize % 2];
        let mut requests = Vec::new();
        for _ in 0..ROUNDS {
            requests.push(("Produce", 9, produce("seen", partition, acks, &batch)));
            requests.push(("ListOffsets", 6, latest("seen", partition)));
        }
        let answers = pipelined(&mut connection, &requests);
        for (round, pair) in answers.chunks(2).enumerate() {
            let base = 3 * round as i64;
            assert_eq!(base_offset(&pair[0]), base, "{}", pair[0]);
            assert_eq!(pair[1]["topics"][0]["partitions"][0]["offset"], json!(base + 3), "{}", pair[1]);
        }
    }
}

#[test]
fn what_is_not_acknowledged_is_in_order_too() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-order-0"), &[]);
    let mut connection = connect(&broker);
    create(&mut connection, "seen", 4, &[]);
    for partition in 0..4 {
        for round in 1..=ROUNDS {
            let request = produce("seen", partition, 0, &Batch::small(2));
            connection.send(message("Produce"), 9, &request).expect("it is sent");
            let answer = connection.call("ListOffsets", 6, &latest("seen", partition)).body();
            assert_eq!(answer["topics"][0]["partitions"][0]["offset"], json!(2 * round), "{answer}");
        }
    }
}

#[test]
fn a_fetch_sees_what_was_produced_before_it() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-order-fetch"), &[]);
    let mut connection = connect(&broker);
    create(&mut connection, "seen", 4, &[]);
    for partition in 0..4 {
        let batch = Batch::small(2);
        let mut requests = Vec::new();
        for _ in 0..20 {
            requests.push(("Produce", 9, produce("seen", partition, -1, &batch)));
            requests.push(("Fetch", FETCH, fetch("seen", &[partition], 0)));
        }
        let answers = pipelined(&mut connection, &requests);
        for (round, pair) in answers.chunks(2).enumerate() {
            let least = (round + 1) * batch.encode().len();
            let seen = crate::client::record_bytes(&pair[1])[0] as usize;
            assert!(seen >= least, "round {round} sees {seen} bytes of {least}");
        }
    }
}

#[test]
fn a_fetch_that_does_not_wait_sees_what_was_produced_without_acknowledgement() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-order-fetch-0"), &[]);
    let mut connection = connect(&broker);
    // One flushes each batch before it counts as there.
    create(&mut connection, "seen", 4, &[]);
    create(&mut connection, "flushed", 2, &[("flush.messages", "1")]);
    let batch = Batch::small(2);
    for (topic, partition) in
        [("seen", 0), ("seen", 1), ("seen", 2), ("seen", 3), ("flushed", 0), ("flushed", 1)]
    {
        for round in 1..=20 {
            let request = produce(topic, partition, 0, &batch);
            connection.send(message("Produce"), 9, &request).expect("it is sent");
            let answer = connection.call("Fetch", FETCH, &fetch(topic, &[partition], 0)).body();
            let seen = crate::client::record_bytes(&answer)[0] as usize;
            assert_eq!(seen, round * batch.encode().len(), "{topic} {partition}, round {round}");
        }
    }
}

#[test]
fn topics_are_there_and_gone_for_the_next_request() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-order-topics"), &[]);
    let mut connection = connect(&broker);
    let name = |round: usize| format!("topic-{round}");
    let mut requests = Vec::new();
    for round in 0..5 {
        let name = name(round);
        requests.push(("CreateTopics", 5, topic(&name, 4, &[])));
        requests.push(("Metadata", 9, metadata(&name)));
        requests.push(("Produce", 9, produce(&name, 3, -1, &Batch::small(1))));
        requests.push(("DeleteTopics", 5, json!({"topicNames": [name], "timeoutMs": 10_000})));
        requests.push(("Metadata", 9, metadata(&name)));
    }
    let answers = pipelined(&mut connection, &requests);
    for (round, answers) in answers.chunks(5).enumerate() {
        let codes = [
            &answers[0]["topics"][0]["errorCode"],
            &answers[1]["topics"][0]["errorCode"],
            &answers[2]["responses"][0]["partitionResponses"][0]["errorCode"],
            &answers[3]["responses"][0]["errorCode"],
            &answers[4]["topics"][0]["errorCode"],
        ];
        // 3: UNKNOWN_TOPIC_OR_PARTITION.
        assert_eq!(json!(codes), json!([0, 0, 0, 0, 3]), "{}", name(round));
    }
}
