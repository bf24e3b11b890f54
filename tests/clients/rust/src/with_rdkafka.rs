//! The face of rdkafka, which is librdkafka.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::runtime::Runtime;

use crate::records::Record;
use crate::{Face, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Rdkafka {
    bootstrap: String,
    runtime: Runtime,
    admin: AdminClient<DefaultClientContext>,
    consumer: BaseConsumer,
    latest: Option<BaseProducer<Deliveries>>,
}

/// Counts what was delivered; a failure ends the program.
#[derive(Clone, Default)]
struct Deliveries(Arc<AtomicUsize>);

impl ClientContext for Deliveries {}
impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            eprintln!("not delivered: {error}");
            std::process::exit(1);
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rdkafka {
    pub fn new(bootstrap: &str) -> Self {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", bootstrap);
        let consumer = base
            .clone()
            .set("group.id", "assigned-by-hand")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "100")
            .create()
            .expect("a consumer");
        Self {
            bootstrap: bootstrap.to_string(),
            runtime: Runtime::new().expect("a runtime"),
            admin: base.create().expect("an admin client"),
            consumer,
            latest: None,
        }
    }

    fn producer(&self, codec: &str, how: &str) -> (BaseProducer<Deliveries>, Deliveries) {
        let acks = match how {
            "acks=0" => "0",
            "acks=1" => "1",
            _ => "all",
        };
        let deliveries = Deliveries::default();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("compression.type", codec)
            .set("acks", acks)
            .set("enable.idempotence", if how == "idempotent" { "true" } else { "false" })
            .set("linger.ms", "5")
            .create_with_context(deliveries.clone())
            .expect("a producer");
        (producer, deliveries)
    }

    fn describe(&self, resource: ResourceSpecifier<'_>) -> HashMap<String, String> {
        let options = AdminOptions::new();
        let described = self.runtime.block_on(self.admin.describe_configs([&resource], &options));
        let described = described.expect("an answer").remove(0).expect("its configs");
        let entries = described.entries.into_iter();
        entries.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect()
    }
}

fn send(producer: &BaseProducer<Deliveries>, topic: &str, partition: i32, record: &Record) {
    let mut headers = OwnedHeaders::new();
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: Some(value) });
    }
    loop {
        let mut message = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).headers(headers.clone());
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message.timestamp = (record.timestamp != 0).then_some(record.timestamp);
        match producer.send(message) {
            Ok(()) => break,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(100));
            }
            Err((error, _)) => panic!("{topic}-{partition}: {error}"),
        }
    }
}

impl Face for Rdkafka {
    fn name(&self) -> &'static str {
        "rdkafka"
    }

    fn lacks(&self) -> &'static [&'static str] {
        &[]
    }

    fn produce(&mut self, topic: &str, partition: i32, records: &[Record], codec: &str, how: &str) {
        let (producer, deliveries) = self.producer(codec, how);
        for record in records {
            send(&producer, topic, partition, record);
        }
        producer.flush(PATIENCE).expect("flushed");
        assert_eq!(deliveries.0.load(Ordering::Relaxed), records.len());
        self.latest = Some(producer);
    }

    fn put(&mut self, topic: &str, packed: &mut dyn Iterator<Item = Record>, codec: &str) {
        let (producer, _) = self.producer(codec, "idempotent");
        for record in packed {
            send(&producer, topic, 0, &record);
            producer.poll(Duration::ZERO);
        }
        producer.flush(PATIENCE).expect("flushed");
    }

    fn read(&mut self, topic: &str, partition: i32, start: i64, count: i64, take: &mut dyn FnMut(Record)) {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, Offset::Offset(start)).expect("an offset");
        self.consumer.assign(&assignment).expect("assigned");
        let mut left = count;
        let mut end = Instant::now() + PATIENCE;
        while left > 0 {
            assert!(
                Instant::now() < end,
                "{topic}-{partition}: {left} of {count} records from {start} missing"
            );
            let Some(message) = self.consumer.poll(Duration::from_millis(200)) else { continue };
            let message = message.expect("a message");
            let headers = message.headers().map(|headers| {
                headers.iter().map(|h| (h.key.to_string(), h.value.unwrap_or_default().to_vec())).collect()
            });
            take(Record {
                offset: message.offset(),
                timestamp: message.timestamp().to_millis().expect("a timestamp"),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers.unwrap_or_default(),
            });
            left -= 1;
            end = Instant::now() + PATIENCE;
        }
        self.consumer.unassign().expect("unassigned");
    }

    fn offsets(&mut self, topic: &str, partition: i32) -> (i64, i64) {
        let mut found = None;
        wait_for("a leader", || {
            found = self.consumer.fetch_watermarks(topic, partition, PATIENCE).ok();
            found.is_some()
        });
        found.expect("it was waited for")
    }

    fn offset_at(&mut self, topic: &str, partition: i32, timestamp: i64) -> Option<i64> {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, partition, Offset::Offset(timestamp)).expect("a timestamp");
        let found = self.consumer.offsets_for_times(wanted, PATIENCE).expect("an answer");
        match found.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            Offset::End => None,
            other => panic!("{topic}-{partition}: {other:?} for a timestamp"),
        }
    }

    fn create_topic(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> bool {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in configs {
            new = new.set(name, value);
        }
        let options = AdminOptions::new();
        match self.runtime.block_on(self.admin.create_topics([&new], &options)).expect("an answer").remove(0)
        {
            Ok(_) => true,
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn topics(&mut self) -> HashSet<String> {
        let metadata = self.consumer.fetch_metadata(None, PATIENCE).expect("metadata");
        metadata.topics().iter().map(|topic| topic.name().to_string()).collect()
    }

    fn partition_count(&mut self, topic: &str) -> usize {
        let metadata = self.consumer.fetch_metadata(None, PATIENCE).expect("metadata");
        metadata
            .topics()
            .iter()
            .find(|found| found.name() == topic)
            .map_or(0, |found| found.partitions().len())
    }

    fn topic_configs(&mut self, topic: &str) -> HashMap<String, String> {
        self.describe(ResourceSpecifier::Topic(topic))
    }

    fn broker_config_count(&mut self) -> usize {
        self.describe(ResourceSpecifier::Broker(1)).len()
    }

    fn alter_config(&mut self, topic: &str, configs: &[(&str, &str)]) {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value) in configs {
            change = change.set(name, value);
        }
        let altered = self.runtime.block_on(self.admin.alter_configs([&change], &AdminOptions::new()));
        altered.expect("an answer").remove(0).expect("altered");
    }

    fn grow(&mut self, topic: &str, partitions: i32) {
        let new = NewPartitions::new(topic, partitions as usize);
        let grown = self.runtime.block_on(self.admin.create_partitions([&new], &AdminOptions::new()));
        grown.expect("an answer").remove(0).expect("grown");
    }

    fn delete_records(&mut self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        let deleted = self.runtime.block_on(self.admin.delete_records(&offsets, &AdminOptions::new()));
        deleted.expect("an answer").elements()[0].error().expect("deleted");
    }

    fn delete_topic(&mut self, topic: &str) {
        let deleted = self.runtime.block_on(self.admin.delete_topics(&[topic], &AdminOptions::new()));
        deleted.expect("an answer").remove(0).expect("deleted");
    }
}
