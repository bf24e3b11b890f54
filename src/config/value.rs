//! One value: parsed by its key's type, checked, and written back as Kafka would write it.
//!
//! The sentences of the errors are those of Kafka's ConfigDef, because clients show them to people.

use std::fmt;

use super::error::ConfigError;
use super::keys::{Key, Type};

/// A value in its key's type. Passwords and class names are text.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

/// What a value must satisfy beyond its type.
#[derive(Clone, PartialEq, Debug)]
pub enum Check {
    /// `-`
    Any,
    /// `>= N`
    AtLeast(&'static str),
    /// `N to M`, both included
    Between(&'static str, &'static str),
    /// `one of a, b`
    OneOf(Vec<&'static str>),
    /// `each of a, b`: every element of a list
    EachOf(Vec<&'static str>),
    /// `any case of a, b`
    AnyCaseOf(Vec<&'static str>),
    /// `not empty`; null passes
    NotEmpty,
    /// `not null`
    NotNull,
    /// `1 to 9 or -1`
    GzipLevel,
    /// `voters`: `{id}@{host}:{port}` each
    Voters,
    /// `servers`: `{host}:{port}` each
    Servers,
    /// `throttled replicas`: `*` or `{partition}:{broker}` each
    ThrottledReplicas,
    /// `share offset reset`: earliest, latest or by_duration:{ISO 8601}
    ShareOffsetReset,
}

/// Parses and checks `text` for `key`: Kafka's `ConfigDef.parseValue`. Surrounding blanks do not count.
///
/// # Errors
/// INVALID_CONFIG with Kafka's sentence.
pub fn parse(key: &Key, text: &str) -> Result<Value, ConfigError> {
    let value = parse_type(key, text)?;
    key.check.ensure(key.name, &value)?;
    Ok(value)
}

/// Parses without the key's check, as Kafka does where it only needs to show a value.
///
/// # Errors
/// INVALID_CONFIG with Kafka's sentence.
pub fn parse_type(key: &Key, text: &str) -> Result<Value, ConfigError> {
    let trimmed = java_trim(text);
    let not_a_number =
        || ConfigError::value(key.name, text, format_args!("Not a number of type {}", key.kind));
    Ok(match key.kind {
        Type::Boolean if trimmed.eq_ignore_ascii_case("true") => Value::Boolean(true),
        Type::Boolean if trimmed.eq_ignore_ascii_case("false") => Value::Boolean(false),
        Type::Boolean => {
            return Err(ConfigError::value(key.name, text, "Expected value to be either true or false"));
        }
        Type::Int => Value::Integer(trimmed.parse::<i32>().map_err(|_| not_a_number())?.into()),
        Type::Short => Value::Integer(trimmed.parse::<i16>().map_err(|_| not_a_number())?.into()),
        Type::Long => Value::Integer(trimmed.parse::<i64>().map_err(|_| not_a_number())?),
        Type::Double => Value::Double(java_double(trimmed).ok_or_else(not_a_number)?),
        Type::String | Type::Password => Value::Text(trimmed.to_owned()),
        Type::List => Value::List(split_list(trimmed)),
        // Kafka loads the class. We have none, so only the names of Kafka's own, which stand for its
        // built-in behaviour, are known.
        Type::Class if trimmed.starts_with("org.apache.kafka.") => Value::Text(trimmed.to_owned()),
        Type::Class => {
            return Err(ConfigError::value(key.name, text, format_args!("Class {text} could not be found.")));
        }
    })
}

impl Check {
    /// Reads the notation of the key tables.
    pub(super) fn read(text: &'static str) -> Option<Check> {
        let names = |list: &'static str| list.split(", ").collect::<Vec<_>>();
        Some(match text {
            "-" => Check::Any,
            "not empty" => Check::NotEmpty,
            "not null" => Check::NotNull,
            "1 to 9 or -1" => Check::GzipLevel,
            "voters" => Check::Voters,
            "servers" => Check::Servers,
            "throttled replicas" => Check::ThrottledReplicas,
            "share offset reset" => Check::ShareOffsetReset,
            _ => {
                if let Some(least) = text.strip_prefix(">= ") {
                    least.parse::<f64>().ok()?;
                    Check::AtLeast(least)
                } else if let Some(list) = text.strip_prefix("one of ") {
                    Check::OneOf(names(list))
                } else if let Some(list) = text.strip_prefix("each of ") {
                    Check::EachOf(names(list))
                } else if let Some(list) = text.strip_prefix("any case of ") {
                    Check::AnyCaseOf(names(list))
                } else {
                    let (least, most) = text.split_once(" to ")?;
                    least.parse::<f64>().ok()?;
                    most.parse::<f64>().ok()?;
                    Check::Between(least, most)
                }
            }
        })
    }

    /// Kafka's `Validator.ensureValid`.
    fn ensure(&self, name: &str, value: &Value) -> Result<(), ConfigError> {
        match self {
            Check::Any | Check::NotNull => Ok(()),
            Check::AtLeast(least) => at_least(name, value, least),
            Check::Between(least, most) => {
                at_least(name, value, least)?;
                if number(value) > bound(most) {
                    return Err(ConfigError::value(
                        name,
                        value,
                        format_args!("Value must be no more than {most}"),
                    ));
                }
                Ok(())
            }
            Check::GzipLevel => match value {
                Value::Integer(-1 | 1..=9) => Ok(()),
                _ => Err(ConfigError::value(name, value, "Value must be between 1 and 9 or equal to -1")),
            },
            Check::OneOf(names) => one_of(name, &value.to_string(), names),
            Check::EachOf(names) => list(value).iter().try_for_each(|text| one_of(name, text, names)),
            Check::AnyCaseOf(names) => {
                let text = value.to_string();
                if names.iter().any(|known| known.eq_ignore_ascii_case(&text)) {
                    return Ok(());
                }
                let known: Vec<String> = names.iter().map(|known| known.to_uppercase()).collect();
                Err(ConfigError::value(
                    name,
                    value,
                    format_args!("String must be one of (case insensitive): {}", known.join(", ")),
                ))
            }
            Check::NotEmpty if value.to_string().is_empty() => {
                Err(ConfigError::value(name, value, "String must be non-empty"))
            }
            Check::NotEmpty => Ok(()),
            Check::Voters => list(value).iter().try_for_each(|entry| voter(entry).map(|_| ())),
            Check::Servers => list(value).iter().try_for_each(|entry| bootstrap_server(entry)),
            Check::ThrottledReplicas => throttled_replicas(name, list(value)),
            Check::ShareOffsetReset => {
                let text = value.to_string();
                if matches!(text.to_ascii_lowercase().as_str(), "earliest" | "latest")
                    || text
                        .get(..12)
                        .filter(|prefix| prefix.eq_ignore_ascii_case("by_duration:"))
                        .is_some_and(|_| is_duration(&text[12..]))
                {
                    return Ok(());
                }
                Err(ConfigError::value(
                    name,
                    &text,
                    format_args!(
                        "Invalid value `{text}` for configuration {name}. The value must be either \
                         'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."
                    ),
                ))
            }
        }
    }
}

fn at_least(name: &str, value: &Value, least: &str) -> Result<(), ConfigError> {
    if number(value) < bound(least) {
        return Err(ConfigError::value(name, value, format_args!("Value must be at least {least}")));
    }
    Ok(())
}

fn one_of(name: &str, text: &str, names: &[&str]) -> Result<(), ConfigError> {
    if names.contains(&text) {
        return Ok(());
    }
    Err(ConfigError::value(name, text, format_args!("String must be one of: {}", names.join(", "))))
}

/// Kafka compares numbers as doubles.
fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Double(number) => *number,
        Value::Boolean(_) | Value::Text(_) | Value::List(_) => f64::NAN,
    }
}

fn bound(text: &str) -> f64 {
    text.parse().expect("the tables' bounds are numbers")
}

fn list(value: &Value) -> &[String] {
    match value {
        Value::List(elements) => elements,
        _ => &[],
    }
}

/// A voter of `controller.quorum.voters`: its id and address.
///
/// # Errors
/// INVALID_CONFIG with Kafka's sentence.
pub(super) fn voter(entry: &str) -> Result<(i32, String), ConfigError> {
    const FORM: &str = "Each entry should be in the form `{id}@{host}:{port}`.";
    let (id, address) = entry.split_once('@').filter(|(_, rest)| !rest.contains('@')).ok_or_else(|| {
        ConfigError::config(format!("Invalid configuration value for controller.quorum.voters. {FORM}"))
    })?;
    let id = id.trim().parse().map_err(|_| {
        ConfigError::config(format!(
            "Failed to parse voter ID as an integer from {id} in controller.quorum.voters. {FORM}"
        ))
    })?;
    if host_and_port(address).is_none() {
        return Err(ConfigError::config(format!(
            "Failed to parse host port from entry {entry} for the configuration controller.quorum.voters. {FORM}"
        )));
    }
    Ok((id, address.to_owned()))
}

fn bootstrap_server(entry: &str) -> Result<(), ConfigError> {
    if host_and_port(entry).is_some() {
        return Ok(());
    }
    Err(ConfigError::config(format!(
        "Failed to parse host port from entry {entry} for the configuration \
         controller.quorum.bootstrap.servers. Each entry should be in the form `{{host}}:{{port}}`."
    )))
}

/// Splits `host:port`, where an IPv6 host stands in brackets.
pub(super) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if host.is_empty() || !host.chars().all(legal) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

fn throttled_replicas(name: &str, replicas: &[String]) -> Result<(), ConfigError> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let pair = |text: &str| {
        text.is_empty() || text.split_once(':').is_some_and(|(part, broker)| digits(part) && digits(broker))
    };
    let trimmed: Vec<&str> = replicas.iter().map(|text| java_trim(text)).collect();
    if trimmed.iter().all(|text| pair(text)) || trimmed.concat() == "*" {
        return Ok(());
    }
    // Kafka puts the list as Java prints it.
    Err(ConfigError::value(
        name,
        format_args!("[{}]", replicas.join(", ")),
        format_args!(
            "{name} must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        ),
    ))
}

/// Whether `text` is a duration that Java's `Duration.parse` takes and that is not negative.
fn is_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix('P') else { return false };
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return false,
        None => (rest, ""),
    };
    let whole = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !days.is_empty() && !days.strip_suffix('D').is_some_and(whole) {
        return false;
    }
    let mut left = time;
    for unit in ['H', 'M', 'S'] {
        if let Some((number, after)) = left.split_once(unit) {
            let (integer, fraction) = number.split_once('.').unwrap_or((number, "0"));
            let fraction_fits = whole(fraction) && fraction.len() <= 9;
            if !whole(integer) || !fraction_fits || (unit != 'S' && number.contains('.')) {
                return false;
            }
            left = after;
        }
    }
    left.is_empty() && !rest.is_empty()
}

/// Splits at commas with the blanks around them, as Kafka splits a LIST. An empty text is an empty list.
fn split_list(trimmed: &str) -> Vec<String> {
    if trimmed.is_empty() {
        return Vec::new();
    }
    trimmed.split(',').map(|element| element.trim_matches(is_java_space).to_owned()).collect()
}

/// What Java's `\s` matches.
fn is_java_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Java's `String.trim`: everything up to the blank, control characters too.
pub(super) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Java's `Double.parseDouble`.
fn java_double(text: &str) -> Option<f64> {
    match text {
        "NaN" | "+NaN" | "-NaN" => return Some(f64::NAN),
        "Infinity" | "+Infinity" => return Some(f64::INFINITY),
        "-Infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let text = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    // Rust also reads "inf" and "nan", which Java does not.
    if text.bytes().any(|b| b.is_ascii_alphabetic() && b != b'e' && b != b'E') {
        return None;
    }
    text.parse().ok()
}

impl fmt::Display for Value {
    /// As Kafka's `ConfigDef.convertToString` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Double(value) => f.write_str(&java_double_text(*value)),
            Value::Text(text) => f.write_str(text),
            Value::List(elements) => f.write_str(&elements.join(",")),
        }
    }
}

/// Java's `Double.toString`: plain between 0.001 and 10 million, else one digit, the fraction and `E`.
fn java_double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        let text = format!("{value}");
        return if text.contains('.') { text } else { text + ".0" };
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

impl fmt::Display for Type {
    /// Kafka's name for the type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Type::Boolean => "BOOLEAN",
            Type::String => "STRING",
            Type::Int => "INT",
            Type::Short => "SHORT",
            Type::Long => "LONG",
            Type::Double => "DOUBLE",
            Type::List => "LIST",
            Type::Class => "CLASS",
            Type::Password => "PASSWORD",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    fn topic(name: &str, text: &str) -> Result<String, String> {
        let key = keys::TOPIC.get(name).expect("a topic key");
        parse(key, text).map(|value| value.to_string()).map_err(|error| error.message)
    }

    #[test]
    fn values_come_back_as_java_writes_them() {
        assert_eq!(topic("min.cleanable.dirty.ratio", " 0.50 "), Ok("0.5".into()));
        assert_eq!(topic("min.cleanable.dirty.ratio", "1"), Ok("1.0".into()));
        assert_eq!(topic("cleanup.policy", "compact , delete"), Ok("compact,delete".into()));
        assert_eq!(topic("preallocate", "TRUE"), Ok("true".into()));
        assert_eq!(java_double_text(f64::MAX), "1.7976931348623157E308");
        assert_eq!(java_double_text(1e7), "1.0E7");
        assert_eq!(java_double_text(12345.678), "12345.678");
        assert_eq!(java_double_text(0.0001), "1.0E-4");
    }

    #[test]
    fn wrong_values_are_refused_in_kafkas_words() {
        let refused = |name: &str, text: &str| topic(name, text).expect_err("a wrong value");
        assert_eq!(
            refused("retention.ms", "-2"),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1"
        );
        assert_eq!(
            refused("retention.ms", "x"),
            "Invalid value x for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            refused("segment.bytes", "99999999999"),
            "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT"
        );
        assert_eq!(
            refused("cleanup.policy", "delete,foo"),
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete"
        );
        assert_eq!(
            refused("preallocate", "yes"),
            "Invalid value yes for configuration preallocate: Expected value to be either true or false"
        );
        assert_eq!(
            refused("compression.gzip.level", "0"),
            "Invalid value 0 for configuration compression.gzip.level: \
             Value must be between 1 and 9 or equal to -1"
        );
        assert_eq!(
            refused("min.cleanable.dirty.ratio", "2"),
            "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"
        );
        assert_eq!(
            refused("leader.replication.throttled.replicas", "1:2,x"),
            "Invalid value [1:2, x] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the \
             following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        );
    }

    #[test]
    fn every_default_passes_its_own_check() {
        let tables = [
            &keys::BROKER,
            &keys::BROKER_DYNAMIC_ONLY,
            &keys::TOPIC,
            &keys::GROUP,
            &keys::CLIENT_METRICS,
            &keys::THALWEG,
        ];
        for key in tables.iter().flat_map(|table| table.iter()) {
            if let Some(text) = key.default_text() {
                let value = parse(key, text).unwrap_or_else(|error| panic!("{}: {error}", key.name));
                assert_eq!(value.to_string(), text, "{}", key.name);
            }
        }
    }

    #[test]
    fn durations_are_those_java_reads() {
        for good in ["PT10S", "P2D", "P2DT3H4M5.5S", "pt1h", "PT0.000000001S"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in ["", "P", "10s", "PT", "PT-1S", "P1Y", "PT1.5H", "PT1S1H"] {
            assert!(!is_duration(bad), "{bad}");
        }
    }
}
