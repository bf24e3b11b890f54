//! Rules of offsets, one test each; every one ends with a replay.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetDeleteRequest, TopicName};

use super::*;
use crate::broker::state_machine::StateMachine;
use crate::group::bounds::{RECORD_BYTES, batch_bytes_max};
use crate::group::testing::Fixture;
use crate::protocol::batch::BatchIter;
use crate::protocol::builder::BatchBuilder;
use crate::protocol::compression::OpenLimits;
use crate::protocol::record::RecordIter;
use crate::protocol::stored::group::{GroupMetadataKey, GroupMetadataValue, MemberMetadata};
use crate::protocol::wire::StrBytes;

const RETENTION_MS: u64 = 7 * 24 * 3_600_000;
const CHECK_MS: u64 = 600_000;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A commit by nobody's member: generation -1.
fn commit_of(group: &str, topic: &str, offsets: &[(i32, i64, &str)]) -> OffsetCommitRequest {
    let partition = |(partition, offset, metadata): &(i32, i64, &str)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(3)
            .with_committed_metadata(Some(text(metadata)))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(offsets.iter().map(partition).collect());
    OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic])
}

/// The code of the whole commit, or of each partition.
fn commit(
    fixture: &mut Fixture,
    request: &OffsetCommitRequest,
    version: i16,
) -> Result<Vec<i16>, ResponseError> {
    let answer =
        fixture.decide(|groups, context, outcome| groups.commit_offsets(request, version, context, outcome));
    let codes = |topics: Vec<kafka_protocol::messages::offset_commit_response::OffsetCommitResponseTopic>| {
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.error_code)).collect()
    };
    answer.map(codes).map_err(|error| error.error)
}

fn put(fixture: &mut Fixture, group: &str, topic: &str, partition: i32, offset: i64) {
    let request = commit_of(group, topic, &[(partition, offset, "")]);
    assert_eq!(commit(fixture, &request, 9), Ok(vec![0]));
}

fn asked(group: &str, topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequestGroup {
    let topic = |(name, partitions): &(&str, &[i32])| {
        OffsetFetchRequestTopics::default()
            .with_name(TopicName(text(name)))
            .with_partition_indexes(partitions.to_vec())
    };
    OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(topics.map(|topics| topics.iter().map(topic).collect()))
}

/// `topic-partition offset@epoch metadata`, a line each.
fn fetch(fixture: &Fixture, asked: &OffsetFetchRequestGroup) -> Vec<String> {
    let topics = fixture.groups.fetch_offsets(asked).expect("nobody is refused");
    let mut lines = Vec::new();
    for topic in topics {
        for line in topic.partitions {
            assert_eq!(line.error_code, 0);
            let metadata = line.metadata.expect("there is always a text");
            lines.push(format!(
                "{}-{} {}@{} {metadata}",
                *topic.name, line.partition_index, line.committed_offset, line.committed_leader_epoch
            ));
        }
    }
    lines
}

fn all(fixture: &Fixture, group: &str) -> Vec<String> {
    fetch(fixture, &asked(group, None))
}

fn with_topics() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.topic("orders", 3);
    fixture.topic("bills", 3);
    fixture
}

/// A GroupMetadata record of an empty group that had members until `since_ms`.
fn empty_consumers(fixture: &mut Fixture, group: &str, since_ms: i64) {
    fixture.decide(|_, _, outcome| {
        let value = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 4,
            current_state_timestamp: since_ms,
            ..GroupMetadataValue::default()
        };
        outcome.record(Record::GroupMetadata(GroupMetadataKey { group: group.to_owned() }, Some(value)));
    });
}

#[test]
fn what_is_committed_is_fetched_and_the_rest_is_minus_one() {
    let mut fixture = with_topics();
    let request = commit_of("g", "orders", &[(2, 20, "two"), (0, 10, "")]);
    assert_eq!(commit(&mut fixture, &request, 9), Ok(vec![0, 0]));
    put(&mut fixture, "g", "bills", 1, 5);
    put(&mut fixture, "other", "orders", 0, 99);
    assert_eq!(all(&fixture, "g"), ["bills-1 5@3 ", "orders-0 10@3 ", "orders-2 20@3 two"]);
    let some = asked("g", Some(&[("orders", &[1, 2, 7]), ("nowhere", &[0])]));
    assert_eq!(
        fetch(&fixture, &some),
        ["orders-1 -1@-1 ", "orders-2 20@3 two", "orders-7 -1@-1 ", "nowhere-0 -1@-1 "]
    );
    put(&mut fixture, "g", "orders", 2, 7);
    assert_eq!(all(&fixture, "g")[2], "orders-2 7@3 ", "a commit may go back, and forgets the text before");
    let nobody = asked("nobody", Some(&[("orders", &[0])]));
    assert_eq!(fetch(&fixture, &nobody), ["orders-0 -1@-1 "]);
    assert!(all(&fixture, "nobody").is_empty());
    fixture.check_replay();
}

#[test]
fn a_commit_of_who_is_no_member_makes_an_empty_group_and_a_members_does_not() {
    let mut fixture = with_topics();
    let member = commit_of("g", "orders", &[(0, 1, "")])
        .with_member_id(text("m"))
        .with_generation_id_or_member_epoch(3);
    assert_eq!(commit(&mut fixture, &member, 8), Err(ResponseError::IllegalGeneration));
    assert_eq!(commit(&mut fixture, &member, 9), Err(ResponseError::GroupIdNotFound));
    assert!(fixture.groups.group("g").is_none() && fixture.log.is_empty());
    put(&mut fixture, "g", "orders", 0, 1);
    let group = fixture.groups.group("g").expect("the commit made it");
    assert!(group.is_empty() && !group.is_subscribed_to("orders"));
    assert_eq!(fixture.log.len(), 1, "the group has no record of its own");
    assert_eq!(commit(&mut fixture, &member, 9), Err(ResponseError::UnknownMemberId));
    // The name may be empty, for clients that have none.
    put(&mut fixture, "", "orders", 0, 1);
    fixture.check_replay();
}

#[test]
fn metadata_is_counted_as_java_counts_characters() {
    let mut fixture = Fixture::with("offset.metadata.max.bytes=4\n");
    fixture.topic("orders", 3);
    // Four units in eight bytes; two pairs of units; five units.
    let fits = commit_of("g", "orders", &[(0, 1, "öööö"), (1, 1, "\u{1F600}\u{1F600}"), (2, 1, "abcde")]);
    let too_large = ResponseError::OffsetMetadataTooLarge.code();
    assert_eq!(commit(&mut fixture, &fits, 9), Ok(vec![0, 0, too_large]));
    assert_eq!(all(&fixture, "g").len(), 2);
    fixture.check_replay();
}

#[test]
fn a_commit_that_is_no_batch_is_refused_whole() {
    let mut fixture = with_topics();
    let max = batch_bytes_max(&fixture.image, &fixture.settings);
    let lines = vec![(0, 1, "some text"); max / (RECORD_BYTES + 20) + 1];
    assert_eq!(
        commit(&mut fixture, &commit_of("group", "orders", &lines), 9),
        Err(ResponseError::UnknownServerError)
    );
    assert!(fixture.log.is_empty() && fixture.groups.group("group").is_none());
}

#[test]
fn a_commit_keeps_its_time_and_the_retention_that_it_asks_for() {
    let mut fixture = with_topics();
    let now_ms = fixture.now.wall_ms;
    put(&mut fixture, "g", "orders", 0, 1);
    // The versions that ask for a retention know no leader epochs.
    let mut request = commit_of("g", "orders", &[(1, 1, "")]).with_retention_time_ms(5_000);
    request.topics[0].partitions[0].committed_leader_epoch = -1;
    assert_eq!(commit(&mut fixture, &request, 4), Ok(vec![0]));
    let of = |fixture: &Fixture, partition| {
        let committed = fixture.groups.offsets().get("g", "orders", PartitionId(partition)).unwrap();
        (committed.commit_timestamp_ms, committed.expire_timestamp_ms())
    };
    assert_eq!(of(&fixture, 0), (now_ms, None));
    assert_eq!(of(&fixture, 1), (now_ms, Some(now_ms + 5_000)));
    fixture.restart();
    assert_eq!(of(&fixture, 0), (now_ms, None));
    assert_eq!(all(&fixture, "g"), ["orders-0 1@3 ", "orders-1 1@-1 "]);
    fixture.step(CHECK_MS);
    assert_eq!(all(&fixture, "g"), ["orders-0 1@3 "]);
}

#[test]
fn offsets_of_a_topic_id_are_not_those_of_another() {
    let mut fixture = with_topics();
    let id = fixture.image.topic("orders").unwrap().id;
    let mut request = commit_of("g", "orders", &[(0, 1, "")]);
    request.topics[0].topic_id = id.0;
    assert_eq!(commit(&mut fixture, &request, 10), Ok(vec![0]));
    let mut wanted = asked("g", Some(&[("orders", &[0])]));
    assert_eq!(fetch(&fixture, &wanted), ["orders-0 1@3 "]);
    wanted.topics.as_mut().unwrap()[0].topic_id = id.0;
    assert_eq!(fetch(&fixture, &wanted), ["orders-0 1@3 "]);
    wanted.topics.as_mut().unwrap()[0].topic_id = TopicId::random().0;
    assert_eq!(fetch(&fixture, &wanted), ["orders-0 -1@-1 "]);
    fixture.check_replay();
}

fn delete(
    fixture: &mut Fixture,
    group: &str,
    topic: &str,
    partitions: &[i32],
) -> Result<Vec<i16>, ResponseError> {
    let partition = |id: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*id);
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(partitions.iter().map(partition).collect());
    let request = OffsetDeleteRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic]);
    let answer = fixture.decide(|groups, context, outcome| groups.delete_offsets(&request, context, outcome));
    answer
        .map(|topics| topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.error_code)).collect())
        .map_err(|error| error.error)
}

#[test]
fn deleted_offsets_are_gone_and_the_group_stays() {
    let mut fixture = with_topics();
    assert_eq!(delete(&mut fixture, "g", "orders", &[0]), Err(ResponseError::GroupIdNotFound));
    for partition in 0..3 {
        put(&mut fixture, "g", "orders", partition, 1);
    }
    let before = fixture.log.len();
    // One that was never committed and one that stands twice are answered, and one tombstone is written.
    assert_eq!(delete(&mut fixture, "g", "bills", &[0]), Ok(vec![0]));
    assert_eq!(delete(&mut fixture, "g", "orders", &[1, 1]), Ok(vec![0, 0]));
    assert_eq!(fixture.log.len(), before + 1);
    assert_eq!(all(&fixture, "g"), ["orders-0 1@3 ", "orders-2 1@3 "]);
    assert_eq!(delete(&mut fixture, "g", "orders", &[0, 2]), Ok(vec![0, 0]));
    assert!(fixture.groups.group("g").is_some() && fixture.groups.offsets.topics.is_empty());
}

#[test]
fn offsets_go_with_their_topic_and_not_with_one_of_its_name() {
    let mut fixture = with_topics();
    for group in ["a", "b"] {
        put(&mut fixture, group, "orders", 0, 1);
        put(&mut fixture, group, "bills", 0, 1);
    }
    let id = fixture.image.topic("orders").unwrap().id;
    fixture.change_image(|image| {
        let gone = crate::protocol::stored::metadata::RemoveTopicRecord { topic_id: id };
        image.apply(&crate::protocol::stored::metadata::Record::from(gone)).unwrap();
    });
    assert_eq!(all(&fixture, "a"), ["bills-0 1@3 "]);
    assert_eq!(all(&fixture, "b"), ["bills-0 1@3 "]);
    fixture.step(1);
    fixture.topic("orders", 3);
    put(&mut fixture, "a", "orders", 0, 2);
    fixture.step(CHECK_MS);
    assert_eq!(all(&fixture, "a"), ["bills-0 1@3 ", "orders-0 2@3 "]);
    fixture.check_replay();
}

#[test]
fn a_deleted_topic_of_many_offsets_is_forgotten_in_steps() {
    let mut fixture = with_topics();
    let groups = 12_000;
    for group in 0..groups {
        put(&mut fixture, &format!("g{group}"), "orders", 0, 1);
    }
    let (before, id) = (fixture.log.len(), fixture.image.topic("orders").unwrap().id);
    fixture.change_image(|image| {
        let gone = crate::protocol::stored::metadata::RemoveTopicRecord { topic_id: id };
        image.apply(&crate::protocol::stored::metadata::Record::from(gone)).unwrap();
    });
    assert!(fixture.log.len() - before < groups, "not all at once");
    fixture.step(0);
    assert_eq!(fixture.groups.offsets().groups().count(), 0);
    assert!(fixture.groups.offsets.topics.is_empty());
    fixture.check_replay();
}

/// Makes topics of no partition, or deletes them, all in one image.
fn change_topics(fixture: &mut Fixture, names: &[String], made: bool) {
    use crate::protocol::stored::metadata::{Record as Metadata, RemoveTopicRecord, TopicRecord};
    fixture.change_image(|image| {
        for name in names {
            let topic_id = image.topic(name).map(|topic| topic.id).unwrap_or_else(TopicId::random);
            let record = match made {
                true => Metadata::from(TopicRecord { name: name.clone(), topic_id }),
                false => Metadata::from(RemoveTopicRecord { topic_id }),
            };
            image.apply(&record).unwrap();
        }
    });
}

/// Commits for partition 0 of each of the topics.
fn put_all<'a>(fixture: &mut Fixture, group: &str, topics: impl IntoIterator<Item = &'a String>) {
    let now_ms = fixture.now.wall_ms;
    fixture.decide(|_, _, outcome| {
        for topic in topics {
            let value = OffsetCommitValue { commit_timestamp: now_ms, ..plain_value() };
            outcome.record(Record::OffsetCommit(key(group, topic, PartitionId(0)), Some(value)));
        }
    });
}

fn plain_value() -> OffsetCommitValue {
    OffsetCommitValue { offset: Offset(1), leader_epoch: LeaderEpoch(3), ..OffsetCommitValue::default() }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("t{at:05}")).collect()
}

#[test]
fn all_groups_are_searched_for_deleted_topics_in_steps_whether_they_have_such_offsets_or_not() {
    let mut fixture = Fixture::new();
    let topics = numbered(3);
    change_topics(&mut fixture, &topics, true);
    for group in 0..6_000 {
        put_all(&mut fixture, &format!("g{group}"), &topics[2..]);
    }
    put_all(&mut fixture, "reads all", &topics);
    change_topics(&mut fixture, &topics[..1], false);
    let left = fixture.groups.offsets.sweep.groups_to_search();
    assert!((3_000..5_000).contains(&left), "{left} groups are left");
    // One more goes meanwhile, and the first one is there again.
    change_topics(&mut fixture, &topics[1..2], false);
    fixture.now.wall_ms += 1;
    change_topics(&mut fixture, &topics[..1], true);
    put_all(&mut fixture, "g5", &topics[..1]);
    fixture.step(0);
    assert_eq!(all(&fixture, "reads all"), ["t00002-0 1@3 "]);
    assert_eq!(all(&fixture, "g5").len(), 2, "what came later is for the new topic");
    assert_eq!(
        (fixture.groups.offsets.topics.len(), fixture.groups.offsets.sweep.groups_to_search()),
        (2, 0)
    );
    fixture.check_replay();
}

#[test]
fn a_group_of_many_topics_is_searched_for_many_deleted_ones_in_steps() {
    let mut fixture = Fixture::new();
    let topics = numbered(20_000);
    change_topics(&mut fixture, &topics, true);
    put_all(&mut fixture, "wide", topics[..10_000].iter().chain(&topics[15_000..]));
    put_all(&mut fixture, "other", &topics[10_000..15_000]);
    let before = fixture.log.len();
    // The one has two of them and reads more than a step looks at, the other has all of them.
    change_topics(&mut fixture, &topics[9_998..15_000], false);
    assert!(fixture.groups.offsets.sweep.groups_to_search() > 0, "not in one step");
    assert!(fixture.log.len() - before <= 5_000);
    fixture.step(0);
    assert_eq!(fixture.log.len() - before, 5_002 + 1, "and the group without any goes");
    assert_eq!(fixture.groups.offsets.topics.len(), 14_998);
    assert!(fixture.groups.group("other").is_none() && fixture.groups.group("wide").is_some());
    fixture.check_replay();
}

#[test]
fn a_group_of_many_topics_is_looked_at_in_steps_and_goes_when_nothing_is_left() {
    let mut fixture = Fixture::new();
    let topics = numbered(12_000);
    change_topics(&mut fixture, &topics, true);
    put_all(&mut fixture, "wide", &topics);
    let before = fixture.log.len();
    let tick = |fixture: &mut Fixture| {
        fixture.decide(|groups, context, outcome| groups.tick(context, outcome));
        fixture.groups.offsets.sweep.topics_passed_over()
    };
    fixture.now.ticks_ms += CHECK_MS;
    let passed = [(); 5].map(|()| tick(&mut fixture));
    assert!((1..3_000).contains(&passed[0]) && (3_000..6_000).contains(&passed[1]), "{passed:?}");
    assert_eq!((passed[passed.len() - 1], fixture.log.len()), (0, before), "all is young");
    // It is committed for again while it is looked at.
    fixture.now.wall_ms += RETENTION_MS as i64;
    fixture.now.ticks_ms += CHECK_MS;
    while fixture.groups.offsets().of_group("wide").count() > 7_000 {
        tick(&mut fixture);
    }
    put_all(&mut fixture, "wide", &topics[..1]);
    fixture.step(0);
    let left = all(&fixture, "wide");
    assert!(left.contains(&"t00000-0 1@3 ".to_owned()), "{left:?}");
    fixture.step(RETENTION_MS + 2 * CHECK_MS);
    assert!(fixture.groups.group("wide").is_none() && fixture.groups.offsets.topics.is_empty());
    fixture.check_replay();
}

/// `cargo test --release --lib steps_of_a_sweep -- --ignored --nocapture` says how long the longest takes.
#[test]
#[ignore = "measures"]
fn steps_of_a_sweep_for_many_deleted_topics_and_over_a_large_group() {
    let mut fixture = Fixture::new();
    let topics = numbered(3_000);
    change_topics(&mut fixture, &topics, true);
    for group in 0..20_000 {
        put_all(&mut fixture, &format!("g{group}"), &topics[group % 2_000..][..3]);
    }
    put_all(&mut fixture, "wide", &topics);
    let mut longest = std::time::Duration::ZERO;
    let mut timed = |fixture: &mut Fixture, step: fn(&mut Fixture, &[String])| {
        let began = std::time::Instant::now();
        step(fixture, &topics[1_000..]);
        longest = longest.max(began.elapsed());
    };
    let tick = |fixture: &mut Fixture, _: &[String]| {
        fixture.decide(|groups, context, outcome| groups.tick(context, outcome));
    };
    timed(&mut fixture, |fixture, gone| change_topics(fixture, gone, false));
    while fixture.groups.next_tick_ms().is_some_and(|at| at <= fixture.now.ticks_ms) {
        timed(&mut fixture, tick);
    }
    println!(
        "deleting 2000 topics with 20000 groups: {longest:?}, encoding and applying the records among it"
    );
    let topics = numbered(300_000);
    put_all(&mut fixture, "wide", &topics);
    longest = std::time::Duration::ZERO;
    fixture.now.ticks_ms += CHECK_MS;
    for _ in 0..200 {
        let began = std::time::Instant::now();
        fixture.decide(|groups, context, outcome| groups.tick(context, outcome));
        longest = longest.max(began.elapsed());
    }
    println!("looking at a group of 300000 topics for what has expired: {longest:?}");
}

#[test]
fn offsets_of_a_simple_group_expire_by_their_commit_and_the_group_with_the_last() {
    let mut fixture = with_topics();
    put(&mut fixture, "g", "orders", 0, 1);
    fixture.step(RETENTION_MS / 2);
    put(&mut fixture, "g", "orders", 1, 1);
    fixture.step(RETENTION_MS / 2 - CHECK_MS);
    assert_eq!(all(&fixture, "g").len(), 2);
    fixture.step(2 * CHECK_MS);
    assert_eq!(all(&fixture, "g"), ["orders-1 1@3 "]);
    fixture.restart();
    fixture.step(RETENTION_MS / 2);
    assert!(fixture.groups.group("g").is_none(), "an empty group without offsets goes");
    assert_eq!(fixture.groups.offsets().groups().count(), 0);
    let last = fixture.records().pop().unwrap();
    assert_eq!(last, Record::GroupMetadata(GroupMetadataKey { group: "g".into() }, None));
    fixture.check_replay();
}

#[test]
fn offsets_of_an_empty_group_expire_by_the_time_since_it_is_empty() {
    let mut fixture = with_topics();
    put(&mut fixture, "g", "orders", 0, 1);
    let empty_since = fixture.now.wall_ms + (RETENTION_MS / 2) as i64;
    empty_consumers(&mut fixture, "g", empty_since);
    // Without a time, as records before version 2 have it, the commit's counts.
    put(&mut fixture, "old", "orders", 0, 1);
    empty_consumers(&mut fixture, "old", -1);
    fixture.step(RETENTION_MS + CHECK_MS);
    assert_eq!(all(&fixture, "g").len(), 1);
    assert!(fixture.groups.group("old").is_none());
    fixture.step(RETENTION_MS / 2);
    assert!(fixture.groups.group("g").is_none() && all(&fixture, "g").is_empty());
    fixture.check_replay();
}

/// A stable group of one member, which reads `orders` where it is a consumer.
fn stable(fixture: &mut Fixture, group: &str, kind: &str) {
    let mut subscription = vec![0, 0, 0, 0, 0, 1, 0, 6];
    subscription.extend_from_slice(b"orders\xFF\xFF\xFF\xFF");
    let member = MemberMetadata {
        member_id: "m".into(),
        session_timeout: i32::MAX,
        rebalance_timeout: 1,
        subscription: subscription.into(),
        ..MemberMetadata::default()
    };
    fixture.decide(|_, _, outcome| {
        let value = GroupMetadataValue {
            protocol_type: kind.to_owned(),
            generation: 4,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            members: vec![member].into(),
            ..GroupMetadataValue::default()
        };
        outcome.record(Record::GroupMetadata(GroupMetadataKey { group: group.to_owned() }, Some(value)));
    });
    fixture.restart();
}

#[test]
fn what_a_group_with_members_reads_is_kept_and_only_they_commit() {
    let mut fixture = with_topics();
    stable(&mut fixture, "g", "consumer");
    stable(&mut fixture, "workers", "connect");
    let nobody = commit_of("g", "orders", &[(0, 1, "")]);
    assert_eq!(commit(&mut fixture, &nobody, 9), Err(ResponseError::UnknownMemberId));
    let by = |group: &str, topic: &str, generation| {
        commit_of(group, topic, &[(0, 1, "")])
            .with_member_id(text("m"))
            .with_generation_id_or_member_epoch(generation)
    };
    assert_eq!(commit(&mut fixture, &by("g", "orders", 3), 9), Err(ResponseError::IllegalGeneration));
    for (group, topic) in [("g", "orders"), ("g", "bills"), ("workers", "bills")] {
        assert_eq!(commit(&mut fixture, &by(group, topic, 4), 9), Ok(vec![0]));
    }
    let subscribed = ResponseError::GroupSubscribedToTopic.code();
    assert_eq!(delete(&mut fixture, "g", "orders", &[0, 2]), Ok(vec![subscribed; 2]));
    assert_eq!(delete(&mut fixture, "workers", "bills", &[0]), Err(ResponseError::NonEmptyGroup));
    fixture.step(RETENTION_MS + CHECK_MS);
    assert_eq!(all(&fixture, "g"), ["orders-0 1@3 "]);
    assert_eq!(all(&fixture, "workers"), ["bills-0 1@3 "], "nobody knows what these members need");
    assert_eq!(delete(&mut fixture, "g", "bills", &[0]), Ok(vec![0]));
    fixture.check_replay();
}

#[test]
fn a_commit_in_time_keeps_offset_and_group() {
    let mut fixture = with_topics();
    for _ in 0..20 {
        put(&mut fixture, "g", "orders", 0, 1);
        fixture.step(RETENTION_MS / 2);
    }
    assert_eq!(all(&fixture, "g").len(), 1);
    fixture.check_replay();
}

#[test]
fn what_expires_goes_in_steps() {
    let mut fixture = Fixture::new();
    fixture.topic("wide", 12_000);
    for first in (0..12_000).step_by(4_000) {
        let lines: Vec<_> = (first..first + 4_000).map(|id| (id, 1, "")).collect();
        commit(&mut fixture, &commit_of("g", "wide", &lines), 9).unwrap();
    }
    let before = fixture.log.len();
    fixture.now.wall_ms += RETENTION_MS as i64;
    fixture.now.ticks_ms += CHECK_MS;
    fixture.decide(|groups, context, outcome| groups.tick(context, outcome));
    assert_eq!(fixture.log.len() - before, 5_000);
    fixture.step(0);
    assert!(fixture.groups.group("g").is_none());
    assert_eq!(fixture.log.len() - before, 12_001);
    fixture.check_replay();
}

/// Batches of commits as the log holds them.
fn many_commits(records: usize) -> Vec<bytes::Bytes> {
    let mut batches = Vec::new();
    for first in (0..records).step_by(1_000) {
        let mut batch = BatchBuilder::new();
        for n in first..first + 1_000 {
            let group = format!("group-{}", n % 1_009);
            let id = key(&group, &format!("topic-{}", n % 97), PartitionId((n % 13) as i32));
            let value = OffsetCommitValue {
                offset: Offset(n as i64),
                leader_epoch: LeaderEpoch(1),
                commit_timestamp: 1,
                ..OffsetCommitValue::default()
            };
            let (key, value) = Record::OffsetCommit(id, Some(value)).encode().unwrap();
            batch.append(1, Some(&key), value.as_deref(), &[]);
        }
        batches.push(batch.build().unwrap());
    }
    batches
}

/// As the driver replays.
fn replay(batches: &[bytes::Bytes]) -> Groups {
    let mut groups = Groups::default();
    for bytes in batches {
        for batch in BatchIter::new(bytes) {
            let batch = batch.unwrap();
            let opened = batch.open(&OpenLimits::default()).unwrap();
            for record in RecordIter::new(&opened, batch.header.record_count.get()) {
                let record = record.unwrap();
                let decoded = Groups::decode(record.key.unwrap(), record.value).unwrap();
                groups.apply(decoded.unwrap());
            }
        }
    }
    groups
}

#[test]
fn many_commits_are_replayed_to_the_newest_of_each() {
    let records = 100_000;
    let groups = replay(&many_commits(records));
    for n in records - 5_000..records {
        let (group, topic) = (format!("group-{}", n % 1_009), format!("topic-{}", n % 97));
        let found = groups.offsets().get(&group, &topic, PartitionId((n % 13) as i32)).unwrap();
        assert_eq!(found.offset, Offset(n as i64));
    }
    assert_eq!((groups.groups.len(), groups.offsets.topics.len()), (1_009, 97));
}

/// `cargo test --release --lib a_million_commits -- --ignored --nocapture` says what it takes.
#[test]
#[ignore = "measures"]
fn a_million_commits_are_replayed_on_one_core() {
    let batches = many_commits(1_000_000);
    let (began, cpu_began) = (std::time::Instant::now(), cpu_ms());
    let groups = replay(&batches);
    let (took, cpu) = (began.elapsed(), cpu_ms() - cpu_began);
    let held: usize = groups.offsets().groups().map(|group| groups.offsets().of_group(group).count()).sum();
    println!("1000000 records, {held} offsets held: {took:?}, of which {cpu} ms on the CPU");
}

/// The CPU time of this thread so far, so that a busy machine changes little.
fn cpu_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts it");
    text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).expect("nanoseconds") / 1_000_000
}
