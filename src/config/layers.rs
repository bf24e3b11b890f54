//! The layers a broker's value can come from: this broker's dynamic keys, the cluster's, the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ConfigError;
use super::server::ServerConfig;

/// The key maps a broker is configured from, with the typed values they come to. Cheap to clone; a change
/// makes a new one.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The file, `-o`, the environment and what node.id implies.
    pub static_: Arc<BTreeMap<String, String>>,
    /// Dynamic keys of the resource BROKER "".
    pub dynamic_default: Arc<BTreeMap<String, String>>,
    /// Dynamic keys of the resource BROKER with our node id.
    pub dynamic_broker: Arc<BTreeMap<String, String>>,
    /// The values all three come to.
    pub server: Arc<ServerConfig>,
}

impl Layers {
    /// The layers of a broker before any dynamic key is known.
    pub fn new(server: ServerConfig) -> Layers {
        Layers {
            static_: Arc::new(server.all.clone()),
            dynamic_default: Arc::default(),
            dynamic_broker: Arc::default(),
            server: Arc::new(server),
        }
    }

    /// The layers with the dynamic keys that the metadata holds now. Keys that may not be dynamic, or whose
    /// values do not parse, are left out as Kafka leaves them out; the second part names them for the log.
    pub fn with_dynamic(
        &self,
        _default: &BTreeMap<String, String>,
        _broker: &BTreeMap<String, String>,
    ) -> (Layers, Vec<String>) {
        todo!()
    }
}

const _: fn(ConfigError) = |_| {};
