//! `thalweg group watch`: lag and how it changes, again and again. On a terminal one table stays in its
//! place; elsewhere each look prints its own.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::describe::behind;
use super::lag::{self, Row, Total};
use crate::cli::moment::{format_time, parse_duration};
use crate::cli::output;
use crate::cli::pattern::Selector;
use crate::cli::problem::Problem;
use crate::cli::target::Target;
use crate::client::groups::{Commits, Group};
use crate::client::{Client, ClientError};
use crate::clock;

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg group watch                           every group, the largest lag first; end it with Ctrl-C
  thalweg group watch billing --every 5s
  thalweg group watch billing --partitions      a line for each partition
  thalweg group watch 'billing.*' --count 2 --every 10s > rates.txt
  thalweg group watch --json | jq -c 'select(.lag_change > 0)'

READ/S and WRITTEN/S are records a second since the look before, LAG/S is what the lag grew by in a second.
Where there is no terminal each look is printed below the one before.
A group that is given with characters no topic's name has is a regular expression for the whole name.")]
pub struct WatchArgs {
    #[command(flatten)]
    pub target: Target,
    /// Groups by name or pattern [default: all]
    #[arg(value_parser = Selector::parse)]
    groups: Vec<Selector>,
    /// How long to wait between looks (ms, s, m, h)
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = parse_every)]
    every: Duration,
    /// End after so many looks
    #[arg(short = 'n', long, value_name = "LOOKS")]
    count: Option<u64>,
    /// A line for each partition
    #[arg(short, long)]
    partitions: bool,
}

fn parse_every(text: &str) -> Result<Duration, String> {
    let ms = parse_duration(text).filter(|ms| *ms >= 100);
    let ms = ms.ok_or_else(|| format!("'{text}' is no time of at least 100ms, such as 2s"))?;
    Ok(Duration::from_millis(ms as u64))
}

/// What one line is about: a group's topic, or one partition of it.
type Subject = (String, String, Option<i32>);

/// What was seen at one moment.
struct Look {
    at: Instant,
    lines: BTreeMap<Subject, Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    state: String,
    members: usize,
    total: Total,
}

/// Records a second since the look before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Change {
    read: f64,
    written: f64,
    lag: f64,
}

pub fn run(args: &WatchArgs) -> Result<ExitCode, Problem> {
    let mut client = args.target.connect()?;
    let is_live = io::stdout().is_terminal() && !args.target.json;
    let (mut before, mut shown_lines, mut looks) = (None, 0, 0);
    loop {
        let began = Instant::now();
        let look = match look(&mut client, args, looks == 0) {
            Ok(look) => look,
            Err(problem) if looks == 0 => return Err(problem),
            // A broker that restarts is no end of watching.
            Err(problem) => {
                problem.print(args.target.json);
                shown_lines = 0;
                std::thread::sleep(args.every);
                continue;
            }
        };
        shown_lines = show(args, &look, before.as_ref(), is_live, shown_lines)?;
        before = Some(look);
        looks += 1;
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(args.every.saturating_sub(began.elapsed()));
    }
}

fn look(client: &mut Client, args: &WatchArgs, is_first: bool) -> Result<Look, Problem> {
    let listed = client.list_groups()?;
    let picked = match args.groups.is_empty() {
        true => listed,
        false => super::select(listed, &args.groups, !is_first)?,
    };
    let names: Vec<String> = picked.iter().map(|group| group.id.clone()).collect();
    // A group that is deleted meanwhile, or is of another kind, is not shown.
    let described = client.describe_groups(&picked);
    let commits = client.committed_offsets(&names, false);
    let is_unreached = |outcome: &Result<Group, ClientError>| {
        matches!(
            outcome,
            Err(ClientError::Lost { .. } | ClientError::Connect { .. } | ClientError::TimedOut { .. })
        )
    };
    if let Some((_, Err(error))) = described.iter().find(|(_, outcome)| is_unreached(outcome)) {
        return Err(error.into());
    }
    let both = described
        .into_iter()
        .zip(commits)
        .filter_map(|((_, group), (_, commits))| Some((group.ok()?, commits.ok()?)));
    let both: Vec<(Group, Commits)> = both.collect();
    let references: Vec<(&Group, &Commits)> = both.iter().map(|(group, commits)| (group, commits)).collect();
    let rows = lag::rows(client, &references)?;
    let mut look = Look { at: Instant::now(), lines: BTreeMap::new() };
    for ((group, _), rows) in both.iter().zip(rows) {
        add_lines(&mut look, group, &rows, args.partitions);
    }
    Ok(look)
}

fn add_lines(look: &mut Look, group: &Group, rows: &[Row], by_partition: bool) {
    let mut subjects: BTreeMap<Subject, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let partition = by_partition.then_some(row.at.partition.0);
        subjects.entry((group.id.clone(), row.at.topic.to_string(), partition)).or_default().push(row);
    }
    if rows.is_empty() {
        subjects.insert((group.id.clone(), "-".to_owned(), None), Vec::new());
    }
    for (subject, rows) in subjects {
        let seen = Seen {
            state: group.state.clone(),
            members: group.members.len(),
            total: Total::of(rows.iter().copied()),
        };
        look.lines.insert(subject, seen);
    }
}

/// How a line changed since the look before; `None` of the first.
fn change(subject: &Subject, seen: &Seen, look: &Look, before: Option<&Look>) -> Option<Change> {
    let before = before?;
    let old = before.lines.get(subject)?;
    let seconds = look.at.saturating_duration_since(before.at).as_secs_f64();
    // Sums over other partitions than before say nothing of speed.
    let counted = |total: &Total| total.partitions - total.unknown;
    if seconds <= 0.0 || counted(&old.total) != counted(&seen.total) {
        return None;
    }
    let per_second = |new: i64, old: i64| (new - old) as f64 / seconds;
    Some(Change {
        read: per_second(seen.total.committed, old.total.committed),
        written: per_second(seen.total.end, old.total.end),
        lag: per_second(seen.total.lag, old.total.lag),
    })
}

/// Prints a look; gives the lines that now stand on the terminal.
fn show(
    args: &WatchArgs,
    look: &Look,
    before: Option<&Look>,
    is_live: bool,
    shown_lines: usize,
) -> Result<usize, Problem> {
    let now = format_time(clock::wall_ms());
    if args.target.json {
        for (subject, seen) in &look.lines {
            output::line(&as_json(&now, subject, seen, change(subject, seen, look, before)).to_string())?;
        }
        return Ok(0);
    }
    let mut lines: Vec<(&Subject, &Seen)> = look.lines.iter().collect();
    lines.sort_by_key(|(subject, seen)| (std::cmp::Reverse(seen.total.lag), *subject));
    let text = format!("{now}\n{}", table(args, &lines, look, before));
    if !is_live {
        let gap = if before.is_some() { "\n" } else { "" };
        output::line(&format!("{gap}{text}"))?;
        return Ok(0);
    }
    let text = fit(&text, screen());
    // Up to where the last look began, and all below it away.
    let up = if shown_lines > 0 { format!("\x1b[{shown_lines}A") } else { String::new() };
    output::line(&format!("{up}\r\x1b[J{text}"))?;
    io::stdout().flush().map_err(|error| Problem::new(format!("the output cannot be written: {error}")))?;
    Ok(text.lines().count())
}

fn table(args: &WatchArgs, lines: &[(&Subject, &Seen)], look: &Look, before: Option<&Look>) -> String {
    let third = if args.partitions { "PARTITION" } else { "PARTITIONS" };
    let columns =
        ["GROUP", "TOPIC", third, "STATE", "MEMBERS", "LAG", "LAG/S", "BEHIND", "READ/S", "WRITTEN/S"];
    let mut table = output::table(&columns);
    for (subject, seen) in lines {
        let (group, topic, partition) = subject;
        let change = change(subject, seen, look, before);
        let rate = |rate: fn(&Change) -> f64| super::cell(change.as_ref().map(|change| round(rate(change))));
        let is_known = seen.total.unknown < seen.total.partitions;
        table.add_row([
            group.clone(),
            topic.clone(),
            partition.map_or_else(|| seen.total.partitions.to_string(), |partition| partition.to_string()),
            seen.state.clone(),
            seen.members.to_string(),
            super::cell(Some(seen.total.lag).filter(|_| is_known)),
            super::cell(change.as_ref().map(|change| signed(change.lag))),
            super::cell(seen.total.behind_ms.map(behind)),
            rate(|change| change.read),
            rate(|change| change.written),
        ]);
    }
    table.to_string()
}

fn as_json(now: &str, subject: &Subject, seen: &Seen, change: Option<Change>) -> serde_json::Value {
    let (group, topic, partition) = subject;
    json!({
        "time": now,
        "group": group,
        "topic": Some(topic).filter(|topic| *topic != "-"),
        "partition": partition,
        "partitions": seen.total.partitions,
        "state": seen.state,
        "members": seen.members,
        "committed": seen.total.committed,
        "end": seen.total.end,
        "lag": seen.total.lag,
        "behind_seconds": seen.total.behind_ms.map(|ms| ms as f64 / 1_000.0),
        "lag_change": change.map(|change| change.lag),
        "read": change.map(|change| change.read),
        "written": change.map(|change| change.written),
    })
}

/// A rate as a person reads it: `0`, `0.4`, `12`.
fn round(rate: f64) -> String {
    if rate == 0.0 || rate.abs() >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }
}

fn signed(rate: f64) -> String {
    if rate > 0.0 { format!("+{}", round(rate)) } else { round(rate) }
}

/// Columns and lines of the terminal.
fn screen() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    size.filter(|(columns, lines)| *columns > 0 && *lines > 0).unwrap_or((120, 40))
}

/// Cuts text to a screen, so that it can be painted over: long lines at their end, and lines that have no
/// place, of which the last then tells.
fn fit(text: &str, (columns, lines): (usize, usize)) -> String {
    let cut = |line: &str| line.trim_end().chars().take(columns.max(1)).collect::<String>();
    let all: Vec<String> = text.lines().map(cut).collect();
    // The cursor needs a line of its own.
    let room = lines.saturating_sub(1).max(1);
    if all.len() <= room {
        return all.join("\n");
    }
    let left_out = all.len() - (room - 1);
    let mut shown = all[..room - 1].to_vec();
    shown.push(cut(&format!("… and {left_out} more; a larger terminal or a pattern shows them")));
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(committed: i64, end: i64, unknown: usize) -> Seen {
        let total =
            Total { partitions: 2, committed, end, lag: end - committed, behind_ms: Some(0), unknown };
        Seen { state: "Stable".to_owned(), members: 1, total }
    }

    #[test]
    fn changes_are_by_the_second_and_only_of_the_same_partitions() {
        let subject = ("g".to_owned(), "t".to_owned(), None);
        let now = Instant::now();
        let look = |seen: Seen, at| Look { at, lines: BTreeMap::from([(subject.clone(), seen)]) };
        let before = look(seen(10, 20, 0), now);
        let after = look(seen(14, 40, 0), now + Duration::from_secs(2));
        let found = change(&subject, &after.lines[&subject], &after, Some(&before));
        assert_eq!(found, Some(Change { read: 2.0, written: 10.0, lag: 8.0 }));
        let other = look(seen(14, 40, 1), now + Duration::from_secs(2));
        assert_eq!(change(&subject, &other.lines[&subject], &other, Some(&before)), None);
        assert_eq!(change(&subject, &after.lines[&subject], &after, None), None);
    }

    #[test]
    fn text_fits_the_screen_and_tells_what_does_not() {
        assert_eq!(fit("abc  \ndef", (2, 10)), "ab\nde");
        let fitted = fit("1\n2\n3\n4\n5", (40, 4));
        assert_eq!(fitted.lines().count(), 3);
        assert!(fitted.starts_with("1\n2\n… and 3 more"), "{fitted}");
        assert_eq!(fit("1\n2", (0, 0)).lines().count(), 1);
    }

    #[test]
    fn rates_are_short() {
        assert_eq!(
            [round(0.0), round(0.44), round(12.6), signed(3.0), signed(-3.0)],
            ["0", "0.4", "13", "+3.0", "-3.0"]
        );
    }
}
