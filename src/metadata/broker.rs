//! Brokers and controllers as they registered.

use uuid::Uuid;

use super::features::Levels;
use crate::protocol::stored::metadata::{
    BrokerRegistrationChangeRecord, Endpoint, RegisterBrokerRecord, RegisterControllerRecord,
    SupportedFeature, Versioned,
};
use crate::types::NodeId;

/// A broker's registration. A fenced broker is known but leads nothing and is told to no client.
#[derive(Clone, Debug, PartialEq)]
pub struct Broker {
    pub id: NodeId,
    /// The offset of the record that registered this incarnation.
    pub epoch: i64,
    pub incarnation_id: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<SupportedFeature>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub is_migrating_zk_broker: bool,
    pub log_dirs: Vec<Uuid>,
}

impl Broker {
    /// Can lead and take new replicas' leadership: neither fenced nor on its way out.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// The endpoint of a listener name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == listener)
    }

    /// The directory that a new replica on this broker gets: its only one, else the broker chooses.
    pub fn default_directory(&self) -> Uuid {
        match self.log_dirs.as_slice() {
            [] => super::topic::directory::MIGRATING,
            [only] => *only,
            _ => super::topic::directory::UNASSIGNED,
        }
    }

    pub(super) fn change(&mut self, change: &BrokerRegistrationChangeRecord) {
        match change.fenced {
            -1 => self.fenced = false,
            1 => self.fenced = true,
            _ => {}
        }
        if change.in_controlled_shutdown == 1 {
            self.in_controlled_shutdown = true;
        }
        if !change.log_dirs.is_empty() {
            self.log_dirs.clone_from(&change.log_dirs);
        }
    }

    pub fn to_record(&self, levels: &Levels) -> Versioned {
        let record = RegisterBrokerRecord {
            broker_id: self.id,
            is_migrating_zk_broker: self.is_migrating_zk_broker && levels.metadata_version() >= 8,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: self.endpoints.clone(),
            features: self.features.clone(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: if levels.directory_ids() { self.log_dirs.clone() } else { Vec::new() },
        };
        Versioned { version: levels.register_broker_record_version(), record: record.into() }
    }
}

impl From<&RegisterBrokerRecord> for Broker {
    fn from(record: &RegisterBrokerRecord) -> Broker {
        Broker {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            endpoints: record.end_points.clone(),
            features: record.features.clone(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            is_migrating_zk_broker: record.is_migrating_zk_broker,
            log_dirs: record.log_dirs.clone(),
        }
    }
}

/// A controller's registration, as its record has it.
pub type Controller = RegisterControllerRecord;
