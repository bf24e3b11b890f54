//! CreateTopics and DeleteTopics: names, configurations, placement, and the records they come to.
//!
//! Codes, sentences and the order of checks are those of Kafka's ControllerApis and
//! ReplicationControlManager.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::controller::{Context, Decision};
use super::partitions::{self, Placement};
use crate::config::change::{self, Change, Op};
use crate::config::{self, Resource};
use crate::metadata::{Partition, ResourceType};
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::metadata::{
    ClearElrRecord, ConfigRecord, Record, RemoveTopicRecord, TopicRecord, Versioned,
};
use crate::types::{PartitionId, TopicId};

/// The topic that no request makes or removes.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
/// Records of one request; also its partitions.
pub const RECORDS_PER_REQUEST_MAX: usize = 10_000;

/// Decides CreateTopics. All topics that can be made are made, in one batch.
pub fn create_topics(context: &Context<'_>, request: &CreateTopicsRequest) -> Decision<CreateTopicsResponse> {
    let duplicates = duplicates(request.topics.iter().map(|topic| &topic.name));
    let wanted = || {
        request
            .topics
            .iter()
            .filter(|topic| !duplicates.contains(&topic.name) && **topic.name != *METADATA_TOPIC)
    };
    let partition_count: i64 = wanted().map(|topic| partitions_asked(context, topic)).sum();
    if partition_count > RECORDS_PER_REQUEST_MAX as i64 {
        let error = ApiError::new(
            ResponseError::PolicyViolation,
            "Excessively large number of partitions per request.",
        );
        return Decision::nothing(refuse_all(request, &error));
    }
    let mut records = Vec::new();
    let mut results = Vec::new();
    for topic in wanted() {
        results.push(match create_topic(context, topic, &mut records) {
            Ok(result) => result,
            Err(e) => refused(&topic.name, &e),
        });
    }
    if records.len() > RECORDS_PER_REQUEST_MAX {
        let error = ApiError::new(
            ResponseError::PolicyViolation,
            "Unable to perform excessively large batch operation.",
        );
        return Decision::nothing(refuse_all(request, &error));
    }
    let invalid = |message: &str| ApiError::new(ResponseError::InvalidRequest, message);
    results.extend(duplicates.iter().map(|name| refused(name, &invalid("Duplicate topic name."))));
    let metadata_topic = |topic: &&CreatableTopic| **topic.name == *METADATA_TOPIC;
    if let Some(topic) = request.topics.iter().find(metadata_topic)
        && !duplicates.contains(&topic.name)
    {
        let message = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
        results.push(refused(&topic.name, &invalid(&message)));
    }
    let response = CreateTopicsResponse::default().with_topics(results);
    if request.validate_only { Decision::nothing(response) } else { Decision::atomic(records, response) }
}

/// The answer when the request as a whole fails.
pub fn refuse_all(request: &CreateTopicsRequest, error: &ApiError) -> CreateTopicsResponse {
    let results = request.topics.iter().map(|topic| refused(&topic.name, error)).collect();
    CreateTopicsResponse::default().with_topics(results)
}

fn refused(name: &TopicName, error: &ApiError) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(error.code())
        .with_error_message(error.text())
}

fn partitions_asked(context: &Context<'_>, topic: &CreatableTopic) -> i64 {
    match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => context.layers.server.num_partitions.into(),
        (0, asked) => asked.max(0).into(),
        (assigned, _) => assigned as i64,
    }
}

/// Appends the records of one topic, or says why there are none.
fn create_topic(
    context: &Context<'_>,
    topic: &CreatableTopic,
    records: &mut Vec<Versioned>,
) -> Result<CreatableTopicResult, ApiError> {
    check_name(context, &topic.name)?;
    let config_records = creation_configs(context, topic)?;
    let made = place(context, topic)?;
    let topic_id = TopicId::random();
    let levels = &context.image.features;
    let record = TopicRecord { name: topic.name.to_string(), topic_id };
    records.push(Record::from(record).at(0));
    // Configurations stand behind their topic and before its partitions.
    records.extend(config_records);
    for (id, partition) in made.iter().enumerate() {
        records.push(partition.to_record(topic_id, PartitionId(id as i32), levels));
    }
    let replication_factor = made.first().map_or(0, |partition| partition.replicas.len());
    Ok(CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic_id.0)
        .with_error_message(None)
        .with_num_partitions(made.len() as i32)
        .with_replication_factor(replication_factor as i16)
        .with_configs(Some(effective_configs(context, topic))))
}

fn check_name(context: &Context<'_>, name: &str) -> Result<(), ApiError> {
    if context.image.topic(name).is_some() {
        return Err(ApiError::new(
            ResponseError::TopicAlreadyExists,
            format!("Topic '{name}' already exists."),
        ));
    }
    if let Some(other) = context.image.colliding_topic(name) {
        return Err(ApiError::new(
            ResponseError::InvalidTopicException,
            format!("Topic '{name}' collides with existing topic: {other}"),
        ));
    }
    config::validate_name(name).map_err(|e| ApiError::new(ResponseError::InvalidTopicException, e.message))
}

/// The records of the topic's own keys, checked as an incremental change of a resource that is new.
fn creation_configs(context: &Context<'_>, topic: &CreatableTopic) -> Result<Vec<Versioned>, ApiError> {
    let nulls: Vec<&str> =
        topic.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(ApiError::new(
            ResponseError::InvalidConfig,
            format!("Null value not supported for topic configs: {}", nulls.join(",")),
        ));
    }
    if topic.configs.is_empty() {
        return Ok(Vec::new());
    }
    // The last of several values for a key counts.
    let configs: BTreeMap<&str, &StrBytes> =
        topic.configs.iter().filter_map(|c| Some((c.name.as_str(), c.value.as_ref()?))).collect();
    let changes: Vec<Change> = configs
        .into_iter()
        .map(|(name, value)| Change {
            name: name.to_owned(),
            op: Op::Set as i8,
            value: Some(value.to_string()),
        })
        .collect();
    let resource = Resource { kind: ResourceType::Topic, name: topic.name.to_string() };
    let elr = context.image.features.elr_enabled();
    let writes = change::incremental(context.layers, &resource, &BTreeMap::new(), &changes, elr)?;
    let record = |write: change::Write| ConfigRecord {
        resource_type: ResourceType::Topic as i8,
        resource_name: resource.name.clone(),
        name: write.name,
        value: write.value,
    };
    let sets_min_isr = elr && writes.iter().any(|write| write.name == "min.insync.replicas");
    let mut records: Vec<Versioned> =
        writes.into_iter().map(|write| Record::from(record(write)).at(0)).collect();
    if sets_min_isr {
        records.push(Record::from(ClearElrRecord { topic_name: resource.name.clone() }).at(0));
    }
    Ok(records)
}

fn effective_configs(context: &Context<'_>, topic: &CreatableTopic) -> Vec<CreatableTopicConfigs> {
    let overrides: BTreeMap<String, String> = topic
        .configs
        .iter()
        .filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string())))
        .collect();
    let entry = |entry: config::DescribedEntry| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_string(entry.name))
            .with_value(entry.value.filter(|_| !entry.sensitive).map(StrBytes::from_string))
            .with_read_only(entry.read_only)
            .with_config_source(entry.source as i8)
            .with_is_sensitive(entry.sensitive)
    };
    config::effective_topic_configs(context.layers, &overrides).into_iter().map(entry).collect()
}

/// The new partitions, by assignment or by placement.
fn place(context: &Context<'_>, topic: &CreatableTopic) -> Result<Vec<Partition>, ApiError> {
    if !topic.assignments.is_empty() {
        return place_as_assigned(context, topic);
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return Err(ApiError::new(
            ResponseError::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        return Err(ApiError::new(
            ResponseError::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        ));
    }
    let server = &context.layers.server;
    let count = if topic.num_partitions == -1 { server.num_partitions } else { topic.num_partitions };
    let replication_factor = match topic.replication_factor {
        -1 => server.default_replication_factor,
        asked => asked.into(),
    };
    let unable = |why: String| {
        ApiError::new(
            ResponseError::InvalidReplicationFactor,
            format!("Unable to replicate the partition {replication_factor} time(s): {why}"),
        )
    };
    let mut placement = Placement::new(context.image, replication_factor).map_err(unable)?;
    (0..count)
        .map(|_| {
            partitions::new_partition(context.image, placement.next_replicas())
                .ok_or_else(|| unable(partitions::ALL_FENCED.to_owned()))
        })
        .collect()
}

fn place_as_assigned(context: &Context<'_>, topic: &CreatableTopic) -> Result<Vec<Partition>, ApiError> {
    if topic.replication_factor != -1 {
        return Err(ApiError::new(
            ResponseError::InvalidRequest,
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ));
    }
    if topic.num_partitions != -1 {
        return Err(ApiError::new(
            ResponseError::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ));
    }
    let invalid = |message: String| ApiError::new(ResponseError::InvalidReplicaAssignment, message);
    let mut made: BTreeMap<i32, Partition> = BTreeMap::new();
    let mut replication_factor = None;
    for CreatableReplicaAssignment { partition_index: index, broker_ids, .. } in &topic.assignments {
        if made.contains_key(index) {
            return Err(invalid(format!(
                "Found multiple manual partition assignments for partition {index}"
            )));
        }
        partitions::check_assignment(context.image, broker_ids, replication_factor)?;
        replication_factor = Some(broker_ids.len());
        let replicas = partitions::nodes(broker_ids);
        let partition = partitions::new_partition(context.image, replicas)
            .ok_or_else(|| invalid(partitions::all_assigned_fenced(*index)))?;
        made.insert(*index, partition);
    }
    if !made.keys().copied().eq(0..made.len() as i32) {
        return Err(invalid("partitions should be a consecutive 0-based integer sequence".to_owned()));
    }
    Ok(made.into_values().collect())
}

/// Names that stand more than once, in order.
fn duplicates<'a>(names: impl Iterator<Item = &'a TopicName>) -> BTreeSet<TopicName> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).cloned().collect()
}

/// Decides DeleteTopics of the given API version: by name, and from version 6 by id.
pub fn delete_topics(
    context: &Context<'_>,
    request: &DeleteTopicsRequest,
    version: i16,
) -> Decision<DeleteTopicsResponse> {
    if !context.layers.server.delete_topic_enable {
        let error =
            if version < 3 { ResponseError::InvalidRequest } else { ResponseError::TopicDeletionDisabled };
        return Decision::nothing(refuse_deletions(request, error));
    }
    let mut deletion = Deletion::default();
    for name in &request.topic_names {
        deletion.names.add(name.clone());
    }
    for topic in &request.topics {
        match (&topic.name, topic.topic_id) {
            (None, id) if id.is_nil() => {
                deletion.refuse(None, id, "Neither topic name nor id were specified.")
            }
            (None, id) => deletion.ids.add(id),
            (Some(name), id) if id.is_nil() => deletion.names.add(name.clone()),
            (Some(name), id) => {
                deletion.refuse(Some(name), id, "You may not specify both topic name and topic id.");
            }
        }
    }
    deletion.decide(context)
}

/// The answer when the request as a whole fails.
pub fn refuse_deletions(request: &DeleteTopicsRequest, error: ResponseError) -> DeleteTopicsResponse {
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil()));
    let by_either = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let result = |(name, id)| {
        DeletableTopicResult::default()
            .with_name(name)
            .with_topic_id(id)
            .with_error_code(error.code())
            .with_error_message(None)
    };
    DeleteTopicsResponse::default().with_responses(by_name.chain(by_either).map(result).collect())
}

/// What was asked once, in order, and what was asked more than once.
struct Once<T> {
    once: Vec<T>,
    more: Vec<T>,
}

impl<T> Default for Once<T> {
    fn default() -> Once<T> {
        Once { once: Vec::new(), more: Vec::new() }
    }
}

impl<T: PartialEq> Once<T> {
    fn add(&mut self, value: T) {
        if self.more.contains(&value) {
            return;
        }
        match self.once.iter().position(|other| *other == value) {
            Some(at) => self.more.push(self.once.remove(at)),
            None => self.once.push(value),
        }
    }
}

#[derive(Default)]
struct Deletion {
    names: Once<TopicName>,
    ids: Once<Uuid>,
    responses: Vec<DeletableTopicResult>,
}

impl Deletion {
    fn refuse(&mut self, name: Option<&TopicName>, id: Uuid, message: &str) {
        self.answer(name, id, &Err(ApiError::new(ResponseError::InvalidRequest, message)));
    }

    fn answer(&mut self, name: Option<&TopicName>, id: Uuid, outcome: &Result<(), ApiError>) {
        let (code, text) = crate::protocol::api_error::code_and_text(outcome);
        let result = DeletableTopicResult::default()
            .with_name(name.cloned())
            .with_topic_id(id)
            .with_error_code(code)
            .with_error_message(text);
        self.responses.push(result);
    }

    fn decide(mut self, context: &Context<'_>) -> Decision<DeleteTopicsResponse> {
        for name in std::mem::take(&mut self.names.more) {
            self.refuse(Some(&name), Uuid::nil(), "Duplicate topic name.");
        }
        let mut duplicate_ids = std::mem::take(&mut self.ids.more);
        for id in &duplicate_ids {
            self.refuse(None, *id, "Duplicate topic id.");
        }
        // Ids come first, so that a name that means the same topic is the one that is refused.
        let mut deletions: Vec<(Uuid, TopicName)> = Vec::new();
        for id in std::mem::take(&mut self.ids.once) {
            match context.image.topic_by_id(TopicId(id)) {
                Some(topic) => {
                    deletions.push((id, TopicName(StrBytes::from_string(topic.name.to_string()))));
                }
                None => {
                    let error = Err(ApiError::general(ResponseError::UnknownTopicId));
                    self.answer(None, id, &error);
                }
            }
        }
        for name in std::mem::take(&mut self.names.once) {
            let Some(topic) = context.image.topic(&name) else {
                let error = Err(ApiError::general(ResponseError::UnknownTopicOrPartition));
                self.answer(Some(&name), Uuid::nil(), &error);
                continue;
            };
            let id = topic.id.0;
            let supplied = deletions.iter().any(|(other, _)| *other == id);
            if duplicate_ids.contains(&id) || supplied {
                duplicate_ids.push(id);
                deletions.retain(|(other, _)| *other != id);
                let message = "The provided topic name maps to an ID that was already supplied.";
                self.refuse(Some(&name), id, message);
            } else {
                deletions.push((id, name));
            }
        }
        if deletions.len() > RECORDS_PER_REQUEST_MAX {
            let error = ApiError::new(
                ResponseError::PolicyViolation,
                "Unable to perform excessively large batch operation.",
            );
            for (id, name) in &deletions {
                self.answer(Some(name), *id, &Err(error.clone()));
            }
            deletions.clear();
        }
        let mut records = Vec::with_capacity(deletions.len());
        for (id, name) in &deletions {
            records.push(Record::from(RemoveTopicRecord { topic_id: TopicId(*id) }).at(0));
            self.answer(Some(name), *id, &Ok(()));
        }
        Decision::atomic(records, DeleteTopicsResponse::default().with_responses(self.responses))
    }
}
