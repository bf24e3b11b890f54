//! Operations of a ring that are not of sockets alone: time, readiness, files.
//!
//! Each owns what it points to (see [`Ring::start`](super::Ring)), so its future may be dropped at any time.

use super::{Op, current};
use bytes::{Bytes, BytesMut};
use io_uring::{opcode, types};
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Resolves after `duration`; for deadlines of operations on this ring. Other timers are glommio's.
pub async fn sleep(duration: Duration) {
    let spec = types::Timespec::from(duration);
    let keep = vec![spec];
    let entry = opcode::Timeout::new(keep.as_ptr()).build();
    // SAFETY: the time stands in the heap memory of `keep`.
    let _ = unsafe { current().start(entry, keep) }.await;
}

/// `future`'s output, or `None` (and `future` dropped) once `deadline` has passed.
pub async fn by_deadline<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let first = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    if let Poll::Ready(output) = first {
        return Some(output);
    }
    let Some(deadline) = deadline else { return Some(future.await) };
    let mut timer = std::pin::pin!(sleep(deadline.saturating_duration_since(Instant::now())));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Waits until `file` is ready for one of `events` (poll(2)'s bits) and returns those that are.
pub fn poll<F: AsFd + 'static>(file: F, events: libc::c_short) -> Op<F> {
    let fd = types::Fd(file.as_fd().as_raw_fd());
    let entry = opcode::PollAdd::new(fd, events as u16 as u32).build();
    // SAFETY: the operation points to nothing and keeps the file open.
    unsafe { current().start(entry, file) }
}

/// Reads up to `length` bytes at `position` to the end of `buffer`.
pub async fn read_at<F: AsFd + 'static>(
    file: F,
    mut buffer: BytesMut,
    length: usize,
    position: u64,
) -> (io::Result<usize>, BytesMut) {
    buffer.reserve(length);
    let fd = types::Fd(file.as_fd().as_raw_fd());
    let length = u32::try_from(length).unwrap_or(u32::MAX >> 1);
    let start = buffer.spare_capacity_mut().as_mut_ptr().cast::<u8>();
    let entry = opcode::Read::new(fd, start, length).offset(position).build();
    // SAFETY: the bytes go to the heap memory of `buffer`, whose spare capacity was reserved above.
    let (result, (_, mut buffer)) = unsafe { current().start(entry, (file, buffer)) }.await;
    let result = result.map(|count| count as usize);
    if let Ok(count) = result {
        // SAFETY: the kernel has written `count` bytes to the spare capacity.
        unsafe { buffer.set_len(buffer.len() + count) };
    }
    (result, buffer)
}

/// Writes the pieces one after the other at `position`; may write less than all.
pub async fn write_at<F: AsFd + 'static>(
    file: F,
    pieces: Vec<Bytes>,
    position: u64,
) -> (io::Result<usize>, Vec<Bytes>) {
    let fd = types::Fd(file.as_fd().as_raw_fd());
    let vectors: Vec<libc::iovec> = pieces
        .iter()
        .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() })
        .collect();
    let entry = opcode::Writev::new(fd, vectors.as_ptr(), vectors.len() as u32).offset(position).build();
    // SAFETY: the vectors stand in the heap memory of `vectors`, the bytes in that of `pieces`.
    let (result, (_, pieces, _)) = unsafe { current().start(entry, (file, pieces, vectors)) }.await;
    (result.map(|count| count as usize), pieces)
}

/// fsync(2), or fdatasync(2) where `data_only`.
pub async fn sync<F: AsFd + 'static>(file: F, data_only: bool) -> io::Result<()> {
    let flags = if data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
    let entry = opcode::Fsync::new(types::Fd(file.as_fd().as_raw_fd())).flags(flags).build();
    // SAFETY: the operation points to nothing and keeps the file open.
    unsafe { current().start(entry, file) }.await.0.map(drop)
}

/// fallocate(2) with the bits of `mode` (`libc::FALLOC_FL_*`).
pub async fn fallocate<F: AsFd + 'static>(file: F, mode: i32, position: u64, length: u64) -> io::Result<()> {
    let fd = types::Fd(file.as_fd().as_raw_fd());
    let entry = opcode::Fallocate::new(fd, length).offset(position).mode(mode).build();
    // SAFETY: the operation points to nothing and keeps the file open.
    unsafe { current().start(entry, file) }.await.0.map(drop)
}

/// open(2) with the bits of `flags` (`libc::O_*`; O_CLOEXEC is added) and `mode` for a file that is made.
pub async fn open(path: &Path, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr().cast())
        .flags(flags | libc::O_CLOEXEC)
        .mode(mode)
        .build();
    // SAFETY: the path stands in the heap memory of `path`.
    let op = unsafe { current().start(entry, path) }.or_else(|_, result| drop(owned(result)));
    op.await.0.map(|fd| owned(fd as i32).expect("a descriptor is not negative"))
}

/// The descriptor that an operation has made, if it has.
pub(in crate::runtime) fn owned(result: i32) -> Option<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    (result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(result) })
}

/// rename(2).
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    let here = types::Fd(libc::AT_FDCWD);
    let entry = opcode::RenameAt::new(here, from.as_ptr().cast(), here, to.as_ptr().cast()).build();
    // SAFETY: the paths stand in the heap memory of `from` and `to`.
    unsafe { current().start(entry, (from, to)) }.await.0.map(drop)
}

/// unlink(2), or rmdir(2) where `directory`.
pub async fn unlink(path: &Path, directory: bool) -> io::Result<()> {
    let path = c_path(path)?;
    let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
    let entry = opcode::UnlinkAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr().cast()).flags(flags).build();
    // SAFETY: the path stands in the heap memory of `path`.
    unsafe { current().start(entry, path) }.await.0.map(drop)
}

/// Closes a descriptor without blocking the core (the last close of a large file may).
pub async fn close(fd: OwnedFd) -> io::Result<()> {
    fn close_here_if_cancelled(fd: RawFd, result: i32) {
        if result == -libc::ECANCELED {
            drop(owned(fd));
        }
    }
    let fd = fd.into_raw_fd();
    let entry = opcode::Close::new(types::Fd(fd)).build();
    // SAFETY: the operation points to nothing; the descriptor is the operation's own.
    let op = unsafe { current().start(entry, fd) }.or_else(close_here_if_cancelled);
    let (result, fd) = op.await;
    if let Err(error) = &result {
        close_here_if_cancelled(fd, -error.raw_os_error().unwrap_or(0));
    }
    result.map(drop)
}

/// Bytes of a path with the closing zero, at an address that does not move.
fn c_path(path: &Path) -> io::Result<Vec<u8>> {
    Ok(CString::new(path.as_os_str().as_bytes())?.into_bytes_with_nul())
}

#[cfg(test)]
mod tests {
    use super::super::EventFd;
    use super::*;
    use crate::runtime::shards::{RuntimeOptions, run};
    use std::rc::Rc;

    fn one_core<Fut: Future<Output = ()> + 'static>(start: impl Fn() -> Fut + Send + Clone + 'static) {
        run(&RuntimeOptions { cores: vec![0], name: "test".into() }, start).expect("a core can be made");
    }

    #[test]
    fn files_are_made_written_read_and_removed() {
        one_core(|| async {
            let directory = tempfile::tempdir().unwrap();
            let (path, moved) = (directory.path().join("a"), directory.path().join("b"));
            let file = open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o644).await.unwrap();
            let file = Rc::new(file);
            fallocate(file.clone(), libc::FALLOC_FL_KEEP_SIZE, 0, 1 << 20).await.unwrap();
            let pieces = vec![Bytes::from_static(b"one "), Bytes::from_static(b"two")];
            let (count, pieces) = write_at(file.clone(), pieces, 5).await;
            assert_eq!((count.unwrap(), pieces.len()), (7, 2));
            sync(file.clone(), true).await.unwrap();
            sync(file.clone(), false).await.unwrap();
            let (count, buffer) = read_at(file.clone(), BytesMut::from("got: "), 100, 5).await;
            assert_eq!((count.unwrap(), &buffer[..]), (7, &b"got: one two"[..]));
            close(Rc::try_unwrap(file).unwrap()).await.unwrap();
            rename(&path, &moved).await.unwrap();
            assert_eq!(std::fs::metadata(&moved).unwrap().len(), 12);
            let error = open(&path, libc::O_RDONLY, 0).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            unlink(&moved, false).await.unwrap();
            assert!(!moved.exists());
            assert_eq!(current().in_flight(), 0);
        });
    }

    #[test]
    fn a_deadline_ends_what_does_not_end_by_itself() {
        one_core(|| async {
            let before = Instant::now();
            sleep(Duration::from_millis(20)).await;
            assert!(before.elapsed() >= Duration::from_millis(20));
            let event = Rc::new(EventFd::make().unwrap().0);
            let waiting = by_deadline(Some(before + Duration::from_millis(40)), poll(event, libc::POLLIN));
            assert!(waiting.await.is_none());
            let soon = Some(before + Duration::from_secs(60));
            assert_eq!(by_deadline(soon, async { 5 }).await, Some(5));
            glommio::timer::sleep(Duration::from_millis(10)).await;
            assert_eq!(current().in_flight(), 0, "the operations that lost were cancelled");
        });
    }
}
