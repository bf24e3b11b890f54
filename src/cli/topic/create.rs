//! `thalweg topic create`.

use std::process::ExitCode;

use clap::Args;
use kafka_protocol::error::ResponseError;
use serde_json::json;

use crate::cli::problem::Problem;
use crate::cli::target::Target;
use crate::client::admin::{CreatedTopic, NewTopic};
use crate::client::cluster::Topic;
use crate::types::NodeId;

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg topic create orders                                   with the broker's defaults
  thalweg topic create orders --partitions 12 --replication 3
  thalweg topic create events -p 6 -c retention.ms=3600000 -c compression.type=zstd
  thalweg topic create state -p 6 -c cleanup.policy=compact
  thalweg topic create a b c --if-not-exists                    several; no error for those that are there
  thalweg topic create placed --assign 1,2 --assign 2,3         two partitions, each on these brokers
  thalweg topic create orders -p 100000 --dry-run               only ask whether it could be made")]
pub struct CreateArgs {
    #[command(flatten)]
    pub target: Target,
    /// The names of the topics
    #[arg(required = true)]
    names: Vec<String>,
    /// Partitions of each [default: the broker's num.partitions]
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Copies of each partition [default: the broker's default.replication.factor]
    #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
    replication: Option<i16>,
    /// Set a configuration key; may be given several times
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::parse_config)]
    config: Vec<(String, String)>,
    /// The brokers of one partition, the leader first; given once for each partition
    #[arg(long, value_name = "ID,ID", value_parser = parse_brokers, conflicts_with_all = ["partitions", "replication"])]
    assign: Vec<Brokers>,
    /// Take it for done where a topic is there already
    #[arg(long)]
    if_not_exists: bool,
    /// Make nothing, only say what would be
    #[arg(long)]
    dry_run: bool,
}

/// The brokers of one partition.
#[derive(Clone)]
struct Brokers(Vec<NodeId>);

fn parse_brokers(text: &str) -> Result<Brokers, String> {
    let ids: Result<Vec<NodeId>, _> = text.split(',').map(|id| id.trim().parse().map(NodeId)).collect();
    ids.map(Brokers).map_err(|_| format!("'{text}' is no list of broker ids, such as 1,2"))
}

pub fn run(args: &CreateArgs) -> Result<ExitCode, Problem> {
    let topic = |name: &String| NewTopic {
        name: name.clone(),
        partitions: args.partitions,
        replication: args.replication,
        assignment: args.assign.iter().map(|brokers| brokers.0.clone()).collect(),
        configs: args.config.clone(),
    };
    let topics: Vec<NewTopic> = args.names.iter().map(topic).collect();
    let mut client = args.target.connect()?;
    let outcomes = client.create_topics(&topics, args.dry_run)?;
    if !args.dry_run {
        let has_leaders = |topic: &Topic| topic.partitions.iter().all(|partition| partition.leader.is_some());
        let is_ready = |topic: Option<&Topic>| topic.is_some_and(has_leaders);
        client.wait_for_topics(&super::succeeded(&outcomes), is_ready)?;
    }
    let outcomes = outcomes.into_iter().map(|(name, outcome)| (name, outcome.map(Some))).collect();
    let outcomes = match args.if_not_exists {
        true => super::forgive(outcomes, ResponseError::TopicAlreadyExists),
        false => outcomes,
    };
    Ok(super::report(outcomes, args.target.json, |name, created| print(args, name, created)))
}

/// Says what was made; `None` was there before.
fn print(args: &CreateArgs, name: &str, created: Option<CreatedTopic>) {
    let is_new = created.is_some();
    let id = created.as_ref().map(|topic| topic.id).filter(|id| !id.is_zero() && !args.dry_run);
    let partitions = created.as_ref().and_then(|topic| topic.partitions);
    let replication = created.as_ref().and_then(|topic| topic.replication);
    if args.target.json {
        let object = json!({
            "topic": name,
            "created": is_new && !args.dry_run,
            "id": id.map(|id| id.to_string()),
            "partitions": partitions,
            "replication": replication,
        });
        println!("{object}");
        return;
    }
    let shape = match (partitions, replication) {
        (Some(partitions), Some(replication)) => {
            format!(" with {partitions} partitions, replication {replication}")
        }
        _ => String::new(),
    };
    match (is_new, args.dry_run) {
        (false, _) => println!("topic {name} is there already"),
        (true, true) => println!("topic {name} can be made{shape}"),
        (true, false) => println!("made topic {name}{shape}"),
    }
}
