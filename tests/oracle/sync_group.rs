//! SyncGroup: the leader assigns, followers wait, and every way to be refused.

use serde_json::{Value, json};

use crate::cases::{Case, every, versions};
use crate::members::{
    OTHER_SUBSCRIPTION, alone, beating, come, fixed, id_of, join, joined_by_two, joining, leave, syncing,
};

pub const API: &str = "SyncGroup";

pub const CASES: &[Case] = &[
    every("a leader and a follower", |pair, v| {
        let group = pair.group("g");
        joined_by_two(pair, &group);
        pair.speak_as(1);
        let waits = pair.send(API, v, syncing(&group, "b", 2, &[("b", "dddd")]));
        pair.speak_as(0);
        pair.both(API, v, syncing(&group, "a", 2, &[("a", "aaaa"), ("b", "bbbb"), ("nobody", "cc")]));
        pair.answered(waits, "b");
        // Both may ask again.
        pair.both(API, v, syncing(&group, "b", 2, &[]));
        pair.speak_as(0);
        pair.both(API, v, syncing(&group, "a", 2, &[("a", "cccc")]));
        pair.both("DescribeGroups", 5, json!({"groups": [group]}));
    }),
    every("a leader that assigns nothing", |pair, v| {
        let group = pair.group("g");
        joined_by_two(pair, &group);
        pair.both(API, v, syncing(&group, "a", 2, &[]));
        pair.both(API, v, syncing(&group, "b", 2, &[]));
    }),
    every("refusals", |pair, v| {
        let group = pair.group("g");
        pair.both(API, v, syncing(&group, "a", 1, &[]));
        pair.both(API, v, syncing("", "a", 1, &[]));
        let sent = come(pair, 9, 0, "a", joining(&group, ""));
        pair.answered(sent, "a");
        for generation in [0, 2, -1] {
            pair.both(API, v, syncing(&group, "a", generation, &[]));
        }
        pair.both(API, v, syncing(&group, "nobody", 1, &[]));
        let but = |name: &str, value: Value| {
            let mut tree = syncing(&group, "a", 1, &[]);
            tree[name] = value;
            tree
        };
        if v >= 3 {
            pair.both(API, v, but("groupInstanceId", json!("i")));
        }
        if v >= 5 {
            for (name, value) in [
                ("protocolType", json!(null)),
                ("protocolName", json!(null)),
                ("protocolType", json!("connect")),
                ("protocolName", json!("other")),
                ("protocolType", json!("")),
            ] {
                pair.both(API, v, but(name, value));
            }
        }
        pair.both(API, v, syncing(&group, "a", 1, &[]));
        leave(pair, &group, "a");
        pair.both(API, v, syncing(&group, "a", 1, &[]));
    }),
    every("while members join", |pair, v| {
        let group = pair.group("g");
        joined_by_two(pair, &group);
        // Who waits for its assignment is to join anew.
        pair.speak_as(1);
        let waits = pair.send(API, v, syncing(&group, "b", 2, &[]));
        pair.speak_as(0);
        pair.both("Heartbeat", 4, beating(&group, "a", 2));
        let mut changed = joining(&group, &id_of("a"));
        changed["protocols"][0]["metadata"] = json!(OTHER_SUBSCRIPTION);
        let a = pair.send("JoinGroup", 9, changed);
        pair.answered(waits, "b");
        pair.both(API, v, syncing(&group, "b", 2, &[]));
        leave(pair, &group, "b");
        pair.answered(a, "a");
    }),
    versions(3, i16::MAX, "a static member", |pair, v| {
        let group = pair.group("g");
        join(pair, 9, 0, "a", fixed(&group, "", "i"));
        let by = |member: &str, instance: &str| {
            let mut tree = syncing(&group, member, 1, &[("a", "aa")]);
            tree["groupInstanceId"] = json!(instance);
            tree
        };
        pair.both(API, v, by("nobody", "i"));
        pair.both(API, v, by("a", "j"));
        pair.both(API, v, by("a", "i"));
        join(pair, 9, 0, "a2", fixed(&group, "", "i"));
        pair.both(API, v, by("a", "i"));
        pair.both(API, v, by("a2", "i"));
    }),
    every("a group that is stable", |pair, v| {
        let group = pair.group("g");
        alone(pair, &group);
        pair.both(API, v, syncing(&group, "a", 1, &[]));
    }),
];
