//! The controller: a state machine over the metadata log, behind a quorum of one.
//!
//! | file | what it is |
//! |---|---|
//! | [`controller`] | decide, append, apply, publish, reply; one per process |
//! | [`topics`], [`partitions`], [`configs`], [`features`], [`elections`], [`brokers`], [`producer_ids`] | the decisions, pure: image and request give records and answer |
//! | [`quorum`] | the seam: propose records, learn what is committed |
//! | [`single`], [`segments`], [`snapshot`], [`quorum_state`], [`replay`] | a quorum of one on the files of `__cluster_metadata-0` |
//! | [`format`] | what an empty directory gets |

pub mod batches;
pub mod brokers;
pub mod configs;
pub mod controller;
#[cfg(test)]
mod decision_tests;
pub mod elections;
mod error;

pub mod features;
#[cfg(test)]
mod fixture_tests;
pub mod format;
#[cfg(test)]
mod kafka_tests;
pub mod partitions;
pub mod producer_ids;
pub mod quorum;
pub mod quorum_state;
pub mod replay;
pub mod segments;
pub mod single;
#[cfg(test)]
mod single_tests;
pub mod snapshot;
#[cfg(test)]
mod testing;
pub mod topics;
#[cfg(test)]
mod topics_tests;

pub use crate::protocol::api_error::ApiError;
pub use controller::{Controller, ControllerError, Decision};
