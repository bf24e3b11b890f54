//! Offsets that go by age. This takes more than a minute of waiting, in which others have their turns: the module's name
//! makes it the first to begin.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{connect, create};
use crate::harness::{Thalweg, scratch};
use crate::offsets::{await_group, await_none, commit_t, committed, join_for_t, leave, nobody};
use crate::turn;

#[test]
fn offsets_of_a_group_without_members_are_kept_for_the_brokers_retention() {
    const RETENTION: Duration = Duration::from_secs(60);
    let turn = turn();
    let options = [
        "offsets.retention.minutes=1",
        "offsets.retention.check.interval.ms=200",
        "group.initial.rebalance.delay.ms=0",
        "group.max.session.timeout.ms=300000",
    ];
    let broker = Thalweg::start(&scratch("limits-offsets-retention"), &options);
    let mut connection = connect(&broker);
    create(&mut connection, "t", 1, &[]);
    let groups = ["simple", "left", "live"];
    groups.iter().for_each(|group| await_group(&mut connection, group));
    let [live, left] = ["live", "left"].map(|group| join_for_t(&mut connection, group));
    let began = Instant::now();
    for (group, member) in groups.into_iter().zip([&nobody(), &left, &live]) {
        commit_t(&mut connection, group, member, -1);
    }
    // Others have their turns while nothing happens here.
    drop(turn);
    // It leaves so much later.
    let later = Duration::from_secs(12);
    thread::sleep(later);
    leave(&mut connection, "left", &left);
    assert!(
        groups.iter().all(|group| committed(&mut connection, group) != json!([])),
        "their time is not up"
    );
    thread::sleep((began + RETENTION).saturating_duration_since(Instant::now()));
    await_none(&mut connection, "simple");
    let left_has = committed(&mut connection, "left");
    if began.elapsed() < RETENTION + later {
        assert_ne!(left_has, json!([]), "its time began when it left");
    }
    thread::sleep((began + RETENTION + later).saturating_duration_since(Instant::now()));
    await_none(&mut connection, "left");
    assert_ne!(committed(&mut connection, "live"), json!([]), "its member follows the topic");
}
