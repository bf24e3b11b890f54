//! A broker for tests of the command line, and the real binary run against it.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_thalweg");

/// A broker, and topics of one test on it.
pub struct Broker {
    bootstrap: String,
    own: Option<(Child, tempfile::TempDir)>,
    pub prefix: String,
}

impl Broker {
    pub fn new(test: &str) -> Broker {
        let prefix = format!("cli-{test}-{}", std::process::id());
        if let Ok(bootstrap) = std::env::var("THALWEG_TEST_BOOTSTRAP") {
            return Broker { bootstrap, own: None, prefix };
        }
        let dir = tempfile::tempdir().unwrap();
        let port_file = dir.path().join("port");
        let mut child = Command::new(BINARY)
            .args(["start", "-o", "listeners=PLAINTEXT://127.0.0.1:0", "-o"])
            .arg(format!("log.dirs={}", dir.path().join("data").display()))
            .arg("--port-file")
            .arg(&port_file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = wait_for_port(&port_file, &mut child);
        Broker { bootstrap: format!("127.0.0.1:{port}"), own: Some((child, dir)), prefix }
    }

    /// A topic's name that no other test has.
    pub fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).env("KAFKA_BOOTSTRAP_SERVERS", &self.bootstrap);
        command
    }

    pub fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // It may end before it has read everything.
        let writer = std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// Runs a command that must succeed and gives what it printed.
    pub fn done(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(args, input);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.done(args, b"")).unwrap()
    }

    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        self.text(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a command that must fail and gives its error.
    pub fn error(&self, args: &[&str], input: &[u8]) -> String {
        let output = self.run(args, input);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn create(&self, name: &str, partitions: &str) -> String {
        let topic = self.topic(name);
        self.done(&["topic", "create", &topic, "-p", partitions], b"");
        topic
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        match &mut self.own {
            Some((child, _)) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            None if !std::thread::panicking() => {
                self.done(&["topic", "delete", &format!("{}-.*", self.prefix), "--yes", "--if-exists"], b"");
            }
            None => {}
        }
    }
}

fn wait_for_port(file: &Path, child: &mut Child) -> u16 {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let port = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
        if let Some(port) = port {
            return port;
        }
        assert_eq!(child.try_wait().unwrap(), None, "the broker has ended");
        assert!(Instant::now() < give_up, "the broker does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}
