//! Values that could be swapped by mistake, each as a type of its own.
//!
//! An [`Offset`] is logical (a record's number in its partition); a position is a byte in a file and
//! stays a plain `u64`.

use std::fmt;
use std::sync::Arc;

/// A record's number in its partition. -1 stands for "none" where Kafka's protocol uses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Offset(pub i64);

impl Offset {
    pub const ZERO: Offset = Offset(0);
    pub const NONE: Offset = Offset(-1);

    /// The offset `count` records after this one.
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }
}

/// A partition leader's epoch. -1 stands for "unknown" on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LeaderEpoch(pub i32);

/// A partition's number in its topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PartitionId(pub i32);

/// A broker's or controller's id in the cluster (`node.id`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NodeId(pub i32);

/// A core of this process, counted from 0 in the order of `thalweg.cores`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ShardId(pub u16);

/// An idempotent producer's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProducerId(pub i64);

macro_rules! display_as_number {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_as_number!(Offset, LeaderEpoch, PartitionId, NodeId, ShardId, ProducerId);

/// A topic's id: 16 bytes, written as Kafka writes them (URL-safe base64 without padding, 22 characters).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub uuid::Uuid);

impl TopicId {
    pub const ZERO: TopicId = TopicId(uuid::Uuid::nil());
    /// The id of `__cluster_metadata`, which no user topic may have.
    pub const METADATA: TopicId = TopicId(uuid::Uuid::from_u128(1));

    /// A fresh random id that Kafka would accept: neither reserved nor beginning with `-` in its text.
    pub fn random() -> TopicId {
        loop {
            let id = TopicId(uuid::Uuid::new_v4());
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    pub fn is_zero(self) -> bool {
        self.0.is_nil()
    }

    /// Reads Kafka's 22-character text form; `None` where it is not one.
    pub fn parse(text: &str) -> Option<TopicId> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u32 = 0;
        let mut count = 0;
        let mut bytes = [0u8; 16];
        let mut at = 0;
        for c in text.bytes() {
            let value = BASE64_URL.iter().position(|b| *b == c)? as u32;
            bits = (bits << 6) | value;
            count += 6;
            if count >= 8 && at < 16 {
                count -= 8;
                bytes[at] = (bits >> count) as u8;
                at += 1;
            }
        }
        Some(TopicId(uuid::Uuid::from_bytes(bytes)))
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0.as_u128();
        let mut text = [0u8; 22];
        for (i, c) in text.iter_mut().enumerate() {
            let shift = 122 - 6 * i as i32;
            let six = if shift >= 0 { value >> shift } else { value << -shift };
            *c = BASE64_URL[(six & 63) as usize];
        }
        f.pad(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition of a topic, by name: the name of its directory, and how log lines speak of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The topics that brokers write themselves; clients may read them, and only administrators write to them.
pub fn is_internal_topic(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_text_is_kafkas_and_comes_back() {
        assert_eq!(TopicId::METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        for _ in 0..100 {
            let id = TopicId::random();
            assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        }
        assert_eq!(TopicId::parse("short"), None);
        assert_eq!(TopicId::parse("AAAAAAAAAAAAAAAAAAAAA!"), None);
    }
}
