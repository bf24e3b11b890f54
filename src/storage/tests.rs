//! The log as a whole, on real files: appends, rolls, kills at every byte, retention, against a model.

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
    glommio::LocalExecutor::default().run(async move {
        let appender = Appender::new();
        let writer = glommio::spawn_local(appender.clone().run());
        let background = glommio::spawn_local(appender.clone().run_background());
        test(appender.clone()).await;
        appender.stop();
        writer.await;
        background.await;
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

#[test]
fn nothing_is_on_disk_before_the_first_append() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let log = open(&dir, &LogConfig::default(), unclean(), &appender).await;
        log.begin_epoch(LeaderEpoch(3));
        assert_eq!((log.log_start(), log.log_end(), log.written()), (Offset(0), Offset(0), Offset(0)));
        assert!(read(&log, 0, Offset(100), 1, true).await.is_none());
        assert!(matches!(log.read(Offset(1), Offset(1), 1, true), Err(ReadError::OutOfRange { .. })));
        log.tick(NOW);
        assert_eq!(log.retain(Offset(0), NOW).await.unwrap(), 0);
        log.close().await.unwrap();
        assert!(!dir.exists());
        let log = open(&dir, &LogConfig::default(), unclean(), &appender).await;
        log.delete().await.unwrap();
        assert_eq!(files(tmp.path(), "").len(), 0);
    });
}

#[test]
fn appended_batches_are_read_back() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let log = open(&partition_dir(&tmp), &small_segments(), unclean(), &appender).await;
        let first = append(&log, Made { records: 3, ..Made::default() });
        assert_eq!((first.base_offset, first.last_offset), (Offset(0), Offset(2)));
        assert_eq!((first.log_append_time_ms, first.duplicate), (-1, false));
        assert_eq!(log.log_end(), Offset(3));
        assert!(read(&log, 0, Offset(3), 1000, true).await.is_none(), "staged batches are not served");
        log.written_to(Offset(3)).await.unwrap();
        let mut all = vec![(0, 2)];
        for i in 0..100 {
            let appended =
                append(&log, Made { records: 1 + i % 4, value_bytes: i as usize, ..Made::default() });
            all.push((appended.base_offset.0, appended.last_offset.0));
            if i % 3 == 0 {
                log.written_to(log.log_end()).await.unwrap();
            }
        }
        log.written_to(log.log_end()).await.unwrap();
        assert!(log.segment_count() > 5);
        for (base, last) in &all {
            for offset in *base..=*last {
                let found = batches(&log, offset).await;
                let found: Vec<(i64, i64)> = found.iter().map(|(b, l, _)| (*b, *l)).collect();
                assert_eq!(found, all[all.iter().position(|(_, l)| *l >= offset).unwrap()..]);
            }
        }
        log.close().await.unwrap();
        assert!(matches!(
            log.read(Offset(0), Offset(1), 1, true),
            Err(ReadError::Offline(StorageError::Closed))
        ));
    });
}

#[test]
fn reads_keep_to_limits_and_the_high_watermark() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let log = open(&partition_dir(&tmp), &LogConfig::default(), unclean(), &appender).await;
        for _ in 0..10 {
            append_written(&log, Made { records: 2, ..Made::default() }).await;
        }
        let one = Made { records: 2, ..Made::default() }.bytes().len() as u32;
        for warm in [true, false] {
            if !warm {
                // Without the list of newest batches everything goes through index and file.
                for _ in 0..4 {
                    log.tick(NOW);
                }
            }
            let lengths = |from, below, max, min_one| {
                let log = log.clone();
                async move { read(&log, from, Offset(below), max, min_one).await.map(|slice| slice.length) }
            };
            assert_eq!(lengths(0, 20, u32::MAX, false).await, Some(10 * one));
            assert_eq!(lengths(3, 20, u32::MAX, false).await, Some(9 * one), "an offset inside a batch");
            assert_eq!(lengths(0, 6, u32::MAX, false).await, Some(3 * one));
            assert_eq!(
                lengths(0, 5, u32::MAX, false).await,
                Some(2 * one),
                "a batch that reaches past is left out"
            );
            assert_eq!(lengths(6, 6, u32::MAX, true).await, None);
            assert_eq!(lengths(7, 6, u32::MAX, true).await, None);
            assert_eq!(lengths(0, 20, one + 5, false).await, Some(one + 5), "the last batch may be cut");
            assert_eq!(lengths(0, 20, one - 1, false).await, None);
            assert_eq!(lengths(0, 20, 1, true).await, Some(one), "the first batch is whole");
            assert_eq!(lengths(20, 20, 1, true).await, None);
            let below_start = log.read(Offset(-1), Offset(20), 1, true);
            assert!(matches!(below_start, Err(ReadError::OutOfRange { .. })));
            assert!(matches!(log.read(Offset(21), Offset(20), 1, true), Err(ReadError::OutOfRange { .. })));
        }
        log.close().await.unwrap();
    });
}

#[test]
fn a_clean_stop_loses_nothing_and_scans_nothing() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = small_segments();
        let mut log = open(&dir, &config, unclean(), &appender).await;
        for round in 0..4 {
            for i in 0..20 {
                let producer = Some((5, 0, 20 * round + i));
                append(
                    &log,
                    Made { value_bytes: 50, producer, timestamp: NOW + i64::from(i), ..Made::default() },
                );
            }
            log.close().await.unwrap();
            let progress = std::sync::Arc::new(crate::storage::Progress::default());
            let opening = Opening { progress: Some(progress.clone()), ..clean(&log) };
            let before = (log.log_start(), log.log_end(), log.size_bytes(), log.producers());
            log = open(&dir, &config, opening, &appender).await;
            assert_eq!((log.log_start(), log.log_end(), log.size_bytes(), log.producers()), before);
            assert_eq!(progress.segments_wanted.load(std::sync::atomic::Ordering::Relaxed), 0);
            assert_eq!(batches(&log, 0).await.len() as i32, 20 * (round + 1));
            // All five newest batches are known again, though the snapshot holds one.
            for back in 1..=5 {
                let producer = Some((5, 0, 20 * (round + 1) - back));
                let again = append(&log, Made { value_bytes: 50, producer, ..Made::default() });
                assert!(again.duplicate);
                assert_eq!(again.base_offset, log.log_end().plus(-i64::from(back)));
            }
        }
        log.close().await.unwrap();
    });
}

#[test]
fn idempotence_holds_across_append_and_kill() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = small_segments();
        let log = open(&dir, &config, unclean(), &appender).await;
        let batch = |sequence| Made {
            records: 2,
            value_bytes: 40,
            producer: Some((9, 1, sequence)),
            ..Made::default()
        };
        for i in 0..30 {
            append(&log, batch(2 * i));
        }
        let again = log.append(&batch(56).checked(), LeaderEpoch(0), NOW).unwrap();
        assert!(again.duplicate);
        assert_eq!((again.base_offset, again.last_offset), (Offset(56), Offset(57)));
        assert_eq!(
            again.log_append_time_ms,
            NOW + 1,
            "a duplicate is answered with its original's timestamp"
        );
        let skipped = log.append(&batch(62).checked(), LeaderEpoch(0), NOW);
        assert!(matches!(skipped, Err(AppendError::OutOfOrderSequence(_))));
        let fenced = Made { producer: Some((9, 0, 60)), ..Made::default() };
        let fenced = log.append(&fenced.checked(), LeaderEpoch(0), NOW);
        assert!(matches!(fenced, Err(AppendError::InvalidProducerEpoch(_))));
        log.written_to(log.log_end()).await.unwrap();
        let killed = tmp.path().join("killed").join("t-0");
        copy_dir(&dir, &killed);
        let recovered = open(&killed, &config, unclean(), &appender).await;
        assert_eq!(recovered.log_end(), Offset(60));
        for i in 25..30 {
            let again = recovered.append(&batch(2 * i).checked(), LeaderEpoch(0), NOW).unwrap();
            assert_eq!((again.duplicate, again.base_offset), (true, Offset(i64::from(2 * i))));
        }
        assert!(!recovered.append(&batch(60).checked(), LeaderEpoch(0), NOW).unwrap().duplicate);
        recovered.close().await.unwrap();
        log.close().await.unwrap();
    });
}

#[test]
fn log_append_time_is_stamped_and_answered() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let log = open(&partition_dir(&tmp), &LogConfig::default(), unclean(), &appender).await;
        let batch =
            Made { records: 3, timestamp: 5, ..Made::default() }.checked_as(TimestampType::LogAppendTime);
        let appended = log.append(&batch, LeaderEpoch(7), NOW).unwrap();
        assert_eq!(appended.log_append_time_ms, NOW);
        log.written_to(Offset(3)).await.unwrap();
        let bytes = bytes_of(&read(&log, 0, Offset(3), 1000, true).await.unwrap());
        let batch = BatchIter::new(&bytes).next().unwrap().unwrap();
        assert!(batch.crc_matches());
        assert_eq!(batch.header.max_timestamp.get(), NOW);
        assert_eq!(batch.header.leader_epoch(), LeaderEpoch(7));
        assert_eq!(log.offset_for_timestamp(NOW).await.unwrap(), Some((NOW, Offset(0), LeaderEpoch(7))));
        assert_eq!(log.max_timestamp().await.unwrap(), Some((NOW, Offset(0), LeaderEpoch(7))));
        log.close().await.unwrap();
    });
}

#[test]
fn offsets_are_found_by_timestamp() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = small_segments();
        let mut log = open(&dir, &config, unclean(), &appender).await;
        assert_eq!(log.offset_for_timestamp(0).await.unwrap(), None);
        assert_eq!(log.max_timestamp().await.unwrap(), None);
        let codecs =
            [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Zstd, Compression::Snappy];
        for i in 0..60 {
            let timestamp = NOW + 10 * i;
            let codec = codecs[i as usize % codecs.len()];
            append(&log, Made { records: 2, value_bytes: 40, timestamp, codec, ..Made::default() });
        }
        // A late batch does not move what comes after it.
        append(&log, Made { timestamp: NOW, ..Made::default() });
        log.written_to(log.log_end()).await.unwrap();
        for _ in 0..2 {
            for i in 0..60 {
                let found = log.offset_for_timestamp(NOW + 10 * i).await.unwrap();
                assert_eq!(found, Some((NOW + 10 * i, Offset(2 * i), LeaderEpoch(0))));
                let found = log.offset_for_timestamp(NOW + 10 * i + 1).await.unwrap();
                assert_eq!(found, Some((NOW + 10 * i + 1, Offset(2 * i + 1), LeaderEpoch(0))));
            }
            assert_eq!(log.offset_for_timestamp(NOW + 592).await.unwrap(), None);
            assert_eq!(log.max_timestamp().await.unwrap(), Some((NOW + 591, Offset(119), LeaderEpoch(0))));
            log.close().await.unwrap();
            log = open(&dir, &config, clean(&log), &appender).await;
        }
        log.advance_log_start(Offset(20));
        assert_eq!(log.offset_for_timestamp(0).await.unwrap().unwrap().1, Offset(20));
        log.close().await.unwrap();
    });
}

#[test]
fn a_batch_tells_of_itself_by_any_of_its_offsets() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = small_segments();
        let mut log = open(&dir, &config, unclean(), &appender).await;
        assert!(log.header_at(Offset(0)).await.unwrap().is_none());
        for i in 0..60 {
            append(&log, Made { records: 2, value_bytes: 40, timestamp: NOW + 10 * i, ..Made::default() });
        }
        log.written_to(log.log_end()).await.unwrap();
        assert!(log.segment_count() > 1);
        for _ in 0..2 {
            for offset in 0..120 {
                let header = log.header_at(Offset(offset)).await.unwrap().unwrap();
                assert_eq!(header.base_offset(), Offset(offset / 2 * 2));
                assert_eq!(header.base_timestamp.get(), NOW + 10 * (offset / 2));
            }
            assert!(log.header_at(Offset(120)).await.unwrap().is_none());
            log.close().await.unwrap();
            log = open(&dir, &config, clean(&log), &appender).await;
        }
        log.close().await.unwrap();
    });
}

/// Kills the process (copies its files and cuts the newest at every byte) and looks at what is left.
#[test]
fn a_torn_tail_is_cut_at_the_last_whole_batch() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = LogConfig { segment_bytes: 400, index_interval_bytes: 100, ..config() };
        let log = open(&dir, &config, unclean(), &appender).await;
        for i in 0..11 {
            append_written(&log, Made { producer: Some((1, 0, i)), value_bytes: 20, ..Made::default() })
                .await;
        }
        let all = batches(&log, 0).await;
        let newest = files(&dir, ".log").pop().unwrap();
        let (newest_bytes, name) = (std::fs::read(&newest).unwrap(), newest.file_name().unwrap());
        let newest_base: i64 = newest.file_stem().unwrap().to_string_lossy().parse().unwrap();
        let in_newest: Vec<_> = all.iter().filter(|(base, ..)| *base >= newest_base).collect();
        assert!(in_newest.len() > 1 && newest_base > 0);
        let zeros = [0; 300];
        for cut in 0..=newest_bytes.len() {
            let killed = tmp.path().join(format!("cut-{cut}")).join("t-0");
            copy_dir(&dir, &killed);
            let mut torn = newest_bytes[..cut].to_vec();
            match cut % 3 {
                0 => {}
                1 => torn.extend_from_slice(&zeros),
                _ => torn.extend((0..200).map(|i| (i * 7 + cut) as u8)),
            }
            std::fs::write(killed.join(name), &torn).unwrap();
            let mut whole = 0;
            let mut end = newest_base;
            for (_, last, bytes) in &in_newest {
                // Zeros behind a cut can be the very bytes that were cut.
                let range = whole..whole + bytes;
                if torn.get(range.clone()) == Some(&newest_bytes[range]) {
                    whole += bytes;
                    end = last + 1;
                }
            }
            let recovered = open(&killed, &config, unclean(), &appender).await;
            assert_eq!(recovered.log_end(), Offset(end), "cut at byte {cut}");
            assert_eq!(batches(&recovered, 0).await, all[..all.iter().filter(|b| b.1 < end).count()]);
            assert_eq!(std::fs::metadata(killed.join(name)).unwrap().len(), whole as u64);
            // The producer goes on where the log ends; what is in it is a duplicate.
            let sequence = end as i32;
            let last = Made { producer: Some((1, 0, sequence - 1)), value_bytes: 20, ..Made::default() };
            assert!(append(&recovered, last).duplicate);
            let next = Made { producer: Some((1, 0, sequence)), value_bytes: 20, ..Made::default() };
            assert_eq!(append_written(&recovered, next).await.base_offset, Offset(end));
            recovered.close().await.unwrap();
        }
        log.close().await.unwrap();
    });
}

#[test]
fn damage_in_the_middle_ends_the_log_there() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = LogConfig { segment_bytes: 400, index_interval_bytes: 100, ..config() };
        let log = open(&dir, &config, unclean(), &appender).await;
        for _ in 0..20 {
            append_written(&log, Made { value_bytes: 20, ..Made::default() }).await;
        }
        let segments = files(&dir, ".log");
        assert!(segments.len() > 3);
        let damaged = tmp.path().join("damaged").join("t-0");
        copy_dir(&dir, &damaged);
        let second = damaged.join(segments[1].file_name().unwrap());
        let mut bytes = std::fs::read(&second).unwrap();
        let at = bytes.len() - 3;
        bytes[at] ^= 1;
        std::fs::write(&second, bytes).unwrap();
        let base: i64 = second.file_stem().unwrap().to_string_lossy().parse().unwrap();
        let recovered = open(&damaged, &config, unclean(), &appender).await;
        assert!(recovered.log_end() > Offset(base) && recovered.segment_count() == 2);
        assert_eq!(files(&damaged, ".log").len(), 2);
        assert_eq!(batches(&recovered, 0).await.last().unwrap().1 + 1, recovered.log_end().0);
        recovered.close().await.unwrap();
        // Below the recovery point nothing is read.
        let trusted = tmp.path().join("trusted").join("t-0");
        copy_dir(&dir, &trusted);
        let opening = Opening { recovery_point: log.written(), ..unclean() };
        let trusting = open(&trusted, &config, opening, &appender).await;
        assert_eq!(trusting.log_end(), log.log_end());
        trusting.close().await.unwrap();
        log.close().await.unwrap();
    });
}

#[test]
fn recovery_rebuilds_lost_indexes_and_epochs() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = small_segments();
        let log = open(&dir, &config, unclean(), &appender).await;
        for i in 0..40 {
            let batch = Made { value_bytes: 50, timestamp: NOW + i, ..Made::default() }.checked();
            log.append(&batch, LeaderEpoch((i / 10) as i32), NOW).unwrap();
        }
        log.written_to(log.log_end()).await.unwrap();
        let killed = tmp.path().join("killed").join("t-0");
        copy_dir(&dir, &killed);
        log.close().await.unwrap();
        for suffix in [".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint", "partition.metadata"] {
            for file in files(&killed, suffix) {
                std::fs::remove_file(file).unwrap();
            }
        }
        let recovered = open(&killed, &config, unclean(), &appender).await;
        assert_eq!(recovered.log_end(), Offset(40));
        assert_eq!(recovered.end_offset_for(LeaderEpoch(1)), (LeaderEpoch(1), Offset(20)));
        recovered.close().await.unwrap();
        // What was made anew is what was written in the first place, byte for byte.
        for file in files(&dir, "") {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if name.ends_with(".snapshot") {
                continue;
            }
            let (ours, theirs) = (std::fs::read(&file).unwrap(), std::fs::read(killed.join(&name)).unwrap());
            assert_eq!(ours, theirs, "{name}");
        }
        assert_eq!(recovered.log_end(), Offset(40));
    });
}

/// Random appends, rolls, waits, clean stops and kills, held against a list of what was appended.
#[test]
fn random_lives_of_a_log_match_a_model() {
    let mut random = Random::seeded("random_lives_of_a_log_match_a_model");
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let mut dir = tmp.path().join("life-0").join("t-0");
        let config =
            LogConfig { segment_bytes: 3000, index_interval_bytes: 300, segment_index_bytes: 96, ..config() };
        let mut log = open(&dir, &config, unclean(), &appender).await;
        let mut model: Vec<(i64, i64, usize)> = Vec::new();
        let mut sequences = [0i32; 3];
        let mut clock = NOW;
        for life in 1..60 {
            for _ in 0..random.below(40) {
                clock += random.below(5) as i64 - 1;
                let producer = random.below(4) as usize;
                let records = 1 + random.below(5) as i32;
                let made = Made {
                    records,
                    value_bytes: random.below(200) as usize,
                    timestamp: clock,
                    producer: sequences.get(producer).map(|sequence| (producer as i64, 0, *sequence)),
                    ..Made::default()
                };
                let appended = append(&log, made);
                assert!(!appended.duplicate);
                assert_eq!(appended.base_offset.0, model.last().map_or(0, |batch| batch.1 + 1));
                if made.producer.is_some() {
                    sequences[producer] += records;
                }
                model.push((appended.base_offset.0, appended.last_offset.0, made.bytes().len()));
                match random.below(6) {
                    0 => log.written_to(log.log_end()).await.unwrap(),
                    1 => log.flush().await.unwrap(),
                    2 => log.tick(NOW),
                    _ => {}
                }
            }
            log.written_to(log.log_end()).await.unwrap();
            for _ in 0..5 {
                let from = random.below(log.log_end().0 as u64 + 1) as i64;
                let wanted = &model[model.iter().position(|b| b.1 >= from).unwrap_or(model.len())..];
                assert_eq!(batches(&log, from).await, wanted);
            }
            let opening = if random.below(2) == 0 {
                log.close().await.unwrap();
                clean(&log)
            } else {
                let killed = tmp.path().join(format!("life-{life}")).join("t-0");
                let recovery_point = log.flushed();
                copy_dir(&dir, &killed);
                log.close().await.unwrap();
                dir = killed;
                Opening { recovery_point, ..unclean() }
            };
            log = open(&dir, &config, opening, &appender).await;
            assert_eq!(batches(&log, 0).await, model);
            for producer in log.producers() {
                assert_eq!(producer.last_sequence + 1, sequences[producer.producer_id.0 as usize]);
            }
        }
        log.close().await.unwrap();
        dump_with_kafka(&[&dir]);
    });
}

#[test]
fn retention_takes_the_oldest_segments() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = LogConfig { file_delete_delay_ms: 10, ..small_segments() };
        let log = open(&dir, &config, unclean(), &appender).await;
        for i in 0..60 {
            append_written(&log, Made { value_bytes: 50, timestamp: NOW + i, ..Made::default() }).await;
        }
        let count = log.segment_count();
        let slice = read(&log, 0, log.written(), 500, true).await.unwrap();
        assert_eq!(log.retain(log.written(), NOW).await.unwrap(), 0);
        log.advance_log_start(Offset(20));
        let gone = log.retain(log.written(), NOW).await.unwrap();
        assert!(gone > 0);
        assert_eq!((log.segment_count(), log.log_start()), (count - gone, Offset(20)));
        assert_eq!(bytes_of(&slice).len(), 500, "a slice outlives its segment");
        assert!(matches!(log.read(Offset(19), Offset(60), 1, true), Err(ReadError::OutOfRange { .. })));
        assert_eq!(batches(&log, 20).await.len(), 40);
        log.set_config(Rc::new(LogConfig { retention_bytes: 1500, ..config.clone() }));
        assert!(log.retain(log.written(), NOW).await.unwrap() > 0);
        assert!(log.size_bytes() >= 1500 && log.size_bytes() < 2600);
        assert_eq!(
            log.read(log.log_start(), log.written(), 1, true).unwrap().unwrap().first_offset,
            log.log_start()
        );
        // By time everything goes; the log goes on where it ended.
        log.set_config(Rc::new(LogConfig { retention_ms: 1_000, ..config.clone() }));
        log.retain(log.written(), NOW + 2_000).await.unwrap();
        assert_eq!((log.log_start(), log.log_end(), log.size_bytes()), (Offset(60), Offset(60), 0));
        while !files(&dir, ".deleted").is_empty() {
            glommio::timer::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(files(&dir, ".log").len(), 1);
        let killed = tmp.path().join("killed").join("t-0");
        copy_dir(&dir, &killed);
        let recovered = open(&killed, &config, unclean(), &appender).await;
        assert_eq!((recovered.log_start(), recovered.log_end()), (Offset(60), Offset(60)));
        recovered.close().await.unwrap();
        assert_eq!(append_written(&log, Made::default()).await.base_offset, Offset(60));
        log.close().await.unwrap();
        dump_with_kafka(&[&dir, &killed]);
    });
}

#[test]
fn truncation_brings_offsets_and_sequences_back() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = small_segments();
        let log = open(&dir, &config, unclean(), &appender).await;
        for i in 0..40 {
            let batch = Made { value_bytes: 50, producer: Some((1, 0, i)), ..Made::default() }.checked();
            log.append(&batch, LeaderEpoch(i / 10), NOW).unwrap();
        }
        for to in [40, 33, 20, 3, 0] {
            log.truncate(Offset(to)).await.unwrap();
            assert_eq!(log.log_end(), Offset(to));
            assert_eq!(batches(&log, 0).await.len() as i64, to);
            let wanted = (to > 0).then(|| LeaderEpoch((to as i32 - 1) / 10));
            assert_eq!(log.latest_epoch(), wanted);
            assert_eq!(
                log.producers().first().map(|p| i64::from(p.last_sequence) + 1),
                (to > 0).then_some(to)
            );
        }
        append_written(&log, Made { producer: Some((1, 0, 0)), ..Made::default() }).await;
        log.close().await.unwrap();
        dump_with_kafka(&[&dir]);
    });
}

#[test]
fn a_failed_write_takes_the_log_offline_and_no_other() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::create_dir(dir.join("x")).unwrap();
        let log = open(&dir, &LogConfig::default(), unclean(), &appender).await;
        let other = open(&tmp.path().join("t-1"), &LogConfig::default(), unclean(), &appender).await;
        // The device that is always full.
        std::os::unix::fs::symlink("/dev/full", dir.join("00000000000000000000.log")).unwrap();
        append(&log, Made::default());
        append(&other, Made::default());
        let failed = log.written_to(Offset(1)).await;
        assert!(
            matches!(failed, Err(StorageError::Io { kind: std::io::ErrorKind::StorageFull, .. })),
            "{failed:?}"
        );
        assert!(log.offline().is_some());
        let refused = log.append(&Made::default().checked(), LeaderEpoch(0), NOW);
        assert!(matches!(refused, Err(AppendError::Offline(_))));
        assert!(log.flushed_to(Offset(1)).await.is_err());
        assert!(log.close().await.is_err());
        assert_eq!(log.staged_bytes(), 0);
        other.written_to(Offset(1)).await.unwrap();
        other.close().await.unwrap();
    });
}

#[test]
fn flushes_are_shared_and_nothing_is_answered_before_its_sync() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        recorder::start();
        let config = LogConfig { flush_messages: 1, ..config() };
        let log = open(&dir, &config, unclean(), &appender).await;
        let mut tasks = Vec::new();
        for i in 0..50i64 {
            let log = log.clone();
            let dir = dir.clone();
            tasks.push(glommio::spawn_local(async move {
                let appended = append(&log, Made::default());
                assert!(appended.flush_first);
                log.flushed_to(appended.last_offset.plus(1)).await.unwrap();
                answered(|| format!("{} {}", dir.display(), appended.last_offset));
                assert!(log.flushed() > appended.last_offset, "{i}");
            }));
            if i % 10 == 0 {
                glommio::timer::sleep(Duration::from_millis(1)).await;
            }
        }
        for task in tasks {
            task.await;
        }
        let steps = recorder::steps(&dir);
        let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
        let (mut written, mut synced, mut syncs) = (0, 0, 0);
        let one = Made::default().bytes().len() as u64;
        for step in &steps {
            match step {
                Step::Write { path, position, length } if is_log(path) => written = position + *length as u64,
                Step::Sync(path) if is_log(path) => {
                    synced = written;
                    syncs += 1;
                }
                Step::Answer(what) => {
                    let offset: u64 = what.rsplit(' ').next().unwrap().parse().unwrap();
                    assert!(synced >= (offset + 1) * one, "{what} was answered before its sync");
                }
                _ => {}
            }
        }
        assert!((1..25).contains(&syncs), "{syncs} syncs for 50 batches");
        log.close().await.unwrap();
    });
}

#[test]
fn the_recovery_point_rises_with_sealed_segments() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let log = open(&dir, &small_segments(), unclean(), &appender).await;
        for i in 0..60 {
            append_written(&log, Made { value_bytes: 50, producer: Some((1, 0, i)), ..Made::default() })
                .await;
        }
        let newest: i64 =
            files(&dir, ".log").pop().unwrap().file_stem().unwrap().to_string_lossy().parse().unwrap();
        while log.flushed() < Offset(newest) {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(log.flushed(), Offset(newest), "the newest segment is not flushed unasked");
        // A kill now: only the newest segment is read.
        let killed = tmp.path().join("killed").join("t-0");
        copy_dir(&dir, &killed);
        let progress = std::sync::Arc::new(crate::storage::Progress::default());
        let opening =
            Opening { recovery_point: log.flushed(), progress: Some(progress.clone()), ..unclean() };
        let recovered = open(&killed, &small_segments(), opening, &appender).await;
        assert_eq!(progress.segments_done.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(recovered.log_end(), Offset(60));
        for i in 55..60 {
            assert!(
                append(&recovered, Made { value_bytes: 50, producer: Some((1, 0, i)), ..Made::default() })
                    .duplicate
            );
        }
        recovered.close().await.unwrap();
        log.close().await.unwrap();
        dump_with_kafka(&[&dir, &killed]);
    });
}

#[test]
fn a_deleted_log_is_renamed_and_then_gone() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = LogConfig { file_delete_delay_ms: 10, ..config() };
        let log = open(&dir, &config, unclean(), &appender).await;
        append_written(&log, Made::default()).await;
        log.delete().await.unwrap();
        assert!(log.append(&Made::default().checked(), LeaderEpoch(0), NOW).is_err());
        assert!(!dir.exists());
        let renamed = files(tmp.path(), "-delete");
        assert_eq!(renamed.len(), 1);
        let name = renamed[0].file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(crate::storage::directory_name(&name), Some(crate::storage::DirectoryName::Deleted));
        // The same partition may be made again meanwhile.
        let again = open(&dir, &config, unclean(), &appender).await;
        append_written(&again, Made::default()).await;
        while !files(tmp.path(), "-delete").is_empty() {
            glommio::timer::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(batches(&again, 0).await.len(), 1);
        again.close().await.unwrap();
    });
}

#[test]
fn another_topics_directory_is_refused() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let log = open(&dir, &LogConfig::default(), unclean(), &appender).await;
        append_written(&log, Made::default()).await;
        log.close().await.unwrap();
        let opening = Opening { topic_id: Some(TopicId::random()), ..unclean() };
        let refused = Log::open(dir, Rc::new(LogConfig::default()), opening, &appender).await;
        assert!(matches!(refused, Err(StorageError::OtherTopicId { .. })));
    });
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let log = open(&partition_dir(&tmp), &small_segments(), unclean(), &appender).await;
        let batch = Made { value_bytes: 2000, ..Made::default() }.checked();
        let refused = log.append(&batch, LeaderEpoch(0), NOW);
        assert!(matches!(refused, Err(AppendError::BatchTooLarge(_))));
        assert_eq!(log.log_end(), Offset(0));
        log.close().await.unwrap();
    });
}

#[test]
fn batches_of_the_broker_itself_are_stamped() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let log = open(&partition_dir(&tmp), &LogConfig::default(), unclean(), &appender).await;
        for _ in 0..3 {
            let mut builder = BatchBuilder::new().control();
            builder.append(NOW, Some(&[0, 0, 0, 2]), Some(b"leader change"), &[]);
            let appended = log.append_own(builder.build().unwrap(), LeaderEpoch(4), NOW).unwrap();
            log.flushed_to(appended.last_offset.plus(1)).await.unwrap();
        }
        assert_eq!(batches(&log, 0).await.len(), 3);
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch(4)));
        log.close().await.unwrap();
    });
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

/// Opens copies of the partitions in the data directories that `THALWEG_KAFKA_DATA` names (separated by
/// colons), as after a kill and then as after a clean stop.
#[test]
#[ignore = "needs directories that Kafka wrote"]
fn directories_that_kafka_wrote_are_opened() {
    let data = std::env::var("THALWEG_KAFKA_DATA").unwrap();
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let mut copies = Vec::new();
        for (i, data) in data.split(':').enumerate() {
            for dir in files(Path::new(data), "").into_iter().filter(|path| !files(path, ".log").is_empty()) {
                let copy = tmp.path().join(i.to_string()).join(dir.file_name().unwrap());
                copy_dir(&dir, &copy);
                let before: Vec<u64> =
                    files(&copy, ".log").iter().map(|f| f.metadata().unwrap().len()).collect();
                let log = open(&copy, &config(), Opening::default(), &appender).await;
                let found = batches(&log, log.log_start().0).await;
                assert_eq!(found.iter().map(|batch| batch.2 as u64).sum::<u64>(), before.iter().sum::<u64>());
                let ends = (log.log_start(), log.log_end(), log.producers());
                log.close().await.unwrap();
                let opening = Opening { clean: true, log_start: ends.0, ..Opening::default() };
                let log = open(&copy, &config(), opening, &appender).await;
                assert_eq!((log.log_start(), log.log_end(), log.producers()), ends);
                assert_eq!(batches(&log, log.log_start().0).await, found);
                log.close().await.unwrap();
                println!("{}: {} to {}, {} batches", dir.display(), ends.0, ends.1, found.len());
                copies.push(copy);
            }
        }
        dump_with_kafka(&copies.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    });
}

/// Not a test of a rule: prints CPU seconds a GB of appends through the log and of bare writes beside it.
/// `cargo test --release --lib storage::tests::cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn cost_of_an_append_over_a_bare_write() {
    use rustix::time::{ClockId, clock_gettime};
    const TOTAL: usize = 256 << 20;
    const PIECE: usize = 64 << 10;
    let cpu = |id| {
        let at = clock_gettime(id);
        at.tv_sec as f64 + at.tv_nsec as f64 / 1e9
    };
    let times = move || (cpu(ClockId::ThreadCPUTime), cpu(ClockId::ProcessCPUTime));
    let print = move |what: &str, before: (f64, f64)| {
        let (thread, process) = times();
        let gb = TOTAL as f64 / 1e9;
        println!(
            "{what}: {:.3} CPU s/GB on the core, {:.3} in all",
            (thread - before.0) / gb,
            (process - before.1) / gb
        );
    };
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let batch = Made { value_bytes: PIECE - 100, ..Made::default() }.checked();
        for round in 0..4 {
            let dir = tmp.path().join(format!("t-{round}"));
            let log = open(&dir, &config(), unclean(), &appender).await;
            let before = times();
            for i in 0..TOTAL / batch.bytes.len() {
                let appended = log.append(&batch, LeaderEpoch(0), NOW).unwrap();
                if i % 4 == 3 {
                    log.written_to(appended.last_offset.plus(1)).await.unwrap();
                }
            }
            log.written_to(log.log_end()).await.unwrap();
            print("log, 4 batches a turn", before);
            log.delete().await.unwrap();
            let file = crate::storage::SegmentFile::create(&tmp.path().join("bare")).unwrap();
            let before = times();
            for i in 0..TOTAL / PIECE {
                if i % 1024 == 0 {
                    file.preallocate((i * PIECE) as u64, 1024 * PIECE as u64).unwrap();
                }
                file.write_at(&batch.bytes[..PIECE.min(batch.bytes.len())], (i * PIECE) as u64).unwrap();
            }
            print("bare pwrite, preallocated", before);
            std::fs::remove_file(tmp.path().join("bare")).unwrap();
        }
    });
}
