//! Records and restarts, and what offsets ask of a group.

use std::sync::Arc;

use super::*;
use crate::group::OffsetRetention;
use crate::protocol::stored::group::{GroupMetadataValue, Record};

/// What consumers say: version 0, these topics, no user data.
fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}

fn subscribing(topics: &[&str]) -> JoinGroupRequest {
    let mut request = joining("");
    request.protocols[0].metadata = subscription(topics);
    request
}

fn values(fixture: &Fixture) -> Vec<Option<GroupMetadataValue>> {
    let value = |record| match record {
        Record::GroupMetadata(key, value) => {
            assert_eq!(key.group, GROUP);
            value
        }
        other => panic!("{other:?}"),
    };
    fixture.records().into_iter().map(value).collect()
}

#[test]
fn a_group_is_written_when_it_is_made_stable_and_empty() {
    let mut fixture = Fixture::new();
    let born_ms = fixture.now.wall_ms;
    let ids = fixture.stable(&[fixed("i", "")]);
    let stable_ms = fixture.now.wall_ms;
    fixture.step(1_000);
    fixture.leave(&[(&ids[0], None)]);
    let written = values(&fixture);
    let [Some(born), Some(stable), Some(empty)] = &written[..] else { panic!("{written:?}") };
    assert_eq!(*born, GroupMetadataValue { current_state_timestamp: born_ms, ..Default::default() });
    assert_eq!((stable.protocol_type.as_str(), stable.generation), ("consumer", 1));
    assert_eq!((stable.protocol.as_deref(), stable.leader.as_ref()), (Some("range"), Some(&ids[0])));
    assert_eq!(stable.current_state_timestamp, stable_ms);
    let member = &stable.members[0];
    assert_eq!((&member.member_id, member.group_instance_id.as_deref()), (&ids[0], Some("i")));
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("c", "/127.0.0.1"));
    assert_eq!((member.session_timeout, member.rebalance_timeout), (SESSION_MS, REBALANCE_MS));
    assert_eq!(member.assignment, ids[0].as_bytes());
    assert_eq!((empty.protocol_type.as_str(), empty.generation), ("consumer", 2));
    assert_eq!((&empty.protocol, &empty.leader, empty.members.len()), (&None, &None, 0));
    assert_eq!(empty.current_state_timestamp, fixture.now.wall_ms);
    // The value's version is Kafka's.
    assert!(fixture.log.iter().all(|(_, value)| value.as_ref().unwrap()[..2] == [0, 3]));
}

#[test]
fn after_a_restart_a_stable_group_goes_on_and_sessions_begin_anew() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), fixed("i", "")]);
    fixture.step(SESSION_MS as u64 - 1);
    fixture.restart();
    assert_eq!(fixture.state(), State::Stable);
    fixture.step(SESSION_MS as u64 - 1);
    assert_eq!(fixture.heartbeat(&ids[0], 1), 0);
    assert_eq!(fixture.heartbeat_of(&ids[1], Some("i"), 1), 0);
    let ticket = fixture.sync(&ids[0], 1, &[]);
    assert_eq!(fixture.synced(ticket).assignment, ids[0].as_bytes());
    // A follower that says what it said before stays; its other protocols are not known any more.
    let same = fixture.join_now(&fixed("i", &ids[1]), 9);
    assert_eq!((same.error_code, same.generation_id), (0, 1));
    fixture.step(SESSION_MS as u64);
    assert_eq!((fixture.state(), fixture.classic().generation), (State::Empty, 2));
}

#[test]
fn a_round_that_runs_does_not_outlive_a_restart() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining("")]);
    let waits = fixture.join(&joining(""), 3);
    assert_eq!(fixture.state(), State::PreparingRebalance);
    fixture.restart();
    assert_eq!((fixture.state(), fixture.classic().generation), (State::Stable, 1));
    assert_eq!(fixture.classic().members.len(), 1);
    assert!(fixture.take(waits).is_none());
    assert_eq!(fixture.heartbeat(&ids[0], 1), 0);
    // So does a state that is written again while a round runs.
    fixture.join(&joining(""), 3);
    assert_eq!(fixture.classic().records().len(), 1);
    let Record::GroupMetadata(_, Some(value)) = fixture.classic().records().remove(0) else { panic!() };
    assert_eq!((value.generation, value.members.len()), (1, 1));
}

#[test]
fn a_group_that_has_become_too_large_joins_anew_after_a_restart() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining(""), joining("")]);
    fixture.settings.group_max_size = 2;
    fixture.restart();
    assert_eq!(fixture.state(), State::PreparingRebalance);
    let tickets: Vec<_> = ids.iter().map(|id| fixture.join(&joining(id), 4)).collect();
    assert_eq!(fixture.joined(tickets[2]).error_code, code(ResponseError::GroupMaxSizeReached));
    fixture.step(REBALANCE_MS as u64);
    assert_eq!(fixture.joined(tickets[0]).members.len(), 2);
}

/// A group of thousands would copy all of them each time that one static member is restarted.
#[test]
fn a_static_member_that_comes_back_has_nothing_of_the_others_copied() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[fixed("a", ""), fixed("b", "")]);
    let texts = |fixture: &Fixture| {
        let Record::GroupMetadata(_, Some(value)) = fixture.classic().records().remove(0) else { panic!() };
        let text = |at: usize| (value.members[at].member_id.clone(), value.members[at].member_id.as_ptr());
        [text(0), text(1)]
    };
    let [a, b] = texts(&fixture);
    let back = fixture.join_now(&fixed("a", ""), 9);
    let [a_after, b_after] = texts(&fixture);
    assert_eq!((&a.0, a_after.0.as_str()), (&ids[0], back.member_id.as_str()));
    assert_eq!(b, b_after);
}

#[test]
fn what_a_member_says_anew_is_written_where_all_else_is_as_it_was() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[subscribing(&["orders"])]);
    let again = subscribing(&["bills"]).with_member_id(text(&ids[0]));
    assert_eq!(fixture.stable(&[again]), ids);
    let written = values(&fixture);
    let stored = &written.last().and_then(Option::as_ref).expect("a stable group").members[0];
    assert_eq!(stored.subscription, subscription(&["bills"]));
}

#[test]
fn records_of_old_versions_lack_what_later_ones_have() {
    let mut fixture = Fixture::new();
    fixture.stable(&[joining("")]);
    let Record::GroupMetadata(_, Some(mut value)) = fixture.classic().records().remove(0) else { panic!() };
    value.current_state_timestamp = -1;
    Arc::make_mut(&mut value.members)[0].rebalance_timeout = -1;
    value.leader = Some("nobody".into());
    let group = ClassicGroup::from_record(value.clone(), GROUP.into());
    assert_eq!((group.state_since_ms, group.rebalance_timeout_ms()), (None, SESSION_MS as u64));
    assert_eq!(group.leader.as_deref(), Some(value.members[0].member_id.as_str()));
    value.members = Arc::default();
    let group = ClassicGroup::from_record(value, GROUP.into());
    assert_eq!(group.offset_retention(), OffsetRetention::SinceCommit);
}

#[test]
fn a_stored_group_that_names_a_member_twice_has_it_once() {
    let mut fixture = Fixture::new();
    fixture.stable(&[fixed("i", "")]);
    let Record::GroupMetadata(_, Some(mut value)) = fixture.classic().records().remove(0) else { panic!() };
    let mut other = value.members[0].clone();
    let members = Arc::make_mut(&mut value.members);
    members.push(other.clone());
    other.member_id = "other".into();
    members.push(other);
    assert_eq!(ClassicGroup::from_record(value, GROUP.into()).members.len(), 1);
}

#[test]
fn commits_are_taken_from_members_of_the_generation() {
    let mut fixture = Fixture::new();
    let answer = |fixture: &Fixture, member: &str, instance: Option<&str>, generation| {
        let checked = fixture.classic().validate_commit(member, instance, generation, false);
        checked.err().map_or(0, |error| error.code())
    };
    let (unknown, illegal) = (code(ResponseError::UnknownMemberId), code(ResponseError::IllegalGeneration));
    let joined = fixture.gather(&[fixed("i", ""), joining("")]);
    let ids: Vec<_> = joined.iter().map(|response| response.member_id.to_string()).collect();
    // The leader assigns: whoever has joined knows that already.
    assert_eq!(answer(&fixture, &ids[1], None, 1), code(ResponseError::RebalanceInProgress));
    fixture.sync(&ids[0], 1, &[]);
    assert_eq!(answer(&fixture, &ids[1], None, 1), 0);
    assert_eq!(answer(&fixture, &ids[0], Some("i"), 1), 0);
    assert_eq!(answer(&fixture, &ids[1], Some("i"), 1), code(ResponseError::FencedInstanceId));
    assert_eq!(answer(&fixture, &ids[1], None, 2), illegal);
    assert_eq!(answer(&fixture, &ids[1], None, -1), illegal);
    assert_eq!(answer(&fixture, "who", None, 1), unknown);
    assert_eq!(answer(&fixture, "", None, -1), unknown);
    // A transaction need not name its member.
    assert!(fixture.classic().validate_commit("", None, -1, true).is_ok());
    // Members of the generation before may still commit while all join.
    fixture.join(&fixed("i", &ids[0]), 9);
    assert_eq!(answer(&fixture, &ids[1], None, 1), 0);
    fixture.leave(&[("", Some("i")), (&ids[1], None)]);
    assert_eq!(fixture.state(), State::Empty);
    assert_eq!(answer(&fixture, "", None, -1), 0);
    assert_eq!(answer(&fixture, "who", None, -1), 0);
    assert_eq!(answer(&fixture, "", None, 1), unknown);
}

#[test]
fn a_commit_keeps_a_session() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining("")]);
    for _ in 0..5 {
        fixture.step(SESSION_MS as u64 - 1);
        fixture.decide(|groups, context, _| groups.classic_committed(GROUP, &ids[0], context));
    }
    assert_eq!(fixture.state(), State::Stable);
}

#[test]
fn consumers_are_known_by_what_they_subscribe_to() {
    let mut fixture = Fixture::new();
    fixture.stable(&[subscribing(&["a"]), subscribing(&["b", "c"])]);
    let group = fixture.classic();
    assert!(["a", "b", "c"].iter().all(|topic| group.is_subscribed_to(topic)));
    assert!(!group.is_subscribed_to("d"));
    assert_eq!(group.offset_retention(), OffsetRetention::SinceCommit);
    assert!(group.validate_offset_delete().is_ok());
    fixture.restart();
    assert!(fixture.classic().is_subscribed_to("c") && !fixture.classic().is_subscribed_to("d"));
}

#[test]
fn consumers_that_say_nothing_readable_may_read_any_topic() {
    let mut fixture = Fixture::new();
    fixture.stable(&[subscribing(&["a"]), joining("")]);
    assert!(fixture.classic().is_subscribed_to("d"));
    assert_eq!(fixture.classic().offset_retention(), OffsetRetention::Kept);
}

#[test]
fn members_that_are_no_consumers_keep_their_offsets() {
    let mut fixture = Fixture::new();
    fixture.stable(&[joining("").with_protocol_type(text("connect"))]);
    let group = fixture.classic();
    assert!(!group.is_subscribed_to("a"));
    assert_eq!(group.offset_retention(), OffsetRetention::Kept);
    let refused = group.validate_offset_delete().unwrap_err();
    assert_eq!(refused.code(), code(ResponseError::NonEmptyGroup));
}

#[test]
fn offsets_of_an_empty_group_count_from_when_it_became_empty() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[subscribing(&["a"])]);
    fixture.leave(&[(&ids[0], None)]);
    let empty_ms = fixture.now.wall_ms;
    fixture.step(5_000);
    let replayed = fixture.replayed();
    for group in [fixture.groups.group(GROUP), replayed.group(GROUP)] {
        assert_eq!(group.unwrap().offset_retention(), OffsetRetention::Since(empty_ms));
        assert!(!group.unwrap().is_subscribed_to("a"));
    }
    let simple = ClassicGroup::simple("s".into());
    assert_eq!(simple.offset_retention(), OffsetRetention::SinceCommit);
    assert!(simple.is_simple() && simple.records().is_empty() && simple.validate_offset_delete().is_ok());
}
