//! Upkeep: housekeeping, retention, truncation, and how a log ends.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::Poll;

use super::Log;
use crate::storage::cold::Cut;
use crate::storage::config::{LogConfig, Opening};
use crate::storage::errors::StorageError;
use crate::storage::file::{self, blocking};
use crate::storage::open_files::Later;
use crate::storage::segment::{
    DELETED_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, OnDisk, SNAPSHOT_SUFFIX, Segment, TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX, path_of,
};
use crate::types::Offset;

impl Log {
    pub fn config(&self) -> Rc<LogConfig> {
        self.state.borrow().config.clone()
    }

    /// Takes effect with the next append or housekeeping.
    pub fn set_config(&self, config: Rc<LogConfig>) {
        self.state.borrow_mut().config = config;
    }

    /// Raises the log start (DeleteRecords, retention); `false` where it is there already. Durable once the
    /// caller has written the log-start-offset checkpoint; the caller has held `to` against the high watermark.
    pub fn advance_log_start(&self, to: Offset) -> bool {
        let to = to.min(self.log_end.get());
        if to <= self.log_start.get() {
            return false;
        }
        self.log_start.set(to);
        let mut state = self.state.borrow_mut();
        if state.epochs.truncate_from_start(to) {
            state.epochs_dirty = true;
        }
        true
    }

    /// Housekeeping; call it every few seconds. Flushes by `flush.ms`, forgets silent producers, closes what
    /// nobody uses.
    pub fn tick(self: &Rc<Self>, now_ms: i64) {
        if self.offline.borrow().is_some() {
            return;
        }
        let mut state = self.state.borrow_mut();
        state.turn = state.turn.wrapping_add(1);
        state.expire_producers(now_ms);
        let idle =
            self.written.get() == self.log_end.get() && !self.writes_wait.get() && !self.flushing.get();
        let trim = if idle { state.close_idle() } else { None };
        let flush = self.flushed.get() < self.log_end.get()
            && now_ms.saturating_sub(state.flushed_at_ms) >= state.config.flush_ms;
        drop(state);
        if let Some((file, bytes)) = trim {
            self.trim(file, bytes);
        }
        if flush {
            self.want_flush(self.log_end.get());
        }
    }

    /// Gives the reserved space behind the newest segment back; writes wait, as a cut must not meet them.
    pub(in crate::storage) fn trim(self: &Rc<Self>, file: Later, bytes: u64) {
        self.writes_wait.set(true);
        let log = self.clone();
        glommio::spawn_local(async move {
            let trimmed = blocking(move || file.open().map(|file| file.truncate(bytes))).await;
            log.writes_wait.set(false);
            match trimmed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return log.go_offline(StorageError::io("trim", &log.dir(), &error)),
                // Nothing was touched; where the file is gone the next write tells.
                Err(error) => tracing::warn!(log = &*log.name, %error, "reserved space is not given back"),
            }
            log.write_staged();
        })
        .detach();
    }

    /// Deletes segments by log start, size and time, none that reaches past `high_watermark`; gives how many.
    pub async fn retain(self: &Rc<Self>, high_watermark: Offset, now_ms: i64) -> Result<usize, StorageError> {
        self.check_online()?;
        let high_watermark = high_watermark.min(self.written.get());
        let ends = (self.log_start.get(), self.log_end.get());
        let count = self.warmly(|state| state.count_to_delete(ends, high_watermark, now_ms)).await?;
        if count == 0 {
            return Ok(0);
        }
        self.delete_oldest(count, now_ms).await?;
        Ok(count)
    }

    async fn delete_oldest(self: &Rc<Self>, count: usize, now_ms: i64) -> Result<(), StorageError> {
        let last = {
            let mut state = self.state.borrow_mut();
            if count == state.segments.len() {
                // Its file says where the log ends, so it must stand before the others go.
                state.roll(self.log_end.get(), now_ms);
            }
            state.segments[count - 1].base
        };
        self.mark_dirty();
        self.newest_on_disk().await?;
        let (gone, new_start) = {
            let mut state = self.state.borrow_mut();
            let count = state.segments.iter().take_while(|segment| segment.base <= last).count();
            let count = count.min(state.segments.len() - 1);
            let gone: Vec<Segment> = state.segments.drain(..count).collect();
            (gone, state.segments[0].base)
        };
        self.advance_log_start(new_start);
        if self.flushed.get() < new_start {
            self.flushed.set(new_start);
            self.waiting_flushed.wake_to(new_start);
        }
        self.bury(gone).await
    }

    /// Renames the files of segments that nobody finds any more, to be removed after a delay.
    async fn bury(&self, gone: Vec<Segment>) -> Result<(), StorageError> {
        let (dir, delay_ms, snapshots) = {
            let mut state = self.state.borrow_mut();
            let mut snapshots = Vec::new();
            for segment in &gone {
                state.unwritten_snapshots.retain(|(offset, _)| *offset != segment.base);
                snapshots.extend(state.snapshots.remove(&segment.base.0).then_some(segment.base));
            }
            (state.dir.clone(), state.config.file_delete_delay_ms, snapshots)
        };
        let mut paths = Vec::new();
        for mut segment in gone {
            tracing::info!(log = &*self.name, base = %segment.base, bytes = segment.written, "a segment is deleted");
            for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, LOG_SUFFIX] {
                paths.push(path_of(&dir, segment.base, suffix));
            }
            segment.release_reserved();
        }
        paths.extend(snapshots.into_iter().map(|offset| path_of(&dir, offset, SNAPSHOT_SUFFIX)));
        let renamed = blocking(move || rename_deleted(paths)).await?;
        for path in renamed {
            self.appender.bury(path, delay_ms);
        }
        Ok(())
    }

    /// Resolves when the newest segment's files are there.
    async fn newest_on_disk(self: &Rc<Self>) -> Result<(), StorageError> {
        loop {
            self.check_online()?;
            let is_there =
                self.state.borrow().segments.back().is_some_and(|segment| segment.on_disk == OnDisk::Present);
            if is_there {
                return Ok(());
            }
            std::future::poll_fn(|context| {
                let newest = self
                    .state
                    .borrow()
                    .segments
                    .back()
                    .is_some_and(|segment| segment.on_disk == OnDisk::Present);
                if newest || self.offline.borrow().is_some() {
                    return Poll::Ready(());
                }
                self.waiting_written.register(Offset(i64::MAX), None, context);
                Poll::Pending
            })
            .await;
        }
    }

    /// Cuts the log back so that it ends at `to` (a follower that diverged). Nothing may be appended
    /// meanwhile.
    pub async fn truncate(self: &Rc<Self>, to: Offset) -> Result<(), StorageError> {
        self.flush().await?;
        self.idle().await;
        // A length that a job brings is not the file's any more afterwards.
        while self.jobs.get() > 0 {
            glommio::timer::sleep(std::time::Duration::from_millis(1)).await;
        }
        self.check_online()?;
        if to >= self.log_end.get() {
            let mut state = self.state.borrow_mut();
            let changed = state.epochs.truncate_from_end(self.log_end.get());
            state.epochs_dirty |= changed;
            return Ok(());
        }
        let (cut, opening) = {
            let mut state = self.state.borrow_mut();
            state.release_reserved();
            state.segments.iter_mut().for_each(Segment::close);
            let bases: Vec<Offset> = state.segments.iter().map(|segment| segment.base).collect();
            let opening = Opening {
                clean: false,
                recovery_point: to,
                log_start: self.log_start.get().min(to),
                topic_id: state.topic_id,
                progress: None,
            };
            (Cut { dir: state.dir.clone(), config: LogConfig::clone(&state.config), bases, to }, opening)
        };
        let now_ms = crate::clock::wall_ms();
        let loaded = blocking(move || cut.perform(&opening, now_ms)).await;
        match loaded {
            Ok(loaded) => {
                self.install(loaded, now_ms);
                Ok(())
            }
            Err(error) => {
                self.go_offline(error.clone());
                Err(error)
            }
        }
    }

    pub(in crate::storage) fn job_posted(&self) {
        self.jobs.set(self.jobs.get() + 1);
    }

    pub(in crate::storage) fn job_done(&self) {
        self.jobs.set(self.jobs.get() - 1);
    }

    /// Resolves when no files are being made and no flush is under way.
    async fn idle(&self) {
        while self.writes_wait.get() || self.flushing.get() {
            glommio::timer::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Writes everything, takes the producer snapshot, completes the indexes, trims and closes the files.
    /// Nothing can be appended or read afterwards. It syncs nothing, as one sync serves all logs of a
    /// directory: [`crate::storage::checkpoint::write_clean_shutdown`] does it, and may be called only when
    /// every log of the directory closed without an error. `flushed` stays what it was.
    pub async fn close(self: &Rc<Self>) -> Result<(), StorageError> {
        self.check_online()?;
        self.written_to(self.log_end.get()).await?;
        self.flush_wanted.set(self.flushed.get());
        self.seal_wanted.set(false);
        self.idle().await;
        self.check_online()?;
        let work = self.state.borrow_mut().close_work(self.log_end.get());
        self.go_offline(StorageError::Closed);
        if let Some(work) = work {
            let done = blocking(move || work.perform()).await?;
            if let Some(lost) = done.gone.first() {
                let path = path_of(&done.dir, *lost, LOG_SUFFIX);
                return Err(StorageError::io("complete", &path, &io::ErrorKind::NotFound.into()));
            }
        }
        self.state.borrow_mut().segments.iter_mut().for_each(Segment::close);
        Ok(())
    }

    /// Takes the log out of use and renames its directory to `<topic>-<partition>.<uuid>-delete`; its files
    /// are gone after `file.delete.delay.ms`. Readers keep what they hold.
    pub async fn delete(self: &Rc<Self>) -> Result<(), StorageError> {
        // Producers that came before the deletion get their answer.
        let _offline = self.written_to(self.log_end.get()).await;
        self.go_offline(StorageError::Closed);
        self.idle().await;
        let (dir, exists, delay_ms) = {
            let mut state = self.state.borrow_mut();
            state.segments.iter_mut().for_each(Segment::close);
            (state.dir.clone(), state.exists, state.config.file_delete_delay_ms)
        };
        if !exists {
            return Ok(());
        }
        let renamed = dir.with_file_name(deleted_name(&self.name));
        let to = renamed.clone();
        blocking(move || match file::rename(&dir, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StorageError::io("rename", &dir, &e)),
            _ => Ok(()),
        })
        .await?;
        self.appender.bury(renamed, delay_ms);
        Ok(())
    }
}

/// The name of a deleted partition's directory, at most 255 bytes: the topic is cut where it is too long.
fn deleted_name(name: &str) -> String {
    let (topic, partition) = name.rsplit_once('-').unwrap_or((name, "0"));
    let suffix = format!("-{partition}.{}-delete", uuid::Uuid::new_v4().simple());
    let most = 255 - suffix.len();
    let end = (0..=topic.len().min(most)).rev().find(|end| topic.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{suffix}", &topic[..end])
}

/// Renames each file that exists to its name with `.deleted`; gives the new names. Blocks.
fn rename_deleted(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, StorageError> {
    let mut renamed = Vec::with_capacity(paths.len());
    for path in paths {
        let mut to = path.clone().into_os_string();
        to.push(DELETED_SUFFIX);
        let to = PathBuf::from(to);
        match file::rename(&path, &to) {
            Ok(()) => renamed.push(to),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(StorageError::io("rename", &path, &e)),
        }
    }
    Ok(renamed)
}
