//! One record of a batch of magic 2, and the iterator over uncompressed records.
//!
//! ```text
//! length varint | attributes i8 | timestamp_delta varlong | offset_delta varint
//! | key_length varint (negative: null) | key | value_length varint (negative: null) | value
//! | header_count varint | header_count times: key_length varint | key | value_length varint | value
//! ```
//!
//! All varints are zig-zag. Deltas are against the batch's base timestamp and base offset.
//! Source: Kafka's message format 2 (KIP-98), DefaultRecord.

use bytes::BufMut;

use super::wire::{Reader, WireError, put_varint, put_varlong, varint_bytes, varlong_bytes};

/// The least bytes that a record takes.
pub const RECORD_BYTES_MIN: usize = 7;

/// One record, borrowed from the bytes it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub attributes: i8,
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// The headers of a record, checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    count: u32,
    bytes: &'a [u8],
}

/// A record's header: a key, and a value or null. Keys are text by convention; nothing checks that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// Reads one record, all of its headers walked. Nothing is allocated.
    #[inline]
    pub fn decode(reader: &mut Reader<'a>) -> Result<Record<'a>, WireError> {
        let mut left = reader.left();
        match Record::take(&mut left) {
            Some(record) => {
                *reader = Reader::new(left);
                Ok(record)
            }
            None => Err(Record::what_is_wrong(reader.left())),
        }
    }

    /// Every produced record comes through here, so it carries no errors, only that there is one.
    #[inline]
    fn take(left: &mut &'a [u8]) -> Option<Record<'a>> {
        let length = usize::try_from(take_varint(left)?).ok()?;
        let (mut body, rest) = left.split_at_checked(length)?;
        let (attributes, after) = body.split_first()?;
        body = after;
        let record = Record {
            attributes: *attributes as i8,
            timestamp_delta: take_varlong(&mut body)?,
            offset_delta: take_varint(&mut body)?,
            key: take_nullable(&mut body)?,
            value: take_nullable(&mut body)?,
            headers: Headers::take(&mut body)?,
        };
        *left = rest;
        body.is_empty().then_some(record)
    }

    /// Says for the log why `bytes` do not begin with a record.
    #[cold]
    fn what_is_wrong(bytes: &[u8]) -> WireError {
        let mut reader = Reader::new(bytes);
        match reader.varint("a record's length") {
            Err(error) => error,
            Ok(length) if length < 0 => WireError::Length { what: "a record", length: i64::from(length) },
            Ok(length) if length as usize > reader.left().len() => WireError::Truncated("a record"),
            Ok(_) => WireError::Malformed,
        }
    }

    /// The bytes that [`encode`] takes for this record, its length included.
    pub fn encoded_bytes(&self) -> usize {
        let body = self.body_bytes();
        varint_bytes(body as i32) + body
    }

    fn body_bytes(&self) -> usize {
        1 + varlong_bytes(self.timestamp_delta)
            + varint_bytes(self.offset_delta)
            + nullable_bytes(self.key)
            + nullable_bytes(self.value)
            + varint_bytes(self.headers.count as i32)
            + self.headers.bytes.len()
    }

    /// Appends the record. Its parts together must stay under 2 GiB, which the caller's bounds see to.
    pub fn encode(&self, out: &mut impl BufMut) {
        put_varint(out, self.body_bytes() as i32);
        out.put_i8(self.attributes);
        put_varlong(out, self.timestamp_delta);
        put_varint(out, self.offset_delta);
        put_nullable(out, self.key);
        put_nullable(out, self.value);
        put_varint(out, self.headers.count as i32);
        out.put_slice(self.headers.bytes);
    }
}

impl<'a> Headers<'a> {
    #[inline]
    fn take(left: &mut &'a [u8]) -> Option<Headers<'a>> {
        let count = u32::try_from(take_varint(left)?).ok()?;
        let bytes = *left;
        if count as usize > bytes.len() {
            return None;
        }
        for _ in 0..count {
            take_header(left)?;
        }
        Some(Headers { count, bytes: &bytes[..bytes.len() - left.len()] })
    }

    /// Writes headers into `out`, which the caller keeps while the result is used.
    pub fn encode(headers: &[Header<'_>], out: &'a mut Vec<u8>) -> Headers<'a> {
        out.clear();
        for header in headers {
            put_nullable(out, Some(header.key));
            put_nullable(out, header.value);
        }
        Headers { count: headers.len() as u32, bytes: out }
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut left = self.bytes;
        (0..self.count).map_while(move |_| take_header(&mut left))
    }
}

/// Iterates over the uncompressed records of a batch. After an error it ends.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> RecordIter<'a> {
    /// `count` records are expected to fill `bytes`; a negative count counts as none. Bytes that remain after the
    /// last record are an error, given in its place.
    pub fn new(bytes: &'a [u8], count: i32) -> RecordIter<'a> {
        RecordIter { reader: Reader::new(bytes), left: count.max(0) as u32 }
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut record = Record::decode(&mut self.reader);
        let remaining = self.reader.left().len();
        if self.left == 0 && remaining > 0 && record.is_ok() {
            record = Err(WireError::Length {
                what: "the bytes after a batch's records",
                length: remaining as i64,
            });
        }
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

#[inline]
fn take_varint(left: &mut &[u8]) -> Option<i32> {
    let (first, rest) = left.split_first()?;
    if *first < 0x80 {
        *left = rest;
        return Some(i32::from(*first >> 1) ^ -i32::from(*first & 1));
    }
    let mut reader = Reader::new(left);
    let value = reader.varint("").ok()?;
    *left = reader.left();
    Some(value)
}

#[inline]
fn take_varlong(left: &mut &[u8]) -> Option<i64> {
    let (first, rest) = left.split_first()?;
    if *first < 0x80 {
        *left = rest;
        return Some(i64::from(*first >> 1) ^ -i64::from(*first & 1));
    }
    let mut reader = Reader::new(left);
    let value = reader.varlong("").ok()?;
    *left = reader.left();
    Some(value)
}

/// Bytes behind their length; a negative length is null.
#[inline]
fn take_nullable<'a>(left: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(take_varint(left)?) else { return Some(None) };
    let (bytes, rest) = left.split_at_checked(length)?;
    *left = rest;
    Some(Some(bytes))
}

fn take_header<'a>(left: &mut &'a [u8]) -> Option<Header<'a>> {
    let key = take_nullable(left)??;
    Some(Header { key, value: take_nullable(left)? })
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint_bytes(bytes.len() as i32) + bytes.len(),
        None => 1,
    }
}

fn put_nullable(out: &mut impl BufMut, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
        None => put_varint(out, -1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    type Parts = (i8, i64, i32, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn parts() -> impl Strategy<Value = Parts> {
        let bytes = || vec(any::<u8>(), 0..200);
        let headers = vec((vec(any::<u8>(), 0..9), option::of(vec(any::<u8>(), 0..9))), 0..4);
        (any::<i8>(), any::<i64>(), any::<i32>(), option::of(bytes()), option::of(bytes()), headers)
    }

    fn encode(parts: &[Parts]) -> Vec<u8> {
        let mut out = Vec::new();
        for (attributes, timestamp_delta, offset_delta, key, value, headers) in parts {
            let headers: Vec<_> =
                headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
            let mut held = Vec::new();
            let record = Record {
                attributes: *attributes,
                timestamp_delta: *timestamp_delta,
                offset_delta: *offset_delta,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: Headers::encode(&headers, &mut held),
            };
            let before = out.len();
            record.encode(&mut out);
            assert_eq!(out.len() - before, record.encoded_bytes());
        }
        out
    }

    proptest! {
        #[test]
        fn records_come_back(all in vec(parts(), 1..6)) {
            let bytes = encode(&all);
            let back: Vec<_> = RecordIter::new(&bytes, all.len() as i32).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(back.len(), all.len());
            for (record, (attributes, timestamp, offset, key, value, headers)) in back.iter().zip(&all) {
                prop_assert_eq!(record.attributes, *attributes);
                prop_assert_eq!(record.timestamp_delta, *timestamp);
                prop_assert_eq!(record.offset_delta, *offset);
                prop_assert_eq!(record.key, key.as_deref());
                prop_assert_eq!(record.value, value.as_deref());
                prop_assert_eq!(record.headers.len(), headers.len());
                for (header, (key, value)) in record.headers.iter().zip(headers) {
                    prop_assert_eq!(header.key, &key[..]);
                    prop_assert_eq!(header.value, value.as_deref());
                }
            }
        }

        #[test]
        fn a_wrong_count_or_a_cut_is_an_error(all in vec(parts(), 1..6), cut in 1usize..7) {
            let bytes = encode(&all);
            let count = all.len() as i32;
            prop_assert!(RecordIter::new(&bytes, count + 1).any(|r| r.is_err()));
            prop_assert!(count == 1 || RecordIter::new(&bytes, count - 1).any(|r| r.is_err()));
            prop_assert!(RecordIter::new(&bytes[..bytes.len() - cut], count).any(|r| r.is_err()));
        }

        #[test]
        fn no_bytes_make_the_iterator_panic(bytes: Vec<u8>, count: i32) {
            let read = RecordIter::new(&bytes, count).count();
            prop_assert!(read <= bytes.len() / RECORD_BYTES_MIN + 1);
        }
    }
}
