//! Groups that change between the classic and the consumer protocol while members are in them (KIP-848), as
//! `group.consumer.migration.policy` lets them; an empty group changes without being asked.
//!
//! | file | what it holds |
//! |---|---|
//! | `upgrade` | the first member of the consumer protocol comes to a classic group of consumers |
//! | `classic_members` | members of the classic protocol in a consumer group: JoinGroup, SyncGroup, Heartbeat, LeaveGroup |
//! | `downgrade` | the last member of the consumer protocol goes, and the others are classic |
//!
//! A group has one kind at a time: all records of the one are taken away in the batch that writes those of the
//! other. Members keep their ids, sessions and partitions. The source of the rules is Kafka 4.1's
//! GroupMetadataManager.

use bytes::Bytes;

use super::assignors;
use crate::metadata::Image;
use crate::protocol::embedded;

mod classic_members;
mod downgrade;
mod upgrade;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub(super) use upgrade::upgraded;

/// An assignment as a classic member reads it, in the version of what it said itself. Topics that are gone are
/// left out.
fn told(assignment: &assignors::Assignment, subscription: &[u8], image: &Image) -> Bytes {
    let partitions = assignment.topics().filter_map(|(id, partitions)| {
        let topic = image.topic_by_id(id)?;
        Some((&*topic.name, partitions.to_vec()))
    });
    let written = embedded::Assignment { partitions: partitions.collect(), user_data: None };
    written.write(embedded::version(subscription).unwrap_or(0))
}
