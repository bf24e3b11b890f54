//! What a producer sent, what it was told, and whether a partition agrees.

use std::collections::HashMap;

use crate::harness::batch::Stored;

/// One batch: its number in the partition, and its records' count.
#[derive(Clone, Debug)]
pub struct Sent {
    pub number: u64,
    pub count: usize,
    /// The base offset that was acknowledged.
    pub acknowledged: Option<i64>,
}

#[derive(Debug)]
pub struct Ledger {
    pub topic: String,
    pub partition: i32,
    pub idempotent: bool,
    pub sent: Vec<Sent>,
    /// What a consumer saw: CRC by base offset.
    pub seen: HashMap<i64, u32>,
}

/// The name inside each record: batch number and place in the batch.
pub fn value_of(number: u64, index: usize, padding: usize) -> Vec<u8> {
    let mut value = format!("{number}:{index}:").into_bytes();
    // Text that shrinks, but not to nothing.
    value.extend((0..padding).map(|i| b'a' + ((number as usize * 31 + i * i) % 17) as u8));
    value
}

fn named_in(value: &[u8]) -> Option<(u64, usize)> {
    let text = String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
    let mut parts = text.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Ledger {
    pub fn acknowledged(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(|sent| sent.acknowledged.is_some())
    }

    /// Holds the ledger against every batch of the partition, from offset 0 on.
    pub fn check(&self, held: &[Stored]) -> Result<(), String> {
        let here = format!("{}-{}", self.topic, self.partition);
        // Where each batch is: base offset and CRC by number.
        let mut found: HashMap<u64, i64> = HashMap::new();
        let mut next_offset = 0;
        let mut last_number = None;
        for batch in held {
            if batch.base_offset != next_offset {
                return Err(format!("{here}: offset {} follows {next_offset}", batch.base_offset));
            }
            next_offset = batch.last_offset() + 1;
            let records = batch.records().map_err(|e| format!("{here} at {}: {e}", batch.base_offset))?;
            let mut number = None;
            for (place, (offset, _, record)) in records.iter().enumerate() {
                let value = record.value.as_deref().unwrap_or_default();
                let Some((batch_number, index)) = named_in(value) else {
                    return Err(format!("{here} at {offset}: a record that nobody sent"));
                };
                if index != place || number.is_some_and(|n| n != batch_number) {
                    return Err(format!(
                        "{here} at {offset}: record {batch_number}:{index} in place {place}"
                    ));
                }
                number = Some(batch_number);
            }
            let Some(number) = number else { return Err(format!("{here}: an empty batch")) };
            if let Some(first) = found.insert(number, batch.base_offset) {
                return Err(format!(
                    "{here}: batch {number} is doubled, at {first} and {}",
                    batch.base_offset
                ));
            }
            if last_number.is_some_and(|last| number <= last) {
                return Err(format!("{here}: batch {number} stands after {}", last_number.unwrap_or(0)));
            }
            if self.idempotent && number != last_number.map_or(0, |last: u64| last + 1) {
                return Err(format!(
                    "{here}: batch {number} follows {last_number:?} of an idempotent producer"
                ));
            }
            last_number = Some(number);
            let count = self.sent.get(number as usize).map(|sent| sent.count);
            if count != Some(records.len()) {
                return Err(format!(
                    "{here}: batch {number} has {} records, {count:?} were sent",
                    records.len()
                ));
            }
        }
        for sent in self.acknowledged() {
            match found.get(&sent.number) {
                None => return Err(format!("{here}: batch {} was acknowledged and is lost", sent.number)),
                Some(at) if Some(*at) != sent.acknowledged => {
                    return Err(format!(
                        "{here}: batch {} is at {at}, {:?} was acknowledged",
                        sent.number, sent.acknowledged
                    ));
                }
                _ => {}
            }
        }
        let crcs: HashMap<i64, u32> = held.iter().map(|b| (b.base_offset, b.crc)).collect();
        for (offset, crc) in &self.seen {
            if crcs.get(offset) != Some(crc) {
                return Err(format!("{here}: a consumer saw another batch at offset {offset}"));
            }
        }
        Ok(())
    }
}
