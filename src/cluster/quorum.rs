//! The seam to the quorum: records are proposed, and some time later they are committed.
//!
//! A proposal's place in the log is known at once, because only the leader proposes and it knows the log's
//! end. What a proposal promises holds once [`Committed`] says so; until then a crash may forget it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::metadata::Image;
use crate::protocol::stored::metadata::Versioned;
use crate::types::{LeaderEpoch, NodeId, Offset};

/// Why a proposal will not be committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// It could not be written and is not in the log; a later one may succeed.
    #[error("the metadata log could not be written: {0}")]
    NotWritten(String),
    /// An earlier proposal failed, and this one was decided on top of it.
    #[error("an earlier change of the metadata failed")]
    Superseded,
    /// The log cannot be used until the process is started again.
    #[error("the metadata log is offline: {0}")]
    Offline(String),
}

/// Records to append, in order: each batch counts as a whole or not at all.
pub struct Proposal {
    pub batches: Vec<Vec<Versioned>>,
    /// The offset of the first record; the one after all that was proposed before.
    pub base_offset: Offset,
    pub timestamp_ms: i64,
    /// The image that contains all of it.
    pub image: Image,
}

/// Resolves when a proposal is committed or can no longer be.
pub struct Committed(flume::r#async::RecvFut<'static, Result<(), QuorumError>>);

impl Committed {
    /// The future, and where its outcome is to be sent.
    pub fn new() -> (flume::Sender<Result<(), QuorumError>>, Committed) {
        let (sender, receiver) = flume::bounded(1);
        (sender, Committed(receiver.into_recv_async()))
    }
}

impl Future for Committed {
    type Output = Result<(), QuorumError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|outcome| {
            outcome.unwrap_or_else(|_| Err(QuorumError::Offline("its writer has stopped".to_owned())))
        })
    }
}

/// A voter of the quorum.
#[derive(Clone, Debug, PartialEq)]
pub struct VoterState {
    pub id: NodeId,
    pub directory_id: uuid::Uuid,
    /// Name, host and port of each listener.
    pub endpoints: Vec<(String, String, u16)>,
}

/// What holds the metadata log.
pub trait Quorum {
    /// The epoch in which this node leads.
    fn epoch(&self) -> LeaderEpoch;

    fn leader(&self) -> NodeId;

    fn voters(&self) -> Vec<VoterState>;

    /// The finalized kraft.version.
    fn kraft_version(&self) -> i16;

    /// Appends records behind everything proposed before. Returns at once.
    fn propose(&self, proposal: Proposal) -> Committed;
}
