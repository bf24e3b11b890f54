//! What a 256-byte request and its answer cost the server, over 64 connections on loopback.
//!
//! Two servers on core 0, in one run and in turns: a bare io_uring loop, which does nothing but receive and
//! send, and what the broker is made of: executor, ring driver, sockets, a task a connection. The load comes
//! from one thread on core 1 that answers each answer with the next request. The figure is the CPU time of
//! the server's thread (spinning included) by message.
//!
//! `cargo bench --bench request [-- --short] [-- --check]`: `--check` fails above [`RATIO_MAX`].

use bytes::{Bytes, BytesMut};
use io_uring::{IoUring, opcode, types};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thalweg::runtime::shards::{self, RuntimeOptions};
use thalweg::runtime::socket::{Listeners, Socket};

const CONNECTIONS: usize = 64;
const MESSAGE_BYTES: usize = 256;
/// The most that the executor may cost, relative to the bare ring.
const RATIO_MAX: f64 = 1.3;
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

fn main() {
    let (short, check) = (has_flag("--short"), has_flag("--check"));
    let (rounds, window) = if short { (3, 300) } else { (7, 1000) };
    let window = Duration::from_millis(window);
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(measure(window, bare_server));
        ours.push(measure(window, our_server));
    }
    let (bare, ours) = (Figure::median(bare), Figure::median(ours));
    let ratio = ours.cpu_us / bare.cpu_us;
    println!("{CONNECTIONS} connections, {MESSAGE_BYTES}-byte request and answer, median of {rounds}:");
    bare.print("bare ring loop");
    ours.print("executor, ring, sockets");
    println!("ratio {ratio:.2} (bound {RATIO_MAX})");
    idle(if short { 1 } else { 5 });
    if check && ratio > RATIO_MAX {
        std::process::exit(1);
    }
}

fn has_flag(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

/// CPU by message and messages by second.
struct Figure {
    cpu_us: f64,
    rate: f64,
}

impl Figure {
    fn median(mut figures: Vec<Figure>) -> Figure {
        figures.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
        figures.swap_remove(figures.len() / 2)
    }

    fn print(&self, name: &str) {
        println!("  {name:<24} {:>6.2} us CPU/message  {:>9.0} messages/s", self.cpu_us, self.rate);
    }
}

/// What the server counts and when it stops.
#[derive(Default)]
struct Run {
    messages: AtomicU64,
    /// CPU time of the server's thread in nanoseconds, noted by itself at most every few messages.
    cpu_ns: AtomicU64,
    stop: AtomicBool,
}

impl Run {
    /// Called by the server after each message.
    fn count(&self) {
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

fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Runs `server`, which listens and sends its address, under load and measures it over `window`.
fn measure(window: Duration, server: fn(Arc<Run>, std::sync::mpsc::Sender<SocketAddr>)) -> Figure {
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

fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("the core exists");
}

fn ring() -> IoUring {
    let built = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(256);
    built.expect("io_uring from Linux 6.1")
}

/// The least that a server on a ring can do.
fn bare_server(run: Arc<Run>, address: std::sync::mpsc::Sender<SocketAddr>) {
    pin(SERVER_CORE);
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

/// The broker's parts: a task a connection.
fn our_server(run: Arc<Run>, address: std::sync::mpsc::Sender<SocketAddr>) {
    let listeners = Listeners::bind("127.0.0.1:0".parse().expect("an address"), 1).expect("a port is free");
    address.send(listeners.address()).expect("someone waits");
    let listeners = Arc::new(listeners);
    let options = RuntimeOptions { cores: vec![SERVER_CORE], name: "bench".into() };
    let served = shards::run(&options, move || {
        let (run, listener) = (run.clone(), listeners.take(shards::shard_id()).expect("there is one"));
        async move {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                let (socket, _) = listener.accept().await.expect("the load connects");
                connections.push(glommio::spawn_local(serve(socket, run.clone())));
            }
            for connection in connections {
                connection.await;
            }
        }
    });
    served.expect("the core can be made");
}

async fn serve(socket: Socket, run: Arc<Run>) {
    let answer = Bytes::from_static(&[7; MESSAGE_BYTES]);
    let mut bytes = BytesMut::new();
    while !run.stop.load(Ordering::Relaxed) {
        while bytes.len() < MESSAGE_BYTES {
            if !matches!(socket.receive(&mut bytes).await, Ok(count) if count > 0) {
                return;
            }
        }
        let request = bytes.split_to(MESSAGE_BYTES);
        drop(request);
        if socket.send_all(answer.clone()).await.is_err() {
            return;
        }
        run.count();
    }
}

/// What two cores with a thousand silent connections each cost.
fn idle(seconds: u64) {
    const SILENT: usize = 1000;
    let listeners = Listeners::bind("127.0.0.1:0".parse().expect("an address"), 2).expect("a port is free");
    let address = listeners.address();
    let listeners = Arc::new(listeners);
    let options = RuntimeOptions { cores: vec![SERVER_CORE, LOAD_CORE], name: "idle".into() };
    let clients: Vec<_> =
        (0..2 * SILENT).map(|_| TcpStream::connect(address).expect("they listen")).collect();
    let used = shards::run(&options, move || {
        let listener = listeners.take(shards::shard_id()).expect("there is one");
        async move {
            let accepting = glommio::spawn_local(async move {
                loop {
                    let (socket, _) = listener.accept().await.expect("descriptors are left");
                    glommio::spawn_local(async move { socket.receive(&mut BytesMut::new()).await }).detach();
                }
            });
            glommio::timer::sleep(Duration::from_millis(300)).await;
            let before = thread_cpu_ns();
            glommio::timer::sleep(Duration::from_secs(seconds)).await;
            let used = thread_cpu_ns() - before;
            drop(accepting);
            used as f64 / 1e7 / seconds as f64
        }
    });
    drop(clients);
    let used = used.expect("the cores can be made");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown");
    println!("idle, {SILENT} connections a core: {:.3}% and {:.3}% of a core; {memory}", used[0], used[1]);
}

/// The other end of all connections.
fn load(address: SocketAddr, stop: &AtomicBool) {
    pin(LOAD_CORE);
    let connect = || {
        let socket = TcpStream::connect(address).expect("the server listens");
        socket.set_nodelay(true).expect("it is a TCP socket");
        socket
    };
    let sockets: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    let mut ring = ring();
    echo(&mut ring, &sockets, true, || !stop.load(Ordering::Relaxed));
}
