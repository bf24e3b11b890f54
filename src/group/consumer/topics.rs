//! What consumer groups watch of the metadata: a hash over a group's topics that says whether a new target is
//! due, and whether topics came that a regular expression might match.
//!
//! ```text
//! hash of a topic   XXH3 64, little endian, over
//!                   0 u8, id high i64, id low i64, name, partition count i32,
//!                   for each partition: its number i32, then for each rack of its replicas, sorted:
//!                   length in UTF-16 units i32, rack
//! hash of a group   XXH3 64 over the hashes of its existing topics as i64, by name; 0 for no topic
//! text              its UTF-16 units, u16 each, then their count i32
//! ```
//!
//! The source is Kafka 4.1's Utils.computeTopicHash and computeGroupHash (KIP-1101) over hash4j: the hash is
//! stored with the group, and a broker that computes another one reassigns it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;
use twox_hash::XxHash3_64;

use crate::metadata::{Image, Topic};
use crate::types::TopicId;

/// The version of the hash, its first byte.
const MAGIC: u8 = 0;

/// What the groups of one coordinator know of topics. Nothing of it is stored.
#[derive(Debug, Default)]
pub struct Topics {
    /// Rises when topics or brokers change.
    version: u64,
    /// The image's offset when topics were last created.
    newest_created: Option<i64>,
    hashes: AHashMap<TopicId, (Arc<Topic>, i64)>,
}

impl Topics {
    /// A group whose hash is of this version need not compute it anew.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The image's offset when topics were last created, or when this coordinator first looked.
    pub fn newest_created(&mut self, image: &Image) -> i64 {
        *self.newest_created.get_or_insert(image.offset.0)
    }

    /// Takes up what changed between two images.
    pub fn follow(&mut self, before: &Image, image: &Image) {
        let same_brokers = image.has_brokers_of(before);
        if same_brokers && image.has_topics_of(before) {
            return;
        }
        self.version += 1;
        if image.has_created_since(before) {
            self.newest_created = Some(image.offset.0);
        }
        if same_brokers {
            self.hashes
                .retain(|id, (topic, _)| image.topic_by_id(*id).is_some_and(|now| Arc::ptr_eq(now, topic)));
        } else {
            self.hashes.clear();
        }
    }

    /// The hash of a group that subscribes to `names`; those that do not exist do not count.
    pub fn group_hash<'a>(&mut self, names: impl Iterator<Item = &'a Arc<str>>, image: &Image) -> i64 {
        let existing: BTreeMap<&str, &Arc<Topic>> =
            names.filter_map(|name| image.topic(name).map(|topic| (&*topic.name, topic))).collect();
        if existing.is_empty() {
            return 0;
        }
        let mut bytes = Vec::with_capacity(existing.len() * 8);
        for topic in existing.into_values() {
            bytes.extend_from_slice(&self.topic_hash(topic, image).to_le_bytes());
        }
        XxHash3_64::oneshot(&bytes) as i64
    }

    fn topic_hash(&mut self, topic: &Arc<Topic>, image: &Image) -> i64 {
        match self.hashes.get(&topic.id) {
            Some((of, hash)) if Arc::ptr_eq(of, topic) => *hash,
            _ => {
                let hash = topic_hash(topic, image);
                self.hashes.insert(topic.id, (topic.clone(), hash));
                hash
            }
        }
    }
}

fn topic_hash(topic: &Topic, image: &Image) -> i64 {
    let racks = |at: usize| {
        let replicas = topic.partitions[at].replicas.iter();
        replicas.filter_map(|replica| image.broker(*replica)?.rack.as_deref()).collect()
    };
    hash_of(topic.id, &topic.name, topic.partitions.len(), racks)
}

fn hash_of<'a>(id: TopicId, name: &str, partitions: usize, racks: impl Fn(usize) -> Vec<&'a str>) -> i64 {
    let (high, low) = id.0.as_u64_pair();
    let mut bytes = Vec::with_capacity(64 + partitions * 4);
    bytes.push(MAGIC);
    bytes.extend_from_slice(&high.to_le_bytes());
    bytes.extend_from_slice(&low.to_le_bytes());
    put_text(&mut bytes, name);
    bytes.extend_from_slice(&(partitions as i32).to_le_bytes());
    for partition in 0..partitions {
        bytes.extend_from_slice(&(partition as i32).to_le_bytes());
        let mut racks = racks(partition);
        racks.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
        for rack in racks {
            bytes.extend_from_slice(&(rack.encode_utf16().count() as i32).to_le_bytes());
            put_text(&mut bytes, rack);
        }
    }
    XxHash3_64::oneshot(&bytes) as i64
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let mut count = 0i32;
    for unit in text.encode_utf16() {
        bytes.extend_from_slice(&unit.to_le_bytes());
        count += 1;
    }
    bytes.extend_from_slice(&count.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_kafkas() {
        // By hash4j 0.22, the library of Apache Kafka 4.1.1, over the calls of Utils.computeTopicHash.
        let mut text = Vec::new();
        put_text(&mut text, "foo");
        assert_eq!(XxHash3_64::oneshot(&text) as i64, 7324479985248136222);
        let id = TopicId(uuid::Uuid::from_u64_pair(0x0102030405060708, (-5i64) as u64));
        assert_eq!(hash_of(id, "foo", 3, |_| vec!["rack1"]), -7818682779331065053);
        let longs: Vec<u8> =
            (0..300u64).flat_map(|i| i.wrapping_mul(0x9E3779B97F4A7C15).to_le_bytes()).collect();
        assert_eq!(XxHash3_64::oneshot(&longs) as i64, 1773912731412852473);
        assert_eq!(Topics::default().group_hash([].into_iter(), &Image::empty()), 0);
    }
}
