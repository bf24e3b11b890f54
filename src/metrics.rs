//! Counters and gauges of the process: plain atomics, each named after what it counts.
//!
//! A hot counter is written by its own core only (relaxed), so a write costs no contention; readers sum.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A count that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $($(#[$doc])* pub static $name: Counter = Counter::new();)*

        /// Every counter with its value, by name in lower case.
        pub fn snapshot() -> Vec<(String, u64)> {
            vec![$((stringify!($name).to_lowercase(), $name.value())),*]
        }
    };
}

counters! {
    /// Record bytes that fetch answers sent from the page cache to the socket without copying.
    FETCH_BYTES_SPLICED,
    /// Record bytes that fetch answers copied through user space.
    FETCH_BYTES_COPIED,
    /// Record bytes that produce requests appended.
    PRODUCE_BYTES,
    /// Requests answered.
    REQUESTS,
    /// Connections accepted.
    CONNECTIONS_ACCEPTED,
    /// Connections closed because of what their client sent or failed to send.
    CONNECTIONS_REFUSED,
}

/// How far a group is behind in one partition, as it was measured last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLag {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub partition: i32,
    /// Records behind the committed offset.
    pub records: i64,
    /// How long before the measurement the first of them was written, in milliseconds; 0 where there is none,
    /// unknown where it has no timestamp or cannot be read.
    pub behind_ms: Option<i64>,
}

/// By the core that coordinates the groups.
static GROUP_LAGS: Mutex<BTreeMap<u16, Arc<[GroupLag]>>> = Mutex::new(BTreeMap::new());

/// Takes what a core has measured in place of what it measured before.
pub fn set_group_lags(core: u16, lags: Vec<GroupLag>) {
    GROUP_LAGS.lock().unwrap_or_else(PoisonError::into_inner).insert(core, lags.into());
}

/// Every group's lag as it was measured last.
pub fn group_lags() -> Vec<GroupLag> {
    let by_core: Vec<_> =
        GROUP_LAGS.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
    by_core.iter().flat_map(|lags| lags.iter().cloned()).collect()
}

/// The lag of all groups in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagSummary {
    /// Groups with records to read.
    pub groups_behind: usize,
    /// Records that the group with the most has to read.
    pub records_max: i64,
    /// Of the partition that is furthest behind, in milliseconds.
    pub behind_ms_max: i64,
}

impl LagSummary {
    pub fn of(lags: &[GroupLag]) -> LagSummary {
        let mut by_group: BTreeMap<&str, i64> = BTreeMap::new();
        for lag in lags.iter().filter(|lag| lag.records > 0) {
            *by_group.entry(&lag.group).or_default() += lag.records;
        }
        LagSummary {
            groups_behind: by_group.len(),
            records_max: by_group.into_values().max().unwrap_or(0),
            behind_ms_max: lags.iter().filter_map(|lag| lag.behind_ms).max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_summed_by_group_and_time_is_the_longest() {
        let lag = |group: &str, partition, records, behind_ms| GroupLag {
            group: group.into(),
            topic: "t".into(),
            partition,
            records,
            behind_ms,
        };
        let lags = [
            lag("a", 0, 5, Some(3_000)),
            lag("a", 1, 4, None),
            lag("b", 0, 7, Some(9_000)),
            lag("c", 0, 0, Some(0)),
        ];
        let summary = LagSummary { groups_behind: 2, records_max: 9, behind_ms_max: 9_000 };
        assert_eq!(LagSummary::of(&lags), summary);
        assert_eq!(LagSummary::of(&[]), LagSummary::default());
    }
}
