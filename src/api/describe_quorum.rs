//! DescribeQuorum: the metadata log's leader, voters and how far each is.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{BrokerId, DescribeQuorumRequest, DescribeQuorumResponse};

use super::Context;
use super::errors::NONE;
use crate::clock;
use crate::cluster::ApiError;
use crate::cluster::quorum::VoterState;
use crate::cluster::topics::METADATA_TOPIC;
use crate::protocol::wire::StrBytes;

/// What the controller knows of its quorum.
struct Quorum {
    leader: i32,
    epoch: i32,
    high_watermark: i64,
    log_end: i64,
    voters: Vec<VoterState>,
}

pub async fn handle(context: &Context, asked: DescribeQuorumRequest, version: i16) -> DescribeQuorumResponse {
    let leader = context.shard.node.id.0;
    let answer = context.shard.on_controller(move |c| async move {
        Quorum {
            leader,
            epoch: c.epoch().0,
            high_watermark: c.image().offset.0 + 1,
            log_end: c.log_end().0,
            voters: c.voters(),
        }
    });
    let Some(quorum) = answer.await else {
        return DescribeQuorumResponse::default().with_error_code(ResponseError::NotController.code());
    };
    // The request names one partition; any other shape is a mistake, as in Kafka.
    let is_metadata = matches!(&asked.topics[..], [topic]
        if *topic.topic_name.0 == *METADATA_TOPIC && matches!(&topic.partitions[..], [p] if p.partition_index == 0));
    if !is_metadata {
        let unknown = ApiError::general(ResponseError::UnknownTopicOrPartition);
        let message = if version >= 2 { unknown.text() } else { None };
        let topics = asked.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                PartitionData::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(unknown.code())
                    .with_error_message(message.clone())
            });
            TopicData::default()
                .with_topic_name(topic.topic_name.clone())
                .with_partitions(partitions.collect())
        });
        return DescribeQuorumResponse::default().with_topics(topics.collect());
    }
    let partition = PartitionData::default()
        .with_error_code(NONE)
        .with_partition_index(0)
        .with_leader_id(BrokerId(quorum.leader))
        .with_leader_epoch(quorum.epoch)
        .with_high_watermark(quorum.high_watermark)
        .with_current_voters(
            quorum.voters.iter().map(|voter| replica(voter, quorum.log_end, version)).collect(),
        );
    let topic = TopicData::default()
        .with_topic_name(asked.topics[0].topic_name.clone())
        .with_partitions(vec![partition]);
    let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
    match version >= 2 {
        true => response.with_nodes(quorum.voters.iter().map(node).collect()),
        false => response,
    }
}

/// The leader is as far as its log, now.
fn replica(voter: &VoterState, log_end: i64, version: i16) -> ReplicaState {
    let state = ReplicaState::default().with_replica_id(BrokerId(voter.id.0)).with_log_end_offset(log_end);
    let now = clock::wall_ms();
    let state = match version >= 1 {
        true => state.with_last_fetch_timestamp(now).with_last_caught_up_timestamp(now),
        false => state,
    };
    if version >= 2 { state.with_replica_directory_id(voter.directory_id) } else { state }
}

fn node(voter: &VoterState) -> Node {
    let listeners = voter.endpoints.iter().map(|(name, host, port)| {
        Listener::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_host(StrBytes::from_string(host.clone()))
            .with_port(*port)
    });
    Node::default().with_node_id(BrokerId(voter.id.0)).with_listeners(listeners.collect())
}
