//! The broker as a whole process, beside Apache Kafka 4.1.1 and beside a raw loop, in one run.
//!
//! Prints: start to first answered request; resident memory and CPU when idle; CPU seconds and GB/s for each
//! GB produced (65 KB requests over 6 connections, acks=1) and fetched. The broker is pinned to core 0, the
//! load to core 1, all rows in one default configuration. Each round takes the raw loop, Thalweg and Apache
//! Kafka in turn, with fresh processes and directories; printed are medians, and ratios of them.
//!
//! Many virtual machines give freed pages back to their host within seconds (free page reporting), and the first
//! touch of a page that the host has to find again costs a multiple of writing to it: which row meets such pages
//! is luck. So before a row is timed the load process fills as much memory as the row will bring into the page
//! cache, and gives it back piece by piece while the row writes: all rows write into pages that the machine
//! holds. Fetches are served from pages that are there.
//!
//!     cargo bench --bench broker                  every row; Apache Kafka comes from Maven
//!     cargo bench --bench broker -- --gb 1        less of it
//!     cargo bench --bench broker -- --rounds 5    more often than three times
//!     cargo bench --bench broker -- --no-kafka    without Apache Kafka

mod brokers;
mod cores;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use brokers::{Broker, Connection, frame};
use bytes::Bytes;
use cores::{pin_to, thread_cpu_ns};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, FetchRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use thalweg::protocol::batch::BatchBuilder;

const CONNECTIONS: usize = 6;
const REQUEST_BYTES: usize = 65_000;
const PIPELINED: usize = 5;
const TOPIC: &str = "bench";

fn main() {
    let gb: f64 = number_after("--gb").unwrap_or(2.0);
    let rounds = number_after("--rounds").map_or(3, |rounds| rounds as usize).max(1);
    let with_kafka = !std::env::args().any(|a| a == "--no-kafka");
    pin_to(1);
    let bytes = (gb * 1e9) as usize;

    let (mut raw, mut ours, mut theirs) =
        (Vec::<(f64, f64)>::new(), Vec::<Figures>::new(), Vec::<Figures>::new());
    for round in 1..=rounds {
        // A folder for each, gone with its pages before the next begins.
        let folder = || tempfile::tempdir().expect("a folder for data");
        raw.push(raw_loop(folder().path(), bytes));
        ours.push(measure(Broker::thalweg, folder().path(), bytes));
        if with_kafka {
            theirs.push(measure(Broker::apache_kafka, folder().path(), bytes));
        }
        let line =
            |name: &str, cpu: Option<f64>| cpu.map_or(String::new(), |cpu| format!(", {name} {cpu:.2}"));
        eprintln!(
            "round {round} of {rounds}: produce, CPU s/GB{}{}{}",
            line("raw", raw.last().map(|raw| raw.0)),
            line("thalweg", ours.last().map(|ours| ours.produce.0)),
            line("apache kafka", theirs.last().map(|theirs| theirs.produce.0))
        );
    }

    println!("medians of {rounds} rounds of {gb} GB");
    let raw = (median(&raw, |raw| raw.0), median(&raw, |raw| raw.1));
    println!("{:<34}{:>8.2} CPU s/GB {:>7.2} GB/s", "recv + CRC + pwrite, one thread", raw.0, raw.1);
    let ours = Figures::medians(&ours);
    report("thalweg", &ours);
    println!("{:<34}{:>8.2}", "produce, thalweg over the raw loop", ours.produce.0 / raw.0);
    if with_kafka {
        let theirs = Figures::medians(&theirs);
        report("apache kafka", &theirs);
        println!("{:<34}{:>8.2}", "produce, thalweg / apache kafka", ours.produce.0 / theirs.produce.0);
        println!("{:<34}{:>8.2}", "fetch, thalweg / apache kafka", ours.fetch.0 / theirs.fetch.0);
    }
}

fn number_after(name: &str) -> Option<f64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.next()?;
    let number = arguments.next().and_then(|number| number.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} takes a number")))
}

/// The middle of what `figure` gives, or half the sum of the two in the middle.
fn median<T>(all: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut sorted: Vec<f64> = all.iter().map(figure).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// Memory that the machine holds, given back piece by piece as a row writes, so that the page cache grows into it.
struct Ballast {
    pieces: Mutex<Vec<Vec<u8>>>,
    written: AtomicUsize,
}

/// Above the largest size that the allocator keeps for itself: a piece that is dropped is the kernel's at once.
const PIECE_BYTES: usize = 64 << 20;
/// Pieces given back ahead of the writes.
const PIECES_AHEAD: usize = 4;

impl Ballast {
    /// Enough for `bytes` that will be written.
    fn hold(bytes: usize) -> Ballast {
        let count = bytes.div_ceil(PIECE_BYTES) + PIECES_AHEAD;
        let mut pieces: Vec<Vec<u8>> = (0..count).map(|_| vec![1; PIECE_BYTES]).collect();
        pieces.truncate(count - PIECES_AHEAD);
        Ballast { pieces: Mutex::new(pieces), written: AtomicUsize::new(0) }
    }

    /// So many bytes more were written.
    fn give(&self, bytes: usize) {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / PIECE_BYTES != (before + bytes) / PIECE_BYTES {
            self.pieces.lock().expect("nobody fails while holding it").pop();
        }
    }
}

struct Figures {
    start_ms: f64,
    idle_rss_mib: f64,
    idle_cpu_percent: f64,
    produce: (f64, f64),
    fetch: (f64, f64),
}

impl Figures {
    fn medians(all: &[Figures]) -> Figures {
        Figures {
            start_ms: median(all, |one| one.start_ms),
            idle_rss_mib: median(all, |one| one.idle_rss_mib),
            idle_cpu_percent: median(all, |one| one.idle_cpu_percent),
            produce: (median(all, |one| one.produce.0), median(all, |one| one.produce.1)),
            fetch: (median(all, |one| one.fetch.0), median(all, |one| one.fetch.1)),
        }
    }
}

fn report(name: &str, figures: &Figures) {
    let row = |what: &str| format!("{what}, {name}");
    println!("{:<34}{:>8.0} ms", row("start to first answer"), figures.start_ms);
    println!("{:<34}{:>8.1} MiB", row("resident, idle"), figures.idle_rss_mib);
    println!("{:<34}{:>8.2} % of one core", row("CPU, idle"), figures.idle_cpu_percent);
    for (what, (cpu, rate)) in [("produce", figures.produce), ("fetch", figures.fetch)] {
        println!("{:<34}{:>8.2} CPU s/GB {:>7.2} GB/s", row(what), cpu, rate);
    }
}

/// Starts a broker on a directory below `dir`, measures it, and ends it.
fn measure(start: fn(&Path, &[&str]) -> Broker, dir: &Path, bytes: usize) -> Figures {
    let began = Instant::now();
    let broker = start(&dir.join("data"), &[]);
    let start_ms = began.elapsed().as_secs_f64() * 1e3;
    let address = broker.address.as_str();
    std::thread::sleep(Duration::from_secs(2));
    let before = (broker.cpu_seconds(), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let idle_cpu_percent = (broker.cpu_seconds() - before.0) / before.1.elapsed().as_secs_f64() * 100.0;
    let idle_rss_mib = broker.resident_mib();
    let mut admin = Connection::open(address);
    let topic = CreatableTopic::default()
        .with_name(topic_name())
        .with_num_partitions(CONNECTIONS as i32)
        .with_replication_factor(1);
    admin.call(5, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000));
    (0..CONNECTIONS as i32).for_each(|partition| until_led(address, partition));
    // Warm: the virtual machine compiles, files and sockets grow.
    produce(address, bytes / 2, &Ballast::hold(0));
    let ballast = Ballast::hold(bytes);
    let produced = timed(&broker, bytes, || produce(address, bytes, &ballast));
    fetch(address, bytes / 4);
    let fetched = timed(&broker, bytes, || fetch(address, bytes));
    Figures { start_ms, idle_rss_mib, idle_cpu_percent, produce: produced, fetch: fetched }
}

/// CPU seconds of the broker and GB/s of the clock, for `bytes`.
fn timed(broker: &Broker, bytes: usize, work: impl FnOnce()) -> (f64, f64) {
    let before = (broker.cpu_seconds(), Instant::now());
    work();
    let gb = bytes as f64 / 1e9;
    ((broker.cpu_seconds() - before.0) / gb, gb / before.1.elapsed().as_secs_f64())
}

// ---- load -------------------------------------------------------------------------------------------

fn produce(address: &str, bytes: usize, ballast: &Ballast) {
    let requests = bytes / REQUEST_BYTES / CONNECTIONS;
    std::thread::scope(|scope| {
        for partition in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Connection::open(address);
                let frame = produce_frame(partition as i32);
                let mut waiting = 0;
                for _ in 0..requests {
                    client.send(&frame);
                    ballast.give(REQUEST_BYTES);
                    waiting += 1;
                    if waiting == PIPELINED {
                        check_produced(&mut client);
                        waiting -= 1;
                    }
                }
                (0..waiting).for_each(|_| check_produced(&mut client));
            });
        }
    });
}

/// Asks until the partition takes a batch: Apache Kafka answers NOT_LEADER just after it made a topic.
fn until_led(address: &str, partition: i32) {
    let (mut client, frame) = (Connection::open(address), produce_frame(partition));
    for _ in 0..100 {
        client.send(&frame);
        if client.receive()[ERROR_CODE] == [0, 0] {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("partition {partition} takes nothing");
}

fn check_produced(client: &mut Connection) {
    let answer = client.receive();
    assert_eq!(answer[ERROR_CODE], [0, 0], "a produce request failed: {answer:?}");
}

/// Where a produce answer has its error code: correlation id 4, tagged fields 1, topics 1, name 1 + 5,
/// partitions 1, index 4 come before it.
const ERROR_CODE: std::ops::Range<usize> = 17..19;

fn produce_frame(partition: i32) -> Bytes {
    let mut batch = BatchBuilder::new();
    // Bytes that do not repeat, a record of 1,000 bytes each.
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    while batch.uncompressed_bytes() < REQUEST_BYTES - 1_200 {
        let value: Vec<u8> = (0..1_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56) as u8
            })
            .collect();
        batch.append(1_700_000_000_000, None, Some(&value), &[]);
    }
    let records = batch.build().expect("a batch of the bench");
    let partition = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(topic_name()).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    frame(9, &request)
}

fn fetch(address: &str, bytes: usize) {
    let each = bytes / CONNECTIONS;
    std::thread::scope(|scope| {
        for partition in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Connection::open(address);
                let (mut offset, mut fetched) = (0, 0);
                while fetched < each {
                    let answer = client.call(11, &fetch_request(partition as i32, offset));
                    fetched += answer.len();
                    // Where the records stand: 57 bytes before them in version 11 with one partition and
                    // a topic name of five letters, none of which changes between answers.
                    let records = &answer[FETCH_HEAD_BYTES..];
                    match next_offset(records) {
                        Some(next) => offset = next,
                        None => offset = 0,
                    }
                }
            });
        }
    });
}

/// correlation id 4, throttle 4, error 2, session 4, topics 4, name 2 + 5, partitions 4, index 4, error 2,
/// high watermark 8, last stable 8, log start 8, aborted 4, preferred replica 4, records length 4.
const FETCH_HEAD_BYTES: usize = 4 + 4 + 2 + 4 + 4 + 7 + 4 + 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4;

fn next_offset(records: &[u8]) -> Option<i64> {
    let mut next = None;
    let mut left = records;
    while left.len() >= 61 {
        let base = i64::from_be_bytes(left[..8].try_into().ok()?);
        let length = i32::from_be_bytes(left[8..12].try_into().ok()?) as usize + 12;
        if left.len() < length {
            break;
        }
        next = Some(base + i64::from(i32::from_be_bytes(left[23..27].try_into().ok()?)) + 1);
        left = &left[length..];
    }
    next
}

fn fetch_request(partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name()).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

// ---- the limit --------------------------------------------------------------------------------------

/// One thread that receives 65 KB pieces over 6 connections in turn, computes their CRC and writes them into
/// preallocated space: what a broker that did nothing else would cost. CPU seconds a GB, GB/s.
fn raw_loop(dir: &Path, bytes: usize) -> (f64, f64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let each = bytes / CONNECTIONS / REQUEST_BYTES * REQUEST_BYTES;
    let file = File::create(dir.join("raw")).expect("a file");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes as u64).expect("space");
    let ballast = &Ballast::hold(bytes);
    let server = std::thread::spawn(move || {
        pin_to(0);
        let mut streams: Vec<TcpStream> =
            (0..CONNECTIONS).map(|_| listener.accept().expect("a connection").0).collect();
        let mut buffer = vec![0; REQUEST_BYTES];
        let (mut position, mut crc) = (0, 0);
        let began = (thread_cpu_ns(), Instant::now());
        for _ in 0..each / REQUEST_BYTES {
            for stream in &mut streams {
                stream.read_exact(&mut buffer).expect("bytes");
                crc ^= crc32c::crc32c(&buffer);
                file.write_all_at(&buffer, position).expect("space");
                position += REQUEST_BYTES as u64;
            }
        }
        std::hint::black_box(crc);
        let gb = position as f64 / 1e9;
        ((thread_cpu_ns() - began.0) as f64 / 1e9 / gb, gb / began.1.elapsed().as_secs_f64())
    });
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("the loop listens");
                let piece = vec![7; REQUEST_BYTES];
                for _ in 0..each / REQUEST_BYTES {
                    stream.write_all(&piece).expect("the loop reads");
                    ballast.give(REQUEST_BYTES);
                }
            });
        }
    });
    server.join().expect("the loop ends")
}
