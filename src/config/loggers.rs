//! The resource BROKER_LOGGER: our tracing targets with Kafka's names for their levels.
//!
//! A logger without a level of its own has that of `root`. FATAL, which tracing does not know, switches a
//! logger off.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::change::{Change, Op};
use super::error::ConfigError;

/// Kafka's level names, the quietest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    const ALL: [Level; 6] =
        [Level::Fatal, Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Fatal => "FATAL",
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        }
    }

    /// The level of this name, in capitals as Kafka asks for.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The word of a tracing filter.
    fn directive(self) -> &'static str {
        match self {
            Level::Fatal => "off",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// The logger that stands for every target.
pub const ROOT: &str = "root";

/// Our tracing targets: a room each.
pub const TARGETS: &[&str] = &[
    "thalweg::api",
    "thalweg::broker",
    "thalweg::cli",
    "thalweg::client",
    "thalweg::cluster",
    "thalweg::config",
    "thalweg::metadata",
    "thalweg::protocol",
    "thalweg::runtime",
    "thalweg::server",
    "thalweg::shard",
    "thalweg::storage",
];

/// Every logger's level; `root` stands for those without one of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loggers {
    pub root: Level,
    pub own: BTreeMap<String, Level>,
}

impl Default for Loggers {
    fn default() -> Loggers {
        Loggers { root: Level::Info, own: BTreeMap::new() }
    }
}

/// The levels of this process, and what makes them act.
static CURRENT: Mutex<Option<Loggers>> = Mutex::new(None);
static APPLY: OnceLock<Apply> = OnceLock::new();

type Apply = Box<dyn Fn(&Loggers) + Send + Sync>;

/// The levels of this process.
pub fn current() -> Loggers {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}

/// Makes `loggers` the levels of this process.
pub fn replace(loggers: Loggers) {
    if let Some(apply) = APPLY.get() {
        apply(&loggers);
    }
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(loggers);
}

/// Sets the first levels and what is to happen when they change; the first caller's `apply` stays.
pub fn install(loggers: Loggers, apply: impl Fn(&Loggers) + Send + Sync + 'static) {
    let _already_set = APPLY.set(Box::new(apply));
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(loggers);
}

impl Loggers {
    /// Reads a filter such as `info,thalweg::storage=debug`. Levels of targets that are none of ours, and
    /// what is no level, are left out.
    pub fn from_directives(text: &str) -> Loggers {
        let mut loggers = Loggers::default();
        for part in text.split(',') {
            let (name, word) = part.split_once('=').unwrap_or((ROOT, part));
            let word = word.trim().to_ascii_lowercase();
            let Some(level) = Level::ALL.into_iter().find(|level| level.directive() == word) else {
                continue;
            };
            match name.trim() {
                ROOT | "thalweg" => loggers.root = level,
                name if TARGETS.contains(&name) => drop(loggers.own.insert(name.to_owned(), level)),
                _ => {}
            }
        }
        loggers
    }

    /// Every logger with the level that holds for it, `root` among them, in the order of names.
    pub fn levels(&self) -> BTreeMap<String, Level> {
        let level = |name: &str| self.own.get(name).copied().unwrap_or(self.root);
        let mut levels: BTreeMap<String, Level> =
            TARGETS.iter().map(|name| ((*name).to_owned(), level(name))).collect();
        levels.insert(ROOT.to_owned(), self.root);
        levels
    }

    /// The levels as a tracing filter's text, such as `info,thalweg::storage=debug`.
    pub fn directives(&self) -> String {
        let mut text = self.root.directive().to_owned();
        for (name, level) in &self.own {
            text.push_str(&format!(",{name}={}", level.directive()));
        }
        text
    }

    /// The loggers after `changes` to the resource named `node`; the caller has checked that no key comes
    /// twice and that no value but a deletion's is null.
    ///
    /// # Errors
    /// INVALID_REQUEST or INVALID_CONFIG with Kafka's sentence.
    pub fn changed(&self, node_id: i32, node: &str, changes: &[Change]) -> Result<Loggers, ConfigError> {
        let id: i32 = node
            .parse()
            .map_err(|_| ConfigError::request(format!("Node id must be an integer, but it is: {node}")))?;
        if id != node_id {
            return Err(ConfigError::request(format!(
                "Unexpected node id. Expected {node_id}, but received {id}"
            )));
        }
        let mut changed = self.clone();
        for change in changes {
            changed.change(change)?;
        }
        Ok(changed)
    }

    fn change(&mut self, change: &Change) -> Result<(), ConfigError> {
        let name = change.name.as_str();
        let refused = |what: String| {
            Err(ConfigError::request(format!("{what} is not allowed for the BROKER_LOGGER resource")))
        };
        let op = match Op::from_wire(change.op) {
            Some(op @ (Op::Set | Op::Delete)) => op,
            Some(op @ (Op::Append | Op::Subtract)) => return refused(format!("{} operation", op.name())),
            None => return Err(ConfigError::stumble()),
        };
        if name != ROOT && !TARGETS.contains(&name) {
            return Err(ConfigError::config(format!("Logger {name} does not exist!")));
        }
        if op == Op::Delete {
            if name == ROOT {
                return Err(ConfigError::request("Removing the log level of the root logger is not allowed"));
            }
            self.own.remove(name);
            return Ok(());
        }
        let text = change.value.as_deref().unwrap_or_default();
        let level = Level::from_name(text).ok_or_else(|| {
            ConfigError::config(format!(
                "Cannot set the log level of {name} to {text} as it is not a supported log level. Valid log \
                 levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
            ))
        })?;
        if name == ROOT {
            self.root = level;
        } else {
            self.own.insert(name.to_owned(), level);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, level: &str) -> Change {
        Change { name: name.to_owned(), op: Op::Set as i8, value: Some(level.to_owned()) }
    }

    #[test]
    fn levels_change_and_come_out_as_a_filter() {
        let loggers = Loggers::default();
        let loggers = loggers.changed(1, "1", &[set("thalweg::storage", "DEBUG")]).expect("a logger");
        assert_eq!(loggers.directives(), "info,thalweg::storage=debug");
        assert_eq!(loggers.levels()["thalweg::api"], Level::Info);
        let loggers = loggers.changed(1, "1", &[set(ROOT, "FATAL")]).expect("root");
        assert_eq!(loggers.directives(), "off,thalweg::storage=debug");
        assert_eq!(Loggers::from_directives(&loggers.directives()), loggers);
        let delete = Change { name: "thalweg::storage".into(), op: Op::Delete as i8, value: None };
        assert_eq!(loggers.changed(1, "1", &[delete]).expect("known").directives(), "off");
    }

    #[test]
    fn refuses_in_kafkas_words() {
        let refused = |node: &str, change: Change| {
            Loggers::default().changed(1, node, &[change]).expect_err("refused").message
        };
        assert_eq!(refused("1", set("nobody", "INFO")), "Logger nobody does not exist!");
        assert_eq!(refused("2", set(ROOT, "INFO")), "Unexpected node id. Expected 1, but received 2");
        assert!(refused("1", set(ROOT, "LOUD")).starts_with("Cannot set the log level of root to LOUD"));
        let delete = Change { name: ROOT.into(), op: Op::Delete as i8, value: None };
        assert_eq!(refused("1", delete), "Removing the log level of the root logger is not allowed");
        let append = Change { name: ROOT.into(), op: Op::Append as i8, value: Some("INFO".into()) };
        assert_eq!(refused("1", append), "APPEND operation is not allowed for the BROKER_LOGGER resource");
    }
}
