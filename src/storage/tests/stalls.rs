//! A log whose writes stall is written off its core until they are quick again; offsets and answers keep
//! their order.

use super::*;
use crate::runtime::shards::{RuntimeOptions, run};
use crate::storage::file::slowness;

/// Writes on this thread, and on no other, take as long as a write that stalls.
fn slow_core(is_slow: bool) {
    slowness::OF_WRITES.set(if is_slow { Duration::from_millis(25) } else { Duration::ZERO });
}

/// The files hold all that counts as written, and perhaps what is just being written.
fn check_files(log: &Log) {
    let bytes: u64 =
        files(&log.dir(), ".log").iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert!(bytes >= log.size_bytes() - log.staged_bytes() as u64);
}

async fn stalls_and_recovers(dir: PathBuf, appender: Rc<Appender>) {
    let log = open(&dir, &small_segments(), unclean(), &appender).await;
    append_written(&log, Made::default()).await;
    assert!(!log.stalls());
    slow_core(true);
    append_written(&log, Made::default()).await;
    assert!(log.stalls(), "one write held up the core");
    // None of these does. They are appended while writes are under way, into several segments, and some are
    // larger than a page.
    let mut made = 2;
    for turn in 0..30 {
        for i in 0..3 {
            append(&log, Made { value_bytes: (turn * 37 + i * 400) % 900, ..Made::default() });
            made += 1;
        }
        glommio::executor().yield_task_queue_now().await;
    }
    let waits: Vec<_> = (1..=made)
        .map(|end| {
            let log = log.clone();
            glommio::spawn_local(async move {
                log.written_to(Offset(end)).await.unwrap();
                assert!(log.written() >= Offset(end));
                check_files(&log);
            })
        })
        .collect();
    for wait in waits {
        wait.await;
    }
    log.flush().await.unwrap();
    let offsets: Vec<_> = batches(&log, 0).await.into_iter().map(|batch| batch.0).collect();
    assert_eq!(offsets, (0..made).collect::<Vec<_>>());
    // Many in a row are quick, though on a busy machine not all: then the core writes again.
    for i in 0.. {
        append_written(&log, Made::default()).await;
        if !log.stalls() {
            assert!(i + 30 >= 16);
            break;
        }
        assert!(i < 2_000, "it stalls for ever");
    }
    append_written(&log, Made::default()).await;
    assert!(log.stalls(), "the core has written, and was held up again");
    slow_core(false);
    log.close().await.unwrap();
    let again = open(&dir, &small_segments(), clean(&log), &appender).await;
    assert_eq!(batches(&again, 0).await.len(), log.log_end().0 as usize);
    dump_with_kafka(&[&dir]);
    again.close().await.unwrap();
}

#[test]
fn a_stalling_log_is_written_by_another_thread_where_there_is_no_ring() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        stalls_and_recovers(partition_dir(&tmp), appender).await;
    });
}

#[test]
fn a_stalling_log_is_written_by_the_ring() {
    run(&RuntimeOptions { cores: vec![0], name: "test".into() }, || async {
        let tmp = tempfile::tempdir().unwrap();
        let appender = Appender::new();
        let writer = glommio::spawn_local(appender.clone().run());
        let background = glommio::spawn_local(appender.clone().run_background());
        stalls_and_recovers(partition_dir(&tmp), appender.clone()).await;
        // More pieces than one write takes, and a failure.
        let log = open(&tmp.path().join("t-1"), &config(), unclean(), &appender).await;
        log.stall();
        for i in 0..2_000 {
            append(&log, Made { value_bytes: i % 50, ..Made::default() });
        }
        log.written_to(Offset(2_000)).await.unwrap();
        assert_eq!(batches(&log, 0).await.len(), 2_000);
        log.close().await.unwrap();
        let full = tmp.path().join("t-2");
        std::fs::create_dir_all(&full).unwrap();
        let log = open(&full, &config(), unclean(), &appender).await;
        std::os::unix::fs::symlink("/dev/full", full.join("00000000000000000000.log")).unwrap();
        log.stall();
        append(&log, Made::default());
        append(&log, Made::default());
        let failed = log.written_to(Offset(1)).await;
        assert!(
            matches!(failed, Err(StorageError::Io { kind: std::io::ErrorKind::StorageFull, .. })),
            "{failed:?}"
        );
        assert!(log.written_to(Offset(2)).await.is_err());
        assert_eq!((log.written(), log.staged_bytes()), (Offset(0), 0));
        log.delete().await.unwrap();
        appender.stop();
        writer.await;
        background.await;
    })
    .expect("a core can be made");
}

#[test]
fn what_is_under_way_is_waited_for_at_every_end() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        for (i, end) in ["close", "delete", "truncate", "retain"].into_iter().enumerate() {
            let config = LogConfig { file_delete_delay_ms: 0, ..small_segments() };
            let log = open(&tmp.path().join(format!("t-{i}")), &config, unclean(), &appender).await;
            append_written(&log, Made::default()).await;
            log.stall();
            for _ in 0..50 {
                append(&log, Made { value_bytes: 100, ..Made::default() });
            }
            glommio::executor().yield_task_queue_now().await;
            match end {
                "close" => log.close().await.unwrap(),
                "delete" => log.delete().await.unwrap(),
                "truncate" => {
                    log.truncate(Offset(20)).await.unwrap();
                    assert_eq!(batches(&log, 0).await.len(), 20);
                    append_written(&log, Made::default()).await;
                    assert_eq!(batches(&log, 0).await.len(), 21);
                }
                _ => {
                    log.advance_log_start(Offset(40));
                    log.retain(Offset(51), NOW).await.unwrap();
                    log.written_to(Offset(51)).await.unwrap();
                    log.retain(Offset(51), NOW).await.unwrap();
                    assert_eq!(batches(&log, 40).await.len(), 11);
                }
            }
        }
    });
}
