//! The log directories at start: made where missing, locked, formatted where empty, and read.

use std::io;
use std::path::{Path, PathBuf};

use crate::cluster::format;
use crate::config::ServerConfig;
use crate::shard::LogDir;
use crate::storage::checkpoint::{self, DirectoryLock, MetaProperties};
use crate::types::{NodeId, TopicId};

/// The directories, held for this process until dropped.
pub struct Directories {
    pub cluster_id: String,
    pub dirs: Vec<LogDir>,
    pub metadata_dir: PathBuf,
    /// The broker epoch of the last clean stop; -1 after any other end.
    pub previous_broker_epoch: i64,
    pub formatted: bool,
    _locks: Vec<DirectoryLock>,
}

/// Why the directories cannot be used; each names its mend.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{path}: {error}; make it writable for this user, or name another with -o log.dirs=PATH")]
    Io { path: String, error: io::Error },
    #[error("{0} is in use by another broker; stop that one, or name another directory with -o log.dirs=PATH")]
    Locked(String),
    #[error("{path} belongs to node {found}, and node.id is {expected}; start with -o node.id={found}")]
    OtherNode { path: String, found: NodeId, expected: NodeId },
    #[error("{path} belongs to cluster {found}, another directory to {expected}; log.dirs mixes two brokers")]
    OtherCluster { path: String, found: String, expected: String },
}

impl Directories {
    /// Makes the directories ready. A directory without `meta.properties` is formatted, or joins the cluster
    /// of the others.
    pub fn open(config: &ServerConfig) -> Result<Directories, DirectoryError> {
        let node = NodeId(config.node_id);
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
        let mut known = Vec::new();
        for path in &paths {
            known.push(MetaProperties::read(path).map_err(|error| io_error(path, error))?);
        }
        let formatted = known.iter().all(Option::is_none);
        let cluster_id = match known.iter().flatten().next() {
            Some(meta) => meta.cluster_id.clone(),
            None => TopicId::random().to_string(),
        };
        for (path, meta) in paths.iter().zip(&known) {
            match meta {
                Some(meta) => check(path, meta, node, &cluster_id)?,
                None => {
                    let holds_metadata = *path == config.metadata_log_dir;
                    format::format_directory(path, &cluster_id, node, config, holds_metadata)
                        .map_err(|error| io_error(path, error))?;
                }
            }
        }
        let mut dirs = Vec::new();
        let mut previous_broker_epoch = None;
        for path in &config.log_dirs {
            let meta = MetaProperties::read(path).map_err(|error| io_error(path, error))?;
            let id = meta.and_then(|meta| meta.directory_id).unwrap_or_default();
            let clean = checkpoint::take_clean_shutdown(path).map_err(|error| io_error(path, error))?;
            let epoch = clean.as_ref().map_or(-1, |clean| clean.broker_epoch.unwrap_or(-1));
            previous_broker_epoch = Some(previous_broker_epoch.map_or(epoch, |before: i64| before.min(epoch)));
            let offsets =
                |name| checkpoint::read_offsets(&path.join(name)).map_err(|error| io_error(path, error));
            dirs.push(LogDir {
                path: path.clone(),
                id,
                clean: clean.is_some(),
                recovery_points: offsets(checkpoint::RECOVERY_POINTS)?,
                log_starts: offsets(checkpoint::LOG_STARTS)?,
            });
        }
        Ok(Directories {
            cluster_id,
            dirs,
            metadata_dir: config.metadata_log_dir.clone(),
            previous_broker_epoch: previous_broker_epoch.unwrap_or(-1),
            formatted,
            _locks: locks,
        })
    }
}

fn check(path: &Path, meta: &MetaProperties, node: NodeId, cluster_id: &str) -> Result<(), DirectoryError> {
    let path = path.display().to_string();
    if meta.node_id != node {
        return Err(DirectoryError::OtherNode { path, found: meta.node_id, expected: node });
    }
    if meta.cluster_id != cluster_id {
        let (found, expected) = (meta.cluster_id.clone(), cluster_id.to_owned());
        return Err(DirectoryError::OtherCluster { path, found, expected });
    }
    Ok(())
}

fn io_error(path: &Path, error: io::Error) -> DirectoryError {
    DirectoryError::Io { path: path.display().to_string(), error }
}
