//! Decide, append, apply, reply: what turns a pure state machine into a coordinator over one partition of an
//! internal topic.
//!
//! A decision looks at the state and gives records, effects and an answer. Its records are applied at once, by
//! the same function that replays them after a restart, so the next decision sees them; they are appended with
//! those of the other decisions of this turn as one batch; answer and effects leave when that batch is
//! committed. A decision without records leaves when everything decided before it is committed, so nobody is
//! told what a crash could take back. When an append fails, the state is dropped and replayed from the log:
//! there is no second copy of truth.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::partition::{Acks, Partition};
use super::replay::{LoadError, Progress, Replay, Replayed};
use crate::clock::{self, Now};
use crate::protocol::batch::{BatchBuilder, HEADER_BYTES as BATCH_HEADER_BYTES};
use crate::protocol::stored::StoredError;
use crate::runtime::tasks::{self, Queue};
use crate::storage::ReadError;
use crate::types::Offset;

/// State that is made of the records of one partition and of nothing else, but for what may be lost in a
/// restart (deadlines, who waits).
pub trait StateMachine: Sized + 'static {
    type Record: 'static;
    /// What is done when the records of its decision are committed.
    type Effect: 'static;

    /// A record from its key and value, no value for a tombstone. `None`: not of a kind that this state is made of.
    ///
    /// # Errors
    /// Bytes that are not what their type says.
    fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self::Record>, StoredError>;

    /// Key and value of a record.
    ///
    /// # Errors
    /// A field that its version cannot carry.
    fn encode(record: &Self::Record) -> Result<(Vec<u8>, Option<Vec<u8>>), StoredError>;

    /// Takes one record into the state, when it is replayed and when it was just decided.
    fn apply(&mut self, record: Self::Record);

    /// Everything was replayed: deadlines begin.
    fn loaded(&mut self, now: Now);

    /// The names of the pieces that the state falls into.
    fn parts(&self) -> Vec<Rc<str>>;

    /// The records that make a piece what it is now, none where it is gone.
    fn records_of(&self, part: &str) -> Vec<Self::Record>;
}

/// What a decision comes to, besides its answer.
pub struct Outcome<M: StateMachine> {
    records: Vec<(M::Record, Apply)>,
    effects: Vec<M::Effect>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Apply {
    Now,
    /// The decision has changed the state itself.
    Done,
}

impl<M: StateMachine> Default for Outcome<M> {
    fn default() -> Self {
        Outcome { records: Vec::new(), effects: Vec::new() }
    }
}

impl<M: StateMachine> Outcome<M> {
    /// Appends a record; it is applied when the decision ends.
    pub fn record(&mut self, record: M::Record) {
        self.records.push((record, Apply::Now));
    }

    /// Appends a record that says what the decision has already made of the state.
    pub fn applied_record(&mut self, record: M::Record) {
        self.records.push((record, Apply::Done));
    }

    /// Adds what is to be done once the records are committed.
    pub fn effect(&mut self, effect: M::Effect) {
        self.effects.push(effect);
    }

    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// What tests look at: the records and the effects so far, taken out. The records that a driver would
    /// apply are told apart.
    #[cfg(test)]
    pub fn take(&mut self) -> (Taken<M::Record>, Vec<M::Effect>) {
        let records = std::mem::take(&mut self.records);
        (
            records.into_iter().map(|(record, apply)| (record, apply == Apply::Now)).collect(),
            std::mem::take(&mut self.effects),
        )
    }
}

/// Records, each with whether the driver applies it.
#[cfg(test)]
pub type Taken<R> = Vec<(R, bool)>;

/// Why a coordinator decides nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The internal topic does not exist yet.
    NoTopic,
    /// Another core or broker coordinates it, or this one has stopped.
    NotHere,
    /// Its records are being replayed.
    Loading,
    /// The append failed, or its partition takes no appends; whether the records count is not known.
    Failed,
    /// The records were not committed in time; they may be yet.
    TimedOut,
    /// One request names it over and over.
    NamedTooOften,
}

/// Records of one batch stay under this many bytes where several decisions share it.
const SHARED_BATCH_BYTES: usize = 512 << 10;
/// The state is written again when the log has grown by this many bytes since, and by twice what it took then.
const REWRITE_BYTES_MIN: u64 = 8 << 20;
/// How much of the log one replay step reads.
const REPLAY_BYTES: u32 = 1 << 20;

/// A coordinator over one partition, on the core that owns it.
pub struct Coordinator<M: StateMachine> {
    partition: Rc<Partition>,
    state: RefCell<State<M>>,
    /// The batch that this turn's decisions gather.
    gathering: RefCell<Option<Rc<Turn<M>>>>,
    /// The newest turn that is not settled.
    newest: RefCell<Option<Rc<Turn<M>>>>,
    /// Rises whenever the state is dropped; what a load began under an older one is not installed.
    generation: Cell<u64>,
    perform: Box<dyn Fn(Vec<M::Effect>)>,
    /// Bytes that a replay would read behind the last rewrite, and what that rewrite took.
    grown_bytes: Cell<u64>,
    rewrite_bytes: Cell<u64>,
    /// The log holds what the state does not, so that a rewrite would lose it.
    unheld: Cell<bool>,
    /// Of the newest replay.
    progress: Cell<Progress>,
}

enum State<M> {
    Loading,
    Active(M),
    /// Not loaded yet, or lost with a failed append.
    Gone,
    /// For good.
    Stopped,
    /// The log holds what cannot be read: it would be lost by going on.
    Unreadable,
}

/// A load that was begun, and under which generation.
pub struct Loading(u64);

/// The decisions that share one append.
struct Turn<M: StateMachine> {
    batch: RefCell<BatchBuilder>,
    effects: RefCell<Vec<M::Effect>>,
    committed: Cell<Option<bool>>,
    waiting: RefCell<Vec<Waker>>,
}

impl<M: StateMachine> Turn<M> {
    fn settle(&self, committed: bool) {
        self.committed.set(Some(committed));
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    async fn settled(&self) -> bool {
        poll_fn(|cx| match self.committed.get() {
            Some(committed) => Poll::Ready(committed),
            None => {
                self.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

/// An answer that may leave when what it rests on is committed.
pub struct Decided<M: StateMachine, R> {
    answer: R,
    after: Option<Rc<Turn<M>>>,
}

impl<M: StateMachine, R> Decided<M, R> {
    /// The answer, once it is true for good.
    ///
    /// # Errors
    /// `Failed` where the append failed.
    pub async fn committed(self) -> Result<R, Unavailable> {
        match self.after {
            Some(turn) if !turn.settled().await => Err(Unavailable::Failed),
            _ => Ok(self.answer),
        }
    }
}

/// A record's key and value.
type Encoded = (Vec<u8>, Option<Vec<u8>>);

/// What a record takes in a batch, at most.
fn record_bytes(key: &[u8], value: Option<&[u8]>) -> usize {
    const FRAMING_BYTES_MAX: usize = 32;
    FRAMING_BYTES_MAX + key.len() + value.map_or(0, <[u8]>::len)
}

impl<M: StateMachine> Coordinator<M> {
    /// A coordinator that still has to [`Coordinator::begin_load`]. `perform` is given effects, in order, when they
    /// may be done.
    pub fn new(partition: Rc<Partition>, perform: Box<dyn Fn(Vec<M::Effect>)>) -> Rc<Coordinator<M>> {
        Rc::new(Coordinator {
            partition,
            state: RefCell::new(State::Gone),
            gathering: RefCell::default(),
            newest: RefCell::default(),
            generation: Cell::new(0),
            perform,
            grown_bytes: Cell::new(0),
            rewrite_bytes: Cell::new(0),
            unheld: Cell::new(false),
            progress: Cell::default(),
        })
    }

    pub fn partition(&self) -> &Rc<Partition> {
        &self.partition
    }

    /// Looks at the state without deciding; `None` while there is none. What it sees may not be committed.
    pub fn peek<R>(&self, look: impl FnOnce(&M) -> R) -> Option<R> {
        match &*self.state.borrow() {
            State::Active(state) => Some(look(state)),
            State::Loading | State::Gone | State::Stopped | State::Unreadable => None,
        }
    }

    /// Decides at once; the answer may leave when [`Decided::committed`] says so.
    ///
    /// # Errors
    /// While the state is being loaded or is gone.
    pub fn decide<R>(
        self: &Rc<Self>,
        decide: impl FnOnce(&mut M, &mut Outcome<M>) -> R,
    ) -> Result<Decided<M, R>, Unavailable> {
        let mut outcome = Outcome::default();
        let answer = {
            let mut state = self.state.borrow_mut();
            let state = match &mut *state {
                State::Active(state) => state,
                State::Loading => return Err(Unavailable::Loading),
                State::Gone | State::Stopped | State::Unreadable => return Err(Unavailable::NotHere),
            };
            let answer = decide(state, &mut outcome);
            if !outcome.records.is_empty() && !self.gather(state, outcome.records) {
                None
            } else {
                Some(answer)
            }
        };
        let Some(answer) = answer else {
            self.fall();
            return Err(Unavailable::Failed);
        };
        let after = self.newest.borrow().clone().filter(|turn| turn.committed.get().is_none());
        match &after {
            Some(turn) => turn.effects.borrow_mut().extend(outcome.effects),
            None if outcome.effects.is_empty() => {}
            None => (self.perform)(outcome.effects),
        }
        Ok(Decided { answer, after })
    }

    /// Puts records into this turn's batch and into the state; false where they cannot be encoded.
    fn gather(self: &Rc<Self>, state: &mut M, records: Vec<(M::Record, Apply)>) -> bool {
        let mut encoded = Vec::with_capacity(records.len());
        for (record, apply) in records {
            match M::encode(&record) {
                Ok(bytes) => encoded.push(bytes),
                Err(error) => {
                    tracing::error!(partition = %self.partition.name(), %error, "a decided record cannot be encoded");
                    return false;
                }
            }
            if apply == Apply::Now {
                state.apply(record);
            }
        }
        self.append_encoded(&encoded);
        true
    }

    /// Puts encoded records into this turn's batch: all into one, as long as a segment can hold it.
    fn append_encoded(self: &Rc<Self>, encoded: &[Encoded]) {
        let bytes: usize = encoded.iter().map(|(key, value)| record_bytes(key, value.as_deref())).sum();
        let batch_bytes_max = self.partition.log().config().segment_bytes as usize - BATCH_HEADER_BYTES;
        let fits = |turn: &Turn<M>| turn.batch.borrow().uncompressed_bytes() + bytes <= batch_bytes_max;
        if self.gathering.borrow().as_ref().is_some_and(|turn| !fits(turn)) {
            self.end_turn();
        }
        let now_ms = clock::wall_ms();
        let mut turn = self.turn();
        for (key, value) in encoded {
            if bytes > batch_bytes_max {
                // What no segment holds is divided; a crash between the parts may leave the first ones.
                let own = record_bytes(key, value.as_deref());
                if turn.batch.borrow().uncompressed_bytes() + own > batch_bytes_max {
                    self.end_turn();
                }
                turn = self.turn();
            }
            turn.batch.borrow_mut().append(now_ms, Some(key), value.as_deref(), &[]);
        }
    }

    /// The turn that gathers now; a new one is appended at the end of this turn of the core.
    fn turn(self: &Rc<Self>) -> Rc<Turn<M>> {
        let mut gathering = self.gathering.borrow_mut();
        if let Some(turn) = &*gathering
            && turn.batch.borrow().uncompressed_bytes() < SHARED_BATCH_BYTES
        {
            return turn.clone();
        }
        if let Some(full) = gathering.take() {
            self.append(&full);
        }
        let turn = Rc::new(Turn {
            batch: RefCell::default(),
            effects: RefCell::default(),
            committed: Cell::new(None),
            waiting: RefCell::default(),
        });
        *gathering = Some(turn.clone());
        *self.newest.borrow_mut() = Some(turn.clone());
        let coordinator = self.clone();
        tasks::spawn(Queue::Requests, async move { coordinator.end_turn() }).detach();
        turn
    }

    fn end_turn(self: &Rc<Self>) {
        let turn = self.gathering.borrow_mut().take();
        if let Some(turn) = turn {
            self.append(&turn);
        }
    }

    /// Appends what a turn has gathered, and settles it when that is committed.
    fn append(self: &Rc<Self>, turn: &Rc<Turn<M>>) {
        let batch = turn.batch.take().build().expect("an uncompressed batch is built");
        self.grown_bytes.set(self.grown_bytes.get() + batch.len() as u64);
        let appended = self.partition.append_own(batch, Acks::All);
        let (coordinator, turn) = (self.clone(), turn.clone());
        tasks::spawn(Queue::Requests, async move {
            let kept = match appended {
                Ok(appended) => {
                    coordinator.partition.begin_promise(&appended);
                    coordinator.partition.keep_promise(&appended).await.map_err(|error| error.to_string())
                }
                Err(error) => Err(format!("{error:?}")),
            };
            turn.settle(kept.is_ok());
            let effects = turn.effects.take();
            match kept {
                Ok(()) => (coordinator.perform)(effects),
                Err(error) => {
                    tracing::error!(partition = %coordinator.partition.name(), error, "a coordinator's append failed");
                    coordinator.fall();
                }
            }
        })
        .detach();
    }

    /// Drops the state; what waits for it learns so by its effects being dropped.
    fn fall(&self) {
        self.generation.set(self.generation.get() + 1);
        self.state.replace(State::Gone);
        if let Some(turn) = self.gathering.take() {
            turn.settle(false);
            turn.effects.take();
        }
    }

    /// Decides nothing from now on.
    pub fn stop(&self) {
        self.fall();
        self.state.replace(State::Stopped);
    }

    /// Refuses decisions from now on until [`Coordinator::load`] is through; `None` where there is a state, one is
    /// being loaded, or the log cannot be read.
    pub fn begin_load(&self) -> Option<Loading> {
        let mut state = self.state.borrow_mut();
        matches!(*state, State::Gone).then(|| {
            *state = State::Loading;
            Loading(self.generation.get())
        })
    }

    /// Which state this is: it changes when the state is dropped.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Whether a replay would read far more than the state is made of, and the state is all that the log holds.
    pub fn wants_rewrite(&self) -> bool {
        !self.unheld.get() && self.grown_bytes.get() > REWRITE_BYTES_MIN.max(2 * self.rewrite_bytes.get())
    }

    /// Writes the whole state again, piece by piece between other decisions, and moves the log's start behind
    /// what that replaces. So a replay stays in bounds however long the topic lives, and whoever compacts it.
    /// Every piece is whole in its batch, and what changes meanwhile is appended after it. What replaces it is on
    /// the device before the start moves.
    ///
    /// # Errors
    /// The state went away before it was written, or could not be flushed: nothing is lost, the log's start stays.
    pub async fn rewrite(self: &Rc<Self>) -> Result<Offset, Unavailable> {
        let generation = self.generation.get();
        let same_state =
            || if self.generation.get() == generation { Ok(()) } else { Err(Unavailable::NotHere) };
        self.end_turn();
        let begin = self.partition.log().log_end();
        self.grown_bytes.set(0);
        let parts = self.peek(M::parts).ok_or(Unavailable::NotHere)?;
        for part in parts {
            let written = self.decide(|state, outcome| {
                state.records_of(&part).into_iter().for_each(|record| outcome.applied_record(record));
            })?;
            // One piece at a time: requests go between.
            written.committed().await?;
            same_state()?;
        }
        let log = self.partition.log();
        log.flushed_to(log.log_end()).await.map_err(|_offline| Unavailable::Failed)?;
        same_state()?;
        self.rewrite_bytes.set(self.grown_bytes.take());
        log.advance_log_start(begin);
        Ok(begin)
    }

    /// Replays the partition into `state`, then decides. Runs on the queue of its caller and gives way often.
    ///
    /// # Errors
    /// The log cannot be read, or holds what is not a record of this state's kinds; the coordinator stays
    /// unavailable. Records of unknown types are passed over, as Kafka does.
    pub async fn load(&self, loading: Loading, mut state: M) -> Result<Replayed, LoadError> {
        let replayed = self.replay(&mut state).await;
        if self.generation.get() == loading.0 {
            self.unheld.set(replayed.as_ref().is_ok_and(|replayed| replayed.unheld > 0));
            self.state.replace(match &replayed {
                Ok(_) => {
                    state.loaded(clock::now());
                    State::Active(state)
                }
                Err(_) => State::Unreadable,
            });
        }
        replayed
    }

    /// How far the newest replay has come.
    pub fn progress(&self) -> Progress {
        let is_done = !matches!(*self.state.borrow(), State::Loading | State::Gone);
        Progress { partitions: 1, partitions_done: u64::from(is_done), ..self.progress.get() }
    }

    /// Replays up to the log's end, as Kafka does: what was appended for a state that was lost since is answered for
    /// when it is written, so it has to be waited for.
    async fn replay(&self, state: &mut M) -> Result<Replayed, LoadError> {
        let offline = |error| LoadError::Read(ReadError::Offline(error));
        let log = self.partition.log();
        let mut replay = Replay::<M>::default();
        let start = log.log_start();
        let mut next = start;
        loop {
            let end = log.log_end();
            log.written_to(end).await.map_err(offline)?;
            let offsets = |to: Offset| to.0.abs_diff(start.0);
            self.progress.set(Progress {
                offsets: offsets(end),
                offsets_done: offsets(next),
                bytes_done: replay.bytes(),
                ..Progress::default()
            });
            if next >= end {
                break;
            }
            match log.read(next, end, REPLAY_BYTES, true) {
                Ok(Some(slice)) => {
                    let bytes = log.bytes_of(&slice).await.map_err(offline)?;
                    next = replay.take(state, &bytes, next).await?;
                }
                Ok(None) => break,
                Err(ReadError::Cold(cold)) => log.warm(cold).await.map_err(offline)?,
                Err(ReadError::Busy) => log.room().await,
                Err(error) => return Err(error.into()),
            }
        }
        self.grown_bytes.set(replay.bytes());
        Ok(replay.end())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::broker::partition::log_config;
    use crate::broker::replica::Leadership;
    use crate::config::TopicConfig;
    use crate::protocol::batch::BatchIter;
    use crate::protocol::compression::{Compression, CompressionLevels};
    use crate::runtime::shards::{self, RuntimeOptions};
    use crate::storage::{Appender, Log, Opening};
    use crate::types::{LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId};

    /// Words by name.
    #[derive(Default)]
    struct Words(BTreeMap<String, String>);

    impl StateMachine for Words {
        type Record = (String, Option<String>);
        type Effect = String;

        fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self::Record>, StoredError> {
            let text =
                |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| StoredError::Invalid("text"));
            match key {
                b"foreign" => Ok(None),
                b"unknown" => Err(StoredError::UnknownType(99)),
                key => Ok(Some((text(key)?, value.map(text).transpose()?))),
            }
        }

        fn encode(record: &Self::Record) -> Result<(Vec<u8>, Option<Vec<u8>>), StoredError> {
            match record.0.as_str() {
                "unencodable" => Err(StoredError::Invalid("name")),
                name => Ok((name.into(), record.1.clone().map(Into::into))),
            }
        }

        fn apply(&mut self, (name, word): Self::Record) {
            match word {
                Some(word) => self.0.insert(name, word),
                None => self.0.remove(&name),
            };
        }

        fn loaded(&mut self, _now: Now) {}

        fn parts(&self) -> Vec<Rc<str>> {
            self.0.keys().map(|name| name.as_str().into()).collect()
        }

        fn records_of(&self, part: &str) -> Vec<Self::Record> {
            self.0.get(part).map(|word| (part.to_owned(), Some(word.clone()))).into_iter().collect()
        }
    }

    type Performed = Rc<RefCell<Vec<String>>>;

    /// Runs `test` on a core with an appender.
    fn on_a_core<Fut: Future<Output = ()> + 'static>(
        test: impl Fn(PathBuf, Rc<Appender>) -> Fut + Send + Clone + 'static,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let options = RuntimeOptions { cores: vec![0], name: "test".into() };
        shards::run(&options, move || {
            let (test, path) = (test.clone(), path.clone());
            async move {
                let appender = Appender::new();
                let writer = tasks::spawn(Queue::Requests, appender.clone().run());
                test(path, appender.clone()).await;
                appender.stop();
                writer.await;
            }
        })
        .unwrap();
    }

    async fn partition(dir: &Path, appender: &Rc<Appender>) -> Rc<Partition> {
        let opening = Opening {
            clean: false,
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            topic_id: None,
            progress: None,
        };
        let config = TopicConfig::default();
        let log = Log::open(dir.join("words-0"), Rc::new(log_config(&config, 1000)), opening, appender);
        let leadership = Leadership {
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            isr: vec![NodeId(1)],
            replicas: 1,
        };
        let id = TopicId::random();
        Partition::leading("words".into(), id, PartitionId(0), log.await.unwrap(), leadership, &config)
    }

    async fn coordinator(partition: &Rc<Partition>) -> (Rc<Coordinator<Words>>, Performed) {
        let performed = Performed::default();
        let perform = performed.clone();
        let new = Coordinator::new(
            partition.clone(),
            Box::new(move |effects| perform.borrow_mut().extend(effects)),
        );
        load(&new).await.unwrap();
        (new, performed)
    }

    async fn load(coordinator: &Coordinator<Words>) -> Result<Replayed, LoadError> {
        let loading = coordinator.begin_load().expect("there is no state");
        coordinator.load(loading, Words::default()).await
    }

    /// Appends what no coordinator decided, and waits until it is committed.
    async fn append(partition: &Partition, batch: bytes::Bytes) {
        let appended = partition.append_own(batch, Acks::All).unwrap();
        partition.keep_promise(&appended).await.unwrap();
    }

    /// What a producer writes in a transaction: one word under each name.
    fn of_transaction(producer: i64, names: &[&str], word: &str) -> bytes::Bytes {
        let mut batch = BatchBuilder::new().producer(ProducerId(producer), 0, 0).transactional();
        for name in names {
            batch.append(1, Some(name.as_bytes()), Some(word.as_bytes()), &[]);
        }
        batch.build().unwrap()
    }

    /// The types of markers.
    enum Ends {
        Aborted = 0,
        Committed = 1,
    }

    /// The marker that ends a producer's transaction.
    fn end_of(producer: i64, how: Ends) -> bytes::Bytes {
        let mut marker = BatchBuilder::new().producer(ProducerId(producer), 0, -1).transactional().control();
        marker.append(1, Some(&[0, 0, 0, how as u8]), Some(&[0; 6]), &[]);
        marker.build().unwrap()
    }

    fn set(
        coordinator: &Rc<Coordinator<Words>>,
        name: &str,
        word: Option<&str>,
    ) -> Result<Decided<Words, ()>, Unavailable> {
        coordinator.decide(|_, outcome| {
            outcome.record((name.to_owned(), word.map(str::to_owned)));
            outcome.effect(format!("{name} is kept"));
        })
    }

    #[test]
    fn a_replay_under_way_says_how_far_it_is() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let (first, _) = coordinator(&partition).await;
            let word = "x".repeat(10_000);
            for n in 0..300 {
                set(&first, &format!("n{n}"), Some(&word)).unwrap().committed().await.unwrap();
            }
            let second = Coordinator::<Words>::new(partition.clone(), Box::new(|_| {}));
            assert_eq!((second.progress().partitions, second.progress().partitions_done), (1, 0));
            let mut seen = Vec::new();
            let loading = load(&second);
            let looking = async {
                while second.peek(|_| ()).is_none() {
                    seen.push(second.progress());
                    tasks::yield_now().await;
                }
            };
            let replayed = futures_lite::future::zip(loading, looking).await.0.unwrap();
            assert!(seen.is_sorted_by_key(|progress| progress.offsets_done));
            let between = |progress: &Progress| {
                (1..300).contains(&progress.offsets_done)
                    && (1..replayed.bytes).contains(&progress.bytes_done)
                    && (progress.offsets, progress.partitions_done) == (300, 0)
            };
            assert!(seen.iter().any(between), "{seen:?}");
            let done = second.progress();
            assert_eq!((done.partitions_done, done.offsets_done, done.bytes_done), (1, 300, replayed.bytes));
        });
    }

    fn words(coordinator: &Coordinator<Words>) -> BTreeMap<String, String> {
        coordinator.peek(|words| words.0.clone()).expect("a state")
    }

    #[test]
    fn decisions_of_a_turn_share_a_batch_and_their_answers_wait_for_it() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let (coordinator, performed) = coordinator(&partition).await;
            let first = set(&coordinator, "a", Some("1")).unwrap();
            let second = set(&coordinator, "b", Some("2")).unwrap();
            // A decision that only looks sees what is not committed, so its answer waits as well.
            let looks = coordinator.decide(|words, _| words.0.len()).unwrap();
            assert!(performed.borrow().is_empty() && looks.after.is_some());
            assert_eq!(looks.committed().await, Ok(2));
            first.committed().await.unwrap();
            second.committed().await.unwrap();
            assert_eq!(*performed.borrow(), ["a is kept", "b is kept"]);
            let slice = partition.log().read(Offset::ZERO, Offset(2), 1 << 20, true).unwrap().unwrap();
            let bytes = partition.log().bytes_of(&slice).await.unwrap();
            let counts: Vec<_> =
                BatchIter::new(&bytes).map(|batch| batch.unwrap().header.record_count.get()).collect();
            assert_eq!(counts, [2]);
            assert!(coordinator.decide(|_, _| ()).unwrap().after.is_none(), "nothing is under way");
        });
    }

    #[test]
    fn a_replay_gives_the_state_that_was_and_passes_over_what_it_cannot_read() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let (first, _) = coordinator(&partition).await;
            for (name, word) in [("a", Some("1")), ("b", Some("2")), ("a", Some("3")), ("b", None)] {
                set(&first, name, word).unwrap().committed().await.unwrap();
            }
            let mut foreign =
                BatchBuilder::new().compression(Compression::Zstd, CompressionLevels::default());
            foreign.append(1, Some(b"foreign"), Some(b"x"), &[]);
            foreign.append(1, Some(b"unknown"), Some(b"x"), &[]);
            foreign.append(1, None, Some(b"x"), &[]);
            foreign.append(1, Some(b"c"), Some(b"4"), &[]);
            append(&partition, foreign.build().unwrap()).await;
            let (second, _) = coordinator(&partition).await;
            let wanted = [("a", "3"), ("c", "4")].map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(words(&second), BTreeMap::from(wanted));
            first.stop();
            assert!(set(&first, "a", None).is_err() && first.begin_load().is_none());
        });
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_passed_over_in_silence() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let mut wrong = BatchBuilder::new();
            wrong.append(1, Some(b"a"), Some(b"1"), &[]);
            wrong.append(1, Some(&[0xFF]), Some(b"x"), &[]);
            append(&partition, wrong.build().unwrap()).await;
            let coordinator = Coordinator::<Words>::new(partition.clone(), Box::new(|_| {}));
            let failed = load(&coordinator).await;
            assert!(matches!(failed, Err(LoadError::Record { offset: Offset(1), .. })), "{failed:?}");
            assert!(coordinator.begin_load().is_none() && coordinator.peek(|_| ()).is_none());
        });
    }

    #[test]
    fn records_of_a_transaction_count_when_it_was_committed() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let begun = [(1, "kept"), (2, "aborted"), (3, "open")]
                .map(|(producer, name)| of_transaction(producer, &[name], "x"));
            for bytes in begun.into_iter().chain([end_of(2, Ends::Aborted), end_of(1, Ends::Committed)]) {
                append(&partition, bytes).await;
            }
            let (coordinator, _) = coordinator(&partition).await;
            assert_eq!(words(&coordinator).into_keys().collect::<Vec<_>>(), ["kept"]);
        });
    }

    #[test]
    fn of_two_transactions_the_record_that_was_written_last_counts() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            // A third one stays open over both ends.
            let begun = [(3, "open"), (1, "first"), (2, "second")]
                .map(|(producer, word)| of_transaction(producer, &["name"], word));
            for bytes in begun.into_iter().chain([2, 1].map(|producer| end_of(producer, Ends::Committed))) {
                append(&partition, bytes).await;
            }
            let (coordinator, _) = coordinator(&partition).await;
            assert_eq!(words(&coordinator)["name"], "second");
        });
    }

    #[test]
    fn a_partition_with_fewer_replicas_than_shall_be_in_sync_has_a_coordinator_all_the_same() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            partition.take_config(&TopicConfig { min_insync_replicas: 2, ..TopicConfig::default() });
            let (coordinator, _) = coordinator(&partition).await;
            set(&coordinator, "a", Some("1")).unwrap().committed().await.unwrap();
        });
    }

    #[test]
    fn a_record_of_a_transaction_does_not_replace_what_was_written_behind_it() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let (first, _) = coordinator(&partition).await;
            set(&first, "older", Some("before")).unwrap().committed().await.unwrap();
            let names = ["older", "newer", "removed"];
            append(&partition, of_transaction(1, &names, "of the transaction")).await;
            set(&first, "newer", Some("behind")).unwrap().committed().await.unwrap();
            set(&first, "removed", None).unwrap().committed().await.unwrap();
            append(&partition, end_of(1, Ends::Committed)).await;
            let (second, _) = coordinator(&partition).await;
            let wanted = [("newer", "behind"), ("older", "of the transaction")];
            let wanted = wanted.map(|(name, word)| (name.to_owned(), word.to_owned()));
            assert_eq!(words(&second), BTreeMap::from(wanted));
        });
    }

    #[test]
    fn what_was_appended_when_the_state_fell_is_in_the_next_one() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let (coordinator, performed) = coordinator(&partition).await;
            let waits = set(&coordinator, "a", Some("1")).unwrap();
            coordinator.end_turn();
            // The append is staged; nothing has been written.
            assert_eq!(partition.high_watermark(), Offset::ZERO);
            assert!(set(&coordinator, "unencodable", Some("2")).is_err());
            let loading = coordinator.begin_load().unwrap();
            assert!(coordinator.begin_load().is_none(), "there is one load at a time");
            assert!(matches!(coordinator.decide(|_, _| ()), Err(Unavailable::Loading)));
            coordinator.load(loading, Words::default()).await.unwrap();
            assert_eq!(words(&coordinator).into_keys().collect::<Vec<_>>(), ["a"]);
            waits.committed().await.unwrap();
            assert_eq!(*performed.borrow(), ["a is kept"]);
        });
    }

    #[test]
    fn a_load_that_began_before_the_state_fell_is_not_taken() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let coordinator = Coordinator::<Words>::new(partition.clone(), Box::new(|_| {}));
            let old = coordinator.begin_load().unwrap();
            coordinator.fall();
            let new = coordinator.begin_load().unwrap();
            coordinator.load(old, Words::default()).await.unwrap();
            assert!(matches!(coordinator.decide(|_, _| ()), Err(Unavailable::Loading)));
            coordinator.load(new, Words::default()).await.unwrap();
            assert!(coordinator.decide(|_, _| ()).is_ok());
        });
    }

    #[test]
    fn a_record_that_cannot_be_appended_drops_the_state_for_the_log() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let (coordinator, performed) = coordinator(&partition).await;
            set(&coordinator, "a", Some("1")).unwrap().committed().await.unwrap();
            let waits = set(&coordinator, "b", Some("2")).unwrap();
            assert!(matches!(set(&coordinator, "unencodable", Some("3")), Err(Unavailable::Failed)));
            assert_eq!(waits.committed().await, Err(Unavailable::Failed));
            assert!(matches!(coordinator.decide(|_, _| ()), Err(Unavailable::NotHere)));
            load(&coordinator).await.unwrap();
            assert_eq!(words(&coordinator).into_keys().collect::<Vec<_>>(), ["a"]);
            assert_eq!(*performed.borrow(), ["a is kept"]);
        });
    }

    #[test]
    fn a_decision_that_no_segment_holds_is_divided() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let log = partition.log();
            log.set_config(Rc::new(crate::storage::LogConfig {
                segment_bytes: 1 << 20,
                ..(*log.config()).clone()
            }));
            let (first, _) = coordinator(&partition).await;
            let word = "x".repeat(10_000);
            let large = first.decide(|_, outcome| {
                (0..300).for_each(|n| outcome.record((format!("n{n}"), Some(word.clone()))));
                // The last one does not fit beside the one before.
                for (name, kibibytes) in [("full", 600), ("some", 100), ("most", 1_000)] {
                    outcome.record((name.into(), Some("y".repeat(kibibytes << 10))));
                }
            });
            large.unwrap().committed().await.unwrap();
            assert!(partition.log().segment_count() > 1);
            let (second, _) = coordinator(&partition).await;
            assert_eq!(words(&second).len(), 303);
            assert_eq!(words(&second), words(&first));
        });
    }

    #[test]
    fn a_rewrite_keeps_the_state_and_shortens_the_replay() {
        on_a_core(|dir, appender| async move {
            let partition = partition(&dir, &appender).await;
            let (first, _) = coordinator(&partition).await;
            for n in 0..200 {
                let name = format!("n{}", n % 10);
                set(&first, &name, Some(&n.to_string())).unwrap().committed().await.unwrap();
            }
            let begin = {
                let rewriting = first.rewrite();
                let changing = async {
                    // Between two pieces of the rewrite.
                    tasks::yield_now().await;
                    set(&first, "n9", None).unwrap().committed().await.unwrap();
                };
                futures_lite::future::zip(rewriting, changing).await.0.unwrap()
            };
            assert_eq!((begin, partition.log().log_start()), (Offset(200), Offset(200)));
            // The ten pieces at least: without them the device would hold nothing of the state.
            assert!(partition.log().flushed() >= Offset(210), "{}", partition.log().flushed());
            let second = Coordinator::<Words>::new(partition.clone(), Box::new(|_| {}));
            let replayed = load(&second).await.unwrap();
            assert!(replayed.records <= 12, "{replayed:?}");
            assert_eq!(words(&second), words(&first));
            assert_eq!(words(&second).len(), 9);
        });
    }

    #[test]
    fn a_log_that_holds_more_than_the_state_is_not_written_again() {
        on_a_core(|dir, appender| async move {
            let word = "x".repeat(1 << 20);
            let large = |count: usize| {
                let mut batch = BatchBuilder::new();
                (0..count).for_each(|n| {
                    batch.append(1, Some(format!("n{n}").as_bytes()), Some(word.as_bytes()), &[])
                });
                batch.build().unwrap()
            };
            let mut tombstone = BatchBuilder::new();
            tombstone.append(1, Some(b"foreign"), None, &[]);
            let mut foreign = BatchBuilder::new();
            foreign.append(1, Some(b"foreign"), Some(b"x"), &[]);
            let mut open = BatchBuilder::new().producer(ProducerId(1), 0, 0).transactional();
            open.append(1, Some(b"a"), Some(b"x"), &[]);
            for (name, more, wanted) in
                [("tombstone", tombstone, true), ("foreign", foreign, false), ("open", open, false)]
            {
                let partition = partition(&dir.join(name), &appender).await;
                for bytes in [large(9), more.build().unwrap()] {
                    append(&partition, bytes).await;
                }
                let (coordinator, _) = coordinator(&partition).await;
                assert_eq!(coordinator.wants_rewrite(), wanted, "{name}");
            }
        });
    }
}
