//! `thalweg group` and `thalweg consume --group` as a user runs them: the real binary against a broker.
//!
//! `THALWEG_TEST_BOOTSTRAP=host:port` names a broker to run against, any Kafka broker; without it each test
//! starts the binary's own. Against Apache Kafka:
//!
//! ```text
//! BROKER=apache tests/lib/with-broker sh -c 'THALWEG_TEST_BOOTSTRAP=$BOOTSTRAP cargo test --test cli_groups'
//! ```

#[path = "cli/broker.rs"]
mod broker;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use broker::{BINARY, Broker};

const PROTOCOLS: [&str; 2] = ["classic", "consumer"];

/// A broker whose groups of this test go when the test has succeeded.
struct Groups(Broker);

impl Groups {
    fn new(test: &str) -> Groups {
        Groups(Broker::new(&format!("group-{test}")))
    }

    /// What `group describe` says of a group.
    fn describe(&self, group: &str) -> Value {
        self.json(&["group", "describe", group, "--json"]).remove(0)
    }

    /// The committed offset of each partition of a group that reads one topic.
    fn committed(&self, group: &str) -> BTreeMap<i64, i64> {
        let described = self.describe(group);
        let rows = described["offsets"].as_array().unwrap().iter();
        rows.filter_map(|row| Some((row["partition"].as_i64()?, row["committed"].as_i64()?))).collect()
    }

    /// Waits until the group is stable with partitions owned as `counts` says, in ascending order.
    fn wait_for_shares(&self, group: &str, counts: &[usize], within: Duration) {
        let give_up = Instant::now() + within;
        loop {
            let listed = self.text(&["group", "list"]);
            let is_there = listed.lines().any(|name| name == group);
            let described = is_there.then(|| self.describe(group));
            let owned = |member: &Value| member["assignment"].as_array().unwrap().len();
            let mut shares: Vec<usize> = described
                .iter()
                .flat_map(|group| group["members"].as_array().unwrap().iter().map(owned))
                .collect();
            shares.sort_unstable();
            if shares == counts && described.as_ref().is_some_and(|group| group["state"] == "Stable") {
                return;
            }
            assert!(Instant::now() < give_up, "{group} is not shared as {counts:?}: {described:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts a member that follows a topic and writes what it reads into a file.
    fn follow(&self, topic: &str, group: &str, protocol: &str) -> Follower {
        let output = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut command =
            self.command(&["consume", topic, "--group", group, "--protocol", protocol, "--follow"]);
        let child = command.stdout(File::create(&output).unwrap()).stderr(Stdio::null()).spawn().unwrap();
        Follower { child, output: output.keep().unwrap() }
    }
}

impl Deref for Groups {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let pattern = format!("{}-.*", self.prefix);
            self.done(&["group", "delete", &pattern, "--yes", "--if-exists"], b"");
        }
    }
}

struct Follower {
    child: Child,
    output: PathBuf,
}

impl Follower {
    fn read(&self) -> Vec<String> {
        std::fs::read_to_string(&self.output).unwrap().lines().map(str::to_owned).collect()
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ctrl-C, which it must take well.
    fn interrupt(&mut self) {
        self.signal(Signal::INT);
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.output);
    }
}

/// Records to each of four partitions, named so that each is known again.
fn produce(broker: &Groups, topic: &str, round: &str, count: usize) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for partition in ["0", "1", "2", "3"] {
        let lines: Vec<String> = (0..count).map(|i| format!("{round}-{partition}-{i}")).collect();
        broker.done(&["produce", topic, "--partition", partition, "--quiet"], lines.join("\n").as_bytes());
        all.extend(lines);
    }
    all
}

fn wait_until(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < give_up, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_group_goes_on_where_it_was_by_either_protocol() {
    let broker = Groups::new("goes-on");
    for protocol in PROTOCOLS {
        let topic = broker.create(protocol, "1");
        let group = broker.topic(&format!("g-{protocol}"));
        let read = |more: &[&str]| {
            let args = ["consume", &topic, "--group", &group, "--protocol", protocol];
            broker.text(&[&args, more].concat())
        };
        broker.done(&["produce", &topic], b"1\n2\n3\n4\n5\n");
        assert_eq!(read(&["--max", "2"]), "1\n2\n", "{protocol}");
        assert_eq!(broker.committed(&group), BTreeMap::from([(0, 2)]), "{protocol}");
        assert_eq!(read(&["--from", "latest"]), "3\n4\n5\n", "{protocol}: the commit counts, not --from");
        assert_eq!(read(&[]), "", "{protocol}");
        let described = broker.describe(&group);
        assert_eq!((&described["lag"], &described["state"]), (&0.into(), &"Empty".into()), "{protocol}");
        broker.done(&["produce", &topic], b"6\n");
        assert_eq!(read(&[]), "6\n", "{protocol}");
        let other = broker.topic(&format!("h-{protocol}"));
        let args = ["consume", &topic, "--group", &other, "--protocol", protocol, "--from", "-2"];
        assert_eq!(broker.text(&args), "5\n6\n", "{protocol}: --from counts where nothing is committed");
    }
}

#[test]
fn members_share_partitions_and_no_record_is_missed_when_one_leaves() {
    let broker = Groups::new("share");
    for protocol in PROTOCOLS {
        let topic = broker.create(protocol, "4");
        let group = broker.topic(&format!("g-{protocol}"));
        let mut expected = produce(&broker, &topic, "alone", 50);
        let mut first = broker.follow(&topic, &group, protocol);
        broker.wait_for_shares(&group, &[4], Duration::from_secs(30));
        let mut second = broker.follow(&topic, &group, protocol);
        broker.wait_for_shares(&group, &[2, 2], Duration::from_secs(30));
        let shared = produce(&broker, &topic, "shared", 50);
        expected.extend(shared.clone());
        let all = |members: &[&Follower]| -> BTreeSet<String> {
            members.iter().flat_map(|member| member.read()).collect()
        };
        wait_until("both read", Duration::from_secs(20), || all(&[&first, &second]) == expected);
        let of_first: BTreeSet<String> = first.read().into_iter().filter(|r| shared.contains(r)).collect();
        assert_eq!(of_first.len(), 100, "{protocol}: two of four partitions each");
        first.interrupt();
        broker.wait_for_shares(&group, &[4], Duration::from_secs(30));
        expected.extend(produce(&broker, &topic, "after", 50));
        wait_until("the other reads on", Duration::from_secs(20), || all(&[&first, &second]) == expected);
        second.interrupt();
        // Nobody crashed, so nothing came twice.
        assert_eq!(first.read().len() + second.read().len(), expected.len(), "{protocol}");
        let described = broker.describe(&group);
        assert_eq!((&described["lag"], &described["state"]), (&0.into(), &"Empty".into()), "{protocol}");
    }
}

#[test]
fn what_a_member_that_was_killed_had_is_read_by_the_others() {
    let broker = Groups::new("killed");
    std::thread::scope(|scope| {
        for protocol in PROTOCOLS {
            let broker = &broker;
            scope.spawn(move || {
                let topic = broker.create(protocol, "4");
                let group = broker.topic(&format!("g-{protocol}"));
                let mut first = broker.follow(&topic, &group, protocol);
                let mut second = broker.follow(&topic, &group, protocol);
                broker.wait_for_shares(&group, &[2, 2], Duration::from_secs(30));
                let mut expected = produce(broker, &topic, "both", 500);
                first.kill();
                expected.extend(produce(broker, &topic, "one", 50));
                // A session lasts 45 s.
                let read = || first.read().into_iter().chain(second.read()).collect::<BTreeSet<String>>();
                wait_until(protocol, Duration::from_secs(100), || read().is_superset(&expected));
                second.interrupt();
                assert_eq!(broker.describe(&group)["lag"], 0, "{protocol}");
            });
        }
    });
}

#[test]
fn a_reader_that_has_enough_leaves_and_commits_no_more_than_it_took() {
    let broker = Groups::new("pipe");
    let topic = broker.create("t", "1");
    let group = broker.topic("g");
    let input: String = (0..200_000).map(|i| format!("record {i}\n")).collect();
    broker.done(&["produce", &topic, "--quiet"], input.as_bytes());
    let mut command = broker.command(&["consume", &topic, "--group", &group]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_until(b'\n', &mut Vec::new()).unwrap();
    drop(output);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let described = broker.describe(&group);
    assert_eq!(described["state"], "Empty");
    let committed = broker.committed(&group).get(&0).copied().unwrap_or(0);
    assert!(committed < 200_000, "{committed}");
}

#[test]
fn groups_are_listed_described_and_deleted() {
    let broker = Groups::new("listed");
    let topic = broker.create("t", "2");
    let (a, b, c) = (broker.topic("a"), broker.topic("b"), broker.topic("c"));
    broker.done(&["produce", &topic, "--partition", "1"], b"1\n2\n3\n");
    broker.done(&["consume", &topic, "--group", &a, "--protocol", "classic", "--max", "1"], b"");
    broker.done(&["consume", &topic, "--group", &b, "--protocol", "consumer"], b"");
    let reset = ["group", "reset-offsets", &c, "--topic", &topic, "--to-earliest", "--execute"];
    broker.done(&reset, b"");
    let pattern = format!("{}-.*", broker.prefix);
    let list = |more: &[&str]| broker.text(&[&["group", "list", &pattern], more].concat());
    assert_eq!(list(&[]), format!("{a}\n{b}\n{c}\n"));
    assert_eq!(list(&["--type", "consumer"]), format!("{b}\n"));
    assert_eq!(list(&["--type", "Classic,share"]), format!("{a}\n{c}\n"));
    assert_eq!(list(&["--state", "empty"]).lines().count(), 3);
    assert_eq!(list(&["--state", "stable"]), "");
    assert!(list(&["--long"]).lines().next().unwrap().contains("MEMBERS"));
    let groups = broker.json(&["group", "list", &pattern, "--json"]);
    let expected = serde_json::json!(
        {"name": a, "type": "classic", "protocol": "consumer", "state": "Empty", "members": 0}
    );
    assert_eq!(groups[0], expected);
    let follower = broker.follow(&topic, &a, "classic");
    broker.wait_for_shares(&a, &[2], Duration::from_secs(30));
    let described = broker.describe(&a);
    let members = described["members"].as_array().unwrap();
    assert_eq!((members.len(), &members[0]["client"]), (1, &"thalweg".into()));
    assert_eq!(described["offsets"][1]["member"], members[0]["member"]);
    assert_eq!(described["offsets"][1]["end"], 3);
    let text = broker.text(&["group", "describe", &a]);
    assert!(text.lines().last().unwrap().starts_with("lag "), "{text}");
    let text = broker.text(&["group", "describe", &a, "--members"]);
    assert!(text.contains(&format!("{topic}:0-1")), "{text}");
    assert_eq!(broker.text(&["group", "describe", &pattern, "--state"]).lines().count(), 4);
    let error = broker.error(&["group", "delete", &a, &b, "--yes"], b"");
    assert!(error.contains("NON_EMPTY_GROUP") && error.contains("--members"), "{error}");
    assert_eq!(list(&[]), format!("{a}\n{c}\n"), "the other one is gone");
    drop(follower);
    let error = broker.error(&["group", "delete", &c], b"");
    assert!(error.contains("nobody is there to ask"), "{error}");
    broker.done(&["group", "delete", &c, "--yes", "--topic", &topic], b"");
    assert_eq!(broker.committed(&a).len(), 2);
    for command in ["describe", "delete"] {
        let error = broker.error(&["group", command, &broker.topic("none")], b"");
        assert!(error.contains("there is no group") && error.contains("group list"), "{error}");
    }
    // It was killed, and stays in the group until its session ends.
    wait_until("the group is empty", Duration::from_secs(90), || broker.describe(&a)["state"] == "Empty");
}

#[test]
fn offsets_are_reset_to_where_they_are_told() {
    let broker = Groups::new("reset");
    let topic = broker.create("t", "2");
    let group = broker.topic("g");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    // A record a minute until a second ago, to partition 0.
    let time = |i: u128| now - 1_000 - (9 - i) * 60_000;
    let input: String = (0..10)
        .map(|i| format!("{{\"value\":\"{i}\",\"partition\":0,\"timestamp\":{}}}\n", time(i)))
        .collect();
    broker.done(&["produce", &topic, "-f", "json", "--batch-bytes", "100"], input.as_bytes());
    let of_all = [(0, 10), (1, 0)];
    broker.done(&["consume", &topic, "--group", &group], b"");
    assert_eq!(broker.committed(&group), BTreeMap::from(of_all));
    let reset = |args: &[&str]| {
        let args = [&["group", "reset-offsets", &group, "--json"], args].concat();
        let output = broker.run(&args, b"");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {error}");
        let steps = String::from_utf8(output.stdout).unwrap();
        let new = |line: &str| serde_json::from_str::<Value>(line).unwrap()["new"].as_i64().unwrap();
        (steps.lines().map(new).collect::<Vec<i64>>(), error)
    };
    // Nothing is done unless it is told to.
    assert_eq!(reset(&["--all-topics", "--to-earliest"]).0, [0, 0]);
    assert_eq!(broker.committed(&group), BTreeMap::from(of_all));
    assert_eq!(reset(&["--topic", &topic, "--back", "210s"]).0, [6, 0]);
    assert_eq!(reset(&["--topic", &topic, "--back", "0s"]).0, [10, 0]);
    let at = format!("@{}", time(4));
    assert_eq!(reset(&["--topic", &format!("{topic}:0"), "--to-time", &at]).0, [4]);
    assert_eq!(reset(&["--topic", &format!("{}.*:0", broker.prefix), "--to-latest"]).0, [10]);
    let (shifted, warning) = reset(&["--all-topics", "--shift-by", "-3", "--execute"]);
    assert_eq!(shifted, [7, 0]);
    assert!(warning.contains("-3 becomes 0"), "{warning}");
    assert_eq!(broker.committed(&group), BTreeMap::from([(0, 7), (1, 0)]));
    assert_eq!(broker.text(&["consume", &topic, "--group", &group]), "7\n8\n9\n");
    // A plan goes to a file and comes from one, for one group or several.
    let plan = tempfile::NamedTempFile::new().unwrap();
    let path = plan.path().to_str().unwrap();
    reset(&["--topic", &topic, "--to-offset", "5", "--export", path]);
    assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{topic},0,5\n{topic},1,0\n"));
    assert_eq!(reset(&["--from-file", path, "--execute"]).0, [5, 0]);
    assert_eq!(broker.committed(&group), BTreeMap::from([(0, 5), (1, 0)]));
    let second = broker.topic("h");
    std::fs::write(path, format!("{group},{topic},0,3\n{second},{topic},0,99\n")).unwrap();
    broker.done(&["group", "reset-offsets", "--from-file", path, "--execute"], b"");
    assert_eq!(broker.committed(&group)[&0], 3);
    assert_eq!(broker.committed(&second)[&0], 10);
    let csv =
        broker.text(&["group", "reset-offsets", &second, "--all-topics", "--to-earliest", "--export", "-"]);
    assert_eq!(csv, format!("{topic},0,0\n"));
    let text = broker.text(&["group", "reset-offsets", &group, "--all-topics", "--to-latest"]);
    assert!(text.contains("OLD") && text.contains("+7"), "{text}");
}

#[test]
fn groups_are_reset_and_watched_by_pattern() {
    let broker = Groups::new("pattern");
    let topic = broker.create("t", "1");
    broker.done(&["produce", &topic], b"1\n2\n3\n4\n");
    let (a, b, other) = (broker.topic("some-a"), broker.topic("some-b"), broker.topic("other"));
    for group in [&a, &b, &other] {
        let to = ["group", "reset-offsets", group, "--topic", &topic, "--to-latest", "--execute"];
        broker.done(&to, b"");
    }
    let pattern = broker.topic("some-.*");
    let reset = |more: &[&str]| {
        broker.json(&[&["group", "reset-offsets", &pattern, "--all-topics", "--json"], more].concat())
    };
    let steps = reset(&["--shift-by", "-1"]);
    let named: Vec<_> = steps.iter().map(|step| (&step["group"], &step["new"])).collect();
    assert_eq!(named, [(&Value::from(&*a), &3.into()), (&Value::from(&*b), &3.into())]);
    assert_eq!(broker.committed(&a)[&0], 4, "it was only shown");
    reset(&["--shift-by", "-3", "--execute"]);
    let committed = [&a, &b, &other].map(|group| broker.committed(group)[&0]);
    assert_eq!(committed, [1, 1, 4]);
    let looks = broker.json(&["group", "watch", &pattern, "--count", "1", "--json"]);
    let seen: Vec<_> = looks.iter().map(|look| (&look["group"], &look["lag"])).collect();
    assert_eq!(seen, [(&Value::from(&*a), &3.into()), (&Value::from(&*b), &3.into())]);
    let nobody = broker.topic("nobody-.*");
    for args in [&["watch", &nobody] as &[&str], &["reset-offsets", &nobody, "--all-topics", "--to-latest"]] {
        let error = broker.error(&[&["group"], args].concat(), b"");
        assert!(error.contains("no group matches"), "{error}");
    }
}

#[test]
fn offsets_are_not_reset_while_somebody_reads() {
    let broker = Groups::new("active");
    for protocol in PROTOCOLS {
        let topic = broker.create(protocol, "1");
        let group = broker.topic(&format!("g-{protocol}"));
        broker.done(&["produce", &topic], b"1\n2\n");
        let mut follower = broker.follow(&topic, &group, protocol);
        wait_until("it reads", Duration::from_secs(30), || follower.read().len() == 2);
        let reset = ["group", "reset-offsets", &group, "--topic", &topic, "--to-earliest"];
        let error = broker.error(&[&reset[..], &["--execute"]].concat(), b"");
        assert!(error.contains("is active") && error.contains("stop its members first"), "{error}");
        let output = broker.run(&reset, b"");
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("is active"));
        follower.interrupt();
        broker.done(&[&reset[..], &["--execute"]].concat(), b"");
        assert_eq!(broker.text(&["consume", &topic, "--group", &group]), "1\n2\n", "{protocol}");
    }
    let error =
        broker.error(&["group", "reset-offsets", &broker.topic("x"), "--all-topics", "--to-latest"], b"");
    assert!(error.contains("has committed nothing") && error.contains("--topic"), "{error}");
    let topic = format!("{}:7", broker.topic("classic"));
    let error = broker.error(&["group", "reset-offsets", "x", "--topic", &topic, "--to-latest"], b"");
    assert!(error.contains("has no partition 7"), "{error}");
}

#[test]
fn watching_tells_lag_and_how_it_changes() {
    let broker = Groups::new("watch");
    let topic = broker.create("t", "2");
    let group = broker.topic("g");
    broker.done(&["group", "reset-offsets", &group, "--topic", &topic, "--to-earliest", "--execute"], b"");
    let mut command =
        broker.command(&["group", "watch", &group, "--every", "500ms", "--count", "40", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut looks = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&looks.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!((&first["lag"], &first["lag_change"]), (&0.into(), &Value::Null));
    assert_eq!((&first["partitions"], &first["state"]), (&2.into(), &"Empty".into()));
    broker.done(&["produce", &topic, "--partition", "0"], b"1\n2\n3\n");
    let grown = loop {
        let look = next();
        if look["lag"] == 3 {
            break look;
        }
    };
    assert!(grown["lag_change"].as_f64().unwrap() > 0.0, "{grown}");
    assert!(grown["behind_seconds"].as_f64().unwrap() < 20.0, "{grown}");
    child.kill().unwrap();
    child.wait().unwrap();
    let args = ["group", "watch", &group, "--every", "100ms", "--count", "2", "--partitions"];
    let text = broker.text(&args);
    assert_eq!(text.matches("LAG/S").count(), 2, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

/// A terminal of so many columns and lines: the side that a person sits at, and the side of a command.
fn terminal(columns: u16, lines: u16) -> (File, OwnedFd) {
    let size = libc::winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut person, mut command) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both numbers and the size outlive the call, and no name and no settings are asked for.
    let opened = unsafe { libc::openpty(&mut person, &mut command, null, null.cast(), &size) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call has just opened both, for nobody else.
    unsafe { (File::from_raw_fd(person), OwnedFd::from_raw_fd(command)) }
}

/// What stands on a terminal after `output`, and how often the cursor went up.
fn screen_of(output: &str) -> (Vec<String>, usize) {
    let (mut screen, mut row, mut ups) = (vec![String::new()], 0, 0);
    let mut rest = output.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => {}
            '\n' => {
                row += 1;
                screen.resize(screen.len().max(row + 1), String::new());
            }
            '\x1b' => {
                assert_eq!(rest.next(), Some('['));
                let order: String = rest.by_ref().take_while(|c| c.is_ascii_digit()).collect();
                // Behind the digits stands a letter, which was taken along; only "up" has digits.
                match order.parse::<usize>() {
                    Ok(lines) => {
                        ups += 1;
                        row = row.checked_sub(lines).expect("it stays on the screen");
                    }
                    Err(_) => {
                        screen.truncate(row + 1);
                        screen[row].clear();
                    }
                }
            }
            c => screen[row].push(c),
        }
    }
    (screen, ups)
}

#[test]
fn on_a_terminal_one_table_stays_in_its_place() {
    let broker = Groups::new("live");
    let topic = broker.create("t", "1");
    for group in ["a", "b"] {
        let group = broker.topic(group);
        let reset = ["group", "reset-offsets", &group, "--topic", &topic, "--to-earliest", "--execute"];
        broker.done(&reset, b"");
    }
    let (mut person, command_side) = terminal(60, 20);
    let pattern = broker.topic("[ab]");
    let mut command = broker.command(&["group", "watch", &pattern, "--every", "1s", "--count", "5"]);
    let child = command.stdout(command_side).stderr(Stdio::piped()).spawn().unwrap();
    // Its side of the terminal goes with the command.
    drop(command);
    let mut output = Vec::new();
    let mut bytes = [0; 4096];
    let mut produced = false;
    // Without another side the read fails.
    while let Ok(count @ 1..) = person.read(&mut bytes) {
        output.extend(&bytes[..count]);
        if !produced {
            broker.done(&["produce", &topic], b"1\n2\n3\n");
            produced = true;
        }
    }
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let output = String::from_utf8(output).unwrap();
    let (screen, ups) = screen_of(&output);
    assert_eq!(ups, 4, "each look but the first is painted over the one before");
    assert_eq!(output.matches("GROUP").count(), 5);
    // A time, the head, the two groups, and the line of the cursor.
    assert_eq!(screen.len(), 5, "{screen:#?}");
    assert!(screen[1].starts_with("GROUP"), "{screen:#?}");
    for (line, group) in screen[2..4].iter().zip(["a", "b"]) {
        assert!(line.starts_with(&broker.topic(group)), "{screen:#?}");
    }
    assert!(screen.iter().all(|line| line.chars().count() <= 60), "{screen:#?}");
}

#[test]
fn wrong_use_is_told_before_anything_is_asked() {
    let code = |args: &[&str]| Command::new(BINARY).args(args).output().unwrap().status.code();
    let reset = ["group", "reset-offsets", "g"];
    for more in [
        &["--all-topics"] as &[&str],
        &["--to-earliest"],
        &["--all-topics", "--to-earliest", "--to-latest"],
        &["--all-topics", "--topic", "t", "--to-latest"],
        &["--all-topics", "--to-offset", "-1"],
        &["--all-topics", "--to-time", "yesterday"],
        &["--all-topics", "--back", "5"],
        &["--topic", "t:0,x", "--to-latest"],
    ] {
        assert_eq!(code(&[&reset, more].concat()), Some(2), "{more:?}");
    }
    for args in [
        &["group", "describe"] as &[&str],
        &["group", "describe", "g", "--members", "--state"],
        &["group", "watch", "--every", "1ms"],
        &["group", "delete"],
        &["consume", "t", "--group", "g", "--partition", "1"],
        &["consume", "t", "--protocol", "classic"],
    ] {
        assert_eq!(code(args), Some(2), "{args:?}");
    }
    for command in ["list", "describe", "watch", "delete", "reset-offsets"] {
        let output = Command::new(BINARY).args(["group", command, "--help"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("  thalweg group {command} ")), "{text}");
    }
}
