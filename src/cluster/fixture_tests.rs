//! A metadata log that Apache Kafka 4.1.1 wrote: `fixtures/apache-kafka-4.1.log`, made by its own tools
//! (topics made, grown and deleted; topic, broker, cluster, user and client settings; access control entries;
//! features lowered and raised; an idempotent producer; one `kill -9`).

use super::batches;
use super::replay::Replay;
use super::snapshot::{Snapshot, SnapshotId};
use crate::metadata::ResourceType;
use crate::protocol::batch::BatchIter;
use crate::protocol::stored::control::ControlRecord;
use crate::protocol::stored::metadata::{Record, Versioned};
use crate::types::{LeaderEpoch, NodeId, PartitionId, ProducerId};

const LOG: &[u8] = include_bytes!("fixtures/apache-kafka-4.1.log");

fn replayed() -> Replay {
    let mut replay = Replay::default();
    for batch in BatchIter::new(LOG) {
        replay.batch(&batch.unwrap()).unwrap();
    }
    replay
}

#[test]
fn our_batches_of_the_same_records_are_the_same_bytes() {
    for batch in BatchIter::new(LOG) {
        let batch = batch.unwrap();
        let header = batch.header;
        let (base, epoch) = (header.base_offset(), header.leader_epoch());
        let timestamp_ms = header.base_timestamp.get();
        let records: Vec<_> = batch.records().map(Result::unwrap).collect();
        let ours = if header.attributes().is_control() {
            let decode = |record: &crate::protocol::record::Record<'_>| {
                ControlRecord::decode(record.key.unwrap(), record.value.unwrap()).unwrap()
            };
            let records: Vec<_> = records.iter().map(decode).collect();
            batches::of_control(&records, base, epoch, timestamp_ms).unwrap()
        } else {
            let decode = |record: &crate::protocol::record::Record<'_>| {
                Versioned::decode(record.value.unwrap()).unwrap()
            };
            let records: Vec<_> = records.iter().map(decode).collect();
            batches::of_records(&records, base, epoch, timestamp_ms).unwrap()
        };
        assert_eq!(ours.bytes, batch.bytes, "the batch at offset {base}");
        assert_eq!(ours.last_offset, header.last_offset());
    }
}

#[test]
fn the_image_is_what_kafkas_tools_were_told_to_make() {
    let replay = replayed();
    let image = &replay.image;
    assert_eq!(image.epoch, LeaderEpoch(2));
    assert_eq!(replay.kraft_version, 1);
    assert_eq!(replay.voters.as_ref().unwrap().voters.voters[0].voter_id, NodeId(1));
    let levels: Vec<_> = image.features.iter().collect();
    let expected = [
        ("eligible.leader.replicas.version", 1),
        ("group.version", 1),
        ("metadata.version", 27),
        ("transaction.version", 2),
    ];
    assert_eq!(levels, expected);
    assert_eq!(image.topics().map(|topic| topic.name.to_string()).collect::<Vec<_>>(), ["orders"]);
    let topic = image.topic("orders").unwrap();
    assert_eq!(topic.partitions.len(), 5);
    let partition = image.partition("orders", PartitionId(4)).unwrap();
    assert_eq!((partition.leader, partition.isr.as_slice()), (NodeId(1), &[NodeId(1)][..]));
    let broker = image.broker(NodeId(1)).unwrap();
    assert_eq!(partition.directories, broker.log_dirs);
    assert_eq!(broker.endpoint("PLAINTEXT").unwrap().port, 29491);
    let setting = |kind, name: &str, key: &str| image.setting(kind, name, key).map(str::to_owned);
    assert_eq!(setting(ResourceType::Topic, "orders", "segment.bytes").as_deref(), Some("1048576"));
    assert_eq!(setting(ResourceType::Topic, "orders", "retention.ms"), None);
    assert_eq!(setting(ResourceType::Broker, "1", "log.cleaner.threads").as_deref(), Some("2"));
    assert_eq!(setting(ResourceType::Broker, "", "num.io.threads").as_deref(), Some("6"));
    assert_eq!(image.next_producer_id, Some(ProducerId(1000)));
    let records = image.to_records();
    let count = |wanted: fn(&Record) -> bool| records.iter().filter(|v| wanted(&v.record)).count();
    assert_eq!(count(|record| matches!(record, Record::AccessControlEntry(_))), 2);
    assert_eq!(count(|record| matches!(record, Record::UserScramCredential(_))), 1);
    assert_eq!(count(|record| matches!(record, Record::ClientQuota(_))), 2);
}

#[test]
fn a_snapshot_of_the_image_makes_the_image() {
    let replay = replayed();
    let id = SnapshotId { end_offset: replay.image.offset.plus(1), epoch: replay.image.epoch };
    let snapshot = Snapshot {
        last_timestamp_ms: replay.image.timestamp_ms,
        quorum: replay.voters.clone(),
        records: replay.image.to_records(),
    };
    let read = Snapshot::decode(&snapshot.encode(id.epoch, 5).unwrap()).unwrap();
    let again = Replay::from_snapshot(id, read).unwrap();
    assert_eq!(again.image, replay.image);
    assert_eq!((again.kraft_version, again.voters), (1, replay.voters));
}

#[test]
fn records_of_a_transaction_without_an_end_do_not_count() {
    let mut replay = Replay::default();
    let mut before_end = Vec::new();
    for batch in BatchIter::new(LOG) {
        let batch = batch.unwrap();
        let header = batch.header;
        if header.attributes().is_control() {
            continue;
        }
        let records =
            batch.records().map(|record| Versioned::decode(record.unwrap().value.unwrap()).unwrap());
        before_end = records.take_while(|v| !matches!(v.record, Record::EndTransaction(_))).collect();
        let cut = batches::of_records(&before_end, header.base_offset(), header.leader_epoch(), 1).unwrap();
        replay.batch(&BatchIter::new(&cut.bytes).next().unwrap().unwrap()).unwrap();
        break;
    }
    assert!(matches!(before_end[0].record, Record::BeginTransaction(_)));
    assert_eq!(replay.image.features.metadata_version(), 27);
    assert!(replay.abandon_transaction());
    assert_eq!(replay.image.features.metadata_version(), 0);
    assert!(!replay.abandon_transaction());
}
