//! The process: log directories, listeners, connections, start and shutdown.
//!
//! | file | noun |
//! |---|---|
//! | [`host`] | what this host must have, and what is missing |
//! | [`directories`] | `log.dirs` made, locked, formatted, read |
//! | [`listener`] | ports bound once, accepted on every core; limits on connections |
//! | [`doors`] | which listeners are open, in line with the configuration of the moment |
//! | [`connection`], [`sending`] | one client: frames in, answers out |
//! | [`housekeeping`] | what a core does now and then: time-outs, retention, checkpoints |
//! | [`log_rate`] | how often one kind of line is logged |
//! | [`broker`] | the order of start and stop |

pub mod broker;
mod connection;
pub mod directories;
mod doors;
pub mod host;
mod housekeeping;
pub mod listener;
mod log_rate;
mod sending;
