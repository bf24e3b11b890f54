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
//! | 4 | [`cluster`], [`group`] | controller, quorum; the coordinator of groups and offsets |
//! | 3 | [`broker`], [`metadata`] | partitions, replicas, waiters; the image every core holds |
//! | 2 | [`storage`], [`client`] | the log on disk; a small client |
//! | 1 | [`protocol`], [`runtime`] | bytes on the wire and in files; cores, rings, sockets |
//! | 0 | [`types`], [`config`], [`metrics`], [`clock`] | values that everyone shares |

// Under cfg(loom) only what cores share without a lock is built, for its models.
#[cfg(not(loom))]
pub mod api;
#[cfg(not(loom))]
pub mod broker;
#[cfg(not(loom))]
pub mod cli;
#[cfg(not(loom))]
pub mod client;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod cluster;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
pub mod group;
#[cfg(not(loom))]
pub mod metadata;
#[cfg(not(loom))]
pub mod metrics;
#[cfg(not(loom))]
pub mod protocol;
pub mod runtime;
#[cfg(not(loom))]
pub mod server;
#[cfg(not(loom))]
pub mod shard;
#[cfg(not(loom))]
pub mod storage;
#[cfg(not(loom))]
pub mod types;
