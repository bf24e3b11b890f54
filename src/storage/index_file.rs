//! A segment's sparse index: entries of one size in rising order, appended to a file.
//!
//! The newest entries wait in memory and go to the file in blocks: a file that lags behind is no loss,
//! because recovery rebuilds the indexes of every segment that was not flushed. The file holds nothing but
//! entries (Kafka maps and preallocates the active one and trims it at close; a reader sees the same).

use std::path::Path;

use crate::storage::file::{Miss, is_out_of_files};
use crate::storage::open_files::Handle;

/// Entries that wait in memory before the older half of them is written out.
const WAITING_MAX: usize = 1024;
/// A lookup in the file ends by reading one block of at most this many bytes.
const BLOCK_BYTES: usize = 4096;

/// One entry as it lies in the file.
pub trait Entry: Copy {
    const BYTES: usize;
    fn encode(self, into: &mut Vec<u8>);
    /// `from` is exactly [`Entry::BYTES`] long.
    fn decode(from: &[u8]) -> Self;
    /// What lookups compare; rises from entry to entry.
    fn key(self) -> i64;
}

/// The entries of one index. Owns no path: the caller says where the file is.
pub struct IndexFile<E> {
    /// Entries that the file holds.
    on_file: u32,
    /// Entries after those.
    waiting: Vec<E>,
    last: Option<E>,
    file: Handle,
}

impl<E: Entry> Default for IndexFile<E> {
    /// Without entries.
    fn default() -> IndexFile<E> {
        IndexFile::stored(0, None)
    }
}

impl<E: Entry> IndexFile<E> {
    /// An index whose file holds `on_file` entries, the last of them `last` where that is known.
    pub fn stored(on_file: u32, last: Option<E>) -> IndexFile<E> {
        IndexFile { on_file, waiting: Vec::new(), last, file: Handle::default() }
    }

    pub fn entries(&self) -> u32 {
        self.on_file + self.waiting.len() as u32
    }

    /// The last entry where it is known without the file: always, except for an index that was stored and
    /// opened without reading it.
    pub fn last(&self) -> Option<E> {
        self.last
    }

    /// The last entry, read from the file where it is not known.
    pub fn read_last(&mut self, path: &Path) -> Result<Option<E>, Miss> {
        if self.last.is_none() && self.on_file > 0 {
            let mut bytes = [0; BLOCK_BYTES];
            let entry = &mut bytes[..E::BYTES];
            let file = self.file.get(|| path.to_owned())?;
            if file.read_cached_at(entry, u64::from(self.on_file - 1) * E::BYTES as u64)? == E::BYTES {
                self.last = Some(E::decode(entry));
            }
        }
        Ok(self.last)
    }

    pub fn push(&mut self, entry: E) {
        debug_assert!(self.last.is_none_or(|last| last.key() < entry.key()));
        self.waiting.push(entry);
        self.last = Some(entry);
    }

    /// The last entry whose key is at most `key`.
    pub fn floor(&mut self, key: i64, path: &Path) -> Result<Option<E>, Miss> {
        Ok(self.around(|entry| entry.key() <= key, path)?.0)
    }

    /// The last entry that lies before a place and the first that does not. `is_before` holds for the entries up to
    /// some place and for none behind it.
    pub fn around(
        &mut self,
        is_before: impl Fn(E) -> bool,
        path: &Path,
    ) -> Result<(Option<E>, Option<E>), Miss> {
        let first_waiting = self.waiting.first().copied();
        if self.on_file == 0 || first_waiting.is_some_and(&is_before) {
            let after = self.waiting.partition_point(|entry| is_before(*entry));
            let before = after.checked_sub(1).map(|last| self.waiting[last]);
            return Ok((before, self.waiting.get(after).copied()));
        }
        let file = self.file.get(|| path.to_owned())?;
        let block = (BLOCK_BYTES / E::BYTES) as u32;
        // The last one before the place lies in [low, high), and the first that is not at `high` at most.
        let (mut low, mut high) = (0, self.on_file);
        let mut bytes = [0; BLOCK_BYTES];
        while high - low >= block {
            let middle = low + (high - low) / 2;
            let entry = &mut bytes[..E::BYTES];
            if file.read_cached_at(entry, u64::from(middle) * E::BYTES as u64)? < E::BYTES {
                high = middle;
            } else if is_before(E::decode(entry)) {
                low = middle;
            } else {
                high = middle;
            }
        }
        let end = (high + 1).min(self.on_file);
        let wanted = &mut bytes[..(end - low) as usize * E::BYTES];
        let read = file.read_cached_at(wanted, u64::from(low) * E::BYTES as u64)?;
        let (mut before, mut after) = (None, first_waiting);
        for entry in wanted[..read].chunks_exact(E::BYTES).map(E::decode) {
            if !is_before(entry) {
                after = Some(entry);
                break;
            }
            before = Some(entry);
        }
        Ok((before, after))
    }

    /// So many entries wait that the older half should go to the file.
    pub fn wants_spill(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Writes older entries out; they wait on where the process has no descriptor left.
    pub fn spill(&mut self, path: &Path) -> std::io::Result<()> {
        if !self.wants_spill() {
            return Ok(());
        }
        let file = match self.file.get_to_write(|| path.to_owned()) {
            Err(error) if is_out_of_files(&error) => return Ok(()),
            opened => opened?,
        };
        let count = WAITING_MAX / 2;
        let mut bytes = Vec::with_capacity(count * E::BYTES);
        self.waiting[..count].iter().for_each(|entry| entry.encode(&mut bytes));
        file.write_at(&bytes, u64::from(self.on_file) * E::BYTES as u64)?;
        self.waiting.drain(..count);
        self.on_file += count as u32;
        Ok(())
    }

    /// What the file still lacks: the byte where it goes and the bytes. Follow with
    /// [`IndexFile::completed`] once they are written.
    pub fn lacking(&self) -> (u64, Vec<u8>) {
        let mut bytes = Vec::with_capacity(self.waiting.len() * E::BYTES);
        self.waiting.iter().for_each(|entry| entry.encode(&mut bytes));
        (u64::from(self.on_file) * E::BYTES as u64, bytes)
    }

    /// The bytes that [`IndexFile::lacking`] gave are in the file.
    pub fn completed(&mut self, bytes: usize) {
        let count = bytes / E::BYTES;
        self.waiting.drain(..count);
        self.on_file += count as u32;
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }

    /// Lets go of the descriptor.
    pub fn close(&mut self) {
        self.file.close();
    }
}

/// All entries in the bytes of an index file; a torn last entry is left out.
pub fn decode_all<E: Entry>(bytes: &[u8]) -> Vec<E> {
    bytes.chunks_exact(E::BYTES).map(E::decode).collect()
}
