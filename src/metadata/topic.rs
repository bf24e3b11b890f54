//! A topic and its partitions as the metadata log has them, and the rules by which one change record
//! makes the next state of a partition.

use std::sync::Arc;

use uuid::Uuid;

use super::features::Levels;
use crate::protocol::stored::metadata::{PartitionChangeRecord, PartitionRecord, Versioned};
use crate::types::{LeaderEpoch, NodeId, PartitionId, TopicId};

/// Stands for "no leader" in [`Partition::leader`].
pub const NO_LEADER: NodeId = NodeId(-1);
/// A change record's leader when it does not speak of the leader.
pub const NO_LEADER_CHANGE: NodeId = NodeId(-2);

/// Directory ids that stand for a state, not a directory (Kafka's DirectoryId).
pub mod directory {
    use uuid::Uuid;

    /// The broker chooses; the controller does not know yet.
    pub const UNASSIGNED: Uuid = Uuid::from_u128(0);
    pub const LOST: Uuid = Uuid::from_u128(1);
    /// The partition is older than directory ids.
    pub const MIGRATING: Uuid = Uuid::from_u128(2);

    /// The first hundred ids are not for directories.
    pub fn is_reserved(id: Uuid) -> bool {
        id.as_u128() < 100
    }
}

/// A topic: its name, its id and its partitions by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    pub name: Arc<str>,
    pub id: TopicId,
    pub partitions: Vec<Partition>,
}

impl Topic {
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        let partition = self.partitions.get(usize::try_from(id.0).ok()?)?;
        partition.exists().then_some(partition)
    }

    /// The partitions with their numbers, in order.
    pub fn numbered(&self) -> impl Iterator<Item = (PartitionId, &Partition)> {
        self.partitions.iter().enumerate().map(|(i, partition)| (PartitionId(i as i32), partition))
    }
}

/// One partition: where its replicas are, who leads, and the epochs that fence what is old.
///
/// `replicas` and `directories` are parallel; the first replica is the preferred leader.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    pub replicas: Vec<NodeId>,
    pub directories: Vec<Uuid>,
    pub isr: Vec<NodeId>,
    pub removing_replicas: Vec<NodeId>,
    pub adding_replicas: Vec<NodeId>,
    pub eligible_leader_replicas: Vec<NodeId>,
    pub last_known_elr: Vec<NodeId>,
    pub leader: NodeId,
    /// True while a leader that was elected outside the ISR recovers.
    pub recovering: bool,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
}

impl Partition {
    /// Fills a number whose record has not come yet. Kafka writes partitions in no promised order.
    pub(super) fn absent() -> Partition {
        Partition::from(&PartitionRecord::default())
    }

    /// False for a number whose record has not come.
    pub fn exists(&self) -> bool {
        self.partition_epoch >= 0
    }

    /// A partition that is new: in sync are `isr`, whose first member leads.
    pub fn new(replicas: Vec<NodeId>, directories: Vec<Uuid>, isr: Vec<NodeId>) -> Partition {
        let leader = isr.first().copied().unwrap_or(NO_LEADER);
        Partition {
            replicas,
            directories,
            isr,
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            eligible_leader_replicas: Vec::new(),
            last_known_elr: Vec::new(),
            leader,
            recovering: false,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        }
    }

    pub fn is_reassigning(&self) -> bool {
        !self.removing_replicas.is_empty() || !self.adding_replicas.is_empty()
    }

    /// The replica that should lead when it can.
    pub fn preferred_leader(&self) -> NodeId {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }

    /// The directory in which `node` keeps its replica.
    pub fn directory_of(&self, node: NodeId) -> Option<Uuid> {
        let at = self.replicas.iter().position(|replica| *replica == node)?;
        self.directories.get(at).copied()
    }

    /// What the partition is after `change`: the partition epoch is one higher, and the leader epoch too
    /// when the change names a leader, even the same one.
    pub fn merge(&self, change: &PartitionChangeRecord) -> Partition {
        let mut next = self.clone();
        next.partition_epoch += 1;
        if let Some(replicas) = &change.replicas {
            next.replicas.clone_from(replicas);
        }
        if let Some(directories) = &change.directories {
            next.directories.clone_from(directories);
        }
        next.directories.resize(next.replicas.len(), directory::MIGRATING);
        for (field, changed) in [
            (&mut next.isr, &change.isr),
            (&mut next.removing_replicas, &change.removing_replicas),
            (&mut next.adding_replicas, &change.adding_replicas),
            (&mut next.eligible_leader_replicas, &change.eligible_leader_replicas),
            (&mut next.last_known_elr, &change.last_known_elr),
        ] {
            if let Some(changed) = changed {
                field.clone_from(changed);
            }
        }
        if change.leader != NO_LEADER_CHANGE {
            next.leader = change.leader;
            next.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        }
        match change.leader_recovery_state {
            0 => next.recovering = false,
            1 => next.recovering = true,
            _ => {}
        }
        next
    }

    /// The record that makes this partition, in the version that the feature levels ask for.
    pub fn to_record(&self, topic_id: TopicId, id: PartitionId, levels: &Levels) -> Versioned {
        let some_if_any =
            |nodes: &Vec<NodeId>| (levels.elr_enabled() && !nodes.is_empty()).then(|| nodes.clone());
        let record = PartitionRecord {
            partition_id: id,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader,
            leader_recovery_state: i8::from(self.recovering),
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: if levels.directory_ids() { self.directories.clone() } else { Vec::new() },
            eligible_leader_replicas: some_if_any(&self.eligible_leader_replicas),
            last_known_elr: some_if_any(&self.last_known_elr),
        };
        Versioned { version: levels.partition_record_version(), record: record.into() }
    }
}

impl From<&PartitionRecord> for Partition {
    fn from(record: &PartitionRecord) -> Partition {
        let mut directories = record.directories.clone();
        directories.resize(record.replicas.len(), directory::MIGRATING);
        Partition {
            replicas: record.replicas.clone(),
            directories,
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            eligible_leader_replicas: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            recovering: record.leader_recovery_state == 1,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_names_the_leader_raises_both_epochs_and_another_raises_one() {
        let partition = Partition::new(vec![NodeId(1)], vec![Uuid::from_u128(7)], vec![NodeId(1)]);
        let isr =
            partition.merge(&PartitionChangeRecord { isr: Some(vec![]), ..PartitionChangeRecord::default() });
        assert_eq!((isr.partition_epoch, isr.leader_epoch, isr.isr.len()), (1, LeaderEpoch(0), 0));
        let led = isr.merge(&PartitionChangeRecord { leader: NodeId(1), ..Default::default() });
        assert_eq!((led.partition_epoch, led.leader_epoch, led.leader), (2, LeaderEpoch(1), NodeId(1)));
        assert_eq!(led.directories, partition.directories);
    }

    #[test]
    fn a_replica_without_a_directory_is_migrating() {
        let record = PartitionRecord { replicas: vec![NodeId(1), NodeId(2)], ..Default::default() };
        assert_eq!(Partition::from(&record).directories, vec![directory::MIGRATING; 2]);
    }
}
