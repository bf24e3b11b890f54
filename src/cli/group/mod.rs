//! `thalweg group`: a file for each of its commands, and what they share: how groups are picked, and how far
//! a group is behind ([`lag`]).

mod delete;
mod describe;
mod lag;
mod list;
mod plan;
mod reset;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;

use super::pattern::Selector;
use super::problem::Problem;
use super::target::Target;
use crate::client::groups::ListedGroup;

#[derive(Subcommand)]
pub enum GroupCommand {
    /// Name the groups there are
    List(list::ListArgs),
    /// Show members, offsets and lag of groups
    Describe(describe::DescribeArgs),
    /// Show how lag changes, again and again
    Watch(watch::WatchArgs),
    /// Delete groups without members, or what they have committed for some topics
    Delete(delete::DeleteArgs),
    /// Let a group read on from elsewhere; shows what it would do unless --execute is given
    ResetOffsets(reset::ResetArgs),
}

impl GroupCommand {
    pub fn target(&self) -> &Target {
        match self {
            GroupCommand::List(args) => &args.target,
            GroupCommand::Describe(args) => &args.target,
            GroupCommand::Watch(args) => &args.target,
            GroupCommand::Delete(args) => &args.target,
            GroupCommand::ResetOffsets(args) => &args.target,
        }
    }
}

pub fn run(command: &GroupCommand) -> Result<ExitCode, Problem> {
    match command {
        GroupCommand::List(args) => list::run(args),
        GroupCommand::Describe(args) => describe::run(args),
        GroupCommand::Watch(args) => watch::run(args),
        GroupCommand::Delete(args) => delete::run(args),
        GroupCommand::ResetOffsets(args) => reset::run(args),
    }
}

/// The groups that any of `selectors` picks, in the order of their names. A selector that picks nothing is
/// an error unless `may_miss`.
fn select(
    groups: Vec<ListedGroup>,
    selectors: &[Selector],
    may_miss: bool,
) -> Result<Vec<ListedGroup>, Problem> {
    for selector in selectors.iter().filter(|_| !may_miss) {
        if !groups.iter().any(|group| selector.picks(&group.id)) {
            return Err(missing(selector));
        }
    }
    let is_picked = |group: &ListedGroup| selectors.iter().any(|selector| selector.picks(&group.id));
    Ok(groups.into_iter().filter(is_picked).collect())
}

fn missing(selector: &Selector) -> Problem {
    let what = match selector {
        Selector::Name(name) => format!("there is no group {name}"),
        Selector::Pattern { text, .. } => format!("no group matches '{text}'"),
    };
    let mend = match selector {
        Selector::Name(_) => "'thalweg group list' shows what there is",
        Selector::Pattern { .. } => {
            "'thalweg group list' shows what there is; a pattern is a regular expression for the whole name"
        }
    };
    Problem::new(what).mend(mend)
}

/// `1 member`, `2 members`.
fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// A number, or `-` for none.
fn cell<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(selectors: &[&str]) -> Vec<String> {
        let listed = |id: &str| ListedGroup {
            id: id.to_owned(),
            kind: "classic".to_owned(),
            protocol: "consumer".to_owned(),
            state: "Stable".to_owned(),
        };
        let all = ["a+b", "aab", "billing", "billing-eu", "x/y"].map(listed).to_vec();
        let selectors: Vec<Selector> = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
        select(all, &selectors, true).unwrap().into_iter().map(|group| group.id).collect()
    }

    #[test]
    fn groups_are_picked_by_name_pattern_and_strange_name() {
        assert_eq!(picked(&["billing"]), ["billing"]);
        assert_eq!(picked(&["billing.*"]), ["billing", "billing-eu"]);
        assert_eq!(picked(&["x/y"]), ["x/y"]);
        assert_eq!(picked(&["a+b"]), ["a+b", "aab"]);
        assert_eq!(picked(&["*"]).len(), 5);
        assert!(select(Vec::new(), &[Selector::parse("a").unwrap()], false).is_err());
    }
}
