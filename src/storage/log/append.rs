//! The append side: a batch gets its offset and is staged; nothing here writes or awaits.

use std::rc::Rc;

use bytes::Bytes;
use zerocopy::{FromBytes, IntoBytes};

use super::{Appended, Log};
use crate::protocol::batch::{BatchHeader, CheckedBatch, HEADER_BYTES, TimestampType};
use crate::storage::errors::AppendError;
use crate::storage::file::{Fault, planted};
use crate::storage::producers::ProducedBy;
use crate::storage::reader::Place;
use crate::storage::state::Staged;
use crate::types::LeaderEpoch;

impl Log {
    /// Gives the batch its offset and stages it; the appender writes it at the end of the turn.
    pub fn append(
        self: &Rc<Self>,
        batch: &CheckedBatch,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.check_online()?;
        let bytes = self.check_size(batch.bytes.len())?;
        let first = self.log_end.get();
        let by = ProducedBy::of(batch.header());
        if let Some(by) = by.filter(|_| !planted(Fault::SkipDuplicateCheck))
            && let Some(original) = self.state.borrow().producers.check(&by, first, &self.name)?
        {
            return Ok(Appended {
                base_offset: original.first_offset(),
                last_offset: original.last_offset,
                log_append_time_ms: original.timestamp_ms,
                log_start: self.log_start.get(),
                duplicate: true,
                flush_first: self.flush_is_due(),
            });
        }
        let log_append_time = (batch.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
        let timestamp_ms = log_append_time.unwrap_or(batch.max_timestamp);
        let place = Place { first, last: first.plus(i64::from(batch.last_offset_delta)), position: 0, bytes };
        let header = batch.stamp(first, leader_epoch, log_append_time);
        let staged = Staged { header, batch: batch.bytes.clone(), place };
        self.stage(staged, by, false, timestamp_ms, leader_epoch, now_ms);
        Ok(Appended {
            base_offset: first,
            last_offset: place.last,
            log_append_time_ms: log_append_time.unwrap_or(-1),
            log_start: self.log_start.get(),
            duplicate: false,
            flush_first: self.flush_is_due(),
        })
    }

    /// Appends one batch that this broker built itself (coordinators, the metadata log): it may be a control
    /// batch, and sequences are not looked at. Only base offset and leader epoch are set.
    pub fn append_own(
        self: &Rc<Self>,
        batch: Bytes,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.check_online()?;
        let bytes = self.check_size(batch.len())?;
        let (mut header, _) =
            BatchHeader::read_from_prefix(&batch).expect("a built batch has a whole header");
        let first = self.log_end.get();
        header.base_offset = first.0.into();
        header.partition_leader_epoch = leader_epoch.0.into();
        let place = Place { first, last: header.last_offset(), position: 0, bytes };
        let is_control = header.attributes().is_control();
        let mut stamped = [0; HEADER_BYTES];
        stamped.copy_from_slice(header.as_bytes());
        let staged = Staged { header: stamped, batch, place };
        let timestamp_ms = header.max_timestamp.get();
        self.stage(staged, ProducedBy::of(&header), is_control, timestamp_ms, leader_epoch, now_ms);
        Ok(Appended {
            base_offset: first,
            last_offset: place.last,
            log_append_time_ms: -1,
            log_start: self.log_start.get(),
            duplicate: false,
            flush_first: self.flush_is_due(),
        })
    }

    fn check_size(&self, bytes: usize) -> Result<u32, AppendError> {
        let most = self.state.borrow().config.segment_bytes;
        u32::try_from(bytes).ok().filter(|bytes| *bytes <= most).ok_or_else(|| {
            AppendError::BatchTooLarge(format!(
                "Message batch size is {bytes} bytes in append to partition {}, which exceeds the maximum \
                 configured segment size of {most}.",
                self.name
            ))
        })
    }

    fn flush_is_due(&self) -> bool {
        let unflushed = self.log_end.get().0 - self.flushed.get().0;
        unflushed >= self.state.borrow().config.flush_messages
    }

    fn stage(
        self: &Rc<Self>,
        mut staged: Staged,
        by: Option<ProducedBy>,
        is_control: bool,
        timestamp_ms: i64,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) {
        let place = staged.place;
        debug_assert_eq!(place.first, self.log_end.get());
        let mut state = self.state.borrow_mut();
        state.roll_if_due(place, timestamp_ms, now_ms);
        let interval = state.config.index_interval_bytes;
        let segment = state.newest();
        staged.place.position = segment.size;
        segment.stage(place.bytes, place.last, timestamp_ms, interval);
        if let Some(by) = by {
            match is_control {
                false => state.producers.note(&by, place.first, place.last, timestamp_ms),
                true => state.producers.note_marker(&by, -1, timestamp_ms),
            }
        }
        if state.epochs.assign(leader_epoch, place.first) {
            state.epochs_dirty = true;
        }
        state.staged_bytes += staged.batch.len();
        state.staged.push_back(staged);
        drop(state);
        self.log_end.set(place.last.plus(1));
        self.mark_dirty();
        if self.flush_is_due() {
            self.want_flush(self.log_end.get());
        }
        if planted(Fault::AnswerBeforeWrite) {
            self.set_written(self.log_end.get());
        }
    }

    pub(super) fn mark_dirty(self: &Rc<Self>) {
        if !self.dirty.replace(true) {
            self.appender.mark_dirty(self);
        }
    }
}
