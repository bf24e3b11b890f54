//! Groups at the sizes that they are made for, with the load of `benches/groups`: one of thousands of members, many
//! of one, and a million commits to replay. What is held against a bound is CPU time and counts, not the
//! clock, so that a busy machine changes little; the figures themselves are in BENCHMARKS.md.
//!
//! limit: 300

#[allow(dead_code, reason = "a bench uses the rest")]
#[path = "../benches/bare.rs"]
mod bare;
#[allow(dead_code, reason = "a bench uses the rest")]
#[path = "../benches/brokers.rs"]
mod brokers;
#[path = "../benches/groups/classic.rs"]
mod classic;
#[path = "../benches/cores.rs"]
mod cores;
#[allow(dead_code, reason = "a bench uses the rest")]
#[path = "../benches/groups/lag.rs"]
mod lag;
#[path = "../benches/groups/load.rs"]
mod load;
#[allow(dead_code, reason = "a bench uses the rest")]
#[path = "../benches/groups/members.rs"]
mod members;
#[path = "../benches/groups/replay.rs"]
mod replay;
#[path = "../benches/groups/settings.rs"]
mod settings;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brokers::Broker;
use classic::{ClassicGroup, Membership};
use load::Load;
use members::{BigGroup, Step};
use settings::{CLASSIC_SETTINGS, SETTINGS, cpu_us_by_request, median, raise_descriptors};

/// One test at a time, on the core of the load.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    raise_descriptors();
    cores::pin_to(bare::LOAD_CORE);
    turn
}

fn start(dir: &tempfile::TempDir) -> Broker {
    Broker::thalweg(&dir.path().join("thalweg"), SETTINGS)
}

/// A heartbeat and a commit take at most so many times the CPU of 256 bytes that a bare loop echoes.
const TIMES_BARE_MAX: f64 = 2.5;
/// Rounds whose median counts, and up to how many while it is over the bound.
const ROUNDS: (usize, usize) = (3, 9);

#[test]
fn heartbeats_and_commits_cost_little_more_than_an_echo() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let mut load = Load::connect(&broker.address, bare::CONNECTIONS);
    let heartbeats = members::heartbeat_frames(&mut load, "cost");
    let commits = members::commit_frames(&mut load, "plain");
    let window = Duration::from_secs(1);
    let (mut beats, mut kept) = (Vec::new(), Vec::new());
    let (mut beats_median, mut kept_median) = (f64::MAX, f64::MAX);
    for round in 1..=ROUNDS.1 {
        // Side by side in time: what the machine does besides is in both, if it does it for longer than a window.
        let bare_us = bare::measure(window, bare::bare_server).cpu_us;
        beats.push(cpu_us_by_request(&broker, &mut load, &heartbeats, window) / bare_us);
        kept.push(cpu_us_by_request(&broker, &mut load, &commits, window) / bare_us);
        (beats_median, kept_median) = (median(beats.clone()), median(kept.clone()));
        if round >= ROUNDS.0 && beats_median <= TIMES_BARE_MAX && kept_median <= TIMES_BARE_MAX {
            break;
        }
    }
    println!(
        "a heartbeat {beats_median:.2} times an echo, a commit {kept_median:.2} times, of {} rounds",
        beats.len()
    );
    assert!(
        beats_median <= TIMES_BARE_MAX && kept_median <= TIMES_BARE_MAX,
        "{beats:.2?} and {kept:.2?} times an echo"
    );
}

/// What Apache Kafka 4.1.1 takes for the large group is in BENCHMARKS.md; a third of its CPU seconds, and its
/// heartbeats, bound ours.
const JOIN_CPU_S_MAX: f64 = 8.97 / 3.0;
const RESTART_CPU_S_MAX: f64 = 11.47 / 3.0;
const JOIN_HEARTBEATS_MAX: u64 = 22_409;
const RESTART_HEARTBEATS_MAX: u64 = 34_567;
/// Where a busy machine draws a step out for longer than this, each of its members beats once more in each second.
const HEARTBEATS_AFTER: Duration = Duration::from_secs(4);

#[test]
fn two_thousand_members_over_ten_thousand_partitions_converge() {
    const MEMBERS: u64 = 2_000;
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let mut group = BigGroup::new(&broker.address, MEMBERS as usize, 10_000);
    let steps = [
        (Step::Join, JOIN_CPU_S_MAX, JOIN_HEARTBEATS_MAX),
        (Step::Restart, RESTART_CPU_S_MAX, RESTART_HEARTBEATS_MAX),
        (Step::Leave, JOIN_CPU_S_MAX, JOIN_HEARTBEATS_MAX),
    ];
    for (step, cpu_s_max, heartbeats_max) in steps {
        let before = broker.cpu_seconds();
        // Ends when every member has what the newest assignment gives it, and panics where that does not come.
        let done = group.run(step);
        let cpu_s = broker.cpu_seconds() - before;
        println!(
            "{step:?}: {:.1} s, {cpu_s:.2} CPU s, {} heartbeats",
            done.took.as_secs_f64(),
            done.heartbeats
        );
        assert_eq!(
            done.stopped, 0,
            "{step:?}: partitions that were taken from a member and given back to it"
        );
        assert!(cpu_s <= cpu_s_max, "{step:?} takes {cpu_s:.2} CPU s");
        let heartbeats_max = heartbeats_max + MEMBERS * done.took.saturating_sub(HEARTBEATS_AFTER).as_secs();
        assert!(done.heartbeats <= heartbeats_max, "{step:?} takes {} heartbeats", done.heartbeats);
    }
}

/// CPU seconds of a step of the classic group, and mebibytes that were resident at most: three times what was measured.
struct ClassicMax {
    join_cpu_s: f64,
    grow_cpu_s: f64,
    restart_cpu_s: f64,
    leave_cpu_s: f64,
    resident_mib: f64,
}

/// Takes a classic group through its life. Each step ends when every member has synchronised in the newest generation
/// and all partitions have one owner each, as the broker describes them, and panics where that does not come.
fn live_as_classic_group(membership: Membership, max: &ClassicMax) {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::thalweg(&dir.path().join("thalweg"), CLASSIC_SETTINGS);
    let mut group = ClassicGroup::new(&broker.address, membership, 2_000, 10_000);
    let steps = [
        (classic::Step::Join, max.join_cpu_s),
        (classic::Step::Grow, max.grow_cpu_s),
        (classic::Step::Restart, max.restart_cpu_s),
        (classic::Step::Leave, max.leave_cpu_s),
    ];
    for (step, cpu_s_max) in steps {
        let before = broker.cpu_seconds();
        let done = group.run(step);
        let cpu_s = broker.cpu_seconds() - before;
        group.check();
        let classic::Requests { joins, syncs, heartbeats, .. } = done.requests;
        println!(
            "{step:?}: {:.1} s, {cpu_s:.2} CPU s, {} rounds, {joins} joins, {syncs} syncs, {heartbeats} heartbeats",
            done.took.as_secs_f64(),
            done.generations
        );
        if membership == Membership::Static && step == classic::Step::Restart {
            assert_eq!(done.generations, 0, "static members that come back in time have what they had");
        }
        assert!(cpu_s <= cpu_s_max, "{step:?} takes {cpu_s:.2} CPU s");
    }
    println!("{:.1} MiB at most", broker.peak_resident_mib());
    assert!(broker.peak_resident_mib() < max.resident_mib, "{:.1} MiB resident", broker.peak_resident_mib());
}

#[test]
fn two_thousand_classic_members_converge() {
    let max = ClassicMax {
        join_cpu_s: 0.45,
        grow_cpu_s: 1.5,
        restart_cpu_s: 9.3,
        leave_cpu_s: 0.3,
        resident_mib: 150.0,
    };
    live_as_classic_group(Membership::Dynamic, &max);
}

#[test]
fn two_thousand_static_classic_members_converge() {
    let max = ClassicMax {
        join_cpu_s: 0.45,
        grow_cpu_s: 2.4,
        restart_cpu_s: 6.2,
        leave_cpu_s: 0.3,
        resident_mib: 180.0,
    };
    live_as_classic_group(Membership::Static, &max);
}

#[test]
fn ten_thousand_groups_of_one_member_live_in_one_broker() {
    const GROUPS: usize = 10_000;
    const RESIDENT_MIB_MAX: f64 = 160.0;
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let broker = start(&dir);
    let mut groups = members::SmallGroups::join(&broker.address, GROUPS);
    let before = broker.cpu_seconds();
    // Each beats once a second and is answered without an error; a busy machine may get to fewer.
    let beats = groups.beat(Duration::from_secs(4));
    let cpu_us = (broker.cpu_seconds() - before) * 1e6 / beats as f64;
    println!("{beats} heartbeats, {cpu_us:.1} CPU us each, {:.1} MiB", broker.resident_mib());
    assert!(beats as usize >= GROUPS, "only {beats} heartbeats in four seconds");
    assert!(broker.resident_mib() < RESIDENT_MIB_MAX, "{:.1} MiB resident", broker.resident_mib());
}

#[test]
fn a_million_commits_are_replayed_in_two_seconds_of_one_core() {
    const CPU_S_MAX: f64 = 2.0;
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    for shape in replay::SHAPES {
        let _was_not_there = std::fs::remove_dir_all(&made);
        replay::make(&made, shape);
        // It ends when the newest commit can be read, all of the others being in the same partition; every answer
        // before has to say that it still loads.
        let started = replay::start(&made, &dir.path().join("copy"), shape);
        println!(
            "{}: {:.2} s, {:.2} CPU s, {} answers that it still loads",
            shape.what,
            started.took.as_secs_f64(),
            started.cpu_s,
            started.refused
        );
        assert!(started.cpu_s <= CPU_S_MAX, "{}: {:.2} CPU s", shape.what, started.cpu_s);
    }
}
