//! Groups on the raw protocol: what a heartbeat and a commit cost, and how a large group and many small ones
//! behave, beside Apache Kafka 4.1.1 in one run. The broker is pinned to core 0, the load to core 1.
//!
//!     cargo bench --bench groups                         every row for Thalweg
//!     cargo bench --bench groups -- --kafka              beside Apache Kafka, which comes from Maven
//!     cargo bench --bench groups -- --only big --members 2000 --partitions 10000
//!     cargo bench --bench groups -- --only classic --members 2000 --partitions 10000
//!     cargo bench --bench groups -- --only many --groups 10000
//!     cargo bench --bench groups -- --only cost
//!     cargo bench --bench groups -- --only produce --members 2000 --partitions 10000
//!     cargo bench --bench groups -- --only replay
//!     cargo bench --bench groups -- --only lag
//!
//! `cost`: 64 connections, each a member of a group of its own, heartbeat after heartbeat and commit after
//! commit, beside a bare io_uring loop that echoes 256 bytes. `big`: one group of the consumer protocol joins,
//! every member is replaced by a new one in turn, and all leave; a row says how long it took until every member
//! had what the group's newest assignment gives it, what the broker's CPU time and the members' heartbeats
//! were, and how many partitions a member gave up and got back. `classic`: the same for one group of the classic
//! protocol, once of dynamic members and once of static ones, with the requests and the rounds of each step. `many`: groups of one member that only beat.
//! `produce`: how long a producer's requests take while members of the large group are replaced, beside a group
//! that only beats, in pairs. `replay`: from the start of a broker with a million offset commits on its disk until
//! their coordinator answers, on one core. `lag`: what it costs to tell how old the record at a committed offset is.

#[path = "../bare.rs"]
mod bare;
#[path = "../brokers.rs"]
mod brokers;
mod classic;
#[path = "../cores.rs"]
mod cores;
mod lag;
mod latency;
mod load;
mod members;
mod replay;
mod settings;

use std::time::Duration;

use brokers::Broker;
use classic::{ClassicGroup, Membership};
use cores::pin_to;
use load::Load;
use members::{BigGroup, Step};
use settings::{CLASSIC_SETTINGS, SETTINGS, cpu_us_by_request, median, raise_descriptors};

struct Options {
    with_kafka: bool,
    only: Option<String>,
    members: usize,
    partitions: i32,
    groups: usize,
    seconds: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value =
        |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let number = |name: &str, default: usize| {
        value(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
    };
    let options = Options {
        with_kafka: arguments.iter().any(|a| a == "--kafka"),
        only: value("--only"),
        members: number("--members", 2000),
        partitions: i32::try_from(number("--partitions", 10_000)).expect("a count of partitions"),
        groups: number("--groups", 10_000),
        seconds: number("--seconds", 5) as u64,
    };
    raise_descriptors();
    pin_to(1);
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    if wanted("cost") {
        cost(&options);
    }
    if wanted("big") {
        each_broker(&options, SETTINGS, |name, broker| big(name, broker, &options));
    }
    if wanted("classic") {
        for membership in [Membership::Dynamic, Membership::Static] {
            each_broker(&options, CLASSIC_SETTINGS, |name, broker| {
                classic(name, broker, membership, &options);
            });
        }
    }
    if wanted("produce") {
        each_broker(&options, SETTINGS, |name, broker| produce(name, broker, &options));
    }
    if wanted("replay") {
        replay();
    }
    if wanted("lag") {
        lag();
    }
    if wanted("many") {
        each_broker(&options, SETTINGS, |name, broker| many(name, broker, &options));
    }
}

fn each_broker(options: &Options, settings: &[&str], run: impl Fn(&str, Broker)) {
    let dir = tempfile::tempdir().expect("a folder for data");
    run("thalweg", Broker::thalweg(&dir.path().join("thalweg"), settings));
    if options.with_kafka {
        run("apache kafka", Broker::apache_kafka(&dir.path().join("kafka"), settings));
    }
}

// ---- what a request costs ---------------------------------------------------------------------------

const COST_ROUNDS: usize = 5;

fn cost(options: &Options) {
    let window = Duration::from_secs(options.seconds.clamp(1, 3));
    let dir = tempfile::tempdir().expect("a folder for data");
    let broker = Broker::thalweg(&dir.path().join("thalweg"), SETTINGS);
    let mut load = Load::connect(&broker.address, bare::CONNECTIONS);
    let heartbeats = members::heartbeat_frames(&mut load, "cost");
    let commits = members::commit_frames(&mut load, "plain");
    let (mut bare_us, mut beat_us, mut commit_us) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..COST_ROUNDS {
        bare_us.push(bare::measure(window, bare::bare_server));
        beat_us.push(cpu_us_by_request(&broker, &mut load, &heartbeats, window));
        commit_us.push(cpu_us_by_request(&broker, &mut load, &commits, window));
    }
    let rate = median(bare_us.iter().map(|figure| figure.rate).collect());
    let bare_us = median(bare_us.iter().map(|figure| figure.cpu_us).collect());
    let (beat_us, commit_us) = (median(beat_us), median(commit_us));
    println!("{} connections, median of {COST_ROUNDS}, CPU of the broker:", bare::CONNECTIONS);
    println!("  {:<30}{bare_us:>8.2} us  {rate:.0} /s", "bare ring loop, 256 bytes");
    println!("  {:<30}{beat_us:>8.2} us  {:.2} times the bare loop", "heartbeat", beat_us / bare_us);
    println!("  {:<30}{commit_us:>8.2} us  {:.2} times the bare loop", "offset commit", commit_us / bare_us);
}

// ---- one large group --------------------------------------------------------------------------------

fn big(name: &str, broker: Broker, options: &Options) {
    let mut group = BigGroup::new(&broker.address, options.members, options.partitions);
    println!("{name}: one group of {} members over {} partitions", options.members, options.partitions);
    for (what, step) in
        [("join", Step::Join), ("restart, member by member", Step::Restart), ("leave", Step::Leave)]
    {
        let before = broker.cpu_seconds();
        let done = group.run(step);
        println!(
            "  {what:<28}{:>8.1} s {:>8.2} CPU s {:>8} heartbeats {:>7} partitions given up and got back",
            done.took.as_secs_f64(),
            broker.cpu_seconds() - before,
            done.heartbeats,
            done.stopped
        );
    }
}

// ---- one large group of the classic protocol --------------------------------------------------------

fn classic(name: &str, broker: Broker, membership: Membership, options: &Options) {
    let Options { members, partitions, .. } = *options;
    let mut group = ClassicGroup::new(&broker.address, membership, members, partitions);
    println!("{name}: one classic group of {members} {membership:?} members over {partitions} partitions");
    for (what, step) in [
        ("join, nine tenths", classic::Step::Join),
        ("join, the last tenth", classic::Step::Grow),
        ("rolling restart", classic::Step::Restart),
        ("leave", classic::Step::Leave),
    ] {
        let before = broker.cpu_seconds();
        let done = group.run(step);
        let cpu = broker.cpu_seconds() - before;
        group.check();
        let classic::Requests { joins, syncs, heartbeats, leaves } = done.requests;
        println!(
            "  {what:<22}{:>6.1} s {cpu:>6.2} CPU s {:>3} rounds {joins:>6} joins {syncs:>6} syncs {heartbeats:>6} \
             heartbeats {leaves:>5} leaves",
            done.took.as_secs_f64(),
            done.generations
        );
    }
    println!("  {:<22}{:>6.1} MiB", "most resident", broker.peak_resident_mib());
}

// ---- a producer beside a large group ----------------------------------------------------------------

const PAIRS: usize = 7;
/// Members that are replaced while the producer is measured.
const REPLACED: usize = 200;

fn produce(name: &str, broker: Broker, options: &Options) {
    let mut group = BigGroup::new(&broker.address, options.members, options.partitions);
    latency::prepare(&broker.address);
    group.run(Step::Join);
    let (mut calm_ms, mut busy_ms) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let producer = latency::Producer::start(&broker.address);
        group.beat(Duration::from_secs(options.seconds));
        calm_ms.push(producer.stop());
        let producer = latency::Producer::start(&broker.address);
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_secs(options.seconds) {
            group.run_some(Step::Restart, REPLACED.min(options.members));
        }
        busy_ms.push(producer.stop());
    }
    let (calm_ms, busy_ms) = (median(calm_ms), median(busy_ms));
    println!("{name}: produce beside a group of {} members, p99.9, median of {PAIRS} pairs", options.members);
    println!("  {:<28}{calm_ms:>8.2} ms", "the group only beats");
    println!("  {:<28}{busy_ms:>8.2} ms  {:.2} times", "members are replaced", busy_ms / calm_ms);
}

// ---- many small groups ------------------------------------------------------------------------------

fn many(name: &str, broker: Broker, options: &Options) {
    let before = broker.cpu_seconds();
    let began = std::time::Instant::now();
    let mut groups = members::SmallGroups::join(&broker.address, options.groups);
    let (join_s, join_cpu) = (began.elapsed().as_secs_f64(), broker.cpu_seconds() - before);
    let before = broker.cpu_seconds();
    let beats = groups.beat(Duration::from_secs(options.seconds.max(5)));
    let seconds = options.seconds.max(5) as f64;
    let cpu = broker.cpu_seconds() - before;
    println!("{name}: {} groups of one member", options.groups);
    println!("  {:<28}{join_s:>8.1} s {join_cpu:>8.2} CPU s", "join");
    println!(
        "  {:<28}{:>8.0} /s {:>7.1} % of a core, {:.1} MiB resident",
        "heartbeats",
        beats as f64 / seconds,
        cpu / seconds * 100.0,
        broker.resident_mib()
    );
}

// ---- a start with a million commits -----------------------------------------------------------------

const REPLAYS: usize = 3;

fn replay() {
    let dir = tempfile::tempdir().expect("a folder for data");
    let made = dir.path().join("made");
    for shape in replay::SHAPES {
        let _was_not_there = std::fs::remove_dir_all(&made);
        let bytes = replay::make(&made, shape);
        println!("thalweg: {} offset commits, {} ({} MiB)", replay::COMMITS, shape.what, bytes >> 20);
        for _ in 0..REPLAYS {
            let started = replay::start(&made, &dir.path().join("copy"), shape);
            println!(
                "  {:<28}{:>8.2} s {:>8.2} CPU s {:>8} answers that it still loads",
                "start until it answers",
                started.took.as_secs_f64(),
                started.cpu_s,
                started.refused
            );
        }
    }
}

// ---- how far groups are behind ----------------------------------------------------------------------

fn lag() {
    let dir = tempfile::tempdir().expect("a folder for data");
    let figures = lag::measure(dir.path().join("lag-0"));
    println!("the age of a record by its offset, {} positions of one log, a position:", lag::POSITIONS);
    for (what, warm, cold) in [
        ("header of its batch", figures.header_warm, figures.header_cold),
        ("time index", figures.time_index_warm, figures.time_index_cold),
    ] {
        println!("  {what:<28}{warm:>8.2} us in memory {cold:>8.2} us from disk");
    }
}
