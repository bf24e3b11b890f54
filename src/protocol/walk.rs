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

#[cfg(test)]
mod tests {
    use super::super::wire::{put_length, put_text, put_uvarint};
    use super::*;
    use bytes::{BufMut, Bytes, BytesMut};
    use kafka_protocol::messages::{ApiKey, RequestKind};
    use proptest::prelude::*;
    use proptest::test_runner::TestRng;

    const NO_BOUND: usize = usize::MAX;

    /// Writes random bodies that follow the schema.
    struct Writer {
        rng: TestRng,
        version: i16,
        flexible: bool,
        /// Whether structures end in tags that no schema knows.
        unknown_tags: bool,
    }

    impl Writer {
        fn up_to(&mut self, max: u32) -> u32 {
            self.rng.next_u32() % (max + 1)
        }

        fn structure(&mut self, out: &mut BytesMut, structure: &Struct) {
            let fields = || structure.fields.iter().filter(|field| field.is_in(self.version));
            let (tagged, plain): (Vec<_>, Vec<_>) = fields().partition(|field| field.tag.is_some());
            for field in plain {
                self.value(out, &field.kind, field.is_nullable_in(self.version));
            }
            if !self.flexible {
                return;
            }
            let unknown = if self.unknown_tags { self.up_to(2) } else { 0 };
            put_uvarint(out, tagged.len() as u32 + unknown);
            for field in tagged {
                let mut value = BytesMut::new();
                self.value(&mut value, &field.kind, field.is_nullable_in(self.version));
                put_uvarint(out, field.tag.unwrap());
                put_uvarint(out, value.len() as u32);
                out.put_slice(&value);
            }
            for tag in 0..unknown {
                let length = self.up_to(9);
                put_uvarint(out, 100 + tag);
                put_uvarint(out, length);
                out.put_bytes(7, length as usize);
            }
        }

        fn value(&mut self, out: &mut BytesMut, kind: &Kind, nullable: bool) {
            let null = nullable && self.up_to(3) == 0;
            match kind {
                Kind::Fixed(bytes) => (0..*bytes).for_each(|_| out.put_u8(self.rng.next_u32() as u8)),
                Kind::Text => {
                    let text = "äb".repeat(self.up_to(3) as usize);
                    put_text(out, (!null).then_some(&text), self.flexible);
                }
                Kind::Bytes => {
                    let length = self.up_to(20) as usize;
                    put_length(out, (!null).then_some(length), self.flexible);
                    out.put_bytes(1, if null { 0 } else { length });
                }
                Kind::Array(element, _) => {
                    let count = if null { 0 } else { self.up_to(3) };
                    put_length(out, (!null).then_some(count as usize), self.flexible);
                    (0..count).for_each(|_| self.value(out, element, false));
                }
                Kind::Struct(_) if null => out.put_i8(-1),
                Kind::Struct(structure) => {
                    if nullable {
                        out.put_i8(1);
                    }
                    self.structure(out, structure);
                }
            }
        }
    }

    fn body(rng: TestRng, message: &Message, version: i16, unknown_tags: bool) -> Bytes {
        let flexible = version >= message.flexible_from;
        let mut out = BytesMut::new();
        Writer { rng, version, flexible, unknown_tags }.structure(&mut out, message.body);
        out.freeze()
    }

    /// Versions that Kafka 4.1 calls unstable and the codec behind `message` does not have.
    const UNKNOWN_TO_THE_CODEC: [(i16, i16); 5] = [(8, 10), (9, 10), (22, 6), (88, 0), (89, 0)];

    fn all_versions() -> impl Iterator<Item = (&'static Message, i16)> {
        MESSAGES.iter().flat_map(|message| (message.first..=message.last).map(move |v| (message, v)))
    }

    /// All that the codec knows too.
    fn known_versions() -> impl Iterator<Item = (&'static Message, i16)> {
        all_versions()
            .filter(|(message, version)| !UNKNOWN_TO_THE_CODEC.contains(&(message.api_key, *version)))
    }

    fn decode(message: &Message, version: i16, body: &Bytes) -> Option<(RequestKind, usize)> {
        let mut left = body.clone();
        let api_key = ApiKey::try_from(message.api_key).expect("the codec knows every API");
        let decoded = RequestKind::decode(api_key, &mut left, version).ok()?;
        Some((decoded, left.len()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_api_and_version_is_walked_as_the_codec_decodes_it(
            rng in Just(()).prop_perturb(|_, rng| rng), unknown_tags: bool
        ) {
            for (message, version) in known_versions() {
                let body = body(rng.clone(), message, version, unknown_tags);
                let walked = check_request(message.api_key, version, &body, NO_BOUND);
                prop_assert_eq!(walked, Ok(()), "{} {}", message.name, version);
                let (_, left) = decode(message, version, &body)
                    .unwrap_or_else(|| panic!("{} {version}: the codec refuses {body:?}", message.name));
                prop_assert_eq!(left, 0, "{} {}", message.name, version);
            }
        }

        #[test]
        fn a_cut_body_is_refused(rng in Just(()).prop_perturb(|_, rng| rng), cut in 1usize..30) {
            for (message, version) in known_versions() {
                let body = body(rng.clone(), message, version, false);
                if cut <= body.len() {
                    let cut = &body[..body.len() - cut];
                    prop_assert!(check_request(message.api_key, version, cut, NO_BOUND).is_err());
                }
            }
        }

        #[test]
        fn what_the_codec_takes_after_damage_the_walk_takes_too(
            rng in Just(()).prop_perturb(|_, rng| rng), damage: u64
        ) {
            for (message, version) in known_versions() {
                let mut bytes = body(rng.clone(), message, version, true).to_vec();
                if let Some(at) = (damage as usize).checked_rem(bytes.len()) {
                    bytes[at] ^= (damage >> 56) as u8;
                }
                let bytes = Bytes::from(bytes);
                // The decoder reserves what a count claims: only walked bytes may come to it.
                if check_request(message.api_key, version, &bytes, 1 << 20).is_ok() {
                    let _ = decode(message, version, &bytes);
                }
            }
        }

        #[test]
        fn no_bytes_make_the_walk_panic(bytes: Vec<u8>) {
            for (message, version) in all_versions() {
                let _ = check_request(message.api_key, version, &bytes, 1 << 20);
            }
        }
    }

    #[test]
    fn structures_take_at_least_what_the_codec_takes() {
        use kafka_protocol::messages::*;
        fn of(api_key: i16) -> &'static Struct {
            message(api_key).unwrap().body
        }
        fn element(structure: &Struct, index: usize) -> (&Kind, usize) {
            let Kind::Array(element, bytes) = &structure.fields[index].kind else { panic!("no array") };
            (element, *bytes)
        }
        fn elements(structure: &Struct, index: usize) -> &Struct {
            let (Kind::Struct(inner), bytes) = element(structure, index) else { panic!("no structure") };
            assert_eq!(bytes, inner.decoded_bytes);
            inner
        }
        assert!(of(0).decoded_bytes >= size_of::<ProduceRequest>());
        assert!(of(1).decoded_bytes >= size_of::<FetchRequest>());
        let topic = elements(of(19), 0);
        assert!(topic.decoded_bytes >= size_of::<create_topics_request::CreatableTopic>());
        let assignment = elements(topic, 3);
        assert!(assignment.decoded_bytes >= size_of::<create_topics_request::CreatableReplicaAssignment>());
        let topic = elements(of(2), 2);
        assert!(topic.decoded_bytes >= size_of::<list_offsets_request::ListOffsetsTopic>());
        let partition = elements(topic, 1);
        assert!(partition.decoded_bytes >= size_of::<list_offsets_request::ListOffsetsPartition>());
        let topic = elements(of(3), 0);
        assert!(topic.decoded_bytes >= size_of::<metadata_request::MetadataRequestTopic>());
    }

    #[test]
    fn a_count_that_lies_is_refused_before_anything_is_reserved() {
        // Metadata 1 with 2^31 - 1 topics, and Metadata 9 with 2^28.
        let plain = [0x7f, 0xff, 0xff, 0xff];
        assert!(matches!(check_request(3, 1, &plain, NO_BOUND), Err(WireError::Length { .. })));
        let compact = [0x80, 0x80, 0x80, 0x80, 0x01, 0, 0, 0, 0];
        assert!(matches!(check_request(3, 9, &compact, NO_BOUND), Err(WireError::Length { .. })));
    }

    #[test]
    fn the_bound_on_decoded_bytes_holds() {
        // 1,000 topics of 3 bytes each: name of length 1 (2 bytes and the character).
        let mut body = BytesMut::new();
        body.put_i32(1000);
        (0..1000).for_each(|_| body.put_slice(b"\x00\x01a"));
        body.put_u8(1);
        assert_eq!(check_request(3, 4, &body, 100_000), Ok(()));
        assert_eq!(check_request(3, 4, &body, 50_000), Err(WireError::TooLarge(50_000)));
    }

    #[test]
    fn null_text_that_is_not_utf8_and_unknown_versions_are_refused() {
        let null_name = [0, 0, 0, 1, 0xff, 0xff, 1];
        assert!(check_request(3, 4, &null_name, NO_BOUND).is_err());
        let not_utf8 = [0, 0, 0, 1, 0, 1, 0xff, 1];
        assert!(matches!(check_request(3, 4, &not_utf8, NO_BOUND), Err(WireError::NotUtf8(_))));
        assert!(matches!(check_request(3, 14, &[], NO_BOUND), Err(WireError::UnknownApi { .. })));
        assert!(matches!(check_request(1000, 0, &[], NO_BOUND), Err(WireError::UnknownApi { .. })));
    }

    #[test]
    fn flexible_headers_begin_where_kafka_begins_them() {
        for (api_key, first) in [(0, 9), (1, 12), (3, 9), (18, 3), (36, 2), (60, 0)] {
            assert_eq!(is_flexible(api_key, first - 1), Some(false));
            assert_eq!(is_flexible(api_key, first), Some(true));
        }
        assert_eq!(is_flexible(17, 1), Some(false));
        assert_eq!(is_flexible(4711, 0), None);
    }
}
