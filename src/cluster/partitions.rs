//! Partitions: where new ones go, CreatePartitions, and ListPartitionReassignments.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::controller::{Context, Decision};
use super::topics::RECORDS_PER_REQUEST_MAX;
use crate::metadata::{Image, Partition, Topic};
use crate::protocol::api_error::{ApiError, code_and_text};
use crate::protocol::stored::metadata::Versioned;
use crate::types::{NodeId, PartitionId};

pub const ALL_FENCED: &str = "All brokers are currently fenced or in controlled shutdown.";

pub fn all_assigned_fenced(index: i32) -> String {
    format!(
        "All brokers specified in the manual partition assignment for partition {index} are fenced or in \
         controlled shutdown."
    )
}

pub fn nodes(brokers: &[BrokerId]) -> Vec<NodeId> {
    brokers.iter().map(|id| NodeId(id.0)).collect()
}

fn brokers(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|id| BrokerId(id.0)).collect()
}

/// Spreads partitions over the brokers: each starts one broker further, so that leaders are spread too.
pub struct Placement {
    unfenced: Vec<NodeId>,
    fenced: Vec<NodeId>,
    replication_factor: usize,
    at: usize,
}

impl Placement {
    /// Says why the brokers there are cannot hold that many replicas.
    pub fn new(image: &Image, replication_factor: i32) -> Result<Placement, String> {
        let usable: Vec<_> = image.brokers().filter(|broker| !broker.in_controlled_shutdown).collect();
        let (fenced, unfenced): (Vec<_>, Vec<_>) = usable.iter().partition(|broker| broker.fenced);
        if replication_factor <= 0 {
            return Err(format!(
                "Invalid replication factor {replication_factor}: the replication factor must be positive."
            ));
        }
        if unfenced.is_empty() {
            return Err("All brokers are currently fenced.".to_owned());
        }
        if replication_factor as usize > usable.len() {
            return Err(format!(
                "The target replication factor of {replication_factor} cannot be reached because only {} \
                 broker(s) are registered.",
                usable.len()
            ));
        }
        let ids = |brokers: Vec<&&std::sync::Arc<crate::metadata::Broker>>| {
            brokers.into_iter().map(|broker| broker.id).collect::<Vec<_>>()
        };
        let unfenced = ids(unfenced);
        // The number of topics stands in for a random start: it moves with every topic.
        let at = image.topic_count() % unfenced.len();
        Ok(Placement { unfenced, fenced: ids(fenced), replication_factor: replication_factor as usize, at })
    }

    /// The replicas of the next partition, the leader first: brokers that live before those that do not.
    pub fn next_replicas(&mut self) -> Vec<NodeId> {
        let (later, first) = self.unfenced.split_at(self.at);
        let replicas = first.iter().chain(later).chain(&self.fenced).copied();
        let replicas = replicas.take(self.replication_factor).collect();
        self.at = (self.at + 1) % self.unfenced.len();
        replicas
    }
}

/// A new partition on `replicas`; `None` where none of them lives.
pub fn new_partition(image: &Image, replicas: Vec<NodeId>) -> Option<Partition> {
    let isr: Vec<NodeId> = replicas.iter().copied().filter(|id| image.is_active(*id)).collect();
    if isr.is_empty() {
        return None;
    }
    let directory =
        |id: &NodeId| image.broker(*id).map(|broker| broker.default_directory()).unwrap_or_default();
    let directories = replicas.iter().map(directory).collect();
    Some(Partition::new(replicas, directories, isr))
}

/// Checks one partition's replicas as a client assigned them.
pub fn check_assignment(
    image: &Image,
    replicas: &[BrokerId],
    replication_factor: Option<usize>,
) -> Result<(), ApiError> {
    let invalid = |message: String| Err(ApiError::new(ResponseError::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut sorted = nodes(replicas);
    sorted.sort();
    for (i, id) in sorted.iter().enumerate() {
        if image.broker(*id).is_none() {
            return invalid(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
        if i > 0 && sorted[i - 1] == *id {
            return invalid(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
    }
    match replication_factor {
        Some(expected) if expected != replicas.len() => invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not \
             consistent with previous partitions, which have {expected} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

/// Decides CreatePartitions: topics that can grow do, in one batch.
pub fn create_partitions(
    context: &Context<'_>,
    request: &CreatePartitionsRequest,
) -> Decision<CreatePartitionsResponse> {
    let mut records = Vec::new();
    let mut results = Vec::new();
    let times = |name: &TopicName| request.topics.iter().filter(|topic| topic.name == *name).count();
    let result = |name: &TopicName, outcome: &Result<(), ApiError>| {
        let (code, text) = code_and_text(outcome);
        CreatePartitionsTopicResult::default()
            .with_name(name.clone())
            .with_error_code(code)
            .with_error_message(text)
    };
    let mut told: Vec<&TopicName> = Vec::new();
    for topic in request.topics.iter().filter(|topic| times(&topic.name) > 1) {
        if !told.contains(&&topic.name) {
            told.push(&topic.name);
            let error = ApiError::new(ResponseError::InvalidRequest, "Duplicate topic name.");
            results.push(result(&topic.name, &Err(error)));
        }
    }
    for topic in request.topics.iter().filter(|topic| times(&topic.name) == 1) {
        let room = RECORDS_PER_REQUEST_MAX - records.len();
        let outcome = grow(context, topic, room).map(|new| records.extend(new));
        results.push(result(&topic.name, &outcome));
    }
    let response = CreatePartitionsResponse::default().with_results(results);
    if request.validate_only { Decision::nothing(response) } else { Decision::atomic(records, response) }
}

/// The records that give `topic` the partitions that are asked for, at most `room`.
fn grow(
    context: &Context<'_>,
    asked: &CreatePartitionsTopic,
    room: usize,
) -> Result<Vec<Versioned>, ApiError> {
    let image = context.image;
    let topic = image.topic(&asked.name).ok_or(ApiError::bare(ResponseError::UnknownTopicOrPartition))?;
    let count = topic.partitions.len();
    let invalid = |message: String| ApiError::new(ResponseError::InvalidPartitions, message);
    if i64::from(asked.count) == count as i64 {
        return Err(invalid(format!("Topic already has {count} partition(s).")));
    }
    if i64::from(asked.count) < count as i64 {
        return Err(invalid(format!(
            "The topic {} currently has {count} partition(s); {} would not be an increase.",
            asked.name.0, asked.count
        )));
    }
    let additional = asked.count as usize - count;
    if let Some(assignments) = &asked.assignments
        && assignments.len() != additional
    {
        return Err(ApiError::new(
            ResponseError::InvalidReplicaAssignment,
            format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were \
                 specified.",
                assignments.len()
            ),
        ));
    }
    if additional > room {
        // Kafka's list of records is full here, an error without a name.
        return Err(ApiError::bare(ResponseError::UnknownServerError));
    }
    let replication_factor = topic.partitions.first().map_or(1, |first| first.replicas.len());
    let made = match &asked.assignments {
        Some(assignments) => assignments
            .iter()
            .enumerate()
            .map(|(i, assignment)| {
                check_assignment(image, &assignment.broker_ids, Some(replication_factor))?;
                new_partition(image, nodes(&assignment.broker_ids)).ok_or_else(|| {
                    let message = all_assigned_fenced((count + i) as i32);
                    ApiError::new(ResponseError::InvalidReplicaAssignment, message)
                })
            })
            .collect::<Result<Vec<_>, _>>()?,
        None => place_more(image, replication_factor, additional)?,
    };
    let record = |(i, partition): (usize, Partition)| {
        partition.to_record(topic.id, PartitionId((count + i) as i32), &image.features)
    };
    Ok(made.into_iter().enumerate().map(record).collect())
}

fn place_more(
    image: &Image,
    replication_factor: usize,
    additional: usize,
) -> Result<Vec<Partition>, ApiError> {
    let unable = |message: String| ApiError::new(ResponseError::InvalidReplicationFactor, message);
    let mut placement = Placement::new(image, replication_factor as i32).map_err(unable)?;
    (0..additional)
        .map(|_| {
            new_partition(image, placement.next_replicas()).ok_or_else(|| {
                unable(format!(
                    "Unable to replicate the partition {replication_factor} time(s): {ALL_FENCED}"
                ))
            })
        })
        .collect()
}

/// Answers ListPartitionReassignments from the image.
pub fn list_reassignments(
    image: &Image,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let mut topics = Vec::new();
    match &request.topics {
        None => {
            for topic in image.topics() {
                topics.extend(reassigning(topic, topic.numbered().map(|(id, _)| id)));
            }
        }
        Some(asked) => {
            for wanted in asked {
                let Some(topic) = image.topic(&wanted.name) else { continue };
                topics.extend(reassigning(topic, wanted.partition_indexes.iter().map(|i| PartitionId(*i))));
            }
        }
    }
    ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics)
}

fn reassigning(
    topic: &Topic,
    partitions: impl Iterator<Item = PartitionId>,
) -> Option<OngoingTopicReassignment> {
    let ongoing: Vec<_> = partitions
        .filter_map(|id| Some((id, topic.partition(id)?)))
        .filter(|(_, partition)| partition.is_reassigning())
        .map(|(id, partition)| {
            OngoingPartitionReassignment::default()
                .with_partition_index(id.0)
                .with_replicas(brokers(&partition.replicas))
                .with_adding_replicas(brokers(&partition.adding_replicas))
                .with_removing_replicas(brokers(&partition.removing_replicas))
        })
        .collect();
    let name = TopicName(StrBytes::from_string(topic.name.to_string()));
    (!ongoing.is_empty())
        .then(|| OngoingTopicReassignment::default().with_name(name).with_partitions(ongoing))
}
