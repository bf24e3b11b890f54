//! Where a group shall read on: a new offset for each partition, decided from what is known of the log, and
//! written as the CSV that Kafka's own tool reads and writes:
//!
//! ```text
//! orders,0,4711                  topic, partition, offset: of one group
//! billing,orders,0,4711          the group first: of several
//! ```

use std::collections::BTreeMap;

use crate::cli::problem::Problem;
use crate::types::{Offset, PartitionId, TopicPartition};

/// How the new offset is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    Earliest,
    Latest,
    Offset(i64),
    /// The first record of this time (milliseconds since 1970) or a later one.
    Time(i64),
    /// So many records on from what is committed, or back.
    Shift(i64),
}

/// What is known of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub start: Offset,
    pub end: Offset,
    /// What [`Aim::Time`] asks for; `None` where no record is that young.
    pub at_time: Option<Offset>,
}

/// A group's partition and where to read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub group: String,
    pub at: TopicPartition,
    pub old: Option<Offset>,
    pub new: Offset,
    /// What was asked for, where the log does not reach that far.
    pub clipped: Option<i64>,
}

/// The new offset, and what was asked for if that lies outside of the log. `None` where nothing is committed
/// that could be shifted.
pub fn target(aim: Aim, old: Option<Offset>, log: Log) -> Option<(Offset, Option<i64>)> {
    let asked = match aim {
        Aim::Earliest => log.start.0,
        Aim::Latest => log.end.0,
        Aim::Offset(offset) => offset,
        // No record is that young: all that comes from now on is.
        Aim::Time(_) => log.at_time.unwrap_or(log.end).0,
        Aim::Shift(count) => old?.0.saturating_add(count),
    };
    let new = Offset(asked).clamp(log.start, log.end.max(log.start));
    Some((new, Some(asked).filter(|asked| *asked != new.0)))
}

/// Offsets from a file, by group; the group is `None` in lines that name none.
pub type FromFile = BTreeMap<Option<String>, BTreeMap<TopicPartition, i64>>;

/// Reads a plan. Every line has the same number of fields.
pub fn read(text: &str, file: &str) -> Result<FromFile, Problem> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut plan = FromFile::new();
    for line in reader.records() {
        let line = line.map_err(|error| Problem::new(format!("{file}: {error}")))?;
        let number = line.position().map_or(0, csv::Position::line);
        let step = step(&line).ok_or_else(|| {
            let given = line.iter().collect::<Vec<_>>().join(",");
            Problem::new(format!("{file}: line {number}: '{given}' is no step of a plan"))
                .mend("a line is topic,partition,offset or group,topic,partition,offset")
        })?;
        let (group, at, offset) = step;
        if plan.entry(group).or_default().insert(at.clone(), offset).is_some() {
            return Err(Problem::new(format!("{file}: line {number}: {at} comes twice")));
        }
    }
    if plan.is_empty() {
        return Err(Problem::new(format!("{file} has no line")));
    }
    Ok(plan)
}

fn step(line: &csv::StringRecord) -> Option<(Option<String>, TopicPartition, i64)> {
    let fields: Vec<&str> = line.iter().collect();
    let (group, topic, partition, offset) = match fields[..] {
        [topic, partition, offset] => (None, topic, partition, offset),
        [group, topic, partition, offset] => (Some(group.to_owned()), topic, partition, offset),
        _ => return None,
    };
    let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
    let at = TopicPartition { topic: topic.into(), partition: PartitionId(partition) };
    Some((group, at, offset.parse().ok().filter(|offset| *offset >= 0)?)).filter(|_| !topic.is_empty())
}

/// The plan as a file: the group stands in each line where there are several.
pub fn write(steps: &[Step]) -> String {
    let is_of_one = steps.windows(2).all(|pair| pair[0].group == pair[1].group);
    let mut writer = csv::Writer::from_writer(Vec::new());
    for step in steps {
        let (partition, offset) = (step.at.partition.to_string(), step.new.to_string());
        let fields = [step.group.as_str(), &step.at.topic, &partition, &offset];
        let fields = if is_of_one { &fields[1..] } else { &fields[..] };
        writer.write_record(fields).expect("a line of a fixed number of fields goes into memory");
    }
    let bytes = writer.into_inner().expect("memory is flushed without failing");
    String::from_utf8(bytes).expect("fields that are text make text")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Log = Log { start: Offset(10), end: Offset(50), at_time: Some(Offset(30)) };

    fn new(aim: Aim, old: Option<i64>, log: Log) -> Option<(i64, Option<i64>)> {
        target(aim, old.map(Offset), log).map(|(new, clipped)| (new.0, clipped))
    }

    #[test]
    fn each_aim_finds_its_offset() {
        assert_eq!(new(Aim::Earliest, None, LOG), Some((10, None)));
        assert_eq!(new(Aim::Latest, Some(20), LOG), Some((50, None)));
        assert_eq!(new(Aim::Offset(50), None, LOG), Some((50, None)));
        assert_eq!(new(Aim::Time(7), None, LOG), Some((30, None)));
        assert_eq!(new(Aim::Time(7), None, Log { at_time: None, ..LOG }), Some((50, None)));
        assert_eq!(new(Aim::Shift(-5), Some(20), LOG), Some((15, None)));
        assert_eq!(new(Aim::Shift(5), None, LOG), None);
    }

    #[test]
    fn what_lies_outside_of_the_log_is_clipped_and_told() {
        assert_eq!(new(Aim::Offset(0), None, LOG), Some((10, Some(0))));
        assert_eq!(new(Aim::Offset(51), None, LOG), Some((50, Some(51))));
        assert_eq!(new(Aim::Shift(i64::MIN), Some(20), LOG), Some((10, Some(20 + i64::MIN))));
        assert_eq!(new(Aim::Shift(i64::MAX), Some(20), LOG), Some((50, Some(i64::MAX))));
    }

    #[test]
    fn a_plan_that_was_written_is_read_back() {
        let step = |group: &str, topic: &str, partition, offset| Step {
            group: group.to_owned(),
            at: TopicPartition { topic: topic.into(), partition: PartitionId(partition) },
            old: None,
            new: Offset(offset),
            clipped: None,
        };
        let one = [step("g", "t", 0, 5), step("g", "t", 1, 6)];
        assert_eq!(write(&one), "t,0,5\nt,1,6\n");
        assert_eq!(read(&write(&one), "f").unwrap()[&None].len(), 2);
        let several = [step("g,1", "t", 0, 5), step("h", "t", 0, 6)];
        assert_eq!(write(&several), "\"g,1\",t,0,5\nh,t,0,6\n");
        let read = read(&write(&several), "f").unwrap();
        assert_eq!(read[&Some("g,1".to_owned())][&several[0].at], 5);
        assert_eq!(read[&Some("h".to_owned())][&several[1].at], 6);
    }

    #[test]
    fn a_line_that_is_no_step_is_named() {
        for text in ["t,0", "t,x,1", "t,0,-1", "t,-1,0", ",0,1", "t,0,1\nt,0,2", "", "t,0,1\ng,t,0,1"] {
            let problem = read(text, "plan.csv").unwrap_err().to_string();
            assert!(problem.starts_with("plan.csv"), "{text}: {problem}");
        }
    }
}
