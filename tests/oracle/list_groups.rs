//! ListGroups: by state and type. Only the groups of a case are compared: those of others come and go.

use serde_json::{Value, json};

use crate::cases::{Case, every, versions};
use crate::members::{alone, join, joined_by_two, joining};
use crate::pair::Pair;

pub const API: &str = "ListGroups";

fn listed(pair: &mut Pair, version: i16, tree: Value) {
    let prefix = pair.name("");
    let own = |answer: &Value| {
        let mut answer = answer.clone();
        let groups = answer["groups"].as_array_mut().expect("groups");
        groups.retain(|group| group["groupId"].as_str().is_some_and(|id| id.starts_with(&prefix)));
        answer
    };
    let answers = pair.prepare(API, version, tree);
    pair.compared_as(API, version, answers.each_ref().map(own));
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
];
