//! What a log does on disk that may wait for the device, as values that own all they need: they are made
//! on the core, performed on a thread of the blocking pool, and their outcome is taken in on the core.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::protocol::batch::{Batch, BatchHeader};
use crate::protocol::compression::OpenLimits;
use crate::protocol::record::RecordIter;
use crate::storage::appender;
use crate::storage::checkpoint;
use crate::storage::config::{LogConfig, Opening};
use crate::storage::epochs;
use crate::storage::errors::StorageError;
use crate::storage::file::{self, SegmentFile, patiently};
use crate::storage::open_files::Later;
use crate::storage::reader::{HeaderWalk, Waiting};
use crate::storage::recovery::{self, Loaded};
use crate::storage::segment::{
    INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, path_of,
};
use crate::types::{LeaderEpoch, Offset, TopicId};

/// A segment's files to be made, and before the first one the directory and what stands in it.
pub struct Making {
    pub dir: PathBuf,
    pub base: Offset,
    pub make_dir: bool,
    /// The topic's id where `partition.metadata` is to be written.
    pub metadata: Option<TopicId>,
    /// The content of the epoch file, with the first segment. Later only flushes write it: two that wrote it
    /// side by side would take each other's half-made file away.
    pub epochs: Option<String>,
    /// Bytes to reserve.
    pub reserve: u64,
}

impl Making {
    /// Gives how many bytes were reserved. Keeps no file open: many segments may be made at once.
    pub fn make(self) -> io::Result<u64> {
        if self.make_dir {
            file::create_dir_all(&self.dir)?;
        }
        if let Some(topic_id) = self.metadata {
            let text = checkpoint::partition_metadata(topic_id);
            let path = self.dir.join(checkpoint::PARTITION_METADATA);
            patiently(|| file::replace_unsynced(&path, text.as_bytes()))?;
        }
        if let Some(text) = self.epochs {
            let path = self.dir.join(epochs::FILE_NAME);
            patiently(|| file::replace_unsynced(&path, text.as_bytes()))?;
        }
        // A stale file of this name could only be of offsets that were never acknowledged.
        file::remove_file(&path_of(&self.dir, self.base, TXN_INDEX_SUFFIX))?;
        for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX] {
            patiently(|| SegmentFile::create(&path_of(&self.dir, self.base, suffix)))?;
        }
        let log = patiently(|| SegmentFile::create(&path_of(&self.dir, self.base, LOG_SUFFIX)))?;
        Ok(appender::reserve(&log, 0, self.reserve))
    }
}

/// One segment to be brought to the device.
pub struct SegmentFlush {
    pub base: Offset,
    /// At most the newest segment's is open: a log may have any number to flush.
    pub file: Later,
    /// The file's size.
    pub bytes: u64,
    /// Complete the indexes and give spare blocks back too: nothing is written to the segment any more.
    pub seal: bool,
    /// Where in the index files the bytes go that they lack.
    pub offsets: (u64, Vec<u8>),
    pub times: (u64, Vec<u8>),
}

impl SegmentFlush {
    /// False where the segment's files are not there: retention may have taken them meanwhile.
    fn perform(&self, dir: &Path, sync: bool) -> Result<bool, StorageError> {
        if self.seal {
            for (suffix, (position, bytes)) in
                [(INDEX_SUFFIX, &self.offsets), (TIME_INDEX_SUFFIX, &self.times)]
            {
                let path = path_of(dir, self.base, suffix);
                let completed = patiently(|| SegmentFile::open(&path)).and_then(|index| {
                    index.write_at(bytes, *position)?;
                    if sync { index.sync() } else { Ok(()) }
                });
                match completed {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
                    other => other.map_err(|e| StorageError::io("complete", &path, &e))?,
                }
            }
        }
        let path = self.file.path();
        let file = match self.file.open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(|e| StorageError::io("open", path, &e))?,
        };
        if self.seal {
            file.truncate(self.bytes).map_err(|e| StorageError::io("trim", path, &e))?;
        }
        if sync {
            file.sync().map_err(|e| StorageError::io("sync", path, &e))?;
        }
        Ok(true)
    }
}

/// All that must be on the device before a recovery point may rise, or complete before a log is closed.
pub struct Flush {
    pub dir: PathBuf,
    pub segments: Vec<SegmentFlush>,
    pub snapshots: Vec<(Offset, Vec<u8>)>,
    pub epochs: Option<String>,
    /// Names were made in the directory.
    pub names: bool,
    /// Without it the files are only completed: a sync of the whole file system follows.
    pub sync: bool,
    /// Segments whose files were not there.
    pub gone: Vec<Offset>,
}

impl Flush {
    /// Gives itself back, to be taken in as done.
    pub fn perform(mut self) -> Result<Flush, StorageError> {
        for segment in &self.segments {
            if !segment.perform(&self.dir, self.sync)? {
                self.gone.push(segment.base);
            }
        }
        for (offset, bytes) in &self.snapshots {
            let path = path_of(&self.dir, *offset, SNAPSHOT_SUFFIX);
            let written = patiently(|| {
                if self.sync { file::write_synced(&path, bytes) } else { file::write(&path, bytes) }
            });
            written.map_err(|e| StorageError::io("write", &path, &e))?;
        }
        if let Some(text) = &self.epochs {
            let path = self.dir.join(epochs::FILE_NAME);
            let replaced = patiently(|| match self.sync {
                true => file::replace(&path, text.as_bytes()),
                false => file::replace_unsynced(&path, text.as_bytes()),
            });
            replaced.map_err(|e| StorageError::io("write", &path, &e))?;
        }
        if self.names {
            patiently(|| self.sync_names()).map_err(|e| StorageError::io("sync", &self.dir, &e))?;
        }
        Ok(self)
    }

    fn sync_names(&self) -> io::Result<()> {
        let metadata = self.dir.join(checkpoint::PARTITION_METADATA);
        if metadata.exists() {
            SegmentFile::open(&metadata)?.sync()?;
        }
        file::sync_dir(&self.dir)?;
        match self.dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => file::sync_dir(parent),
            _ => Ok(()),
        }
    }
}

/// A log to be cut back to `to`; all its segments are complete on disk.
pub struct Cut {
    pub dir: PathBuf,
    pub config: LogConfig,
    /// Of the segments, in order.
    pub bases: Vec<Offset>,
    pub to: Offset,
}

impl Cut {
    /// Cuts, and loads what is left.
    pub fn perform(self, opening: &Opening, now_ms: i64) -> Result<Loaded, StorageError> {
        for base in self.bases.iter().rev().filter(|base| **base >= self.to) {
            for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, SNAPSHOT_SUFFIX, LOG_SUFFIX] {
                let path = path_of(&self.dir, *base, suffix);
                file::remove_file(&path).map_err(|e| StorageError::io("remove", &path, &e))?;
            }
        }
        if let Some(base) = self.bases.iter().rev().find(|base| **base < self.to) {
            let path = path_of(&self.dir, *base, LOG_SUFFIX);
            self.cut_segment(&path).map_err(|e| StorageError::io("cut", &path, &e))?;
        }
        recovery::load(&self.dir, &self.config, opening, now_ms)
    }

    fn cut_segment(&self, path: &Path) -> io::Result<()> {
        let file = Arc::new(SegmentFile::open(path)?);
        let mut walk = HeaderWalk::new(file.clone(), 0, file.length()?, Waiting::Allowed);
        let place = walk.find(self.to).map_err(|miss| io::Error::other(format!("{miss:?}")))?;
        if let Some(place) = place {
            file.truncate(u64::from(place.position))?;
        }
        file.sync()
    }
}

/// A stretch of a segment in which a record is looked for.
pub struct Search {
    pub file: Arc<SegmentFile>,
    pub position: u64,
    pub end: u64,
}

impl Search {
    /// The first record, in a batch whose largest timestamp `wanted_batch` accepts, whose timestamp and
    /// offset `wanted` accepts: its timestamp, offset and leader epoch.
    pub fn first_record(
        self,
        wanted_batch: impl Fn(i64) -> bool,
        wanted: impl Fn(i64, Offset) -> bool,
    ) -> Result<Option<(i64, Offset, LeaderEpoch)>, StorageError> {
        let mut walk = HeaderWalk::new(self.file.clone(), self.position, self.end, Waiting::Allowed);
        while let Some((position, header)) =
            walk.next_header().map_err(|e| StorageError::miss("read", self.file.path(), e))?
        {
            if wanted_batch(header.max_timestamp.get())
                && let Some(found) = self.record_in(position, &header, &wanted)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn record_in(
        &self,
        position: u32,
        header: &BatchHeader,
        wanted: &impl Fn(i64, Offset) -> bool,
    ) -> Result<Option<(i64, Offset, LeaderEpoch)>, StorageError> {
        let unreadable = |message: String| StorageError::Unsupported {
            path: self.file.path().display().to_string(),
            message: format!("the batch at byte {position} cannot be read: {message}"),
        };
        let mut bytes = vec![0; header.batch_bytes().unwrap_or(0)];
        let read = self.file.read_at(&mut bytes, u64::from(position));
        let read = read.map_err(|e| StorageError::io("read", self.file.path(), &e))?;
        let batch = Batch { header, bytes: &bytes[..read], position: 0 };
        let opened = batch.open(&OpenLimits::default()).map_err(|e| unreadable(e.to_string()))?;
        for record in RecordIter::new(&opened, header.record_count.get()) {
            let record = record.map_err(|e| unreadable(e.to_string()))?;
            let timestamp_ms = batch.timestamp_of(record.timestamp_delta);
            let offset = header.base_offset().plus(i64::from(record.offset_delta));
            if wanted(timestamp_ms, offset) {
                return Ok(Some((timestamp_ms, offset, header.leader_epoch())));
            }
        }
        Ok(None)
    }
}
