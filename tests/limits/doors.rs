//! Listeners that come and go while the broker runs: `listeners` and `listener.security.protocol.map` as
//! dynamic keys. Codes and sentences are those that Apache Kafka 4.1.1 gave to the same changes.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{
    FETCH, answers, append, batch_of, connect, connect_to, create, fetch, logged, record_bytes,
};
use crate::harness::connection::is_close;
use crate::harness::process::free_port;
use crate::harness::{Connection, Thalweg, message, scratch};
use crate::listeners::advertised;
use crate::turn;

const LISTENERS: &str = "listeners";
const MAP: &str = "listener.security.protocol.map";
const ADVERTISED: &str = "advertised.listeners=PLAINTEXT://ADDRESS";

/// What a listener or a connection that goes may take for it on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Sets (`None` unsets) keys of this broker; the code and what it says.
fn alter(connection: &mut Connection, changes: &[(&str, Option<&str>)]) -> (i64, String) {
    let configs: Vec<Value> = changes
        .iter()
        .map(|(name, value)| json!({"name": name, "configOperation": i8::from(value.is_none()), "value": value}))
        .collect();
    let tree = json!({"validateOnly": false, "resources": [
        {"resourceType": 4, "resourceName": "1", "configs": configs}]});
    let answer = connection.call("IncrementalAlterConfigs", 1, &tree).body();
    let result = &answer["responses"][0];
    let text = result["errorMessage"].as_str().unwrap_or_default().to_owned();
    (result["errorCode"].as_i64().expect("a code"), text)
}

/// Has the broker listen at `PLAINTEXT` where it is and at others besides.
fn listen(connection: &mut Connection, broker: &Thalweg, others: &[(&str, SocketAddr)]) {
    let mut listeners = format!("PLAINTEXT://{}", broker.address);
    let mut map = "PLAINTEXT:PLAINTEXT".to_owned();
    for (name, address) in others {
        listeners += &format!(",{name}://{address}");
        map += &format!(",{name}:PLAINTEXT");
    }
    let changed = alter(connection, &[(LISTENERS, Some(&listeners)), (MAP, Some(&map))]);
    assert_eq!(changed, (0, String::new()), "{listeners}");
}

fn is_open(address: SocketAddr) -> bool {
    Connection::open(address).is_ok_and(|mut connection| answers(&mut connection))
}

/// The kernel may end a listening socket a moment after it was closed.
fn is_refused_soon(address: SocketAddr) -> bool {
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(address).is_ok() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    true
}

/// Whether the broker ends a connection on which nothing is due.
fn is_closed_soon(connection: &mut Connection) -> bool {
    connection.stream.set_read_timeout(Some(SOON)).expect("a timeout");
    match connection.stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => is_close(&error),
    }
}

#[test]
fn a_listener_that_is_added_serves_and_starts_again() {
    let _turn = turn();
    let directory = scratch("limits-doors-added");
    let mut broker = Thalweg::start(&directory, &[]);
    let extra = local(free_port());
    let mut inside = connect(&broker);
    assert!(!is_open(extra));
    listen(&mut inside, &broker, &[("EXTRA", extra)]);
    // Every core accepts.
    assert!((0..20).all(|_| is_open(extra)));
    let address = |address: SocketAddr| (address.ip().to_string(), i64::from(address.port()));
    let mut outside = connect_to(extra);
    create(&mut outside, "t", 4, &[]);
    assert_eq!(append(&mut outside, "t", 0, &batch_of(1_000)), 0);
    for restart in 0..3 {
        assert!(advertised(extra).iter().all(|place| *place == address(extra)));
        assert!(advertised(broker.address).iter().all(|place| *place == address(broker.address)));
        let answer = connect_to(extra).call("Fetch", FETCH, &fetch("t", &[0], 0)).body();
        assert!(record_bytes(&answer)[0] > 1_000, "{answer}");
        if restart == 1 {
            broker.kill();
        } else {
            assert!(broker.stop().success());
        }
        assert!(is_refused_soon(extra));
        broker.restart();
    }
    // Nothing says what is advertised, so it is each listener itself, and what is advertised stays.
    let mut inside = connect(&broker);
    let stays = "Invalid value org.apache.kafka.common.config.ConfigException: Advertised listeners \
                 'Set(ListenerName(PLAINTEXT), ListenerName(EXTRA))' must be a subset of listeners \
                 'Set(ListenerName(PLAINTEXT))' for configuration Invalid dynamic configuration";
    assert_eq!(alter(&mut inside, &[(LISTENERS, None), (MAP, None)]), (42, stays.to_owned()));
    assert!(is_open(extra));
}

#[test]
fn a_listener_that_is_removed_ends_its_connections_and_no_others() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-doors-removed"), &[ADVERTISED]);
    let extra = local(free_port());
    let mut inside = connect(&broker);
    create(&mut inside, "t", 1, &[]);
    listen(&mut inside, &broker, &[("EXTRA", extra)]);
    let mut outside: Vec<Connection> = (0..12).map(|_| connect_to(extra)).collect();
    assert!(outside.iter_mut().all(answers));
    // It is not advertised, so by it nobody is told of a broker.
    let told = outside[0].call("Metadata", 9, &json!({"topics": []})).body();
    assert_eq!(told["brokers"], json!([]), "{told}");
    assert_eq!(append(&mut outside[0], "t", 0, &batch_of(1_000)), 0);
    let answer = outside[1].call("Fetch", FETCH, &fetch("t", &[0], 0)).body();
    assert!(record_bytes(&answer)[0] > 1_000, "{answer}");
    // One waits for records while the listener goes.
    let mut waiting = fetch("t", &[0], 60_000);
    waiting["topics"][0]["partitions"][0]["fetchOffset"] = json!(1);
    outside[2].send(message("Fetch"), FETCH, &waiting).expect("it is sent");
    sleep(Duration::from_millis(100));

    listen(&mut inside, &broker, &[]);
    assert!(is_refused_soon(extra), "a removed listener accepts");
    for (index, connection) in outside.iter_mut().enumerate() {
        assert!(is_closed_soon(connection), "connection {index} of a removed listener is open");
    }
    assert!(answers(&mut inside));

    // Opened again at once, and closed by a connection of its own, which is still told so.
    listen(&mut inside, &broker, &[("EXTRA", extra)]);
    let mut own = connect_to(extra);
    listen(&mut own, &broker, &[]);
    assert!(is_closed_soon(&mut own) && is_refused_soon(extra) && answers(&mut inside));
    // Closed and another opened at the same address in one change.
    listen(&mut inside, &broker, &[("EXTRA", extra)]);
    let mut old = connect_to(extra);
    listen(&mut inside, &broker, &[("OTHER", extra)]);
    let mut new = connect_to(extra);
    assert!(is_closed_soon(&mut old) && answers(&mut new) && answers(&mut inside));
    // Without the dynamic keys the listeners are the file's.
    assert_eq!(alter(&mut inside, &[(LISTENERS, None), (MAP, None)]).0, 0);
    assert!(is_closed_soon(&mut new) && is_refused_soon(extra) && answers(&mut inside));
}

#[test]
fn a_change_that_kafka_refuses_is_refused_and_changes_nothing() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-doors-refused"), &[ADVERTISED]);
    let extra = local(free_port());
    let mut inside = connect(&broker);
    listen(&mut inside, &broker, &[("EXTRA", extra)]);
    let own = format!("PLAINTEXT://{}", broker.address);
    let both = format!("{own},EXTRA://{extra}");
    let mapped = "PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT,THIRD:PLAINTEXT";
    for (listeners, map, why) in [
        (format!("{both},FOURTH://127.0.0.1:1"), mapped, "No security protocol defined for listener FOURTH"),
        (both.clone(), "PLAINTEXT:PLAINTEXT", "No security protocol defined for listener EXTRA"),
        (both.clone(), "EXTRA:PLAINTEXT", "No security protocol defined for listener PLAINTEXT"),
        (
            both.clone(),
            "PLAINTEXT:PLAINTEXT,EXTRA:SASL_PLAINTEXT",
            "EXTRA is SASL_PLAINTEXT, and only PLAINTEXT",
        ),
        (both.clone(), "PLAINTEXT:NONE", "Invalid security protocol `NONE` defined in"),
        // The inter-broker listener, which is advertised.
        (
            format!("EXTRA://{extra}"),
            mapped,
            "advertised.listeners listener names must be equal to or a subset",
        ),
        (String::new(), mapped, "advertised.listeners listener names must be equal to or a subset"),
        ("nonsense".to_owned(), mapped, "Unable to parse nonsense to a broker endpoint"),
        (format!("{own},EXTRA://{}", broker.address), mapped, "have a different port"),
        (format!("{both},EXTRA://127.0.0.1:1"), mapped, "Each listener must have a different name"),
    ] {
        let (code, text) = alter(&mut inside, &[(LISTENERS, Some(&listeners)), (MAP, Some(map))]);
        assert!(code == 42 && text.contains(why), "{listeners} {map}: {code} {text}");
    }
    let (code, text) = alter(&mut inside, &[("advertised.listeners", Some(&own))]);
    assert_eq!((code, &*text), (42, "Cannot update these configs dynamically: Set(advertised.listeners)"));
    assert!(is_open(extra) && is_open(broker.address));
}

#[test]
fn another_address_of_a_listener_counts_from_the_next_start_on() {
    let _turn = turn();
    let directory = scratch("limits-doors-moved");
    let mut broker = Thalweg::start(&directory, &[]);
    let [old, new, plaintext] = [free_port(), free_port(), free_port()].map(local);
    let mut inside = connect(&broker);
    listen(&mut inside, &broker, &[("EXTRA", old)]);
    let moved = format!("PLAINTEXT://{plaintext},EXTRA://{new}");
    assert_eq!(alter(&mut inside, &[(LISTENERS, Some(&moved))]), (0, String::new()));
    assert!(is_open(old) && is_open(broker.address));
    assert!(TcpStream::connect(new).is_err() && TcpStream::connect(plaintext).is_err());
    assert!(advertised(old).iter().all(|place| place.1 == i64::from(old.port())));
    let before = broker.address;
    assert!(broker.stop().success());
    broker.restart();
    assert_eq!(broker.address, plaintext, "the port file has the dynamic listener");
    assert!(is_open(new) && is_open(plaintext));
    assert!(is_refused_soon(old) && is_refused_soon(before));
    assert!(advertised(new).iter().all(|place| place.1 == i64::from(new.port())));
}

#[test]
fn a_port_that_is_in_use_is_told_and_tried_again() {
    const NOT_OPEN: &str = "is not open";
    let _turn = turn();
    let directory = scratch("limits-doors-busy");
    let mut broker = Thalweg::start(&directory, &[]);
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = stranger.local_addr().expect("an address");
    let free = local(free_port());
    let mut inside = connect(&broker);
    // Kafka takes the change and logs an error.
    listen(&mut inside, &broker, &[("BUSY", busy), ("EXTRA", free)]);
    assert!(is_open(free) && answers(&mut inside));
    let error = |line: &Value| line["error"].as_str().is_some_and(|text| text.contains("is in use"));
    let told = logged(&broker, NOT_OPEN);
    assert!(told.len() == 1 && told.iter().all(error), "{told:?}");
    // It does not keep the broker from starting.
    assert!(broker.stop().success());
    broker.restart();
    assert!(is_open(free) && is_open(broker.address));
    assert_eq!(logged(&broker, NOT_OPEN).len(), 2);
    drop(stranger);
    let third = local(free_port());
    listen(&mut connect(&broker), &broker, &[("BUSY", busy), ("EXTRA", free), ("THIRD", third)]);
    assert!(is_open(busy) && is_open(free) && is_open(third));
}

/// Three connections that are served, as soon as there is room for all of them.
fn three(address: SocketAddr) -> Vec<Connection> {
    let deadline = Instant::now() + SOON;
    loop {
        let mut open: Vec<Connection> = (0..3).map(|_| connect_to(address)).collect();
        if open.iter_mut().all(answers) {
            return open;
        }
        assert!(Instant::now() < deadline, "places of connections that ended stay taken");
        drop(open);
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn connections_of_all_listeners_count_together() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-doors-count"), &[ADVERTISED, "max.connections=4"]);
    let extra = local(free_port());
    let mut inside = connect(&broker);
    for _ in 0..3 {
        listen(&mut inside, &broker, &[("EXTRA", extra)]);
        let mut outside = three(extra);
        assert!(!is_open(extra) && !is_open(broker.address), "a fifth connection is served");
        listen(&mut inside, &broker, &[]);
        assert!(outside.iter_mut().all(is_closed_soon));
        let _places_are_free = three(broker.address);
        assert!(!is_open(broker.address), "a fifth connection is served");
    }
}
