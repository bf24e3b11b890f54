//! The resource BROKER_LOGGER: our tracing targets with Kafka's names for their levels.

use std::collections::BTreeMap;

/// Kafka's level names, the quietest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Every logger with its level; `root` stands for those without one of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loggers {
    pub root: Level,
    pub own: BTreeMap<String, Level>,
}
