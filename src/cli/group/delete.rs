//! `thalweg group delete`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::confirm;
use crate::cli::output;
use crate::cli::pattern::Selector;
use crate::cli::problem::Problem;
use crate::cli::target::Target;
use crate::cli::topic::report;
use crate::client::Client;
use crate::client::groups::ListedGroup;
use crate::types::TopicPartition;

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg group delete billing                    asks first
  thalweg group delete 'test-.*'                  names what matches, and asks
  thalweg group delete 'test-.*' --yes            does not ask
  thalweg group delete billing --if-exists --yes
  thalweg group delete billing --topic 'old-.*'   the group stays, its offsets of these topics go

A group with members is not deleted: stop them first. Its records stay where they are; a group of that name
begins again where its configuration says.
A group that is given with characters no topic's name has is a regular expression for the whole name.")]
pub struct DeleteArgs {
    #[command(flatten)]
    pub target: Target,
    /// Groups by name or pattern
    #[arg(required = true, value_parser = Selector::parse)]
    groups: Vec<Selector>,
    /// Delete only what the groups have committed for these topics, by name or pattern
    #[arg(short, long, value_name = "TOPIC", value_parser = Selector::parse)]
    topic: Vec<Selector>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Take it for done where nothing is there
    #[arg(long)]
    if_exists: bool,
}

pub fn run(args: &DeleteArgs) -> Result<ExitCode, Problem> {
    let mut client = args.target.connect()?;
    let groups = super::select(client.list_groups()?, &args.groups, args.if_exists)?;
    if groups.is_empty() {
        return nothing(args);
    }
    if !args.topic.is_empty() {
        return delete_offsets(args, &mut client, &groups);
    }
    let line = |group: &ListedGroup| format!("{} ({}, {})", group.id, group.kind, group.state);
    let lines: Vec<String> = groups.iter().map(line).collect();
    let question = match groups.len() {
        1 => "Delete this group and all it has committed?",
        _ => "Delete these groups and all they have committed?",
    };
    if !args.yes && !confirm::is_confirmed(&super::count(groups.len(), "group"), &lines, question)? {
        return nothing(args);
    }
    let names: Vec<String> = groups.into_iter().map(|group| group.id).collect();
    Ok(report(client.delete_groups(&names), args.target.json, |name, ()| {
        let object = json!({"group": name, "deleted": true});
        output::done(args.target.json, &object, &format!("deleted group {name}"));
    }))
}

fn delete_offsets(
    args: &DeleteArgs,
    client: &mut Client,
    groups: &[ListedGroup],
) -> Result<ExitCode, Problem> {
    let names: Vec<String> = groups.iter().map(|group| group.id.clone()).collect();
    let mut chosen: Vec<(String, Vec<TopicPartition>)> = Vec::new();
    for (group, commits) in client.committed_offsets(&names, false) {
        let is_picked = |at: &&TopicPartition| args.topic.iter().any(|topic| topic.picks(&at.topic));
        let commits = commits?;
        let partitions: Vec<TopicPartition> = commits.keys().filter(is_picked).cloned().collect();
        if partitions.is_empty() && !args.if_exists {
            return Err(Problem::new(format!("group {group} has committed nothing for these topics"))
                .mend(format!("'thalweg group describe {group}' shows what it has")));
        }
        chosen.push((group, partitions));
    }
    chosen.retain(|(_, partitions)| !partitions.is_empty());
    let of_group = |(group, partitions): &(String, Vec<TopicPartition>)| {
        let all: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{group}: {}", all.join(" "))
    };
    let lines: Vec<String> = chosen.iter().map(of_group).collect();
    let total = chosen.iter().map(|(_, partitions)| partitions.len()).sum();
    let question = "Delete these committed offsets?";
    if total == 0
        || !args.yes && !confirm::is_confirmed(&super::count(total, "committed offset"), &lines, question)?
    {
        return nothing(args);
    }
    let mut code = ExitCode::SUCCESS;
    for (group, partitions) in chosen {
        let outcomes = client.delete_offsets(&group, &partitions)?;
        let outcomes = outcomes.into_iter().map(|(at, outcome)| (at.to_string(), outcome.map(|()| at)));
        let reported = report(outcomes.collect(), args.target.json, |_, at| {
            let object =
                json!({"group": group, "topic": &*at.topic, "partition": at.partition.0, "deleted": true});
            output::done(args.target.json, &object, &format!("deleted the offset of group {group} for {at}"));
        });
        if reported != ExitCode::SUCCESS {
            code = reported;
        }
    }
    Ok(code)
}

fn nothing(args: &DeleteArgs) -> Result<ExitCode, Problem> {
    if !args.target.json {
        output::line("nothing was deleted")?;
    }
    Ok(ExitCode::SUCCESS)
}
