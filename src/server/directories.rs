//! The log directories at start: made where missing, locked, formatted where empty, and read.

use std::io;
use std::path::{Path, PathBuf};

use crate::cluster::format::{self, FormatError, FormatOptions};
use crate::config::ServerConfig;
use crate::shard::LogDir;
use crate::storage::checkpoint::{self, DirectoryLock};
use crate::types::{NodeId, TopicId};

/// The directories, held for this process until dropped.
pub struct Directories {
    pub cluster_id: String,
    pub dirs: Vec<LogDir>,
    pub metadata_dir: PathBuf,
    pub metadata_dir_id: TopicId,
    /// Name, host and port of the controller as the quorum's files name it.
    pub controller: Vec<(String, String, u16)>,
    /// The broker epoch of the last clean stop; -1 after any other end.
    pub previous_broker_epoch: i64,
    /// Whether this start made a new cluster.
    pub is_new: bool,
    _locks: Vec<DirectoryLock>,
}

/// Why the directories cannot be used; each names its mend.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{path}: {error}; make it writable for this user, or name another with -o log.dirs=PATH")]
    Io { path: String, error: io::Error },
    #[error(
        "{0} is in use by another broker; stop that one, or name another directory with -o log.dirs=PATH"
    )]
    Locked(String),
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Directories {
    /// Makes the directories ready. A directory without `meta.properties` is formatted, or joins the cluster
    /// of the others.
    pub fn open(config: &ServerConfig) -> Result<Directories, DirectoryError> {
        let mut paths = config.log_dirs.clone();
        if !paths.contains(&config.metadata_log_dir) {
            paths.push(config.metadata_log_dir.clone());
        }
        let mut locks = Vec::new();
        for path in &paths {
            std::fs::create_dir_all(path).map_err(|error| io_error(path, error))?;
            let lock = DirectoryLock::acquire(path).map_err(|error| io_error(path, error))?;
            locks.push(lock.ok_or_else(|| DirectoryError::Locked(path.display().to_string()))?);
        }
        let controller = controller_endpoints(config);
        let formatted = format::format(&FormatOptions {
            node_id: NodeId(config.node_id),
            log_dirs: config.log_dirs.clone(),
            metadata_log_dir: config.metadata_log_dir.clone(),
            cluster_id: None,
            endpoints: controller.clone(),
        })?;
        let mut dirs = Vec::new();
        let mut epochs = Vec::new();
        for (path, id) in config.log_dirs.iter().zip(&formatted.directory_ids) {
            let dir = read(path, *id, &mut epochs).map_err(|error| io_error(path, error))?;
            dirs.push(dir);
        }
        Ok(Directories {
            cluster_id: formatted.cluster_id,
            dirs,
            metadata_dir: config.metadata_log_dir.clone(),
            metadata_dir_id: formatted.metadata_directory_id,
            controller,
            // Directories that disagree did not stop together.
            previous_broker_epoch: epochs.into_iter().min().unwrap_or(-1),
            is_new: formatted.is_new,
            _locks: locks,
        })
    }
}

fn read(path: &Path, id: TopicId, epochs: &mut Vec<i64>) -> io::Result<LogDir> {
    let clean = checkpoint::take_clean_shutdown(path)?;
    epochs.push(clean.as_ref().and_then(|clean| clean.broker_epoch).unwrap_or(-1));
    Ok(LogDir {
        path: path.to_owned(),
        id,
        clean: clean.is_some(),
        recovery_points: checkpoint::read_offsets(&path.join(checkpoint::RECOVERY_POINTS))?,
        log_starts: checkpoint::read_offsets(&path.join(checkpoint::LOG_STARTS))?,
    })
}

/// The controller's listeners as configured; where there are none, the address that Kafka's own sample uses.
fn controller_endpoints(config: &ServerConfig) -> Vec<(String, String, u16)> {
    let named = config.controller_listeners.iter().map(|listener| {
        let host = if listener.host.is_empty() { "localhost" } else { listener.host.as_str() };
        (listener.name.clone(), host.to_owned(), listener.port)
    });
    let named: Vec<_> = named.collect();
    match named.is_empty() {
        true => vec![("CONTROLLER".into(), "localhost".into(), 9093)],
        false => named,
    }
}

fn io_error(path: &Path, error: io::Error) -> DirectoryError {
    DirectoryError::Io { path: path.display().to_string(), error }
}
