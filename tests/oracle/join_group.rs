//! JoinGroup: alone, with others, static, and every way to be refused.

use serde_json::json;

use crate::cases::{Case, every, newest, versions};
use crate::members::{
    JOIN, OTHER_SUBSCRIPTION, alone, beating, come, fixed, id_of, join, joined_by_two, joining, leave,
    protocols, stable_of_two, syncing,
};

pub const API: &str = "JoinGroup";

pub const CASES: &[Case] = &[
    every("a member alone", |pair, v| {
        let group = pair.group("g");
        let sent = come(pair, v, 0, "a", joining(&group, ""));
        pair.answered(sent, "a");
        // It may have missed the answer.
        join(pair, v, 0, "a", joining(&group, &id_of("a")));
        pair.both("SyncGroup", 5, syncing(&group, "a", 1, &[("a", "aa")]));
        // A leader that joins again begins a round.
        join(pair, v, 0, "a", joining(&group, &id_of("a")));
        pair.both("DescribeGroups", 5, json!({"groups": [group]}));
        leave(pair, &group, "a");
        // Nobody has the id any more.
        join(pair, v, 0, "a", joining(&group, &id_of("a")));
    }),
    every("two members", |pair, v| {
        let group = pair.group("g");
        let a = come(pair, v, 0, "a", joining(&group, ""));
        pair.answered(a, "a");
        pair.both("SyncGroup", 5, syncing(&group, "a", 1, &[]));
        let b = come(pair, v, 1, "b", joining(&group, ""));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 1), 27);
        let a = pair.send(API, v, joining(&group, &id_of("a")));
        pair.answered(b, "b");
        pair.answered(a, "a");
        // A follower that says nothing new is told again, before and after the group is stable.
        join(pair, v, 1, "b", joining(&group, &id_of("b")));
        pair.speak_as(0);
        pair.both("SyncGroup", 5, syncing(&group, "a", 2, &[("b", "bb")]));
        join(pair, v, 1, "b", joining(&group, &id_of("b")));
        // One that says something new begins a round.
        let mut changed = joining(&group, &id_of("b"));
        changed["protocols"][0]["metadata"] = json!(OTHER_SUBSCRIPTION);
        let b = pair.send(API, v, changed);
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 2), 27);
        let a = pair.send(API, v, joining(&group, &id_of("a")));
        pair.answered(b, "b");
        pair.answered(a, "a");
    }),
    every("the protocol that most prefer", |pair, v| {
        let group = pair.group("g");
        let of = |id: &str, names: &[&str]| {
            let mut tree = joining(&group, id);
            tree["protocols"] = protocols(names);
            tree
        };
        let a = come(pair, v, 0, "a", of("", &["mine", "x", "y"]));
        pair.answered(a, "a");
        let b = come(pair, v, 1, "b", of("", &["y", "x"]));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 1), 27);
        let a = pair.send(API, v, of(&id_of("a"), &["y", "x"]));
        pair.answered(b, "b");
        pair.answered(a, "a");
    }),
    every("refusals", |pair, v| {
        let group = pair.group("g");
        join(pair, v, 0, "a", joining("", ""));
        join(pair, v, 0, "a", joining("", "who"));
        join(pair, v, 0, "a", joining(&group, "who"));
        for session_ms in [0, 5999, 1_800_001, -1] {
            let mut tree = joining(&group, "who");
            tree["sessionTimeoutMs"] = json!(session_ms);
            join(pair, v, 0, "a", tree);
        }
        // The group is made all the same. Kafka answers before that is committed.
        let mut tree = joining(&group, "");
        tree["protocols"] = json!([]);
        join(pair, v, 0, "a", tree);
        pair.settles("DescribeGroups", 6, json!({"groups": [group]}));
        let mut tree = joining(&group, "");
        tree["protocolType"] = json!("");
        join(pair, v, 0, "a", tree);
        let a = come(pair, v, 0, "a", joining(&group, ""));
        pair.answered(a, "a");
        for id in ["".to_owned(), id_of("a"), "who".to_owned()] {
            let mut tree = joining(&group, &id);
            tree["protocolType"] = json!("connect");
            join(pair, v, 0, "b", tree);
            let mut tree = joining(&group, &id);
            tree["protocols"] = protocols(&["other"]);
            join(pair, v, 0, "b", tree);
        }
        join(pair, v, 0, "a", joining(&group, "who"));
    }),
    versions(5, i16::MAX, "a static member", |pair, v| {
        let group = pair.group("g");
        join(pair, v, 0, "a", fixed(&group, "", "i"));
        pair.both("SyncGroup", 5, syncing(&group, "a", 1, &[("a", "aa")]));
        // It comes back without its id: nobody joins anew.
        join(pair, v, 0, "a2", fixed(&group, "", "i"));
        pair.both("DescribeGroups", 5, json!({"groups": [group]}));
        pair.both("SyncGroup", 5, syncing(&group, "a2", 1, &[]));
        // The old id is fenced, and other instances are not known.
        join(pair, v, 0, "x", fixed(&group, &id_of("a"), "i"));
        join(pair, v, 0, "x", fixed(&group, &id_of("a2"), "j"));
        join(pair, v, 0, "x", fixed(&group, "who", "i"));
        join(pair, v, 0, "x", joining(&group, &id_of("a")));
        join(pair, v, 0, "a2", fixed(&group, &id_of("a2"), "i"));
    }),
    versions(5, i16::MAX, "a static follower", |pair, v| {
        let group = pair.group("g");
        alone(pair, &group);
        pair.speak_as(1);
        let b = pair.send(API, v, fixed(&group, "", "i"));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 1), 27);
        let a = pair.send(API, v, joining(&group, &id_of("a")));
        pair.answered(b, "b");
        pair.answered(a, "a");
        // While the leader assigns, one that comes back begins a round.
        pair.speak_as(1);
        let b = pair.send(API, v, fixed(&group, "", "i"));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 2), 27);
        let a = pair.send(API, v, joining(&group, &id_of("a")));
        pair.answered(b, "b2");
        pair.answered(a, "a");
        pair.speak_as(0);
        pair.both("SyncGroup", 5, syncing(&group, "a", 3, &[("b2", "bb")]));
        join(pair, v, 1, "b3", fixed(&group, "", "i"));
        pair.both("SyncGroup", 5, syncing(&group, "b3", 3, &[]));
    }),
    newest("whoever waits under an old id is fenced", |pair, v| {
        let group = pair.group("g");
        alone(pair, &group);
        pair.speak_as(1);
        let waits = pair.send(API, v, fixed(&group, "", "i"));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 1), 27);
        pair.speak_as(2);
        let comes_back = pair.send(API, v, fixed(&group, "", "i"));
        pair.answered(waits, "b");
        pair.speak_as(0);
        let a = pair.send(API, v, joining(&group, &id_of("a")));
        pair.answered(comes_back, "b2");
        pair.answered(a, "a");
    }),
    newest("a member that leaves while others wait", |pair, v| {
        let group = pair.group("g");
        joined_by_two(pair, &group);
        pair.speak_as(1);
        let mut changed = joining(&group, &id_of("b"));
        changed["protocols"][0]["metadata"] = json!(OTHER_SUBSCRIPTION);
        let b = pair.send(API, JOIN, changed);
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 2), 27);
        leave(pair, &group, "a");
        pair.answered(b, "b");
        pair.both("DescribeGroups", 5, json!({"groups": [group]}));
        // Whoever waits and is made to leave is told.
        let group = pair.group("h");
        stable_of_two(pair, &group);
        let a = pair.send(API, v, joining(&group, &id_of("a")));
        pair.speak_as(1);
        pair.until("Heartbeat", 4, beating(&group, "b", 2), 27);
        leave(pair, &group, "a");
        pair.answered(a, "a");
    }),
];
