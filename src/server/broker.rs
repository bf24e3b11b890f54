//! The order in which the process starts and stops.
//!
//! Start: directories, cores; the first core loads the metadata log, which may change the listeners of the
//! file, publishes the image and takes the ports; every core opens its logs; the broker is registered; then all
//! cores accept. Stop, on SIGTERM or SIGINT: no core accepts or reads further requests, answers that are due
//! leave, and when every core is quiet the logs are flushed and closed, the checkpoints and the clean-shutdown
//! file are written. A second signal ends the process at once.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use kafka_protocol::messages::broker_registration_request::{Feature, Listener};
use kafka_protocol::messages::{BrokerId, BrokerRegistrationRequest};

use super::connection::{Connection, Ended, Moved};
use super::directories::{Directories, DirectoryError};
use super::doors::Doors;
use super::host::{self, OpenFiles};
use super::housekeeping;
use super::listener::{Bound, ConnectionCounts, ConnectionLimits, ListenError};
use super::log_rate::Rate;
use crate::cluster::segments::SegmentOptions;
use crate::cluster::{Controller, brokers, format, single};
use crate::config::{Layers, ServerConfig};
use crate::group::held;
use crate::metadata::Image;
use crate::metrics;
use crate::protocol::stored::metadata as stored;
use crate::protocol::wire::StrBytes;
use crate::runtime::broadcast::{Broadcast, View};
use crate::runtime::shards::{self, RuntimeOptions};
use crate::runtime::tasks::{self, Queue, Task};
use crate::runtime::{pipes, socket};
use crate::shard::{self, Node, Shard, Spread};
use crate::storage::{DirectoryName, directory_name, open_files};
use crate::types::{NodeId, ShardId};

/// How long answers that are due may take after a signal.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long connections that were cut off may take to end.
const ABORT_MAX: Duration = Duration::from_millis(500);
const FIRST: ShardId = ShardId(0);

/// What `start` was told.
pub struct Options {
    pub config: ServerConfig,
    pub cores: Vec<usize>,
    pub port_file: Option<PathBuf>,
    /// Called once, when the broker accepts connections.
    pub ready: Box<dyn Fn(&Ready) + Send + Sync>,
}

/// A broker that accepts connections.
pub struct Ready {
    pub cluster_id: String,
    pub node_id: i32,
    pub addresses: Vec<String>,
    pub cores: usize,
    pub log_dirs: Vec<PathBuf>,
    pub topics: usize,
    pub partitions: usize,
    pub formatted: bool,
    pub took: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the cores cannot be started: {0}")]
    Runtime(io::Error),
    #[error("the metadata log cannot be loaded: {0}")]
    Metadata(String),
    #[error("{path}: {error}; name a file that can be written with --port-file")]
    PortFile { path: String, error: io::Error },
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
}

/// What one core holds for its connections.
pub struct CoreState {
    pub shard: Rc<Shard>,
    pub connections: RefCell<AHashMap<u64, Rc<Connection>>>,
    pub moved: Moved,
    counts: Arc<ConnectionCounts>,
    /// The limits, and the configuration that they were made of.
    limits: RefCell<Option<(View<Layers>, Rc<ConnectionLimits>)>>,
    refusals: Rate,
    /// The accept loop of each open listener.
    accepting: RefCell<Vec<(Arc<str>, Task<()>)>>,
    /// On the first core only.
    doors: RefCell<Option<Rc<Doors>>>,
    connections_made: Cell<u64>,
}

/// What all cores are started with.
struct Start {
    node: Arc<Node>,
    server: Arc<ServerConfig>,
    cores: usize,
    counts: Arc<ConnectionCounts>,
    open_files: OpenFiles,
    /// What the groups of a core may keep in memory.
    group_bytes_per_core: usize,
    directories: Directories,
    options: Options,
    began: Instant,
    /// One of each a core.
    stop: Vec<flume::Receiver<()>>,
    end: Vec<(flume::Sender<()>, flume::Receiver<()>)>,
    /// Cores say here that they are installed.
    arrived: (flume::Sender<()>, flume::Receiver<()>),
    /// The other cores say here that they are quiet; a signal may come before all are installed.
    quiet: (flume::Sender<()>, flume::Receiver<()>),
    failure: std::sync::Mutex<Option<StartError>>,
}

/// Runs a broker until it is told to stop.
pub fn run(options: Options) -> Result<(), StartError> {
    let began = Instant::now();
    let directories = Directories::open(&options.config)?;
    for skipped in &options.config.controller_listeners {
        tracing::info!(listener = %skipped.name, "the controller listener is accepted and bound to nothing: the quorum is this process");
    }
    let cores = options.cores.len();
    let open_files = OpenFiles::shared_out(cores, options.config.pipes_per_core as usize);
    let server = Arc::new(options.config.clone());
    let node = Arc::new(Node {
        id: NodeId(server.node_id),
        cluster_id: directories.cluster_id.clone(),
        log_dirs: directories.dirs.clone(),
        endpoints: Arc::new(Broadcast::new(Arc::default())),
        images: Arc::new(Broadcast::new(Arc::new(Image::empty()))),
        layers: Arc::new(Broadcast::new(Arc::new(Layers::new((*server).clone())))),
        offline: Arc::new(Broadcast::new(Arc::default())),
        spread: Spread::default(),
    });
    let (stop_senders, stop): (Vec<_>, Vec<_>) = (0..cores).map(|_| flume::bounded(1)).unzip();
    let signals = watch_signals(stop_senders.clone())?;
    let runtime = RuntimeOptions { cores: options.cores.clone(), name: "thalweg".into() };
    let start = Arc::new(Start {
        node,
        counts: Arc::new(ConnectionCounts::new(open_files.connections)),
        open_files,
        group_bytes_per_core: host::group_memory_bytes(&server) / cores,
        server,
        cores,
        directories,
        options,
        began,
        stop,
        end: (0..cores).map(|_| flume::bounded(1)).collect(),
        arrived: flume::unbounded(),
        quiet: flume::unbounded(),
        failure: std::sync::Mutex::default(),
    });
    let on_core = start.clone();
    let result = shards::run(&runtime, move || core(on_core.clone())).map(drop).map_err(StartError::Runtime);
    signals.close();
    let failure = start.failure.lock().expect("no panic happens under this lock").take();
    result.and(failure.map_or(Ok(()), Err))
}

/// The first signal stops the broker, the second ends the process.
fn watch_signals(stop: Vec<flume::Sender<()>>) -> Result<signal_hook::iterator::Handle, StartError> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(StartError::Signals)?;
    let handle = signals.handle();
    let watch = move || {
        let mut asked = false;
        for signal in signals.forever() {
            if asked {
                std::process::exit(128 + signal);
            }
            asked = true;
            tracing::info!("stopping; a second signal ends the process at once");
            for core in &stop {
                let _already_told = core.try_send(());
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(watch).map_err(StartError::Signals)?;
    Ok(handle)
}

/// What each core runs, from start to stop.
async fn core(start: Arc<Start>) {
    let shard = Shard::install(start.node.clone(), start.server.clone(), start.cores);
    pipes::configure(start.server.pipes_per_core as usize, start.server.pipe_bytes as usize);
    open_files::set_bound(start.open_files.segments_per_core);
    held::set_bound(start.group_bytes_per_core);
    let me = usize::from(shard.id.0);
    let appender = tasks::spawn(Queue::Requests, shard.appender.clone().run());
    let background = tasks::spawn(Queue::Background, shard.appender.clone().run_background());
    let state = Rc::new(CoreState {
        shard: shard.clone(),
        connections: RefCell::default(),
        moved: Moved::default(),
        counts: start.counts.clone(),
        limits: RefCell::default(),
        refusals: Rate::per_second(5),
        accepting: RefCell::default(),
        doors: RefCell::default(),
        connections_made: Cell::new(0),
    });
    CORE.with_borrow_mut(|core| *core = Some(state.clone()));
    let _gone = start.arrived.0.send(());
    if shard.id == FIRST {
        if let Err(error) = open_broker(&start, &shard).await {
            *start.failure.lock().expect("no panic happens under this lock") = Some(error);
            for (end, _) in &start.end {
                let _already_told = end.try_send(());
            }
        } else {
            run_first(&start, &shard, me).await;
        }
    } else {
        run_other(&start, me).await;
    }
    shard.appender.stop();
    appender.await;
    background.await;
    CORE.with_borrow_mut(|core| *core = None);
    Shard::uninstall();
}

thread_local! {
    static CORE: RefCell<Option<Rc<CoreState>>> = const { RefCell::new(None) };
}

/// The state of this core; `None` before its start and after its end.
pub(super) fn this_core() -> Option<Rc<CoreState>> {
    CORE.with_borrow(Clone::clone)
}

/// On the first core: loads the metadata, has every core open its logs, registers, and opens the doors.
async fn open_broker(start: &Arc<Start>, shard: &Rc<Shard>) -> Result<(), StartError> {
    for _ in 0..start.cores {
        start.arrived.1.recv_async().await.expect("this core holds a sender");
    }
    bury_deleted(start, shard);
    let (controller, settling, doors) = open_controller(start, shard).await?;
    shard.controller.replace(Some(controller.clone()));
    let progress = tasks::spawn(Queue::Background, housekeeping::report_recovery(shard.clone()));
    shard.follow_everywhere().await;
    progress.cancel().await;
    housekeeping::summarize_recovery(shard).await;
    register(start, &controller).await?;
    shard.controller_task.replace(Some(settling));
    if let Some(core) = this_core() {
        core.doors.replace(Some(doors.clone()));
    }
    doors.serve().await;
    announce(start, shard, &doors)
}

/// Directories that a deletion left behind are deleted now.
fn bury_deleted(start: &Start, shard: &Shard) {
    for dir in &start.node.log_dirs {
        for entry in std::fs::read_dir(&dir.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().and_then(directory_name) == Some(DirectoryName::Deleted) {
                shard.appender.bury(entry.path(), 0);
            }
        }
    }
}

/// Loads the metadata log, takes the ports that it and the file name, and the next epoch of the quorum.
async fn open_controller(
    start: &Arc<Start>,
    shard: &Rc<Shard>,
) -> Result<(Controller, Task<()>, Rc<Doors>), StartError> {
    let metadata = |error: String| StartError::Metadata(error);
    let (directories, server) = (&start.directories, &start.server);
    let options = single::Options {
        endpoints: directories.controller.clone(),
        segments: SegmentOptions {
            bytes_max: u64::from(server.metadata_log_segment_bytes),
            age_ms_max: server.metadata_log_segment_ms,
        },
        snapshot_bytes: server.metadata_log_max_record_bytes_between_snapshots,
        snapshot_interval_ms: u64::try_from(server.metadata_log_max_snapshot_interval_ms).unwrap_or(0),
        retention_bytes: server.metadata_max_retention_bytes,
        retention_ms: server.metadata_max_retention_ms,
        ..single::Options::new(start.node.id, directories.metadata_dir.clone(), directories.metadata_dir_id.0)
    };
    let bootstrap = format::read_bootstrap(&directories.metadata_dir).map_err(|e| metadata(e.to_string()))?;
    let open = move || single::SingleQuorum::open(options);
    let opened =
        glommio::executor().spawn_blocking(open).await.map_err(|error| metadata(error.to_string()))?;
    for (feature, level) in brokers::unsupported_levels(&opened.image) {
        tracing::warn!(feature, level, "the cluster has a feature level that this build does not act on");
    }
    if opened.cut_bytes > 0 {
        tracing::info!(bytes = opened.cut_bytes, "a torn write at the end of the metadata log was cut off");
    }
    start.node.images.publish(Arc::new(opened.image.clone()));
    shard.publish_layers();
    let doors = Doors::bind(shard.clone(), start.server.clone()).await?;
    let publishing = (shard.clone(), doors.clone());
    let on_publish = move |_: Arc<Image>, image: Arc<Image>| -> Pin<Box<dyn Future<Output = ()>>> {
        let (shard, doors) = publishing.clone();
        Box::pin(async move {
            shard.node.images.publish(image);
            shard.follow_everywhere().await;
            doors.follow().await;
        })
    };
    let controller = Controller::new(
        Box::new(opened.quorum),
        opened.image,
        &start.node.cluster_id,
        start.node.id,
        Layers::new((*start.server).clone()),
        Box::new(on_publish),
    );
    let settling = tasks::spawn(Queue::Requests, controller.clone().run());
    let endpoints = directories
        .controller
        .iter()
        .map(|(name, host, port)| stored::Endpoint {
            name: name.clone(),
            host: host.clone(),
            port: *port,
            security_protocol: 0,
        })
        .collect();
    controller
        .activate(&bootstrap, opened.open_transaction, endpoints)
        .await
        .map_err(|error| metadata(error.to_string()))?;
    Ok((controller, settling, doors))
}

/// Registers this broker's incarnation and takes it into service.
async fn register(start: &Arc<Start>, controller: &Controller) -> Result<(), StartError> {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let listeners = start
        .node
        .endpoints
        .latest()
        .iter()
        .map(|endpoint| {
            Listener::default()
                .with_name(text(&endpoint.listener))
                .with_host(text(&endpoint.host))
                .with_port(endpoint.port)
                .with_security_protocol(0)
        })
        .collect();
    let features = brokers::supported_features()
        .into_iter()
        .map(|feature| {
            Feature::default()
                .with_name(text(&feature.name))
                .with_min_supported_version(feature.min_supported_version)
                .with_max_supported_version(feature.max_supported_version)
        })
        .collect();
    let request = BrokerRegistrationRequest::default()
        .with_broker_id(BrokerId(start.node.id.0))
        .with_cluster_id(text(&start.node.cluster_id))
        .with_incarnation_id(uuid::Uuid::new_v4())
        .with_listeners(listeners)
        .with_features(features)
        .with_rack(start.server.rack.as_deref().map(text))
        .with_log_dirs(start.node.log_dirs.iter().map(|dir| dir.id.0).collect())
        .with_previous_broker_epoch(start.directories.previous_broker_epoch);
    let failed = |error: &dyn std::fmt::Display| StartError::Metadata(error.to_string());
    let registered = controller.register_broker(&request).await.map_err(|error| failed(&error))?;
    let epoch = registered.map_err(|error| failed(&error))?;
    let unfenced = controller.unfence_broker(start.node.id, epoch).await.map_err(|error| failed(&error))?;
    unfenced.map_err(|error| failed(&error))
}

fn announce(start: &Start, shard: &Shard, doors: &Doors) -> Result<(), StartError> {
    let bound = doors.bound();
    if let (Some(path), Some(first)) = (&start.options.port_file, bound.first()) {
        let write = || -> io::Result<()> {
            // Whole at once, for whoever waits for it.
            let half = path.with_extension("half");
            std::fs::write(&half, format!("{}\n", first.listeners.address().port()))?;
            std::fs::rename(&half, path)
        };
        write().map_err(|error| StartError::PortFile { path: path.display().to_string(), error })?;
    }
    let image = shard.image();
    (start.options.ready)(&Ready {
        cluster_id: start.node.cluster_id.clone(),
        node_id: start.node.id.0,
        addresses: bound
            .iter()
            .map(|bound| format!("{}://{}", bound.name, bound.listeners.address()))
            .collect(),
        cores: start.cores,
        log_dirs: start.node.log_dirs.iter().map(|dir| dir.path.clone()).collect(),
        topics: image.topic_count(),
        partitions: image.partition_count(),
        formatted: start.directories.is_new,
        took: start.began.elapsed(),
    });
    Ok(())
}

fn shard_id(core: usize) -> ShardId {
    ShardId(u16::try_from(core).expect("cores are counted in 16 bits"))
}

/// On the first core: serves until told to stop, then stops the process in order.
async fn run_first(start: &Arc<Start>, shard: &Rc<Shard>, me: usize) {
    let checkpoints = tasks::spawn(Queue::Background, housekeeping::write_checkpoints(shard.clone()));
    let replay = tasks::spawn(Queue::Background, housekeeping::report_replay(shard.clone()));
    serve_until_told(start, me).await;
    drop((checkpoints, replay));
    let doors = this_core().and_then(|core| core.doors.take());
    if let Some(doors) = doors {
        doors.stop().await;
    }
    for _ in 1..start.cores {
        start.quiet.1.recv_async().await.expect("this core holds a sender");
    }
    let mut clean = true;
    for core in 0..start.cores {
        let posted = shard::post(shard_id(core), |shard| async move { shard.close_logs().await }).await;
        clean &= matches!(posted.await, Ok(true));
    }
    let broker_epoch = shard.image().broker(start.node.id).map_or(-1, |broker| broker.epoch);
    let controller = shard.controller.borrow().clone();
    if let Some(controller) = controller {
        match controller.shut_down_broker(start.node.id, broker_epoch).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the controlled shutdown was refused"),
            Err(error) => tracing::error!(%error, "the controlled shutdown is not in the metadata log"),
        }
    }
    if let Err(error) = shard.write_checkpoints().await {
        tracing::error!(%error, "the checkpoint files cannot be written");
        clean = false;
    }
    shard.controller.take();
    if let Some(settling) = shard.controller_task.take() {
        settling.cancel().await;
    }
    if clean {
        for dir in &start.node.log_dirs {
            if let Err(error) = crate::storage::checkpoint::write_clean_shutdown(&dir.path, broker_epoch) {
                tracing::error!(dir = %dir.path.display(), %error, "the clean-shutdown file cannot be written");
            }
        }
    }
    for (end, _) in &start.end {
        let _already_told = end.try_send(());
    }
    for (name, value) in metrics::snapshot() {
        tracing::debug!(name, value, "counter");
    }
    let lags = metrics::group_lags();
    let lag = metrics::LagSummary::of(&lags);
    for one in lags {
        let metrics::GroupLag { group, topic, partition, records, behind_ms } = one;
        tracing::debug!(%group, %topic, partition, records, behind_ms, "group lag");
    }
    tracing::info!(
        clean,
        requests = metrics::REQUESTS.value(),
        produce_bytes = metrics::PRODUCE_BYTES.value(),
        fetch_bytes_spliced = metrics::FETCH_BYTES_SPLICED.value(),
        fetch_bytes_copied = metrics::FETCH_BYTES_COPIED.value(),
        groups_behind = lag.groups_behind,
        lag_records_max = lag.records_max,
        lag_seconds_max = lag.behind_ms_max / 1_000,
        "stopped"
    );
}

/// On any other core: serves until told to stop, says that it is quiet, and stays until the first core ends.
async fn run_other(start: &Arc<Start>, me: usize) {
    let end = async {
        let _ = start.end[me].1.recv_async().await;
        true
    };
    let quiet = async {
        serve_until_told(start, me).await;
        let _gone = start.quiet.0.send(());
        false
    };
    if !futures_lite::future::or(end, quiet).await {
        let _ = start.end[me].1.recv_async().await;
    }
}

/// Runs a core's background work and connections until the signal, then lets them end.
async fn serve_until_told(start: &Arc<Start>, me: usize) {
    let core = this_core().expect("a core serves between its start and its end");
    let work = [
        tasks::spawn(Queue::Background, housekeeping::sweep_connections(core.clone())),
        tasks::spawn(Queue::Background, housekeeping::tick_logs(core.shard.clone())),
        tasks::spawn(Queue::Background, housekeeping::retain_logs(core.shard.clone())),
        tasks::spawn(Queue::Requests, core.shard.clone().tick_groups()),
        tasks::spawn(Queue::Background, core.shard.clone().measure_lags()),
    ];
    let _ = start.stop[me].recv_async().await;
    core.shard.stopping.set(true);
    for (_, accepting) in core.accepting.take() {
        accepting.cancel().await;
    }
    core.shard.stop_groups();
    for partition in core.shard.partitions() {
        partition.waiters().rouse_all();
    }
    let connections: Vec<_> = core.connections.borrow().values().cloned().collect();
    for connection in connections {
        connection.stop();
    }
    drain(&core, DRAIN_MAX).await;
    // What is left does not read its answers, or waits for a device: it ends without them.
    let connections: Vec<_> = core.connections.borrow().values().cloned().collect();
    for connection in connections {
        connection.abort();
    }
    drain(&core, ABORT_MAX).await;
    for task in work {
        task.cancel().await;
    }
}

/// Waits until no connection is left, at most `time`.
async fn drain(core: &CoreState, time: Duration) {
    let began = Instant::now();
    while !core.connections.borrow().is_empty() && began.elapsed() < time {
        glommio::timer::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts to accept on this core, unless it was told to stop before the start was through.
pub(super) fn accept_on(core: &Rc<CoreState>, bound: &Bound) {
    if core.shard.stopping.get() {
        return;
    }
    if let Some(listener) = bound.listeners.take(core.shard.id) {
        let accepting = accept(core.clone(), listener, bound.name.clone());
        core.accepting.borrow_mut().push((bound.name.clone(), tasks::spawn(Queue::Requests, accepting)));
    }
}

/// Accepts no more on this core by the listener that has this very name; what it accepted stays.
pub(super) async fn stop_accepting(core: Rc<CoreState>, listener: Arc<str>) {
    let is_of = |(name, _): &mut (Arc<str>, Task<()>)| Arc::ptr_eq(name, &listener);
    let stopped: Vec<_> = core.accepting.borrow_mut().extract_if(.., is_of).collect();
    for (_, accepting) in stopped {
        accepting.cancel().await;
    }
}

/// Ends the connections of this core that came by the listener that has this very name: one that was opened
/// later is another, though it be called the same.
pub(super) fn end_connections(core: &CoreState, listener: &Arc<str>) {
    for connection in core.connections.borrow().values() {
        if Arc::ptr_eq(connection.listener(), listener) {
            connection.abort();
        }
    }
}

async fn accept(core: Rc<CoreState>, listener: socket::Listener, name: Arc<str>) {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if core.refusals.allows() {
                    tracing::warn!(%error, "a connection cannot be accepted");
                }
                glommio::timer::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let limits = connection_limits(&core).await;
        let admission = match core.counts.admit(peer.ip(), &limits) {
            Ok(admission) => admission,
            Err(key) => {
                metrics::CONNECTIONS_REFUSED.add(1);
                if core.refusals.allows() {
                    tracing::warn!(%peer, "a connection is refused: {key} is reached");
                }
                continue;
            }
        };
        metrics::CONNECTIONS_ACCEPTED.add(1);
        let id = core.connections_made.get();
        core.connections_made.set(id + 1);
        let connection = Connection::new(socket, peer, name.clone(), core.shard.clone(), (id, &core.moved));
        core.connections.borrow_mut().insert(id, connection.clone());
        let core = core.clone();
        let serve = async move {
            let ended = connection.serve().await;
            core.connections.borrow_mut().remove(&id);
            drop(admission);
            report(&core, &connection, ended);
        };
        tasks::spawn(Queue::Requests, serve).detach();
    }
}

/// What the configuration says now of how many connections there may be.
async fn connection_limits(core: &CoreState) -> Rc<ConnectionLimits> {
    let layers = core.shard.layers();
    let known = core.limits.borrow().clone();
    let before = match known {
        Some((of, limits)) if of.is_same(&layers) => return limits,
        before => before.map(|(_, limits)| limits),
    };
    let limits = Rc::new(ConnectionLimits::of(&layers.server, before.as_deref()).await);
    core.limits.replace(Some((layers, limits.clone())));
    limits
}

/// One line at a bounded rate for what a client did wrong.
fn report(core: &CoreState, connection: &Connection, ended: Ended) {
    let peer = connection.peer();
    match ended {
        Ended::Closed | Ended::Stopping => {}
        Ended::Refused(reason) => {
            metrics::CONNECTIONS_REFUSED.add(1);
            if core.refusals.allows() {
                tracing::warn!(%peer, %reason, "a connection is closed");
            }
        }
        Ended::Failed(error) => tracing::debug!(%peer, %error, "a connection failed"),
    }
}
