//! What it costs to tell how old the record at a committed offset is: by the entries of the time index on both
//! sides, as in a topic that is written to all the time, and by the header of its batch. With pages in memory, and
//! with none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use rustix::fs::Advice;
use thalweg::clock;
use thalweg::protocol::batch::BatchBuilder;
use thalweg::storage::{Appender, Log, LogConfig, Opening};
use thalweg::types::{LeaderEpoch, Offset};

pub const POSITIONS: usize = 10_000;
const BATCHES: i64 = 300_000;
const RECORD_BYTES: usize = 1_000;

/// Microseconds a position.
pub struct Figures {
    pub header_warm: f64,
    pub header_cold: f64,
    pub time_index_warm: f64,
    pub time_index_cold: f64,
}

pub fn measure(dir: PathBuf) -> Figures {
    glommio::LocalExecutor::default().run(async move {
        let appender = Appender::new();
        let writer = glommio::spawn_local(appender.clone().run());
        write(&dir, &appender).await;
        let log = open(&dir, LogConfig::default(), &appender).await;
        let files: Vec<PathBuf> = fs::read_dir(&dir).expect("the log").flatten().map(|f| f.path()).collect();
        files.iter().for_each(|path| let_go(path));
        let header_cold = headers(&log).await;
        let header_warm = headers(&log).await;
        files.iter().for_each(|path| let_go(path));
        let time_index_cold = times(&log).await;
        let time_index_warm = times(&log).await;
        appender.stop();
        writer.await;
        Figures { header_warm, header_cold, time_index_warm, time_index_cold }
    })
}

/// A log of its own, after a clean stop.
pub async fn open(dir: &Path, config: LogConfig, appender: &Rc<Appender>) -> Rc<Log> {
    let opening = Opening {
        clean: true,
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        topic_id: None,
        progress: None,
    };
    Log::open(dir.to_owned(), Rc::new(config), opening, appender).await.expect("a log")
}

/// A segment of batches of one record, a millisecond apart.
async fn write(dir: &Path, appender: &Rc<Appender>) {
    let log = open(dir, LogConfig::default(), appender).await;
    let begin_ms = clock::wall_ms() - BATCHES;
    for n in 0..BATCHES {
        let mut batch = BatchBuilder::new();
        batch.append(begin_ms + n, None, Some(&[7; RECORD_BYTES]), &[]);
        let batch = batch.build().expect("a batch");
        let appended = log.append_own(batch, LeaderEpoch(0), begin_ms + n).expect("an append");
        if n % 1_000 == 0 {
            log.written_to(appended.last_offset.plus(1)).await.expect("a write");
        }
    }
    log.flush().await.expect("a flush");
    log.close().await.expect("a clean end");
}

fn let_go(path: &Path) {
    let file = File::open(path).expect("a file of the log");
    file.sync_all().expect("a sync");
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("pages may be let go");
}

/// Offsets all over the log, in no order.
fn offsets() -> impl Iterator<Item = i64> {
    (0..POSITIONS as i64).map(|n| n * 7_919 % BATCHES)
}

async fn headers(log: &Log) -> f64 {
    let began = Instant::now();
    for offset in offsets() {
        let header = log.header_at(Offset(offset)).await.expect("a read").expect("a batch");
        assert_eq!(header.base_offset(), Offset(offset));
    }
    began.elapsed().as_secs_f64() * 1e6 / POSITIONS as f64
}

async fn times(log: &Log) -> f64 {
    let began = Instant::now();
    for offset in offsets() {
        std::hint::black_box(log.times_around(Offset(offset)).await.expect("a look into the index"));
    }
    began.elapsed().as_secs_f64() * 1e6 / POSITIONS as f64
}
