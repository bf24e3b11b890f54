//! The controller: the one place where metadata changes.
//!
//! A change is decided on the image of everything proposed so far, proposed to the quorum, and applied to
//! that image, all without waiting; so decisions follow each other in one order. When the quorum has
//! committed it, the new image is published, then the answer leaves. If it cannot be committed, it and all
//! that was decided after it are undone together, because none of it was published.
//!
//! It lives on one core. [`Controller::run`] must be spawned there once: it publishes in the order of the
//! log, also for a client that has gone.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterConfigsRequest, AlterConfigsResponse,
    BrokerRegistrationRequest, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, ElectLeadersRequest,
    ElectLeadersResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use uuid::Uuid;

use super::batches::RECORDS_PER_BATCH_MAX;
use super::quorum::{Committed, Proposal, Quorum, QuorumError, VoterState};
use super::snapshot::Snapshot;
use super::{brokers, configs, elections, features, partitions, producer_ids, topics};
use crate::clock;
use crate::config::Layers;
use crate::metadata::{ApplyError, Image, ResourceType};
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::metadata::{Endpoint, Versioned};
use crate::types::{LeaderEpoch, NodeId, Offset};

/// What a decision may look at.
pub struct Context<'a> {
    pub image: &'a Image,
    /// The broker's configuration with its dynamic layers.
    pub layers: &'a Layers,
    pub node_id: NodeId,
    pub kraft_version: i16,
    pub now_ms: i64,
}

impl Context<'_> {
    /// Where the first record of this decision will stand.
    pub fn next_offset(&self) -> Offset {
        self.image.offset.plus(1)
    }
}

/// What a request comes to: records to append, batch by batch, and the answer once they are committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R> {
    /// Each batch counts as a whole or not at all.
    pub batches: Vec<Vec<Versioned>>,
    pub response: R,
}

impl<R> Decision<R> {
    /// An answer that changes nothing.
    pub fn nothing(response: R) -> Decision<R> {
        Decision { batches: Vec::new(), response }
    }

    /// Records that count together.
    pub fn atomic(records: Vec<Versioned>, response: R) -> Decision<R> {
        Decision { batches: vec![records], response }
    }

    /// Records of which a crash may leave the first ones.
    pub fn several(records: Vec<Versioned>, response: R) -> Decision<R> {
        let batches = records.chunks(RECORDS_PER_BATCH_MAX).map(<[Versioned]>::to_vec).collect();
        Decision { batches, response }
    }
}

/// Why a request got no answer of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// A decision made records that do not follow from the image: a fault of this build.
    #[error("a decision does not apply: {0}")]
    Apply(#[from] ApplyError),
    #[error("the controller has stopped")]
    Stopped,
}

/// Is given the image before and after each publication; the answers of the changes in it leave when the
/// future ends.
pub type OnPublish = Box<dyn Fn(Arc<Image>, Arc<Image>) -> Pin<Box<dyn Future<Output = ()>>>>;

/// The controller of one core; clones are the same controller.
#[derive(Clone)]
pub struct Controller(Rc<Inner>);

struct Inner {
    node_id: NodeId,
    quorum: Box<dyn Quorum>,
    /// The image of everything proposed.
    head: RefCell<Image>,
    /// The image of everything committed and published.
    published: RefCell<Arc<Image>>,
    /// Configuration without dynamic keys, and with those of `head`.
    base_layers: Layers,
    layers: RefCell<Layers>,
    /// Rises when proposals are undone, so that one failure undoes once.
    generation: Cell<u64>,
    pending: flume::Sender<Pending>,
    to_settle: flume::Receiver<Pending>,
    on_publish: OnPublish,
}

/// A proposal on its way to the log.
struct Pending {
    committed: Committed,
    image: Image,
    generation: u64,
    settled: flume::Sender<Result<(), ControllerError>>,
}

impl Controller {
    /// A controller on what the quorum has loaded. Nothing is written before [`Controller::activate`].
    pub fn new(
        quorum: Box<dyn Quorum>,
        mut image: Image,
        cluster_id: &str,
        node_id: NodeId,
        layers: Layers,
        on_publish: OnPublish,
    ) -> Controller {
        image.cluster_id = cluster_id.into();
        image.kraft_version = quorum.kraft_version();
        let (pending, to_settle) = flume::unbounded();
        let controller = Controller(Rc::new(Inner {
            node_id,
            quorum,
            published: RefCell::new(Arc::new(image.clone())),
            head: RefCell::new(image),
            layers: RefCell::new(layers.clone()),
            base_layers: layers,
            generation: Cell::new(0),
            pending,
            to_settle,
            on_publish,
        }));
        controller.refresh_layers(None);
        controller
    }

    /// Settles proposals in the order of the log, for as long as the controller lives.
    pub async fn run(self) {
        while let Ok(pending) = self.0.to_settle.recv_async().await {
            let outcome = pending.committed.await;
            match &outcome {
                Ok(()) => self.publish(pending.image).await,
                Err(_) => self.undo(pending.generation),
            }
            // Who asked may have gone.
            let _ = pending.settled.send(outcome.map_err(ControllerError::from));
        }
    }

    async fn publish(&self, image: Image) {
        let image = Arc::new(image);
        let old = self.0.published.replace(Arc::clone(&image));
        (self.0.on_publish)(old, image).await;
    }

    fn undo(&self, generation: u64) {
        if generation != self.0.generation.get() {
            return;
        }
        self.0.generation.set(generation + 1);
        let before = self.0.head.replace((**self.0.published.borrow()).clone());
        self.refresh_layers(Some(&before));
    }

    /// The image as every core may know it: committed and published.
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.0.published.borrow())
    }

    /// The broker's configuration with the dynamic keys of everything proposed.
    pub fn layers(&self) -> Layers {
        self.0.layers.borrow().clone()
    }

    /// The epoch in which this controller leads the quorum.
    pub fn epoch(&self) -> LeaderEpoch {
        self.0.quorum.epoch()
    }

    pub fn voters(&self) -> Vec<VoterState> {
        self.0.quorum.voters()
    }

    /// The offset after the last record proposed; what is committed ends at the image's offset.
    pub fn log_end(&self) -> Offset {
        self.0.head.borrow().offset.plus(1)
    }

    /// Decides a change and gives its answer when it is committed and published. The change happens even if
    /// the future is dropped.
    pub async fn submit<R>(
        &self,
        decide: impl FnOnce(&Context<'_>) -> Decision<R>,
    ) -> Result<R, ControllerError> {
        let (response, settled) = self.propose(decide)?;
        match settled {
            None => Ok(response),
            Some(settled) => {
                settled.recv_async().await.unwrap_or(Err(ControllerError::Stopped))?;
                Ok(response)
            }
        }
    }

    /// Decides, proposes and applies, in one step without waiting.
    #[expect(clippy::type_complexity, reason = "the pair is taken apart at once")]
    fn propose<R>(
        &self,
        decide: impl FnOnce(&Context<'_>) -> Decision<R>,
    ) -> Result<(R, Option<flume::Receiver<Result<(), ControllerError>>>), ControllerError> {
        let before = self.0.head.borrow().clone();
        let timestamp_ms = clock::wall_ms();
        let Decision { mut batches, response } = {
            let layers = self.0.layers.borrow();
            decide(&Context {
                image: &before,
                layers: &layers,
                node_id: self.0.node_id,
                kraft_version: self.0.quorum.kraft_version(),
                now_ms: timestamp_ms,
            })
        };
        batches.retain(|batch| !batch.is_empty());
        if batches.is_empty() {
            return Ok((response, None));
        }
        let base_offset = before.offset.plus(1);
        let mut image = before.clone();
        for versioned in batches.iter().flatten() {
            image.apply(&versioned.record)?;
            image.offset = image.offset.plus(1);
        }
        (image.epoch, image.timestamp_ms) = (self.0.quorum.epoch(), timestamp_ms);
        let proposal = Proposal { batches, base_offset, timestamp_ms, image: image.clone() };
        let committed = self.0.quorum.propose(proposal);
        self.0.head.replace(image.clone());
        self.refresh_layers(Some(&before));
        let (settled, receiver) = flume::bounded(1);
        let pending = Pending { committed, image, generation: self.0.generation.get(), settled };
        self.0.pending.send(pending).map_err(|_| ControllerError::Stopped)?;
        Ok((response, Some(receiver)))
    }

    /// Makes the layers those of the head's dynamic keys, if they are not the same as `before`'s.
    fn refresh_layers(&self, before: Option<&Image>) {
        let head = self.0.head.borrow();
        let node = self.0.node_id.to_string();
        let resources = ["", node.as_str()];
        let of = |image: &Image| resources.map(|name| image.settings(ResourceType::Broker, name).cloned());
        let now = of(&head);
        if before.is_some_and(|before| of(before) == now) {
            return;
        }
        let [cluster, own] = now.map(Option::unwrap_or_default);
        let (layers, refused) = self.0.base_layers.with_dynamic(&cluster, &own);
        for why in refused {
            tracing::warn!("a dynamic configuration is left out: {why}");
        }
        self.0.layers.replace(layers);
    }

    /// Writes what a new leader writes: see [`brokers::activate`] and [`brokers::fence_others`].
    pub async fn activate(
        &self,
        bootstrap: &Snapshot,
        open_transaction: bool,
        endpoints: Vec<Endpoint>,
    ) -> Result<(), ControllerError> {
        let incarnation = Uuid::new_v4();
        let first = self.propose(|context| {
            brokers::activate(context, bootstrap, open_transaction, endpoints, incarnation)
        })?;
        self.submit(brokers::fence_others).await?;
        match first.1 {
            Some(settled) => settled.recv_async().await.unwrap_or(Err(ControllerError::Stopped)),
            None => Ok(()),
        }
    }

    /// Registers a broker's incarnation, fenced; gives its epoch.
    pub async fn register_broker(
        &self,
        request: &BrokerRegistrationRequest,
    ) -> Result<Result<i64, ApiError>, ControllerError> {
        self.submit(|context| brokers::register(context, request)).await
    }

    /// Unfences a broker whose logs are ready, and makes it lead.
    pub async fn unfence_broker(
        &self,
        id: NodeId,
        epoch: i64,
    ) -> Result<Result<(), ApiError>, ControllerError> {
        self.submit(|context| brokers::unfence(context, id, epoch)).await
    }

    /// Takes a broker out in order, before it stops.
    pub async fn shut_down_broker(
        &self,
        id: NodeId,
        epoch: i64,
    ) -> Result<Result<(), ApiError>, ControllerError> {
        self.submit(|context| brokers::shut_down(context, id, epoch)).await
    }

    pub async fn create_topics(
        &self,
        request: &CreateTopicsRequest,
    ) -> Result<CreateTopicsResponse, ControllerError> {
        self.submit(|context| topics::create_topics(context, request)).await
    }

    pub async fn delete_topics(
        &self,
        request: &DeleteTopicsRequest,
        version: i16,
    ) -> Result<DeleteTopicsResponse, ControllerError> {
        self.submit(|context| topics::delete_topics(context, request, version)).await
    }

    pub async fn create_partitions(
        &self,
        request: &CreatePartitionsRequest,
    ) -> Result<CreatePartitionsResponse, ControllerError> {
        self.submit(|context| partitions::create_partitions(context, request)).await
    }

    /// `change_loggers` does what BROKER_LOGGER resources ask for; they are not metadata.
    pub async fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
        change_loggers: configs::ChangeLoggers<'_>,
    ) -> Result<IncrementalAlterConfigsResponse, ControllerError> {
        self.submit(|context| configs::incremental_alter(context, request, change_loggers)).await
    }

    pub async fn alter_configs(
        &self,
        request: &AlterConfigsRequest,
    ) -> Result<AlterConfigsResponse, ControllerError> {
        self.submit(|context| configs::legacy_alter(context, request)).await
    }

    pub async fn update_features(
        &self,
        request: &UpdateFeaturesRequest,
        version: i16,
    ) -> Result<UpdateFeaturesResponse, ControllerError> {
        self.submit(|context| features::update_features(context, request, version)).await
    }

    pub async fn elect_leaders(
        &self,
        request: &ElectLeadersRequest,
    ) -> Result<ElectLeadersResponse, ControllerError> {
        self.submit(|context| elections::elect_leaders(context, request)).await
    }

    pub async fn allocate_producer_ids(
        &self,
        request: &AllocateProducerIdsRequest,
    ) -> Result<AllocateProducerIdsResponse, ControllerError> {
        self.submit(|context| producer_ids::allocate(context, request)).await
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::DeleteTopicsRequest;

    use super::*;
    use crate::cluster::testing::{NODE, Node, topic, topic_name, with_config};
    use crate::types::PartitionId;

    #[test]
    fn a_new_cluster_has_its_features_and_an_active_broker_with_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), |_| {});
        let image = node.image();
        assert_eq!(image.features.metadata_version(), 27);
        assert_eq!(image.setting(ResourceType::Broker, "", "min.insync.replicas"), Some("1"));
        let broker = image.broker(NODE).unwrap();
        assert!(broker.is_active());
        assert_eq!(broker.log_dirs, [node.formatted.directory_ids[0].0]);
        assert_eq!(image.controllers().count(), 1);
        assert_eq!(*image.cluster_id, *node.formatted.cluster_id);
        assert_eq!(node.published.borrow().last().unwrap().offset, image.offset);
    }

    #[test]
    fn what_was_answered_is_there_after_a_restart_under_a_new_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), |_| {});
        let first_epoch = node.controller.epoch();
        let made =
            node.create(vec![with_config(topic("orders", 3), "retention.ms", "60000"), topic("gone", 1)]);
        assert_eq!(made, [("orders".to_owned(), 0, None), ("gone".to_owned(), 0, None)]);
        let deletion = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("gone")]);
        node.drive(node.controller.delete_topics(&deletion, 5)).unwrap();
        let before = node.image();
        drop(node);

        let node = Node::open(dir.path(), |_| {});
        let after = node.image();
        assert_eq!(node.controller.epoch(), LeaderEpoch(first_epoch.0 + 1));
        assert_eq!(after.topic("orders"), before.topic("orders"));
        assert!(after.topic("gone").is_none());
        assert_eq!(after.setting(ResourceType::Topic, "orders", "retention.ms"), Some("60000"));
        let epoch_of = |image: &Image| image.partition("orders", PartitionId(0)).unwrap().leader_epoch;
        node.register();
        assert!(epoch_of(&node.image()) > epoch_of(&before), "a restart begins new leader epochs");
    }

    #[test]
    fn a_broker_that_stops_in_order_leaves_no_leader_and_comes_back_to_lead() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::open(dir.path(), |_| {});
        let epoch = node.register();
        node.create(vec![topic("orders", 2)]);
        node.drive(node.controller.shut_down_broker(NODE, epoch)).unwrap().unwrap();
        let image = node.image();
        let partition = image.partition("orders", PartitionId(1)).unwrap();
        assert_eq!(partition.leader, crate::metadata::topic::NO_LEADER);
        assert_eq!(partition.eligible_leader_replicas, [NODE]);
        assert!(image.broker(NODE).unwrap().fenced);
        drop(node);
        let node = Node::start(dir.path(), |_| {});
        let image = node.image();
        let partition = image.partition("orders", PartitionId(1)).unwrap();
        assert_eq!((partition.leader, partition.isr.as_slice()), (NODE, &[NODE][..]));
        assert!(partition.eligible_leader_replicas.is_empty() && partition.last_known_elr.is_empty());
        assert_eq!(partition.leader_epoch, LeaderEpoch(2));
    }

    #[test]
    fn changes_that_wait_together_are_answered_in_order_and_all_published() {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), |_| {});
        let offset = node.image().offset;
        let request = |i: i32| {
            kafka_protocol::messages::CreateTopicsRequest::default()
                .with_topics(vec![topic(&format!("t{i}"), 1)])
        };
        let requests: Vec<_> = (0..50).map(request).collect();
        // Proposed all before any is awaited; one of them is never awaited at all.
        let mut waiting: Vec<_> = requests
            .iter()
            .map(|request| {
                node.controller.propose(|context| topics::create_topics(context, request)).unwrap()
            })
            .collect();
        drop(waiting.remove(7));
        for (response, settled) in waiting {
            assert_eq!(response.topics[0].error_code, 0);
            node.drive(settled.unwrap().into_recv_async()).unwrap().unwrap();
        }
        assert_eq!(node.image().topic_count(), 50);
        assert_eq!(node.image().offset, offset.plus(100));
        assert!(node.image().topic("t7").is_some());
    }

    /// Fails the proposals it is told to.
    struct Flaky {
        fail: Rc<Cell<bool>>,
    }

    impl Quorum for Flaky {
        fn epoch(&self) -> LeaderEpoch {
            LeaderEpoch(1)
        }
        fn leader(&self) -> NodeId {
            NODE
        }
        fn voters(&self) -> Vec<VoterState> {
            Vec::new()
        }
        fn kraft_version(&self) -> i16 {
            1
        }
        fn propose(&self, _: Proposal) -> Committed {
            let (sender, committed) = Committed::new();
            let full = Err(QuorumError::NotWritten("disk full".to_owned()));
            sender.send(if self.fail.get() { full } else { Ok(()) }).unwrap();
            committed
        }
    }

    #[test]
    fn a_failed_write_undoes_what_was_decided_on_it_and_the_next_change_works() {
        let fail = Rc::new(Cell::new(true));
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::start(dir.path(), |_| {});
        let image = (*node.image()).clone();
        let offset = image.offset;
        node.replace(Controller::new(
            Box::new(Flaky { fail: Rc::clone(&fail) }),
            image,
            "cluster",
            NODE,
            crate::cluster::testing::layers(""),
            Box::new(|_, _| Box::pin(std::future::ready(()))),
        ));
        let request =
            kafka_protocol::messages::CreateTopicsRequest::default().with_topics(vec![topic("a", 1)]);
        let outcome = node.drive(node.controller.create_topics(&request));
        assert!(matches!(outcome, Err(ControllerError::Quorum(QuorumError::NotWritten(_)))));
        assert_eq!(node.controller.log_end(), offset.plus(1));
        fail.set(false);
        assert_eq!(node.create(vec![topic("a", 1)]), [("a".to_owned(), 0, None)]);
        assert_eq!(node.image().offset, offset.plus(2));
    }
}
