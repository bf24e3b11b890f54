//! What a 256-byte request and its answer cost the server, over 64 connections on loopback.
//!
//! Two servers on core 0, in one run and in turns: a bare io_uring loop, which does nothing but receive and
//! send, and what the broker is made of: executor, ring driver, sockets, a task a connection. The load comes
//! from one thread on core 1 that answers each answer with the next request. The figure is the CPU time of
//! the server's thread (spinning included) by message.
//!
//! `cargo bench --bench request [-- --short] [-- --check]`: `--check` fails above [`RATIO_MAX`].

mod bare;
mod cores;

use bare::{CONNECTIONS, Figure, LOAD_CORE, MESSAGE_BYTES, Run, SERVER_CORE, bare_server, measure};
use bytes::{Bytes, BytesMut};
use cores::thread_cpu_ns;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thalweg::runtime::shards::{self, RuntimeOptions};
use thalweg::runtime::socket::{Listeners, Socket};

/// The most that the executor may cost, relative to the bare ring.
const RATIO_MAX: f64 = 1.3;

fn main() {
    let (short, check) = (has_flag("--short"), has_flag("--check"));
    let (rounds, window) = if short { (3, 300) } else { (7, 1000) };
    let window = Duration::from_millis(window);
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(measure(window, bare_server));
        ours.push(measure(window, our_server));
    }
    let (bare, ours) = (median(bare), median(ours));
    let ratio = ours.cpu_us / bare.cpu_us;
    println!("{CONNECTIONS} connections, {MESSAGE_BYTES}-byte request and answer, median of {rounds}:");
    print(&bare, "bare ring loop");
    print(&ours, "executor, ring, sockets");
    println!("ratio {ratio:.2} (bound {RATIO_MAX})");
    idle(if short { 1 } else { 5 });
    if check && ratio > RATIO_MAX {
        std::process::exit(1);
    }
}

fn has_flag(flag: &str) -> bool {
    std::env::args().any(|argument| argument == flag)
}

fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    figures.swap_remove(figures.len() / 2)
}

fn print(figure: &Figure, name: &str) {
    println!("  {name:<24} {:>6.2} us CPU/message  {:>9.0} messages/s", figure.cpu_us, figure.rate);
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
            if !matches!(socket.receive(&mut bytes, 0).await, Ok(count) if count > 0) {
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
                    glommio::spawn_local(async move { socket.receive(&mut BytesMut::new(), 0).await })
                        .detach();
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
