//! The metadata log's files: what a crash may leave, what a snapshot keeps, and when an answer leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kafka_protocol::messages::DeleteTopicsRequest;

use super::single::{DIRECTORY, OpenError, Opened, Options, SingleQuorum};
use super::testing::{NODE, Node, copy_dir, temp_dir, topic, topic_name, with_config};
use super::{format, snapshot};
use crate::metadata::Image;
use crate::protocol::batch::BatchIter;
use crate::protocol::stored::metadata::{Record, Versioned};
use crate::storage::file::{Step, recorder};
use crate::types::{LeaderEpoch, Offset};

fn open(dir: &Path) -> Result<Opened, OpenError> {
    let meta = crate::storage::checkpoint::MetaProperties::read(dir).unwrap().unwrap();
    let mut options = Options::new(NODE, dir.to_owned(), meta.directory_id.unwrap().0);
    options.endpoints = super::testing::format_options(dir).endpoints;
    SingleQuorum::open(options)
}

/// What two images say, apart from where in the log they are and what no record holds.
fn content(image: &Image) -> Vec<Versioned> {
    image.to_records()
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join(DIRECTORY))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
        .collect();
    files.sort();
    files
}

/// A directory whose log holds several batches, with the content after each one's last offset.
fn written(dir: &Path) -> BTreeMap<i64, Vec<Versioned>> {
    let node = Node::start(dir, |_| {});
    node.create(vec![with_config(topic("orders", 2), "retention.ms", "60000")]);
    node.create(vec![topic("gone", 1)]);
    let deletion = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("gone")]);
    node.drive(node.controller.delete_topics(&deletion, 5)).unwrap();
    let published = node.published.borrow();
    let mut contents: BTreeMap<_, _> =
        published.iter().map(|image| (image.offset.0, content(image))).collect();
    // The first proposal is two batches, the second of which is the controller's registration.
    let first = &published[0];
    let mut before = content(first);
    before.retain(|versioned| !matches!(versioned.record, Record::RegisterController(_)));
    contents.insert(first.offset.0 - 1, before);
    contents
}

/// The content that the whole batches at the front of `log` make.
fn expected<T: Clone>(log: &[u8], contents: &BTreeMap<i64, Vec<T>>) -> Vec<T> {
    let last =
        BatchIter::new(log).map_while(Result::ok).last().map_or(-1, |batch| batch.header.last_offset().0);
    contents.range(..=last).next_back().map(|(_, content)| content.clone()).unwrap_or_default()
}

#[test]
fn a_log_cut_at_any_byte_opens_with_its_whole_batches_and_goes_on() {
    let dir = temp_dir();
    let base = dir.path().join("base");
    let contents = written(&base);
    let log = fs::read(&log_files(&base)[0]).unwrap();
    let work = dir.path().join("work");
    for cut in 0..=log.len() {
        copy_dir(&base, &work);
        let file = &log_files(&work)[0];
        fs::write(file, &log[..cut]).unwrap();
        let opened = open(&work).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        let whole = {
            let mut batches = BatchIter::new(&log[..cut]);
            batches.by_ref().for_each(drop);
            batches.position()
        };
        assert_eq!(opened.cut_bytes, (cut - whole) as u64, "cut at {cut}");
        let expected = expected(&log[..cut], &contents);
        assert_eq!(content(&opened.image), expected, "cut at {cut}");
        assert_eq!(opened.image.epoch, LeaderEpoch(2), "cut at {cut}");
        let offset = opened.image.offset;
        drop(opened);
        // What was appended at this opening is found by the next.
        let again = open(&work).unwrap();
        assert_eq!((again.cut_bytes, again.image.offset), (0, offset.plus(1)), "cut at {cut}");
        assert_eq!(content(&again.image), expected, "cut at {cut}");
        drop(again);
        fs::remove_dir_all(&work).unwrap();
    }
}

#[test]
fn a_flipped_byte_ends_the_log_before_its_batch_unless_it_is_outside_the_crc() {
    let dir = temp_dir();
    let base = dir.path().join("base");
    let contents = written(&base);
    let log = fs::read(&log_files(&base)[0]).unwrap();
    let last = BatchIter::new(&log).map_while(Result::ok).last().unwrap().position;
    let work = dir.path().join("work");
    // The leader epoch of a batch (bytes 12 to 15) is not covered by its CRC.
    for at in (last..log.len()).filter(|at| !(last + 12..last + 16).contains(at)) {
        copy_dir(&base, &work);
        let mut bytes = log.clone();
        bytes[at] ^= 0x55;
        fs::write(&log_files(&work)[0], &bytes).unwrap();
        let opened = open(&work).unwrap_or_else(|e| panic!("flipped at {at}: {e}"));
        assert_eq!(content(&opened.image), expected(&log[..last], &contents), "flipped at {at}");
        drop(opened);
        fs::remove_dir_all(&work).unwrap();
    }
}

#[test]
fn snapshots_are_written_old_segments_go_and_a_reload_is_the_same() {
    let dir = temp_dir();
    let change = |options: &mut Options| {
        options.snapshot_bytes = 2000;
        options.retention_bytes = 20_000;
    };
    let mut seed: u64 = 0x5eed;
    println!("seed {seed:#x}");
    let mut next = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as i32
    };
    let mut node = Node::start(dir.path(), change);
    for round in 0..6 {
        for _ in 0..40 {
            let name = format!("t{}", next() % 20);
            if next() % 3 == 0 {
                let deletion = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(&name)]);
                node.drive(node.controller.delete_topics(&deletion, 5)).unwrap();
            } else {
                let wanted = with_config(topic(&name, 1 + next() % 3), "retention.ms", &next().to_string());
                node.create(vec![wanted]);
            }
        }
        let before = content(&node.image());
        let offset = node.image().offset;
        drop(node);
        let opened = open(dir.path()).unwrap();
        assert_eq!(content(&opened.image), before, "round {round}");
        assert_eq!(opened.image.offset, offset.plus(1), "round {round}");
        drop(opened);
        node = Node::start(dir.path(), change);
    }
    drop(node);
    let log_dir = dir.path().join(DIRECTORY);
    let snapshots = snapshot::list(&log_dir).unwrap();
    assert!(snapshots.len() > 1, "several snapshots are within the bound");
    assert!(snapshots[0].end_offset > Offset::ZERO, "the oldest ones are gone");
    let first: i64 = log_files(dir.path())[0].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert!(first > 0, "the log before them is gone");
    let bytes: u64 = fs::read_dir(&log_dir).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 40_000, "{bytes} bytes are kept");
}

#[test]
fn a_snapshot_without_its_log_is_enough_and_a_log_without_its_snapshot_is_refused() {
    let temp = temp_dir();
    let dir = temp.path().join("base");
    let node = Node::start(&dir, |options| {
        options.snapshot_bytes = 500;
        options.retention_bytes = 0;
    });
    for i in 0..20 {
        node.create(vec![topic(&format!("t{i}"), 1)]);
    }
    drop(node);
    let ids = snapshot::list(&dir.join(DIRECTORY)).unwrap();
    let newest = *ids.last().unwrap();
    let saved = fs::read(newest.path(&dir.join(DIRECTORY))).unwrap();
    let records = snapshot::Snapshot::decode(&saved).unwrap().records;

    let gap = temp.path().join("gap");
    copy_dir(&dir, &gap);
    for id in &ids {
        fs::remove_file(id.path(&gap.join(DIRECTORY))).unwrap();
    }
    assert!(matches!(open(&gap), Err(OpenError::Gap { .. })));

    for file in log_files(&dir) {
        fs::remove_file(file).unwrap();
    }
    let opened = open(&dir).unwrap();
    assert_eq!(content(&opened.image), records);
    assert_eq!(opened.image.offset, newest.end_offset);
}

#[test]
fn a_torn_newest_snapshot_gives_way_to_the_one_before() {
    let dir = temp_dir();
    let node = Node::start(dir.path(), |options| options.snapshot_bytes = 500);
    for i in 0..20 {
        node.create(vec![topic(&format!("t{i}"), 1)]);
    }
    let before = content(&node.image());
    drop(node);
    let newest = *snapshot::list(&dir.path().join(DIRECTORY)).unwrap().last().unwrap();
    let path = newest.path(&dir.path().join(DIRECTORY));
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    assert_eq!(content(&open(dir.path()).unwrap().image), before);
}

#[test]
fn an_unfinished_bootstrap_is_done_again() {
    let dir = temp_dir();
    let base = dir.path().join("base");
    drop(Node::open(&base, |_| {}));
    // The log as it is after the LeaderChange alone.
    let file = &log_files(&base)[0];
    let log = fs::read(file).unwrap();
    let first = BatchIter::new(&log).next().unwrap().unwrap().bytes.len();
    fs::write(file, &log[..first]).unwrap();
    let node = Node::start(&base, |_| {});
    assert_eq!(node.image().features.metadata_version(), 27);
    assert_eq!(node.create(vec![topic("a", 1)])[0].1, 0);
}

#[test]
fn an_answer_leaves_after_its_bytes_are_synced() {
    recorder::start();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), |_| {});
    node.create(vec![topic("a", 1)]);
    drop(node);
    let log = log_files(dir.path()).remove(0);
    let mut unsynced = false;
    let mut answers = 0;
    for step in recorder::steps(dir.path()) {
        match step {
            Step::Write { path, .. } if path == log => unsynced = true,
            Step::Sync(path) if path == log => unsynced = false,
            Step::Answer(what) => {
                answers += 1;
                assert!(!unsynced, "{what} was answered before its bytes were synced");
            }
            _ => {}
        }
    }
    assert!(answers >= 3, "{answers} answers");
}

#[test]
fn voters_of_several_nodes_are_refused() {
    let dir = temp_dir();
    let mut options = super::testing::format_options(dir.path());
    options.node_id = crate::types::NodeId(9);
    format::format(&options).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::SeveralVoters(_, voters)) if voters == "9"));
}
