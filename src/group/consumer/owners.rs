//! Who owns each partition now: what a member may not be given before its owner has let go of it.
//!
//! Members are small numbers here and partitions index a dense array of their topic, so that claiming and
//! releasing cost one store each however large the group is. A claim over another's takes the partition, and
//! who no longer holds a partition cannot release it: a log whose older records were compacted away replays to
//! the same owners.

use ahash::AHashMap;

use crate::group::assignors::Assignment;
use crate::types::TopicId;

/// A member's number in its group, never given twice while the group lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat(pub u32);

const NOBODY: Seat = Seat(u32::MAX);
/// More partitions than this in one topic are not a cluster's but a damaged record's.
const PARTITIONS_MAX: usize = 10_000_000;

/// The owner of each partition that has one.
#[derive(Debug, Default)]
pub struct Owners {
    topics: AHashMap<TopicId, TopicOwners>,
}

#[derive(Debug, Default)]
struct TopicOwners {
    by_partition: Vec<Seat>,
    owned: usize,
}

impl Owners {
    pub fn owner(&self, topic: TopicId, partition: i32) -> Option<Seat> {
        let at = usize::try_from(partition).ok()?;
        let owner = *self.topics.get(&topic)?.by_partition.get(at)?;
        (owner != NOBODY).then_some(owner)
    }

    pub fn claim(&mut self, assignment: &Assignment, seat: Seat) {
        for (topic, partitions) in assignment.topics() {
            // Partitions ascend, so the last tells how long the array must be.
            let most = partitions.last().and_then(|last| usize::try_from(*last).ok());
            let Some(most) = most.filter(|most| *most < PARTITIONS_MAX) else { continue };
            let owners = self.topics.entry(topic).or_default();
            if owners.by_partition.len() <= most {
                owners.by_partition.resize(most + 1, NOBODY);
            }
            for at in partitions.iter().filter_map(|partition| usize::try_from(*partition).ok()) {
                let owner = &mut owners.by_partition[at];
                owners.owned += usize::from(*owner == NOBODY);
                *owner = seat;
            }
        }
    }

    pub fn release(&mut self, assignment: &Assignment, seat: Seat) {
        for (topic, partitions) in assignment.topics() {
            let Some(owners) = self.topics.get_mut(&topic) else { continue };
            for at in partitions.iter().filter_map(|partition| usize::try_from(*partition).ok()) {
                if let Some(owner) = owners.by_partition.get_mut(at).filter(|owner| **owner == seat) {
                    *owner = NOBODY;
                    owners.owned -= 1;
                }
            }
            if owners.owned == 0 {
                self.topics.remove(&topic);
            }
        }
    }

    /// How many partitions have an owner.
    #[cfg(test)]
    pub fn owned_count(&self) -> usize {
        self.topics.values().map(|owners| owners.owned).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_released_by_its_owner_alone() {
        let topic = TopicId(uuid::Uuid::from_u128(7));
        let both = Assignment::new([(topic, vec![0, 3])]);
        let one = Assignment::new([(topic, vec![3])]);
        let mut owners = Owners::default();
        owners.claim(&both, Seat(1));
        owners.claim(&one, Seat(2));
        assert_eq!((owners.owner(topic, 0), owners.owner(topic, 3)), (Some(Seat(1)), Some(Seat(2))));
        owners.release(&both, Seat(1));
        assert_eq!((owners.owner(topic, 0), owners.owner(topic, 3)), (None, Some(Seat(2))));
        owners.release(&one, Seat(2));
        assert_eq!(owners.owned_count(), 0);
        assert!(owners.topics.is_empty());
        assert_eq!(owners.owner(topic, -1), None);
    }

    #[test]
    fn a_partition_number_of_a_damaged_record_takes_no_memory() {
        let mut owners = Owners::default();
        owners.claim(&Assignment::new([(TopicId::ZERO, vec![i32::MAX])]), Seat(1));
        owners.claim(&Assignment::new([(TopicId::ZERO, vec![-5])]), Seat(1));
        assert_eq!(owners.owned_count(), 0);
    }
}
