//! Server-side assignors of the consumer protocol (KIP-848): who reads which partition.
//!
//! An assignor is a pure function from a [`Spec`] to one [`Assignment`] a member, with the results of
//! Apache Kafka 4.1. Where Kafka's own result follows the order of a hash map, this one follows member ids
//! and topic ids in ascending order, so the same group always gets the same answer. A [`Spec`] is owned and
//! `Send`: a large one is computed on another thread. Neither assignor looks at racks, as in Kafka 4.1.

mod assignment;
#[cfg(test)]
mod kafka_tests;
mod owners;
mod range;
mod subscribers;
#[cfg(test)]
mod tests;
mod uniform;
mod uniform_mixed;

use std::fmt;
use std::sync::Arc;

use ahash::AHashMap;

pub use self::assignment::Assignment;
use crate::types::TopicId;

/// Whether all members of a group subscribe to the same topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscriptionType {
    Homogeneous,
    Heterogeneous,
}

/// One member as an assignor sees it.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// The existing topics this member subscribes to, by name and by regular expression together. Members
    /// that share one subscription share the `Arc`, which keeps the cost of a large group low.
    pub subscribed: Arc<[TopicId]>,
    /// Its present target assignment; for a static member that replaces one, the target of the one that left.
    pub owned: Arc<Assignment>,
}

/// All that an assignor needs to know of a group.
#[derive(Clone, Debug)]
pub struct Spec {
    pub subscription_type: SubscriptionType,
    /// In any order; ids are distinct.
    pub members: Vec<Member>,
    /// The number of partitions of each topic that a member subscribes to; more topics do no harm.
    pub partition_counts: Arc<AHashMap<TopicId, i32>>,
}

/// The new target assignment of each member, in the order of [`Spec::members`]. A member whose assignment
/// stays what it was gets the same `Arc` back.
pub type Assignments = Vec<Arc<Assignment>>;

/// Why no assignment could be computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssignorError {
    /// A member subscribes to a topic whose partition count the [`Spec`] does not hold.
    UnknownTopic(TopicId),
}

impl fmt::Display for AssignorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AssignorError::UnknownTopic(topic) => {
                write!(
                    f,
                    "Members are subscribed to topic {topic} which doesn't exist in the topic metadata."
                )
            }
        }
    }
}

impl std::error::Error for AssignorError {}

/// The assignors a member may name (`group.consumer.assignors`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Assignor {
    /// Balances the members' loads over all topics, and moves as little as it can.
    Uniform,
    /// Gives each member a run of each topic's partitions, so that equal topics line up.
    Range,
}

impl Assignor {
    /// In Kafka's default order of preference.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// The name on the wire and in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Computes the target assignment of every member of `spec`.
    pub fn assign(self, spec: &Spec) -> Result<Assignments, AssignorError> {
        match (self, spec.subscription_type) {
            (Assignor::Range, _) => range::assign(spec),
            (Assignor::Uniform, SubscriptionType::Homogeneous) => uniform::assign(spec),
            (Assignor::Uniform, SubscriptionType::Heterogeneous) => uniform_mixed::assign(spec),
        }
    }
}
