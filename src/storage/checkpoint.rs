//! The small text files of a log directory, as Kafka writes them.
//!
//! ```text
//! recovery-point-offset-checkpoint, replication-offset-checkpoint,      0            version
//! log-start-offset-checkpoint, cleaner-offset-checkpoint                2            number of entries
//!                                                                       orders 0 17  topic partition offset
//!                                                                       orders 1 4
//! partition.metadata      version: 0 / topic_id: <22 characters>
//! meta.properties         Java properties: version, cluster.id, node.id, directory.id
//! .kafka_cleanshutdown    {"version":0,"brokerEpoch":12}
//! .lock                   empty, held with a POSIX lock while a broker uses the directory
//! ```
//! The functions block; call them through [`crate::storage::file::blocking`] on a core.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::storage::file;
use crate::types::{NodeId, Offset, PartitionId, TopicId, TopicPartition};

pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub const META_PROPERTIES: &str = "meta.properties";
pub const PARTITION_METADATA: &str = "partition.metadata";
pub const LOCK: &str = ".lock";

/// Text that is not what Kafka writes in that file; says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    fn at(self, path: &Path) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {}", path.display(), self.0))
    }
}

/// The frame that Kafka's checkpoint files share: a version line, a count line, one line an entry.
pub struct CheckpointText;

impl CheckpointText {
    const VERSION: &'static str = "0";

    pub fn write(entries: impl Iterator<Item = String>) -> String {
        let lines: Vec<String> = entries.collect();
        let mut text = format!("{}\n{}\n", Self::VERSION, lines.len());
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The entry lines; an empty file has none.
    pub fn read(text: &str) -> Result<Vec<&str>, Malformed> {
        let mut lines = text.lines();
        match lines.next() {
            None => return Ok(Vec::new()),
            Some(Self::VERSION) => {}
            Some(other) => return Err(Malformed(format!("unrecognised version {other:?}, expected 0"))),
        }
        let Some(count) = lines.next() else { return Ok(Vec::new()) };
        let count: usize = count.parse().map_err(|_| Malformed(format!("malformed line {count:?}")))?;
        let entries: Vec<&str> = lines.collect();
        if entries.len() != count {
            return Err(Malformed(format!("expected {count} entries, found {}", entries.len())));
        }
        Ok(entries)
    }
}

/// Offsets by partition, as the four offset checkpoint files hold them.
pub type Offsets = BTreeMap<TopicPartition, Offset>;

/// Replaces an offset checkpoint file; durable when it returns.
pub fn write_offsets(path: &Path, offsets: &Offsets) -> io::Result<()> {
    let lines = offsets.iter().map(|(tp, offset)| format!("{} {} {offset}", tp.topic, tp.partition));
    file::replace(path, CheckpointText::write(lines).as_bytes())
}

/// Reads an offset checkpoint file; one that is not there has no entries.
pub fn read_offsets(path: &Path) -> io::Result<Offsets> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Offsets::new()),
        other => other?,
    };
    decode_offsets(&text).map_err(|e| e.at(path))
}

fn decode_offsets(text: &str) -> Result<Offsets, Malformed> {
    let mut offsets = Offsets::new();
    for line in CheckpointText::read(text)? {
        let malformed = || Malformed(format!("malformed line {line:?}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        let [topic, partition, offset] = words[..] else { return Err(malformed()) };
        let partition = PartitionId(partition.parse().map_err(|_| malformed())?);
        let offset = Offset(offset.parse().map_err(|_| malformed())?);
        offsets.insert(TopicPartition { topic: topic.into(), partition }, offset);
    }
    Ok(offsets)
}

/// Brings all that the closed logs of the directory left to the device, then writes the file that says it
/// was left in order; durable when it returns.
pub fn write_clean_shutdown(dir: &Path, broker_epoch: i64) -> io::Result<()> {
    file::sync_file_system(dir)?;
    let text = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
    file::write_synced(&dir.join(CLEAN_SHUTDOWN), text.as_bytes())?;
    file::sync_dir(dir)
}

/// What [`take_clean_shutdown`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// `None` where the file's content is not readable; its presence counts all the same.
    pub broker_epoch: Option<i64>,
}

/// Reads and removes the clean-shutdown file; `None` where there is none. Gone from the device when it
/// returns, so that a crash from now on is seen as one.
pub fn take_clean_shutdown(dir: &Path) -> io::Result<Option<CleanShutdown>> {
    let path = dir.join(CLEAN_SHUTDOWN);
    let text = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    file::remove_file(&path)?;
    file::sync_dir(dir)?;
    let content: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
    let broker_epoch = content.and_then(|c| c.get("brokerEpoch").and_then(serde_json::Value::as_i64));
    Ok(Some(CleanShutdown { broker_epoch }))
}

/// Whose a log directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: NodeId,
    /// Absent in directories that an older Kafka formatted.
    pub directory_id: Option<TopicId>,
}

impl MetaProperties {
    /// Reads `meta.properties` (version 1) of a log directory; `None` where there is none.
    pub fn read(dir: &Path) -> io::Result<Option<MetaProperties>> {
        let path = dir.join(META_PROPERTIES);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Self::decode(&text).map(Some).map_err(|e| e.at(&path))
    }

    /// Replaces `meta.properties`; durable when it returns.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        file::replace(&dir.join(META_PROPERTIES), self.encode().as_bytes())
    }

    fn encode(&self) -> String {
        let mut text = format!("#\nnode.id={}\n", self.node_id);
        if let Some(id) = self.directory_id {
            text.push_str(&format!("directory.id={id}\n"));
        }
        text.push_str(&format!("version=1\ncluster.id={}\n", self.cluster_id));
        text
    }

    fn decode(text: &str) -> Result<MetaProperties, Malformed> {
        let mut values: BTreeMap<&str, String> = BTreeMap::new();
        for line in text.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) =
                line.split_once('=').ok_or_else(|| Malformed(format!("no value in {line:?}")))?;
            values.insert(key.trim(), value.trim().replace('\\', ""));
        }
        let wanted = |key: &str| values.get(key).ok_or_else(|| Malformed(format!("{key} was not found")));
        if wanted("version")? != "1" {
            return Err(Malformed(format!("version {} is not supported, only 1 is", wanted("version")?)));
        }
        let node_id = wanted("node.id")?;
        let directory_id = match values.get("directory.id") {
            None => None,
            Some(text) => {
                Some(TopicId::parse(text).ok_or_else(|| Malformed(format!("bad directory.id {text}")))?)
            }
        };
        Ok(MetaProperties {
            cluster_id: wanted("cluster.id")?.clone(),
            node_id: NodeId(node_id.parse().map_err(|_| Malformed(format!("bad node.id {node_id}")))?),
            directory_id,
        })
    }
}

/// The content of `partition.metadata`.
pub fn partition_metadata(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// Writes `partition.metadata` of a partition's directory; durable when it returns.
pub fn write_partition_metadata(dir: &Path, topic_id: TopicId) -> io::Result<()> {
    file::replace(&dir.join(PARTITION_METADATA), partition_metadata(topic_id).as_bytes())
}

/// The topic id in `partition.metadata`; `None` where the file is not there.
pub fn read_partition_metadata(dir: &Path) -> io::Result<Option<TopicId>> {
    let path = dir.join(PARTITION_METADATA);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let value = |line: Option<&str>| line.and_then(|l| l.split_whitespace().nth(1)).map(str::to_owned);
    let mut lines = text.lines();
    let version = value(lines.next()).and_then(|v| v.parse::<i32>().ok());
    let id = value(lines.next()).and_then(|v| TopicId::parse(&v));
    match (version, id) {
        (Some(version), Some(id)) if version >= 0 && !id.is_zero() => Ok(Some(id)),
        _ => Err(Malformed(format!("malformed partition metadata {text:?}")).at(&path)),
    }
}

/// Holds a log directory for this process until dropped.
pub struct DirectoryLock {
    _held: OwnedFd,
}

impl DirectoryLock {
    /// `None` where another process holds the directory. Kafka's lock and ours exclude each other.
    pub fn acquire(dir: &Path) -> io::Result<Option<DirectoryLock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir.join(LOCK), flags, Mode::from_raw_mode(0o644))?;
        match rustix::fs::fcntl_lock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(DirectoryLock { _held: fd })),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_checkpoints_are_kafkas_text_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECOVERY_POINTS);
        assert_eq!(read_offsets(&path).unwrap(), Offsets::new());
        let mut offsets = Offsets::new();
        for (topic, partition, offset) in [("orders", 1, 4), ("orders", 0, 17), ("a.b_c-d", 11, 0)] {
            let tp = TopicPartition { topic: topic.into(), partition: PartitionId(partition) };
            offsets.insert(tp, Offset(offset));
        }
        write_offsets(&path, &offsets).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n3\na.b_c-d 11 0\norders 0 17\norders 1 4\n");
        assert_eq!(read_offsets(&path).unwrap(), offsets);
        fs::write(&path, "0\n1\norders 0\n").unwrap();
        assert!(read_offsets(&path).is_err());
    }

    #[test]
    fn a_clean_shutdown_is_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(take_clean_shutdown(dir.path()).unwrap(), None);
        write_clean_shutdown(dir.path(), 12).unwrap();
        let text = fs::read_to_string(dir.path().join(CLEAN_SHUTDOWN)).unwrap();
        assert_eq!(text, "{\"version\":0,\"brokerEpoch\":12}");
        let found = take_clean_shutdown(dir.path()).unwrap();
        assert_eq!(found, Some(CleanShutdown { broker_epoch: Some(12) }));
        assert_eq!(take_clean_shutdown(dir.path()).unwrap(), None);
    }

    #[test]
    fn meta_properties_come_back_and_kafkas_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let ours = MetaProperties {
            cluster_id: "rSiWhtrNRmq4pk5tM5LMKw".into(),
            node_id: NodeId(7),
            directory_id: TopicId::parse("3Q6-8m6VQ02UYSwA5BH1XQ"),
        };
        assert_eq!(MetaProperties::read(dir.path()).unwrap(), None);
        ours.write(dir.path()).unwrap();
        assert_eq!(MetaProperties::read(dir.path()).unwrap(), Some(ours.clone()));
        let kafkas = "#\n#Sat Nov 21 09:42:28 UTC 2026\nnode.id=7\ndirectory.id=3Q6-8m6VQ02UYSwA5BH1XQ\n\
                      version=1\ncluster.id=rSiWhtrNRmq4pk5tM5LMKw\n";
        assert_eq!(MetaProperties::decode(kafkas).unwrap(), ours);
        assert!(MetaProperties::decode("version=1\nnode.id=1\n").is_err());
    }

    #[test]
    fn partition_metadata_is_kafkas_text() {
        let dir = tempfile::tempdir().unwrap();
        let id = TopicId::parse("3Q6-8m6VQ02UYSwA5BH1XQ").unwrap();
        assert_eq!(read_partition_metadata(dir.path()).unwrap(), None);
        write_partition_metadata(dir.path(), id).unwrap();
        let text = fs::read_to_string(dir.path().join(PARTITION_METADATA)).unwrap();
        assert_eq!(text, "version: 0\ntopic_id: 3Q6-8m6VQ02UYSwA5BH1XQ");
        assert_eq!(read_partition_metadata(dir.path()).unwrap(), Some(id));
        fs::write(dir.path().join(PARTITION_METADATA), "version: 0\n").unwrap();
        assert!(read_partition_metadata(dir.path()).is_err());
    }
}
