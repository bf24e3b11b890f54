//! Loading a log from its directory, and mending it after an unclean stop.
//!
//! After a clean stop nothing is scanned but the batches behind the newest index entry. Otherwise every
//! segment that reaches past the recovery point is read: each batch's length, magic, CRC and offsets must
//! be right; at the first that is not, the log ends. Indexes of those segments are written anew, leader
//! epochs taken from their batches, producer state from the newest snapshot and the batches behind it.
//! Everything here blocks and can be cut short and begun again at any point.
//!
//! Source: LogLoader, LogSegment.recover, UnifiedLog.rebuildProducerState.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::batch::{Batch, BatchHeader, HEADER_BYTES, LOG_OVERHEAD, crc_matches};
use crate::protocol::compression::OpenLimits;
use crate::protocol::record::RecordIter;
use crate::storage::checkpoint;
use crate::storage::config::{LogConfig, Opening};
use crate::storage::epochs::{self, Epochs};
use crate::storage::errors::StorageError;
use crate::storage::file::{self, SegmentFile};
use crate::storage::index_file::{Entry, decode_all};
use crate::storage::offset_index::OffsetEntry;
use crate::storage::producers::{ProducedBy, Producers};
use crate::storage::reader::{HeaderWalk, Waiting};
use crate::storage::segment::{
    DELETED_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, Stored, TIME_INDEX_SUFFIX, path_of,
};
use crate::storage::time_index::{TimeEntry, TimeIndex};
use crate::types::{LeaderEpoch, Offset};

/// How far back from the log's end the last batches of producers are looked for.
const TAIL_BYTES_MAX: u64 = 16 << 20;
const TAIL_BYTES_MIN: u64 = 1 << 20;
/// A segment is read in pieces of this size; a batch that is larger, at once.
const READ_BYTES: usize = 1 << 20;

/// How far recovery has come, over all logs that were given it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Segments that must be read.
    pub segments_wanted: AtomicU64,
    pub segments_done: AtomicU64,
    pub bytes_done: AtomicU64,
    /// Bytes that were cut off as torn.
    pub bytes_cut: AtomicU64,
}

/// A log as its directory holds it.
#[derive(Debug)]
pub struct Loaded {
    pub exists: bool,
    /// In order; empty where a first segment at `log_start` must be made.
    pub segments: Vec<Stored>,
    pub log_start: Offset,
    pub log_end: Offset,
    /// Everything below is on the device.
    pub recovery_point: Offset,
    pub producers: Producers,
    pub epochs: Epochs,
    /// Whether the epochs differ from their file.
    pub epochs_changed: bool,
    /// Offsets of the snapshot files.
    pub snapshots: BTreeSet<i64>,
}

/// Loads the log in `dir`. Blocks.
pub fn load(dir: &Path, config: &LogConfig, opening: &Opening, now_ms: i64) -> Result<Loaded, StorageError> {
    Loader { dir, config, opening, now_ms }.load()
}

/// What the name of a directory inside a log directory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryName {
    Partition {
        topic: String,
        partition: i32,
    },
    /// `<topic>-<partition>.<uuid>-delete`: on its way out.
    Deleted,
    /// `-future` and `-stray`: Kafka's, left alone.
    Other,
}

/// Reads a directory's name; `None` where it cannot be a partition's.
pub fn directory_name(name: &str) -> Option<DirectoryName> {
    let dotted = |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.contains('.'));
    if dotted("-delete") {
        return Some(DirectoryName::Deleted);
    }
    if dotted("-future") || dotted("-stray") {
        return Some(DirectoryName::Other);
    }
    let (topic, partition) = name.rsplit_once('-')?;
    let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
    (!topic.is_empty()).then(|| DirectoryName::Partition { topic: topic.to_owned(), partition })
}

struct Loader<'a> {
    dir: &'a Path,
    config: &'a LogConfig,
    opening: &'a Opening,
    now_ms: i64,
}

impl Loader<'_> {
    fn load(&self) -> Result<Loaded, StorageError> {
        let mut loaded = Loaded {
            exists: false,
            segments: Vec::new(),
            log_start: self.opening.log_start,
            log_end: self.opening.log_start,
            recovery_point: self.opening.log_start,
            producers: Producers::default(),
            epochs: Epochs::default(),
            epochs_changed: false,
            snapshots: BTreeSet::new(),
        };
        let Some(names) = self.names()? else { return Ok(loaded) };
        loaded.exists = true;
        self.check_topic_id()?;
        let names = self.finish_swaps(names)?;
        loaded.epochs = self.read_epochs()?;
        let stored_epochs = loaded.epochs.clone();
        let recovery_point = self.trusted_to(&names);
        let (segments, log_end) = self.load_segments(&names, recovery_point, &mut loaded.epochs)?;
        (loaded.segments, loaded.log_end) = (segments, log_end.unwrap_or(self.opening.log_start));
        if loaded.log_end < self.opening.log_start {
            tracing::warn!(dir = %self.dir.display(), end = %loaded.log_end, start = %self.opening.log_start,
                "the log ends before its checkpointed start; it begins anew there");
            for segment in std::mem::take(&mut loaded.segments) {
                self.remove_segment(segment.base)?;
            }
            loaded.epochs.clear();
            loaded.log_end = self.opening.log_start;
        }
        let first = loaded.segments.first().map_or(self.opening.log_start, |segment| segment.base);
        loaded.log_start = self.opening.log_start.max(first);
        loaded.recovery_point = match self.opening.clean {
            true => loaded.log_end,
            false => recovery_point.min(loaded.log_end).max(loaded.log_start),
        };
        loaded.epochs.truncate_from_end(loaded.log_end);
        loaded.epochs.truncate_from_start(self.opening.log_start);
        loaded.epochs_changed = loaded.epochs != stored_epochs;
        self.load_producers(&names, &mut loaded)?;
        Ok(loaded)
    }

    /// The names of the files in the directory; `None` where it does not exist.
    fn names(&self) -> Result<Option<Vec<String>>, StorageError> {
        let entries = match fs::read_dir(self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| StorageError::io("list", self.dir, &e))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| StorageError::io("list", self.dir, &e))?;
            names.extend(entry.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(Some(names))
    }

    fn check_topic_id(&self) -> Result<(), StorageError> {
        let Some(expected) = self.opening.topic_id else { return Ok(()) };
        match checkpoint::read_partition_metadata(self.dir) {
            Ok(Some(found)) if found != expected => {
                Err(StorageError::OtherTopicId { path: self.dir.display().to_string(), found, expected })
            }
            Ok(Some(_)) => Ok(()),
            // Not there, or torn by a loss of power: the metadata log knows better.
            Ok(None) | Err(_) => checkpoint::write_partition_metadata(self.dir, expected)
                .map_err(|e| StorageError::io("write partition.metadata in", self.dir, &e)),
        }
    }

    fn read_epochs(&self) -> Result<Epochs, StorageError> {
        let path = self.dir.join(epochs::FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Epochs::default()),
            other => other.map_err(|e| StorageError::io("read", &path, &e))?,
        };
        Epochs::decode(&text).or_else(|malformed| {
            tracing::warn!(path = %path.display(), %malformed, "leader epochs are taken from the batches");
            Ok(Epochs::default())
        })
    }

    /// Finishes or undoes what an interrupted compaction left, removes files marked as deleted, and gives
    /// the names that remain.
    fn finish_swaps(&self, names: Vec<String>) -> Result<Vec<String>, StorageError> {
        let remove = |name: &str| {
            let path = self.dir.join(name);
            file::remove_file(&path).map_err(|e| StorageError::io("remove", &path, &e))
        };
        let is_left_over = |name: &str| {
            name.ends_with(DELETED_SUFFIX) && !name.ends_with(".checkpoint.deleted")
                || [".cleaned", ".swap"].iter().any(|suffix| name.ends_with(suffix))
        };
        if !names.iter().any(|name| is_left_over(name)) {
            return Ok(names);
        }
        let cleaned_from =
            names.iter().filter(|n| n.ends_with(".cleaned")).filter_map(|n| offset_of(n)).min();
        let mut swaps = Vec::new();
        for name in names.iter().filter(|name| is_left_over(name)) {
            match offset_of(name) {
                Some(offset) if name.ends_with(".swap") && cleaned_from.is_none_or(|from| offset < from) => {
                    swaps.push(name);
                }
                _ => remove(name)?,
            }
        }
        let mut replaced = (i64::MAX, i64::MIN);
        for name in swaps.iter().filter(|name| name.ends_with(".log.swap")) {
            let path = self.dir.join(name);
            let base = Offset(offset_of(name).unwrap_or(0));
            let bytes = fs::metadata(&path).map_err(|e| StorageError::io("look at", &path, &e))?.len();
            let end = self.walk_to_end(&path, 0, bytes)?.1.unwrap_or(base);
            replaced = (replaced.0.min(base.0), replaced.1.max(end.0));
        }
        for name in names.iter().filter(|name| !is_left_over(name)) {
            if offset_of(name).is_some_and(|offset| offset >= replaced.0 && offset < replaced.1) {
                remove(name)?;
            }
        }
        for name in swaps {
            let (from, to) = (self.dir.join(name), self.dir.join(name.trim_end_matches(".swap")));
            file::rename(&from, &to).map_err(|e| StorageError::io("rename", &from, &e))?;
        }
        Ok(self.names()?.unwrap_or_default())
    }

    /// The recovery point, or the base of the segment that ends there where that may not be sealed: it was
    /// flushed before it ended. A flush that seals a segment writes the snapshot of its end thereafter.
    fn trusted_to(&self, names: &[String]) -> Offset {
        let point = self.opening.recovery_point;
        let bases = bases_of(names);
        let is_sealed = || path_of(self.dir, point, SNAPSHOT_SUFFIX).exists();
        match bases.range(..point.0).next_back() {
            Some(base) if bases.contains(&point.0) && !is_sealed() => Offset(*base),
            _ => point,
        }
    }

    /// Loads and where needed mends the segments; gives them and the offset after the last batch.
    fn load_segments(
        &self,
        names: &[String],
        recovery_point: Offset,
        epochs: &mut Epochs,
    ) -> Result<(Vec<Stored>, Option<Offset>), StorageError> {
        let bases = bases_of(names);
        for name in names {
            let is_index = name.ends_with(INDEX_SUFFIX) || name.ends_with(TIME_INDEX_SUFFIX);
            if is_index && offset_of(name).is_some_and(|base| !bases.contains(&base)) {
                let path = self.dir.join(name);
                tracing::warn!(path = %path.display(), "an index without its log is removed");
                file::remove_file(&path).map_err(|e| StorageError::io("remove", &path, &e))?;
            }
        }
        let bases: Vec<i64> = bases.into_iter().collect();
        let mut stored = Vec::with_capacity(bases.len());
        for base in &bases {
            stored.push(self.stat_segment(Offset(*base))?);
        }
        let newest = stored.len().saturating_sub(1);
        let unsure: Vec<bool> = (0..stored.len())
            .map(|i| {
                let reaches_past = bases.get(i + 1).is_none_or(|next_base| *next_base > recovery_point.0);
                !self.opening.clean && reaches_past || stored[i].1
            })
            .collect();
        if let Some(progress) = &self.opening.progress {
            let wanted = unsure.iter().filter(|unsure| **unsure).count() as u64;
            progress.segments_wanted.fetch_add(wanted, Ordering::Relaxed);
        }
        let mut segments: Vec<Stored> = Vec::with_capacity(stored.len());
        let mut log_end = None;
        for (i, (mut segment, _)) in stored.into_iter().enumerate() {
            let floor =
                segments.last().map_or(segment.base, |_| segment.base.max(log_end.unwrap_or(segment.base)));
            let mut cut = false;
            if unsure[i] {
                (segment, log_end, cut) = self.recover(segment, floor, epochs)?;
            } else if i == newest {
                match self.end_of_newest(&mut segment)? {
                    Some(end) => log_end = Some(end),
                    // What lies behind the last index entry is no batch: as after a crash.
                    None => (segment, log_end, cut) = self.recover(segment, floor, epochs)?,
                }
            } else {
                log_end = None;
            }
            log_end = Some(log_end.unwrap_or(segment.base));
            segments.push(segment);
            if cut {
                for base in &bases[i + 1..] {
                    tracing::warn!(dir = %self.dir.display(), base, "a segment behind a torn one is removed");
                    self.remove_segment(Offset(*base))?;
                }
                break;
            }
        }
        Ok((segments, log_end))
    }

    /// Sizes of a segment's files, and whether an index is missing.
    fn stat_segment(&self, base: Offset) -> Result<(Stored, bool), StorageError> {
        let path = path_of(self.dir, base, LOG_SUFFIX);
        let meta = fs::metadata(&path).map_err(|e| StorageError::io("look at", &path, &e))?;
        let entries = |suffix, entry_bytes: usize| {
            fs::metadata(path_of(self.dir, base, suffix))
                .ok()
                .map(|meta| (meta.len() / entry_bytes as u64) as u32)
        };
        let offset_entries = entries(INDEX_SUFFIX, OffsetEntry::BYTES);
        let time_entries = entries(TIME_INDEX_SUFFIX, TimeEntry::BYTES);
        let bytes = u32::try_from(meta.len()).map_err(|_| StorageError::Unsupported {
            path: path.display().to_string(),
            message: format!("{} bytes are too many for a segment", meta.len()),
        })?;
        let modified = meta.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let stored = Stored {
            base,
            bytes,
            modified_ms: modified.map_or(0, |since| since.as_millis() as i64),
            offset_entries: offset_entries.unwrap_or(0),
            time_entries: time_entries.unwrap_or(0),
            last_offset_entry: None,
            last_time_entry: None,
            first_timestamp_ms: None,
        };
        Ok((stored, offset_entries.is_none() || time_entries.is_none()))
    }

    /// Reads what an append to the newest segment needs, and the offset after its last batch; `None` where
    /// its end is no batch.
    fn end_of_newest(&self, segment: &mut Stored) -> Result<Option<Offset>, StorageError> {
        let path = path_of(self.dir, segment.base, LOG_SUFFIX);
        let offsets: Vec<OffsetEntry> = self.read_index(segment.base, INDEX_SUFFIX)?;
        let times: Vec<TimeEntry> = self.read_index(segment.base, TIME_INDEX_SUFFIX)?;
        segment.last_offset_entry = offsets.last().copied();
        segment.last_time_entry = times.last().copied();
        let start = offsets.last().map_or(0, |entry| u64::from(entry.position));
        if start > u64::from(segment.bytes) {
            return Ok(None);
        }
        let (position, next) = self.walk_to_end(&path, start, u64::from(segment.bytes))?;
        if position != u64::from(segment.bytes) {
            return Ok(None);
        }
        let file = SegmentFile::open(&path).map_err(|e| StorageError::io("open", &path, &e))?;
        let mut walk = HeaderWalk::new(Arc::new(file), 0, u64::from(segment.bytes), Waiting::Allowed);
        let first = walk.next_header().map_err(|e| StorageError::miss("read", &path, e))?;
        segment.first_timestamp_ms = first.map(|(_, header)| header.max_timestamp.get());
        Ok(Some(next.unwrap_or(segment.base)))
    }

    /// Walks over whole batches; gives where the walk ended and the offset after the last batch.
    fn walk_to_end(&self, path: &Path, start: u64, end: u64) -> Result<(u64, Option<Offset>), StorageError> {
        let file = Arc::new(SegmentFile::open(path).map_err(|e| StorageError::io("open", path, &e))?);
        let mut walk = HeaderWalk::new(file, start, end, Waiting::Allowed);
        let mut next = None;
        while let Some((_, header)) = walk.next_header().map_err(|e| StorageError::miss("read", path, e))? {
            next = Some(header.next_offset());
        }
        Ok((walk.position(), next))
    }

    fn read_index<E: Entry>(&self, base: Offset, suffix: &str) -> Result<Vec<E>, StorageError> {
        let path = path_of(self.dir, base, suffix);
        Ok(decode_all(&fs::read(&path).map_err(|e| StorageError::io("read", &path, &e))?))
    }

    /// Reads a whole segment, cuts it behind its last good batch, writes its indexes anew. Batches must
    /// have offsets from `floor` on. Gives the offset after the last batch and whether anything was cut.
    fn recover(
        &self,
        segment: Stored,
        floor: Offset,
        epochs: &mut Epochs,
    ) -> Result<(Stored, Option<Offset>, bool), StorageError> {
        let path = path_of(self.dir, segment.base, LOG_SUFFIX);
        let file = SegmentFile::open(&path).map_err(|e| StorageError::io("open", &path, &e))?;
        let mut scan = Scan::new(segment.base, floor, self.config.index_interval_bytes);
        scan.run(&file, u64::from(segment.bytes), epochs).map_err(|fault| fault.at(&path))?;
        let cut = u64::from(segment.bytes) - scan.position;
        if cut > 0 {
            tracing::warn!(path = %path.display(), cut, end = %scan.next_offset, "a torn end is cut off");
        }
        file.truncate(scan.position).map_err(|e| StorageError::io("truncate", &path, &e))?;
        if let Some(largest) = scan.largest {
            scan.times.note(largest);
        }
        let times = scan.times.lacking().1;
        let mut offsets = Vec::with_capacity(scan.offsets.len() * OffsetEntry::BYTES);
        scan.offsets.iter().for_each(|entry| entry.encode(&mut offsets));
        for (suffix, bytes) in [(INDEX_SUFFIX, &offsets), (TIME_INDEX_SUFFIX, &times)] {
            let path = path_of(self.dir, segment.base, suffix);
            SegmentFile::create(&path)
                .and_then(|file| file.write_at(bytes, 0))
                .map_err(|e| StorageError::io("write", &path, &e))?;
        }
        if let Some(progress) = &self.opening.progress {
            progress.segments_done.fetch_add(1, Ordering::Relaxed);
            progress.bytes_done.fetch_add(u64::from(segment.bytes), Ordering::Relaxed);
            progress.bytes_cut.fetch_add(cut, Ordering::Relaxed);
        }
        let recovered = Stored {
            bytes: scan.position as u32,
            offset_entries: scan.offsets.len() as u32,
            time_entries: scan.times.entries(),
            last_offset_entry: scan.offsets.last().copied(),
            last_time_entry: scan.times.last(),
            first_timestamp_ms: scan.first_timestamp_ms,
            ..segment
        };
        Ok((recovered, scan.batches.then_some(scan.next_offset), cut > 0))
    }

    fn remove_segment(&self, base: Offset) -> Result<(), StorageError> {
        // The log file goes last: without it the others are orphans, which loading removes.
        for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX, ".txnindex", SNAPSHOT_SUFFIX, LOG_SUFFIX] {
            let path = path_of(self.dir, base, suffix);
            file::remove_file(&path).map_err(|e| StorageError::io("remove", &path, &e))?;
        }
        Ok(())
    }

    /// Producer state at the log's end, from the newest snapshot that can be read and the batches behind it.
    fn load_producers(&self, names: &[String], loaded: &mut Loaded) -> Result<(), StorageError> {
        let found: BTreeSet<i64> = names
            .iter()
            .filter(|name| name.ends_with(SNAPSHOT_SUFFIX))
            .filter_map(|name| offset_of(name))
            .filter(|offset| path_of(self.dir, Offset(*offset), SNAPSHOT_SUFFIX).exists())
            .collect();
        let bases: BTreeSet<i64> = loaded.segments.iter().map(|segment| segment.base.0).collect();
        let newest_base = bases.last().copied().unwrap_or(i64::MAX);
        let newest_stray = found.iter().copied().filter(|offset| !bases.contains(offset)).max();
        for offset in found {
            let in_range = offset > loaded.log_start.0 && offset <= loaded.log_end.0;
            let wanted = bases.contains(&offset) || Some(offset) == newest_stray && offset >= newest_base;
            if in_range && wanted {
                loaded.snapshots.insert(offset);
            } else {
                self.remove_snapshot(offset)?;
            }
        }
        let mut from = loaded.log_start;
        while let Some(offset) = loaded.snapshots.last().copied() {
            let path = path_of(self.dir, Offset(offset), SNAPSHOT_SUFFIX);
            let bytes = fs::read(&path).map_err(|e| StorageError::io("read", &path, &e))?;
            match Producers::decode(&bytes) {
                Ok(producers) => {
                    loaded.producers = producers;
                    loaded.producers.expire(self.now_ms, self.config.producer_id_expiration_ms);
                    from = Offset(offset);
                    break;
                }
                Err(malformed) => {
                    tracing::warn!(path = %path.display(), %malformed, "a producer snapshot is not used");
                    loaded.snapshots.remove(&offset);
                    self.remove_snapshot(offset)?;
                }
            }
        }
        let had_snapshot = !loaded.snapshots.is_empty();
        if from < loaded.log_end && (had_snapshot || !self.opening.clean) {
            self.replay_producers(loaded, from)?;
        }
        if loaded.log_end > loaded.log_start && !loaded.snapshots.contains(&loaded.log_end.0) {
            let path = path_of(self.dir, loaded.log_end, SNAPSHOT_SUFFIX);
            SegmentFile::create(&path)
                .and_then(|file| file.write_at(&loaded.producers.encode(), 0))
                .map_err(|e| StorageError::io("write", &path, &e))?;
            loaded.snapshots.insert(loaded.log_end.0);
        }
        if !loaded.producers.is_empty() {
            self.remember_tail(loaded)?;
        }
        Ok(())
    }

    fn remove_snapshot(&self, offset: i64) -> Result<(), StorageError> {
        let path = path_of(self.dir, Offset(offset), SNAPSHOT_SUFFIX);
        file::remove_file(&path).map_err(|e| StorageError::io("remove", &path, &e))
    }

    fn replay_producers(&self, loaded: &mut Loaded, from: Offset) -> Result<(), StorageError> {
        let first = loaded.segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for segment in &loaded.segments[first..] {
            let start = match segment.base < from {
                true => self.position_before(segment, |entry| {
                    segment.base.0 + i64::from(entry.relative_offset) < from.0
                })?,
                false => 0,
            };
            let path = path_of(self.dir, segment.base, LOG_SUFFIX);
            let file = Arc::new(SegmentFile::open(&path).map_err(|e| StorageError::io("open", &path, &e))?);
            let mut walk = HeaderWalk::new(file.clone(), start, u64::from(segment.bytes), Waiting::Allowed);
            while let Some((position, header)) =
                walk.next_header().map_err(|e| StorageError::miss("read", &path, e))?
            {
                let Some(by) = ProducedBy::of(&header).filter(|_| header.last_offset() >= from) else {
                    continue;
                };
                let timestamp_ms = header.max_timestamp.get();
                if header.attributes().is_control() {
                    let coordinator_epoch = coordinator_epoch(&file, position, &header).unwrap_or(-1);
                    loaded.producers.note_marker(&by, coordinator_epoch, timestamp_ms);
                } else {
                    loaded.producers.note(&by, header.base_offset(), header.last_offset(), timestamp_ms);
                }
            }
        }
        Ok(())
    }

    /// The position of the last index entry that `keep` holds for, 0 where there is none.
    fn position_before(
        &self,
        segment: &Stored,
        keep: impl Fn(&OffsetEntry) -> bool,
    ) -> Result<u64, StorageError> {
        let entries: Vec<OffsetEntry> = self.read_index(segment.base, INDEX_SUFFIX)?;
        let count = entries.partition_point(keep);
        Ok(count.checked_sub(1).map_or(0, |last| u64::from(entries[last].position)))
    }

    /// Finds the last five batches of each producer again, looking further and further back.
    fn remember_tail(&self, loaded: &mut Loaded) -> Result<(), StorageError> {
        let total: u64 = loaded.segments.iter().map(|segment| u64::from(segment.bytes)).sum();
        let mut window = TAIL_BYTES_MIN;
        loop {
            let headers = self.headers_from_end(&loaded.segments, window)?;
            let complete = loaded.producers.remember_tail(&headers);
            if complete || window >= TAIL_BYTES_MAX || window >= total {
                return Ok(());
            }
            window *= 4;
        }
    }

    /// The headers of at least the last `window` bytes, as far as there are so many.
    fn headers_from_end(&self, segments: &[Stored], window: u64) -> Result<Vec<BatchHeader>, StorageError> {
        let mut left = window;
        let mut first = segments.len();
        while first > 0 && left > 0 {
            first -= 1;
            left = left.saturating_sub(u64::from(segments[first].bytes));
        }
        let mut headers = Vec::new();
        let behind: u64 = segments[first..].iter().skip(1).map(|segment| u64::from(segment.bytes)).sum();
        for (i, segment) in segments[first..].iter().enumerate() {
            let start = match i {
                0 => {
                    let wanted = u64::from(segment.bytes).saturating_sub(window.saturating_sub(behind));
                    self.position_before(segment, |entry| u64::from(entry.position) <= wanted)?
                }
                _ => 0,
            };
            let path = path_of(self.dir, segment.base, LOG_SUFFIX);
            let file = Arc::new(SegmentFile::open(&path).map_err(|e| StorageError::io("open", &path, &e))?);
            let mut walk = HeaderWalk::new(file, start, u64::from(segment.bytes), Waiting::Allowed);
            while let Some((_, header)) =
                walk.next_header().map_err(|e| StorageError::miss("read", &path, e))?
            {
                headers.push(header);
            }
        }
        Ok(headers)
    }
}

/// The base offsets of the segments among files of these names.
fn bases_of(names: &[String]) -> BTreeSet<i64> {
    names.iter().filter(|name| name.ends_with(LOG_SUFFIX)).filter_map(|name| offset_of(name)).collect()
}

/// The base offset in a file's name.
fn offset_of(name: &str) -> Option<i64> {
    let (digits, _) = name.split_once('.')?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The coordinator's epoch in a transaction marker (value: version i16, epoch i32).
fn coordinator_epoch(file: &SegmentFile, position: u32, header: &BatchHeader) -> Option<i32> {
    let mut bytes = vec![0; header.batch_bytes()?.min(1 << 16)];
    let read = file.read_at(&mut bytes, u64::from(position)).ok()?;
    let batch = Batch { header, bytes: bytes.get(..read)?, position: 0 };
    let opened = batch.open(&OpenLimits::default()).ok()?;
    let value = RecordIter::new(&opened, header.record_count.get()).next()?.ok()?.value?.get(2..6)?;
    Some(i32::from_be_bytes(value.try_into().ok()?))
}

/// Why a scan had to give up rather than cut.
enum ScanFault {
    Io(io::Error),
    Magic(u8),
}

impl ScanFault {
    fn at(self, path: &Path) -> StorageError {
        match self {
            ScanFault::Io(e) => StorageError::io("read", path, &e),
            ScanFault::Magic(magic) => StorageError::Unsupported {
                path: path.display().to_string(),
                message: format!("it holds messages of the old format {magic}, which is not supported"),
            },
        }
    }
}

/// One pass over a segment: which batches are good, and what its indexes must say.
struct Scan {
    base: Offset,
    index_interval_bytes: u32,
    /// The bytes before are good batches.
    position: u64,
    next_offset: Offset,
    batches: bool,
    offsets: Vec<OffsetEntry>,
    times: TimeIndex,
    largest: Option<TimeEntry>,
    first_timestamp_ms: Option<i64>,
    last_entry_at: u64,
}

impl Scan {
    fn new(base: Offset, floor: Offset, index_interval_bytes: u32) -> Scan {
        Scan {
            base,
            index_interval_bytes,
            position: 0,
            next_offset: floor,
            batches: false,
            offsets: Vec::new(),
            times: TimeIndex::default(),
            largest: None,
            first_timestamp_ms: None,
            last_entry_at: 0,
        }
    }

    fn run(&mut self, file: &SegmentFile, end: u64, epochs: &mut Epochs) -> Result<(), ScanFault> {
        let mut buffer = vec![0; READ_BYTES];
        // The buffer holds the file's bytes from `start` on, `filled` of them.
        let (mut start, mut filled) = (0, 0usize);
        loop {
            let at = (self.position - start) as usize;
            let have = &buffer[at.min(filled)..filled];
            let wanted = match BatchHeader::parse(have) {
                None => HEADER_BYTES,
                Some(header) => {
                    let fits = header.batch_bytes().filter(|bytes| *bytes as u64 <= end - self.position);
                    let Some(bytes) = fits.filter(|_| header.magic == 2) else { return legacy(have) };
                    bytes
                }
            };
            if have.len() >= wanted {
                if !self.take(&have[..wanted], epochs) {
                    return Ok(());
                }
                continue;
            }
            if end - self.position < wanted as u64 {
                return Ok(());
            }
            buffer.resize(READ_BYTES.max(wanted), 0);
            start = self.position;
            filled = file.read_at(&mut buffer, start).map_err(ScanFault::Io)?;
            if filled < wanted {
                return Ok(());
            }
        }
    }

    /// Takes in the batch at `position`; `false` where it is not a good one.
    fn take(&mut self, batch: &[u8], epochs: &mut Epochs) -> bool {
        let header = BatchHeader::parse(batch).expect("the caller has seen its header");
        let (first, last) = (header.base_offset(), header.last_offset());
        let relative = last.0.checked_sub(self.base.0).and_then(|r| u32::try_from(r).ok());
        let Some(relative_offset) = relative.filter(|relative| *relative <= i32::MAX as u32) else {
            return false;
        };
        if first < self.next_offset || last < first || !crc_matches(batch) {
            return false;
        }
        let timestamp_ms = header.max_timestamp.get();
        self.first_timestamp_ms.get_or_insert(timestamp_ms);
        if timestamp_ms > self.largest.map_or(-1, |largest| largest.timestamp_ms) {
            self.largest = Some(TimeEntry { timestamp_ms, relative_offset });
        }
        if self.position - self.last_entry_at > u64::from(self.index_interval_bytes) {
            self.offsets.push(OffsetEntry { relative_offset, position: self.position as u32 });
            if let Some(largest) = self.largest {
                self.times.note(largest);
            }
            self.last_entry_at = self.position;
        }
        let epoch = header.leader_epoch();
        if epoch.0 >= 0 && epochs.latest().is_none_or(|latest: LeaderEpoch| epoch > latest) {
            epochs.assign(epoch, first);
        }
        self.position += batch.len() as u64;
        self.next_offset = header.next_offset();
        self.batches = true;
        true
    }
}

/// A stop at bytes that are no batch of magic 2: fine, unless they are a whole message of an older format,
/// which must not be taken for a torn end and cut.
fn legacy(bytes: &[u8]) -> Result<(), ScanFault> {
    let whole = bytes.get(8..12).and_then(|length| {
        let length = i32::from_be_bytes(length.try_into().ok()?);
        bytes.get(LOG_OVERHEAD..LOG_OVERHEAD.checked_add(usize::try_from(length).ok()?)?)
    });
    if let Some(message) = whole
        && let [c0, c1, c2, c3, magic @ (0 | 1), ..] = *message
    {
        let mut crc = flate2::Crc::new();
        crc.update(&message[4..]);
        if crc.sum() == u32::from_be_bytes([c0, c1, c2, c3]) {
            return Err(ScanFault::Magic(magic));
        }
    }
    Ok(())
}
