//! A producer that sends a small request every millisecond and notes how long each answer took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use thalweg::protocol::batch::BatchBuilder;
use thalweg::runtime::priority;

use crate::brokers::{Connection, frame};

const EVERY: Duration = Duration::from_millis(1);
const TOPIC: &str = "latency";

/// Makes the topic that [`Producer`] writes to.
pub fn prepare(address: &str) {
    let name = TopicName(StrBytes::from_static_str(TOPIC));
    let topic = CreatableTopic::default().with_name(name).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
    Connection::open(address).call(5, &request);
    std::thread::sleep(Duration::from_millis(500));
}

/// A producer under way.
pub struct Producer {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Vec<Duration>>,
}

impl Producer {
    pub fn start(address: &str) -> Producer {
        let stop = Arc::new(AtomicBool::new(false));
        let (address, stopped) = (address.to_owned(), stop.clone());
        let running = std::thread::spawn(move || {
            // Before the group's members, which share the core; without the right to, it measures them too.
            let _refused = rustix::process::setpriority_process(None, -20);
            let _refused = priority::wake_early();
            let (mut connection, request, mut taken) = (Connection::open(&address), request(), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let sent = Instant::now();
                connection.send(&request);
                connection.receive();
                taken.push(sent.elapsed());
                std::thread::sleep(EVERY.saturating_sub(sent.elapsed()));
            }
            taken
        });
        Producer { stop, running }
    }

    /// Ends the producer; how long 99.9 % of its requests took at most, in milliseconds.
    pub fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut taken = self.running.join().expect("the producer ends");
        taken.sort();
        taken[taken.len() * 999 / 1000].as_secs_f64() * 1e3
    }
}

fn request() -> Bytes {
    let mut batch = BatchBuilder::new();
    batch.append(1_700_000_000_000, None, Some(&[7; 1000]), &[]);
    let records = batch.build().expect("a batch of the bench");
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let name = TopicName(StrBytes::from_static_str(TOPIC));
    let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![partition]);
    frame(9, &ProduceRequest::default().with_acks(1).with_timeout_ms(30_000).with_topic_data(vec![topic]))
}
