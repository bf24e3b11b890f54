//! `thalweg group list`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::output;
use crate::cli::pattern::Selector;
use crate::cli::problem::Problem;
use crate::cli::target::Target;
use crate::client::groups::ListedGroup;

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg group list                        a name a line
  thalweg group list --long                 with type, protocol, state and members
  thalweg group list 'billing.*' --state empty
  thalweg group list --type consumer        groups of the new protocol (KIP-848)
  thalweg group list --json | jq -r 'select(.members == 0).name'

Types are classic, consumer, share and streams; brokers before Kafka 3.8 know classic ones only. States are
Kafka's: empty, stable, preparing-rebalance, completing-rebalance, assigning, reconciling, dead.
A group that is given with characters no topic's name has is a regular expression for the whole name.")]
pub struct ListArgs {
    #[command(flatten)]
    pub target: Target,
    /// Groups by name or pattern [default: all]
    #[arg(value_parser = Selector::parse)]
    groups: Vec<Selector>,
    /// Type, protocol, state and members of each
    #[arg(short, long)]
    long: bool,
    /// Groups in these states alone
    #[arg(long, value_name = "STATE,STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Groups of these types alone
    #[arg(long = "type", value_name = "TYPE,TYPE", value_delimiter = ',')]
    kind: Vec<String>,
}

pub fn run(args: &ListArgs) -> Result<ExitCode, Problem> {
    let mut client = args.target.connect()?;
    let all = client.list_groups()?;
    let picked = match args.groups.is_empty() {
        true => all,
        false => super::select(all, &args.groups, false)?,
    };
    let groups: Vec<ListedGroup> = picked.into_iter().filter(|group| is_wanted(args, group)).collect();
    if !args.long && !args.target.json {
        for group in groups {
            output::line(&group.id)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Who cannot be described is listed without members.
    let described = client.describe_groups(&groups).into_iter();
    let members: BTreeMap<String, usize> =
        described.filter_map(|(name, group)| Some((name, group.ok()?.members.len()))).collect();
    if args.target.json {
        for group in groups {
            let object = json!({
                "name": group.id,
                "type": group.kind,
                "protocol": group.protocol,
                "state": group.state,
                "members": members.get(&group.id),
            });
            output::line(&object.to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["GROUP", "TYPE", "PROTOCOL", "STATE", "MEMBERS"]);
    for group in groups {
        let count = super::cell(members.get(&group.id));
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.add_row([group.id, group.kind, or_dash(group.protocol), or_dash(group.state), count]);
    }
    output::line(&table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn is_wanted(args: &ListArgs, group: &ListedGroup) -> bool {
    let is_in = |wanted: &[String], own: &str| {
        wanted.is_empty() || wanted.iter().any(|wanted| letters(wanted) == letters(own))
    };
    is_in(&args.state, &group.state) && is_in(&args.kind, &group.kind)
}

/// `PreparingRebalance`, `preparing-rebalance` and `PREPARING_REBALANCE` are the same word.
fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_however_they_are_written() {
        assert_eq!(letters("PreparingRebalance"), letters("preparing-rebalance"));
        assert_eq!(letters("PREPARING_REBALANCE"), letters("preparing rebalance"));
        assert_ne!(letters("Empty"), letters("Dead"));
    }
}
