//! A member of a classic group, and the members of a group in the order in which they came.

use std::collections::BTreeMap;
use std::rc::Rc;

use ahash::AHashMap;
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;

use super::super::{Ticket, bounds};
use crate::protocol::stored::group::MemberMetadata;

/// A protocol that a member can follow, with what it says under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: Rc<str>,
    pub metadata: Bytes,
}

impl Protocol {
    /// Copies of what a request names, so that its frame is let go.
    pub fn copied(asked: &[JoinGroupRequestProtocol]) -> Vec<Protocol> {
        asked
            .iter()
            .map(|protocol| Protocol {
                name: Rc::from(protocol.name.as_str()),
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            })
            .collect()
    }
}

/// A member. Who waits is known by ticket; nothing else of it is lost in a restart but `is_new` and the
/// protocols that the group has not chosen.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: Rc<str>,
    /// `group.instance.id` of a static member.
    pub instance: Option<Rc<str>>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In the order that the member prefers.
    pub protocols: Vec<Protocol>,
    /// Empty for none.
    pub assignment: Bytes,
    /// Waits for the end of the round of joining.
    pub join: Option<Ticket>,
    /// Waits for its assignment.
    pub sync: Option<Ticket>,
    /// It has not yet been told its first generation, and so cannot heartbeat.
    pub is_new: bool,
}

impl Member {
    pub fn awaits_join(&self) -> bool {
        self.join.is_some()
    }

    /// Whether the end of its session does not matter now: who waits for an answer need not heartbeat. A new
    /// member may end while it waits.
    pub fn is_excused(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }

    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|own| &*own.name == protocol).map(|own| &own.metadata)
    }

    /// Whether it asks for what it already has, in the same order.
    pub fn matches(&self, asked: &[JoinGroupRequestProtocol]) -> bool {
        let same = |(own, asked): (&Protocol, &JoinGroupRequestProtocol)| {
            *own.name == *asked.name.as_str() && own.metadata == asked.metadata
        };
        self.protocols.len() == asked.len() && self.protocols.iter().zip(asked).all(same)
    }

    /// The names of its protocols, each once.
    pub fn protocol_names(&self) -> impl Iterator<Item = &Rc<str>> {
        let first = |(at, own): &(usize, &Protocol)| {
            !self.protocols[..*at].iter().any(|before| before.name == own.name)
        };
        self.protocols.iter().enumerate().filter(first).map(|(_, own)| &own.name)
    }

    /// What of this member takes memory that a client decides over, in bytes.
    pub fn bytes(&self) -> usize {
        let instance = self.instance.as_ref().map_or(0, |instance| instance.len());
        let texts = self.id.len() + instance + self.client_id.len();
        bounds::MEMBER_OVERHEAD_BYTES + texts + self.protocol_bytes() + self.assignment.len()
    }

    /// What its protocols take of that.
    pub fn protocol_bytes(&self) -> usize {
        self.protocols.iter().map(|own| own.name.len() + own.metadata.len()).sum()
    }

    /// What its group's record says of it, where the group follows `protocol`.
    pub fn stored(&self, protocol: Option<&str>) -> MemberMetadata {
        MemberMetadata {
            member_id: self.id.to_string(),
            group_instance_id: self.instance.as_deref().map(str::to_owned),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: self.followed(protocol).cloned().unwrap_or_default(),
            assignment: self.assignment.clone(),
        }
    }

    /// Whether [`Member::stored`] would say the same.
    pub fn is_stored_as(&self, stored: &MemberMetadata, protocol: Option<&str>) -> bool {
        let MemberMetadata {
            member_id,
            group_instance_id,
            client_id,
            client_host,
            rebalance_timeout,
            session_timeout,
            subscription,
            assignment,
        } = stored;
        **member_id == *self.id
            && group_instance_id.as_deref() == self.instance.as_deref()
            && *client_id == self.client_id
            && *client_host == self.client_host
            && *rebalance_timeout == self.rebalance_timeout_ms
            && *session_timeout == self.session_timeout_ms
            && **subscription == **self.followed(protocol).unwrap_or(&Bytes::new())
            && *assignment == self.assignment
    }

    fn followed(&self, protocol: Option<&str>) -> Option<&Bytes> {
        self.metadata(protocol?)
    }

    /// About what it takes in its group's record, where the group follows `protocol`.
    pub fn stored_bytes(&self, protocol: &str) -> usize {
        let instance = self.instance.as_ref().map_or(0, |instance| instance.len());
        let texts = self.id.len() + instance + self.client_id.len() + self.client_host.len();
        let metadata = self.metadata(protocol).map_or(0, Bytes::len);
        bounds::RECORD_BYTES + texts + metadata + self.assignment.len()
    }
}

/// Members by id, in the order in which they came: the eldest becomes the leader when one is needed.
#[derive(Clone, Debug, Default)]
pub struct Members {
    places: AHashMap<Rc<str>, u64>,
    in_order: BTreeMap<u64, Member>,
    next_place: u64,
}

impl Members {
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    pub fn contains(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    pub fn get(&self, id: &str) -> Option<&Member> {
        self.in_order.get(self.places.get(id)?)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.in_order.get_mut(self.places.get(id)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.in_order.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.in_order.values_mut()
    }

    /// Adds a member, which nobody of that id may be yet.
    pub fn insert(&mut self, member: Member) {
        let before = self.places.insert(member.id.clone(), self.next_place);
        assert!(before.is_none(), "a member of a group is added once");
        self.in_order.insert(self.next_place, member);
        self.next_place += 1;
    }

    pub fn remove(&mut self, id: &str) -> Option<Member> {
        self.in_order.remove(&self.places.remove(id)?)
    }

    /// Gives a member another id; it keeps its place.
    pub fn rename(&mut self, old: &str, new: Rc<str>) -> Option<&mut Member> {
        let place = self.places.remove(old)?;
        self.places.insert(new.clone(), place);
        let member = self.in_order.get_mut(&place)?;
        member.id = new;
        Some(member)
    }
}
