//! Listeners: what each of them advertises, and a stock server.properties of Apache Kafka.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{BINARY, answers, connect_to};
use crate::harness::process::free_port;
use crate::harness::{Thalweg, scratch};
use crate::turn;

/// The broker's own address, as three requests give it.
pub fn advertised(address: SocketAddr) -> Vec<(String, i64)> {
    let mut connection = connect_to(address);
    let place = |broker: &Value| {
        (broker["host"].as_str().expect("a host").to_owned(), broker["port"].as_i64().expect("a port"))
    };
    let mut places = Vec::new();
    for version in [0, 9, 13] {
        let answer = connection.call("Metadata", version, &json!({"topics": []})).body();
        places.push(place(&answer["brokers"][0]));
    }
    let answer = connection.call("DescribeCluster", 1, &json!({"endpointType": 1})).body();
    places.push(place(&answer["brokers"][0]));
    places
}

#[test]
fn each_listener_answers_with_its_own_advertised_address() {
    let _turn = turn();
    let directory = scratch("limits-listeners");
    let second = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listeners = format!("listeners=PLAINTEXT://ADDRESS,OUTSIDE://{second}");
    let options = [
        &listeners,
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT",
        "advertised.listeners=PLAINTEXT://inside.example:1111,OUTSIDE://Outside.Example:2222",
    ];
    let broker = Thalweg::start(&directory, &options);
    for (address, host, port) in [(broker.address, "inside.example", 1111), (second, "Outside.Example", 2222)]
    {
        for place in advertised(address) {
            assert_eq!(place, (host.to_owned(), port), "through {address}");
        }
    }
}

#[test]
fn what_is_not_advertised_is_the_listener_itself() {
    let _turn = turn();
    let broker = Thalweg::start(&scratch("limits-advertised"), &[]);
    for place in advertised(broker.address) {
        assert_eq!(place, ("127.0.0.1".to_owned(), i64::from(broker.address.port())));
    }
}

struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_stock_file_of_apache_kafka_starts_the_broker() {
    let _turn = turn();
    let directory = scratch("limits-stock");
    let stock = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/fixtures/stock.properties");
    let [port, controller] = [free_port(), free_port()];
    let log = directory.join("broker.log");
    let child = std::process::Command::new(BINARY)
        .arg("start")
        .arg(&stock)
        .args(["-o", &format!("listeners=PLAINTEXT://:{port},CONTROLLER://:{controller}")])
        .args([
            "-o",
            &format!("advertised.listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller}"),
        ])
        .args(["-o", &format!("controller.quorum.bootstrap.servers=localhost:{controller}")])
        .args(["-o", &format!("log.dirs={}", directory.join("data").display())])
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a log file"))
        .spawn()
        .expect("the binary runs");
    let mut broker = Started(child);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + Duration::from_secs(20);
    let text = || std::fs::read_to_string(&log).expect("a log");
    while TcpStream::connect(address).is_err() {
        let ended = broker.0.try_wait().expect("a child can be asked");
        assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", text());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(answers(&mut connect_to(address)));
    for place in advertised(address) {
        assert_eq!(place, ("localhost".to_owned(), i64::from(port)));
    }
    let lines = text();
    let about: Vec<_> = lines.lines().filter(|line| line.to_lowercase().contains("controller")).collect();
    assert_eq!(about.len(), 1, "{lines}");
    assert!(about[0].contains("CONTROLLER") && about[0].contains(r#""level":"INFO""#), "{}", about[0]);
    assert!(!lines.contains(r#""level":"WARN""#) && !lines.contains(r#""level":"ERROR""#), "{lines}");
    assert!(TcpStream::connect(("127.0.0.1", controller)).is_err(), "the controller's port is bound");
}
