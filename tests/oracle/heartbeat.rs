//! Heartbeat: in each state of a group, and by those who are not in it.

use serde_json::json;

use crate::cases::{Case, every, versions};
use crate::members::{beating, come, fixed, join, joined_by_two, joining, leave, stable_of_two};

pub const API: &str = "Heartbeat";

pub const CASES: &[Case] = &[
    every("in each state", |pair, v| {
        let group = pair.group("g");
        pair.both(API, v, beating("", "a", 1));
        pair.both(API, v, beating(&group, "a", 1));
        joined_by_two(pair, &group);
        pair.both(API, v, beating(&group, "a", 2));
        let stable = pair.group("h");
        stable_of_two(pair, &stable);
        for generation in [1, 2, 3, -1] {
            pair.both(API, v, beating(&stable, "a", generation));
        }
        pair.both(API, v, beating(&stable, "nobody", 2));
        leave(pair, &stable, "a");
        pair.both(API, v, beating(&stable, "b", 2));
        pair.both(API, v, beating(&stable, "a", 2));
        leave(pair, &stable, "b");
        pair.both(API, v, beating(&stable, "b", 2));
    }),
    every("under an id that has not joined", |pair, v| {
        let group = pair.group("g");
        join(pair, 9, 0, "a", joining(&group, ""));
        for generation in [0, 1, -1] {
            pair.both(API, v, beating(&group, "a", generation));
        }
    }),
    versions(3, i16::MAX, "a static member", |pair, v| {
        let group = pair.group("g");
        join(pair, 9, 0, "a", fixed(&group, "", "i"));
        let sent = come(pair, 9, 1, "b", joining(&group, ""));
        pair.speak_as(0);
        let by = |member: &str, instance: &str| {
            let mut tree = beating(&group, member, 1);
            tree["groupInstanceId"] = json!(instance);
            tree
        };
        pair.until(API, v, by("a", "i"), 27);
        pair.both(API, v, by("a", "i"));
        pair.both(API, v, by("a", "j"));
        pair.both(API, v, by("b", "i"));
        pair.both(API, v, by("nobody", "i"));
        pair.both(API, v, beating(&group, "a", 1));
        leave(pair, &group, "a");
        pair.answered(sent, "b");
    }),
];
