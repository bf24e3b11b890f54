//! The broker as a whole process, beside Apache Kafka 4.1.1 and beside a raw loop, in one run.
//!
//! Prints: start to first answered request; resident memory and CPU when idle; CPU seconds and GB/s for each
//! GB produced (65 KB requests over 6 connections, acks=1) and fetched. The broker is pinned to core 0, the
//! load to core 1, all rows in one default configuration. Each round takes the raw loop, Thalweg and Apache
//! Kafka in turn, with fresh processes and directories; printed are medians, and ratios of them.
//!
//! Many virtual machines give freed pages back to their host (free page reporting), and the first touch of
//! a page that the host has to find again costs far more than writing to it: a plain pwrite loop took 2.3 CPU
//! seconds a GB into such pages and 0.13 into others. Which row met them was luck. So before a row is timed
//! the load process touches as many bytes of its own memory as the row will bring into the page cache, and
//! frees them: all rows write into pages that the machine holds. Fetches are served from pages that are there.
//!
//!     cargo bench --bench broker                  every row; Apache Kafka comes from Maven
//!     cargo bench --bench broker -- --gb 1        less of it
//!     cargo bench --bench broker -- --rounds 5    more often than three times
//!     cargo bench --bench broker -- --no-kafka    without Apache Kafka

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, FetchRequest, ProduceRequest, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
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

/// Touches `bytes` of fresh memory and frees them, so that the page cache finds pages that the host has given.
fn touch(bytes: usize) {
    let touched = vec![1u8; bytes];
    std::hint::black_box(&touched);
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
fn measure(start: fn(&Path) -> Broker, dir: &Path, bytes: usize) -> Figures {
    let broker = start(&dir.join("data"));
    let (start_ms, pid, address) = (broker.start_ms, broker.child.id(), broker.address.clone());
    std::thread::sleep(Duration::from_secs(2));
    let before = (cpu_seconds(pid), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let idle_cpu_percent = (cpu_seconds(pid) - before.0) / before.1.elapsed().as_secs_f64() * 100.0;
    let idle_rss_mib = resident_mib(pid);
    let mut admin = Client::connect(&address);
    let topic = CreatableTopic::default()
        .with_name(topic_name())
        .with_num_partitions(CONNECTIONS as i32)
        .with_replication_factor(1);
    admin.call(5, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000));
    (0..CONNECTIONS as i32).for_each(|partition| until_led(&address, partition));
    // Warm: the virtual machine compiles, files and sockets grow.
    produce(&address, bytes / 2);
    touch(bytes);
    let produced = timed(pid, bytes, || produce(&address, bytes));
    fetch(&address, bytes / 4);
    let fetched = timed(pid, bytes, || fetch(&address, bytes));
    Figures { start_ms, idle_rss_mib, idle_cpu_percent, produce: produced, fetch: fetched }
}

/// CPU seconds of `pid` and GB/s of the clock, for `bytes`.
fn timed(pid: u32, bytes: usize, work: impl FnOnce()) -> (f64, f64) {
    let before = (cpu_seconds(pid), Instant::now());
    work();
    let gb = bytes as f64 / 1e9;
    ((cpu_seconds(pid) - before.0) / gb, gb / before.1.elapsed().as_secs_f64())
}

// ---- load -------------------------------------------------------------------------------------------

fn produce(address: &str, bytes: usize) {
    let requests = bytes / REQUEST_BYTES / CONNECTIONS;
    std::thread::scope(|scope| {
        for partition in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let frame = produce_frame(partition as i32);
                let mut waiting = 0;
                for _ in 0..requests {
                    client.stream.write_all(&frame).expect("the broker reads");
                    waiting += 1;
                    if waiting == PIPELINED {
                        client.check_produced();
                        waiting -= 1;
                    }
                }
                (0..waiting).for_each(|_| client.check_produced());
            });
        }
    });
}

/// Asks until the partition takes a batch: Apache Kafka answers NOT_LEADER just after it made a topic.
fn until_led(address: &str, partition: i32) {
    let (mut client, frame) = (Client::connect(address), produce_frame(partition));
    for _ in 0..100 {
        client.stream.write_all(&frame).expect("the broker reads");
        if client.read_answer()[ERROR_CODE] == [0, 0] {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("partition {partition} takes nothing");
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
    framed(9, &request)
}

fn fetch(address: &str, bytes: usize) {
    let each = bytes / CONNECTIONS;
    std::thread::scope(|scope| {
        for partition in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(address);
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

fn framed<R: Request>(version: i16, request: &R) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("bench")));
    let mut frame = BytesMut::from(&[0u8; 4][..]);
    header.encode(&mut frame, R::header_version(version)).expect("a header encodes");
    request.encode(&mut frame, version).expect("a request encodes");
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket option");
        Client { stream, answer: Vec::new() }
    }

    fn call<R: Request>(&mut self, version: i16, request: &R) -> &[u8] {
        self.stream.write_all(&framed(version, request)).expect("the broker reads");
        self.read_answer()
    }

    fn read_answer(&mut self) -> &[u8] {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("the broker answers");
        self.answer.resize(u32::from_be_bytes(length) as usize, 0);
        self.stream.read_exact(&mut self.answer).expect("a whole answer");
        &self.answer
    }

    fn check_produced(&mut self) {
        let answer = self.read_answer();
        assert_eq!(answer[ERROR_CODE], [0, 0], "a produce request failed: {answer:?}");
    }
}

// ---- brokers ----------------------------------------------------------------------------------------

struct Broker {
    child: Child,
    address: String,
    start_ms: f64,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Broker {
    fn thalweg(dir: &Path) -> Broker {
        let port_file = dir.with_extension("port");
        let began = Instant::now();
        let child = on_core_0(env!("CARGO_BIN_EXE_thalweg"))
            .args(["start", "--cores", "0", "-o", "listeners=PLAINTEXT://127.0.0.1:0", "-o"])
            .arg(format!("log.dirs={}", dir.display()))
            .arg("--port-file")
            .arg(&port_file)
            .stderr(Stdio::null())
            .spawn()
            .expect("the broker starts");
        let port = loop {
            if let Ok(port) = std::fs::read_to_string(&port_file) {
                break port.trim().to_owned();
            }
            assert!(began.elapsed() < Duration::from_secs(20), "the broker did not start");
            std::thread::sleep(Duration::from_millis(1));
        };
        Broker::answering(child, format!("127.0.0.1:{port}"), began)
    }

    fn apache_kafka(dir: &Path) -> Broker {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let port = port % 20_000 + 20_000;
        let file = dir.with_extension("properties");
        let text = format!("listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={}\n", dir.display());
        std::fs::write(&file, text).expect("a file for Apache Kafka");
        let run = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/apache-kafka/run");
        let began = Instant::now();
        let child = on_core_0(&run.display().to_string())
            .arg(&file)
            .env("HEAP", "-Xms1g -Xmx1g")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Apache Kafka starts");
        Broker::answering(child, format!("127.0.0.1:{port}"), began)
    }

    /// Waits for the first answer.
    fn answering(child: Child, address: String, began: Instant) -> Broker {
        loop {
            assert!(began.elapsed() < Duration::from_secs(180), "no answer from {address}");
            if TcpStream::connect(&address).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let request = ApiVersionsRequest::default();
        Client::connect(&address).call(0, &request);
        Broker { child, address, start_ms: began.elapsed().as_secs_f64() * 1e3 }
    }
}

fn on_core_0(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]);
    command
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the broker runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
    ticks / rustix::param::clock_ticks_per_second() as f64
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the broker runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

fn pin_to(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("a core to run the load on");
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
    touch(bytes);
    let server = std::thread::spawn(move || {
        pin_to(0);
        let mut streams: Vec<TcpStream> =
            (0..CONNECTIONS).map(|_| listener.accept().expect("a connection").0).collect();
        let mut buffer = vec![0; REQUEST_BYTES];
        let (mut position, mut crc) = (0, 0);
        let began = (thread_cpu_seconds(), Instant::now());
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
        ((thread_cpu_seconds() - began.0) / gb, gb / began.1.elapsed().as_secs_f64())
    });
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("the loop listens");
                let piece = vec![7; REQUEST_BYTES];
                (0..each / REQUEST_BYTES).for_each(|_| stream.write_all(&piece).expect("the loop reads"));
            });
        }
    });
    server.join().expect("the loop ends")
}

fn thread_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
