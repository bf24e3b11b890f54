//! What a thread asks of the kernel's scheduler. All of it is asked without privileges, and none is needed.

use std::io;
use std::time::Duration;

/// The least that the kernel grants (0.1 ms, sched(7)).
const SHORT: Duration = Duration::from_micros(100);
const LOWEST: i32 = 19;

/// For a core: a thread that asks for a short time slice has an early deadline when it wakes, so it runs
/// before a thread of another process that is in the middle of a slice of milliseconds. Its share of the processor
/// stays. Linux 6.12 and newer heed it, older ones ignore it.
///
/// # Errors
/// What the kernel says; the thread then runs as any other.
pub fn wake_early() -> io::Result<()> {
    let own = rustix::process::getpriority_process(None)?;
    ask(own, SHORT)
}

/// For a thread that computes beside a core: the lowest priority, and slices as usual.
///
/// # Errors
/// What the kernel says; the thread then runs as its core.
pub fn give_way() -> io::Result<()> {
    ask(LOWEST, Duration::ZERO)
}

/// Sets the calling thread's niceness and the slice that it asks for; none is the kernel's own.
fn ask(nice: i32, slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: slice.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the attributes live for the call, and say their own size.
    let asked = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if asked == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Niceness and slice in nanoseconds of the calling thread.
    fn granted() -> (i32, u64) {
        // SAFETY: the attributes are plain numbers.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::sched_attr>() as u32;
        // SAFETY: the attributes live for the call, which writes no more than it is told they hold.
        let told = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
        assert_eq!(told, 0, "{}", io::Error::last_os_error());
        (attributes.sched_nice, attributes.sched_runtime)
    }

    #[test]
    fn a_core_keeps_its_niceness_and_a_computing_thread_gives_its_slice_back() {
        std::thread::spawn(|| {
            let (nice, usual_ns) = granted();
            wake_early().unwrap();
            let (kept, short_ns) = granted();
            assert_eq!(kept, nice);
            // Where the kernel knows no slices of a thread's own, it says 0 or what it gives all.
            assert!(short_ns == usual_ns || u128::from(short_ns) == SHORT.as_nanos(), "{short_ns} ns");
            let computing = std::thread::spawn(move || {
                give_way().unwrap();
                assert_eq!(granted(), (LOWEST, usual_ns));
            });
            computing.join().unwrap();
        })
        .join()
        .unwrap();
    }
}
