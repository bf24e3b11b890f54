//! A broker at rest, and how long it takes to begin.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::{answers, append, batch_of, connect, create};
use crate::harness::{Thalweg, scratch};
use crate::turn;

const IDLE_CPU_MAX: f64 = 0.01;
const IDLE_BYTES_MAX: u64 = 40_000_000;
const START_MAX: Duration = Duration::from_millis(100);

/// What a process used in a window of time.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub cpu: Duration,
    pub window: Duration,
    pub resident_bytes: u64,
}

impl Usage {
    /// The window with the least CPU time.
    pub fn best_of(windows: usize, process: u32, window: Duration) -> Usage {
        let all = (0..windows).map(|_| Usage::measure(process, window));
        all.min_by_key(|usage| usage.cpu).expect("at least one window")
    }

    /// Two processes in the same window, that in which the first used least beyond the second.
    pub fn side_by_side(windows: usize, [first, second]: [u32; 2], window: Duration) -> (Usage, Usage) {
        let both = |_| {
            let first = std::thread::spawn(move || Usage::measure(first, window));
            let second = Usage::measure(second, window);
            (first.join().expect("the process runs"), second)
        };
        let beyond =
            |(first, second): &(Usage, Usage)| first.cpu.as_nanos() as i128 - second.cpu.as_nanos() as i128;
        (0..windows).map(both).min_by_key(beyond).expect("at least one window")
    }

    fn measure(process: u32, window: Duration) -> Usage {
        let (began, before) = (Instant::now(), schedule(process).0);
        std::thread::sleep(window);
        let cpu = schedule(process).0.saturating_sub(before);
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a known line");
        let kib = kib.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB");
        Usage { cpu, window: began.elapsed(), resident_bytes: kib * 1024 }
    }

    /// Of one core.
    pub fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.window.as_secs_f64()
    }
}

/// Time that the threads of a process ran, and time that they stood ready and waited for a core: the main
/// thread's, which begins the others, and the longest of theirs. The kernel counts both in nanoseconds.
fn schedule(process: u32) -> (Duration, Duration) {
    let (mut ran, mut main, mut longest) = (0, 0, 0);
    for task in fs::read_dir(format!("/proc/{process}/task")).expect("the process runs").flatten() {
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [on, waited, ..] = numbers[..] else { panic!("the kernel keeps no schedstat: {text}") };
        ran += on;
        match task.file_name() == process.to_string().as_str() {
            true => main = waited,
            false => longest = longest.max(waited),
        }
    }
    (Duration::from_nanos(ran), Duration::from_nanos(main + longest))
}

/// Raises this process's limit of open files as far as it must.
pub fn allow_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let raised = Rlimit { current: Some(count), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("`ulimit -Hn` is large enough for this test");
    }
}

fn two_cores() -> String {
    let cores = fs::read_to_string("/proc/self/status").expect("a status");
    let allowed = cores.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).expect("a list of cores");
    let mut cores: Vec<u32> = Vec::new();
    for run in allowed.trim().split(',') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        cores.extend(first.parse::<u32>().expect("a core")..=last.parse().expect("a core"));
    }
    let two: Vec<_> = cores.iter().take(2).map(u32::to_string).collect();
    format!("thalweg.cores={}", two.join(","))
}

#[test]
fn an_idle_broker_rests() {
    let _turn = turn();
    let directory = scratch("limits-idle");
    let broker = Thalweg::start(&directory, &[&two_cores()]);
    // It has done something, and some connections stay open.
    let mut connection = connect(&broker);
    create(&mut connection, "t", 10, &[]);
    for partition in 0..10 {
        append(&mut connection, "t", partition, &batch_of(1_000));
    }
    let _silent: Vec<_> = (0..20).map(|_| connect(&broker)).collect();
    std::thread::sleep(Duration::from_secs(2));
    let usage = Usage::best_of(2, broker.id(), Duration::from_secs(5));
    println!("at rest: {:.3}% of a core, {:.1} MB", usage.share() * 100.0, usage.resident_bytes as f64 / 1e6);
    assert!(usage.share() < IDLE_CPU_MAX, "{usage:?}");
    assert!(usage.resident_bytes < IDLE_BYTES_MAX, "{usage:?}");
}

/// The median of five starts, in the best of three rounds: rounds beside other work say less. From each
/// start is taken what the threads on its path stood ready for and did not get a core, which is nothing on
/// a machine that is free.
fn starts_in_time(what: &str, directory: impl Fn(usize) -> std::path::PathBuf) {
    let mut medians = Vec::new();
    for round in 0..3 {
        let mut starts: Vec<(Duration, Duration)> =
            (0..5).map(|i| start_to_first_answer(&directory(5 * round + i))).collect();
        starts.sort_by_key(|(clock, waited)| clock.saturating_sub(*waited));
        let (clock, waited) = starts[2];
        println!("{what}: first answer after {clock:?}, of which {waited:?} without a core");
        medians.push(clock.saturating_sub(waited));
        if medians[round] < START_MAX {
            return;
        }
    }
    panic!("{what}: first answer after {medians:?}");
}

fn start_to_first_answer(directory: &Path) -> (Duration, Duration) {
    let began = Instant::now();
    let mut broker = Thalweg::start(directory, &[]);
    assert!(answers(&mut connect(&broker)));
    let clock = began.elapsed();
    let waited = schedule(broker.id()).1;
    broker.stop();
    (clock, waited)
}

#[test]
fn a_new_broker_answers_at_once() {
    let _turn = turn();
    starts_in_time("a new directory", |i| scratch(&format!("limits-start-{i}")));
}

#[test]
fn a_stopped_broker_answers_at_once() {
    let _turn = turn();
    let directory = scratch("limits-restart");
    let mut broker = Thalweg::start(&directory, &[]);
    let mut connection = connect(&broker);
    create(&mut connection, "t", 50, &[]);
    for partition in 0..50 {
        append(&mut connection, "t", partition, &batch_of(10_000));
    }
    assert!(broker.stop().success());
    starts_in_time("50 partitions", |_| directory.clone());
}
