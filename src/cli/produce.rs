//! `thalweg produce`: records from a file or standard input into a topic.

use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{DecimalBytes, HumanCount};

use super::input::{self, Chunk, Extra, Format, Slot};
use super::problem::Problem;
use super::progress::Progress;
use super::target::Target;
use crate::client::admin::NewTopic;
use crate::client::cluster::{Cluster, Topic};
use crate::client::delivery::Report;
use crate::client::producer::{Acks, AppendError, NewRecord, Producer, ProducerOptions};
use crate::client::{Client, ClientError};
use crate::clock;
use crate::protocol::compression::{Compression, CompressionLevels};
use crate::protocol::record::Header;

/// How long a topic that was just made may take to get its leaders.
const NEW_TOPIC_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
#[command(after_help = "Examples:
  seq 1 1000 | thalweg produce numbers                       each line a record
  thalweg produce logs access.log --compression zstd         a file, its batches compressed
  thalweg produce users users.tsv --format keyed             key<TAB>value
  thalweg produce users users.txt --key-separator :          key:value
  thalweg produce orders orders.csv --format csv --key-column id     each row a JSON object
  thalweg consume old --json | thalweg produce new --format json     copy, with keys and headers
  echo hello | thalweg produce greetings --create -b broker-1:9092,broker-2:9092

Formats:
  lines   a line is a value (the default)
  keyed   a line is a key, a separator (a tab) and a value
  json    a line is {\"key\":..,\"value\":..,\"headers\":{..},\"partition\":..,\"timestamp\":..}, each part
          optional; a value that is no string is sent as its JSON, null as null;
          bytes are \"key_base64\" and \"value_base64\"
  csv     the first row names the columns: key, value, partition and timestamp are what they say, other
          columns are headers; without a column 'value' each row becomes a JSON object

Records with a key go to the partition that Java's client would choose; others fill batch after batch.
Nothing is lost silently: the exit code is 0 only when every record was acknowledged (with --acks 0: read
by the broker), and otherwise the error names the lines that were refused.")]
pub struct ProduceArgs {
    #[command(flatten)]
    pub target: Target,
    /// The topic to write to
    topic: String,
    /// The file to read; - or nothing is standard input
    file: Option<PathBuf>,
    /// What the input looks like
    #[arg(short, long, value_enum, default_value_t = InputFormat::Lines)]
    format: InputFormat,
    /// What stands between key and value; implies --format keyed. \t is a tab
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// CSV: the column that is the key
    #[arg(long, value_name = "NAME")]
    key_column: Option<String>,
    /// CSV: what stands between columns. \t is a tab
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    delimiter: String,
    /// Write to this partition alone
    #[arg(short, long)]
    partition: Option<i32>,
    /// Make the topic, as the broker makes topics by default, if it is not there
    #[arg(long)]
    create: bool,
    /// How to compress batches
    #[arg(short = 'z', long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// Level of gzip (1 to 9) or zstd (-131072 to 22)
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    compression_level: Option<i32>,
    /// Whose word to wait for: all in-sync replicas, the leader (1), nobody (0)
    #[arg(short, long, value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// Do not number records; a retry may then double or reorder them. Only --acks all numbers them
    #[arg(long)]
    no_idempotence: bool,
    /// Send a batch when its records take so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 512 * 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    batch_bytes: u32,
    /// Let a batch wait so long for more records
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5)]
    linger: u64,
    /// Give a batch up after so many seconds of trying
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    delivery_timeout: u64,
    /// Print no summary and no progress
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum InputFormat {
    Lines,
    Keyed,
    Json,
    Csv,
}

#[derive(Clone, Copy, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum AcksArg {
    #[value(alias = "-1")]
    All,
    #[value(name = "1", alias = "leader")]
    Leader,
    #[value(name = "0", alias = "none")]
    None,
}

pub fn run(args: &ProduceArgs) -> Result<ExitCode, Problem> {
    let format = format(args)?;
    let options = options(args)?;
    let (source, size) = open(args.file.as_ref())?;
    let mut client = args.target.connect()?;
    let (cluster, topic) = find_topic(&mut client, &args.topic, args.create)?;
    let json = args.target.json;
    let progress = Progress::bytes(size, !args.quiet && !json && shows_progress(args));
    let teller = progress.clone();
    let on_trouble =
        Box::new(move |error: &ClientError| teller.warn(&format!("{error}; trying again"), json));
    let producer = Producer::start(client, &cluster, &topic, options, on_trouble)?;
    let (out, chunks) = flume::bounded(input::CHUNKS_WAITING_MAX);
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || input::read(source, &format, &out))
        .map_err(|error| Problem::new(format!("no thread can be started: {error}")))?;
    let started = Instant::now();
    let mut sending =
        Sending { producer, partition: args.partition, progress, input_bytes: 0, appended_records: 0 };
    let outcome = sending.send_all(&chunks);
    let Sending { producer, progress, input_bytes, appended_records, .. } = sending;
    let delivered = producer.delivered();
    let report = producer.finish();
    progress.end();
    let summary = Summary {
        topic: args.topic.clone(),
        records: delivered.records.load(Ordering::Relaxed),
        input_bytes,
        sent_bytes: delivered.bytes.load(Ordering::Relaxed),
        elapsed: started.elapsed(),
    };
    if !args.quiet {
        summary.print(args.target.json);
    }
    judge(&args.topic, &report, appended_records, &summary)?;
    outcome?;
    Ok(ExitCode::SUCCESS)
}

fn format(args: &ProduceArgs) -> Result<Format, Problem> {
    let is_default = matches!(args.format, InputFormat::Lines);
    let separator = args.key_separator.as_ref().map(|text| text.replace("\\t", "\t"));
    Ok(match args.format {
        InputFormat::Json => Format::Json,
        InputFormat::Csv => {
            let delimiter = args.delimiter.replace("\\t", "\t");
            let [delimiter] = delimiter.as_bytes() else {
                return Err(Problem::new("the delimiter of CSV is one character of one byte"));
            };
            Format::Csv { key_column: args.key_column.clone(), delimiter: *delimiter }
        }
        _ if separator.as_deref() == Some("") => {
            return Err(Problem::new("the key separator is empty").mend("give at least one character"));
        }
        _ if is_default && separator.is_none() => Format::Lines,
        _ => Format::Keyed { separator: separator.unwrap_or("\t".to_owned()) },
    })
}

fn options(args: &ProduceArgs) -> Result<ProducerOptions, Problem> {
    let mut levels = CompressionLevels::default();
    let compression = match args.compression {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    };
    match (compression, args.compression_level) {
        (_, None) => {}
        (Compression::Gzip, Some(level @ 1..=9)) => levels.gzip = level,
        (Compression::Zstd, Some(level @ -131_072..=22)) => levels.zstd = level,
        (codec, Some(level)) => {
            return Err(Problem::new(format!("{} has no level {level}", codec.name()))
                .mend("gzip has 1 to 9, zstd -131072 to 22, the others have none"));
        }
    }
    Ok(ProducerOptions {
        acks: match args.acks {
            AcksArg::All => Acks::All,
            AcksArg::Leader => Acks::Leader,
            AcksArg::None => Acks::None,
        },
        compression,
        levels,
        batch_bytes: args.batch_bytes as usize,
        linger: Duration::from_millis(args.linger),
        idempotent: args.acks == AcksArg::All && !args.no_idempotence,
        delivery_timeout: Duration::from_secs(args.delivery_timeout.max(1)),
    })
}

/// The input and, of a plain file, its size.
fn open(file: Option<&PathBuf>) -> Result<(Box<dyn std::io::Read + Send>, Option<u64>), Problem> {
    let Some(path) = file.filter(|path| path.as_os_str() != "-") else {
        return Ok((Box::new(std::io::stdin()), None));
    };
    let failed = |error| Problem::new(format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Problem::new(format!("{} is a directory", path.display()))
            .mend("name a file, or give the records on standard input"));
    }
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

/// Typing at a terminal and a moving bar do not go together.
fn shows_progress(args: &ProduceArgs) -> bool {
    args.file.as_ref().is_some_and(|path| path.as_os_str() != "-") || !std::io::stdin().is_terminal()
}

/// The topic with its partitions; made where it is not there and may be.
fn find_topic(client: &mut Client, name: &str, create: bool) -> Result<(Cluster, Topic), Problem> {
    let give_up = Instant::now() + NEW_TOPIC_PATIENCE;
    let mut was_made = false;
    loop {
        let cluster = client.metadata(Some(&[name]), false)?;
        let topic = cluster.topics.iter().find(|topic| topic.name == name).cloned();
        let error = topic.as_ref().and_then(|topic| topic.error);
        match topic {
            Some(topic) if error.is_none() && !topic.partitions.is_empty() => return Ok((cluster, topic)),
            _ if was_made && Instant::now() < give_up => std::thread::sleep(Duration::from_millis(50)),
            _ if create && !was_made => {
                make(client, name)?;
                was_made = true;
            }
            _ => {
                let code = error.map_or(3, |error| error.code());
                ClientError::check(|| format!("topic {name}"), code, None).map_err(|error| {
                    match error.code() {
                        Some(kafka_protocol::error::ResponseError::UnknownTopicOrPartition) => {
                            Problem::new(format!("there is no topic {name}"))
                                .mend(format!("make it with 'thalweg topic create {name}', or add --create"))
                        }
                        _ => error.into(),
                    }
                })?;
                return Err(Problem::new(format!("topic {name} has no partitions")));
            }
        }
    }
}

fn make(client: &mut Client, name: &str) -> Result<(), Problem> {
    let topic = NewTopic { name: name.to_owned(), ..NewTopic::default() };
    for (_, outcome) in client.create_topics(&[topic], false)? {
        match outcome {
            // Another was faster.
            Err(error) if error.code() == Some(kafka_protocol::error::ResponseError::TopicAlreadyExists) => {}
            other => {
                other?;
            }
        }
    }
    Ok(())
}

struct Sending {
    producer: Producer,
    partition: Option<i32>,
    progress: Progress,
    input_bytes: u64,
    appended_records: u64,
}

impl Sending {
    /// Takes every chunk to the producer. An error is the input's; the delivery's stands in its report.
    fn send_all(&mut self, chunks: &flume::Receiver<Result<Chunk, Problem>>) -> Result<(), Problem> {
        loop {
            let next = match self.producer.due() {
                Some(due) => chunks.recv_deadline(due),
                None => chunks.recv().map_err(Into::into),
            };
            let sent = match next {
                Ok(chunk) => self.send(&chunk?)?,
                Err(flume::RecvTimeoutError::Timeout) => self.producer.flush().is_ok(),
                Err(flume::RecvTimeoutError::Disconnected) => return Ok(()),
            };
            if !sent {
                return Ok(());
            }
            self.progress.set(self.input_bytes);
        }
    }

    /// False when the delivery has failed.
    fn send(&mut self, chunk: &Chunk) -> Result<bool, Problem> {
        let now = clock::wall_ms();
        let mut headers = Vec::new();
        let none = Extra::default();
        for slot in &chunk.records {
            let Slot { key, value, line, extra } = slot;
            let extra = extra.as_deref().unwrap_or(&none);
            let bytes = |span: &input::Span| &chunk.bytes[span.clone()];
            headers.clear();
            headers.extend(
                extra
                    .headers
                    .iter()
                    .map(|(key, value)| Header { key: bytes(key), value: value.as_ref().map(bytes) }),
            );
            let record = NewRecord {
                key: key.as_ref().map(bytes),
                value: value.as_ref().map(bytes),
                headers: &headers,
                partition: self.partition.or(extra.partition),
                timestamp: extra.timestamp.unwrap_or(now),
                line: *line,
            };
            match self.producer.append(&record) {
                Ok(()) => self.appended_records += 1,
                Err(AppendError::Stopped) => {
                    self.appended_records += 1;
                    return Ok(false);
                }
                Err(error @ AppendError::NoSuchPartition { .. }) => {
                    return Err(Problem::new(format!("line {line}: {error}"))
                        .mend("'thalweg topic alter NAME --partitions N' adds partitions"));
                }
            }
        }
        self.input_bytes += chunk.input_bytes;
        Ok(true)
    }
}

/// Everything acknowledged, or what was not.
fn judge(topic: &str, report: &Report, appended: u64, summary: &Summary) -> Result<(), Problem> {
    let missing = appended.saturating_sub(summary.records);
    let Some(failure) = report.failures.iter().min_by_key(|failure| failure.lines) else {
        return match missing {
            0 => Ok(()),
            _ => Err(Problem::new(format!("{missing} records were not acknowledged"))),
        };
    };
    let first = Problem::from(&failure.error);
    let place = match failure.partition {
        -1 => String::new(),
        partition => {
            format!(" from {topic}-{partition}, input lines {} to {}", failure.lines.0, failure.lines.1)
        }
    };
    Err(first.while_doing(&format!("{missing} records were not acknowledged; the first failure{place}")))
}

struct Summary {
    topic: String,
    records: u64,
    input_bytes: u64,
    sent_bytes: u64,
    elapsed: Duration,
}

impl Summary {
    fn print(&self, json: bool) {
        let seconds = self.elapsed.as_secs_f64();
        if json {
            let object = serde_json::json!({
                "topic": self.topic,
                "records": self.records,
                "input_bytes": self.input_bytes,
                "sent_bytes": self.sent_bytes,
                "seconds": seconds,
            });
            println!("{object}");
            return;
        }
        let per_second = |count: u64| (count as f64 / seconds.max(1e-6)) as u64;
        eprintln!(
            "{} records, {} ({} sent) to {} in {seconds:.2} s: {} records/s, {}/s",
            HumanCount(self.records),
            DecimalBytes(self.input_bytes),
            DecimalBytes(self.sent_bytes),
            self.topic,
            HumanCount(per_second(self.records)),
            DecimalBytes(per_second(self.input_bytes)),
        );
    }
}
