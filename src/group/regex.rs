//! Subscription by regular expression: RE2 syntax as RE2/J reads it, over whole topic names.

use std::fmt;

/// A compiled expression that is matched against whole topic names.
#[derive(Debug)]
pub struct TopicRegex {
    compiled: regex::bytes::Regex,
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
    /// Whether the whole of `topic` matches.
    pub fn matches(&self, topic: &str) -> bool {
        self.compiled.is_match(topic.as_bytes())
    }
}

/// Compiles `pattern`, or says why not in the words that Kafka sends to the client.
pub fn compile(_pattern: &str) -> Result<TopicRegex, RegexRefused> {
    todo!()
}
