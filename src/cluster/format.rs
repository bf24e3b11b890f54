//! What an empty log directory gets: the files that `kafka-storage format --standalone` of 4.1 writes.
//!
//! ```text
//! bootstrap.checkpoint                                          the feature levels of a new cluster
//! __cluster_metadata-0/00000000000000000000-0000000000.checkpoint   kraft.version and the voters: this node
//! meta.properties                                               written last: without it nothing counts
//! ```
//! A directory that comes to a cluster later gets `meta.properties` alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::quorum::VoterState;
use super::single::{DIRECTORY, voters_record};
use super::snapshot::{QuorumRecords, Snapshot, SnapshotId};
use crate::clock;
use crate::metadata::features::{KRAFT_VERSION, METADATA_VERSION, SUPPORTED};
use crate::protocol::stored::metadata::{FeatureLevelRecord, Record, Versioned};
use crate::storage::checkpoint::{META_PROPERTIES, MetaProperties};
use crate::storage::file;
use crate::types::{LeaderEpoch, NodeId, TopicId};

const BOOTSTRAP: &str = "bootstrap.checkpoint";

/// Whose the directories are to be.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    pub node_id: NodeId,
    pub log_dirs: Vec<PathBuf>,
    /// The one of `log_dirs`, or another, that holds the metadata log.
    pub metadata_log_dir: PathBuf,
    /// The id of a new cluster; `None` for a random one.
    pub cluster_id: Option<String>,
    /// The controller's listeners: name, host, port.
    pub endpoints: Vec<(String, String, u16)>,
}

/// The directories as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    pub cluster_id: String,
    /// Each log directory's id, in the order of `log_dirs`.
    pub directory_ids: Vec<TopicId>,
    /// The id of the directory that holds the metadata log.
    pub metadata_directory_id: TopicId,
    /// Whether this made a new cluster.
    pub is_new: bool,
}

/// Why the directories cannot be this node's.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(
        "{dir} belongs to node.id {found}, but node.id is {expected}: set node.id={found}, or give another \
         directory in log.dirs"
    )]
    OtherNode { dir: String, found: NodeId, expected: NodeId },
    #[error(
        "{dir} belongs to cluster {found}, but {expected} is the cluster of the other directories: give only \
         directories of one cluster in log.dirs"
    )]
    OtherCluster { dir: String, found: String, expected: String },
    #[error(
        "{dir} has no meta.properties, but it is not empty of metadata ({what}): restore meta.properties or \
         give an empty directory"
    )]
    Leftovers { dir: String, what: String },
}

/// Formats the directories that are empty and reads the others. Blocks; durable when it returns.
pub fn format(options: &FormatOptions) -> Result<Formatted, FormatError> {
    let mut dirs: Vec<&Path> = options.log_dirs.iter().map(PathBuf::as_path).collect();
    if !dirs.contains(&options.metadata_log_dir.as_path()) {
        dirs.push(&options.metadata_log_dir);
    }
    let mut found = Vec::new();
    let mut cluster_id: Option<String> = None;
    for dir in &dirs {
        let properties = MetaProperties::read(dir)?;
        if let Some(properties) = &properties {
            check_owner(options, dir, properties, cluster_id.as_deref())?;
            cluster_id = Some(properties.cluster_id.clone());
        }
        found.push(properties);
    }
    let is_new = cluster_id.is_none();
    let cluster_id =
        cluster_id.or_else(|| options.cluster_id.clone()).unwrap_or_else(|| TopicId::random().to_string());
    let mut ids = Vec::new();
    for (dir, properties) in dirs.iter().zip(found) {
        let id = properties.as_ref().and_then(|properties| properties.directory_id);
        let directory_id = id.unwrap_or_else(TopicId::random);
        ids.push(directory_id);
        if id.is_some() {
            continue;
        }
        if is_new && properties.is_none() {
            format_new(options, dir, directory_id)?;
        }
        let properties = MetaProperties {
            cluster_id: cluster_id.clone(),
            node_id: options.node_id,
            directory_id: Some(directory_id),
        };
        file::create_dir_all(dir)?;
        properties.write(dir)?;
    }
    let metadata_at = dirs.iter().position(|dir| *dir == options.metadata_log_dir);
    let metadata_directory_id = ids[metadata_at.expect("the metadata directory is among them")];
    ids.truncate(options.log_dirs.len());
    Ok(Formatted { cluster_id, directory_ids: ids, metadata_directory_id, is_new })
}

fn check_owner(
    options: &FormatOptions,
    dir: &Path,
    properties: &MetaProperties,
    cluster_id: Option<&str>,
) -> Result<(), FormatError> {
    let dir = dir.display().to_string();
    if properties.node_id != options.node_id {
        let (found, expected) = (properties.node_id, options.node_id);
        return Err(FormatError::OtherNode { dir, found, expected });
    }
    match cluster_id {
        Some(expected) if expected != properties.cluster_id => Err(FormatError::OtherCluster {
            dir,
            found: properties.cluster_id.clone(),
            expected: expected.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Everything of a new cluster's directory but `meta.properties`.
fn format_new(options: &FormatOptions, dir: &Path, directory_id: TopicId) -> Result<(), FormatError> {
    let metadata_dir = dir.join(DIRECTORY);
    if let Some(what) = leftovers(&metadata_dir)? {
        return Err(FormatError::Leftovers { dir: dir.display().to_string(), what });
    }
    file::create_dir_all(dir)?;
    let now_ms = clock::wall_ms();
    let bootstrap = Snapshot { last_timestamp_ms: 0, quorum: None, records: bootstrap_records() };
    let bytes = bootstrap.encode(LeaderEpoch(0), now_ms).map_err(io::Error::other)?;
    file::replace(&dir.join(BOOTSTRAP), &bytes)?;
    if dir != options.metadata_log_dir {
        return Ok(());
    }
    let voter = VoterState {
        id: options.node_id,
        directory_id: directory_id.0,
        endpoints: options.endpoints.clone(),
    };
    let quorum = QuorumRecords { kraft_version: kraft_version(), voters: voters_record(&[voter]) };
    let first = Snapshot { last_timestamp_ms: now_ms, quorum: Some(quorum), records: Vec::new() };
    file::create_dir_all(&metadata_dir)?;
    // A format that was cut short may have left its snapshot; the voters in it have an id of no directory.
    file::remove_file(&SnapshotId::FIRST.path(&metadata_dir))?;
    first.write(&metadata_dir, SnapshotId::FIRST, now_ms)?;
    Ok(())
}

/// A file that only a cluster that ran has.
fn leftovers(metadata_dir: &Path) -> io::Result<Option<String>> {
    let entries = match fs::read_dir(metadata_dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".log") {
            return Ok(Some(format!("{DIRECTORY}/{name}")));
        }
    }
    Ok(None)
}

fn kraft_version() -> i16 {
    SUPPORTED.iter().find(|feature| feature.name == KRAFT_VERSION).map_or(0, |feature| feature.initial)
}

/// The levels of a new cluster, the metadata version first. kraft.version is the snapshot's.
fn bootstrap_records() -> Vec<Versioned> {
    let (first, rest): (Vec<_>, Vec<_>) = SUPPORTED
        .iter()
        .filter(|feature| feature.initial > 0 && feature.name != KRAFT_VERSION)
        .partition(|feature| feature.name == METADATA_VERSION);
    let record = |feature: &crate::metadata::features::Supported| {
        let name = feature.name.to_owned();
        Record::from(FeatureLevelRecord { name, feature_level: feature.initial }).at(0)
    };
    first.into_iter().chain(rest).map(record).collect()
}

/// Reads the bootstrap records of a formatted directory; without the file, those of a new cluster.
pub fn read_bootstrap(dir: &Path) -> io::Result<Snapshot> {
    match Snapshot::read(&dir.join(BOOTSTRAP)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Ok(Snapshot { last_timestamp_ms: 0, quorum: None, records: bootstrap_records() })
        }
        other => other,
    }
}

/// Whether a directory has been formatted.
pub fn is_formatted(dir: &Path) -> bool {
    dir.join(META_PROPERTIES).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::format_options;

    #[test]
    fn formats_once_and_reads_ever_after() {
        let dir = tempfile::tempdir().unwrap();
        let options = format_options(dir.path());
        let first = format(&options).unwrap();
        assert!(first.is_new);
        let again = format(&options).unwrap();
        assert_eq!(again, Formatted { is_new: false, ..first });
    }

    #[test]
    fn a_directory_that_comes_later_gets_an_id_of_the_same_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = format_options(&dir.path().join("a"));
        let first = format(&options).unwrap();
        options.log_dirs.push(dir.path().join("b"));
        let both = format(&options).unwrap();
        assert_eq!((both.is_new, &both.cluster_id), (false, &first.cluster_id));
        assert_eq!(both.directory_ids[0], first.directory_ids[0]);
        assert_ne!(both.directory_ids[1], both.directory_ids[0]);
        assert_eq!(fs::read_dir(dir.path().join("b")).unwrap().count(), 1);
    }

    #[test]
    fn refuses_the_directory_of_another_node_or_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = format_options(&dir.path().join("a"));
        format(&options).unwrap();
        options.node_id = NodeId(2);
        let error = format(&options).unwrap_err();
        assert!(matches!(&error, FormatError::OtherNode { found: NodeId(1), .. }), "{error}");
        let mut other = format_options(&dir.path().join("b"));
        format(&other).unwrap();
        other.log_dirs.insert(0, dir.path().join("a"));
        assert!(matches!(format(&other).unwrap_err(), FormatError::OtherCluster { .. }));
    }

    #[test]
    fn a_format_that_was_cut_short_is_done_again_but_a_log_is_never_formatted_over() {
        let dir = tempfile::tempdir().unwrap();
        let options = format_options(dir.path());
        format(&options).unwrap();
        fs::remove_file(dir.path().join(META_PROPERTIES)).unwrap();
        assert!(format(&options).unwrap().is_new);
        fs::remove_file(dir.path().join(META_PROPERTIES)).unwrap();
        fs::write(dir.path().join(DIRECTORY).join("00000000000000000000.log"), b"").unwrap();
        assert!(matches!(format(&options).unwrap_err(), FormatError::Leftovers { .. }));
    }
}
