//! DescribeGroups: each state, groups that are not there, and what may be done with them.

use serde_json::json;

use crate::cases::{Case, every, versions};
use crate::consumer_group_heartbeat::{API as HEARTBEAT, beat, heard_of, join as subscribe};
use crate::members::{alone, beating, come, fixed, join, joined_by_two, joining, leave, stable_of_two};

pub const API: &str = "DescribeGroups";

pub const CASES: &[Case] = &[
    every("in each state", |pair, v| {
        let group = pair.group("g");
        let ask = json!({"groups": [group]});
        pair.both(API, v, ask.clone());
        join(pair, 9, 0, "early", joining(&group, ""));
        // Kafka answers before the new group is committed.
        pair.settles(API, v, ask.clone());
        leave(pair, &group, "early");
        joined_by_two(pair, &group);
        pair.both(API, v, ask.clone());
        let stable = pair.group("h");
        stable_of_two(pair, &stable);
        pair.both(API, v, json!({"groups": [stable]}));
        let sent = come(pair, 9, 2, "c", joining(&stable, ""));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&stable, "a", 2), 27);
        pair.both(API, v, json!({"groups": [stable]}));
        leave(pair, &stable, "a");
        leave(pair, &stable, "b");
        pair.answered(sent, "c");
        leave(pair, &stable, "c");
        pair.both(API, v, json!({"groups": [stable]}));
    }),
    every("a static member", |pair, v| {
        let group = pair.group("g");
        join(pair, 9, 0, "a", fixed(&group, "", "i"));
        pair.settles(API, v, json!({"groups": [group]}));
    }),
    every("a consumer group", |pair, v| {
        pair.offsets_topic();
        let (topic, group, classic) = (pair.topic("t", 2, &[]), pair.name("g"), pair.group("h"));
        heard_of(pair, &group, &topic);
        alone(pair, &classic);
        pair.prepare(HEARTBEAT, 1, subscribe(&group, "a", &[&topic]));
        for include in [false, true] {
            pair.both(API, v, json!({"groups": [group], "includeAuthorizedOperations": include && v >= 3}));
            pair.both(
                API,
                v,
                json!({"groups": [classic, group, "none"], "includeAuthorizedOperations": include && v >= 3}),
            );
        }
        pair.prepare(HEARTBEAT, 1, beat(&group, "a", -1));
        pair.both(API, v, json!({"groups": [group]}));
    }),
    every("groups that are not there", |pair, v| {
        let group = pair.group("g");
        pair.both(API, v, json!({"groups": []}));
        pair.both(API, v, json!({"groups": [""]}));
        pair.both(API, v, json!({"groups": [group, "", group, "other"]}));
    }),
    versions(3, i16::MAX, "what may be done", |pair, v| {
        let group = pair.group("g");
        alone(pair, &group);
        for include in [true, false] {
            pair.both(API, v, json!({"groups": [group, "other"], "includeAuthorizedOperations": include}));
        }
    }),
];
