//! The group coordinators of a core: one for each partition of the offsets topic that the core owns.
//!
//! A request finds its coordinator by [`Shard::ask_group`]: the group's name gives the partition, the partition
//! its core, and the closure runs there. The coordinator decides on the spot; what it decides to be done later
//! (answers to those who wait, long computations, deadlines) is performed here.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::Add;
use std::rc::{Rc, Weak};
use std::sync::Mutex;
use std::time::Duration;

use ahash::{AHashMap, AHashSet};

use super::{Shard, current, post};
use crate::broker::partition::Partition;
use crate::broker::replay::Progress;
use crate::broker::state_machine::{Coordinator, Unavailable};
use crate::clock;
use crate::config::Layers;
use crate::group::settings::Settings;
use crate::group::{self, Answer, Context, Effect, Groups, OFFSETS_TOPIC, Outcome, Ticket, Work};
use crate::metadata::Image;
use crate::runtime::broadcast::View;
use crate::runtime::compute::{compute, compute_in_slices};
use crate::runtime::shards::Reply;
use crate::runtime::tasks::{self, Queue};
use crate::types::{PartitionId, TopicId};

/// How late a deadline may be seen where no request comes.
const TICK_EVERY: Duration = Duration::from_millis(50);
/// How often a core without coordinators looks whether it has one.
const IDLE_EVERY: Duration = Duration::from_millis(250);
/// How much of one request a coordinator decides before others have their turn.
const ASKS_AT_ONCE: usize = 64;
/// How often a request may name groups that it has named already.
const REPEATED_MAX: usize = 16;

/// The coordinators of one core, by partition.
#[derive(Default)]
pub struct GroupCoordinators {
    by_partition: RefCell<AHashMap<PartitionId, Rc<GroupCoordinator>>>,
    settings: RefCell<Option<(View<Layers>, Rc<Settings>)>>,
    /// What this core knows of [`Spread`].
    spread: Cell<Option<(TopicId, u32)>>,
}

/// Over how many partitions of the offsets topic groups are spread: as many as it had when the process first
/// asked. Those that are added count after a restart, as with Kafka: until then every group stays where its
/// members and its offsets are.
#[derive(Default)]
pub struct Spread(Mutex<Option<(TopicId, u32)>>);

impl Spread {
    /// The topic's count, `now` where nobody asked of this topic before.
    fn of(&self, topic: TopicId, now: u32) -> u32 {
        let mut known = self.0.lock().expect("no panic happens under this lock");
        match *known {
            Some((of, count)) if of == topic => count,
            _ => known.insert((topic, now)).1,
        }
    }
}

/// One coordinator and those who wait for its answers.
pub struct GroupCoordinator {
    topic: TopicId,
    machine: Rc<Coordinator<Groups>>,
    waiting: RefCell<AHashMap<Ticket, flume::Sender<Answer>>>,
    next_ticket: Cell<u64>,
    rewriting: Cell<bool>,
}

impl GroupCoordinator {
    fn new(partition: Rc<Partition>) -> Rc<GroupCoordinator> {
        Rc::new_cyclic(|own: &Weak<GroupCoordinator>| {
            let own = own.clone();
            let perform = move |effects: Vec<Effect>| {
                if let Some(coordinator) = own.upgrade() {
                    effects.into_iter().for_each(|effect| coordinator.perform(effect));
                }
            };
            GroupCoordinator {
                topic: partition.topic_id,
                machine: Coordinator::new(partition, Box::new(perform)),
                waiting: RefCell::default(),
                next_ticket: Cell::new(0),
                rewriting: Cell::new(false),
            }
        })
    }

    fn perform(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Answer(ticket, answer) => {
                if let Some(waits) = self.waiting.borrow_mut().remove(&ticket) {
                    let _gone = waits.send(answer);
                }
            }
            Effect::Work(work) => self.work(work),
        }
    }

    /// Runs a long computation beside the core and hands its result to the state.
    fn work(self: &Rc<Self>, work: Work) {
        let coordinator = self.clone();
        let generation = self.machine.generation();
        tasks::spawn(Queue::Background, async move {
            let worked = match work {
                Work::Whole(work) => compute(work).await,
                Work::Sliced(work) => compute_in_slices(work).await,
            };
            if coordinator.machine.generation() != generation {
                // It was of a state that was dropped since; the one that was loaded asks again.
                return;
            }
            let took = coordinator.decide(|groups, context, outcome| groups.worked(worked, context, outcome));
            if let Err(reason) = took {
                tracing::debug!(?reason, "a computation of a group came too late");
            }
        })
        .detach();
    }

    /// Decides at once, and waits until the answer may leave, for `offsets.commit.timeout.ms` at most.
    ///
    /// # Errors
    /// Where the coordinator has no state, or the decision's records could not be appended or not in time.
    pub async fn ask<R>(
        &self,
        decide: impl FnOnce(&mut Groups, &Context<'_>, &mut Outcome) -> R,
    ) -> Result<R, Unavailable> {
        self.tick_if_due();
        self.committed(decide).await
    }

    /// Decides, and waits until that may be told.
    async fn committed<R>(
        &self,
        decide: impl FnOnce(&mut Groups, &Context<'_>, &mut Outcome) -> R,
    ) -> Result<R, Unavailable> {
        let (decided, within_ms) = self.with_context(|context| {
            let decided = self.machine.decide(|groups, outcome| decide(groups, context, outcome));
            (decided, context.settings.offsets_commit_timeout_ms)
        });
        let too_late = async {
            glommio::timer::sleep(Duration::from_millis(within_ms)).await;
            Err(Unavailable::TimedOut)
        };
        futures_lite::future::or(decided?.committed(), too_late).await
    }

    /// Decides at once, and waits for the answer that the ticket gets, now or later. What was decided at once
    /// has to be committed in time; the answer may take as long as it likes.
    ///
    /// # Errors
    /// As [`GroupCoordinator::ask`]; also when the coordinator stops before the answer.
    pub async fn ask_later(
        &self,
        decide: impl FnOnce(&mut Groups, &Context<'_>, Ticket, &mut Outcome),
    ) -> Result<Answer, Unavailable> {
        self.tick_if_due();
        let ticket = Ticket(self.next_ticket.replace(self.next_ticket.get() + 1));
        let (answer, answered) = flume::bounded(1);
        self.waiting.borrow_mut().insert(ticket, answer);
        let asked = self.committed(|groups, context, outcome| decide(groups, context, ticket, outcome));
        if let Err(reason) = asked.await {
            self.waiting.borrow_mut().remove(&ticket);
            return Err(reason);
        }
        answered.recv_async().await.map_err(|_stopped| Unavailable::NotHere)
    }

    /// Does what is due, so that whoever comes behind a deadline finds it passed; false where nothing was.
    fn tick_if_due(&self) -> bool {
        let now_ms = clock::monotonic_ms();
        let due = |groups: &Groups| groups.next_tick_ms().is_some_and(|at| at <= now_ms);
        if self.peek(due) != Some(true) {
            return false;
        }
        let _gone = self.decide(|groups, context, outcome| {
            groups.tick(context, outcome);
        });
        true
    }

    fn decide(
        &self,
        decide: impl FnOnce(&mut Groups, &Context<'_>, &mut Outcome),
    ) -> Result<(), Unavailable> {
        self.with_context(|context| self.machine.decide(|groups, outcome| decide(groups, context, outcome)))
            .map(drop)
    }

    fn with_context<R>(&self, f: impl FnOnce(&Context<'_>) -> R) -> R {
        let shard = current();
        let (image, settings) = (shard.image(), shard.group_settings());
        let new_id = &TopicId::random;
        f(&Context { image: &image, settings: &settings, now: clock::now(), new_id })
    }

    /// The partition of the offsets topic that it keeps.
    pub fn partition(&self) -> PartitionId {
        self.machine.partition().id
    }

    /// What the state says; `None` while there is none.
    pub fn peek<R>(&self, look: impl FnOnce(&Groups) -> R) -> Option<R> {
        self.machine.peek(look)
    }

    /// Replays the partition where there is no state, again where it was lost.
    fn load_if_gone(self: &Rc<Self>) {
        let Some(loading) = self.machine.begin_load() else { return };
        self.waiting.take();
        let coordinator = self.clone();
        tasks::spawn(Queue::Background, async move {
            let began = clock::monotonic_ms();
            let name = coordinator.machine.partition().name();
            let before = current().image();
            match coordinator.machine.load(loading, Groups::default()).await {
                Ok(replayed) if replayed.records > 0 => tracing::info!(
                    partition = %name,
                    records = replayed.records,
                    skipped = replayed.skipped,
                    kept_for_others = replayed.unheld,
                    kibibytes = replayed.bytes >> 10,
                    ms = clock::monotonic_ms() - began,
                    "groups and offsets are loaded"
                ),
                Ok(_) => {}
                // Its log is closed because the process ends.
                Err(_) if current().stopping.get() => {}
                Err(error) => {
                    tracing::error!(partition = %name, %error, "groups and offsets cannot be loaded")
                }
            }
            // While it loaded, nobody could tell it what changed.
            if !current().image().is_same(&before) {
                let _gone = coordinator
                    .decide(|groups, context, outcome| groups.follow_image(&before, context, outcome));
            }
        })
        .detach();
    }

    /// Writes the state again where the log has outgrown it; the log's start is durable then.
    fn rewrite_if_grown(self: &Rc<Self>) {
        if !self.machine.wants_rewrite() || self.rewriting.replace(true) {
            return;
        }
        let coordinator = self.clone();
        tasks::spawn(Queue::Background, async move {
            let name = coordinator.machine.partition().name();
            match coordinator.machine.rewrite().await {
                Ok(begin) => {
                    tracing::info!(partition = %name, %begin, "groups and offsets are written again");
                    if let Err(error) = current().keep_log_starts().await {
                        tracing::warn!(partition = %name, %error, "the log's new start is not kept yet");
                    }
                }
                Err(reason) => tracing::debug!(partition = %name, ?reason, "groups are not written again"),
            }
            coordinator.rewriting.set(false);
        })
        .detach();
    }

    /// Ends the coordinator: who waits for an answer gets none.
    fn stop(&self) {
        self.machine.stop();
        self.waiting.take();
    }
}

impl Shard {
    /// The settings of groups, typed anew when the configuration has changed.
    pub fn group_settings(&self) -> Rc<Settings> {
        let layers = self.layers();
        let mut cached = self.groups.settings.borrow_mut();
        match &*cached {
            Some((of, settings)) if of.is_same(&layers) => settings.clone(),
            _ => {
                let settings = Rc::new(Settings::of(&layers));
                *cached = Some((layers, settings.clone()));
                settings
            }
        }
    }

    /// The partition of the offsets topic that keeps a group, by its [`Spread`]; `None` before the topic exists.
    pub fn group_partition(&self, group: &str) -> Option<(TopicId, PartitionId)> {
        let image = self.image();
        let topic = image.topic(OFFSETS_TOPIC)?;
        let partitions = match self.groups.spread.get() {
            Some((of, count)) if of == topic.id => count,
            _ => {
                let now = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
                let count = self.node.spread.of(topic.id, now);
                self.groups.spread.set(Some((topic.id, count)));
                count
            }
        };
        Some((topic.id, PartitionId(group::partition_of(group, partitions))))
    }

    /// Has the coordinator of a group decide, as [`GroupCoordinator::ask`] says.
    ///
    /// # Errors
    /// Where there is none here, and those of `ask`.
    pub async fn ask_group<R: Send + 'static>(
        &self,
        group: &str,
        decide: impl FnOnce(&mut Groups, &Context<'_>, &mut Outcome) -> R + Send + 'static,
    ) -> Result<R, Unavailable> {
        self.on_group(group, |coordinator| async move { coordinator.ask(decide).await }).await
    }

    /// Has it decide on an answer that may come later, as [`GroupCoordinator::ask_later`] says.
    ///
    /// # Errors
    /// Where there is none here, and those of `ask_later`.
    pub async fn ask_group_later(
        &self,
        group: &str,
        decide: impl FnOnce(&mut Groups, &Context<'_>, Ticket, &mut Outcome) + Send + 'static,
    ) -> Result<Answer, Unavailable> {
        self.on_group(group, |coordinator| async move { coordinator.ask_later(decide).await }).await
    }

    /// Has the coordinators of several groups decide, all at the same time, as [`GroupCoordinator::ask`] says; each
    /// on some of what is asked of it at once, so that others have their turn between. The answers stand in the
    /// order of `asks`; `group` names an ask's group. Groups may be named again, [`REPEATED_MAX`] times in all: a
    /// small request makes no large answer.
    pub async fn ask_groups<T: Send + 'static, R: Send + 'static>(
        &self,
        asks: Vec<T>,
        group: impl Fn(&T) -> &str,
        decide: impl Fn(T, &mut Groups, &Context<'_>, &mut Outcome) -> R + Clone + Send + 'static,
    ) -> Vec<Result<R, Unavailable>> {
        let mut answers: Vec<_> = asks.iter().map(|_| Err(Unavailable::NoTopic)).collect();
        let mut parts: Vec<(TopicId, PartitionId, Vec<usize>, Vec<T>)> = Vec::new();
        let mut places = AHashMap::new();
        let (mut named, mut repeated) = (AHashSet::new(), 0);
        for (index, ask) in asks.into_iter().enumerate() {
            repeated += usize::from(!named.insert(group(&ask).to_owned()));
            if repeated > REPEATED_MAX {
                answers[index] = Err(Unavailable::NamedTooOften);
                continue;
            }
            let Some((topic, partition)) = self.group_partition(group(&ask)) else { continue };
            let place = *places.entry(partition).or_insert(parts.len());
            if place == parts.len() {
                parts.push((topic, partition, Vec::new(), Vec::new()));
            }
            parts[place].2.push(index);
            parts[place].3.push(ask);
        }
        let mut posted = Vec::with_capacity(parts.len());
        for (topic, partition, indexes, asks) in parts {
            let decide = decide.clone();
            let ask = |coordinator: Rc<GroupCoordinator>| async move {
                let (mut asks, mut told) = (asks.into_iter(), Vec::new());
                while asks.len() > 0 {
                    let some = asks.by_ref().take(ASKS_AT_ONCE);
                    let decide_some = |groups: &mut Groups, context: &Context<'_>, outcome: &mut Outcome| {
                        some.map(|ask| decide(ask, groups, context, outcome)).collect::<Vec<R>>()
                    };
                    told.extend(coordinator.ask(decide_some).await?);
                    glommio::yield_if_needed().await;
                }
                Ok(told)
            };
            posted.push((indexes, self.post_to_coordinator(topic, partition, ask).await));
        }
        for (indexes, reply) in posted {
            match reply.await.unwrap_or(Err(Unavailable::NotHere)) {
                Ok(told) => indexes.into_iter().zip(told).for_each(|(index, told)| answers[index] = Ok(told)),
                Err(reason) => indexes.into_iter().for_each(|index| answers[index] = Err(reason)),
            }
        }
        answers
    }

    /// Runs `f` with the coordinator of a group, on its core.
    async fn on_group<R, Fut>(
        &self,
        group: &str,
        f: impl FnOnce(Rc<GroupCoordinator>) -> Fut + Send + 'static,
    ) -> Result<R, Unavailable>
    where
        R: Send + 'static,
        Fut: Future<Output = Result<R, Unavailable>> + 'static,
    {
        let (topic, partition) = self.group_partition(group).ok_or(Unavailable::NoTopic)?;
        let posted = self.post_to_coordinator(topic, partition, f).await;
        posted.await.unwrap_or(Err(Unavailable::NotHere))
    }

    /// Posts `f` to the core of a coordinator; ends when it stands in that core's mailbox.
    async fn post_to_coordinator<R, Fut>(
        &self,
        topic: TopicId,
        partition: PartitionId,
        f: impl FnOnce(Rc<GroupCoordinator>) -> Fut + Send + 'static,
    ) -> Reply<Result<R, Unavailable>>
    where
        R: Send + 'static,
        Fut: Future<Output = Result<R, Unavailable>> + 'static,
    {
        post(self.owner(topic, partition), move |shard| {
            let coordinator = shard.group_coordinator(partition);
            async move { f(coordinator.ok_or(Unavailable::NotHere)?).await }
        })
        .await
    }

    /// Runs `f` with every coordinator of every core.
    pub async fn on_all_groups<R, Fut>(
        &self,
        f: impl Fn(Rc<GroupCoordinator>) -> Fut + Clone + Send + 'static,
    ) -> Vec<R>
    where
        R: Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let of_core = move |shard: Rc<Shard>| {
            let f = f.clone();
            async move {
                // Side by side: where a disk stands still, each of them waits for it.
                let ask = |coordinator| tasks::spawn(Queue::Requests, f(coordinator));
                let asked: Vec<_> = shard.group_coordinators().into_iter().map(ask).collect();
                let mut found = Vec::new();
                for answer in asked {
                    found.push(answer.await);
                }
                found
            }
        };
        self.on_every_core(of_core).await.into_iter().flatten().collect()
    }

    pub(super) fn group_coordinator(&self, partition: PartitionId) -> Option<Rc<GroupCoordinator>> {
        self.groups.by_partition.borrow().get(&partition).cloned()
    }

    pub(super) fn group_coordinators(&self) -> Vec<Rc<GroupCoordinator>> {
        self.groups.by_partition.borrow().values().cloned().collect()
    }

    /// How far this core's coordinators have replayed their partitions.
    pub fn replay_progress(&self) -> Progress {
        let coordinators = self.group_coordinators();
        coordinators.iter().map(|c| c.machine.progress()).fold(Progress::default(), Add::add)
    }

    /// Brings the coordinators in line with the partitions of this core, and their states with the image.
    pub(super) fn follow_groups(&self, before: &Image) {
        if self.stopping.get() {
            return;
        }
        let image = self.image();
        let topic = image.topic(OFFSETS_TOPIC);
        let gone: Vec<_> = self
            .group_coordinators()
            .into_iter()
            .filter(|c| topic.is_none_or(|topic| topic.id != c.topic))
            .collect();
        for coordinator in gone {
            coordinator.stop();
            self.groups.by_partition.borrow_mut().remove(&coordinator.partition());
        }
        for coordinator in self.group_coordinators() {
            let _loading = coordinator.decide(|groups, context, outcome| {
                groups.follow_image(before, context, outcome);
            });
        }
        let Some(topic) = topic else { return };
        for (id, _) in topic.numbered() {
            if let Some(partition) = self.partition(topic.id, id)
                && self.group_coordinator(id).is_none()
            {
                let coordinator = GroupCoordinator::new(partition);
                coordinator.load_if_gone();
                self.groups.by_partition.borrow_mut().insert(id, coordinator);
            }
        }
    }

    /// Does what is due in the coordinators of this core, for as long as it runs.
    pub async fn tick_groups(self: Rc<Self>) {
        loop {
            let coordinators = self.group_coordinators();
            let idle = coordinators.is_empty();
            for coordinator in coordinators {
                if !self.stopping.get() {
                    coordinator.load_if_gone();
                }
                coordinator.rewrite_if_grown();
                if coordinator.tick_if_due() {
                    tasks::yield_now().await;
                }
            }
            glommio::timer::sleep(if idle { IDLE_EVERY } else { TICK_EVERY }).await;
        }
    }

    /// Ends the coordinators of this core: who waits for an answer is let go.
    pub fn stop_groups(&self) {
        for coordinator in self.groups.by_partition.take().into_values() {
            coordinator.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::testing::{grow_topic, make_topic, on_cores};

    #[test]
    fn a_group_stays_in_its_partition_when_the_offsets_topic_grows() {
        on_cores(2, "", |shard| async move {
            let where_they_are = |shard: &Rc<Shard>| {
                let of_core = |shard: Rc<Shard>| async move {
                    (0..20).map(|n| shard.group_partition(&format!("g{n}"))).collect::<Vec<_>>()
                };
                let shard = shard.clone();
                async move { shard.on_every_core(of_core).await }
            };
            assert_eq!(where_they_are(&shard).await, vec![vec![None; 20]; 2]);
            let topic = make_topic(&shard, OFFSETS_TOPIC, 4).await;
            // Only one core asks before the topic grows.
            let at_first: Vec<_> = (0..20).map(|n| shard.group_partition(&format!("g{n}"))).collect();
            assert!(at_first.iter().all(|place| place.is_some_and(|(of, at)| of == topic && at.0 < 4)));
            grow_topic(&shard, topic, 4..9).await;
            assert_eq!(where_they_are(&shard).await, vec![at_first; 2]);
            // A topic that is made anew is spread over what it has.
            let other = TopicId::random();
            assert_eq!((shard.node.spread.of(other, 9), shard.node.spread.of(other, 12)), (9, 9));
        });
    }
}
