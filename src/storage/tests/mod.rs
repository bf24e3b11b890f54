//! The log as a whole, on real files: appends, rolls, kills at every byte, retention, against a model.

mod append_and_read;
mod costs;
mod kafka;
mod open_files;
mod recovery;
mod stalls;
mod upkeep;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use crate::protocol::batch::{
    BatchBuilder, BatchIter, CheckedBatch, ProduceLimits, TimestampType, check_produced,
};
use crate::protocol::compression::{Compression, CompressionLevels, OpenLimits};
use crate::storage::file::recorder;
use crate::storage::file::{Step, answered};
use crate::storage::{
    AppendError, Appended, Appender, Log, LogConfig, Opening, ReadError, Slice, StorageError,
};
use crate::types::{LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};

const NOW: i64 = 1_700_000_000_000;

/// Runs a test on an executor with the loops of an appender.
fn on_core<Fut: Future<Output = ()>>(test: impl FnOnce(Rc<Appender>) -> Fut) {
    on_core_without_background(|appender| async move {
        let background = glommio::spawn_local(appender.clone().run_background());
        test(appender.clone()).await;
        appender.stop();
        background.await;
    });
}

/// What nobody waits for is left undone unless the test runs it.
fn on_core_without_background<Fut: Future<Output = ()>>(test: impl FnOnce(Rc<Appender>) -> Fut) {
    glommio::LocalExecutor::default().run(async move {
        let appender = Appender::new();
        let writer = glommio::spawn_local(appender.clone().run());
        test(appender.clone()).await;
        appender.stop();
        writer.await;
    });
}

struct Random(u64);

impl Random {
    fn seeded(test: &str) -> Random {
        let seed: u64 =
            std::env::var("THALWEG_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap()
                    .subsec_nanos()
                    .into()
            });
        println!("{test}: THALWEG_SEED={seed}");
        Random(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone, Copy)]
struct Made {
    records: i32,
    value_bytes: usize,
    timestamp: i64,
    codec: Compression,
    producer: Option<(i64, i16, i32)>,
}

impl Default for Made {
    fn default() -> Made {
        Made { records: 1, value_bytes: 10, timestamp: NOW, codec: Compression::None, producer: None }
    }
}

impl Made {
    fn bytes(self) -> Bytes {
        let mut builder = BatchBuilder::new().compression(self.codec, CompressionLevels::default());
        if let Some((id, epoch, sequence)) = self.producer {
            builder = builder.producer(ProducerId(id), epoch, sequence);
        }
        for i in 0..self.records {
            let value = vec![i as u8; self.value_bytes];
            builder.append(self.timestamp + i64::from(i), Some(b"key"), Some(&value), &[]);
        }
        builder.build().unwrap()
    }

    fn checked(self) -> CheckedBatch {
        self.checked_as(TimestampType::CreateTime)
    }

    fn checked_as(self, timestamp_type: TimestampType) -> CheckedBatch {
        let limits = ProduceLimits {
            topic: "t",
            partition: PartitionId(0),
            api_version: 11,
            message_bytes_max: i32::MAX,
            compacted: false,
            timestamp_type,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            now_ms: NOW,
            open: OpenLimits::default(),
        };
        check_produced(self.bytes(), &limits).unwrap()
    }
}

fn append(log: &Rc<Log>, made: Made) -> Appended {
    log.append(&made.checked(), LeaderEpoch(0), NOW).unwrap()
}

async fn append_written(log: &Rc<Log>, made: Made) -> Appended {
    let appended = append(log, made);
    log.written_to(appended.last_offset.plus(1)).await.unwrap();
    appended
}

fn unclean() -> Opening {
    Opening { topic_id: Some(TopicId::METADATA), ..Opening::default() }
}

fn clean(log: &Log) -> Opening {
    Opening { clean: true, recovery_point: log.flushed(), log_start: log.log_start(), ..unclean() }
}

async fn open(dir: &Path, config: &LogConfig, opening: Opening, appender: &Rc<Appender>) -> Rc<Log> {
    Log::open(dir.to_owned(), Rc::new(config.clone()), opening, appender).await.unwrap()
}

fn bytes_of(slice: &Slice) -> Vec<u8> {
    let mut bytes = vec![0; slice.length as usize];
    assert_eq!(slice.file.read_at(&mut bytes, slice.position).unwrap(), bytes.len());
    bytes
}

async fn read(log: &Rc<Log>, from: i64, below: Offset, max_bytes: u32, min_one: bool) -> Option<Slice> {
    loop {
        match log.read(Offset(from), below, max_bytes, min_one) {
            Ok(slice) => return slice,
            Err(ReadError::Cold(cold)) => log.warm(cold).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Base offset, last offset and size of every batch from `from` on, checking CRCs and that reads fit together.
async fn batches(log: &Rc<Log>, from: i64) -> Vec<(i64, i64, usize)> {
    let mut found = Vec::new();
    let mut next = from;
    while let Some(slice) = read(log, next, log.written(), 100_000, true).await {
        let bytes = bytes_of(&slice);
        let mut iter = BatchIter::new(&bytes);
        for batch in &mut iter {
            let batch = batch.unwrap();
            assert!(batch.crc_matches());
            assert!(found.last().is_none_or(|(_, last, _)| *last < batch.header.base_offset().0));
            next = batch.header.next_offset().0;
            found.push((batch.header.base_offset().0, next - 1, batch.bytes.len()));
        }
        assert!(iter.position() > 0, "a read gives at least one whole batch");
    }
    found
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in files(from, "") {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn partition_dir(tmp: &TempDir) -> PathBuf {
    tmp.path().join("t-0")
}

/// Kafka's defaults, but batches of long ago keep their producers.
fn config() -> LogConfig {
    LogConfig { producer_id_expiration_ms: i64::MAX, ..LogConfig::default() }
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 200, ..config() }
}

/// Every file that Kafka's dump tool knows must be read by it without a complaint. Does nothing where
/// `THALWEG_KAFKA_LIBS` does not name Kafka's libs folder.
fn dump_with_kafka(dirs: &[&Path]) {
    let Some(libs) = std::env::var_os("THALWEG_KAFKA_LIBS") else { return };
    let class_path = format!("{}/*", libs.to_string_lossy());
    let known = [".log", ".index", ".timeindex", ".snapshot"];
    let names: Vec<String> = dirs
        .iter()
        .flat_map(|dir| known.iter().flat_map(|suffix| files(dir, suffix)))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    for mode in ["--deep-iteration", "--index-sanity-check", "--verify-index-only"] {
        let output = std::process::Command::new("java")
            .args(["-cp", &class_path, "kafka.tools.DumpLogSegments", mode, "--files", &names.join(",")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<&str> = complaints
            .lines()
            .filter(|line| !line.contains("SLF4J") && !line.contains("StatusLogger"))
            .collect();
        assert!(output.status.success() && complaints.is_empty(), "{mode}: {complaints:?}");
        for word in ["invalid bytes", "isvalid: false", "Mismatch", "mismatch", "out of order"] {
            assert!(!text.contains(word), "{mode} says {word}: {text}");
        }
    }
}
