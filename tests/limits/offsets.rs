//! What was committed is there after the process was killed, however much the log of commits had grown.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{connect, create};
use crate::harness::{Connection, Thalweg, scratch};
use crate::turn;

/// Waits until a group has a coordinator: the offsets topic is made by who asks first, and loads after a start.
fn await_group(connection: &mut Connection, group: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = connection.call("FindCoordinator", 3, &json!({"key": group, "keyType": 0})).body();
        let loaded = connection.call("OffsetFetch", 5, &json!({"groupId": group, "topics": []})).body();
        if found["errorCode"] == 0 && loaded["errorCode"] == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "no coordinator for {group}: {found} {loaded}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn commit(connection: &mut Connection, group: &str, topic: &str, offsets: impl Iterator<Item = (i32, i64)>) {
    let line = |(id, offset): (i32, i64)| {
        json!({"partitionIndex": id, "committedOffset": offset, "committedLeaderEpoch": 4,
            "committedMetadata": format!("{group} was here")})
    };
    let topics = json!([{"name": topic, "partitions": offsets.map(line).collect::<Vec<_>>()}]);
    let tree = json!({"groupId": group, "generationIdOrMemberEpoch": -1, "memberId": "", "topics": topics});
    let answer = connection.call("OffsetCommit", 8, &tree).body();
    let lines = answer["topics"][0]["partitions"].as_array().expect("partitions");
    assert!(lines.iter().all(|line| line["errorCode"] == 0), "{answer}");
}

fn committed(connection: &mut Connection, group: &str) -> Value {
    let answer = connection.call("OffsetFetch", 7, &json!({"groupId": group, "topics": null})).body();
    assert_eq!(answer["errorCode"], 0, "{answer}");
    answer["topics"].clone()
}

#[test]
fn committed_offsets_outlive_a_kill() {
    let _turn = turn();
    let mut broker = Thalweg::start(&scratch("limits-offsets"), &[]);
    let mut connection = connect(&broker);
    for topic in ["orders", "bills"] {
        create(&mut connection, topic, 3, &[]);
    }
    let groups: Vec<String> = (0..20).map(|n| format!("group-{n}")).collect();
    for group in &groups {
        await_group(&mut connection, group);
        commit(&mut connection, group, "orders", (0..3).map(|id| (id, 100)));
        commit(&mut connection, group, "bills", [(1, 7)].into_iter());
        commit(&mut connection, group, "orders", [(2, 200), (0, 50)].into_iter());
    }
    let gone =
        json!({"groupId": groups[0], "topics": [{"name": "orders", "partitions": [{"partitionIndex": 1}]}]});
    let answer = connection.call("OffsetDelete", 0, &gone).body();
    assert_eq!(answer["topics"][0]["partitions"][0]["errorCode"], 0, "{answer}");
    let before: Vec<Value> = groups.iter().map(|group| committed(&mut connection, group)).collect();
    assert_eq!(before[0][1]["partitions"].as_array().map(Vec::len), Some(2), "{}", before[0]);
    assert_eq!(before[1][1]["partitions"][2]["committedOffset"], 200, "{}", before[1]);
    broker.kill();
    broker.restart();
    let mut connection = connect(&broker);
    for (group, before) in groups.iter().zip(before) {
        await_group(&mut connection, group);
        assert_eq!(committed(&mut connection, group), before, "{group}");
    }
}

#[test]
fn a_log_of_commits_that_was_written_again_says_the_same() {
    let _turn = turn();
    let mut broker = Thalweg::start(&scratch("limits-offsets-rewritten"), &[]);
    let mut connection = connect(&broker);
    create(&mut connection, "wide", 1_000, &[]);
    await_group(&mut connection, "g");
    // A megabyte in eight or nine commits; it is written again at eight.
    let mut round = 0;
    while !broker.log().contains("are written again") {
        assert!(round < 1_000, "a log of {round} thousand commits is not written again");
        if round > 100 {
            // It has grown enough; that is looked at now and then.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        commit(&mut connection, "g", "wide", (0..1_000).map(|id| (id, i64::from(id) + 1_000 * round)));
        round += 1;
    }
    commit(&mut connection, "g", "wide", [(3, 5)].into_iter());
    let before = committed(&mut connection, "g");
    assert_eq!(before[0]["partitions"][3]["committedOffset"], 5);
    assert_eq!(before[0]["partitions"].as_array().map(Vec::len), Some(1_000));
    broker.kill();
    broker.restart();
    let mut connection = connect(&broker);
    await_group(&mut connection, "g");
    assert_eq!(committed(&mut connection, "g"), before);
}
