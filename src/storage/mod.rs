//! A partition's log on disk: segments, indexes, producer state, recovery, retention. Knows no replication.
//!
//! [`log::Log`] is what a partition holds: one core's, used through `Rc`. [`appender::Appender`] is what a
//! core holds: it writes what its logs have staged. Every call that changes a file goes through [`file`].
//! Every file is Kafka's to the byte, so that Kafka's own tools read a data directory without complaint.

pub mod appender;
pub mod checkpoint;
mod cold;
pub mod config;
pub mod epochs;
pub mod errors;
pub mod file;
pub mod index_file;
pub mod log;
pub mod offset_index;
pub mod open_files;
pub mod producers;
pub mod reader;
pub mod recovery;
pub mod retention;
pub mod segment;
mod state;
pub mod time_index;
mod waiting;

pub use appender::Appender;
pub use config::{LogConfig, Opening};
pub use errors::{AppendError, StorageError};
pub use file::SegmentFile;
pub use log::{Appended, Log};
pub use producers::ProducerState;
pub use reader::{ReadError, Slice};
pub use recovery::{DirectoryName, Progress, directory_name};
pub use waiting::WaitFor;

#[cfg(test)]
mod tests;
