//! What is synced before it is answered, by the broker's own record of its writes and syncs.
//!
//! Killing a process does not test fsync. A build with the feature `faults` notes each write, sync and
//! rename in the file that `THALWEG_RECORD` names, at once and in order; so when an answer has come, what
//! preceded it stands there. The same build with `THALWEG_FAULT=answer_before_sync` leaves syncs out, and
//! has to be caught.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::{append, batch_of, connect, create, topic};
use crate::harness::process::faulty_build;
use crate::harness::{Connection, Thalweg, scratch};
use crate::turn;

/// A step as the record has it: `Write { path: "/a/b", position: 0, length: 61 }`, `Sync("/a/b")`.
#[derive(Debug)]
struct Step {
    kind: String,
    path: PathBuf,
    text: String,
}

/// A broker with a record of its steps.
struct Recorded {
    broker: Thalweg,
    connection: Connection,
    record: PathBuf,
}

impl Recorded {
    fn start(name: &str, fault: Option<&str>) -> Recorded {
        let directory = scratch(name);
        let record = directory.join("record");
        let path = record.display().to_string();
        let mut environment = vec![("THALWEG_RECORD", path.as_str())];
        environment.extend(fault.map(|fault| ("THALWEG_FAULT", fault)));
        let broker = Thalweg::start_binary(&faulty_build(), &directory, &[], &environment);
        let connection = connect(&broker);
        Recorded { broker, connection, record }
    }

    /// How far the record is.
    fn mark(&self) -> usize {
        fs::read(&self.record).expect("a record is kept").len()
    }

    fn steps_since(&self, mark: usize) -> Vec<Step> {
        let bytes = fs::read(&self.record).expect("a record is kept");
        let text = String::from_utf8_lossy(&bytes[mark..]).into_owned();
        let step = |line: &str| {
            let kind = line.split([' ', '(']).next()?.to_owned();
            // A rename is one of the name that it gives.
            let from = if kind == "Rename" { line.find("to: \"")? } else { 0 };
            let path = line[from..].split('"').nth(1)?.into();
            Some(Step { kind, path, text: line.to_owned() })
        };
        text.lines().filter_map(step).collect()
    }

    /// The steps between a request and its answer.
    fn call(&mut self, api: &str, version: i16, tree: &Value) -> (Value, Vec<Step>) {
        let mark = self.mark();
        let answer = self.connection.call(api, version, tree).body();
        (answer, self.steps_since(mark))
    }

    fn metadata_log(&self) -> PathBuf {
        self.broker.data().join("__cluster_metadata-0")
    }

    fn append(&mut self, name: &str, bytes: usize) -> Vec<Step> {
        let mark = self.mark();
        append(&mut self.connection, name, 0, &batch_of(bytes));
        self.steps_since(mark)
    }
}

fn is_log_of(step: &Step, directory: &Path) -> bool {
    step.path.starts_with(directory) && step.path.extension().is_some_and(|end| end == "log")
}

/// The paths of logs below `directory` that were written, and whether each was synced after its last write.
fn written_logs(steps: &[Step], directory: &Path) -> Vec<(PathBuf, bool)> {
    let mut logs: Vec<(PathBuf, bool)> = Vec::new();
    for step in steps.iter().filter(|step| is_log_of(step, directory)) {
        let at = logs.iter().position(|(path, _)| *path == step.path);
        match (step.kind.as_str(), at) {
            ("Write", None) => logs.push((step.path.clone(), false)),
            ("Write", Some(at)) => logs[at].1 = false,
            ("Sync", Some(at)) => logs[at].1 = true,
            _ => {}
        }
    }
    logs
}

/// Something was written there, and all of it was synced.
fn is_synced(steps: &[Step], directory: &Path) -> bool {
    let logs = written_logs(steps, directory);
    !logs.is_empty() && logs.iter().all(|(_, synced)| *synced)
}

/// Whether the name of each file or directory that was made was synced in the directory that holds it.
fn names_are_synced(steps: &[Step], log: &Path) -> bool {
    let made = steps.iter().enumerate().filter(|(_, step)| step.kind == "Create" && is_log_of(step, log));
    let synced_after = |at: usize, directory: &Path| {
        steps[at..].iter().any(|step| step.kind == "Sync" && step.path == directory)
    };
    made.into_iter().all(|(at, step)| step.path.parent().is_some_and(|parent| synced_after(at, parent)))
}

fn has_no_error(answer: &Value) -> bool {
    match answer {
        Value::Object(fields) => fields
            .iter()
            .all(|(name, value)| if name == "errorCode" { *value == 0 } else { has_no_error(value) }),
        Value::Array(items) => items.iter().all(has_no_error),
        _ => true,
    }
}

#[test]
fn flush_messages_1_syncs_each_batch_before_its_answer() {
    let _turn = turn();
    let mut recorded = Recorded::start("limits-flush", None);
    let one = [("flush.messages", "1"), ("segment.bytes", "1048576")];
    create(&mut recorded.connection, "synced", 1, &one);
    create(&mut recorded.connection, "plain", 1, &[]);
    let data = recorded.broker.data();
    let mut made = 0;
    for (round, bytes) in [100, 5_000, 300_000, 300_000, 300_000, 300_000, 100].into_iter().enumerate() {
        // A roll is among them.
        let steps = recorded.append("synced", bytes);
        assert!(is_synced(&steps, &data.join("synced-0")), "batch {round}: {steps:#?}");
        assert!(names_are_synced(&steps, &data.join("synced-0")), "names, batch {round}: {steps:#?}");
        made += steps.iter().filter(|s| s.kind == "Create" && is_log_of(s, &data.join("synced-0"))).count();
        if round == 0 {
            // The partition's directory is made at its first append.
            let named = steps.iter().any(|step| step.kind == "Sync" && step.path == data);
            assert!(named, "the directory's name is not synced: {steps:#?}");
        }
        let steps = recorded.append("plain", bytes);
        assert!(!is_synced(&steps, &data.join("plain-0")), "the judge sees no difference: {steps:#?}");
    }
    assert!(made >= 2, "{made} segments are made");
    // A dynamic change acts on the next batch.
    let change = json!({"resources": [{"resourceType": 2, "resourceName": "plain",
        "configs": [{"name": "flush.messages", "configOperation": 0, "value": "1"}]}]});
    let answer = recorded.connection.call("IncrementalAlterConfigs", 1, &change).body();
    assert_eq!(answer["responses"][0]["errorCode"], 0, "{answer}");
    let steps = recorded.append("plain", 100);
    assert!(is_synced(&steps, &data.join("plain-0")), "after the change: {steps:#?}");
}

#[test]
fn metadata_is_synced_before_its_answer() {
    let _turn = turn();
    let mut recorded = Recorded::start("limits-metadata", None);
    let log = recorded.metadata_log();
    let configs = |value: &str| {
        json!({"resources": [{"resourceType": 2, "resourceName": "t",
            "configs": [{"name": "retention.ms", "configOperation": 0, "value": value}]}]})
    };
    let changes = [
        ("CreateTopics", 5, topic("t", 2, &[])),
        (
            "CreatePartitions",
            2,
            json!({"topics": [{"name": "t", "count": 5, "assignments": null}], "timeoutMs": 10_000}),
        ),
        ("IncrementalAlterConfigs", 1, configs("77777777")),
        (
            "AlterConfigs",
            1,
            json!({"resources": [{"resourceType": 2, "resourceName": "t",
            "configs": [{"name": "retention.ms", "value": "88888888"}]}]}),
        ),
        ("InitProducerId", 3, json!({"transactionalId": null, "transactionTimeoutMs": 1000})),
        ("DeleteTopics", 5, json!({"topicNames": ["t"], "timeoutMs": 10_000})),
    ];
    for (api, version, tree) in changes {
        let (answer, steps) = recorded.call(api, version, &tree);
        assert!(has_no_error(&answer), "{api}: {answer}");
        assert!(is_synced(&steps, &log), "{api}: {answer}\n{steps:#?}");
        // The quorum's own word comes after the sync as well.
        let synced = steps.iter().rposition(|s| s.kind == "Sync" && is_log_of(s, &log));
        let written = steps.iter().rposition(|s| s.kind == "Write" && is_log_of(s, &log));
        let told = steps.iter().rposition(|s| s.kind == "Answer" && s.text.contains("the metadata before"));
        assert!(written < synced && synced < told, "{api}: {steps:#?}");
    }
}

#[test]
fn deleted_records_are_durable_before_the_answer() {
    let _turn = turn();
    let mut recorded = Recorded::start("limits-delete-records", None);
    create(&mut recorded.connection, "t", 1, &[]);
    for _ in 0..5 {
        recorded.append("t", 1_000);
    }
    let tree = json!({"timeoutMs": 10_000, "topics": [
        {"name": "t", "partitions": [{"partitionIndex": 0, "offset": 3}]}]});
    let (answer, steps) = recorded.call("DeleteRecords", 1, &tree);
    assert_eq!(answer["topics"][0]["partitions"][0]["lowWatermark"], 3, "{answer}");
    let checkpoint = recorded.broker.data().join("log-start-offset-checkpoint");
    let renamed = steps.iter().rposition(|s| s.kind == "Rename" && s.path == checkpoint);
    let renamed = renamed.unwrap_or_else(|| panic!("no checkpoint is written: {steps:#?}"));
    let beside = |s: &&Step| s.path.starts_with(recorded.broker.data()) && s.path != recorded.broker.data();
    assert!(steps[..renamed].iter().any(|s| s.kind == "Sync" && beside(&s)), "its content: {steps:#?}");
    let named = steps[renamed..].iter().any(|s| s.kind == "Sync" && s.path == recorded.broker.data());
    assert!(named, "its name: {steps:#?}");
}

#[test]
fn a_build_that_leaves_syncs_out_is_caught() {
    let _turn = turn();
    let mut recorded = Recorded::start("limits-no-sync", Some("answer_before_sync"));
    let (_, steps) = recorded.call("CreateTopics", 5, &topic("t", 1, &[("flush.messages", "1")]));
    assert!(!is_synced(&steps, &recorded.metadata_log()), "{steps:#?}");
    let steps = recorded.append("t", 100);
    assert!(!written_logs(&steps, &recorded.broker.data().join("t-0")).is_empty(), "{steps:#?}");
    assert!(!is_synced(&steps, &recorded.broker.data().join("t-0")), "{steps:#?}");
}
