//! `thalweg check`: what this host offers a broker and what it lacks.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output;
use super::problem::Problem;
use super::start::{self, StartArgs};
use crate::server::host::{self, Fact};

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg check                              as 'thalweg start' would run
  thalweg check server.properties            with the log directories and cores of a file
  thalweg check -o log.dirs=/data/kafka --cores 2-5
  thalweg check --json | jq -r 'select(.state != \"ok\").mend'

The exit code is 0 when the broker can run, though it may run worse than it could ('poor'); 1 when it
cannot ('short').")]
pub struct CheckArgs {
    /// A server.properties file with Kafka's keys
    file: Option<PathBuf>,
    /// Set one key, over the file and the environment; may be given several times
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Cores to run on, such as 0,2-5 [default: every core the process may use]
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// Print JSON for machines, a fact a line
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &CheckArgs) -> Result<ExitCode, Problem> {
    let start = StartArgs {
        file: args.file.clone(),
        overrides: args.overrides.clone(),
        cores: args.cores.clone(),
        port_file: None,
    };
    let (config, _) = start::load(&start).map_err(Problem::new)?;
    let cores = if config.cores.is_empty() { host::usable_cores() } else { config.cores.clone() };
    let facts = host::facts(&config, &cores);
    if args.json {
        for fact in &facts {
            let shortage = fact.shortage.as_ref();
            let object = json!({
                "fact": fact.name,
                "value": fact.value,
                "state": state(fact),
                "what": shortage.map(|shortage| &shortage.what),
                "mend": shortage.map(|shortage| &shortage.mend),
            });
            output::line(&object.to_string())?;
        }
    } else {
        let mut table = output::table(&["", "FACT", "VALUE", "MEND"]);
        for fact in &facts {
            let mend = fact.shortage.as_ref().map_or(String::new(), ToString::to_string);
            table.add_row([state(fact), fact.name, &fact.value, &mend]);
        }
        output::line(&table.to_string())?;
    }
    let is_short = facts.iter().any(|fact| state(fact) == "short");
    Ok(if is_short { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn state(fact: &Fact) -> &'static str {
    match &fact.shortage {
        None => "ok",
        Some(shortage) if shortage.is_fatal => "short",
        Some(_) => "poor",
    }
}
