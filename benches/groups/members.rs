//! Members of consumer groups on the raw protocol (KIP-848): they do what a client's library does, and nothing
//! else: give up what they are told to give up, say so, take what they are given, and beat in between.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, CreatePartitionsRequest,
    CreateTopicsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::load::{Due, Load, decode};
use crate::brokers::frame;

const VERSION: i16 = 1;
const LEAVE: i32 = -1;
const TOPIC: &str = "bench";
/// Members that are on their way at a time when a group is joined or restarted.
const AT_A_TIME: usize = 20;

pub fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

/// Both brokers make fewer than ten thousand partitions in a request.
const PARTITIONS_AT_ONCE: i32 = 5_000;

/// Makes the topic and the offsets topic, and waits until both serve.
pub fn prepare(load: &mut Load, partitions: i32) {
    let topic = CreatableTopic::default()
        .with_name(topic_name())
        .with_num_partitions(partitions.min(PARTITIONS_AT_ONCE))
        .with_replication_factor(1);
    let made =
        load.call(0, 5, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000));
    assert_eq!(made.topics[0].error_code, 0, "{:?}", made.topics[0].error_message);
    if partitions > PARTITIONS_AT_ONCE {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name())
            .with_count(partitions)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        let grown = load.call(0, 1, &request);
        assert_eq!(grown.results[0].error_code, 0, "{:?}", grown.results[0].error_message);
    }
    let began = Instant::now();
    loop {
        let find = FindCoordinatorRequest::default().with_key(text("ready"));
        let found = load.call(0, 2, &find);
        let beat = joining("ready", &Uuid::new_v4().to_string());
        if found.error_code == 0 && load.call(0, VERSION, &beat).error_code == 0 {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no coordinator");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn joining(group: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name()]))
        .with_topic_partitions(Some(Vec::new()))
}

fn beating(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_subscribed_topic_names(None)
        .with_topic_partitions(None)
}

/// A heartbeat frame for each connection, of a member that has joined a group of its own.
pub fn heartbeat_frames(load: &mut Load, prefix: &str) -> Vec<Bytes> {
    prepare(load, 1);
    (0..load.len())
        .map(|number| {
            let (group, member) = (format!("{prefix}-{number}"), Uuid::new_v4().to_string());
            let epoch = join(load, number, &group, &member);
            frame(VERSION, &beating(&group, &member, epoch))
        })
        .collect()
}

/// Joins a member and takes what it is given; its epoch.
fn join(load: &mut Load, number: usize, group: &str, member: &str) -> i32 {
    let answer = load.call(number, VERSION, &joining(group, member));
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    let owned = answer.assignment.map(|a| partitions_of(&a.topic_partitions));
    let acknowledge = beating(group, member, answer.member_epoch).with_topic_partitions(owned);
    let answer = load.call(number, VERSION, &acknowledge);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.member_epoch
}

fn partitions_of(
    given: &[kafka_protocol::messages::consumer_group_heartbeat_response::TopicPartitions],
) -> Vec<TopicPartitions> {
    given
        .iter()
        .map(|topic| {
            TopicPartitions::default().with_topic_id(topic.topic_id).with_partitions(topic.partitions.clone())
        })
        .collect()
}

/// A commit frame for each connection, of a consumer without a group protocol.
pub fn commit_frames(load: &mut Load, prefix: &str) -> Vec<Bytes> {
    (0..load.len())
        .map(|number| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(0)
                .with_committed_offset(number as i64)
                .with_committed_metadata(Some(text("")));
            let topic =
                OffsetCommitRequestTopic::default().with_name(topic_name()).with_partitions(vec![partition]);
            let request = OffsetCommitRequest::default()
                .with_group_id(GroupId(text(format!("{prefix}-{number}"))))
                .with_topics(vec![topic]);
            let answer = load.call(number, 8, &request);
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
            frame(8, &request)
        })
        .collect()
}

// ---- one large group --------------------------------------------------------------------------------

const GROUP: &str = "big";

struct Member {
    id: String,
    epoch: i32,
    topic: Uuid,
    owned: BTreeSet<i32>,
    /// What it gave up in this step: a partition that comes back was stopped for nothing.
    given_up: BTreeSet<i32>,
    under_way: bool,
    leaving: bool,
    interval: Duration,
}

impl Member {
    fn new() -> Member {
        Member {
            id: Uuid::new_v4().to_string(),
            epoch: 0,
            topic: Uuid::nil(),
            owned: BTreeSet::new(),
            given_up: BTreeSet::new(),
            under_way: false,
            leaving: false,
            interval: Duration::from_secs(1),
        }
    }
}

/// A step in the life of the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// All members join, some at a time.
    Join,
    /// Every member leaves and a new one joins in its place, some at a time.
    Restart,
    Leave,
}

/// What a step took.
pub struct Done {
    pub took: Duration,
    pub heartbeats: u64,
    pub stopped: usize,
}

/// The group with a connection for each member.
pub struct BigGroup {
    load: Load,
    members: Vec<Member>,
    partitions: i32,
    heartbeats: u64,
    stopped: usize,
    /// The newest epoch that any member was told.
    group_epoch: i32,
    born: Instant,
    /// When a member beats next.
    due: Due,
}

impl BigGroup {
    pub fn new(address: &str, members: usize, partitions: i32) -> BigGroup {
        let mut load = Load::connect(address, members);
        prepare(&mut load, partitions);
        BigGroup {
            load,
            members: (0..members).map(|_| Member::new()).collect(),
            partitions,
            heartbeats: 0,
            stopped: 0,
            group_epoch: 0,
            born: Instant::now(),
            due: Due::default(),
        }
    }

    /// Runs a step for all members until every one has what the newest assignment gives it.
    pub fn run(&mut self, step: Step) -> Done {
        self.run_some(step, self.members.len())
    }

    /// Lets every member beat when it is due.
    pub fn beat(&mut self, time: Duration) {
        let (began, mut answers) = (Instant::now(), Vec::new());
        while began.elapsed() < time {
            self.beat_those_due();
            self.load.poll(Duration::from_millis(1), &mut answers);
            for (number, answer) in answers.drain(..) {
                self.answered(number, decode::<ConsumerGroupHeartbeatRequest>(VERSION, answer), Step::Join);
            }
        }
    }

    /// Runs a step for the first `count` members until every one has what the newest assignment gives it.
    pub fn run_some(&mut self, step: Step, count: usize) -> Done {
        let began = Instant::now();
        (self.heartbeats, self.stopped) = (0, 0);
        self.members.iter_mut().for_each(|member| member.given_up.clear());
        let mut next = 0;
        let mut answers = Vec::new();
        loop {
            // Those that were set on their way and have not got there.
            let moving =
                (0..next).filter(|&number| self.members[number].under_way && self.on_its_way(number, step));
            let room = AT_A_TIME.saturating_sub(moving.count());
            for _ in 0..room.min(count - next) {
                self.start(next, step);
                next += 1;
            }
            self.beat_those_due();
            self.load.poll(Duration::from_millis(1), &mut answers);
            for (number, answer) in answers.drain(..) {
                self.answered(number, decode::<ConsumerGroupHeartbeatRequest>(VERSION, answer), step);
            }
            if next == count && self.is_done(step) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(900), "the group does not converge");
        }
        Done { took: began.elapsed(), heartbeats: self.heartbeats, stopped: self.stopped }
    }

    fn on_its_way(&self, number: usize, step: Step) -> bool {
        let member = &self.members[number];
        member.leaving || (member.epoch == 0 && step != Step::Leave)
    }

    fn start(&mut self, number: usize, step: Step) {
        match step {
            Step::Join => self.join(number),
            Step::Restart | Step::Leave => {
                self.members[number].leaving = true;
                if !self.members[number].under_way {
                    self.leave(number);
                }
            }
        }
    }

    fn join(&mut self, number: usize) {
        let request = joining(GROUP, &self.members[number].id);
        self.send(number, &request);
    }

    fn leave(&mut self, number: usize) {
        let request = beating(GROUP, &self.members[number].id, LEAVE);
        self.send(number, &request);
    }

    fn send(&mut self, number: usize, request: &ConsumerGroupHeartbeatRequest) {
        self.members[number].under_way = true;
        self.heartbeats += 1;
        self.load.send(number, &frame(VERSION, request));
    }

    fn beat_those_due(&mut self) {
        let now = Instant::now();
        while let Some((_, number)) = self.due.pop(now) {
            let member = &self.members[number];
            if !member.under_way && member.epoch > 0 {
                let request = beating(GROUP, &member.id, member.epoch);
                self.send(number, &request);
            }
        }
    }

    fn answered(&mut self, number: usize, answer: ConsumerGroupHeartbeatResponse, step: Step) {
        assert_eq!(answer.error_code, 0, "member {number}: {:?}", answer.error_message);
        let member = &mut self.members[number];
        member.under_way = false;
        if member.leaving {
            if answer.member_epoch != LEAVE {
                return self.leave(number);
            }
            *member = Member::new();
            if step == Step::Restart {
                self.join(number);
            }
            return;
        }
        member.epoch = answer.member_epoch;
        member.interval = Duration::from_millis(answer.heartbeat_interval_ms.max(1) as u64);
        self.group_epoch = self.group_epoch.max(answer.member_epoch);
        let Some(assignment) = answer.assignment else {
            let due = self.next_beat(number);
            self.due.push(due, number);
            return;
        };
        let given: BTreeSet<i32> =
            assignment.topic_partitions.iter().flat_map(|t| t.partitions.clone()).collect();
        if let Some(topic) = assignment.topic_partitions.first() {
            member.topic = topic.topic_id;
        }
        self.stopped += given.iter().filter(|p| member.given_up.remove(p)).count();
        let gone: Vec<i32> = member.owned.difference(&given).copied().collect();
        member.given_up.extend(gone);
        member.owned = given;
        // What changed is acknowledged at once, as clients do.
        let topic = TopicPartitions::default()
            .with_topic_id(member.topic)
            .with_partitions(member.owned.iter().copied().collect());
        let owned = if member.owned.is_empty() { Vec::new() } else { vec![topic] };
        let request = beating(GROUP, &member.id, member.epoch).with_topic_partitions(Some(owned));
        self.send(number, &request);
    }

    /// The members' beats are spread over the interval, as those of processes of their own are: the next moment of
    /// this one that is more than half an interval away.
    fn next_beat(&self, number: usize) -> Instant {
        let interval = self.members[number].interval.as_secs_f64();
        let phase = number as f64 / self.members.len() as f64;
        let from = self.born.elapsed().as_secs_f64() / interval + 0.5;
        let beat = (from - phase).ceil() + phase;
        self.born + Duration::from_secs_f64(beat * interval)
    }

    fn is_done(&self, step: Step) -> bool {
        if step == Step::Leave {
            return self.members.iter().all(|member| !member.leaving && member.epoch == 0);
        }
        let settled = |member: &Member| !member.leaving && member.epoch == self.group_epoch;
        self.members.iter().all(settled)
            && self.members.iter().map(|member| member.owned.len()).sum::<usize>() == self.partitions as usize
    }
}

// ---- many small groups ------------------------------------------------------------------------------

/// Groups of one member, sixteen to a connection.
pub struct SmallGroups {
    load: Load,
    members: Vec<(String, String, i32)>,
}

const GROUPS_A_CONNECTION: usize = 16;

impl SmallGroups {
    pub fn join(address: &str, groups: usize) -> SmallGroups {
        let mut load = Load::connect(address, groups.div_ceil(GROUPS_A_CONNECTION).max(1));
        prepare(&mut load, 1);
        let mut members = Vec::with_capacity(groups);
        for number in 0..groups {
            let (group, member) = (format!("small-{number}"), Uuid::new_v4().to_string());
            let epoch = join(&mut load, number / GROUPS_A_CONNECTION, &group, &member);
            members.push((group, member, epoch));
        }
        SmallGroups { load, members }
    }

    /// Every member beats once a second; how many answers came.
    pub fn beat(&mut self, time: Duration) -> u64 {
        let (began, mut answers, mut answered, mut sent) = (Instant::now(), Vec::new(), 0, 0usize);
        let each = Duration::from_secs(1) / u32::try_from(self.members.len()).expect("a count of groups");
        while began.elapsed() < time {
            let due = (began.elapsed().as_nanos() / each.as_nanos().max(1)) as usize;
            while sent < due {
                let number = sent % self.members.len();
                let (group, member, epoch) = &self.members[number];
                let beat = frame(VERSION, &beating(group, member, *epoch));
                self.load.send(number / GROUPS_A_CONNECTION, &beat);
                sent += 1;
            }
            self.load.poll(Duration::from_millis(1), &mut answers);
            for (_, answer) in answers.drain(..) {
                let answer = decode::<ConsumerGroupHeartbeatRequest>(VERSION, answer);
                assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
                answered += 1;
            }
        }
        answered
    }
}
