//! DeleteGroups: with and without members, with offsets, twice, and those that are not there.

use serde_json::json;

use crate::cases::{Case, every};
use crate::consumer_group_heartbeat::{API as HEARTBEAT, beat, heard_of, join as subscribe, with};
use crate::members::{alone, id_of, join, joining, leave};

pub const API: &str = "DeleteGroups";

pub const CASES: &[Case] = &[
    every("a group that had members", |pair, v| {
        let group = pair.group("g");
        alone(pair, &group);
        pair.both(API, v, json!({"groupsNames": [group]}));
        leave(pair, &group, "a");
        pair.both(API, v, json!({"groupsNames": [group]}));
        pair.both(API, v, json!({"groupsNames": [group]}));
        pair.both("DescribeGroups", 6, json!({"groups": [group]}));
    }),
    every("a group that has given out an id", |pair, v| {
        let group = pair.group("g");
        join(pair, 9, 0, "a", joining(&group, ""));
        pair.both(API, v, json!({"groupsNames": [group]}));
        join(pair, 9, 0, "a", joining(&group, &id_of("a")));
    }),
    every("a group of offsets alone", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let group = pair.group("g");
        let lines = json!([{"partitionIndex": 0, "committedOffset": 1, "committedMetadata": null}]);
        pair.both(
            "OffsetCommit",
            7,
            json!({"groupId": group, "generationIdOrMemberEpoch": -1, "memberId": "",
                   "topics": [{"name": topic, "partitions": lines}]}),
        );
        pair.both(API, v, json!({"groupsNames": [group]}));
        pair.both("OffsetFetch", 7, json!({"groupId": group, "topics": null}));
        pair.both(API, v, json!({"groupsNames": [group]}));
    }),
    every("a consumer group", |pair, v| {
        pair.offsets_topic();
        let (topic, group, classic) = (pair.topic("t", 2, &[]), pair.name("g"), pair.group("h"));
        heard_of(pair, &group, &topic);
        pair.prepare(HEARTBEAT, 1, subscribe(&group, "a", &[&topic]));
        let lines = json!([{"partitionIndex": 0, "committedOffset": 1, "committedMetadata": null}]);
        pair.both(
            "OffsetCommit",
            9,
            json!({"groupId": group, "generationIdOrMemberEpoch": 1, "memberId": "a",
                   "topics": [{"name": topic, "partitions": lines}]}),
        );
        pair.both(API, v, json!({"groupsNames": [group]}));
        pair.both(HEARTBEAT, 1, beat(&group, "a", -1));
        alone(pair, &classic);
        pair.both(API, v, json!({"groupsNames": [classic, group, "none"]}));
        pair.both("OffsetFetch", 7, json!({"groupId": group, "topics": null}));
        pair.both("ConsumerGroupDescribe", 1, json!({"groupIds": [group]}));
        pair.both(API, v, json!({"groupsNames": [group]}));
        // One whose static member is away for a while is not empty.
        let fixed = |request| with(request, &[("instanceId", json!("i"))]);
        pair.both(HEARTBEAT, 1, fixed(subscribe(&group, "b", &[&topic])));
        pair.both(HEARTBEAT, 1, fixed(beat(&group, "b", -2)));
        pair.both(API, v, json!({"groupsNames": [group]}));
        pair.both(HEARTBEAT, 1, fixed(subscribe(&group, "c", &[&topic])));
    }),
    every("groups that are not there", |pair, v| {
        let group = pair.group("g");
        pair.both(API, v, json!({"groupsNames": []}));
        pair.both(API, v, json!({"groupsNames": [""]}));
        pair.both(API, v, json!({"groupsNames": [group, "", group, "other"]}));
    }),
];
