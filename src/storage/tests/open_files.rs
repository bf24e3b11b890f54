//! However many segments there are, a core holds no more of their files open than its bound.

use super::*;
use crate::storage::open_files::{held, set_bound};

/// Files below `dir` that this process has open.
fn open_below(dir: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(dir))).count()
}

/// The blocking threads have files open for moments, beside what the core holds.
const IN_WORK: usize = 4;

#[test]
fn many_segments_are_read_in_turn_under_a_small_bound() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let log = open(&partition_dir(&tmp), &small_segments(), unclean(), &appender).await;
        for i in 0..300 {
            append_written(&log, Made { value_bytes: 200, timestamp: NOW + i, ..Made::default() }).await;
        }
        assert!(log.segment_count() > 80, "{} segments", log.segment_count());
        log.flush().await.unwrap();
        const BOUND: usize = 6;
        set_bound(BOUND);
        for round in 0..3i64 {
            for offset in 0..300 {
                let slice = read(&log, (offset * 7 + round) % 300, log.written(), 1, true).await.unwrap();
                assert_eq!(slice.first_offset, Offset((offset * 7 + round) % 300));
                assert!(held() <= BOUND, "{} in round {round}", held());
                assert!(open_below(tmp.path()) <= BOUND);
            }
        }
        let found = log.offset_for_timestamp(NOW + 150).await.unwrap().unwrap();
        assert_eq!((found.0, found.1), (NOW + 150, Offset(150)));
        assert!(open_below(tmp.path()) <= BOUND);
        assert_eq!(batches(&log, 0).await.len(), 300);
        log.close().await.unwrap();
        assert_eq!((held(), open_below(tmp.path())), (0, 0));
    });
}

#[test]
fn slices_in_flight_keep_their_files_and_put_other_reads_off() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let config = LogConfig { file_delete_delay_ms: 0, retention_ms: -1, ..small_segments() };
        let log = open(&partition_dir(&tmp), &config, unclean(), &appender).await;
        for _ in 0..100 {
            append_written(&log, Made { value_bytes: 200, ..Made::default() }).await;
        }
        log.flush().await.unwrap();
        set_bound(4);
        let mut slices = Vec::new();
        let mut offsets = (0..).step_by(10);
        let put_off = loop {
            let offset = offsets.next().unwrap();
            match log.read(Offset(offset), log.written(), 1, true) {
                Ok(slice) => slices.push(slice.unwrap()),
                Err(ReadError::Cold(cold)) => log.warm(cold).await.unwrap(),
                Err(ReadError::Busy) => break offset,
                Err(error) => panic!("{error}"),
            }
        };
        assert!((3..=4).contains(&slices.len()), "{}", slices.len());
        // Retention and a write go on meanwhile, and the slices still say what they said.
        append_written(&log, Made { value_bytes: 200, ..Made::default() }).await;
        log.advance_log_start(Offset(50));
        assert!(log.retain(log.written(), NOW).await.unwrap() > 0);
        for (slice, offset) in slices.iter().zip((0..).step_by(10)) {
            assert_eq!(slice.first_offset, Offset(offset));
            let batch = bytes_of(slice);
            assert!(BatchIter::new(&batch).next().unwrap().unwrap().crc_matches());
        }
        drop(slices);
        let wanted = put_off.max(50);
        assert_eq!(read(&log, wanted, log.written(), 1, true).await.unwrap().first_offset, Offset(wanted));
        assert!(held() <= 4);
        log.close().await.unwrap();
    });
}

#[test]
fn peers_that_do_not_read_hold_up_no_lookup_and_no_retention() {
    on_core(|appender| async move {
        const BOUND: usize = 4;
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = LogConfig { retention_ms: 1_000, ..small_segments() };
        let log = open(&dir, &config, unclean(), &appender).await;
        for i in 0..100 {
            append_written(&log, Made { value_bytes: 200, timestamp: NOW + i, ..Made::default() }).await;
        }
        log.close().await.unwrap();
        // What the segments' largest timestamps are is in their files again.
        let log = open(&dir, &config, clean(&log), &appender).await;
        set_bound(BOUND);
        let mut held_back = Vec::new();
        for offset in (0..).step_by(10) {
            match log.read(Offset(offset), log.written(), 1, true) {
                Ok(slice) => held_back.extend(slice),
                Err(ReadError::Cold(cold)) => log.warm(cold).await.unwrap(),
                Err(ReadError::Busy) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let looks = async {
            let found = log.offset_for_timestamp(NOW + 50).await.unwrap().unwrap();
            assert_eq!((found.0, found.1), (NOW + 50, Offset(50)));
            let found = log.max_timestamp().await.unwrap().unwrap();
            assert_eq!((found.0, found.1), (NOW + 99, Offset(99)));
            let header = log.header_at(Offset(77)).await.unwrap().unwrap();
            assert_eq!(header.base_offset(), Offset(77));
            assert!(held() <= BOUND + 1, "{} are open", held());
            assert!(log.retain(log.written(), NOW + 1_060).await.unwrap() > 0);
            assert!((50..=60).contains(&log.log_start().0), "{}", log.log_start());
        };
        let too_long = async {
            glommio::timer::sleep(Duration::from_secs(10)).await;
            panic!("a look of the broker's own waits for peers");
        };
        futures_lite::future::or(looks, too_long).await;
        assert!(matches!(log.read(Offset(90), log.written(), 1, true), Err(ReadError::Busy)), "a peer waits");
        assert!(held() <= BOUND, "{} are open", held());
        drop(held_back);
        log.close().await.unwrap();
    });
}

#[test]
fn more_logs_are_written_than_files_may_be_open() {
    on_core(|appender| async move {
        const BOUND: usize = 4;
        const LOGS: usize = 60;
        let tmp = tempfile::tempdir().unwrap();
        set_bound(BOUND);
        let mut logs = Vec::new();
        for i in 0..LOGS {
            let dir = tmp.path().join(format!("t-{i}"));
            logs.push(open(&dir, &small_segments(), unclean(), &appender).await);
        }
        for round in 0..20 {
            for log in &logs {
                append(log, Made { value_bytes: 150, ..Made::default() });
            }
            for log in &logs {
                log.written_to(Offset(round + 1)).await.unwrap();
                assert!(open_below(tmp.path()) <= BOUND + 1 + IN_WORK, "{}", open_below(tmp.path()));
            }
        }
        let flushes: Vec<_> =
            logs.iter().cloned().map(|log| glommio::spawn_local(async move { log.flush().await })).collect();
        for flush in flushes {
            assert!(open_below(tmp.path()) <= BOUND + 1 + IN_WORK, "{}", open_below(tmp.path()));
            flush.await.unwrap();
        }
        for log in &logs {
            assert!(log.segment_count() > 1);
            assert_eq!(batches(log, 0).await.len(), 20);
            log.close().await.unwrap();
            dump_with_kafka(&[&log.dir()]);
        }
        assert_eq!(held(), 0);
    });
}
