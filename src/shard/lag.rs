//! How far groups are behind: for each committed offset the records that follow it, and the age of the first
//! of them. Measured now and then in the background, kept in `metrics.rs`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Ask, Shard};
use crate::broker::partition::Partition;
use crate::clock;
use crate::metrics::{self, GroupLag};
use crate::protocol::batch::{BatchHeader, HEADER_BYTES};
use crate::storage::Slice;
use crate::types::{Offset, PartitionId, TopicId};

const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// Positions that a core measures in one round; where there are more, the next rounds go on.
const POSITIONS_MAX: usize = 10_000;

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
        let mut passed_over = 0;
        loop {
            glommio::timer::sleep(MEASURE_EVERY).await;
            let (positions, next) = self.committed_positions(passed_over);
            passed_over = next;
            let lags = self.lags_of(positions).await;
            metrics::set_group_lags(self.id.0, lags);
        }
    }

    /// Up to [`POSITIONS_MAX`] positions behind the first `pass_over`, and how many the next round passes over.
    fn committed_positions(&self, pass_over: usize) -> (Vec<Position>, usize) {
        let image = self.image();
        let mut positions = Vec::new();
        for coordinator in self.group_coordinators() {
            coordinator.peek(|groups| {
                for group in groups.offsets().groups() {
                    let name: Arc<str> = (&**group).into();
                    for (topic, partition, committed) in groups.offsets().of_group(group) {
                        let Some(topic) = image.topic(topic) else { continue };
                        positions.push(Position {
                            group: name.clone(),
                            topic: topic.name.clone(),
                            topic_id: topic.id,
                            partition,
                            committed: committed.offset,
                        });
                    }
                }
            });
        }
        let count = positions.len();
        let taken: Vec<_> = positions.into_iter().skip(pass_over).take(POSITIONS_MAX).collect();
        let passed = pass_over + taken.len();
        (taken, if passed < count { passed } else { 0 })
    }

    async fn lags_of(self: &Rc<Self>, positions: Vec<Position>) -> Vec<GroupLag> {
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

/// The age of the batch that holds the first record behind a committed offset; `None` where it cannot be told.
async fn behind_ms(partition: &Partition, committed: Offset) -> Option<i64> {
    let log = partition.log();
    let from = committed.max(log.log_start());
    let slice = log.read(from, partition.high_watermark(), 1, true).ok()??;
    let header = Slice { length: slice.length.min(HEADER_BYTES as u32), ..slice };
    let bytes = log.bytes_of(&header).await.ok()?;
    let timestamp = BatchHeader::parse(&bytes)?.base_timestamp.get();
    (timestamp >= 0).then(|| (clock::wall_ms() - timestamp).max(0))
}
