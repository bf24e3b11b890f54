//! ListGroups: by state and type. Only the groups of a case are compared: those of others come and go.

use serde_json::{Value, json};

use crate::cases::{Case, every, versions};
use crate::consumer_group_heartbeat::{API as HEARTBEAT, beat, heard_of, join as subscribe};
use crate::members::{alone, join, joined_by_two, joining};
use crate::pair::Pair;

pub const API: &str = "ListGroups";

/// Kafka answers a join before the new group is committed, and does not list it until then.
fn listed(pair: &mut Pair, version: i16, tree: Value) {
    let prefix = pair.name("");
    let own = |answer: &Value| {
        let mut answer = answer.clone();
        let groups = answer["groups"].as_array_mut().expect("groups");
        groups.retain(|group| group["groupId"].as_str().is_some_and(|id| id.starts_with(&prefix)));
        answer
    };
    pair.settles_by(|pair| {
        let answers = pair.prepare(API, version, tree.clone());
        pair.compared_as(API, version, answers.each_ref().map(own));
    });
}

fn groups(pair: &mut Pair) {
    for (part, make) in [("alone", alone as fn(&mut Pair, &str)), ("joined", joined_by_two)] {
        let group = pair.group(part);
        make(pair, &group);
    }
    let empty = pair.group("empty");
    join(pair, 9, 0, "x", joining(&empty, ""));
    let topic = pair.topic("t", 1, &[]);
    let simple = pair.group("simple");
    let lines = json!([{"partitionIndex": 0, "committedOffset": 1, "committedMetadata": null}]);
    pair.both(
        "OffsetCommit",
        7,
        json!({"groupId": simple, "generationIdOrMemberEpoch": -1, "memberId": "",
               "topics": [{"name": topic, "partitions": lines}]}),
    );
}

pub const CASES: &[Case] = &[
    every("all", |pair, v| {
        listed(pair, v, json!({}));
        groups(pair);
        listed(pair, v, json!({}));
    }),
    versions(4, i16::MAX, "by state", |pair, v| {
        groups(pair);
        for states in [
            json!(["Stable"]),
            json!(["stable"]),
            json!([" EMPTY ", "Dead"]),
            json!(["CompletingRebalance", "PreparingRebalance"]),
            json!(["unheard-of"]),
            json!([""]),
            json!([]),
        ] {
            listed(pair, v, json!({"statesFilter": states}));
        }
    }),
    versions(5, i16::MAX, "by type", |pair, v| {
        groups(pair);
        for types in [
            json!(["classic"]),
            json!(["Classic", "Consumer"]),
            json!(["consumer"]),
            json!(["share", "streams"]),
            json!([" classic"]),
            json!(["unheard-of"]),
            json!([]),
        ] {
            listed(pair, v, json!({"typesFilter": types}));
            listed(pair, v, json!({"statesFilter": ["empty"], "typesFilter": types}));
        }
    }),
    versions(4, i16::MAX, "consumer groups by state", |pair, v| {
        pair.offsets_topic();
        let topic = pair.topic("read", 2, &[]);
        for (state, left) in
            [("empty", &["a"][..]), ("stable", &[]), ("reconciling", &[]), ("assigning", &["b"])]
        {
            let group = pair.name(state);
            heard_of(pair, &group, &topic);
            pair.both(HEARTBEAT, 1, subscribe(&group, "a", &[&topic]));
            // What is assigned to a second one is not given up yet.
            if ["reconciling", "assigning"].contains(&state) {
                pair.both(HEARTBEAT, 1, subscribe(&group, "b", &[&topic]));
            }
            for member in left {
                pair.both(HEARTBEAT, 1, beat(&group, member, -1));
            }
            pair.both("ConsumerGroupDescribe", 1, json!({"groupIds": [group]}));
        }
        groups(pair);
        for states in [
            json!(["Assigning"]),
            json!(["reconciling"]),
            json!(["ASSIGNING", " Reconciling"]),
            json!(["Stable"]),
            json!(["Empty"]),
            json!(["Dead", "PreparingRebalance"]),
            json!([]),
        ] {
            listed(pair, v, json!({"statesFilter": states}));
            for types in [json!(["consumer"]), json!(["classic"])] {
                listed(
                    pair,
                    v,
                    json!({"statesFilter": states, "typesFilter": if v >= 5 { types } else { json!([]) }}),
                );
            }
        }
    }),
];
