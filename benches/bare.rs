//! A bare io_uring loop that echoes 256 bytes on 64 connections, and the load on it: what a request costs at
//! least. The server runs on core 0, the load on core 1; the figure is the CPU time of the server's thread by
//! message, spinning included.

use io_uring::{IoUring, opcode, types};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::cores::{pin_to, thread_cpu_ns};

pub const CONNECTIONS: usize = 64;
pub const MESSAGE_BYTES: usize = 256;
pub const SERVER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;

/// CPU microseconds by message, and messages by second.
pub struct Figure {
    pub cpu_us: f64,
    pub rate: f64,
}

/// What the server counts and when it stops.
#[derive(Default)]
pub struct Run {
    pub messages: AtomicU64,
    /// CPU time of the server's thread in nanoseconds, noted by itself at most every few messages.
    cpu_ns: AtomicU64,
    pub stop: AtomicBool,
}

impl Run {
    /// Called by the server after each message.
    pub fn count(&self) {
        let messages = self.messages.load(Ordering::Relaxed) + 1;
        self.messages.store(messages, Ordering::Relaxed);
        if messages.is_multiple_of(256) {
            self.note_cpu();
        }
    }

    fn note_cpu(&self) {
        self.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.cpu_ns.load(Ordering::Relaxed))
    }
}

/// Runs `server`, which listens and sends its address, under load and measures it over `window`.
pub fn measure(window: Duration, server: fn(Arc<Run>, std::sync::mpsc::Sender<SocketAddr>)) -> Figure {
    let run = Arc::new(Run::default());
    let (sender, address) = std::sync::mpsc::channel();
    let serving = {
        let run = run.clone();
        std::thread::spawn(move || server(run, sender))
    };
    let address = address.recv().expect("the server listens");
    let stop_load = Arc::new(AtomicBool::new(false));
    let load = {
        let stop = stop_load.clone();
        std::thread::spawn(move || load(address, &stop))
    };
    std::thread::sleep(window / 4);
    let (before, since) = (run.read(), Instant::now());
    std::thread::sleep(window);
    let (after, took) = (run.read(), since.elapsed());
    run.stop.store(true, Ordering::Relaxed);
    serving.join().expect("the server ends");
    stop_load.store(true, Ordering::Relaxed);
    load.join().expect("the load ends");
    let messages = (after.0 - before.0) as f64;
    Figure { cpu_us: (after.1 - before.1) as f64 / 1000.0 / messages, rate: messages / took.as_secs_f64() }
}

fn ring() -> IoUring {
    let built = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(256);
    built.expect("io_uring from Linux 6.1")
}

/// The least that a server on a ring can do.
pub fn bare_server(run: Arc<Run>, address: std::sync::mpsc::Sender<SocketAddr>) {
    pin_to(SERVER_CORE);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    address.send(listener.local_addr().expect("it is bound")).expect("someone waits");
    let accept = || {
        let (socket, _) = listener.accept().expect("the load connects");
        socket.set_nodelay(true).expect("it is a TCP socket");
        socket
    };
    let sockets: Vec<TcpStream> = (0..CONNECTIONS).map(|_| accept()).collect();
    let mut ring = ring();
    echo(&mut ring, &sockets, false, || {
        run.count();
        !run.stop.load(Ordering::Relaxed)
    });
}

/// Receives a message on each socket, sends one back, for ever; `speak_first` sends before that. Ends when
/// `go_on` says so after a message, or when a peer closes.
fn echo(ring: &mut IoUring, sockets: &[TcpStream], speak_first: bool, mut go_on: impl FnMut() -> bool) {
    const SEND: u64 = 1 << 32;
    let answer = [7u8; MESSAGE_BYTES];
    let mut buffers = vec![[0u8; MESSAGE_BYTES]; sockets.len()];
    let mut filled = vec![0usize; sockets.len()];
    let push = |ring: &mut IoUring, entry: io_uring::squeue::Entry| {
        // SAFETY: the buffers are not touched before the completion; the ring is closed before they go.
        while unsafe { ring.submission().push(&entry) }.is_err() {
            ring.submit().expect("the ring takes entries");
        }
    };
    let receive = |index: usize, buffer: &mut [u8]| {
        let fd = types::Fd(sockets[index].as_raw_fd());
        opcode::Recv::new(fd, buffer.as_mut_ptr(), buffer.len() as u32).build().user_data(index as u64)
    };
    let send = |index: usize| {
        let fd = types::Fd(sockets[index].as_raw_fd());
        let entry = opcode::Send::new(fd, answer.as_ptr(), MESSAGE_BYTES as u32);
        entry.flags(libc::MSG_NOSIGNAL).build().user_data(SEND)
    };
    for (index, buffer) in buffers.iter_mut().enumerate() {
        if speak_first {
            push(ring, send(index));
        }
        push(ring, receive(index, buffer));
    }
    let mut completed = Vec::new();
    loop {
        ring.submit_and_wait(1).expect("the ring works");
        completed.extend(ring.completion().map(|entry| (entry.user_data(), entry.result())));
        for (id, result) in completed.drain(..) {
            if result <= 0 {
                return;
            }
            if id == SEND {
                continue;
            }
            let index = id as usize;
            filled[index] += result as usize;
            if filled[index] == MESSAGE_BYTES {
                filled[index] = 0;
                push(ring, send(index));
                if !go_on() {
                    return;
                }
            }
            let from = filled[index];
            push(ring, receive(index, &mut buffers[index][from..]));
        }
    }
}

/// The other end of all connections.
fn load(address: SocketAddr, stop: &AtomicBool) {
    pin_to(LOAD_CORE);
    let connect = || {
        let socket = TcpStream::connect(address).expect("the server listens");
        socket.set_nodelay(true).expect("it is a TCP socket");
        socket
    };
    let sockets: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    let mut ring = ring();
    echo(&mut ring, &sockets, true, || !stop.load(Ordering::Relaxed));
}
