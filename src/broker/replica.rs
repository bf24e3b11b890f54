//! A replica's role, epochs, ISR and watermarks: a value without effects.
//!
//! Its offsets are ordered and every setter holds them to it:
//! `log_start <= last_stable <= high_watermark <= log_end`.

use crate::types::{LeaderEpoch, NodeId, Offset};

/// Who leads a partition and who is in sync, at one partition epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub leader: NodeId,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub isr: Vec<NodeId>,
    /// How many replicas the partition has, in sync or not.
    pub replicas: usize,
}

/// What the broker knows of one partition's replica on it.
#[derive(Clone, Debug)]
pub struct Replica {
    leadership: Leadership,
    high_watermark: Offset,
}

/// Why a client's leader epoch does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochMismatch {
    /// The client is behind: FENCED_LEADER_EPOCH.
    Fenced,
    /// The client is ahead: UNKNOWN_LEADER_EPOCH.
    Unknown,
}

impl Replica {
    /// A leader whose log ends at `log_end`; with an ISR of one all of it is committed.
    pub fn leading(leadership: Leadership, log_end: Offset) -> Replica {
        Replica { leadership, high_watermark: log_end }
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leadership.leader_epoch
    }

    /// How many replicas are in sync, this one included.
    pub fn in_sync_count(&self) -> usize {
        self.leadership.isr.len()
    }

    /// How many replicas there are, this one included.
    pub fn replica_count(&self) -> usize {
        self.leadership.replicas
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The end of what a read-committed consumer sees. Without open transactions, the high watermark.
    pub fn last_stable(&self) -> Offset {
        self.high_watermark
    }

    /// Takes a newer state of the partition from the metadata image; an older one is left aside.
    pub fn update(&mut self, newer: Leadership) {
        let ours = &self.leadership;
        if newer.partition_epoch >= ours.partition_epoch && newer.leader_epoch >= ours.leader_epoch {
            self.leadership = newer;
        }
    }

    /// Checks the epoch that a client sent (-1: none) against the current one (KIP-320).
    pub fn check_epoch(&self, sent: i32) -> Result<(), EpochMismatch> {
        match sent {
            -1 => Ok(()),
            sent if sent < self.leadership.leader_epoch.0 => Err(EpochMismatch::Fenced),
            sent if sent > self.leadership.leader_epoch.0 => Err(EpochMismatch::Unknown),
            _ => Ok(()),
        }
    }

    /// With an ISR of one, what the log holds safely is committed. Returns true when the watermark moved.
    pub fn committed_to(&mut self, safe_end: Offset) -> bool {
        if safe_end <= self.high_watermark {
            return false;
        }
        self.high_watermark = safe_end;
        true
    }

    /// After the log was cut or reloaded: the watermark may not stand past its end nor before its start.
    pub fn clamp(&mut self, log_start: Offset, log_end: Offset) {
        assert!(log_start <= log_end, "a log starts before it ends");
        self.high_watermark = self.high_watermark.clamp(log_start, log_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leadership(leader_epoch: i32, partition_epoch: i32, isr: &[i32]) -> Leadership {
        Leadership {
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch,
            isr: isr.iter().copied().map(NodeId).collect(),
            replicas: isr.len(),
        }
    }

    fn replica() -> Replica {
        Replica::leading(leadership(3, 5, &[1]), Offset(10))
    }

    #[test]
    fn epochs_are_fenced_both_ways() {
        assert_eq!(replica().check_epoch(-1), Ok(()));
        assert_eq!(replica().check_epoch(3), Ok(()));
        assert_eq!(replica().check_epoch(2), Err(EpochMismatch::Fenced));
        assert_eq!(replica().check_epoch(4), Err(EpochMismatch::Unknown));
    }

    #[test]
    fn high_watermark_only_moves_forward() {
        let mut replica = replica();
        assert!(!replica.committed_to(Offset(9)));
        assert_eq!(replica.high_watermark(), Offset(10));
        assert!(replica.committed_to(Offset(12)));
        assert_eq!(replica.high_watermark(), Offset(12));
    }

    #[test]
    fn an_older_image_changes_nothing() {
        let mut replica = replica();
        replica.update(leadership(2, 4, &[]));
        assert_eq!((replica.leader_epoch(), replica.in_sync_count()), (LeaderEpoch(3), 1));
        replica.update(leadership(4, 6, &[1, 2]));
        assert_eq!((replica.leader_epoch(), replica.in_sync_count()), (LeaderEpoch(4), 2));
    }
}
