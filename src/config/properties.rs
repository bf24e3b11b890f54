//! Where static configuration comes from: a Java .properties file, `THALWEG_KEY_NAME` variables, `-o`.
//!
//! The later source wins: file, then environment, then `-o`. Values keep the blanks at their end, as Java
//! keeps them; parsing a value trims it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::error::ConfigError;
use super::keys;
use super::value::java_trim;

/// What begins the name of an environment variable that sets a key.
pub const ENVIRONMENT_PREFIX: &str = "THALWEG_";

/// Keys and values as they were written, the later source over the earlier.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Properties {
    pub values: BTreeMap<String, String>,
    /// Whether a file was read: without one the defaults are those of a single node.
    pub from_file: bool,
}

impl Properties {
    /// Reads Java's .properties format: `key=value`, `key: value` or `key value` a line, `#` and `!`
    /// comments, a backslash at the end of a line to go on, and `\t \n \f \r \uXXXX` escapes.
    ///
    /// # Errors
    /// INVALID_CONFIG for a `\u` that four hexadecimal digits do not follow.
    pub fn parse(text: &str) -> Result<Properties, ConfigError> {
        let mut values = BTreeMap::new();
        for line in logical_lines(text) {
            let (key, value) = split_line(&line);
            values.insert(unescape(key)?, unescape(value)?);
        }
        Ok(Properties { values, from_file: true })
    }

    /// Reads a file. Bytes that are no UTF-8 are taken as Latin-1, which Java writes.
    ///
    /// # Errors
    /// The file's own error, or InvalidData with the sentence of [`Properties::parse`].
    pub fn read(path: &Path) -> io::Result<Properties> {
        let bytes = std::fs::read(path)?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => error.into_bytes().iter().map(|byte| char::from(*byte)).collect(),
        };
        Properties::parse(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Puts `THALWEG_LOG_RETENTION_MS=1000` and the like over what is there. An underscore stands for a
    /// dot; `THALWEG_CORES` sets `thalweg.cores`, and so on for our own keys. Variables that name no key
    /// are left alone and given back.
    pub fn apply_environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
        let mut unknown = Vec::new();
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = name.to_ascii_lowercase().replace('_', ".");
            let own = format!("thalweg.{key}");
            if keys::THALWEG.contains(&own) {
                self.values.insert(own, value);
            } else if keys::THALWEG.contains(&key)
                || keys::BROKER.contains(&key)
                || key.starts_with("listener.name.")
            {
                self.values.insert(key, value);
            } else {
                unknown.push(variable);
            }
        }
        unknown
    }

    /// Puts one `key=value` of `-o` over what is there.
    ///
    /// # Errors
    /// INVALID_CONFIG when there is no `=` or no key.
    pub fn apply_override(&mut self, assignment: &str) -> Result<(), ConfigError> {
        match assignment.split_once('=') {
            Some((key, value)) if !java_trim(key).is_empty() => {
                self.values.insert(java_trim(key).to_owned(), java_trim(value).to_owned());
                Ok(())
            }
            _ => Err(ConfigError::config(format!(
                "-o {assignment} is not of the form key=value, such as -o num.partitions=3"
            ))),
        }
    }
}

/// Java's blanks inside a .properties line.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// The lines with their continuations joined, without blank lines and comments.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let text = text.replace("\r\n", "\n");
    let mut natural = text.split(['\n', '\r']);
    while let Some(line) = natural.next() {
        let line = line.trim_start_matches(is_blank);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while ends_with_open_backslash(&whole) {
            whole.pop();
            match natural.next() {
                Some(next) => whole.push_str(next.trim_start_matches(is_blank)),
                None => break,
            }
        }
        lines.push(whole);
    }
    lines
}

/// Whether an odd number of backslashes ends the line.
fn ends_with_open_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or blank that no backslash protects.
fn split_line(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if !escaped && (c == '=' || c == ':' || is_blank(c)) {
            let rest = line[at..].trim_start_matches(is_blank);
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start_matches(is_blank));
        }
        escaped = c == '\\' && !escaped;
    }
    (line, "")
}

fn unescape(text: &str) -> Result<String, ConfigError> {
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    let push = |units: &mut Vec<u16>, c: char| units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(&mut units, c);
            continue;
        }
        match chars.next() {
            Some('t') => units.push(0x09),
            Some('n') => units.push(0x0a),
            Some('f') => units.push(0x0c),
            Some('r') => units.push(0x0d),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = (digits.len() == 4).then(|| u16::from_str_radix(&digits, 16).ok()).flatten();
                units.push(unit.ok_or_else(|| {
                    ConfigError::config(format!("Malformed \\uxxxx encoding: \\u{digits}"))
                })?);
            }
            Some(other) => push(&mut units, other),
            None => {}
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        Properties::parse(text).expect("well-formed").values.into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn reads_every_separator_and_comment() {
        let text = "# a comment\n! another\n\n  a=1\nb: 2\nc 3\nd = 4 \ne\n\tf\t=\t6=7\r\ng:=8\n";
        assert_eq!(
            parsed(text),
            pairs(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4 "), ("e", ""), ("f", "6=7"), ("g", "=8")])
        );
    }

    #[test]
    fn joins_continued_lines_and_reads_escapes() {
        let text =
            "a=1,\\\n    2,\\\r\n    3\nkey\\ with\\=odd\\:name=v\nu=\\u00e9\\t|\nslash=c:\\\\x\\\\\nn=1\n";
        assert_eq!(
            parsed(text),
            pairs(&[
                ("a", "1,2,3"),
                ("key with=odd:name", "v"),
                ("n", "1"),
                ("slash", "c:\\x\\"),
                ("u", "é\t|")
            ])
        );
        assert!(Properties::parse("a=\\u12").is_err());
        assert!(Properties::parse("a=\\uzzzz").is_err());
        assert_eq!(parsed("a=b\\"), pairs(&[("a", "b")]));
    }

    #[test]
    fn later_sources_win() {
        let mut properties = Properties::parse("log.retention.ms=1\nnum.partitions=2\n").expect("good");
        let variables = [
            ("THALWEG_LOG_RETENTION_MS", "5"),
            ("THALWEG_CORES", "0"),
            ("THALWEG_NO_SUCH_KEY", "x"),
            ("PATH", "/bin"),
        ];
        let unknown =
            properties.apply_environment(variables.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        properties.apply_override("num.partitions=3").expect("well-formed");
        assert_eq!(
            properties.values.into_iter().collect::<Vec<_>>(),
            pairs(&[("log.retention.ms", "5"), ("num.partitions", "3"), ("thalweg.cores", "0")])
        );
        assert_eq!(unknown, ["THALWEG_NO_SUCH_KEY"]);
        assert!(Properties::default().apply_override("nonsense").is_err());
    }
}
