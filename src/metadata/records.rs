//! The image as records: what a snapshot of it holds, in the order in which Kafka writes one.

use super::Image;
use super::features::METADATA_VERSION;
use crate::protocol::stored::metadata::{
    ClientQuotaRecord, ConfigRecord, FeatureLevelRecord, ProducerIdsRecord, QuotaEntity, Record, TopicRecord,
    Versioned,
};
use crate::types::NodeId;

impl Image {
    /// The records that make this image from nothing: feature levels first (the metadata version leads,
    /// it says how to read the rest), then brokers, controllers, topics, configurations, quotas, producer
    /// ids and what security knows.
    pub fn to_records(&self) -> Vec<Versioned> {
        let levels = &self.features;
        let mut out = Vec::with_capacity(64 + 2 * self.partition_count());
        let (first, rest): (Vec<_>, Vec<_>) = levels.iter().partition(|(name, _)| *name == METADATA_VERSION);
        for (name, level) in first.into_iter().chain(rest) {
            let record = FeatureLevelRecord { name: name.to_owned(), feature_level: level };
            out.push(Record::from(record).at(0));
        }
        out.extend(self.brokers.values().map(|broker| broker.to_record(levels)));
        if levels.controller_registration() {
            out.extend(
                self.controllers.values().map(|controller| Record::from((**controller).clone()).at(0)),
            );
        }
        for topic in self.topics() {
            let record = TopicRecord { name: topic.name.to_string(), topic_id: topic.id };
            out.push(Record::from(record).at(0));
            out.extend(
                topic
                    .numbered()
                    .filter(|(_, partition)| partition.exists())
                    .map(|(id, partition)| partition.to_record(topic.id, id, levels)),
            );
        }
        for (kind, name, settings) in self.configured() {
            out.extend(settings.iter().map(|(key, value)| {
                Record::from(ConfigRecord {
                    resource_type: kind as i8,
                    resource_name: name.to_owned(),
                    name: key.clone(),
                    value: Some(value.clone()),
                })
                .at(0)
            }));
        }
        for (entity, quotas) in &self.quotas {
            let entity: Vec<QuotaEntity> = entity
                .iter()
                .map(|(kind, name)| QuotaEntity { entity_type: kind.clone(), entity_name: name.clone() })
                .collect();
            out.extend(quotas.iter().map(|(key, value)| {
                let record = ClientQuotaRecord {
                    entity: entity.clone(),
                    key: key.clone(),
                    value: *value,
                    remove: false,
                };
                Record::from(record).at(0)
            }));
        }
        if let Some(next_producer_id) = self.next_producer_id {
            let record = ProducerIdsRecord { broker_id: NodeId(-1), broker_epoch: -1, next_producer_id };
            out.push(Record::from(record).at(0));
        }
        out.extend(self.acls.values().map(|acl| Record::from((**acl).clone()).at(0)));
        out.extend(self.scram.values().map(|credential| Record::from((**credential).clone()).at(0)));
        out.extend(self.tokens.values().map(|token| Record::from((**token).clone()).at(0)));
        out
    }
}
