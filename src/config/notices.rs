//! What the reader of a server.properties should be told: keys that are old, unknown or mistyped, and hints.

use std::collections::BTreeMap;

use super::keys;

/// Keys that Kafka 4 no longer knows and that old files still have.
const REMOVED: &[&str] = &[
    "advertised.host.name",
    "advertised.port",
    "control.plane.listener.name",
    "controlled.shutdown.max.retries",
    "controlled.shutdown.retry.backoff.ms",
    "group.coordinator.new.enable",
    "host.name",
    "inter.broker.protocol.version",
    "log.message.downconversion.enable",
    "log.message.format.version",
    "log.message.timestamp.difference.max.ms",
    "offsets.commit.required.acks",
    "port",
    "reserved.broker.max.id",
    "zookeeper.connect",
    "zookeeper.connection.timeout.ms",
    "zookeeper.session.timeout.ms",
];

/// Keys that Kafka 4.1 still takes and will drop, with what to do.
const DEPRECATED: &[(&str, &str)] =
    &[("log.cleaner.enable", "compaction cannot be switched off in Kafka 5, so delete the key")];

/// A sentence for each key that needs one. `from_file` says whether there is a file to mend.
pub(super) fn notices(all: &BTreeMap<String, String>, from_file: bool) -> Vec<String> {
    let mut notices = Vec::new();
    for key in all.keys() {
        if let Some((_, instead)) = DEPRECATED.iter().find(|(name, _)| name == key) {
            notices.push(format!("{key} is deprecated: {instead}"));
        } else if REMOVED.contains(&key.as_str()) {
            notices.push(format!("{key} was removed from Kafka and has no effect: delete it"));
        } else if !keys::BROKER.contains(key)
            && !keys::THALWEG.contains(key)
            && !key.starts_with("listener.name.")
        {
            notices.push(match nearest(key) {
                Some(near) => format!("{key} is no key of Kafka 4.1 and has no effect; did you mean {near}?"),
                None => format!("{key} is no key of Kafka 4.1 and has no effect"),
            });
        }
    }
    if from_file {
        let factor = "offsets.topic.replication.factor";
        if !all.contains_key(factor) {
            notices.push(format!(
                "{factor} is 3, Kafka's default: one node holds one replica, so consumer groups need {factor}=1"
            ));
        }
    }
    notices
}

/// The known key that is one or two typing errors away.
fn nearest(key: &str) -> Option<&'static str> {
    let near = keys::BROKER.iter().map(|known| (distance(key, known.name), known.name));
    near.min().filter(|(errors, _)| *errors <= 2).map(|(_, name)| name)
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
