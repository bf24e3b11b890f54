//! Deadlines by key: one entry a key, so their number is bounded by what has them.
//!
//! A deadline that is moved back costs a map lookup and nothing else: its entry stays where it is and is moved
//! when its old time comes. So a heartbeat is cheap, however many members there are.

use std::collections::BTreeMap;
use std::hash::Hash;

use ahash::AHashMap;

/// Deadlines in milliseconds of the monotonic clock.
#[derive(Debug)]
pub struct Timers<K> {
    entries: AHashMap<K, Entry>,
    /// By the time at which the entry is looked at, which is not after its deadline.
    line: BTreeMap<(u64, u64), K>,
    next_sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline_ms: u64,
    place: (u64, u64),
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { entries: AHashMap::default(), line: BTreeMap::new(), next_sequence: 0 }
    }
}

impl<K: Clone + Eq + Hash> Timers<K> {
    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, deadline_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.deadline_ms = deadline_ms;
            if entry.place.0 <= deadline_ms {
                return;
            }
            self.line.remove(&entry.place);
        }
        self.place(key, deadline_ms);
    }

    fn place(&mut self, key: K, deadline_ms: u64) {
        let place = (deadline_ms, self.next_sequence);
        self.next_sequence += 1;
        self.line.insert(place, key.clone());
        self.entries.insert(key, Entry { deadline_ms, place });
    }

    /// Forgets a deadline; true where there was one.
    pub fn cancel(&mut self, key: &K) -> bool {
        let entry = self.entries.remove(key);
        entry.is_some_and(|entry| self.line.remove(&entry.place).is_some())
    }

    pub fn is_set(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub fn deadline_ms(&self, key: &K) -> Option<u64> {
        self.entries.get(key).map(|entry| entry.deadline_ms)
    }

    /// When to look again; `None` while nothing is set.
    pub fn next_ms(&self) -> Option<u64> {
        self.line.first_key_value().map(|(place, _)| place.0)
    }

    /// Takes one key whose deadline has come.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<K> {
        loop {
            let first = self.line.first_entry()?;
            if first.key().0 > now_ms {
                return None;
            }
            let key = first.remove();
            let entry = self.entries.remove(&key)?;
            if entry.deadline_ms <= now_ms {
                return Some(key);
            }
            self.place(key, entry.deadline_ms);
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_moved_ones_when_they_are_due() {
        let mut timers = Timers::default();
        timers.set("a", 10);
        timers.set("b", 20);
        timers.set("c", 30);
        timers.set("a", 40);
        timers.set("c", 5);
        assert_eq!(timers.pop_due(4), None);
        assert_eq!(timers.pop_due(5), Some("c"));
        assert_eq!(timers.pop_due(30), Some("b"));
        assert_eq!(timers.pop_due(39), None);
        assert_eq!(timers.next_ms(), Some(40));
        assert_eq!(timers.pop_due(40), Some("a"));
        assert!(timers.is_empty() && timers.next_ms().is_none());
    }

    #[test]
    fn what_is_cancelled_does_not_come() {
        let mut timers = Timers::default();
        timers.set(1, 10);
        timers.set(1, 50);
        assert!(timers.cancel(&1));
        assert!(!timers.cancel(&1));
        assert_eq!(timers.pop_due(100), None);
        assert_eq!(timers.len(), 0);
    }
}
