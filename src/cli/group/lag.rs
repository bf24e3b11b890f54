//! How far groups are behind: by partition what is committed, where the log ends, the records between and
//! how old the first of these is.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::admin::{EARLIEST, LATEST};
use crate::client::groups::{Commits, Group};
use crate::client::{Client, ClientError};
use crate::clock;
use crate::types::{Offset, TopicPartition};

/// One partition of a group: it has committed something there, or a member owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub at: TopicPartition,
    pub committed: Option<Offset>,
    pub metadata: String,
    /// `None` where the partition has no leader, or is gone.
    pub end: Option<Offset>,
    /// Records from the committed offset to the end; `None` where either is not known.
    pub lag: Option<i64>,
    /// How old the next record is that the group will read, in milliseconds; 0 where there is none to read.
    pub behind_ms: Option<i64>,
    /// Which of the group's members owns it.
    pub member: Option<usize>,
}

/// Lag of several partitions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    pub partitions: usize,
    pub committed: i64,
    pub end: i64,
    pub lag: i64,
    /// Of the partition that is furthest behind; `None` where it is not known of any.
    pub behind_ms: Option<i64>,
    /// Partitions whose lag is not known, which the sums leave out.
    pub unknown: usize,
}

impl Total {
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Total {
        let mut total = Total::default();
        for row in rows {
            total.partitions += 1;
            total.behind_ms = total.behind_ms.max(row.behind_ms);
            match (row.committed, row.end, row.lag) {
                (Some(committed), Some(end), Some(lag)) => {
                    total.committed += committed.0;
                    total.end += end.0;
                    total.lag += lag;
                }
                _ => total.unknown += 1,
            }
        }
        total
    }
}

/// The rows of each group, in the order of their partitions; all groups are asked about together.
pub fn rows(client: &mut Client, groups: &[(&Group, &Commits)]) -> Result<Vec<Vec<Row>>, ClientError> {
    let mut rows: Vec<Vec<Row>> = groups.iter().map(|(group, commits)| begun(group, commits)).collect();
    let all: BTreeSet<TopicPartition> = rows.iter().flatten().map(|row| row.at.clone()).collect();
    let mut known = |timestamp: i64| -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        let asked: Vec<_> = all.iter().map(|at| (at.clone(), timestamp)).collect();
        let found = client.offsets_at(&asked)?;
        Ok(found.into_iter().filter_map(|(at, offset)| Some((at, offset.ok()??))).collect())
    };
    if all.is_empty() {
        return Ok(rows);
    }
    let (starts, ends) = (known(EARLIEST)?, known(LATEST)?);
    for rows in &mut rows {
        for row in rows.iter_mut() {
            row.end = ends.get(&row.at).copied();
            row.lag = lag(row.committed, row.end);
        }
        add_times(client, rows, &starts)?;
    }
    Ok(rows)
}

fn begun(group: &Group, commits: &Commits) -> Vec<Row> {
    let mut owners: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
    for (index, member) in group.members.iter().enumerate() {
        owners.extend(member.assignment.iter().map(|at| (at, index)));
    }
    let all: BTreeSet<&TopicPartition> = owners.keys().copied().chain(commits.keys()).collect();
    let row = |at: &TopicPartition| {
        let committed = commits.get(at);
        Row {
            at: at.clone(),
            committed: committed.map(|committed| committed.offset),
            metadata: committed.map(|committed| committed.metadata.clone()).unwrap_or_default(),
            end: None,
            lag: None,
            behind_ms: None,
            member: owners.get(at).copied(),
        }
    };
    all.into_iter().map(row).collect()
}

/// A group that has committed more than there is (the topic was made anew) is not ahead.
fn lag(committed: Option<Offset>, end: Option<Offset>) -> Option<i64> {
    Some((end?.0 - committed?.0).max(0))
}

fn add_times(
    client: &mut Client,
    rows: &mut [Row],
    starts: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), ClientError> {
    // What the log has lost already is read from its begin.
    let next = |row: &Row| {
        let committed = row.committed.filter(|_| row.lag.is_some_and(|lag| lag > 0))?;
        Some((row.at.clone(), starts.get(&row.at).map_or(committed, |start| committed.max(*start))))
    };
    let asked: Vec<(TopicPartition, Offset)> = rows.iter().filter_map(next).collect();
    let times = if asked.is_empty() { BTreeMap::new() } else { client.times_at(&asked)? };
    let now = clock::wall_ms();
    for row in rows {
        row.behind_ms = match row.lag {
            Some(0) => Some(0),
            _ => times.get(&row.at).copied().flatten().map(|time| (now - time).max(0)),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PartitionId;

    #[test]
    fn what_is_not_known_is_left_out_of_sums_and_counted() {
        let row = |committed: Option<i64>, end: Option<i64>, behind_ms| Row {
            at: TopicPartition { topic: "t".into(), partition: PartitionId(0) },
            committed: committed.map(Offset),
            metadata: String::new(),
            end: end.map(Offset),
            lag: lag(committed.map(Offset), end.map(Offset)),
            behind_ms,
            member: None,
        };
        let rows =
            [row(Some(5), Some(9), Some(40)), row(None, Some(7), None), row(Some(9), Some(7), Some(0))];
        let expected =
            Total { partitions: 3, committed: 14, end: 16, lag: 4, behind_ms: Some(40), unknown: 1 };
        assert_eq!(Total::of(&rows), expected);
    }
}
