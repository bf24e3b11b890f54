//! The checkpoint files of the log directories: one writer for all cores, on the first.

use std::io;
use std::sync::Arc;

use ahash::AHashSet;

use super::{LogDir, Shard, post};
use crate::metadata::Image;
use crate::storage::checkpoint::{self, Offsets};
use crate::types::{Offset, ShardId, TopicPartition};

/// What the files say of one partition.
struct Line {
    name: TopicPartition,
    /// Which of `log.dirs` keeps it.
    dir: usize,
    flushed: Offset,
    high_watermark: Offset,
    log_start: Offset,
}

impl Shard {
    /// Has the first core write the checkpoint files; a raised log start is durable when it returns.
    pub async fn keep_log_starts(&self) -> io::Result<()> {
        let posted = post(ShardId(0), |first| async move { first.write_checkpoints().await }).await;
        posted.await.unwrap_or_else(|_stopped| Err(io::ErrorKind::Interrupted.into()))
    }

    /// Writes the checkpoint files of every log directory from what all cores say. Durable when it returns.
    pub async fn write_checkpoints(&self) -> io::Result<()> {
        let _in_turn =
            self.checkpoints.acquire_permit(1).await.map_err(|_closed| io::ErrorKind::Interrupted)?;
        let lines = self
            .gather_partitions(|shard, partition| Line {
                name: partition.name(),
                dir: shard.dir_index_of(partition),
                flushed: partition.log().flushed(),
                high_watermark: partition.high_watermark(),
                log_start: partition.log().log_start(),
            })
            .await;
        let (node, image) = (self.node.clone(), self.node.images.latest());
        // With many partitions this takes long, so it is not done on the core.
        glommio::executor().spawn_blocking(move || write(&node.log_dirs, &lines, &image)).await
    }
}

fn write(dirs: &[LogDir], lines: &[Line], image: &Arc<Image>) -> io::Result<()> {
    let open: AHashSet<&TopicPartition> = lines.iter().map(|line| &line.name).collect();
    for (index, dir) in dirs.iter().enumerate() {
        let mut recovery_points = Offsets::new();
        let mut high_watermarks = Offsets::new();
        let mut log_starts = Offsets::new();
        for line in lines.iter().filter(|line| line.dir == index) {
            recovery_points.insert(line.name.clone(), line.flushed);
            high_watermarks.insert(line.name.clone(), line.high_watermark);
            if line.log_start > Offset::ZERO {
                log_starts.insert(line.name.clone(), line.log_start);
            }
        }
        // What is not open yet keeps its lines: a log start that was lost would bring deleted records back.
        let unopened = |name: &TopicPartition| {
            image.partition(&name.topic, name.partition).is_some() && !open.contains(name)
        };
        let keep = |known: &Offsets, lines: &mut Offsets| {
            let kept = known.iter().filter(|(name, _)| unopened(name));
            lines.extend(kept.map(|(name, offset)| (name.clone(), *offset)));
        };
        keep(&dir.recovery_points, &mut recovery_points);
        keep(&dir.log_starts, &mut log_starts);
        checkpoint::write_offsets(&dir.path.join(checkpoint::RECOVERY_POINTS), &recovery_points)?;
        checkpoint::write_offsets(&dir.path.join(checkpoint::HIGH_WATERMARKS), &high_watermarks)?;
        checkpoint::write_offsets(&dir.path.join(checkpoint::LOG_STARTS), &log_starts)?;
    }
    Ok(())
}
