//! Kafka messages as JSON trees: encode a request, decode an answer, for any version, by Kafka's schemas.
//!
//! `schema.json` is written by `schema.py` from the jar of Apache Kafka's clients. In a tree, fields have
//! Kafka's names in lowerCamelCase, bytes and records are lower-case hex, a uuid is 32 hex digits. A field
//! that a tree leaves out takes its default; a name that the schema does not know is a mistake of the test.
//! Fields outside of the version are left out, whatever the tree says.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::random::Random;

#[derive(Clone, Copy, Debug)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    const NONE: Versions = Versions { min: 0, max: -1 };

    fn parse(text: Option<&Value>) -> Versions {
        let Some(text) = text.and_then(Value::as_str).filter(|t| *t != "none") else { return Versions::NONE };
        match text.split_once('-') {
            Some((min, max)) => Versions { min: number(min), max: number(max) },
            None if text.ends_with('+') => Versions { min: number(&text[..text.len() - 1]), max: i16::MAX },
            None => Versions { min: number(text), max: number(text) },
        }
    }

    pub fn has(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

fn number(text: &str) -> i16 {
    text.parse().expect("a version is a number")
}

#[derive(Clone, Debug)]
enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Array(Box<Type>),
    Struct(Vec<Field>),
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    kind: Type,
    versions: Versions,
    nullable: Versions,
    tagged: Versions,
    tag: u32,
    default: Option<Value>,
}

/// One request or response of the protocol.
#[derive(Debug)]
pub struct Message {
    pub name: String,
    pub key: i16,
    /// Every version that Kafka knows; the last may be unstable.
    pub versions: Versions,
    pub unstable: bool,
    flexible: Versions,
    fields: Vec<Field>,
}

/// Both directions of one API.
#[derive(Debug)]
pub struct Api {
    pub request: Message,
    pub response: Message,
}

impl Api {
    /// The versions that a broker advertises without `unstable.api.versions.enable`.
    pub fn stable(&self) -> Versions {
        let v = self.request.versions;
        Versions { min: v.min, max: v.max - i16::from(self.request.unstable) }
    }
}

fn all() -> &'static HashMap<String, Api> {
    static ALL: OnceLock<HashMap<String, Api>> = OnceLock::new();
    ALL.get_or_init(|| {
        let list: Value = serde_json::from_str(include_str!("schema.json")).expect("schema.json is JSON");
        let mut requests: HashMap<String, Message> = HashMap::new();
        let mut all = HashMap::new();
        for entry in list.as_array().expect("a list of messages") {
            let message = Message::read(entry);
            if entry["type"] == "request" {
                requests.insert(message.name.clone(), message);
            } else if let Some(request) = requests.remove(&message.name) {
                all.insert(message.name.clone(), Api { request, response: message });
            }
        }
        all
    })
}

/// The API called `name` in Kafka's schemas, such as `ListOffsets`.
pub fn message(name: &str) -> &'static Api {
    all().get(name).unwrap_or_else(|| panic!("no API is called {name}"))
}

pub fn message_by_key(key: i16) -> Option<&'static Api> {
    all().values().find(|api| api.request.key == key)
}

pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = all().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

impl Message {
    fn read(entry: &Value) -> Message {
        let mut common = HashMap::new();
        for shared in entry["commonStructs"].as_array().into_iter().flatten() {
            let name = shared["name"].as_str().expect("a name");
            // Its name is a type's, which `schema.py` wrote as a field's.
            let name = name[..1].to_uppercase() + &name[1..];
            common.insert(name, shared.clone());
            define(&shared["fields"], &mut common);
        }
        define(&entry["fields"], &mut common);
        Message {
            name: entry["name"].as_str().expect("a name").to_owned(),
            key: entry["apiKey"].as_i64().expect("a key") as i16,
            versions: Versions::parse(entry.get("validVersions")),
            unstable: entry["unstable"].as_bool().unwrap_or(false),
            flexible: Versions::parse(entry.get("flexibleVersions")),
            fields: fields(&entry["fields"], &common),
        }
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible.has(version)
    }

    pub fn encode(&self, version: i16, tree: &Value) -> Vec<u8> {
        let mut out = Writer { bytes: Vec::new(), version, flexible: self.is_flexible(version) };
        out.fields(&self.fields, tree, &self.name);
        out.bytes
    }

    /// The tree of an answer's body, or where it ends too soon. Bytes left over stand under `_trailing`.
    pub fn decode(&self, version: i16, body: &[u8]) -> Result<Value, String> {
        let mut input = Reader { bytes: body, at: 0, version, flexible: self.is_flexible(version) };
        let mut tree = input.fields(&self.fields)?;
        if input.at < body.len() {
            tree["_trailing"] = json!(hex(&body[input.at..]));
        }
        Ok(tree)
    }
}

/// A struct may be named again after the field that spells it out.
fn define(fields: &Value, structs: &mut HashMap<String, Value>) {
    for entry in fields.as_array().into_iter().flatten().filter(|entry| entry.get("fields").is_some()) {
        let name = entry["type"].as_str().expect("a type").trim_start_matches("[]");
        structs.insert(name.to_owned(), entry.clone());
        define(&entry["fields"], structs);
    }
}

fn fields(list: &Value, common: &HashMap<String, Value>) -> Vec<Field> {
    list.as_array().into_iter().flatten().map(|entry| field(entry, common)).collect()
}

fn field(entry: &Value, common: &HashMap<String, Value>) -> Field {
    let spelled = entry["type"].as_str().expect("a type");
    Field {
        name: entry["name"].as_str().expect("a name").to_owned(),
        kind: kind(spelled, entry, common),
        versions: Versions::parse(entry.get("versions")),
        nullable: Versions::parse(entry.get("nullableVersions")),
        tagged: Versions::parse(entry.get("taggedVersions")),
        tag: entry["tag"].as_u64().unwrap_or(0) as u32,
        default: entry.get("default").cloned(),
    }
}

fn kind(spelled: &str, entry: &Value, common: &HashMap<String, Value>) -> Type {
    match spelled {
        "bool" => Type::Bool,
        "int8" => Type::Int8,
        "int16" => Type::Int16,
        "uint16" => Type::Uint16,
        "int32" => Type::Int32,
        "uint32" => Type::Uint32,
        "int64" => Type::Int64,
        "float64" => Type::Float64,
        "uuid" => Type::Uuid,
        "string" => Type::String,
        "bytes" | "records" => Type::Bytes,
        _ => match spelled.strip_prefix("[]") {
            Some(element) => Type::Array(Box::new(kind(element, entry, common))),
            None if entry.get("fields").is_some() => Type::Struct(fields(&entry["fields"], common)),
            None => Type::Struct(fields(&common[spelled]["fields"], common)),
        },
    }
}

impl Field {
    /// The value that stands for a field which a tree leaves out.
    fn absent(&self) -> Value {
        if let Some(default) = &self.default {
            let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            return match (&self.kind, text.as_str()) {
                (_, "null") => Value::Null,
                (Type::Bool, text) => json!(text == "true"),
                (Type::String, text) => json!(text),
                (_, text) => match text.strip_prefix("0x") {
                    Some(digits) => json!(i64::from_str_radix(digits, 16).expect("hex digits")),
                    None => json!(text.parse::<i64>().expect("a number")),
                },
            };
        }
        match &self.kind {
            Type::Bool => json!(false),
            Type::Uuid => json!("0".repeat(32)),
            Type::String | Type::Bytes => json!(""),
            Type::Array(_) => json!([]),
            Type::Struct(_) => json!({}),
            _ => json!(0),
        }
    }
}

impl Message {
    /// A request that its schema allows, with odd but well-formed values. Waiting times stay short.
    pub fn random(&self, version: i16, random: &mut Random) -> Value {
        random_fields(&self.fields, version, random)
    }
}

fn random_fields(fields: &[Field], version: i16, random: &mut Random) -> Value {
    let mut tree = Map::new();
    for field in fields.iter().filter(|f| f.versions.has(version)) {
        if field.nullable.has(version) && random.one_in(6) {
            tree.insert(field.name.clone(), Value::Null);
        } else if !random.one_in(8) {
            tree.insert(field.name.clone(), random_value(&field.kind, &field.name, version, random));
        }
    }
    Value::Object(tree)
}

fn random_value(kind: &Type, name: &str, version: i16, random: &mut Random) -> Value {
    const TEXTS: [&str; 8] =
        ["", "t", "another", "__consumer_offsets", "a/b", "1", "\u{1f41f}", "retention.ms"];
    let whole = |random: &mut Random, bits: u32| {
        let edge = 1i64.checked_shl(bits - 1).map_or(i64::MAX, |e| e.wrapping_sub(1));
        [0, 0, 1, 1, 2, 5, -1, -2, edge, -edge - 1, random.number() as i64 & edge][random.below(11)]
    };
    match kind {
        Type::Int32 | Type::Int64 if name.ends_with("Ms") => json!(random.below(40)),
        Type::Bool => json!(random.one_in(2)),
        Type::Int8 => json!(whole(random, 8)),
        Type::Int16 => json!(whole(random, 16)),
        Type::Uint16 => json!(random.below(65536)),
        Type::Int32 => json!(whole(random, 32)),
        Type::Uint32 => json!(random.below(1 << 31)),
        Type::Int64 => json!(whole(random, 64)),
        Type::Float64 => json!(random.below(1000)),
        Type::Uuid => json!(hex(&random.bytes(16))),
        Type::String => json!(TEXTS[random.below(TEXTS.len())]),
        Type::Bytes => {
            let length = random.below(120);
            json!(hex(&random.bytes(length)))
        }
        Type::Array(element) => {
            (0..random.below(4)).map(|_| random_value(element, name, version, random)).collect()
        }
        Type::Struct(fields) => random_fields(fields, version, random),
    }
}

struct Writer {
    bytes: Vec<u8>,
    version: i16,
    flexible: bool,
}

impl Writer {
    fn fields(&mut self, fields: &[Field], tree: &Value, of: &str) {
        let object = tree.as_object().unwrap_or_else(|| panic!("{of} wants an object, not {tree}"));
        for name in object.keys() {
            assert!(fields.iter().any(|f| f.name == *name) || name == "_tags", "{of} has no field {name}");
        }
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        let version = self.version;
        for field in fields.iter().filter(|f| f.versions.has(version)) {
            let given = object.get(&field.name);
            if field.tagged.has(self.version) {
                let Some(value) = given.filter(|v| **v != field.absent()) else { continue };
                let mut inner = Writer { bytes: Vec::new(), version: self.version, flexible: self.flexible };
                inner.value(&field.kind, value, field);
                tagged.push((field.tag, inner.bytes));
            } else {
                self.value(&field.kind, given.unwrap_or(&field.absent()), field);
            }
        }
        if self.flexible {
            for (tag, value) in object.get("_tags").and_then(Value::as_object).into_iter().flatten() {
                tagged.push((tag.parse().expect("a tag's number"), unhex(value.as_str().expect("hex"))));
            }
            tagged.sort_by_key(|(tag, _)| *tag);
            self.unsigned(tagged.len() as u32);
            for (tag, bytes) in tagged {
                self.unsigned(tag);
                self.unsigned(bytes.len() as u32);
                self.bytes.extend(bytes);
            }
        }
    }

    fn value(&mut self, kind: &Type, value: &Value, field: &Field) {
        let whole = || value.as_i64().unwrap_or_else(|| panic!("{} wants a number, not {value}", field.name));
        match kind {
            Type::Bool => self.bytes.push(value.as_bool().expect("a bool") as u8),
            Type::Int8 => self.bytes.push(whole() as i8 as u8),
            Type::Int16 | Type::Uint16 => self.bytes.extend((whole() as i16).to_be_bytes()),
            Type::Int32 | Type::Uint32 => self.bytes.extend((whole() as i32).to_be_bytes()),
            Type::Int64 => self.bytes.extend(whole().to_be_bytes()),
            Type::Float64 => self.bytes.extend(value.as_f64().expect("a number").to_be_bytes()),
            Type::Uuid => {
                let bytes = unhex(value.as_str().expect("a uuid in hex"));
                assert_eq!(bytes.len(), 16, "{} wants a uuid", field.name);
                self.bytes.extend(bytes);
            }
            Type::String => match value.as_str() {
                Some(text) => {
                    self.length(Some(text.len()), true);
                    self.bytes.extend(text.as_bytes());
                }
                None => self.length(None, true),
            },
            Type::Bytes => match value.as_str() {
                Some(text) => {
                    let bytes = unhex(text);
                    self.length(Some(bytes.len()), false);
                    self.bytes.extend(bytes);
                }
                None => self.length(None, false),
            },
            Type::Array(element) => match value.as_array() {
                Some(list) => {
                    self.length(Some(list.len()), false);
                    for item in list {
                        self.element(element, item, field);
                    }
                }
                None => self.length(None, false),
            },
            Type::Struct(fields) => {
                if field.nullable.has(self.version) {
                    self.bytes.push(if value.is_null() { 0xff } else { 1 });
                    if value.is_null() {
                        return;
                    }
                }
                self.fields(fields, value, &field.name);
            }
        }
    }

    /// An array's element is never null, even where the array itself may be.
    fn element(&mut self, kind: &Type, value: &Value, field: &Field) {
        match kind {
            Type::Struct(fields) => self.fields(fields, value, &field.name),
            _ => self.value(kind, value, field),
        }
    }

    fn length(&mut self, length: Option<usize>, short: bool) {
        match (self.flexible, length) {
            (true, length) => self.unsigned(length.map_or(0, |l| l as u32 + 1)),
            (false, length) if short => {
                self.bytes.extend(length.map_or(-1, |l| l as i16).to_be_bytes());
            }
            (false, length) => self.bytes.extend(length.map_or(-1, |l| l as i32).to_be_bytes()),
        }
    }

    fn unsigned(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
}

impl<'a> Reader<'a> {
    fn fields(&mut self, fields: &[Field]) -> Result<Value, String> {
        let mut tree = Map::new();
        let version = self.version;
        for field in fields.iter().filter(|f| f.versions.has(version)) {
            let value = if field.tagged.has(self.version) {
                field.absent()
            } else {
                self.value(&field.kind, field).map_err(|e| format!("{}: {e}", field.name))?
            };
            tree.insert(field.name.clone(), value);
        }
        if self.flexible {
            let mut unknown = Map::new();
            for _ in 0..self.unsigned()? {
                let tag = self.unsigned()?;
                let size = self.unsigned()? as usize;
                let end = self.at + size;
                let known = fields
                    .iter()
                    .find(|f| f.tag == tag && f.versions.has(self.version) && f.tagged.has(self.version));
                match known {
                    Some(field) => {
                        let value = self.value(&field.kind, field)?;
                        tree.insert(field.name.clone(), value);
                        if self.at != end {
                            return Err(format!("tag {tag} says {size} bytes and has others"));
                        }
                    }
                    None => {
                        let value = json!(hex(self.take(size)?));
                        unknown.insert(tag.to_string(), value);
                    }
                }
            }
            if !unknown.is_empty() {
                tree.insert("_tags".into(), Value::Object(unknown));
            }
        }
        Ok(Value::Object(tree))
    }

    fn value(&mut self, kind: &Type, field: &Field) -> Result<Value, String> {
        Ok(match kind {
            Type::Bool => json!(self.take(1)?[0] != 0),
            Type::Int8 => json!(self.take(1)?[0] as i8),
            Type::Int16 => json!(i16::from_be_bytes(self.fixed()?)),
            Type::Uint16 => json!(u16::from_be_bytes(self.fixed()?)),
            Type::Int32 => json!(i32::from_be_bytes(self.fixed()?)),
            Type::Uint32 => json!(u32::from_be_bytes(self.fixed()?)),
            Type::Int64 => json!(i64::from_be_bytes(self.fixed()?)),
            Type::Float64 => json!(f64::from_be_bytes(self.fixed()?)),
            Type::Uuid => json!(hex(self.take(16)?)),
            Type::String => match self.length(true)? {
                Some(length) => json!(std::str::from_utf8(self.take(length)?).map_err(|e| e.to_string())?),
                None => Value::Null,
            },
            Type::Bytes => match self.length(false)? {
                Some(length) => json!(hex(self.take(length)?)),
                None => Value::Null,
            },
            Type::Array(element) => match self.length(false)? {
                Some(length) => {
                    let mut list = Vec::new();
                    for _ in 0..length {
                        list.push(match element.as_ref() {
                            Type::Struct(fields) => self.fields(fields)?,
                            other => self.value(other, field)?,
                        });
                    }
                    Value::Array(list)
                }
                None => Value::Null,
            },
            Type::Struct(fields) => {
                if field.nullable.has(self.version) && self.take(1)?[0] as i8 == -1 {
                    return Ok(Value::Null);
                }
                self.fields(fields)?
            }
        })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end =
            end.ok_or_else(|| format!("{length} bytes wanted at {} of {}", self.at, self.bytes.len()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    fn length(&mut self, short: bool) -> Result<Option<usize>, String> {
        if self.flexible {
            return Ok((self.unsigned()? as usize).checked_sub(1));
        }
        let length =
            if short { i16::from_be_bytes(self.fixed()?) as i32 } else { i32::from_be_bytes(self.fixed()?) };
        Ok(usize::try_from(length).ok())
    }

    fn unsigned(&mut self) -> Result<u32, String> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= ((byte & 0x7f) as u32) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a varint of more than five bytes".into())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[*b as usize >> 4] as char, DIGITS[*b as usize & 15] as char]).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
