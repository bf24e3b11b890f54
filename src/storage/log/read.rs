//! The read side: slices of files by offset, offsets by timestamp. What the page cache lacks is read ahead off
//! the core, and looked for again.

use std::rc::Rc;

use super::Log;
use crate::protocol::batch::BatchHeader;
use crate::storage::errors::StorageError;
use crate::storage::file::{Cold, FILES_PAUSE, Miss, blocking};
use crate::storage::open_files::past_bound;
use crate::storage::reader::{ReadError, Slice};
use crate::storage::state::State;
use crate::types::{LeaderEpoch, Offset};

/// Read along where a read finds pages cold: who reads there goes on reading.
const AHEAD_BYTES: usize = 64 << 10;

impl Log {
    /// The bytes of batches from `from` on; none at or above `below` (the high watermark), none unwritten.
    /// `None`: nothing there yet. With `min_one` the first batch is whole even above `max_bytes`; without,
    /// a first batch above `max_bytes` gives `None`.
    pub fn read(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: u32,
        min_one: bool,
    ) -> Result<Option<Slice>, ReadError> {
        self.check_online()?;
        let (log_start, log_end) = (self.log_start.get(), self.log_end.get());
        if from < log_start || from > log_end {
            return Err(ReadError::OutOfRange { log_start, log_end });
        }
        let below = below.min(self.written.get());
        if from >= below {
            return Ok(None);
        }
        let read = self.state.borrow_mut().read(from, below, self.written.get(), max_bytes, min_one);
        read.map_err(|miss| match miss {
            Miss::Cold(cold) => ReadError::Cold(cold),
            Miss::Busy => ReadError::Busy,
            Miss::Io(error) => ReadError::Offline(StorageError::io("read", &self.dir(), &error)),
        })
    }

    /// Brings a range that a read found cold into the page cache.
    pub async fn warm(&self, cold: Cold) -> Result<(), StorageError> {
        self.bring(cold, AHEAD_BYTES).await
    }

    async fn bring(&self, cold: Cold, bytes_min: usize) -> Result<(), StorageError> {
        blocking(move || {
            let mut bytes = vec![0; (cold.length as usize).max(bytes_min)];
            match cold.file.read_at(&mut bytes, cold.position) {
                Ok(_) => Ok(()),
                Err(error) => Err(StorageError::io("read", cold.file.path(), &error)),
            }
        })
        .await
    }

    /// Lets some time pass in which slices that are in flight may arrive, after [`ReadError::Busy`].
    pub async fn room(&self) {
        glommio::timer::sleep(FILES_PAUSE).await;
    }

    /// The bytes of a slice, for who has to look into them. Read off this core where they are not in memory.
    pub async fn bytes_of(&self, slice: &Slice) -> Result<Vec<u8>, StorageError> {
        let Slice { file, position, length, .. } = slice.clone();
        blocking(move || {
            let mut bytes = vec![0; length as usize];
            match file.read_at(&mut bytes, position) {
                Ok(count) => {
                    bytes.truncate(count);
                    Ok(bytes)
                }
                Err(error) => Err(StorageError::io("read", file.path(), &error)),
            }
        })
        .await
    }

    /// The header of the first batch whose last offset is at least `offset`, `None` behind the last batch that is
    /// written. Where it is in memory no thread is asked; where not, no more is read than it takes.
    pub async fn header_at(&self, offset: Offset) -> Result<Option<BatchHeader>, StorageError> {
        self.brought(0, |state| state.header_at(offset)).await
    }

    /// Between which times the log came to `offset`, in milliseconds, as the entries of its segment's time index on both
    /// sides have it; `None` where there is none on one of them. Each is the largest timestamp that far, so where
    /// records are in the order of their times that of the record at `offset` lies between.
    pub async fn times_around(&self, offset: Offset) -> Result<Option<(i64, i64)>, StorageError> {
        self.brought(0, |state| state.times_around(offset)).await
    }

    /// The first record from the log's start on whose timestamp is at least `timestamp_ms`: its timestamp,
    /// offset and leader epoch.
    pub async fn offset_for_timestamp(
        self: &Rc<Self>,
        timestamp_ms: i64,
    ) -> Result<Option<(i64, Offset, LeaderEpoch)>, StorageError> {
        let log_start = self.log_start.get();
        let mut from = Offset::ZERO;
        loop {
            let found = self.warmly(|state| state.search_by_time(timestamp_ms, log_start, from)).await?;
            let Some((search, end)) = found else { return Ok(None) };
            let is_late_enough = move |batch_timestamp_ms| batch_timestamp_ms >= timestamp_ms;
            let is_wanted = move |record_ms, offset| record_ms >= timestamp_ms && offset >= log_start;
            let record = blocking(move || search.first_record(is_late_enough, is_wanted)).await?;
            if record.is_some() {
                return Ok(record);
            }
            from = end;
        }
    }

    /// The first record of the batch with the largest timestamp that has it: timestamp, offset, leader epoch.
    pub async fn max_timestamp(self: &Rc<Self>) -> Result<Option<(i64, Offset, LeaderEpoch)>, StorageError> {
        let search = self.warmly(State::search_largest).await?;
        let Some((search, largest_ms)) = search else { return Ok(None) };
        blocking(move || {
            search.first_record(|batch| batch == largest_ms, |timestamp, _| timestamp == largest_ms)
        })
        .await
    }

    /// Repeats a look into the state until all that it needs is in memory. It waits for no peer's slices, and
    /// gives none itself.
    pub(super) async fn warmly<T>(
        &self,
        look: impl Fn(&mut State) -> Result<T, Miss>,
    ) -> Result<T, StorageError> {
        self.brought(AHEAD_BYTES, look).await
    }

    /// The same, with so many bytes read at least where something is not.
    async fn brought<T>(
        &self,
        bytes_min: usize,
        look: impl Fn(&mut State) -> Result<T, Miss>,
    ) -> Result<T, StorageError> {
        loop {
            self.check_online()?;
            let looked = past_bound(|| look(&mut self.state.borrow_mut()));
            match looked {
                Ok(found) => return Ok(found),
                Err(Miss::Cold(cold)) => self.bring(cold, bytes_min).await?,
                // The process has no descriptor left.
                Err(Miss::Busy) => self.room().await,
                Err(Miss::Io(error)) => return Err(StorageError::io("read", &self.dir(), &error)),
            }
        }
    }
}
