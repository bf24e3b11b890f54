//! One small Kafka client for the command line (and later for followers).
//!
//! It speaks to any Kafka broker from 0.11 to 4.1, over blocking sockets: the command line has nothing else
//! to do while it waits. What the bytes are and which version both sides know is decided in [`wire`], which
//! touches no socket, so that a follower can put the same requests on its own ring.
//!
//! | file | what it is |
//! |---|---|
//! | [`wire`] | requests and responses as frames; version ranges |
//! | [`connection`] | one socket, its versions, calls and pipelined sends |
//! | [`cluster`] | [`Client`]: bootstrap, metadata, a connection per broker |
//! | [`admin`] | topics, partitions, configurations, offsets, deleting records |
//! | [`coordinator`] | the broker of each group, and questions to it |
//! | [`groups`] | groups and their committed offsets: list, describe, commit, delete |
//! | [`positions`] | offsets and times of many partitions at once |
//! | [`member`] | a member of a group, by either protocol |
//! | [`embedded`] | what classic members write for each other |
//! | [`producer`] | records into batches, in the caller's thread |
//! | [`budget`] | the bound on bytes between these two |
//! | [`delivery`] | batches to their leaders: requests in flight, retries, what became of each batch |
//! | [`fetcher`] | partitions read from their leaders, a thread each |
//! | [`partitioner`] | the partition of a key, as Java's client chooses it |
//! | [`error`] | [`ClientError`] |

pub mod admin;
pub mod budget;
pub mod cluster;
pub mod connection;
pub mod coordinator;
pub mod delivery;
pub mod embedded;
pub mod error;
pub mod fetcher;
pub mod groups;
pub mod member;
pub mod partitioner;
pub mod positions;
pub mod producer;
pub mod wire;

pub use cluster::{Client, Options};
pub use error::ClientError;
