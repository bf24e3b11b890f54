//! A million offset commits in one partition of the offsets topic, and how long a start takes until that
//! partition's coordinator answers. The log is written with the storage library into the directory of a broker
//! that was stopped in order; every run starts a broker over a copy whose pages are on the disk alone.

use std::fs::{self, File};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rustix::fs::Advice;
use thalweg::clock;
use thalweg::protocol::batch::BatchBuilder;
use thalweg::protocol::stored::group::{OffsetCommitKey, OffsetCommitValue, Record};
use thalweg::storage::{Appender, LogConfig};
use thalweg::types::{LeaderEpoch, Offset, PartitionId};

use super::brokers::Broker;
use super::load::Load;
use super::members;
use super::settings::SETTINGS;

pub const COMMITS: usize = 1_000_000;
const TOPIC: &str = "replayed";
/// Partitions that a group commits for.
const PARTITIONS: usize = 1_000;
/// All groups in one partition.
const ONE_PARTITION: &str = "offsets.topic.num.partitions=1";
/// Batches whose appends are not waited for.
const UNWAITED: usize = 1_000;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

/// What a log is made of.
#[derive(Clone, Copy)]
pub struct Shape {
    pub what: &'static str,
    /// How many different offsets the commits are of.
    pub positions: usize,
    pub batch_records: usize,
}

pub const SHAPES: [Shape; 2] = [
    Shape { what: "a commit a batch, each of another position", positions: COMMITS, batch_records: 1 },
    Shape { what: "100 commits a batch, 10,000 positions", positions: 10_000, batch_records: 100 },
];

pub struct Started {
    /// From the start of the process until the coordinator answers.
    pub took: Duration,
    pub cpu_s: f64,
    /// Answers that said it was still loading.
    pub refused: usize,
}

/// Makes the data directory `dir` of a broker that has such a log; how many bytes the log is.
pub fn make(dir: &Path, shape: Shape) -> u64 {
    let broker = Broker::thalweg(dir, &broker_settings());
    members::heartbeat_frames(&mut Load::connect(&broker.address, 1), "before");
    broker.stop();
    let log_dir = dir.join("__consumer_offsets-0");
    let path = log_dir.clone();
    glommio::LocalExecutor::default().run(async move {
        let appender = Appender::new();
        let writer = glommio::spawn_local(appender.clone().run());
        write(&path, shape, &appender).await;
        appender.stop();
        writer.await;
    });
    let files = fs::read_dir(&log_dir).expect("the log's folder").flatten();
    files
        .filter(|f| f.path().extension().is_some_and(|e| e == "log"))
        .map(|f| f.metadata().unwrap().len())
        .sum()
}

async fn write(path: &Path, shape: Shape, appender: &Rc<Appender>) {
    let config = LogConfig { segment_bytes: 100 << 20, ..LogConfig::default() };
    let log = super::lag::open(path, config, appender).await;
    let epoch = log.latest_epoch().unwrap_or(LeaderEpoch(0));
    let now_ms = clock::wall_ms();
    for batch in 0..COMMITS / shape.batch_records {
        let mut records = BatchBuilder::new();
        for n in batch * shape.batch_records..(batch + 1) * shape.batch_records {
            let (key, value) = commit(n, shape.positions, now_ms).encode().expect("a commit");
            records.append(now_ms, Some(&key), value.as_deref(), &[]);
        }
        let appended = log.append_own(records.build().expect("a batch"), epoch, now_ms).expect("an append");
        if batch % UNWAITED == 0 {
            log.written_to(appended.last_offset.plus(1)).await.expect("a write");
        }
    }
    log.flush().await.expect("a flush");
    log.close().await.expect("a clean end");
}

fn broker_settings() -> Vec<&'static str> {
    SETTINGS.iter().copied().chain([ONE_PARTITION]).collect()
}

/// The commit number `n`: the offset is the number.
fn commit(n: usize, positions: usize, now_ms: i64) -> Record {
    let position = n % positions;
    let key = OffsetCommitKey {
        group: group(position),
        topic: TOPIC.into(),
        partition: PartitionId((position % PARTITIONS) as i32),
    };
    let value = OffsetCommitValue {
        offset: Offset(n as i64),
        commit_timestamp: now_ms,
        ..OffsetCommitValue::default()
    };
    Record::OffsetCommit(key, Some(value))
}

fn group(position: usize) -> String {
    format!("a-group-of-consumers-{}", position / PARTITIONS)
}

/// Starts a broker over a copy of `made`; ends when the newest commit can be read.
pub fn start(made: &Path, copy: &Path, shape: Shape) -> Started {
    copy_to_disk(made, copy);
    let began = Instant::now();
    let broker = Broker::thalweg(copy, &broker_settings());
    let mut load = Load::connect(&broker.address, 1);
    let newest = shape.positions - 1;
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partition_indexes(vec![(newest % PARTITIONS) as i32]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(group(newest))))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let mut refused = 0;
    loop {
        let answer = load.call(0, 9, &request);
        let answer = &answer.groups[0];
        if answer.error_code == COORDINATOR_LOAD_IN_PROGRESS {
            refused += 1;
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.topics[0].partitions[0].committed_offset, COMMITS as i64 - 1);
        return Started { took: began.elapsed(), cpu_s: broker.cpu_seconds(), refused };
    }
}

/// Copies a directory, and lets the pages go that the copy is in.
fn copy_to_disk(from: &Path, to: &Path) {
    let _was_not_there = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("a folder for a copy");
    for entry in fs::read_dir(from).expect("a folder to copy").flatten() {
        let copy = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_to_disk(&entry.path(), &copy);
            continue;
        }
        fs::copy(entry.path(), &copy).expect("a copy");
        let file = File::open(&copy).expect("the copy");
        file.sync_all().expect("a sync");
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("pages may be let go");
    }
}
