//! AllocateProducerIds: blocks of a thousand ids, each durable before it is given out.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerId as WireProducerId,
};

use super::controller::{Context, Decision};
use crate::protocol::stored::metadata::{ProducerIdsRecord, Record};
use crate::types::{NodeId, ProducerId};

/// Ids of one block, as in Kafka.
pub const BLOCK_LENGTH: i32 = 1000;

/// Decides AllocateProducerIds.
pub fn allocate(
    context: &Context<'_>,
    request: &AllocateProducerIdsRequest,
) -> Decision<AllocateProducerIdsResponse> {
    let refuse = |error: ResponseError| {
        Decision::nothing(AllocateProducerIdsResponse::default().with_error_code(error.code()))
    };
    let broker_id = NodeId(request.broker_id.0);
    match context.image.broker(broker_id) {
        Some(broker) if broker.epoch == request.broker_epoch => {}
        _ => return refuse(ResponseError::StaleBrokerEpoch),
    }
    let first = context.image.next_producer_id.unwrap_or_default();
    let Some(next) = first.0.checked_add(BLOCK_LENGTH.into()) else {
        return refuse(ResponseError::UnknownServerError);
    };
    let record = ProducerIdsRecord {
        broker_id,
        broker_epoch: request.broker_epoch,
        next_producer_id: ProducerId(next),
    };
    let response = AllocateProducerIdsResponse::default()
        .with_producer_id_start(WireProducerId(first.0))
        .with_producer_id_len(BLOCK_LENGTH);
    Decision::atomic(vec![Record::from(record).at(0)], response)
}
