//! The file layer: every call by which this room changes a file or a directory stands here.
//!
//! Nothing else in storage writes, so that a recorder can hold the order of writes, syncs and answers to
//! account (tests and the `faults` build), and so that each planted fault has one place. Calls are plain and
//! blocking; [`blocking`] takes those that may wait for a device off the core.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::runtime::ring;
use crate::storage::open_files::Counted;

/// The largest number of pieces that the kernel takes in one vectored write (`UIO_MAXIOV`).
pub const PIECES_MAX: usize = 1024;

/// How long a log waits for a descriptor where the process has none left, and how often it looks.
pub(super) const FILES_PATIENCE: Duration = Duration::from_secs(5);
pub(super) const FILES_PAUSE: Duration = Duration::from_millis(20);

/// An open file of a log. `Send` and `Sync`: another core may splice from it while its owner appends.
pub struct SegmentFile {
    fd: OwnedFd,
    path: Box<Path>,
    /// Dropped behind the descriptor.
    _counted: Option<Counted>,
}

impl SegmentFile {
    /// Makes the file, empty, for reading and writing; one that is there already is emptied.
    pub fn create(path: &Path) -> io::Result<SegmentFile> {
        record(|| Step::Create(path.to_owned()));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
        Ok(SegmentFile { fd, path: path.into(), _counted: None })
    }

    /// Opens a file that exists, for reading and writing.
    pub fn open(path: &Path) -> io::Result<SegmentFile> {
        let fd = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(SegmentFile { fd, path: path.into(), _counted: None })
    }

    /// Has `counted` know when the file is closed.
    pub(super) fn counted(self, counted: Counted) -> SegmentFile {
        SegmentFile { _counted: Some(counted), ..self }
    }

    /// Where the file was when it was opened; for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all pieces one after the other from byte `position` on.
    pub fn write_vectored_at(&self, mut pieces: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        record(|| Step::Write { path: self.path.to_path_buf(), position, length });
        hold_back();
        let mut left: usize = length;
        while left > 0 {
            let count = pieces.len().min(PIECES_MAX);
            match rustix::io::pwritev(&self.fd, &pieces[..count], position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left -= written;
                    position += written as u64;
                    IoSlice::advance_slices(&mut pieces, written);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Like [`SegmentFile::write_vectored_at`] by the core's ring, which writes on a thread of the kernel what
    /// it cannot write at once. A core without a ring has a thread of its own do it.
    pub async fn write_off_core(
        self: Arc<Self>,
        mut pieces: Vec<Bytes>,
        mut position: u64,
    ) -> io::Result<()> {
        if !ring::is_here() {
            let write = move || {
                let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                self.write_vectored_at(&mut slices, position)
            };
            return blocking(write).await;
        }
        let length = pieces.iter().map(Bytes::len).sum();
        record(|| Step::Write { path: self.path.to_path_buf(), position, length });
        while !pieces.is_empty() {
            let rest = pieces.split_off(pieces.len().min(PIECES_MAX));
            let (written, mut tried) = ring::write_at(self.clone(), pieces, position).await;
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    drop_written(&mut tried, written);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            tried.extend(rest);
            pieces = tried;
        }
        Ok(())
    }

    pub fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_vectored_at(&mut [IoSlice::new(bytes)], position)
    }

    /// Fills `buffer` from byte `position` on as far as the file reaches; gives the bytes read. May wait
    /// for the device.
    pub fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::pread(&self.fd, &mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(filled)
    }

    /// Like [`SegmentFile::read_at`], from the page cache alone: [`Miss::Cold`] where it lacks the bytes.
    /// File systems that cannot tell (older tmpfs) hold everything in memory anyway.
    pub fn read_cached_at(self: &Arc<Self>, buffer: &mut [u8], position: u64) -> Result<usize, Miss> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = position + filled as u64;
            let mut pieces = [io::IoSliceMut::new(&mut buffer[filled..])];
            match rustix::io::preadv2(&self.fd, &mut pieces, at, ReadWriteFlags::NOWAIT) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let length = u32::try_from(buffer.len() - filled).unwrap_or(u32::MAX);
                    return Err(Miss::Cold(Cold { file: self.clone(), position: at, length }));
                }
                Err(Errno::OPNOTSUPP) => {
                    filled += self.read_at(&mut buffer[filled..], at)?;
                    break;
                }
                Err(e) => return Err(io::Error::from(e).into()),
            }
        }
        Ok(filled)
    }

    /// Reserves blocks for `length` bytes from `position` on without changing the file's size.
    pub fn preallocate(&self, position: u64, length: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.fd, FallocateFlags::KEEP_SIZE, position, length)?)
    }

    /// Sets the size and gives back the blocks that are reserved past it.
    pub fn truncate(&self, length: u64) -> io::Result<()> {
        record(|| Step::Truncate { path: self.path.to_path_buf(), length });
        Ok(rustix::fs::ftruncate(&self.fd, length)?)
    }

    /// fdatasync: bytes and size are on the device.
    pub fn sync(&self) -> io::Result<()> {
        if planted(Fault::AnswerBeforeSync) {
            return Ok(());
        }
        rustix::fs::fdatasync(&self.fd)?;
        record(|| Step::Sync(self.path.to_path_buf()));
        Ok(())
    }

    /// Asks the kernel to begin writing the range to the device; promises nothing. May wait for the
    /// device's queue.
    pub fn start_write_back(&self, position: u64, length: u64) {
        let (Ok(position), Ok(length)) = (i64::try_from(position), i64::try_from(length)) else { return };
        // SAFETY: the descriptor is open as long as `self`; the call takes no pointer.
        unsafe {
            libc::sync_file_range(self.fd.as_raw_fd(), position, length, libc::SYNC_FILE_RANGE_WRITE);
        }
    }

    /// The file's size in bytes.
    pub fn length(&self) -> io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(&self.fd)?.st_size).unwrap_or(0))
    }

    /// Bytes that are free on the file's file system where reserving space helps; `None` where it only
    /// costs memory (tmpfs) or is not known to help.
    pub fn free_for_preallocation(&self) -> Option<u64> {
        const EXT4: u64 = 0xEF53;
        const XFS: u64 = 0x5846_5342;
        const BTRFS: u64 = 0x9123_683E;
        let state = rustix::fs::fstatfs(&self.fd).ok()?;
        match state.f_type as u64 {
            EXT4 | XFS | BTRFS => Some(state.f_bavail.saturating_mul(state.f_bsize as u64)),
            _ => None,
        }
    }
}

/// Takes the first `written` bytes off.
fn drop_written(pieces: &mut Vec<Bytes>, mut written: usize) {
    let whole = pieces.iter().take_while(|piece| {
        let is_whole = piece.len() <= written;
        written -= if is_whole { piece.len() } else { 0 };
        is_whole
    });
    let whole = whole.count();
    pieces.drain(..whole);
    if let Some(first) = pieces.first_mut() {
        first.advance(written);
    }
}

impl AsFd for SegmentFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Why a read that must not wait has no bytes.
#[derive(Clone, Debug)]
pub enum Miss {
    Cold(Cold),
    /// Too many files are in flight for one more to be opened; some are closed before long.
    Busy,
    Io(Arc<io::Error>),
}

impl From<io::Error> for Miss {
    fn from(e: io::Error) -> Miss {
        Miss::Io(Arc::new(e))
    }
}

/// A range of a file that a read needs and the page cache lacks.
#[derive(Clone)]
pub struct Cold {
    pub file: Arc<SegmentFile>,
    pub position: u64,
    pub length: u32,
}

impl std::fmt::Debug for Cold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}+{}", self.file.path.display(), self.position, self.length)
    }
}

/// Whether the process or the host has no descriptor left.
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Does `work`, again and again for some seconds while the process is out of descriptors: others close
/// theirs. Blocks; for threads of the blocking pool.
pub fn patiently<T>(work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..FILES_PATIENCE.as_millis() / FILES_PAUSE.as_millis() {
        match work() {
            Err(error) if is_out_of_files(&error) => std::thread::sleep(FILES_PAUSE),
            done => return done,
        }
    }
    work()
}

/// Runs `work`, which may wait for a device, on a thread of this executor's blocking pool.
pub async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    glommio::executor().spawn_blocking(work).await
}

pub fn create_dir_all(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    record(|| Step::Rename { from: from.to_owned(), to: to.to_owned() });
    Ok(())
}

/// Removes a file; one that is not there is no error.
pub fn remove_file(path: &Path) -> io::Result<()> {
    record(|| Step::Remove(path.to_owned()));
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes a directory and all in it; one that is not there is no error.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    record(|| Step::Remove(path.to_owned()));
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes names that were made, renamed or removed in `path` durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()?;
    record(|| Step::Sync(path.to_owned()));
    Ok(())
}

/// Replaces a small file as a whole: written beside it as `.tmp`, synced, renamed over it, as Kafka does.
/// A crash leaves the old content or the new.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let file = SegmentFile::create(&beside)?;
    file.write_at(content, 0)?;
    file.sync()?;
    rename(&beside, path)?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => sync_dir(dir),
        _ => Ok(()),
    }
}

/// Like [`replace`] without waiting for the device: a kill of the process leaves the old content or the new,
/// a loss of power may leave neither.
pub fn replace_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    SegmentFile::create(&beside)?.write_at(content, 0)?;
    rename(&beside, path)
}

/// Brings everything on the file system that holds `path` to the device.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    if planted(Fault::AnswerBeforeSync) {
        return Ok(());
    }
    rustix::fs::syncfs(fs::File::open(path)?)?;
    record(|| Step::Sync(path.to_owned()));
    Ok(())
}

/// Writes a file as a whole.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    SegmentFile::create(path)?.write_at(content, 0)
}

/// Writes a file as a whole and syncs it.
pub fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = SegmentFile::create(path)?;
    file.write_at(content, 0)?;
    file.sync()
}

/// One thing that was done, in the order it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Create(PathBuf),
    Write {
        path: PathBuf,
        position: u64,
        length: usize,
    },
    Truncate {
        path: PathBuf,
        length: u64,
    },
    /// Returned from fdatasync or fsync.
    Sync(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// Somebody was told that something is done; the text says what.
    Answer(String),
}

/// Notes an answer for the recorder; nothing in a plain build.
#[inline]
pub fn answered(what: impl FnOnce() -> String) {
    record(|| Step::Answer(what()));
}

/// In tests a device may be slow for the core that writes.
#[cfg(not(test))]
#[inline(always)]
fn hold_back() {}

#[cfg(test)]
fn hold_back() {
    std::thread::sleep(slowness::OF_WRITES.get());
}

#[cfg(test)]
pub mod slowness {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        /// How long each write takes on this thread.
        pub static OF_WRITES: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }
}

#[cfg(not(any(test, feature = "faults")))]
#[inline(always)]
fn record(_: impl FnOnce() -> Step) {}

#[cfg(any(test, feature = "faults"))]
fn record(step: impl FnOnce() -> Step) {
    recorder::push(step);
}

/// Keeps the order of steps for tests: in memory after [`recorder::start`], or one line a step in the file
/// that `THALWEG_RECORD` names.
#[cfg(any(test, feature = "faults"))]
pub mod recorder {
    use std::io::Write;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{LazyLock, Mutex};

    use super::Step;

    static ON: AtomicBool = AtomicBool::new(false);
    static STEPS: Mutex<Vec<Step>> = Mutex::new(Vec::new());
    static LINES: LazyLock<Option<Mutex<std::fs::File>>> = LazyLock::new(|| {
        let path = std::env::var_os("THALWEG_RECORD")?;
        std::fs::OpenOptions::new().create(true).append(true).open(path).ok().map(Mutex::new)
    });

    pub(super) fn push(step: impl FnOnce() -> Step) {
        let lines = LINES.as_ref();
        if lines.is_none() && !ON.load(Ordering::Relaxed) {
            return;
        }
        let step = step();
        if let Some(Ok(mut file)) = lines.map(Mutex::lock) {
            let _ = writeln!(file, "{step:?}");
        }
        if let (true, Ok(mut steps)) = (ON.load(Ordering::Relaxed), STEPS.lock()) {
            steps.push(step);
        }
    }

    /// Begins to keep steps in memory.
    pub fn start() {
        ON.store(true, Ordering::Relaxed);
    }

    /// The steps so far under `dir`, and every answer that names it.
    pub fn steps(dir: &Path) -> Vec<Step> {
        let inside = |step: &Step| match step {
            Step::Create(path) | Step::Sync(path) | Step::Remove(path) => path.starts_with(dir),
            Step::Write { path, .. } | Step::Truncate { path, .. } => path.starts_with(dir),
            Step::Rename { from, .. } => from.starts_with(dir),
            Step::Answer(what) => what.contains(&*dir.to_string_lossy()),
        };
        STEPS.lock().map(|steps| steps.iter().filter(|s| inside(s)).cloned().collect()).unwrap_or_default()
    }
}

/// A fault that a `faults` build plants when `THALWEG_FAULT` names it, so that a test can be seen to catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `answer_before_write`: appends count as written at once and are written 20 ms later.
    AnswerBeforeWrite,
    /// `answer_before_sync`: fdatasync is left out.
    AnswerBeforeSync,
    /// `lost_roll`: the batch that opens a new segment is counted as written and is not.
    LostRoll,
    /// `skip_duplicate_check`: producer sequences are not looked at.
    SkipDuplicateCheck,
}

#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn planted(_: Fault) -> bool {
    false
}

#[cfg(feature = "faults")]
pub fn planted(fault: Fault) -> bool {
    static PLANTED: std::sync::LazyLock<Option<Fault>> =
        std::sync::LazyLock::new(|| match std::env::var("THALWEG_FAULT").ok()?.as_str() {
            "answer_before_write" => Some(Fault::AnswerBeforeWrite),
            "answer_before_sync" => Some(Fault::AnswerBeforeSync),
            "lost_roll" => Some(Fault::LostRoll),
            "skip_duplicate_check" => Some(Fault::SkipDuplicateCheck),
            _ => None,
        });
    *PLANTED == Some(fault)
}
