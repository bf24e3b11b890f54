//! `thalweg group reset-offsets`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use serde_json::json;

use super::plan::{self, Aim, FromFile, Log, Step};
use crate::cli::moment::{parse_duration, parse_time};
use crate::cli::output;
use crate::cli::pattern::{self, Selector};
use crate::cli::problem::Problem;
use crate::cli::progress::Progress;
use crate::cli::target::Target;
use crate::client::Client;
use crate::client::admin::{EARLIEST, LATEST};
use crate::client::groups::{Commits, Committer, ListedGroup};
use crate::clock;
use crate::types::{Offset, PartitionId, TopicPartition};

#[derive(Args)]
#[command(
    group(ArgGroup::new("aim").required(true).args(
        ["to_earliest", "to_latest", "to_offset", "to_time", "back", "shift_by", "from_file"],
    )),
    group(ArgGroup::new("scope").required(true).args(["topic", "all_topics", "from_file"])),
    after_help = "Examples:
  thalweg group reset-offsets billing --topic orders --to-earliest       shows what it would do
  thalweg group reset-offsets billing --topic orders --to-earliest --execute
  thalweg group reset-offsets billing --all-topics --back 15m            as it was fifteen minutes ago
  thalweg group reset-offsets billing --topic orders:0,3 --to-offset 4711
  thalweg group reset-offsets billing --topic 'orders.*' --to-time 2026-01-31T12:00:00Z
  thalweg group reset-offsets 'billing.*' --all-topics --shift-by -100   the last hundred of each once more
  thalweg group reset-offsets billing --all-topics --to-latest --export plan.csv
  thalweg group reset-offsets billing --from-file plan.csv --execute
  thalweg group reset-offsets new-group --topic orders --to-latest --execute    before it first reads

Nothing is changed without --execute, and nothing while a group has members: stop them first. An offset that
the log does not have becomes the nearest that it has, with a warning.
A topic that is given with characters no name has is a regular expression for the whole name; it picks among
the topics that the group has committed offsets for, a plain name picks any topic. A plan is a CSV file with
topic,partition,offset in each line, or with the group before it, as kafka-consumer-groups writes it."
)]
pub struct ResetArgs {
    #[command(flatten)]
    pub target: Target,
    /// Groups by name or pattern; not needed for a file that names them
    #[arg(required_unless_present = "from_file", value_parser = Selector::parse)]
    groups: Vec<Selector>,
    /// Topics by name or pattern, or partitions of one: orders:0,3; may be given several times
    #[arg(short, long, value_name = "TOPIC[:N,N]", value_parser = parse_scope)]
    topic: Vec<Scope>,
    /// All that the group has committed offsets for
    #[arg(long)]
    all_topics: bool,
    /// To the first record there is
    #[arg(long)]
    to_earliest: bool,
    /// To the end: only what comes from now on
    #[arg(long)]
    to_latest: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record of this time or later: 2026-01-31T12:00:00Z, @SECONDS since 1970, or -15m
    #[arg(long, value_name = "TIME", value_parser = parse_at, allow_hyphen_values = true)]
    to_time: Option<i64>,
    /// To the first record of so long ago or later (s, m, h, d, w)
    #[arg(long, value_name = "DURATION", value_parser = parse_back)]
    back: Option<i64>,
    /// So many records on from what is committed; back with a negative number
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// To the offsets of a plan
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Do it
    #[arg(long)]
    execute: bool,
    /// Write the plan to a file; - writes it to standard output instead of the table
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

/// Topics, or some partitions of one.
#[derive(Clone)]
struct Scope {
    topics: Selector,
    /// Empty for all.
    partitions: Vec<i32>,
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let numbers = |list: &str| list.split(',').map(|id| id.parse::<i32>().ok()).collect::<Option<Vec<_>>>();
    let (topics, partitions) = match text.rsplit_once(':') {
        Some((topics, list)) if list.starts_with(|c: char| c.is_ascii_digit()) => {
            let partitions = numbers(list).ok_or_else(|| {
                format!("'{list}' is no list of partitions; 'orders:0,3' picks two of orders")
            })?;
            (topics, partitions)
        }
        _ => (text, Vec::new()),
    };
    Ok(Scope { topics: Selector::parse(topics)?, partitions })
}

fn parse_at(text: &str) -> Result<i64, String> {
    parse_time(text, clock::wall_ms())
        .ok_or_else(|| "give 2026-01-31T12:00:00Z, @SECONDS since 1970, or -15m (s, m, h, d, w)".to_owned())
}

fn parse_back(text: &str) -> Result<i64, String> {
    parse_duration(text).ok_or_else(|| "give a duration such as 15m (s, m, h, d, w)".to_owned())
}

impl ResetArgs {
    /// What was asked for; `None` for a file, which says it for each partition.
    fn aim(&self) -> Option<Aim> {
        let earliest = self.to_earliest.then_some(Aim::Earliest);
        let latest = self.to_latest.then_some(Aim::Latest);
        let back = self.back.map(|ms| Aim::Time(clock::wall_ms().saturating_sub(ms)));
        let aims = [
            earliest,
            latest,
            self.to_offset.map(Aim::Offset),
            self.to_time.map(Aim::Time),
            back,
            self.shift_by.map(Aim::Shift),
        ];
        aims.into_iter().flatten().next()
    }
}

/// A group whose offsets are to be reset, as it is now.
struct Chosen {
    id: String,
    commits: Commits,
    /// What each partition is to be reset by.
    aims: BTreeMap<TopicPartition, Aim>,
}

pub fn run(args: &ResetArgs) -> Result<ExitCode, Problem> {
    let file = args.from_file.as_ref().map(|path| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Problem::new(format!("{name} cannot be read: {error}")))?;
        plan::read(&text, &name)
    });
    let file = file.transpose()?;
    let mut client = args.target.connect()?;
    let listed = client.list_groups()?;
    let names = chosen_names(args, &listed, file.as_ref())?;
    let active = active_groups(&mut client, &listed, &names)?;
    if args.execute && !active.is_empty() {
        return Err(refusal(&active));
    }
    let commits = client.committed_offsets(&names, true);
    let mut chosen = Vec::new();
    for (id, commits) in commits {
        let commits = commits?;
        let aims = aims_of(args, &mut client, &id, &commits, file.as_ref())?;
        chosen.push(Chosen { id, commits, aims });
    }
    let steps = steps(args, &mut client, &chosen)?;
    if let Some(path) = &args.export {
        export(path, &steps)?;
    }
    for problem in active.iter().filter(|_| !args.execute) {
        warn(args, &format!("{problem}; its offsets can only be reset when they have stopped"));
    }
    match args.execute {
        true => execute(args, &mut client, &steps),
        false => show(args, &steps),
    }
}

/// The groups to reset: what is picked among those there are, and plain names of groups that are still to be.
fn chosen_names(
    args: &ResetArgs,
    listed: &[ListedGroup],
    file: Option<&FromFile>,
) -> Result<Vec<String>, Problem> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    if let Some(file) = file.filter(|file| !file.contains_key(&None)) {
        let is_picked = |name: &&String| {
            args.groups.is_empty() || args.groups.iter().any(|selector| selector.picks(name))
        };
        names.extend(file.keys().flatten().filter(is_picked).cloned());
        if names.is_empty() {
            return Err(Problem::new("the file names none of these groups"));
        }
        return Ok(names.into_iter().collect());
    }
    for selector in &args.groups {
        let picked = super::select(listed.to_vec(), std::slice::from_ref(selector), true)?;
        match selector.name() {
            Some(name) => drop(names.insert(name.to_owned())),
            None if picked.is_empty() => return Err(super::missing(selector)),
            None => names.extend(picked.into_iter().map(|group| group.id)),
        }
    }
    if file.is_some() && names.len() != 1 {
        let mend = "name one, or put the group before the topic in each line";
        return Err(Problem::new("the file names no group, so it is for one group").mend(mend));
    }
    Ok(names.into_iter().collect())
}

/// In words those that have members now.
fn active_groups(
    client: &mut Client,
    listed: &[ListedGroup],
    names: &[String],
) -> Result<Vec<String>, Problem> {
    let there: Vec<ListedGroup> = listed.iter().filter(|group| names.contains(&group.id)).cloned().collect();
    let mut active = Vec::new();
    for (name, group) in client.describe_groups(&there) {
        let group = group?;
        if !matches!(group.state.as_str(), "Empty" | "Dead") {
            let members = super::count(group.members.len(), "member");
            active.push(format!("group {name} is active ({}, {members})", group.state));
        }
    }
    Ok(active)
}

fn refusal(active: &[String]) -> Problem {
    Problem::new(active.join(", "))
        .mend("stop its members first; 'thalweg group describe NAME --members' shows them")
}

/// The partitions of a group that are to be reset, and by what.
fn aims_of(
    args: &ResetArgs,
    client: &mut Client,
    group: &str,
    commits: &Commits,
    file: Option<&FromFile>,
) -> Result<BTreeMap<TopicPartition, Aim>, Problem> {
    if let Some(file) = file {
        let own = file.get(&Some(group.to_owned())).or_else(|| file.get(&None));
        let aim = |(at, offset): (&TopicPartition, &i64)| (at.clone(), Aim::Offset(*offset));
        return Ok(own.into_iter().flatten().map(aim).collect());
    }
    let Some(aim) = args.aim() else { return Ok(BTreeMap::new()) };
    let nothing = |what: String| {
        Err(Problem::new(format!("group {group} has committed nothing{what}"))
            .mend("name a topic with --topic to let it begin there"))
    };
    if args.all_topics {
        if commits.is_empty() {
            return nothing(String::new());
        }
        return Ok(commits.keys().map(|at| (at.clone(), aim)).collect());
    }
    let mut aims = BTreeMap::new();
    for scope in &args.topic {
        let is_wanted = |id: PartitionId| scope.partitions.is_empty() || scope.partitions.contains(&id.0);
        match scope.topics.name() {
            Some(name) => aims.extend(partitions_of(client, name, scope)?.into_iter().map(|at| (at, aim))),
            None => {
                let picked = commits.keys().filter(|at| scope.topics.picks(&at.topic));
                let picked: Vec<&TopicPartition> = picked.filter(|at| is_wanted(at.partition)).collect();
                if picked.is_empty() {
                    return nothing(format!(" for a topic that matches '{}'", scope.topics.text()));
                }
                aims.extend(picked.into_iter().map(|at| (at.clone(), aim)));
            }
        }
    }
    Ok(aims)
}

/// Partitions of a topic that is named.
fn partitions_of(client: &mut Client, name: &str, scope: &Scope) -> Result<Vec<TopicPartition>, Problem> {
    let cluster = client.metadata(Some(&[name]), false)?;
    let topics = pattern::select(&cluster.topics, std::slice::from_ref(&scope.topics), false)?;
    let there: Vec<i32> =
        topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.id.0).collect();
    if let Some(missing) = scope.partitions.iter().find(|id| !there.contains(id)) {
        return Err(Problem::new(format!("topic {name} has no partition {missing}"))
            .mend(format!("it has the partitions 0 to {}", there.len().saturating_sub(1))));
    }
    let ids = if scope.partitions.is_empty() { &there } else { &scope.partitions };
    let at = |id: &i32| TopicPartition { topic: name.into(), partition: PartitionId(*id) };
    Ok(ids.iter().map(at).collect())
}

/// The new offset of each partition of each group. What cannot be reset is told and left out.
fn steps(args: &ResetArgs, client: &mut Client, chosen: &[Chosen]) -> Result<Vec<Step>, Problem> {
    let all: BTreeSet<TopicPartition> = chosen.iter().flat_map(|group| group.aims.keys().cloned()).collect();
    let asked = |timestamp: i64| all.iter().map(|at| (at.clone(), timestamp)).collect::<Vec<_>>();
    let mut starts = client.offsets_at(&asked(EARLIEST))?;
    let ends = client.offsets_at(&asked(LATEST))?;
    let times = match args.aim() {
        Some(Aim::Time(time)) => client.offsets_at(&asked(time))?,
        _ => BTreeMap::new(),
    };
    let mut logs: BTreeMap<TopicPartition, Log> = BTreeMap::new();
    for at in &all {
        let known =
            |found: Option<&Result<Option<Offset>, _>>| found.and_then(|found| found.as_ref().ok().copied());
        let (start, end) = (known(starts.get(at)).flatten(), known(ends.get(at)).flatten());
        if let (Some(start), Some(end)) = (start, end) {
            logs.insert(at.clone(), Log { start, end, at_time: known(times.get(at)).flatten() });
            continue;
        }
        let why = starts.remove(at).and_then(Result::err);
        let why = why.map_or_else(|| format!("{at} cannot be asked for its offsets"), |why| why.to_string());
        match args.all_topics {
            // A group remembers topics that are gone.
            true => warn(args, &format!("{why}; {at} is left out")),
            false => return Err(Problem::new(format!("{at} cannot be reset: {why}"))),
        }
    }
    let mut steps = Vec::new();
    for group in chosen {
        for (at, aim) in &group.aims {
            let Some(log) = logs.get(at) else { continue };
            let old = group.commits.get(at).map(|committed| committed.offset);
            let Some((new, clipped)) = plan::target(*aim, old, *log) else {
                warn(args, &format!("group {} has committed nothing for {at}, which is left out", group.id));
                continue;
            };
            if let Some(asked) = clipped {
                let range = format!("{at} has the offsets {} to {}", log.start, log.end);
                warn(args, &format!("{range}; {asked} becomes {new}"));
            }
            steps.push(Step { group: group.id.clone(), at: at.clone(), old, new, clipped });
        }
    }
    Ok(steps)
}

fn export(path: &std::path::Path, steps: &[Step]) -> Result<(), Problem> {
    let text = plan::write(steps);
    if path.as_os_str() == "-" {
        return output::line(text.trim_end());
    }
    std::fs::write(path, text)
        .map_err(|error| Problem::new(format!("{} cannot be written: {error}", path.display())))
}

/// What would be done.
fn show(args: &ResetArgs, steps: &[Step]) -> Result<ExitCode, Problem> {
    print(args, steps, false)?;
    if !args.target.json {
        // Beside the plan, so that the plan alone goes into a pipe.
        eprintln!("nothing was changed; --execute does it");
    }
    Ok(ExitCode::SUCCESS)
}

fn execute(args: &ResetArgs, client: &mut Client, steps: &[Step]) -> Result<ExitCode, Problem> {
    let mut by_group: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    for step in steps {
        by_group.entry(&step.group).or_default().push(step);
    }
    let mut code = ExitCode::SUCCESS;
    let mut done: Vec<Step> = Vec::new();
    for (group, steps) in by_group {
        let offsets: Vec<(TopicPartition, Offset)> =
            steps.iter().map(|step| (step.at.clone(), step.new)).collect();
        let outcomes = client.commit_offsets(group, &Committer::tool(), &offsets);
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(error) => {
                Problem::from(error).while_doing(&format!("group {group}")).print(args.target.json);
                code = ExitCode::FAILURE;
                continue;
            }
        };
        for (at, outcome) in outcomes {
            match (outcome, steps.iter().find(|step| step.at == at)) {
                (Ok(()), Some(step)) => done.push((*step).clone()),
                (Ok(()), None) => {}
                (Err(error), _) => {
                    Problem::from(error).print(args.target.json);
                    code = ExitCode::FAILURE;
                }
            }
        }
    }
    print(args, &done, true)?;
    Ok(code)
}

fn print(args: &ResetArgs, steps: &[Step], executed: bool) -> Result<(), Problem> {
    if args.export.as_ref().is_some_and(|path| path.as_os_str() == "-") {
        return Ok(());
    }
    if args.target.json {
        for step in steps {
            let object = json!({
                "group": step.group,
                "topic": &*step.at.topic,
                "partition": step.at.partition.0,
                "old": step.old.map(|offset| offset.0),
                "new": step.new.0,
                "asked": step.clipped,
                "executed": executed,
            });
            output::line(&object.to_string())?;
        }
        return Ok(());
    }
    if steps.is_empty() {
        return output::line("there is nothing to reset");
    }
    let mut table = output::table(&["GROUP", "TOPIC", "PARTITION", "OLD", "NEW", "CHANGE"]);
    for step in steps {
        let change = step.old.map(|old| format!("{:+}", step.new.0 - old.0));
        table.add_row([
            step.group.clone(),
            step.at.topic.to_string(),
            step.at.partition.to_string(),
            super::cell(step.old),
            step.new.to_string(),
            super::cell(change),
        ]);
    }
    output::line(&table.to_string())
}

fn warn(args: &ResetArgs, text: &str) {
    Progress::records(None, false).warn(text, args.target.json);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_topics_or_partitions_of_one() {
        let read = |text: &str| {
            let scope = parse_scope(text).ok()?;
            Some((scope.topics.text().to_owned(), scope.partitions))
        };
        assert_eq!(read("orders"), Some(("orders".to_owned(), vec![])));
        assert_eq!(read("orders:0,3"), Some(("orders".to_owned(), vec![0, 3])));
        assert_eq!(read("orders.*"), Some(("orders.*".to_owned(), vec![])));
        assert_eq!(read("(?:a|b)"), Some(("(?:a|b)".to_owned(), vec![])));
        assert_eq!(read("orders:0,x"), None);
        assert_eq!(read("orders:1-3"), None);
    }
}
