//! How far groups are behind: for each committed offset the records that follow it, and the age of the first
//! of them. Measured now and then in the background, kept in `metrics.rs`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Ask, Shard};
use crate::broker::partition::Partition;
use crate::clock;
use crate::group::Groups;
use crate::metrics::{self, GroupLag};
use crate::protocol::batch::BatchHeader;
use crate::runtime::tasks::Pace;
use crate::types::{Offset, PartitionId, TopicId};

const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// Positions that a core looks up in one round; where there are more, the next rounds go on.
const POSITIONS_MAX: usize = 10_000;
/// Positions that a round looks up at a time, and those of topics that exist that it measures: each some hundred
/// microseconds of work.
const LOOKED_UP: usize = 512;
const MEASURED: usize = 16;
/// How exact an age is at least that is told by the time index: lag is shown in seconds.
const ABOUT_MS: i64 = 1_000;
/// Positions whose lag a core keeps; those past them are measured no more.
const KEPT_MAX: usize = 100_000;

/// A walk over all committed offsets of a core, some of them a round. What is committed for the first time while the
/// walk is under way is in the next one; a group of more positions than a round, where that happens to it between two
/// rounds, may have some measured twice and some in the next walk alone.
#[derive(Default)]
struct Walk {
    /// The groups that are left, with the partition of the offsets topic that keeps each.
    groups: Vec<(PartitionId, Rc<str>)>,
    /// Positions of the last of them that are done.
    passed_over: usize,
    measured: Vec<GroupLag>,
}

/// A committed offset to measure.
struct Position {
    group: Arc<str>,
    topic: Arc<str>,
    topic_id: TopicId,
    partition: PartitionId,
    committed: Offset,
}

impl Shard {
    /// Measures the groups of this core's coordinators, for as long as it runs.
    pub async fn measure_lags(self: Rc<Self>) {
        let mut walk = Walk::default();
        loop {
            glommio::timer::sleep(MEASURE_EVERY).await;
            if let Some(lags) = self.measure_round(&mut walk, POSITIONS_MAX).await {
                metrics::set_group_lags(self.id.0, lags);
            }
        }
    }

    /// Measures what is to be among the next `most` positions of a walk, or begins one; gives all of them when it is
    /// through.
    async fn measure_round(self: &Rc<Self>, walk: &mut Walk, most: usize) -> Option<Vec<GroupLag>> {
        if walk.groups.is_empty() {
            for coordinator in self.group_coordinators() {
                let kept_in = coordinator.partition();
                coordinator.peek(|groups| {
                    walk.groups.extend(groups.offsets().groups().map(|group| (kept_in, group.clone())));
                });
            }
        }
        let (mut left, mut pace) = (most, Pace::begin());
        while left > 0 && !walk.groups.is_empty() {
            pace.step().await;
            let (positions, looked_at) = self.next_positions(walk, left.min(LOOKED_UP));
            left -= looked_at;
            for some in positions.chunks(MEASURED) {
                pace.step().await;
                walk.measured.extend(self.lags_of(some).await);
            }
        }
        if walk.measured.len() >= KEPT_MAX {
            walk.groups.clear();
        }
        walk.groups.is_empty().then(|| std::mem::take(&mut walk.measured))
    }

    /// Looks at the next `most` positions of a walk; gives those whose topics exist, and how many it looked at. A
    /// group without any is one.
    fn next_positions(&self, walk: &mut Walk, most: usize) -> (Vec<Position>, usize) {
        let image = self.image();
        let (mut positions, mut left) = (Vec::new(), most);
        while left > 0
            && let Some((kept_in, group)) = walk.groups.last()
        {
            let mut looked_at = 0;
            let look = |groups: &Groups| {
                let name: Arc<str> = (&**group).into();
                let offsets = groups.offsets().of_group(group).skip(walk.passed_over);
                for (topic, partition, committed) in offsets.take(left) {
                    looked_at += 1;
                    let Some(topic) = image.topic(topic) else { continue };
                    positions.push(Position {
                        group: name.clone(),
                        topic: topic.name.clone(),
                        topic_id: topic.id,
                        partition,
                        committed: committed.offset,
                    });
                }
            };
            self.group_coordinator(*kept_in).and_then(|coordinator| coordinator.peek(look));
            walk.passed_over += looked_at;
            if looked_at < left {
                walk.groups.pop();
                walk.passed_over = 0;
            }
            left -= looked_at.max(1);
        }
        (positions, most - left)
    }

    async fn lags_of(self: &Rc<Self>, positions: &[Position]) -> Vec<GroupLag> {
        let asks = positions.iter().enumerate().map(|(index, position)| Ask {
            topic: position.topic_id,
            partition: position.partition,
            with: (index, position.committed),
        });
        let measured = self
            .on_owners(asks.collect(), |partition, (index, committed)| async move {
                let partition = partition?;
                let records = partition.high_watermark().0.saturating_sub(committed.0).max(0);
                let behind_ms = if records > 0 { behind_ms(&partition, committed).await } else { Some(0) };
                Some((index, records, behind_ms))
            })
            .await;
        let lag = |(index, records, behind_ms): (usize, i64, Option<i64>)| {
            let Position { group, topic, partition, .. } = &positions[index];
            GroupLag {
                group: group.clone(),
                topic: topic.clone(),
                partition: partition.0,
                records,
                behind_ms,
            }
        };
        measured.into_iter().flatten().map(lag).collect()
    }
}

/// How long ago the log came to the first record behind a committed offset, in milliseconds; `None` where that has no
/// timestamp or cannot be read.
///
/// The time index tells it where its entries on both sides are of about the same time, as in a topic that is written
/// to all the time: that is the cheaper look, and one record whose producer's clock is wrong does not show. Else
/// the header of the record's batch is read: between two entries lie `index.interval.bytes` of records, which in a
/// quiet topic are hours, and behind a timestamp of the future there are none. `benches/groups --only lag` has what
/// either costs.
async fn behind_ms(partition: &Partition, committed: Offset) -> Option<i64> {
    let log = partition.log();
    let offset = committed.max(log.log_start());
    let timestamp = match log.times_around(offset).await.ok()? {
        Some((before, after)) if after - before <= ABOUT_MS => before,
        _ => timestamp_ms(&log.header_at(offset).await.ok()??)?,
    };
    Some((clock::wall_ms() - timestamp).max(0))
}

/// The timestamp of the first record of a batch, which is that of the record sought or, where the offset lies
/// inside the batch, older by less than the batch took to fill.
fn timestamp_ms(header: &BatchHeader) -> Option<i64> {
    let attributes = header.attributes();
    // Under LogAppendTime the records have the largest; and compaction may keep a time to delete where the
    // first one's was (KIP-534).
    let timestamp = match attributes.is_log_append_time() || attributes.has_delete_horizon() {
        true => header.max_timestamp.get(),
        false => header.base_timestamp.get(),
    };
    (timestamp >= 0).then_some(timestamp)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::broker::partition::Acks;
    use crate::group::OFFSETS_TOPIC;
    use crate::protocol::builder::BatchBuilder;
    use crate::protocol::stored::group::{OffsetCommitKey, OffsetCommitValue, Record};
    use crate::shard::testing::{begin_to_write, groups_are_loaded, make_topic, on_cores};

    async fn commit(shard: &Shard, group: &str, topic: &'static str, partition: i32, offset: i64) {
        let group_id = group.to_owned();
        let key = OffsetCommitKey { group: group_id, topic: topic.into(), partition: PartitionId(partition) };
        let value = OffsetCommitValue { offset: Offset(offset), ..OffsetCommitValue::default() };
        let record = Record::OffsetCommit(key, Some(value));
        shard.ask_group(group, move |_, _, outcome| outcome.record(record)).await.unwrap();
    }

    /// A whole walk, and how many positions each of its rounds measured.
    async fn walk(shard: &Rc<Shard>, most: usize) -> (Vec<GroupLag>, Vec<usize>) {
        let (mut walk, mut rounds, mut before) = (Walk::default(), Vec::new(), 0);
        loop {
            let all = shard.measure_round(&mut walk, most).await;
            let count = all.as_ref().map_or(walk.measured.len(), Vec::len);
            rounds.push(count - before);
            before = count;
            if let Some(all) = all {
                return (all, rounds);
            }
        }
    }

    #[test]
    fn every_position_is_measured_in_some_round_and_no_round_measures_more_than_its_part() {
        on_cores(1, "", |shard| async move {
            make_topic(&shard, "t", 7).await;
            make_topic(&shard, OFFSETS_TOPIC, 3).await;
            groups_are_loaded(&shard).await;
            begin_to_write(&shard).await;
            let mut wanted = BTreeSet::new();
            // Of one group all rounds but one, of another nothing that is left.
            for (group, partitions) in [("a", 7), ("b", 1), ("c", 3), ("d", 0)] {
                for partition in 0..partitions {
                    commit(&shard, group, "t", partition, 0).await;
                    wanted.insert((group.to_owned(), partition));
                }
                commit(&shard, group, "is gone", 0, 0).await;
            }
            for most in [1, 2, 3, 4, 5, 100] {
                let (lags, rounds) = walk(&shard, most).await;
                let measured: BTreeSet<_> =
                    lags.iter().map(|lag| (lag.group.to_string(), lag.partition)).collect();
                assert_eq!((measured, lags.len()), (wanted.clone(), wanted.len()), "{most} a round");
                assert!(rounds.iter().all(|count| *count <= most), "{rounds:?}, {most} a round");
            }
        });
    }

    #[test]
    fn positions_of_topics_that_are_gone_count_as_looked_at() {
        on_cores(1, "", |shard| async move {
            make_topic(&shard, OFFSETS_TOPIC, 1).await;
            groups_are_loaded(&shard).await;
            begin_to_write(&shard).await;
            for partition in 0..50 {
                commit(&shard, "g", "is gone", partition, 0).await;
            }
            let mut walk = Walk::default();
            assert!(shard.measure_round(&mut walk, 20).await.is_none(), "a round is over before the walk");
            assert_eq!(walk.passed_over, 20);
            let (positions, looked_at) = shard.next_positions(&mut walk, 10);
            assert_eq!((positions.len(), looked_at, walk.passed_over), (0, 10, 30));
            // A group whose offsets are gone since is looked at all the same.
            let no_group = (PartitionId(0), Rc::<str>::from("nobody"));
            let mut walk = Walk { groups: vec![no_group; 5], ..Walk::default() };
            assert_eq!(shard.next_positions(&mut walk, 3).1, 3);
            assert_eq!(walk.groups.len(), 2);
        });
    }

    #[test]
    fn a_group_is_as_far_behind_as_its_first_unread_record_is_old() {
        on_cores(2, "", |shard| async move {
            let topic = make_topic(&shard, "t", 1).await;
            make_topic(&shard, OFFSETS_TOPIC, 4).await;
            groups_are_loaded(&shard).await;
            begin_to_write(&shard).await;
            let now_ms = clock::wall_ms();
            let ask = Ask { topic, partition: PartitionId(0), with: () };
            let append = move |partition: Option<Rc<Partition>>, ()| async move {
                let partition = partition.unwrap();
                let batches = [
                    (BatchBuilder::new(), vec![now_ms - 50_000, now_ms - 40_000]),
                    (BatchBuilder::new(), vec![now_ms - 30_000]),
                    // The producer's clock is wrong; the broker's time is the largest.
                    (BatchBuilder::new().log_append_time(), vec![1, now_ms - 20_000]),
                    (BatchBuilder::new(), vec![-1]),
                ];
                for (mut batch, timestamps) in batches {
                    for timestamp_ms in timestamps {
                        batch.append(timestamp_ms, None, Some(b"x"), &[]);
                    }
                    let appended = partition.append_own(batch.build().unwrap(), Acks::All).unwrap();
                    partition.keep_promise(&appended).await.unwrap();
                }
            };
            shard.on_owners(vec![ask], append).await;
            for (offset, records, behind_ms) in [
                (0, 6, Some(50_000)),
                // Inside a batch its beginning counts.
                (1, 5, Some(50_000)),
                (2, 4, Some(30_000)),
                (3, 3, Some(20_000)),
                (4, 2, Some(20_000)),
                (5, 1, None),
                (6, 0, Some(0)),
                // Committed before the log was made anew.
                (99, 0, Some(0)),
            ] {
                commit(&shard, "g", "t", 0, offset).await;
                // It is on one of the cores.
                let measured = shard.on_every_core(|shard| async move { walk(&shard, 100).await.0 }).await;
                let lag = measured.into_iter().flatten().next().unwrap();
                assert_eq!((&*lag.topic, lag.records), ("t", records));
                let late_ms = clock::wall_ms() - now_ms;
                let right = match (behind_ms, lag.behind_ms) {
                    (None, behind_ms) => behind_ms.is_none(),
                    (Some(0), behind_ms) => behind_ms == Some(0),
                    (Some(wanted), behind_ms) => {
                        behind_ms.is_some_and(|ms| (wanted..=wanted + late_ms).contains(&ms))
                    }
                };
                assert!(right, "offset {offset}: {:?}, not {behind_ms:?}", lag.behind_ms);
            }
        });
    }

    #[test]
    fn in_a_topic_that_is_written_to_all_the_time_the_time_index_tells_the_age() {
        on_cores(1, "", |shard| async move {
            let topic = make_topic(&shard, "t", 1).await;
            begin_to_write(&shard).await;
            let partition = shard.partition(topic, PartitionId(0)).unwrap();
            let now_ms = clock::wall_ms();
            let value = [7; 5_000];
            // An entry for every batch: ten in a second, one of a wrong clock, then one in ten seconds.
            let steady = (0..10).map(|n| now_ms - 100_000 + 100 * n);
            let all = steady.chain([1]).chain((0..10).map(|n| now_ms - 99_000 + 100 * n));
            for timestamp_ms in all.chain([now_ms - 50_000, now_ms - 40_000]) {
                let mut batch = BatchBuilder::new();
                batch.append(timestamp_ms, None, Some(&value), &[]);
                let appended = partition.append_own(batch.build().unwrap(), Acks::All).unwrap();
                partition.keep_promise(&appended).await.unwrap();
            }
            for (offset, least_ms, most_ms) in [
                (5, 99_500, 99_600),
                // The log came to it a hundred seconds ago, whatever its producer says.
                (10, 99_000, 99_200),
                (15, 98_500, 98_700),
                // The entries on both sides are far apart: the record's own time counts.
                (21, 50_000, 50_000),
                (22, 40_000, 40_000),
            ] {
                let behind_ms = behind_ms(&partition, Offset(offset)).await.unwrap();
                let late_ms = clock::wall_ms() - now_ms;
                assert!((least_ms..=most_ms + late_ms).contains(&behind_ms), "offset {offset}: {behind_ms}");
            }
        });
    }
}
