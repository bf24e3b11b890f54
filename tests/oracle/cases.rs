//! What a case is and how a list of them is run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::exempt;
use crate::harness::message;
use crate::pair::Pair;

const SLOW: Duration = Duration::from_secs(3);

/// One promise, run for each version in its range (cut to what Kafka advertises).
pub struct Case {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    pub run: fn(&mut Pair, i16),
}

/// The cases of one API.
pub struct Group {
    pub api: &'static str,
    pub cases: &'static [Case],
}

/// A case for every version of its API.
pub const fn every(name: &'static str, run: fn(&mut Pair, i16)) -> Case {
    Case { name, min: 0, max: i16::MAX, run }
}

/// A case for the versions from `min` to `max`.
pub const fn versions(min: i16, max: i16, name: &'static str, run: fn(&mut Pair, i16)) -> Case {
    Case { name, min, max, run }
}

/// A case where one version, the newest, says enough.
pub const fn newest(name: &'static str, run: fn(&mut Pair, i16)) -> Case {
    Case { name, min: i16::MAX, max: i16::MAX, run }
}

pub struct Outcome {
    pub cases: usize,
    /// One text a case that differs: its name and how.
    pub differences: Vec<String>,
}

/// Whether `ORACLE_ONLY` wants a case.
fn is_wanted(group: &Group, case: &Case) -> bool {
    let only = std::env::var("ORACLE_ONLY").unwrap_or_default();
    let (api, name) = only.split_once('/').unwrap_or((&only, ""));
    (api.is_empty() || group.api == api) && case.name.contains(name)
}

/// Whether any case of these is to be run.
pub fn any_wanted(groups: &[Group]) -> bool {
    groups.iter().any(|group| group.cases.iter().any(|case| is_wanted(group, case)))
}

pub fn run(pair: &mut Pair, groups: &[Group]) -> Outcome {
    let mut outcome = Outcome { cases: 0, differences: Vec::new() };
    for group in groups {
        let stable = message(group.api).stable();
        for case in group.cases.iter().filter(|case| is_wanted(group, case)) {
            for version in case.min.clamp(stable.min, stable.max)..=case.max.clamp(stable.min, stable.max) {
                pair.begin(group.api, case.name, version);
                let began = Instant::now();
                let ended = catch_unwind(AssertUnwindSafe(|| (case.run)(pair, version)));
                if let Err(panic) = ended {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                    pair.differences.push(format!("the case could not go on: {text}"));
                }
                if let Some(reason) = exempt::case(group.api, case.name) {
                    match pair.differences.is_empty() {
                        true => pair.differences.push(format!("exempt for nothing: {reason}")),
                        false => pair.differences.clear(),
                    }
                }
                outcome.cases += 1;
                if began.elapsed() > SLOW {
                    println!("{}/{} v{version} took {:.1?}", group.api, case.name, began.elapsed());
                }
                if !pair.differences.is_empty() {
                    let lines = pair.differences.join("\n    ");
                    outcome.differences.push(format!("{}/{} v{version}\n    {lines}", group.api, case.name));
                }
            }
        }
    }
    outcome
}
