//! Cores and what they are made of: executors, the socket ring, sockets, pipes, mailboxes, broadcast.
//!
//! | file | noun |
//! |---|---|
//! | [`shards`] | one pinned executor per core; `call` and `each` carry work between them |
//! | [`tasks`] | the task queues of a core and their shares |
//! | [`compute`] | long computations, on a thread that gives way to the core |
//! | [`priority`] | what cores and computing threads ask of the kernel's scheduler |
//! | [`ring`] | the core's io_uring: operations as futures, the driver that submits, reaps, spins, parks |
//! | [`socket`] | listeners and connections on that ring |
//! | [`pipes`] | file slices to sockets without user space |
//! | [`memory`] | a bound on bytes, handed out in order |
//! | [`mailbox`], [`park`], [`broadcast`] | what cores share: these three also build under `cfg(loom)` |
//!
//! Only this room, `server/` and `storage/file.rs` name the ring.

pub mod broadcast;
#[cfg(not(loom))]
pub mod compute;
pub mod mailbox;
#[cfg(not(loom))]
pub mod memory;
pub mod park;
#[cfg(not(loom))]
pub mod pipes;
#[cfg(not(loom))]
pub mod priority;
#[cfg(not(loom))]
pub mod ring;
#[cfg(not(loom))]
pub mod shards;
#[cfg(not(loom))]
pub mod socket;
#[cfg(not(loom))]
pub mod tasks;
