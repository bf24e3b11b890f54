//! A consumer group: what its records say, the counts that follow from them, and what a restart may lose.
//!
//! Stored state changes by [`ConsumerGroup::apply`] alone. Every count is kept as members come, change and go,
//! so that no heartbeat has to look at all members. A log whose older records were compacted away is taken as
//! far as it goes.

use std::rc::Rc;
use std::sync::Arc;

use ahash::AHashMap;

use super::member::{LEAVE_EPOCH, Member, Names, Profile, Progress, same_names};
use super::owners::{Owners, Seat};
use super::records;
use super::regexes::{Regexes, Resolved};
use super::size::{assignment_bytes, expression_bytes, names_bytes, own_bytes};
use super::target::Computing;
use crate::group::assignors::{Assignment, SubscriptionType};
use crate::group::held::Held;
use crate::metadata::image::Settings as OwnSettings;
use crate::protocol::stored::group::Record;

/// How many members subscribe to a topic by its name, and how many resolved expressions hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubscriptionCount {
    pub by_name: usize,
    pub by_regex: usize,
}

/// A consumer group.
#[derive(Debug)]
pub struct ConsumerGroup {
    pub(in crate::group) id: Rc<str>,
    /// Rises whenever a new target assignment is due.
    pub(in crate::group) epoch: i32,
    pub(in crate::group) metadata_hash: i64,
    /// The group epoch that the target was computed for.
    pub(in crate::group) target_epoch: i32,
    pub(in crate::group) members: AHashMap<Arc<str>, Member>,
    pub(in crate::group) targets: AHashMap<Arc<str>, Arc<Assignment>>,
    pub(in crate::group) regexes: Regexes,
    /// A broker before 4.1 stored the topics' metadata; the next change takes it away.
    pub(in crate::group) has_partition_metadata: bool,

    pub(in crate::group) owners: Owners,
    /// The member of each `group.instance.id`.
    pub(in crate::group) statics: AHashMap<Arc<str>, Arc<str>>,
    pub(in crate::group) topics: AHashMap<Arc<str>, SubscriptionCount>,
    assignors: AHashMap<String, usize>,
    classic_members: usize,
    /// How many of those can follow each protocol.
    pub(super) protocols: AHashMap<String, usize>,
    /// Each list of topics that members name or expressions matched, with how many do, so that equal ones share their
    /// memory.
    pub(super) subscriptions: AHashMap<Names, usize>,
    /// What clients make it keep.
    pub(super) bytes: Held,
    /// What its members are assigned.
    pub(super) assigned_bytes: Held,
    next_seat: u32,

    /// The state of the topics that the hash was computed from; `None` where it has to be computed anew.
    pub(in crate::group) hash_of: Option<u64>,
    pub(in crate::group) computing: Option<Computing>,
    pub(in crate::group) timeouts: Option<OwnTimeouts>,
}

/// What a group's own settings come to, kept until they or the broker's change.
#[derive(Debug)]
pub struct OwnTimeouts {
    pub own: OwnSettings,
    pub defaults: Timeouts,
    pub timeouts: Timeouts,
}

/// A group's time-outs in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    pub session_ms: i32,
    pub heartbeat_interval_ms: i32,
}

impl ConsumerGroup {
    pub fn new(id: &str) -> ConsumerGroup {
        ConsumerGroup {
            id: Rc::from(id),
            epoch: 0,
            metadata_hash: 0,
            target_epoch: 0,
            members: AHashMap::default(),
            targets: AHashMap::default(),
            regexes: Regexes::default(),
            has_partition_metadata: false,
            owners: Owners::default(),
            statics: AHashMap::default(),
            topics: AHashMap::default(),
            assignors: AHashMap::default(),
            classic_members: 0,
            protocols: AHashMap::default(),
            subscriptions: AHashMap::default(),
            bytes: Held::default(),
            assigned_bytes: Held::default(),
            next_seat: 0,
            hash_of: None,
            computing: None,
            timeouts: None,
        }
    }

    // ---- what others ask --------------------------------------------------------------------------

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of the group's state. Looks at every member where the group may be stable.
    pub fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.is_at_rest() {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Whether every member has what the group's epoch gives it.
    pub fn is_at_rest(&self) -> bool {
        let has_all = |member: &Member| member.progress.is_reconciled_to(self.target_epoch);
        self.epoch <= self.target_epoch && self.members.values().all(has_all)
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// How many members joined by the classic protocol.
    pub fn classic_member_count(&self) -> usize {
        self.classic_members
    }

    /// Whether every classic member can follow the protocol.
    pub fn is_protocol_of_all(&self, name: &str) -> bool {
        self.protocols.get(name).copied().unwrap_or(0) == self.classic_members
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The member of a `group.instance.id`.
    pub fn static_member(&self, instance_id: &str) -> Option<&Member> {
        self.members.get(self.statics.get(instance_id)?)
    }

    /// The assignor that most members prefer; the first by name where several are.
    pub(super) fn preferred_assignor(&self) -> Option<&str> {
        let most = self.assignors.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        most.map(|(name, _)| name.as_str())
    }

    /// Whether all members subscribe to the same topics.
    pub(super) fn subscription_type(&self) -> SubscriptionType {
        let members = self.members.len();
        let same = match self.regexes.subscriber_count_of_any() {
            None => self.topics.values().all(|count| count.by_name == members),
            // One expression that everyone has, and nobody a name beside it.
            Some(count) if count == members => {
                self.topics.values().all(|count| count.by_regex == 1 && count.by_name == 0)
            }
            Some(_) => false,
        };
        if same { SubscriptionType::Homogeneous } else { SubscriptionType::Heterogeneous }
    }

    // ---- how records change it --------------------------------------------------------------------

    /// Takes one record of this group. False where the record takes the group itself away.
    pub(in crate::group) fn apply(&mut self, record: Record) -> bool {
        match record {
            Record::ConsumerGroupMetadata(_, None) => return false,
            Record::ConsumerGroupMetadata(_, Some(value)) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            Record::ConsumerGroupPartitionMetadata(_, value) => self.has_partition_metadata = value.is_some(),
            Record::ConsumerGroupMemberMetadata(key, Some(value)) => {
                self.set_profile(&key.member_id, Profile::from(value));
            }
            Record::ConsumerGroupMemberMetadata(key, None) => self.remove_member(&key.member_id),
            Record::ConsumerGroupTargetAssignmentMetadata(_, value) => {
                self.target_epoch = value.map_or(-1, |value| value.assignment_epoch);
            }
            Record::ConsumerGroupTargetAssignmentMember(key, Some(value)) => {
                let target = Arc::new(records::assignment(value.topic_partitions));
                let id = self.members.get(&*key.member_id).map(|member| member.id.clone());
                self.set_target(id.unwrap_or_else(|| Arc::from(key.member_id)), target);
            }
            Record::ConsumerGroupTargetAssignmentMember(key, None) => {
                self.remove_target(&key.member_id);
            }
            Record::ConsumerGroupCurrentMemberAssignment(key, Some(value)) => {
                self.set_progress(&key.member_id, Progress::from(value));
            }
            Record::ConsumerGroupCurrentMemberAssignment(key, None) => {
                if self.members.contains_key(&*key.member_id) {
                    let left =
                        Progress { epoch: LEAVE_EPOCH, previous_epoch: LEAVE_EPOCH, ..Progress::default() };
                    self.set_progress(&key.member_id, left);
                }
            }
            Record::ConsumerGroupRegularExpression(key, value) => {
                let resolved = value.map(|value| {
                    let topics = super::member::names(value.topics.iter().map(String::as_str));
                    Resolved { topics, version: value.version, timestamp_ms: value.timestamp }
                });
                self.set_resolved(&key.regular_expression, resolved);
            }
            Record::OffsetCommit(..) | Record::GroupMetadata(..) | Record::Other { .. } => {}
        }
        true
    }

    pub(super) fn set_target(&mut self, id: Arc<str>, target: Arc<Assignment>) {
        self.assigned_bytes += assignment_bytes(&target);
        if let Some(before) = self.targets.insert(id, target) {
            self.assigned_bytes -= assignment_bytes(&before);
        }
    }

    fn remove_target(&mut self, id: &str) {
        if let Some(before) = self.targets.remove(id) {
            self.assigned_bytes -= assignment_bytes(&before);
        }
    }

    fn member_mut(&mut self, id: &str) -> &mut Member {
        if !self.members.contains_key(id) {
            let id: Arc<str> = Arc::from(id);
            let seat = Seat(self.next_seat);
            self.next_seat = self.next_seat.wrapping_add(1);
            let profile = Profile { topics: self.share(Names::default()), ..Profile::default() };
            self.bytes += own_bytes(&id, &profile);
            let member =
                Member { id: id.clone(), seat, profile: Arc::new(profile), progress: Progress::default() };
            self.members.insert(id, member);
        }
        self.members.get_mut(id).expect("it was just put there")
    }

    fn set_profile(&mut self, id: &str, mut profile: Profile) {
        let before = self.member_mut(id).profile.clone();
        self.uncount(id, &before);
        if before.instance_id != profile.instance_id {
            self.release_instance(id, &before);
        }
        self.bytes += own_bytes(id, &profile);
        profile.topics = self.share(profile.topics);
        if let Some(instance) = &profile.instance_id {
            let id = self.members[id].id.clone();
            self.statics.insert(instance.clone(), id);
        }
        if let Some(assignor) = &profile.assignor {
            *self.assignors.entry(assignor.clone()).or_default() += 1;
        }
        for protocol in profile.protocol_names() {
            *self.protocols.entry(protocol.to_owned()).or_default() += 1;
        }
        for topic in profile.topics.iter() {
            self.topics.entry(topic.clone()).or_default().by_name += 1;
        }
        if let Some(regex) = profile.regex() {
            if self.regexes.subscriber_count(regex) == 0 {
                self.bytes += expression_bytes(regex);
            }
            self.regexes.subscribe(regex);
        }
        self.classic_members += usize::from(profile.classic.is_some());
        self.member_mut(id).profile = Arc::new(profile);
    }

    /// Takes a member's profile out of every count.
    fn uncount(&mut self, id: &str, profile: &Profile) {
        self.bytes -= own_bytes(id, profile);
        if let Some(assignor) = &profile.assignor {
            discount(&mut self.assignors, assignor);
        }
        profile.protocol_names().into_iter().for_each(|protocol| discount(&mut self.protocols, protocol));
        for topic in profile.topics.iter() {
            self.recount_topic(topic, |count| count.by_name = count.by_name.saturating_sub(1));
        }
        if let Some(regex) = profile.regex() {
            self.regexes.unsubscribe(regex);
            if self.regexes.subscriber_count(regex) == 0 {
                self.bytes -= expression_bytes(regex);
            }
        }
        self.classic_members -= usize::from(profile.classic.is_some());
        self.unshare(&profile.topics);
    }

    /// Takes away that an instance is this member.
    fn release_instance(&mut self, id: &str, profile: &Profile) {
        if let Some(instance) = &profile.instance_id
            && self.statics.get(instance).is_some_and(|holder| **holder == *id)
        {
            self.statics.remove(instance);
        }
    }

    fn recount_topic(&mut self, topic: &Arc<str>, change: impl FnOnce(&mut SubscriptionCount)) {
        if let Some(count) = self.topics.get_mut(topic) {
            change(count);
            if *count == SubscriptionCount::default() {
                self.topics.remove(topic);
            }
        }
    }

    fn share(&mut self, topics: Names) -> Names {
        let topics = self.subscriptions.get_key_value(&topics).map_or(topics, |(shared, _)| shared.clone());
        let count = self.subscriptions.entry(topics.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.bytes += names_bytes(&topics);
        }
        topics
    }

    fn unshare(&mut self, topics: &Names) {
        if let Some(count) = self.subscriptions.get_mut(topics) {
            *count -= 1;
            if *count == 0 {
                self.subscriptions.remove(topics);
                self.bytes -= names_bytes(topics);
            }
        }
    }

    fn set_progress(&mut self, id: &str, progress: Progress) {
        let member = self.member_mut(id);
        let seat = member.seat;
        let before = std::mem::replace(&mut member.progress, progress.clone());
        self.owners.release(&before.assigned, seat);
        self.owners.release(&before.revoking, seat);
        self.owners.claim(&progress.assigned, seat);
        self.owners.claim(&progress.revoking, seat);
    }

    fn remove_member(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else { return };
        self.uncount(id, &member.profile);
        self.owners.release(&member.progress.assigned, member.seat);
        self.owners.release(&member.progress.revoking, member.seat);
        self.remove_target(id);
        self.release_instance(id, &member.profile);
    }

    /// Puts or takes what an expression matched; true where that is not what it matched before, or nothing. Where
    /// the topics stay the same it costs no more than to see that.
    pub(super) fn set_resolved(&mut self, regex: &str, resolved: Option<Resolved>) -> bool {
        let before = self.regexes.resolution(regex).map(|before| before.topics.clone());
        let resolved = match (resolved, &before) {
            (Some(resolved), Some(before)) if same_names(before, &resolved.topics) => {
                self.regexes.set_resolved(regex, Some(Resolved { topics: before.clone(), ..resolved }));
                return false;
            }
            (resolved, _) => {
                resolved.map(|resolved| Resolved { topics: self.share(resolved.topics), ..resolved })
            }
        };
        let after = resolved.as_ref().map(|resolved| resolved.topics.clone()).unwrap_or_default();
        self.regexes.set_resolved(regex, resolved);
        let unresolved = Names::default();
        for topic in without(&after, before.as_ref().unwrap_or(&unresolved)) {
            self.topics.entry(topic.clone()).or_default().by_regex += 1;
        }
        let Some(before) = before else { return !after.is_empty() };
        for topic in without(&before, &after) {
            self.recount_topic(topic, |count| count.by_regex = count.by_regex.saturating_sub(1));
        }
        self.unshare(&before);
        true
    }
}

/// The names that are not among the others.
fn without<'a>(names: &'a Names, others: &'a Names) -> impl Iterator<Item = &'a Arc<str>> {
    let mut others = others.iter().peekable();
    names.iter().filter(move |name| {
        while others.next_if(|other| other < name).is_some() {}
        others.peek() != Some(name)
    })
}

/// Takes one from a count, which goes with its last.
fn discount(counts: &mut AHashMap<String, usize>, name: &str) {
    let Some(count) = counts.get_mut(name) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(name);
    }
}
