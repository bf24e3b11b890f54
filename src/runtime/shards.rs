//! Cores: one pinned executor each, and the calls between them.
//!
//! `call` puts a closure into the owner's mailbox; it runs there in mailbox order, and what it returns is a
//! future that may finish later. The answer travels back the same way: the owner leaves it in the call and
//! rings the caller's core, whose driver wakes the waiting task. No waker ever crosses threads.
//! A call to another core costs one allocation (the call itself), and one more when its future does not
//! finish at once.
//! A core that has finished keeps its mailbox open until all have, so that late calls are answered.

use super::mailbox::{Mailbox, Refused};
use super::park::Bell;
use super::ring::{EventFd, Ring};
use super::tasks::{self, Queue};
use crate::types::ShardId;
use glommio::{LocalExecutorBuilder, Placement};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};

/// Messages that wait in one mailbox; beyond them callers wait.
pub const MAILBOX_MESSAGES: usize = 1024;
/// Messages that a mailbox loop handles before other tasks of the core get a turn.
const MESSAGES_PER_TURN: usize = 64;

/// What the cores are made from.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// The processors to pin to, one core each, in the order of their shard ids.
    pub cores: Vec<usize>,
    /// Name of the threads, followed by the shard id.
    pub name: String,
}
