//! A quorum of one: the metadata log of a single node, durable before it is committed.
//!
//! A thread of its own writes (nothing here may block a core): it takes every proposal that waits, writes
//! them with one call, syncs once, and answers them all. The same thread writes snapshots, by bytes or by
//! time, and removes what they replace.
//!
//! Opening reads the newest snapshot and the log after it, cuts a torn tail, claims the next epoch in
//! `quorum-state`, and appends that epoch's LeaderChange, as Kafka's single controller does.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::batches::{self, Encoded};
use super::quorum::{Committed, Proposal, Quorum, QuorumError, VoterState};
use super::quorum_state::QuorumStateFile;
use super::replay::Replay;
use super::segments::{SegmentOptions, Segments};
use super::snapshot::{self, QuorumRecords, Snapshot, SnapshotId};
use crate::clock;
use crate::metadata::Image;
use crate::protocol::stored::control::{
    ControlRecord, KRaftVersionFeature, LeaderChangeMessage, LeaderChangeVoter, Voter, VoterEndpoint,
    VotersRecord,
};
use crate::storage::checkpoint;
use crate::types::{LeaderEpoch, NodeId, Offset, TopicId};

/// The metadata log's directory below the log directory.
pub const DIRECTORY: &str = "__cluster_metadata-0";
/// Proposals that may wait for the writer; behind it the controller's requests wait.
const PROPOSALS_WAITING_MAX: usize = 1024;
/// Bytes that are written together at most.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// What a single node's quorum needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    pub node_id: NodeId,
    /// The directory that holds [`DIRECTORY`].
    pub log_dir: PathBuf,
    /// `directory.id` of that directory.
    pub directory_id: Uuid,
    /// The controller's listeners: name, host, port.
    pub endpoints: Vec<(String, String, u16)>,
    pub segments: SegmentOptions,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub snapshot_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; 0 for never.
    pub snapshot_interval_ms: u64,
    /// `metadata.max.retention.bytes`; negative for no bound.
    pub retention_bytes: i64,
    /// `metadata.max.retention.ms`; negative for no bound.
    pub retention_ms: i64,
}

impl Options {
    /// Kafka's defaults.
    pub fn new(node_id: NodeId, log_dir: PathBuf, directory_id: Uuid) -> Options {
        Options {
            node_id,
            log_dir,
            directory_id,
            endpoints: Vec::new(),
            segments: SegmentOptions::default(),
            snapshot_bytes: 20 << 20,
            snapshot_interval_ms: 60 * 60 * 1000,
            retention_bytes: 100 << 20,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
        }
    }
}

/// Why the metadata log does not open; the message says what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(
        "the metadata log in {0} belongs to a quorum of several controllers (voters {1}); \
         clusters of several nodes do not work yet"
    )]
    SeveralVoters(String, String),
    #[error("the metadata log in {dir} starts at offset {start}, and no snapshot reaches that far")]
    Gap { dir: String, start: Offset },
    #[error("a record that this build itself made does not encode: {0}")]
    Encode(#[from] crate::protocol::stored::StoredError),
}

/// The quorum and what it had to tell.
pub struct Opened {
    pub quorum: SingleQuorum,
    /// The image that the log makes; its offset is that of the LeaderChange.
    pub image: Image,
    /// The log ended inside a metadata transaction, which is to be aborted.
    pub open_transaction: bool,
    /// Bytes of a torn write that were cut off.
    pub cut_bytes: u64,
}

/// The leader of a quorum of one.
pub struct SingleQuorum {
    node_id: NodeId,
    epoch: LeaderEpoch,
    kraft_version: i16,
    voters: Vec<VoterState>,
    proposals: Option<flume::Sender<Waiting>>,
    writer: Option<JoinHandle<()>>,
}

struct Waiting {
    batches: Result<Vec<Encoded>, String>,
    base_offset: Offset,
    image: Image,
    outcome: flume::Sender<Result<(), QuorumError>>,
}

impl SingleQuorum {
    /// Opens the metadata log and claims the next epoch. Blocks.
    pub fn open(options: Options) -> Result<Opened, OpenError> {
        let dir = options.log_dir.join(DIRECTORY);
        let mut snapshots = snapshot::list(&dir)?;
        let mut replay = match newest_snapshot(&dir, &mut snapshots)? {
            Some((id, snapshot)) => Replay::from_snapshot(id, snapshot).map_err(invalid(&dir))?,
            None => Replay::default(),
        };
        let begin = replay.image.offset.plus(1);
        let mut segments = Segments::open(&dir, options.segments, begin, begin, &mut |batch| {
            replay.batch(batch).map_err(invalid(&dir))
        })?;
        if segments.start_offset() > begin {
            let dir = dir.display().to_string();
            return Err(OpenError::Gap { dir, start: segments.start_offset() });
        }
        if segments.next_offset() < begin {
            // The snapshot is ahead of the log: nothing in the log is news.
            segments.restart_at(begin)?;
        }
        let open_transaction = replay.abandon_transaction();
        let cut_bytes = segments.cut_bytes;
        let before = QuorumStateFile::read(&dir)?;
        let kraft_version = replay.kraft_version;
        let last_epoch =
            [before.map(|state| state.leader_epoch), segments.epochs().latest(), Some(replay.image.epoch)];
        let epoch = LeaderEpoch(last_epoch.into_iter().flatten().max().unwrap_or_default().0 + 1);
        let voters = voters(&options, &replay, &dir)?;
        if checkpoint::read_partition_metadata(&dir)?.is_none() {
            checkpoint::write_partition_metadata(&dir, TopicId::METADATA)?;
        }
        QuorumStateFile { leader_id: options.node_id, leader_epoch: epoch, kraft_version }.write(&dir)?;

        let now_ms = clock::wall_ms();
        segments.begin_epoch(epoch)?;
        let mut control = vec![leader_change(options.node_id)];
        let quorum_records =
            (kraft_version > 0).then(|| QuorumRecords { kraft_version, voters: voters_record(&voters) });
        let stored_voters = replay.voters.as_ref().map(|stored| &stored.voters);
        let known = replay.voters_in_log && stored_voters == quorum_records.as_ref().map(|q| &q.voters);
        if !known {
            control.extend(quorum_records.iter().flat_map(QuorumRecords::to_records));
        }
        let first = batches::of_control(&control, segments.next_offset(), epoch, now_ms)?;
        let mut image = replay.image;
        (image.offset, image.epoch, image.timestamp_ms) = (first.last_offset, epoch, now_ms);
        segments.append(std::slice::from_ref(&first))?;
        segments.sync()?;

        let (proposals, waiting) = flume::bounded(PROPOSALS_WAITING_MAX);
        let node_id = options.node_id;
        let writer = Writer {
            dir,
            segments,
            snapshots,
            quorum_records,
            image: image.clone(),
            bytes_since_snapshot: 0,
            snapshot_due: None,
            offline: None,
            options,
        };
        let writer = std::thread::Builder::new()
            .name("metadata-log".to_owned())
            .spawn(move || writer.run(&waiting))?;
        let quorum = SingleQuorum {
            node_id,
            epoch,
            kraft_version,
            voters,
            proposals: Some(proposals),
            writer: Some(writer),
        };
        Ok(Opened { quorum, image, open_transaction, cut_bytes })
    }

    /// Ends the writer once it has written what was proposed, and leaves the files in order. Blocks.
    pub fn close(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        drop(self.proposals.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told so itself, and the log is as its last sync left it.
            let _ = writer.join();
        }
    }
}

impl Drop for SingleQuorum {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Quorum for SingleQuorum {
    fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    fn leader(&self) -> NodeId {
        self.node_id
    }

    fn voters(&self) -> Vec<VoterState> {
        self.voters.clone()
    }

    fn kraft_version(&self) -> i16 {
        self.kraft_version
    }

    fn propose(&self, proposal: Proposal) -> Committed {
        let (outcome, committed) = Committed::new();
        let mut at = proposal.base_offset;
        let batches = proposal.batches.iter().map(|records| {
            let batch = batches::of_records(records, at, self.epoch, proposal.timestamp_ms);
            at = at.plus(records.len() as i64);
            batch.map_err(|e| e.to_string())
        });
        let batches = batches.collect();
        let waiting = Waiting { batches, base_offset: proposal.base_offset, image: proposal.image, outcome };
        // A writer that has gone drops the proposal, and its outcome with it.
        if let Some(proposals) = &self.proposals
            && let Err(flume::TrySendError::Full(waiting)) = proposals.try_send(waiting)
        {
            waiting.answer(Err(QuorumError::NotWritten("too many changes are waiting".to_owned())));
        }
        committed
    }
}

fn invalid<E: std::fmt::Display>(dir: &Path) -> impl Fn(E) -> io::Error {
    let dir = dir.display().to_string();
    move |e| io::Error::new(io::ErrorKind::InvalidData, format!("{dir}: {e}"))
}

/// The newest snapshot that reads. One that does not is skipped for the one before, which the log may still
/// continue.
fn newest_snapshot(dir: &Path, ids: &mut Vec<SnapshotId>) -> io::Result<Option<(SnapshotId, Snapshot)>> {
    while let Some(id) = ids.last().copied() {
        match Snapshot::read(&id.path(dir)) {
            Ok(snapshot) => return Ok(Some((id, snapshot))),
            Err(e) if e.kind() == io::ErrorKind::InvalidData && ids.len() > 1 => {
                tracing::warn!("{e}; trying the snapshot before it");
                ids.pop();
            }
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

fn leader_change(node: NodeId) -> ControlRecord {
    let voter = LeaderChangeVoter { voter_id: node, voter_directory_id: Uuid::nil() };
    ControlRecord::LeaderChange(LeaderChangeMessage {
        version: 0,
        leader_id: node,
        voters: vec![voter.clone()],
        granting_voters: vec![voter],
    })
}

/// The only voter, with the listeners it has now. Voters that stand in the log must be this node alone.
fn voters(options: &Options, replay: &Replay, dir: &Path) -> Result<Vec<VoterState>, OpenError> {
    let stored = replay.voters.as_ref().map_or(&[][..], |quorum| &quorum.voters.voters);
    if stored.iter().any(|voter| voter.voter_id != options.node_id) {
        let ids: Vec<String> = stored.iter().map(|voter| voter.voter_id.to_string()).collect();
        return Err(OpenError::SeveralVoters(dir.display().to_string(), ids.join(", ")));
    }
    let mut endpoints = options.endpoints.clone();
    if endpoints.is_empty() {
        // Without a listener of its own the controller keeps what the log has of it.
        endpoints = stored
            .iter()
            .flat_map(|voter| &voter.endpoints)
            .map(|endpoint| (endpoint.name.clone(), endpoint.host.clone(), endpoint.port))
            .collect();
    }
    Ok(vec![VoterState { id: options.node_id, directory_id: options.directory_id, endpoints }])
}

/// The voters as a record.
pub fn voters_record(voters: &[VoterState]) -> VotersRecord {
    let endpoint = |(name, host, port): &(String, String, u16)| VoterEndpoint {
        name: name.clone(),
        host: host.clone(),
        port: *port,
    };
    let voters = voters.iter().map(|voter| Voter {
        voter_id: voter.id,
        voter_directory_id: voter.directory_id,
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
        kraft_version_feature: KRaftVersionFeature { min_supported_version: 0, max_supported_version: 1 },
    });
    VotersRecord { version: 0, voters: voters.collect() }
}

/// The thread that owns the files.
struct Writer {
    dir: PathBuf,
    options: Options,
    segments: Segments,
    snapshots: Vec<SnapshotId>,
    quorum_records: Option<QuorumRecords>,
    /// The image of all that is durable.
    image: Image,
    bytes_since_snapshot: u64,
    /// When the next snapshot is due by time; `None` while nothing is new.
    snapshot_due: Option<Instant>,
    /// Set once the files can no longer be trusted.
    offline: Option<String>,
}

impl Writer {
    fn run(mut self, waiting: &flume::Receiver<Waiting>) {
        loop {
            let first = match self.snapshot_due {
                None => waiting.recv().map_err(|_| flume::RecvTimeoutError::Disconnected),
                Some(due) => waiting.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match first {
                Ok(first) => self.commit(first, waiting),
                Err(flume::RecvTimeoutError::Timeout) => {}
                Err(flume::RecvTimeoutError::Disconnected) => break,
            }
            self.snapshot_if_due();
        }
        if self.offline.is_none()
            && let Err(e) = self.segments.close()
        {
            tracing::warn!("closing the metadata log: {e}");
        }
    }

    /// Writes `first` and all that wait behind it, syncs once and answers.
    fn commit(&mut self, first: Waiting, waiting: &flume::Receiver<Waiting>) {
        let mut group = vec![first];
        let mut bytes = group[0].bytes();
        while bytes < GROUP_BYTES_MAX
            && let Ok(next) = waiting.try_recv()
        {
            bytes += next.bytes();
            group.push(next);
        }
        let mut accepted = Vec::with_capacity(group.len());
        let mut batches = Vec::with_capacity(group.len());
        let mut next_offset = self.segments.next_offset();
        for proposal in group {
            match self.check(&proposal, next_offset) {
                Ok(()) => {
                    let encoded = proposal.batches.as_deref().unwrap_or_default();
                    next_offset = encoded.last().map_or(next_offset, Encoded::next_offset);
                    batches.extend_from_slice(encoded);
                    accepted.push(proposal);
                }
                Err(e) => proposal.answer(Err(e)),
            }
        }
        if accepted.is_empty() {
            return;
        }
        let outcome = self.write(&batches);
        if outcome.is_ok() {
            self.bytes_since_snapshot += bytes as u64;
            self.image = accepted.last().expect("something was accepted").image.clone();
            let interval = self.options.snapshot_interval_ms;
            if interval > 0 && self.snapshot_due.is_none() {
                self.snapshot_due = Some(Instant::now() + Duration::from_millis(interval));
            }
        }
        let (dir, end) = (&self.dir, self.segments.next_offset());
        crate::storage::file::answered(|| format!("the metadata before {end} in {}", dir.display()));
        for proposal in accepted {
            proposal.answer(outcome.clone());
        }
    }

    fn check(&self, proposal: &Waiting, next_offset: Offset) -> Result<(), QuorumError> {
        if let Some(why) = &self.offline {
            return Err(QuorumError::Offline(why.clone()));
        }
        if proposal.base_offset != next_offset {
            return Err(QuorumError::Superseded);
        }
        proposal.batches.as_ref().map(|_| ()).map_err(|e| QuorumError::NotWritten(e.clone()))
    }

    fn write(&mut self, batches: &[Encoded]) -> Result<(), QuorumError> {
        let (offset, bytes) = (self.segments.next_offset(), self.segments.active_bytes());
        if let Err(e) = self.segments.append(batches) {
            tracing::error!("writing the metadata log: {e}");
            if let Err(worse) = self.segments.take_back(offset, bytes) {
                self.offline = Some(worse.to_string());
            }
            return Err(QuorumError::NotWritten(e.to_string()));
        }
        self.segments.sync().map_err(|e| {
            // After a failed sync nobody knows what the disk holds.
            tracing::error!("syncing the metadata log: {e}; no metadata can change until the next start");
            self.offline = Some(e.to_string());
            QuorumError::Offline(e.to_string())
        })
    }

    fn snapshot_if_due(&mut self) {
        let by_time = self.snapshot_due.is_some_and(|due| due <= Instant::now());
        if self.offline.is_some() || !by_time && self.bytes_since_snapshot < self.options.snapshot_bytes {
            return;
        }
        self.snapshot_due = None;
        self.bytes_since_snapshot = 0;
        if let Err(e) = self.snapshot() {
            tracing::error!("writing a snapshot of the metadata: {e}; the log is kept instead");
        }
    }

    fn snapshot(&mut self) -> io::Result<()> {
        let id = SnapshotId { end_offset: self.image.offset.plus(1), epoch: self.image.epoch };
        if self.snapshots.last().is_some_and(|newest| *newest >= id) {
            return Ok(());
        }
        let snapshot = Snapshot {
            last_timestamp_ms: self.image.timestamp_ms,
            quorum: self.quorum_records.clone(),
            records: self.image.to_records(),
        };
        snapshot.write(&self.dir, id, clock::wall_ms())?;
        self.snapshots.push(id);
        // What follows the snapshot gets a segment of its own, so that the ones before can go.
        self.segments.roll()?;
        self.remove_old()
    }

    /// Removes snapshots and the log before them, oldest first, while size or age is past its bound. The
    /// newest snapshot always stays, with the log after it.
    fn remove_old(&mut self) -> io::Result<()> {
        while self.snapshots.len() > 1 && self.oldest_may_go() {
            let gone = self.snapshots.remove(0);
            crate::storage::file::remove_file(&gone.path(&self.dir))?;
            self.segments.remove_before(self.snapshots[0].end_offset)?;
        }
        Ok(())
    }

    fn oldest_may_go(&self) -> bool {
        let sizes = |id: &SnapshotId| std::fs::metadata(id.path(&self.dir)).map_or(0, |found| found.len());
        let bytes = self.segments.bytes() + self.snapshots.iter().map(sizes).sum::<u64>();
        if self.options.retention_bytes >= 0 && bytes > self.options.retention_bytes as u64 {
            return true;
        }
        let age_ms = || {
            let oldest = Snapshot::read(&self.snapshots[0].path(&self.dir)).ok()?;
            Some(clock::wall_ms() - oldest.last_timestamp_ms)
        };
        self.options.retention_ms >= 0 && age_ms().is_some_and(|age| age > self.options.retention_ms)
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.batches.as_ref().map_or(0, |batches| batches.iter().map(|batch| batch.bytes.len()).sum())
    }

    fn answer(self, outcome: Result<(), QuorumError>) {
        // Who asked may have gone.
        let _ = self.outcome.send(outcome);
    }
}
