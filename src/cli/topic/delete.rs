//! `thalweg topic delete`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::confirm;
use crate::cli::output;
use crate::cli::pattern::{self, Selector};
use crate::cli::problem::Problem;
use crate::cli::progress::Progress;
use crate::cli::target::Target;
use crate::client::cluster::Topic;

/// Topics in one request, so that one answer comes in time.
const TOPICS_A_REQUEST: usize = 100;

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg topic delete orders              asks first
  thalweg topic delete 'test-.*'           names what matches, and asks
  thalweg topic delete 'test-.*' --yes     does not ask
  thalweg topic delete orders --if-exists --yes

A topic that is given with characters no name has is a regular expression for the whole name.")]
pub struct DeleteArgs {
    #[command(flatten)]
    pub target: Target,
    /// Topics by name or pattern
    #[arg(required = true, value_parser = Selector::parse)]
    topics: Vec<Selector>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Take it for done where nothing is there
    #[arg(long)]
    if_exists: bool,
}

pub fn run(args: &DeleteArgs) -> Result<ExitCode, Problem> {
    let mut client = args.target.connect()?;
    let names: Option<Vec<&str>> = args.topics.iter().map(Selector::name).collect();
    let cluster = client.metadata(names.as_deref(), false)?;
    let topics = pattern::select(&cluster.topics, &args.topics, args.if_exists)?;
    if topics.is_empty() || (!args.yes && !is_confirmed(&topics)?) {
        if !args.target.json {
            println!("nothing was deleted");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let progress = Progress::topics(names.len() as u64, names.len() > TOPICS_A_REQUEST);
    let mut outcomes = Vec::new();
    for names in names.chunks(TOPICS_A_REQUEST) {
        let deleted = client.delete_topics(names)?;
        client.wait_for_topics(&super::succeeded(&deleted), |topic| topic.is_none())?;
        outcomes.extend(deleted);
        progress.set(outcomes.len() as u64);
    }
    progress.end();
    Ok(super::report(outcomes, args.target.json, |name, ()| {
        let object = json!({"topic": name, "deleted": true});
        output::done(args.target.json, &object, &format!("deleted topic {name}"));
    }))
}

/// Names the topics and asks.
fn is_confirmed(topics: &[&Topic]) -> Result<bool, Problem> {
    let line = |topic: &&Topic| format!("{} ({} partitions)", topic.name, topic.partitions.len());
    let lines: Vec<String> = topics.iter().map(line).collect();
    let (count, these) = match topics.len() {
        1 => ("a topic".to_owned(), "this topic"),
        count => (format!("{count} topics"), "these topics"),
    };
    confirm::is_confirmed(&count, &lines, &format!("Delete {these} and all records in it?"))
}
