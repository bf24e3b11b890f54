//! What it costs to tell how old the record at a committed offset is: the header of its batch, as the broker
//! reads it, beside a search of the time index by offset, which tells no more than the age of some record up to
//! `index.interval.bytes` away. With pages in memory, and with none.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
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
const TIME_ENTRY_BYTES: usize = 12;
/// Where a search ends with one read, as the broker's does.
const BLOCK_BYTES: usize = 4096;

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
        let time_index =
            files.iter().find(|f| f.extension().is_some_and(|e| e == "timeindex")).expect("an index");
        let time_index = File::open(time_index).expect("the index");
        files.iter().for_each(|path| let_go(path));
        let header_cold = headers(&log).await;
        let header_warm = headers(&log).await;
        files.iter().for_each(|path| let_go(path));
        let time_index_cold = entries(&time_index);
        let time_index_warm = entries(&time_index);
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

fn entries(index: &File) -> f64 {
    let count = index.metadata().expect("the index").len() as usize / TIME_ENTRY_BYTES;
    let began = Instant::now();
    let mut bytes = [0; BLOCK_BYTES];
    for offset in offsets() {
        let (mut low, mut high) = (0, count);
        while high - low > BLOCK_BYTES / TIME_ENTRY_BYTES {
            let middle = low + (high - low) / 2;
            index
                .read_exact_at(&mut bytes[..TIME_ENTRY_BYTES], (middle * TIME_ENTRY_BYTES) as u64)
                .expect("a read");
            match offset_of(&bytes[..TIME_ENTRY_BYTES]) <= offset {
                true => low = middle,
                false => high = middle,
            }
        }
        let block = &mut bytes[..(high - low) * TIME_ENTRY_BYTES];
        index.read_exact_at(block, (low * TIME_ENTRY_BYTES) as u64).expect("a read");
        let before =
            block.chunks_exact(TIME_ENTRY_BYTES).take_while(|entry| offset_of(entry) <= offset).last();
        std::hint::black_box(before);
    }
    began.elapsed().as_secs_f64() * 1e6 / POSITIONS as f64
}

fn offset_of(entry: &[u8]) -> i64 {
    i64::from(u32::from_be_bytes(entry[8..12].try_into().expect("four bytes")))
}
