//! Fetches: large answers are spliced, small ones copied, and those that wait cost nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{FETCH, append, batch_of, connect, create, fetch, logged, record_bytes};
use crate::costs::{Usage, allow_files};
use crate::harness::{Connection, Thalweg, message, scratch};
use crate::turn;

/// Fetches that wait at once.
const WAITING: usize = 10_000;
/// What they may cost together: a thousandth of a core.
const WAITING_CPU_MAX: f64 = 0.001;

#[test]
fn large_answers_are_spliced_and_small_ones_copied() {
    let _turn = turn();
    let directory = scratch("limits-spliced");
    let mut broker = Thalweg::start(&directory, &[]);
    let mut connection = connect(&broker);
    create(&mut connection, "bytes", 3, &[]);
    // Partition 0 is large, partition 1 small, partition 2 has many small batches, which are large together.
    for _ in 0..64 {
        append(&mut connection, "bytes", 0, &batch_of(60_000));
        append(&mut connection, "bytes", 2, &batch_of(1_000));
    }
    append(&mut connection, "bytes", 1, &batch_of(500));
    let (mut spliced, mut copied) = (0, 0);
    let mut read = |partitions: &[i32]| {
        let answer = connection.call("Fetch", FETCH, &fetch("bytes", partitions, 0)).body();
        let bytes = record_bytes(&answer);
        for (partition, bytes) in partitions.iter().zip(&bytes) {
            assert!(*bytes > 0, "partition {partition} is there");
            *(if *partition == 1 { &mut copied } else { &mut spliced }) += bytes;
        }
    };
    for _ in 0..5 {
        read(&[0]);
        read(&[1]);
        read(&[2]);
        read(&[1, 0, 2]);
    }
    assert!(spliced > 10 * 64 * 61_000, "{spliced}");
    assert!(broker.stop().success());
    let stopped = logged(&broker, "stopped").pop().expect("a last line");
    assert_eq!(stopped["fetch_bytes_spliced"], json!(spliced), "{stopped}");
    assert_eq!(stopped["fetch_bytes_copied"], json!(copied), "{stopped}");
}

/// The cost is CPU time of a broker with them, less that of one without them in the same window, in the best of three
/// windows, or of six more: what the machine does just then, both pay. A look at each of them every second would
/// cost ten times what is allowed.
#[test]
fn fetches_that_wait_cost_nothing_and_are_woken() {
    let _turn = turn();
    allow_files(WAITING as u64 + 500);
    let directory = scratch("limits-waiting");
    let broker = Thalweg::start(&directory, &["max.connections=20000"]);
    let idle = Thalweg::start(&scratch("limits-idle"), &[]);
    let mut other = connect(&broker);
    create(&mut other, "waited", 4, &[]);
    let window = Duration::from_secs(4);
    let api = message("Fetch");
    let mut waiting: Vec<(Connection, i32)> = (0..WAITING)
        .map(|i| {
            let mut connection = connect(&broker);
            let request = fetch("waited", &[i as i32 % 4], 120_000);
            let correlation = connection.send(api, FETCH, &request).expect("it is sent");
            (connection, correlation)
        })
        .collect();
    std::thread::sleep(Duration::from_secs(2));
    let (mut with, mut without) = Usage::side_by_side(3, [broker.id(), idle.id()], window);
    if with.share() - without.share() >= WAITING_CPU_MAX {
        (with, without) = Usage::side_by_side(6, [broker.id(), idle.id()], window);
    }
    let cost = (with.share() - without.share()).max(0.0);
    println!(
        "{WAITING} waiting fetches: {:.4}% of a core (at rest {:.4}%), {:.0} bytes each",
        cost * 100.0,
        without.share() * 100.0,
        (with.resident_bytes as f64 - without.resident_bytes as f64) / WAITING as f64
    );
    let began = Instant::now();
    for partition in 0..4 {
        append(&mut other, "waited", partition, &batch_of(100));
    }
    for (connection, correlation) in &mut waiting {
        let answer = connection.answer(api, FETCH, *correlation).body();
        assert!(record_bytes(&answer)[0] > 100, "{answer}");
    }
    println!("all were woken and answered within {:?}", began.elapsed());
    assert!(cost < WAITING_CPU_MAX, "waiting costs {:.4}% of a core", cost * 100.0);
}
