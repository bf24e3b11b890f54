//! Retention, truncation, flushes, deletion.

use super::*;
use std::sync::Arc;

use crate::storage::SegmentFile;
use crate::storage::appender::Job;
use crate::storage::open_files::Later;

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
fn rolls_beside_a_flush_leave_the_epoch_file_to_it() {
    on_core(|appender| async move {
        recorder::start();
        let tmp = tempfile::tempdir().unwrap();
        let config = LogConfig { segment_index_bytes: 12, ..config() };
        let log = open(&partition_dir(&tmp), &config, unclean(), &appender).await;
        for epoch in 1..100 {
            log.begin_epoch(LeaderEpoch(epoch));
            for _ in 0..4 {
                let appended = log.append(&Made::default().checked(), LeaderEpoch(epoch), NOW).unwrap();
                log.written_to(appended.last_offset.plus(1)).await.unwrap();
            }
        }
        log.flush().await.unwrap();
        let text = std::fs::read_to_string(log.dir().join("leader-epoch-checkpoint")).unwrap();
        assert_eq!(text.lines().last(), Some("99 392"));
        assert_eq!(log.segment_count(), 396);
        log.close().await.unwrap();
        let half = log.dir().join("leader-epoch-checkpoint.tmp");
        let steps = recorder::steps(tmp.path());
        let made = steps.iter().filter(|step| **step == Step::Create(half.clone())).count();
        let synced = steps.iter().filter(|step| **step == Step::Sync(half.clone())).count();
        assert_eq!(made, synced + 1, "all but the first were flushes, of which there is one at a time");
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
fn spare_space_whose_file_cannot_be_opened_ends_no_log() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let log = open(&partition_dir(&tmp), &config(), unclean(), &appender).await;
        append_written(&log, Made::default()).await;
        log.trim(Later::Closed(tmp.path().join("cannot be opened")), 100);
        append(&log, Made::default());
        log.written_to(Offset(2)).await.unwrap();
        // One that can be opened and not cut does.
        log.trim(Later::Open(Arc::new(SegmentFile::open(Path::new("/dev/null")).unwrap())), 100);
        append(&log, Made::default());
        assert!(log.written_to(Offset(3)).await.is_err() && log.offline().is_some());
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
fn what_a_deleted_log_left_to_be_done_spares_the_log_made_anew() {
    on_core_without_background(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let log = open(&dir, &small_segments(), unclean(), &appender).await;
        for _ in 0..10 {
            append_written(&log, Made { value_bytes: 200, ..Made::default() }).await;
        }
        assert!(log.segment_count() > 1);
        log.flush().await.unwrap();
        // The first segment's turn comes late, as on a slow device.
        appender.post(Job::Reserve { log: log.clone(), base: Offset(0), from: 1000, bytes: 4096 });
        appender.post(Job::Trim { log: log.clone(), base: Offset(0), bytes: 700 });
        log.delete().await.unwrap();
        let again = open(&dir, &config(), unclean(), &appender).await;
        for _ in 0..10 {
            append_written(&again, Made { value_bytes: 200, ..Made::default() }).await;
        }
        let background = glommio::spawn_local(appender.clone().run_background());
        while Rc::strong_count(&log) > 1 {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        let file = dir.join("00000000000000000000.log");
        assert_eq!(std::fs::metadata(file).unwrap().len(), again.size_bytes());
        assert_eq!(batches(&again, 0).await.len(), 10);
        again.close().await.unwrap();
        appender.stop();
        background.await;
    });
}

#[test]
fn a_late_trim_cuts_nothing_that_was_appended_after_a_truncation() {
    on_core_without_background(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let log = open(&dir, &small_segments(), unclean(), &appender).await;
        while log.segment_count() == 1 {
            append_written(&log, Made { value_bytes: 200, ..Made::default() }).await;
        }
        let first = std::fs::metadata(dir.join("00000000000000000000.log")).unwrap().len();
        appender.post(Job::Trim { log: log.clone(), base: Offset(0), bytes: first });
        let others = log.clone();
        let truncated = glommio::spawn_local(async move {
            others.truncate(Offset(1)).await.unwrap();
            while others.segment_count() == 1 {
                append_written(&others, Made { value_bytes: 20, ..Made::default() }).await;
            }
        });
        // The trim's turn comes when a truncation that does not wait for it is long over.
        glommio::timer::sleep(Duration::from_millis(100)).await;
        let background = glommio::spawn_local(appender.clone().run_background());
        truncated.await;
        while Rc::strong_count(&log) > 1 {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(batches(&log, 0).await.len() as i64, log.log_end().0);
        log.close().await.unwrap();
        appender.stop();
        background.await;
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
