//! The files of the metadata log: segments with their sparse indexes and the leader epoch checkpoint, in
//! Kafka's format.
//!
//! Invariants: offsets are contiguous over all segments; what [`Segments::append`] wrote is durable only
//! after [`Segments::sync`]; a segment is synced before the next one is begun. Opening checks every batch
//! from `scan_from` on and cuts what is torn off the newest segment's end; damage anywhere else is an error.
//! Everything blocks: the owner is a thread of its own.

use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::batches::{BATCH_BYTES_MAX, Encoded};
use crate::protocol::batch::{Batch, BatchHeader, BatchIter, HEADER_BYTES, crc_matches};
use crate::storage::epochs::{self, Epochs};
use crate::storage::file::{self, SegmentFile};
use crate::types::{LeaderEpoch, Offset};

/// An index entry follows this many bytes of log (`index.interval.bytes` of Kafka's metadata log).
const INDEX_INTERVAL_BYTES: u64 = 4096;

/// When a segment is full.
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// `metadata.log.segment.bytes`.
    pub bytes_max: u64,
    /// `metadata.log.segment.ms`, by the batches' times.
    pub age_ms_max: i64,
}

impl Default for SegmentOptions {
    fn default() -> SegmentOptions {
        SegmentOptions { bytes_max: 1 << 30, age_ms_max: 7 * 24 * 60 * 60 * 1000 }
    }
}

/// What the log is found to hold, batch by batch, in order. An error ends the opening.
pub type Visit<'a> = &'a mut dyn FnMut(&Batch<'_>) -> io::Result<()>;

/// A segment's name and size; the newest one is open in [`Active`].
#[derive(Clone, Debug)]
struct Segment {
    base_offset: Offset,
    bytes: u64,
}

/// The newest segment: where the next batch goes, and what its indexes will say.
struct Active {
    log: SegmentFile,
    offset_index: IndexWriter,
    time_index: IndexWriter,
    bytes_since_entry: u64,
    first_timestamp_ms: Option<i64>,
    /// The largest timestamp so far and the last offset of the batch that holds it.
    newest: Option<(i64, Offset)>,
    /// The timestamp of the last time index entry.
    indexed_timestamp_ms: Option<i64>,
}

/// The log's files.
pub struct Segments {
    dir: PathBuf,
    options: SegmentOptions,
    segments: Vec<Segment>,
    active: Active,
    next_offset: Offset,
    epochs: Epochs,
    /// Bytes cut off the newest segment's end by the opening.
    pub cut_bytes: u64,
}

impl Segments {
    /// Opens the log in `dir`, or begins one at `begin` where there is none. Batches of segments that hold
    /// offsets from `scan_from` on are checked and given to `visit`.
    pub fn open(
        dir: &Path,
        options: SegmentOptions,
        begin: Offset,
        scan_from: Offset,
        visit: Visit<'_>,
    ) -> io::Result<Segments> {
        let mut bases = segment_bases(dir)?;
        if bases.is_empty() {
            return Segments::begin(dir, options, begin, read_epochs(dir)?.unwrap_or_default());
        }
        let stored_epochs = read_epochs(dir)?;
        // Without the checkpoint the epochs come from the batches, all of them.
        let scan_from = if stored_epochs.is_some() { scan_from } else { Offset::ZERO };
        let mut epochs = stored_epochs.unwrap_or_default();
        let first_scanned = bases.partition_point(|base| *base <= scan_from).saturating_sub(1);
        let mut segments = Vec::new();
        for base_offset in bases.drain(..first_scanned) {
            let bytes = fs::metadata(log_path(dir, base_offset))?.len();
            segments.push(Segment { base_offset, bytes });
        }
        let mut expected = bases[0];
        let last = bases.len() - 1;
        let mut opened = None;
        for (i, base_offset) in bases.into_iter().enumerate() {
            if base_offset != expected {
                return Err(damaged(
                    dir,
                    base_offset,
                    format!("the log before it ends at offset {expected}"),
                ));
            }
            let mut active = Active::open(dir, base_offset)?;
            let scan = Scan::run(dir, base_offset, &mut active, &mut epochs, visit)?;
            if scan.valid_bytes < scan.file_bytes && i < last {
                return Err(damaged(
                    dir,
                    base_offset,
                    format!("byte {} begins no valid batch", scan.valid_bytes),
                ));
            }
            segments.push(Segment { base_offset, bytes: scan.valid_bytes });
            expected = scan.next_offset;
            if i < last {
                active.finish()?;
            } else {
                opened = Some((active, scan));
            }
        }
        let (active, scan) = opened.expect("there is a last segment");
        let cut_bytes = scan.file_bytes - scan.valid_bytes;
        if cut_bytes > 0 {
            active.log.truncate(scan.valid_bytes)?;
            active.log.sync()?;
        }
        epochs.truncate_from_end(expected);
        let dir = dir.to_owned();
        Ok(Segments { dir, options, segments, active, next_offset: expected, epochs, cut_bytes })
    }

    fn begin(dir: &Path, options: SegmentOptions, at: Offset, epochs: Epochs) -> io::Result<Segments> {
        file::create_dir_all(dir)?;
        let active = Active::create(dir, at)?;
        file::sync_dir(dir)?;
        let segments = vec![Segment { base_offset: at, bytes: 0 }];
        Ok(Segments { dir: dir.to_owned(), options, segments, active, next_offset: at, epochs, cut_bytes: 0 })
    }

    /// Throws the whole log away and begins anew at `at`: a snapshot covers everything before.
    pub fn restart_at(&mut self, at: Offset) -> io::Result<()> {
        for segment in &self.segments {
            remove_segment(&self.dir, segment.base_offset)?;
        }
        self.epochs.clear();
        *self = Segments::begin(&self.dir.clone(), self.options, at, Epochs::default())?;
        self.write_epochs()
    }

    /// Where the next batch goes.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The first offset that is here.
    pub fn start_offset(&self) -> Offset {
        self.segments[0].base_offset
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Notes that `epoch` begins at the log's end; durable when it returns.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) -> io::Result<()> {
        if self.epochs.assign(epoch, self.next_offset) {
            self.write_epochs()?;
        }
        Ok(())
    }

    fn write_epochs(&self) -> io::Result<()> {
        file::replace(&self.dir.join(epochs::FILE_NAME), self.epochs.encode().as_bytes())
    }

    /// Writes batches behind the log's end. On an error the log is as before, but for bytes behind its end
    /// that the next append writes over.
    pub fn append(&mut self, batches: &[Encoded]) -> io::Result<()> {
        let mut rest = batches;
        while !rest.is_empty() {
            if self.is_full_for(&rest[0]) {
                self.roll()?;
            }
            // As many as this segment takes, in one write.
            let mut bytes = self.segments.last().expect("there is always a segment").bytes;
            let mut count = 0;
            while let Some(batch) = rest.get(count) {
                let after = bytes + batch.bytes.len() as u64;
                if count > 0 && (after > self.options.bytes_max || self.too_old_for(batch)) {
                    break;
                }
                bytes = after;
                count += 1;
            }
            let (now, later) = rest.split_at(count);
            self.write(now)?;
            rest = later;
        }
        Ok(())
    }

    fn is_full_for(&self, batch: &Encoded) -> bool {
        let bytes = self.segments.last().expect("there is always a segment").bytes;
        bytes > 0 && (bytes + batch.bytes.len() as u64 > self.options.bytes_max || self.too_old_for(batch))
    }

    fn too_old_for(&self, batch: &Encoded) -> bool {
        self.active
            .first_timestamp_ms
            .is_some_and(|first| batch.timestamp_ms - first > self.options.age_ms_max)
    }

    fn write(&mut self, batches: &[Encoded]) -> io::Result<()> {
        let segment = self.segments.last_mut().expect("there is always a segment");
        let mut pieces: Vec<io::IoSlice<'_>> =
            batches.iter().map(|batch| io::IoSlice::new(&batch.bytes)).collect();
        self.active.log.write_vectored_at(&mut pieces, segment.bytes)?;
        for batch in batches {
            assert_eq!(batch.base_offset, self.next_offset, "batches of the metadata log are contiguous");
            let at = segment.bytes;
            self.active.note(
                segment.base_offset,
                batch.last_offset,
                batch.timestamp_ms,
                at,
                batch.bytes.len(),
            )?;
            segment.bytes += batch.bytes.len() as u64;
            self.next_offset = batch.next_offset();
        }
        Ok(())
    }

    /// Makes everything appended durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.active.log.sync()
    }

    /// Takes back what was appended since `at`, which must lie in the newest segment: its write or a later
    /// one failed and it was not synced.
    pub fn take_back(&mut self, at: Offset, bytes: u64) -> io::Result<()> {
        let segment = self.segments.last_mut().expect("there is always a segment");
        if at < segment.base_offset {
            return Err(io::Error::other("a new segment was begun meanwhile"));
        }
        self.active.log.truncate(bytes)?;
        segment.bytes = bytes;
        self.next_offset = at;
        Ok(())
    }

    /// The end of the newest segment in bytes, for [`Segments::take_back`].
    pub fn active_bytes(&self) -> u64 {
        self.segments.last().expect("there is always a segment").bytes
    }

    /// Begins a new segment, unless the newest one is empty.
    pub fn roll(&mut self) -> io::Result<()> {
        if self.active_bytes() == 0 {
            return Ok(());
        }
        self.active.log.sync()?;
        self.active.finish()?;
        self.active = Active::create(&self.dir, self.next_offset)?;
        file::sync_dir(&self.dir)?;
        self.segments.push(Segment { base_offset: self.next_offset, bytes: 0 });
        Ok(())
    }

    /// Removes the segments that hold only offsets before `start`.
    pub fn remove_before(&mut self, start: Offset) -> io::Result<()> {
        while self.segments.len() > 1 && self.segments[1].base_offset <= start {
            remove_segment(&self.dir, self.segments[0].base_offset)?;
            self.segments.remove(0);
        }
        if self.epochs.truncate_from_start(self.start_offset()) {
            self.write_epochs()?;
        }
        Ok(())
    }

    /// Leaves the files as Kafka leaves them at a clean stop.
    pub fn close(mut self) -> io::Result<()> {
        self.active.log.sync()?;
        self.active.finish()
    }
}

impl Active {
    fn create(dir: &Path, base_offset: Offset) -> io::Result<Active> {
        Ok(Active::empty(
            SegmentFile::create(&log_path(dir, base_offset))?,
            IndexWriter::create(&path(dir, base_offset, "index"))?,
            IndexWriter::create(&path(dir, base_offset, "timeindex"))?,
        ))
    }

    /// Opens a segment's log; its indexes are made anew from the scan that follows.
    fn open(dir: &Path, base_offset: Offset) -> io::Result<Active> {
        Ok(Active::empty(
            SegmentFile::open(&log_path(dir, base_offset))?,
            IndexWriter::create(&path(dir, base_offset, "index"))?,
            IndexWriter::create(&path(dir, base_offset, "timeindex"))?,
        ))
    }

    fn empty(log: SegmentFile, offset_index: IndexWriter, time_index: IndexWriter) -> Active {
        Active {
            log,
            offset_index,
            time_index,
            bytes_since_entry: 0,
            first_timestamp_ms: None,
            newest: None,
            indexed_timestamp_ms: None,
        }
    }

    /// Takes note of a batch that lies at `position`, with index entries where they are due.
    fn note(
        &mut self,
        base_offset: Offset,
        last_offset: Offset,
        timestamp_ms: i64,
        position: u64,
        bytes: usize,
    ) -> io::Result<()> {
        self.first_timestamp_ms.get_or_insert(timestamp_ms);
        if self.newest.is_none_or(|(newest, _)| timestamp_ms > newest) {
            self.newest = Some((timestamp_ms, last_offset));
        }
        if self.bytes_since_entry > INDEX_INTERVAL_BYTES {
            let mut entry = [0; 8];
            entry[..4].copy_from_slice(&relative(last_offset, base_offset).to_be_bytes());
            entry[4..].copy_from_slice(&(position as u32).to_be_bytes());
            self.offset_index.push(&entry)?;
            self.index_newest(base_offset)?;
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += bytes as u64;
        Ok(())
    }

    fn index_newest(&mut self, base_offset: Offset) -> io::Result<()> {
        let Some((timestamp_ms, offset)) = self.newest else { return Ok(()) };
        if self.indexed_timestamp_ms.is_some_and(|indexed| timestamp_ms <= indexed) {
            return Ok(());
        }
        let mut entry = [0; 12];
        entry[..8].copy_from_slice(&timestamp_ms.to_be_bytes());
        entry[8..].copy_from_slice(&relative(offset, base_offset).to_be_bytes());
        self.indexed_timestamp_ms = Some(timestamp_ms);
        self.time_index.push(&entry)
    }

    /// The last entry of a segment's time index tells its largest timestamp.
    fn finish(&mut self) -> io::Result<()> {
        let name = self.log.path().file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let base_offset = Offset(name.parse().unwrap_or(0));
        self.index_newest(base_offset)
    }
}

fn relative(offset: Offset, base: Offset) -> i32 {
    i32::try_from(offset.0 - base.0).expect("a segment of at most 2 GiB holds fewer than 2^31 offsets")
}

/// Appends entries to an index file.
struct IndexWriter {
    file: SegmentFile,
    bytes: u64,
}

impl IndexWriter {
    fn create(path: &Path) -> io::Result<IndexWriter> {
        Ok(IndexWriter { file: SegmentFile::create(path)?, bytes: 0 })
    }

    fn push(&mut self, entry: &[u8]) -> io::Result<()> {
        self.file.write_at(entry, self.bytes)?;
        self.bytes += entry.len() as u64;
        Ok(())
    }
}

/// What a walk over one segment's file found.
struct Scan {
    valid_bytes: u64,
    file_bytes: u64,
    next_offset: Offset,
}

impl Scan {
    fn run(
        dir: &Path,
        base_offset: Offset,
        active: &mut Active,
        epochs: &mut Epochs,
        visit: Visit<'_>,
    ) -> io::Result<Scan> {
        let file = fs::File::open(log_path(dir, base_offset))?;
        let file_bytes = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(256 * 1024, file);
        let mut scan = Scan { valid_bytes: 0, file_bytes, next_offset: base_offset };
        let mut bytes = Vec::new();
        while let Some(()) = read_batch(&mut reader, file_bytes - scan.valid_bytes, &mut bytes)? {
            let Some(Ok(batch)) = BatchIter::new(&bytes).next() else { break };
            let header = batch.header;
            let contiguous = header.base_offset() == scan.next_offset
                && header.record_count.get() > 0
                && header.last_offset_delta.get() == header.record_count.get() - 1;
            if !contiguous || !crc_matches(&bytes) {
                break;
            }
            visit(&batch)?;
            epochs.assign(header.leader_epoch(), header.base_offset());
            active.note(
                base_offset,
                header.last_offset(),
                header.max_timestamp.get(),
                scan.valid_bytes,
                bytes.len(),
            )?;
            scan.valid_bytes += bytes.len() as u64;
            scan.next_offset = header.next_offset();
        }
        Ok(scan)
    }
}

/// Reads the next whole batch into `bytes`; `None` where the `left` bytes of the file begin none.
fn read_batch(reader: &mut impl Read, left: u64, bytes: &mut Vec<u8>) -> io::Result<Option<()>> {
    if left < HEADER_BYTES as u64 {
        return Ok(None);
    }
    bytes.resize(HEADER_BYTES, 0);
    reader.read_exact(bytes)?;
    let header = BatchHeader::parse(bytes).expect("the header's bytes are there");
    let Some(whole) = header.batch_bytes() else { return Ok(None) };
    // Twice Kafka's bound, so that a batch of another build is not taken for damage.
    if whole as u64 > left || whole > 2 * BATCH_BYTES_MAX {
        return Ok(None);
    }
    bytes.resize(whole, 0);
    reader.read_exact(&mut bytes[HEADER_BYTES..])?;
    Ok(Some(()))
}

fn damaged(dir: &Path, base_offset: Offset, what: String) -> io::Error {
    let path = log_path(dir, base_offset);
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{}: the metadata log is damaged: {what}. Restore the directory from a backup",
            path.display()
        ),
    )
}

fn segment_bases(dir: &Path) -> io::Result<Vec<Offset>> {
    let mut bases = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(bases),
        other => other?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let base =
            name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|name| name.parse().ok());
        bases.extend(base.map(Offset));
    }
    bases.sort();
    Ok(bases)
}

fn read_epochs(dir: &Path) -> io::Result<Option<Epochs>> {
    match fs::read_to_string(dir.join(epochs::FILE_NAME)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        // A checkpoint that does not read is made anew from the batches.
        Ok(text) => Ok(Epochs::decode(&text).ok().filter(|epochs| !epochs.is_empty())),
    }
}

fn remove_segment(dir: &Path, base_offset: Offset) -> io::Result<()> {
    for kind in ["log", "index", "timeindex", "snapshot", "txnindex"] {
        file::remove_file(&path(dir, base_offset, kind))?;
    }
    Ok(())
}

fn log_path(dir: &Path, base_offset: Offset) -> PathBuf {
    path(dir, base_offset, "log")
}

fn path(dir: &Path, base_offset: Offset, kind: &str) -> PathBuf {
    dir.join(format!("{:020}.{kind}", base_offset.0))
}
