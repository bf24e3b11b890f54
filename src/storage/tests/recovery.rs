//! Kills at every byte, damage, and random lives of a log against a model.

use super::*;
use crate::storage::open_files;

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

/// As after a kill of the process: opens what is in `dir` and looks every batch up by its time.
async fn finds_all_by_time(dir: &Path, recovery_point: Offset, appender: &Rc<Appender>) {
    let opening = Opening { recovery_point, ..unclean() };
    let log = open(dir, &small_segments(), opening, appender).await;
    for i in 0..log.log_end().0 {
        let found = log.offset_for_timestamp(NOW + i).await.unwrap();
        assert_eq!(found.map(|found| (found.0, found.1)), Some((NOW + i, Offset(i))));
    }
    log.close().await.unwrap();
}

#[test]
fn a_segment_that_was_flushed_before_it_ended_is_sealed_all_the_same() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let log = open(&dir, &small_segments(), unclean(), &appender).await;
        let made = |i| Made { value_bytes: 300, timestamp: NOW + i, ..Made::default() };
        // Flushes meet every roll.
        for i in 0..10 {
            append_written(&log, made(i)).await;
            log.flush().await.unwrap();
        }
        let killed = tmp.path().join("killed").join("t-0");
        copy_dir(&dir, &killed);
        finds_all_by_time(&killed, log.flushed(), &appender).await;
        // Nobody asks for a flush behind the roll.
        let unrolled = tmp.path().join("unrolled").join("t-0");
        let segments = log.segment_count();
        for i in 10.. {
            copy_dir(&dir, &unrolled);
            append_written(&log, made(i)).await;
            if log.segment_count() > segments {
                break;
            }
            log.flush().await.unwrap();
        }
        let rolled_at = log.log_end().0 - 1;
        let snapshot = dir.join(format!("{rolled_at:020}.snapshot"));
        let began = std::time::Instant::now();
        while !snapshot.exists() {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "the roll brings the old segment to the device"
            );
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        let killed = tmp.path().join("killed-later").join("t-0");
        copy_dir(&dir, &killed);
        finds_all_by_time(&killed, Offset(rolled_at), &appender).await;
        // A kill when the new segment was just made.
        for suffix in [".log", ".index", ".timeindex"] {
            std::fs::write(unrolled.join(format!("{rolled_at:020}{suffix}")), "").unwrap();
        }
        finds_all_by_time(&unrolled, Offset(rolled_at), &appender).await;
        log.close().await.unwrap();
        dump_with_kafka(&[&dir, &killed, &unrolled]);
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

/// Random appends, rolls, waits, clean stops and kills, held against a list of what was appended. Few files
/// may be open, so that most are closed again and again, and some writes leave the core.
#[test]
fn random_lives_of_a_log_match_a_model() {
    let mut random = Random::seeded("random_lives_of_a_log_match_a_model");
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        open_files::set_bound(1 + random.below(5) as usize);
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
                match random.below(8) {
                    0 => log.written_to(log.log_end()).await.unwrap(),
                    1 => log.flush().await.unwrap(),
                    2 => log.tick(NOW),
                    3 => log.stall(),
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
