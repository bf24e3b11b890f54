//! `thalweg start`: runs a broker on this host.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::loggers::{self, Loggers};
use crate::config::{Properties, ServerConfig, parse_cores};
use crate::server::broker::{self, Options, Ready};
use crate::server::host;

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg start                              port 9092, data in ./data
  thalweg start server.properties            a file with Kafka's keys
  thalweg start -o listeners=PLAINTEXT://:9192 -o log.dirs=/data/kafka
  thalweg start --cores 0,2-5                one pinned thread on each of these cores
  THALWEG_NUM_PARTITIONS=6 thalweg start     the key num.partitions by the environment
  thalweg start -o listeners=PLAINTEXT://127.0.0.1:0 --port-file port    any free port, written to 'port'")]
pub struct StartArgs {
    /// A server.properties file with Kafka's keys
    pub file: Option<PathBuf>,
    /// Set one key, over the file and the environment; may be given several times
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Cores to run on, such as 0,2-5 [default: every core the process may use]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<String>,
    /// Write the port of the first listener into this file once it accepts connections
    #[arg(long, value_name = "PATH")]
    pub port_file: Option<PathBuf>,
}

/// Runs the broker until it is told to stop.
pub fn run(args: StartArgs) -> ExitCode {
    log_to_standard_error();
    host::raise_limits();
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: StartArgs) -> Result<(), String> {
    let (config, notices) = load(&args)?;
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let cores = match config.cores.is_empty() {
        true => host::usable_cores(),
        false => config.cores.clone(),
    };
    let short = host::shortages(&config, &cores);
    if let Some(shortage) = short.iter().find(|shortage| shortage.is_fatal) {
        return Err(shortage.to_string());
    }
    for shortage in short {
        tracing::warn!("{shortage}");
    }
    let options = Options { config, cores, port_file: args.port_file, ready: Box::new(banner) };
    broker::run(options).map_err(|error| error.to_string())
}

/// The file, then the environment, then `-o`, then `--cores`.
pub(super) fn load(args: &StartArgs) -> Result<(ServerConfig, Vec<String>), String> {
    let mut properties = match &args.file {
        None => Properties::default(),
        Some(path) => Properties::read(path).map_err(|error| {
            format!("{}: {error}; name a readable server.properties file, or none", path.display())
        })?,
    };
    let mut notices: Vec<String> = properties
        .apply_environment(
            std::env::vars_os().filter_map(|(k, v)| k.into_string().ok().zip(v.into_string().ok())),
        )
        .into_iter()
        .filter(|name| name != "THALWEG_LOG" && name != "THALWEG_FAULT")
        .map(|name| format!("the environment variable {name} names no configuration key"))
        .collect();
    for assignment in &args.overrides {
        properties.apply_override(assignment).map_err(|error| error.to_string())?;
    }
    if let Some(cores) = &args.cores {
        parse_cores(cores).map_err(|error| error.to_string())?;
        properties.values.insert("thalweg.cores".into(), cores.clone());
    }
    let (config, more) = ServerConfig::load(&properties).map_err(|error| error.to_string())?;
    notices.extend(more);
    Ok((config, notices))
}

/// Lines for a person on a terminal, JSON otherwise; `THALWEG_LOG` sets the levels (`debug`,
/// `info,thalweg::storage=trace`).
fn log_to_standard_error() {
    let text = std::env::var("THALWEG_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(&text).ok().filter(|_| !text.is_empty());
    let first = filter.as_ref().map_or_else(Loggers::default, |_| Loggers::from_directives(&text));
    let filter = filter.unwrap_or_else(|| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second initialisation (in tests) is not an error.
    let _already_set = match std::io::stderr().is_terminal() {
        true => {
            let lines = lines.compact().with_target(false).with_filter_reloading();
            follow(first, lines.reload_handle());
            lines.try_init()
        }
        false => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            follow(first, lines.reload_handle());
            lines.try_init()
        }
    };
}

/// Lets changes of BROKER_LOGGER act on the log.
fn follow<S: 'static>(first: Loggers, filter: reload::Handle<EnvFilter, S>) {
    loggers::install(first, move |loggers| {
        if let Err(error) = filter.reload(EnvFilter::new(loggers.directives())) {
            tracing::warn!(%error, "the levels of the log stay as they are");
        }
    });
}

fn banner(ready: &Ready) {
    let dirs: Vec<String> = ready.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
    let file_system = ready.log_dirs.first().map_or_else(String::new, |dir| host::file_system(dir));
    if !std::io::stderr().is_terminal() {
        tracing::info!(
            addresses = ready.addresses.join(","),
            cores = ready.cores,
            log_dirs = dirs.join(","),
            file_system,
            cluster_id = ready.cluster_id,
            node_id = ready.node_id,
            topics = ready.topics,
            partitions = ready.partitions,
            took_ms = ready.took.as_millis() as u64,
            "ready"
        );
        return;
    }
    let bootstrap = ready.addresses.first().map_or("localhost:9092", |address| {
        address.split_once("://").map_or(address.as_str(), |(_, address)| address)
    });
    let bootstrap = bootstrap.replace("[::]", "localhost").replace("0.0.0.0", "localhost");
    let (cores, took) = (ready.cores, ready.took.as_millis());
    let state = match ready.formatted {
        true => "new".to_owned(),
        false => format!("{} topics, {} partitions", ready.topics, ready.partitions),
    };
    eprintln!(
        "
  thalweg {version}, node {node} of cluster {cluster}, ready after {took} ms
    address   {addresses}
    cores     {cores}
    data      {dirs} ({file_system}, {state})

  Next:
    thalweg topic create hello --bootstrap {bootstrap}
    echo 'a line' | thalweg produce hello --bootstrap {bootstrap}
    thalweg consume hello --bootstrap {bootstrap}
",
        version = env!("CARGO_PKG_VERSION"),
        node = ready.node_id,
        cluster = ready.cluster_id,
        addresses = ready.addresses.join("  "),
        dirs = dirs.join("  "),
    );
}
