//! The commands, a file each, and what they share: how a problem is told, how topics are picked by pattern,
//! how moments and records are read and printed.
//!
//! Every command works against any Kafka broker; only `start` and `check` are about this host. A command
//! returns `Result<ExitCode, Problem>`; [`main`] alone prints the problem, one line with its mend.

mod check;
mod completions;
mod config;
mod confirm;
mod consume;
mod group;
mod input;
mod moment;
mod output;
mod pattern;
mod problem;
mod produce;
mod progress;
mod start;
mod target;
mod topic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use problem::Problem;
pub use start::StartArgs;
pub use target::Target;

#[derive(Parser)]
#[command(
    name = "thalweg",
    version,
    about = "A broker that speaks Kafka's protocol, and the tools to work with any Kafka broker",
    after_help = "A first session:
  thalweg start                                   one broker on port 9092, its data in ./thalweg-data
  thalweg topic create orders --partitions 6      a topic to write to
  seq 1 1000 | thalweg produce orders             each line a record
  thalweg consume orders --format table           read them back
  thalweg group describe billing                  who reads what, and how far behind
  thalweg topic delete 'test-.*'                  every topic that begins with test-; asks first

'thalweg COMMAND --help' shows examples for each."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a broker on this host
    Start(StartArgs),
    /// Say what this host offers a broker and what it lacks
    Check(check::CheckArgs),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// List, describe, watch and delete consumer groups, and reset their offsets
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Write records to a topic from a file or standard input
    Produce(produce::ProduceArgs),
    /// Read records from topics
    Consume(consume::ConsumeArgs),
    /// Read and change the configuration of topics and brokers
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a script that lets a shell complete commands
    Completions(completions::CompletionsArgs),
}

/// Runs the command line of this process and returns its exit code: 0 done, 1 failed, 2 wrongly used.
pub fn main() -> ExitCode {
    let (json, outcome) = match Cli::parse().command {
        Command::Start(args) => return start::run(args),
        Command::Check(args) => (args.json, check::run(&args)),
        Command::Topic(command) => (command.target().json, topic::run(&command)),
        Command::Group(command) => (command.target().json, group::run(&command)),
        Command::Produce(args) => (args.target.json, produce::run(&args)),
        Command::Consume(args) => (args.target.json, consume::run(&args)),
        Command::Completions(args) => (false, completions::run(&args)),
        Command::Config(command) => (command.target().json, config::run(&command)),
    };
    outcome.unwrap_or_else(|problem| {
        problem.print(json);
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_sound() {
        super::Cli::command().debug_assert();
    }
}
