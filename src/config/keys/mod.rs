//! Every configuration key: Kafka 4.1's for brokers, topics, groups and client metrics, and our own.
//!
//! The tables are text files beside this one, a key a line, read once when first asked for:
//!
//! ```text
//! name | type | default | check | importance | mode | documentation
//! ```
//!
//! `default` is `null`, `required` or the text itself (`""` is empty). `check` is the grammar of
//! [`Check`]. `mode` is `read-only`, `per-broker` or `cluster-wide`, with `internal` before it for a key
//! that is not shown unless it is set. Names, types, defaults and checks are Kafka's facts; the
//! documentation is written here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::value::Check;

/// A key's type, as DescribeConfigs numbers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub enum Type {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// How much a key matters to most installations, in Kafka's three steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// Where a broker key may be changed while the broker runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

/// What a key takes when nobody sets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Default {
    Null,
    Required,
    Text(&'static str),
}

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Type,
    pub default: Default,
    pub check: Check,
    pub importance: Importance,
    pub mode: Mode,
    /// Not described unless somebody set it.
    pub internal: bool,
    pub documentation: &'static str,
}

impl Key {
    /// The default as text; `None` for null and for a key that must be set.
    pub fn default_text(&self) -> Option<&'static str> {
        match self.default {
            Default::Text(text) => Some(text),
            Default::Null | Default::Required => None,
        }
    }

    /// Whether the value is a secret that is never shown.
    pub fn sensitive(&self) -> bool {
        self.kind == Type::Password
    }
}

/// The keys of one kind of resource, by name.
#[derive(Debug)]
pub struct Table(BTreeMap<&'static str, Key>);

impl Table {
    pub fn get(&self, name: &str) -> Option<&Key> {
        self.0.get(name)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Every key in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.values()
    }
}

/// The broker keys of server.properties.
pub static BROKER: LazyLock<Table> = LazyLock::new(|| read(include_str!("broker.txt")));
/// Replication throttles: broker keys that exist only while running, never in the file.
pub static BROKER_DYNAMIC_ONLY: LazyLock<Table> =
    LazyLock::new(|| read(include_str!("broker_dynamic_only.txt")));
/// The topic keys.
pub static TOPIC: LazyLock<Table> = LazyLock::new(|| read(include_str!("topic.txt")));
/// The keys of a group.
pub static GROUP: LazyLock<Table> = LazyLock::new(|| read(include_str!("group.txt")));
/// The keys of a client metrics subscription.
pub static CLIENT_METRICS: LazyLock<Table> = LazyLock::new(|| read(include_str!("client_metrics.txt")));
/// Our own keys, all beginning with `thalweg.`.
pub static THALWEG: LazyLock<Table> = LazyLock::new(|| read(include_str!("thalweg.txt")));

/// A broker key that stands behind a topic key, with its unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicSynonym {
    pub name: &'static str,
    /// How many of the topic key's units one of this key's units is.
    pub factor: i64,
}

/// The broker keys that stand behind a topic key, the strongest first; empty for keys only a topic has.
pub fn topic_synonyms(topic_key: &str) -> &'static [TopicSynonym] {
    TOPIC_SYNONYMS.iter().find(|(name, _)| *name == topic_key).map_or(&[], |(_, synonyms)| synonyms)
}

/// Whether a broker's value for this key changes its topics' configuration while it runs.
pub fn is_topic_default(broker_key: &str) -> bool {
    TOPIC_SYNONYMS.iter().any(|(_, synonyms)| synonyms[0].name == broker_key)
}

const fn same(name: &'static str) -> TopicSynonym {
    TopicSynonym { name, factor: 1 }
}

const fn minutes(name: &'static str) -> TopicSynonym {
    TopicSynonym { name, factor: 60_000 }
}

const fn hours(name: &'static str) -> TopicSynonym {
    TopicSynonym { name, factor: 3_600_000 }
}

const TOPIC_SYNONYMS: &[(&str, &[TopicSynonym])] = &[
    ("cleanup.policy", &[same("log.cleanup.policy")]),
    ("compression.gzip.level", &[same("compression.gzip.level")]),
    ("compression.lz4.level", &[same("compression.lz4.level")]),
    ("compression.type", &[same("compression.type")]),
    ("compression.zstd.level", &[same("compression.zstd.level")]),
    ("delete.retention.ms", &[same("log.cleaner.delete.retention.ms")]),
    ("file.delete.delay.ms", &[same("log.segment.delete.delay.ms")]),
    ("flush.messages", &[same("log.flush.interval.messages")]),
    ("flush.ms", &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
    ("index.interval.bytes", &[same("log.index.interval.bytes")]),
    ("local.retention.bytes", &[same("log.local.retention.bytes")]),
    ("local.retention.ms", &[same("log.local.retention.ms")]),
    ("max.compaction.lag.ms", &[same("log.cleaner.max.compaction.lag.ms")]),
    ("max.message.bytes", &[same("message.max.bytes")]),
    ("message.timestamp.after.max.ms", &[same("log.message.timestamp.after.max.ms")]),
    ("message.timestamp.before.max.ms", &[same("log.message.timestamp.before.max.ms")]),
    ("message.timestamp.type", &[same("log.message.timestamp.type")]),
    ("min.cleanable.dirty.ratio", &[same("log.cleaner.min.cleanable.ratio")]),
    ("min.compaction.lag.ms", &[same("log.cleaner.min.compaction.lag.ms")]),
    ("min.insync.replicas", &[same("min.insync.replicas")]),
    ("preallocate", &[same("log.preallocate")]),
    ("retention.bytes", &[same("log.retention.bytes")]),
    (
        "retention.ms",
        &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")],
    ),
    ("segment.bytes", &[same("log.segment.bytes")]),
    ("segment.index.bytes", &[same("log.index.size.max.bytes")]),
    ("segment.jitter.ms", &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")]),
    ("segment.ms", &[same("log.roll.ms"), hours("log.roll.hours")]),
    ("unclean.leader.election.enable", &[same("unclean.leader.election.enable")]),
];

/// Reads one table. A malformed line is our own bug, found by the tests below.
fn read(text: &'static str) -> Table {
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    Table(rows.map(|line| row(line).unwrap_or_else(|| panic!("malformed key line: {line}"))).collect())
}

fn row(line: &'static str) -> Option<(&'static str, Key)> {
    let mut fields = line.splitn(7, " | ");
    let name = fields.next()?;
    let kind = match fields.next()? {
        "BOOLEAN" => Type::Boolean,
        "STRING" => Type::String,
        "INT" => Type::Int,
        "SHORT" => Type::Short,
        "LONG" => Type::Long,
        "DOUBLE" => Type::Double,
        "LIST" => Type::List,
        "CLASS" => Type::Class,
        "PASSWORD" => Type::Password,
        _ => return None,
    };
    let default = match fields.next()? {
        "null" => Default::Null,
        "required" => Default::Required,
        "\"\"" => Default::Text(""),
        text => Default::Text(text),
    };
    let check = Check::read(fields.next()?)?;
    let importance = match fields.next()? {
        "HIGH" => Importance::High,
        "MEDIUM" => Importance::Medium,
        "LOW" => Importance::Low,
        _ => return None,
    };
    let (internal, mode) = match fields.next()? {
        "read-only" => (false, Mode::ReadOnly),
        "per-broker" => (false, Mode::PerBroker),
        "cluster-wide" => (false, Mode::ClusterWide),
        "internal read-only" => (true, Mode::ReadOnly),
        _ => return None,
    };
    let documentation = fields.next()?;
    Some((name, Key { name, kind, default, check, importance, mode, internal, documentation }))
}
