//! Record batches (magic 2) built field by field, so that each field can lie, and read back.
//!
//! ```text
//! baseOffset 8 | batchLength 4 | partitionLeaderEpoch 4 | magic 1 | crc 4 | attributes 2 |
//! lastOffsetDelta 4 | baseTimestamp 8 | maxTimestamp 8 | producerId 8 | producerEpoch 2 |
//! baseSequence 4 | recordCount 4 | records
//! ```
//! The CRC32C covers everything from attributes on. A record is: length, attributes, timestampDelta,
//! offsetDelta, key, value, headers; numbers are zigzag varints.

use std::io::{Read, Write};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::schema::hex;

pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp_delta: i64,
    /// Its place in the batch unless it lies.
    pub offset_delta: Option<i64>,
    pub attributes: i8,
}

impl Record {
    pub fn of(key: &str, value: &str) -> Record {
        Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() }
    }

    pub fn value(value: impl Into<Vec<u8>>) -> Record {
        Record { value: Some(value.into()), ..Record::default() }
    }

    fn encode(&self, index: usize) -> Vec<u8> {
        let mut body = vec![self.attributes as u8];
        varint(&mut body, self.timestamp_delta);
        varint(&mut body, self.offset_delta.unwrap_or(index as i64));
        nullable(&mut body, self.key.as_deref());
        nullable(&mut body, self.value.as_deref());
        varint(&mut body, self.headers.len() as i64);
        for (name, value) in &self.headers {
            nullable(&mut body, Some(name.as_bytes()));
            nullable(&mut body, value.as_deref());
        }
        let mut record = Vec::with_capacity(body.len() + 5);
        varint(&mut record, body.len() as i64);
        record.extend(body);
        record
    }
}

pub fn varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint(out, bytes.len() as i64);
            out.extend(bytes);
        }
        None => varint(out, -1),
    }
}

/// A batch to send. A field that is `None` is what the records make it.
#[derive(Clone, Debug)]
pub struct Batch {
    pub base_offset: i64,
    pub length: Option<i32>,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: Option<u32>,
    pub attributes: i16,
    pub last_offset_delta: Option<i32>,
    pub base_timestamp: i64,
    pub max_timestamp: Option<i64>,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: Option<i32>,
    pub records: Vec<Record>,
    /// Takes the place of the records' bytes, before compression.
    pub raw: Option<Vec<u8>>,
    /// Takes the place of the records' bytes, after compression.
    pub payload: Option<Vec<u8>>,
}

/// The time that batches bear unless they say otherwise: an hour before this process first asked, so that
/// no retention and no expiry of producers comes near.
pub fn time() -> i64 {
    static TIME: OnceLock<i64> = OnceLock::new();
    *TIME.get_or_init(|| now() - 3_600_000)
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64
}

pub const LOG_APPEND_TIME: i16 = 1 << 3;
pub const TRANSACTIONAL: i16 = 1 << 4;
pub const CONTROL: i16 = 1 << 5;

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            base_offset: 0,
            length: None,
            leader_epoch: -1,
            magic: 2,
            crc: None,
            attributes: 0,
            last_offset_delta: None,
            base_timestamp: time(),
            max_timestamp: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: None,
            records: Vec::new(),
            raw: None,
            payload: None,
        }
    }
}

impl Batch {
    pub fn of(records: Vec<Record>) -> Batch {
        Batch { records, ..Batch::default() }
    }

    /// `count` records with keys and values that differ.
    pub fn small(count: usize) -> Batch {
        Batch::of((0..count).map(|i| Record::of(&format!("k{i}"), &format!("value {i}"))).collect())
    }

    /// The producer's id, epoch and first sequence.
    pub fn by(mut self, id: i64, epoch: i16, sequence: i32) -> Batch {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, sequence);
        self
    }

    /// `codec` is an index into [`CODECS`].
    pub fn codec(mut self, codec: i16) -> Batch {
        self.attributes = self.attributes & !7 | codec;
        self
    }

    pub fn encode(&self) -> Vec<u8> {
        let plain = self.raw.clone().unwrap_or_else(|| {
            self.records.iter().enumerate().flat_map(|(i, record)| record.encode(i)).collect()
        });
        let payload = self.payload.clone().unwrap_or_else(|| compress(self.attributes & 7, &plain));
        let latest = self.records.iter().map(|r| r.timestamp_delta).max().unwrap_or(0);
        let mut tail = Vec::with_capacity(payload.len() + 40);
        tail.extend(self.attributes.to_be_bytes());
        tail.extend(self.last_offset_delta.unwrap_or(self.records.len() as i32 - 1).to_be_bytes());
        tail.extend(self.base_timestamp.to_be_bytes());
        tail.extend(self.max_timestamp.unwrap_or(self.base_timestamp.wrapping_add(latest)).to_be_bytes());
        tail.extend(self.producer_id.to_be_bytes());
        tail.extend(self.producer_epoch.to_be_bytes());
        tail.extend(self.base_sequence.to_be_bytes());
        tail.extend(self.count.unwrap_or(self.records.len() as i32).to_be_bytes());
        tail.extend(payload);
        let mut out = Vec::with_capacity(tail.len() + 21);
        out.extend(self.base_offset.to_be_bytes());
        out.extend(self.length.unwrap_or(tail.len() as i32 + 9).to_be_bytes());
        out.extend(self.leader_epoch.to_be_bytes());
        out.push(self.magic as u8);
        out.extend(self.crc.unwrap_or_else(|| crc32c::crc32c(&tail)).to_be_bytes());
        out.extend(tail);
        out
    }

    /// Hex for a `records` field of a tree.
    pub fn hex(&self) -> String {
        hex(&self.encode())
    }
}

/// Compresses as the Java clients do; an unknown codec leaves the bytes as they are.
pub fn compress(codec: i16, plain: &[u8]) -> Vec<u8> {
    match codec {
        1 => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(plain).and_then(|()| out.finish()).expect("memory takes every write")
        }
        2 => {
            let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for block in plain.chunks(32 * 1024) {
                let packed = snap::raw::Encoder::new().compress_vec(block).expect("a block of 32 KiB packs");
                out.extend((packed.len() as i32).to_be_bytes());
                out.extend(packed);
            }
            out
        }
        3 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(plain).expect("memory takes every write");
            out.finish().expect("memory takes every write")
        }
        4 => zstd::bulk::compress(plain, 3).expect("memory takes every write"),
        _ => plain.to_vec(),
    }
}

pub fn decompress(codec: i16, packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = match codec {
        0 => return Ok(packed.to_vec()),
        1 => flate2::read::GzDecoder::new(packed).read_to_end(&mut out),
        2 => {
            let mut rest = packed.get(16..).ok_or("a short snappy header")?;
            while rest.len() > 4 {
                let length = i32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
                let block = rest.get(4..4 + length).ok_or("a short snappy block")?;
                out.extend(snap::raw::Decoder::new().decompress_vec(block).map_err(|e| e.to_string())?);
                rest = &rest[4 + length..];
            }
            Ok(0)
        }
        3 => lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut out),
        4 => zstd::stream::read::Decoder::new(packed).and_then(|mut d| d.read_to_end(&mut out)),
        other => return Err(format!("codec {other}")),
    };
    read.map(|_| out).map_err(|e| e.to_string())
}

/// A batch as it was served.
#[derive(Clone, Debug)]
pub struct Stored {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
    pub crc: u32,
    pub payload: Vec<u8>,
}

impl Stored {
    /// Every whole batch of `bytes`; a torn last one is left out, a broken one is an error.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Stored>, String> {
        let mut batches = Vec::new();
        let mut rest = bytes;
        while rest.len() >= 61 {
            let length = i32::from_be_bytes(rest[8..12].try_into().expect("four bytes")) as usize + 12;
            if length < 61 {
                return Err(format!("a batch of {length} bytes"));
            }
            let Some(batch) = rest.get(..length) else { break };
            batches.push(Stored::read(batch)?);
            rest = &rest[length..];
        }
        Ok(batches)
    }

    fn read(b: &[u8]) -> Result<Stored, String> {
        let i64_at = |at: usize| i64::from_be_bytes(b[at..at + 8].try_into().expect("eight bytes"));
        let i32_at = |at: usize| i32::from_be_bytes(b[at..at + 4].try_into().expect("four bytes"));
        let i16_at = |at: usize| i16::from_be_bytes(b[at..at + 2].try_into().expect("two bytes"));
        let crc = i32_at(17) as u32;
        if b[16] != 2 {
            return Err(format!("magic {}", b[16]));
        }
        if crc32c::crc32c(&b[21..]) != crc {
            return Err(format!("a wrong CRC in the batch at offset {}", i64_at(0)));
        }
        Ok(Stored {
            base_offset: i64_at(0),
            leader_epoch: i32_at(12),
            attributes: i16_at(21),
            last_offset_delta: i32_at(23),
            base_timestamp: i64_at(27),
            max_timestamp: i64_at(35),
            producer_id: i64_at(43),
            producer_epoch: i16_at(51),
            base_sequence: i32_at(53),
            count: i32_at(57),
            crc,
            payload: b[61..].to_vec(),
        })
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset + self.last_offset_delta as i64
    }

    /// The records: offset, timestamp, key, value, headers.
    pub fn records(&self) -> Result<Vec<(i64, i64, Record)>, String> {
        let plain = decompress(self.attributes & 7, &self.payload)?;
        let mut input = Varints { bytes: &plain };
        let mut records = Vec::new();
        for _ in 0..self.count {
            let length = input.next()? as usize;
            let body = input.take(length)?;
            let attributes = *body.first().ok_or("an empty record")? as i8;
            let mut body = Varints { bytes: &body[1..] };
            let timestamp_delta = body.next()?;
            let offset_delta = body.next()?;
            let (key, value) = (body.nullable()?, body.nullable()?);
            let mut headers = Vec::new();
            for _ in 0..body.next()? {
                let name = String::from_utf8(body.nullable()?.unwrap_or_default());
                headers.push((name.map_err(|e| e.to_string())?, body.nullable()?));
            }
            if !body.bytes.is_empty() {
                return Err("bytes after a record's headers".into());
            }
            let record =
                Record { key, value, headers, timestamp_delta, offset_delta: Some(offset_delta), attributes };
            records.push((self.base_offset + offset_delta, self.base_timestamp + timestamp_delta, record));
        }
        if !input.bytes.is_empty() {
            return Err("bytes after the last record".into());
        }
        Ok(records)
    }

    /// A tree that shows which field differs.
    pub fn tree(&self) -> Value {
        json!({
            "baseOffset": self.base_offset, "leaderEpoch": self.leader_epoch, "attributes": self.attributes,
            "lastOffsetDelta": self.last_offset_delta, "baseTimestamp": self.base_timestamp,
            "maxTimestamp": self.max_timestamp, "producerId": self.producer_id,
            "producerEpoch": self.producer_epoch, "baseSequence": self.base_sequence, "count": self.count,
            "crc": self.crc, "payload": hex(&self.payload),
        })
    }
}

struct Varints<'a> {
    bytes: &'a [u8],
}

impl<'a> Varints<'a> {
    fn next(&mut self) -> Result<i64, String> {
        let mut zigzag = 0u64;
        for (index, byte) in self.bytes.iter().take(10).enumerate() {
            zigzag |= ((byte & 0x7f) as u64) << (7 * index);
            if byte & 0x80 == 0 {
                self.bytes = &self.bytes[index + 1..];
                return Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
            }
        }
        Err("a varint that does not end".into())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or("a record longer than its batch")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn nullable(&mut self) -> Result<Option<Vec<u8>>, String> {
        match usize::try_from(self.next()?) {
            Ok(length) => Ok(Some(self.take(length)?.to_vec())),
            Err(_) => Ok(None),
        }
    }
}
