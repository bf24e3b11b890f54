//! How the brokers are set up, and what is made of what was measured.

use std::time::Duration;

use bytes::Bytes;

use super::brokers::Broker;
use super::load::Load;

/// Members beat every second, so that a round is short.
pub const SETTINGS: &[&str] = &[
    "group.consumer.min.heartbeat.interval.ms=1000",
    "group.consumer.heartbeat.interval.ms=1000",
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=8",
    "offsets.topic.replication.factor=1",
    "num.partitions=1",
];

/// For classic groups, whose members say themselves how often they beat; the first round waits for more members as
/// long as it does where nothing is said.
pub const CLASSIC_SETTINGS: &[&str] =
    &["offsets.topic.num.partitions=8", "offsets.topic.replication.factor=1", "num.partitions=1"];

/// One descriptor a member, and some.
pub fn raise_descriptors() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("a limit may be raised");
}

/// CPU microseconds of the broker by request, for requests that are repeated on every connection.
pub fn cpu_us_by_request(broker: &Broker, load: &mut Load, frames: &[Bytes], window: Duration) -> f64 {
    load.repeat(frames, window / 4);
    let before = broker.cpu_seconds();
    let answered = load.repeat(frames, window);
    (broker.cpu_seconds() - before) * 1e6 / answered as f64
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
