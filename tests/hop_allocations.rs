//! A call to another core costs at most two allocations, there and back: counted over both cores.
//!
//! Alone in its process, because the counting allocator sees every thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg::runtime::shards::{self, RuntimeOptions};
use thalweg::types::ShardId;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything to the system's allocator and counts beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const GROUP: usize = 512;
const CALLS: u64 = 100 * GROUP as u64;
const OTHER: ShardId = ShardId(1);

#[test]
fn a_call_costs_at_most_two_allocations() {
    let options = RuntimeOptions { cores: vec![0, 1], name: "hop".into() };
    let counted = shards::run(&options, || async {
        if shards::shard_id() == OTHER {
            return 0.0;
        }
        count_calls().await;
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        count_calls().await;
        (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / CALLS as f64
    })
    .expect("cores can be made");
    println!("{:.3} allocations a call", counted[0]);
    // Parks and timers of two cores allocate a little beside the calls.
    assert!(counted[0] <= 2.1, "{} allocations a call", counted[0]);
}

/// Calls in groups below the bound of a mailbox.
async fn count_calls() {
    let mut replies = Vec::with_capacity(GROUP);
    for _ in 0..CALLS / GROUP as u64 {
        for n in 0..GROUP as u64 {
            replies.push(shards::call(OTHER, move || async move { n }).await);
        }
        for (n, reply) in replies.drain(..).enumerate() {
            assert_eq!(reply.await, Ok(n as u64));
        }
    }
}
