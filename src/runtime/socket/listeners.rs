//! Listening sockets: one address, bound once for each core, and the accept loop's operation.
//!
//! The first bind is exclusive, so a port that anyone uses is an error and never shared by accident.

use super::super::ring;
use super::{Socket, local_address};
use crate::types::ShardId;
use io_uring::{opcode, types};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

/// Connections that wait in the kernel to be accepted, for each core (the kernel caps it at somaxconn).
const BACKLOG: i32 = 1024;
/// How long a listener rests when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One address, bound once for each core.
pub struct Listeners {
    address: SocketAddr,
    by_core: Vec<Mutex<Option<OwnedFd>>>,
}

impl Listeners {
    /// Binds `address` for `cores` cores. Port 0 is resolved once, all cores get the same port.
    ///
    /// The first socket is bound exclusively: a port that anyone uses, another broker of this kind
    /// included, is EADDRINUSE. It is opened to the others of this process only once it holds the port, so
    /// there is no moment in which a stranger could slip in.
    ///
    /// # Errors
    /// What socket(2), bind(2) and listen(2) say.
    pub fn bind(address: SocketAddr, cores: usize) -> io::Result<Listeners> {
        assert!(cores > 0, "someone accepts");
        let first = listening_socket(address)?;
        net::bind(&first, &address)?;
        let address = local_address(&first)?;
        sockopt::set_socket_reuseport(&first, true)?;
        net::listen(&first, BACKLOG)?;
        let mut by_core = vec![Mutex::new(Some(first))];
        for _ in 1..cores {
            let socket = listening_socket(address)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            net::bind(&socket, &address)?;
            net::listen(&socket, BACKLOG)?;
            by_core.push(Mutex::new(Some(socket)));
        }
        Ok(Listeners { address, by_core })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener of one core; it is given once.
    pub fn take(&self, shard: ShardId) -> Option<Listener> {
        let mut socket = self.by_core.get(usize::from(shard.0))?.lock().expect("nothing panics inside");
        socket.take().map(|fd| Listener { fd: Rc::new(fd) })
    }
}

fn listening_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of a broker that just stopped (TIME_WAIT) do not keep the next from binding.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

/// Where one core accepts. Dropping it stops listening on this core.
pub struct Listener {
    fd: Rc<OwnedFd>,
}

impl Listener {
    /// The next connection. A connection that died before it was accepted is passed over.
    ///
    /// # Errors
    /// Out of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM): given after a pause of
    /// [`ACCEPT_PAUSE`], so that a loop that logs and goes on does not spin. ECANCELED: the core stops.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        loop {
            match self.accept_one().await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ECANCELED) => {
                        glommio::timer::sleep(ACCEPT_PAUSE).await;
                        return Err(error);
                    }
                    // accept(2): errors of the new connection's network are reported here as well.
                    Some(
                        libc::ECONNABORTED
                        | libc::EINTR
                        | libc::EAGAIN
                        | libc::EPROTO
                        | libc::ENETDOWN
                        | libc::ENETUNREACH
                        | libc::EHOSTDOWN
                        | libc::EHOSTUNREACH
                        | libc::ENOPROTOOPT
                        | libc::ENONET
                        | libc::EPERM,
                    ) => {}
                    None if error.kind() == io::ErrorKind::NotConnected => {}
                    _ => {
                        glommio::timer::sleep(ACCEPT_PAUSE).await;
                        return Err(error);
                    }
                },
            }
        }
    }

    async fn accept_one(&self) -> io::Result<(Socket, SocketAddr)> {
        let fd = types::Fd(self.fd.as_raw_fd());
        let entry = opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
            .build();
        // SAFETY: the operation points to nothing and keeps the listening socket open.
        let op = unsafe { ring::current().start(entry, self.fd.clone()) };
        let (result, _) = op.or_else(|_, result| drop(ring::owned(result))).await;
        let fd = ring::owned(result? as i32).expect("a descriptor is not negative");
        let socket = Socket::from_fd(fd).map_err(|error| match error.raw_os_error() {
            // The peer is gone already.
            Some(libc::ENOTCONN | libc::EINVAL) => io::ErrorKind::NotConnected.into(),
            _ => error,
        })?;
        let peer = socket.peer();
        Ok((socket, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::shards::{self, RuntimeOptions, run};
    use bytes::Bytes;
    use std::io::Read;
    use std::net::TcpStream;

    fn bind(cores: usize) -> Listeners {
        Listeners::bind("127.0.0.1:0".parse().unwrap(), cores).unwrap()
    }

    #[test]
    fn a_port_in_use_is_refused_and_all_cores_share_one() {
        let listeners = bind(3);
        assert_ne!(listeners.address().port(), 0);
        for shard in 0..3 {
            let listener = listeners.take(ShardId(shard)).unwrap();
            assert_eq!(local_address(&listener.fd).unwrap(), listeners.address());
        }
        let listeners = bind(2);
        let error = Listeners::bind(listeners.address(), 2).err().expect("we hold the port");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let address = listeners.address();
        drop(listeners);
        Listeners::bind(address, 2).expect("it is free again");
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = Listeners::bind(stranger.local_addr().unwrap(), 1).err().expect("a stranger has it");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn every_core_accepts() {
        use std::sync::Arc;
        let listeners = Arc::new(bind(2));
        let address = listeners.address();
        let clients = std::thread::spawn(move || {
            for _ in 0..40 {
                let mut client = TcpStream::connect(address).unwrap();
                client.read_exact(&mut [0; 2]).unwrap();
            }
        });
        let options = RuntimeOptions { cores: vec![0, 1], name: "test".into() };
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let finished = done.clone();
        let waiter = std::thread::spawn(move || {
            clients.join().unwrap();
            finished.store(true, std::sync::atomic::Ordering::Release);
        });
        let counts = run(&options, move || {
            let (listener, done) = (listeners.take(shards::shard_id()).unwrap(), done.clone());
            async move {
                let mut count = 0;
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    let soon = std::time::Instant::now() + Duration::from_millis(20);
                    if let Some(accepted) = ring::by_deadline(Some(soon), listener.accept()).await {
                        accepted.unwrap().0.send_all(Bytes::from_static(b"hi")).await.unwrap();
                        count += 1;
                    }
                }
                count
            }
        })
        .unwrap();
        waiter.join().unwrap();
        assert_eq!(counts.iter().sum::<usize>(), 40);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
}
