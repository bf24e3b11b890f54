//! Incremental fetch sessions (KIP-227): what a consumer asked for, kept by the core that made the session.
//!
//! A session's id names its home: `id mod cores`. Ids, epochs, eviction and which partitions an incremental
//! answer may leave out follow Kafka 4.1. The cache is bounded by
//! `max.incremental.fetch.session.cache.slots`, split over the cores; when it is full, a session makes room
//! that was idle for two minutes, or is older than that and smaller than the new one. What all sessions
//! hold is bounded by [`HELD_BYTES_MAX`]: past it none is made, and one that would grow ends, so that its
//! client asks in full again.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;

use crate::types::{Offset, ShardId, TopicId};

/// How a request names a topic: by id from version 13 on, by name before.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TopicKey {
    Id(TopicId),
    Name(Arc<str>),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PartitionKey {
    pub topic: TopicKey,
    pub partition: i32,
}

/// What a consumer wants of one partition, in the words of FetchRequest. Epochs are -1 where absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub fetch_offset: i64,
    pub log_start_offset: i64,
    pub max_bytes: i32,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// The part of a fetch request that concerns sessions.
pub struct SessionRequest {
    pub session_id: i32,
    pub epoch: i32,
    pub by_topic_id: bool,
    pub wanted: Vec<(PartitionKey, Wanted)>,
    pub forgotten: Vec<PartitionKey>,
}

/// Which context a request runs in, and the partitions to read, in order.
#[derive(Debug)]
pub enum Plan {
    /// No session before or after.
    Sessionless(Vec<(PartitionKey, Wanted)>),
    /// A session is made from the answer where there is room ([`FetchSessions::create`]).
    Full(Vec<(PartitionKey, Wanted)>),
    /// The answer goes through [`FetchSessions::filter`] under this id and epoch.
    Incremental {
        session_id: i32,
        epoch: i32,
        wanted: Vec<(PartitionKey, Wanted)>,
    },
    Refused(SessionError),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionError {
    /// FETCH_SESSION_ID_NOT_FOUND
    NotFound,
    /// INVALID_FETCH_SESSION_EPOCH
    InvalidEpoch,
    /// FETCH_SESSION_TOPIC_ID_ERROR
    TopicIdMismatch,
}

/// What an answer says of one partition, as far as sessions care.
pub struct Outcome {
    pub key: PartitionKey,
    pub has_records: bool,
    pub high_watermark: Offset,
    pub log_start: Offset,
    /// An error, a diverging epoch or a preferred replica: always in the answer.
    pub notable: bool,
    pub is_error: bool,
}

pub const EPOCH_INITIAL: i32 = 0;
pub const EPOCH_FINAL: i32 = -1;
/// The session id that stands for "none".
pub const NO_SESSION: i32 = 0;
const EVICTION_MS: u64 = 120_000;
/// What the sessions of the process may hold: about 200,000 partitions.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a partition takes in a session, apart from its topic's name.
const PARTITION_BYTES: usize = 256;

fn held_bytes(key: &PartitionKey) -> usize {
    PARTITION_BYTES
        + match &key.topic {
            TopicKey::Id(_) => 0,
            TopicKey::Name(name) => name.len(),
        }
}

struct Cached {
    key: PartitionKey,
    wanted: Wanted,
    high_watermark: Offset,
    log_start: Offset,
}

struct Session {
    by_topic_id: bool,
    epoch: i32,
    created_ms: u64,
    last_used_ms: u64,
    /// Whether it was older than the eviction time when it was last used.
    evictable: bool,
    /// Partitions in the order in which they are read; one that had records moves to the end.
    order: BTreeMap<u64, Cached>,
    places: AHashMap<PartitionKey, u64>,
    next_place: u64,
    held_bytes: usize,
}

impl Session {
    fn insert(&mut self, cached: Cached) {
        self.held_bytes += held_bytes(&cached.key);
        self.places.insert(cached.key.clone(), self.next_place);
        self.order.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn update(&mut self, wanted: Vec<(PartitionKey, Wanted)>, forgotten: &[PartitionKey]) {
        for (key, wanted) in wanted {
            match self.places.get(&key).and_then(|place| self.order.get_mut(place)) {
                Some(cached) => cached.wanted = wanted,
                None => {
                    self.insert(Cached { key, wanted, high_watermark: Offset::NONE, log_start: Offset::NONE })
                }
            }
        }
        for key in forgotten {
            if let Some(place) = self.places.remove(key) {
                self.held_bytes -= held_bytes(key);
                self.order.remove(&place);
            }
        }
    }

    fn touch(&mut self, now_ms: u64) {
        self.last_used_ms = now_ms;
        self.evictable = now_ms.saturating_sub(self.created_ms) > EVICTION_MS;
    }

    fn must_answer(&mut self, outcome: &Outcome) -> bool {
        let Some(&place) = self.places.get(&outcome.key) else { return true };
        let Some(cached) = self.order.get_mut(&place) else { return true };
        let mut must = outcome.has_records || outcome.notable;
        if cached.high_watermark != outcome.high_watermark {
            must = true;
            cached.high_watermark = outcome.high_watermark;
        }
        if cached.log_start != outcome.log_start {
            must = true;
            cached.log_start = outcome.log_start;
        }
        if outcome.is_error {
            must = true;
            cached.high_watermark = Offset::NONE;
        }
        if must
            && outcome.has_records
            && let Some(cached) = self.order.remove(&place)
        {
            self.held_bytes -= held_bytes(&cached.key);
            self.insert(cached);
        }
        must
    }
}

/// The sessions whose home is one core.
pub struct FetchSessions {
    home: ShardId,
    cores: u16,
    slots: usize,
    held_bytes_max: usize,
    sessions: AHashMap<i32, Session>,
    /// The sum over all sessions.
    held_bytes: usize,
}

impl FetchSessions {
    /// `slots` is for all cores; each takes its part, at least one unless there are none.
    pub fn new(home: ShardId, cores: usize, slots: usize) -> FetchSessions {
        let cores = u16::try_from(cores.max(1)).expect("cores are counted in 16 bits");
        FetchSessions {
            home,
            cores,
            slots: slots.div_ceil(usize::from(cores)),
            held_bytes_max: HELD_BYTES_MAX / usize::from(cores),
            sessions: AHashMap::default(),
            held_bytes: 0,
        }
    }

    /// The core that keeps a session.
    pub fn home_of(session_id: i32, cores: usize) -> ShardId {
        ShardId(u16::try_from(session_id.unsigned_abs() as usize % cores.max(1)).expect("below cores"))
    }

    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// Finds, updates or ends the session of a request.
    pub fn begin(&mut self, request: SessionRequest, now_ms: u64) -> Plan {
        if request.epoch == EPOCH_INITIAL || request.epoch == EPOCH_FINAL {
            if request.session_id != NO_SESSION {
                self.end(request.session_id);
            }
            let wanted = last_of_each(request.wanted);
            return match request.epoch {
                EPOCH_FINAL => Plan::Sessionless(wanted),
                _ => Plan::Full(wanted),
            };
        }
        let Some(session) = self.sessions.get_mut(&request.session_id) else {
            return Plan::Refused(SessionError::NotFound);
        };
        if session.epoch != request.epoch {
            return Plan::Refused(SessionError::InvalidEpoch);
        }
        if session.by_topic_id != request.by_topic_id {
            return Plan::Refused(SessionError::TopicIdMismatch);
        }
        let asked = if request.forgotten.is_empty() { Vec::new() } else { request.wanted.clone() };
        let held_before = session.held_bytes;
        session.update(request.wanted, &request.forgotten);
        self.held_bytes = self.held_bytes - held_before + session.held_bytes;
        if session.order.is_empty() {
            self.end(request.session_id);
            return Plan::Sessionless(last_of_each(asked));
        }
        if session.held_bytes > held_before && self.held_bytes > self.held_bytes_max {
            self.end(request.session_id);
            return Plan::Refused(SessionError::NotFound);
        }
        session.touch(now_ms);
        session.epoch = next_epoch(session.epoch);
        Plan::Incremental {
            session_id: request.session_id,
            epoch: session.epoch,
            wanted: session.order.values().map(|cached| (cached.key.clone(), cached.wanted)).collect(),
        }
    }

    /// Makes a session of a full fetch and its answer; [`NO_SESSION`] where there is no room.
    pub fn create(
        &mut self,
        by_topic_id: bool,
        partitions: Vec<(Wanted, Outcome)>,
        random: u32,
        now_ms: u64,
    ) -> i32 {
        if self.sessions.len() >= self.slots && !self.make_room(partitions.len(), now_ms) {
            return NO_SESSION;
        }
        let held_bytes: usize = partitions.iter().map(|(_, outcome)| held_bytes(&outcome.key)).sum();
        if held_bytes > self.held_bytes_max {
            return NO_SESSION;
        }
        while self.held_bytes + held_bytes > self.held_bytes_max {
            if !self.make_room(partitions.len(), now_ms) {
                return NO_SESSION;
            }
        }
        let mut session = Session {
            by_topic_id,
            epoch: next_epoch(EPOCH_INITIAL),
            created_ms: now_ms,
            last_used_ms: now_ms,
            evictable: false,
            order: BTreeMap::new(),
            places: AHashMap::default(),
            next_place: 0,
            held_bytes: 0,
        };
        for (wanted, outcome) in partitions {
            session.insert(Cached {
                key: outcome.key,
                wanted,
                high_watermark: outcome.high_watermark,
                log_start: outcome.log_start,
            });
        }
        self.held_bytes += session.held_bytes;
        let id = self.free_id(random);
        self.sessions.insert(id, session);
        id
    }

    /// Which partitions of an incremental answer are sent; remembers what they said.
    pub fn filter(
        &mut self,
        session_id: i32,
        epoch: i32,
        outcomes: &[Outcome],
    ) -> Result<Vec<bool>, SessionError> {
        // A session that was evicted meanwhile still gets this answer; the next request learns of it.
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return Ok(vec![true; outcomes.len()]);
        };
        if session.epoch != epoch {
            return Err(SessionError::InvalidEpoch);
        }
        Ok(outcomes.iter().map(|outcome| session.must_answer(outcome)).collect())
    }

    fn end(&mut self, session_id: i32) {
        if let Some(session) = self.sessions.remove(&session_id) {
            self.held_bytes -= session.held_bytes;
        }
    }

    fn make_room(&mut self, size: usize, now_ms: u64) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(id, session)| (session.last_used_ms, **id));
        let Some((&id, session)) = oldest else { return false };
        if now_ms.saturating_sub(session.last_used_ms) > EVICTION_MS {
            self.end(id);
            return true;
        }
        let smallest = self
            .sessions
            .iter()
            .filter(|(_, session)| session.evictable)
            .map(|(id, session)| (session.order.len(), *id))
            .min();
        match smallest {
            Some((its_size, id)) if size > its_size => {
                self.end(id);
                true
            }
            _ => false,
        }
    }

    fn free_id(&self, random: u32) -> i32 {
        let cores = i64::from(self.cores);
        let range = i64::from(i32::MAX) / cores;
        let mut draw = i64::from(random) % range;
        loop {
            let id = i32::try_from(draw * cores + i64::from(self.home.0)).expect("below i32::MAX");
            if id != NO_SESSION && !self.sessions.contains_key(&id) {
                return id;
            }
            draw = (draw + 1) % range;
        }
    }
}

/// A partition that is named twice keeps its first place and its last word.
fn last_of_each(wanted: Vec<(PartitionKey, Wanted)>) -> Vec<(PartitionKey, Wanted)> {
    if wanted.len() < 2 {
        return wanted;
    }
    let mut places: AHashMap<PartitionKey, usize> = AHashMap::with_capacity(wanted.len());
    let mut kept: Vec<(PartitionKey, Wanted)> = Vec::with_capacity(wanted.len());
    for (key, wanted) in wanted {
        match places.get(&key) {
            Some(&place) => kept[place].1 = wanted,
            None => {
                places.insert(key.clone(), kept.len());
                kept.push((key, wanted));
            }
        }
    }
    kept
}

fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        epoch if epoch < 0 => EPOCH_FINAL,
        i32::MAX => 1,
        epoch => epoch + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic: TopicKey::Name("orders".into()), partition }
    }

    fn want(fetch_offset: i64) -> Wanted {
        Wanted {
            fetch_offset,
            log_start_offset: -1,
            max_bytes: 100,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn said(partition: i32, high_watermark: i64, has_records: bool) -> Outcome {
        Outcome {
            key: key(partition),
            has_records,
            high_watermark: Offset(high_watermark),
            log_start: Offset(0),
            notable: false,
            is_error: false,
        }
    }

    fn request(session_id: i32, epoch: i32, wanted: Vec<(PartitionKey, Wanted)>) -> SessionRequest {
        SessionRequest { session_id, epoch, by_topic_id: false, wanted, forgotten: vec![] }
    }

    fn with_session(cache: &mut FetchSessions) -> i32 {
        let plan = cache.begin(request(0, 0, vec![(key(0), want(0)), (key(1), want(0))]), 0);
        let Plan::Full(wanted) = plan else { panic!("{plan:?}") };
        let parts = wanted.into_iter().map(|(k, w)| (w, said(k.partition, 5, false))).collect();
        cache.create(false, parts, 77, 0)
    }

    #[test]
    fn an_incremental_answer_leaves_out_what_did_not_change() {
        let mut cache = FetchSessions::new(ShardId(1), 2, 10);
        let id = with_session(&mut cache);
        assert_eq!(FetchSessions::home_of(id, 2), ShardId(1));
        let Plan::Incremental { epoch, wanted, .. } = cache.begin(request(id, 1, vec![]), 1) else {
            panic!()
        };
        assert_eq!(wanted.len(), 2);
        let sent = cache.filter(id, epoch, &[said(0, 5, false), said(1, 6, true)]).expect("epoch fits");
        assert_eq!(sent, [false, true]);
    }

    #[test]
    fn a_partition_that_had_records_is_read_last_next_time() {
        let mut cache = FetchSessions::new(ShardId(0), 1, 10);
        let id = with_session(&mut cache);
        let Plan::Incremental { epoch, .. } = cache.begin(request(id, 1, vec![]), 1) else { panic!() };
        cache.filter(id, epoch, &[said(0, 6, true), said(1, 5, false)]).expect("epoch fits");
        let Plan::Incremental { wanted, .. } = cache.begin(request(id, 2, vec![]), 1) else { panic!() };
        assert_eq!(wanted.iter().map(|(k, _)| k.partition).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn wrong_epochs_ids_and_naming_are_refused() {
        let mut cache = FetchSessions::new(ShardId(0), 1, 10);
        let id = with_session(&mut cache);
        let refused = |plan| match plan {
            Plan::Refused(error) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(cache.begin(request(id, 2, vec![]), 1)), SessionError::InvalidEpoch);
        assert_eq!(refused(cache.begin(request(id + 1, 1, vec![]), 1)), SessionError::NotFound);
        let mut by_id = request(id, 1, vec![]);
        by_id.by_topic_id = true;
        assert_eq!(refused(cache.begin(by_id, 1)), SessionError::TopicIdMismatch);
    }

    #[test]
    fn sessions_hold_no_more_than_their_bound() {
        let mut cache = FetchSessions::new(ShardId(0), 1, 10);
        cache.held_bytes_max = 3 * held_bytes(&key(0));
        let id = with_session(&mut cache);
        let parts = |n| (0..n).map(|p| (want(0), said(p, 0, false))).collect::<Vec<_>>();
        assert_eq!(cache.create(false, parts(2), 1, 0), NO_SESSION);
        assert!(matches!(cache.begin(request(id, 1, vec![(key(2), want(0))]), 1), Plan::Incremental { .. }));
        let grows = cache.begin(request(id, 2, vec![(key(3), want(0))]), 1);
        assert!(matches!(grows, Plan::Refused(SessionError::NotFound)));
        assert_eq!((cache.count(), cache.held_bytes), (0, 0));
        let mut cache = FetchSessions::new(ShardId(0), 1, 10);
        let id = with_session(&mut cache);
        let mut forget = request(id, 1, vec![]);
        forget.forgotten = vec![key(1)];
        let Plan::Incremental { epoch, .. } = cache.begin(forget, 1) else { panic!() };
        cache.filter(id, epoch, &[said(0, 6, true)]).expect("epoch fits");
        assert_eq!(cache.held_bytes, held_bytes(&key(0)));
    }

    #[test]
    fn forgetting_everything_ends_the_session() {
        let mut cache = FetchSessions::new(ShardId(0), 1, 10);
        let id = with_session(&mut cache);
        let mut forget = request(id, 1, vec![]);
        forget.forgotten = vec![key(0), key(1)];
        assert!(matches!(cache.begin(forget, 1), Plan::Sessionless(_)));
        assert_eq!(cache.count(), 0);
    }

    #[test]
    fn a_full_cache_evicts_only_the_stale_or_the_smaller_old() {
        let mut cache = FetchSessions::new(ShardId(0), 1, 1);
        let first = with_session(&mut cache);
        let parts = |n| (0..n).map(|p| (want(0), said(p, 0, false))).collect::<Vec<_>>();
        assert_eq!(cache.create(false, parts(5), 1, 10), NO_SESSION);
        assert_ne!(cache.create(false, parts(1), 1, EVICTION_MS + 1), NO_SESSION);
        assert!(matches!(cache.begin(request(first, 1, vec![]), 0), Plan::Refused(SessionError::NotFound)));
    }
}
