//! Groups as a cluster keeps them: which there are, who is in them, what they have committed.
//!
//! ListGroups is asked of every broker, each of which knows the groups that it coordinates; all else goes to
//! a group's coordinator. What kind a group is stands in ListGroups from version 5 on (Kafka 3.8); the groups
//! of older brokers are all classic.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response as consumer;
use kafka_protocol::messages::describe_groups_response as classic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::admin::Outcomes;
use super::cluster::{Client, text, topic_name};
use super::embedded::read_assignment;
use super::error::ClientError;
use crate::types::{NodeId, Offset, PartitionId, TopicPartition};

/// The first version of OffsetFetch that takes several groups.
const SEVERAL_GROUPS_VERSION: i16 = 8;
/// Who commits without being a member.
const NO_GENERATION: i32 = -1;

/// A group as ListGroups names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub id: String,
    /// `classic`, `consumer`, `share`, `streams`.
    pub kind: String,
    /// What its members speak among themselves: `consumer`, `connect`, empty where nobody ever joined.
    pub protocol: String,
    /// In Kafka's words, such as `Stable`; empty with brokers before Kafka 2.6.
    pub state: String,
}

/// A group with its members.
#[derive(Clone, Debug)]
pub struct Group {
    pub id: String,
    pub kind: String,
    pub state: String,
    pub coordinator: NodeId,
    /// The protocol that a classic group chose, or the server's assignor; empty while there is none.
    pub assignor: String,
    /// Of groups of the consumer protocol.
    pub epoch: Option<i32>,
    pub members: Vec<GroupMember>,
}

#[derive(Clone, Debug)]
pub struct GroupMember {
    pub id: String,
    /// Of a static member.
    pub instance: Option<String>,
    pub client_id: String,
    pub host: String,
    /// Of members of the consumer protocol.
    pub epoch: Option<i32>,
    /// What it owns now, in order.
    pub assignment: Vec<TopicPartition>,
}

/// A committed offset: the next record that the group will read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: Offset,
    /// -1 where it is not known.
    pub leader_epoch: i32,
    pub metadata: String,
}

/// What a group has committed.
pub type Commits = BTreeMap<TopicPartition, Committed>;

/// One outcome for each partition that was named.
pub type PartitionOutcomes = Vec<(TopicPartition, Result<(), ClientError>)>;

/// Who commits: nobody of the group, or a member of it.
#[derive(Clone, Debug)]
pub struct Committer {
    pub member_id: String,
    pub instance: Option<String>,
    /// A generation, or the epoch of a member.
    pub generation: i32,
}

impl Committer {
    /// A tool, which may commit only for a group without members.
    pub fn tool() -> Committer {
        Committer { member_id: String::new(), instance: None, generation: NO_GENERATION }
    }
}

impl Client {
    /// All groups of all brokers, in the order of their names.
    pub fn list_groups(&mut self) -> Result<Vec<ListedGroup>, ClientError> {
        self.metadata(Some(&[]), false)?;
        let brokers: Vec<NodeId> = self.brokers().keys().copied().collect();
        let mut groups = Vec::new();
        for id in brokers {
            groups.extend(self.patiently(|client| client.list_groups_of(id))?);
        }
        groups.sort_by(|a: &ListedGroup, b| a.id.cmp(&b.id));
        // A group that moves while brokers are asked may be named by two.
        groups.dedup_by(|a, b| a.id == b.id);
        Ok(groups)
    }

    fn list_groups_of(&mut self, id: NodeId) -> Result<Vec<ListedGroup>, ClientError> {
        let response = self.ask(id, |_| ListGroupsRequest::default())?;
        ClientError::check(|| format!("the groups of broker {id}"), response.error_code, None)?;
        let group = |group: kafka_protocol::messages::list_groups_response::ListedGroup| ListedGroup {
            id: group.group_id.0.to_string(),
            kind: kind(&group.group_type),
            protocol: group.protocol_type.to_string(),
            state: group.group_state.to_string(),
        };
        Ok(response.groups.into_iter().map(group).collect())
    }

    /// Groups with their members. Groups of kinds that neither description knows are an error each.
    pub fn describe_groups(&mut self, groups: &[ListedGroup]) -> Outcomes<Group> {
        let of_kind = |kind: &str| -> Vec<String> {
            groups.iter().filter(|group| group.kind == kind).map(|group| group.id.clone()).collect()
        };
        let mut outcomes: BTreeMap<String, Result<Group, ClientError>> = BTreeMap::new();
        let consumers = of_kind("consumer");
        let described =
            self.ask_coordinators(&consumers, |client, id, part| client.describe_consumer(id, part));
        let mut moved = of_kind("classic");
        for (group, outcome) in described {
            match outcome {
                // It became a classic group since it was listed.
                Err(error) if error.code() == Some(ResponseError::GroupIdNotFound) => moved.push(group),
                outcome => drop(outcomes.insert(group, outcome)),
            }
        }
        outcomes.extend(self.ask_coordinators(&moved, |client, id, part| client.describe_classic(id, part)));
        let unknown = |group: &ListedGroup| {
            let text = format!("group {} is of type {}, which cannot be described yet", group.id, group.kind);
            Err(ClientError::NoAnswer(text))
        };
        groups
            .iter()
            .map(|group| (group.id.clone(), outcomes.remove(&group.id).unwrap_or_else(|| unknown(group))))
            .collect()
    }

    fn describe_classic(&mut self, id: NodeId, groups: &[String]) -> Result<Outcomes<Group>, ClientError> {
        let response = self.ask(id, |_| {
            DescribeGroupsRequest::default().with_groups(groups.iter().map(|group| group_id(group)).collect())
        })?;
        let outcome = |group: classic::DescribedGroup| {
            let (name, checked) = of_group(&group.group_id, group.error_code, group.error_message.as_deref());
            (name, checked.map(|()| read_classic(group, id)))
        };
        Ok(response.groups.into_iter().map(outcome).collect())
    }

    fn describe_consumer(&mut self, id: NodeId, groups: &[String]) -> Result<Outcomes<Group>, ClientError> {
        let response = self.ask(id, |_| {
            ConsumerGroupDescribeRequest::default()
                .with_group_ids(groups.iter().map(|group| group_id(group)).collect())
        })?;
        let outcome = |group: consumer::DescribedGroup| {
            let (name, checked) = of_group(&group.group_id, group.error_code, group.error_message.as_deref());
            (name, checked.map(|()| read_consumer(group, id)))
        };
        Ok(response.groups.into_iter().map(outcome).collect())
    }

    /// Deletes groups without members, with all that they have committed.
    pub fn delete_groups(&mut self, groups: &[String]) -> Outcomes<()> {
        self.ask_coordinators(groups, |client, id, part| {
            let request = |_| {
                DeleteGroupsRequest::default()
                    .with_groups_names(part.iter().map(|group| group_id(group)).collect())
            };
            let response = client.tell(id, request)?;
            let outcome = |result: kafka_protocol::messages::delete_groups_response::DeletableGroupResult| {
                of_group(&result.group_id, result.error_code, None)
            };
            Ok(response.results.into_iter().map(outcome).collect())
        })
    }

    /// Everything that each group has committed. With `stable` an offset of a transaction that is open is
    /// waited for.
    pub fn committed_offsets(&mut self, groups: &[String], stable: bool) -> Outcomes<Commits> {
        self.ask_coordinators(groups, |client, id, part| {
            let version = client.connection(id)?.version::<OffsetFetchRequest>()?;
            if version >= SEVERAL_GROUPS_VERSION {
                return client.fetch_offsets_of_several(id, part, stable);
            }
            let one = |group: &String| Ok((group.clone(), client.fetch_offsets_of_one(id, group, stable)?));
            let fetched: Result<Vec<_>, ClientError> = part.iter().map(one).collect();
            fetched
        })
    }

    fn fetch_offsets_of_several(
        &mut self,
        id: NodeId,
        groups: &[String],
        stable: bool,
    ) -> Result<Outcomes<Commits>, ClientError> {
        let all_of = |group: &String| {
            OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(None)
        };
        let response = self.ask(id, |_| {
            OffsetFetchRequest::default()
                .with_groups(groups.iter().map(all_of).collect())
                .with_require_stable(stable)
        })?;
        let read = |group: kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup| {
            let name = group.group_id.0.to_string();
            let mut commits =
                ClientError::check(|| offsets_of(&name), group.error_code, None).map(|()| Commits::new());
            for topic in group.topics {
                let topic_name: Arc<str> = topic.name.0.as_str().into();
                for partition in topic.partitions {
                    let at = partition_of(&topic_name, partition.partition_index);
                    let of =
                        (partition.committed_offset, partition.committed_leader_epoch, partition.metadata);
                    add_commit(&mut commits, &name, at, of, partition.error_code);
                }
            }
            (name, commits)
        };
        Ok(response.groups.into_iter().map(read).collect())
    }

    fn fetch_offsets_of_one(
        &mut self,
        id: NodeId,
        group: &str,
        stable: bool,
    ) -> Result<Result<Commits, ClientError>, ClientError> {
        let response = self.ask(id, |version| {
            OffsetFetchRequest::default()
                .with_group_id(group_id(group))
                // Version 1 cannot ask for all.
                .with_topics((version < 2).then(Vec::new))
                .with_require_stable(stable && version >= 7)
        })?;
        let mut commits =
            ClientError::check(|| offsets_of(group), response.error_code, None).map(|()| Commits::new());
        for topic in response.topics {
            let topic_name: Arc<str> = topic.name.0.as_str().into();
            for partition in topic.partitions {
                let at = partition_of(&topic_name, partition.partition_index);
                let of = (partition.committed_offset, partition.committed_leader_epoch, partition.metadata);
                add_commit(&mut commits, group, at, of, partition.error_code);
            }
        }
        Ok(commits)
    }

    /// Commits offsets for one group; the outcome of each partition.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        committer: &Committer,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<PartitionOutcomes, ClientError> {
        let of_group = [group.to_owned()];
        let mut outcomes = self.ask_coordinators(&of_group, |client, id, _| {
            let response = client.ask(id, |version| commit_request(group, committer, offsets, version))?;
            let mut outcomes = Vec::new();
            for topic in response.topics {
                let name: Arc<str> = topic.name.0.as_str().into();
                for partition in topic.partitions {
                    let at = partition_of(&name, partition.partition_index);
                    let what = || format!("the offset of group {group} for {at}");
                    let outcome = ClientError::check(what, partition.error_code, None);
                    // What every partition is refused for, the whole request can be asked again for.
                    if let Err(error) = &outcome
                        && error.code().is_some_and(super::coordinator::is_elsewhere)
                    {
                        return Ok(vec![(group.to_owned(), Err(error.again()))]);
                    }
                    outcomes.push((at, outcome));
                }
            }
            Ok(vec![(group.to_owned(), Ok(outcomes))])
        });
        outcomes.pop().map_or_else(|| Ok(Vec::new()), |(_, outcome)| outcome)
    }

    /// Forgets what a group has committed for partitions; the outcome of each.
    pub fn delete_offsets(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<PartitionOutcomes, ClientError> {
        let of_group = [group.to_owned()];
        let mut outcomes = self.ask_coordinators(&of_group, |client, id, _| {
            let partition = |at: &TopicPartition| {
                OffsetDeleteRequestPartition::default().with_partition_index(at.partition.0)
            };
            let topics = by_topic(partitions, |at| at).into_iter().map(|(name, all)| {
                OffsetDeleteRequestTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(all.into_iter().map(partition).collect())
            });
            let request =
                OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(topics.collect());
            let response = client.ask(id, |_| request.clone())?;
            if let Err(error) = ClientError::check(|| format!("group {group}"), response.error_code, None) {
                return Ok(vec![(group.to_owned(), Err(error))]);
            }
            let mut outcomes = Vec::new();
            for topic in response.topics {
                let name: Arc<str> = topic.name.0.as_str().into();
                for partition in topic.partitions {
                    let at = partition_of(&name, partition.partition_index);
                    let what = || format!("the offset of group {group} for {at}");
                    outcomes.push((at.clone(), ClientError::check(what, partition.error_code, None)));
                }
            }
            Ok(vec![(group.to_owned(), Ok(outcomes))])
        });
        outcomes.pop().map_or_else(|| Ok(Vec::new()), |(_, outcome)| outcome)
    }
}

/// What was said of a group as a whole.
fn of_group(id: &GroupId, error_code: i16, message: Option<&str>) -> (String, Result<(), ClientError>) {
    let checked = ClientError::check(|| format!("group {}", id.0), error_code, message);
    (id.0.to_string(), checked)
}

fn commit_request(
    group: &str,
    committer: &Committer,
    offsets: &[(TopicPartition, Offset)],
    version: i16,
) -> OffsetCommitRequest {
    let partition = |(at, offset): &(TopicPartition, Offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(at.partition.0)
            .with_committed_offset(offset.0)
            .with_committed_metadata(Some(text("")))
    };
    let topics = by_topic(offsets, |(at, _)| at).into_iter().map(|(name, all)| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(all.into_iter().map(partition).collect())
    });
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(committer.generation)
        .with_member_id(text(&committer.member_id))
        // Static members came with version 7.
        .with_group_instance_id(committer.instance.as_deref().filter(|_| version >= 7).map(text))
        .with_topics(topics.collect())
}

/// Puts partitions under their topics.
pub(super) fn by_topic<T>(all: &[T], at: impl Fn(&T) -> &TopicPartition) -> BTreeMap<&str, Vec<&T>> {
    let mut topics: BTreeMap<&str, Vec<&T>> = BTreeMap::new();
    for one in all {
        topics.entry(&at(one).topic).or_default().push(one);
    }
    topics
}

fn add_commit(
    commits: &mut Result<Commits, ClientError>,
    group: &str,
    at: TopicPartition,
    (offset, leader_epoch, metadata): (i64, i32, Option<StrBytes>),
    error_code: i16,
) {
    let checked = ClientError::check(|| format!("{} for {at}", offsets_of(group)), error_code, None);
    match (checked, &mut *commits) {
        (Err(error), Ok(_)) => *commits = Err(error),
        // A negative offset says that nothing is committed.
        (Ok(()), Ok(commits)) if offset >= 0 => {
            let metadata = metadata.map(|text| text.to_string()).unwrap_or_default();
            commits.insert(at, Committed { offset: Offset(offset), leader_epoch, metadata });
        }
        _ => {}
    }
}

fn read_classic(group: classic::DescribedGroup, coordinator: NodeId) -> Group {
    let is_consumer = group.protocol_type.as_str() == "consumer";
    let member = |member: classic::DescribedGroupMember| GroupMember {
        id: member.member_id.to_string(),
        instance: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: host(&member.client_host),
        epoch: None,
        assignment: if is_consumer { read_assignment(member.member_assignment) } else { Vec::new() },
    };
    Group {
        id: group.group_id.0.to_string(),
        kind: "classic".to_owned(),
        state: group.group_state.to_string(),
        coordinator,
        assignor: group.protocol_data.to_string(),
        epoch: None,
        members: group.members.into_iter().map(member).collect(),
    }
}

fn read_consumer(group: consumer::DescribedGroup, coordinator: NodeId) -> Group {
    let member = |member: consumer::Member| {
        let topics = member.assignment.topic_partitions.into_iter();
        let mut assignment: Vec<TopicPartition> = topics
            .flat_map(|topic| {
                let name: Arc<str> = topic.topic_name.0.as_str().into();
                topic.partitions.into_iter().map(move |index| partition_of(&name, index))
            })
            .collect();
        assignment.sort();
        GroupMember {
            id: member.member_id.to_string(),
            instance: member.instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: host(&member.client_host),
            epoch: Some(member.member_epoch),
            assignment,
        }
    };
    Group {
        id: group.group_id.0.to_string(),
        kind: "consumer".to_owned(),
        state: group.group_state.to_string(),
        coordinator,
        assignor: group.assignor_name.to_string(),
        epoch: Some(group.group_epoch),
        members: group.members.into_iter().map(member).collect(),
    }
}

fn kind(listed: &str) -> String {
    match listed {
        "" => "classic".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

/// Java prints an address as `/127.0.0.1`.
fn host(text: &str) -> String {
    text.trim_start_matches('/').to_owned()
}

fn offsets_of(group: &str) -> String {
    format!("the offsets of group {group}")
}

fn partition_of(topic: &Arc<str>, index: i32) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition: PartitionId(index) }
}

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tools_commit_names_no_member_and_groups_partitions_by_topic() {
        let at = |topic: &str, index| partition_of(&topic.into(), index);
        let offsets = [(at("b", 1), Offset(7)), (at("a", 0), Offset(5)), (at("b", 0), Offset(6))];
        let request = commit_request("g", &Committer::tool(), &offsets, 9);
        assert_eq!((request.generation_id_or_member_epoch, request.member_id.as_str()), (-1, ""));
        let counts: Vec<usize> = request.topics.iter().map(|topic| topic.partitions.len()).collect();
        assert_eq!(counts, [1, 2]);
    }
}
