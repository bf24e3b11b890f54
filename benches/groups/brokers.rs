//! The two brokers as processes on core 0, with the same configuration.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Members beat every second, so that a round is short.
const SETTINGS: &[&str] = &[
    "group.consumer.min.heartbeat.interval.ms=1000",
    "group.consumer.heartbeat.interval.ms=1000",
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=8",
    "offsets.topic.replication.factor=1",
    "num.partitions=1",
];

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
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn thalweg(dir: &Path) -> Broker {
        Broker::thalweg_with(dir, &[])
    }

    /// With more settings, which go over the common ones.
    pub fn thalweg_with(dir: &Path, more: &[&str]) -> Broker {
        let port_file = dir.with_extension("port");
        let _of_a_start_before = std::fs::remove_file(&port_file);
        let mut command = on_core_0(env!("CARGO_BIN_EXE_thalweg"));
        command.args(["start", "--cores", "0", "-o", "listeners=PLAINTEXT://127.0.0.1:0", "-o"]);
        command.arg(format!("log.dirs={}", dir.display())).arg("--port-file").arg(&port_file);
        SETTINGS.iter().chain(more).for_each(|setting| {
            command.args(["-o", setting]);
        });
        let child = command.stderr(Stdio::null()).spawn().expect("the broker starts");
        let began = Instant::now();
        let port = loop {
            if let Ok(port) = std::fs::read_to_string(&port_file) {
                break port.trim().to_owned();
            }
            assert!(began.elapsed() < Duration::from_secs(20), "the broker did not start");
            std::thread::sleep(Duration::from_millis(1));
        };
        Broker { child, address: format!("127.0.0.1:{port}") }
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the broker runs");
        assert!(self.child.wait().expect("the broker ends").success());
    }

    pub fn apache_kafka(dir: &Path) -> Broker {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let port = port % 20_000 + 20_000;
        let file = dir.with_extension("properties");
        let text = format!(
            "listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={}\n{}\n",
            dir.display(),
            SETTINGS.join("\n")
        );
        std::fs::write(&file, text).expect("a file for Apache Kafka");
        let run = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/apache-kafka/run");
        let mut command = on_core_0(&run.display().to_string());
        command.arg(&file).env("HEAP", "-Xms1g -Xmx1g").stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("Apache Kafka starts");
        let address = format!("127.0.0.1:{port}");
        let began = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(180), "no answer from {address}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Broker { child, address }
    }
}

fn on_core_0(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]);
    command
}

pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the broker runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
    ticks / rustix::param::clock_ticks_per_second() as f64
}

pub fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the broker runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
}

pub fn pin_to(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("a core to run the load on");
}
