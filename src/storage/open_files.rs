//! The descriptors that a core holds for its segments and indexes, and their bound.
//!
//! A file is opened when it is needed and stays open for the next time. At the bound the one that was not
//! used for longest gives way (by second chance: one that was used since it was last looked at goes round
//! once more). What counts is descriptors: a file that a slice in flight keeps open counts until the slice
//! is gone, whoever holds it and wherever. While all of them are in flight a read is put off ([`Miss::Busy`]);
//! a write opens its file all the same, and so does a look of the broker's own ([`past_bound`]): peers that do
//! not read hold up neither writes nor lookups nor retention.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::storage::file::{Miss, SegmentFile, is_out_of_files, patiently};

/// The bound of a core that was told none.
const BOUND_DEFAULT: usize = 1024;
/// Files in flight that are passed over in the search for one to close.
const PASSED_OVER_MAX: usize = 1024;

thread_local! {
    static CURRENT: RefCell<OpenFiles> = RefCell::new(OpenFiles {
        bound: BOUND_DEFAULT,
        lifted: false,
        open: Arc::default(),
        kept: VecDeque::new(),
        clean_at: 0,
    });
}

/// Sets how many files this core keeps open; at least one.
pub fn set_bound(count: usize) {
    CURRENT.with_borrow_mut(|files| files.bound = count.max(1));
}

/// Descriptors of segments and indexes that this core has opened and that are not closed yet.
pub fn held() -> usize {
    CURRENT.with_borrow(|files| files.open.load(Ordering::Relaxed))
}

/// Whether this core has as many open as it may.
pub fn is_full() -> bool {
    CURRENT.with_borrow(|files| files.open.load(Ordering::Relaxed) >= files.bound)
}

/// Takes a look whose reads open their files whatever peers hold. For looks that keep no file in flight: what
/// they opened gives way to the next file.
pub fn past_bound<T>(look: impl FnOnce() -> T) -> T {
    let lifted = |to| CURRENT.with_borrow_mut(|files| std::mem::replace(&mut files.lifted, to));
    let before = lifted(true);
    let looked = look();
    lifted(before);
    looked
}

/// One core's.
struct OpenFiles {
    bound: usize,
    /// Reads may go past the bound at this moment.
    lifted: bool,
    /// Descriptors that are open, the ones in flight included; falls where the last user is done.
    open: Arc<AtomicUsize>,
    /// In the order in which they are looked at; those that were closed since are dropped on the way.
    kept: VecDeque<Rc<Kept>>,
    /// At this length, `kept` is rid of what was closed.
    clean_at: usize,
}

/// What the bound counts, as long as its file is open.
pub struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open file that may be closed behind its user's back.
struct Kept {
    file: RefCell<Option<Arc<SegmentFile>>>,
    used: Cell<bool>,
}

/// A user's hold on a file that is open now and then.
#[derive(Default)]
pub struct Handle(Option<Rc<Kept>>);

impl Handle {
    /// The file, if it is open.
    pub fn peek(&self) -> Option<Arc<SegmentFile>> {
        let kept = self.0.as_ref()?;
        let file = kept.file.borrow().clone()?;
        kept.used.set(true);
        Some(file)
    }

    /// The file, opened where it is not open. [`Miss::Busy`] where that would go past the bound, unless it is
    /// lifted.
    pub fn get(&mut self, path: impl FnOnce() -> PathBuf) -> Result<Arc<SegmentFile>, Miss> {
        if let Some(file) = self.peek() {
            return Ok(file);
        }
        let opened = CURRENT.with_borrow_mut(|files| {
            let may_open = files.make_room(files.bound) || files.lifted;
            may_open.then(|| files.open(&path()))
        });
        match opened {
            None => Err(Miss::Busy),
            Some(Err(error)) if is_out_of_files(&error) => Err(Miss::Busy),
            Some(Err(error)) => Err(error.into()),
            Some(Ok((kept, file))) => {
                self.0 = Some(kept);
                Ok(file)
            }
        }
    }

    /// The file, opened where it is not open, whatever readers hold.
    pub fn get_to_write(&mut self, path: impl FnOnce() -> PathBuf) -> io::Result<Arc<SegmentFile>> {
        if let Some(file) = self.peek() {
            return Ok(file);
        }
        let (kept, file) = CURRENT.with_borrow_mut(|files| {
            files.make_room(files.bound);
            files.open(&path())
        })?;
        self.0 = Some(kept);
        Ok(file)
    }

    /// For work off the core.
    pub fn later(&self, path: impl FnOnce() -> PathBuf) -> Later {
        self.peek().map_or_else(|| Later::Closed(path()), Later::Open)
    }

    /// Lets go; slices that were handed out keep the file open.
    pub fn close(&mut self) {
        if let Some(kept) = self.0.take() {
            kept.file.take();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// A file for work on another thread: open already, or opened there for the time of the work.
pub enum Later {
    Open(Arc<SegmentFile>),
    Closed(PathBuf),
}

impl Later {
    /// Blocks, also while the process is out of descriptors.
    pub fn open(&self) -> io::Result<Arc<SegmentFile>> {
        match self {
            Later::Open(file) => Ok(file.clone()),
            Later::Closed(path) => patiently(|| SegmentFile::open(path)).map(Arc::new),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Later::Open(file) => file.path(),
            Later::Closed(path) => path,
        }
    }
}

impl OpenFiles {
    /// Closes what was not used for longest until less than `bound` are open; false where too many are in
    /// flight.
    fn make_room(&mut self, bound: usize) -> bool {
        let mut passed_over = 0;
        while self.open.load(Ordering::Relaxed) >= bound {
            let Some(kept) = self.kept.pop_front() else { return false };
            // Nobody else can come to hold a file that we hold alone.
            let in_flight = match &*kept.file.borrow() {
                None => continue,
                Some(file) => Arc::strong_count(file) > 1,
            };
            if in_flight {
                passed_over += 1;
            } else if !kept.used.take() {
                kept.file.take();
                continue;
            }
            self.kept.push_back(kept);
            if passed_over > self.kept.len().min(PASSED_OVER_MAX) {
                return false;
            }
        }
        true
    }

    /// Opens a file and keeps it. Where the process has no descriptor left, a quarter of what this core keeps
    /// gives way first.
    fn open(&mut self, path: &Path) -> io::Result<(Rc<Kept>, Arc<SegmentFile>)> {
        let file = match self.open_counted(path) {
            Err(error) if is_out_of_files(&error) => {
                let open = self.open.load(Ordering::Relaxed);
                self.make_room((open - open / 4).max(1));
                self.open_counted(path)?
            }
            opened => opened?,
        };
        let file = Arc::new(file);
        let kept = Rc::new(Kept { file: RefCell::new(Some(file.clone())), used: Cell::new(false) });
        if self.kept.len() >= self.clean_at {
            self.kept.retain(|kept| kept.file.borrow().is_some());
            self.clean_at = 2 * self.kept.len() + 64;
        }
        self.kept.push_back(kept.clone());
        Ok((kept, file))
    }

    fn open_counted(&self, path: &Path) -> io::Result<SegmentFile> {
        let file = SegmentFile::open(path)?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(file.counted(Counted(self.open.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a test on a core of its own with files that exist.
    fn with_files(count: usize, bound: usize, test: impl FnOnce(&[PathBuf], Vec<Handle>) + Send) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..count).map(|i| dir.path().join(format!("{i}"))).collect();
        paths.iter().for_each(|path| drop(SegmentFile::create(path).unwrap()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                set_bound(bound);
                test(&paths, (0..count).map(|_| Handle::default()).collect());
                assert_eq!(held(), 0, "handles that are gone hold nothing");
            });
        });
    }

    #[test]
    fn no_more_than_the_bound_are_open() {
        with_files(20, 4, |paths, mut handles| {
            for round in 0..3 {
                for (i, handle) in handles.iter_mut().enumerate() {
                    let file = handle.get(|| paths[i].clone()).unwrap();
                    assert_eq!(file.path(), paths[i]);
                    assert!(held() <= 4, "{} are open in round {round}", held());
                }
            }
            assert_eq!(handles.iter().filter(|handle| handle.peek().is_some()).count(), 4);
        });
    }

    #[test]
    fn what_is_used_stays_open() {
        with_files(20, 4, |paths, mut handles| {
            let first = Arc::downgrade(&handles[0].get(|| paths[0].clone()).unwrap());
            for i in 1..20 {
                handles[0].get(|| unreachable!("it stays open")).unwrap();
                handles[i].get(|| paths[i].clone()).unwrap();
            }
            assert!(first.upgrade().is_some());
        });
    }

    #[test]
    fn a_read_waits_for_what_is_in_flight_and_a_write_does_not() {
        with_files(6, 3, |paths, mut handles| {
            let mut slices: Vec<_> = (0..3).map(|i| handles[i].get(|| paths[i].clone()).unwrap()).collect();
            // Who closes or forgets a file does not end its slices.
            handles[0].close();
            assert!(matches!(handles[3].get(|| paths[3].clone()), Err(Miss::Busy)));
            let written = handles[4].get_to_write(|| paths[4].clone()).unwrap();
            assert_eq!(held(), 4);
            drop(written);
            assert!(matches!(handles[3].get(|| paths[3].clone()), Err(Miss::Busy)), "back to the bound only");
            assert_eq!(held(), 3, "the written one gave way");
            // On another core, as slices do.
            let slice = slices.pop().unwrap();
            std::thread::spawn(move || drop(slice)).join().unwrap();
            handles[3].get(|| paths[3].clone()).unwrap();
            assert_eq!(held(), 3);
            assert!(handles[2].peek().is_none(), "its slice was gone, so it could be closed");
        });
    }

    #[test]
    fn what_was_closed_does_not_gather() {
        with_files(1, 1000, |paths, mut handles| {
            for _ in 0..10_000 {
                handles[0].get(|| paths[0].clone()).unwrap();
                handles[0].close();
            }
            assert!(CURRENT.with_borrow(|files| files.kept.len()) <= 64);
        });
    }
}
