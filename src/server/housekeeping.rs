//! What a core does now and then, on its background queue: slow and idle connections, flushes and expiry in
//! its logs, retention, and (the first core, for all) the checkpoint files.

use std::ops::Add;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::broker::CoreState;
use crate::broker::partition::Partition;
use crate::broker::replay::Progress;
use crate::clock;
use crate::metrics;
use crate::runtime::tasks::Pace;
use crate::shard::Shard;

const TICK_EVERY: Duration = Duration::from_secs(1);
/// How often a start that takes long says how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// Connections are looked at ten times in the time that they may be slow, within these bounds (milliseconds): those
/// on which bytes have moved since, or are under way.
const SLOW_SWEEP_MS: (u64, u64) = (50, 5_000);
/// A look at every one of them misses the caches, so it is taken ten times in the time that they may be idle.
const IDLE_SWEEP_MS: (u64, u64) = (50, 60_000);

/// Ends connections that are idle or too slow.
pub async fn sweep_connections(core: Rc<CoreState>) {
    let server = core.shard.server();
    let idle_ms = u64::try_from(server.connections_max_idle_ms).unwrap_or(u64::MAX);
    let receive_timeout_ms = server.receive_timeout_ms;
    let all_every_ms = (idle_ms / 10).clamp(IDLE_SWEEP_MS.0, IDLE_SWEEP_MS.1);
    let every_ms = (receive_timeout_ms / 10).clamp(SLOW_SWEEP_MS.0, SLOW_SWEEP_MS.1).min(all_every_ms);
    let mut all_due_ms = clock::monotonic_ms() + all_every_ms;
    loop {
        glommio::timer::sleep(Duration::from_millis(every_ms)).await;
        let now_ms = clock::monotonic_ms();
        let mut numbers = core.moved.take();
        if now_ms >= all_due_ms {
            all_due_ms = now_ms + all_every_ms;
            numbers = core.connections.borrow().keys().copied().collect();
        }
        let mut pace = Pace::begin();
        for number in numbers {
            let connection = core.connections.borrow().get(&number).cloned();
            if let Some(connection) = connection {
                if let Some(reason) = connection.expire(now_ms, idle_ms, receive_timeout_ms) {
                    metrics::CONNECTIONS_REFUSED.add(1);
                    tracing::debug!(peer = %connection.peer(), reason, "a connection is closed");
                }
                connection.looked_at();
            }
            pace.step().await;
        }
    }
}

/// Lets each log do what is due: `flush.ms`, producers that expired, files that idle. A log that failed since
/// is made known to all cores.
pub async fn tick_logs(shard: Rc<Shard>) {
    loop {
        glommio::timer::sleep(TICK_EVERY).await;
        shard
            .walk(async |partition| {
                partition.log().tick(clock::wall_ms());
                let key = (partition.topic_id, partition.id);
                if partition.check_online().is_err()
                    && !shard.stopping.get()
                    && !shard.offline().contains(&key)
                {
                    shard.tell_offline(partition.topic_id, partition.id).await;
                }
            })
            .await;
    }
}

/// Deletes what retention no longer keeps, every `log.retention.check.interval.ms`, and starts new segments
/// that are due.
pub async fn retain_logs(shard: Rc<Shard>) {
    glommio::timer::sleep(millis(shard.server().log_initial_task_delay_ms)).await;
    loop {
        shard.walk(retain_log).await;
        glommio::timer::sleep(millis(shard.server().log_retention_check_interval_ms)).await;
    }
}

async fn retain_log(partition: Rc<Partition>) {
    if partition.check_online().is_err() {
        return;
    }
    let high_watermark = partition.high_watermark();
    match partition.log().retain(high_watermark, clock::wall_ms()).await {
        Ok(0) => {}
        Ok(segments) => tracing::info!(
            topic = %partition.topic, partition = partition.id.0, segments, "retention deleted segments"
        ),
        Err(error) => tracing::error!(
            topic = %partition.topic, partition = partition.id.0, %error, "retention failed"
        ),
    }
}

/// Writes the checkpoint files of all cores, every `log.flush.offset.checkpoint.interval.ms`.
pub async fn write_checkpoints(shard: Rc<Shard>) {
    loop {
        glommio::timer::sleep(millis(shard.server().log_flush_offset_checkpoint_interval_ms)).await;
        if let Err(error) = shard.write_checkpoints().await {
            tracing::error!(%error, "the checkpoint files cannot be written");
        }
    }
}

/// Says every two seconds how far recovery is, while there is any.
pub async fn report_recovery(shard: Rc<Shard>) {
    loop {
        glommio::timer::sleep(REPORT_EVERY).await;
        let (wanted, done, bytes, _) = recovery(&shard).await;
        tracing::info!(segments = done, of = wanted, mebibytes = bytes >> 20, "recovering logs");
    }
}

/// Says every two seconds how far the replay of groups and offsets is, until every core is through.
pub async fn report_replay(shard: Rc<Shard>) {
    loop {
        glommio::timer::sleep(REPORT_EVERY).await;
        let cores = shard.gather(|shard| vec![shard.replay_progress()]).await;
        let progress = cores.into_iter().fold(Progress::default(), Add::add);
        if progress.partitions_done == progress.partitions {
            return;
        }
        tracing::info!(
            partitions = progress.partitions_done,
            of = progress.partitions,
            records = progress.offsets_done,
            of_records = progress.offsets,
            mebibytes = progress.bytes_done >> 20,
            "loading groups and offsets"
        );
    }
}

/// Says what recovery did, where it did anything.
pub async fn summarize_recovery(shard: &Shard) {
    let (_, segments, bytes, cut) = recovery(shard).await;
    if segments > 0 {
        tracing::info!(
            segments,
            mebibytes = bytes >> 20,
            bytes_cut = cut,
            "logs recovered after an unclean stop"
        );
    }
}

/// Segments to read, segments and bytes read, bytes cut, over all cores.
async fn recovery(shard: &Shard) -> (u64, u64, u64, u64) {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let of_core = move |shard: &Shard| {
        let r = &shard.recovery;
        vec![(count(&r.segments_wanted), count(&r.segments_done), count(&r.bytes_done), count(&r.bytes_cut))]
    };
    let cores = shard.gather(of_core).await;
    cores
        .into_iter()
        .fold((0, 0, 0, 0), |sum, core| (sum.0 + core.0, sum.1 + core.1, sum.2 + core.2, sum.3 + core.3))
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
}
