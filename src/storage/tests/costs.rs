//! What an append costs.

use super::*;

/// Not a test of a rule: prints CPU seconds a GB of appends through the log and of bare writes beside it.
/// `cargo test --release --lib storage::tests::costs -- --ignored --nocapture`
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
