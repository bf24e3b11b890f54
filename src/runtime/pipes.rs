//! File slices to sockets without user space: splice through a pipe borrowed from the core.
//!
//! A slice goes in pieces: pages that are not in the cache are read by the ring first, so that nothing here
//! blocks the core; then file to pipe, pipe to socket, both without waiting, and the ring tells when the
//! socket takes more. After each piece the other tasks of the core have their turn.
//! A pipe that holds bytes stays with its connection while the peer reads. Once the peer has stood still for
//! [`PATIENCE`] the pipe is closed and makes room for another: the bytes are in the file, and are spliced
//! again when the peer goes on. So peers that never read hold no pipe; the files of their slices stay open.
//! Past [`PIPES_PER_CORE`] pieces are read into the core's one copy buffer and sent from there; what the
//! socket does not take is read again later.

use super::memory::MemoryBound;
use super::ring;
use super::socket::Socket;
use super::tasks;
use crate::metrics::{FETCH_BYTES_COPIED, FETCH_BYTES_SPLICED};
use bytes::BytesMut;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pipes of one core. At 256 KiB each, four cores stay inside what Linux allows an unprivileged user
/// (fs.pipe-user-pages-soft, 64 MiB); beyond that the kernel gives smaller ones.
pub const PIPES_PER_CORE: usize = 64;
/// Bytes that a pipe is made for, and that a slice moves before other tasks have their turn.
pub const PIECE_BYTES: usize = 256 * 1024;
/// Bytes of the copy buffer.
const COPY_BYTES: usize = 64 * 1024;
/// Bytes that one core reads ahead at a time, over all slices.
const READ_AHEAD_BYTES: u64 = 2 * 1024 * 1024;
/// How long a pipe waits for a peer that stands still.
pub const PATIENCE: Duration = Duration::from_millis(200);
const PAGE_BYTES: u64 = 4096;

thread_local! {
    static POOL: Pool = const { Pool { free: RefCell::new(Vec::new()), made: Cell::new(0) } };
    static LIMITS: Cell<(usize, usize)> = const { Cell::new((PIPES_PER_CORE, PIECE_BYTES)) };
    static COPY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static READING: MemoryBound = MemoryBound::new(READ_AHEAD_BYTES);
}

/// Sets how many pipes this core may hold and for how many bytes each is made, before it sends anything.
/// Without it: [`PIPES_PER_CORE`] and [`PIECE_BYTES`].
pub fn configure(pipes: usize, bytes: usize) {
    LIMITS.set((pipes, bytes));
}

fn pipe_bytes() -> usize {
    LIMITS.get().1
}

/// Sends `length` bytes of `file` from `position` to `socket`; `more` says that more follows at once. Pages
/// that are not in the cache are read ahead, piece by piece; `moved` is called when the socket has taken
/// some. Returns `length`.
///
/// # Errors
/// `TimedOut` when the peer has not taken all by `deadline`; `UnexpectedEof` when the file ends before the
/// slice does; else what the kernel says of file or socket. After an error, or when the future is dropped,
/// an unknown part was sent: only closing the connection is left.
pub async fn splice_to_socket<F: AsFd + Clone + 'static>(
    file: &F,
    position: u64,
    length: u64,
    socket: &Socket,
    more: bool,
    deadline: Option<Instant>,
    moved: impl Fn(),
) -> io::Result<u64> {
    let mut slice = Slice { file, position, end: position + length, more };
    let mut pipe: Option<Borrowed> = None;
    while slice.position < slice.end {
        let (piece, in_pipe) = (slice.piece(), pipe.as_ref().is_some_and(|pipe| pipe.holds > 0));
        if !in_pipe && !cached(file.as_fd(), slice.position, piece) {
            read_ahead(file, slice.position, piece).await?;
        }
        if pipe.is_none() {
            pipe = Borrowed::take();
        }
        let before = slice.position;
        let sent = match &mut pipe {
            Some(pipe) => slice.splice(pipe, socket),
            None => slice.copy(socket),
        };
        if slice.position > before {
            moved();
        }
        match sent {
            Ok(()) => tasks::yield_now().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let patience = Instant::now() + PATIENCE;
                let soon = Some(deadline.map_or(patience, |deadline| deadline.min(patience)));
                match ring::by_deadline(soon, socket.writable()).await {
                    Some(writable) => writable?,
                    None => {
                        drop(pipe.take());
                        let writable = ring::by_deadline(deadline, socket.writable()).await;
                        writable.ok_or(io::ErrorKind::TimedOut)??;
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// What is left to send. `position` counts the bytes that the socket has taken, so what lies in the pipe is
/// never lost with it.
struct Slice<'a, F> {
    file: &'a F,
    position: u64,
    end: u64,
    more: bool,
}

impl<F: AsFd> Slice<'_, F> {
    fn piece(&self) -> u64 {
        (self.end - self.position).min(pipe_bytes() as u64)
    }

    /// Moves one piece, or what the pipe still holds of it, to the socket. `WouldBlock`: the socket is full.
    fn splice(&mut self, pipe: &mut Borrowed, socket: &Socket) -> io::Result<()> {
        if pipe.holds == 0 {
            let mut from = self.position;
            let (length, flags) = (self.piece() as usize, SpliceFlags::NONBLOCK);
            let to = &pipe.pipe().write;
            let moved = retry(|| rustix::pipe::splice(self.file, Some(&mut from), to, None, length, flags))?;
            if moved == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            pipe.holds = moved;
        }
        while pipe.holds > 0 {
            let mut flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            flags.set(SpliceFlags::MORE, self.more || self.position + (pipe.holds as u64) < self.end);
            let from = &pipe.pipe().read;
            let moved = retry(|| rustix::pipe::splice(from, None, socket, None, pipe.holds, flags))?;
            if moved == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            pipe.holds -= moved;
            self.position += moved as u64;
            FETCH_BYTES_SPLICED.add(moved as u64);
        }
        Ok(())
    }

    /// Sends one buffer full through user space. `WouldBlock`: the socket is full.
    fn copy(&mut self, socket: &Socket) -> io::Result<()> {
        let length = self.piece().min(COPY_BYTES as u64) as usize;
        let sent = COPY.with_borrow_mut(|buffer| {
            buffer.resize(COPY_BYTES, 0);
            let read = retry(|| rustix::io::pread(self.file, &mut buffer[..length], self.position))?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let more = self.more || self.position + (read as u64) < self.end;
            socket.try_send(&[IoSlice::new(&buffer[..read])], more)
        })?;
        self.position += sent as u64;
        FETCH_BYTES_COPIED.add(sent as u64);
        Ok(())
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

/// Whether all pages of the range are in the page cache, so that reading them does not block. A page that
/// is just being read counts as there.
pub fn cached(file: BorrowedFd<'_>, position: u64, length: u64) -> bool {
    static NO_CACHESTAT: AtomicBool = AtomicBool::new(false);
    if length == 0 {
        return true;
    }
    if !NO_CACHESTAT.load(Ordering::Relaxed) {
        match cachestat(file, position, length) {
            Ok(pages) => {
                let (first, end) = (position / PAGE_BYTES, (position + length).div_ceil(PAGE_BYTES));
                return pages >= end - first;
            }
            Err(_) => NO_CACHESTAT.store(true, Ordering::Relaxed),
        }
    }
    cached_by_reading(file, position, length)
}

/// cachestat(2), from Linux 6.5: the pages of the range that are in the cache.
fn cachestat(file: BorrowedFd<'_>, position: u64, length: u64) -> io::Result<u64> {
    const SYS_CACHESTAT: libc::c_long = 451;
    let range: [u64; 2] = [position, length];
    // nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted
    let mut stat = [0u64; 5];
    let (range, stat_at) = (range.as_ptr(), stat.as_mut_ptr());
    // SAFETY: both pointers are to arrays of the sizes that the call's structs have, alive over the call.
    let result = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range, stat_at, 0) };
    if result == 0 { Ok(stat[0]) } else { Err(io::Error::last_os_error()) }
}

fn cached_by_reading(file: BorrowedFd<'_>, mut position: u64, length: u64) -> bool {
    let end = position + length;
    COPY.with_borrow_mut(|buffer| {
        buffer.resize(COPY_BYTES, 0);
        while position < end {
            let length = (end - position).min(COPY_BYTES as u64) as usize;
            let mut vector = [IoSliceMut::new(&mut buffer[..length])];
            match rustix::io::preadv2(file, &mut vector, position, ReadWriteFlags::NOWAIT) {
                Ok(count) if count > 0 => position += count as u64,
                // A file system without it, or tmpfs on old kernels: reading is what it costs anyway.
                Err(Errno::OPNOTSUPP) => return true,
                _ => return false,
            }
        }
        true
    })
}

/// Brings the range into the page cache through the ring, without blocking the core. At the file's end it
/// stops.
pub async fn read_ahead<F: AsFd + Clone + 'static>(file: &F, position: u64, length: u64) -> io::Result<()> {
    let (mut position, end) = (position, position + length);
    let reading = READING.with(MemoryBound::clone);
    let _reserved = reading.reserve(length.min(PIECE_BYTES as u64)).await;
    let mut buffer = BytesMut::new();
    while position < end {
        buffer.clear();
        let length = (end - position).min(PIECE_BYTES as u64) as usize;
        let (read, back) = ring::read_at(file.clone(), buffer, length, position).await;
        buffer = back;
        match read? {
            0 => break,
            count => position += count as u64,
        }
    }
    Ok(())
}

/// The pipes of this core.
struct Pool {
    free: RefCell<Vec<Pipe>>,
    /// Free and borrowed ones.
    made: Cell<usize>,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn make() -> io::Result<Pipe> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Where the user's share of pipe pages is used up, a small pipe works as well.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, pipe_bytes());
        Ok(Pipe { read, write })
    }
}

/// A pipe with one connection. Given back empty.
struct Borrowed {
    pipe: Option<Pipe>,
    holds: usize,
}

impl Borrowed {
    /// `None`: all are with other connections, or no descriptors are left.
    fn take() -> Option<Borrowed> {
        POOL.with(|pool| {
            let pipe = pool.free.borrow_mut().pop();
            let pipe = match pipe {
                Some(pipe) => pipe,
                None if pool.made.get() >= LIMITS.get().0 => return None,
                None => {
                    let pipe = Pipe::make().ok()?;
                    pool.made.set(pool.made.get() + 1);
                    pipe
                }
            };
            Some(Borrowed { pipe: Some(pipe), holds: 0 })
        })
    }

    fn pipe(&self) -> &Pipe {
        self.pipe.as_ref().expect("the pipe is there until the drop")
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let pipe = self.pipe.take().expect("the pipe is there until the drop");
        // The thread's pool may be gone at its end; then the pipe just closes.
        let _ = POOL.try_with(|pool| {
            if self.holds == 0 {
                pool.free.borrow_mut().push(pipe);
            } else {
                // Closing lets go of the pages at once.
                pool.made.set(pool.made.get() - 1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shards::{RuntimeOptions, run};
    use crate::runtime::socket::Listeners;
    use crate::types::ShardId;
    use std::future::Future;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::rc::Rc;

    fn one_core<Fut: Future<Output = ()> + 'static>(start: impl Fn() -> Fut + Send + Clone + 'static) {
        run(&RuntimeOptions { cores: vec![0], name: "test".into() }, start).expect("a core can be made");
    }

    async fn connected() -> (Socket, TcpStream) {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let client = TcpStream::connect(listeners.address()).unwrap();
        let (server, _) = listeners.take(ShardId(0)).unwrap().accept().await.unwrap();
        (server, client)
    }

    fn patterned_file(length: usize) -> Rc<std::fs::File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&pattern(length)).unwrap();
        Rc::new(file)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n / 7 + n / 251) as u8).collect()
    }

    fn pipes_made() -> usize {
        POOL.with(|pool| pool.made.get())
    }

    #[test]
    fn a_slow_reader_gets_every_byte_of_the_slice() {
        one_core(|| async {
            const LENGTH: usize = 8 << 20;
            let file = patterned_file(LENGTH);
            let (server, mut client) = connected().await;
            let reader = std::thread::spawn(move || {
                let mut got = Vec::new();
                let mut piece = vec![0; 300_000];
                loop {
                    std::thread::sleep(Duration::from_millis(3));
                    // Once longer than the pipe's patience.
                    if got.len() > LENGTH / 2 && got.len() < LENGTH / 2 + 300_000 {
                        std::thread::sleep(2 * PATIENCE);
                    }
                    match client.read(&mut piece).unwrap() {
                        0 => return got,
                        count => got.extend_from_slice(&piece[..count]),
                    }
                }
            });
            server.try_send(&[IoSlice::new(b"head")], true).unwrap();
            let moves = Cell::new(0);
            let count = || moves.set(moves.get() + 1);
            let sent = splice_to_socket(&file, 1000, LENGTH as u64 - 3000, &server, false, None, count).await;
            assert_eq!(sent.unwrap(), LENGTH as u64 - 3000);
            assert!(moves.get() > 8, "whoever watches for progress sees it: {} moves", moves.get());
            drop(server);
            let got = reader.join().unwrap();
            assert_eq!(&got[..4], b"head");
            assert!(got[4..] == pattern(LENGTH)[1000..LENGTH - 2000], "the bytes are those of the slice");
            assert!(pipes_made() <= 1);
        });
    }

    #[test]
    fn peers_that_never_read_time_out_and_hold_no_pipe() {
        one_core(|| async {
            let file = patterned_file(16 << 20);
            let mut clients = Vec::new();
            let mut tasks = Vec::new();
            let deadline = Instant::now() + 25 * PATIENCE;
            for _ in 0..PIPES_PER_CORE + 10 {
                let (server, client) = connected().await;
                clients.push(client);
                let file = file.clone();
                tasks.push(glommio::spawn_local(async move {
                    splice_to_socket(&file, 0, 16 << 20, &server, false, Some(deadline), || {}).await
                }));
            }
            glommio::timer::sleep(PATIENCE / 2).await;
            while pipes_made() > 0 {
                assert!(Instant::now() < deadline, "the pipes of peers that stand still are closed");
                glommio::timer::sleep(PATIENCE / 10).await;
            }
            for task in tasks {
                assert_eq!(task.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
        });
    }

    #[test]
    fn without_a_pipe_the_bytes_are_copied() {
        one_core(|| async {
            POOL.with(|pool| pool.made.set(PIPES_PER_CORE));
            const LENGTH: usize = 3 << 20;
            let file = patterned_file(LENGTH);
            let (server, mut client) = connected().await;
            let reader = std::thread::spawn(move || {
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                got
            });
            splice_to_socket(&file, 0, LENGTH as u64, &server, false, None, || {}).await.unwrap();
            drop(server);
            assert!(reader.join().unwrap() == pattern(LENGTH));
        });
    }

    #[test]
    fn a_slice_past_the_end_of_the_file_is_an_error() {
        one_core(|| async {
            let file = patterned_file(10_000);
            let (server, _client) = connected().await;
            let error = splice_to_socket(&file, 5000, 6000, &server, false, None, || {}).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        });
    }

    #[test]
    fn reading_ahead_brings_pages_into_the_cache() {
        one_core(|| async {
            let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
            let path = directory.path().join("file");
            std::fs::write(&path, pattern(1 << 20)).unwrap();
            let file = Rc::new(std::fs::File::open(&path).unwrap());
            assert!(cached(file.as_fd(), 100, (1 << 20) - 200));
            assert!(cached_by_reading(file.as_fd(), 100, (1 << 20) - 200));
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            if cached(file.as_fd(), 0, 1 << 20) {
                return; // A file system that is memory itself.
            }
            assert!(!cached_by_reading(file.as_fd(), 0, 1 << 20));
            read_ahead(&file, 0, 1 << 20).await.unwrap();
            assert!(cached(file.as_fd(), 0, 1 << 20));
        });
    }
}
