//! Leaders: ElectLeaders, and the change records by which a partition gets or loses one.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::controller::{Context, Decision};
use crate::metadata::topic::NO_LEADER;
use crate::metadata::{Image, Partition};
use crate::protocol::api_error::{ApiError, code_and_text};
use crate::protocol::stored::metadata::{PartitionChangeRecord, Record, Versioned};
use crate::types::{NodeId, PartitionId, TopicId};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Election {
    /// The first replica, if it is in sync.
    Preferred,
    /// Any replica that lives, where none that is in sync does.
    Unclean,
}

/// Decides ElectLeaders.
pub fn elect_leaders(context: &Context<'_>, request: &ElectLeadersRequest) -> Decision<ElectLeadersResponse> {
    if request.topic_partitions.as_ref().is_some_and(Vec::is_empty) {
        return Decision::nothing(ElectLeadersResponse::default());
    }
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        other => {
            let message = format!("Unknown election type {other}");
            return Decision::nothing(refuse_all(
                request,
                &ApiError::new(ResponseError::InvalidRequest, message),
            ));
        }
    };
    let mut records = Vec::new();
    let mut results = Vec::new();
    match &request.topic_partitions {
        Some(asked) => {
            for topic in asked {
                let elect = |id: &i32| {
                    let outcome = elect(context.image, &topic.topic, PartitionId(*id), election);
                    partition_result(*id, &outcome.map(|record| records.push(record)))
                };
                let partitions = topic.partitions.iter().map(elect).collect();
                results.push(topic_result(topic.topic.clone(), partitions));
            }
        }
        None => {
            for topic in context.image.topics() {
                let mut partitions = Vec::new();
                for (id, _) in topic.numbered() {
                    let outcome = elect(context.image, &topic.name, id, election);
                    let outcome = outcome.map(|record| records.push(record));
                    // Partitions that are as they should be are not told when all were asked for.
                    if !matches!(&outcome, Err(e) if e.error == ResponseError::ElectionNotNeeded) {
                        partitions.push(partition_result(id.0, &outcome));
                    }
                }
                let name = TopicName(StrBytes::from_string(topic.name.to_string()));
                results.push(topic_result(name, partitions));
            }
        }
    }
    let response = ElectLeadersResponse::default().with_replica_election_results(results);
    Decision::several(records, response)
}

/// The answer when the request as a whole fails.
pub fn refuse_all(request: &ElectLeadersRequest, error: &ApiError) -> ElectLeadersResponse {
    let outcome = Err(error.clone());
    let asked = request.topic_partitions.iter().flatten();
    let results = asked.map(|topic| {
        let partitions = topic.partitions.iter().map(|id| partition_result(*id, &outcome)).collect();
        topic_result(topic.topic.clone(), partitions)
    });
    ElectLeadersResponse::default()
        .with_error_code(error.code())
        .with_replica_election_results(results.collect())
}

fn topic_result(name: TopicName, partitions: Vec<PartitionResult>) -> ReplicaElectionResult {
    ReplicaElectionResult::default().with_topic(name).with_partition_result(partitions)
}

fn partition_result(id: i32, outcome: &Result<(), ApiError>) -> PartitionResult {
    let (code, text) = code_and_text(outcome);
    PartitionResult::default().with_partition_id(id).with_error_code(code).with_error_message(text)
}

fn elect(image: &Image, topic: &str, id: PartitionId, election: Election) -> Result<Versioned, ApiError> {
    let unknown = |message| ApiError::new(ResponseError::UnknownTopicOrPartition, message);
    let found = image.topic(topic).ok_or_else(|| unknown(format!("No such topic as {topic}")))?;
    let partition =
        found.partition(id).ok_or_else(|| unknown(format!("No such partition as {topic}-{id}")))?;
    let needed = match election {
        Election::Preferred => partition.leader != partition.preferred_leader(),
        Election::Unclean => partition.leader == NO_LEADER,
    };
    if !needed {
        return Err(ApiError::general(ResponseError::ElectionNotNeeded));
    }
    let change = match election {
        Election::Preferred => {
            let preferred = partition.preferred_leader();
            let eligible = partition.isr.contains(&preferred) && image.is_active(preferred);
            eligible.then(|| leader_change(partition, preferred))
        }
        Election::Unclean => any_leader(image, partition),
    };
    let missing = match election {
        Election::Preferred => ResponseError::PreferredLeaderNotAvailable,
        Election::Unclean => ResponseError::EligibleLeadersNotAvailable,
    };
    let change = change.ok_or_else(|| ApiError::general(missing))?;
    Ok(record(image, found.id, id, change))
}

/// Names a leader that is in sync, or whose log is all there is.
fn leader_change(partition: &Partition, leader: NodeId) -> PartitionChangeRecord {
    let mut change = PartitionChangeRecord { leader, ..PartitionChangeRecord::default() };
    if !partition.isr.contains(&leader) {
        change.isr = Some(vec![leader]);
    }
    if partition.recovering {
        change.leader_recovery_state = 0;
    }
    if !partition.eligible_leader_replicas.is_empty() {
        change.eligible_leader_replicas = Some(Vec::new());
    }
    if !partition.last_known_elr.is_empty() {
        change.last_known_elr = Some(Vec::new());
    }
    change
}

/// A leader by any means: in sync before eligible before any that lives.
fn any_leader(image: &Image, partition: &Partition) -> Option<PartitionChangeRecord> {
    let lives = |id: &&NodeId| image.is_active(**id);
    let safe = partition.isr.iter().chain(&partition.eligible_leader_replicas).find(lives);
    if let Some(leader) = safe {
        return Some(leader_change(partition, *leader));
    }
    let leader = partition.replicas.iter().find(lives)?;
    Some(PartitionChangeRecord { leader_recovery_state: 1, ..leader_change(partition, *leader) })
}

/// Makes the broker lead again what it alone holds. Its log has been recovered before this is asked, so what
/// it has is all there is, and the partition is not recovering. A partition whose in-sync replicas are
/// others' is left to them.
pub fn resume_leadership(image: &Image, broker: NodeId) -> Vec<Versioned> {
    let held_alone = |partition: &Partition| {
        partition.replicas.contains(&broker)
            && partition.isr.iter().all(|id| *id == broker)
            && partition.eligible_leader_replicas.iter().all(|id| *id == broker)
    };
    let mut records = Vec::new();
    for topic in image.topics() {
        for (id, partition) in topic.numbered().filter(|(_, partition)| held_alone(partition)) {
            records.push(record(image, topic.id, id, leader_change(partition, broker)));
        }
    }
    records
}

/// Takes the leadership of everything from a broker that goes: another replica in sync leads, or none. The
/// last replica in sync stays so, or becomes eligible where eligible replicas are kept.
pub fn give_up_leadership(image: &Image, broker: NodeId) -> Vec<Versioned> {
    let mut records = Vec::new();
    for topic in image.topics() {
        for (id, partition) in topic.numbered() {
            if partition.isr.contains(&broker) || partition.leader == broker {
                records.push(record(image, topic.id, id, without(image, partition, broker)));
            }
        }
    }
    records
}

fn without(image: &Image, partition: &Partition, broker: NodeId) -> PartitionChangeRecord {
    let others: Vec<NodeId> = partition.isr.iter().copied().filter(|id| *id != broker).collect();
    let leader = others.iter().copied().find(|id| image.is_active(*id));
    let mut change = PartitionChangeRecord::default();
    if partition.leader == broker || partition.leader == NO_LEADER {
        change.leader = leader.unwrap_or(NO_LEADER);
    }
    if !others.is_empty() {
        change.isr = Some(others);
    } else if image.features.elr_enabled() {
        change.isr = Some(Vec::new());
        change.eligible_leader_replicas = Some(vec![broker]);
        change.last_known_elr = Some(vec![broker]);
    }
    change
}

fn record(
    image: &Image,
    topic_id: TopicId,
    partition_id: PartitionId,
    change: PartitionChangeRecord,
) -> Versioned {
    let change = PartitionChangeRecord { topic_id, partition_id, ..change };
    Record::from(change).at(image.features.partition_record_version())
}
