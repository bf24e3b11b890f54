//! The command line as a user runs it: the real binary against a broker, its output and its exit codes.
//!
//! `THALWEG_TEST_BOOTSTRAP=host:port` names a broker to run against, any Kafka broker; without it each test
//! starts the binary's own on a free port. Topics carry the test's name, and are deleted where it succeeds.

#[path = "cli/broker.rs"]
mod broker;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use broker::{BINARY, Broker};

/// Lines of all lengths and bytes, the same each time.
fn lines(count: u64) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut text = Vec::new();
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let length = (state % 90) as usize;
        let bytes = state.to_le_bytes();
        text.extend(
            (0..length).map(|i| bytes[i % 8].wrapping_add(i as u8 / 8)).filter(|byte| *byte != b'\n'),
        );
        text.push(b'\n');
    }
    text
}

#[test]
fn a_file_comes_back_byte_for_byte_with_every_codec() {
    let broker = Broker::new("bytes");
    let input = lines(50_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &input).unwrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = broker.create(codec, "1");
        broker.done(&["produce", &topic, file.path().to_str().unwrap(), "-z", codec], b"");
        assert!(broker.done(&["consume", &topic], b"") == input, "{codec}");
    }
}

#[test]
fn every_record_arrives_once_over_many_partitions_and_small_batches() {
    let broker = Broker::new("many");
    let topic = broker.create("t", "7");
    let input: Vec<String> = (0..20_000).map(|i| format!("record {i}")).collect();
    let args = ["produce", &topic, "--batch-bytes", "1500", "--json"];
    let summary: Value = serde_json::from_slice(&broker.done(&args, input.join("\n").as_bytes())).unwrap();
    assert_eq!(summary["records"], 20_000);
    let mut read: Vec<String> = broker.text(&["consume", &topic]).lines().map(str::to_owned).collect();
    read.sort_by_key(|line| line["record ".len()..].parse::<u32>().unwrap());
    assert!(read == input);
}

#[test]
fn keys_choose_partitions_as_javas_client_does() {
    let broker = Broker::new("keys");
    let topic = broker.create("t", "4");
    broker.done(&["produce", &topic, "--key-separator", ":"], b"foobar:1\nabc:2\n21:3\nfoobar:4\n");
    let records = broker.json(&["consume", &topic, "--json"]);
    let partitions = |key: &str| -> Vec<i64> {
        records.iter().filter(|r| r["key"] == key).map(|r| r["partition"].as_i64().unwrap()).collect()
    };
    // Java: toPositive(murmur2(key)) % 4 of -790332482, 479470107 and -973932308.
    assert_eq!(partitions("foobar"), [2, 2]);
    assert_eq!(partitions("abc"), [3]);
    assert_eq!(partitions("21"), [0]);
    let with_keys = broker.text(&["consume", &topic, "--key-separator", "=", "--partition", "2"]);
    assert_eq!(with_keys, "foobar=1\nfoobar=4\n");
}

#[test]
fn json_says_all_of_a_record_and_reads_it_back() {
    let broker = Broker::new("json");
    let (first, second) = (broker.create("a", "3"), broker.create("b", "3"));
    let input = concat!(
        r#"{"key":"k","value":{"a": 1.50},"headers":{"z":"1","a":null,"b":"x"},"partition":1,"timestamp":5}"#,
        "\n",
        r#"{"key":"k","value":null,"partition":2}"#,
        "\n",
        r#"{"value_base64":"/w==","headers":[{"key":"h","value":"1"},{"key":"h","value_base64":"/w=="}],"partition":0}"#,
    );
    broker.done(&["produce", &first, "--format", "json"], input.as_bytes());
    let copy = broker.done(&["consume", &first, "--json"], b"");
    broker.done(&["produce", &second, "-f", "json", "--compression", "zstd"], &copy);
    let read = |topic: &str| {
        let mut records = broker.json(&["consume", topic, "--json"]);
        records.iter_mut().for_each(|record| record["topic"] = Value::Null);
        records.sort_by_key(|record| record["partition"].as_i64());
        records
    };
    let records = read(&first);
    assert_eq!(records, read(&second));
    assert_eq!(records[1]["value"], r#"{"a": 1.50}"#);
    assert_eq!(records[1]["timestamp"], 5);
    assert_eq!(records[1]["headers"][1], serde_json::json!({"key": "a", "value": null}));
    assert_eq!(records[2]["value"], Value::Null);
    assert_eq!(records[0]["value_base64"], "/w==");
}

#[test]
fn csv_rows_become_records() {
    let broker = Broker::new("csv");
    let topic = broker.create("t", "1");
    broker.done(&["produce", &topic, "-f", "csv", "--key-column", "id"], b"id,name\n7,\"a\nb\"\n8,c\n");
    let records = broker.json(&["consume", &topic, "--json"]);
    assert_eq!(records[0]["key"], "7");
    assert_eq!(records[0]["value"], r#"{"id":"7","name":"a\nb"}"#);
    assert_eq!(records[1]["key"], "8");
}

#[test]
fn reading_begins_where_it_is_told_to() {
    let broker = Broker::new("from");
    let topic = broker.create("t", "1");
    let input: String = (0..100)
        .map(|i| format!("{{\"value\":\"{i}\",\"timestamp\":{}}}\n", 1_700_000_000_000i64 + i * 1000))
        .collect();
    broker.done(&["produce", &topic, "-f", "json", "--batch-bytes", "300"], input.as_bytes());
    let from = |from: &str| broker.text(&["consume", &topic, "--from", from]);
    assert_eq!(from("97"), "97\n98\n99\n");
    assert_eq!(from("-2"), "98\n99\n");
    assert_eq!(from("@1700000098"), "98\n99\n");
    assert_eq!(from("2023-11-14T22:14:58.5Z"), "99\n");
    assert_eq!(from("latest"), "");
    assert_eq!(from("-1w"), "");
    assert_eq!(from("-500").lines().count(), 100);
    assert_eq!(broker.text(&["consume", &topic, "--from", "50", "--max", "2"]), "50\n51\n");
    assert_eq!(broker.text(&["consume", &topic, "--max", "0"]), "");
    let table = broker.text(&["consume", &topic, "--from", "99", "--format", "table"]);
    assert!(table.lines().nth(1).unwrap().contains("2023-11-14T22:14:59.000Z"), "{table}");
}

#[test]
fn following_sees_what_comes_later() {
    let broker = Broker::new("follow");
    let topic = broker.create("t", "2");
    broker.done(&["produce", &topic], b"before\n");
    let mut command = broker.command(&["consume", &topic, "--follow"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    broker.done(&["produce", &topic, "--partition", "1"], b"after\n");
    output.read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "before\nafter\n");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let broker = Broker::new("pipe");
    let topic = broker.create("t", "1");
    broker.done(&["produce", &topic], &lines(20_000));
    let mut command = broker.command(&["consume", &topic]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_until(b'\n', &mut Vec::new()).unwrap();
    drop(output);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn batches_that_the_topic_does_not_take_are_split() {
    let broker = Broker::new("split");
    let topic = broker.topic("t");
    broker.done(&["topic", "create", &topic, "-p", "1", "-c", "max.message.bytes=5000"], b"");
    let input: String = (0..2_000).map(|i| format!("a record of some length, number {i}\n")).collect();
    broker.done(&["produce", &topic, "--batch-bytes", "30000"], input.as_bytes());
    assert_eq!(broker.text(&["consume", &topic]), input);
    let large = [b"small\n".to_vec(), vec![b'x'; 6000], b"\n".to_vec()].concat();
    let error = broker.error(&["produce", &topic, "--batch-bytes", "100"], &large);
    assert!(error.contains("1 records were not acknowledged"), "{error}");
    assert!(error.contains("input lines 2 to 2"), "{error}");
    assert!(error.contains("MESSAGE_TOO_LARGE"), "{error}");
}

#[test]
fn bad_input_ends_with_its_line_and_what_was_before_it_is_sent() {
    let broker = Broker::new("bad");
    let topic = broker.create("t", "1");
    let error = broker
        .error(&["produce", &topic, "-f", "json"], b"{\"value\":\"a\"}\n{\"id\":1}\n{\"value\":\"c\"}\n");
    assert!(error.contains("line 2: unknown field `id`"), "{error}");
    assert_eq!(broker.text(&["consume", &topic]), "a\n");
    let error = broker.error(&["produce", &topic, "--partition", "9"], b"x\n");
    assert!(error.contains("the topic has no partition 9; it has 1"), "{error}");
    let missing = broker.topic("missing");
    let error = broker.error(&["produce", &missing], b"x\n");
    assert!(error.contains("there is no topic") && error.contains("--create"), "{error}");
    broker.done(&["produce", &missing, "--create", "--acks", "1"], b"x\n");
    assert_eq!(broker.text(&["consume", &missing]), "x\n");
}

#[test]
fn without_acknowledgements_records_have_been_read_before_it_ends() {
    let broker = Broker::new("acks0");
    let topic = broker.create("t", "1");
    let input = lines(30_000);
    broker.done(&["produce", &topic, "--acks", "0"], &input);
    assert!(broker.done(&["consume", &topic], b"") == input);
}

#[test]
fn topics_are_made_listed_described_altered_and_deleted() {
    let broker = Broker::new("topics");
    let (a, b) = (broker.topic("a"), broker.topic("b"));
    let pattern = format!("{}-.*", broker.prefix);
    let made = broker.json(&["topic", "create", &a, &b, "-p", "2", "-c", "retention.ms=1000000", "--json"]);
    assert_eq!(made.len(), 2);
    assert_eq!((&made[0]["topic"], &made[0]["partitions"]), (&a.as_str().into(), &2.into()));
    let error = broker.error(&["topic", "create", &a], b"");
    assert!(error.contains("TOPIC_ALREADY_EXISTS") && error.contains("--if-not-exists"), "{error}");
    assert!(broker.text(&["topic", "create", &a, "--if-not-exists"]).contains("is there already"));
    assert_eq!(broker.text(&["topic", "list", &pattern]), format!("{a}\n{b}\n"));
    assert_eq!(broker.json(&["topic", "list", &a, "--json"])[0]["partitions"], 2);
    broker.done(&["produce", &a, "--partition", "1"], b"1\n2\n3\n");
    broker
        .done(&["topic", "alter", &a, "-p", "3", "-c", "max.message.bytes=2000", "-u", "retention.ms"], b"");
    let described = &broker.json(&["topic", "describe", &a, "--json"])[0];
    assert_eq!(described["configs"], serde_json::json!({"max.message.bytes": "2000"}));
    let partitions = described["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    assert_eq!((&partitions[1]["start"], &partitions[1]["end"]), (&0.into(), &3.into()));
    let text = broker.text(&["topic", "describe", &a]);
    assert!(text.contains("max.message.bytes=2000") && text.contains("RECORDS"), "{text}");
    let gone = broker.json(&["topic", "alter", &a, "--delete-before", "2", "--partition", "1", "--json"]);
    assert_eq!((&gone[0]["start"], &gone[0]["deleted"]), (&2.into(), &2.into()));
    assert_eq!(broker.text(&["consume", &a]), "3\n");
    let error = broker.error(&["topic", "alter", &a, "-p", "1"], b"");
    assert!(error.contains("INVALID_PARTITIONS"), "{error}");
    let error = broker.error(&["topic", "delete", &pattern], b"");
    assert!(error.contains("--yes"), "{error}");
    assert_eq!(broker.text(&["topic", "delete", &pattern, "--yes"]).lines().count(), 2);
    assert!(broker.error(&["topic", "list", &pattern], b"").contains("no topic matches"));
    assert!(broker.error(&["topic", "describe", &a], b"").contains("there is no topic"));
    assert!(broker.text(&["topic", "delete", &a, "--if-exists"]).contains("nothing was deleted"));
}

#[test]
fn a_dry_run_makes_nothing() {
    let broker = Broker::new("dry");
    let topic = broker.topic("t");
    let said = &broker.json(&["topic", "create", &topic, "-p", "4", "--dry-run", "--json"])[0];
    assert_eq!((&said["created"], &said["id"]), (&false.into(), &Value::Null));
    assert!(broker.error(&["topic", "describe", &topic], b"").contains("there is no topic"));
}

#[test]
fn configuration_is_shown_set_and_unset() {
    let broker = Broker::new("config");
    let topic = broker.create("t", "1");
    let value = |key: &str| broker.json(&["config", "get", "topic", &topic, key, "--json"])[0].clone();
    broker.done(&["config", "set", "topic", &topic, "retention.ms=86400000", "compression.type=zstd"], b"");
    assert_eq!(value("retention.ms")["value"], "86400000");
    assert_eq!(value("retention.ms")["source"], "topic");
    broker.done(
        &["config", "set", "topic", &topic, "-u", "retention.ms", "--append", "cleanup.policy=compact"],
        b"",
    );
    assert_ne!(value("retention.ms")["source"], "topic");
    assert_eq!(value("cleanup.policy")["value"], "delete,compact");
    broker.done(&["config", "set", "topic", &topic, "flush.ms=5", "--dry-run"], b"");
    assert_ne!(value("flush.ms")["value"], "5");
    let shown = broker.text(&["config", "get", "topic", &topic]);
    assert!(shown.contains("compression.type"), "{shown}");
    assert!(broker.json(&["config", "get", "topic", &topic, "--all", "--json"]).len() > 20);
    let error = broker.error(&["config", "set", "topic", &topic, "retention.ms=soon"], b"");
    assert!(error.contains("INVALID_CONFIG"), "{error}");
    assert!(broker.error(&["config", "get", "topic", &topic, "nokey"], b"").contains("has no key nokey"));
    let brokers: Vec<Value> = broker.json(&["topic", "describe", &topic, "--json"]);
    let node = brokers[0]["partitions"][0]["leader"].to_string();
    assert!(!broker.json(&["config", "get", "broker", &node, "--all", "--json"]).is_empty());
}

#[test]
fn patterns_pick_topics_to_read() {
    let broker = Broker::new("pattern");
    for (name, value) in [("x1", "1\n"), ("x2", "2\n"), ("y", "3\n")] {
        let topic = broker.create(name, "1");
        broker.done(&["produce", &topic, "--quiet"], value.as_bytes());
    }
    let read = broker.text(&["consume", &format!("{}-x.*", broker.prefix)]);
    let mut lines: Vec<&str> = read.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "2"]);
}

#[test]
fn a_broker_that_is_not_there_is_told_with_its_mend() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap().to_string();
    drop(listener);
    let run = |args: &[&str]| Command::new(BINARY).args(args).args(["-b", &closed]).output().unwrap();
    let output = run(&["topic", "list"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().count(), 1);
    assert!(error.contains(&closed) && error.contains("thalweg start"), "{error}");
    let error: Value = serde_json::from_slice(&run(&["consume", "x", "--json"]).stderr).unwrap();
    assert!(error["mend"].as_str().unwrap().contains("thalweg start"));
}

#[test]
fn wrong_use_is_told_before_anything_is_asked() {
    let code = |args: &[&str]| Command::new(BINARY).args(args).output().unwrap().status.code();
    for args in [
        &["consume", "a["] as &[&str],
        &["consume", "a", "--from", "yesterday"],
        &["topic", "create", "a", "--partitions", "0"],
        &["topic", "create", "a", "-c", "retention.ms"],
        &["produce", "a", "--compression", "rar"],
        &["produce"],
        &["nonsense"],
    ] {
        assert_eq!(code(args), Some(2), "{args:?}");
    }
    for args in [&["--help"] as &[&str], &["produce", "--help"], &["topic", "create", "--help"]] {
        let output = Command::new(BINARY).args(args).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains("thalweg "), "{args:?}");
    }
}

#[test]
fn check_names_every_fact() {
    let dir = tempfile::tempdir().unwrap();
    let log_dirs = format!("log.dirs={}", dir.path().display());
    let output = Command::new(BINARY).args(["check", "--json", "-o", &log_dirs]).output().unwrap();
    let facts: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = facts.iter().map(|fact| fact["fact"].as_str().unwrap()).collect();
    let expected = ["kernel", "io_uring", "locked memory", "open files", "cores", "log directory", "disk"];
    assert_eq!(names, expected);
    let is_short = facts.iter().any(|fact| fact["state"] == "short");
    assert_eq!(output.status.success(), !is_short);
    let missing = Command::new(BINARY).args(["check", "--cores", "4000"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stdout).unwrap().contains("core 4000 is not among"));
}
