//! Brokers and controllers coming and going: registration, unfencing, controlled shutdown, and what a
//! controller writes when it begins.
//!
//! A broker's new incarnation starts fenced. When its logs are recovered it is unfenced and leads again what
//! it alone holds, each partition under a new leader epoch: what a crash may have cut off is never confused
//! with what comes after.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::BrokerRegistrationRequest;
use uuid::Uuid;

use super::controller::{Context, Decision};
use super::elections;
use super::snapshot::Snapshot;
use crate::metadata::features::{ELR_VERSION, METADATA_VERSION, SUPPORTED};
use crate::metadata::{Broker, Image, ResourceType, topic};
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::metadata::{
    AbortTransactionRecord, BeginTransactionRecord, BrokerRegistrationChangeRecord, ConfigRecord,
    EndTransactionRecord, Endpoint, Record, RegisterBrokerRecord, RegisterControllerRecord, SupportedFeature,
    Versioned,
};
use crate::types::NodeId;

/// The features of this build as registrations name them.
pub fn supported_features() -> Vec<SupportedFeature> {
    let feature = |feature: &crate::metadata::features::Supported| SupportedFeature {
        name: feature.name.to_owned(),
        min_supported_version: feature.min,
        max_supported_version: feature.max,
    };
    SUPPORTED.iter().map(feature).collect()
}

/// What a controller writes when it begins to lead: the bootstrap records into an empty log, the end of a
/// transaction that the one before left open, and its own registration.
pub fn activate(
    context: &Context<'_>,
    bootstrap: &Snapshot,
    open_transaction: bool,
    endpoints: Vec<Endpoint>,
    incarnation_id: Uuid,
) -> Decision<()> {
    let mut batches = Vec::new();
    let mut first = Vec::new();
    if open_transaction {
        let reason = Some("Controller failover".to_owned());
        first.push(Record::from(AbortTransactionRecord { reason }).at(0));
    }
    let is_empty = context.image.features.metadata_version() == 0;
    if is_empty {
        first.extend(bootstrap_records(context, bootstrap));
    }
    batches.push(first);
    let registers = match is_empty {
        true => bootstrap.feature_level(METADATA_VERSION) >= 15,
        false => context.image.features.controller_registration(),
    };
    if registers {
        let record = RegisterControllerRecord {
            controller_id: context.node_id,
            incarnation_id,
            zk_migration_ready: false,
            end_points: endpoints,
            features: supported_features(),
        };
        batches.push(vec![Record::from(record).at(0)]);
    }
    Decision { batches, response: () }
}

fn bootstrap_records(context: &Context<'_>, bootstrap: &Snapshot) -> Vec<Versioned> {
    let mut records = Vec::new();
    let transactional = bootstrap.feature_level(METADATA_VERSION) >= 13;
    if transactional {
        let name = Some("Bootstrap records".to_owned());
        records.push(Record::from(BeginTransactionRecord { name }).at(0));
    }
    records.extend(bootstrap.records.iter().cloned());
    if bootstrap.feature_level(ELR_VERSION) > 0 {
        let value = context.layers.server.topic_defaults.min_insync_replicas.to_string();
        records.push(
            Record::from(ConfigRecord {
                resource_type: ResourceType::Broker as i8,
                resource_name: String::new(),
                name: "min.insync.replicas".to_owned(),
                value: Some(value),
            })
            .at(0),
        );
    }
    if transactional {
        records.push(Record::from(EndTransactionRecord {}).at(0));
    }
    records
}

/// Fences every broker but this node: on a single node no other can be alive, whatever the log says.
pub fn fence_others(context: &Context<'_>) -> Decision<()> {
    let mut records = Vec::new();
    for broker in context.image.brokers() {
        if broker.id != context.node_id && !broker.fenced {
            records.extend(elections::give_up_leadership(context.image, broker.id));
            records.push(registration_change(broker, 1, 0));
        }
    }
    Decision::several(records, ())
}

/// Decides a broker's registration; gives its epoch.
pub fn register(
    context: &Context<'_>,
    request: &BrokerRegistrationRequest,
) -> Decision<Result<i64, ApiError>> {
    if let Err(e) = check_registration(context.image, request) {
        return Decision::nothing(Err(e));
    }
    let id = NodeId(request.broker_id.0);
    let levels = &context.image.features;
    let existing = context.image.broker(id);
    let same = existing.filter(|broker| broker.incarnation_id == request.incarnation_id);
    let epoch = same.map_or(context.next_offset().0, |broker| broker.epoch);
    let record = RegisterBrokerRecord {
        broker_id: id,
        is_migrating_zk_broker: false,
        incarnation_id: request.incarnation_id,
        broker_epoch: epoch,
        end_points: request
            .listeners
            .iter()
            .map(|listener| Endpoint {
                name: listener.name.to_string(),
                host: listener.host.to_string(),
                port: listener.port,
                security_protocol: listener.security_protocol,
            })
            .collect(),
        features: request
            .features
            .iter()
            .map(|feature| SupportedFeature {
                name: feature.name.to_string(),
                min_supported_version: feature.min_supported_version,
                max_supported_version: feature.max_supported_version,
            })
            .collect(),
        rack: request.rack.as_ref().map(ToString::to_string),
        fenced: same.is_none_or(|broker| broker.fenced),
        in_controlled_shutdown: same.is_some_and(|broker| broker.in_controlled_shutdown),
        log_dirs: if levels.directory_ids() { request.log_dirs.clone() } else { Vec::new() },
    };
    let version = levels.register_broker_record_version();
    Decision::atomic(vec![Record::from(record).at(version)], Ok(epoch))
}

fn check_registration(image: &Image, request: &BrokerRegistrationRequest) -> Result<(), ApiError> {
    let invalid = |message: String| Err(ApiError::new(ResponseError::InvalidRegistration, message));
    if *request.cluster_id != *image.cluster_id {
        return Err(ApiError::new(
            ResponseError::InconsistentClusterId,
            format!("Expected cluster ID {}, but got cluster ID {}", image.cluster_id, request.cluster_id),
        ));
    }
    if request.is_migrating_zk_broker {
        return Err(ApiError::new(
            ResponseError::BrokerIdNotRegistered,
            "Controller does not support registering ZK brokers.",
        ));
    }
    if image.features.directory_ids() {
        let dirs = &request.log_dirs;
        if dirs.is_empty() {
            return invalid("No directories specified in request".to_owned());
        }
        if dirs.iter().any(|id| topic::directory::is_reserved(*id)) {
            return invalid("Reserved directory ID in request".to_owned());
        }
        if dirs.iter().enumerate().any(|(i, id)| dirs[..i].contains(id)) {
            return invalid("Duplicate directory ID in request".to_owned());
        }
        for other in image.brokers().filter(|broker| broker.id.0 != request.broker_id.0) {
            if let Some(id) = dirs.iter().find(|id| other.log_dirs.contains(id)) {
                return invalid(format!(
                    "Broker {} is already registered with directory {}",
                    other.id,
                    crate::types::TopicId(*id)
                ));
            }
        }
    }
    if !request.features.iter().any(|feature| *feature.name == *METADATA_VERSION) {
        return invalid(format!("Request features do not contain '{METADATA_VERSION}'"));
    }
    Ok(())
}

/// The finalized levels that this build does not support: `(feature, level)`. A cluster that has them was
/// written by a broker that can do more.
pub fn unsupported_levels(image: &Image) -> Vec<(String, i16)> {
    let unsupported = |(name, level): &(&str, i16)| {
        let range = crate::metadata::features::supported(name).map_or((0, 0), |f| (f.min, f.max));
        !(range.0..=range.1).contains(level)
    };
    image.features.iter().filter(unsupported).map(|(name, level)| (name.to_owned(), level)).collect()
}

/// Decides the heartbeat that asks to be unfenced: the broker leads again.
pub fn unfence(context: &Context<'_>, id: NodeId, epoch: i64) -> Decision<Result<(), ApiError>> {
    let broker = match registered(context.image, id, epoch) {
        Ok(broker) => broker,
        Err(e) => return Decision::nothing(Err(e)),
    };
    if !broker.fenced {
        return Decision::nothing(Ok(()));
    }
    let mut records = vec![registration_change(broker, -1, 0)];
    // The leaders are chosen as if the broker were alive already.
    let mut alive = context.image.clone();
    for versioned in &records {
        alive.apply(&versioned.record).expect("the broker is registered at this epoch");
    }
    records.extend(elections::resume_leadership(&alive, id));
    Decision::several(records, Ok(()))
}

/// Decides the heartbeat of a broker that stops in order: it gives up what it leads and is fenced.
pub fn shut_down(context: &Context<'_>, id: NodeId, epoch: i64) -> Decision<Result<(), ApiError>> {
    let broker = match registered(context.image, id, epoch) {
        Ok(broker) => broker,
        Err(e) => return Decision::nothing(Err(e)),
    };
    let mut records = vec![registration_change(broker, 0, 1)];
    let mut leaving = context.image.clone();
    for versioned in &records {
        leaving.apply(&versioned.record).expect("the broker is registered at this epoch");
    }
    records.extend(elections::give_up_leadership(&leaving, id));
    records.push(registration_change(broker, 1, 0));
    Decision::several(records, Ok(()))
}

fn registered(image: &Image, id: NodeId, epoch: i64) -> Result<&Broker, ApiError> {
    match image.broker(id) {
        Some(broker) if broker.epoch == epoch => Ok(broker),
        Some(broker) => Err(ApiError::new(
            ResponseError::StaleBrokerEpoch,
            format!("Expected broker epoch {}, but got broker epoch {epoch}", broker.epoch),
        )),
        None => Err(ApiError::new(
            ResponseError::StaleBrokerEpoch,
            format!("No broker registration found for broker id {id}"),
        )),
    }
}

fn registration_change(broker: &Broker, fenced: i8, in_controlled_shutdown: i8) -> Versioned {
    let record = BrokerRegistrationChangeRecord {
        broker_id: broker.id,
        broker_epoch: broker.epoch,
        fenced,
        in_controlled_shutdown,
        log_dirs: Vec::new(),
    };
    // The oldest version that says it, as Kafka writes it.
    Record::from(record).at(i16::from(in_controlled_shutdown != 0))
}
