//! What a log knows of the producers that wrote to it: epoch, the last five batches, an open transaction.
//!
//! A producer numbers its records; here its batches are told apart into the next one, one that is there
//! already, and one that must be refused. State is noted when a batch gets its offset. On disk it is
//! Kafka's `<offset>.snapshot`, state of everything below that offset, with one batch a producer:
//!
//! ```text
//!  0 2 version = 1 | 2 4 CRC32C of all after it | 6 4 number of entries | entries, 46 bytes each:
//!      0 8 producer id | 8 2 epoch | 10 4 last sequence | 14 8 last offset | 22 4 offset delta
//!     26 8 timestamp | 34 4 coordinator epoch | 38 8 first offset of the open transaction or -1
//! ```
//! Source: ProducerStateManager, ProducerAppendInfo, ProducerSnapshot.json.

use ahash::AHashMap;

use crate::protocol::batch::{BatchHeader, NO_PRODUCER_EPOCH, NO_SEQUENCE, decrement_sequence};
use crate::storage::checkpoint::Malformed;
use crate::types::{Offset, ProducerId};

/// Batches that are remembered for a producer, the number of requests that it may have in flight.
pub const BATCHES_REMEMBERED: usize = 5;

const VERSION: i16 = 1;
const ENTRIES_START: usize = 10;
const CRC_COVERS_FROM: usize = 6;
const ENTRY_BYTES: usize = 46;

/// One producer as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: ProducerId,
    pub epoch: i16,
    /// -1 where no batch of this epoch is known.
    pub last_sequence: i32,
    pub last_timestamp_ms: i64,
    pub coordinator_epoch: i32,
    pub current_transaction_start: Option<Offset>,
}

/// A remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RememberedBatch {
    pub last_sequence: i32,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    pub last_offset: Offset,
    /// The batch's largest timestamp.
    pub timestamp_ms: i64,
}

impl RememberedBatch {
    pub fn first_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }
}

/// What a batch says of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducedBy {
    pub producer_id: ProducerId,
    pub epoch: i16,
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub is_transactional: bool,
}

impl ProducedBy {
    /// `None` for a batch without a producer id.
    pub fn of(header: &BatchHeader) -> Option<ProducedBy> {
        header.has_producer_id().then(|| ProducedBy {
            producer_id: header.producer_id(),
            epoch: header.producer_epoch.get(),
            first_sequence: header.base_sequence.get(),
            last_sequence: header.last_sequence(),
            is_transactional: header.attributes().is_transactional(),
        })
    }
}

/// Why a batch may not follow what its producer wrote; the text is Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    OutOfOrderSequence(String),
    InvalidProducerEpoch(String),
    InvalidTransactionState(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    coordinator_epoch: i32,
    last_timestamp_ms: i64,
    transaction_start: Option<Offset>,
    batches: [RememberedBatch; BATCHES_REMEMBERED],
    count: u8,
}

impl Producer {
    fn new(epoch: i16) -> Producer {
        Producer {
            epoch,
            coordinator_epoch: -1,
            last_timestamp_ms: -1,
            transaction_start: None,
            batches: Default::default(),
            count: 0,
        }
    }

    /// Oldest first.
    fn batches(&self) -> &[RememberedBatch] {
        &self.batches[..usize::from(self.count)]
    }

    fn last(&self) -> Option<&RememberedBatch> {
        self.batches().last()
    }

    fn last_sequence(&self) -> i32 {
        self.last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.count = 0;
        }
    }

    fn remember(&mut self, batch: RememberedBatch) {
        if usize::from(self.count) == BATCHES_REMEMBERED {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[usize::from(self.count)] = batch;
        self.count += 1;
    }
}

/// The producers of one log.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    by_id: AHashMap<i64, Producer>,
    open_transactions: usize,
}

impl Producers {
    /// Looks at a client's batch that would get the offset `at`: `Ok(None)` where it may be appended,
    /// `Ok(Some(original))` where it is there already. `log` names the partition in texts.
    pub fn check(&self, by: &ProducedBy, at: Offset, log: &str) -> Result<Option<RememberedBatch>, Refused> {
        let Some(producer) = self.by_id.get(&by.producer_id.0) else { return Ok(None) };
        let id = by.producer_id;
        if producer.epoch == by.epoch {
            let same = |batch: &&RememberedBatch| {
                batch.first_sequence() == by.first_sequence && batch.last_sequence == by.last_sequence
            };
            if let Some(original) = producer.batches().iter().find(same) {
                return Ok(Some(*original));
            }
        }
        if by.epoch < producer.epoch {
            return Err(Refused::InvalidProducerEpoch(format!(
                "Epoch of producer {id} at offset {at} in {log} is {}, which is smaller than the last seen epoch {}",
                by.epoch, producer.epoch
            )));
        }
        if by.epoch != producer.epoch {
            if by.first_sequence != 0 && producer.epoch != NO_PRODUCER_EPOCH {
                return Err(Refused::OutOfOrderSequence(format!(
                    "Invalid sequence number for new epoch of producer {id}at offset {at} in partition {log}: \
                     {} (request epoch), {} (seq. number), {} (current producer epoch)",
                    by.epoch, by.first_sequence, producer.epoch
                )));
            }
        } else if !follows(producer.last_sequence(), by.first_sequence) {
            return Err(Refused::OutOfOrderSequence(format!(
                "Out of order sequence number for producer {id} at offset {at} in partition {log}: \
                 {} (incoming seq. number), {} (current end sequence number)",
                by.first_sequence,
                producer.last_sequence()
            )));
        }
        if producer.transaction_start.is_some() && !by.is_transactional {
            return Err(Refused::InvalidTransactionState(format!(
                "Expected transactional write from producer {id} at offset {at} in partition {log}"
            )));
        }
        Ok(None)
    }

    /// Notes a batch of records that stands in the log from `first_offset` to `last_offset`.
    pub fn note(&mut self, by: &ProducedBy, first_offset: Offset, last_offset: Offset, timestamp_ms: i64) {
        let producer = self.by_id.entry(by.producer_id.0).or_insert_with(|| Producer::new(by.epoch));
        producer.set_epoch(by.epoch);
        producer.last_timestamp_ms = timestamp_ms;
        let offset_delta = (last_offset.0 - first_offset.0) as i32;
        producer.remember(RememberedBatch {
            last_sequence: by.last_sequence,
            offset_delta,
            last_offset,
            timestamp_ms,
        });
        if by.is_transactional && producer.transaction_start.is_none() {
            producer.transaction_start = Some(first_offset);
            self.open_transactions += 1;
        }
    }

    /// Notes the marker that ends a producer's transaction.
    pub fn note_marker(&mut self, by: &ProducedBy, coordinator_epoch: i32, timestamp_ms: i64) {
        let producer = self.by_id.entry(by.producer_id.0).or_insert_with(|| Producer::new(by.epoch));
        producer.set_epoch(by.epoch);
        producer.coordinator_epoch = coordinator_epoch;
        producer.last_timestamp_ms = timestamp_ms;
        if producer.transaction_start.take().is_some() {
            self.open_transactions -= 1;
        }
    }

    /// Where the oldest open transaction began.
    pub fn first_open_transaction(&self) -> Option<Offset> {
        if self.open_transactions == 0 {
            return None;
        }
        self.by_id.values().filter_map(|producer| producer.transaction_start).min()
    }

    /// Forgets producers that have been silent for `expiration_ms`, except those in a transaction.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_id.retain(|_, producer| {
            producer.transaction_start.is_some() || now_ms - producer.last_timestamp_ms < expiration_ms
        });
        if self.by_id.is_empty() {
            self.by_id = AHashMap::new();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// In the order of their ids.
    pub fn states(&self) -> Vec<ProducerState> {
        let state = |(id, producer): (&i64, &Producer)| ProducerState {
            producer_id: ProducerId(*id),
            epoch: producer.epoch,
            last_sequence: producer.last_sequence(),
            last_timestamp_ms: producer.last_timestamp_ms,
            coordinator_epoch: producer.coordinator_epoch,
            current_transaction_start: producer.transaction_start,
        };
        let mut states: Vec<ProducerState> = self.by_id.iter().map(state).collect();
        states.sort_unstable_by_key(|state| state.producer_id);
        states
    }

    /// Remembers up to five batches a producer again from the log's tail, given in order; a snapshot has
    /// only the last one. Changes nothing for a producer whose last batch the tail does not hold. `true`
    /// where every producer that the tail does hold has five or all of its epoch.
    pub fn remember_tail(&mut self, tail: &[BatchHeader]) -> bool {
        let mut seen: AHashMap<i64, Producer> = AHashMap::new();
        for header in tail {
            let Some(by) = ProducedBy::of(header) else { continue };
            let known = self.by_id.get(&by.producer_id.0);
            if header.attributes().is_control() || known.is_none_or(|producer| producer.epoch != by.epoch) {
                continue;
            }
            let producer = seen.entry(by.producer_id.0).or_insert_with(|| Producer::new(by.epoch));
            producer.remember(RememberedBatch {
                last_sequence: by.last_sequence,
                offset_delta: header.last_offset_delta.get(),
                last_offset: header.last_offset(),
                timestamp_ms: header.max_timestamp.get(),
            });
        }
        let mut complete = true;
        for (id, producer) in seen {
            let Some(known) = self.by_id.get_mut(&id) else { continue };
            if known.last().map(|b| b.last_offset) != producer.last().map(|b| b.last_offset) {
                continue;
            }
            if known.count < producer.count {
                (known.batches, known.count) = (producer.batches, producer.count);
            }
            complete &=
                usize::from(known.count) == BATCHES_REMEMBERED || known.batches[0].first_sequence() == 0;
        }
        complete
    }

    /// The content of a `.snapshot` file.
    pub fn encode(&self) -> Vec<u8> {
        let mut ids: Vec<&i64> = self.by_id.keys().collect();
        ids.sort_unstable();
        let mut out = Vec::with_capacity(ENTRIES_START + ENTRY_BYTES * ids.len());
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(ids.len() as i32).to_be_bytes());
        for id in ids {
            let producer = &self.by_id[id];
            let none = RememberedBatch {
                last_sequence: NO_SEQUENCE,
                offset_delta: 0,
                last_offset: Offset::NONE,
                timestamp_ms: -1,
            };
            let last = producer.last().unwrap_or(&none);
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&producer.epoch.to_be_bytes());
            out.extend_from_slice(&last.last_sequence.to_be_bytes());
            out.extend_from_slice(&last.last_offset.0.to_be_bytes());
            out.extend_from_slice(&last.offset_delta.to_be_bytes());
            out.extend_from_slice(&producer.last_timestamp_ms.to_be_bytes());
            out.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
            out.extend_from_slice(&producer.transaction_start.unwrap_or(Offset::NONE).0.to_be_bytes());
        }
        let crc = crc32c::crc32c(&out[CRC_COVERS_FROM..]);
        out[2..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads the content of a `.snapshot` file.
    pub fn decode(bytes: &[u8]) -> Result<Producers, Malformed> {
        let short = || Malformed(format!("{} bytes are no producer snapshot", bytes.len()));
        let head = bytes.get(..ENTRIES_START).ok_or_else(short)?;
        let version = i16::from_be_bytes([head[0], head[1]]);
        if version != VERSION {
            return Err(Malformed(format!("snapshot has the unknown version {version}")));
        }
        let stored = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        let computed = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
        if stored != computed {
            return Err(Malformed(format!("snapshot has the CRC {stored}, its bytes have {computed}")));
        }
        let count = i32::from_be_bytes([head[6], head[7], head[8], head[9]]);
        let entries = &bytes[ENTRIES_START..];
        if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_BYTES)) != Some(entries.len())
        {
            return Err(short());
        }
        let mut producers = Producers::default();
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            producers.load(entry);
        }
        Ok(producers)
    }

    fn load(&mut self, entry: &[u8]) {
        let i64_at = |at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
        let i32_at = |at: usize| i32::from_be_bytes(entry[at..at + 4].try_into().expect("four bytes"));
        let mut producer = Producer::new(i16::from_be_bytes([entry[8], entry[9]]));
        producer.last_timestamp_ms = i64_at(26);
        producer.coordinator_epoch = i32_at(34);
        producer.transaction_start = Some(Offset(i64_at(38))).filter(|start| start.0 >= 0);
        self.open_transactions += usize::from(producer.transaction_start.is_some());
        if i64_at(14) >= 0 {
            producer.remember(RememberedBatch {
                last_sequence: i32_at(10),
                offset_delta: i32_at(22),
                last_offset: Offset(i64_at(14)),
                timestamp_ms: i64_at(26),
            });
        }
        self.by_id.insert(i64_at(0), producer);
    }
}

/// Whether a batch that begins with `next` may follow one that ended with `last` (-1: none in this epoch).
fn follows(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || next == 0 && last == i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(producer: i64, epoch: i16, first: i32, count: i32) -> ProducedBy {
        ProducedBy {
            producer_id: ProducerId(producer),
            epoch,
            first_sequence: first,
            last_sequence: crate::protocol::batch::increment_sequence(first, count - 1),
            is_transactional: false,
        }
    }

    /// Appends at `at` and gives the offset after it, or what `check` said.
    fn append(producers: &mut Producers, by: ProducedBy, at: i64) -> Result<Option<i64>, Refused> {
        if let Some(original) = producers.check(&by, Offset(at), "t-0")? {
            return Ok(Some(original.first_offset().0));
        }
        let count = i64::from(by.last_sequence.wrapping_sub(by.first_sequence) & i32::MAX);
        producers.note(&by, Offset(at), Offset(at + count), 1000 + at);
        Ok(None)
    }

    #[test]
    fn rejects_out_of_order_sequence() {
        let mut p = Producers::default();
        assert_eq!(append(&mut p, by(1, 0, 0, 3), 0), Ok(None));
        let Err(Refused::OutOfOrderSequence(text)) = append(&mut p, by(1, 0, 4, 1), 3) else { panic!() };
        assert_eq!(
            text,
            "Out of order sequence number for producer 1 at offset 3 in partition t-0: \
             4 (incoming seq. number), 2 (current end sequence number)"
        );
        assert_eq!(append(&mut p, by(1, 0, 3, 1), 3), Ok(None));
        assert_eq!(append(&mut p, by(2, 0, 77, 1), 4), Ok(None), "an unknown producer may start anywhere");
    }

    #[test]
    fn the_last_five_batches_are_duplicates() {
        let mut p = Producers::default();
        for i in 0..7 {
            assert_eq!(append(&mut p, by(1, 0, 2 * i, 2), i64::from(10 * i)), Ok(None));
        }
        for i in 2..7 {
            assert_eq!(append(&mut p, by(1, 0, 2 * i, 2), 100), Ok(Some(i64::from(10 * i))));
        }
        assert!(append(&mut p, by(1, 0, 2, 2), 100).is_err(), "the sixth last is no longer known");
        assert!(append(&mut p, by(1, 0, 12, 1), 100).is_err(), "part of a batch is no duplicate");
    }

    #[test]
    fn sequences_wrap_around() {
        let mut p = Producers::default();
        assert_eq!(append(&mut p, by(1, 0, i32::MAX - 1, 2), 0), Ok(None));
        assert_eq!(append(&mut p, by(1, 0, 0, 2), 2), Ok(None));
        assert_eq!(append(&mut p, by(1, 0, i32::MAX - 1, 2), 9), Ok(Some(0)));
        let mut p = Producers::default();
        assert_eq!(append(&mut p, by(1, 0, i32::MAX, 3), 0), Ok(None), "a batch across the end");
        assert_eq!(append(&mut p, by(1, 0, 2, 1), 3), Ok(None));
        assert_eq!(append(&mut p, by(1, 0, i32::MAX, 3), 9), Ok(Some(0)));
    }

    #[test]
    fn an_old_epoch_is_fenced_and_a_new_one_begins_at_zero() {
        let mut p = Producers::default();
        append(&mut p, by(1, 3, 0, 1), 0).unwrap();
        let Err(Refused::InvalidProducerEpoch(text)) = append(&mut p, by(1, 2, 1, 1), 1) else { panic!() };
        assert_eq!(
            text,
            "Epoch of producer 1 at offset 1 in t-0 is 2, which is smaller than the last seen epoch 3"
        );
        assert!(matches!(append(&mut p, by(1, 4, 1, 1), 1), Err(Refused::OutOfOrderSequence(_))));
        assert_eq!(append(&mut p, by(1, 4, 0, 1), 1), Ok(None));
        assert!(append(&mut p, by(1, 3, 0, 1), 2).is_err(), "batches of the old epoch are forgotten");
    }

    #[test]
    fn silent_producers_expire() {
        let mut p = Producers::default();
        append(&mut p, by(1, 0, 0, 1), 0).unwrap();
        append(&mut p, by(2, 0, 0, 1), 500).unwrap();
        p.expire(1999, 1000);
        assert_eq!(p.len(), 2);
        p.expire(2000, 1000);
        assert_eq!(p.states().iter().map(|s| s.producer_id.0).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_snapshot_comes_back_with_the_last_batch() {
        let mut p = Producers::default();
        for i in 0..3 {
            append(&mut p, by(7, 1, i, 1), i64::from(i)).unwrap();
        }
        let mut transactional = by(9, 0, 0, 2);
        transactional.is_transactional = true;
        p.note(&transactional, Offset(3), Offset(4), 50);
        let bytes = p.encode();
        assert_eq!(bytes.len(), 10 + 2 * 46);
        let back = Producers::decode(&bytes).unwrap();
        assert_eq!(back.states(), p.states());
        assert_eq!(back.first_open_transaction(), Some(Offset(3)));
        assert_eq!(back.check(&by(7, 1, 2, 1), Offset(5), "t-0").unwrap().unwrap().last_offset, Offset(2));
        assert!(back.check(&by(7, 1, 1, 1), Offset(5), "t-0").is_err());
        for cut in 0..bytes.len() {
            assert!(Producers::decode(&bytes[..cut]).is_err());
        }
        let mut flipped = bytes.clone();
        flipped[20] ^= 1;
        assert!(Producers::decode(&flipped).is_err());
        assert!(Producers::decode(&Producers::default().encode()).unwrap().is_empty());
    }
}
