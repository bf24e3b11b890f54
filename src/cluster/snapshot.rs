//! Snapshots of the metadata log: Kafka's `OFFSET-EPOCH.checkpoint` files.
//!
//! ```text
//! 00000000000000000042-0000000003.checkpoint     all records before offset 42, whose last epoch is 3
//!   control batch   SnapshotHeader, and where the quorum's voters are records: KRaftVersion, Voters
//!   batches         the image as records
//!   control batch   SnapshotFooter
//! ```
//! Offsets count from 0 inside the file. It is written beside its name, synced, made read-only, then renamed:
//! a file with the name is whole. `bootstrap.checkpoint` has the same form.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::batches::{self, BATCH_BYTES_MAX};
use crate::protocol::batch::BatchIter;
use crate::protocol::stored::StoredError;
use crate::protocol::stored::control::{
    ControlRecord, KRaftVersionRecord, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};
use crate::protocol::stored::metadata::{Record, Versioned};
use crate::storage::file::{self, SegmentFile};
use crate::types::{LeaderEpoch, Offset};

const SUFFIX: &str = ".checkpoint";
const PARTIAL_SUFFIX: &str = ".checkpoint.part";
const DELETED_SUFFIX: &str = ".checkpoint.deleted";
/// Records of one batch of a snapshot; small, so that a reader's buffers stay small.
const RECORDS_PER_BATCH: usize = 1024;

/// A snapshot's name: the offset after its last record, and that record's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    pub end_offset: Offset,
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// The snapshot that formatting writes: no record, only the voters.
    pub const FIRST: SnapshotId = SnapshotId { end_offset: Offset::ZERO, epoch: LeaderEpoch(0) };

    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.name(SUFFIX))
    }

    fn name(self, suffix: &str) -> String {
        format!("{:020}-{:010}{suffix}", self.end_offset.0, self.epoch.0)
    }

    fn parse(name: &str) -> Option<SnapshotId> {
        let (offset, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        if offset.len() != 20 || epoch.len() != 10 {
            return None;
        }
        let end_offset = Offset(offset.parse().ok()?);
        Some(SnapshotId { end_offset, epoch: LeaderEpoch(epoch.parse().ok()?) })
    }
}

/// The voters as records, for quorums that keep them so (kraft.version 1).
#[derive(Clone, Debug, PartialEq)]
pub struct QuorumRecords {
    pub kraft_version: i16,
    pub voters: VotersRecord,
}

impl QuorumRecords {
    pub fn to_records(&self) -> [ControlRecord; 2] {
        [
            ControlRecord::KRaftVersion(KRaftVersionRecord { version: 0, kraft_version: self.kraft_version }),
            ControlRecord::Voters(self.voters.clone()),
        ]
    }
}

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The append time of the last record that it contains, in milliseconds.
    pub last_timestamp_ms: i64,
    pub quorum: Option<QuorumRecords>,
    pub records: Vec<Versioned>,
}

impl Snapshot {
    /// The file's bytes. `epoch` is that of the snapshot's name, 0 for `bootstrap.checkpoint`.
    pub fn encode(&self, epoch: LeaderEpoch, now_ms: i64) -> Result<Vec<u8>, StoredError> {
        let mut out = Vec::new();
        let mut next = Offset::ZERO;
        let mut put = |batch: batches::Encoded| {
            next = batch.next_offset();
            out.extend_from_slice(&batch.bytes);
            next
        };
        let mut first = vec![ControlRecord::SnapshotHeader(SnapshotHeaderRecord {
            version: 0,
            last_contained_log_timestamp: self.last_timestamp_ms,
        })];
        first.extend(self.quorum.iter().flat_map(QuorumRecords::to_records));
        let mut at = put(batches::of_control(&first, Offset::ZERO, epoch, now_ms)?);
        for records in self.records.chunks(RECORDS_PER_BATCH) {
            at = put(batches::of_records(records, at, epoch, now_ms)?);
        }
        let last = ControlRecord::SnapshotFooter(SnapshotFooterRecord { version: 0 });
        put(batches::of_control(&[last], at, epoch, now_ms)?);
        Ok(out)
    }

    /// Reads a snapshot's bytes; they must be whole, from header to footer.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, String> {
        let mut snapshot = Snapshot { last_timestamp_ms: 0, quorum: None, records: Vec::new() };
        let (mut has_header, mut has_footer) = (false, false);
        let mut kraft_version = 0;
        let mut batches = BatchIter::new(bytes);
        for batch in &mut batches {
            let batch = batch.map_err(|e| e.to_string())?;
            if has_footer {
                return Err("a batch follows the footer".to_owned());
            }
            if !batch.crc_matches() {
                return Err(format!("the batch at byte {} has a wrong CRC", batch.position));
            }
            for record in batch.records() {
                let record = record.map_err(|e| e.to_string())?;
                let value = record.value.unwrap_or_default();
                if !batch.header.attributes().is_control() {
                    snapshot.records.push(Versioned::decode(value).map_err(|e| e.to_string())?);
                    continue;
                }
                let key = record.key.unwrap_or_default();
                match ControlRecord::decode(key, value).map_err(|e| e.to_string())? {
                    ControlRecord::SnapshotHeader(header) => {
                        has_header = true;
                        snapshot.last_timestamp_ms = header.last_contained_log_timestamp;
                    }
                    ControlRecord::SnapshotFooter(_) => has_footer = true,
                    ControlRecord::KRaftVersion(version) => kraft_version = version.kraft_version,
                    ControlRecord::Voters(voters) => {
                        snapshot.quorum = Some(QuorumRecords { kraft_version, voters });
                    }
                    ControlRecord::LeaderChange(_) => {}
                }
            }
        }
        if !has_header || !has_footer || batches.position() < bytes.len() {
            return Err("it is not whole".to_owned());
        }
        Ok(snapshot)
    }

    /// Writes the snapshot of that name into `dir`; durable when it returns. One that exists is kept.
    pub fn write(&self, dir: &Path, id: SnapshotId, now_ms: i64) -> io::Result<()> {
        let target = id.path(dir);
        if target.exists() {
            return Ok(());
        }
        let bytes = self.encode(id.epoch, now_ms).map_err(io::Error::other)?;
        let beside = dir.join(id.name(PARTIAL_SUFFIX));
        write_read_only(&beside, &bytes)?;
        file::rename(&beside, &target)?;
        file::sync_dir(dir)
    }

    /// Reads a snapshot file.
    pub fn read(path: &Path) -> io::Result<Snapshot> {
        Snapshot::decode(&fs::read(path)?).map_err(|why| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: the snapshot is damaged: {why}", path.display()),
            )
        })
    }

    /// The feature level that the records finalize, 0 where they finalize none.
    pub fn feature_level(&self, name: &str) -> i16 {
        let level = self.records.iter().rev().find_map(|versioned| match &versioned.record {
            Record::FeatureLevel(feature) if feature.name == name => Some(feature.feature_level),
            _ => None,
        });
        level.unwrap_or(0)
    }
}

fn write_read_only(path: &Path, bytes: &[u8]) -> io::Result<()> {
    file::remove_file(path)?;
    let file = SegmentFile::create(path)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o400))
}

/// The whole snapshots in `dir`, oldest first. What an unfinished write or removal left is removed.
pub fn list(dir: &Path) -> io::Result<Vec<SnapshotId>> {
    let mut ids = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(ids),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(PARTIAL_SUFFIX) || name.ends_with(DELETED_SUFFIX) {
            file::remove_file(&entry.path())?;
        }
        ids.extend(SnapshotId::parse(name));
    }
    ids.sort();
    Ok(ids)
}

const _: () = assert!(BATCH_BYTES_MAX / RECORDS_PER_BATCH >= 8 * 1024);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::stored::metadata::NoOpRecord;

    #[test]
    fn a_cut_snapshot_is_refused_and_a_whole_one_comes_back() {
        let records = vec![Record::from(NoOpRecord {}).at(0); 3000];
        let snapshot = Snapshot { last_timestamp_ms: 7, quorum: None, records };
        let bytes = snapshot.encode(LeaderEpoch(3), 9).unwrap();
        assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot);
        for cut in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            assert!(Snapshot::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn names_are_kafkas_and_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let id = SnapshotId { end_offset: Offset(42), epoch: LeaderEpoch(3) };
        assert!(id.path(dir.path()).ends_with("00000000000000000042-0000000003.checkpoint"));
        let snapshot = Snapshot { last_timestamp_ms: 0, quorum: None, records: Vec::new() };
        snapshot.write(dir.path(), id, 1).unwrap();
        snapshot.write(dir.path(), SnapshotId::FIRST, 1).unwrap();
        for name in ["00000000000000000050-0000000003.checkpoint.part", "x.checkpoint.deleted"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        assert_eq!(list(dir.path()).unwrap(), [SnapshotId::FIRST, id]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
