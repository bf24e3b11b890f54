//! LeaveGroup: one member, several, by instance, and those who are not there.

use serde_json::json;

use crate::cases::{Case, every, versions};
use crate::members::{alone, beating, fixed, id_of, join, joining, leaving, stable_of_two};

pub const API: &str = "LeaveGroup";

pub const CASES: &[Case] = &[
    every("one member", |pair, v| {
        let group = pair.group("g");
        let a = json!([{"memberId": id_of("a"), "reason": "done"}]);
        pair.both(API, v, leaving("", a.clone()));
        pair.both(API, v, leaving(&group, a.clone()));
        alone(pair, &group);
        pair.both(API, v, leaving(&group, json!([{"memberId": "nobody"}])));
        pair.both(API, v, leaving(&group, json!([{"memberId": ""}])));
        pair.both("Heartbeat", 4, beating(&group, "a", 1));
        pair.both(API, v, leaving(&group, a.clone()));
        pair.both("DescribeGroups", 6, json!({"groups": [group]}));
        pair.both(API, v, leaving(&group, a));
    }),
    every("one of two", |pair, v| {
        let group = pair.group("g");
        stable_of_two(pair, &group);
        pair.both(API, v, leaving(&group, json!([{"memberId": id_of("a")}])));
        pair.both("Heartbeat", 4, beating(&group, "b", 2));
        join(pair, 9, 1, "b", joining(&group, &id_of("b")));
    }),
    every("an id that has not joined", |pair, v| {
        let group = pair.group("g");
        join(pair, 9, 0, "a", joining(&group, ""));
        for _ in 0..2 {
            pair.both(API, v, leaving(&group, json!([{"memberId": id_of("a")}])));
        }
        join(pair, 9, 0, "a", joining(&group, &id_of("a")));
    }),
    versions(3, i16::MAX, "several members", |pair, v| {
        let group = pair.group("g");
        stable_of_two(pair, &group);
        let members = json!([
            {"memberId": id_of("a")}, {"memberId": "nobody"}, {"memberId": id_of("a")},
            {"memberId": id_of("b"), "reason": null}, {"memberId": "", "groupInstanceId": "i"},
        ]);
        pair.both(API, v, leaving(&group, members.clone()));
        pair.both("DescribeGroups", 6, json!({"groups": [group]}));
        pair.both(API, v, leaving(&group, members));
        pair.both(API, v, leaving(&group, json!([])));
        pair.both(API, v, leaving("", json!([])));
        pair.both(API, v, leaving("nobody-made-this", json!([])));
    }),
    versions(3, i16::MAX, "static members", |pair, v| {
        let group = pair.group("g");
        join(pair, 9, 0, "a", fixed(&group, "", "i"));
        let of = |id: &str, instance: &str| json!([{"memberId": id, "groupInstanceId": instance}]);
        pair.both(API, v, leaving(&group, of("", "j")));
        pair.both(API, v, leaving(&group, of(&id_of("a"), "j")));
        pair.both(API, v, leaving(&group, of("nobody", "i")));
        pair.both(API, v, leaving(&group, of("", "i")));
        pair.both(API, v, leaving(&group, of("", "i")));
        join(pair, 9, 0, "b", fixed(&group, "", "i"));
        pair.both(API, v, leaving(&group, of(&id_of("b"), "i")));
        pair.both("DescribeGroups", 6, json!({"groups": [group]}));
    }),
];
