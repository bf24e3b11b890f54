//! Holds the sources to the rules that a compiler does not know: imports point only down the floors of
//! `src/lib.rs`, `unsafe` stands only in the files named here and under a SAFETY line, every file says
//! with `//!` what it is, no path carries a name that says nothing, and no row of the dispatch table is
//! without a case in the oracle.
//!
//! Each rule is a function from text to complaints, and the tests at the end feed it what it must flag.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/` and their floors. A room imports itself and what lies on lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("main", 8),
    ("cli", 8),
    ("server", 7),
    ("console", 7),
    ("api", 6),
    ("shard", 5),
    ("group", 4),
    ("transaction", 4),
    ("cluster", 4),
    ("broker", 3),
    ("metadata", 3),
    ("storage", 2),
    ("client", 2),
    ("protocol", 1),
    ("runtime", 1),
    ("security", 1),
    ("types", 0),
    ("config", 0),
    ("metrics", 0),
    ("clock", 0),
];

/// `main.rs` does nothing but call the commands, so these two share a floor and may meet.
const MAY_MEET: &[(&str, &str)] = &[("main", "cli")];

const UNSAFE_FILES: &[&str] = &[
    "src/runtime/ring/mod.rs",
    "src/runtime/ring/buffers.rs",
    "src/runtime/ring/ops.rs",
    "src/runtime/socket/mod.rs",
    "src/runtime/socket/listeners.rs",
    "src/runtime/pipes.rs",
    "src/runtime/priority.rs",
    "src/runtime/shards.rs",
    "src/storage/file.rs",
];

const BANNED_NAMES: &[&str] =
    &["manager", "managers", "helper", "helpers", "util", "utils", "common", "misc"];

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut complaints = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for path in rust_files(&root.join(folder)) {
            let text = fs::read_to_string(&path).expect("a listed file can be read");
            let path = path.strip_prefix(root).expect("below the root").display().to_string();
            complaints.extend(missing_description(&path, &text));
            complaints.extend(banned_name(&path));
            if folder == "src" {
                complaints.extend(misdirected_imports(&path, &text));
                complaints.extend(misplaced_unsafe(&path, &text));
            }
        }
    }
    let table = fs::read_to_string(root.join("src/api/mod.rs")).expect("the dispatch table can be read");
    let oracle: Vec<(String, String)> = rust_files(&root.join("tests/oracle"))
        .iter()
        .map(|path| {
            let name = path.file_stem().expect("a listed file has a name").display().to_string();
            (name, fs::read_to_string(path).expect("a listed file can be read"))
        })
        .collect();
    complaints.extend(rows_without_case("src/api/mod.rs", &table, &oracle));
    let report: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert!(report.is_empty(), "\n{}\n", report.join("\n"));
}

#[derive(Debug, PartialEq)]
struct Complaint {
    path: String,
    /// 1 for the first line.
    line: usize,
    reason: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.reason)
    }
}

fn complaint(path: &str, line: usize, reason: impl Into<String>) -> Complaint {
    Complaint { path: path.to_string(), line, reason: reason.into() }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("a folder of the sources can be read").path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

// ---- the rules --------------------------------------------------------------------------------------

fn missing_description(path: &str, text: &str) -> Option<Complaint> {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    match first {
        Some(line) if line.starts_with("//! ") => None,
        _ => Some(complaint(path, 1, "does not begin with a `//!` that says what the file is")),
    }
}

fn banned_name(path: &str) -> Option<Complaint> {
    let word = path
        .split(|letter: char| !letter.is_alphanumeric())
        .find(|word| BANNED_NAMES.contains(&word.to_lowercase().as_str()))?;
    Some(complaint(path, 1, format!("`{word}` in a path says nothing")))
}

fn misdirected_imports(path: &str, text: &str) -> Vec<Complaint> {
    let modules = modules_of(path);
    let Some(own) = modules.first() else { return Vec::new() };
    let Some(own_floor) = floor_of(own) else {
        return vec![complaint(path, 1, format!("the room `{own}` is not in the table of floors"))];
    };
    let mut complaints = Vec::new();
    for (line, room) in rooms_named(&modules, &tokens(text)) {
        if room == *own || MAY_MEET.contains(&(own, &room)) {
            continue;
        }
        match floor_of(&room) {
            None => complaints.push(complaint(
                path,
                line,
                format!("names `{room}`, which is no room of the table of floors"),
            )),
            Some(floor) if floor > own_floor => complaints.push(complaint(
                path,
                line,
                format!("`{own}` (floor {own_floor}) points up at `{room}` (floor {floor})"),
            )),
            Some(floor) if floor == own_floor => complaints.push(complaint(
                path,
                line,
                format!("`{own}` points sideways at `{room}`, both on floor {floor}"),
            )),
            Some(_) => {}
        }
    }
    complaints
}

fn misplaced_unsafe(path: &str, text: &str) -> Vec<Complaint> {
    let tokens = tokens(text);
    let lines: Vec<&str> = text.lines().collect();
    let mut complaints = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "unsafe") {
        if !UNSAFE_FILES.contains(&path) {
            complaints.push(complaint(path, token.line, "`unsafe` outside the files listed for it"));
        } else if tokens.get(at + 1).is_some_and(|next| next.text == "{" || next.text == "impl")
            && !reason_above(&lines, token.line)
        {
            complaints.push(complaint(path, token.line, "`unsafe` without a `// SAFETY:` line above"));
        }
    }
    complaints
}

/// The rows of the dispatch table, `alone!(Metadata, ..)` and its like, for which the oracle has no file with `const API: &str = "Produce"`, or has one without cases, or one that its `main.rs` leaves out.
fn rows_without_case(path: &str, table: &str, oracle: &[(String, String)]) -> Vec<Complaint> {
    let main = oracle.iter().find(|(name, _)| name == "main").map_or("", |(_, text)| text);
    let compared = |api: &str| {
        oracle.iter().any(|(name, text)| {
            text.contains(&format!("const API: &str = \"{api}\";"))
                && (text.contains("every(") || text.contains("newest(") || text.contains("versions("))
                && main.contains(&format!("{name}::CASES"))
        })
    };
    let mut complaints = Vec::new();
    let mut rows = 0;
    for four in tokens(table).windows(4) {
        let row = ["ordered", "alone", "parked"].contains(&four[0].text.as_str()) && four[1].text == "!";
        let api = &four[3].text;
        if !row || !api.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            continue;
        }
        rows += 1;
        if !compared(api) {
            complaints.push(complaint(path, four[3].line, format!("`{api}` has no case in tests/oracle")));
        }
    }
    if rows == 0 {
        complaints.push(complaint(path, 1, "no row of a dispatch table was found"));
    }
    complaints
}

/// Whether the statement that contains this line stands under a comment with `SAFETY:`.
fn reason_above(lines: &[&str], line: usize) -> bool {
    let above = lines[..line].iter().rev().take(10);
    above.into_iter().any(|text| text.contains("SAFETY:"))
}

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The module path of a file of `src/`; empty for `lib.rs`, which is the map and names every room.
fn modules_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut modules: Vec<String> = inner.split('/').map(str::to_string).collect();
    if modules.last().is_some_and(|last| last == "mod" || last == "lib") {
        modules.pop();
    }
    modules
}

/// The rooms that a file names by `crate::`, by `thalweg::`, or by enough `super::` to leave its own room,
/// in `use` items and in any other path, each with its line.
fn rooms_named(modules: &[String], tokens: &[Token]) -> Vec<(usize, String)> {
    let mut rooms = Vec::new();
    let mut inline: Vec<usize> = Vec::new(); // brace depths at which inline modules opened
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let follows = |offset: usize, text: &str| tokens.get(at + offset).is_some_and(|t| t.text == text);
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
            }
            "mod" if follows(2, "{") => inline.push(depth),
            "crate" | "thalweg" if follows(1, "::") => rooms.extend(first_names(tokens, at + 2)),
            "super" if follows(1, "::") => {
                let mut climbed = 1;
                at += 2;
                while tokens.get(at).is_some_and(|t| t.text == "super") {
                    climbed += 1;
                    at += 2;
                }
                if climbed == modules.len() + inline.len() {
                    rooms.extend(first_names(tokens, at));
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    rooms
}

/// The first names of what stands at `at`: one name, or those of a group `{a::b, c::{d, e}, self}`.
fn first_names(tokens: &[Token], at: usize) -> Vec<(usize, String)> {
    let Some(first) = tokens.get(at) else { return Vec::new() };
    if first.text != "{" {
        return vec![(first.line, first.text.clone())];
    }
    let mut names = Vec::new();
    let mut depth = 0;
    let mut expected = false;
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                expected = depth == 1;
            }
            "}" => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            "," if depth == 1 => expected = true,
            name if expected && depth == 1 => {
                expected = false;
                if name != "self" {
                    names.push((token.line, name.to_string()));
                }
            }
            _ => {}
        }
    }
    names
}

// ---- reading Rust -----------------------------------------------------------------------------------

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// Words, `::` and single signs; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token> {
    let letters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < letters.len() {
        let began = at;
        let next = letters.get(at + 1).copied().unwrap_or(' ');
        match letters[at] {
            '/' if next == '/' => at = end_of_line(&letters, at),
            '/' if next == '*' => at = end_of_comment(&letters, at),
            '"' => at = end_of_string(&letters, at),
            'r' | 'b' | 'c' if raw_string(&letters, at).is_some() => {
                at = raw_string(&letters, at).expect("it was looked at in the guard");
            }
            '\'' => at = end_of_character(&letters, at),
            letter if letter.is_alphanumeric() || letter == '_' => {
                while at < letters.len() && (letters[at].is_alphanumeric() || letters[at] == '_') {
                    at += 1;
                }
                tokens.push(Token { text: letters[began..at].iter().collect(), line });
            }
            ':' if next == ':' => {
                at += 2;
                tokens.push(Token { text: "::".to_string(), line });
            }
            letter => {
                at += 1;
                if !letter.is_whitespace() {
                    tokens.push(Token { text: letter.to_string(), line });
                }
            }
        }
        line += letters[began..at.min(letters.len())].iter().filter(|letter| **letter == '\n').count();
    }
    tokens
}

fn end_of_line(letters: &[char], at: usize) -> usize {
    letters[at..].iter().position(|letter| *letter == '\n').map_or(letters.len(), |length| at + length)
}

fn end_of_comment(letters: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < letters.len() {
        match (letters[at], letters[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    letters.len()
}

fn end_of_string(letters: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < letters.len() && letters[at] != '"' {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of a raw string (`r"`, `br#"`, `cr##"`) that begins here, if one does.
fn raw_string(letters: &[char], at: usize) -> Option<usize> {
    let starts_word = at > 0 && (letters[at - 1].is_alphanumeric() || letters[at - 1] == '_');
    let r = if letters[at] == 'r' { at } else { at + 1 };
    if starts_word || letters.get(r) != Some(&'r') {
        return None;
    }
    let hashes = letters[r + 1..].iter().take_while(|letter| **letter == '#').count();
    if letters.get(r + 1 + hashes) != Some(&'"') {
        return None;
    }
    let mut end = r + 2 + hashes;
    while end < letters.len() {
        if letters[end] == '"'
            && letters[end + 1..].iter().take(hashes).filter(|l| **l == '#').count() == hashes
        {
            return Some(end + 1 + hashes);
        }
        end += 1;
    }
    Some(letters.len())
}

/// The end of a character literal, or of the tick alone where it begins a lifetime.
fn end_of_character(letters: &[char], tick: usize) -> usize {
    match letters.get(tick + 1) {
        Some('\\') => {
            let mut at = tick + 3;
            while at < letters.len() && letters[at] != '\'' {
                at += 1;
            }
            at + 1
        }
        Some(_) if letters.get(tick + 2) == Some(&'\'') => tick + 3,
        _ => tick + 1,
    }
}

// ---- what the rules must flag -----------------------------------------------------------------------

fn reasons(complaints: Vec<Complaint>) -> Vec<String> {
    complaints.into_iter().map(|complaint| format!("{}: {}", complaint.line, complaint.reason)).collect()
}

#[test]
fn flags_an_import_that_points_up() {
    let text = "//! A log.\nuse std::io;\nuse crate::api::errors;\n";
    let found = reasons(misdirected_imports("src/storage/log.rs", text));
    assert_eq!(found, ["3: `storage` (floor 2) points up at `api` (floor 6)"]);
}

#[test]
fn flags_an_import_that_points_sideways() {
    let text = "use crate::client::Connection;";
    let found = reasons(misdirected_imports("src/storage/log.rs", text));
    assert_eq!(found, ["1: `storage` points sideways at `client`, both on floor 2"]);
}

#[test]
fn flags_each_wrong_member_of_a_group() {
    let text = "use crate::{\n    types::{Offset, PartitionId},\n    broker::{self, waiters::{A, B}},\n    shard,\n};";
    let found = reasons(misdirected_imports("src/storage/log.rs", text));
    assert_eq!(
        found,
        [
            "3: `storage` (floor 2) points up at `broker` (floor 3)",
            "4: `storage` (floor 2) points up at `shard` (floor 5)"
        ]
    );
}

#[test]
fn flags_a_path_outside_a_use() {
    let text = "fn f() -> crate::server::Listener { todo!() }";
    assert_eq!(misdirected_imports("src/api/mod.rs", text).len(), 1);
    assert_eq!(misdirected_imports("src/cli/start.rs", "use thalweg::main;").len(), 1);
    assert_eq!(misdirected_imports("src/types.rs", "pub use crate::config::Key;").len(), 1);
    assert_eq!(
        misdirected_imports("src/runtime/ring.rs", "macro_rules! m { () => { $crate::storage::f() } }").len(),
        1
    );
}

#[test]
fn flags_super_that_leaves_the_room() {
    let text = "use super::super::broker::Partition;";
    assert_eq!(misdirected_imports("src/storage/log.rs", text).len(), 1);
    assert_eq!(misdirected_imports("src/storage/mod.rs", "use super::broker::Partition;").len(), 1);
    assert_eq!(misdirected_imports("src/types.rs", "use super::config::Key;").len(), 1);
    let nested =
        "mod tests {\n    use super::super::super::broker::Partition;\n}\nuse super::segment::Segment;";
    assert_eq!(reasons(misdirected_imports("src/storage/log.rs", nested)).len(), 1);
    let inside = "mod tests {\n    use super::super::segment::Segment;\n    use super::*;\n}";
    assert!(misdirected_imports("src/storage/log.rs", inside).is_empty());
}

#[test]
fn flags_a_room_that_the_table_does_not_know() {
    assert_eq!(misdirected_imports("src/plumbing/mod.rs", "").len(), 1);
    assert_eq!(misdirected_imports("src/api/mod.rs", "use crate::plumbing::Pipe;").len(), 1);
}

#[test]
fn takes_imports_that_point_down_or_stay_inside() {
    let text =
        "pub(crate) use crate::storage::Log;\nuse crate::{api::errors, types::Offset};\nuse super::errors;\n";
    assert!(misdirected_imports("src/api/produce.rs", text).is_empty());
    assert!(misdirected_imports("src/main.rs", "fn main() { thalweg::cli::run() }").is_empty());
    assert!(misdirected_imports("src/lib.rs", "pub mod api;").is_empty());
}

#[test]
fn reads_past_comments_strings_and_characters() {
    let text = concat!(
        "// use crate::api::a;\n/* use crate::api::b; /* nested */ unsafe */\n",
        "const A: &str = \"use crate::api::c; \\\" unsafe\";\nconst B: &str = r#\"unsafe \" crate::api::d\"#;\n",
        "const C: char = '\"'; fn f<'a>(x: &'a str) -> char { '\\'' }\nfn unsafe_looking() {}\n",
    );
    assert!(misdirected_imports("src/storage/log.rs", text).is_empty());
    assert!(misplaced_unsafe("src/storage/log.rs", text).is_empty());
    let after = format!("{text}use crate::api::e;\n");
    assert_eq!(misdirected_imports("src/storage/log.rs", &after)[0].line, 7);
}

#[test]
fn flags_unsafe_outside_its_files() {
    let text = "// SAFETY: there is none.\nfn f() { unsafe { g() } }\nunsafe impl Send for A {}\n";
    assert_eq!(misplaced_unsafe("src/storage/log.rs", text).len(), 2);
    assert_eq!(misplaced_unsafe("src/main.rs", "unsafe fn f() {}").len(), 1);
}

#[test]
fn flags_unsafe_without_a_reason() {
    let bare = "fn f() {\n    let x = unsafe { g() };\n}\n";
    assert_eq!(misplaced_unsafe("src/storage/file.rs", bare).len(), 1);
    let reasoned = "fn f() {\n    // SAFETY: g takes no pointer.\n    let x = unsafe { g() };\n}\n";
    assert!(misplaced_unsafe("src/storage/file.rs", reasoned).is_empty());
}

#[test]
fn flags_a_file_without_its_description() {
    assert!(missing_description("src/a.rs", "").is_some());
    assert!(missing_description("src/a.rs", "use std::io;\n//! Too late.\n").is_some());
    assert!(missing_description("src/a.rs", "/// Of an item.\nstruct A;\n").is_some());
    assert!(missing_description("src/a.rs", "//!\n").is_some());
    assert!(missing_description("src/a.rs", "\n//! One thing.\n").is_none());
}

#[test]
fn flags_names_that_say_nothing() {
    for path in
        ["src/storage/log_manager.rs", "src/util/mod.rs", "src/api/common.rs", "tests/clients/helper.rs"]
    {
        assert!(banned_name(path).is_some(), "{path}");
    }
    for path in ["src/storage/log.rs", "src/api/commons_clause.rs", "src/api/utilisation.rs"] {
        assert!(banned_name(path).is_none(), "{path}");
    }
}

#[test]
fn flags_a_row_of_the_dispatch_table_without_an_oracle_case() {
    let table = "macro_rules! alone { ($key:ident) => { alone!($key, None) }; }\nstatic TABLE: &[Row] = &[\n\
                 ordered!(Produce, (3, 13), produce::handle),\nalone!(Metadata, (0, 13), metadata::handle),\n\
                 parked!(SyncGroup, (0, 5), sync_group::handle),\n];";
    let file = |name: &str, text: &str| (name.to_string(), text.to_string());
    let produce =
        file("produce", "pub const API: &str = \"Produce\"; const CASES: &[Case] = &[every(\"a\", a)];");
    let metadata =
        file("metadata", "pub const API: &str = \"Metadata\"; const CASES: &[Case] = &[newest(\"b\", b)];");
    let sync =
        file("sync_group", "pub const API: &str = \"SyncGroup\"; const CASES: &[Case] = &[every(\"c\", c)];");
    let main = file(
        "main",
        "&[Group { cases: produce::CASES }, Group { cases: metadata::CASES }, Group { cases: sync_group::CASES }]",
    );
    let flagged = |oracle: &[(String, String)]| {
        reasons(rows_without_case("t", table, &[oracle, std::slice::from_ref(&sync)].concat()))
    };

    assert!(flagged(&[main.clone(), produce.clone(), metadata.clone()]).is_empty());
    assert_eq!(flagged(&[main.clone(), produce.clone()]), ["4: `Metadata` has no case in tests/oracle"]);
    let without = reasons(rows_without_case("t", table, &[main.clone(), produce.clone(), metadata.clone()]));
    assert_eq!(without, ["5: `SyncGroup` has no case in tests/oracle"]);
    let empty = file("metadata", "pub const API: &str = \"Metadata\"; const CASES: &[Case] = &[];");
    assert_eq!(flagged(&[main, produce.clone(), empty]).len(), 1);
    let narrow = file("main", "&[Group { cases: produce::CASES }, Group { cases: sync_group::CASES }]");
    assert_eq!(flagged(&[narrow, produce, metadata]).len(), 1);
    assert_eq!(reasons(rows_without_case("t", "", &[])).len(), 1);
}
