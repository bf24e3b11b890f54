//! Subscription by regular expression: which topics an expression names.
//!
//! Expressions are RE2's as RE2/J 1.8 reads them, which Apache Kafka uses, and must match a whole name.
//! [`re2`] reads one and writes it anew for the `regex` crate, which then decides in time linear in the
//! name. A topic's name is ASCII, so an expression is reduced to its effect on ASCII names: a letter beyond
//! ASCII matches nothing. What RE2/J refuses is refused in its words; beyond that, what passes a limit below.

mod classes;
mod letters;
mod re2;
#[cfg(test)]
mod tests;

use std::fmt;

use ::regex::bytes::{Regex, RegexBuilder};

/// The longest expression taken, in bytes. Kafka has no such limit.
pub const PATTERN_BYTES_MAX: usize = 16 * 1024;
/// How deep groups and repetitions may stand in one another. Kafka has no such limit.
pub const NESTING_MAX: usize = 100;
/// The most memory a compiled expression takes, in bytes; it bounds the time of a match too, to some 25 ms for
/// the worst expression and the longest name. Kafka has no such limit.
pub const COMPILED_BYTES_MAX: usize = 1024 * 1024;
/// The most memory that matching keeps for speed, in bytes per expression and thread.
pub const MATCHING_BYTES_MAX: usize = 256 * 1024;

/// A compiled expression that is matched against whole topic names.
#[derive(Clone, Debug)]
pub struct TopicRegex {
    compiled: Regex,
}

/// Why an expression is refused; its text goes to the client with INVALID_REGULAR_EXPRESSION.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegexRefused {
    message: String,
}

impl RegexRefused {
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for RegexRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RegexRefused {}

impl TopicRegex {
    /// Whether the whole of `topic` matches. A name with letters beyond ASCII, which no topic has, does not.
    pub fn matches(&self, topic: &str) -> bool {
        topic.is_ascii() && self.compiled.is_match(topic.as_bytes())
    }
}

/// What became of an expression that a client sent.
pub type Compiled = Result<TopicRegex, RegexRefused>;

/// Compiles `pattern`, or says why not in the words that Kafka sends to the client. The worst that the limits let
/// pass takes some 11 ms, a list of two hundred names 3 ms: it is compiled beside the core.
pub fn compile(pattern: &str) -> Compiled {
    if pattern.len() > PATTERN_BYTES_MAX {
        let message = format!(
            "SubscribedTopicRegex of {} bytes is not a valid regular expression: longer than {PATTERN_BYTES_MAX} bytes.",
            pattern.len()
        );
        return Err(RegexRefused { message });
    }
    let refuse = |why: &str| RegexRefused {
        message: format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}."),
    };
    let translated = re2::translate(pattern).map_err(refuse)?;
    RegexBuilder::new(&format!(r"\A(?:{translated})\z"))
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(MATCHING_BYTES_MAX)
        // A group with a branch and a repetition in it is four of the crate's levels.
        .nest_limit(4 * NESTING_MAX as u32 + 16)
        .build()
        .map(|compiled| TopicRegex { compiled })
        .map_err(|error| {
            debug_assert!(matches!(error, ::regex::Error::CompiledTooBig(_)), "{pattern}: {error}");
            refuse("expression is too large")
        })
}
