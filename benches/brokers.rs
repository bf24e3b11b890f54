//! The brokers that are measured: Thalweg and Apache Kafka as processes on core 0, started alike on an empty
//! directory, what they have used, and a connection to one that sends whole frames and waits for answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};

/// A broker that has answered; it is killed when this goes.
pub struct Broker {
    child: Child,
    pub address: String,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Broker {
    /// Starts Thalweg on the directory `dir`; `settings` are `key=value`.
    pub fn thalweg(dir: &Path, settings: &[&str]) -> Broker {
        let port_file = dir.with_extension("port");
        let _of_a_start_before = std::fs::remove_file(&port_file);
        let mut command = on_core_0(env!("CARGO_BIN_EXE_thalweg"));
        command.args(["start", "--cores", "0", "-o", "listeners=PLAINTEXT://127.0.0.1:0", "-o"]);
        command.arg(format!("log.dirs={}", dir.display())).arg("--port-file").arg(&port_file);
        for setting in settings {
            command.args(["-o", setting]);
        }
        let child = command.stderr(Stdio::null()).spawn().expect("the broker starts");
        let began = Instant::now();
        let port = loop {
            if let Ok(port) = std::fs::read_to_string(&port_file) {
                break port.trim().to_owned();
            }
            assert!(began.elapsed() < Duration::from_secs(20), "the broker did not start");
            std::thread::sleep(Duration::from_millis(1));
        };
        Broker::answering(child, format!("127.0.0.1:{port}"))
    }

    /// Starts Apache Kafka on the directory `dir`; `settings` are `key=value`.
    pub fn apache_kafka(dir: &Path, settings: &[&str]) -> Broker {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let port = port % 20_000 + 20_000;
        let file = dir.with_extension("properties");
        let settings = settings.join("\n");
        let text =
            format!("listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={}\n{settings}\n", dir.display());
        std::fs::write(&file, text).expect("a file for Apache Kafka");
        let run = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/apache-kafka/run");
        let mut command = on_core_0(&run.display().to_string());
        command.arg(&file).env("HEAP", "-Xms1g -Xmx1g").stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("Apache Kafka starts");
        Broker::answering(child, format!("127.0.0.1:{port}"))
    }

    /// Waits for the first answer.
    fn answering(child: Child, address: String) -> Broker {
        let began = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(180), "no answer from {address}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Connection::open(&address).call(0, &ApiVersionsRequest::default());
        Broker { child, address }
    }

    /// Ends it in order.
    #[allow(dead_code, reason = "benches that start a broker once let it be killed")]
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the broker runs");
        assert!(self.child.wait().expect("the broker ends").success());
    }

    /// CPU seconds that the process has had.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: f64 =
            fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
        ticks / rustix::param::clock_ticks_per_second() as f64
    }

    pub fn resident_mib(&self) -> f64 {
        self.memory_mib("VmRSS:")
    }

    /// The most that was resident since the start.
    #[allow(dead_code, reason = "not every bench asks for it")]
    pub fn peak_resident_mib(&self) -> f64 {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, name: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("the broker runs")
    }
}

fn on_core_0(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]);
    command
}

/// A connection on which answers are waited for.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    pub fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket option");
        Connection { stream, answer: Vec::new() }
    }

    /// Sends one request; its answer, from the correlation id on.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> &[u8] {
        self.send(&frame(version, request));
        self.receive()
    }

    pub fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).expect("the broker reads");
    }

    /// The next answer, from the correlation id on.
    pub fn receive(&mut self) -> &[u8] {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("the broker answers");
        self.answer.resize(u32::from_be_bytes(length) as usize, 0);
        self.stream.read_exact(&mut self.answer).expect("a whole answer");
        &self.answer
    }
}

/// A whole request frame.
pub fn frame<R: Request>(version: i16, request: &R) -> Bytes {
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
