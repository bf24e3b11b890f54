//! FindCoordinator for groups. Transactional ids wait for transactions, share groups for theirs.

use serde_json::{Value, json};

use crate::cases::{Case, every, versions};

pub const API: &str = "FindCoordinator";

fn find(version: i16, kind: i8, keys: &[&str]) -> Value {
    match version {
        0..4 => json!({"key": keys[0], "keyType": kind}),
        _ => json!({"keyType": kind, "coordinatorKeys": keys}),
    }
}

pub const CASES: &[Case] = &[
    every("a group", |pair, v| {
        pair.offsets_topic();
        for group in ["g", "", "a group with blanks", "polygenelubricants", "\u{1F600}"] {
            pair.both(API, v, find(v, 0, &[group]));
        }
    }),
    versions(4, i16::MAX, "several groups", |pair, v| {
        pair.offsets_topic();
        pair.both(API, v, find(v, 0, &["a", "b", "a", ""]));
        pair.both(API, v, find(v, 0, &[]));
    }),
    versions(1, i16::MAX, "other kinds", |pair, v| {
        pair.offsets_topic();
        for kind in [3, -1, 127] {
            pair.both(API, v, find(v, kind, &["g"]));
        }
        pair.both(API, v, find(v, 2, &["no share partition"]));
    }),
];
