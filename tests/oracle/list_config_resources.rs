//! ListConfigResources: which resources have configs.

use serde_json::json;

use crate::cases::{Case, every};

pub const API: &str = "ListConfigResources";

pub const CASES: &[Case] = &[every("types", |pair, v| {
    pair.topic("t", 1, &[("retention.ms", "1000")]);
    for kinds in [&[][..], &[2], &[4], &[8], &[16], &[32], &[2, 4], &[2, 2], &[0], &[1], &[64], &[-1]] {
        pair.both(API, v, json!({ "resourceTypes": kinds }));
    }
})];
