//! Brokers as processes: ours, and Apache Kafka 4.1.1 by `tests/apache-kafka/run`. Each is stopped by its
//! own pid; dropping one kills it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A fresh directory for one test, below cargo's own temporary one.
pub fn scratch(name: &str) -> PathBuf {
    let root =
        std::env::var_os("JUDGE_TMP").map_or(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let path = root.join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a scratch directory can be made");
    path
}

/// A port that nobody listens on at this moment, another one each time, below those that outgoing connections get.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u32> = 20_000..29_000;
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    // Where this process begins is as random as the port that the kernel chooses.
    let begin = || {
        let chosen =
            TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        AtomicU32::new(u32::from(chosen) * 31)
    };
    let next = NEXT.get_or_init(begin);
    let tried = PORTS.map(|_| PORTS.start + next.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u32);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    tried.map(|port| port as u16).find(is_free).expect("a free port")
}

/// A build with the feature `faults`: the one that `FAULTY_THALWEG` names, or one made now, in a target
/// directory that the suites share.
pub fn faulty_build() -> PathBuf {
    if let Some(given) = std::env::var_os("FAULTY_THALWEG") {
        return given.into();
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--bin", "thalweg", "--features", "faults", "--target-dir"])
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the build with faults fails");
    target.join("debug/thalweg")
}

/// The broker under test.
pub struct Thalweg {
    child: Child,
    pub address: SocketAddr,
    pub directory: PathBuf,
    binary: PathBuf,
    options: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Thalweg {
    /// Starts the built binary with `options` (`key=value`) on the data in `directory/data`. The first
    /// listener is `PLAINTEXT://ADDRESS`; an option `listeners` must begin with it.
    pub fn start(directory: &Path, options: &[&str]) -> Thalweg {
        Thalweg::start_binary(Path::new(env!("CARGO_BIN_EXE_thalweg")), directory, options, &[])
    }

    /// Starts any build of the broker; `environment` is added to ours.
    pub fn start_binary(
        binary: &Path,
        directory: &Path,
        options: &[&str],
        environment: &[(&str, &str)],
    ) -> Thalweg {
        let owned = |(k, v): &(&str, &str)| (k.to_string(), v.to_string());
        let mut broker = Thalweg {
            child: Command::new("true").spawn().expect("true runs"),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory: directory.to_owned(),
            binary: binary.to_owned(),
            options: options.iter().map(|o| o.to_string()).collect(),
            environment: environment.iter().map(owned).collect(),
        };
        broker.restart();
        broker
    }

    /// Starts again on the same port and data, and waits until it listens.
    pub fn restart(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    /// Starts without waiting.
    pub fn spawn(&mut self) {
        let _ = self.child.wait();
        let _ = fs::remove_file(self.port_file());
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let mut command = Command::new(&self.binary);
        command.arg("start");
        command.arg("-o").arg(format!("listeners=PLAINTEXT://{}", self.address));
        command.arg("-o").arg(format!("log.dirs={}", self.data().display()));
        for option in &self.options {
            command.arg("-o").arg(option.replace("ADDRESS", &self.address.to_string()));
        }
        command.arg("--port-file").arg(self.port_file());
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.current_dir(&self.directory).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = command.process_group(0).spawn().expect("the broker's binary starts");
    }

    pub fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(text) = fs::read_to_string(self.port_file())
                && let Some(port) = text.split_whitespace().next().and_then(|p| p.parse().ok())
            {
                self.address.set_port(port);
                return;
            }
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("the broker ended with {status}:\n{}", self.log_tail());
            }
            assert!(Instant::now() < deadline, "no port file after 60 s:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end after a signal.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(Instant::now() < deadline, "still alive 30 s after its signal:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the broker is alive");
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|s| s.is_none())
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn log_path(&self) -> PathBuf {
        self.directory.join("broker.log")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// A line of `/proc/PID/status` in bytes, such as `VmRSS` or `VmHWM`.
    pub fn memory(&self, line: &str) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the broker runs");
        let text = status.lines().find_map(|l| l.strip_prefix(&format!("{line}:"))).expect("a known line");
        let kib = text.trim().trim_end_matches(" kB").parse::<u64>();
        kib.expect("a number of kB") * 1024
    }

    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the broker runs").count()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn port_file(&self) -> PathBuf {
        self.directory.join("port")
    }
}

impl Drop for Thalweg {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Apache Kafka 4.1.1 as one combined node.
pub struct Apache {
    child: Child,
    pub address: SocketAddr,
    pub directory: PathBuf,
}

impl Apache {
    /// Starts it with `options` (`key=value`) and waits until it answers. As for ours, the first listener is
    /// `PLAINTEXT://ADDRESS` unless an option says so. Its runner is `tests/apache-kafka/run`
    /// (`APACHE_KAFKA_RUN` overrides).
    pub fn start(directory: &Path, options: &[&str]) -> Apache {
        let runner = std::env::var_os("APACHE_KAFKA_RUN").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apache-kafka/run"),
            PathBuf::from,
        );
        // The runner puts the controller's listener 1,000 ports above.
        let port = loop {
            let port = free_port();
            if port < 64_000 && TcpListener::bind(("127.0.0.1", port + 1000)).is_ok() {
                break port;
            }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut text =
            format!("listeners=PLAINTEXT://{address}\nlog.dirs={}\n", directory.join("data").display());
        for option in options {
            text.push_str(&option.replace("ADDRESS", &address.to_string()));
            text.push('\n');
        }
        let file = directory.join("server.properties");
        fs::write(&file, text).expect("the scratch directory takes a file");
        let log = File::create(directory.join("broker.log")).expect("a log file");
        let child = Command::new(runner)
            .arg(&file)
            .current_dir(directory)
            .env("HEAP", std::env::var("HEAP").unwrap_or("-Xms128m -Xmx512m".into()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("tests/apache-kafka/run starts");
        let mut apache = Apache { child, address, directory: directory.to_owned() };
        apache.wait_until_ready();
        apache
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(self.address).is_err() {
            let log = || fs::read_to_string(self.directory.join("broker.log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("Apache Kafka ended with {status}:\n{}", log());
            }
            assert!(Instant::now() < deadline, "Apache Kafka does not listen after 120 s:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
