//! `thalweg consume --group`: reading as a member of a group.
//!
//! Everything happens in one loop: the member is polled, records are printed, and what was printed is
//! committed. Only what the output has taken is committed, so a record may come twice and none is missed.
//! When the group assigns anew, all fetchers end and new ones begin at what comes next; a partition that
//! goes to another member is committed before the group hears that it is free.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{ConsumeArgs, GroupProtocol, Reading, Stop, begin};
use crate::cli::problem::Problem;
use crate::client::cluster::Topic;
use crate::client::fetcher::{self, Fetched, Position};
use crate::client::groups::Commits;
use crate::client::member::{Event, Member, MemberSettings, Protocol};
use crate::client::{Client, ClientError};
use crate::types::{Offset, PartitionId, TopicPartition};

/// How long the loop waits for records before it looks at the group again.
const TURN: Duration = Duration::from_millis(50);
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a member that is not to follow waits for partitions: others give theirs up at their next heartbeat.
const ASSIGNED_WITHIN: Duration = Duration::from_secs(15);
/// How often the last commit is tried while the group changes.
const LAST_COMMIT_TRIES: usize = 20;
const BACKOFF: Duration = Duration::from_millis(100);

/// A partition that is ours now.
struct Held {
    /// The first record that is not printed.
    next: Offset,
    committed: Offset,
    is_ended: bool,
}

struct Sharing<'a, W: Write> {
    reading: &'a mut Reading<W>,
    client: &'a mut Client,
    args: &'a ConsumeArgs,
    group: &'a str,
    topics: Vec<String>,
    member: Member,
    held: BTreeMap<TopicPartition, Held>,
    /// Those that could not be started to be read, and are to be tried again.
    waiting: Vec<Position>,
    sender: flume::Sender<Fetched>,
    fetched: flume::Receiver<Fetched>,
    next_commit: Instant,
    last_held_at: Instant,
}

/// Reads until all is read, enough is printed, or a signal comes; commits and leaves in any case.
pub fn read<W: Write>(
    reading: &mut Reading<W>,
    client: &mut Client,
    args: &ConsumeArgs,
    group: &str,
    topics: &[&Topic],
) -> Result<(), Stop> {
    let stop = stop_on_signals()?;
    let topics: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let protocol = args.protocol.map(|protocol| match protocol {
        GroupProtocol::Classic => Protocol::Classic,
        GroupProtocol::Consumer => Protocol::Consumer,
    });
    let settings = MemberSettings { group: group.to_owned(), topics: topics.clone(), protocol };
    let member = Member::new(client, settings)?;
    let (sender, fetched) = fetcher::channel();
    let mut sharing = Sharing {
        reading,
        client,
        args,
        group,
        topics,
        member,
        held: BTreeMap::new(),
        waiting: Vec::new(),
        sender,
        fetched,
        next_commit: Instant::now() + COMMIT_INTERVAL,
        last_held_at: Instant::now(),
    };
    let outcome = sharing.run(&stop);
    // What the output did not take is not to be committed.
    let committed = match &outcome {
        Err(Stop::Output(_)) => Ok(()),
        _ => sharing.commit_last(),
    };
    let Sharing { member, client, .. } = sharing;
    let left = member.leave(client).map_err(Stop::from);
    outcome.and(committed).and(left)
}

/// Set by the first signal; the second ends the process.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Problem> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .map_err(|error| Problem::new(format!("signals cannot be received: {error}")))?;
    }
    Ok(stop)
}

impl<W: Write> Sharing<'_, W> {
    fn run(&mut self, stop: &AtomicBool) -> Result<(), Stop> {
        while !stop.load(Ordering::Relaxed) && self.reading.left > 0 && !self.is_done()? {
            match self.member.poll(self.client) {
                Ok(Event::Nothing) => {}
                Ok(Event::Assigned(partitions)) => self.take_over(partitions)?,
                Ok(Event::Lost) => {
                    let text = format!("group {} went on without this member; it joins again", self.group);
                    self.reading.progress.warn(&text, self.reading.json);
                    self.held.clear();
                    self.stop_reading();
                }
                Err(error) => {
                    self.reading.trouble(&error)?;
                    std::thread::sleep(BACKOFF);
                }
            }
            if !self.waiting.is_empty() {
                std::thread::sleep(BACKOFF);
                let waiting = std::mem::take(&mut self.waiting);
                self.waiting = self.reading.restart(self.client, waiting, &self.sender)?;
            }
            self.read_some()?;
            if Instant::now() >= self.next_commit {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Whether everything is read that there was; never while following.
    fn is_done(&mut self) -> Result<bool, Stop> {
        if self.args.follow || !self.member.is_settled() {
            self.last_held_at = Instant::now();
            return Ok(false);
        }
        if !self.held.is_empty() {
            self.last_held_at = Instant::now();
            return Ok(self.held.values().all(|held| held.is_ended));
        }
        if self.last_held_at.elapsed() < ASSIGNED_WITHIN {
            return Ok(false);
        }
        let text = format!("the other members of group {} have all partitions", self.group);
        self.reading.progress.warn(&text, self.reading.json);
        Ok(true)
    }

    /// Gives up what is not among `partitions`, and begins to read what is.
    fn take_over(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Stop> {
        self.stop_reading();
        self.commit()?;
        self.held.retain(|at, _| partitions.contains(at));
        self.member.acknowledge(partitions.clone());
        if partitions.is_empty() {
            return Ok(());
        }
        let positions = loop {
            match self.positions(&partitions) {
                Err(Assigning::Client(error)) if error.is_retriable() => {
                    self.reading.trouble(&error)?;
                    std::thread::sleep(BACKOFF);
                }
                Err(Assigning::Client(error)) => return Err(error.into()),
                Err(Assigning::Problem(problem)) => return Err(problem.into()),
                Ok(positions) => break positions,
            }
        };
        for position in &positions {
            let at = TopicPartition { topic: position.topic.clone(), partition: position.partition };
            let is_ended = position.until.is_some_and(|until| position.next >= until);
            let fresh = Held { next: position.next, committed: Offset(-1), is_ended };
            self.held.entry(at).or_insert(fresh).is_ended = is_ended;
        }
        let open = positions.into_iter().filter(|p| p.until.is_none_or(|until| p.next < until)).collect();
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let cluster = self.client.metadata(Some(&names), false)?;
        self.waiting = self.reading.start(self.client, &cluster, open, &self.sender)?;
        Ok(())
    }

    /// Where each partition is read on: where this member is, else where the group is, else where --from says.
    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Position>, Assigning> {
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let cluster = self.client.metadata(Some(&names), false)?;
        let is_new = |at: &TopicPartition| !self.held.contains_key(at);
        let commits = match partitions.iter().any(is_new) {
            true => {
                let fetched = self.client.committed_offsets(&[self.group.to_owned()], true);
                fetched.into_iter().next().map_or_else(|| Ok(Commits::new()), |(_, commits)| commits)?
            }
            false => Commits::new(),
        };
        let mut positions = Vec::new();
        for topic in &cluster.topics {
            let own: Vec<PartitionId> =
                partitions.iter().filter(|at| *at.topic == *topic.name).map(|at| at.partition).collect();
            if own.is_empty() {
                continue;
            }
            for mut position in begin(self.client, topic, &own, self.args)? {
                let at = TopicPartition { topic: position.topic.clone(), partition: position.partition };
                let held = self.held.get(&at).map(|held| held.next);
                if let Some(next) = held.or_else(|| commits.get(&at).map(|committed| committed.offset)) {
                    if let Some(end) = position.until.filter(|end| next > *end) {
                        return Err(self.ahead(&at, next, end).into());
                    }
                    position.next = next;
                }
                positions.push(position);
            }
        }
        Ok(positions)
    }

    fn ahead(&self, at: &TopicPartition, committed: Offset, end: Offset) -> Problem {
        let group = self.group;
        Problem::new(format!("group {group} has committed offset {committed} for {at}, which ends at {end}"))
            .mend(format!(
                "where the topic was made anew: 'thalweg group reset-offsets {group} --topic {} --to-earliest \
                 --execute'",
                at.topic
            ))
    }

    /// Prints what comes within a turn.
    fn read_some(&mut self) -> Result<(), Stop> {
        let next = match self.fetched.try_recv() {
            Ok(next) => next,
            Err(_) => {
                // Nothing more for now: let what was printed be seen.
                self.reading.out.flush()?;
                let Ok(next) = self.fetched.recv_timeout(TURN) else { return Ok(()) };
                next
            }
        };
        match next {
            Fetched::Batches { topic, partition, from, until, bytes } => {
                self.reading.trouble_since = None;
                self.reading.is_trouble_told = false;
                let printed = self.reading.print(&topic, partition, from, until, &bytes)?;
                if let Some(held) = self.held.get_mut(&TopicPartition { topic, partition }) {
                    held.next = printed;
                }
                self.reading.progress.set(self.reading.printed);
            }
            Fetched::Ended(position) => {
                let at = TopicPartition { topic: position.topic, partition: position.partition };
                if let Some(held) = self.held.get_mut(&at) {
                    held.is_ended = true;
                }
            }
            Fetched::HandedBack { position, error } => {
                let position = self.reading.recover(self.client, position, error)?;
                self.waiting.push(position);
            }
        }
        Ok(())
    }

    /// Ends the fetchers: each does when it finds nobody to give to.
    fn stop_reading(&mut self) {
        (self.sender, self.fetched) = fetcher::channel();
        self.waiting.clear();
    }

    /// Commits what the output has taken; gives whether nothing is left to commit.
    fn commit(&mut self) -> Result<bool, Stop> {
        self.next_commit = Instant::now() + COMMIT_INTERVAL;
        let is_news = |held: &Held| held.committed < held.next;
        let news = self.held.iter().filter(|(_, held)| is_news(held));
        let offsets: Vec<(TopicPartition, Offset)> = news.map(|(at, held)| (at.clone(), held.next)).collect();
        if offsets.is_empty() {
            return Ok(true);
        }
        self.reading.out.flush()?;
        match self.member.commit(self.client, &offsets) {
            Ok(true) => {
                self.held.values_mut().for_each(|held| held.committed = held.next);
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => {
                self.reading.trouble(&error)?;
                Ok(false)
            }
        }
    }

    /// Commits before leaving, in spite of a group that changes.
    fn commit_last(&mut self) -> Result<(), Stop> {
        for _ in 0..LAST_COMMIT_TRIES {
            if self.commit()? {
                return Ok(());
            }
            match self.member.poll(self.client) {
                // It is for others to read these again.
                Ok(Event::Lost) => return Ok(()),
                Ok(Event::Assigned(partitions)) => {
                    self.held.retain(|at, _| partitions.contains(at));
                    self.member.acknowledge(partitions);
                }
                Ok(Event::Nothing) | Err(_) => {}
            }
            std::thread::sleep(BACKOFF);
        }
        let text = format!("group {} changes; what was printed last may be read again", self.group);
        self.reading.progress.warn(&text, self.reading.json);
        Ok(())
    }
}

/// Why an assignment cannot be begun.
enum Assigning {
    Client(ClientError),
    Problem(Problem),
}

impl From<ClientError> for Assigning {
    fn from(error: ClientError) -> Assigning {
        Assigning::Client(error)
    }
}

impl From<Problem> for Assigning {
    fn from(problem: Problem) -> Assigning {
        Assigning::Problem(problem)
    }
}
