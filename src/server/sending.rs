//! Sending an answer: its bytes and its file slices, in order, with as few calls as they need.
//!
//! Bytes before a slice leave with MSG_MORE, so that a small head shares a segment with the records. Small
//! slices are cheaper to copy than to splice; large ones go from the page cache to the socket by splice,
//! after the ring has read ahead what is not cached.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use bytes::{Buf, Bytes, BytesMut};

use crate::api::Part;
use crate::clock;
use crate::metrics;
use crate::runtime::pipes;
use crate::runtime::socket::Socket;
use crate::storage::Slice;

/// A slice up to this size is copied into the answer's bytes.
const COPY_BYTES_MAX: u32 = 8 * 1024;

/// Where an answer goes: the socket, and when bytes last moved (monotonic milliseconds).
#[derive(Clone, Copy)]
pub struct Outlet<'a> {
    pub socket: &'a Socket,
    pub moved_ms: &'a Cell<u64>,
}

impl Outlet<'_> {
    fn moved(&self) {
        self.moved_ms.set(clock::monotonic_ms());
    }
}

/// Sends the parts of one answer.
pub async fn send(outlet: Outlet<'_>, parts: Vec<Part>) -> io::Result<()> {
    let mut parts = parts.into_iter().peekable();
    let mut gathered: Option<BytesMut> = None;
    while let Some(part) = parts.next() {
        match part {
            Part::Bytes(bytes) => {
                let next_is_large = matches!(parts.peek(), Some(Part::File(slice)) if !is_small(slice));
                let last = parts.peek().is_none();
                match gathered.take() {
                    None if last || next_is_large => send_bytes(outlet, bytes, next_is_large).await?,
                    None => gathered = Some(BytesMut::from(&bytes[..])),
                    Some(mut head) => {
                        head.extend_from_slice(&bytes);
                        match last || next_is_large {
                            true => send_bytes(outlet, head.freeze(), next_is_large).await?,
                            false => gathered = Some(head),
                        }
                    }
                }
            }
            Part::File(slice) if is_small(&slice) => {
                let head = gathered.get_or_insert_default();
                copy_slice(&slice, head).await?;
            }
            Part::File(slice) => {
                if let Some(head) = gathered.take() {
                    send_bytes(outlet, head.freeze(), true).await?;
                }
                splice_slice(outlet, &slice, parts.peek().is_some()).await?;
            }
        }
    }
    match gathered {
        Some(head) => send_bytes(outlet, head.freeze(), false).await,
        None => Ok(()),
    }
}

fn is_small(slice: &Slice) -> bool {
    slice.length <= COPY_BYTES_MAX
}

async fn send_bytes(outlet: Outlet<'_>, mut bytes: Bytes, more: bool) -> io::Result<()> {
    while bytes.has_remaining() {
        match outlet.socket.try_send(&[IoSlice::new(&bytes)], more) {
            Ok(count) => {
                bytes.advance(count);
                outlet.moved();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => outlet.socket.writable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn copy_slice(slice: &Slice, into: &mut BytesMut) -> io::Result<()> {
    let length = slice.length as usize;
    if !pipes::cached(slice.file.as_fd(), slice.position, u64::from(slice.length)) {
        pipes::read_ahead(&slice.file, slice.position, u64::from(slice.length)).await?;
    }
    let start = into.len();
    into.resize(start + length, 0);
    let mut filled = 0;
    while filled < length {
        let count = rustix::io::pread(
            slice.file.as_fd(),
            &mut into[start + filled..],
            slice.position + filled as u64,
        )?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment ended before its slice"));
        }
        filled += count;
    }
    metrics::FETCH_BYTES_COPIED.add(length as u64);
    Ok(())
}

async fn splice_slice(outlet: Outlet<'_>, slice: &Slice, more: bool) -> io::Result<()> {
    let (position, length) = (slice.position, u64::from(slice.length));
    let moved = || outlet.moved();
    pipes::splice_to_socket(&slice.file, position, length, outlet.socket, more, None, moved).await?;
    Ok(())
}
