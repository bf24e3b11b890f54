//! The write side: what is staged goes to the files, and from there to the device.
//!
//! Writes are made at the end of a turn, in the order of offsets, on the core itself: into preallocated space of
//! the page cache that is a copy in memory. Where it is not, because the device is slow and the kernel holds
//! writers back, the log's writes go to the ring until they are quick again. While a segment's files are made
//! writes wait.
//! Flushes are shared: one at a time a log, each for everything that was written before it.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Log;
use crate::storage::appender::{self, Job};
use crate::storage::errors::StorageError;
use crate::storage::file::{FILES_PATIENCE, FILES_PAUSE, SegmentFile, blocking, is_out_of_files};
use crate::storage::segment::{LOG_SUFFIX, OnDisk, path_of};
use crate::storage::state::{OffCore, Run};
use crate::storage::waiting::WaitFor;
use crate::types::Offset;

/// A write that took so long has stalled: it waited for the device, or the kernel held it back.
const STALL: Duration = Duration::from_millis(20);
/// So many writes in a row must be quick before a log that stalled is written on its core again.
const QUICK_WRITES: u32 = 16;
/// After so many pauses a write that finds no descriptor fails as any other.
const OUT_OF_FILES_MAX: u32 = (FILES_PATIENCE.as_millis() / FILES_PAUSE.as_millis()) as u32;

impl Log {
    /// Writes everything staged, one vectored write for what belongs to one segment. Where a segment's
    /// files must be made first, goes on when they are.
    pub(in crate::storage) fn write_staged(self: &Rc<Self>) {
        self.dirty.set(false);
        while self.offline.borrow().is_none() && !self.writes_wait.get() {
            let mut state = self.state.borrow_mut();
            let Some(index) = state.segment_to_write() else { return };
            if state.segments[index].on_disk == OnDisk::Missing {
                drop(state);
                self.make_files(index);
                return;
            }
            if self.quick_writes_wanted.get() > 0 {
                drop(state);
                self.write_off_core(index);
                return;
            }
            let began = Instant::now();
            let written = state.write_run(index);
            let path = || path_of(&state.dir, state.segments[index].base, LOG_SUFFIX);
            let written = written.map_err(|error| (path(), error));
            drop(state);
            self.note_pace(began.elapsed());
            self.wrote(written);
        }
    }

    /// Writes while the core goes on. Later writes wait, so that the order of offsets is the order of writes.
    fn write_off_core(self: &Rc<Self>, index: usize) {
        let mut state = self.state.borrow_mut();
        let path = path_of(&state.dir, state.segments[index].base, LOG_SUFFIX);
        let run = state.run_off_core(index);
        drop(state);
        let OffCore { file, pieces, planned } = match run {
            Ok(run) => run,
            Err(error) => return self.wrote(Err((path, error))),
        };
        self.writes_wait.set(true);
        let log = self.clone();
        glommio::spawn_local(async move {
            let began = Instant::now();
            let written = file.write_off_core(pieces, planned.position).await;
            log.writes_wait.set(false);
            if log.offline.borrow().is_some() {
                return;
            }
            log.note_pace(began.elapsed());
            let run = written.and_then(|()| log.state.borrow_mut().wrote_off_core(&planned));
            log.wrote(run.map_err(|error| (path, error)));
            log.write_staged();
        })
        .detach();
    }

    /// Counts a write as quick or stalled: from a stalled one on writes leave the core, until so many in a row
    /// were quick.
    fn note_pace(&self, took: Duration) {
        let wanted = self.quick_writes_wanted.get();
        if took < STALL {
            self.quick_writes_wanted.set(wanted.saturating_sub(1));
            return;
        }
        if wanted == 0 {
            tracing::debug!(log = &*self.name, ?took, "a write stalled");
        }
        self.quick_writes_wanted.set(QUICK_WRITES);
    }

    /// As after a write that stalled.
    #[cfg(test)]
    pub(in crate::storage) fn stall(&self) {
        self.note_pace(STALL);
    }

    /// What follows a write, or the failure of one and its path.
    fn wrote(self: &Rc<Self>, written: Result<Run, (PathBuf, io::Error)>) {
        match written {
            Ok(run) => {
                let jobs = self.state.borrow_mut().jobs_ahead(self, run.index);
                self.out_of_files.set(0);
                jobs.into_iter().flatten().for_each(|job| self.appender.post(job));
                self.set_written(run.end);
                if run.rolled {
                    // The segment before is complete: bring it to the device, indexes and all, which a flush
                    // before it ended left out.
                    self.seal_wanted.set(true);
                    self.want_flush(run.base);
                }
            }
            Err((_, error)) if is_out_of_files(&error) && self.out_of_files.get() < OUT_OF_FILES_MAX => {
                self.write_later();
            }
            Err((path, error)) => self.go_offline(StorageError::io("write", &path, &error)),
        }
    }

    /// Writes again after a pause: nothing of the run was written, as its file could not be opened.
    fn write_later(self: &Rc<Self>) {
        self.out_of_files.set(self.out_of_files.get() + 1);
        self.writes_wait.set(true);
        let log = self.clone();
        glommio::spawn_local(async move {
            glommio::timer::sleep(FILES_PAUSE).await;
            log.writes_wait.set(false);
            log.write_staged();
        })
        .detach();
    }

    /// Makes the files of a segment, and before the first one the directory, off the core.
    fn make_files(self: &Rc<Self>, index: usize) {
        self.writes_wait.set(true);
        let making = self.state.borrow_mut().making(index);
        let base = making.base;
        let log = self.clone();
        glommio::spawn_local(async move {
            let dir = making.dir.clone();
            let made = blocking(move || making.make()).await;
            log.writes_wait.set(false);
            match made {
                Ok(reserved) => log.made_files(base, reserved),
                Err(error) => log.go_offline(StorageError::io("make a segment in", &dir, &error)),
            }
        })
        .detach();
    }

    fn made_files(self: &Rc<Self>, base: Offset, reserved: u64) {
        let mut state = self.state.borrow_mut();
        let turn = state.turn;
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) {
            segment.on_disk = OnDisk::Present;
            segment.used_in = turn;
            segment.reserved(0, reserved);
        } else {
            appender::release(reserved);
        }
        drop(state);
        self.waiting_written.wake_all();
        self.write_staged();
    }

    pub(super) fn set_written(&self, to: Offset) {
        debug_assert!(to <= self.log_end.get());
        if to > self.written.get() {
            self.written.set(to);
            self.waiting_written.wake_to(to);
        }
    }

    /// Space from `from` on was reserved (called by the background loop).
    pub(in crate::storage) fn reserved(self: &Rc<Self>, base: Offset, from: u64, bytes: u64) {
        let mut state = self.state.borrow_mut();
        let newest_base = state.newest().base;
        let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) else {
            appender::release(bytes);
            return;
        };
        segment.reserving = false;
        let is_online = self.offline.borrow().is_none();
        if base == newest_base && is_online {
            segment.reserved(from, bytes);
            return;
        }
        appender::release(bytes);
        // Too late: the segment ends already. Nothing writes to it any more once it is whole.
        if base != newest_base && is_online && segment.written == segment.size {
            let bytes = u64::from(segment.written);
            self.appender.post(Job::Trim { log: self.clone(), base, bytes });
        }
    }

    /// A segment's file for work off the core, opened here: by its path another log's file could be met, once
    /// this one is deleted and made anew. None where the segment is gone or the log is offline.
    pub(in crate::storage) fn file_of(&self, base: Offset) -> io::Result<Option<Arc<SegmentFile>>> {
        if self.offline.borrow().is_some() {
            return Ok(None);
        }
        let state = &mut *self.state.borrow_mut();
        let segment = state.segments.iter_mut().find(|segment| segment.base == base);
        segment.map(|segment| segment.open_to_write(&state.dir, state.turn)).transpose()
    }

    /// Write-back was started (called by the background loop).
    pub(in crate::storage) fn wrote_back(&self, base: Offset) {
        let mut state = self.state.borrow_mut();
        if let Some(segment) = state.segments.iter_mut().find(|segment| segment.base == base) {
            segment.writing_back = false;
        }
    }

    // ---- waiting and flushing ----

    /// Resolves when everything below `offset` is in the page cache.
    pub fn written_to(self: &Rc<Self>, offset: Offset) -> WaitFor {
        WaitFor::new(self.clone(), offset, false)
    }

    /// Asks for a flush and resolves when everything below `offset` is on the device. Who asks while one
    /// is under way shares the next.
    pub fn flushed_to(self: &Rc<Self>, offset: Offset) -> WaitFor {
        self.want_flush(offset);
        WaitFor::new(self.clone(), offset, true)
    }

    /// Brings everything appended so far to the device.
    pub async fn flush(self: &Rc<Self>) -> Result<(), StorageError> {
        self.flushed_to(self.log_end.get()).await
    }

    pub(super) fn want_flush(self: &Rc<Self>, to: Offset) {
        let to = to.min(self.log_end.get());
        self.flush_wanted.set(self.flush_wanted.get().max(to));
        if self.is_flush_wanted() && !self.flushing.replace(true) {
            glommio::spawn_local(self.clone().flush_wanted()).detach();
        }
    }

    fn is_flush_wanted(&self) -> bool {
        self.flush_wanted.get() > self.flushed.get() || self.seal_wanted.get()
    }

    /// Flushes until nobody wants more; one at a time a log.
    async fn flush_wanted(self: Rc<Self>) {
        while self.offline.borrow().is_none() && self.is_flush_wanted() {
            if self.written_to(self.flush_wanted.get()).await.is_err() {
                break;
            }
            let asked = self.flush_target().1;
            let slot = self.appender.flush_slot(asked).await;
            let to = self.flush_target().0;
            self.seal_wanted.set(false);
            let work = self.state.borrow_mut().flush_work(to);
            let done = blocking(move || work.perform()).await;
            drop(slot);
            match done.and_then(|done| self.state.borrow_mut().flush_done(done)) {
                Ok(()) => {
                    self.state.borrow_mut().flushed_at_ms = crate::clock::wall_ms();
                    self.flushed.set(self.flushed.get().max(to));
                    self.waiting_flushed.wake_to(self.flushed.get());
                }
                Err(error) => self.go_offline(error),
            }
        }
        self.flushing.set(false);
        self.waiting_flushed.wake_to(self.flushed.get());
    }

    /// Up to where to flush: to everything that is written, unless nobody wants more than the older
    /// segments. And whether somebody asked for it.
    fn flush_target(&self) -> (Offset, bool) {
        let newest_base = self.state.borrow_mut().newest().base;
        match self.flush_wanted.get() <= newest_base {
            true => (self.flush_wanted.get(), !self.waiting_flushed.is_empty()),
            false => (self.written.get(), true),
        }
    }
}
