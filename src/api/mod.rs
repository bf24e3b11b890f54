//! The dispatch table: one row an API (key, versions, handler), one file an API or small family.
//!
//! To add an API: write `api/its_name.rs` with `pub async fn handle(context, request, version) -> Response`
//! over kafka-protocol's message structs, and add one row to [`TABLE`]. The row makes the API dispatched,
//! walked, and advertised by ApiVersions. Produce and Fetch, whose waits overlap, use `ordered!`; every other
//! API uses `alone!`: the connection reads its next request when this one is answered. What is answered only
//! when others have asked too uses `parked!`, which lets the memory of the request go as soon as nothing of its
//! frame is in use.
//!
//! `errors.rs` is the only place where our errors become Kafka codes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::{Bytes, BytesMut};
use futures_lite::future;
use kafka_protocol::messages::{ApiKey, GroupId};

use crate::group;
use crate::protocol::frame::{self, RequestHeader};
use crate::protocol::message;
use crate::protocol::offset_requests::{decode_commit, decode_fetch};
use crate::protocol::wire::StrBytes;
use crate::shard::Shard;
use crate::storage::Slice;

mod alter_configs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod delete_groups;
mod delete_records;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod errors;
mod fetch;
mod find_coordinator;
#[cfg(test)]
mod group_tests;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod partition_reassignments;
mod produce;
mod sync_group;
mod topics;
mod update_features;

/// What a handler may know of who asks.
pub struct Context {
    pub shard: Rc<Shard>,
    /// The listener that the connection came in by; answers advertise its addresses.
    pub listener: Arc<str>,
    pub peer: SocketAddr,
    /// As the last request named it, [`kept`] of it.
    pub client_id: RefCell<Option<StrBytes>>,
    /// Name and version of the client's library, as ApiVersions told them (KIP-511), [`kept`] of each.
    pub software: RefCell<Option<(Box<str>, Box<str>)>>,
}

impl Context {
    /// Notes the client id of a request.
    pub fn know_client(&self, client_id: Option<&StrBytes>) {
        let mut known = self.client_id.borrow_mut();
        let client_id = client_id.map(|id| kept(id));
        if known.as_deref() != client_id {
            // A copy of its own: the frame that it came in is let go.
            *known = client_id.map(|id| StrBytes::from_string(id.to_owned()));
        }
    }
}

/// What a connection keeps at most of each text by which its client names itself, in bytes. Kafka takes and
/// keeps up to 32,767 of each; a crowd of clients would fill the memory with them.
const CLIENT_TEXT_BYTES_MAX: usize = 256;

/// The part of such a text that is kept: whole letters, [`CLIENT_TEXT_BYTES_MAX`] at most.
fn kept(text: &str) -> &str {
    &text[..text.floor_char_boundary(CLIENT_TEXT_BYTES_MAX)]
}

impl Context {
    /// Who asks, as groups remember it.
    fn group_client(&self) -> group::Client {
        let id = self.client_id.borrow();
        group::Client { id: id.as_deref().unwrap_or_default().to_owned(), host: host_text(self.peer.ip()) }
    }
}

/// An address as Java writes one that has no name. A listener of both families gives those of the older one as a
/// part of the newer one.
fn host_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => format!("/{}", address.segments().map(|group| format!("{group:x}")).join(":")),
    }
}

/// The operations on a topic, as bits by Kafka's numbers: what everyone may do where nobody is refused.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The operations on the cluster.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// The operations on a group.
const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// The groups of a request, those of one coordinator together, in the order of their first.
fn by_coordinator(context: &Context, ids: Vec<GroupId>) -> Vec<GroupId> {
    let mut parts: Vec<Vec<GroupId>> = Vec::new();
    let mut places = AHashMap::new();
    for id in ids {
        let place = *places.entry(context.shard.group_partition(&id)).or_insert(parts.len());
        match parts.get_mut(place) {
            Some(part) => part.push(id),
            None => parts.push(vec![id]),
        }
    }
    parts.concat()
}

/// Whether the cluster's level of `group.version` and this broker's configuration let consumer groups be.
fn consumer_groups_enabled(shard: &Shard) -> bool {
    shard.group_settings().consumer_groups && shard.image().features.consumer_groups()
}

/// Whether a request gives the controller no time at all: Kafka answers REQUEST_TIMED_OUT then, and nothing is
/// changed.
fn leaves_no_time(timeout_ms: i32) -> bool {
    timeout_ms <= 0
}

/// One request: its header and the bytes behind it.
pub struct Request {
    pub header: RequestHeader,
    pub body: Bytes,
}

/// A piece of an answer, in sending order.
pub enum Part {
    Bytes(Bytes),
    /// Record batches that leave from the file, by splice where they are large.
    File(Slice),
}

impl Part {
    /// Bytes that leave.
    pub fn bytes_sent(&self) -> usize {
        match self {
            Part::Bytes(bytes) => bytes.len(),
            Part::File(slice) => slice.length as usize,
        }
    }

    /// Bytes that it holds in memory until it has left.
    pub fn bytes_held(&self) -> usize {
        if let Part::Bytes(bytes) = self { bytes.len() } else { 0 }
    }
}

/// What goes back for one request.
pub enum Reply {
    /// A whole answer, from its length prefix on.
    Send(Vec<Part>),
    /// Produce with acks=0: nothing is sent.
    Silence,
    /// The connection ends without an answer; the reason is for the log.
    Close(String),
}

impl Reply {
    /// Bytes that leave.
    pub fn bytes_sent(&self) -> usize {
        let Reply::Send(parts) = self else { return 0 };
        parts.iter().map(Part::bytes_sent).sum()
    }
}

/// A handler's result: the reply, or the wait for it. While one waits, the connection reads on; its future is
/// first polled when the answers before it are ready.
pub enum Answer {
    Now(Reply),
    /// The memory of the request stays reserved until the wait is over.
    Later(Pin<Box<dyn Future<Output = Reply>>>),
    /// A wait that may be as long as the client likes and holds nothing of its request's frame.
    LongPoll(Pin<Box<dyn Future<Output = Reply>>>),
    /// Such a wait whose request has taken effect; the connection reads on when it is answered.
    Parked(Pin<Box<dyn Future<Output = Reply>>>),
}

type Running = Pin<Box<dyn Future<Output = Answer>>>;

/// A row of the dispatch table.
pub struct Row {
    pub key: ApiKey,
    /// The versions that are served and advertised.
    pub versions: (i16, i16),
    /// The highest version is served and advertised only under `unstable.api.versions.enable`.
    pub unstable_from: Option<i16>,
    /// The body is walked against its schema before the handler sees it.
    walked: bool,
    handler: fn(Rc<Context>, Request) -> Running,
}

macro_rules! ordered {
    ($key:ident, $versions:expr, $handler:path) => {
        Row {
            key: ApiKey::$key,
            versions: $versions,
            unstable_from: None,
            walked: false,
            handler: |context, request| Box::pin($handler(context, request)),
        }
    };
}

macro_rules! alone {
    ($key:ident, $versions:expr, $handler:path) => {
        alone!($key, $versions, unstable None, $handler)
    };
    ($key:ident, $versions:expr, unstable $unstable:expr, $handler:path) => {
        alone!($key, $versions, unstable $unstable, decoded by message::decode, $handler)
    };
    ($key:ident, $versions:expr, unstable $unstable:expr, decoded by $decode:path, $handler:path) => {
        Row {
            key: ApiKey::$key,
            versions: $versions,
            unstable_from: $unstable,
            walked: true,
            handler: |context, request| {
                Box::pin(async move {
                    let version = request.header.api_version;
                    let asked = match $decode(request.body, version) {
                        Ok(asked) => asked,
                        Err(error) => return Answer::Now(Reply::Close(error.to_string())),
                    };
                    let response = $handler(&context, asked, version).await;
                    Answer::Now(encode(&request.header, &response))
                })
            },
        }
    };
}

macro_rules! parked {
    ($key:ident, $versions:expr, $handler:path) => {
        Row {
            key: ApiKey::$key,
            versions: $versions,
            unstable_from: None,
            walked: true,
            handler: |context, mut request| {
                Box::pin(async move {
                    let version = request.header.api_version;
                    // It lies in the frame.
                    request.header.client_id = None;
                    let (body, let_go) = watched(request.body);
                    let asked = match message::decode(body, version) {
                        Ok(asked) => asked,
                        Err(error) => return Answer::Now(Reply::Close(error.to_string())),
                    };
                    let mut answered: Pin<Box<dyn Future<Output = Reply>>> = Box::pin(async move {
                        encode(&request.header, &$handler(&context, asked, version).await)
                    });
                    let unused = async {
                        let _let_go = let_go.recv_async().await;
                        None
                    };
                    match future::or(async { Some(answered.as_mut().await) }, unused).await {
                        Some(reply) => Answer::Now(reply),
                        None => Answer::Parked(answered),
                    }
                })
            },
        }
    };
}

/// The same bytes, and what tells, by its end, that nobody on any core holds a part of them any more.
fn watched(bytes: Bytes) -> (Bytes, flume::Receiver<Infallible>) {
    struct Watched(Bytes, #[expect(dead_code, reason = "its drop tells")] flume::Sender<Infallible>);
    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let (held, let_go) = flume::bounded(0);
    (Bytes::from_owner(Watched(bytes, held)), let_go)
}

/// Every API that this broker serves, in the order of their keys.
pub static TABLE: &[Row] = &[
    ordered!(Produce, (3, 13), produce::handle),
    ordered!(Fetch, (4, 18), fetch::handle),
    alone!(ListOffsets, (1, 10), list_offsets::handle),
    alone!(Metadata, (0, 13), metadata::handle),
    alone!(OffsetCommit, (2, 10), unstable Some(10), decoded by decode_commit, offset_commit::handle),
    alone!(OffsetFetch, (1, 10), unstable Some(10), decoded by decode_fetch, offset_fetch::handle),
    alone!(FindCoordinator, (0, 6), find_coordinator::handle),
    parked!(JoinGroup, (0, 9), join_group::handle),
    alone!(Heartbeat, (0, 4), heartbeat::handle),
    alone!(LeaveGroup, (0, 5), leave_group::handle),
    parked!(SyncGroup, (0, 5), sync_group::handle),
    alone!(DescribeGroups, (0, 6), describe_groups::handle),
    alone!(ListGroups, (0, 5), list_groups::handle),
    alone!(ApiVersions, (0, 4), api_versions::handle),
    alone!(CreateTopics, (2, 7), topics::create),
    alone!(DeleteTopics, (1, 6), topics::delete),
    alone!(DeleteRecords, (0, 2), delete_records::handle),
    alone!(InitProducerId, (0, 5), init_producer_id::handle),
    alone!(OffsetForLeaderEpoch, (2, 4), offset_for_leader_epoch::handle),
    alone!(DescribeConfigs, (1, 4), describe_configs::handle),
    alone!(AlterConfigs, (0, 2), alter_configs::legacy),
    alone!(DescribeLogDirs, (1, 4), describe_log_dirs::handle),
    alone!(CreatePartitions, (0, 3), topics::create_partitions),
    alone!(DeleteGroups, (0, 2), delete_groups::handle),
    alone!(ElectLeaders, (0, 2), elect_leaders::handle),
    alone!(IncrementalAlterConfigs, (0, 1), alter_configs::incremental),
    alone!(ListPartitionReassignments, (0, 0), partition_reassignments::list),
    alone!(OffsetDelete, (0, 0), offset_delete::handle),
    alone!(DescribeQuorum, (0, 2), describe_quorum::handle),
    alone!(UpdateFeatures, (0, 2), update_features::handle),
    alone!(DescribeCluster, (0, 2), describe_cluster::handle),
    alone!(DescribeProducers, (0, 0), describe_producers::handle),
    alone!(ConsumerGroupHeartbeat, (0, 1), consumer_group_heartbeat::handle),
    alone!(ConsumerGroupDescribe, (0, 1), consumer_group_describe::handle),
    alone!(ListConfigResources, (0, 1), list_config_resources::handle),
    alone!(DescribeTopicPartitions, (0, 0), describe_topic_partitions::handle),
];

/// What to do with a request, by its key and version.
pub enum Dispatch {
    Run(&'static Row),
    /// ApiVersions in a version we do not know: answered in version 0 with UNSUPPORTED_VERSION.
    UnknownApiVersions,
    /// Any other key or version that is not in the table: the connection is closed, as Kafka does.
    Refuse,
}

/// Finds the row of a request. `unstable` is `unstable.api.versions.enable`.
pub fn find(api_key: i16, version: i16, unstable: bool) -> Dispatch {
    let Some(row) = TABLE.iter().find(|row| row.key as i16 == api_key) else { return Dispatch::Refuse };
    let (oldest, newest) = row.served(unstable);
    match (oldest..=newest).contains(&version) {
        true => Dispatch::Run(row),
        false if row.key == ApiKey::ApiVersions => Dispatch::UnknownApiVersions,
        false => Dispatch::Refuse,
    }
}

impl Row {
    /// Whether the body has to pass the walk first. Produce and Fetch have decoders that are bounded themselves.
    pub fn is_walked(&self) -> bool {
        self.walked
    }

    /// The versions served, oldest and newest.
    pub fn served(&self, unstable: bool) -> (i16, i16) {
        match self.unstable_from {
            Some(first) if !unstable => (self.versions.0, first - 1),
            _ => self.versions,
        }
    }
}

/// Runs a request whose body passed the walk. The future ends when the request has taken effect; what is
/// left is in [`Answer::Later`].
pub fn run(row: &Row, context: Rc<Context>, request: Request) -> Running {
    (row.handler)(context, request)
}

/// The answer to ApiVersions in a version we do not know.
pub fn refuse_api_versions(header: &RequestHeader) -> Reply {
    api_versions::refuse(header)
}

/// Encodes a whole answer, from its length prefix on.
fn encode<T: kafka_protocol::protocol::Encodable>(header: &RequestHeader, response: &T) -> Reply {
    let mut buffer = begin(header);
    match message::encode_into(&mut buffer, response, header.api_version) {
        Ok(()) => finish(vec![Part::Bytes(buffer.freeze())]),
        Err(error) => Reply::Close(format!("the answer could not be encoded: {error}")),
    }
}

/// The beginning of an answer: room for its length, then the response header.
fn begin(header: &RequestHeader) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(256);
    buffer.extend_from_slice(&[0; LENGTH_BYTES]);
    frame::encode_response_header(&mut buffer, header.api_key, header.api_version, header.correlation_id);
    buffer
}

const LENGTH_BYTES: usize = 4;

/// Ends an answer that [`begin`] began: its length, slices included, goes to the front.
fn finish(mut parts: Vec<Part>) -> Reply {
    let bytes: u64 = parts
        .iter()
        .map(|part| match part {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::File(slice) => u64::from(slice.length),
        })
        .sum();
    let Ok(length) = i32::try_from(bytes - LENGTH_BYTES as u64) else {
        return Reply::Close(format!("an answer of {bytes} bytes is longer than a frame can be"));
    };
    let Some(Part::Bytes(first)) = parts.first_mut() else {
        return Reply::Close("an answer has no head".into());
    };
    // Nobody else holds the head yet, so this does not copy.
    let mut head = BytesMut::from(std::mem::take(first));
    head[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    *first = head.freeze();
    Reply::Send(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_java_writes_them() {
        for (address, text) in [
            ("10.0.0.5", "/10.0.0.5"),
            ("::ffff:10.0.0.5", "/10.0.0.5"),
            ("::1", "/0:0:0:0:0:0:0:1"),
            ("2001:DB8::8:800:200c:417a", "/2001:db8:0:0:8:800:200c:417a"),
        ] {
            assert_eq!(host_text(address.parse().unwrap()), text);
        }
    }

    #[test]
    fn of_a_long_name_the_beginning_is_kept_in_whole_letters() {
        assert_eq!(kept("a client"), "a client");
        assert_eq!(kept(&"x".repeat(CLIENT_TEXT_BYTES_MAX)).len(), CLIENT_TEXT_BYTES_MAX);
        assert_eq!(kept(&"x".repeat(32_767)).len(), CLIENT_TEXT_BYTES_MAX);
        assert_eq!(kept(&format!("x{}", "\u{e4}".repeat(1000))).len(), CLIENT_TEXT_BYTES_MAX - 1);
    }
}
