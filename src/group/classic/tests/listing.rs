//! What is listed and described of groups, and which may be deleted.

use kafka_protocol::messages::ListGroupsRequest;

use super::super::super::listing::Filter;
use super::*;

fn list(fixture: &Fixture, states: &[&str], kinds: &[&str]) -> Vec<(String, String, String, String)> {
    let asked = ListGroupsRequest::default()
        .with_states_filter(states.iter().map(|state| text(state)).collect())
        .with_types_filter(kinds.iter().map(|kind| text(kind)).collect());
    let mut listed: Vec<_> = fixture
        .groups
        .list(&Filter::of(&asked))
        .into_iter()
        .map(|group| {
            let kind = group.group_type.to_string();
            (group.group_id.to_string(), group.protocol_type.to_string(), group.group_state.to_string(), kind)
        })
        .collect();
    listed.sort();
    listed
}

fn delete(fixture: &mut Fixture, ids: &[&str]) -> Vec<i16> {
    let delete = |id: &&str| fixture.decide(|groups, _, outcome| groups.delete(&GroupId(text(id)), outcome));
    ids.iter().map(delete).map(|result| result.error_code).collect()
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut fixture = Fixture::new();
    fixture.stable(&[joining("")]);
    fixture.join(&joining("").with_group_id(GroupId(text("born"))), 9);
    let born = ("born".into(), "".into(), "Empty".into(), "classic".into());
    let stable = ("g".into(), "consumer".into(), "Stable".into(), "classic".into());
    assert_eq!(list(&fixture, &[], &[]), [born.clone(), stable.clone()]);
    assert_eq!(list(&fixture, &["stable"], &[]), [stable]);
    assert_eq!(list(&fixture, &[" EMPTY ", "dead"], &["Classic"]), [born]);
    assert_eq!(list(&fixture, &["STABLE"], &["consumer"]), []);
    assert_eq!(list(&fixture, &[], &["unheard-of"]), []);
    assert_eq!(list(&fixture, &["PreparingRebalance"], &["classic"]), []);
    fixture.join(&joining(""), 3);
    assert_eq!(list(&fixture, &["preparingrebalance"], &[]).len(), 1);
}

#[test]
fn members_say_under_which_protocol_only_while_all_follow_it() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[fixed("i", "").with_protocols(named(&[("range", "mine")]))]);
    let described = |fixture: &Fixture| fixture.groups.describe(&GroupId(text(GROUP)), 6);
    let group = described(&fixture);
    assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
    assert_eq!((group.protocol_type.as_str(), group.protocol_data.as_str()), ("consumer", "range"));
    let member = &group.members[0];
    assert_eq!((member.member_id.as_str(), member.group_instance_id.as_deref()), (&*ids[0], Some("i")));
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("c", "/127.0.0.1"));
    assert_eq!(member.member_metadata, Bytes::from_static(b"mine"));
    assert_eq!(member.member_assignment, ids[0].as_bytes());
    fixture.join(&joining(""), 3);
    let group = described(&fixture);
    assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("PreparingRebalance", ""));
    assert_eq!(group.members.len(), 2);
    assert!(group.members.iter().all(|member| member.member_metadata.is_empty()));
}

#[test]
fn a_group_that_is_not_there_is_dead_and_later_not_found() {
    let fixture = Fixture::new();
    let id = GroupId(text("nobody"));
    let old = fixture.groups.describe(&id, 5);
    assert_eq!((old.error_code, old.group_state.as_str(), old.error_message), (0, "Dead", None));
    let new = fixture.groups.describe(&id, 6);
    assert_eq!(new.error_code, code(ResponseError::GroupIdNotFound));
    assert_eq!(new.group_state.as_str(), "Dead");
    assert_eq!(new.error_message.as_deref(), Some("Group nobody not found."));
}

#[test]
fn groups_without_members_are_deleted() {
    let mut fixture = Fixture::new();
    let ids = fixture.stable(&[joining("")]);
    let not_found = code(ResponseError::GroupIdNotFound);
    let not_empty = code(ResponseError::NonEmptyGroup);
    assert_eq!(delete(&mut fixture, &["nobody", GROUP]), [not_found, not_empty]);
    fixture.leave(&[(&ids[0], None)]);
    // Ids that were given out do not keep a group.
    let asked = fixture.join_now(&joining(""), 9);
    assert_eq!(delete(&mut fixture, &[GROUP]), [0]);
    assert!(fixture.groups.group(GROUP).is_none());
    assert_eq!(delete(&mut fixture, &[GROUP]), [not_found]);
    fixture.check_replay();
    let late = fixture.join_now(&joining(&asked.member_id), 9);
    assert_eq!(late.error_code, code(ResponseError::UnknownMemberId));
    fixture.restart();
    assert!(fixture.groups.group(GROUP).is_none());
}
