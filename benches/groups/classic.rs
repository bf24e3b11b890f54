//! Members of one classic group on the raw protocol, as Java's newest consumers with the cooperative sticky assignor:
//! a member joins under the id that it is given, synchronises, beats every three seconds until it is told to
//! join anew, keeps what it owns while a round runs, and joins again at once where something was taken from it. The
//! leader assigns for all.
//!
//! What must hold at any time, and panics where it does not: a member takes a partition when whoever had it has given
//! it up, and of the members of a settled group each is in the newest generation.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, DescribeGroupsRequest, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupResponse, consumer_protocol_assignment, consumer_protocol_subscription,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

use super::load::{Due, Load, decode};
use super::members::{prepare, text, topic_name};
use crate::brokers::{Connection, frame};

const JOIN_VERSION: i16 = 9;
const SYNC_VERSION: i16 = 5;
const HEARTBEAT_VERSION: i16 = 4;
const LEAVE_VERSION: i16 = 5;
const DESCRIBE_VERSION: i16 = 5;
/// Of a member's subscription and assignment.
const EMBEDDED_VERSION: i16 = 3;

const GROUP: &str = "big";
const KIND: &str = "consumer";
const PROTOCOL: &str = "cooperative-sticky";
/// What clients have where nothing else is said: `heartbeat.interval.ms`, `session.timeout.ms`, and
/// `max.poll.interval.ms`, which is the time to join in.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);
const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 300_000;

/// How members are known from one start of their process to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Membership {
    /// Not at all: each start is a new member, and a member that is closed leaves.
    Dynamic,
    /// By `group.instance.id`: a member that is closed does not leave, and one that is back within its session's
    /// timeout has what it had, with no round.
    Static,
}

/// A step in the life of the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nine tenths of the members come at once.
    Join,
    /// The last tenth comes, and is given partitions that others have.
    Grow,
    /// Every process is stopped and started again in a rolling restart: of dynamic members a tenth at a time, of
    /// static ones [`STATIC_AT_A_TIME`]. The next ones follow when the group has settled.
    Restart,
    /// Dynamic members leave at once, an admin takes static ones away by their instances in one request.
    Leave,
}

/// Static members that are restarted at a time.
const STATIC_AT_A_TIME: usize = 20;

/// Requests that were sent in a step.
#[derive(Clone, Copy, Default)]
pub struct Requests {
    pub joins: u64,
    pub syncs: u64,
    pub heartbeats: u64,
    pub leaves: u64,
}

/// What a step took.
pub struct Done {
    pub took: Duration,
    pub requests: Requests,
    /// Rounds that were ended.
    pub generations: i32,
}

/// The answer that a member waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waits {
    Nothing,
    Join,
    Sync,
    Heartbeat,
    Leave,
}

struct Member {
    /// Empty until the coordinator has given it one.
    id: StrBytes,
    instance: Option<StrBytes>,
    /// The one it has an assignment of, -1 for none.
    generation: i32,
    owned: BTreeSet<i32>,
    waits: Waits,
    /// It is to be stopped when its heartbeat has been answered.
    stops: bool,
    /// When it beats next.
    beats_at: Instant,
}

impl Member {
    fn new(instance: Option<StrBytes>) -> Member {
        Member {
            id: StrBytes::default(),
            instance,
            generation: -1,
            owned: BTreeSet::new(),
            waits: Waits::Nothing,
            stops: false,
            beats_at: Instant::now(),
        }
    }

    fn is_settled_in(&self, generation: i32) -> bool {
        !self.stops
            && self.generation == generation
            && matches!(self.waits, Waits::Nothing | Waits::Heartbeat)
    }

    fn is_gone(&self) -> bool {
        self.generation == -1 && self.waits == Waits::Nothing
    }
}

/// The group with a connection for each member.
pub struct ClassicGroup {
    address: String,
    load: Load,
    members: Vec<Member>,
    membership: Membership,
    /// The member that has each partition.
    owners: Vec<Option<usize>>,
    /// The newest generation that any member was told.
    generation: i32,
    requests: Requests,
    born: Instant,
    /// When a member beats next.
    due: Due,
}

impl ClassicGroup {
    pub fn new(address: &str, membership: Membership, members: usize, partitions: i32) -> ClassicGroup {
        let mut load = Load::connect(address, members);
        prepare(&mut load, partitions);
        let instance = |number| text(format!("reader-{number}"));
        let new = |number| Member::new((membership == Membership::Static).then(|| instance(number)));
        let group = ClassicGroup {
            address: address.to_owned(),
            load,
            members: (0..members).map(new).collect(),
            membership,
            owners: vec![None; partitions as usize],
            generation: -1,
            requests: Requests::default(),
            born: Instant::now(),
            due: Due::default(),
        };
        let began = Instant::now();
        while group.describe().error_code != 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "no coordinator");
            std::thread::sleep(Duration::from_millis(100));
        }
        group
    }

    /// Runs a step until all members that are in the group are in its newest generation and have all partitions.
    pub fn run(&mut self, step: Step) -> Done {
        let began = Instant::now();
        let before = self.generation.max(0);
        self.requests = Requests::default();
        let (all, tenth) = (self.members.len(), self.members.len().div_ceil(10));
        let at_a_time = match self.membership {
            Membership::Dynamic => tenth,
            Membership::Static => STATIC_AT_A_TIME,
        };
        match step {
            Step::Join => self.start(0..all - tenth),
            Step::Grow => self.start(all - tenth..all),
            Step::Restart => {
                for first in (0..all).step_by(at_a_time) {
                    self.stop(first..all.min(first + at_a_time));
                    self.settle(step);
                }
            }
            Step::Leave if self.membership == Membership::Static => self.take_away(),
            Step::Leave => self.stop(0..all),
        }
        self.settle(step);
        Done { took: began.elapsed(), requests: self.requests, generations: self.generation - before }
    }

    /// Checks that the broker says of the group what its members know.
    ///
    /// # Panics
    /// Where it does not.
    pub fn check(&self) {
        let described = self.describe();
        let members: Vec<&Member> = self.members.iter().filter(|member| member.generation >= 0).collect();
        let state = if members.is_empty() { "Empty" } else { "Stable" };
        assert_eq!(described.group_state.as_str(), state);
        let mut told: Vec<_> = described
            .members
            .iter()
            .map(|member| (member.member_id.clone(), assigned(member.member_assignment.clone())))
            .collect();
        let mut known: Vec<_> =
            members.iter().map(|member| (member.id.clone(), member.owned.clone())).collect();
        told.sort();
        known.sort();
        assert!(told == known, "{} members are described, {} are there", told.len(), known.len());
        let owners = self.owners.iter().flatten().count();
        assert!(members.is_empty() || owners == self.owners.len(), "{owners} partitions have an owner");
    }

    fn describe(&self) -> DescribedGroup {
        let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(GROUP))]);
        self.ask(DESCRIBE_VERSION, &request).groups.remove(0)
    }

    /// Sends one request beside the members'.
    fn ask<R: Request>(&self, version: i16, request: &R) -> R::Response {
        let mut connection = Connection::open(&self.address);
        decode::<R>(version, Bytes::copy_from_slice(connection.call(version, request)))
    }

    // ---- what members do ----------------------------------------------------------------------------

    fn start(&mut self, numbers: Range<usize>) {
        numbers.for_each(|number| self.join(number));
    }

    fn stop(&mut self, numbers: Range<usize>) {
        for number in numbers {
            self.members[number].stops = true;
            if self.members[number].waits == Waits::Nothing {
                self.close(number);
            }
        }
    }

    /// An admin takes all members away.
    fn take_away(&mut self) {
        let identity = |member: &Member| {
            MemberIdentity::default()
                .with_group_instance_id(member.instance.clone())
                .with_reason(Some(text("removed by an admin")))
        };
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_members(self.members.iter().map(identity).collect());
        let answer = self.ask(LEAVE_VERSION, &request);
        self.requests.leaves += 1;
        assert!(answer.error_code == 0 && answer.members.iter().all(|member| member.error_code == 0));
        for number in 0..self.members.len() {
            self.own(number, BTreeSet::new());
            self.members[number].generation = -1;
        }
    }

    /// Lets the members act until the step is done.
    fn settle(&mut self, step: Step) {
        let (began, mut answers) = (Instant::now(), Vec::new());
        while !self.is_done(step) {
            assert!(began.elapsed() < Duration::from_secs(300), "the group does not settle");
            self.beat_those_due();
            self.load.poll(Duration::from_millis(1), &mut answers);
            for (number, answer) in answers.drain(..) {
                self.answered(number, answer, step);
            }
        }
    }

    fn is_done(&self, step: Step) -> bool {
        let settled = |member: &Member| member.is_settled_in(self.generation);
        match step {
            Step::Leave => self.members.iter().all(Member::is_gone),
            Step::Join => self.members.iter().all(|member| settled(member) || member.is_gone()),
            Step::Grow | Step::Restart => self.members.iter().all(settled),
        }
    }

    fn answered(&mut self, number: usize, answer: Bytes, step: Step) {
        match std::mem::replace(&mut self.members[number].waits, Waits::Nothing) {
            Waits::Nothing => panic!("member {number} is told what it has not asked"),
            Waits::Join => self.joined(number, decode::<JoinGroupRequest>(JOIN_VERSION, answer)),
            Waits::Sync => self.synchronised(number, decode::<SyncGroupRequest>(SYNC_VERSION, answer)),
            Waits::Heartbeat => self.beaten(number, decode::<HeartbeatRequest>(HEARTBEAT_VERSION, answer)),
            Waits::Leave => {
                let answer = decode::<LeaveGroupRequest>(LEAVE_VERSION, answer);
                assert!(answer.error_code == 0 && answer.members[0].error_code == 0, "member {number}");
                self.members[number] = Member::new(None);
                if step == Step::Restart {
                    self.join(number);
                }
            }
        }
    }

    /// The process of a member ends. A static one is back at once.
    fn close(&mut self, number: usize) {
        self.own(number, BTreeSet::new());
        let member = &mut self.members[number];
        match member.instance.take() {
            Some(instance) => {
                *member = Member::new(Some(instance));
                self.join(number);
            }
            None => {
                let identity = MemberIdentity::default()
                    .with_member_id(member.id.clone())
                    .with_reason(Some(text("the consumer is being closed")));
                let request = LeaveGroupRequest::default()
                    .with_group_id(GroupId(text(GROUP)))
                    .with_members(vec![identity]);
                self.requests.leaves += 1;
                self.send(number, Waits::Leave, LEAVE_VERSION, &request);
            }
        }
    }

    fn send<R: Request>(&mut self, number: usize, waits: Waits, version: i16, request: &R) {
        let before = std::mem::replace(&mut self.members[number].waits, waits);
        assert_eq!(before, Waits::Nothing, "member {number} asks one thing at a time");
        self.load.send(number, &frame(version, request));
    }

    // ---- a round ------------------------------------------------------------------------------------

    fn join(&mut self, number: usize) {
        let member = &self.members[number];
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(PROTOCOL))
            .with_metadata(subscription(member.generation, &member.owned));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(member.id.clone())
            .with_group_instance_id(member.instance.clone())
            .with_protocol_type(text(KIND))
            .with_protocols(vec![protocol]);
        self.requests.joins += 1;
        self.send(number, Waits::Join, JOIN_VERSION, &request);
    }

    fn joined(&mut self, number: usize, answer: JoinGroupResponse) {
        if answer.error_code == ResponseError::MemberIdRequired.code() {
            self.members[number].id = answer.member_id;
            return self.join(number);
        }
        assert_eq!(answer.error_code, 0, "member {number} joins");
        let leads = answer.leader == answer.member_id && !answer.skip_assignment;
        let assignments = if leads { assign(&answer, self.owners.len()) } else { Vec::new() };
        let member = &mut self.members[number];
        member.id = answer.member_id;
        // It counts as in the generation when it has synchronised; until then it waits.
        member.generation = answer.generation_id;
        self.generation = self.generation.max(answer.generation_id);
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id(answer.generation_id)
            .with_member_id(member.id.clone())
            .with_group_instance_id(member.instance.clone())
            .with_protocol_type(Some(text(KIND)))
            .with_protocol_name(Some(text(PROTOCOL)))
            .with_assignments(assignments);
        self.requests.syncs += 1;
        self.send(number, Waits::Sync, SYNC_VERSION, &request);
    }

    fn synchronised(&mut self, number: usize, answer: SyncGroupResponse) {
        if answer.error_code == ResponseError::RebalanceInProgress.code() {
            return self.join(number);
        }
        assert_eq!(answer.error_code, 0, "member {number} synchronises");
        let given = assigned(answer.assignment);
        let gives_up = !self.members[number].owned.is_subset(&given);
        self.own(number, given);
        match gives_up {
            // So that the others can have it.
            true => self.join(number),
            false => self.rest(number),
        }
    }

    /// Takes what is given and gives up the rest.
    fn own(&mut self, number: usize, given: BTreeSet<i32>) {
        let before = std::mem::take(&mut self.members[number].owned);
        for &partition in before.difference(&given) {
            self.owners[partition as usize] = None;
        }
        for &partition in given.difference(&before) {
            let other = self.owners[partition as usize].replace(number);
            assert_eq!(other, None, "partition {partition} of member {number} has an owner");
        }
        self.members[number].owned = given;
    }

    // ---- heartbeats ---------------------------------------------------------------------------------

    /// A member beats next within one interval. The beats are spread over it, as those of processes of their own are.
    fn rest(&mut self, number: usize) {
        if self.members[number].stops {
            return self.close(number);
        }
        let phase = number as f64 / self.members.len() as f64;
        let from = self.born.elapsed().as_secs_f64() / HEARTBEAT_EVERY.as_secs_f64();
        let beat = (from - phase).ceil() + phase;
        let at = self.born + HEARTBEAT_EVERY.mul_f64(beat);
        self.members[number].beats_at = at;
        self.due.push(at, number);
    }

    fn beat_those_due(&mut self) {
        let now = Instant::now();
        while let Some((at, number)) = self.due.pop(now) {
            let member = &self.members[number];
            // It may have done something else since.
            if member.beats_at != at || member.waits != Waits::Nothing || member.generation < 0 {
                continue;
            }
            let request = HeartbeatRequest::default()
                .with_group_id(GroupId(text(GROUP)))
                .with_generation_id(member.generation)
                .with_member_id(member.id.clone())
                .with_group_instance_id(member.instance.clone());
            self.requests.heartbeats += 1;
            self.send(number, Waits::Heartbeat, HEARTBEAT_VERSION, &request);
        }
    }

    fn beaten(&mut self, number: usize, answer: HeartbeatResponse) {
        let member = &self.members[number];
        if member.generation < 0 {
            // It was taken away while it was beating.
            return;
        }
        if member.stops {
            return self.close(number);
        }
        if answer.error_code == ResponseError::RebalanceInProgress.code() {
            return self.join(number);
        }
        assert_eq!(answer.error_code, 0, "member {number} beats");
        self.rest(number);
    }
}

// ---- what the leader assigns ------------------------------------------------------------------------

/// Shares the partitions among the members of a join's answer: each keeps what it owns up to its share, and what
/// nobody owns fills the others up. What someone has to give up is nobody's until that one has joined again.
fn assign(answer: &JoinGroupResponse, partitions: usize) -> Vec<SyncGroupRequestAssignment> {
    let mut owned: Vec<Vec<i32>> =
        answer.members.iter().map(|member| owned_by(member.metadata.clone())).collect();
    let mut is_free = vec![true; partitions];
    for &partition in owned.iter().flatten() {
        assert!(std::mem::take(&mut is_free[partition as usize]), "partition {partition} has two owners");
    }
    let mut free = (0..partitions as i32).filter(|&partition| is_free[partition as usize]);
    let share = partitions / owned.len();
    // So many members have one more than their share.
    let mut more = partitions % owned.len();
    for own in &mut owned {
        let takes_more = own.len() > share && more > 0;
        more -= usize::from(takes_more);
        own.truncate(share + usize::from(takes_more));
    }
    for own in &mut owned {
        own.extend(free.by_ref().take(share - share.min(own.len())));
    }
    for own in owned.iter_mut().filter(|own| own.len() == share).take(more) {
        own.extend(free.next());
    }
    let assignment = |(member, own): (&JoinGroupResponseMember, Vec<i32>)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(member.member_id.clone())
            .with_assignment(assignment(own))
    };
    answer.members.iter().zip(owned).map(assignment).collect()
}

/// A subscription to the topic, by a member that has `owned` since `generation`.
fn subscription(generation: i32, owned: &BTreeSet<i32>) -> Bytes {
    let topic = consumer_protocol_subscription::TopicPartition::default()
        .with_topic(topic_name())
        .with_partitions(owned.iter().copied().collect());
    let subscription = ConsumerProtocolSubscription::default()
        .with_topics(vec![topic_name().0])
        // The sticky assignor's own: the generation.
        .with_user_data(Some(Bytes::copy_from_slice(&generation.to_be_bytes())))
        .with_owned_partitions(if owned.is_empty() { Vec::new() } else { vec![topic] })
        .with_generation_id(generation);
    embedded(&subscription)
}

fn owned_by(metadata: Bytes) -> Vec<i32> {
    let subscription: ConsumerProtocolSubscription = read_embedded(metadata);
    subscription.owned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

fn assignment(partitions: Vec<i32>) -> Bytes {
    let topic = consumer_protocol_assignment::TopicPartition::default()
        .with_topic(topic_name())
        .with_partitions(partitions);
    embedded(&ConsumerProtocolAssignment::default().with_assigned_partitions(vec![topic]))
}

fn assigned(assignment: Bytes) -> BTreeSet<i32> {
    let assignment: ConsumerProtocolAssignment = read_embedded(assignment);
    assignment.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

fn embedded<T: Encodable>(value: &T) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(EMBEDDED_VERSION);
    value.encode(&mut bytes, EMBEDDED_VERSION).expect("it encodes");
    bytes.freeze()
}

fn read_embedded<T: Decodable>(bytes: Bytes) -> T {
    T::decode(&mut bytes.slice(2..), EMBEDDED_VERSION).expect("it is what a member or the leader said")
}
