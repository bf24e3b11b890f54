//! IncrementalAlterConfigs and AlterConfigs: what each resource's change comes to in records.
//!
//! The checks are [`crate::config::change`]'s; here stand which resources may be changed together, whether
//! the resource exists, and the order of answers. Every resource counts by itself: one that is refused does
//! not keep the others from changing.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as LegacyResult;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::controller::{Context, Decision};
use super::topics::RECORDS_PER_REQUEST_MAX;
use crate::config::Resource;
use crate::config::change::{self, Change, Write};
use crate::metadata::ResourceType;
use crate::protocol::api_error::{ApiError, code_and_text};
use crate::protocol::stored::metadata::{ClearElrRecord, ConfigRecord, Record, Versioned};
use crate::types::NodeId;

const MIN_ISR: &str = "min.insync.replicas";

/// Changes the levels of BROKER_LOGGER `name`, which are this process's and stand in no record, unless told
/// to validate only.
pub type ChangeLoggers<'a> = &'a mut dyn FnMut(&str, &[Change], bool) -> Result<(), ApiError>;

/// Decides IncrementalAlterConfigs.
pub fn incremental_alter(
    context: &Context<'_>,
    request: &IncrementalAlterConfigsRequest,
    change_loggers: ChangeLoggers<'_>,
) -> Decision<IncrementalAlterConfigsResponse> {
    let mut records = Vec::new();
    let ids = || request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str()));
    let mut results = Vec::new();
    for asked in &request.resources {
        let changes: Vec<Change> = asked
            .configs
            .iter()
            .map(|config| Change {
                name: config.name.to_string(),
                op: config.config_operation,
                value: config.value.as_ref().map(ToString::to_string),
            })
            .collect();
        let outcome = resource_of(ids(), asked.resource_type, &asked.resource_name).and_then(|resource| {
            let stored = stored(context, &resource);
            change::preprocess_incremental(context.layers, &resource, &stored, &changes)?;
            if resource.kind == ResourceType::BrokerLogger {
                return change_loggers(&resource.name, &changes, request.validate_only);
            }
            let elr = context.image.features.elr_enabled();
            let writes = change::incremental(context.layers, &resource, &stored, &changes, elr)?;
            add(context, &resource, writes, &mut records)
        });
        let (code, text) = code_and_text(&outcome);
        results.push(
            AlterConfigsResourceResponse::default()
                .with_resource_type(asked.resource_type)
                .with_resource_name(asked.resource_name.clone())
                .with_error_code(code)
                .with_error_message(text),
        );
    }
    let response = IncrementalAlterConfigsResponse::default().with_responses(results);
    decided(records, response, request.validate_only)
}

/// Decides AlterConfigs, which replaces all keys of a resource.
pub fn legacy_alter(context: &Context<'_>, request: &AlterConfigsRequest) -> Decision<AlterConfigsResponse> {
    let mut records = Vec::new();
    let ids = || request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str()));
    let mut results = Vec::new();
    for asked in &request.resources {
        let configs: Vec<(String, Option<String>)> = asked
            .configs
            .iter()
            .map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string)))
            .collect();
        let outcome = resource_of(ids(), asked.resource_type, &asked.resource_name).and_then(|resource| {
            change::preprocess_legacy(context.layers, &resource, &configs)?;
            let elr = context.image.features.elr_enabled();
            let stored = stored(context, &resource);
            let writes = change::legacy(context.layers, &resource, &stored, &configs, elr)?;
            add(context, &resource, writes, &mut records)
        });
        let (code, text) = code_and_text(&outcome);
        results.push(
            LegacyResult::default()
                .with_resource_type(asked.resource_type)
                .with_resource_name(asked.resource_name.clone())
                .with_error_code(code)
                .with_error_message(text),
        );
    }
    decided(records, AlterConfigsResponse::default().with_responses(results), request.validate_only)
}

fn decided<R>(records: Vec<Versioned>, response: R, validate_only: bool) -> Decision<R> {
    if validate_only { Decision::nothing(response) } else { Decision::atomic(records, response) }
}

/// The resource, unless the request names it twice or it is of no known kind.
fn resource_of<'a>(
    ids: impl Iterator<Item = (i8, &'a str)>,
    kind: i8,
    name: &StrBytes,
) -> Result<Resource, ApiError> {
    let invalid = |message: String| ApiError::new(ResponseError::InvalidRequest, message);
    if ids.filter(|id| *id == (kind, name.as_str())).count() > 1 {
        return Err(invalid("Each resource must appear at most once.".to_owned()));
    }
    let kind =
        ResourceType::from_wire(kind).ok_or_else(|| invalid(format!("Unknown resource type {kind}")))?;
    Ok(Resource { kind, name: name.to_string() })
}

fn stored(context: &Context<'_>, resource: &Resource) -> BTreeMap<String, String> {
    let settings = context.image.settings(resource.kind, &resource.name);
    settings.map(|settings| (**settings).clone()).unwrap_or_default()
}

/// Appends the records of a change that has passed its checks, if its resource exists.
fn add(
    context: &Context<'_>,
    resource: &Resource,
    writes: Vec<Write>,
    records: &mut Vec<Versioned>,
) -> Result<(), ApiError> {
    check_exists(context, resource)?;
    if records.len() + writes.len() > RECORDS_PER_REQUEST_MAX {
        return Err(ApiError::new(
            ResponseError::PolicyViolation,
            "Unable to perform excessively large batch operation.",
        ));
    }
    let clears_elr = context.image.features.elr_enabled() && writes.iter().any(|w| w.name == MIN_ISR);
    for Write { name, value } in writes {
        let record = ConfigRecord {
            resource_type: resource.kind as i8,
            resource_name: resource.name.clone(),
            name,
            value,
        };
        records.push(Record::from(record).at(0));
    }
    // Eligible replicas were chosen under the old minimum.
    if clears_elr {
        let topic_name = match resource.kind {
            ResourceType::Topic => resource.name.clone(),
            _ => String::new(),
        };
        records.push(Record::from(ClearElrRecord { topic_name }).at(0));
    }
    Ok(())
}

fn check_exists(context: &Context<'_>, resource: &Resource) -> Result<(), ApiError> {
    match resource.kind {
        ResourceType::Topic if context.image.topic(&resource.name).is_none() => Err(ApiError::new(
            ResponseError::UnknownTopicOrPartition,
            format!("The topic '{}' does not exist.", resource.name),
        )),
        ResourceType::Broker if !resource.name.is_empty() => {
            let id = resource.name.parse().map(NodeId).ok();
            let known = id.is_some_and(|id| id == context.node_id || context.image.broker(id).is_some());
            if known {
                return Ok(());
            }
            let message = format!("No node with id {} found.", resource.name);
            Err(ApiError::new(ResponseError::BrokerIdNotRegistered, message))
        }
        _ => Ok(()),
    }
}
