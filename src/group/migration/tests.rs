//! Groups that change their kind, and members of both protocols in one group, over a coordinator that a test
//! drives. After every decision a replay has to give the state that stands.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse, TopicName,
};

use crate::group::classic::{ClassicGroup, State};
use crate::group::consumer::ConsumerGroup;
use crate::group::testing::{Fixture, client};
use crate::group::{Answer, Group, Ticket};
use crate::protocol::api_error::ApiError;
use crate::protocol::embedded::{self, Assignment, Subscription};
use crate::protocol::stored::group::Record;
use crate::protocol::wire::StrBytes;
use crate::types::TopicId;

pub const GROUP: &str = "g";
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;
const BOTH_WAYS: &str = "group.consumer.migration.policy=bidirectional";

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// What a classic member says: topics and what it owns.
pub fn said(topics: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    let owned = owned.iter().map(|(topic, partitions)| (*topic, partitions.to_vec())).collect();
    Subscription { topics: topics.to_vec(), owned, ..Subscription::default() }.write(1)
}

/// What a leader assigns.
pub fn assigned(partitions: &[(&str, &[i32])]) -> Bytes {
    let partitions = partitions.iter().map(|(topic, of)| (*topic, of.to_vec())).collect();
    Assignment { partitions, user_data: None }.write(0)
}

pub fn joining(member: &str, said: &Bytes) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(member))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range", said)])
}

fn protocol(name: &str, metadata: &Bytes) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata.clone())
}

/// The first heartbeat of a member of the consumer protocol.
pub fn coming(member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(member))
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| TopicName(text(name))).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

pub fn beating(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
}

/// A coordinator that members of both protocols talk to.
pub struct Mixed(pub Fixture);

impl Mixed {
    fn new() -> Mixed {
        Mixed(Fixture::with(BOTH_WAYS))
    }

    pub fn ask_join(&mut self, request: &JoinGroupRequest, version: i16) -> Ticket {
        self.0.ask_later(|groups, context, ticket, outcome| {
            groups.join(request, version, &client("c"), context, ticket, outcome);
        })
    }

    pub fn joined(&mut self, ticket: Ticket) -> JoinGroupResponse {
        match self.0.take(ticket) {
            Some(Answer::Join(response)) => *response,
            other => panic!("{ticket:?} is answered {other:?}"),
        }
    }

    /// A join that is answered at once.
    fn join(&mut self, request: &JoinGroupRequest, version: i16) -> JoinGroupResponse {
        let ticket = self.ask_join(request, version);
        self.0.check_replay();
        self.joined(ticket)
    }

    pub fn ask_sync(&mut self, member: &str, generation: i32, plan: &[(&str, Bytes)]) -> Ticket {
        let of = |(member, assignment): &(&str, Bytes)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(assignment.clone())
        };
        let request = syncing(member, generation).with_assignments(plan.iter().map(of).collect());
        self.ask_sync_by(&request)
    }

    fn ask_sync_by(&mut self, request: &SyncGroupRequest) -> Ticket {
        self.0.ask_later(|groups, context, ticket, outcome| {
            groups.sync(request, 3, context, ticket, outcome);
        })
    }

    pub fn synced(&mut self, ticket: Ticket) -> SyncGroupResponse {
        match self.0.take(ticket) {
            Some(Answer::Sync(response)) => *response,
            other => panic!("{ticket:?} is answered {other:?}"),
        }
    }

    fn sync(&mut self, member: &str, generation: i32) -> SyncGroupResponse {
        let ticket = self.ask_sync(member, generation, &[]);
        self.synced(ticket)
    }

    fn sync_by(&mut self, request: &SyncGroupRequest) -> SyncGroupResponse {
        let ticket = self.ask_sync_by(request);
        self.synced(ticket)
    }

    /// The partitions of the only topic that a classic member is told.
    fn told(&mut self, member: &str, generation: i32) -> Vec<i32> {
        let synced = self.sync(member, generation);
        assert_eq!(synced.error_code, 0);
        partitions(&synced.assignment)
    }

    /// The code of a classic member's heartbeat.
    pub fn beat(&mut self, member: &str, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id(generation)
            .with_member_id(text(member));
        let heard = self.0.decide(|groups, context, outcome| groups.heartbeat(&request, context, outcome));
        heard.err().map_or(0, |error| error.code())
    }

    /// Has members leave by id and instance; the code of each.
    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<i16> {
        let member = |(id, instance): &(&str, Option<&str>)| {
            MemberIdentity::default().with_member_id(text(id)).with_group_instance_id(instance.map(text))
        };
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_members(members.iter().map(member).collect());
        let left = self.0.decide(|groups, context, outcome| groups.leave(&request, 3, context, outcome));
        self.0.check_replay();
        left.unwrap().iter().map(|member| member.error_code).collect()
    }

    pub fn ask(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, ApiError> {
        self.0.try_heartbeat(request)
    }

    fn ok(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let answer = self.ask(request).expect("the heartbeat is taken");
        self.0.check_replay();
        answer
    }

    /// The sentence of a heartbeat that is refused; nothing is stored.
    fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> (ResponseError, String) {
        let written = self.0.log.len();
        let refused = self.ask(request).expect_err("the heartbeat is refused");
        assert_eq!(self.0.log.len(), written);
        (refused.error, refused.text().map(|text| text.to_string()).unwrap_or_default())
    }

    pub fn classic(&self) -> &ClassicGroup {
        match self.0.groups.group(GROUP) {
            Some(Group::Classic(group)) => group,
            other => panic!("no classic group: {other:?}"),
        }
    }

    pub fn consumers(&self) -> &ConsumerGroup {
        match self.0.groups.group(GROUP) {
            Some(Group::Consumer(group)) => group,
            other => panic!("no consumer group: {other:?}"),
        }
    }

    /// Epoch and partitions of a member of the consumer group.
    fn member(&self, id: &str) -> (i32, Vec<i32>) {
        let progress = &self.consumers().member(id).expect("the member is there").progress;
        let of = progress.assigned.topics().flat_map(|(_, partitions)| partitions.to_vec());
        (progress.epoch, of.collect())
    }

    /// A stable classic group of members that own these partitions of `t`; their ids. A member without
    /// an instance has none.
    fn stable(&mut self, members: &[(&str, &[i32])]) -> Vec<String> {
        let tickets: Vec<Ticket> = members
            .iter()
            .map(|(instance, _)| {
                let mut request = joining("", &said(&["t"], &[]));
                request.group_instance_id = (!instance.is_empty()).then(|| text(instance));
                self.ask_join(&request, 3)
            })
            .collect();
        self.0.step(6_000);
        let joined: Vec<JoinGroupResponse> = tickets.into_iter().map(|ticket| self.joined(ticket)).collect();
        let ids: Vec<String> = joined.iter().map(|joined| joined.member_id.to_string()).collect();
        let plan: Vec<(&str, Bytes)> = ids
            .iter()
            .zip(members)
            .map(|(id, (_, owned))| (id.as_str(), assigned(&[("t", *owned)])))
            .collect();
        for (at, id) in ids.iter().enumerate().rev() {
            self.ask_sync(id, joined[0].generation_id, if at == 0 { &plan } else { &[] });
        }
        self.0.answers.clear();
        assert_eq!(self.classic().state, State::Stable);
        self.0.check_replay();
        ids
    }

    fn kinds_since(&self, written: usize) -> Vec<(i16, bool)> {
        self.0.records()[written..].iter().map(|record| (record.kind(), is_tombstone(record))).collect()
    }
}

fn is_tombstone(record: &Record) -> bool {
    Record::encode(record).unwrap().1.is_none()
}

fn syncing(member: &str, generation: i32) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_generation_id(generation)
        .with_member_id(text(member))
}

pub fn partitions(assignment: &[u8]) -> Vec<i32> {
    let read = Assignment::read(assignment).expect("an assignment");
    read.partitions.into_iter().flat_map(|(_, partitions)| partitions).collect()
}

fn owning(
    mut request: ConsumerGroupHeartbeatRequest,
    topic: TopicId,
    owned: &[i32],
) -> ConsumerGroupHeartbeatRequest {
    let owned = TopicPartitions::default().with_topic_id(topic.0).with_partitions(owned.to_vec());
    request.topic_partitions = Some(vec![owned]);
    request
}

fn code(error: ResponseError) -> i16 {
    error.code()
}

const REBALANCE: ResponseError = ResponseError::RebalanceInProgress;

// ---- classic groups become consumer groups ------------------------------------------------------------

#[test]
fn a_classic_group_becomes_a_consumer_group_when_a_member_of_the_consumer_protocol_comes() {
    let mut it = Mixed::new();
    let topic = it.0.topic("t", 6);
    let ids = it.stable(&[("", &[0, 1, 2]), ("", &[3, 4, 5])]);
    let written = it.0.log.len();
    let answer = it.ok(&coming("n", &["t"]));
    assert_eq!(answer.member_epoch, 2);
    // What it is due is still owned by others.
    assert_eq!(answer.assignment.unwrap().topic_partitions, []);
    let kinds = it.kinds_since(written);
    let upgrade = [(2, true), (5, false), (5, false), (3, false), (7, false), (7, false), (6, false)];
    assert_eq!(kinds[..7], upgrade);
    assert_eq!(kinds[7..9], [(8, false), (8, false)]);
    assert_eq!(kinds[9..11], [(5, false), (3, false)], "and the new member");
    assert_eq!(it.member(&ids[0]), (1, vec![0, 1, 2]));
    assert_eq!(it.member(&ids[1]), (1, vec![3, 4, 5]));
    assert_eq!(it.consumers().classic_member_count(), 2);
    // The others learn it by their heartbeats, revoke, and join again.
    for id in &ids {
        assert_eq!(it.beat(id, 1), code(REBALANCE));
        let owned: Vec<i32> = it.member(id).1;
        let joined = it.join(&joining(id, &said(&["t"], &[("t", &owned)])), 9);
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "it has to revoke first");
        let kept = it.told(id, 1);
        let joined = it.join(&joining(id, &said(&["t"], &[("t", &kept)])), 9);
        assert_eq!((joined.error_code, joined.generation_id), (0, 2));
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!((joined.leader.as_str(), joined.members.len()), ("", 0));
        assert_eq!(it.told(id, 2), kept);
        assert_eq!(it.beat(id, 2), 0);
    }
    let answer = it.ok(&owning(beating("n", 2), topic, &[]));
    let given = &answer.assignment.unwrap().topic_partitions[0].partitions;
    assert_eq!(given.len() + it.member(&ids[0]).1.len() + it.member(&ids[1]).1.len(), 6);
    assert_eq!(it.consumers().state_name(), "Stable");
    it.0.restart();
    assert_eq!(it.beat(&ids[0], 2), 0);
}

#[test]
fn who_waits_in_a_classic_group_is_told_to_join_again_when_it_is_upgraded() {
    let mut it = Mixed::new();
    it.0.topic("t", 2);
    // In its first round.
    let first = it.ask_join(&joining("", &said(&["t"], &[])), 3);
    it.ok(&coming("n", &["t"]));
    let told = it.joined(first);
    assert_eq!((told.error_code, told.generation_id), (code(REBALANCE), -1));
    let joined = it.join(&joining(&told.member_id, &said(&["t"], &[])), 3);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));

    // While the leader assigns.
    let mut it = Mixed::new();
    it.0.topic("t", 2);
    let tickets: Vec<Ticket> = (0..2).map(|_| it.ask_join(&joining("", &said(&["t"], &[])), 3)).collect();
    it.0.step(6_000);
    let joined: Vec<JoinGroupResponse> = tickets.into_iter().map(|ticket| it.joined(ticket)).collect();
    let follower = joined.iter().find(|joined| joined.leader != joined.member_id).unwrap();
    let waits = it.ask_sync(&follower.member_id, 1, &[]);
    it.ok(&coming("n", &["t"]));
    assert_eq!(it.synced(waits).error_code, code(REBALANCE));
    assert_eq!(it.beat(&follower.member_id, 1), code(REBALANCE));
    assert_eq!(it.member(&follower.member_id), (1, vec![]));
}

#[test]
fn an_upgrade_is_refused_with_kafkas_sentences() {
    let because = |why: &str| {
        let message = format!("Cannot upgrade classic group g to consumer group because {why}.");
        (ResponseError::GroupIdNotFound, message)
    };
    for policy in ["disabled", "DOWNGRADE"] {
        let mut it = Mixed(Fixture::with(&format!("group.consumer.migration.policy={policy}")));
        it.0.topic("t", 2);
        it.stable(&[("", &[0, 1])]);
        assert_eq!(it.refused(&coming("n", &["t"])), because("online upgrade is disabled"));
    }
    let mut it = Mixed(Fixture::with(&format!("{BOTH_WAYS}\ngroup.consumer.max.size=1")));
    it.stable(&[("", &[]), ("", &[])]);
    let why = "the group size exceeds the consumer group maximum size";
    assert_eq!(it.refused(&coming("n", &["t"])), because(why));
    let mut it = Mixed(Fixture::with(&format!("{BOTH_WAYS}\ngroup.consumer.max.size=1")));
    it.stable(&[("", &[])]);
    assert_eq!(it.refused(&coming("n", &["t"])).0, ResponseError::GroupMaxSizeReached);
    assert_eq!(it.classic().state, State::Stable, "a refused member upgrades nothing");

    let mut it = Mixed::new();
    let mut other = joining("", &said(&["t"], &[]));
    other.protocol_type = text("connect");
    it.ask_join(&other, 3);
    let why = "the group does not use the consumer embedded protocol";
    assert_eq!(it.refused(&coming("n", &["t"])), because(why));
    let mut it = Mixed::new();
    it.ask_join(&joining("", &Bytes::from_static(b"strange")), 3);
    let why = "the embedded consumer protocol is malformed";
    assert_eq!(it.refused(&coming("n", &["t"])), because(why));
}

#[test]
fn an_upgrade_takes_no_assignment_that_it_would_change() {
    let group_with = |plan: &[Bytes]| {
        let mut it = Mixed::new();
        it.0.topic("t", 2);
        let tickets: Vec<Ticket> =
            plan.iter().map(|_| it.ask_join(&joining("", &said(&["t"], &[])), 3)).collect();
        it.0.step(6_000);
        let joined: Vec<JoinGroupResponse> = tickets.into_iter().map(|ticket| it.joined(ticket)).collect();
        let leader = joined[0].leader.to_string();
        let plan: Vec<(&str, Bytes)> =
            joined.iter().zip(plan).map(|(joined, of)| (joined.member_id.as_str(), of.clone())).collect();
        it.ask_sync(&leader, 1, &plan);
        assert_eq!(it.classic().state, State::Stable);
        it
    };
    let own_data = Assignment { partitions: vec![("t", vec![0])], user_data: Some(b"x") }.write(1);
    let (error, sentence) = group_with(&[own_data]).refused(&coming("n", &["t"]));
    assert_eq!(error, ResponseError::GroupIdNotFound);
    assert!(sentence.contains("an unsupported custom assignor is in use. Please"), "{sentence}");
    let malformed = Bytes::from_static(b"\0\0\0\0\0\x09");
    assert!(group_with(&[malformed]).refused(&coming("n", &["t"])).1.contains("is malformed"));
    let twice = [assigned(&[("t", &[0])]), assigned(&[("t", &[0, 1])])];
    assert_eq!(group_with(&twice).refused(&coming("n", &["t"])).0, ResponseError::UnknownServerError);
    // Partitions and topics that are not there are left out.
    let mut it = group_with(&[assigned(&[("t", &[1, 2, -1, i32::MAX]), ("gone", &[0])])]);
    it.ok(&coming("n", &["t"]));
    let mut members = it.consumers().members.values();
    let classic = members.find(|member| member.is_classic()).expect("the classic member");
    assert_eq!(it.member(&classic.id).1, [1]);
}

#[test]
fn empty_groups_change_their_kind_whatever_the_policy() {
    let mut it = Mixed(Fixture::with("group.consumer.migration.policy=disabled"));
    it.0.topic("t", 2);
    let ids = it.stable(&[("", &[0, 1])]);
    assert_eq!(it.leave(&[(&ids[0], None)]), [0]);
    assert_eq!(it.ok(&coming("n", &["t"])).member_epoch, 1);
    assert_eq!(it.refused(&beating("x", 1)).0, ResponseError::UnknownMemberId);
    it.ok(&beating("n", -1));
    let unknown = it.join(&joining("who", &said(&["t"], &[])), 9);
    assert_eq!(unknown.error_code, code(ResponseError::UnknownMemberId));
    assert_eq!(it.sync("who", 1).error_code, code(ResponseError::UnknownMemberId));
    let required = it.join(&joining("", &said(&["t"], &[])), 9);
    assert_eq!(required.error_code, code(ResponseError::MemberIdRequired));
    assert_eq!(it.classic().state, State::Empty);
    assert_eq!(it.classic().generation, 0);
}

// ---- classic members in a consumer group --------------------------------------------------------------

/// A consumer group of the member `n` that owns all of `t`.
fn of_consumer(policy: &str, partitions: i32) -> (Mixed, TopicId) {
    let mut it = Mixed(Fixture::with(&format!("group.consumer.migration.policy={policy}")));
    let topic = it.0.topic("t", partitions);
    it.ok(&coming("n", &["t"]));
    (it, topic)
}

/// A classic member joins in both steps; its id and epoch.
fn comes(it: &mut Mixed, topics: &[&str]) -> (String, i32) {
    let required = it.join(&joining("", &said(topics, &[])), 9);
    assert_eq!(required.error_code, code(ResponseError::MemberIdRequired));
    let id = required.member_id.to_string();
    let joined = it.join(&joining(&id, &said(topics, &[])), 9);
    assert_eq!((joined.error_code, joined.member_id.as_str()), (0, &*id));
    (id, joined.generation_id)
}

#[test]
fn a_classic_member_joins_a_consumer_group_and_is_assigned_to_by_the_coordinator() {
    let (mut it, topic) = of_consumer("disabled", 4);
    let (id, epoch) = comes(&mut it, &["t"]);
    assert_eq!((epoch, it.told(&id, 2)), (2, vec![]), "all is still owned");
    assert_eq!(it.beat(&id, 2), 0, "and it waits for others");
    let kept = it.ok(&beating("n", 1)).assignment.unwrap().topic_partitions[0].partitions.clone();
    assert_eq!(kept.len(), 2);
    assert_eq!(it.beat(&id, 2), 0);
    it.ok(&owning(beating("n", 1), topic, &kept));
    assert_eq!(it.beat(&id, 2), code(REBALANCE), "its partitions are free");
    let joined = it.join(&joining(&id, &said(&["t"], &[])), 9);
    assert_eq!((joined.error_code, joined.generation_id), (0, 2));
    assert_eq!(it.told(&id, 2).len(), 2);
    assert_eq!(it.beat(&id, 2), 0);
    assert_eq!(it.consumers().state_name(), "Stable");
    let described = it.0.decide(|groups, context, _| groups.describe_consumer_group(GROUP, context)).members;
    let kinds: Vec<i8> =
        described.iter().filter(|one| *one.member_id == *id).map(|one| one.member_type).collect();
    assert_eq!(kinds, [0]);
    it.0.restart();
    assert_eq!(it.told(&id, 2).len(), 2);
}

#[test]
fn what_a_classic_member_may_not_ask_of_a_consumer_group() {
    let (mut it, _) = of_consumer("bidirectional", 2);
    let (id, epoch) = comes(&mut it, &["t"]);
    let unknown = code(ResponseError::UnknownMemberId);
    for member in ["who", "n"] {
        assert_eq!(it.beat(member, epoch), unknown);
        assert_eq!(it.sync(member, epoch).error_code, unknown);
    }
    let illegal = code(ResponseError::IllegalGeneration);
    assert_eq!(it.beat(&id, epoch - 1), illegal);
    assert_eq!(it.sync(&id, epoch + 1).error_code, illegal);
    let inconsistent = code(ResponseError::InconsistentGroupProtocol);
    let by_name = syncing(&id, epoch).with_protocol_name(Some(text("other")));
    assert_eq!(it.sync_by(&by_name).error_code, inconsistent);
    let by_type = syncing(&id, epoch).with_protocol_type(Some(text("connect")));
    assert_eq!(it.sync_by(&by_type).error_code, inconsistent);
    let right = syncing(&id, epoch)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")));
    let synced = it.sync_by(&right);
    assert_eq!((synced.error_code, synced.protocol_name.as_deref()), (0, Some("range")));

    let mut other = joining("", &said(&["t"], &[]));
    other.protocols[0].name = text("other");
    assert_eq!(it.join(&other, 9).error_code, inconsistent, "the classic member there speaks range");
    other.protocols.clear();
    assert_eq!(it.join(&other, 9).error_code, inconsistent);
    let connect = joining("", &said(&["t"], &[])).with_protocol_type(text("connect"));
    assert_eq!(it.join(&connect, 9).error_code, inconsistent);
    let strange = it.join(&joining("new", &Bytes::from_static(b"\0\0\x7f\xff\xff\xff")), 9);
    assert_eq!(strange.error_code, code(ResponseError::UnknownServerError));
    assert!(it.consumers().member("new").is_none());

    let group = it.0.groups.group(GROUP).unwrap();
    let commit = |member: &str, epoch, version| {
        group.validate_commit(member, None, epoch, false, version).err().map(|error| error.error)
    };
    assert_eq!(commit(&id, epoch, 2), None);
    assert_eq!(commit(&id, epoch + 1, 9), Some(ResponseError::IllegalGeneration));
    assert_eq!(commit("n", 7, 9), Some(ResponseError::StaleMemberEpoch));
    assert_eq!(commit("n", 1, 8), Some(ResponseError::UnsupportedVersion));
}

#[test]
fn a_protocol_that_every_classic_member_can_follow_is_needed_to_join() {
    let (mut it, _) = of_consumer("bidirectional", 2);
    let speaking = |id: &str, names: &[&str]| {
        let said = said(&["t"], &[]);
        let protocols = names.iter().map(|name| protocol(name, &said)).collect();
        joining(id, &said).with_protocols(protocols)
    };
    let come = |it: &mut Mixed, names: &[&str]| {
        let id = it.join(&speaking("", names), 9).member_id.to_string();
        (it.join(&speaking(&id, names), 9).error_code, id)
    };
    let inconsistent = code(ResponseError::InconsistentGroupProtocol);
    // Named twice it counts once.
    let (joined, one) = come(&mut it, &["a", "a", "b"]);
    assert_eq!((joined, come(&mut it, &["a"]).0, come(&mut it, &["c"]).0), (0, 0, inconsistent));
    assert_eq!(come(&mut it, &["b"]).0, inconsistent, "one of two can follow it");
    let (joined, other) = come(&mut it, &["x", "a", "b"]);
    assert_eq!(joined, 0);
    // Members change what they can follow, and leave.
    assert_eq!(it.join(&speaking(&one, &["a"]), 9).error_code, 0);
    assert_eq!(it.join(&speaking(&other, &["x"]), 9).error_code, inconsistent);
    let classic: Vec<_> = it.consumers().members.values().filter(|member| member.is_classic()).collect();
    let gone: Vec<_> = classic.iter().map(|member| member.id.to_string()).filter(|id| *id != other).collect();
    it.0.decide(|groups, context, outcome| {
        let gone =
            gone.iter().map(|id| MemberIdentity::default().with_member_id(text(id))).collect::<Vec<_>>();
        groups.leave_as_classic(GROUP, &gone, context, outcome)
    });
    it.0.check_replay();
    assert_eq!(it.join(&speaking(&other, &["x"]), 9).error_code, 0, "it is alone");
    assert_eq!((come(&mut it, &["a"]).0, come(&mut it, &["x"]).0), (inconsistent, 0));
}

#[test]
fn a_consumer_group_that_is_full_takes_no_classic_member() {
    let mut it = Mixed(Fixture::with("group.consumer.max.size=2"));
    it.0.topic("t", 2);
    it.ok(&coming("n", &["t"]));
    let (id, _) = comes(&mut it, &["t"]);
    let full = code(ResponseError::GroupMaxSizeReached);
    assert_eq!(it.join(&joining("", &said(&["t"], &[])), 9).error_code, full);
    assert_eq!(it.join(&joining(&id, &said(&["t"], &[])), 9).error_code, 0);
    // Seven members of seven mebibytes each: our own bound, as in classic groups.
    let mut it = Mixed(Fixture::with("message.max.bytes=20000000"));
    it.0.topic("t", 2);
    it.ok(&coming("n", &["t"]));
    let long = "x".repeat(30_000);
    let large = said(&[&*long; 244], &[]);
    let answers: Vec<i16> = (0..8)
        .map(|at| it.ask_join(&joining(&format!("m{at}"), &large), 9))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|ticket| it.joined(ticket).error_code)
        .collect();
    assert_eq!(answers, [0, 0, 0, 0, 0, 0, full, full]);
    assert_eq!(it.join(&joining("m0", &said(&["t"], &[])), 9).error_code, 0);
    assert_eq!(it.join(&joining("m6", &large), 9).error_code, 0, "who says less makes room");
    // And Kafka's, on what one batch holds.
    it.0.settings.message_max_bytes = 1 << 20;
    let failed = code(ResponseError::UnknownServerError);
    assert_eq!(it.join(&joining("m0", &large), 9).error_code, failed);
}

#[test]
fn no_change_of_kind_makes_a_record_that_is_too_large() {
    // What a member says under several protocols is one record in a consumer group.
    let mut it = Mixed::new();
    it.0.settings.message_max_bytes = 100_000;
    let long = "x".repeat(30_000);
    let large = said(&[&*long, "t"], &[]);
    let mut request = joining("", &large);
    request.protocols = (0..4).map(|at| protocol(&format!("p{at}"), &large)).collect();
    let ticket = it.ask_join(&request, 3);
    it.0.step(6_000);
    let joined = it.joined(ticket);
    it.ask_sync(&joined.member_id, 1, &[]);
    assert_eq!(it.classic().state, State::Stable);
    assert_eq!(it.refused(&coming("n", &["t"])).0, ResponseError::UnknownServerError);
    assert_eq!(it.beat(&joined.member_id, 1), 0);
    // What several members say is one record in a classic group.
    let (mut it, _) = of_consumer("downgrade", 1);
    it.0.settings.message_max_bytes = 100_000;
    for member in ["a", "b", "c", "d"] {
        assert_eq!(it.join(&joining(member, &large), 9).error_code, 0);
    }
    it.ok(&beating("n", -1));
    assert_eq!(it.consumers().classic_member_count(), 4);
    it.leave(&[("d", None), ("c", None)]);
    assert_eq!(it.classic().members.len(), 2);
    it.0.check_replay();
}

#[test]
fn a_member_is_told_its_assignment_in_the_version_that_it_speaks() {
    let (mut it, _) = of_consumer("disabled", 2);
    for version in 0..=3i16 {
        let speaks = Subscription { topics: vec!["t"], ..Subscription::default() }.write(version);
        let id = format!("m{version}");
        let joined = it.join(&joining(&id, &speaks), 9);
        let synced = it.sync(&id, joined.generation_id);
        assert_eq!((synced.error_code, embedded::version(&synced.assignment)), (0, Ok(version)));
    }
}

#[test]
fn a_classic_member_that_does_not_join_or_synchronise_in_time_is_fenced() {
    let (mut it, _) = of_consumer("disabled", 2);
    let (id, epoch) = comes(&mut it, &["t"]);
    // It heartbeats and never synchronises.
    for _ in 0..7 {
        assert_eq!(it.beat(&id, epoch), 0);
        it.ok(&beating("n", it.member("n").0));
        it.0.step(9_000);
    }
    assert_eq!(it.beat(&id, epoch), code(ResponseError::UnknownMemberId));

    let (mut it, _) = of_consumer("disabled", 2);
    let (id, epoch) = comes(&mut it, &["t"]);
    it.told(&id, epoch);
    comes(&mut it, &["t"]);
    // It heartbeats and never joins again.
    for _ in 0..7 {
        assert_eq!(it.beat(&id, epoch), code(REBALANCE));
        it.0.step(9_000);
    }
    assert_eq!(it.beat(&id, epoch), code(ResponseError::UnknownMemberId));

    // Its own session counts.
    let (mut it, _) = of_consumer("disabled", 2);
    let (id, epoch) = comes(&mut it, &["t"]);
    it.0.step(SESSION_MS as u64 + 1);
    assert_eq!(it.beat(&id, epoch), code(ResponseError::UnknownMemberId));
    assert_eq!(it.consumers().member_count(), 1);
    it.0.check_replay();
}

#[test]
fn static_members_change_their_protocol_in_their_place() {
    let (mut it, topic) = of_consumer("disabled", 4);
    let by = |member: &str| joining(member, &said(&["t"], &[])).with_group_instance_id(Some(text("i")));
    let joined = it.join(&by(""), 9);
    let id = joined.member_id.to_string();
    assert_eq!((joined.error_code, joined.generation_id), (0, 2));
    assert_eq!(it.join(&by("other"), 9).error_code, code(ResponseError::FencedInstanceId));
    let mut unknown = by("other");
    unknown.group_instance_id = Some(text("j"));
    assert_eq!(it.join(&unknown, 9).error_code, code(ResponseError::UnknownMemberId));
    let kept = it.ok(&beating("n", 1)).assignment.unwrap().topic_partitions[0].partitions.clone();
    it.ok(&owning(beating("n", 1), topic, &kept));
    assert_eq!(it.join(&by(&id), 9).error_code, 0);
    let owned = it.told(&id, 2);
    assert_eq!(owned.len(), 2);
    // It comes back without its id: the same place under another.
    let joined = it.join(&by(""), 9);
    assert_ne!(*joined.member_id, *id);
    assert_eq!(joined.generation_id, 2);
    assert_eq!(it.told(&joined.member_id, 2), owned);
    assert_eq!(it.beat(&id, 2), code(ResponseError::UnknownMemberId));
    // And once more, by the consumer protocol.
    let answer = it.ok(&coming("m", &["t"]).with_instance_id(Some(text("i"))));
    assert_eq!(answer.member_epoch, 2);
    assert_eq!(answer.assignment.unwrap().topic_partitions[0].partitions, owned);
    assert_eq!((it.consumers().classic_member_count(), it.consumers().member_count()), (0, 2));
    // A classic member leaves by its instance alone.
    assert_eq!(it.leave(&[("", Some("i")), ("", Some("j")), ("x", Some("i"))]), [0, 25, 82]);
    assert_eq!(it.consumers().member_count(), 1);
}

// ---- consumer groups become classic groups ------------------------------------------------------------

/// A classic member that owns half of `t`, and `n` with the other half.
fn both(policy: &str) -> (Mixed, String) {
    let (mut it, topic) = of_consumer(policy, 4);
    let (id, _) = comes(&mut it, &["t"]);
    let kept = it.ok(&beating("n", 1)).assignment.unwrap().topic_partitions[0].partitions.clone();
    it.ok(&owning(beating("n", 1), topic, &kept));
    assert_eq!(it.join(&joining(&id, &said(&["t"], &[])), 9).generation_id, 2);
    assert_eq!(it.told(&id, 2).len(), 2);
    (it, id)
}

#[test]
fn a_consumer_group_becomes_a_classic_group_when_only_classic_members_stay() {
    let goes: [fn(&mut Mixed, &str); 3] = [
        |it, _| drop(it.ok(&beating("n", -1))),
        |it, id| {
            // Its session ends; the classic member's is counted.
            for _ in 0..6 {
                it.beat(id, 2);
                it.0.step(9_000);
            }
        },
        |it, _| assert_eq!(it.leave(&[("n", None)]), [0]),
    ];
    for goes in goes {
        let (mut it, id) = both("downgrade");
        let (written, owned) = (it.0.log.len(), it.member(&id).1);
        goes(&mut it, &id);
        let kinds = it.kinds_since(written);
        let tombstones = [(8, true), (8, true), (7, true), (7, true), (6, true), (5, true), (5, true)];
        assert_eq!(kinds[..7], tombstones);
        assert_eq!(kinds[7..], [(4, true), (3, true), (2, false)]);
        let group = it.classic();
        assert_eq!((group.state, group.generation), (State::PreparingRebalance, 2));
        let member = group.members.get(&id).unwrap();
        assert_eq!(partitions(&member.assignment), owned);
        assert!(group.is_subscribed_to("t") && !group.is_subscribed_to("u"));
        it.0.check_replay();
        assert_eq!(it.beat(&id, 2), code(REBALANCE));
        let ticket = it.ask_join(&joining(&id, &said(&["t"], &[("t", &owned)])), 9);
        let joined = it.joined(ticket);
        assert_eq!((joined.generation_id, joined.leader.as_str()), (3, &*id), "it leads now");
        let plan = [(&*id, assigned(&[("t", &[0, 1, 2, 3])]))];
        let ticket = it.ask_sync(&id, 3, &plan);
        assert_eq!(partitions(&it.synced(ticket).assignment), [0, 1, 2, 3]);
        it.0.restart();
        assert_eq!(it.beat(&id, 3), 0);
        // And back again.
        let refused = it.refused(&coming("n", &["t"])).1;
        assert!(refused.contains("online upgrade is disabled"), "{refused}");
    }
}

#[test]
fn without_the_policy_classic_members_stay_in_their_consumer_group() {
    for policy in ["disabled", "upgrade"] {
        let (mut it, id) = both(policy);
        it.ok(&beating("n", -1));
        assert_eq!(it.consumers().classic_member_count(), 1);
        assert_eq!(it.beat(&id, 2), code(REBALANCE));
        let owned = it.member(&id).1;
        let joined = it.join(&joining(&id, &said(&["t"], &[("t", &owned)])), 9);
        assert_eq!(joined.generation_id, 3);
        assert_eq!(it.told(&id, 3), [0, 1, 2, 3]);
        assert_eq!(it.leave(&[(&id, None)]), [0]);
        assert_eq!(it.consumers().state_name(), "Empty");
    }
}

#[test]
fn a_group_larger_than_classic_groups_may_be_is_not_downgraded() {
    let policy = "bidirectional\ngroup.max.size=1";
    let (mut it, _) = of_consumer(policy, 2);
    comes(&mut it, &["t"]);
    let (second, _) = comes(&mut it, &["t"]);
    it.ok(&beating("n", -1));
    assert_eq!(it.consumers().member_count(), 2);
    // One of two leaves: now it fits.
    assert_eq!(it.leave(&[(&second, None)]), [0]);
    assert_eq!(it.classic().members.len(), 1);
}

#[test]
fn a_static_member_that_comes_back_as_a_classic_one_downgrades_the_group_at_rest() {
    let by = |member: &str, topics: &[&str], owned: &[i32]| {
        joining(member, &said(topics, &[("t", owned)])).with_group_instance_id(Some(text("i")))
    };
    for changes in [false, true] {
        let mut it = Mixed::new();
        it.0.topic("t", 4);
        it.ok(&coming("n", &["t"]).with_instance_id(Some(text("i"))));
        let written = it.0.log.len();
        let topics: &[&str] = if changes { &["t", "u"] } else { &["t"] };
        let joined = it.join(&by("", topics, &[0, 1, 2, 3]), 9);
        let id = joined.member_id.to_string();
        assert_eq!(joined.error_code, 0);
        assert!(it.kinds_since(written).ends_with(&[(4, true), (3, true), (2, false)]));
        let group = it.classic();
        assert_eq!((group.generation, group.members.len()), (1, 1));
        if changes {
            assert_eq!(group.state, State::PreparingRebalance);
            continue;
        }
        assert_eq!((group.state, joined.generation_id), (State::Stable, 1));
        assert_eq!(it.told(&id, 1), [0, 1, 2, 3], "nothing moves");
        assert_eq!(it.beat(&id, 1), 0);
        it.0.restart();
        assert_eq!(it.told(&id, 1), [0, 1, 2, 3]);
    }
}

#[test]
fn deadlines_of_the_one_kind_do_not_reach_the_other() {
    let mut it = Mixed::new();
    it.0.topic("t", 2);
    let ids = it.stable(&[("", &[0]), ("", &[1])]);
    it.ok(&coming("n", &["t"]));
    it.0.step(SESSION_MS as u64 - 1);
    assert_eq!(it.beat(&ids[0], 1), code(REBALANCE));
    it.0.step(2);
    assert_eq!(it.consumers().member_count(), 2, "the session of the one that was silent has ended");
    it.ok(&beating("n", -1));
    assert_eq!(it.classic().members.len(), 1);
    it.0.step(SESSION_MS as u64 + 1);
    assert!(it.classic().members.is_empty() && it.classic().is_empty());
    it.0.check_replay();
    assert_eq!(it.ok(&coming("n", &["t"])).member_epoch, 1);
}

#[test]
fn a_round_that_was_running_is_made_up_for_when_a_static_member_upgrades_its_group() {
    let mut it = Mixed::new();
    it.0.topic("t", 4);
    let ids = it.stable(&[("i", &[0]), ("", &[1, 2, 3])]);
    assert_eq!(it.leave(&[(&ids[1], None)]), [0]);
    assert_eq!(it.classic().state, State::PreparingRebalance);
    let answer = it.ok(&coming("n", &["t"]).with_instance_id(Some(text("i"))));
    assert_eq!(answer.assignment.unwrap().topic_partitions[0].partitions, [0, 1, 2, 3]);
    // In a stable group nothing moves.
    let mut it = Mixed::new();
    it.0.topic("t", 4);
    let ids = it.stable(&[("i", &[0]), ("", &[1, 2, 3])]);
    let answer = it.ok(&coming("n", &["t"]).with_instance_id(Some(text("i"))));
    assert_eq!(answer.assignment.unwrap().topic_partitions[0].partitions, [0]);
    assert_eq!(it.beat(&ids[1], 1), 0);
}

#[test]
fn a_group_on_its_way_joins_anew_when_a_static_member_downgrades_it() {
    let mut it = Mixed::new();
    let topic = it.0.topic("t", 4);
    it.ok(&coming("n", &["t"]).with_instance_id(Some(text("i"))));
    let (id, _) = comes(&mut it, &["t"]);
    it.told(&id, 2);
    it.ok(&owning(beating("n", 1), topic, &[0, 1, 2, 3]));
    // It leaves before it has revoked; the classic member would never hear of its half.
    let by = joining("", &said(&["t"], &[])).with_group_instance_id(Some(text("i")));
    assert_eq!(it.join(&by, 9).error_code, 0);
    assert_eq!(it.classic().state, State::PreparingRebalance);
    assert_eq!(it.beat(&id, 2), code(REBALANCE));
}
