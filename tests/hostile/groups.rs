//! Groups that grow without end: members, names, subscriptions and expressions in a loop, all to one coordinator.
//! It keeps what its bounds allow, refuses the rest by Kafka's codes, and serves an honest group meanwhile.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::Connection;
use crate::harness::schema::{hex, message};
use crate::scene::{MIB, Scene, at};

const UNKNOWN_SERVER_ERROR: i64 = -1;
const COORDINATOR_NOT_AVAILABLE: i64 = 15;
const REBALANCE_IN_PROGRESS: i64 = 27;
const INVALID_REQUEST: i64 = 42;
const MEMBER_ID_REQUIRED: i64 = 79;
const GROUP_MAX_SIZE_REACHED: i64 = 81;

/// What a coordinator may keep here by `group/bounds.rs`: ids that were given out, names of groups, the members of
/// one group.
const KEPT: u64 = (32 + 64 + 48) * MIB;
/// What is on its way besides: a group as its leader is told it or as it is written again, as records, as bytes,
/// and in a batch; and what the broker takes anyway.
const ON_ITS_WAY: u64 = 3 * 48 * MIB + 64 * MIB;

/// One coordinator for all, which tells rounds at once.
const OPTIONS: [&str; 2] = ["offsets.topic.num.partitions=1", "group.initial.rebalance.delay.ms=0"];
/// No loop asks more often.
const ASKS_MAX: usize = 5_000;
const JOINS_MAX: usize = 200_000;
/// Other clients' requests may take this long meanwhile.
const WAIT_P99: Duration = Duration::from_millis(150);

/// A group that works while others do not: a member beats, commits and reads back what it committed.
struct Honest {
    end: Arc<AtomicBool>,
    runs: JoinHandle<usize>,
}

impl Honest {
    fn begin(scene: &Scene) -> Honest {
        let end = Arc::new(AtomicBool::new(false));
        let mut member = scene.connect();
        let id = joins_honestly(&mut member);
        let ends = end.clone();
        Honest { end, runs: thread::spawn(move || works(member, &id, &ends)) }
    }

    fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        let rounds = self.runs.join().expect("the honest group goes on");
        assert!(rounds > 10, "the honest group got no further than {rounds} rounds");
    }
}

/// Joins and synchronises; the member's id. Waits for the coordinator to be there.
fn joins_honestly(member: &mut Connection) -> String {
    let began = Instant::now();
    let find = json!({"keyType": 0, "coordinatorKeys": ["honest"]});
    let id = loop {
        member.call("FindCoordinator", 4, &find).body();
        let asked = member.call("JoinGroup", 9, &joining("honest", "", 10)).body();
        match error(&asked) {
            MEMBER_ID_REQUIRED => break asked["memberId"].as_str().expect("an id").to_owned(),
            _ => assert!(began.elapsed() < Duration::from_secs(10), "no coordinator: {asked}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    let joined = member.call("JoinGroup", 9, &joining("honest", &id, 10)).body();
    assert_eq!((error(&joined), &joined["generationId"]), (0, &json!(1)), "{joined}");
    let sync = json!({"groupId": "honest", "generationId": 1, "memberId": id, "protocolType": "consumer",
        "protocolName": "range", "assignments": [{"memberId": id, "assignment": "0a0b"}]});
    assert_eq!(error(&member.call("SyncGroup", 5, &sync).body()), 0);
    id
}

fn works(mut member: Connection, id: &str, end: &AtomicBool) -> usize {
    let beat = json!({"groupId": "honest", "generationId": 1, "memberId": id});
    let asked = json!({"groups": [{"groupId": "honest", "memberEpoch": -1,
        "topics": [{"name": "bystander", "partitionIndexes": [0]}]}]});
    let mut rounds = 0;
    while !end.load(Ordering::Relaxed) {
        rounds += 1;
        let heard = member.call("Heartbeat", 4, &beat).body();
        assert_eq!(error(&heard), 0, "round {rounds}");
        let commit = json!({"groupId": "honest", "generationIdOrMemberEpoch": 1, "memberId": id, "topics": [
            {"name": "bystander", "partitions": [{"partitionIndex": 0, "committedOffset": rounds}]}]});
        let committed = member.call("OffsetCommit", 8, &commit).body();
        assert_eq!(committed["topics"][0]["partitions"][0]["errorCode"], 0, "round {rounds}: {committed}");
        let found = member.call("OffsetFetch", 8, &asked).body();
        let found = &found["groups"][0]["topics"][0]["partitions"][0]["committedOffset"];
        assert_eq!(*found, json!(rounds), "nothing is lost");
        thread::sleep(Duration::from_millis(5));
    }
    rounds
}

fn error(answer: &Value) -> i64 {
    answer["errorCode"].as_i64().expect("an error code")
}

/// A JoinGroup whose metadata is `bytes` long. No session ends meanwhile.
fn joining(group: &str, member: &str, bytes: usize) -> Value {
    json!({"groupId": group, "sessionTimeoutMs": 300_000, "rebalanceTimeoutMs": 2_000, "memberId": member,
        "protocolType": "consumer", "protocols": [{"name": "range", "metadata": hex(&vec![0; bytes])}]})
}

/// Asks until the answer has another code than `first`; that code, and how many had the first.
fn ask_until(first: i64, mut ask: impl FnMut(usize) -> i64) -> (i64, usize) {
    for at in 0..ASKS_MAX {
        let code = ask(at);
        if code != first {
            return (code, at);
        }
    }
    panic!("{ASKS_MAX} requests are answered {first}");
}

/// Joins, `at_once` together, until one is answered another code than `first`; that code, and how many had the
/// first. The client's name is as long as one is kept: ids that are given out begin with it.
fn join_until(
    first: i64,
    at_once: usize,
    connection: &mut Connection,
    request: impl Fn(usize) -> Value,
) -> (i64, usize) {
    let api = message("JoinGroup");
    for begin in (0..JOINS_MAX).step_by(at_once) {
        let mut frames = Vec::new();
        for at in begin..begin + at_once {
            let mut frame = [api.request.key.to_be_bytes(), 9i16.to_be_bytes()].concat();
            frame.extend((at as i32).to_be_bytes());
            frame.extend(256i16.to_be_bytes());
            frame.extend([b'c'; 256]);
            // A flexible header without tags.
            frame.push(0);
            frame.extend(api.request.encode(9, &request(at)));
            frames.extend((frame.len() as i32).to_be_bytes());
            frames.extend(frame);
        }
        connection.stream.write_all(&frames).expect("the broker reads");
        let answers = (begin..begin + at_once).map(|at| connection.answer(api, 9, at as i32).body());
        let codes: Vec<i64> = answers.map(|answer| error(&answer)).collect();
        if let Some(at) = codes.iter().position(|code| *code != first) {
            return (codes[at], begin + at);
        }
    }
    panic!("{JOINS_MAX} joins are answered {first}");
}

#[test]
fn classic_groups_grow_to_their_bounds() {
    let scene = Scene::new("classic-groups", &OPTIONS);
    let honest = Honest::begin(&scene);
    let mut loose = scene.connect();
    let long = "n".repeat(30_000);
    let join = message("JoinGroup");

    // An id that no record could hold.
    let mut fixed = joining("fixed", "", 10);
    fixed["groupInstanceId"] = json!("i".repeat(32_731));
    assert_eq!(error(&loose.call("JoinGroup", 9, &fixed).body()), INVALID_REQUEST);

    // An assignment that is no record.
    let joined = loose.call("JoinGroup", 3, &joining("assigned", "", 10)).body();
    let beat = json!({"groupId": "assigned", "generationId": 1, "memberId": joined["memberId"]});
    assert_eq!(error(&loose.call("Heartbeat", 3, &beat).body()), 0);
    let mut sync = beat.clone();
    sync["assignments"] = json!([{"memberId": joined["memberId"], "assignment": hex(&vec![0; 2 << 20])}]);
    assert_eq!(error(&loose.call("SyncGroup", 3, &sync).body()), UNKNOWN_SERVER_ERROR);
    assert_eq!(error(&loose.call("Heartbeat", 3, &beat).body()), REBALANCE_IN_PROGRESS);

    // Ever new ids in one group, then in many.
    let (code, given) = join_until(MEMBER_ID_REQUIRED, 250, &mut loose, |_| joining("ids", "", 10));
    assert_eq!(code, GROUP_MAX_SIZE_REACHED, "after {given} ids");
    let (code, given) =
        join_until(MEMBER_ID_REQUIRED, 250, &mut loose, |at| joining(&format!("ids-{}", at % 100), "", 10));
    assert_eq!(code, COORDINATOR_NOT_AVAILABLE, "after {given} more ids");

    // Members that never synchronise, in ever new groups.
    let (code, made) = join_until(0, 50, &mut loose, |at| {
        let mut request = joining(&format!("{long}{at}"), "", 10);
        request["groupInstanceId"] = json!("i");
        request
    });
    assert_eq!(code, COORDINATOR_NOT_AVAILABLE, "after {made} groups");

    // Large members in a group that there is; the round is told when its time is over.
    let request = join.request.encode(3, &joining("ids", "", 1 << 20));
    let mut large: Vec<Connection> = (0..60).map(|_| scene.connect()).collect();
    for client in &mut large {
        client.send_body(join, 3, &request).expect("the broker reads");
    }
    let mut counts = [0, 0];
    for client in &mut large {
        // The leader is told all that they say: only the code is looked at, behind correlation id and throttle time.
        let answer = client.read_frame().expect("an answer").expect("an answer");
        match i64::from(i16::from_be_bytes([answer[8], answer[9]])) {
            0 => counts[0] += 1,
            GROUP_MAX_SIZE_REACHED => counts[1] += 1,
            code => panic!("a large member is answered {code}"),
        }
    }
    let [joined, refused] = counts;
    assert!(joined >= 40 && refused > 0, "{joined} members of a mebibyte, {refused} refused");
    honest.end();
    let waits = scene.calm(KEPT + ON_ITS_WAY);
    assert!(at(&waits, 0.99) < WAIT_P99, "p99 is {:?}", at(&waits, 0.99));
}

/// The first heartbeat of a member.
fn coming(group: &str, member: &str) -> Value {
    json!({"groupId": group, "memberId": member, "memberEpoch": 0, "rebalanceTimeoutMs": 60_000,
        "subscribedTopicNames": ["bystander"], "topicPartitions": []})
}

#[test]
fn consumer_groups_grow_to_their_bounds() {
    let scene = Scene::new("consumer-groups", &OPTIONS);
    let honest = Honest::begin(&scene);
    let mut loose = scene.connect();
    let mut ask = |request: &Value| error(&loose.call("ConsumerGroupHeartbeat", 1, request).body());
    let long = "n".repeat(30_000);

    // One member with a subscription that is no record.
    let mut wide = coming("wide", "m");
    wide["subscribedTopicNames"] = (0..50).map(|at| json!(format!("{long}{at}"))).collect();
    assert_eq!(ask(&wide), UNKNOWN_SERVER_ERROR);

    // Ever new members, each with a subscription of its own.
    let (code, kept) = ask_until(0, |at| {
        let mut request = coming("members", &format!("m{at}"));
        let own = |name| json!(format!("{long}{at}-{name}"));
        request["subscribedTopicNames"] = (0..30).map(own).collect();
        ask(&request)
    });
    assert_eq!(code, GROUP_MAX_SIZE_REACHED, "after {kept} members");
    assert!((45..60).contains(&kept), "{kept} members of 900 kB");

    // Ever new expressions.
    let (code, kept) = ask_until(0, |at| {
        let mut request = coming("expressions", &format!("m{at}"));
        request["subscribedTopicNames"] = json!(null);
        request["subscribedTopicRegex"] = json!(format!("bystander{{{at}}}"));
        ask(&request)
    });
    assert_eq!((code, kept), (GROUP_MAX_SIZE_REACHED, 256));

    // Ever new groups.
    let (code, made) = ask_until(0, |at| ask(&coming(&format!("{long}{at}"), "m")));
    assert_eq!(code, COORDINATOR_NOT_AVAILABLE, "after {made} groups");
    // Those that are there go on.
    assert_eq!(ask(&coming("expressions", "another")), 0);
    honest.end();
    let waits = scene.calm(KEPT + ON_ITS_WAY);
    assert!(at(&waits, 0.99) < WAIT_P99, "p99 is {:?}", at(&waits, 0.99));
}
