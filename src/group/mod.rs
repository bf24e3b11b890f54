//! Groups and committed offsets: a pure state machine over one partition of the offsets topic.
//!
//! | file | what it decides |
//! |---|---|
//! | [`offsets`] | commits, fetches, deletions and expiry of offsets |
//! | [`classic`] | JoinGroup, SyncGroup, Heartbeat, LeaveGroup |
//! | [`consumer`] | the consumer protocol of KIP-848 |
//! | [`migration`] | classic groups that become consumer groups and back, with members of both protocols |
//! | [`listing`] | ListGroups, DescribeGroups, ConsumerGroupDescribe, DeleteGroups |
//! | [`assignors`], [`regex`] | what consumer groups compute: pure functions over plain values |
//! | [`settings`], [`timers`] | configuration, typed; deadlines by key |
//! | [`bounds`], [`held`], `by_name` | bounds on what clients make groups keep; bytes and groups, counted |
//!
//! A decision takes a request, a [`Context`] and an [`Outcome`] for its records and effects. What is stored
//! changes by records alone ([`StateMachine::apply`]); only what a restart may lose (deadlines, who waits, a
//! classic group's round of joining) is changed by a decision itself. To add a kind of group: a file beside
//! `classic` and `consumer`, a variant of [`Group`], and its records in [`StateMachine::apply`].

use std::cell::Cell;
use std::rc::Rc;

use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};

use crate::broker::state_machine::{self, StateMachine};
use crate::clock::Now;
use crate::metadata::Image;
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::StoredError;
use crate::protocol::stored::group::{GroupMetadataKey, Record};
use crate::types::TopicId;

pub mod assignors;
pub mod bounds;
mod by_name;
pub mod classic;
pub mod consumer;
pub mod held;
pub mod listing;
pub mod migration;
pub mod offsets;
pub mod regex;
pub mod settings;
pub mod timers;

#[cfg(test)]
pub mod testing;

use by_name::ByName;
use classic::ClassicGroup;
use consumer::ConsumerGroup;
use offsets::Offsets;
use settings::Settings;
use timers::Timers;

pub type Outcome = state_machine::Outcome<Groups>;

/// The topic that group state and offsets are stored in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// What a decision may look at besides the state.
pub struct Context<'a> {
    pub image: &'a Image,
    pub settings: &'a Settings,
    pub now: Now,
    /// Gives an id that nobody has had.
    pub new_id: &'a dyn Fn() -> TopicId,
}

/// Names someone who waits for an answer that is decided later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u64);

/// An answer to a ticket.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Join(Box<JoinGroupResponse>),
    Sync(Box<SyncGroupResponse>),
}

/// What the core does for groups when the records of a decision are committed.
pub enum Effect {
    Answer(Ticket, Answer),
    /// Work that takes long and looks at nothing but its own values: it is run off the request queue, and its
    /// result comes back by [`Groups::worked`].
    Work(Work),
}

/// A long computation, ready to be moved to another thread.
pub enum Work {
    /// How long it takes is bounded by the size of a group.
    Whole(Box<dyn FnOnce() -> Worked + Send>),
    /// A client's expression says how long it takes, so others have their turn in between. It is called until it
    /// gives its result, and gives `None` soon after what it is handed says that its slice of time is over.
    Sliced(Box<Slices>),
}

type Slices = dyn FnMut(&dyn Fn() -> bool) -> Option<Worked> + Send;

/// What a computation came to.
pub struct Worked(pub Box<TakeResult>);

type TakeResult = dyn FnOnce(&mut Groups, &Context<'_>, &mut Outcome) + Send;

/// Who sends a request, as groups remember it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    /// As Kafka writes it: a slash and the address.
    pub host: String,
}

/// What has a deadline.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Timer {
    Classic(classic::Timer),
    Consumer(consumer::Timer),
    /// Everything was replayed: the looks for what has expired begin one interval later, as in Kafka.
    Loaded,
    /// Offsets and empty groups are looked through for what has expired.
    Expiry,
}

/// A group of any kind.
#[derive(Debug)]
pub enum Group {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

/// Every group and offset of one partition of the offsets topic.
#[derive(Default)]
pub struct Groups {
    groups: ByName,
    /// Bytes of the ids that classic groups have given out.
    pending_bytes: Rc<Cell<usize>>,
    offsets: Offsets,
    timers: Timers<Timer>,
    consumers: consumer::Shared,
}

/// From when the retention of a group's offsets counts, where the commit itself did not say when it expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetRetention {
    /// None of them expires now.
    Kept,
    SinceCommit,
    /// Milliseconds since 1970.
    Since(i64),
}

/// What the kinds of groups answer for offsets and for whatever else does not care which kind it is.
impl Group {
    /// Whether the group has no members.
    pub fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty(),
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether a member reads the topic, so that its offsets are not to be deleted and do not expire.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// Whether this member may commit offsets now. `generation_or_epoch` is -1 and `member_id` empty for who is
    /// no member; `version` is of the OffsetCommit request.
    ///
    /// # Errors
    /// Kafka's code for a member that is not there, is fenced, or is behind.
    pub fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation_or_epoch: i32,
        is_transactional: bool,
        version: i16,
    ) -> Result<(), ApiError> {
        match self {
            Group::Classic(group) => {
                group.validate_commit(member_id, instance_id, generation_or_epoch, is_transactional)
            }
            Group::Consumer(group) => {
                group.validate_commit(member_id, instance_id, generation_or_epoch, is_transactional, version)
            }
        }
    }

    /// Whether this member may read the group's offsets. `None` and -1 for who is no member.
    ///
    /// # Errors
    /// As [`Group::validate_commit`].
    pub fn validate_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), ApiError> {
        match self {
            // A classic group's members say nothing of themselves here.
            Group::Classic(_) => Ok(()),
            Group::Consumer(group) => group.validate_fetch(member_id, member_epoch),
        }
    }

    /// Whether offsets may be deleted by themselves.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP where members are there whose subscription nobody can know.
    pub fn validate_offset_delete(&self) -> Result<(), ApiError> {
        match self {
            Group::Classic(group) => group.validate_offset_delete(),
            Group::Consumer(_) => Ok(()),
        }
    }

    pub fn offset_retention(&self) -> OffsetRetention {
        match self {
            Group::Classic(group) => group.offset_retention(),
            Group::Consumer(_) => OffsetRetention::SinceCommit,
        }
    }

    /// The records that make the group what it is, as far as it is stored; its offsets have records of their own.
    pub fn records(&self, id: &str) -> Vec<Record> {
        match self {
            Group::Classic(group) => group.records(),
            Group::Consumer(group) => group.records(id),
        }
    }

    /// The records that delete the group; its offsets have records of their own.
    pub fn tombstones(&self, id: &str) -> Vec<Record> {
        match self {
            Group::Classic(_) => {
                vec![Record::GroupMetadata(GroupMetadataKey { group: id.to_owned() }, None)]
            }
            Group::Consumer(group) => group.tombstones(id),
        }
    }
}

impl Groups {
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    /// When [`Groups::tick`] has something to do, in monotonic milliseconds.
    pub fn next_tick_ms(&self) -> Option<u64> {
        self.timers.next_ms()
    }

    /// Does what is due. Bounded work a call: returns true where more is due.
    pub fn tick(&mut self, context: &Context<'_>, outcome: &mut Outcome) -> bool {
        for _ in 0..TIMERS_PER_TICK {
            let Some(timer) = self.timers.pop_due(context.now.ticks_ms) else { return false };
            match timer {
                Timer::Classic(timer) => self.classic_timer(timer, context, outcome),
                Timer::Consumer(timer) => self.consumer_timer(timer, context, outcome),
                Timer::Loaded => {
                    let every_ms = context.settings.offsets_retention_check_interval_ms;
                    self.timers.set(Timer::Expiry, context.now.ticks_ms + every_ms);
                }
                Timer::Expiry => {
                    self.expire_offsets(context, outcome);
                    // Its next step may be due at once; what it has deleted is to be applied before.
                    return true;
                }
            }
        }
        true
    }

    /// Takes up what changed in the metadata: topics that came, grew or went.
    pub fn follow_image(&mut self, before: &Image, context: &Context<'_>, outcome: &mut Outcome) {
        self.forget_deleted_topics(before, context, outcome);
        self.consumers_follow_image(before, context, outcome);
    }

    /// Takes the result of a computation; the group may have moved on since.
    pub fn worked(&mut self, worked: Worked, context: &Context<'_>, outcome: &mut Outcome) {
        (worked.0)(self, context, outcome);
    }
}

/// Deadlines that one tick looks at.
const TIMERS_PER_TICK: usize = 1_000;

impl StateMachine for Groups {
    type Record = Record;
    type Effect = Effect;

    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Record>, StoredError> {
        match Record::decode(key, value)? {
            Record::Other { .. } => Ok(None),
            record => Ok(Some(record)),
        }
    }

    fn encode(record: &Record) -> Result<(Vec<u8>, Option<Vec<u8>>), StoredError> {
        record.encode()
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::OffsetCommit(key, value) => self.apply_offset(key, value),
            Record::GroupMetadata(key, value) => self.apply_classic(key, value),
            Record::Other { .. } => {}
            consumer => self.apply_consumer(consumer),
        }
    }

    fn loaded(&mut self, now: Now) {
        self.classic_loaded(now);
        self.consumers_loaded(now);
        self.timers.set(Timer::Loaded, now.ticks_ms);
    }

    fn parts(&self) -> Vec<Rc<str>> {
        let without_group = self.offsets.groups().filter(|id| !self.groups.contains_key(*id));
        self.groups.keys().chain(without_group).cloned().collect()
    }

    fn records_of(&self, part: &str) -> Vec<Record> {
        let mut records = self.group(part).map(|group| group.records(part)).unwrap_or_default();
        records.extend(self.offset_records_of(part));
        records
    }
}

/// Which partition of the offsets topic keeps a group: `abs(hash) mod partitions` with the hash of Java's
/// strings, over UTF-16 units.
pub fn partition_of(group: &str, partitions: u32) -> i32 {
    let hash =
        group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's Utils.abs: the sign bit is cleared only for the one number that has no positive counterpart.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    (positive as u32 % partitions.max(1)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_placed_as_java_hashes_their_names() {
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE; "hello".hashCode() is 99162322.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        assert_eq!(partition_of("hello", 50), 22);
        assert_eq!(partition_of("", 50), 0);
        // Two UTF-16 units: (0xD83D * 31 + 0xDE00).
        assert_eq!(partition_of("\u{1F600}", 50), ((0xD83D * 31 + 0xDE00) % 50));
    }
}
