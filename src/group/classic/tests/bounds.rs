//! What clients make a coordinator keep, and write, is bounded.

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, OffsetCommitRequest, TopicName};

use super::*;
use crate::group::{bounds, held};
use crate::protocol::stored::metadata::{ConfigRecord, Record as Metadata};

/// As large as a member may be, and a little less.
const LARGE: usize = bounds::MEMBER_BYTES_MAX - 2_000;

fn saying(member: &str, bytes: usize) -> JoinGroupRequest {
    let mut request = joining(member);
    request.protocols[0].metadata = vec![0; bytes].into();
    request
}

fn in_group(group: &str) -> JoinGroupRequest {
    joining("").with_group_id(GroupId(text(group)))
}

#[test]
fn what_a_member_makes_the_group_keep_is_bounded() {
    let mut fixture = Fixture::new();
    let invalid = code(ResponseError::InvalidRequest);
    let many = vec![named(&[("p", "")]).remove(0); bounds::MEMBER_PROTOCOLS_MAX + 1];
    assert_eq!(fixture.join_now(&joining("").with_protocols(many), 9).error_code, invalid);
    assert_eq!(fixture.join_now(&saying("", bounds::MEMBER_BYTES_MAX), 9).error_code, invalid);
    assert!(fixture.groups.group(GROUP).is_none());
    let large = saying("", LARGE);
    let fit = bounds::GROUP_BYTES_MAX / LARGE;
    let tickets: Vec<_> = (0..=fit).map(|_| fixture.join(&large, 3)).collect();
    let full = code(ResponseError::GroupMaxSizeReached);
    assert_eq!(fixture.joined(tickets[fit]).error_code, full);
    assert_eq!(fixture.answers.len(), 0);
}

#[test]
fn ids_that_are_given_out_in_a_loop_are_bounded() {
    let mut fixture = Fixture::new();
    let name = "n".repeat(30_000);
    let given = |fixture: &mut Fixture| {
        let ticket = fixture.join_as(&name, &joining(""), 9);
        fixture.joined(ticket).error_code
    };
    let mut count = 0;
    while given(&mut fixture) == code(ResponseError::MemberIdRequired) {
        count += 1;
    }
    assert_eq!(given(&mut fixture), code(ResponseError::GroupMaxSizeReached));
    assert_eq!(count, bounds::PENDING_BYTES_MAX / (30_000 + 37 + bounds::PENDING_OVERHEAD_BYTES));
    // They leave with their sessions, and so do their deadlines.
    fixture.step(SESSION_MS as u64);
    assert!(fixture.classic().pending.is_empty());
    assert_eq!(given(&mut fixture), code(ResponseError::MemberIdRequired));
}

#[test]
fn an_assignment_that_is_too_large_to_write_has_everyone_join() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(&[joining("")]);
    let id = joined[0].member_id.clone();
    let mut request = SyncGroupRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_generation_id(1)
        .with_member_id(id.clone());
    request.assignments.push(
        SyncGroupRequestAssignment::default()
            .with_member_id(id)
            .with_assignment(vec![0; bounds::GROUP_BYTES_MAX].into()),
    );
    let ticket = fixture.sync_by(&request, 3);
    assert_eq!(fixture.synced(ticket).error_code, code(ResponseError::UnknownServerError));
    assert_eq!(fixture.state(), State::PreparingRebalance);
}

#[test]
fn an_id_that_no_record_could_hold_is_not_given_out() {
    let mut fixture = Fixture::new();
    let invalid = code(ResponseError::InvalidRequest);
    let longest = "i".repeat(32_767 - 37);
    let longer = format!("{longest}i");
    assert_eq!(fixture.join_now(&fixed(&longer, ""), 9).error_code, invalid);
    for version in [3, 9] {
        let ticket = fixture.join_as(&longer, &joining(""), version);
        assert_eq!(fixture.joined(ticket).error_code, invalid);
    }
    assert!(fixture.groups.group(GROUP).is_none());
    let ids = fixture.stable(&[fixed(&longest, "")]);
    assert_eq!(ids[0].len(), 32_767);
    fixture.restart();
    assert_eq!(fixture.heartbeat_of(&ids[0], Some(&longest), 1), 0);
}

#[test]
fn a_group_whose_record_would_not_fit_the_offsets_topic_joins_anew() {
    let limits: [fn(&mut Fixture); 3] = [
        |fixture| fixture.settings.message_max_bytes = 100_000,
        |fixture| set_offsets_topic(fixture, "max.message.bytes"),
        |fixture| set_offsets_topic(fixture, "segment.bytes"),
    ];
    for limit in limits {
        let mut fixture = Fixture::new();
        fixture.topic("__consumer_offsets", 1);
        limit(&mut fixture);
        let joined = fixture.gather(&[saying("", 40_000), saying("", 40_000)]);
        let ids: Vec<String> = joined.iter().map(|response| response.member_id.to_string()).collect();
        let waits = fixture.sync(&ids[1], 1, &[]);
        let long = "a".repeat(30_000);
        let ticket = fixture.sync(&ids[0], 1, &[(&ids[1], &long)]);
        let failed = code(ResponseError::UnknownServerError);
        assert_eq!(fixture.synced(ticket).error_code, failed);
        assert_eq!(fixture.synced(waits).error_code, failed);
        assert_eq!(fixture.state(), State::PreparingRebalance);
        assert_eq!(fixture.log.len(), 1, "only that the group was made");
        fixture.check_replay();
        let again = [fixture.join(&joining(&ids[0]), 9), fixture.join(&saying(&ids[1], 40_000), 9)];
        assert_eq!(again.map(|ticket| fixture.joined(ticket).generation_id), [2, 2]);
        let ticket = fixture.sync(&ids[0], 2, &[(&ids[1], &long)]);
        assert_eq!(fixture.synced(ticket).error_code, 0);
        fixture.restart();
        assert_eq!(fixture.heartbeat(&ids[1], 2), 0);
    }
}

fn set_offsets_topic(fixture: &mut Fixture, name: &str) {
    fixture.change_image(|image| {
        let record = ConfigRecord {
            resource_type: 2,
            resource_name: "__consumer_offsets".to_owned(),
            name: name.to_owned(),
            value: Some("100000".to_owned()),
        };
        image.apply(&Metadata::from(record)).unwrap();
    });
}

#[test]
fn a_static_member_that_says_too_much_for_the_record_does_not_get_its_place() {
    let mut fixture = Fixture::new();
    fixture.settings.message_max_bytes = 100_000;
    let ids = fixture.stable(&[fixed("i", "")]);
    let written = fixture.log.len();
    let mut large = saying("", 100_000);
    large.group_instance_id = Some(text("i"));
    assert_eq!(fixture.join_now(&large, 9).error_code, code(ResponseError::UnknownServerError));
    assert_eq!((fixture.state(), fixture.log.len()), (State::Stable, written));
    assert_eq!(fixture.heartbeat_of(&ids[0], Some("i"), 1), 0);
    large.protocols[0].metadata = vec![0; 90_000].into();
    assert_eq!(fixture.join_now(&large, 9).error_code, 0);
    fixture.restart();
    assert_eq!(fixture.heartbeat_of(&ids[0], Some("i"), 1), code(ResponseError::FencedInstanceId));
}

#[test]
fn members_that_join_again_do_not_grow_past_their_groups_bound() {
    let mut fixture = Fixture::new();
    let large = LARGE / 2;
    let fit = bounds::GROUP_BYTES_MAX / large - 1;
    let rest = bounds::GROUP_BYTES_MAX - fit * large - 40_000;
    let mut requests = vec![saying("", large); fit];
    requests.push(fixed("i", ""));
    requests.push(saying("", rest));
    let joined = fixture.gather(&requests);
    let ids: Vec<&str> = joined.iter().map(|response| response.member_id.as_str()).collect();
    let full = code(ResponseError::GroupMaxSizeReached);
    let before = fixture.classic().member_bytes();
    assert_eq!(fixture.join_now(&saying(ids[fit + 1], rest + 30_000), 9).error_code, full);
    // So is a static member that comes back without its id.
    let mut back = saying("", 30_000);
    back.group_instance_id = Some(text("i"));
    assert_eq!(fixture.join_now(&back, 9).error_code, full);
    assert_eq!((fixture.classic().member_bytes(), fixture.state()), (before, State::CompletingRebalance));
    // Who says as much as before may, and who says less.
    assert_eq!(fixture.join_now(&saying(ids[0], large), 9).error_code, 0);
    fixture.join(&saying(ids[0], 10), 9);
    assert!(fixture.classic().member_bytes() < before);
    fixture.join(&saying(ids[fit + 1], rest + 30_000), 9);
    assert!(fixture.answers.is_empty(), "both wait for the round");
    fixture.check_replay();
}

#[test]
fn ids_that_groups_give_out_are_bounded_together() {
    let mut fixture = Fixture::new();
    let name = "n".repeat(30_000);
    let given = |fixture: &mut Fixture, group: &str| {
        let ticket = fixture.join_as(&name, &in_group(group), 9);
        fixture.joined(ticket).error_code
    };
    let required = code(ResponseError::MemberIdRequired);
    let count = (0..).find(|at| given(&mut fixture, &format!("g{at}")) != required).unwrap();
    let each = 30_000 + 37 + bounds::PENDING_OVERHEAD_BYTES;
    assert_eq!(count, bounds::COORDINATOR_PENDING_BYTES_MAX / each);
    let refused = code(ResponseError::CoordinatorNotAvailable);
    assert_eq!(given(&mut fixture, "g0"), refused);
    assert!(fixture.groups.group(&format!("g{count}")).is_none(), "no group is made for who is refused");
    fixture.check_replay();
    // A group that is deleted gives its ids back, and so do sessions that end.
    fixture.decide(|groups, _, outcome| groups.delete(&GroupId(text("g0")), outcome));
    assert_eq!([given(&mut fixture, "g1"), given(&mut fixture, "g1")], [required, refused]);
    fixture.step(SESSION_MS as u64);
    assert_eq!(fixture.groups.pending_bytes.get(), 0);
    assert_eq!(given(&mut fixture, "g1"), required);
}

#[test]
fn an_empty_consumer_group_stays_where_no_classic_one_can_take_its_place() {
    let mut fixture = Fixture::new();
    assert_eq!(comes_to(&mut fixture, "g"), 0);
    let leaves = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_member_id(text("m"))
        .with_member_epoch(-1);
    fixture.try_heartbeat(&leaves).unwrap();
    assert_eq!(commits(&mut fixture, "g"), 0);
    held::set_bound(0);
    let refused = code(ResponseError::CoordinatorNotAvailable);
    assert_eq!(fixture.join_now(&in_group("g"), 9).error_code, refused);
    assert!(matches!(fixture.groups.group("g"), Some(Group::Consumer(_))), "its offsets have a group");
    fixture.check_replay();
}

#[test]
fn groups_that_joins_make_are_bounded_together_and_leave_when_they_expire() {
    let mut fixture = Fixture::new();
    let long = "g".repeat(32_000);
    let name = |at: usize| format!("{long}{at:06}");
    let made = |fixture: &mut Fixture, group: &str| fixture.join_now(&in_group(group), 9).error_code;
    let ids = fixture.stable(&[joining("")]);
    let required = code(ResponseError::MemberIdRequired);
    let count = (0..).find(|at| made(&mut fixture, &name(*at)) != required).unwrap();
    assert_eq!(count, bounds::COORDINATOR_GROUPS_BYTES_MAX / (32_006 + bounds::GROUP_OVERHEAD_BYTES));
    let refused = code(ResponseError::CoordinatorNotAvailable);
    let written = fixture.log.len();
    assert_eq!(made(&mut fixture, &name(count)), refused);
    assert_eq!(fixture.log.len(), written, "a refused join stores nothing");
    // Groups that are there go on, and nobody else makes one.
    assert_eq!(made(&mut fixture, GROUP), required);
    assert_eq!(fixture.heartbeat(&ids[0], 1), 0);
    assert_eq!(comes_to(&mut fixture, &name(count)), refused);
    assert_eq!(commits(&mut fixture, &name(count)), refused);
    assert_eq!(commits(&mut fixture, &name(0)), 0);
    fixture.check_replay();
    for _ in 0..120 {
        fixture.step(SESSION_MS as u64 / 2);
        fixture.heartbeat(&ids[0], 1);
    }
    assert_eq!(fixture.groups.groups.len(), 2, "those with members or offsets stay");
    assert_eq!(made(&mut fixture, &name(count)), required);
    fixture.check_replay();
}

/// A member of the consumer protocol comes to a group.
fn comes_to(fixture: &mut Fixture, group: &str) -> i16 {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text("m"))
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_subscribed_topic_names(Some(Vec::new()))
        .with_topic_partitions(Some(Vec::new()));
    fixture.try_heartbeat(&request).err().map_or(0, |error| error.code())
}

/// Somebody who is no member commits for a group.
fn commits(fixture: &mut Fixture, group: &str) -> i16 {
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(vec![OffsetCommitRequestPartition::default()]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_retention_time_ms(-1)
        .with_topics(vec![topic]);
    let committed =
        fixture.decide(|groups, context, outcome| groups.commit_offsets(&request, 8, context, outcome));
    committed.map_or_else(|error| error.code(), |topics| topics[0].partitions[0].error_code)
}

#[test]
fn all_that_the_groups_of_a_core_keep_is_bounded_together() {
    let mut fixture = Fixture::new();
    fixture.topic("t", 1);
    let refused = code(ResponseError::CoordinatorNotAvailable);
    let ids = fixture.stable(&[joining("")]);
    assert_eq!([commits(&mut fixture, "kept"), comes_to(&mut fixture, "consumers")], [0, 0]);
    held::set_bound(8 << 20);
    let large = |at: usize| saying("", 1 << 20).with_group_id(GroupId(text(&format!("g{at}"))));
    let count = (0..100)
        .find(|at| {
            let ticket = fixture.join(&large(*at), 3);
            fixture.take(ticket).is_some()
        })
        .expect("the memory has an end");
    assert_eq!(count, 7);
    let ticket = fixture.join(&large(count), 3);
    assert_eq!(fixture.joined(ticket).error_code, refused);
    // Until it is used up to the last.
    let name = |at: usize| format!("{at:0width$}", width = (held::room() / 2).min(30_000));
    let full = (0..1_000).find(|at| comes_to(&mut fixture, &name(*at)) == refused);
    assert!(full.is_some(), "the memory has an end");
    let new = [comes_to(&mut fixture, "new"), commits(&mut fixture, "new")];
    assert_eq!(new, [refused; 2]);
    assert!(fixture.groups.group("new").is_none(), "a refused request makes no group");
    assert_eq!(fixture.join_now(&in_group("new"), 9).error_code, refused);
    // Who is there goes on, and says again what it said.
    assert_eq!(fixture.heartbeat(&ids[0], 1), 0);
    assert_eq!([commits(&mut fixture, "kept"), comes_to(&mut fixture, "consumers")], [0, 0]);
    fixture.join(&joining(&ids[0]), 9);
    let ticket = fixture.sync(&ids[0], 2, &[(&ids[0], &ids[0])]);
    assert_eq!(fixture.synced(ticket).error_code, 0);
    fixture.join(&joining(&ids[0]), 9);
    let larger = "a".repeat(held::room() + 100);
    let ticket = fixture.sync(&ids[0], 3, &[(&ids[0], &larger)]);
    assert_eq!(fixture.synced(ticket).error_code, refused);
    // What is given back is there for others.
    fixture.decide(|groups, _, outcome| groups.delete(&GroupId(text("kept")), outcome));
    assert_eq!(commits(&mut fixture, "new"), 0);
    fixture.check_replay();
}
