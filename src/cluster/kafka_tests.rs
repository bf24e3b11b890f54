//! Against Apache Kafka itself, where it can be run: its formatter, its dump tool, and the broker.
//!
//! `cargo test --lib cluster::kafka_tests -- --ignored` with `KAFKA_LIBS` naming the folder of Apache Kafka
//! 4.1's jars (that of `tests/apache-kafka` otherwise) and `java` on the path.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::format;
use super::single::DIRECTORY;
use super::snapshot::{self, SnapshotId};
use super::testing::{NODE, Node, format_options, topic, with_config};
use crate::protocol::batch::BatchIter;

fn libs() -> PathBuf {
    std::env::var_os("KAFKA_LIBS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apache-kafka/libs"), PathBuf::from)
}

fn java(class: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-cp", &format!("{}/*", libs().display()), class]).args(arguments);
    command
}

fn run(class: &str, arguments: &[&str]) -> String {
    let output = java(class, arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{class} {arguments:?}: {text}{errors}");
    text
}

fn properties(dir: &Path, log_dir: &Path, port: u16) -> PathBuf {
    let path = dir.join("server.properties");
    let mut file = fs::File::create(&path).unwrap();
    write!(
        file,
        "process.roles=broker,controller\nnode.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:30391\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:30391\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={}\noffsets.topic.replication.factor=1\n",
        log_dir.display()
    )
    .unwrap();
    path
}

/// Every batch of a file with times, CRCs and the given ids blanked.
fn blanked(path: &Path, ids: &[&[u8]]) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let mut out = Vec::new();
    for batch in BatchIter::new(&bytes) {
        let batch = batch.unwrap();
        let mut header = *batch.header;
        header.crc = 0.into();
        header.base_timestamp = 0.into();
        header.max_timestamp = 0.into();
        out.extend_from_slice(zerocopy::IntoBytes::as_bytes(&header));
        let mut records = batch.record_bytes().to_vec();
        for id in ids {
            while let Some(at) = records.windows(id.len()).position(|window| window == *id) {
                records[at..at + id.len()].fill(0);
            }
        }
        out.extend_from_slice(&records);
    }
    out
}

#[test]
#[ignore = "runs Apache Kafka"]
fn formats_what_kafka_formats() {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    let cluster_id = "rSiWhtrNRmq4pk5tM5LMKw";
    let server = properties(dir.path(), &theirs, 29391);
    let features = ["--feature", "transaction.version=0"];
    let mut arguments = vec!["format", "--standalone", "-t", cluster_id, "-c", server.to_str().unwrap()];
    arguments.extend(features);
    run("kafka.tools.StorageTool", &arguments);
    let mut options = format_options(&ours);
    options.cluster_id = Some(cluster_id.to_owned());
    let formatted = format::format(&options).unwrap();

    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = std::os::unix::fs::PermissionsExt::mode(&entry.metadata().unwrap().permissions());
                (entry.file_name(), format!("{mode:o}"))
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&ours), names(&theirs));
    assert_eq!(names(&ours.join(DIRECTORY)), names(&theirs.join(DIRECTORY)));
    let lines = |dir: &Path| {
        let text = fs::read_to_string(dir.join("meta.properties")).unwrap();
        let line = |line: &str| match line.split_once('=') {
            Some(("directory.id", id)) => format!("directory.id of {}", id.len()),
            _ => line.to_owned(),
        };
        let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(line).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&ours), lines(&theirs));
    let name = "bootstrap.checkpoint";
    assert_eq!(blanked(&ours.join(name), &[]), blanked(&theirs.join(name), &[]));
    let their_meta = crate::storage::checkpoint::MetaProperties::read(&theirs).unwrap().unwrap();
    let (our_id, their_id) = (formatted.metadata_directory_id.0, their_meta.directory_id.unwrap().0);
    // The header record's time is in the records' bytes.
    let first = |dir: &Path| SnapshotId::FIRST.path(&dir.join(DIRECTORY));
    let time = |dir: &Path| snapshot::Snapshot::read(&first(dir)).unwrap().last_timestamp_ms.to_be_bytes();
    assert_eq!(
        blanked(&first(&ours), &[our_id.as_bytes(), &time(&ours)]),
        blanked(&first(&theirs), &[their_id.as_bytes(), &time(&theirs)])
    );
}

fn written(dir: &Path, stop_in_order: bool) {
    let node = Node::open(dir, |options| {
        options.snapshot_bytes = 3000;
        options.segments.bytes_max = 10_000;
    });
    let epoch = node.register();
    for i in 0..120 {
        node.create(vec![with_config(topic(&format!("t{i}"), 2), "retention.ms", "60000")]);
    }
    if stop_in_order {
        node.drive(node.controller.shut_down_broker(NODE, epoch)).unwrap().unwrap();
    }
}

#[test]
#[ignore = "runs Apache Kafka"]
fn kafkas_dump_tool_reads_every_file() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), true);
    drop(Node::start(dir.path(), |_| {}));
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir.path().join(DIRECTORY)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(dir.path().join("bootstrap.checkpoint"));
    let of_kind = |kinds: &[&str]| {
        let is = |path: &&PathBuf| {
            kinds.contains(&path.extension().and_then(|kind| kind.to_str()).unwrap_or_default())
        };
        let names: Vec<_> = files.iter().filter(is).map(|path| path.to_str().unwrap()).collect();
        assert!(names.len() > 2, "{names:?}");
        names.join(",")
    };
    let (batches, indexes) = (of_kind(&["log", "checkpoint"]), of_kind(&["index", "timeindex"]));
    let deep = ["--cluster-metadata-decoder", "--deep-iteration", "--files", &batches];
    for arguments in [&deep[..], &["--files", &indexes]] {
        let text = run("kafka.tools.DumpLogSegments", arguments);
        for complaint in ["isvalid: false", "ismatch", "Found", "Exception", "not", "out of order"] {
            let hit = text.lines().find(|line| line.contains(complaint) && !line.contains("payload"));
            assert!(hit.is_none(), "{hit:?}");
        }
    }
}

struct Kafka(Child);

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "runs Apache Kafka"]
fn kafka_starts_on_our_directory_and_lists_its_topics_and_we_go_on_after_it() {
    for (stop_in_order, port) in [(true, 29591), (false, 29592)] {
        let dir = tempfile::tempdir().unwrap();
        let log_dir = dir.path().join("data");
        written(&log_dir, stop_in_order);
        let server = properties(dir.path(), &log_dir, port);
        let output = fs::File::create(dir.path().join("kafka.out")).unwrap();
        let child = java("kafka.Kafka", &[server.to_str().unwrap()])
            .stdout(output.try_clone().unwrap())
            .stderr(Stdio::from(output))
            .spawn()
            .unwrap();
        let mut kafka = Kafka(child);
        let bootstrap = format!("127.0.0.1:{port}");
        let started = Instant::now();
        while std::net::TcpStream::connect(&bootstrap).is_err() {
            let dead = kafka.0.try_wait().unwrap();
            let said = fs::read_to_string(dir.path().join("kafka.out")).unwrap();
            assert!(dead.is_none() && started.elapsed() < Duration::from_secs(60), "{dead:?}: {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let admin = |arguments: &[&str]| {
            let mut all = vec!["--bootstrap-server", bootstrap.as_str()];
            all.extend(arguments);
            run("org.apache.kafka.tools.TopicCommand", &all)
        };
        let listed = admin(&["--list"]);
        assert_eq!(listed.lines().filter(|line| line.starts_with('t')).count(), 120, "{listed}");
        let described = admin(&["--describe", "--topic", "t7"]);
        assert!(
            described.contains("PartitionCount: 2") && described.contains("retention.ms=60000"),
            "{described}"
        );
        assert!(described.contains("Leader: 1"), "{described}");
        admin(&["--create", "--topic", "theirs", "--partitions", "3"]);
        let terminated = Command::new("kill").arg(kafka.0.id().to_string()).status().unwrap();
        assert!(terminated.success());
        kafka.0.wait().unwrap();
        drop(kafka);

        let node = Node::start(&log_dir, |_| {});
        let image = node.image();
        assert_eq!(image.topic_count(), 121);
        let theirs = image.topic("theirs").unwrap();
        assert!(theirs.partitions.iter().all(|partition| partition.leader == NODE));
    }
}
