//! A broker without descriptors goes on accepting once there are some, and does not spin meanwhile.
//!
//! Alone in its process, because the limit is the process's.

use std::net::TcpStream;
use std::time::Duration;
use thalweg::runtime::shards::{self, RuntimeOptions};
use thalweg::runtime::socket::Listeners;

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn accept_survives_running_out_of_descriptors() {
    let options = RuntimeOptions { cores: vec![0], name: "limits".into() };
    shards::run(&options, || async {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let listener = listeners.take(shards::shard_id()).unwrap();
        let client = TcpStream::connect(listeners.address()).unwrap();
        let mut hoard = Vec::new();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let low = rustix::process::Rlimit { current: Some(200), maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, low).unwrap();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        let before = thread_cpu();
        for _ in 0..3 {
            let error = listener.accept().await.err().expect("no descriptor is left");
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        let used = thread_cpu() - before;
        assert!(used < Duration::from_millis(20), "{used:?}");
        drop(hoard);
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    })
    .expect("a core can be made");
}
