//! `thalweg topic`: a file for each of its commands.

mod alter;
mod create;
mod delete;
mod describe;
mod list;

use std::process::ExitCode;

use clap::Subcommand;

use super::problem::Problem;
use super::target::Target;
use crate::client::ClientError;
use crate::client::admin::Outcomes;

#[derive(Subcommand)]
pub enum TopicCommand {
    /// Make topics
    Create(create::CreateArgs),
    /// Name the topics there are
    List(list::ListArgs),
    /// Show partitions, leaders, offsets and configuration of topics
    Describe(describe::DescribeArgs),
    /// Add partitions, change configuration, delete old records
    Alter(alter::AlterArgs),
    /// Delete topics and their records
    Delete(delete::DeleteArgs),
}

impl TopicCommand {
    pub fn target(&self) -> &Target {
        match self {
            TopicCommand::Create(args) => &args.target,
            TopicCommand::List(args) => &args.target,
            TopicCommand::Describe(args) => &args.target,
            TopicCommand::Alter(args) => &args.target,
            TopicCommand::Delete(args) => &args.target,
        }
    }
}

pub fn run(command: &TopicCommand) -> Result<ExitCode, Problem> {
    match command {
        TopicCommand::Create(args) => create::run(args),
        TopicCommand::List(args) => list::run(args),
        TopicCommand::Describe(args) => describe::run(args),
        TopicCommand::Alter(args) => alter::run(args),
        TopicCommand::Delete(args) => delete::run(args),
    }
}

/// `key=value`.
pub(super) fn parse_config(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err(format!("'{text}' is not KEY=VALUE, such as retention.ms=3600000")),
    }
}

/// Prints each failure and tells whether there was none.
pub(super) fn report<T>(outcomes: Outcomes<T>, json: bool, mut done: impl FnMut(&str, T)) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(value) => done(&name, value),
            Err(error) => {
                Problem::from(error).print(json);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// The names that nothing went wrong with.
fn succeeded<T>(outcomes: &Outcomes<T>) -> Vec<String> {
    outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(name, _)| name.clone()).collect()
}

/// Takes errors with `code` for done already.
fn forgive<T: Default>(outcomes: Outcomes<T>, code: kafka_protocol::error::ResponseError) -> Outcomes<T> {
    let forgiven = |outcome: Result<T, ClientError>| match outcome {
        Err(error) if error.code() == Some(code) => Ok(T::default()),
        other => other,
    };
    outcomes.into_iter().map(|(name, outcome)| (name, forgiven(outcome))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_cut_at_its_first_equals_sign() {
        assert_eq!(parse_config("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(parse_config("a="), Ok(("a".to_owned(), String::new())));
        assert!(parse_config("=a").is_err());
        assert!(parse_config("a").is_err());
    }
}
