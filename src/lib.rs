//! Thalweg: a streaming broker that speaks Kafka's protocol and keeps Kafka's files.
//!
//! This file is the map. Imports point only down; siblings on one floor never meet
//! (`tests/tidy.rs` holds every `use crate::` line to this table):
//!
//! | floor | rooms | what lives there |
//! |---|---|---|
//! | 8 | `main.rs`, [`cli`] | the commands, a file each |
//! | 7 | [`server`] | listener, connection, start and shutdown of the process |
//! | 6 | [`api`] | the dispatch table and one file per API or small family |
//! | 5 | [`shard`] | all that one core owns |
//! | 4 | [`cluster`] | controller, quorum |
//! | 3 | [`broker`], [`metadata`] | partitions, replicas, waiters; the image every core holds |
//! | 2 | [`storage`], [`client`] | the log on disk; a small client |
//! | 1 | [`protocol`], [`runtime`] | bytes on the wire and in files; cores, rings, sockets |
//! | 0 | [`types`], [`config`], [`metrics`], [`clock`] | values that everyone shares |

pub mod api;
pub mod broker;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod log_rate;
pub mod metadata;
pub mod metrics;
pub mod protocol;
pub mod runtime;
pub mod server;
pub mod shard;
pub mod storage;
pub mod types;
