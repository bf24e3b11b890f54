//! Static members: `group.instance.id` outlives a restart of the client.

use super::*;

#[test]
fn a_static_member_gets_its_id_at_once() {
    let mut fixture = Fixture::new();
    let ticket = fixture.join(&fixed("i", ""), 9);
    fixture.step(DELAY_MS);
    let joined = fixture.joined(ticket);
    assert!(joined.error_code == 0 && joined.member_id.starts_with("i-"));
    assert_eq!(joined.members[0].group_instance_id.as_deref(), Some("i"));
}

#[test]
fn a_static_member_comes_back_without_a_round() {
    for version in [5, 8, 9] {
        let mut fixture = Fixture::new();
        let ids = fixture.stable(&[fixed("l", ""), fixed("f", "")]);
        let records = fixture.log.len();
        let follower = fixture.join_now(&fixed("f", ""), version);
        assert_eq!((follower.error_code, follower.generation_id), (0, 1));
        assert_ne!(follower.member_id.as_str(), ids[1]);
        assert!(!follower.skip_assignment && follower.members.is_empty());
        assert_eq!(follower.leader.as_str(), ids[0]);
        let leader = fixture.join_now(&fixed("l", ""), version);
        if version >= 9 {
            // It is told who is there, and that it need not assign.
            assert_eq!(leader.leader, leader.member_id);
            assert!(leader.skip_assignment && leader.members.len() == 2);
        } else {
            assert_eq!(leader.leader.as_str(), ids[0]);
            assert!(!leader.skip_assignment && leader.members.is_empty());
        }
        assert_eq!((fixture.state(), fixture.log.len()), (State::Stable, records + 2));
        fixture.check_replay();
        // The assignment is its instance's.
        let ticket = fixture.sync(&leader.member_id, 1, &[]);
        assert_eq!(fixture.synced(ticket).assignment, Bytes::copy_from_slice(ids[0].as_bytes()));
        for (old, instance) in ids.iter().zip(["l", "f"]) {
            let fenced = code(ResponseError::FencedInstanceId);
            assert_eq!(fixture.heartbeat_of(old, Some(instance), 1), fenced);
            assert_eq!(fixture.join_now(&fixed(instance, old), 9).error_code, fenced);
            assert_eq!(fixture.leave(&[(old, Some(instance))]), [fenced]);
            assert_eq!(fixture.heartbeat(old, 1), code(ResponseError::UnknownMemberId));
        }
    }
}

#[test]
fn an_instance_that_nobody_has_is_unknown() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[fixed("i", "")]);
    let unknown = code(ResponseError::UnknownMemberId);
    assert_eq!(fixture.heartbeat_of(&ids[0], Some("other"), 1), unknown);
    assert_eq!(fixture.join_now(&fixed("other", &ids[0]), 9).error_code, unknown);
    assert_eq!(fixture.leave(&[(&ids[0], Some("other")), ("", Some("other")), ("", None)]), [unknown; 3]);
    assert_eq!(fixture.heartbeat_of(&ids[0], Some("i"), 1), 0);
}

#[test]
fn whoever_waits_under_the_old_id_is_fenced() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[fixed("a", ""), fixed("b", "")]);
    let waits = fixture.join(&fixed("a", &ids[0]), 9);
    let again = fixture.join(&fixed("a", ""), 9);
    let fenced = fixture.joined(waits);
    assert_eq!(fenced.error_code, code(ResponseError::FencedInstanceId));
    assert_eq!(fenced.member_id.as_str(), ids[0]);
    fixture.join(&fixed("b", &ids[1]), 9);
    let again = fixture.joined(again);
    assert_eq!((again.generation_id, again.leader.clone()), (2, again.member_id.clone()));
    // While the leader assigns, an instance that comes back has everyone join: the leader knows the old id.
    let waits = fixture.sync(&ids[1], 2, &[]);
    fixture.join(&fixed("b", ""), 9);
    assert_eq!(fixture.synced(waits).error_code, code(ResponseError::FencedInstanceId));
    assert_eq!(fixture.state(), State::PreparingRebalance);
}

#[test]
fn a_static_member_that_changes_the_protocol_has_everyone_join() {
    let mut fixture = Fixture::new();
    let both = |instance: &str, first: &str, second: &str| {
        fixed(instance, "").with_protocols(named(&[(first, ""), (second, "")]))
    };
    fixture.stable(&[both("a", "range", "sticky"), both("b", "range", "sticky")]);
    // One vote each: the eldest's counts, and the chosen protocol stays.
    assert_eq!(fixture.join_now(&both("b", "sticky", "range"), 9).generation_id, 1);
    fixture.join(&both("a", "sticky", "range"), 9);
    assert_eq!(fixture.state(), State::PreparingRebalance);
}

#[test]
fn static_members_stay_when_they_do_not_join_in_time() {
    let mut fixture = Fixture::new();
    let slow = |request: JoinGroupRequest| request.with_session_timeout_ms(300_000);
    let ids = fixture.stable(&[slow(fixed("a", "")), slow(joining(""))]);
    let waits = fixture.join(&slow(joining(&ids[1])).with_protocols(named(&[("range", "new")])), 9);
    fixture.step(REBALANCE_MS as u64);
    let joined = fixture.joined(waits);
    // The leader has not joined, so another leads.
    assert_eq!((joined.leader.as_str(), joined.members.len()), (ids[1].as_str(), 2));
    assert!(fixture.classic().members.contains(&ids[0]));
}

#[test]
fn nobody_leads_a_round_that_nobody_joins() {
    let mut fixture = Fixture::new();
    let slow = |request: JoinGroupRequest| request.with_session_timeout_ms(300_000);
    let ids = fixture.stable(&[slow(fixed("a", "")), slow(fixed("b", "")), slow(joining(""))]);
    fixture.leave(&[(&ids[2], None)]);
    fixture.step(4 * REBALANCE_MS as u64);
    // Static members have until their sessions end.
    assert_eq!((fixture.state(), fixture.classic().members.len()), (State::PreparingRebalance, 2));
    fixture.step(60_000);
    assert_eq!((fixture.state(), fixture.classic().generation), (State::Empty, 2));
}

#[test]
fn an_admin_has_static_members_leave_by_instance() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[fixed("a", ""), fixed("b", ""), joining("")]);
    assert_eq!(fixture.leave(&[("", Some("a")), (&ids[1], Some("b"))]), [0, 0]);
    assert_eq!(fixture.classic().members.len(), 1);
    assert!(fixture.classic().instances.is_empty());
}

#[test]
fn a_pending_id_is_no_static_members() {
    let mut fixture = Fixture::new();
    let asked = fixture.join_now(&joining(""), 9);
    let refused = fixture.join_now(&fixed("i", &asked.member_id), 9);
    // Kafka finds that this cannot be, and answers so.
    assert_eq!(refused.error_code, code(ResponseError::UnknownServerError));
}
