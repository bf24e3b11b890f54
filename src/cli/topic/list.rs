//! `thalweg topic list`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::output;
use crate::cli::pattern::{self, Selector};
use crate::cli::problem::Problem;
use crate::cli::target::Target;
use crate::client::cluster::Topic;

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg topic list                     a name a line
  thalweg topic list 'orders.*' --long   with partitions, replication and ids
  thalweg topic list --internal          topics that begin with __ too
  thalweg topic list --json | jq -r 'select(.partitions > 10).name'

A topic that is given with characters no name has is a regular expression for the whole name.")]
pub struct ListArgs {
    #[command(flatten)]
    pub target: Target,
    /// Topics by name or pattern [default: all]
    #[arg(value_parser = Selector::parse)]
    topics: Vec<Selector>,
    /// Partitions, replication and id of each
    #[arg(short, long)]
    long: bool,
    /// Name topics that begin with __ too
    #[arg(long)]
    internal: bool,
}

pub fn run(args: &ListArgs) -> Result<ExitCode, Problem> {
    let cluster = args.target.connect()?.metadata(None, false)?;
    let is_shown = |topic: &&Topic| args.internal || !(topic.is_internal || topic.name.starts_with("__"));
    let topics = match args.topics.is_empty() {
        true => cluster.topics.iter().filter(is_shown).collect(),
        false => pattern::select(&cluster.topics, &args.topics, false)?,
    };
    if args.target.json {
        for topic in topics {
            let object = json!({
                "name": topic.name,
                "id": topic.id.to_string(),
                "partitions": topic.partitions.len(),
                "replication": replication(topic),
                "internal": topic.is_internal,
            });
            output::line(&object.to_string())?;
        }
    } else if args.long {
        let mut table = output::table(&["TOPIC", "PARTITIONS", "REPLICATION", "ID"]);
        for topic in topics {
            let (partitions, replication) = (topic.partitions.len(), replication(topic));
            let cells =
                [topic.name.clone(), partitions.to_string(), replication.to_string(), topic.id.to_string()];
            table.add_row(cells);
        }
        output::line(&table.to_string())?;
    } else {
        for topic in topics {
            output::line(&topic.name)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The most copies that a partition has.
fn replication(topic: &Topic) -> usize {
    topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
}
