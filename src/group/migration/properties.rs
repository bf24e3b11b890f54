//! What must hold whatever happens to a group that members of both protocols come to and leave: random
//! sequences of clients that join, leave, are killed, lose answers, of time, of crashes and replays. A failing
//! run prints its seed; `MIGRATION_SEED` runs one alone.
//!
//! No partition is ever two members' at once, the state after a replay is the state before, and when nothing
//! more happens the group comes to rest with every partition at one client that knows it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::JoinGroupResponse;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;

use super::tests::{GROUP, Mixed, beating, coming, joining, text};
use crate::group::testing::{Fixture, Random, each_seed};
use crate::group::{Answer, Group, Ticket};
use crate::protocol::embedded::{Assignment, Subscription};
use crate::types::TopicId;

const RUNS: u64 = 60;
const STEPS: usize = 300;
const PARTITIONS: i32 = 7;

/// Where a client stands.
#[derive(PartialEq, Debug)]
enum Phase {
    /// It is to join, again perhaps.
    Out,
    Joining(Ticket),
    /// It has joined; with a plan where it leads.
    Joined(Vec<(String, Bytes)>),
    Syncing(Ticket),
    In,
}

/// A client as it should be, of either protocol. Classic ones rebalance cooperatively: they keep what they own
/// while they join.
struct Client {
    is_classic: bool,
    instance: Option<String>,
    id: String,
    /// Generation or member epoch.
    epoch: i32,
    owned: BTreeSet<i32>,
    phase: Phase,
    /// An answer was lost: the next heartbeat tells all.
    lost: bool,
}

impl Client {
    fn start_over(&mut self) {
        self.owned.clear();
        self.epoch = if self.is_classic { -1 } else { 0 };
        self.phase = Phase::Out;
        self.lost = false;
    }
}

struct World {
    it: Mixed,
    topic: TopicId,
    random: Random,
    clients: Vec<Client>,
    next_id: usize,
    /// How often the group was seen to have become the other kind.
    changes: usize,
    was_consumer: Option<bool>,
}

#[test]
fn whatever_happens_to_a_group_of_both_protocols_no_partition_has_two_owners_and_it_settles() {
    let changes = each_seed("MIGRATION_SEED", RUNS, |random| {
        let mut world = World::new(random);
        world.run();
        world.changes
    });
    let is_one_alone = changes.len() == 1;
    assert!(is_one_alone || changes.iter().any(|changes| *changes > 0), "no group has ever changed its kind");
}

impl World {
    fn new(mut random: Random) -> World {
        let policies = ["bidirectional", "bidirectional", "upgrade", "downgrade"];
        let policy = policies[random.below(policies.len())];
        let mut it = Mixed(Fixture::with(&format!(
            "group.consumer.migration.policy={policy}\ngroup.initial.rebalance.delay.ms=0"
        )));
        let topic = it.0.topic("t", PARTITIONS);
        World { it, topic, random, clients: Vec::new(), next_id: 0, changes: 0, was_consumer: None }
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            self.act();
            self.check();
            if step % 8 == 0 {
                self.it.0.check_replay();
            }
        }
        self.settle();
    }

    fn act(&mut self) {
        let at = match self.clients.len() {
            0 => None,
            count => Some(self.random.below(count)),
        };
        match (self.random.below(40), at) {
            (0..=2, _) if self.clients.len() < 5 => self.come(),
            (3..=30, Some(at)) => self.turn(at),
            (31, Some(at)) => self.leave(at),
            // It is killed: its member stays until its session ends.
            (32, Some(at)) => drop(self.clients.swap_remove(at)),
            // It comes back with the other protocol; a static one in its place.
            (33, Some(at)) => {
                let client = &mut self.clients[at];
                client.is_classic = !client.is_classic;
                client.id = String::new();
                client.start_over();
            }
            (34, _) => self.restart(),
            (35..=37, _) => {
                let ms = [1, 100, 3_000, 9_000, 30_000][self.random.below(5)];
                self.it.0.step(ms);
            }
            _ => self.it.0.work(),
        }
        self.take_answers();
    }

    fn come(&mut self) {
        self.next_id += 1;
        let mut client = Client {
            is_classic: self.random.one_in(2),
            instance: self.random.one_in(4).then(|| format!("i{}", self.next_id)),
            id: String::new(),
            epoch: 0,
            owned: BTreeSet::new(),
            phase: Phase::Out,
            lost: false,
        };
        client.start_over();
        self.clients.push(client);
        self.turn(self.clients.len() - 1);
    }

    /// A crash: who waits gets no answer, and asks again.
    fn restart(&mut self) {
        self.it.0.restart();
        self.it.0.answers.clear();
        for client in &mut self.clients {
            if matches!(client.phase, Phase::Joining(_) | Phase::Syncing(_)) {
                client.phase = Phase::Out;
            }
        }
    }

    fn turn(&mut self, at: usize) {
        match self.clients[at].is_classic {
            true => self.classic_turn(at),
            false => self.consumer_turn(at),
        }
        self.take_answers();
    }

    // ---- the consumer protocol ----

    fn consumer_turn(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.id.is_empty() {
            self.next_id += 1;
            client.id = format!("n{}", self.next_id);
        }
        let mut request = match client.epoch {
            epoch if epoch == 0 || client.lost => coming(&client.id, &["t"]).with_member_epoch(epoch),
            epoch => beating(&client.id, epoch),
        };
        request.instance_id = client.instance.as_deref().map(text);
        if client.epoch > 0 {
            let owned = client.owned.iter().copied().collect();
            let owned = TopicPartitions::default().with_topic_id(self.topic.0).with_partitions(owned);
            request.topic_partitions = Some(vec![owned]);
        }
        let loses = self.random.one_in(10);
        let answer = self.it.ask(&request);
        let client = &mut self.clients[at];
        match answer {
            Ok(_) if loses => client.lost = true,
            Ok(answer) => {
                client.lost = false;
                client.epoch = answer.member_epoch;
                client.phase = Phase::In;
                if let Some(told) = answer.assignment {
                    let of = told.topic_partitions.into_iter().flat_map(|topic| topic.partitions);
                    client.owned = of.collect();
                }
            }
            Err(error) => match error.error {
                // A static member that did not say that it leaves is still there; the client is a new one then.
                ResponseError::UnreleasedInstanceId => drop(self.clients.swap_remove(at)),
                ResponseError::UnknownMemberId
                | ResponseError::FencedMemberEpoch
                | ResponseError::FencedInstanceId
                | ResponseError::GroupIdNotFound => client.start_over(),
                other => panic!("{request:?} was refused with {other:?}"),
            },
        }
    }

    // ---- the classic protocol ----

    fn classic_turn(&mut self, at: usize) {
        let client = &self.clients[at];
        let (id, epoch) = (client.id.clone(), client.epoch);
        match &client.phase {
            Phase::Out => self.classic_join(at),
            Phase::Joining(_) | Phase::Syncing(_) => {}
            Phase::Joined(plan) => {
                let plan: Vec<(&str, Bytes)> =
                    plan.iter().map(|(id, of)| (id.as_str(), of.clone())).collect();
                let ticket = self.it.ask_sync(&id, epoch, &plan);
                self.clients[at].phase = Phase::Syncing(ticket);
            }
            Phase::In => {
                let code = self.it.beat(&id, epoch);
                match ResponseError::try_from_code(code) {
                    None => {}
                    Some(ResponseError::RebalanceInProgress) => self.clients[at].phase = Phase::Out,
                    Some(_) => self.classic_lost(at, code),
                }
            }
        }
    }

    fn classic_join(&mut self, at: usize) {
        let client = &self.clients[at];
        let owned = vec![("t", client.owned.iter().copied().collect())];
        let said = Subscription { topics: vec!["t"], owned, ..Subscription::default() }.write(1);
        let mut request = joining(&client.id, &said);
        request.group_instance_id = client.instance.as_deref().map(text);
        let ticket = self.it.ask_join(&request, 9);
        self.clients[at].phase = Phase::Joining(ticket);
    }

    fn classic_lost(&mut self, at: usize, code: i16) {
        let client = &mut self.clients[at];
        match ResponseError::try_from_code(code) {
            Some(ResponseError::RebalanceInProgress) => client.phase = Phase::Out,
            Some(ResponseError::UnknownMemberId | ResponseError::FencedInstanceId) => {
                client.id.clear();
                client.start_over();
            }
            Some(ResponseError::IllegalGeneration) => client.start_over(),
            other => panic!("{} gets {other:?}", client.id),
        }
    }

    fn take_answers(&mut self) {
        for at in 0..self.clients.len() {
            let (Phase::Joining(ticket) | Phase::Syncing(ticket)) = self.clients[at].phase else { continue };
            match self.it.0.take(ticket) {
                None => {}
                Some(Answer::Join(joined)) => self.take_joined(at, &joined),
                Some(Answer::Sync(synced)) if synced.error_code == 0 => {
                    let client = &mut self.clients[at];
                    let told = match synced.assignment.is_empty() {
                        true => Assignment::default(),
                        false => Assignment::read(&synced.assignment).expect("an assignment"),
                    };
                    client.owned = told.partitions.into_iter().flat_map(|(_, of)| of).collect();
                    client.phase = Phase::In;
                }
                Some(Answer::Sync(synced)) => self.classic_lost(at, synced.error_code),
            }
        }
    }

    fn take_joined(&mut self, at: usize, joined: &JoinGroupResponse) {
        let client = &mut self.clients[at];
        match ResponseError::try_from_code(joined.error_code) {
            None => {}
            Some(ResponseError::MemberIdRequired) => {
                client.id = joined.member_id.to_string();
                client.phase = Phase::Out;
                return;
            }
            Some(_) => return self.classic_lost(at, joined.error_code),
        }
        let leads = joined.leader == joined.member_id && !joined.skip_assignment;
        client.id = joined.member_id.to_string();
        client.epoch = joined.generation_id;
        client.phase = Phase::Joined(if leads { plan(joined) } else { Vec::new() });
    }

    // ---- both ----

    fn leave(&mut self, at: usize) {
        let client = self.clients.swap_remove(at);
        if client.id.is_empty() || client.epoch <= 0 {
            return;
        }
        if client.is_classic {
            self.it.leave(&[(&client.id, client.instance.as_deref())]);
        } else {
            let mut request = beating(&client.id, -1);
            request.instance_id = client.instance.as_deref().map(text);
            let _fenced_already = self.it.ask(&request);
        }
    }

    /// What holds after every step.
    fn check(&mut self) {
        let group = self.it.0.groups.group(GROUP);
        let is_consumer = group.map(|group| matches!(group, Group::Consumer(_)));
        if let (Some(before), Some(now)) = (self.was_consumer, is_consumer) {
            self.changes += usize::from(before != now && group.is_some_and(|group| !group.is_empty()));
        }
        self.was_consumer = is_consumer;
        let Some(Group::Consumer(group)) = group else { return };
        let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for member in group.members.values() {
            for (topic, of) in member.progress.assigned.topics().chain(member.progress.revoking.topics()) {
                for partition in of {
                    let other = owners.insert((topic, *partition), &member.id);
                    assert_eq!(other, None, "{partition} is {}'s too", member.id);
                }
            }
        }
        let classic = group.members.values().filter(|member| member.is_classic()).count();
        assert_eq!(classic, group.classic_member_count());
        // A client owns nothing beyond what the group knows, while it is at its epoch.
        for client in self.clients.iter().filter(|client| client.phase == Phase::In) {
            let Some(member) = group.member(&client.id) else { continue };
            if member.progress.epoch != client.epoch {
                continue;
            }
            let held = |partition: &i32| owners.get(&(self.topic, *partition)) == Some(&&*client.id);
            assert!(client.owned.iter().all(held), "{} owns {:?}", client.id, client.owned);
        }
    }

    /// Nothing more happens and every client does its part: the group has to come to rest.
    fn settle(&mut self) {
        for round in 0..120 {
            for at in (0..self.clients.len()).rev() {
                self.turn(at);
                self.check();
            }
            self.it.0.work();
            self.it.0.step(3_000);
            self.take_answers();
            if round >= 20 && self.is_settled() {
                break;
            }
        }
        self.it.0.check_replay();
        let phases: Vec<_> = self.clients.iter().map(|it| (&it.id, it.epoch, &it.phase, &it.owned)).collect();
        assert!(self.is_settled(), "no rest: {phases:?}\n{:?}", self.it.0.groups.group(GROUP));
    }

    fn is_settled(&self) -> bool {
        let mut owned: Vec<i32> = self.clients.iter().flat_map(|client| client.owned.clone()).collect();
        owned.sort_unstable();
        let kind_fits = match self.it.0.groups.group(GROUP) {
            Some(Group::Consumer(group)) => group.member_count() == self.clients.len(),
            // Without the policy those of the consumer protocol stay outside.
            Some(Group::Classic(_)) => true,
            None => self.clients.is_empty(),
        };
        let refused = |client: &Client| !client.is_classic && client.phase == Phase::Out;
        let all_out = self.clients.iter().all(refused);
        let at_rest = self.clients.iter().all(|client| client.phase == Phase::In || refused(client));
        let all_given = owned == (0..PARTITIONS).collect::<Vec<_>>() || all_out;
        kind_fits && at_rest && all_given
    }
}

/// What a leader assigns: each keeps what it says that it owns, up to its share; what is nobody's goes to those
/// who have least. What another owned is given to its new owner in the next round, when it has let go of it.
fn plan(joined: &JoinGroupResponse) -> Vec<(String, Bytes)> {
    let count = joined.members.len() as i32;
    let mut free: BTreeSet<i32> = (0..PARTITIONS).collect();
    let mut plans: Vec<(String, Vec<i32>)> = Vec::new();
    for member in &joined.members {
        let said = Subscription::read(&member.metadata).expect("a subscription");
        let owned = said.owned.into_iter().flat_map(|(_, of)| of);
        let kept = owned.filter(|partition| free.remove(partition)).take((PARTITIONS / count + 1) as usize);
        plans.push((member.member_id.to_string(), kept.collect()));
    }
    for partition in free {
        let least = plans.iter_mut().min_by_key(|(_, of)| of.len()).expect("the leader is a member");
        least.1.push(partition);
    }
    let write = |of: Vec<i32>| Assignment { partitions: vec![("t", of)], user_data: None }.write(1);
    plans.into_iter().map(|(id, of)| (id, write(of))).collect()
}
