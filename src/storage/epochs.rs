//! Which leader epoch wrote which offsets: pairs of an epoch and the offset where it began, both rising.
//!
//! Kept on disk as Kafka's `leader-epoch-checkpoint` (version line, count line, then `epoch start-offset`
//! lines). The file may lag behind the batches of unflushed segments: recovery takes epochs from those.

use crate::storage::checkpoint::{CheckpointText, Malformed};
use crate::types::{LeaderEpoch, Offset};

/// Name of the file in a partition's directory.
pub const FILE_NAME: &str = "leader-epoch-checkpoint";

/// The epochs of one log. Invariant: epochs and offsets both rise strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl Epochs {
    /// Notes that `epoch` begins at `start`; `true` where that changed something. Entries that it
    /// contradicts (a later epoch, or the same offset) go.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || start.0 < 0 {
            return false;
        }
        if let Some((latest, at)) = self.entries.last()
            && *latest == epoch
            && start >= *at
        {
            return false;
        }
        while self.entries.last().is_some_and(|(e, s)| *e >= epoch || *s >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        true
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    pub fn earliest(&self) -> Option<(LeaderEpoch, Offset)> {
        self.entries.first().copied()
    }

    /// The epoch that wrote `offset`.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|i| self.entries[i].0)
    }

    /// The largest epoch that is at most `epoch`, and the offset where it ended; (-1, -1) where unknown.
    /// An epoch before all that are known is given back with the start of the first known one.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> (LeaderEpoch, Offset) {
        const UNKNOWN: (LeaderEpoch, Offset) = (LeaderEpoch(-1), Offset::NONE);
        if epoch.0 == -1 {
            return UNKNOWN;
        }
        if self.latest() == Some(epoch) {
            return (epoch, log_end);
        }
        let higher = self.entries.partition_point(|(e, _)| *e <= epoch);
        match (self.entries.get(higher), higher.checked_sub(1)) {
            (None, _) => UNKNOWN,
            (Some((_, start)), None) => (epoch, *start),
            (Some((_, start)), Some(floor)) => (self.entries[floor].0, *start),
        }
    }

    /// Forgets epochs that begin at or above `end`.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let keep = self.entries.partition_point(|(_, start)| *start < end);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// Forgets epochs that ended at or below `start`; the one that covers it now begins there.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let gone = self.entries.partition_point(|(_, at)| *at <= start);
        if gone == 0 || self.entries[gone - 1].1 == start && gone == 1 {
            return false;
        }
        self.entries.drain(..gone - 1);
        self.entries[0].1 = start;
        true
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn encode(&self) -> String {
        CheckpointText::write(self.entries.iter().map(|(epoch, start)| format!("{epoch} {start}")))
    }

    pub fn decode(text: &str) -> Result<Epochs, Malformed> {
        let mut epochs = Epochs::default();
        for line in CheckpointText::read(text)? {
            let mut words = line.split_whitespace();
            let (Some(epoch), Some(start), None) = (words.next(), words.next(), words.next()) else {
                return Err(Malformed(format!("malformed line {line:?}")));
            };
            let (Ok(epoch), Ok(start)) = (epoch.parse(), start.parse()) else {
                return Err(Malformed(format!("malformed line {line:?}")));
            };
            epochs.assign(LeaderEpoch(epoch), Offset(start));
        }
        Ok(epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in entries {
            epochs.assign(LeaderEpoch(*epoch), Offset(*start));
        }
        epochs
    }

    fn end_of(epochs: &Epochs, epoch: i32) -> (i32, i64) {
        let (epoch, end) = epochs.end_offset_for(LeaderEpoch(epoch), Offset(100));
        (epoch.0, end.0)
    }

    #[test]
    fn end_offsets_are_kafkas() {
        let e = epochs(&[(2, 10), (4, 20), (7, 50)]);
        assert_eq!(end_of(&e, -1), (-1, -1));
        assert_eq!(end_of(&e, 0), (0, 10));
        assert_eq!(end_of(&e, 2), (2, 20));
        assert_eq!(end_of(&e, 3), (2, 20));
        assert_eq!(end_of(&e, 5), (4, 50));
        assert_eq!(end_of(&e, 7), (7, 100));
        assert_eq!(end_of(&e, 8), (-1, -1));
        assert_eq!(end_of(&Epochs::default(), 0), (-1, -1));
    }

    #[test]
    fn an_epoch_that_wrote_nothing_is_replaced() {
        let mut e = epochs(&[(1, 0), (2, 10)]);
        assert!(e.assign(LeaderEpoch(3), Offset(10)));
        assert!(!e.assign(LeaderEpoch(3), Offset(12)));
        assert_eq!(e, epochs(&[(1, 0), (3, 10)]));
        assert_eq!(e.at(Offset(9)), Some(LeaderEpoch(1)));
        assert_eq!(e.at(Offset(10)), Some(LeaderEpoch(3)));
        assert_eq!(epochs(&[(1, 5)]).at(Offset(4)), None);
    }

    #[test]
    fn truncation_keeps_the_covering_epoch() {
        let mut e = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(e.truncate_from_start(Offset(15)));
        assert_eq!(e, epochs(&[(2, 15), (3, 20)]));
        assert!(!e.truncate_from_start(Offset(15)));
        assert!(!e.truncate_from_start(Offset(3)));
        assert!(e.truncate_from_end(Offset(20)));
        assert!(!e.truncate_from_end(Offset(20)));
        assert_eq!(e, epochs(&[(2, 15)]));
    }

    #[test]
    fn text_is_kafkas_and_comes_back() {
        let e = epochs(&[(0, 0), (5, 1234)]);
        assert_eq!(e.encode(), "0\n2\n0 0\n5 1234\n");
        assert_eq!(Epochs::decode(&e.encode()).unwrap(), e);
        assert_eq!(Epochs::decode("").unwrap(), Epochs::default());
        assert!(Epochs::decode("0\n2\n0 0\n").is_err());
        assert!(Epochs::decode("1\n0\n").is_err());
        assert!(Epochs::decode("0\n1\n0 x\n").is_err());
    }
}
