//! Replays what Apache Kafka 4.1.1 answered: `fixtures/oracle.properties` is the file it was started with,
//! `altered.tsv` the changes it was asked for, in order, with code and message, `described.tsv` what it
//! described after them, synonyms included (`\N` is null).

use std::collections::BTreeMap;

use super::change::{self, Change, Op};
use super::describe::{Resource, ResourceType, Source, Synonym, describe};
use super::error::{ConfigError, ErrorKind};
use super::layers::Layers;
use super::loggers::Loggers;
use super::properties::Properties;
use super::server::ServerConfig;

type Map = BTreeMap<String, String>;

/// A controller of one broker, as far as configuration goes.
struct Cluster {
    base: Layers,
    stored: BTreeMap<Resource, Map>,
}

impl Cluster {
    fn start() -> Cluster {
        let file = Properties::parse(include_str!("fixtures/oracle.properties")).expect("well-formed");
        let base = Layers::new(ServerConfig::load(&file).expect("the oracle started with it").0);
        // What eligible leader replicas write when a cluster is formatted.
        let everyone = Resource { kind: ResourceType::Broker, name: String::new() };
        let isr = Map::from([("min.insync.replicas".to_owned(), "1".to_owned())]);
        Cluster { base, stored: BTreeMap::from([(everyone, isr)]) }
    }

    fn stored(&self, kind: ResourceType, name: &str) -> Map {
        self.stored.get(&Resource { kind, name: name.to_owned() }).cloned().unwrap_or_default()
    }

    fn layers(&self) -> Layers {
        let (default, broker) =
            (self.stored(ResourceType::Broker, ""), self.stored(ResourceType::Broker, "1"));
        self.base.with_dynamic(&default, &broker).0
    }

    fn alter(&mut self, resource: &Resource, changes: &[Change]) -> Result<(), ConfigError> {
        let layers = self.layers();
        let stored = self.stored(resource.kind, &resource.name);
        change::preprocess_incremental(&layers, resource, &stored, changes)?;
        if resource.kind == ResourceType::BrokerLogger {
            return Loggers::default().changed(1, &resource.name, changes).map(|_| ());
        }
        let writes = change::incremental(&layers, resource, &stored, changes, true)?;
        let keys = self.stored.entry(resource.clone()).or_default();
        for write in writes {
            match write.value {
                Some(value) => keys.insert(write.name, value),
                None => keys.remove(&write.name),
            };
        }
        Ok(())
    }
}

fn resource(text: &str) -> Resource {
    let (kind, name) = text.split_once('=').expect("TYPE=name");
    let kind = match kind {
        "TOPIC" => ResourceType::Topic,
        "BROKER" => ResourceType::Broker,
        "GROUP" => ResourceType::Group,
        "CLIENT_METRICS" => ResourceType::ClientMetrics,
        "BROKER_LOGGER" => ResourceType::BrokerLogger,
        other => panic!("{other} is no kind of resource"),
    };
    Resource { kind, name: name.to_owned() }
}

fn changes(fields: &[&str]) -> Vec<Change> {
    let change = |fields: &[&str]| {
        let op =
            [Op::Set, Op::Delete, Op::Append, Op::Subtract].into_iter().find(|op| op.name() == fields[0]);
        Change {
            name: fields[1].to_owned(),
            op: op.expect("an operation") as i8,
            value: (fields[2] != "\\N").then(|| fields[2].to_owned()),
        }
    };
    fields.chunks(3).map(change).collect()
}

fn code(error: &ConfigError) -> i16 {
    match error.kind {
        ErrorKind::InvalidConfig => 40,
        ErrorKind::InvalidRequest => 42,
        ErrorKind::InvalidTopic => 17,
        ErrorKind::UnknownServerError => -1,
    }
}

/// What a cluster whose changes are all replayed has stored, and where its answers differ.
fn replayed() -> (Cluster, Vec<String>) {
    // Ours says what to mend instead of a division by zero; a set's order and the value that a pool of
    // network threads really has are accidents of the oracle's process.
    const DIFFER: &[&str] = &["/ by zero", "Set(num.partitions, broker.id)", "num.network.threads=60"];
    let mut cluster = Cluster::start();
    let mut differences = Vec::new();
    for line in include_str!("fixtures/altered.tsv").lines() {
        let (asked, answered) = line.split_once("\t=> ").expect("a line has an answer");
        let fields: Vec<&str> = asked.split('\t').collect();
        let outcome = cluster.alter(&resource(fields[0]), &changes(&fields[1..]));
        let ours = match &outcome {
            Ok(()) => "0".to_owned(),
            Err(error) => format!("{}\t{}", code(error), error.message),
        };
        // Whether a topic exists is the caller's to say.
        let missing = answered.starts_with("3\t") && outcome.is_ok();
        if ours != answered && !missing && !DIFFER.iter().any(|known| answered.contains(known)) {
            differences.push(format!("{asked}\n  kafka {answered}\n  ours  {ours}"));
        }
    }
    (cluster, differences)
}

#[test]
fn changes_are_answered_as_kafka_answers_them() {
    let (_, differences) = replayed();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Topic => "DYNAMIC_TOPIC_CONFIG",
        Source::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        Source::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        Source::StaticBroker => "STATIC_BROKER_CONFIG",
        Source::Default => "DEFAULT_CONFIG",
        Source::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
        Source::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
        Source::Group => "DYNAMIC_GROUP_CONFIG",
    }
}

fn described(cluster: &Cluster, text: &str) -> Vec<String> {
    let resource = resource(text);
    let stored = cluster.stored(resource.kind, &resource.name);
    let entries = describe(&cluster.layers(), &Loggers::default(), &resource, &stored).expect("known");
    let null = || "\\N".to_owned();
    let synonym = |synonym: &Synonym| {
        let value = synonym.value.clone().unwrap_or_else(null);
        format!("{}|{}|{value}", source_name(synonym.source), synonym.name)
    };
    let line = |entry: &super::DescribedEntry| {
        [
            text.to_owned(),
            entry.name.clone(),
            entry.value.clone().unwrap_or_else(null),
            entry.kind.map_or_else(|| "UNKNOWN".to_owned(), |kind| kind.to_string()),
            source_name(entry.source).to_owned(),
            if entry.read_only { "ro" } else { "rw" }.to_owned(),
            if entry.sensitive { "sensitive" } else { "-" }.to_owned(),
            entry.synonyms.iter().map(synonym).collect::<Vec<_>>().join(";"),
        ]
        .join("\t")
    };
    entries.iter().map(line).collect()
}

#[test]
fn resources_are_described_as_kafka_describes_them() {
    let cluster = replayed().0;
    let mut ours: Vec<String> = ["TOPIC=t", "BROKER=1", "BROKER=", "GROUP=g", "CLIENT_METRICS=c"]
        .iter()
        .flat_map(|resource| described(&cluster, resource))
        // Our own keys, and the one default that is ours.
        .filter(|line| !line.contains("\tthalweg.") && !line.contains("\tqueued.max.request.bytes\t"))
        .collect();
    let mut kafkas: Vec<String> = include_str!("fixtures/described.tsv")
        .lines()
        .filter(|line| !line.contains("\tqueued.max.request.bytes\t"))
        .map(str::to_owned)
        .collect();
    ours.sort();
    kafkas.sort();
    let only = |a: &[String], b: &[String]| {
        a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>().join("\n")
    };
    let (only_kafkas, only_ours) = (only(&kafkas, &ours), only(&ours, &kafkas));
    assert!(only_kafkas.is_empty() && only_ours.is_empty(), "kafka:\n{only_kafkas}\nours:\n{only_ours}");
}
