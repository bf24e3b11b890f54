//! A member by KIP-848: one request, ConsumerGroupHeartbeat, says what the member wants and owns, and is
//! answered with its epoch and, when that changed, with what it shall own. Topics go by their ids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions as Assigned};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, GroupId};

use super::{Event, Seat};
use crate::client::cluster::{Client, text, topic_name};
use crate::client::error::ClientError;
use crate::client::groups::Committer;
use crate::types::{PartitionId, TopicId, TopicPartition};

/// How long the group waits for this member to give something up.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
const JOINING_EPOCH: i32 = 0;
const LEAVING_EPOCH: i32 = -1;
/// The first version in which the member chooses its id.
const OWN_ID_VERSION: i16 = 1;

pub struct Consumer {
    id: String,
    epoch: i32,
    next_beat: Instant,
    owned: Vec<TopicPartition>,
    /// Whether the coordinator has to hear what is owned.
    is_owned_news: bool,
    names: BTreeMap<TopicId, Arc<str>>,
    /// What came and has not been told, because its topics' names could not be asked for.
    unnamed: Option<Assignment>,
}

impl Consumer {
    pub fn new() -> Consumer {
        Consumer {
            id: TopicId::random().to_string(),
            epoch: JOINING_EPOCH,
            next_beat: Instant::now(),
            owned: Vec::new(),
            is_owned_news: false,
            names: BTreeMap::new(),
            unnamed: None,
        }
    }

    pub fn poll(&mut self, seat: &mut Seat, client: &mut Client) -> Result<Event, ClientError> {
        let (group, topics) = (seat.settings.group.clone(), seat.settings.topics.clone());
        if self.unnamed.is_some() {
            return self.assigned(&topics, client);
        }
        if Instant::now() < self.next_beat {
            return Ok(Event::Nothing);
        }
        if self.names.is_empty() {
            self.learn_names(&topics, client)?;
        }
        let response = seat.ask(client, |version| self.request(&group, &topics, version))?;
        match ResponseError::try_from_code(response.error_code) {
            Some(ResponseError::FencedMemberEpoch | ResponseError::UnknownMemberId) => {
                let was_member = self.is_member();
                self.epoch = JOINING_EPOCH;
                self.owned.clear();
                return Ok(if was_member { Event::Lost } else { Event::Nothing });
            }
            Some(_) => {
                seat.check(response.error_code, response.error_message.as_deref())?;
            }
            None => {}
        }
        if let Some(id) = response.member_id {
            self.id = id.to_string();
        }
        self.epoch = response.member_epoch;
        self.is_owned_news = false;
        self.next_beat =
            Instant::now() + Duration::from_millis(response.heartbeat_interval_ms.max(100) as u64);
        self.unnamed = response.assignment;
        self.assigned(&topics, client)
    }

    /// A heartbeat; the first says everything, later ones only what is new.
    fn request(&self, group: &str, topics: &[String], version: i16) -> ConsumerGroupHeartbeatRequest {
        let is_joining = self.epoch == JOINING_EPOCH;
        let id = if is_joining && version < OWN_ID_VERSION { "" } else { &self.id };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_member_id(text(id))
            .with_member_epoch(self.epoch);
        if is_joining {
            return request
                .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
                .with_subscribed_topic_names(Some(topics.iter().map(|name| topic_name(name)).collect()))
                .with_topic_partitions(Some(Vec::new()));
        }
        request
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(self.is_owned_news.then(|| self.owned_by_id()))
    }

    fn owned_by_id(&self) -> Vec<TopicPartitions> {
        let owned_of = |name: &Arc<str>| -> Vec<i32> {
            self.owned.iter().filter(|at| at.topic == *name).map(|at| at.partition.0).collect()
        };
        let topic = |(id, name): (&TopicId, &Arc<str>)| {
            let partitions = owned_of(name);
            let topic = TopicPartitions::default().with_topic_id(id.0).with_partitions(partitions);
            Some(topic).filter(|topic| !topic.partitions.is_empty())
        };
        self.names.iter().filter_map(topic).collect()
    }

    /// What has come to be owned, if anything.
    fn assigned(&mut self, topics: &[String], client: &mut Client) -> Result<Event, ClientError> {
        let is_strange = |topic: &Assigned| !self.names.contains_key(&TopicId(topic.topic_id));
        if self.unnamed.iter().flat_map(|assignment| &assignment.topic_partitions).any(is_strange) {
            self.learn_names(topics, client)?;
        }
        let Some(assignment) = self.unnamed.take() else { return Ok(Event::Nothing) };
        let mut named = Vec::new();
        for topic in assignment.topic_partitions {
            // A topic that is gone since is nothing to read.
            let Some(name) = self.names.get(&TopicId(topic.topic_id)) else { continue };
            let at = |index| TopicPartition { topic: name.clone(), partition: PartitionId(index) };
            named.extend(topic.partitions.into_iter().map(at));
        }
        named.sort();
        Ok(Event::Assigned(named))
    }

    fn learn_names(&mut self, topics: &[String], client: &mut Client) -> Result<(), ClientError> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let cluster = client.metadata(Some(&names), false)?;
        self.names = cluster.topics.iter().map(|topic| (topic.id, topic.name.as_str().into())).collect();
        Ok(())
    }

    pub fn acknowledge(&mut self, owned: Vec<TopicPartition>) {
        self.owned = owned;
        self.is_owned_news = true;
        self.hurry();
    }

    pub fn hurry(&mut self) {
        self.next_beat = Instant::now();
    }

    pub fn is_member(&self) -> bool {
        self.epoch > JOINING_EPOCH
    }

    pub fn committer(&self) -> Committer {
        Committer { member_id: self.id.clone(), instance: None, generation: self.epoch }
    }

    pub fn leave(&mut self, seat: &mut Seat, client: &mut Client) -> Result<(), ClientError> {
        if !self.is_member() {
            return Ok(());
        }
        self.epoch = LEAVING_EPOCH;
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&seat.settings.group)))
            .with_member_id(text(&self.id))
            .with_member_epoch(LEAVING_EPOCH)
            .with_subscribed_topic_names(None)
            .with_topic_partitions(None);
        let response = seat.ask(client, |_| request.clone())?;
        match ResponseError::try_from_code(response.error_code) {
            // It is out already.
            Some(ResponseError::UnknownMemberId | ResponseError::FencedMemberEpoch) => Ok(()),
            _ => seat.check(response.error_code, response.error_message.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Consumer {
        let mut member = Consumer::new();
        member.names = BTreeMap::from([(TopicId::METADATA, "t".into())]);
        member
    }

    #[test]
    fn the_first_heartbeat_says_everything_and_later_ones_what_is_new() {
        let mut member = member();
        let topics = ["t".to_owned()];
        let first = member.request("g", &topics, 1);
        assert_eq!((first.member_epoch, first.topic_partitions), (0, Some(Vec::new())));
        assert_eq!(first.subscribed_topic_names.map(|names| names.len()), Some(1));
        assert!(!first.member_id.is_empty());
        assert!(member.request("g", &topics, 0).member_id.is_empty());
        member.epoch = 3;
        let later = member.request("g", &topics, 1);
        assert_eq!((later.member_epoch, later.topic_partitions), (3, None));
        assert_eq!(later.subscribed_topic_names, None);
        let at = |index| TopicPartition { topic: "t".into(), partition: PartitionId(index) };
        member.acknowledge(vec![at(0), at(2)]);
        let owned = member.request("g", &topics, 1).topic_partitions.unwrap();
        assert_eq!((owned.len(), &owned[0].partitions), (1, &vec![0, 2]));
        member.acknowledge(Vec::new());
        assert_eq!(member.request("g", &topics, 1).topic_partitions, Some(Vec::new()));
    }
}
