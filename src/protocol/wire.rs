//! The primitives of Kafka's wire format, each bounded by the bytes that are left.
//!
//! [`Reader`] walks a slice and never allocates; [`WireError`] is what every decoder of this room gives for
//! bytes that are no message. Integers are big endian. A varint is 7 bits a byte, lowest first, the high
//! bit set on all but the last; where Kafka drops bits past the type's width, so do we.
//!
//! Source: Kafka's protocol guide, KIP-482 (compact types, tagged fields).

use bytes::{BufMut, Bytes, BytesMut};

pub use kafka_protocol::protocol::StrBytes;

use crate::types::TopicId;

/// Kafka's bound on the bytes of a string.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Why some bytes are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the bytes end inside {0}")]
    Truncated(&'static str),
    #[error("{what} has the length {length}")]
    Length { what: &'static str, length: i64 },
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    #[error("a varint does not end")]
    Varint,
    #[error("a boolean, a tagged field or a nested structure is malformed")]
    Malformed,
    #[error("the message would take more than {0} bytes when decoded")]
    TooLarge(usize),
    #[error("no API has the key {api_key} and the version {api_version}")]
    UnknownApi { api_key: i16, api_version: i16 },
    #[error("{0}")]
    Codec(String),
}

/// A cursor over a slice; every read is checked against what is left.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes }
    }

    /// The bytes not read yet.
    pub fn left(&self) -> &'a [u8] {
        self.left
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.left.split_at_checked(count).ok_or(WireError::Truncated(what))?;
        self.left = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.left.split_first_chunk::<N>().ok_or(WireError::Truncated(what))?;
        self.left = rest;
        Ok(*taken)
    }

    pub fn i8(&mut self, what: &'static str) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array(what)?))
    }

    pub fn i16(&mut self, what: &'static str) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    pub fn i32(&mut self, what: &'static str) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    pub fn topic_id(&mut self, what: &'static str) -> Result<TopicId, WireError> {
        Ok(TopicId(uuid::Uuid::from_bytes(self.array(what)?)))
    }

    /// An unsigned varint of at most 5 bytes.
    #[inline]
    pub fn uvarint(&mut self, what: &'static str) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array(what)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Varint)
    }

    /// A zig-zag varint of at most 5 bytes.
    #[inline]
    pub fn varint(&mut self, what: &'static str) -> Result<i32, WireError> {
        let raw = self.uvarint(what)?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A zig-zag varint of at most 10 bytes.
    #[inline]
    pub fn varlong(&mut self, what: &'static str) -> Result<i64, WireError> {
        let mut raw = 0u64;
        for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let [byte] = self.array(what)?;
            raw |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(WireError::Varint)
    }

    /// The length of bytes or records: `None` is null. Compact lengths are stored plus one.
    pub fn bytes_length(&mut self, compact: bool, what: &'static str) -> Result<Option<usize>, WireError> {
        if compact {
            Ok((self.uvarint(what)? as usize).checked_sub(1))
        } else {
            optional_length(i64::from(self.i32(what)?), what)
        }
    }

    /// The count of an array; `None` is null. A count above the bytes that are left is refused, as each
    /// element takes at least one.
    pub fn count(&mut self, compact: bool, what: &'static str) -> Result<Option<usize>, WireError> {
        match self.bytes_length(compact, what)? {
            Some(count) if count > self.left.len() => Err(WireError::Length { what, length: count as i64 }),
            count => Ok(count),
        }
    }

    /// A string's bytes, checked to be UTF-8 and within Kafka's bound; `None` is null.
    pub fn text(&mut self, compact: bool, what: &'static str) -> Result<Option<&'a str>, WireError> {
        let length = if compact {
            (self.uvarint(what)? as usize).checked_sub(1)
        } else {
            optional_length(i64::from(self.i16(what)?), what)?
        };
        let Some(length) = length else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(WireError::Length { what, length: length as i64 });
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| WireError::NotUtf8(what))
    }

    /// Calls `field` with every tag and its bytes. A tag may come more than once, as in Kafka; the sum of all
    /// is bounded by the bytes that are left.
    pub fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &'a [u8]) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let count = self.uvarint("tagged fields")?;
        for _ in 0..count {
            let tag = self.uvarint("a tag")?;
            let length = self.uvarint("a tagged field's length")?;
            field(tag, self.take(length as usize, "a tagged field")?)?;
        }
        Ok(())
    }
}

/// What the hot decoders may take for a body: 8 bytes for one and 64 KiB, above what any honest request needs.
/// It keeps a body of millions of empty elements from becoming gigabytes.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    pub fn of(body: &[u8]) -> Budget {
        Budget { left: body.len().saturating_mul(8).saturating_add(64 << 10) }
    }

    /// Reads an array's count and then its elements, of which each takes `element_bytes_min` or more on the
    /// wire. `None` is a null array.
    pub fn array<'a, T>(
        &mut self,
        reader: &mut Reader<'a>,
        compact: bool,
        element_bytes_min: usize,
        what: &'static str,
        mut element: impl FnMut(&mut Reader<'a>, &mut Budget) -> Result<T, WireError>,
    ) -> Result<Option<Vec<T>>, WireError> {
        let Some(count) = reader.count(compact, what)? else { return Ok(None) };
        if count > reader.left().len() / element_bytes_min {
            return Err(WireError::Truncated(what));
        }
        let bytes = count * size_of::<T>();
        self.left = self.left.checked_sub(bytes).ok_or(WireError::TooLarge(bytes))?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(reader, self)?);
        }
        Ok(Some(elements))
    }
}

/// A string or array that the schema does not let be null.
pub(super) fn required<T>(value: Option<T>, what: &'static str) -> Result<T, WireError> {
    value.ok_or(WireError::Length { what, length: -1 })
}

fn optional_length(length: i64, what: &'static str) -> Result<Option<usize>, WireError> {
    match length {
        -1 => Ok(None),
        0.. => Ok(Some(length as usize)),
        _ => Err(WireError::Length { what, length }),
    }
}

/// A string that shares `owner`'s allocation; `text` must be a slice of it.
pub fn share(owner: &Bytes, text: &str) -> StrBytes {
    StrBytes::from_utf8(owner.slice_ref(text.as_bytes())).expect("the text was checked when it was read")
}

/// Appends an unsigned varint.
#[inline]
pub fn put_uvarint(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Appends a zig-zag varint of 32 bits.
#[inline]
pub fn put_varint(out: &mut impl BufMut, value: i32) {
    put_uvarint(out, ((value << 1) ^ (value >> 31)) as u32);
}

/// Appends a zig-zag varint of 64 bits.
#[inline]
pub fn put_varlong(out: &mut impl BufMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.put_u8(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw as u8);
}

/// The bytes that [`put_uvarint`] takes for `value`.
pub fn uvarint_bytes(value: u32) -> usize {
    (32 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// The bytes that [`put_varint`] takes for `value`.
pub fn varint_bytes(value: i32) -> usize {
    uvarint_bytes(((value << 1) ^ (value >> 31)) as u32)
}

/// The bytes that [`put_varlong`] takes for `value`.
pub fn varlong_bytes(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a string or null in either form. A string above Kafka's bound is cut at a character's start,
/// so that an answer can always be given (only error texts can be that long).
pub fn put_text(out: &mut BytesMut, text: Option<&str>, compact: bool) {
    let text = text.map(|text| &text[..text.floor_char_boundary(STRING_BYTES_MAX)]);
    match (text, compact) {
        (None, true) => out.put_u8(0),
        (None, false) => out.put_i16(-1),
        (Some(text), true) => put_uvarint(out, text.len() as u32 + 1),
        (Some(text), false) => out.put_i16(text.len() as i16),
    }
    out.put_slice(text.unwrap_or_default().as_bytes());
}

/// Appends the length of bytes, records or an array in either form; `None` is null.
pub fn put_length(out: &mut BytesMut, length: Option<usize>, compact: bool) {
    match (length, compact) {
        (None, true) => out.put_u8(0),
        (None, false) => out.put_i32(-1),
        (Some(length), true) => put_uvarint(out, length as u32 + 1),
        (Some(length), false) => out.put_i32(length as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back_and_their_size_is_known(small: i32, large: i64, unsigned: u32) {
            let mut out = BytesMut::new();
            put_varint(&mut out, small);
            prop_assert_eq!(out.len(), varint_bytes(small));
            put_varlong(&mut out, large);
            prop_assert_eq!(out.len(), varint_bytes(small) + varlong_bytes(large));
            put_uvarint(&mut out, unsigned);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint("a"), Ok(small));
            prop_assert_eq!(reader.varlong("b"), Ok(large));
            prop_assert_eq!(reader.left().len(), uvarint_bytes(unsigned));
            prop_assert_eq!(reader.uvarint("c"), Ok(unsigned));
            prop_assert!(reader.left().is_empty());
        }

        #[test]
        fn text_comes_back(text in proptest::option::of(".{0,40}"), compact: bool) {
            let mut out = BytesMut::new();
            put_text(&mut out, text.as_deref(), compact);
            prop_assert_eq!(Reader::new(&out).text(compact, "t"), Ok(text.as_deref()));
        }

        #[test]
        fn no_bytes_make_a_read_panic(bytes: Vec<u8>, compact: bool) {
            let reader = Reader::new(&bytes);
            let _ = reader.clone().text(compact, "t");
            let _ = reader.clone().count(compact, "t");
            let _ = reader.clone().varint("t");
            let _ = reader.clone().varlong("t");
            let _ = reader.clone().tagged(|_, _| Ok(()));
        }
    }

    #[test]
    fn a_varint_that_never_ends_is_refused() {
        assert_eq!(Reader::new(&[0x80; 20]).uvarint("v"), Err(WireError::Varint));
        assert_eq!(Reader::new(&[0x80; 20]).varlong("v"), Err(WireError::Varint));
        assert_eq!(Reader::new(&[0x80; 3]).uvarint("v"), Err(WireError::Truncated("v")));
    }

    #[test]
    fn a_count_above_the_bytes_left_is_refused() {
        let claimed = [0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert!(matches!(Reader::new(&claimed).count(false, "c"), Err(WireError::Length { .. })));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).count(false, "c"), Ok(None));
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xfe]).count(false, "c").is_err());
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let mut out = BytesMut::new();
        put_text(&mut out, Some(&"é".repeat(20_000)), false);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.text(false, "t").unwrap().unwrap().len(), STRING_BYTES_MAX - 1);
        assert!(reader.left().is_empty());
    }
}
