//! Expressions and names whose truth RE2/J told (`tests/apache-kafka/Patterns.java`), and hostile expressions.

use std::hint::black_box;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const TRUTH: &str = include_str!("fixtures/re2j-1.8.txt");

/// Undoes the escapes of the fixture: `\\` and `\uXXXX`, the latter in UTF-16 units.
fn unescape(text: &str) -> String {
    let mut units = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("\\u") {
            units.push(u16::from_str_radix(&after[..4], 16).expect("four digits"));
            rest = &after[4..];
        } else {
            units.push(c as u16);
            rest = &rest[if c == '\\' { 2 } else { 1 }..];
        }
    }
    String::from_utf16(&units).expect("whole letters")
}

/// The processor time for compiling, and for matching one name of the greatest length; unoptimised.
const PATIENCE: Duration = Duration::from_secs(1);

/// The processor time this thread has taken, which other work on the machine does not lengthen.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn every_answer_is_re2js() {
    let mut lines = TRUTH.lines();
    let names: Vec<String> = lines.next().expect("names").split('\t').skip(1).map(unescape).collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines {
        let (pattern, truth) = line.split_once('\t').expect("pattern and answer");
        let pattern = unescape(pattern);
        let answer = match compile(&pattern) {
            Ok(regex) => {
                let bits = names.iter().map(|name| if regex.matches(name) { '1' } else { '0' });
                format!("={}", bits.collect::<String>())
            }
            Err(refused) => {
                let start = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: ");
                let why = refused.message().strip_prefix(&start).and_then(|why| why.strip_suffix('.'));
                format!("!{}", why.expect("Kafka's sentence"))
            }
        };
        if answer != truth {
            wrong.push(format!("{pattern:?}\n  RE2/J {truth}\n  here  {answer}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 1700);
}

#[test]
fn the_empty_expression_names_no_topic() {
    let regex = compile("").expect("RE2 takes it");
    assert!(regex.matches("") && !regex.matches("a"));
}

#[test]
fn names_beyond_ascii_match_nothing() {
    assert!(!compile("(?s).*|é").expect("valid").matches("é"));
}

#[test]
fn what_passes_a_limit_is_refused() {
    let why = |pattern: &str| compile(pattern).expect_err("past a limit").message().to_string();
    let long = "a".repeat(PATTERN_BYTES_MAX + 1);
    assert!(why(&long).ends_with("longer than 16384 bytes."));
    assert!(why(&long).len() < 200);
    assert!(compile(&long[1..]).is_ok());
    let deep = |n: usize| "(".repeat(n) + "a" + &")".repeat(n);
    assert!(compile(&deep(NESTING_MAX - 1)).is_ok());
    assert!(why(&deep(NESTING_MAX)).ends_with("expression nests too deeply."));
    let branches = "(a|b".repeat(NESTING_MAX - 1) + &")*".repeat(NESTING_MAX - 1);
    assert!(compile(&branches).is_ok());
    assert!(why(&format!("a{}", "(?i)*".repeat(NESTING_MAX + 1))).ends_with("nests too deeply."));
    for large in
        ["(a{1000}){1000}", "((a{1000}){1000}){1000}", "(?:[a-z]{1000}){100}", "((a{100}){100}){100}"]
    {
        assert!(why(large).ends_with("expression is too large."), "{large}");
    }
}

/// Expressions that are slow, large or deep where a matcher or a parser is careless.
fn hostile() -> Vec<String> {
    let many = |text: &str| text.repeat(PATTERN_BYTES_MAX / text.len());
    let half = |text: &str| text.repeat(PATTERN_BYTES_MAX / 2 / text.len());
    vec![
        "(a*)*b".into(),
        "(a|a)*b".into(),
        "(a|aa)+$".into(),
        "(.*)*(.*)*(.*)*x".into(),
        "(?:a?){200}a{200}".into(),
        "(.*a){20}".into(),
        "[ab]*a[ab]{200}".into(),
        ".*a.{1000}|.*b.{1000}|.*c.{1000}".into(),
        "(?:(?:){1000}){1000}".into(),
        "((((\\b{1000}){1000}){1000}){1000}){1000}".into(),
        "(((([^\\x{0}-\\x{10FFFF}]{1000}){1000}){1000}){1000})".into(),
        "((a{0,1000}){0,1000}){0,1000}".into(),
        "(|a){1000}".into(),
        ".*".repeat(3000),
        "(a|b|ab)*".repeat(800),
        "(?:a?){1000}".repeat(5),
        "(?:a?){1000}".repeat(10),
        "(?:a?){1000}".repeat(15),
        many("{"),
        many("{1"),
        many("[["),
        many("[:"),
        format!("[{}", many("[:").split_at(2).1),
        many("("),
        many("a|"),
        many("|"),
        many("a*"),
        many("(?i)"),
        many("a(?i)*"),
        many("\\Q"),
        many("\\Qa\\E*"),
        many("\\p{Lu}"),
        many("[^\\n]"),
        many(".*"),
        many("(a)"),
        many("\u{1f600}"),
        format!("({})*", "a*".repeat(1000)),
        half("(?:") + &half(")"),
        "(".repeat(99) + &")*".repeat(99),
        "(".repeat(99) + "a" + &")+".repeat(99),
        "(".repeat(90) + "a" + &"){2}".repeat(90),
        "(".repeat(90) + "a|" + &"){0,2}b".repeat(90),
    ]
}

#[test]
fn hostile_expressions_take_little_time() {
    for pattern in hostile() {
        let shown: String = pattern.chars().take(30).collect();
        let start = cpu_time();
        let compiled = compile(&pattern);
        let compiling = cpu_time() - start;
        let mut matching = Duration::ZERO;
        for name in ["a", "ab", "x", "é", "a.b-"].map(|text| text.repeat(249 / text.len())) {
            let start = cpu_time();
            if let Ok(regex) = &compiled {
                black_box(regex.matches(&name));
            }
            matching = matching.max(cpu_time() - start);
        }
        println!("{shown}: {}, {compiling:?}, {matching:?}", compiled.is_ok());
        assert!(compiling < PATIENCE && matching < PATIENCE, "{shown}");
    }
}

/// Texts made of what means something to RE2.
fn expression() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a",
        "k",
        "S",
        "_",
        "-",
        ".",
        "*",
        "+",
        "?",
        "{",
        "}",
        "{2}",
        "{1,3}",
        "{1000}",
        "{0,1000}",
        ",",
        "|",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?m)",
        "(?s:",
        "(?P<n>",
        "[",
        "]",
        "[^",
        "[:alpha:]",
        "[:",
        ":]",
        "^",
        "$",
        "\\",
        "\\b",
        "\\B",
        "\\d",
        "\\W",
        "\\pN",
        "\\P{Lu}",
        "\\p{",
        "\\Q",
        "\\E",
        "\\x{61}",
        "\\x",
        "\\07",
        "&&",
        "--",
        "~~",
        "é",
        "ſ",
        "\u{212a}",
        "\u{1f600}",
        "\n",
        "\0",
        " ",
        "#",
        "(?x)",
    ];
    prop_oneof![
        vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat()),
        ".{0,60}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_expression_panics_or_takes_long(pattern in expression(), name in "[a-zA-Z0-9._-]{0,249}") {
        let start = cpu_time();
        match compile(&pattern) {
            Ok(regex) => _ = black_box(regex.matches(&name)),
            Err(refused) => prop_assert!(refused.message().contains("is not a valid regular expression: ")),
        }
        prop_assert!(cpu_time() - start < PATIENCE);
    }

    #[test]
    fn a_quoted_name_matches_itself_alone(name in "[a-zA-Z0-9._-]{1,249}", other in "[a-zA-Z0-9._-]{1,9}") {
        let regex = compile(&format!(r"\Q{name}\E")).expect("valid");
        prop_assert!(regex.matches(&name));
        prop_assert_eq!(regex.matches(&other), name == other);
        let changed = name.clone() + &other;
        prop_assert!(!regex.matches(&changed));
    }
}
