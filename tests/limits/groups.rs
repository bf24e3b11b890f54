//! What members cost that wait for the others of their group, and by what address they are known.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{answers, append, batch_of, connect, create};
use crate::harness::process::free_port;
use crate::harness::{Connection, Thalweg, message, scratch};
use crate::turn;

/// By this version a member joins at once; from the next on it is given an id first.
const JOIN: i16 = 3;
const SYNC: i16 = 3;

/// Joins "g", with a subscription of `bytes`.
fn join(member: &str, bytes: usize) -> Value {
    json!({"groupId": "g", "sessionTimeoutMs": 60_000, "rebalanceTimeoutMs": 60_000, "memberId": member,
        "protocolType": "consumer", "protocols": [{"name": "range", "metadata": "00".repeat(bytes)}]})
}

/// Syncs, with an assignment of `bytes` for each of `members`.
fn sync(joined: &Value, members: &[&Value], bytes: usize) -> Value {
    let one = |id: &&Value| json!({"memberId": id, "assignment": "00".repeat(bytes)});
    json!({"groupId": "g", "generationId": joined["generationId"], "memberId": joined["memberId"],
        "assignments": members.iter().map(one).collect::<Vec<_>>()})
}

/// The first member of "g", which is stable: who joins from now on waits until it has joined again.
fn first_member(connection: &mut Connection) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    let joined = loop {
        let _made = connection.call("FindCoordinator", 3, &json!({"key": "g", "keyType": 0}));
        let joined = connection.call("JoinGroup", JOIN, &join("", 1)).body();
        if joined["errorCode"] == 0 {
            break joined;
        }
        assert!(Instant::now() < deadline, "{joined}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let synced = connection.call("SyncGroup", SYNC, &sync(&joined, &[&joined["memberId"]], 1)).body();
    assert_eq!(synced["errorCode"], 0, "{synced}");
    joined
}

/// The group's state and the number of its members.
fn described(connection: &mut Connection) -> (Value, usize) {
    let answer = connection.call("DescribeGroups", 4, &json!({"groups": ["g"]})).body();
    let group = &answer["groups"][0];
    (group["groupState"].clone(), group["members"].as_array().map_or(0, Vec::len))
}

fn await_group(connection: &mut Connection, state: &str, members: usize) {
    let wanted = (json!(state), members);
    let deadline = Instant::now() + Duration::from_secs(20);
    while described(connection) != wanted {
        assert!(Instant::now() < deadline, "{:?} and not {wanted:?}", described(connection));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_waits_in_a_round_keeps_no_memory_from_others() {
    let _turn = turn();
    // A mebibyte for small frames, and less than two for large ones.
    let options = [
        "thalweg.cores=1",
        "queued.max.request.bytes=2097152",
        "socket.request.max.bytes=1048576",
        "group.initial.rebalance.delay.ms=0",
        // What all of them say goes into one record.
        "message.max.bytes=8388608",
    ];
    let broker = Thalweg::start(&scratch("limits-groups"), &options);
    let mut control = connect(&broker);
    create(&mut control, "t", 1, &[]);
    let mut first = connect(&broker);
    let known = first_member(&mut first);
    // More than either sort of frames may take.
    let sizes: Vec<usize> = [vec![60_000; 24], vec![120_000; 20]].concat();
    let mut waiting: Vec<(Connection, i32)> = Vec::new();
    for (n, bytes) in sizes.iter().enumerate() {
        let mut connection = connect(&broker);
        let sent = connection.send(message("JoinGroup"), JOIN, &join("", *bytes)).expect("it is sent");
        waiting.push((connection, sent));
        await_group(&mut control, "PreparingRebalance", n + 2);
    }
    let mut produce = || {
        for bytes in [10_000, 200_000] {
            append(&mut control, "t", 0, &batch_of(bytes));
        }
    };
    produce();
    // The last one that the round waits for.
    let own = known["memberId"].as_str().expect("an id");
    let led = first.call("JoinGroup", JOIN, &join(own, 60_000)).body();
    assert_eq!((&led["errorCode"], &led["leader"]), (&json!(0), &led["memberId"]), "{}", led["errorCode"]);
    let mut joined = Vec::new();
    for (connection, sent) in &mut waiting {
        let answer = connection.answer(message("JoinGroup"), JOIN, *sent).body();
        assert_eq!((&answer["errorCode"], &answer["generationId"]), (&json!(0), &led["generationId"]));
        joined.push(answer);
    }
    // Those who do not lead say what nobody needs, and wait for the leader.
    for ((connection, sent), (answer, bytes)) in waiting.iter_mut().zip(joined.iter().zip(&sizes)) {
        let request = sync(answer, &[&answer["memberId"]], *bytes);
        *sent = connection.send(message("SyncGroup"), SYNC, &request).expect("it is sent");
    }
    produce();
    let members: Vec<&Value> = joined.iter().map(|answer| &answer["memberId"]).collect();
    let synced = first.call("SyncGroup", SYNC, &sync(&led, &members, 10)).body();
    assert_eq!(synced["errorCode"], 0, "{synced}");
    for (connection, sent) in &mut waiting {
        let answer = connection.answer(message("SyncGroup"), SYNC, *sent).body();
        assert_eq!((&answer["errorCode"], &answer["assignment"]), (&json!(0), &json!("00".repeat(10))));
    }
}

#[test]
fn who_left_while_waiting_for_a_round_leaves_its_place_to_others() {
    let _turn = turn();
    let options = ["max.connections=6", "connections.max.idle.ms=4000", "group.initial.rebalance.delay.ms=0"];
    let broker = Thalweg::start(&scratch("limits-groups-gone"), &options);
    let mut control = connect(&broker);
    first_member(&mut control);
    let mut waiting: Vec<Connection> = (0..5).map(|_| connect(&broker)).collect();
    for connection in &mut waiting {
        connection.send(message("JoinGroup"), JOIN, &join("", 10)).expect("it is sent");
    }
    await_group(&mut control, "PreparingRebalance", 6);
    let admits = || Connection::open(broker.address).is_ok_and(|mut connection| answers(&mut connection));
    assert!(!admits());
    drop(waiting);
    // Nobody reads from them until they are answered, as in Kafka; but they are idle.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !admits() {
        assert!(Instant::now() < deadline, "they have their places for as long as the round takes");
        // The one that stays is not.
        assert_eq!(described(&mut control), (json!("PreparingRebalance"), 6), "the members stay");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_member_is_known_by_its_address_as_java_writes_it() {
    let _turn = turn();
    let port = free_port();
    let listeners = format!("listeners=PLAINTEXT://ADDRESS,OUTSIDE://:{port}");
    let options = [
        &listeners,
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT",
        "advertised.listeners=PLAINTEXT://localhost:1,OUTSIDE://localhost:2",
        "group.initial.rebalance.delay.ms=0",
    ];
    let _broker = Thalweg::start(&scratch("limits-groups-hosts"), &options);
    // The listener has both families where the host has them.
    for (address, text) in [("127.0.0.1", "/127.0.0.1"), ("::1", "/0:0:0:0:0:0:0:1")] {
        let address = SocketAddr::new(address.parse().expect("an address"), port);
        let Ok(mut connection) = Connection::open(address) else {
            assert!(address.is_ipv6());
            continue;
        };
        let joined = first_member(&mut connection);
        let answer = connection.call("DescribeGroups", 4, &json!({"groups": ["g"]})).body();
        assert_eq!(answer["groups"][0]["members"][0]["clientHost"], text, "{answer}");
        let leave = json!({"groupId": "g", "members": [{"memberId": joined["memberId"]}]});
        assert_eq!(connection.call("LeaveGroup", 3, &leave).body()["errorCode"], 0);
    }
}
