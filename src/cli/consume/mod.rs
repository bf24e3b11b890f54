//! `thalweg consume`: records of topics, printed; alone from where the arguments say, or as a member of a
//! group ([`group`]) from what that has committed.

mod group;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use kafka_protocol::error::ResponseError;

use crate::cli::moment::{self, Start};
use crate::cli::output::{ReadRecord, Style, Table};
use crate::cli::pattern::{self, Selector};
use crate::cli::problem::Problem;
use crate::cli::progress::Progress;
use crate::cli::target::Target;
use crate::client::admin::{EARLIEST, LATEST};
use crate::client::cluster::{Cluster, Topic};
use crate::client::fetcher::{self, FetchSettings, Fetched, Position};
use crate::client::{Client, ClientError};
use crate::protocol::batch::BatchIter;
use crate::protocol::compression::OpenLimits;
use crate::protocol::record::RecordIter;
use crate::types::{NodeId, Offset, PartitionId};

const BACKOFF: Duration = Duration::from_millis(100);
const TROUBLE_TOLD_AFTER: Duration = Duration::from_millis(500);
const OUTPUT_BUFFER_BYTES: usize = 256 << 10;

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg consume orders                          everything that is there now, then end
  thalweg consume orders --follow --from latest   what comes from now on
  thalweg consume orders --from -10               the last ten records of each partition
  thalweg consume orders --from -15m              the last fifteen minutes (s, m, h, d, w)
  thalweg consume orders --from 2026-01-31T12:00:00Z --format table
  thalweg consume orders --partition 3 --from 4711 --max 1 --json
  thalweg consume 'orders.*' --json               every topic that begins with orders
  thalweg consume users --key                     key<TAB>value
  thalweg consume orders --group billing          what the group has not read yet, then end
  thalweg consume orders --group billing -F       share the topic with the others in the group; Ctrl-C leaves

Formats:
  raw     the value and a newline (the default); with --key the key and a tab before it
  json    a line for each record, which 'thalweg produce --format json' reads back; bytes that are no text
          are \"key_base64\" and \"value_base64\"
  table   partition, offset, time, key, value and headers, cut to the terminal

Records of one partition come in order; partitions come as they are read. A topic that is given with
characters no name has is a regular expression for the whole name.

In a group: --from says where to begin where the group has committed nothing. What was printed is committed
about every second, before partitions go to another member, and at the end; records that were printed and not
yet committed come again after a crash. Without --follow it ends when it has read all that was there when
its partitions came to it.")]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub target: Target,
    /// The topics to read, by name or pattern
    #[arg(required = true, value_parser = Selector::parse)]
    topics: Vec<Selector>,
    /// Where to begin: earliest, latest, an offset, -N (the last N), -15m, or 2026-01-31T12:00:00Z
    #[arg(short, long, default_value = "earliest", value_parser = moment::parse_start, allow_hyphen_values = true)]
    from: Start,
    /// Read as a member of this group, which shares the partitions and remembers what was read
    #[arg(short, long)]
    group: Option<String>,
    /// With --group: how its members agree [default: consumer where the cluster has it]
    #[arg(long, value_enum, requires = "group")]
    protocol: Option<GroupProtocol>,
    /// Read these partitions alone
    #[arg(short, long, value_name = "N,N", value_delimiter = ',', conflicts_with = "group")]
    partition: Vec<i32>,
    /// Do not end, wait for more
    #[arg(short = 'F', long)]
    follow: bool,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "RECORDS")]
    max: Option<u64>,
    /// How to print records; --json is --format json
    #[arg(long, value_enum, default_value_t = OutputFormat::Raw)]
    format: OutputFormat,
    /// With raw: print the key before the value
    #[arg(short, long)]
    key: bool,
    /// What to print between key and value; implies --key. \t is a tab
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum OutputFormat {
    Raw,
    Json,
    Table,
}

#[derive(Clone, Copy, ValueEnum)]
enum GroupProtocol {
    /// Members elect one that assigns: any broker, assignor range
    Classic,
    /// The coordinator assigns (KIP-848): Kafka 4.0 and newer
    Consumer,
}

pub fn run(args: &ConsumeArgs) -> Result<ExitCode, Problem> {
    let mut client = args.target.connect()?;
    let names: Option<Vec<&str>> = args.topics.iter().map(Selector::name).collect();
    let cluster = client.metadata(names.as_deref(), false)?;
    let topics = pattern::select(&cluster.topics, &args.topics, false)?;
    let mut positions = Vec::new();
    for topic in topics.iter().filter(|_| args.group.is_none()) {
        positions.extend(begin(&mut client, topic, &wanted(topic, args)?, args)?);
    }
    let total =
        positions.iter().map(|position| position.until.map_or(0, |end| end.0 - position.next.0)).sum();
    let is_known = !args.follow && args.group.is_none();
    let total = Some(total).filter(|_| is_known).map(|total: i64| total.max(0) as u64);
    let total = total.map(|total| args.max.unwrap_or(u64::MAX).min(total));
    let stdout = io::stdout();
    let is_quiet = stdout.is_terminal() || args.target.json || args.follow;
    let mut reading = Reading {
        out: BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, stdout.lock()),
        style: style(args, &topics),
        left: args.max.unwrap_or(u64::MAX),
        printed: 0,
        follows: args.follow,
        patience: Duration::from_secs(args.target.timeout.max(1)),
        trouble_since: None,
        is_trouble_told: false,
        json: args.target.json,
        progress: Progress::records(total, !is_quiet),
    };
    let outcome = match &args.group {
        None => reading.read(&mut client, &cluster, positions),
        Some(id) => group::read(&mut reading, &mut client, args, id, &topics),
    };
    reading.progress.end();
    match outcome.and_then(|()| reading.out.flush().map_err(Stop::Output)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever read our output has enough.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(Stop::Output(error)) => Err(Problem::new(format!("the output cannot be written: {error}"))),
        Err(Stop::Problem(problem)) => Err(problem),
    }
}

fn style(args: &ConsumeArgs, topics: &[&Topic]) -> Style {
    if args.target.json || args.format == OutputFormat::Json {
        return Style::Json;
    }
    if args.format == OutputFormat::Table {
        let longest = topics.iter().map(|topic| topic.name.chars().count()).max().unwrap_or(0);
        let topic_width = if topics.len() > 1 { longest.max("TOPIC".len()) } else { 0 };
        let columns = comfy_table::Table::new().width().map_or(120, usize::from);
        return Style::Table(Table::new(topic_width, columns));
    }
    let separator = args.key_separator.as_ref().map(|text| text.replace("\\t", "\t"));
    Style::Raw { key_separator: separator.or_else(|| args.key.then(|| "\t".to_owned())) }
}

/// The partitions of a topic that are to be read.
fn wanted(topic: &Topic, args: &ConsumeArgs) -> Result<Vec<PartitionId>, Problem> {
    let there: Vec<PartitionId> = topic.partitions.iter().map(|partition| partition.id).collect();
    if let Some(missing) = args.partition.iter().find(|id| !there.contains(&PartitionId(**id))) {
        return Err(Problem::new(format!("topic {} has no partition {missing}", topic.name))
            .mend(format!("it has the partitions 0 to {}", there.len().saturating_sub(1))));
    }
    Ok(there.into_iter().filter(|id| args.partition.is_empty() || args.partition.contains(&id.0)).collect())
}

/// Where to read each of some partitions of a topic from, and, unless it is followed, until where.
fn begin(
    client: &mut Client,
    topic: &Topic,
    wanted: &[PartitionId],
    args: &ConsumeArgs,
) -> Result<Vec<Position>, ClientError> {
    let mut at = |timestamp: i64| -> Result<BTreeMap<PartitionId, Option<Offset>>, ClientError> {
        let asked: Vec<(PartitionId, i64)> = wanted.iter().map(|id| (*id, timestamp)).collect();
        client.list_offsets(&topic.name, &asked)
    };
    let (earliest, latest) = (at(EARLIEST)?, at(LATEST)?);
    let by_time = match args.from {
        Start::Time(time) => at(time)?,
        _ => BTreeMap::new(),
    };
    let name: Arc<str> = topic.name.as_str().into();
    let position = |id: PartitionId| {
        let known = |offsets: &BTreeMap<PartitionId, Option<Offset>>| offsets.get(&id).copied().flatten();
        let first = known(&earliest).unwrap_or(Offset::ZERO);
        let end = known(&latest).unwrap_or(first);
        let next = match args.from {
            Start::Earliest => first,
            Start::Latest => end,
            Start::Offset(offset) => Offset(offset),
            Start::Last(count) => Offset(end.0.saturating_sub(count)),
            // No record is that young.
            Start::Time(_) => known(&by_time).unwrap_or(end),
        };
        let clamped = next.clamp(first, end);
        if matches!(args.from, Start::Offset(_)) && clamped != next && wanted.len() == 1 {
            let text = format!("{name}-{id} has the offsets {first} to {end}; reading from {clamped}");
            Progress::records(None, false).warn(&text, args.target.json);
        }
        Position { topic: name.clone(), partition: id, next: clamped, until: (!args.follow).then_some(end) }
    };
    Ok(wanted.iter().map(|id| position(*id)).collect())
}

/// Why reading ends early.
enum Stop {
    Output(io::Error),
    Problem(Problem),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Output(error)
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Stop {
        Stop::Problem(problem)
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Stop {
        Stop::Problem(error.into())
    }
}

struct Reading<W: Write> {
    out: W,
    style: Style,
    /// Records that may still be printed.
    left: u64,
    printed: u64,
    follows: bool,
    /// How long trouble may last.
    patience: Duration,
    trouble_since: Option<Instant>,
    is_trouble_told: bool,
    /// Whether warnings are for machines.
    json: bool,
    progress: Progress,
}

impl<W: Write> Reading<W> {
    fn read(&mut self, client: &mut Client, cluster: &Cluster, positions: Vec<Position>) -> Result<(), Stop> {
        let (sender, fetched) = fetcher::channel();
        let is_open = |position: &Position| position.until.is_none_or(|until| position.next < until);
        let open: Vec<Position> = positions.into_iter().filter(is_open).collect();
        let mut reading = open.len();
        let mut waiting = self.start(client, cluster, open, &sender)?;
        while reading > 0 && self.left > 0 {
            if !waiting.is_empty() {
                std::thread::sleep(BACKOFF);
                waiting = self.restart(client, waiting, &sender)?;
                if !waiting.is_empty() {
                    continue;
                }
            }
            let next = match fetched.try_recv() {
                Ok(next) => next,
                Err(_) => {
                    // Nothing more for now: let what was printed be seen.
                    self.out.flush()?;
                    fetched.recv().expect("this function holds a sender")
                }
            };
            match next {
                Fetched::Batches { topic, partition, from, until, bytes } => {
                    self.trouble_since = None;
                    self.is_trouble_told = false;
                    self.print(&topic, partition, from, until, &bytes)?;
                    self.progress.set(self.printed);
                }
                Fetched::Ended(_) => reading -= 1,
                Fetched::HandedBack { position, error } => {
                    waiting.push(self.recover(client, position, error)?)
                }
            }
        }
        Ok(())
    }

    /// Starts a fetcher for each leader; gives back what has none at present.
    fn start(
        &mut self,
        client: &mut Client,
        cluster: &Cluster,
        positions: Vec<Position>,
        sender: &flume::Sender<Fetched>,
    ) -> Result<Vec<Position>, Stop> {
        let mut by_leader: BTreeMap<NodeId, Vec<Position>> = BTreeMap::new();
        let mut waiting = Vec::new();
        for position in positions {
            let topic = cluster.topics.iter().find(|topic| *topic.name == *position.topic);
            let partition = topic.and_then(|t| t.partitions.iter().find(|p| p.id == position.partition));
            match partition.and_then(|partition| partition.leader) {
                Some(leader) => by_leader.entry(leader).or_default().push(position),
                None => waiting.push(position),
            }
        }
        if let Some(position) = waiting.first() {
            let error = ClientError::NoLeader(format!(
                "{}-{} has no leader at present",
                position.topic, position.partition
            ));
            self.trouble(&error)?;
        }
        let settings = FetchSettings { max_wait: Duration::from_millis(500) };
        for (leader, positions) in by_leader {
            if let Err(error) = fetcher::start(client, leader, positions.clone(), settings, sender.clone()) {
                self.trouble(&error)?;
                waiting.extend(positions);
            }
        }
        Ok(waiting)
    }

    fn restart(
        &mut self,
        client: &mut Client,
        positions: Vec<Position>,
        sender: &flume::Sender<Fetched>,
    ) -> Result<Vec<Position>, Stop> {
        let mut names: Vec<&str> = positions.iter().map(|position| &*position.topic).collect();
        names.dedup();
        match client.metadata(Some(&names), false) {
            Ok(cluster) => self.start(client, &cluster, positions, sender),
            Err(error) => {
                self.trouble(&error)?;
                Ok(positions)
            }
        }
    }

    /// What to do with a partition that a fetcher gave back: where to read on.
    fn recover(
        &mut self,
        client: &mut Client,
        mut position: Position,
        error: ClientError,
    ) -> Result<Position, Stop> {
        if error.code() != Some(ResponseError::OffsetOutOfRange) {
            self.trouble(&error)?;
            return Ok(position);
        }
        let first = client.list_offsets(&position.topic, &[(position.partition, EARLIEST)])?;
        let first = first.get(&position.partition).copied().flatten().unwrap_or(position.next);
        if first <= position.next {
            // The log ends before what was read: the topic was made anew, or records were lost.
            return Err(error.into());
        }
        let gone = first.0 - position.next.0;
        let (topic, partition) = (&position.topic, position.partition);
        let text = format!("{topic}-{partition} now begins at offset {first}; {gone} records were not read");
        self.progress.warn(&text, self.json);
        position.next = first;
        Ok(position)
    }

    /// Whether to go on in spite of an error: for some time, and when following for as long as it takes.
    fn trouble(&mut self, error: &ClientError) -> Result<(), Stop> {
        let since = *self.trouble_since.get_or_insert_with(Instant::now);
        let is_gone = error.code() == Some(ResponseError::UnknownTopicOrPartition);
        let goes_on = error.is_retriable() && (since.elapsed() < self.patience || (self.follows && !is_gone));
        if !goes_on || error.code() == Some(ResponseError::CorruptMessage) {
            return Err(Stop::Problem(error.into()));
        }
        // An election passes before it is worth telling.
        if !self.is_trouble_told && since.elapsed() > TROUBLE_TOLD_AFTER {
            self.is_trouble_told = true;
            self.out.flush()?;
            self.progress.warn(&format!("{error}; trying again"), self.json);
        }
        Ok(())
    }

    /// Prints the records from `from` on and before `until`; gives the offset of the first that is left.
    fn print(
        &mut self,
        topic: &str,
        partition: PartitionId,
        from: Offset,
        until: Option<Offset>,
        bytes: &Bytes,
    ) -> Result<Offset, Stop> {
        let broken = |offset: Offset, why: String| {
            Stop::Problem(
                Problem::new(format!(
                    "{topic}-{partition}: the batch at offset {offset} cannot be read: {why}"
                ))
                .mend(format!("read on behind it with --partition {partition} --from OFFSET")),
            )
        };
        let mut next = from;
        for batch in BatchIter::new(bytes) {
            let batch = batch.map_err(|error| broken(from, error.to_string()))?;
            let header = batch.header;
            next = next.max(until.map_or(header.next_offset(), |until| header.next_offset().min(until)));
            if header.attributes().is_control() {
                continue;
            }
            let base = header.base_offset();
            let limits = OpenLimits { bytes_max: 1 << 30, ratio_max: usize::MAX };
            let opened = batch.open(&limits).map_err(|error| broken(base, error.to_string()))?;
            for record in RecordIter::new(&opened, header.record_count.get()) {
                let record = record.map_err(|error| broken(base, error.to_string()))?;
                let offset = base.plus(i64::from(record.offset_delta));
                if offset < from || until.is_some_and(|until| offset >= until) {
                    continue;
                }
                if self.left == 0 {
                    return Ok(offset);
                }
                let record = ReadRecord {
                    topic,
                    partition: partition.0,
                    offset: offset.0,
                    timestamp: batch.timestamp_of(record.timestamp_delta),
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                };
                self.style.print(&record, &mut self.out)?;
                self.left -= 1;
                self.printed += 1;
            }
        }
        Ok(next)
    }
}
