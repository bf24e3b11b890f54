//! Directories that Kafka wrote.

use super::*;

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
