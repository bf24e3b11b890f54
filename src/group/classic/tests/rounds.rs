//! Joining, synchronising, heartbeats, leaving: dynamic members.

use super::*;

#[test]
fn the_first_round_waits_for_its_delay_and_the_first_member_leads() {
    let mut fixture = Fixture::new();
    let (a, b) = (fixture.join_as("a", &joining(""), 0), fixture.join_as("b", &joining(""), 0));
    fixture.step(DELAY_MS - 1);
    assert!(fixture.answers.is_empty());
    assert_eq!(fixture.state(), State::PreparingRebalance);
    // The second came while the delay ran, so it runs once more.
    fixture.step(DELAY_MS);
    assert!(fixture.answers.is_empty());
    fixture.step(1);
    let (a, b) = (fixture.joined(a), fixture.joined(b));
    assert!(a.member_id.starts_with("a-") && b.member_id.starts_with("b-"));
    assert_eq!((a.error_code, a.generation_id, a.leader.clone()), (0, 1, a.member_id.clone()));
    assert_eq!((b.error_code, b.generation_id, b.leader.clone()), (0, 1, a.member_id.clone()));
    assert_eq!(a.protocol_name.as_deref(), Some("range"));
    assert_eq!(a.protocol_type.as_deref(), Some("consumer"));
    let known: Vec<_> = a.members.iter().map(|member| member.member_id.clone()).collect();
    assert_eq!(known, [a.member_id, b.member_id]);
    assert!(b.members.is_empty());
    assert_eq!(fixture.state(), State::CompletingRebalance);
    fixture.check_replay();
}

#[test]
fn the_first_round_is_delayed_no_longer_than_the_rebalance_timeout() {
    let mut fixture = Fixture::new();
    let request = joining("").with_rebalance_timeout_ms(10_000);
    let mut tickets = vec![fixture.join(&request, 0)];
    for _ in 0..9 {
        fixture.step(1_000);
        assert!(fixture.answers.is_empty());
        tickets.push(fixture.join(&request, 0));
    }
    fixture.step(1_000);
    for ticket in tickets {
        assert_eq!(fixture.joined(ticket).generation_id, 1);
    }
}

#[test]
fn no_delay_completes_the_first_round_at_once() {
    let mut fixture = Fixture::with("group.initial.rebalance.delay.ms=0\n");
    let ticket = fixture.join(&joining(""), 0);
    fixture.step(0);
    assert_eq!(fixture.joined(ticket).error_code, 0);
}

#[test]
fn a_member_without_an_id_is_given_one_and_joins_under_it() {
    let mut fixture = Fixture::new();
    let asked = fixture.join_now(&joining(""), 4);
    assert_eq!(asked.error_code, code(ResponseError::MemberIdRequired));
    assert!(asked.member_id.starts_with("c-") && asked.member_id.len() == 2 + 36);
    assert_eq!(fixture.state(), State::Empty);
    let ticket = fixture.join(&joining(&asked.member_id), 4);
    fixture.step(DELAY_MS);
    assert_eq!(fixture.joined(ticket).member_id, asked.member_id);
}

#[test]
fn an_id_that_is_not_used_is_forgotten_with_its_session() {
    let mut fixture = Fixture::new();
    let asked = fixture.join_now(&joining(""), 9);
    fixture.step(SESSION_MS as u64);
    let late = fixture.join_now(&joining(&asked.member_id), 9);
    assert_eq!(late.error_code, code(ResponseError::UnknownMemberId));
    assert!(fixture.classic().pending.is_empty());
}

#[test]
fn a_round_waits_for_the_ids_that_were_given_out() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining("")]);
    let asked = fixture.join_now(&joining(""), 4);
    let leader = fixture.join(&joining(&ids[0]), 4);
    assert!(fixture.answers.is_empty());
    fixture.step(SESSION_MS as u64 - 1);
    assert!(fixture.answers.is_empty());
    fixture.step(1);
    assert_eq!(fixture.joined(leader).generation_id, 2);
    assert_ne!(asked.member_id.as_str(), ids[0]);
}

#[test]
fn nobody_joins_an_unknown_group_under_an_id() {
    let mut fixture = Fixture::new();
    let refused = fixture.join_now(&joining("who"), 9);
    assert_eq!(refused.error_code, code(ResponseError::UnknownMemberId));
    assert_eq!(refused.member_id.as_str(), "who");
    assert!(fixture.groups.group(GROUP).is_none() && fixture.log.is_empty());
}

#[test]
fn requests_that_name_no_group_or_a_wrong_time_are_refused() {
    let mut fixture = Fixture::new();
    let nameless = joining("x").with_group_id(GroupId(text("")));
    assert_eq!(fixture.join_now(&nameless, 9).error_code, code(ResponseError::InvalidGroupId));
    for session_ms in [5_999, 1_800_001, -1] {
        let request = joining("x").with_session_timeout_ms(session_ms);
        let refused = fixture.join_now(&request, 9);
        assert_eq!(refused.error_code, code(ResponseError::InvalidSessionTimeout));
        assert_eq!(refused.member_id.as_str(), "x");
    }
    let ticket = fixture.sync_by(&SyncGroupRequest::default(), 4);
    assert_eq!(fixture.synced(ticket).error_code, code(ResponseError::InvalidGroupId));
}

#[test]
fn most_votes_choose_among_the_protocols_that_all_can_follow() {
    let mut fixture = Fixture::new();
    let of = |protocols: &[(&str, &str)]| joining("").with_protocols(named(protocols));
    let joined = fixture.gather(&[
        of(&[("only-mine", ""), ("range", "1"), ("sticky", "2")]),
        of(&[("sticky", ""), ("range", "")]),
        of(&[("sticky", ""), ("range", "")]),
    ]);
    assert_eq!(joined[1].protocol_name.as_deref(), Some("sticky"));
    assert_eq!(joined[0].members[0].metadata, Bytes::from_static(b"2"));
}

#[test]
fn of_equal_votes_the_eldest_members_count() {
    let mut fixture = Fixture::new();
    let of = |protocols: &[(&str, &str)]| joining("").with_protocols(named(protocols));
    let joined = fixture.gather(&[of(&[("b", ""), ("a", "")]), of(&[("a", ""), ("b", "")])]);
    assert_eq!(joined[0].protocol_name.as_deref(), Some("b"));
}

#[test]
fn a_protocol_that_not_all_can_follow_is_inconsistent() {
    let mut fixture = Fixture::new();
    let inconsistent = code(ResponseError::InconsistentGroupProtocol);
    // Even an empty group wants a type and a protocol.
    assert_eq!(fixture.join_now(&joining("").with_protocols(vec![]), 9).error_code, inconsistent);
    assert_eq!(fixture.join_now(&joining("").with_protocol_type(text("")), 9).error_code, inconsistent);
    assert_eq!(fixture.state(), State::Empty);
    let ids = fixture.stable(&[joining("")]);
    for member in ["", &ids[0]] {
        let other_type = joining(member).with_protocol_type(text("connect"));
        let other_protocol = joining(member).with_protocols(named(&[("other", "")]));
        for request in [other_type, other_protocol] {
            let refused = fixture.join_now(&request, 9);
            assert_eq!((refused.error_code, refused.member_id.as_str()), (inconsistent, member));
        }
    }
    assert_eq!(fixture.state(), State::Stable);
}

#[test]
fn the_leader_assigns_and_who_is_not_named_gets_nothing() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(&[joining(""), joining(""), joining("")]);
    let ids: Vec<_> = joined.iter().map(|response| response.member_id.as_str()).collect();
    let waiting = fixture.sync(ids[1], 1, &[(ids[1], "of a follower is not listened to")]);
    assert!(fixture.answers.is_empty());
    let leading = fixture.sync(ids[0], 1, &[(ids[0], "zero"), (ids[1], "one"), ("stranger", "x")]);
    assert_eq!(fixture.synced(leading).assignment, Bytes::from_static(b"zero"));
    let one = fixture.synced(waiting);
    assert_eq!(one.assignment, Bytes::from_static(b"one"));
    assert_eq!(
        (one.protocol_type.as_deref(), one.protocol_name.as_deref()),
        (Some("consumer"), Some("range"))
    );
    assert_eq!(fixture.state(), State::Stable);
    let late = fixture.sync(ids[2], 1, &[]);
    assert_eq!(fixture.synced(late).assignment, Bytes::new());
    fixture.check_replay();
}

#[test]
fn synchronising_asks_for_member_generation_and_protocol() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining("")]);
    let unknown = fixture.sync("who", 1, &[]);
    assert_eq!(fixture.synced(unknown).error_code, code(ResponseError::UnknownMemberId));
    for generation in [0, 2, -1] {
        let old = fixture.sync(&ids[0], generation, &[]);
        assert_eq!(fixture.synced(old).error_code, code(ResponseError::IllegalGeneration));
    }
    let by = |kind: Option<&str>, name: Option<&str>| {
        SyncGroupRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id(1)
            .with_member_id(text(&ids[0]))
            .with_protocol_type(kind.map(text))
            .with_protocol_name(name.map(text))
    };
    let inconsistent = code(ResponseError::InconsistentGroupProtocol);
    for (request, expected) in [
        (by(Some("consumer"), Some("range")), 0),
        (by(Some("connect"), Some("range")), inconsistent),
        (by(Some("consumer"), Some("other")), inconsistent),
        (by(None, Some("range")), inconsistent),
        (by(Some("consumer"), None), inconsistent),
    ] {
        let ticket = fixture.sync_by(&request, 5);
        assert_eq!(fixture.synced(ticket).error_code, expected, "{request:?}");
    }
    let elsewhere = SyncGroupRequest::default().with_group_id(GroupId(text("other")));
    let ticket = fixture.sync_by(&elsewhere, 4);
    assert_eq!(fixture.synced(ticket).error_code, code(ResponseError::UnknownMemberId));
}

#[test]
fn heartbeats_ask_for_member_and_generation_and_tell_of_rounds() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.heartbeat("who", 1), code(ResponseError::UnknownMemberId));
    let ids = fixture.stable(&[joining(""), joining("")]);
    assert_eq!(fixture.heartbeat(&ids[0], 1), 0);
    assert_eq!(fixture.heartbeat("who", 1), code(ResponseError::UnknownMemberId));
    assert_eq!(fixture.heartbeat(&ids[0], 2), code(ResponseError::IllegalGeneration));
    assert_eq!(fixture.heartbeat_of(&ids[0], Some("i"), 1), code(ResponseError::UnknownMemberId));
    fixture.join(&joining(&ids[0]), 4);
    assert_eq!(fixture.heartbeat(&ids[1], 1), code(ResponseError::RebalanceInProgress));
    // Between two rounds a member may heartbeat already.
    let ticket = fixture.join(&joining(&ids[1]), 4);
    assert_eq!(fixture.joined(ticket).generation_id, 2);
    assert_eq!(fixture.heartbeat(&ids[1], 2), 0);
}

#[test]
fn a_session_without_heartbeats_ends_and_the_others_join_anew() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining("")]);
    for _ in 0..3 {
        fixture.step(SESSION_MS as u64 / 2);
        fixture.heartbeat(&ids[1], 1);
    }
    assert_eq!(fixture.state(), State::PreparingRebalance);
    assert!(!fixture.classic().members.contains(&ids[0]));
    // The eldest of the others leads now.
    let ticket = fixture.join(&joining(&ids[1]), 4);
    assert_eq!(fixture.joined(ticket).leader.as_str(), ids[1]);
}

#[test]
fn who_waits_need_not_heartbeat() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining("")]);
    let waits = fixture.join(&joining(&ids[0]), 4);
    for _ in 0..5 {
        fixture.step(SESSION_MS as u64 - 1);
        assert_eq!(fixture.heartbeat(&ids[1], 1), code(ResponseError::RebalanceInProgress));
    }
    assert!(fixture.answers.is_empty());
    let last = fixture.join(&joining(&ids[1]), 4);
    assert_eq!(fixture.joined(waits).generation_id, 2);
    assert_eq!(fixture.joined(last).generation_id, 2);
}

#[test]
fn a_new_member_waits_five_minutes_at_most() {
    let mut fixture = Fixture::new();
    let patient = joining("").with_rebalance_timeout_ms(3_600_000);
    let ids = fixture.stable(std::slice::from_ref(&patient));
    let new = fixture.join(&patient, 3);
    for _ in 0..50 {
        fixture.step(6_000);
        assert_eq!(fixture.heartbeat(&ids[0], 1), code(ResponseError::RebalanceInProgress));
    }
    let gone = fixture.joined(new);
    assert_eq!(gone.error_code, code(ResponseError::UnknownMemberId));
    assert_eq!(gone.member_id.as_str(), "");
}

#[test]
fn dynamic_members_that_do_not_join_again_in_time_are_taken_away() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining("")]);
    let waits = fixture.join(&joining(&ids[1]).with_protocols(named(&[("range", "new")])), 4);
    for _ in 0..12 {
        fixture.step(REBALANCE_MS as u64 / 12);
        fixture.heartbeat(&ids[0], 1);
    }
    let joined = fixture.joined(waits);
    assert_eq!((joined.generation_id, joined.leader.as_str()), (2, ids[1].as_str()));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(fixture.heartbeat(&ids[0], 1), code(ResponseError::UnknownMemberId));
}

#[test]
fn members_that_do_not_synchronise_in_time_are_taken_away() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(&[joining(""), joining("")]);
    let ids: Vec<_> = joined.iter().map(|response| response.member_id.to_string()).collect();
    let waits = fixture.sync(&ids[1], 1, &[]);
    for _ in 0..12 {
        fixture.step(REBALANCE_MS as u64 / 12);
        fixture.heartbeat(&ids[0], 1);
    }
    // The leader never assigned.
    assert_eq!(fixture.synced(waits).error_code, code(ResponseError::RebalanceInProgress));
    assert_eq!(fixture.state(), State::PreparingRebalance);
    assert!(!fixture.classic().members.contains(&ids[0]));
    // A stable group loses a follower that way too.
    let mut fixture = Fixture::new();
    let joined = fixture.gather(&[joining(""), joining("")]);
    let ids: Vec<_> = joined.iter().map(|response| response.member_id.to_string()).collect();
    fixture.sync(&ids[0], 1, &[]);
    for _ in 0..12 {
        ids.iter().for_each(|id| assert_eq!(fixture.heartbeat(id, 1), 0));
        fixture.step(REBALANCE_MS as u64 / 12);
    }
    assert_eq!(fixture.state(), State::PreparingRebalance);
    assert!(!fixture.classic().members.contains(&ids[1]));
}

#[test]
fn a_leader_that_joins_again_has_everyone_join() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining("")]);
    // A follower that says nothing new is told what it missed.
    let follower = fixture.join_now(&joining(&ids[1]), 9);
    assert_eq!((follower.error_code, follower.generation_id), (0, 1));
    assert_eq!(follower.leader.as_str(), ids[0]);
    assert_eq!(fixture.state(), State::Stable);
    fixture.join(&joining(&ids[0]), 9);
    assert_eq!(fixture.state(), State::PreparingRebalance);
}

#[test]
fn a_follower_that_says_something_new_has_everyone_join() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining("")]);
    fixture.join(&joining(&ids[1]).with_protocols(named(&[("range", "new")])), 9);
    assert_eq!(fixture.state(), State::PreparingRebalance);
}

#[test]
fn who_missed_the_answer_to_its_join_is_told_again() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(&[joining(""), joining("")]);
    for response in &joined {
        assert_eq!(fixture.join_now(&joining(&response.member_id), 9), *response);
    }
    // Whoever says something new begins another round, and those who wait for their assignment join it.
    let waits = fixture.sync(&joined[1].member_id, 1, &[]);
    fixture.join(&joining(&joined[0].member_id).with_protocols(named(&[("range", "new")])), 9);
    assert_eq!(fixture.synced(waits).error_code, code(ResponseError::RebalanceInProgress));
    let late = fixture.sync(&joined[1].member_id, 1, &[]);
    assert_eq!(fixture.synced(late).error_code, code(ResponseError::RebalanceInProgress));
}

#[test]
fn a_member_that_asks_again_while_it_waits_takes_its_own_place() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining("")]);
    let first = fixture.join(&joining(&ids[0]), 4);
    let second = fixture.join(&joining(&ids[0]), 4);
    assert_eq!(fixture.joined(first).error_code, code(ResponseError::RebalanceInProgress));
    fixture.join(&joining(&ids[1]), 4);
    assert_eq!(fixture.joined(second).generation_id, 2);
    let first = fixture.sync(&ids[1], 2, &[]);
    let second = fixture.sync(&ids[1], 2, &[]);
    assert_eq!(fixture.synced(first).error_code, code(ResponseError::RebalanceInProgress));
    fixture.sync(&ids[0], 2, &[(&ids[1], "one")]);
    assert_eq!(fixture.synced(second).assignment, Bytes::from_static(b"one"));
}

#[test]
fn who_comes_while_a_round_waits_for_an_id_alone_is_not_refused() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining("")]);
    let required = code(ResponseError::MemberIdRequired);
    assert_eq!(fixture.join_now(&joining(""), 9).error_code, required);
    assert_eq!(fixture.leave(&[(&ids[0], None)]), [0]);
    assert_eq!(fixture.state(), State::PreparingRebalance);
    assert_eq!(fixture.join_now(&joining(""), 9).error_code, required);
}

#[test]
fn a_member_that_leaves_has_the_others_join_anew() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining(""), joining("")]);
    assert_eq!(fixture.leave(&[("who", None)]), [code(ResponseError::UnknownMemberId)]);
    assert_eq!(fixture.state(), State::Stable);
    let unknown = code(ResponseError::UnknownMemberId);
    assert_eq!(fixture.leave(&[(&ids[0], None), ("who", None), (&ids[1], None)]), [0, unknown, 0]);
    assert_eq!(fixture.state(), State::PreparingRebalance);
    let ticket = fixture.join(&joining(&ids[2]), 4);
    assert_eq!(fixture.joined(ticket).leader.as_str(), ids[2]);
    fixture.sync(&ids[2], 2, &[]);
    assert_eq!(fixture.leave(&[(&ids[2], None)]), [0]);
    assert_eq!((fixture.state(), fixture.classic().generation), (State::Empty, 3));
    assert_eq!(fixture.leave(&[(&ids[2], None)]), [unknown]);
    fixture.check_replay();
}

#[test]
fn who_waits_and_leaves_is_told_that_nobody_knows_it() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining(""), joining("")]);
    let waits = fixture.join(&joining(&ids[0]), 4);
    fixture.leave(&[(&ids[0], None)]);
    assert_eq!(fixture.joined(waits).error_code, code(ResponseError::UnknownMemberId));
    let joined = fixture.join(&joining(&ids[1]), 4);
    assert_eq!(fixture.joined(joined).generation_id, 2);
    let other = fixture.join(&joining(""), 3);
    fixture.join(&joining(&ids[1]), 4);
    let other = fixture.joined(other).member_id;
    let waits = fixture.sync(&other, 3, &[]);
    fixture.leave(&[(&other, None)]);
    assert_eq!(fixture.synced(waits).error_code, code(ResponseError::UnknownMemberId));
}

#[test]
fn an_id_that_was_given_out_may_leave() {
    let mut fixture = Fixture::new();
    let asked = fixture.join_now(&joining(""), 9);
    assert_eq!(fixture.leave(&[(&asked.member_id, None)]), [0]);
    assert!(fixture.classic().pending.is_empty());
    // While others join, they need not wait for it any more.
    let ids = fixture.stable(&[joining("")]);
    let asked = fixture.join_now(&joining(""), 9);
    let waits = fixture.join(&joining(&ids[0]), 9);
    fixture.leave(&[(&asked.member_id, None)]);
    assert_eq!(fixture.joined(waits).generation_id, 2);
}

#[test]
fn version_0_takes_the_session_timeout_for_the_rebalance_timeout() {
    let mut fixture = Fixture::new();
    fixture.join(&joining("").with_rebalance_timeout_ms(-1), 0);
    assert_eq!(fixture.classic().rebalance_timeout_ms(), SESSION_MS as u64);
}

#[test]
fn a_group_takes_no_more_members_than_it_may() {
    let mut fixture = Fixture::with("group.max.size=2\n");
    let full = code(ResponseError::GroupMaxSizeReached);
    let tickets = [0; 3].map(|_| fixture.join(&joining(""), 3));
    assert_eq!(fixture.joined(tickets[2]).error_code, full);
    fixture.step(2 * DELAY_MS);
    let ids = [0, 1].map(|index| fixture.joined(tickets[index]).member_id.to_string());
    let refused = fixture.join_now(&joining(""), 9);
    assert_eq!((refused.error_code, refused.member_id.as_str()), (full, ""));
    fixture.sync(&ids[0], 1, &[]);
    assert_eq!(fixture.join_now(&joining(""), 9).error_code, full);
    // Who is in it may join again.
    assert_eq!(fixture.join_now(&joining(&ids[1]), 9).error_code, 0);
}
