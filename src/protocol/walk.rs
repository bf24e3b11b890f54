//! Checks a whole request against its schema before anything decodes it, without allocating.
//!
//! The decoder behind [`super::message`] reserves what a count claims, so a frame of some bytes could ask for
//! gigabytes. The walk goes over the body as the decoder will and keeps these true: every count is within the
//! bytes that are left, the sum of what all structures take in memory is within the caller's bound, strings are
//! UTF-8 and within Kafka's bound, varints end, null stands only where the schema has it, and a known tagged field
//! fills its length.
//!
//! The tables in `walk_table.rs` are generated from Kafka's schemas by `tests/schemas/generate_walk.py`.

use super::walk_table::MESSAGES;
use super::wire::{Reader, WireError};

/// What the map of a structure's unknown tagged fields takes with its first entry, in bytes, and what
/// each further entry adds.
const FIRST_TAG_BYTES: usize = 640;
const NEXT_TAG_BYTES: usize = 100;

/// Whether requests of this API and version have flexible (compact, tagged) headers and bodies; `None` for an
/// API key that Kafka's brokers do not have. A version past the newest counts as the newest.
pub fn is_flexible(api_key: i16, api_version: i16) -> Option<bool> {
    message(api_key).map(|message| api_version >= message.flexible_from)
}

/// The versions of this API's request that the table knows, those that Kafka 4.1 calls unstable included.
pub fn versions(api_key: i16) -> Option<std::ops::RangeInclusive<i16>> {
    message(api_key).map(|message| message.first..=message.last)
}

/// The API keys that the table knows, ascending.
pub fn api_keys() -> impl Iterator<Item = i16> {
    MESSAGES.iter().map(|message| message.api_key)
}

/// Walks a request's body. `decoded_bytes_max` bounds what the decoded message may take in memory. Bytes after
/// the message are accepted, as Kafka accepts them.
pub fn check_request(
    api_key: i16,
    api_version: i16,
    body: &[u8],
    decoded_bytes_max: usize,
) -> Result<(), WireError> {
    let message = message(api_key)
        .filter(|message| (message.first..=message.last).contains(&api_version))
        .ok_or(WireError::UnknownApi { api_key, api_version })?;
    let mut walk = Walk {
        what: message.name,
        version: api_version,
        flexible: api_version >= message.flexible_from,
        decoded_bytes_left: decoded_bytes_max,
        decoded_bytes_max,
    };
    walk.charge(message.body.decoded_bytes)?;
    walk.structure(&mut Reader::new(body), message.body)
}

fn message(api_key: i16) -> Option<&'static Message> {
    let index = MESSAGES.binary_search_by_key(&api_key, |message| message.api_key).ok()?;
    Some(&MESSAGES[index])
}

/// One request of the table.
pub(super) struct Message {
    pub name: &'static str,
    pub api_key: i16,
    pub first: i16,
    pub last: i16,
    /// The first version with compact types and tagged fields.
    pub flexible_from: i16,
    pub body: &'static Struct,
}

/// A structure: fields in wire order, the tagged ones wherever they stand in the schema.
pub(super) struct Struct {
    /// What it takes in memory when decoded, its own vectors' elements not counted.
    pub decoded_bytes: usize,
    pub fields: &'static [Field],
}

pub(super) struct Field {
    versions: (i16, i16),
    nullable: (i16, i16),
    tag: Option<u32>,
    kind: Kind,
}

pub(super) enum Kind {
    /// This many bytes of any value.
    Fixed(usize),
    Text,
    /// Bytes or records.
    Bytes,
    /// The element and what one takes in memory.
    Array(&'static Kind, usize),
    Struct(&'static Struct),
}

/// A field that cannot be null and is not tagged.
pub(super) const fn field(first: i16, last: i16, kind: Kind) -> Field {
    Field { versions: (first, last), nullable: (1, 0), tag: None, kind }
}

impl Field {
    pub const fn nullable(self, first: i16, last: i16) -> Field {
        Field { nullable: (first, last), ..self }
    }

    pub const fn tag(self, tag: u32) -> Field {
        Field { tag: Some(tag), ..self }
    }

    fn is_in(&self, version: i16) -> bool {
        (self.versions.0..=self.versions.1).contains(&version)
    }

    fn is_nullable_in(&self, version: i16) -> bool {
        (self.nullable.0..=self.nullable.1).contains(&version)
    }
}

struct Walk {
    what: &'static str,
    version: i16,
    flexible: bool,
    decoded_bytes_left: usize,
    decoded_bytes_max: usize,
}

impl Walk {
    fn charge(&mut self, bytes: usize) -> Result<(), WireError> {
        let left = self.decoded_bytes_left.checked_sub(bytes);
        self.decoded_bytes_left = left.ok_or(WireError::TooLarge(self.decoded_bytes_max))?;
        Ok(())
    }

    /// The schemas are finite trees, so the depth of the calls is theirs, not the sender's.
    fn structure(&mut self, reader: &mut Reader<'_>, structure: &Struct) -> Result<(), WireError> {
        for field in structure.fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.value(reader, &field.kind, field.is_nullable_in(self.version))?;
            }
        }
        if !self.flexible {
            return Ok(());
        }
        let mut unknown = 0;
        reader.tagged(|tag, bytes| match structure.fields.iter().find(|field| field.tag == Some(tag)) {
            Some(field) if field.is_in(self.version) => {
                let mut bytes = Reader::new(bytes);
                self.value(&mut bytes, &field.kind, field.is_nullable_in(self.version))?;
                if bytes.left().is_empty() { Ok(()) } else { Err(WireError::Malformed) }
            }
            Some(_) => Err(WireError::Malformed),
            None => {
                unknown += 1;
                self.charge(if unknown == 1 { FIRST_TAG_BYTES } else { NEXT_TAG_BYTES })
            }
        })
    }

    fn value(&mut self, reader: &mut Reader<'_>, kind: &Kind, nullable: bool) -> Result<(), WireError> {
        let is_null = match kind {
            Kind::Fixed(bytes) => {
                reader.take(*bytes, self.what)?;
                false
            }
            Kind::Text => reader.text(self.flexible, self.what)?.is_none(),
            Kind::Bytes => match reader.bytes_length(self.flexible, self.what)? {
                Some(length) => {
                    reader.take(length, self.what)?;
                    false
                }
                None => true,
            },
            Kind::Array(element, decoded_bytes) => match reader.count(self.flexible, self.what)? {
                Some(count) => {
                    self.charge(count.saturating_mul(*decoded_bytes))?;
                    for _ in 0..count {
                        self.value(reader, element, false)?;
                    }
                    false
                }
                None => true,
            },
            // A structure that may be null has a byte before it, negative for null.
            Kind::Struct(structure) => {
                if nullable && reader.i8(self.what)? < 0 {
                    return Ok(());
                }
                return self.structure(reader, structure);
            }
        };
        if is_null && !nullable {
            return Err(WireError::Length { what: self.what, length: -1 });
        }
        Ok(())
    }
}
