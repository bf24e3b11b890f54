//! What may differ between two brokers that are both right, and why. Everything else must be equal.

use serde_json::{Value, json};

use crate::harness::batch::{LOG_APPEND_TIME, Stored, time};
use crate::harness::message;
use crate::harness::schema::unhex;
use crate::pair::{self, Side};

enum How {
    /// Whether there is a text at all.
    Present,
    /// A time near to now; one that a case chose is compared.
    Now,
    /// Only whether it is a real value: zero and negative numbers are compared.
    Positive,
    /// An id that is there.
    NotNegative,
    /// A text in which a number of 13 digits or more is a time.
    Times,
    /// ApiVersions' tables: only the APIs that have cases here, only the features that go with them.
    Judged,
    /// A key of a broker whose value is its host's or its own: all but the value is compared.
    HostBound,
    /// Compared without our own keys.
    WithoutOwn,
    /// Compared as the name of the topic with this id.
    TopicId,
    /// Compared whatever the order.
    Unordered,
    /// On the topic `TWO_COPIES`, ours refuses what Apache Kafka accepts; anything else is compared.
    Promise,
    /// Compared as record batches, field by field.
    Records,
}

struct Exempt {
    /// `*` is every API.
    api: &'static str,
    /// Names joined by dots, `[]` for any element; a leading `*` stands for any beginning.
    path: &'static str,
    how: How,
    reason: &'static str,
}

const fn exempt(api: &'static str, path: &'static str, how: How, reason: &'static str) -> Exempt {
    Exempt { api, path, how, reason }
}

/// The listed set. Besides, where Apache Kafka says UNKNOWN_SERVER_ERROR (it met a value that it has no case
/// for), ours may refuse with a code that says more; see `pair.rs`.
/// Words that belong to one broker alone (its port, log directory and cluster id, learned
/// at the start) are replaced in every text, and its port in every field called `port`.
const EXEMPT: &[Exempt] = &[
    exempt("*", "*topicId", How::TopicId, "topic ids are random"),
    exempt("Fetch", "sessionId", How::Positive, "session ids are random"),
    exempt("Fetch", "responses[].partitions[].records", How::Records, "shown field by field"),
    exempt("Produce", "*logAppendTimeMs", How::Positive, "each broker's clock"),
    exempt("Produce", "*rrorMessage", How::Times, "each broker's clock"),
    exempt("Produce", "responses", How::Unordered, "Kafka answers in hash order"),
    exempt("Produce", "responses[].partitionResponses", How::Unordered, "Kafka answers in hash order"),
    exempt("Produce", "responses[]", How::Promise, "a promise of more copies than there can be is refused"),
    exempt("InitProducerId", "producerId", How::NotNegative, "producer ids come in blocks"),
    exempt(
        "ApiVersions",
        "apiKeys",
        How::Judged,
        "what transactions, share groups and streams groups need is not served",
    ),
    exempt("ApiVersions", "apiKeys", How::Unordered, "Kafka lists in hash order"),
    exempt(
        "ApiVersions",
        "supportedFeatures",
        How::Judged,
        "a feature is shown once what it stands for works",
    ),
    exempt(
        "ApiVersions",
        "finalizedFeatures",
        How::Judged,
        "a feature is shown once what it stands for works",
    ),
    exempt("ApiVersions", "supportedFeatures", How::Unordered, "Kafka lists in hash order"),
    exempt("ApiVersions", "finalizedFeatures", How::Unordered, "Kafka lists in hash order"),
    exempt("ApiVersions", "finalizedFeaturesEpoch", How::Positive, "the metadata log's offset"),
    exempt("Metadata", "topics", How::Unordered, "Kafka answers in hash order"),
    exempt("Metadata", "topics[].partitions", How::Unordered, "Kafka answers in hash order"),
    exempt("ConsumerGroupHeartbeat", "*topicPartitions", How::Unordered, "Kafka answers in hash order"),
    exempt("ConsumerGroupDescribe", "*topicPartitions", How::Unordered, "Kafka answers in hash order"),
    exempt("ConsumerGroupDescribe", "*subscribedTopicNames", How::Unordered, "Kafka answers in hash order"),
    exempt("ConsumerGroupDescribe", "*members", How::Unordered, "Kafka answers in hash order"),
    exempt("ConsumerGroupDescribe", "groups", How::Unordered, "Kafka answers by partition"),
    exempt("ListOffsets", "topics", How::Unordered, "Kafka answers in hash order"),
    exempt("ListOffsets", "topics[].partitions", How::Unordered, "Kafka answers in hash order"),
    exempt("DeleteRecords", "topics", How::Unordered, "Kafka answers in hash order"),
    exempt("DeleteRecords", "topics[].partitions", How::Unordered, "Kafka answers in hash order"),
    exempt("OffsetFetch", "topics", How::Unordered, "Kafka lists all topics in hash order"),
    exempt("OffsetFetch", "groups[].topics", How::Unordered, "Kafka lists all topics in hash order"),
    exempt("OffsetFetch", "*partitions", How::Unordered, "Kafka lists all topics in hash order"),
    exempt("Fetch", "responses", How::Unordered, "Kafka puts errors last"),
    exempt("Fetch", "responses[].partitions", How::Unordered, "Kafka puts errors last"),
    exempt("DescribeLogDirs", "*totalBytes", How::Positive, "the host's disk"),
    exempt("DescribeLogDirs", "*usableBytes", How::Positive, "the host's disk"),
    exempt("DescribeLogDirs", "*topics", How::Unordered, "Kafka answers in hash order"),
    exempt("DescribeLogDirs", "*partitions", How::Unordered, "Kafka answers in hash order"),
    exempt("DescribeTopicPartitions", "*topics", How::Unordered, "Kafka answers in hash order"),
    exempt("DescribeConfigs", "*results", How::Unordered, "Kafka answers in hash order"),
    exempt("DescribeConfigs", "*configs", How::Unordered, "Kafka answers in hash order"),
    exempt(
        "DescribeConfigs",
        "results[].configs[]",
        How::HostBound,
        "addresses, directories, and the finite memory for requests",
    ),
    exempt(
        "DescribeConfigs",
        "results[].configs",
        How::WithoutOwn,
        "keys that begin with thalweg. are ours alone",
    ),
    exempt("DescribeConfigs", "*documentation", How::Present, "documentation is in our own words"),
    exempt("AlterConfigs", "responses", How::Unordered, "Kafka answers in hash order"),
    exempt("IncrementalAlterConfigs", "responses", How::Unordered, "Kafka answers in hash order"),
    exempt("CreateTopics", "topics", How::Unordered, "Kafka answers in hash order"),
    exempt("CreateTopics", "*configs", How::Unordered, "Kafka answers in hash order"),
    exempt("CreatePartitions", "results", How::Unordered, "Kafka answers in hash order"),
    exempt("DeleteTopics", "responses", How::Unordered, "Kafka shuffles them"),
    exempt("ListOffsets", "*timestamp", How::Now, "the time of an append is each broker's clock"),
    exempt("ListConfigResources", "configResources", How::Unordered, "Kafka answers in hash order"),
    exempt("DescribeProducers", "*activeProducers", How::Unordered, "Kafka answers in hash order"),
    exempt("ElectLeaders", "replicaElectionResults", How::Unordered, "Kafka answers in hash order"),
    exempt("ElectLeaders", "*partitionResult", How::Unordered, "Kafka answers in hash order"),
    exempt("JoinGroup", "members", How::Unordered, "Kafka answers in hash order"),
    exempt("ListGroups", "groups", How::Unordered, "Kafka answers in hash order"),
    exempt("DescribeGroups", "groups", How::Unordered, "Kafka answers in hash order"),
    exempt("DescribeGroups", "groups[].members", How::Unordered, "Kafka answers in hash order"),
    exempt("DeleteGroups", "results", How::Unordered, "Kafka answers in hash order"),
    exempt("DescribeQuorum", "*highWatermark", How::Positive, "the metadata log grows with time"),
    exempt("DescribeQuorum", "*logEndOffset", How::Positive, "the metadata log grows with time"),
    exempt("DescribeQuorum", "*Timestamp", How::Positive, "each broker's clock"),
    exempt("DescribeQuorum", "*replicaDirectoryId", How::TopicId, "directory ids are random"),
    exempt("DescribeQuorum", "nodes[].listeners[].port", How::Positive, "the controller listener's port"),
];

/// Cases in which the answers differ, by API and name, and why. One that does not differ any more fails.
const EXEMPT_CASES: &[(&str, &str, &str)] = &[
    ("InitProducerId", "a transactional id", "transactional ids are refused until transactions exist"),
    (
        "ApiVersions",
        "unstable versions of what transactions need",
        "InitProducerId 6 is their two-phase commit",
    ),
];

/// Why a whole case may differ.
pub fn case(api: &str, name: &str) -> Option<&'static str> {
    EXEMPT_CASES.iter().find(|(a, n, _)| *a == api && *n == name).map(|(_, _, reason)| *reason)
}

/// The end of the name of a topic that wants two copies where one broker is: only acks=all is asked of it.
pub const TWO_COPIES: &str = "two-copies";
const NOT_ENOUGH_REPLICAS: i16 = 19;

const HOST_BOUND: [&str; 6] = [
    "listeners",
    "advertised.listeners",
    "log.dirs",
    "log.dir",
    "controller.quorum.bootstrap.servers",
    "queued.max.request.bytes",
];

/// They stand for transactions, share groups and streams groups.
const LATER_FEATURES: [&str; 3] = ["transaction.version", "share.version", "streams.version"];

/// A tree as it is compared.
pub fn normalise(api: &str, tree: &Value, side: &Side) -> Value {
    let mut tree = tree.clone();
    visit(api, "", &mut tree, side);
    tree
}

fn visit(api: &str, path: &str, value: &mut Value, side: &Side) {
    match value {
        Value::Object(map) => {
            for (name, child) in map.iter_mut() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                visit(api, &path, child, side);
            }
        }
        Value::Array(list) => {
            let path = format!("{path}[]");
            list.iter_mut().for_each(|child| visit(api, &path, child, side));
        }
        Value::String(text) => *text = side.plain(text),
        Value::Number(number)
            if path.ends_with("port") && number.as_i64().is_some_and(|n| side.is_own_port(n)) =>
        {
            *value = json!("<port>");
        }
        _ => {}
    }
    for rule in EXEMPT.iter().filter(|rule| rule.api == "*" || rule.api == api) {
        debug_assert!(!rule.reason.is_empty());
        let matches = match rule.path.strip_prefix('*') {
            Some(end) => path.ends_with(end),
            None => path == rule.path,
        };
        if matches {
            apply(&rule.how, value, side);
        }
    }
}

fn apply(how: &How, value: &mut Value, side: &Side) {
    match how {
        How::Present => {
            if value.as_str().is_some_and(|text| !text.is_empty()) {
                *value = json!("a text");
            }
        }
        How::Now => {
            if value.as_i64().is_some_and(|at| at > time() + 1_000_000 && at < i64::MAX / 2) {
                *value = json!("a time");
            }
        }
        How::Positive => {
            if value.as_i64().is_some_and(|n| n > 0) {
                *value = json!("positive");
            }
        }
        How::NotNegative => {
            if value.as_i64().is_some_and(|n| n >= 0) {
                *value = json!("an id");
            }
        }
        How::Times => {
            if let Some(text) = value.as_str() {
                let words = text.split_inclusive(|c: char| !c.is_ascii_digit());
                *value = json!(words.map(without_time).collect::<String>());
            }
        }
        How::Judged => {
            if let Value::Array(list) = value {
                let judged = |key: &Value| crate::GROUPS.iter().any(|g| message(g.api).request.key == *key);
                list.retain(|row| match row["name"].as_str() {
                    Some(feature) => !LATER_FEATURES.contains(&feature),
                    None => judged(&row["apiKey"]),
                });
            }
        }
        How::WithoutOwn => {
            if let Value::Array(list) = value {
                list.retain(|key| !key["name"].as_str().is_some_and(|name| name.starts_with("thalweg.")));
            }
        }
        How::HostBound => {
            if value["name"].as_str().is_some_and(|name| HOST_BOUND.contains(&name)) {
                value["value"] = json!("host-bound");
                for synonym in value["synonyms"].as_array_mut().into_iter().flatten() {
                    synonym["value"] = json!("host-bound");
                }
            }
        }
        How::TopicId => {
            if let Some(name) = value.as_str().and_then(|id| side.topic_of(id)) {
                *value = json!(format!("id of {name}"));
            } else if value.as_str().is_some_and(|id| !is_fixed(id)) {
                *value = json!("some id");
            }
        }
        How::Promise => {
            let topic = value["name"].as_str().or(value["topicId"].as_str()).unwrap_or_default();
            let answer = if side.name == "ours" { NOT_ENOUGH_REPLICAS } else { 0 };
            let partitions = &value["partitionResponses"];
            if topic.ends_with(TWO_COPIES) && partitions[0]["errorCode"] == answer {
                value["partitionResponses"] = json!("what each promises");
            }
        }
        How::Unordered => {
            if let Value::Array(list) = value {
                // By name first, so that one difference inside does not show as many.
                list.sort_by_cached_key(|item| (pair::name_of(item), item.to_string()));
            }
        }
        How::Records => {
            if let Some(text) = value.as_str()
                && let Ok(batches) = Stored::read_all(&unhex(text))
            {
                *value = json!({
                    "bytes": text.len() / 2,
                    "batches": batches.iter().map(batch).collect::<Vec<_>>(),
                });
            }
        }
    }
}

/// With LogAppendTime the broker's clock stands in the header, and so in the CRC.
fn batch(stored: &Stored) -> Value {
    let mut tree = stored.tree();
    if stored.attributes & LOG_APPEND_TIME != 0 {
        (tree["maxTimestamp"], tree["crc"]) = (json!("a time"), json!("of a time"));
    }
    tree
}

fn without_time(word: &str) -> String {
    let digits = word.chars().take_while(char::is_ascii_digit).count();
    if digits >= 13 { format!("<time>{}", &word[digits..]) } else { word.to_owned() }
}

/// Ids with many zeros are those that a case or Kafka itself chose.
fn is_fixed(id: &str) -> bool {
    id.starts_with("0000000000000000")
}
