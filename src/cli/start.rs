//! `thalweg start`: runs a broker on this host.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::{Properties, ServerConfig, parse_cores};

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg start                              port 9092, data in ./thalweg-data
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
pub fn run(_args: StartArgs) -> ExitCode {
    eprintln!("error: this build has no broker in it yet");
    ExitCode::FAILURE
}

/// The file, then the environment, then `-o`, then `--cores`.
pub(super) fn load(args: &StartArgs) -> Result<(ServerConfig, Vec<String>), String> {
    let mut properties = match &args.file {
        None => Properties::default(),
        Some(path) => Properties::read(path).map_err(|error| {
            format!("{}: {error}; name a readable server.properties file, or none", path.display())
        })?,
    };
    for assignment in &args.overrides {
        properties.apply_override(assignment).map_err(|error| error.to_string())?;
    }
    if let Some(cores) = &args.cores {
        parse_cores(cores).map_err(|error| error.to_string())?;
        properties.values.insert("thalweg.cores".into(), cores.clone());
    }
    ServerConfig::load(&properties).map_err(|error| error.to_string())
}
