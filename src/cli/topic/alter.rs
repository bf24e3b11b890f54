//! `thalweg topic alter`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::moment::{self, Start};
use crate::cli::output;
use crate::cli::pattern::{self, Selector};
use crate::cli::problem::Problem;
use crate::cli::target::Target;
use crate::client::Client;
use crate::client::admin::{ConfigChange, ConfigOperation, EARLIEST, LATEST, Resource, ResourceKind};
use crate::client::cluster::Topic;
use crate::types::{Offset, PartitionId};

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg topic alter orders --partitions 24            partitions can only be added
  thalweg topic alter orders --config retention.ms=86400000 --unset max.message.bytes
  thalweg topic alter orders --delete-before -7d        records older than a week are gone
  thalweg topic alter orders --delete-before latest     all that are there now
  thalweg topic alter orders --delete-before 5000 --partition 3")]
pub struct AlterArgs {
    #[command(flatten)]
    pub target: Target,
    /// The names of the topics
    #[arg(required = true)]
    names: Vec<String>,
    /// Raise the number of partitions to this
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Set a configuration key; may be given several times
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::parse_config)]
    config: Vec<(String, String)>,
    /// Let a key have the broker's value again; may be given several times
    #[arg(short, long, value_name = "KEY")]
    unset: Vec<String>,
    /// Delete the records before an offset, the end (latest), -N records before the end, or a time
    #[arg(long, value_name = "WHERE", value_parser = moment::parse_start, allow_hyphen_values = true)]
    delete_before: Option<Start>,
    /// With --delete-before: these partitions alone
    #[arg(long, value_name = "N,N", value_delimiter = ',', requires = "delete_before")]
    partition: Vec<i32>,
}

pub fn run(args: &AlterArgs) -> Result<ExitCode, Problem> {
    let set = args.config.iter().map(|(name, value)| ConfigChange {
        name: name.clone(),
        operation: ConfigOperation::Set(value.clone()),
    });
    let unset =
        args.unset.iter().map(|name| ConfigChange { name: name.clone(), operation: ConfigOperation::Unset });
    let changes: Vec<ConfigChange> = set.chain(unset).collect();
    if args.partitions.is_none() && changes.is_empty() && args.delete_before.is_none() {
        return Err(Problem::new("nothing is to be altered")
            .mend("give --partitions, --config, --unset or --delete-before"));
    }
    let mut client = args.target.connect()?;
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let cluster = client.metadata(Some(&names), false)?;
    let selectors: Vec<Selector> = args.names.iter().map(|name| Selector::Name(name.clone())).collect();
    let topics = pattern::select(&cluster.topics, &selectors, false)?;
    let mut code = ExitCode::SUCCESS;
    let mut note = |outcome: ExitCode| {
        if outcome != ExitCode::SUCCESS {
            code = outcome;
        }
    };
    if let Some(count) = args.partitions {
        let outcomes = client.create_partitions(&args.names, count)?;
        let has_all = |topic: &Topic| topic.partitions.len() >= count as usize;
        client.wait_for_topics(&super::succeeded(&outcomes), |topic| topic.is_some_and(has_all))?;
        note(super::report(outcomes, args.target.json, |name, ()| {
            let object = json!({"topic": name, "partitions": count});
            output::done(args.target.json, &object, &format!("topic {name} has {count} partitions"));
        }));
    }
    if !changes.is_empty() {
        let resource = |name: &String| Resource { kind: ResourceKind::Topic, name: name.clone() };
        let resources: Vec<Resource> = args.names.iter().map(resource).collect();
        let outcomes = client.alter_configs(&resources, &changes, false)?;
        note(super::report(outcomes, args.target.json, |name, ()| {
            let keys: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
            let object = json!({"topic": name, "changed": keys});
            let line = format!("changed {} of topic {name}", keys.join(", "));
            output::done(args.target.json, &object, &line);
        }));
    }
    if let Some(before) = args.delete_before {
        for topic in topics {
            delete_records(args, &mut client, topic, before)?;
        }
    }
    Ok(code)
}

fn delete_records(
    args: &AlterArgs,
    client: &mut Client,
    topic: &Topic,
    before: Start,
) -> Result<(), Problem> {
    let wanted: Vec<PartitionId> = match args.partition.is_empty() {
        true => topic.partitions.iter().map(|partition| partition.id).collect(),
        false => args.partition.iter().copied().map(PartitionId).collect(),
    };
    let mut at = |timestamp: i64| {
        let asked: Vec<(PartitionId, i64)> = wanted.iter().map(|id| (*id, timestamp)).collect();
        client.list_offsets(&topic.name, &asked)
    };
    let (starts, ends) = (at(EARLIEST)?, at(LATEST)?);
    let times = if let Start::Time(time) = before { at(time)? } else { Default::default() };
    let target = |id: &PartitionId| {
        let start = starts.get(id).copied().flatten().unwrap_or(Offset::ZERO);
        let end = ends.get(id).copied().flatten().unwrap_or(start);
        let offset = match before {
            Start::Earliest => start,
            Start::Latest => end,
            Start::Offset(offset) => Offset(offset),
            Start::Last(count) => Offset(end.0.saturating_sub(count)).max(start),
            // No record is that young: all of them are older.
            Start::Time(_) => times.get(id).copied().flatten().unwrap_or(end).max(start),
        };
        (*id, offset.0)
    };
    let targets: Vec<(PartitionId, i64)> = wanted.iter().map(target).collect();
    for (id, start) in client.delete_records(&topic.name, &targets)? {
        let gone = starts.get(&id).copied().flatten().map(|before| (start.0 - before.0).max(0));
        let object = json!({"topic": topic.name, "partition": id.0, "start": start.0, "deleted": gone});
        let count = gone.map_or(String::new(), |gone| format!("; {gone} records are gone"));
        let line = format!("{}-{id} begins at offset {start}{count}", topic.name);
        output::done(args.target.json, &object, &line);
    }
    Ok(())
}
