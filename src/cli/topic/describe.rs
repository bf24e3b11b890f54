//! `thalweg topic describe`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::output;
use crate::cli::pattern::{self, Selector};
use crate::cli::problem::Problem;
use crate::cli::target::Target;
use crate::client::admin::{ConfigEntry, EARLIEST, LATEST, Resource, ResourceKind};
use crate::client::cluster::{Partition, Topic};
use crate::client::{Client, ClientError};
use crate::types::{NodeId, Offset, PartitionId};

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg topic describe orders
  thalweg topic describe 'orders.*' --json

A topic that is given with characters no name has is a regular expression for the whole name. A partition's
replicas are broker ids, its leader's first choice first; those outside ISR are behind.")]
pub struct DescribeArgs {
    #[command(flatten)]
    pub target: Target,
    /// Topics by name or pattern
    #[arg(required = true, value_parser = Selector::parse)]
    topics: Vec<Selector>,
}

/// What is known of a topic beside its metadata.
struct Details {
    /// By partition: where it begins and ends; missing where its leader did not say.
    offsets: BTreeMap<PartitionId, (Offset, Offset)>,
    /// Set on the topic itself; missing where the broker did not say.
    configs: Option<Vec<ConfigEntry>>,
}

pub fn run(args: &DescribeArgs) -> Result<ExitCode, Problem> {
    let mut client = args.target.connect()?;
    let names: Option<Vec<&str>> = args.topics.iter().map(Selector::name).collect();
    let cluster = client.metadata(names.as_deref(), false)?;
    let topics = pattern::select(&cluster.topics, &args.topics, false)?;
    let mut configs = configs(&mut client, &topics)?;
    for (index, topic) in topics.iter().enumerate() {
        let offsets = offsets(&mut client, topic);
        let details = Details { offsets, configs: configs.remove(&topic.name) };
        match args.target.json {
            true => output::line(&as_json(topic, &details).to_string())?,
            false => {
                let gap = if index > 0 { "\n" } else { "" };
                output::line(&format!("{gap}{}", as_text(topic, &details)))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn configs(
    client: &mut Client,
    topics: &[&Topic],
) -> Result<BTreeMap<String, Vec<ConfigEntry>>, ClientError> {
    let resource = |topic: &&Topic| Resource { kind: ResourceKind::Topic, name: topic.name.clone() };
    let resources: Vec<Resource> = topics.iter().map(resource).collect();
    let outcomes = client.describe_configs(&resources, &[], false)?;
    let own = |entries: Vec<ConfigEntry>| entries.into_iter().filter(|entry| entry.source.is_own()).collect();
    Ok(outcomes.into_iter().filter_map(|(name, outcome)| Some((name, own(outcome.ok()?)))).collect())
}

/// Offsets of the partitions that have a leader that answers; a description shows the rest without.
fn offsets(client: &mut Client, topic: &Topic) -> BTreeMap<PartitionId, (Offset, Offset)> {
    let led: Vec<PartitionId> =
        topic.partitions.iter().filter(|p| p.leader.is_some()).map(|partition| partition.id).collect();
    let mut at = |timestamp| {
        let asked: Vec<(PartitionId, i64)> = led.iter().map(|id| (*id, timestamp)).collect();
        client.list_offsets(&topic.name, &asked).unwrap_or_default()
    };
    let (starts, ends) = (at(EARLIEST), at(LATEST));
    let both = |id: &PartitionId| Some((*id, (starts.get(id).copied()??, ends.get(id).copied()??)));
    led.iter().filter_map(both).collect()
}

fn as_text(topic: &Topic, details: &Details) -> String {
    let mut table = output::table(&["PARTITION", "LEADER", "REPLICAS", "ISR", "START", "END", "RECORDS"]);
    for partition in &topic.partitions {
        let offsets = details.offsets.get(&partition.id);
        let number = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
        table.add_row([
            partition.id.to_string(),
            partition.leader.map_or("none".to_owned(), |leader| leader.to_string()),
            ids(&partition.replicas),
            ids(&partition.isr),
            number(offsets.map(|(start, _)| start.0)),
            number(offsets.map(|(_, end)| end.0)),
            number(offsets.map(|(start, end)| end.0 - start.0)),
        ]);
    }
    let mut text = format!("{}  {} partitions", topic.name, topic.partitions.len());
    if !topic.id.is_zero() {
        text.push_str(&format!("  id {}", topic.id));
    }
    for entry in details.configs.iter().flatten() {
        text.push_str(&format!("\n  {}={}", entry.name, entry.value.as_deref().unwrap_or("(hidden)")));
    }
    format!("{text}\n{table}")
}

fn as_json(topic: &Topic, details: &Details) -> Value {
    let list = |ids: &[NodeId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let partition = |partition: &Partition| {
        let offsets = details.offsets.get(&partition.id);
        json!({
            "partition": partition.id.0,
            "leader": partition.leader.map(|leader| leader.0),
            "leader_epoch": partition.leader_epoch,
            "replicas": list(&partition.replicas),
            "isr": list(&partition.isr),
            "offline": list(&partition.offline),
            "start": offsets.map(|(start, _)| start.0),
            "end": offsets.map(|(_, end)| end.0),
        })
    };
    let configs = details.configs.as_ref().map(|entries| {
        let member = |entry: &ConfigEntry| (entry.name.clone(), json!(entry.value));
        Value::Object(entries.iter().map(member).collect::<Map<_, _>>())
    });
    json!({
        "name": topic.name,
        "id": topic.id.to_string(),
        "internal": topic.is_internal,
        "configs": configs,
        "partitions": topic.partitions.iter().map(partition).collect::<Vec<_>>(),
    })
}

fn ids(ids: &[NodeId]) -> String {
    ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
}
