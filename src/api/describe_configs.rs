//! DescribeConfigs: every key of a topic, broker, group, client metrics subscription, or the loggers.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::Context;
use super::errors::Code;
use crate::config::{DescribedEntry, Resource, ResourceType, Synonym, describe, loggers, validate_name};
use crate::protocol::wire::StrBytes;

/// The first version that tells types and documentation (KIP-569).
const TYPES_SINCE: i16 = 3;

/// Kafka's general sentence for INVALID_REQUEST.
const MALFORMED: &str = "This most likely occurs because of a request being malformed by the client library \
                         or the message was sent to an incompatible broker. See the broker logs for more details.";

/// What one answer may take: a small request can name a large resource over and over.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
const TOO_MANY: &str = "The answer would be too large; ask for fewer resources at once.";

pub async fn handle(
    context: &Context,
    asked: DescribeConfigsRequest,
    version: i16,
) -> DescribeConfigsResponse {
    let known =
        |resource: &DescribeConfigsResource| ResourceType::from_wire(resource.resource_type).is_some();
    // As in Kafka, one resource of an unknown kind fails them all.
    let results = if asked.resources.iter().all(known) {
        let mut results = Vec::with_capacity(asked.resources.len());
        let mut bytes = 0;
        for resource in &asked.resources {
            if bytes > ANSWER_BYTES_MAX {
                let code = ResponseError::InvalidRequest.code();
                results.push(refuse(resource, code, Some(TOO_MANY.to_owned())));
                continue;
            }
            let result = describe_one(context, &asked, resource, version);
            bytes += answer_bytes(&result);
            results.push(result);
            glommio::yield_if_needed().await;
        }
        results
    } else {
        let code = ResponseError::InvalidRequest.code();
        let refused = |resource| refuse(resource, code, Some(MALFORMED.to_owned()));
        asked.resources.iter().map(refused).collect()
    };
    DescribeConfigsResponse::default().with_results(results)
}

/// About what a resource takes in the answer and before that.
fn answer_bytes(result: &DescribeConfigsResult) -> usize {
    const ENTRY_BYTES: usize = 128;
    let text = |text: &Option<StrBytes>| text.as_ref().map_or(0, |text| text.len());
    let entry = |entry: &DescribeConfigsResourceResult| {
        let synonym = |synonym: &DescribeConfigsSynonym| ENTRY_BYTES + text(&synonym.value);
        let synonyms: usize = entry.synonyms.iter().map(synonym).sum();
        ENTRY_BYTES + text(&entry.value) + text(&entry.documentation) + synonyms
    };
    result.configs.iter().map(entry).sum()
}

fn describe_one(
    context: &Context,
    asked: &DescribeConfigsRequest,
    wanted: &DescribeConfigsResource,
    version: i16,
) -> DescribeConfigsResult {
    let Some(kind) = ResourceType::from_wire(wanted.resource_type) else {
        return refuse(wanted, ResponseError::InvalidRequest.code(), None);
    };
    let resource = Resource { kind, name: wanted.resource_name.to_string() };
    let image = context.shard.image();
    let is_missing = kind == ResourceType::Topic
        && validate_name(&resource.name).is_ok()
        && image.topic(&resource.name).is_none();
    if is_missing {
        // Kafka leaves the message empty here, which is not null.
        return refuse(wanted, ResponseError::UnknownTopicOrPartition.code(), Some(String::new()));
    }
    let stored = image.settings(kind, &resource.name).cloned().unwrap_or_default();
    let layers = context.shard.layers();
    let entries = match describe::describe(&layers, &loggers::current(), &resource, &stored) {
        Ok(entries) => entries,
        Err(error) => return refuse(wanted, error.code(), Some(error.message)),
    };
    let is_asked_for = |entry: &DescribedEntry| match wanted.configuration_keys.as_deref() {
        None | Some([]) => true,
        Some(keys) => keys.iter().any(|key| key.as_str() == entry.name),
    };
    let configs = entries
        .into_iter()
        .filter(is_asked_for)
        .map(|entry| {
            let typed = version >= TYPES_SINCE;
            // A logger's documentation is empty rather than null, asked for or not.
            let documentation = match kind {
                ResourceType::BrokerLogger => Some(""),
                _ => entry.documentation.filter(|_| asked.include_documentation && typed),
            };
            let synonyms = if asked.include_synonyms { entry.synonyms } else { Vec::new() };
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_string(entry.name))
                .with_value(entry.value.map(StrBytes::from_string))
                .with_read_only(entry.read_only)
                .with_config_source(entry.source as i8)
                .with_is_sensitive(entry.sensitive)
                .with_synonyms(synonyms.into_iter().map(synonym).collect())
                .with_config_type(entry.kind.map_or(0, |kind| kind as i8))
                .with_documentation(documentation.map(StrBytes::from_static_str))
        })
        .collect();
    DescribeConfigsResult::default()
        .with_resource_type(wanted.resource_type)
        .with_resource_name(wanted.resource_name.clone())
        .with_configs(configs)
}

fn synonym(synonym: Synonym) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(StrBytes::from_string(synonym.name))
        .with_value(synonym.value.map(StrBytes::from_string))
        .with_source(synonym.source as i8)
}

fn refuse(wanted: &DescribeConfigsResource, code: i16, message: Option<String>) -> DescribeConfigsResult {
    DescribeConfigsResult::default()
        .with_error_code(code)
        .with_error_message(message.map(StrBytes::from_string))
        .with_resource_type(wanted.resource_type)
        .with_resource_name(wanted.resource_name.clone())
}
