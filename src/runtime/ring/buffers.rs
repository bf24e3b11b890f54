//! The receive buffers of a ring: the kernel takes one when bytes arrive for a receive that waits without.
//!
//! They are the ring's, a bounded number, given back as soon as their bytes were copied out.

use super::Ring;
use io_uring::{IoUring, types};
use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Receive buffers of the ring, a power of two.
const RECEIVE_BUFFERS: u16 = 128;
/// Bytes of one receive buffer; what is larger than this is received into memory of its own.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Distance of two receive buffers: not a power of two, so that their first lines fall into different sets
/// of the processor's caches.
const RECEIVE_BUFFER_STRIDE: usize = RECEIVE_BUFFER_BYTES + 320;
pub(super) const RECEIVE_GROUP: u16 = 0;

/// Who started a receive into a buffer of the ring. It keeps the descriptor open.
pub(in crate::runtime) trait ReceiveOwner {
    /// The receive ended with `result`; the bytes are in `buffer`. Dropping it gives it back to the ring.
    /// `more`: the socket holds bytes that did not fit.
    fn received(self: Rc<Self>, result: i32, buffer: Option<Received<'_>>, more: bool);
}

/// A receive buffer of the ring that the kernel has filled.
pub(in crate::runtime) struct Received<'a> {
    pub(super) ring: &'a Ring,
    pub(super) number: u16,
}

impl Received<'_> {
    /// The first `length` bytes, which the receive has reported as filled.
    pub fn bytes(&self, length: usize) -> &[u8] {
        self.ring.buffers.bytes(self.number, length)
    }

    /// Keeps the buffer from the ring until [`Ring::give_back`].
    pub fn hold(self) -> u16 {
        ManuallyDrop::new(self).number
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        self.ring.buffers.provide(self.number);
    }
}

impl Ring {
    /// A buffer that was held, to read and to give back by dropping it.
    pub(in crate::runtime) fn held(&self, number: u16) -> Received<'_> {
        Received { ring: self, number }
    }
}

/// The buffers that receives fill, shared with the kernel through a ring of descriptors:
///
/// ```text
/// entry i: u64 address | u32 length | u16 buffer number | u16 (in entry 0: the tail, written by us)
/// ```
///
/// (io_uring_register_buf_ring(3)). Untouched buffers take no memory.
pub(super) struct ReceiveBuffers {
    entries: NonNull<types::BufRingEntry>,
    memory: NonNull<u8>,
    tail: Cell<u16>,
}

const ENTRIES_BYTES: usize = RECEIVE_BUFFERS as usize * size_of::<types::BufRingEntry>();
const MEMORY_BYTES: usize = RECEIVE_BUFFERS as usize * RECEIVE_BUFFER_STRIDE;
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
const _: () = assert!(size_of::<types::BufRingEntry>() == 16);

impl ReceiveBuffers {
    pub fn make(uring: &IoUring) -> io::Result<ReceiveBuffers> {
        let entries = map(ENTRIES_BYTES)?;
        let memory = map(MEMORY_BYTES)?;
        let buffers = ReceiveBuffers { entries: entries.cast(), memory, tail: Cell::new(0) };
        // SAFETY: the mapping is page-aligned, long enough and unmapped only after the io_uring is closed
        // (the ring's fields are dropped in their order).
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                entries.as_ptr() as u64,
                RECEIVE_BUFFERS,
                RECEIVE_GROUP,
                0,
            )?;
        }
        for number in 0..RECEIVE_BUFFERS {
            buffers.provide(number);
        }
        Ok(buffers)
    }

    fn start(&self, number: u16) -> *mut u8 {
        debug_assert!(number < RECEIVE_BUFFERS);
        // SAFETY: the number is below the count of buffers, so the result is inside the mapping.
        unsafe { self.memory.as_ptr().add(usize::from(number) * RECEIVE_BUFFER_STRIDE) }
    }

    fn bytes(&self, number: u16, length: usize) -> &[u8] {
        assert!(length <= RECEIVE_BUFFER_BYTES);
        // SAFETY: inside the mapping, which is initialised (anonymous pages are zero), and the kernel does
        // not write to a buffer that it has not been given again.
        unsafe { std::slice::from_raw_parts(self.start(number), length) }
    }

    /// Gives the buffer to the kernel.
    fn provide(&self, number: u16) {
        let tail = self.tail.get();
        let at = usize::from(tail & (RECEIVE_BUFFERS - 1));
        // SAFETY: `at` is inside the ring of entries; the kernel reads an entry only below the tail. The
        // tail's address is that of a u16 which the kernel only reads.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(at);
            entry.set_addr(self.start(number) as u64);
            entry.set_len(RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(number);
            let shared_tail = types::BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(shared_tail).store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
    }
}

impl Drop for ReceiveBuffers {
    fn drop(&mut self) {
        // SAFETY: both were mapped with these lengths and nothing refers to them any more: `Received` holds
        // a borrow of the ring.
        unsafe {
            let _ = rustix::mm::munmap(self.entries.as_ptr().cast(), ENTRIES_BYTES);
            let _ = rustix::mm::munmap(self.memory.as_ptr().cast(), MEMORY_BYTES);
        }
    }
}

fn map(length: usize) -> io::Result<NonNull<u8>> {
    use rustix::mm::{MapFlags, ProtFlags};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh anonymous mapping touches no memory that exists.
    let mapped =
        unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE)? };
    NonNull::new(mapped.cast()).ok_or_else(|| io::Error::other("mmap gave the null address"))
}
