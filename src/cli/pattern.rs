//! Topics picked by name or by pattern.
//!
//! A topic's name has only letters, digits, `.`, `_` and `-`. So an argument made of these is a name, and
//! one with any other character is a regular expression for the whole name, as Kafka's own tools take it:
//! `orders.v1` is one topic, `'orders.*'` every topic that begins with `orders`. A lone `*` is all.
//! A pattern picks a topic that begins with `__` only if it begins with `__` itself.

use regex_lite::Regex;

use super::problem::Problem;
use crate::client::cluster::Topic;

#[derive(Clone, Debug)]
pub enum Selector {
    Name(String),
    Pattern { text: String, regex: Regex },
}

impl Selector {
    pub fn parse(text: &str) -> Result<Selector, String> {
        let is_name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !text.is_empty() && text.chars().all(is_name_character) {
            return Ok(Selector::Name(text.to_owned()));
        }
        let expression = if text == "*" { ".*" } else { text };
        let regex = Regex::new(&format!("^(?:{expression})$")).map_err(|error| {
            format!("'{text}' is no regular expression ({error}); 'orders.*' picks what begins with orders")
        })?;
        Ok(Selector::Pattern { text: text.to_owned(), regex })
    }

    fn matches(&self, topic: &Topic) -> bool {
        match self {
            Selector::Name(name) => *name == topic.name,
            Selector::Pattern { text, regex } => {
                let is_hidden = topic.is_internal || topic.name.starts_with("__");
                let asks_hidden = text.trim_start_matches(['^', '(']).starts_with("__");
                regex.is_match(&topic.name) && (asks_hidden || !is_hidden)
            }
        }
    }

    /// Whether it picks this name, of whatever kind. The very text of a pattern is picked too: groups may
    /// have any character in their names.
    pub fn picks(&self, name: &str) -> bool {
        match self {
            Selector::Name(own) => own == name,
            Selector::Pattern { text, regex } => text == name || regex.is_match(name),
        }
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        match self {
            Selector::Name(text) | Selector::Pattern { text, .. } => text,
        }
    }

    /// The name, or `None` of a pattern.
    pub fn name(&self) -> Option<&str> {
        match self {
            Selector::Name(name) => Some(name),
            Selector::Pattern { .. } => None,
        }
    }
}

/// The topics that any of `selectors` picks, each once, in the order of their names. A selector that picks
/// nothing is an error unless `may_miss`.
pub fn select<'a>(
    topics: &'a [Topic],
    selectors: &[Selector],
    may_miss: bool,
) -> Result<Vec<&'a Topic>, Problem> {
    let exists = |topic: &&Topic| {
        topic.error.is_none_or(|error| {
            !matches!(
                error,
                kafka_protocol::error::ResponseError::UnknownTopicOrPartition
                    | kafka_protocol::error::ResponseError::InvalidTopicException
            )
        })
    };
    let there: Vec<&Topic> = topics.iter().filter(exists).collect();
    for selector in selectors.iter().filter(|_| !may_miss) {
        if !there.iter().any(|topic| selector.matches(topic)) {
            return Err(missing(selector));
        }
    }
    Ok(there.into_iter().filter(|topic| selectors.iter().any(|selector| selector.matches(topic))).collect())
}

fn missing(selector: &Selector) -> Problem {
    match selector {
        Selector::Name(name) => Problem::new(format!("there is no topic {name}")).mend(format!(
            "'thalweg topic list' shows what there is, 'thalweg topic create {name}' makes it"
        )),
        Selector::Pattern { text, .. } => Problem::new(format!("no topic matches '{text}'")).mend(
            "'thalweg topic list' shows what there is; a pattern is a regular expression for the whole name",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TopicId;

    fn topics(names: &[&str]) -> Vec<Topic> {
        let topic = |name: &&str| Topic {
            name: (*name).to_owned(),
            id: TopicId::ZERO,
            is_internal: false,
            error: None,
            partitions: Vec::new(),
        };
        names.iter().map(topic).collect()
    }

    fn picked(selectors: &[&str]) -> Vec<String> {
        let all = topics(&["__offsets", "orders", "orders-eu", "orders.v1", "ordersXv1", "users"]);
        let selectors: Vec<Selector> = selectors.iter().map(|text| Selector::parse(text).unwrap()).collect();
        select(&all, &selectors, true).unwrap().iter().map(|topic| topic.name.clone()).collect()
    }

    #[test]
    fn a_name_picks_itself_alone() {
        assert_eq!(picked(&["orders"]), ["orders"]);
        assert_eq!(picked(&["orders.v1"]), ["orders.v1"]);
        assert_eq!(picked(&["__offsets"]), ["__offsets"]);
    }

    #[test]
    fn a_pattern_is_for_the_whole_name() {
        assert_eq!(picked(&["orders.*"]), ["orders", "orders-eu", "orders.v1", "ordersXv1"]);
        assert_eq!(picked(&["orders|users"]), ["orders", "users"]);
        assert_eq!(picked(&[r"orders\..*"]), ["orders.v1"]);
        assert_eq!(picked(&["rders.*"]), [""; 0]);
    }

    #[test]
    fn hidden_topics_are_picked_only_when_asked_for() {
        assert_eq!(picked(&["*"]), picked(&[".*"]));
        assert!(!picked(&["*"]).contains(&"__offsets".to_owned()));
        assert_eq!(picked(&["__.*"]), ["__offsets"]);
    }

    #[test]
    fn a_topic_is_picked_once() {
        assert_eq!(picked(&["orders", "ord.*s"]), ["orders"]);
    }

    #[test]
    fn what_picks_nothing_is_an_error() {
        let all = topics(&["a"]);
        for text in ["b", "b.*"] {
            assert!(select(&all, &[Selector::parse(text).unwrap()], false).is_err());
        }
        assert!(Selector::parse("a[").is_err());
    }
}
