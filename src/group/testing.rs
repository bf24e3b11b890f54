//! What the tests of groups share: a coordinator without a core. Its log holds the records as bytes, its clock
//! is stepped by hand, and answers are kept by ticket.
//!
//! A decision is applied as the driver does it: its records are encoded, applied, and then its effects are
//! done, for nothing can fail in between.
//!
//! Tests of whatever may happen run once for each of some seeds ([`each_seed`]) with a [`Random`] of their own.

use std::cell::Cell;
use std::collections::BTreeMap;

use ahash::AHashMap;

use super::settings::Settings;
use super::{Answer, Client, Context, Effect, Group, Groups, Outcome, Ticket, Work};
use crate::broker::state_machine::StateMachine;
use crate::clock::Now;
use crate::config::properties::Properties;
use crate::config::{Layers, ServerConfig};
use crate::metadata::Image;
use crate::protocol::stored::group::Record;
use crate::protocol::stored::metadata::{PartitionRecord, Record as Metadata, TopicRecord};
use crate::types::{LeaderEpoch, NodeId, PartitionId, TopicId};

/// A record as it stands in the log.
type Stored = (Vec<u8>, Option<Vec<u8>>);

/// A coordinator that a test drives.
pub struct Fixture {
    pub groups: Groups,
    pub image: Image,
    pub settings: Settings,
    pub now: Now,
    /// Every record, in order.
    pub log: Vec<Stored>,
    /// Answers that were given and not yet taken.
    pub answers: AHashMap<Ticket, Answer>,
    /// Computations that were asked for and not yet run.
    pub works: Vec<Work>,
    next_ticket: u64,
    next_topic: u128,
    /// Ids that were given.
    ids: Cell<u128>,
}

impl Default for Fixture {
    fn default() -> Fixture {
        Fixture::new()
    }
}

impl Fixture {
    /// A coordinator with nothing in its log, under Kafka's defaults.
    pub fn new() -> Fixture {
        Fixture::with("")
    }

    /// The same under the broker's keys of `properties`.
    pub fn with(properties: &str) -> Fixture {
        let properties = Properties::parse(properties).unwrap();
        let layers = Layers::new(ServerConfig::load(&properties).unwrap().0);
        let now = Now { wall_ms: 1_700_000_000_000, ticks_ms: 1_000_000 };
        let mut groups = Groups::default();
        groups.loaded(now);
        let mut fixture = Fixture {
            groups,
            image: Image::empty(),
            settings: Settings::of(&layers),
            now,
            log: Vec::new(),
            answers: AHashMap::default(),
            works: Vec::new(),
            next_ticket: 0,
            next_topic: 1,
            ids: Cell::new(0),
        };
        fixture.step(0);
        fixture
    }

    /// Makes a topic; groups follow the image.
    pub fn topic(&mut self, name: &str, partitions: i32) -> TopicId {
        let before = self.image.clone();
        let id = TopicId(uuid::Uuid::from_u128(self.next_topic << 64 | 7));
        self.next_topic += 1;
        let topic = TopicRecord { name: name.to_owned(), topic_id: id };
        self.image.apply(&Metadata::from(topic)).unwrap();
        self.put_partitions(id, 0..partitions);
        self.follow(&before);
        id
    }

    /// Gives a topic more partitions; groups follow the image.
    pub fn grow(&mut self, name: &str, partitions: i32) {
        let before = self.image.clone();
        let topic = self.image.topic(name).unwrap().clone();
        self.put_partitions(topic.id, topic.partitions.len() as i32..partitions);
        self.follow(&before);
    }

    fn put_partitions(&mut self, topic: TopicId, partitions: std::ops::Range<i32>) {
        for partition in partitions {
            let record = PartitionRecord {
                partition_id: PartitionId(partition),
                topic_id: topic,
                replicas: vec![NodeId(1)],
                isr: vec![NodeId(1)],
                leader: NodeId(1),
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
                directories: vec![uuid::Uuid::from_u128(1_000)],
                ..PartitionRecord::default()
            };
            self.image.apply(&Metadata::from(record)).unwrap();
        }
    }

    /// Changes the image and lets groups follow it.
    pub fn change_image(&mut self, change: impl FnOnce(&mut Image)) {
        let before = self.image.clone();
        change(&mut self.image);
        self.follow(&before);
    }

    fn follow(&mut self, before: &Image) {
        self.image.offset = before.offset.plus(1);
        self.decide(|groups, context, outcome| groups.follow_image(before, context, outcome));
    }

    /// Decides, applies, stores, and does the effects; as the driver with an append that succeeds at once.
    pub fn decide<R>(&mut self, decide: impl FnOnce(&mut Groups, &Context<'_>, &mut Outcome) -> R) -> R {
        let mut outcome = Outcome::default();
        let ids = &self.ids;
        // Spread over all bits, as random ones are, so that their order tells nothing.
        let new_id = &|| {
            ids.set(ids.get() + 1);
            TopicId(uuid::Uuid::from_u128(ids.get().wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)))
        };
        let context = Context { image: &self.image, settings: &self.settings, now: self.now, new_id };
        let answer = decide(&mut self.groups, &context, &mut outcome);
        let (records, effects) = outcome.take();
        for (record, apply) in records {
            self.log.push(Groups::encode(&record).expect("a decided record can be encoded"));
            if apply {
                self.groups.apply(record);
            }
        }
        for effect in effects {
            match effect {
                Effect::Answer(ticket, answer) => {
                    let before = self.answers.insert(ticket, answer);
                    assert!(before.is_none(), "{ticket:?} is answered twice: {before:?}");
                }
                Effect::Work(work) => self.works.push(work),
            }
        }
        answer
    }

    /// Decides what is answered by a ticket.
    pub fn ask_later(
        &mut self,
        decide: impl FnOnce(&mut Groups, &Context<'_>, Ticket, &mut Outcome),
    ) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.decide(|groups, context, outcome| decide(groups, context, ticket, outcome));
        ticket
    }

    /// Takes the answer that a ticket got.
    pub fn take(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }

    /// Moves the clock on; every deadline on the way comes at its time.
    pub fn step(&mut self, ms: u64) {
        let end = self.now.ticks_ms + ms;
        loop {
            let next = self.groups.next_tick_ms().filter(|at| *at <= end);
            let at = next.unwrap_or(end).max(self.now.ticks_ms);
            self.now.wall_ms += (at - self.now.ticks_ms) as i64;
            self.now.ticks_ms = at;
            if next.is_none() {
                return;
            }
            self.decide(|groups, context, outcome| groups.tick(context, outcome));
        }
    }

    /// Runs the computations that were asked for, and those that follow from them.
    pub fn work(&mut self) {
        while !self.works.is_empty() {
            self.work_on();
        }
    }

    /// Runs the first of the computations, or the shortest slice of it, which then goes behind all others.
    pub fn work_on(&mut self) {
        let worked = match self.works.remove(0) {
            Work::Whole(work) => work(),
            Work::Sliced(mut work) => match work(&|| true) {
                Some(worked) => worked,
                None => return self.works.push(Work::Sliced(work)),
            },
        };
        self.decide(|groups, context, outcome| groups.worked(worked, context, outcome));
    }

    /// What a replay of the log gives.
    pub fn replayed(&self) -> Groups {
        let mut groups = Groups::default();
        for (key, value) in &self.log {
            if let Some(record) = Groups::decode(key, value.as_deref()).expect("a stored record is read") {
                groups.apply(record);
            }
        }
        groups.loaded(self.now);
        groups
    }

    /// Crashes: who waits gets no answer, and the state is replayed.
    pub fn restart(&mut self) {
        self.check_replay();
        self.works.clear();
        self.groups = self.replayed();
        self.step(0);
    }

    /// Checks that a replay gives the stored part of the state as it stands.
    ///
    /// # Panics
    /// Where it does not.
    pub fn check_replay(&self) {
        let (now, replayed) = (stored(&self.groups), stored(&self.replayed()));
        let names: Vec<_> = replayed.keys().collect();
        assert_eq!(now.keys().collect::<Vec<_>>(), names, "other groups stand after a replay");
        assert_eq!(offsets(&self.groups), offsets(&self.replayed()), "other offsets stand after a replay");
        for (group, state) in &now {
            assert_eq!(state, &replayed[group], "group {group} is another after a replay");
        }
        let mut pending = 0;
        for group in self.groups.groups.values() {
            match group {
                Group::Classic(group) => pending += group.check(),
                Group::Consumer(group) => group.check_bytes(),
            }
        }
        self.groups.groups.check();
        assert_eq!(self.groups.pending_bytes.get(), pending, "ids that were given out are counted");
    }

    /// The records in the log, decoded.
    pub fn records(&self) -> Vec<Record> {
        let decode = |(key, value): &Stored| Record::decode(key, value.as_deref()).unwrap();
        self.log.iter().map(decode).collect()
    }
}

/// The stored part of each group, by what it would write; text, so that records have an order.
fn stored(groups: &Groups) -> BTreeMap<String, Vec<String>> {
    let sorted = |part: &str| {
        let mut records: Vec<_> = groups.records_of(part).iter().map(|one| format!("{one:?}")).collect();
        records.sort();
        records
    };
    groups.parts().into_iter().map(|part| (part.to_string(), sorted(&part))).collect()
}

/// Every offset, as text.
fn offsets(groups: &Groups) -> Vec<String> {
    let mut all = Vec::new();
    for group in groups.offsets().groups() {
        all.extend(groups.offsets().of_group(group).map(|of| format!("{group} {of:?}")));
    }
    all.sort_unstable();
    all
}

/// A client as tests name it.
pub fn client(id: &str) -> Client {
    Client { id: id.to_owned(), host: "/127.0.0.1".to_owned() }
}

/// Random choices (xorshift64): the same ones from the same seed.
pub struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Runs `run` with the choices of the seeds 1 to `runs`, or of that alone which the environment variable
/// `variable` holds; what each run gave. One that panics prints its seed.
pub fn each_seed<R>(variable: &'static str, runs: u64, mut run: impl FnMut(Random) -> R) -> Vec<R> {
    let one = std::env::var(variable).ok().and_then(|seed| seed.parse().ok());
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 1..runs + 1,
    };
    let run_one = |seed| {
        let guard = PrintSeed(variable, seed);
        let given = run(Random::new(seed));
        std::mem::forget(guard);
        given
    };
    seeds.map(run_one).collect()
}

/// Prints the variable and the seed when it is dropped, which it is only by a panic.
struct PrintSeed(&'static str, u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        eprintln!("failed with {}={}", self.0, self.1);
    }
}
