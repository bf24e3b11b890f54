//! Records from a file or standard input: lines, keys and values, JSON lines or CSV.
//!
//! A thread reads whole lines and cuts them into records; the bytes of a chunk are kept together, and a
//! record is spans of them. The chunks go through a bounded channel, so that a fast file does not run ahead
//! of a slow broker. A line that is not what the format promises ends the input with its number.

use std::io::{ErrorKind, Read};
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::moment::parse_time;
use super::problem::Problem;
use crate::clock;

/// What is read at once, and about what a chunk holds.
const CHUNK_BYTES: usize = 256 << 10;
/// The longest line (or CSV row).
const LINE_BYTES_MAX: usize = 256 << 20;
/// Chunks that wait to be sent.
pub const CHUNKS_WAITING_MAX: usize = 4;

#[derive(Clone, Debug)]
pub enum Format {
    /// A line is a value.
    Lines,
    /// A line is a key, a separator and a value.
    Keyed { separator: String },
    /// A line is `{"key":..,"value":..,"headers":{..},"partition":..,"timestamp":..}`.
    Json,
    /// The first row names the columns.
    Csv { key_column: Option<String>, delimiter: u8 },
}

/// Records and the bytes that they are spans of.
#[derive(Debug, Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    pub records: Vec<Slot>,
    /// How much of the input it was.
    pub input_bytes: u64,
}

pub type Span = Range<usize>;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Slot {
    pub key: Option<Span>,
    pub value: Option<Span>,
    /// The line of the input, from 1.
    pub line: u64,
    pub extra: Option<Box<Extra>>,
}

/// What few records have.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Extra {
    pub headers: Vec<(Span, Option<Span>)>,
    pub partition: Option<i32>,
    pub timestamp: Option<i64>,
}

/// Reads `source` to its end and sends what it finds. Ends early when nobody receives.
pub fn read(mut source: impl Read, format: &Format, out: &flume::Sender<Result<Chunk, Problem>>) {
    let mut parser = Parser { format: format.clone(), columns: None };
    let mut buffer = Vec::with_capacity(CHUNK_BYTES * 2);
    let mut line = 1;
    loop {
        let read = match read_some(&mut source, &mut buffer) {
            Ok(read) => read,
            // Where nobody receives a problem, nobody wants to know of it; here and below.
            Err(error) => {
                let problem =
                    Problem::new(format!("the input cannot be read after line {}: {error}", line - 1));
                let _ = out.send(Err(problem));
                return;
            }
        };
        let end = if read == 0 { buffer.len() } else { parser.whole_lines(&buffer) };
        if end > 0 {
            let rest = buffer[end..].to_vec();
            buffer.truncate(end);
            let next = line + memchr::memchr_iter(b'\n', &buffer).count() as u64;
            let mut whole = std::mem::replace(&mut buffer, Vec::with_capacity(CHUNK_BYTES * 2));
            buffer.extend_from_slice(&rest);
            if line == 1 && whole.starts_with(b"\xef\xbb\xbf") && parser.is_text() {
                whole.drain(..3);
            }
            let (chunk, problem) = parser.parse(whole, line);
            if !chunk.records.is_empty() && out.send(Ok(chunk)).is_err() {
                return;
            }
            if let Some(problem) = problem {
                let _ = out.send(Err(problem));
                return;
            }
            line = next;
        } else if buffer.len() > LINE_BYTES_MAX {
            let problem = Problem::new(format!("line {line} is longer than {} MiB", LINE_BYTES_MAX >> 20))
                .mend("is this a file of lines?");
            let _ = out.send(Err(problem));
            return;
        }
        if read == 0 {
            return;
        }
    }
}

fn read_some(source: &mut impl Read, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    let start = buffer.len();
    buffer.resize(start + CHUNK_BYTES, 0);
    let outcome = loop {
        match source.read(&mut buffer[start..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    buffer.truncate(start + *outcome.as_ref().unwrap_or(&0));
    outcome
}

struct Parser {
    format: Format,
    columns: Option<Columns>,
}

/// A problem of one line.
struct Bad {
    line: u64,
    why: String,
    mend: Option<&'static str>,
}

impl Parser {
    fn is_text(&self) -> bool {
        matches!(self.format, Format::Json | Format::Csv { .. })
    }

    /// Up to where `buffer` holds whole lines (CSV: whole rows, whose quotes are closed).
    fn whole_lines(&self, buffer: &[u8]) -> usize {
        if !matches!(self.format, Format::Csv { .. }) {
            return memchr::memrchr(b'\n', buffer).map_or(0, |at| at + 1);
        }
        let (mut quoted, mut end) = (false, 0);
        for at in memchr::memchr2_iter(b'"', b'\n', buffer) {
            match buffer[at] {
                b'"' => quoted = !quoted,
                _ if !quoted => end = at + 1,
                _ => {}
            }
        }
        end
    }

    /// The records of whole lines, up to the first that is bad.
    fn parse(&mut self, bytes: Vec<u8>, first_line: u64) -> (Chunk, Option<Problem>) {
        let mut chunk = Chunk { input_bytes: bytes.len() as u64, ..Chunk::default() };
        let outcome = match &self.format {
            Format::Lines => {
                chunk.records = spans_of_lines(&bytes)
                    .zip(first_line..)
                    .map(|(value, line)| Slot { value: Some(value), line, ..Slot::default() })
                    .collect();
                chunk.bytes = bytes;
                Ok(())
            }
            Format::Keyed { separator } => {
                let outcome = keyed_lines(&mut chunk.records, &bytes, separator, first_line);
                chunk.bytes = bytes;
                outcome
            }
            Format::Json => json_lines(&mut chunk, &bytes, first_line),
            Format::Csv { key_column, delimiter } => {
                csv_rows(&mut chunk, &mut self.columns, &bytes, first_line, key_column.as_deref(), *delimiter)
            }
        };
        let problem = outcome.err().map(|Bad { line, why, mend }| {
            let problem = Problem::new(format!("line {line}: {why}"));
            if let Some(mend) = mend { problem.mend(mend) } else { problem }
        });
        (chunk, problem)
    }
}

fn spans_of_lines(bytes: &[u8]) -> impl Iterator<Item = Span> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == bytes.len() {
            return None;
        }
        let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at);
        let span = start..end;
        start = (end + 1).min(bytes.len());
        Some(span)
    })
}

fn keyed_lines(records: &mut Vec<Slot>, bytes: &[u8], separator: &str, first_line: u64) -> Result<(), Bad> {
    let finder = memchr::memmem::Finder::new(separator);
    for (span, line) in spans_of_lines(bytes).zip(first_line..) {
        let at = finder.find(&bytes[span.clone()]).ok_or_else(|| Bad {
            line,
            why: format!("it has no key separator {separator:?}"),
            mend: Some("give it with --key-separator, or send lines without keys with --format lines"),
        })?;
        records.push(Slot {
            key: Some(span.start..span.start + at),
            value: Some(span.start + at + separator.len()..span.end),
            line,
            extra: None,
        });
    }
    Ok(())
}

/// What a JSON line may say; also what `consume --format json` prints.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRecord<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    key_base64: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
    #[serde(borrow, default)]
    headers: Option<&'a RawValue>,
    #[serde(default)]
    partition: Option<i32>,
    #[serde(default)]
    timestamp: Option<serde_json::Value>,
    #[serde(default, rename = "topic")]
    _topic: Option<String>,
    #[serde(default, rename = "offset")]
    _offset: Option<i64>,
}

/// One header in the form that can say everything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHeader<'a> {
    key: String,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    value_base64: Option<String>,
}

const JSON_MEND: &str = "a line is {\"key\":..,\"value\":..,\"headers\":{..},\"partition\":..,\"timestamp\":..}; \
                         lines to be sent as they are want --format lines";

fn json_lines(chunk: &mut Chunk, bytes: &[u8], first_line: u64) -> Result<(), Bad> {
    for (span, line) in spans_of_lines(bytes).zip(first_line..) {
        let text = &bytes[span];
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let bad = |why: String| Bad { line, why, mend: Some(JSON_MEND) };
        let slot = json_record(&mut chunk.bytes, text).map_err(bad)?;
        chunk.records.push(Slot { line, ..slot });
    }
    Ok(())
}

fn json_record(bytes: &mut Vec<u8>, text: &[u8]) -> Result<Slot, String> {
    let record: JsonRecord<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let headers = match record.headers {
        Some(headers) => json_headers(bytes, headers)?,
        None => Vec::new(),
    };
    let timestamp = record.timestamp.map(json_time).transpose()?;
    let key = put_json(bytes, record.key, record.key_base64)?;
    let value = put_json(bytes, record.value, record.value_base64)?;
    let extra = Extra { headers, partition: record.partition, timestamp };
    let extra = (extra != Extra::default()).then(|| Box::new(extra));
    Ok(Slot { key, value, line: 0, extra })
}

fn json_headers(bytes: &mut Vec<u8>, headers: &RawValue) -> Result<Vec<(Span, Option<Span>)>, String> {
    let text = headers.get();
    if text.starts_with('[') {
        let list: Vec<JsonHeader<'_>> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let put = |header: JsonHeader<'_>| {
            let key = put(bytes, header.key.as_bytes());
            Ok((key, put_json(bytes, header.value, header.value_base64)?))
        };
        return list.into_iter().map(put).collect();
    }
    // A map of the text itself, so that the order stays.
    let InOrder(map) = serde_json::from_str(text).map_err(|error| error.to_string())?;
    map.into_iter()
        .map(|(key, value)| Ok((put(bytes, key.as_bytes()), put_json(bytes, Some(value), None)?)))
        .collect()
}

/// An object's members in the order they stand in.
struct InOrder<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for InOrder<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = InOrder<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object, or a list of {\"key\":..,\"value\":..}, as headers")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<InOrder<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(InOrder(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn json_time(value: serde_json::Value) -> Result<i64, String> {
    let time = match &value {
        serde_json::Value::Number(number) => number.as_i64(),
        serde_json::Value::String(text) => parse_time(text, clock::wall_ms()),
        _ => None,
    };
    time.ok_or_else(|| format!("{value} is no timestamp (milliseconds since 1970, or 2026-01-31T12:00:00Z)"))
}

/// A string becomes its text, null nothing, anything else its JSON as it stands.
fn put_json(
    bytes: &mut Vec<u8>,
    value: Option<&RawValue>,
    base64: Option<String>,
) -> Result<Option<Span>, String> {
    match (value.map(RawValue::get), base64) {
        (_, Some(text)) => {
            let decoded = STANDARD.decode(text).map_err(|error| format!("a base64 field: {error}"))?;
            Ok(Some(put(bytes, &decoded)))
        }
        (None | Some("null"), None) => Ok(None),
        (Some(text), None) if text.starts_with('"') => {
            let text: String = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(Some(put(bytes, text.as_bytes())))
        }
        (Some(text), None) => Ok(Some(put(bytes, text.as_bytes()))),
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) -> Span {
    let start = bytes.len();
    bytes.extend_from_slice(part);
    start..bytes.len()
}

/// What the columns of a CSV file stand for.
///
/// With a column `value`, `key`, `value`, `partition` and `timestamp` are what they say and every other
/// column is a header. Without, the row becomes a JSON object.
#[derive(Debug)]
struct Columns {
    names: Vec<String>,
    key: Option<usize>,
    value: Option<usize>,
    partition: Option<usize>,
    timestamp: Option<usize>,
}

impl Columns {
    fn new(row: &csv::StringRecord, key_column: Option<&str>) -> Result<Columns, String> {
        let names: Vec<String> = row.iter().map(|name| name.trim().to_owned()).collect();
        let find = |wanted: &str| names.iter().position(|name| name == wanted);
        let key = match key_column {
            Some(wanted) => Some(find(wanted).ok_or_else(|| {
                format!("there is no column {wanted}; the first row names {}", names.join(", "))
            })?),
            None => find("key"),
        };
        let value = find("value");
        let special = |wanted| find(wanted).filter(|_| value.is_some());
        Ok(Columns { key, value, partition: special("partition"), timestamp: special("timestamp"), names })
    }

    fn record(&self, bytes: &mut Vec<u8>, row: &csv::StringRecord) -> Result<Slot, String> {
        let cell =
            |index: Option<usize>| index.and_then(|index| row.get(index)).filter(|cell| !cell.is_empty());
        let key = cell(self.key).map(|key| put(bytes, key.as_bytes()));
        let Some(value) = self.value else {
            let object: serde_json::Map<String, serde_json::Value> =
                self.names.iter().cloned().zip(row.iter().map(Into::into)).collect();
            let start = bytes.len();
            serde_json::to_writer(&mut *bytes, &object).map_err(|error| error.to_string())?;
            return Ok(Slot { key, value: Some(start..bytes.len()), ..Slot::default() });
        };
        let value = row.get(value).map(|value| put(bytes, value.as_bytes()));
        let mut extra = Extra {
            partition: cell(self.partition)
                .map(|text| text.parse().map_err(|_| format!("{text} is no partition")))
                .transpose()?,
            timestamp: cell(self.timestamp).map(csv_time).transpose()?,
            ..Extra::default()
        };
        let special = [self.key, self.value, self.partition, self.timestamp];
        for (index, name) in
            self.names.iter().enumerate().filter(|(index, _)| !special.contains(&Some(*index)))
        {
            if let Some(text) = cell(Some(index)) {
                let name = put(bytes, name.as_bytes());
                extra.headers.push((name, Some(put(bytes, text.as_bytes()))));
            }
        }
        let extra = (extra != Extra::default()).then(|| Box::new(extra));
        Ok(Slot { key, value, line: 0, extra })
    }
}

fn csv_time(text: &str) -> Result<i64, String> {
    text.parse()
        .ok()
        .or_else(|| parse_time(text, clock::wall_ms()))
        .ok_or_else(|| format!("{text} is no timestamp (milliseconds since 1970, or 2026-01-31T12:00:00Z)"))
}

fn csv_rows(
    chunk: &mut Chunk,
    columns: &mut Option<Columns>,
    bytes: &[u8],
    first_line: u64,
    key_column: Option<&str>,
    delimiter: u8,
) -> Result<(), Bad> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(bytes);
    let mut row = csv::StringRecord::new();
    loop {
        let line = first_line + reader.position().line() - 1;
        let bad = |why: String| Bad { line, why, mend: None };
        if !reader.read_record(&mut row).map_err(|error| bad(error.to_string()))? {
            return Ok(());
        }
        let line = row.position().map_or(line, |position| first_line + position.line() - 1);
        let bad = |why: String| Bad { line, why, mend: None };
        let Some(columns) = columns else {
            *columns = Some(Columns::new(&row, key_column).map_err(bad)?);
            continue;
        };
        if row.len() != columns.names.len() {
            let why = format!("it has {} columns where the first row has {}", row.len(), columns.names.len());
            return Err(Bad {
                line,
                why,
                mend: Some("a comma inside a value wants quotes around the value"),
            });
        }
        let slot = columns.record(&mut chunk.bytes, &row).map_err(bad)?;
        chunk.records.push(Slot { line, ..slot });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of a few, as a pipe may.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(out.len());
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    type Plain =
        (u64, Option<String>, Option<String>, Vec<(String, Option<String>)>, Option<i32>, Option<i64>);

    fn all(input: &[u8], format: &Format, piece: usize) -> (Vec<Plain>, Option<String>) {
        let (out, chunks) = flume::unbounded();
        read(Pieces(input, piece), format, &out);
        drop(out);
        let (mut records, mut problem) = (Vec::new(), None);
        for chunk in chunks {
            match chunk {
                Err(error) => problem = Some(error.to_string()),
                Ok(chunk) => {
                    let text = |span: &Span| String::from_utf8(chunk.bytes[span.clone()].to_vec()).unwrap();
                    for slot in &chunk.records {
                        let none = Extra::default();
                        let extra = slot.extra.as_deref().unwrap_or(&none);
                        let headers = extra.headers.iter().map(|(k, v)| (text(k), v.as_ref().map(text)));
                        let (key, value) = (slot.key.as_ref().map(text), slot.value.as_ref().map(text));
                        records.push((
                            slot.line,
                            key,
                            value,
                            headers.collect(),
                            extra.partition,
                            extra.timestamp,
                        ));
                    }
                }
            }
        }
        (records, problem)
    }

    fn values(input: &[u8], format: &Format) -> Vec<String> {
        let whole = all(input, format, usize::MAX);
        for piece in 1..6 {
            assert_eq!(all(input, format, piece), whole, "in pieces of {piece}");
        }
        assert_eq!(whole.1, None);
        whole.0.into_iter().map(|record| record.2.unwrap_or("(null)".to_owned())).collect()
    }

    const CSV: Format = Format::Csv { key_column: None, delimiter: b',' };

    #[test]
    fn each_line_is_a_value() {
        assert_eq!(values(b"a\nb\n\nc", &Format::Lines), ["a", "b", "", "c"]);
        assert_eq!(values(b"a\r\n", &Format::Lines), ["a\r"]);
        assert_eq!(values(b"", &Format::Lines), [""; 0]);
        assert_eq!(values(b"\n", &Format::Lines), [""]);
    }

    #[test]
    fn a_keyed_line_is_cut_at_its_first_separator() {
        let format = Format::Keyed { separator: "::".to_owned() };
        let (records, problem) = all(b"k::v::w\n::x\ny::\n", &format, 3);
        let pairs: Vec<_> =
            records.iter().map(|r| (r.1.as_deref().unwrap(), r.2.as_deref().unwrap())).collect();
        assert_eq!(pairs, [("k", "v::w"), ("", "x"), ("y", "")]);
        assert_eq!(problem, None);
    }

    #[test]
    fn a_line_without_separator_ends_the_input_with_its_number() {
        let format = Format::Keyed { separator: "\t".to_owned() };
        let (records, problem) = all(b"a\t1\nb\nc\t3\n", &format, usize::MAX);
        assert_eq!(records.len(), 1);
        assert!(problem.unwrap().starts_with("line 2: it has no key separator"));
    }

    #[test]
    fn json_says_everything_about_a_record() {
        let line =
            br#"{"key":"k","value":{"a": 1.50},"headers":{"z":"1","a":null},"partition":2,"timestamp":5}"#;
        let (records, problem) = all(line, &Format::Json, 7);
        assert_eq!(problem, None);
        let headers = vec![("z".to_owned(), Some("1".to_owned())), ("a".to_owned(), None)];
        let value = Some(r#"{"a": 1.50}"#.to_owned());
        assert_eq!(records, [(1, Some("k".to_owned()), value, headers, Some(2), Some(5))]);
    }

    #[test]
    fn json_knows_null_and_bytes_and_times() {
        let lines = b"{\"key\":\"k\",\"value\":null}\n\n{\"value_base64\":\"aGk=\",\"timestamp\":\"1970-01-02\"}\n\
            {\"value\":\"\\u00e9\\n\",\"headers\":[{\"key\":\"h\",\"value_base64\":\"aGk=\"}],\"topic\":\"t\",\"offset\":3}";
        assert_eq!(values(lines, &Format::Json), ["(null)", "hi", "é\n"]);
        let records = all(lines, &Format::Json, usize::MAX).0;
        assert_eq!(records[1].5, Some(86_400_000));
        assert_eq!(records[2].0, 4);
        assert_eq!(records[2].3, [("h".to_owned(), Some("hi".to_owned()))]);
    }

    #[test]
    fn json_that_is_no_record_is_refused() {
        for line in ["{\"id\":1}", "17", "{\"value\":", "{\"value\":1,\"timestamp\":true}", "{\"headers\":3}"]
        {
            let (records, problem) = all(line.as_bytes(), &Format::Json, usize::MAX);
            assert!(records.is_empty());
            assert!(problem.unwrap().starts_with("line 1: "), "{line}");
        }
    }

    #[test]
    fn csv_with_a_value_column_names_parts_of_the_record() {
        let text = b"key,value,partition,timestamp,kind\na,\"x,\ny\",1,7,good\n,z,,,\n";
        for piece in [1, 5, 1000] {
            let (records, problem) = all(text, &CSV, piece);
            assert_eq!(problem, None);
            let headers = vec![("kind".to_owned(), Some("good".to_owned()))];
            assert_eq!(records[0], (2, Some("a".into()), Some("x,\ny".into()), headers, Some(1), Some(7)));
            assert_eq!(records[1], (4, None, Some("z".into()), vec![], None, None));
        }
    }

    #[test]
    fn csv_without_a_value_column_becomes_objects() {
        let format = Format::Csv { key_column: Some("id".to_owned()), delimiter: b';' };
        let (records, problem) = all(b"\xef\xbb\xbfid;name\n7;\"a \"\"b\"\"\"\n", &format, 4);
        assert_eq!(problem, None);
        assert_eq!(records[0].1.as_deref(), Some("7"));
        assert_eq!(records[0].2.as_deref(), Some(r#"{"id":"7","name":"a \"b\""}"#));
    }

    #[test]
    fn csv_rows_of_another_width_are_refused() {
        let (records, problem) = all(b"key,value\na,b\nc\n", &CSV, usize::MAX);
        assert_eq!(records.len(), 1);
        assert!(problem.unwrap().starts_with("line 3: it has 1 columns"), "");
        let format = Format::Csv { key_column: Some("nope".to_owned()), delimiter: b',' };
        assert!(all(b"a,b\n1,2\n", &format, usize::MAX).1.unwrap().contains("no column nope"));
    }
}
