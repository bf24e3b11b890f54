//! The records that every client writes and reads, and the forms in which they leave a program; the rules
//! are those of `tests/clients/README.md`.

use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};

pub const BASE_TIMESTAMP: i64 = 1_700_000_000_000;
pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

#[derive(Clone, Debug, Default)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    pub fn line(&self, partition: i32) -> String {
        let mut headers: Vec<String> =
            self.headers.iter().map(|(name, value)| format!("{name}={}", hex(value))).collect();
        headers.sort();
        let headers = if headers.is_empty() { "-".to_string() } else { headers.join(",") };
        let (key, value) = (shown(&self.key), shown(&self.value));
        format!("{partition} {} {} {key} {value} {headers}", self.offset, self.timestamp)
    }
}

/// Record `i` of `who`, with the offset `i`.
pub fn expected(who: &str, i: i64) -> Record {
    let key = (i % 7 != 3).then(|| format!("{who}-{i}").into_bytes());
    let value = if i % 11 == 5 && key.is_some() {
        None
    } else if i % 13 == 6 {
        Some(Vec::new())
    } else {
        let filler = "thalweg ".repeat(88);
        Some(format!("{who}:{i}:{}", &filler[..(37 * i % 700) as usize]).into_bytes())
    };
    let mut headers = Vec::new();
    if i % 5 != 0 {
        headers.push(("client".to_string(), who.as_bytes().to_vec()));
        if i % 10 == 1 {
            headers.push(("empty".to_string(), Vec::new()));
        }
        headers.push(("n".to_string(), i.to_string().into_bytes()));
    }
    Record { offset: i, timestamp: BASE_TIMESTAMP + 1000 * i, key, value, headers }
}

pub fn write_packed(out: &mut dyn Write, record: &Record) {
    for part in [&record.key, &record.value] {
        let length = part.as_ref().map_or(-1, |part| i32::try_from(part.len()).expect("a record is small"));
        out.write_all(&length.to_be_bytes()).expect("standard output takes it");
        out.write_all(part.as_deref().unwrap_or_default()).expect("standard output takes it");
    }
}

/// The packed records of a stream.
pub struct Unpacked<R>(BufReader<R>);

impl<R: Read> Unpacked<R> {
    pub fn new(stream: R) -> Self {
        Self(BufReader::with_capacity(1 << 20, stream))
    }

    /// Nothing at the end of the stream.
    fn part(&mut self) -> Option<Option<Vec<u8>>> {
        let mut length = [0; 4];
        if self.0.read(&mut length[..1]).expect("standard input can be read") == 0 {
            return None;
        }
        self.0.read_exact(&mut length[1..]).expect("a whole length");
        let Ok(length) = usize::try_from(i32::from_be_bytes(length)) else { return Some(None) };
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).expect("a whole record");
        Some(Some(bytes))
    }
}

impl<R: Read> Iterator for Unpacked<R> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let key = self.part()?;
        let value = self.part().expect("a value after the key");
        Some(Record { key, value, ..Record::default() })
    }
}

fn shown(part: &Option<Vec<u8>>) -> String {
    part.as_ref().map_or("null".to_string(), |bytes| format!("={}", hex(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}
