//! `thalweg config get` and `thalweg config set`.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::output;
use super::problem::Problem;
use super::target::Target;
use super::topic::{parse_config, report};
use crate::client::admin::{ConfigChange, ConfigEntry, ConfigOperation, Resource, ResourceKind};

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Show configuration
    Get(GetArgs),
    /// Change configuration
    Set(SetArgs),
}

impl ConfigCommand {
    pub fn target(&self) -> &Target {
        match self {
            ConfigCommand::Get(args) => &args.target,
            ConfigCommand::Set(args) => &args.target,
        }
    }
}

pub fn run(command: &ConfigCommand) -> Result<ExitCode, Problem> {
    match command {
        ConfigCommand::Get(args) => get(args),
        ConfigCommand::Set(args) => set(args),
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Topic,
    Broker,
    /// Log levels of a broker
    BrokerLogger,
    ClientMetrics,
    Group,
}

impl Kind {
    fn resource(self, name: &str) -> Resource {
        let kind = match self {
            Kind::Topic => ResourceKind::Topic,
            Kind::Broker => ResourceKind::Broker,
            Kind::BrokerLogger => ResourceKind::BrokerLogger,
            Kind::ClientMetrics => ResourceKind::ClientMetrics,
            Kind::Group => ResourceKind::Group,
        };
        let name = if matches!(self, Kind::Broker) && name == "default" { "" } else { name };
        Resource { kind, name: name.to_owned() }
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg config get topic orders                        what differs from Kafka's defaults
  thalweg config get topic orders --all --docs           every key, with what it means
  thalweg config get topic orders retention.ms segment.bytes
  thalweg config get broker 1                            one broker
  thalweg config get broker default                      what holds for all brokers
  thalweg config get topic orders --json | jq -r .value")]
pub struct GetArgs {
    #[command(flatten)]
    pub target: Target,
    /// What has the configuration
    #[arg(value_enum)]
    kind: Kind,
    /// A topic, a broker's id, or default for all brokers
    name: String,
    /// Keys to show [default: those that differ from Kafka's defaults]
    keys: Vec<String>,
    /// Show every key
    #[arg(short, long)]
    all: bool,
    /// Show what each key means, where the broker says so
    #[arg(short, long)]
    docs: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  thalweg config set topic orders retention.ms=3600000 compression.type=zstd
  thalweg config set topic orders --unset retention.ms           what the broker says holds again
  thalweg config set topic orders --append cleanup.policy=compact
  thalweg config set broker default log.retention.ms=86400000    all brokers
  thalweg config set broker 1 log.cleaner.threads=2 --dry-run")]
pub struct SetArgs {
    #[command(flatten)]
    pub target: Target,
    /// What has the configuration
    #[arg(value_enum)]
    kind: Kind,
    /// A topic, a broker's id, or default for all brokers
    name: String,
    /// Keys and their new values
    #[arg(value_name = "KEY=VALUE", value_parser = parse_config)]
    set: Vec<(String, String)>,
    /// Let a key have the value it would have without being set; may be given several times
    #[arg(short, long, value_name = "KEY")]
    unset: Vec<String>,
    /// Add to a key that is a list; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_config)]
    append: Vec<(String, String)>,
    /// Take from a key that is a list; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_config)]
    subtract: Vec<(String, String)>,
    /// Change nothing, only ask whether it could be done
    #[arg(long)]
    dry_run: bool,
}

fn get(args: &GetArgs) -> Result<ExitCode, Problem> {
    let resource = args.kind.resource(&args.name);
    let mut client = args.target.connect()?;
    let outcomes = client.describe_configs(&[resource], &args.keys, args.docs)?;
    for (_, outcome) in outcomes {
        let entries = outcome?;
        if let Some(missing) = args.keys.iter().find(|key| !entries.iter().any(|entry| entry.name == **key)) {
            return Err(Problem::new(format!("{} has no key {missing}", args.name))
                .mend("'thalweg config get KIND NAME --all' shows every key"));
        }
        const DEFAULT: &str = "default";
        let is_shown =
            |entry: &&ConfigEntry| args.all || !args.keys.is_empty() || entry.source.name() != DEFAULT;
        let shown: Vec<&ConfigEntry> = entries.iter().filter(is_shown).collect();
        match args.target.json {
            true => shown.iter().try_for_each(|entry| output::line(&as_json(entry)))?,
            false => print(args, &shown, entries.len())?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(args: &GetArgs, shown: &[&ConfigEntry], count: usize) -> Result<(), Problem> {
    if shown.is_empty() {
        return output::line(&format!("all {count} keys have Kafka's defaults; --all shows them"));
    }
    let mut table = output::table(&["KEY", "VALUE", "SOURCE"]);
    if args.docs {
        table = output::table(&["KEY", "VALUE", "SOURCE", "MEANING"]);
    }
    for entry in shown {
        let value = match &entry.value {
            Some(value) => value.clone(),
            None if entry.is_sensitive => "(hidden)".to_owned(),
            None => "-".to_owned(),
        };
        let mut row = vec![entry.name.clone(), value, entry.source.name().to_owned()];
        if args.docs {
            row.push(entry.documentation.clone().unwrap_or_default());
        }
        table.add_row(row);
    }
    output::line(&table.to_string())
}

fn as_json(entry: &ConfigEntry) -> String {
    json!({
        "key": entry.name,
        "value": entry.value,
        "source": entry.source.name(),
        "read_only": entry.is_read_only,
        "sensitive": entry.is_sensitive,
        "documentation": entry.documentation,
    })
    .to_string()
}

fn set(args: &SetArgs) -> Result<ExitCode, Problem> {
    let resource = args.kind.resource(&args.name);
    let each = |pairs: &[(String, String)], operation: fn(String) -> ConfigOperation| -> Vec<ConfigChange> {
        let change = |(name, value): &(String, String)| ConfigChange {
            name: name.clone(),
            operation: operation(value.clone()),
        };
        pairs.iter().map(change).collect()
    };
    let mut changes = each(&args.set, ConfigOperation::Set);
    changes.extend(each(&args.append, ConfigOperation::Append));
    changes.extend(each(&args.subtract, ConfigOperation::Subtract));
    let unset =
        args.unset.iter().map(|key| ConfigChange { name: key.clone(), operation: ConfigOperation::Unset });
    changes.extend(unset);
    if changes.is_empty() {
        return Err(Problem::new("nothing is to be set").mend("give KEY=VALUE or --unset KEY"));
    }
    let mut client = args.target.connect()?;
    let outcomes = client.alter_configs(&[resource], &changes, args.dry_run)?;
    Ok(report(outcomes, args.target.json, |_, ()| {
        let keys: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        let done = if args.dry_run { "could change" } else { "changed" };
        let object = json!({"name": args.name, "changed": keys, "dry_run": args.dry_run});
        output::done(args.target.json, &object, &format!("{done} {} of {}", keys.join(", "), args.name));
    }))
}
