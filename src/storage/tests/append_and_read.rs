//! What was appended is read back, by offset and by time; sequences and limits hold.

use super::*;

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

#[test]
fn the_time_index_tells_between_which_times_the_log_came_to_an_offset() {
    on_core(|appender| async move {
        let tmp = tempfile::tempdir().unwrap();
        let dir = partition_dir(&tmp);
        let config = LogConfig { segment_bytes: 4_000, index_interval_bytes: 300, ..config() };
        let mut log = open(&dir, &config, unclean(), &appender).await;
        assert_eq!(log.times_around(Offset(0)).await.unwrap(), None);
        for i in 0..60 {
            append(&log, Made { records: 2, value_bytes: 40, timestamp: NOW + 10 * i, ..Made::default() });
        }
        log.written_to(log.log_end()).await.unwrap();
        assert!(log.segment_count() > 1);
        for _ in 0..2 {
            let mut told = 0;
            for offset in 0..120 {
                let time = NOW + 10 * (offset / 2);
                if let Some((before, after)) = log.times_around(Offset(offset)).await.unwrap() {
                    assert!(before < time && time <= after, "{offset}: {before} {time} {after}");
                    // Some batches lie between two entries.
                    assert!(after - before <= 50, "{before} {after}");
                    told += 1;
                }
            }
            assert!(told > 40, "of {told} offsets alone");
            assert_eq!(log.times_around(Offset(500)).await.unwrap(), None);
            log.close().await.unwrap();
            log = open(&dir, &config, clean(&log), &appender).await;
        }
        log.close().await.unwrap();
    });
}
