//! Records back to an image: what a load applies, and how metadata transactions hold.
//!
//! Records of a metadata transaction (KIP-868) count when its end record is there. One whose end the log
//! does not hold was never promised to anybody; the image is as before it, and the controller aborts it.

use super::snapshot::{QuorumRecords, Snapshot, SnapshotId};
use crate::metadata::{ApplyError, Image};
use crate::protocol::batch::Batch;
use crate::protocol::compression::OpenLimits;
use crate::protocol::record::RecordIter;
use crate::protocol::stored::StoredError;
use crate::protocol::stored::control::ControlRecord;
use crate::protocol::stored::metadata::{Record, Versioned};
use crate::types::{LeaderEpoch, Offset};

/// Why a metadata log or snapshot does not load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("the record at offset {0} does not read: {1}")]
    Record(Offset, String),
    #[error("the record at offset {0} cannot be applied: {1}")]
    Apply(Offset, ApplyError),
}

/// The image so far and what the quorum's control records say.
#[derive(Clone, Debug)]
pub struct Replay {
    pub image: Image,
    /// The image as it was when the open transaction began.
    before_transaction: Option<Box<Image>>,
    /// 0 while the log and its snapshots name no voters.
    pub kraft_version: i16,
    pub voters: Option<QuorumRecords>,
    /// Whether the log itself (not only a snapshot) holds the voters.
    pub voters_in_log: bool,
}

impl Default for Replay {
    fn default() -> Replay {
        Replay {
            image: Image::empty(),
            before_transaction: None,
            kraft_version: 0,
            voters: None,
            voters_in_log: false,
        }
    }
}

impl Replay {
    /// Begins from a snapshot.
    pub fn from_snapshot(id: SnapshotId, snapshot: Snapshot) -> Result<Replay, ReplayError> {
        let mut replay = Replay::default();
        for versioned in &snapshot.records {
            let at = id.end_offset.plus(-1);
            replay.image.apply(&versioned.record).map_err(|e| ReplayError::Apply(at, e))?;
        }
        replay.image.offset = id.end_offset.plus(-1);
        replay.image.epoch = id.epoch;
        replay.image.timestamp_ms = snapshot.last_timestamp_ms;
        replay.kraft_version = snapshot.quorum.as_ref().map_or(0, |quorum| quorum.kraft_version);
        replay.voters = snapshot.quorum;
        // A snapshot of a log that has records was made from a log that held its voters.
        replay.voters_in_log = id.end_offset > Offset::ZERO && replay.voters.is_some();
        Ok(replay)
    }

    /// Applies the records of a batch that the image does not contain yet.
    pub fn batch(&mut self, batch: &Batch<'_>) -> Result<(), ReplayError> {
        let header = batch.header;
        if header.last_offset() <= self.image.offset {
            return Ok(());
        }
        let fail = |at: Offset, e: &dyn std::fmt::Display| ReplayError::Record(at, e.to_string());
        let base = header.base_offset();
        let opened = batch.open(&OpenLimits::default()).map_err(|e| fail(base, &e))?;
        for record in RecordIter::new(&opened, header.record_count.get()) {
            let record = record.map_err(|e| fail(base, &e))?;
            let at = base.plus(record.offset_delta.into());
            let value = record.value.unwrap_or_default();
            if header.attributes().is_control() {
                let key = record.key.unwrap_or_default();
                // Control records of other kinds are for brokers of other versions.
                match ControlRecord::decode(key, value) {
                    Ok(record) => self.control(record),
                    Err(StoredError::UnknownType(_)) => {}
                    Err(e) => return Err(fail(at, &e)),
                }
            } else {
                let versioned = Versioned::decode(value).map_err(|e| fail(at, &e))?;
                self.record(&versioned.record).map_err(|e| ReplayError::Apply(at, e))?;
            }
        }
        self.mark(header.last_offset(), header.leader_epoch(), header.max_timestamp.get());
        Ok(())
    }

    /// Notes up to where the image reaches, whether or not a transaction is open.
    fn mark(&mut self, offset: Offset, epoch: LeaderEpoch, timestamp_ms: i64) {
        for image in std::iter::once(&mut self.image).chain(self.before_transaction.as_deref_mut()) {
            (image.offset, image.epoch, image.timestamp_ms) = (offset, epoch, timestamp_ms);
        }
    }

    fn control(&mut self, record: ControlRecord) {
        match record {
            ControlRecord::KRaftVersion(version) => self.kraft_version = version.kraft_version,
            ControlRecord::Voters(voters) => {
                self.voters = Some(QuorumRecords { kraft_version: self.kraft_version, voters });
                self.voters_in_log = true;
            }
            ControlRecord::LeaderChange(_)
            | ControlRecord::SnapshotHeader(_)
            | ControlRecord::SnapshotFooter(_) => {}
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), ApplyError> {
        match record {
            Record::BeginTransaction(_) => self.before_transaction = Some(Box::new(self.image.clone())),
            Record::EndTransaction(_) => self.before_transaction = None,
            Record::AbortTransaction(_) => {
                if let Some(before) = self.before_transaction.take() {
                    self.image = *before;
                }
            }
            record => self.image.apply(record)?,
        }
        Ok(())
    }

    /// Ends the load: forgets the records of a transaction that has no end. `true` where there was one.
    pub fn abandon_transaction(&mut self) -> bool {
        match self.before_transaction.take() {
            Some(before) => {
                self.image = *before;
                true
            }
            None => false,
        }
    }
}
