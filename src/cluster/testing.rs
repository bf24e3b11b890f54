//! What the tests of this room share: a controller on a temporary directory, and a loop that drives it.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use kafka_protocol::messages::broker_registration_request::{Feature, Listener};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{BrokerId, BrokerRegistrationRequest, CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::controller::{self, Controller};
use super::format::{self, FormatOptions, Formatted};
use super::single::{Opened, Options, SingleQuorum};
use crate::config::properties::Properties;
use crate::config::{Layers, ServerConfig};
use crate::metadata::Image;
use crate::metadata::features::SUPPORTED;
use crate::protocol::stored::metadata::{
    Endpoint, FeatureLevelRecord, Record, RegisterBrokerRecord, Versioned,
};
use crate::types::NodeId;

pub const NODE: NodeId = NodeId(1);

pub fn layers(text: &str) -> Layers {
    let properties = Properties::parse(text).unwrap();
    Layers::new(ServerConfig::load(&properties).unwrap().0)
}

pub fn format_options(dir: &Path) -> FormatOptions {
    FormatOptions {
        node_id: NODE,
        log_dirs: vec![dir.to_owned()],
        metadata_log_dir: dir.to_owned(),
        cluster_id: None,
        endpoints: vec![("CONTROLLER".to_owned(), "127.0.0.1".to_owned(), 30391)],
    }
}

/// Drives a future by polling; the other side is a thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let started = Instant::now();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the future makes no progress");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// A cluster of one active broker, for decisions without a log.
pub struct Cluster {
    pub image: Image,
    pub layers: Layers,
}

impl Cluster {
    pub fn new(properties: &str) -> Cluster {
        let mut image = Image::empty();
        let feature = |name: &str, level| {
            Record::from(FeatureLevelRecord { name: name.to_owned(), feature_level: level })
        };
        let features = super::brokers::supported_features();
        let broker = RegisterBrokerRecord {
            broker_id: NODE,
            broker_epoch: 5,
            features,
            end_points: vec![Endpoint::default()],
            fenced: false,
            log_dirs: vec![Uuid::from_u128(1000)],
            ..RegisterBrokerRecord::default()
        };
        for record in [
            feature("metadata.version", 27),
            feature("eligible.leader.replicas.version", 1),
            Record::from(broker),
        ] {
            image.apply(&record).unwrap();
        }
        Cluster { image, layers: layers(properties) }
    }

    pub fn context(&self) -> controller::Context<'_> {
        controller::Context {
            image: &self.image,
            layers: &self.layers,
            node_id: NODE,
            kraft_version: 1,
            now_ms: 5,
        }
    }

    pub fn apply(&mut self, batches: &[Vec<Versioned>]) {
        for versioned in batches.iter().flatten() {
            versioned.encode().unwrap();
            self.image.apply(&versioned.record).unwrap();
        }
    }
}

/// A directory in memory where there is one, so that syncs cost nothing.
pub fn temp_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A controller with the loop that settles its changes.
pub struct Node {
    pub controller: Controller,
    run: RefCell<Pin<Box<dyn Future<Output = ()>>>>,
    pub formatted: Formatted,
    /// The images that were published.
    pub published: Rc<RefCell<Vec<Arc<Image>>>>,
}

impl Node {
    /// Opens what is in `dir`, formatting it where it is empty, and activates.
    pub fn start(dir: &Path, change: impl FnOnce(&mut Options)) -> Node {
        let node = Node::open(dir, change);
        node.register();
        node
    }

    /// As [`Node::start`], with no broker registered.
    pub fn open(dir: &Path, change: impl FnOnce(&mut Options)) -> Node {
        let formatted = format::format(&format_options(dir)).unwrap();
        let mut options = Options::new(NODE, dir.to_owned(), formatted.metadata_directory_id.0);
        options.endpoints = format_options(dir).endpoints;
        change(&mut options);
        let Opened { quorum, image, open_transaction, .. } = SingleQuorum::open(options).unwrap();
        let published = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&published);
        let on_publish = Box::new(move |old: Arc<Image>, new: Arc<Image>| {
            assert!(old.offset < new.offset);
            seen.borrow_mut().push(new);
            Box::pin(std::future::ready(())) as Pin<Box<dyn Future<Output = ()>>>
        });
        let controller =
            Controller::new(Box::new(quorum), image, &formatted.cluster_id, NODE, layers(""), on_publish);
        let run = RefCell::new(Box::pin(controller.clone().run()) as Pin<Box<dyn Future<Output = ()>>>);
        let node = Node { controller, run, formatted, published };
        let bootstrap = format::read_bootstrap(dir).unwrap();
        let endpoint = Endpoint {
            name: "CONTROLLER".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 30391,
            security_protocol: 0,
        };
        node.drive(node.controller.activate(&bootstrap, open_transaction, vec![endpoint])).unwrap();
        node
    }

    /// Runs `work` beside the controller's own loop.
    pub fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        block_on(std::future::poll_fn(|context| {
            let done = work.as_mut().poll(context);
            let _ = self.run.borrow_mut().as_mut().poll(context);
            done
        }))
    }

    /// Puts another controller in the place of this one.
    pub fn replace(&mut self, controller: Controller) {
        self.run = RefCell::new(Box::pin(controller.clone().run()));
        self.controller = controller;
    }

    pub fn registration(&self) -> BrokerRegistrationRequest {
        let feature = |f: &crate::metadata::features::Supported| {
            Feature::default()
                .with_name(StrBytes::from_static_str(f.name))
                .with_min_supported_version(f.min)
                .with_max_supported_version(f.max)
        };
        BrokerRegistrationRequest::default()
            .with_broker_id(BrokerId(NODE.0))
            .with_cluster_id(StrBytes::from_string(self.formatted.cluster_id.clone()))
            .with_incarnation_id(Uuid::new_v4())
            .with_listeners(vec![
                Listener::default()
                    .with_name(StrBytes::from_static_str("PLAINTEXT"))
                    .with_host(StrBytes::from_static_str("127.0.0.1"))
                    .with_port(29391),
            ])
            .with_features(SUPPORTED.iter().map(feature).collect())
            .with_log_dirs(self.formatted.directory_ids.iter().map(|id| id.0).collect())
    }

    pub fn register(&self) -> i64 {
        let request = self.registration();
        let epoch = self.drive(self.controller.register_broker(&request)).unwrap().unwrap();
        self.drive(self.controller.unfence_broker(NODE, epoch)).unwrap().unwrap();
        epoch
    }

    pub fn create(&self, topics: Vec<CreatableTopic>) -> Vec<(String, i16, Option<String>)> {
        let request = CreateTopicsRequest::default().with_topics(topics);
        let response = self.drive(self.controller.create_topics(&request)).unwrap();
        response
            .topics
            .into_iter()
            .map(|topic| {
                (topic.name.to_string(), topic.error_code, topic.error_message.map(|m| m.to_string()))
            })
            .collect()
    }

    pub fn image(&self) -> Arc<Image> {
        self.controller.image()
    }
}

pub fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub fn with_config(topic: CreatableTopic, name: &str, value: &str) -> CreatableTopic {
    let mut configs = topic.configs.clone();
    configs.push(
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.to_owned()))
            .with_value(Some(StrBytes::from_string(value.to_owned()))),
    );
    topic.with_configs(configs)
}
