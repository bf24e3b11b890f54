//! What is printed: lines, tables, and records as raw bytes, as JSON lines that `produce --format json`
//! reads back, or as a table that grows.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::moment::format_time;
use super::problem::Problem;
use crate::protocol::record::{Header, Headers};

/// Prints a line (or several). A reader that has gone ends the process quietly, as it does for other tools.
pub fn line(text: &str) -> Result<(), Problem> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.map_err(|error| Problem::new(format!("the output cannot be written: {error}"))),
    }
}

/// Says what was done, as an object or in a line. It stays done when nobody reads of it.
pub fn done(json: bool, object: &Value, text: &str) {
    let _ = if json { line(&object.to_string()) } else { line(text) };
}

/// A table without lines, as other tools print theirs.
pub fn table(columns: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(columns);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// One record that was read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRecord<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970, -1 for none.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

#[derive(Clone, Debug)]
pub enum Style {
    /// The value and a newline; with a separator the key before it.
    Raw {
        key_separator: Option<String>,
    },
    Json,
    Table(Table),
}

/// The widths of a table's columns.
#[derive(Clone, Debug)]
pub struct Table {
    /// 0 leaves the column out.
    topic: usize,
    key: usize,
    value: usize,
    is_begun: bool,
}

const PARTITION_WIDTH: usize = 4;
const OFFSET_WIDTH: usize = 10;
const TIME_WIDTH: usize = 24;

impl Table {
    /// A table for records of topics with names up to `topic_width` (0: only one topic), on a terminal of
    /// `columns` characters.
    pub fn new(topic_width: usize, columns: usize) -> Table {
        let topic = topic_width.min(40);
        let fixed = PARTITION_WIDTH + OFFSET_WIDTH + TIME_WIDTH + 8 + if topic > 0 { topic + 2 } else { 0 };
        let left = columns.saturating_sub(fixed).max(40);
        let key = (left / 4).clamp(12, 36);
        Table { topic, key, value: left - key, is_begun: false }
    }

    fn print(&mut self, record: &ReadRecord<'_>, out: &mut impl Write) -> io::Result<()> {
        if !self.is_begun {
            self.is_begun = true;
            let (key, value) = ("KEY".to_owned(), "VALUE".to_owned());
            self.row(out, ["TOPIC", "PART", "OFFSET", "TIME"], &key, &value)?;
        }
        let key = cell(record.key, self.key);
        let mut value = cell(record.value, self.value);
        for header in record.headers.iter() {
            let text = format!("  [{}={}]", cell(Some(header.key), 40), cell(header.value, 40));
            value.push_str(&text);
        }
        let value = cut(&value, self.value);
        let (partition, offset) = (record.partition.to_string(), record.offset.to_string());
        self.row(out, [record.topic, &partition, &offset, &format_time(record.timestamp)], &key, &value)
    }

    fn row(&self, out: &mut impl Write, fixed: [&str; 4], key: &str, value: &str) -> io::Result<()> {
        let [topic, partition, offset, time] = fixed;
        if self.topic > 0 {
            write!(out, "{topic:<width$}  ", width = self.topic)?;
        }
        writeln!(
            out,
            "{partition:>PARTITION_WIDTH$}  {offset:>OFFSET_WIDTH$}  {time:<TIME_WIDTH$}  {key:<width$}  {value}",
            width = self.key
        )
    }
}

impl Style {
    pub fn print(&mut self, record: &ReadRecord<'_>, out: &mut impl Write) -> io::Result<()> {
        match self {
            Style::Raw { key_separator } => {
                if let Some(separator) = key_separator {
                    out.write_all(record.key.unwrap_or_default())?;
                    out.write_all(separator.as_bytes())?;
                }
                out.write_all(record.value.unwrap_or_default())?;
                out.write_all(b"\n")
            }
            Style::Json => {
                serde_json::to_writer(&mut *out, &as_json(record))?;
                out.write_all(b"\n")
            }
            Style::Table(table) => table.print(record, out),
        }
    }
}

fn as_json(record: &ReadRecord<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), record.topic.into());
    object.insert("partition".to_owned(), record.partition.into());
    object.insert("offset".to_owned(), record.offset.into());
    object.insert("timestamp".to_owned(), record.timestamp.into());
    insert_bytes(&mut object, "key", record.key);
    insert_bytes(&mut object, "value", record.value);
    if !record.headers.is_empty() {
        object.insert("headers".to_owned(), headers_as_json(&record.headers));
    }
    Value::Object(object)
}

/// A string where the bytes are UTF-8, null where there are none, else base64 under another name.
fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), text.into()),
        Some(Err(bytes)) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

/// An object where that says everything, else a list: keys may come twice, values may be bytes, and an
/// object's members have no order here.
fn headers_as_json(headers: &Headers<'_>) -> Value {
    fn text(bytes: &[u8]) -> Option<&str> {
        std::str::from_utf8(bytes).ok()
    }
    let simple =
        |header: &Header<'_>| text(header.key).is_some() && header.value.is_none_or(|v| text(v).is_some());
    let keys: Vec<&[u8]> = headers.iter().map(|header| header.key).collect();
    if keys.is_sorted_by(|a, b| a < b) && headers.iter().all(|header| simple(&header)) {
        let member = |header: Header<'_>| {
            let key = text(header.key).unwrap_or_default().to_owned();
            (key, header.value.and_then(text).map_or(Value::Null, Value::from))
        };
        return Value::Object(headers.iter().map(member).collect());
    }
    let entry = |header: Header<'_>| {
        let mut object = Map::new();
        object.insert("key".to_owned(), json!(String::from_utf8_lossy(header.key)));
        insert_bytes(&mut object, "value", header.value);
        Value::Object(object)
    };
    Value::Array(headers.iter().map(entry).collect())
}

/// Bytes as one cell of a table: control characters and what is no UTF-8 are escaped.
fn cell(bytes: Option<&[u8]>, width: usize) -> String {
    let Some(bytes) = bytes else { return "-".to_owned() };
    // A character takes at most four bytes, so more than these cannot be shown.
    let shown = &bytes[..bytes.len().min(width * 4 + 4)];
    let mut text = String::new();
    for part in shown.utf8_chunks() {
        for c in part.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        // What is cut at the end of `shown` is no fault of the record.
        if part.invalid().len() + text.len() < width * 4 {
            part.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
    }
    cut(&text, width)
}

fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(mut style: Style, headers: &[Header<'_>], key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let mut scratch = Vec::new();
        let headers = Headers::encode(headers, &mut scratch);
        let record = ReadRecord { topic: "t", partition: 1, offset: 2, timestamp: 3, key, value, headers };
        let mut out = Vec::new();
        style.print(&record, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn raw_is_the_value_or_key_and_value() {
        assert_eq!(printed(Style::Raw { key_separator: None }, &[], Some(b"k"), Some(b"v")), "v\n");
        let with_key = Style::Raw { key_separator: Some("\t".to_owned()) };
        assert_eq!(printed(with_key, &[], Some(b"k"), Some(b"v")), "k\tv\n");
    }

    #[test]
    fn json_tells_null_text_and_bytes_apart() {
        let line = printed(Style::Json, &[], None, Some(b"\xff"));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["key"], Value::Null);
        assert_eq!(value["value_base64"], "/w==");
        assert_eq!(
            (&value["partition"], &value["offset"], &value["timestamp"]),
            (&1.into(), &2.into(), &3.into())
        );
        assert_eq!(value.get("headers"), None);
    }

    #[test]
    fn headers_that_an_object_cannot_hold_become_a_list() {
        let header =
            |key: &'static str, value: &'static [u8]| Header { key: key.as_bytes(), value: Some(value) };
        let of = |headers: &[Header<'_>]| {
            let line = printed(Style::Json, headers, None, None);
            serde_json::from_str::<Value>(&line).unwrap()["headers"].clone()
        };
        assert_eq!(of(&[header("a", b"1"), header("b", b"2")]), json!({"a": "1", "b": "2"}));
        assert_eq!(
            of(&[header("a", b"1"), header("a", b"2")]),
            json!([{"key": "a", "value": "1"}, {"key": "a", "value": "2"}])
        );
        assert_eq!(of(&[header("a", b"\xff")]), json!([{"key": "a", "value_base64": "/w=="}]));
    }

    #[test]
    fn a_table_row_is_one_line_of_bounded_width() {
        let table = Table::new(0, 120);
        let long = b"a\nb\x00\xff".repeat(1000);
        let text = printed(Style::Table(table), &[], Some(b"key"), Some(&long));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("VALUE"));
        assert!(lines[1].contains("a\\nb\\u{0}\\xff"), "{}", lines[1]);
        assert!(lines[1].chars().count() <= 120, "{}", lines[1].chars().count());
    }
}
