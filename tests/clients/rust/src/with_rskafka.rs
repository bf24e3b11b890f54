//! The face of rskafka, a client in plain Rust that keeps to few and old request versions.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use tokio::runtime::Runtime;

use crate::Face;
use crate::records::Record;

pub struct Rskafka {
    runtime: Runtime,
    client: Client,
}

impl Rskafka {
    pub fn new(bootstrap: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(ClientBuilder::new(vec![bootstrap.to_string()]).build());
        Self { client: client.expect("a client"), runtime }
    }

    fn partition(&self, topic: &str, partition: i32) -> PartitionClient {
        let made = self.client.partition_client(topic, partition, UnknownTopicHandling::Retry);
        self.runtime.block_on(made).expect("a partition client")
    }

    fn send(&self, partition: &PartitionClient, records: &[Record], codec: &str) {
        let compression = match codec {
            "none" => Compression::NoCompression,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            other => panic!("no codec {other}"),
        };
        let made = records.iter().map(|record| rskafka::record::Record {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: BTreeMap::from_iter(record.headers.iter().cloned()),
            timestamp: moment(record.timestamp),
        });
        let offsets =
            self.runtime.block_on(partition.produce(made.collect(), compression)).expect("produced");
        assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "offsets in the answer: {offsets:?}");
    }
}

fn moment(timestamp: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(timestamp).expect("a timestamp")
}

impl Face for Rskafka {
    fn name(&self) -> &'static str {
        "rskafka"
    }

    fn lacks(&self) -> &'static [&'static str] {
        &["acks=0", "acks=1", "idempotent", "configs"]
    }

    fn produce(&mut self, topic: &str, partition: i32, records: &[Record], codec: &str, _how: &str) {
        let partition = self.partition(topic, partition);
        if records.iter().any(|record| record.value.as_ref().is_some_and(|value| value.len() > 100_000)) {
            return records.chunks(1).for_each(|chunk| self.send(&partition, chunk, codec));
        }
        records.chunks(64).for_each(|chunk| self.send(&partition, chunk, codec));
    }

    fn put(&mut self, topic: &str, packed: &mut dyn Iterator<Item = Record>, codec: &str) {
        let partition = self.partition(topic, 0);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for record in packed {
            let length = record.value.as_ref().map_or(0, Vec::len) + 100;
            if bytes + length > 900_000 {
                self.send(&partition, &batch, codec);
                batch.clear();
                bytes = 0;
            }
            bytes += length;
            batch.push(record);
        }
        self.send(&partition, &batch, codec);
    }

    fn read(&mut self, topic: &str, partition: i32, start: i64, count: i64, take: &mut dyn FnMut(Record)) {
        let partition = self.partition(topic, partition);
        let mut next = start;
        while next < start + count {
            let fetched = self.runtime.block_on(partition.fetch_records(next, 1..4_000_000, 1000));
            for found in fetched.expect("records").0 {
                // A batch comes whole, also what it holds before the wanted offset and past the count.
                if found.offset < next || found.offset >= start + count {
                    continue;
                }
                next = found.offset + 1;
                take(Record {
                    offset: found.offset,
                    timestamp: found.record.timestamp.timestamp_millis(),
                    key: found.record.key,
                    value: found.record.value,
                    headers: found.record.headers.into_iter().collect(),
                });
            }
        }
    }

    fn offsets(&mut self, topic: &str, partition: i32) -> (i64, i64) {
        let partition = self.partition(topic, partition);
        let begin =
            self.runtime.block_on(partition.get_offset(OffsetAt::Earliest)).expect("the first offset");
        let end = self.runtime.block_on(partition.get_offset(OffsetAt::Latest)).expect("the last offset");
        (begin, end)
    }

    fn offset_at(&mut self, topic: &str, partition: i32, timestamp: i64) -> Option<i64> {
        let partition = self.partition(topic, partition);
        let asked = partition.get_offset(OffsetAt::Timestamp(moment(timestamp)));
        let found = self.runtime.block_on(asked).expect("an answer");
        (found >= 0).then_some(found)
    }

    fn create_topic(&mut self, topic: &str, partitions: i32, _configs: &[(&str, &str)]) -> bool {
        let controller = self.client.controller_client().expect("a controller client");
        match self.runtime.block_on(controller.create_topic(topic, partitions, 1, 10_000)) {
            Ok(()) => true,
            Err(Error::ServerError { protocol_error: ProtocolError::TopicAlreadyExists, .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn topics(&mut self) -> HashSet<String> {
        let topics = self.runtime.block_on(self.client.list_topics()).expect("topics");
        topics.into_iter().map(|topic| topic.name).collect()
    }

    fn partition_count(&mut self, topic: &str) -> usize {
        let topics = self.runtime.block_on(self.client.list_topics()).expect("topics");
        topics.iter().find(|found| found.name == topic).map_or(0, |found| found.partitions.len())
    }

    fn topic_configs(&mut self, _topic: &str) -> HashMap<String, String> {
        unreachable!("the library lacks it")
    }

    fn broker_config_count(&mut self) -> usize {
        unreachable!("the library lacks it")
    }

    fn alter_config(&mut self, _topic: &str, _configs: &[(&str, &str)]) {
        unreachable!("the library lacks it")
    }

    fn grow(&mut self, _topic: &str, _partitions: i32) {
        unreachable!("the library lacks it")
    }

    fn delete_records(&mut self, topic: &str, partition: i32, before: i64) {
        let partition = self.partition(topic, partition);
        self.runtime.block_on(partition.delete_records(before, 10_000)).expect("deleted");
    }

    fn delete_topic(&mut self, topic: &str) {
        let controller = self.client.controller_client().expect("a controller client");
        self.runtime.block_on(controller.delete_topic(topic, 10_000)).expect("deleted");
    }
}
