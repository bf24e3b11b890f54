//! What the classic members of a group of consumers hand to each other inside JoinGroup and SyncGroup: their
//! subscriptions, and what is assigned to them (Kafka's ConsumerProtocolSubscription and
//! ConsumerProtocolAssignment). Any client may have written these bytes, so they are read within bounds.
//!
//! ```text
//! subscription   version i16 | topics: count i32, each a string | user data: length i32, -1 for none
//!                | from 1: owned, as below | from 2: generation i32 | from 3: rack, a string or null
//! assignment     version i16 | owned | user data: length i32, -1 for none
//! owned          count i32, each: topic string | partitions: count i32, each i32
//! string         length i16, UTF-8 bytes
//! ```
//!
//! A version above the newest begins with the newest's fields and is read as that one; bytes behind the last
//! field are not looked at. All as Kafka 4.1's ConsumerProtocol does it.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Budget, Reader, WireError, required};

/// The newest version of both.
pub const VERSION_MAX: i16 = 3;

/// Topics, each with its partitions, in the order of the bytes.
pub type Partitions<'a> = Vec<(&'a str, Vec<i32>)>;

/// What a member says when it joins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription<'a> {
    pub topics: Vec<&'a str>,
    pub user_data: Option<&'a [u8]>,
    /// Version 1: what it reads now.
    pub owned: Partitions<'a>,
    /// Version 2: since which generation; -1 for none.
    pub generation: i32,
    /// Version 3.
    pub rack: Option<&'a str>,
}

impl Default for Subscription<'_> {
    fn default() -> Self {
        Subscription { topics: Vec::new(), user_data: None, owned: Vec::new(), generation: -1, rack: None }
    }
}

/// What a member is told to read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignment<'a> {
    pub partitions: Partitions<'a>,
    pub user_data: Option<&'a [u8]>,
}

/// The version that the bytes begin with, not above [`VERSION_MAX`].
///
/// # Errors
/// Too few bytes, or a negative version.
pub fn version(bytes: &[u8]) -> Result<i16, WireError> {
    read_version(&mut Reader::new(bytes))
}

fn read_version(reader: &mut Reader<'_>) -> Result<i16, WireError> {
    match reader.i16("the version")? {
        version @ 0.. => Ok(version.min(VERSION_MAX)),
        _ => Err(WireError::Malformed),
    }
}

impl<'a> Subscription<'a> {
    /// # Errors
    /// Bytes that are not a subscription.
    pub fn read(bytes: &'a [u8]) -> Result<Subscription<'a>, WireError> {
        let (mut reader, mut budget) = (Reader::new(bytes), Budget::of(bytes));
        let version = read_version(&mut reader)?;
        Ok(Subscription {
            topics: read_topics(&mut reader, &mut budget)?,
            user_data: read_user_data(&mut reader)?,
            owned: match version {
                1.. => read_partitions(&mut reader, &mut budget)?,
                _ => Vec::new(),
            },
            generation: if version >= 2 { reader.i32("the generation")? } else { -1 },
            rack: if version >= 3 { reader.text(false, "the rack")? } else { None },
        })
    }

    /// The topics alone, which begin every version: whatever follows them may be anything.
    ///
    /// # Errors
    /// Bytes that are not the beginning of a subscription.
    pub fn read_topics(bytes: &'a [u8]) -> Result<Vec<&'a str>, WireError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        let topics = read_topics(&mut reader, &mut Budget::of(bytes))?;
        read_user_data(&mut reader)?;
        Ok(topics)
    }

    /// The bytes in that version, without the fields that it does not have.
    pub fn write(&self, version: i16) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(version);
        out.put_i32(self.topics.len() as i32);
        self.topics.iter().for_each(|topic| put_string(&mut out, topic));
        put_user_data(&mut out, self.user_data);
        if version >= 1 {
            put_partitions(&mut out, &self.owned);
        }
        if version >= 2 {
            out.put_i32(self.generation);
        }
        if version >= 3 {
            match self.rack {
                Some(rack) => put_string(&mut out, rack),
                None => out.put_i16(NULL as i16),
            }
        }
        out.freeze()
    }
}

impl<'a> Assignment<'a> {
    /// # Errors
    /// Bytes that are not an assignment.
    pub fn read(bytes: &'a [u8]) -> Result<Assignment<'a>, WireError> {
        let (mut reader, mut budget) = (Reader::new(bytes), Budget::of(bytes));
        read_version(&mut reader)?;
        Ok(Assignment {
            partitions: read_partitions(&mut reader, &mut budget)?,
            user_data: read_user_data(&mut reader)?,
        })
    }

    /// The bytes in that version; the fields of all are the same.
    pub fn write(&self, version: i16) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(version);
        put_partitions(&mut out, &self.partitions);
        put_user_data(&mut out, self.user_data);
        out.freeze()
    }
}

const NULL: i32 = -1;

fn read_topics<'a>(reader: &mut Reader<'a>, budget: &mut Budget) -> Result<Vec<&'a str>, WireError> {
    let topics = budget.array(reader, false, 2, "the topics", |reader, _| read_topic(reader))?;
    required(topics, "the topics")
}

fn read_partitions<'a>(reader: &mut Reader<'a>, budget: &mut Budget) -> Result<Partitions<'a>, WireError> {
    let partitions = budget.array(reader, false, 6, "the partitions", |reader, budget| {
        let topic = read_topic(reader)?;
        let numbers = budget.array(reader, false, 4, "partitions", |reader, _| reader.i32("a partition"))?;
        Ok((topic, required(numbers, "partitions")?))
    })?;
    required(partitions, "the partitions")
}

fn read_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    required(reader.text(false, "a topic")?, "a topic")
}

fn read_user_data<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, WireError> {
    let length = reader.bytes_length(false, "user data")?;
    length.map(|length| reader.take(length, "user data")).transpose()
}

/// Topics and racks that came by a request or a record are never longer than a string may be.
fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

fn put_partitions(out: &mut BytesMut, partitions: &Partitions<'_>) {
    out.put_i32(partitions.len() as i32);
    for (topic, numbers) in partitions {
        put_string(out, topic);
        out.put_i32(numbers.len() as i32);
        numbers.iter().for_each(|number| out.put_i32(*number));
    }
}

fn put_user_data(out: &mut BytesMut, data: Option<&[u8]>) {
    match data {
        Some(data) => {
            out.put_i32(data.len() as i32);
            out.put_slice(data);
        }
        None => out.put_i32(NULL),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as Assigned;
    use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as Owned;
    use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::protocol::message;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn full() -> Subscription<'static> {
        Subscription {
            topics: vec!["a", "b-é"],
            user_data: Some(b"xyz"),
            owned: vec![("a", vec![2, 0]), ("b-é", vec![1])],
            generation: 7,
            rack: Some("r"),
        }
    }

    /// What of a subscription a version carries.
    fn of_version(version: i16) -> Subscription<'static> {
        let mut it = full();
        if version < 1 {
            it.owned.clear();
        }
        if version < 2 {
            it.generation = -1;
        }
        if version < 3 {
            it.rack = None;
        }
        it
    }

    fn kafkas(version: i16) -> ConsumerProtocolSubscription {
        let it = of_version(version);
        let owned = it.owned.iter().map(|(topic, partitions)| {
            Owned::default()
                .with_topic(TopicName(StrBytes::from_string((*topic).to_owned())))
                .with_partitions(partitions.clone())
        });
        ConsumerProtocolSubscription::default()
            .with_topics(vec![text("a"), text("b-é")])
            .with_user_data(it.user_data.map(Bytes::from_static))
            .with_owned_partitions(owned.collect())
            .with_generation_id(it.generation)
            .with_rack_id(it.rack.map(text))
    }

    #[test]
    fn subscriptions_of_every_version_are_kafkas() {
        for version in 0..=VERSION_MAX {
            let mut bytes = BytesMut::new();
            bytes.put_i16(version);
            message::encode_into(&mut bytes, &kafkas(version), version).unwrap();
            assert_eq!(full().write(version), bytes, "version {version}");
            assert_eq!(Subscription::read(&bytes), Ok(of_version(version)));
            assert_eq!(Subscription::read_topics(&bytes), Ok(vec!["a", "b-é"]));
            assert_eq!(super::version(&bytes), Ok(version));
        }
        let mut later = BytesMut::from(&full().write(3)[..]);
        later[..2].copy_from_slice(&100i16.to_be_bytes());
        later.put_slice(b"fields that are not known yet");
        assert_eq!(Subscription::read(&later), Ok(full()));
        assert_eq!(super::version(&later), Ok(3));
    }

    #[test]
    fn assignments_of_every_version_are_kafkas() {
        let ours = Assignment { partitions: vec![("t", vec![2, 0]), ("u", vec![])], user_data: Some(b"x") };
        let topic = |name, numbers: &[i32]| {
            Assigned::default().with_topic(TopicName(text(name))).with_partitions(numbers.to_vec())
        };
        let kafkas = ConsumerProtocolAssignment::default()
            .with_assigned_partitions(vec![topic("t", &[2, 0]), topic("u", &[])])
            .with_user_data(Some(Bytes::from_static(b"x")));
        for version in 0..=VERSION_MAX {
            let mut bytes = BytesMut::new();
            bytes.put_i16(version);
            message::encode_into(&mut bytes, &kafkas, version).unwrap();
            assert_eq!(ours.write(version), bytes, "version {version}");
            assert_eq!(Assignment::read(&bytes), Ok(ours.clone()));
        }
    }

    #[test]
    fn what_is_cut_or_claims_more_than_there_is_is_refused() {
        for version in 0..=VERSION_MAX {
            let whole = full().write(version);
            for end in 0..whole.len() {
                assert!(Subscription::read(&whole[..end]).is_err(), "version {version}, {end} bytes");
            }
        }
        let whole = Assignment { partitions: vec![("t", vec![2, 0])], user_data: None }.write(3);
        for end in 0..whole.len() {
            assert!(Assignment::read(&whole[..end]).is_err(), "{end} bytes");
        }
        let strange: [&[u8]; 8] = [
            b"\xff\xff\0\0\0\0\xff\xff\xff\xff",
            b"\0\0\x7f\xff\xff\xff\0\x01a",
            b"\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\x01\x7f\xffab",
            b"\0\0\0\0\0\x01\xff\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\x01\0\x01\xc3\xff\xff\xff\xff",
            b"\0\x01\0\0\0\0\xff\xff\xff\xff\x7f\xff\xff\xff",
            b"strange bytes of another kind",
        ];
        for bytes in strange {
            assert!(Subscription::read(bytes).is_err(), "{bytes:?}");
        }
        assert!(Assignment::read(b"\0\0\x7f\xff\xff\xff").is_err());
        assert!(Assignment::read(b"\0\0\0\0\0\x01\0\x01t\x7f\xff\xff\xff").is_err());
    }
}
