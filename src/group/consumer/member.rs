//! A member of a consumer group: what it said of itself, and how far it is on its way to its target.
//!
//! The two halves are stored by records of their own (ConsumerGroupMemberMetadata and
//! ConsumerGroupCurrentMemberAssignment), so they are two types here. Both are cheap to copy.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use super::owners::Seat;
use super::records;
use crate::group::Client;
use crate::group::assignors::Assignment;
use crate::protocol::stored::group::{
    ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
};

/// Asks to join, or to join again from nothing.
pub const JOIN_EPOCH: i32 = 0;
/// Leaves for good.
pub const LEAVE_EPOCH: i32 = -1;
/// A static member leaves and will be back within its session.
pub const STATIC_LEAVE_EPOCH: i32 = -2;

/// Topic names in ascending order, each once. Members with the same subscription share one.
pub type Names = Arc<[Arc<str>]>;

/// Names in any order as [`Names`].
pub fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(Arc::from).collect()
}

/// Whether they are equal; looks at no name where they are one.
pub fn same_names(one: &Names, other: &Names) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// A member of a consumer group.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: Arc<str>,
    pub seat: Seat,
    pub profile: Arc<Profile>,
    pub progress: Progress,
}

impl Member {
    /// Members that joined by the classic protocol (after an upgrade of their group).
    pub fn is_classic(&self) -> bool {
        self.profile.classic.is_some()
    }
}

/// What a member said of itself when it joined or since.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: Names,
    /// Empty where it subscribes to none.
    pub regex: Option<Arc<str>>,
    /// How long it may take to revoke partitions, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// The server-side assignor that it prefers.
    pub assignor: Option<String>,
    pub classic: Option<ClassicMemberMetadata>,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            topics: Names::default(),
            regex: Some(Arc::from("")),
            rebalance_timeout_ms: -1,
            assignor: None,
            classic: None,
        }
    }
}

impl Profile {
    /// The regular expression, where there is one.
    pub fn regex(&self) -> Option<&Arc<str>> {
        self.regex.as_ref().filter(|regex| !regex.is_empty())
    }

    /// The names of a classic member's protocols, each once.
    pub fn protocol_names(&self) -> BTreeSet<&str> {
        let protocols = self.classic.iter().flat_map(|classic| &classic.supported_protocols);
        protocols.map(|protocol| &*protocol.name).collect()
    }

    /// What this profile is after a heartbeat; `None` where it stays as it is, which costs no allocation.
    pub fn after(&self, request: &ConsumerGroupHeartbeatRequest, client: &Client) -> Option<Profile> {
        fn says(own: Option<&str>, told: Option<&str>) -> bool {
            told.is_some() && own != told
        }
        let topics = request
            .subscribed_topic_names
            .as_ref()
            .map(|told| names(told.iter().map(|name| name.0.as_str())))
            .filter(|told| *told != self.topics);
        let timeout = request.rebalance_timeout_ms;
        let changed = says(self.instance_id.as_deref(), request.instance_id.as_deref())
            || says(self.rack_id.as_deref(), request.rack_id.as_deref())
            || says(self.regex.as_deref(), request.subscribed_topic_regex.as_deref())
            || says(self.assignor.as_deref(), request.server_assignor.as_deref())
            || topics.is_some()
            || (timeout != -1 && timeout != self.rebalance_timeout_ms)
            || self.client_id != client.id
            || self.client_host != client.host
            || self.classic.is_some();
        if !changed {
            return None;
        }
        let told = |text: &Option<_>| text.as_deref().map(Arc::<str>::from);
        let owned = |text: &Option<_>| text.as_deref().map(str::to_owned);
        Some(Profile {
            instance_id: told(&request.instance_id).or_else(|| self.instance_id.clone()),
            rack_id: owned(&request.rack_id).or_else(|| self.rack_id.clone()),
            client_id: client.id.clone(),
            client_host: client.host.clone(),
            topics: topics.unwrap_or_else(|| self.topics.clone()),
            regex: told(&request.subscribed_topic_regex).or_else(|| self.regex.clone()),
            rebalance_timeout_ms: if timeout == -1 { self.rebalance_timeout_ms } else { timeout },
            assignor: owned(&request.server_assignor).or_else(|| self.assignor.clone()),
            classic: None,
        })
    }
}

impl From<ConsumerGroupMemberMetadataValue> for Profile {
    fn from(value: ConsumerGroupMemberMetadataValue) -> Profile {
        Profile {
            instance_id: value.instance_id.map(Arc::from),
            rack_id: value.rack_id,
            client_id: value.client_id,
            client_host: value.client_host,
            topics: names(value.subscribed_topic_names.iter().map(String::as_str)),
            regex: value.subscribed_topic_regex.map(Arc::from),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            assignor: value.server_assignor,
            classic: value.classic_member_metadata,
        }
    }
}

/// How a member stands to its target assignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// It has what its epoch's target gives it.
    Stable,
    /// It has to revoke partitions before it can move to the next epoch.
    Unrevoked,
    /// It is at the target's epoch, and partitions that it is due are still held by others.
    Unreleased,
    /// A state that a later version of Kafka wrote; its number is kept.
    Unknown(i8),
}

impl MemberState {
    pub fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
            // What Kafka writes for a state that it does not know.
            MemberState::Unknown(_) => 127,
        }
    }

    fn from_number(number: i8) -> MemberState {
        match number {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            other => MemberState::Unknown(other),
        }
    }
}

/// What a member owns, at which epoch.
#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    /// The epoch that the member's next heartbeat should carry.
    pub epoch: i32,
    /// Taken from a member that did not get the answer that raised its epoch.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Arc<Assignment>,
    /// What it was told to give up and has not yet.
    pub revoking: Arc<Assignment>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            epoch: JOIN_EPOCH,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Arc::default(),
            revoking: Arc::default(),
        }
    }
}

impl Progress {
    /// Nothing is left to do for a target of that epoch.
    pub fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }
}

impl From<ConsumerGroupCurrentMemberAssignmentValue> for Progress {
    fn from(value: ConsumerGroupCurrentMemberAssignmentValue) -> Progress {
        Progress {
            epoch: value.member_epoch,
            previous_epoch: value.previous_member_epoch,
            state: MemberState::from_number(value.state),
            assigned: Arc::new(records::assignment(value.assigned_partitions)),
            revoking: Arc::new(records::assignment(value.partitions_pending_revocation)),
        }
    }
}
