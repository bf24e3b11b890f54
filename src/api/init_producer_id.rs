//! InitProducerId: an id for an idempotent producer, out of a durable block.
//!
//! A transactional id is refused until transactions exist.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Context;

pub async fn handle(
    context: &Context,
    asked: InitProducerIdRequest,
    _version: i16,
) -> InitProducerIdResponse {
    match init(context, &asked).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

async fn init(context: &Context, asked: &InitProducerIdRequest) -> Result<i64, ResponseError> {
    if (asked.producer_id.0 == -1) != (asked.producer_epoch == -1) {
        return Err(ResponseError::InvalidRequest);
    }
    match &asked.transactional_id {
        // An empty id is a client's mistake in Kafka too.
        Some(id) if id.is_empty() => Err(ResponseError::InvalidRequest),
        Some(_) => Err(ResponseError::TransactionalIdAuthorizationFailed),
        None => context.shard.next_producer_id().await.map_err(|_| ResponseError::CoordinatorNotAvailable),
    }
}
