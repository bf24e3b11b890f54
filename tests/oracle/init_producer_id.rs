//! InitProducerId for idempotent producers, and what is said of transactional ids until there are transactions.

use serde_json::json;

use crate::cases::{Case, every, versions};

pub const API: &str = "InitProducerId";

pub const CASES: &[Case] = &[
    every("a new producer", |pair, v| {
        for timeout in [60_000, 0, -1, i32::MAX] {
            pair.both(API, v, json!({"transactionalId": null, "transactionTimeoutMs": timeout}));
        }
    }),
    every("an empty transactional id", |pair, v| {
        pair.both(API, v, json!({"transactionalId": "", "transactionTimeoutMs": 60_000}));
    }),
    every("a transactional id", |pair, v| {
        pair.both(API, v, json!({"transactionalId": "tx", "transactionTimeoutMs": 60_000}));
    }),
    versions(3, 5, "with an id and an epoch", |pair, v| {
        for (id, epoch) in [(-1, -1), (5, 3), (5, -1), (-1, 3), (-2, -2), (i64::MAX, i16::MAX)] {
            pair.both(
                API,
                v,
                json!({"transactionalId": null, "transactionTimeoutMs": 60_000,
                "producerId": id, "producerEpoch": epoch}),
            );
        }
    }),
];
