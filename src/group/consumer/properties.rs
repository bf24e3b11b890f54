//! What must hold of a consumer group whatever happens to it: random sequences of members that join, leave,
//! pause and lose answers, of time, of topics that come, grow and go, of crashes and replays. A failing run
//! prints its seed; `CONSUMER_GROUP_SEED` runs one alone.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::member::{Member, STATIC_LEAVE_EPOCH};
use super::tests::{GROUP, assigned, beat, join, join_by_regex, owning, text};
use crate::group::Group;
use crate::group::testing::{Fixture, Random, each_seed};
use crate::protocol::stored::metadata::RemoveTopicRecord;
use crate::types::TopicId;

const RUNS: u64 = 60;
const STEPS: usize = 250;

type Owned = BTreeSet<(TopicId, i32)>;

/// A client as it should be: it takes what it is told, reports what it owns, and starts over when it is fenced.
struct Client {
    member: String,
    instance: Option<String>,
    topics: Vec<&'static str>,
    regex: Option<&'static str>,
    epoch: i32,
    owned: Owned,
    /// What it was told last and has not taken yet.
    told: Option<Owned>,
    /// An answer was lost: the next heartbeat tells all.
    lost: bool,
    /// A static member that is away for a while.
    away: bool,
}

const TOPICS: [&str; 4] = ["a", "b", "ba", "c"];

struct World {
    it: Fixture,
    random: Random,
    clients: Vec<Client>,
    next_member: usize,
}

#[test]
fn whatever_happens_no_partition_has_two_owners_and_the_group_settles() {
    each_seed("CONSUMER_GROUP_SEED", RUNS, |random| World::new(random).run());
}

impl World {
    fn new(mut random: Random) -> World {
        let mut it = Fixture::with("group.consumer.max.size=8");
        for topic in TOPICS {
            if !random.one_in(3) {
                it.topic(topic, 1 + random.below(9) as i32);
            }
        }
        World { it, random, clients: Vec::new(), next_member: 0 }
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            self.act();
            self.check();
            if step % 16 == 0 {
                self.it.check_replay();
            }
        }
        self.settle();
    }

    fn act(&mut self) {
        match self.random.below(40) {
            0..=3 => self.join(),
            4..=27 if !self.clients.is_empty() => {
                let at = self.random.below(self.clients.len());
                let (says, lost) = (!self.random.one_in(4), self.random.one_in(8));
                self.consumer_heartbeat(at, says, lost);
            }
            28 if !self.clients.is_empty() => self.leave(),
            // A client that is killed: its member stays until its session ends.
            29 if !self.clients.is_empty() => {
                let at = self.random.below(self.clients.len());
                self.clients.swap_remove(at);
            }
            30..=32 => {
                let ms = self.random.of(&[1, 100, 5_000, 10_001, 30_000]);
                self.it.step(ms);
            }
            33 => self.change_topics(),
            34 => self.it.restart(),
            _ => self.it.work(),
        }
    }

    fn join(&mut self) {
        let member = format!("m{}", self.next_member);
        self.next_member += 1;
        let returning = self.clients.iter().position(|client| client.away);
        if let Some(at) = returning.filter(|_| !self.random.one_in(3)) {
            let client = &mut self.clients[at];
            (client.member, client.epoch, client.away) = (member, 0, false);
            return self.consumer_heartbeat(at, true, false);
        }
        let topics = TOPICS.into_iter().filter(|_| self.random.one_in(2)).collect();
        let regex = self.random.one_in(4).then(|| self.random.of(&["b.*", "[ac]", ".*"]));
        let instance = self.random.one_in(3).then(|| format!("i{}", self.next_member));
        self.clients.push(Client {
            member,
            instance,
            topics,
            regex,
            epoch: 0,
            owned: Owned::new(),
            told: None,
            lost: false,
            away: false,
        });
        let lost = self.random.one_in(8);
        self.consumer_heartbeat(self.clients.len() - 1, true, lost);
    }

    /// One heartbeat; `says` reports what the client owns after taking what it was told.
    fn consumer_heartbeat(&mut self, at: usize, says: bool, loses_answer: bool) {
        let client = &mut self.clients[at];
        if client.away {
            return;
        }
        // Who reports without a partition that it was told to take has given it up: it must not take it later.
        let says = says || client.lost;
        if says && let Some(told) = client.told.take() {
            client.owned = told;
        }
        let request = client.request(says);
        let answer = self.it.try_heartbeat(&request);
        let client = &mut self.clients[at];
        match answer {
            _ if loses_answer => client.lost = true,
            Ok(answer) => client.take(&answer),
            Err(error) => match error.error {
                ResponseError::GroupMaxSizeReached => drop(self.clients.swap_remove(at)),
                ResponseError::UnreleasedInstanceId => {}
                ResponseError::UnknownMemberId
                | ResponseError::FencedMemberEpoch
                | ResponseError::FencedInstanceId
                | ResponseError::GroupIdNotFound => client.start_over(),
                other => panic!("{request:?} was refused with {other:?}"),
            },
        }
    }

    fn leave(&mut self) {
        let at = self.random.below(self.clients.len());
        let client = &mut self.clients[at];
        if client.away || client.epoch == 0 {
            return;
        }
        let for_good = client.instance.is_none() || self.random.one_in(2);
        let request = beat(&client.member, if for_good { -1 } else { STATIC_LEAVE_EPOCH })
            .with_instance_id(client.instance.as_deref().map(text));
        let left = self.it.try_heartbeat(&request);
        if for_good {
            self.clients.swap_remove(at);
        } else {
            client.start_over();
            client.away = left.is_ok();
        }
    }

    fn change_topics(&mut self) {
        let name = self.random.of(&TOPICS);
        let count = self.it.image.topic(name).map(|topic| (topic.id, topic.partitions.len() as i32));
        match count {
            None => {
                let partitions = 1 + self.random.below(9) as i32;
                self.it.topic(name, partitions);
            }
            Some((id, _)) if self.random.one_in(3) => self.it.change_image(|image| {
                image.apply(&RemoveTopicRecord { topic_id: id }.into()).unwrap();
            }),
            Some((_, partitions)) => self.it.grow(name, partitions + 1 + self.random.below(4) as i32),
        }
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        let group = match self.it.groups.group(GROUP) {
            Some(Group::Consumer(group)) => Some(group),
            _ => None,
        };
        group.into_iter().flat_map(|group| group.members.values())
    }

    /// What holds after every step.
    fn check(&self) {
        let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for member in self.members() {
            for partition in held(member) {
                let other = owners.insert(partition, &member.id);
                assert_eq!(other, None, "{partition:?} is {}'s too", member.id);
            }
        }
        if let Some(Group::Consumer(group)) = self.it.groups.group(GROUP) {
            assert_eq!(group.owners.owned_count(), owners.len());
            for ((topic, partition), owner) in &owners {
                let seat = group.members[*owner].seat;
                assert_eq!(group.owners.owner(*topic, *partition), Some(seat));
            }
            let names = group.members.values().filter_map(|member| member.profile.instance_id.clone());
            assert_eq!(group.statics.len(), names.collect::<BTreeSet<_>>().len());
        }
        // A client that is a member owns nothing that the group does not know it to own.
        for client in self.clients.iter().filter(|client| client.epoch > 0 && !client.away) {
            if let Some(member) = self.members().find(|member| *member.id == *client.member)
                && member.progress.epoch >= client.epoch
            {
                let held = held(member);
                let beyond: Vec<_> = client.owned.difference(&held).collect();
                assert!(beyond.is_empty(), "{} owns {beyond:?} beyond {held:?}", client.member);
            }
        }
    }

    /// Nothing changes any more and every client sends its heartbeats: the group has to come to rest.
    fn settle(&mut self) {
        for client in &mut self.clients {
            if client.away {
                (client.member, client.epoch, client.away) = (format!("{}again", client.member), 0, false);
            }
        }
        for round in 0..60 {
            for at in (0..self.clients.len()).rev() {
                self.consumer_heartbeat(at, true, false);
                self.check();
            }
            self.it.work();
            self.it.step(5_000);
            if round >= 15 && self.is_settled() {
                break;
            }
        }
        self.it.check_replay();
        assert!(self.is_settled() || self.clients.is_empty(), "the group does not come to rest");
        let wanted: Owned = self
            .clients
            .iter()
            .flat_map(|client| TOPICS.into_iter().filter(|topic| client.reads(topic)))
            .filter_map(|topic| self.it.image.topic(topic))
            .flat_map(|topic| (0..topic.partitions.len() as i32).map(|partition| (topic.id, partition)))
            .collect();
        let given: Owned = self.members().flat_map(held).collect();
        assert_eq!(given, wanted, "every partition of a topic that somebody reads is somebody's");
        let owned: Owned = self.clients.iter().flat_map(|client| client.owned.iter().copied()).collect();
        assert_eq!(owned, wanted, "and its client knows");
        for client in &self.clients {
            for (topic, _) in &client.owned {
                let name = &self.it.image.topic_by_id(*topic).expect("it exists").name;
                assert!(client.reads(name), "{} got {name}", client.member);
            }
        }
    }

    fn is_settled(&self) -> bool {
        match self.it.groups.group(GROUP) {
            Some(Group::Consumer(group)) => {
                group.member_count() == self.clients.len()
                    && (group.state_name() == "Stable" || self.clients.is_empty())
                    && self.clients.iter().all(|client| client.told.is_none())
            }
            _ => self.clients.is_empty(),
        }
    }
}

impl Client {
    fn request(&self, says: bool) -> ConsumerGroupHeartbeatRequest {
        let mut request = if self.epoch == 0 || self.lost {
            let join = join(&self.member, &self.topics);
            let regex = self.regex.map(|regex| join_by_regex("", regex).subscribed_topic_regex);
            join.with_member_epoch(self.epoch).with_subscribed_topic_regex(regex.flatten())
        } else {
            beat(&self.member, self.epoch)
        };
        if self.epoch == 0 || self.instance.is_some() {
            request.instance_id = self.instance.as_deref().map(text);
        }
        if says && self.epoch > 0 {
            let mut by_topic: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
            self.owned
                .iter()
                .for_each(|(topic, partition)| by_topic.entry(*topic).or_default().push(*partition));
            let owned: Vec<(TopicId, &[i32])> = by_topic.iter().map(|(id, list)| (*id, &list[..])).collect();
            request.topic_partitions = owning("", 0, &owned).topic_partitions;
        }
        request
    }

    fn take(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        self.lost = false;
        self.epoch = answer.member_epoch;
        assert!(self.epoch > 0, "a member is told to be at epoch {}", self.epoch);
        if let Some(topics) = assigned(answer) {
            let flat =
                topics.into_iter().flat_map(|(topic, list)| list.into_iter().map(move |it| (topic, it)));
            self.told = Some(flat.collect());
        }
    }

    fn start_over(&mut self) {
        self.owned.clear();
        (self.epoch, self.told, self.lost) = (0, None, false);
    }

    fn reads(&self, topic: &str) -> bool {
        let matches = |regex| match regex {
            "b.*" => topic.starts_with('b'),
            "[ac]" => topic == "a" || topic == "c",
            _ => true,
        };
        self.topics.contains(&topic) || self.regex.is_some_and(matches)
    }
}

/// What a member owns, as far as the group knows.
fn held(member: &Member) -> Owned {
    let progress = &member.progress;
    let both = progress.assigned.topics().chain(progress.revoking.topics());
    both.flat_map(|(topic, list)| list.iter().map(move |partition| (topic, *partition))).collect()
}
