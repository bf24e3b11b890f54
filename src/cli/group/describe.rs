//! `thalweg group describe`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::lag::{self, Row, Total};
use crate::cli::moment::format_duration;
use crate::cli::output;
use crate::cli::pattern::Selector;
use crate::cli::problem::Problem;
use crate::cli::target::Target;
use crate::client::Client;
use crate::client::groups::{Commits, Group, GroupMember};

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg group describe billing              offsets and lag of each partition, and who reads it
  thalweg group describe billing --members    who is in the group and what each one owns
  thalweg group describe '*' --state          a line for each group
  thalweg group describe billing --json | jq '.offsets[] | select(.lag > 1000)'

COMMITTED is the offset of the next record that the group will read, END that of the next record that will
be written, LAG the records between. BEHIND is how long ago the first of these records was written: where a
batch is longer than 16 kB, its first record counts.
A group that is given with characters no topic's name has is a regular expression for the whole name.")]
pub struct DescribeArgs {
    #[command(flatten)]
    pub target: Target,
    /// Groups by name or pattern
    #[arg(required = true, value_parser = Selector::parse)]
    groups: Vec<Selector>,
    /// Show offsets and lag; what is shown unless another view is asked for
    #[arg(long, conflicts_with_all = ["members", "state"])]
    offsets: bool,
    /// Show members and what they own
    #[arg(long, conflicts_with = "state")]
    members: bool,
    /// Show a line for each group
    #[arg(long)]
    state: bool,
}

pub fn run(args: &DescribeArgs) -> Result<ExitCode, Problem> {
    let mut client = args.target.connect()?;
    let listed = super::select(client.list_groups()?, &args.groups, false)?;
    let mut code = ExitCode::SUCCESS;
    let mut groups = Vec::new();
    for (_, outcome) in client.describe_groups(&listed) {
        match outcome {
            Ok(group) => groups.push(group),
            Err(error) => {
                Problem::from(error).print(args.target.json);
                code = ExitCode::FAILURE;
            }
        }
    }
    if args.target.json {
        let rows = all_rows(&mut client, &groups)?;
        for (group, rows) in groups.iter().zip(rows) {
            output::line(&as_json(&client, group, &rows).to_string())?;
        }
    } else if args.state {
        if !groups.is_empty() {
            output::line(&states(&client, &groups))?;
        }
    } else if args.members {
        print_each(&groups, |group| members(&client, group))?;
    } else {
        let mut rows = all_rows(&mut client, &groups)?.into_iter();
        print_each(&groups, |group| offsets(&client, group, &rows.next().unwrap_or_default()))?;
    }
    Ok(code)
}

fn all_rows(client: &mut Client, groups: &[Group]) -> Result<Vec<Vec<Row>>, Problem> {
    let names: Vec<String> = groups.iter().map(|group| group.id.clone()).collect();
    let commits: Result<Vec<Commits>, _> =
        client.committed_offsets(&names, false).into_iter().map(|(_, commits)| commits).collect();
    let commits = commits?;
    let both: Vec<(&Group, &Commits)> = groups.iter().zip(&commits).collect();
    Ok(lag::rows(client, &both)?)
}

fn print_each(groups: &[Group], mut view: impl FnMut(&Group) -> String) -> Result<(), Problem> {
    for (index, group) in groups.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        output::line(&format!("{gap}{}", view(group)))?;
    }
    Ok(())
}

/// The line above a group's table.
fn head(client: &Client, group: &Group) -> String {
    let mut text = format!("{}  {}  {}", group.id, group.kind, group.state);
    text.push_str(&format!("  {}", super::count(group.members.len(), "member")));
    if !group.assignor.is_empty() {
        text.push_str(&format!("  assignor {}", group.assignor));
    }
    if let Some(epoch) = group.epoch {
        text.push_str(&format!("  epoch {epoch}"));
    }
    text.push_str(&format!("  coordinator {}", coordinator(client, group)));
    text
}

/// `1 (127.0.0.1:9092)`.
fn coordinator(client: &Client, group: &Group) -> String {
    let broker = client.brokers().get(&group.coordinator);
    let address = broker.map_or_else(String::new, |broker| format!(" ({})", broker.address));
    format!("{}{address}", group.coordinator)
}

fn offsets(client: &Client, group: &Group, rows: &[Row]) -> String {
    let head = head(client, group);
    if rows.is_empty() {
        return format!("{head}\n  nothing is committed and nothing assigned");
    }
    let columns = ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND", "MEMBER", "CLIENT", "HOST"];
    let mut table = output::table(&columns);
    for row in rows {
        let member = row.member.and_then(|index| group.members.get(index));
        table.add_row([
            row.at.topic.to_string(),
            row.at.partition.to_string(),
            super::cell(row.committed),
            super::cell(row.end),
            super::cell(row.lag),
            super::cell(row.behind_ms.map(behind)),
            super::cell(member.map(name)),
            super::cell(member.map(|member| member.client_id.clone())),
            super::cell(member.map(|member| member.host.clone())),
        ]);
    }
    format!("{head}\n{table}\n{}", summary(rows))
}

/// `lag 120 records over 3 partitions, at most 4 m 10 s behind`.
fn summary(rows: &[Row]) -> String {
    let total = Total::of(rows);
    let records = super::count(total.lag as usize, "record");
    let mut text = format!("lag {records} over {}", super::count(total.partitions, "partition"));
    if let Some(ms) = total.behind_ms.filter(|_| total.lag > 0) {
        text.push_str(&format!(", at most {} behind", behind(ms)));
    }
    if total.unknown > 0 {
        text.push_str(&format!("; not known of {}", super::count(total.unknown, "partition")));
    }
    text
}

pub(super) fn behind(ms: i64) -> String {
    if ms == 0 { "0".to_owned() } else { format_duration(ms) }
}

/// A static member by the name it was given, another by the id it got.
fn name(member: &GroupMember) -> String {
    member.instance.clone().unwrap_or_else(|| member.id.clone())
}

fn members(client: &Client, group: &Group) -> String {
    let head = head(client, group);
    if group.members.is_empty() {
        return format!("{head}\n  nobody is in the group");
    }
    let mut table =
        output::table(&["MEMBER", "INSTANCE", "CLIENT", "HOST", "EPOCH", "PARTITIONS", "ASSIGNMENT"]);
    for member in &group.members {
        table.add_row([
            member.id.clone(),
            super::cell(member.instance.clone()),
            member.client_id.clone(),
            member.host.clone(),
            super::cell(member.epoch),
            member.assignment.len().to_string(),
            assignment(member),
        ]);
    }
    format!("{head}\n{table}")
}

/// `orders:0-3,7 users:1`.
fn assignment(member: &GroupMember) -> String {
    let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
    for at in &member.assignment {
        match topics.last_mut() {
            Some((topic, all)) if *topic == &*at.topic => all.push(at.partition.0),
            _ => topics.push((&at.topic, vec![at.partition.0])),
        }
    }
    let text = |(topic, all): &(&str, Vec<i32>)| format!("{topic}:{}", runs(all));
    if topics.is_empty() { "-".to_owned() } else { topics.iter().map(text).collect::<Vec<_>>().join(" ") }
}

/// `0-3,7` of sorted numbers.
fn runs(sorted: &[i32]) -> String {
    let mut parts: Vec<(i32, i32)> = Vec::new();
    for number in sorted {
        match parts.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(*number) => *end = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let text = |(first, last): &(i32, i32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

fn states(client: &Client, groups: &[Group]) -> String {
    let mut table = output::table(&["GROUP", "TYPE", "STATE", "ASSIGNOR", "EPOCH", "MEMBERS", "COORDINATOR"]);
    for group in groups {
        table.add_row([
            group.id.clone(),
            group.kind.clone(),
            group.state.clone(),
            super::cell(Some(group.assignor.clone()).filter(|assignor| !assignor.is_empty())),
            super::cell(group.epoch),
            group.members.len().to_string(),
            coordinator(client, group),
        ]);
    }
    table.to_string()
}

fn as_json(client: &Client, group: &Group, rows: &[Row]) -> Value {
    let seconds = |ms: Option<i64>| ms.map(|ms| ms as f64 / 1_000.0);
    let row = |row: &Row| {
        let member = row.member.and_then(|index| group.members.get(index));
        json!({
            "topic": &*row.at.topic,
            "partition": row.at.partition.0,
            "committed": row.committed.map(|offset| offset.0),
            "metadata": row.metadata,
            "end": row.end.map(|offset| offset.0),
            "lag": row.lag,
            "behind_seconds": seconds(row.behind_ms),
            "member": member.map(|member| &member.id),
        })
    };
    let owned = |member: &GroupMember| -> Vec<Value> {
        let partition =
            |at: &crate::types::TopicPartition| json!({"topic": &*at.topic, "partition": at.partition.0});
        member.assignment.iter().map(partition).collect()
    };
    let member = |member: &GroupMember| {
        json!({
            "member": member.id,
            "instance": member.instance,
            "client": member.client_id,
            "host": member.host,
            "epoch": member.epoch,
            "assignment": owned(member),
        })
    };
    let total = Total::of(rows);
    json!({
        "name": group.id,
        "type": group.kind,
        "state": group.state,
        "assignor": group.assignor,
        "epoch": group.epoch,
        "coordinator": group.coordinator.0,
        "coordinator_address": client.brokers().get(&group.coordinator).map(|broker| &broker.address),
        "lag": total.lag,
        "behind_seconds": seconds(total.behind_ms),
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
        "offsets": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_told_in_runs() {
        assert_eq!(runs(&[]), "");
        assert_eq!(runs(&[3]), "3");
        assert_eq!(runs(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    }
}
