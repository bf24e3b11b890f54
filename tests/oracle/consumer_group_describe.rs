//! ConsumerGroupDescribe: groups that are there, that are not, and several at once.

use serde_json::json;

use crate::cases::{Case, every};
use crate::consumer_group_heartbeat::{API as HEARTBEAT, beat, heard_of, join, with};

pub const API: &str = "ConsumerGroupDescribe";

pub const CASES: &[Case] = &[
    every("a group and its members", |pair, v| {
        pair.offsets_topic();
        let (one, two, group) = (pair.topic("t", 3, &[]), pair.topic("u", 2, &[]), pair.name("g"));
        heard_of(pair, &group, &one);
        heard_of(pair, &group, &two);
        let fields = [("rackId", json!("r")), ("instanceId", json!("i")), ("serverAssignor", json!("range"))];
        pair.prepare(HEARTBEAT, 1, with(join(&group, "a", &[&one, &two]), &fields));
        pair.prepare(HEARTBEAT, 1, join(&group, "b", &[&two]));
        for operations in [false, true] {
            pair.both(API, v, json!({"groupIds": [group], "includeAuthorizedOperations": operations}));
        }
        pair.prepare(HEARTBEAT, 1, beat(&group, "a", 1));
        pair.both(API, v, json!({"groupIds": [group]}));
        pair.prepare(HEARTBEAT, 1, with(beat(&group, "a", -2), &[("instanceId", json!("i"))]));
        pair.both(API, v, json!({"groupIds": [group]}));
    }),
    every("groups that are none, and several", |pair, v| {
        pair.offsets_topic();
        let (first, second) = (pair.name("g"), pair.name("h"));
        for group in [&first, &second] {
            pair.prepare(HEARTBEAT, 1, join(group, "a", &["nowhere"]));
        }
        pair.both(API, v, json!({"groupIds": []}));
        pair.both(API, v, json!({"groupIds": [""], "includeAuthorizedOperations": true}));
        pair.both(API, v, json!({"groupIds": ["no such group"], "includeAuthorizedOperations": true}));
        pair.both(API, v, json!({"groupIds": [first, "no such group", second, ""]}));
        pair.prepare(HEARTBEAT, 1, beat(&first, "a", -1));
        pair.both(API, v, json!({"groupIds": [first]}));
    }),
];
