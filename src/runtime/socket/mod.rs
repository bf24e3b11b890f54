//! Listeners and connections on the core's ring.
//!
//! A receive waits without a buffer: the kernel takes one of the ring's when bytes arrive, and they are
//! copied to the reader at once. So ten thousand silent connections hold no memory but their descriptors.
//! Large frames are received straight into their own memory by [`Socket::recv`]. Where the kernel said that a
//! receive left bytes behind, the next ones are direct calls, with nothing in between.
//! A receive belongs to its socket, not to the future that waits for it: dropping the future loses no byte,
//! the next receive carries on where it stopped. One task reads a socket at a time.
//! Sockets are O_NONBLOCK, so the direct calls (`try_send`, splice) never block; the ring only tells when
//! the socket is writable again.

mod listeners;

pub use self::listeners::{Listener, Listeners};
use super::ring::{self, Op, ReceiveOwner, Received, Ring};
use bytes::{Buf, Bytes, BytesMut};
use io_uring::{opcode, types};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    SocketAddr::try_from(net::getsockname(socket)?).map_err(|_| io::ErrorKind::AddrNotAvailable.into())
}

fn peer_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let peer = net::getpeername(socket)?.ok_or(io::ErrorKind::NotConnected)?;
    SocketAddr::try_from(peer).map_err(|_| io::ErrorKind::AddrNotAvailable.into())
}

/// A connection of this core. Clones are the same connection; it is closed when the last is dropped.
pub struct Socket {
    inner: Rc<Inner>,
}

struct Inner {
    fd: OwnedFd,
    peer: SocketAddr,
    ring: Rc<Ring>,
    /// The clones of `Socket`; receives in flight hold `Inner` too.
    users: Cell<usize>,
    receiving: Cell<Receiving>,
    /// The task that reads.
    reader: RefCell<Option<Waker>>,
    /// Bytes of a receive whose future was dropped, before those still in the kernel.
    unread: RefCell<BytesMut>,
    /// How many direct calls may follow the last receive on the ring, which left bytes in the socket.
    direct: Cell<u8>,
}

/// Direct calls that follow one receive on the ring: a peer that sends without end lets others have their turn.
const DIRECT_RECEIVES_MAX: u8 = 4;

/// What the kernel does for the reading side.
#[derive(Clone, Copy, Default)]
enum Receiving {
    #[default]
    Nothing,
    /// A receive into a buffer of the ring is in flight under this id.
    Pooled(u64),
    /// It ended with this result; the bytes are in the held buffer.
    Arrived(i32, Option<u16>),
    /// A receive into a reader's own buffer is in flight and its future is gone: it ends in `unread`.
    Orphaned,
}

impl Clone for Socket {
    fn clone(&self) -> Socket {
        self.inner.users.set(self.inner.users.get() + 1);
        Socket { inner: self.inner.clone() }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.inner.users.set(self.inner.users.get() - 1);
        if self.inner.users.get() == 0 {
            self.inner.abandon_receive();
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

impl Socket {
    /// Takes over a connected socket; makes it O_NONBLOCK and TCP_NODELAY.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Socket> {
        Socket::from_parts(fd, BytesMut::new())
    }

    /// Takes over a connected socket of which `unread` was already received: the other end of
    /// [`into_parts`](Self::into_parts).
    pub fn from_parts(fd: OwnedFd, unread: BytesMut) -> io::Result<Socket> {
        let peer = peer_address(&fd)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        let inner = Inner {
            fd,
            peer,
            ring: ring::current(),
            users: Cell::new(1),
            receiving: Cell::default(),
            reader: RefCell::new(None),
            unread: RefCell::new(unread),
            direct: Cell::new(0),
        };
        Ok(Socket { inner: Rc::new(inner) })
    }

    /// Connects to `address`.
    pub async fn connect(address: SocketAddr) -> io::Result<Socket> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
        match net::connect(&socket, &address) {
            Ok(()) => {}
            Err(rustix::io::Errno::INPROGRESS) => {
                let socket = ring::poll(socket.try_clone()?, libc::POLLOUT);
                socket.await.0?;
            }
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = sockopt::socket_error(&socket)? {
            return Err(error.into());
        }
        Socket::from_fd(socket)
    }

    pub fn peer(&self) -> SocketAddr {
        self.inner.peer
    }

    /// The address of our end.
    pub fn local(&self) -> io::Result<SocketAddr> {
        local_address(&self.inner.fd)
    }

    /// Waits for bytes without holding memory, then appends what has come to `into`: at most
    /// [`RECEIVE_BUFFER_BYTES`](ring::RECEIVE_BUFFER_BYTES), or `max` where that is more and they are there
    /// already. 0: the peer has closed its end. Dropping the future loses nothing.
    pub async fn receive(&self, into: &mut BytesMut, max: usize) -> io::Result<usize> {
        if let Some(count) = self.inner.receive_directly(into, max.max(ring::RECEIVE_BUFFER_BYTES))? {
            return Ok(count);
        }
        let _reading = Reading(&self.inner);
        std::future::poll_fn(|cx| self.inner.poll_receive(cx, into)).await
    }

    /// Receives up to `max` bytes straight into the end of `buffer`. 0: the peer has closed its end.
    /// When the future is dropped the buffer is lost, but no byte of the stream: the next receive gets them.
    pub async fn recv(&self, mut buffer: BytesMut, max: usize) -> (io::Result<usize>, BytesMut) {
        if max == 0 {
            return (Ok(0), buffer);
        }
        if let Err(error) = self.settled().await {
            return (Err(error), buffer);
        }
        if !self.inner.unread.borrow().is_empty() {
            let count = self.inner.take_unread(&mut buffer, max);
            return (Ok(count), buffer);
        }
        match self.inner.receive_directly(&mut buffer, max) {
            Ok(None) => self.inner.recv_own(buffer, max).await,
            Ok(Some(count)) => (Ok(count), buffer),
            Err(error) => (Err(error), buffer),
        }
    }

    /// Waits until there is something to read (or an end or an error to see), without taking it.
    pub async fn readable(&self) -> io::Result<()> {
        self.settled().await?;
        if self.inner.unread.borrow().is_empty() && self.inner.direct.get() == 0 {
            ring::poll(self.inner.clone(), libc::POLLIN).await.0?;
        }
        Ok(())
    }

    /// Waits for a receive in flight; its bytes go to `unread`.
    async fn settled(&self) -> io::Result<()> {
        let _reading = Reading(&self.inner);
        std::future::poll_fn(|cx| self.inner.poll_settled(cx)).await
    }

    /// Sends at once what the socket takes; `more` says that more follows immediately (MSG_MORE).
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing: then wait for [`writable`](Self::writable).
    pub fn try_send(&self, pieces: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let mut flags = net::SendFlags::DONTWAIT | net::SendFlags::NOSIGNAL;
        flags.set(net::SendFlags::MORE, more);
        let mut control = net::SendAncillaryBuffer::default();
        loop {
            let sent = match pieces {
                [piece] => net::send(&self.inner.fd, piece, flags),
                _ => net::sendmsg(&self.inner.fd, pieces, &mut control, flags),
            };
            match sent {
                Err(rustix::io::Errno::INTR) => {}
                sent => return Ok(sent?),
            }
        }
    }

    /// Waits until the socket takes bytes again, or has an error that the next send reports.
    pub async fn writable(&self) -> io::Result<()> {
        ring::poll(self.inner.clone(), libc::POLLOUT).await.0.map(drop)
    }

    /// Sends all of `bytes`: at once as far as the socket takes them, then as it drains.
    pub async fn send_all(&self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_send(&[IoSlice::new(&bytes)], false) {
                Ok(count) => bytes.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// shutdown(2): ends one or both directions; a receive that waits sees the end.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => net::Shutdown::Read,
            Shutdown::Write => net::Shutdown::Write,
            Shutdown::Both => net::Shutdown::Both,
        };
        Ok(net::shutdown(&self.inner.fd, how)?)
    }

    /// Stops reading and takes the connection apart, to be handed to another core: cancels the receive in
    /// flight and returns the descriptor with what was received but not read. Other clones of this socket
    /// must not be used any more.
    pub async fn into_parts(self) -> io::Result<(OwnedFd, BytesMut)> {
        self.inner.cancel_receive();
        self.settled().await?;
        let unread = self.inner.unread.take();
        Ok((self.inner.fd.try_clone()?, unread))
    }
}

/// While it lives a task waits for the socket's receive.
struct Reading<'a>(&'a Rc<Inner>);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reader.borrow_mut().take();
        // Woken for bytes, but not polled again: the ring's buffer is not held for whoever comes.
        if let Receiving::Arrived(count, Some(number)) = self.0.receiving.get()
            && count > 0
        {
            self.0.receiving.set(Receiving::Nothing);
            self.0.unread.borrow_mut().extend_from_slice(self.0.ring.held(number).bytes(count as usize));
        }
    }
}

impl AsFd for Inner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Inner {
    fn poll_receive(self: &Rc<Self>, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            if !self.unread.borrow().is_empty() {
                return Poll::Ready(Ok(self.take_unread(into, ring::RECEIVE_BUFFER_BYTES)));
            }
            match self.receiving.get() {
                Receiving::Arrived(result, buffer) => {
                    self.receiving.set(Receiving::Nothing);
                    if let Some(outcome) = self.unpack(result, buffer, into) {
                        return Poll::Ready(outcome);
                    }
                }
                Receiving::Nothing => self.start_pooled(),
                Receiving::Pooled(_) | Receiving::Orphaned => {
                    self.wait(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ready once no receive is in flight; bytes that arrived are in `unread`.
    fn poll_settled(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.receiving.get() {
            Receiving::Nothing => Poll::Ready(Ok(())),
            Receiving::Pooled(_) | Receiving::Orphaned => {
                self.wait(cx);
                Poll::Pending
            }
            Receiving::Arrived(result, buffer) => {
                self.receiving.set(Receiving::Nothing);
                let mut unread = self.unread.borrow_mut();
                match self.unpack(result, buffer, &mut unread) {
                    // An end is seen again by the next receive.
                    Some(Ok(_)) | None => Poll::Ready(Ok(())),
                    Some(Err(error)) if error.raw_os_error() == Some(libc::ECANCELED) => Poll::Ready(Ok(())),
                    Some(Err(error)) => Poll::Ready(Err(error)),
                }
            }
        }
    }

    fn wait(&self, cx: &mut Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        match &mut *reader {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *reader = Some(cx.waker().clone()),
        }
    }

    fn wake_reader(&self) {
        let reader = self.reader.borrow_mut().take();
        if let Some(waker) = reader {
            waker.wake();
        }
    }

    fn start_pooled(self: &Rc<Self>) {
        let started = self.ring.start_receive(self.fd.as_raw_fd(), self.clone());
        self.receiving.set(match started {
            Some(id) => Receiving::Pooled(id),
            None => Receiving::Arrived(-libc::ECANCELED, None),
        });
    }

    /// The outcome of a receive, its bytes appended to `into`. `None`: there was nothing after all.
    fn unpack(&self, result: i32, buffer: Option<u16>, into: &mut BytesMut) -> Option<io::Result<usize>> {
        let buffer = buffer.map(|number| self.ring.held(number));
        match (result, buffer) {
            (count, Some(buffer)) if count > 0 => {
                into.extend_from_slice(buffer.bytes(count as usize));
                Some(Ok(count as usize))
            }
            (0, _) => Some(Ok(0)),
            // All of the ring's buffers are in use: there are bytes, take them without one.
            (code, _) if code == -libc::ENOBUFS => {
                match receive_now(&self.fd, into, ring::RECEIVE_BUFFER_BYTES) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                    outcome => Some(outcome),
                }
            }
            (code, _) => Some(Err(io::Error::from_raw_os_error(-code))),
        }
    }

    /// Appends up to `max` bytes that are there already. `None`: none are, as far as is known.
    fn receive_directly(&self, into: &mut BytesMut, max: usize) -> io::Result<Option<usize>> {
        let left = self.direct.get();
        let is_next = matches!(self.receiving.get(), Receiving::Nothing) && self.unread.borrow().is_empty();
        if left == 0 || !is_next {
            return Ok(None);
        }
        self.direct.set(0);
        match receive_now(&self.fd, into, max) {
            Ok(count) => {
                self.direct.set(if count == max { left - 1 } else { 0 });
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if into.is_empty() {
                    *into = BytesMut::new();
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn take_unread(&self, into: &mut BytesMut, max: usize) -> usize {
        let mut unread = self.unread.borrow_mut();
        let count = unread.len().min(max);
        into.extend_from_slice(&unread[..count]);
        unread.advance(count);
        if unread.is_empty() {
            *unread = BytesMut::new();
        }
        count
    }

    fn recv_own(self: &Rc<Self>, mut buffer: BytesMut, max: usize) -> RecvOwn {
        buffer.reserve(max);
        let start = buffer.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        let length = u32::try_from(max).unwrap_or(u32::MAX >> 1);
        let entry = opcode::Recv::new(types::Fd(self.fd.as_raw_fd()), start, length).build();
        self.receiving.set(Receiving::Orphaned);
        // SAFETY: the bytes go to the heap memory of `buffer`, whose spare capacity was reserved above; the
        // socket is kept open by the operation.
        let op = unsafe { self.ring.start(entry, (self.clone(), buffer)) };
        RecvOwn(op.or_else(|(inner, mut buffer), result| {
            inner.receiving.set(Receiving::Nothing);
            if result > 0 {
                let old = buffer.len();
                filled(&mut buffer, result as usize);
                inner.unread.borrow_mut().extend_from_slice(&buffer[old..]);
            }
            inner.wake_reader();
        }))
    }

    fn cancel_receive(&self) {
        if let Receiving::Pooled(id) = self.receiving.get() {
            self.ring.cancel(id);
        }
    }

    /// The last user is gone: a receive in flight ends and lets go of the descriptor.
    fn abandon_receive(&self) {
        self.cancel_receive();
        if let Receiving::Arrived(_, Some(number)) = self.receiving.take() {
            drop(self.ring.held(number));
        }
    }
}

impl ReceiveOwner for Inner {
    fn received(self: Rc<Self>, result: i32, buffer: Option<Received<'_>>, more: bool) {
        if self.users.get() == 0 {
            return;
        }
        self.direct.set(if more { DIRECT_RECEIVES_MAX } else { 0 });
        if self.reader.borrow().is_some() {
            self.receiving.set(Receiving::Arrived(result, buffer.map(Received::hold)));
            self.wake_reader();
            return;
        }
        // Nobody waits at the moment: the ring's buffer is not held for whoever comes.
        match buffer {
            Some(buffer) if result > 0 => {
                self.unread.borrow_mut().extend_from_slice(buffer.bytes(result as usize));
                self.receiving.set(Receiving::Nothing);
            }
            _ => self.receiving.set(Receiving::Arrived(result, None)),
        }
    }
}

/// A receive into the reader's own buffer.
struct RecvOwn(Op<(Rc<Inner>, BytesMut)>);

impl Future for RecvOwn {
    type Output = (io::Result<usize>, BytesMut);

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|(result, (inner, mut buffer))| {
            inner.receiving.set(Receiving::Nothing);
            let result = result.map(|count| count as usize);
            if let Ok(count) = result {
                filled(&mut buffer, count);
                // What did not fit was left behind, most likely.
                let is_full = buffer.len() == buffer.capacity();
                inner.direct.set(if is_full { DIRECT_RECEIVES_MAX } else { 0 });
            }
            (result, buffer)
        })
    }
}

/// Takes over `count` bytes that the kernel has written behind the end of `buffer`.
fn filled(buffer: &mut BytesMut, count: usize) {
    assert!(count <= buffer.capacity() - buffer.len());
    // SAFETY: the kernel has written that many bytes to the spare capacity.
    unsafe { buffer.set_len(buffer.len() + count) };
}

/// recv(2) of what is there now, `max` bytes at most.
fn receive_now(socket: &OwnedFd, into: &mut BytesMut, max: usize) -> io::Result<usize> {
    into.reserve(max);
    loop {
        let spare = &mut into.spare_capacity_mut()[..max];
        match net::recv(socket, spare, net::RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(((read, _), _)) => {
                let count = read.len();
                filled(into, count);
                return Ok(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shards::{RuntimeOptions, run};
    use crate::runtime::tasks;
    use crate::types::ShardId;
    use std::future::Future;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::pin::pin;
    use std::time::Duration;

    fn one_core<Fut: Future<Output = ()> + 'static>(start: impl Fn() -> Fut + Send + Clone + 'static) {
        run(&RuntimeOptions { cores: vec![0], name: "test".into() }, start).expect("a core can be made");
    }

    fn bind(cores: usize) -> Listeners {
        Listeners::bind("127.0.0.1:0".parse().unwrap(), cores).unwrap()
    }

    async fn connected() -> (Socket, TcpStream) {
        let listeners = bind(1);
        let client = TcpStream::connect(listeners.address()).unwrap();
        let (server, peer) = listeners.take(ShardId(0)).unwrap().accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        (server, client)
    }

    async fn polled_once<F: Future + Unpin>(future: &mut F) {
        std::future::poll_fn(|cx| {
            assert!(pin!(&mut *future).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[test]
    fn an_echo_comes_back_and_the_end_is_seen() {
        one_core(|| async {
            let listeners = bind(1);
            let listener = listeners.take(ShardId(0)).unwrap();
            let server = glommio::spawn_local(async move {
                let (socket, _) = listener.accept().await.unwrap();
                let mut bytes = BytesMut::new();
                while socket.receive(&mut bytes, 0).await.unwrap() > 0 {
                    socket.send_all(bytes.split().freeze()).await.unwrap();
                }
            });
            let client = Socket::connect(listeners.address()).await.unwrap();
            let question: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
            let sender = client.clone();
            let sending = glommio::spawn_local({
                let question = Bytes::from(question.clone());
                async move { sender.send_all(question).await }
            });
            let mut answer = BytesMut::new();
            while answer.len() < question.len() {
                let (count, back) = client.recv(answer, 100_000).await;
                assert!(count.unwrap() > 0);
                answer = back;
            }
            assert!(answer == question);
            sending.await.unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            server.await;
            assert_eq!(client.receive(&mut answer, 0).await.unwrap(), 0);
        });
    }

    #[test]
    fn a_dropped_receive_loses_no_byte() {
        one_core(|| async {
            let (server, mut client) = connected().await;
            let mut bytes = BytesMut::new();
            // Into a buffer of the ring: the receive stays in the kernel and what it gets is kept.
            polled_once(&mut Box::pin(server.receive(&mut bytes, 0))).await;
            client.write_all(b"one ").unwrap();
            glommio::timer::sleep(Duration::from_millis(10)).await;
            assert!(bytes.is_empty());
            server.receive(&mut bytes, 0).await.unwrap();
            assert_eq!(&bytes[..], b"one ");
            // Into its own: cancelled, whether bytes have come or not.
            polled_once(&mut Box::pin(server.recv(BytesMut::new(), 1000))).await;
            client.write_all(b"two ").unwrap();
            server.receive(&mut bytes, 0).await.unwrap();
            {
                let mut receive = Box::pin(server.recv(BytesMut::new(), 1000));
                polled_once(&mut receive).await;
                client.write_all(b"three ").unwrap();
                std::thread::sleep(Duration::from_millis(2));
                // The kernel completes it while its future is not looked at, and then it is dropped.
                for _ in 0..3 {
                    tasks::yield_now().await;
                }
            }
            client.write_all(b"four").unwrap();
            while bytes.len() < 18 {
                let (count, back) = server.recv(bytes, 1000).await;
                count.unwrap();
                bytes = back;
            }
            assert_eq!(&bytes[..], b"one two three four");
        });
    }

    #[test]
    fn bytes_that_are_left_in_the_socket_are_read_at_once() {
        one_core(|| async {
            let (server, mut client) = connected().await;
            // Less than a socket takes unread.
            let sent: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
            client.write_all(&sent).unwrap();
            let mut bytes = BytesMut::new();
            let first = server.receive(&mut bytes, 20_000).await.unwrap();
            assert_eq!(first, ring::RECEIVE_BUFFER_BYTES);
            for expected in [20_000, sent.len() - first - 20_000] {
                let next =
                    pin!(server.receive(&mut bytes, 20_000)).poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(next, Poll::Ready(Ok(count)) if count == expected), "{next:?}");
            }
            assert_eq!(&bytes[..], &sent[..]);
            drop(client);
            assert_eq!(server.receive(&mut bytes, 20_000).await.unwrap(), 0);
        });
    }

    #[test]
    fn a_connection_moves_with_what_was_received() {
        one_core(|| async {
            let (server, mut client) = connected().await;
            let mut bytes = BytesMut::new();
            polled_once(&mut Box::pin(server.receive(&mut bytes, 0))).await;
            client.write_all(b"first").unwrap();
            glommio::timer::sleep(Duration::from_millis(10)).await;
            let (fd, unread) = server.into_parts().await.unwrap();
            assert_eq!(&unread[..], b"first");
            let moved = Socket::from_parts(fd, unread).unwrap();
            moved.receive(&mut bytes, 0).await.unwrap();
            // Silent at the time of the move.
            polled_once(&mut Box::pin(moved.receive(&mut BytesMut::new(), 0))).await;
            let (fd, unread) = moved.into_parts().await.unwrap();
            assert!(unread.is_empty());
            let moved = Socket::from_parts(fd, unread).unwrap();
            client.write_all(b" second").unwrap();
            moved.receive(&mut bytes, 0).await.unwrap();
            assert_eq!(&bytes[..], b"first second");
        });
    }

    #[test]
    fn dropping_the_last_clone_closes_the_connection() {
        one_core(|| async {
            let (server, mut client) = connected().await;
            let clone = server.clone();
            polled_once(&mut Box::pin(server.receive(&mut BytesMut::new(), 0))).await;
            drop(server);
            clone.send_all(Bytes::from_static(b"still here")).await.unwrap();
            drop(clone);
            glommio::timer::sleep(Duration::from_millis(5)).await;
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "still here");
        });
    }

    #[test]
    fn a_peer_that_resets_is_an_error() {
        one_core(|| async {
            let (server, client) = connected().await;
            sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
            drop(client);
            let error = server.receive(&mut BytesMut::new(), 0).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        });
    }

    #[test]
    fn more_arrivals_than_receive_buffers_are_all_read() {
        one_core(|| async {
            let listeners = bind(1);
            let listener = listeners.take(ShardId(0)).unwrap();
            let mut pairs = Vec::new();
            for _ in 0..400 {
                let client = TcpStream::connect(listeners.address()).unwrap();
                pairs.push((listener.accept().await.unwrap().0, client));
            }
            let message = vec![9; 20_000];
            let readers: Vec<_> = pairs
                .iter()
                .map(|(server, _)| {
                    let server = server.clone();
                    glommio::spawn_local(async move {
                        let mut bytes = BytesMut::new();
                        while bytes.len() < 20_000 {
                            assert!(server.receive(&mut bytes, 0).await.unwrap() > 0);
                        }
                        bytes
                    })
                })
                .collect();
            for (_, client) in &mut pairs {
                client.write_all(&message).unwrap();
            }
            for reader in readers {
                assert!(reader.await == message);
            }
        });
    }
}
