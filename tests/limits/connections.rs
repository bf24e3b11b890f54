//! How many connections there may be, and how long a silent one may stay.

use std::io::Read;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{FETCH, answers, connect, create, fetch, logged, record_bytes};
use crate::harness::{Connection, Thalweg, scratch};
use crate::turn;

/// Whether a new connection is served; one that is closed at once may also fail to open.
fn admitted(broker: &Thalweg) -> Option<Connection> {
    let mut connection = Connection::open(broker.address).ok()?;
    answers(&mut connection).then_some(connection)
}

fn keeps_to(key: &str) {
    let _turn = turn();
    let directory = scratch("limits-connections");
    let option = format!("{key}=5");
    let broker = Thalweg::start(&directory, &[&option]);
    let mut open: Vec<Connection> = (0..5).map(|_| admitted(&broker).expect("there is room")).collect();
    for _ in 0..30 {
        assert!(admitted(&broker).is_none(), "a sixth connection is served");
    }
    // Those that are in stay in, and one that leaves makes room.
    assert!(open.iter_mut().all(answers));
    open.pop();
    let deadline = Instant::now() + Duration::from_secs(20);
    while admitted(&broker).is_none() {
        assert!(Instant::now() < deadline, "the place of a closed connection stays taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Said, at a bounded rate.
    let lines = logged(&broker, "a connection is refused");
    assert!((1..=20).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line["message"].as_str().is_some_and(|text| text.contains(key))));
}

#[test]
fn there_are_no_more_connections_than_the_maximum() {
    keeps_to("max.connections");
}

#[test]
fn there_are_no_more_connections_of_one_address_than_the_maximum() {
    keeps_to("max.connections.per.ip");
}

#[test]
fn an_override_counts_for_its_address() {
    let _turn = turn();
    let directory = scratch("limits-overrides");
    let options = ["max.connections.per.ip=1", "max.connections.per.ip.overrides=127.0.0.1:3"];
    let broker = Thalweg::start(&directory, &options);
    let _open: Vec<Connection> = (0..3).map(|_| admitted(&broker).expect("there is room")).collect();
    assert!(admitted(&broker).is_none());
}

/// Sets (or with "" unsets) a broker key while the broker runs.
fn change(connection: &mut Connection, key: &str, value: &str) {
    const BROKER: i8 = 4;
    let operation = if value.is_empty() { 1 } else { 0 };
    let config = json!({"name": key, "configOperation": operation, "value": value});
    let tree = json!({"validateOnly": false, "resources": [
        {"resourceType": BROKER, "resourceName": "", "configs": [config]}]});
    let answer = connection.call("IncrementalAlterConfigs", 1, &tree).body();
    assert_eq!(answer["responses"][0]["errorCode"], 0, "{answer}");
}

#[test]
fn a_limit_that_is_changed_counts_for_the_next_connection() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-changed"), &[]);
    // Opened while there was no limit, and counted all the same.
    let mut open: Vec<Connection> = (0..4).map(|_| admitted(&broker).expect("there is room")).collect();
    // Every core accepts, so one look could meet the core that knows.
    let is_full = || (0..10).all(|_| admitted(&broker).is_none());
    for key in ["max.connections", "max.connections.per.ip"] {
        change(&mut open[0], key, "4");
        assert!(is_full(), "{key} is 4, and a fifth connection is served");
        change(&mut open[0], key, "5");
        let fifth = admitted(&broker);
        assert!(fifth.is_some(), "{key} is 5, and a fifth connection is refused");
        assert!(is_full(), "{key} is 5, and a sixth connection is served");
        // Lower than what there is: that stays.
        change(&mut open[0], key, "2");
        assert!(open.iter_mut().all(answers));
        drop(fifth);
        change(&mut open[0], key, "");
        assert!(admitted(&broker).is_some());
    }
    change(&mut open[0], "max.connections.per.ip", "1");
    assert!(is_full());
    change(&mut open[0], "max.connections.per.ip.overrides", "127.0.0.1:100,localhost:100");
    assert!((0..10).all(|_| admitted(&broker).is_some()));
    change(&mut open[0], "max.connections.per.ip.overrides", "127.0.0.1:1");
    assert!(is_full());
}

#[test]
fn an_idle_connection_is_closed_and_one_that_talks_is_not() {
    let _turn = turn();
    let directory = scratch("limits-idle-connections");
    let broker = Thalweg::start(&directory, &["connections.max.idle.ms=4000"]);
    create(&mut connect(&broker), "t", 1, &[]);
    let mut silent = connect(&broker);
    let mut quiet = connect(&broker);
    assert!(answers(&mut quiet));
    // One says something now and then, one asks for what is not there yet.
    let mut talking = connect(&broker);
    let mut waiting = connect(&broker);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        assert!(answers(&mut talking));
        let answer = waiting.call("Fetch", FETCH, &fetch("t", &[0], 500)).body();
        assert_eq!(record_bytes(&answer), [0], "{answer}");
    }
    for idle in [&mut silent, &mut quiet] {
        idle.stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
        let closed = idle.stream.read(&mut [0]);
        assert!(matches!(closed, Ok(0)), "an idle connection is open after 12 s: {closed:?}");
    }
}

#[test]
fn a_connection_that_is_not_idle_for_long_enough_stays() {
    let _turn = turn();
    let directory = scratch("limits-not-idle");
    let broker = Thalweg::start(&directory, &["connections.max.idle.ms=60000"]);
    let mut quiet = connect(&broker);
    assert!(answers(&mut quiet));
    std::thread::sleep(Duration::from_millis(3_500));
    assert!(answers(&mut quiet));
}
