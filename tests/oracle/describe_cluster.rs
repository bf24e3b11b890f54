//! DescribeCluster: brokers and, from version 1, the wish for controllers.

use serde_json::json;

use crate::cases::{Case, every};

pub const API: &str = "DescribeCluster";

pub const CASES: &[Case] = &[
    every("brokers", |pair, v| {
        for operations in [false, true] {
            for fenced in [false, true] {
                pair.both(
                    API,
                    v,
                    json!({"includeClusterAuthorizedOperations": operations,
                    "endpointType": 1, "includeFencedBrokers": fenced}),
                );
            }
        }
    }),
    every("endpoint types", |pair, v| {
        for kind in [0, 2, 3, -1] {
            pair.both(API, v, json!({"endpointType": kind}));
        }
    }),
];
