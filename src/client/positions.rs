//! Offsets and times of many partitions at once: one request to each leader, whatever the topics.
//!
//! Where one partition cannot be asked about, the others are: each has its own outcome.

use std::collections::BTreeMap;
use std::time::Instant;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};

use super::cluster::{BACKOFF, Client, topic_name};
use super::error::ClientError;
use super::fetcher::FETCH_VERSION_MAX;
use super::groups::by_topic;
use crate::protocol::batch::{BatchHeader, BatchIter};
use crate::protocol::compression::OpenLimits;
use crate::protocol::record::RecordIter;
use crate::types::{NodeId, Offset, PartitionId, TopicPartition};

/// Enough of a batch for its header and, mostly, the record asked for.
const LOOK_BYTES: i32 = 16 << 10;
const LOOK_ANSWER_BYTES: i32 = 64 << 20;

/// What was found of each partition.
pub type Found<T> = BTreeMap<TopicPartition, Result<T, ClientError>>;

impl Client {
    /// The offset of each partition at its timestamp (or `EARLIEST`, `LATEST`); `None` where no record is that
    /// young. What passes by itself, such as an election, is waited out; a topic that is not there is not.
    pub fn offsets_at(
        &mut self,
        asked: &[(TopicPartition, i64)],
    ) -> Result<Found<Option<Offset>>, ClientError> {
        let give_up = Instant::now() + self.patience();
        let mut found = self.offsets_at_once(asked)?;
        loop {
            let is_passing = |at: &TopicPartition| {
                let error = found.get(at).and_then(|outcome| outcome.as_ref().err());
                let is_gone =
                    |error: &ClientError| error.code() == Some(ResponseError::UnknownTopicOrPartition);
                error.is_some_and(|error| error.is_passing() && !is_gone(error))
            };
            let again: Vec<(TopicPartition, i64)> =
                asked.iter().filter(|(at, _)| is_passing(at)).cloned().collect();
            if again.is_empty() || Instant::now() >= give_up {
                return Ok(found);
            }
            std::thread::sleep(BACKOFF);
            found.extend(self.offsets_at_once(&again)?);
        }
    }

    fn offsets_at_once(
        &mut self,
        asked: &[(TopicPartition, i64)],
    ) -> Result<Found<Option<Offset>>, ClientError> {
        let (by_leader, mut found) = self.sort_by_leader(asked)?;
        for (leader, asked) in by_leader {
            let partition = |(at, timestamp): &&(TopicPartition, i64)| {
                ListOffsetsPartition::default()
                    .with_partition_index(at.partition.0)
                    .with_timestamp(*timestamp)
            };
            let topics = by_topic(&asked, |(at, _)| at).into_iter().map(|(name, all)| {
                ListOffsetsTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(all.iter().map(partition).collect())
            });
            let request =
                ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
            let response = match self.ask(leader, |_| request.clone()) {
                Ok(response) => response,
                Err(error) => {
                    found.extend(asked.iter().map(|(at, _)| (at.clone(), Err(error.again()))));
                    continue;
                }
            };
            for topic in response.topics {
                for partition in topic.partitions {
                    let at = TopicPartition {
                        topic: topic.name.0.as_str().into(),
                        partition: PartitionId(partition.partition_index),
                    };
                    let what = || format!("the offsets of {at}");
                    let outcome = ClientError::check(what, partition.error_code, None)
                        .map(|()| Some(Offset(partition.offset)).filter(|offset| offset.0 >= 0));
                    found.insert(at, outcome);
                }
            }
        }
        for (at, _) in asked {
            found.entry(at.clone()).or_insert_with(|| Err(nothing_said(at)));
        }
        Ok(found)
    }

    /// The time (milliseconds since 1970) of the record at each offset, or of the next one there is. It is
    /// the time of its batch's first record where the batch is longer than a look; `None` where there is no
    /// record or it has no time. What cannot be read is left out.
    pub fn times_at(
        &mut self,
        asked: &[(TopicPartition, Offset)],
    ) -> Result<BTreeMap<TopicPartition, Option<i64>>, ClientError> {
        let (by_leader, _) = self.sort_by_leader::<_, ()>(asked)?;
        let mut times = BTreeMap::new();
        for (leader, asked) in by_leader {
            let Ok(found) = self.look(leader, &asked) else { continue };
            times.extend(found);
        }
        Ok(times)
    }

    fn look(
        &mut self,
        leader: NodeId,
        asked: &[(TopicPartition, Offset)],
    ) -> Result<Vec<(TopicPartition, Option<i64>)>, ClientError> {
        let partition = |(at, offset): &&(TopicPartition, Offset)| {
            FetchPartition::default()
                .with_partition(at.partition.0)
                .with_fetch_offset(offset.0)
                .with_log_start_offset(-1)
                .with_current_leader_epoch(-1)
                .with_last_fetched_epoch(-1)
                .with_partition_max_bytes(LOOK_BYTES)
        };
        let topics = by_topic(asked, |(at, _)| at).into_iter().map(|(name, all)| {
            FetchTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(all.iter().map(partition).collect())
        });
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(0)
            .with_max_bytes(LOOK_ANSWER_BYTES)
            .with_session_epoch(-1)
            .with_topics(topics.collect());
        let connection = self.connection(leader)?;
        let version = connection.version_below::<FetchRequest>(FETCH_VERSION_MAX)?;
        let response = connection.call_at(version, &request)?;
        let mut found = Vec::new();
        for topic in response.responses {
            for answer in topic.partitions {
                let is_asked = |(at, _): &&(TopicPartition, Offset)| {
                    at.partition.0 == answer.partition_index && *at.topic == *topic.topic.0.as_str()
                };
                let Some((at, offset)) = asked.iter().find(is_asked) else { continue };
                if answer.error_code == 0 {
                    found.push((at.clone(), time_at(&answer.records.unwrap_or_default(), *offset)));
                }
            }
        }
        Ok(found)
    }

    /// Sorts what is asked about partitions by who leads them now; those without leader have their error.
    #[allow(clippy::type_complexity)]
    fn sort_by_leader<A: Clone, T>(
        &mut self,
        asked: &[(TopicPartition, A)],
    ) -> Result<(BTreeMap<NodeId, Vec<(TopicPartition, A)>>, Found<T>), ClientError> {
        let mut names: Vec<&str> = asked.iter().map(|(at, _)| &*at.topic).collect();
        names.sort_unstable();
        names.dedup();
        let cluster = self.metadata(Some(&names), false)?;
        let topics: BTreeMap<&str, &super::cluster::Topic> =
            cluster.topics.iter().map(|topic| (topic.name.as_str(), topic)).collect();
        let leader_of = |at: &TopicPartition| -> Result<NodeId, ClientError> {
            let topic = topics.get(&*at.topic).ok_or_else(|| nothing_said(at))?;
            let code = topic.error.map_or(0, |error| error.code());
            ClientError::check(|| format!("topic {}", topic.name), code, None)?;
            let partition = topic.partitions.iter().find(|partition| partition.id == at.partition);
            let partition = partition.ok_or_else(|| ClientError::NoPartition {
                topic: topic.name.clone(),
                partition: at.partition.0,
                count: topic.partitions.len(),
            })?;
            let leader = partition.leader.filter(|leader| cluster.brokers.contains_key(leader));
            leader.ok_or_else(|| ClientError::NoLeader(format!("{at} has no leader at present")))
        };
        let (mut by_leader, mut found) = (BTreeMap::<_, Vec<_>>::new(), Found::new());
        for (at, what) in asked {
            match leader_of(at) {
                Ok(leader) => by_leader.entry(leader).or_default().push((at.clone(), what.clone())),
                Err(error) => drop(found.insert(at.clone(), Err(error))),
            }
        }
        Ok((by_leader, found))
    }
}

/// The time of the first record at or after `offset` in the begin of a log's bytes.
fn time_at(bytes: &[u8], offset: Offset) -> Option<i64> {
    for batch in BatchIter::new(bytes) {
        let Ok(batch) = batch else { break };
        if batch.header.attributes().is_control() || batch.header.last_offset() < offset {
            continue;
        }
        let limits = OpenLimits { bytes_max: 64 << 20, ratio_max: usize::MAX };
        let opened = batch.open(&limits).ok()?;
        for record in RecordIter::new(&opened, batch.header.record_count.get()) {
            let record = record.ok()?;
            if batch.header.base_offset().plus(i64::from(record.offset_delta)) >= offset {
                return Some(batch.timestamp_of(record.timestamp_delta)).filter(|time| *time >= 0);
            }
        }
    }
    // A batch that is cut: its header alone is whole.
    let header = BatchHeader::parse(bytes)?;
    let is_cut = header.batch_bytes()? > bytes.len() && header.last_offset() >= offset;
    Some(header.base_timestamp.get()).filter(|time| is_cut && *time >= 0)
}

fn nothing_said(at: &TopicPartition) -> ClientError {
    ClientError::NoAnswer(format!("the broker said nothing about {at}"))
}
