//! [`Client`]: finds a cluster by its bootstrap addresses, knows its brokers, and keeps one connection to
//! each broker that was asked something.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use super::connection::{Connection, ConnectionOptions};
use super::error::ClientError;
use crate::types::{NodeId, PartitionId, TopicId};

/// Kafka's port, where an address names none.
pub const DEFAULT_PORT: u16 = 9092;
/// How long [`Client::patiently`] goes on, and how long it waits in between.
const PATIENCE: Duration = Duration::from_secs(10);
pub(super) const BACKOFF: Duration = Duration::from_millis(50);

/// How to find a cluster and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port`, tried in order.
    pub bootstrap: Vec<String>,
    pub client_id: String,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
}

impl Options {
    /// `bootstrap` is a list separated by commas; the port is 9092 where none is given.
    pub fn new(bootstrap: &str) -> Options {
        let addresses = bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty());
        Options {
            bootstrap: addresses.map(with_port).collect(),
            client_id: "thalweg".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }

    fn connection(&self) -> ConnectionOptions {
        ConnectionOptions {
            client_id: self.client_id.clone(),
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
        }
    }
}

/// `host`, `host:port`, `[v6]:port`, a bare IPv6 address, any with `PLAINTEXT://` before it.
fn with_port(address: &str) -> String {
    let address = address.strip_prefix("PLAINTEXT://").unwrap_or(address);
    let is_bare_v6 = address.parse::<std::net::Ipv6Addr>().is_ok();
    match address.rsplit_once(':') {
        _ if is_bare_v6 => format!("[{address}]:{DEFAULT_PORT}"),
        Some((_, port)) if port.parse::<u16>().is_ok() => address.to_owned(),
        _ => format!("{address}:{DEFAULT_PORT}"),
    }
}

/// A cluster as its metadata describe it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub id: Option<String>,
    pub controller: NodeId,
    pub brokers: BTreeMap<NodeId, Broker>,
    pub topics: Vec<Topic>,
}

#[derive(Clone, Debug)]
pub struct Broker {
    /// `host:port` as the broker advertises it.
    pub address: String,
    pub rack: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    /// Zero where the broker is older than topic ids.
    pub id: TopicId,
    pub is_internal: bool,
    pub error: Option<ResponseError>,
    /// In the order of their ids.
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug)]
pub struct Partition {
    pub id: PartitionId,
    /// `None` while there is no leader.
    pub leader: Option<NodeId>,
    pub leader_epoch: i32,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    pub offline: Vec<NodeId>,
}

/// A cluster that can be asked.
pub struct Client {
    options: Options,
    /// The bootstrap connection, until metadata tell which broker it is.
    first: Option<Connection>,
    connections: HashMap<NodeId, Connection>,
    brokers: BTreeMap<NodeId, Broker>,
    controller: NodeId,
}

impl Client {
    /// Connects to the first bootstrap address that answers, and learns the brokers.
    pub fn connect(options: Options) -> Result<Client, ClientError> {
        let mut client = Client {
            options,
            first: None,
            connections: HashMap::new(),
            brokers: BTreeMap::new(),
            controller: NodeId(-1),
        };
        client.metadata(Some(&[]), false)?;
        Ok(client)
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn brokers(&self) -> &BTreeMap<NodeId, Broker> {
        &self.brokers
    }

    /// The cluster with the named topics (`None`: all). A topic that does not exist stands among them with
    /// its error, or is made when `create` is set and the broker does so.
    pub fn metadata(&mut self, topics: Option<&[&str]>, create: bool) -> Result<Cluster, ClientError> {
        let response = self.ask_any(|version| metadata_request(version, topics, create))?;
        let cluster = read_metadata(response);
        self.brokers = cluster.brokers.clone();
        self.controller = cluster.controller;
        self.connections.retain(|id, connection| {
            cluster.brokers.get(id).is_some_and(|broker| broker.address == connection.address())
        });
        Ok(cluster)
    }

    /// Asks any broker something that may be asked twice.
    pub fn ask_any<R: Request>(&mut self, request: impl Fn(i16) -> R) -> Result<R::Response, ClientError> {
        if let Some(id) = self.connections.keys().next().copied() {
            match self.ask(id, &request) {
                Err(error) if error.is_retriable() => {}
                other => return other,
            }
        }
        if let Some(connection) = &mut self.first {
            let version = connection.version::<R>()?;
            match connection.call_at(version, &request(version)) {
                Err(error) if error.is_retriable() => self.first = None,
                other => return other,
            }
        }
        let connection = self.first.insert(open_first(&self.options, &self.brokers)?);
        let version = connection.version::<R>()?;
        connection.call_at(version, &request(version))
    }

    /// Asks one broker something that may be asked twice: a connection that broke since its last use is
    /// made anew.
    pub fn ask<R: Request>(
        &mut self,
        id: NodeId,
        request: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let reused = self.connections.contains_key(&id);
        match self.tell(id, &request) {
            Err(ClientError::Lost { .. }) if reused => self.tell(id, request),
            other => other,
        }
    }

    /// Asks one broker once.
    pub fn tell<R: Request>(
        &mut self,
        id: NodeId,
        request: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let connection = self.connection(id)?;
        let version = connection.version::<R>()?;
        let outcome = connection.call_at(version, &request(version));
        if outcome.is_err() {
            // Its next answer may be to this request.
            self.connections.remove(&id);
        }
        outcome
    }

    /// Asks the controller once. Brokers of a KRaft cluster each forward to it.
    pub fn tell_controller<R: Request>(
        &mut self,
        request: impl Fn(i16) -> R,
    ) -> Result<R::Response, ClientError> {
        let known = self.brokers.contains_key(&self.controller);
        let id = if known { Some(self.controller) } else { self.brokers.keys().next().copied() };
        let id = id.ok_or_else(|| ClientError::NoLeader("the cluster names no broker".to_owned()))?;
        self.tell(id, request)
    }

    /// Does something again while it fails for reasons that pass by themselves, such as an election.
    pub fn patiently<T>(
        &mut self,
        mut ask: impl FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let give_up = Instant::now() + self.patience();
        loop {
            match ask(self) {
                Err(error) if error.is_passing() && Instant::now() < give_up => std::thread::sleep(BACKOFF),
                other => return other,
            }
        }
    }

    /// How long trouble that passes by itself is waited out.
    pub(super) fn patience(&self) -> Duration {
        PATIENCE.min(self.options.request_timeout)
    }

    /// The version in which [`Client::ask_any`] would ask `R`.
    pub(super) fn version_of_any<R: Request>(&mut self) -> Result<i16, ClientError> {
        let known = self.connections.values().next().or(self.first.as_ref());
        match known {
            Some(connection) => connection.version::<R>(),
            None => self.first.insert(open_first(&self.options, &self.brokers)?).version::<R>(),
        }
    }

    /// The connection to a broker that the metadata name.
    pub fn connection(&mut self, id: NodeId) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&id) {
            let connection = self.dial(id)?;
            self.connections.insert(id, connection);
        }
        Ok(self.connections.get_mut(&id).expect("it was inserted above"))
    }

    /// A new connection to a broker, for a caller that keeps it to itself.
    pub fn dial(&mut self, id: NodeId) -> Result<Connection, ClientError> {
        let broker = self.brokers.get(&id).ok_or_else(|| {
            ClientError::NoLeader(format!("broker {id} is not among the brokers of the cluster now"))
        })?;
        if let Some(first) = self.first.take_if(|first| first.address() == broker.address) {
            return Ok(first);
        }
        Connection::open(&broker.address, &self.options.connection())
    }
}

/// The first of the bootstrap addresses, then of the known brokers, that answers.
fn open_first(options: &Options, brokers: &BTreeMap<NodeId, Broker>) -> Result<Connection, ClientError> {
    let known = brokers.values().map(|broker| &broker.address);
    let mut first_error = None;
    for address in options.bootstrap.iter().chain(known) {
        match Connection::open(address, &options.connection()) {
            Ok(connection) => return Ok(connection),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| ClientError::Address {
        address: "(no address was given)".to_owned(),
        source: std::io::ErrorKind::InvalidInput.into(),
    }))
}

fn metadata_request(version: i16, topics: Option<&[&str]>, create: bool) -> MetadataRequest {
    let named = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let topics = topics.map(|topics| topics.iter().map(named).collect());
    // Version 0 has no null; there an empty list asks for all.
    let topics = if version == 0 { Some(topics.unwrap_or_default()) } else { topics };
    // Below 4 the field does not exist, and the broker creates as it is configured to.
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(create || version < 4)
}

fn read_metadata(response: MetadataResponse) -> Cluster {
    let brokers = response.brokers.into_iter().map(|broker| {
        let host = broker.host.as_str();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let address = format!("{host}:{}", broker.port);
        (NodeId(broker.node_id.0), Broker { address, rack: broker.rack.map(|rack| rack.to_string()) })
    });
    let mut topics: Vec<Topic> = response.topics.into_iter().map(read_topic).collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Cluster {
        id: response.cluster_id.map(|id| id.to_string()),
        controller: NodeId(response.controller_id.0),
        brokers: brokers.collect(),
        topics,
    }
}

fn read_topic(topic: MetadataResponseTopic) -> Topic {
    let mut partitions: Vec<Partition> = topic.partitions.into_iter().map(read_partition).collect();
    partitions.sort_by_key(|partition| partition.id);
    Topic {
        name: topic.name.map(|name| name.0.to_string()).unwrap_or_default(),
        id: TopicId(topic.topic_id),
        is_internal: topic.is_internal,
        error: ResponseError::try_from_code(topic.error_code),
        partitions,
    }
}

fn read_partition(partition: MetadataResponsePartition) -> Partition {
    let nodes =
        |ids: Vec<kafka_protocol::messages::BrokerId>| ids.into_iter().map(|id| NodeId(id.0)).collect();
    Partition {
        id: PartitionId(partition.partition_index),
        leader: Some(NodeId(partition.leader_id.0)).filter(|id| id.0 >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: nodes(partition.replica_nodes),
        isr: nodes(partition.isr_nodes),
        offline: nodes(partition.offline_replicas),
    }
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_kafkas_port() {
        let options = Options::new(" a, b:1 ,[::1]:2, ::1, PLAINTEXT://c ,");
        assert_eq!(options.bootstrap, ["a:9092", "b:1", "[::1]:2", "[::1]:9092", "c:9092"]);
    }

    #[test]
    fn all_topics_are_asked_as_each_version_wants_it() {
        assert_eq!(metadata_request(0, None, false).topics, Some(vec![]));
        assert_eq!(metadata_request(9, None, false).topics, None);
        assert!(!metadata_request(9, None, false).allow_auto_topic_creation);
    }
}
