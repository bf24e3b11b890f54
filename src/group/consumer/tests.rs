//! The rules of consumer groups, one by one, over a coordinator that a test drives.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};

use super::member::MemberState;
use super::{ConsumerGroup, Undecided, check_heartbeat, records};
use crate::broker::state_machine::StateMachine;
use crate::group::testing::{Fixture, client};
use crate::group::{Group, Groups, regex};
use crate::protocol::api_error::ApiError;
use crate::protocol::stored::group::*;
use crate::protocol::wire::StrBytes;
use crate::types::TopicId;

mod by_regex;

pub const GROUP: &str = "readers";

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// What a member sends to join.
pub fn join(member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(member))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| TopicName(text(name))).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

pub fn join_static(member: &str, instance: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    join(member, topics).with_instance_id(Some(text(instance)))
}

pub fn join_by_regex(member: &str, regex: &str) -> ConsumerGroupHeartbeatRequest {
    join(member, &[]).with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(text(regex)))
}

/// A heartbeat that says nothing new.
pub fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(GROUP)))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
}

/// A heartbeat that says what the member owns.
pub fn owning(member: &str, epoch: i32, owned: &[(TopicId, &[i32])]) -> ConsumerGroupHeartbeatRequest {
    let owned = owned.iter().map(|(topic, partitions)| {
        TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions.to_vec())
    });
    beat(member, epoch).with_topic_partitions(Some(owned.collect()))
}

impl Fixture {
    pub fn consumer_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, ApiError> {
        let answer = self.try_heartbeat(request);
        self.check_replay();
        answer
    }

    /// As [`Fixture::consumer_heartbeat`], and leaves the replay unchecked.
    pub fn try_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, ApiError> {
        let mut compiled = None;
        loop {
            let answer = self.decide(|groups, context, outcome| {
                groups.consumer_heartbeat(request, compiled.take(), &client("client"), context, outcome)
            });
            match answer {
                Ok(answer) => return Ok(answer),
                Err(Undecided::Refused(error)) => return Err(error),
                Err(Undecided::NotCompiled) => {
                    compiled = request.subscribed_topic_regex.as_deref().map(regex::compile);
                }
            }
        }
    }

    pub fn ok(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        self.consumer_heartbeat(request).expect("the heartbeat is taken")
    }

    pub fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ResponseError {
        let written = self.log.len();
        let refused = self.consumer_heartbeat(request).expect_err("the heartbeat is refused").error;
        assert_eq!(self.log.len(), written, "a refused heartbeat stores nothing");
        refused
    }

    pub fn consumers(&self) -> &ConsumerGroup {
        match self.groups.group(GROUP) {
            Some(Group::Consumer(group)) => group,
            other => panic!("not a consumer group: {other:?}"),
        }
    }

    /// A member's epoch, state, assigned and revoking partitions of the only topic.
    fn member(&self, id: &str) -> (i32, MemberState, Vec<i32>, Vec<i32>) {
        let progress = &self.consumers().member(id).expect("the member is there").progress;
        let of = |assignment: &crate::group::assignors::Assignment| {
            assignment.topics().flat_map(|(_, partitions)| partitions.to_vec()).collect()
        };
        (progress.epoch, progress.state, of(&progress.assigned), of(&progress.revoking))
    }
}

/// Partitions by topic as an answer holds them.
pub fn assigned(answer: &ConsumerGroupHeartbeatResponse) -> Option<Vec<(TopicId, Vec<i32>)>> {
    let assignment = answer.assignment.as_ref()?;
    Some(assignment.topic_partitions.iter().map(|it| (TopicId(it.topic_id), it.partitions.clone())).collect())
}

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 3);
    let answer = it.ok(&join("a", &["t"]));
    assert_eq!((answer.member_epoch, answer.heartbeat_interval_ms), (1, 5_000));
    assert_eq!(answer.member_id.as_deref(), Some("a"));
    assert_eq!(assigned(&answer), Some(vec![(topic, vec![0, 1, 2])]));
    assert_eq!(it.consumers().state_name(), "Stable");
    let kinds: Vec<i16> = it.records().iter().map(Record::kind).collect();
    assert_eq!(kinds, [5, 3, 7, 6, 8], "member, epoch, target, target epoch, current assignment");
}

#[test]
fn a_heartbeat_that_changes_nothing_stores_nothing_and_tells_nothing() {
    let mut it = Fixture::new();
    it.topic("t", 3);
    it.ok(&join("a", &["t"]));
    let written = it.log.len();
    let answer = it.ok(&beat("a", 1));
    assert_eq!((answer.member_epoch, assigned(&answer)), (1, None));
    assert_eq!(it.log.len(), written);
}

#[test]
fn a_member_that_tells_all_is_told_all() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 2);
    it.ok(&join("a", &["t"]));
    let full = join("a", &["t"])
        .with_member_epoch(1)
        .with_topic_partitions(owning("a", 1, &[(topic, &[0])]).topic_partitions);
    assert_eq!(assigned(&it.ok(&full)), Some(vec![(topic, vec![0, 1])]));
}

#[test]
fn partitions_are_revoked_released_and_taken_step_by_step() {
    use MemberState::{Stable, Unreleased, Unrevoked};
    let mut it = Fixture::new();
    let topic = it.topic("t", 4);
    it.ok(&join("a", &["t"]));
    // B is due two partitions that A still holds.
    let answer = it.ok(&join("b", &["t"]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![])));
    assert_eq!(it.member("b"), (2, Unreleased, vec![], vec![]));
    assert_eq!(it.consumers().state_name(), "Reconciling");
    // A stays at its epoch and is told to keep two.
    let answer = it.ok(&beat("a", 1));
    assert_eq!(answer.member_epoch, 1);
    assert_eq!(assigned(&answer), Some(vec![(topic, vec![0, 1])]));
    assert_eq!(it.member("a"), (1, Unrevoked, vec![0, 1], vec![2, 3]));
    // Saying nothing, or still owning one of them, is no revocation.
    assert_eq!(it.ok(&beat("a", 1)).member_epoch, 1);
    assert_eq!(it.ok(&owning("a", 1, &[(topic, &[0, 1, 2])])).member_epoch, 1);
    assert_eq!(it.ok(&beat("b", 2)).assignment, None);
    // It has revoked them: it moves on, and B gets them.
    let answer = it.ok(&owning("a", 1, &[(topic, &[0, 1])]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, None));
    assert_eq!(it.member("a"), (2, Stable, vec![0, 1], vec![]));
    let answer = it.ok(&beat("b", 2));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![(topic, vec![2, 3])])));
    assert_eq!(it.consumers().state_name(), "Stable");
}

#[test]
fn a_member_that_owns_nothing_of_what_it_must_revoke_need_not_wait() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 2);
    it.ok(&join("a", &["t"]));
    it.ok(&join("b", &["t"]));
    let answer = it.ok(&owning("a", 1, &[(topic, &[0])]));
    assert_eq!(answer.member_epoch, 2);
    assert_eq!(it.member("a"), (2, MemberState::Stable, vec![0], vec![]));
}

#[test]
fn a_member_that_does_not_revoke_in_time_is_fenced() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 2);
    it.ok(&join("a", &["t"]).with_rebalance_timeout_ms(10_000));
    it.ok(&join("b", &["t"]));
    it.ok(&beat("a", 1));
    it.step(9_999);
    it.ok(&beat("a", 1));
    assert!(it.consumers().member("a").is_some());
    it.step(1);
    it.check_replay();
    assert!(it.consumers().member("a").is_none());
    let answer = it.ok(&beat("b", 2));
    assert_eq!((answer.member_epoch, assigned(&answer)), (3, Some(vec![(topic, vec![0, 1])])));
}

#[test]
fn a_member_that_revokes_in_time_is_not_fenced_later() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 2);
    it.ok(&join("a", &["t"]).with_rebalance_timeout_ms(10_000));
    it.ok(&join("b", &["t"]));
    it.ok(&beat("a", 1));
    it.ok(&owning("a", 1, &[(topic, &[0])]));
    it.step(20_000);
    assert!(it.consumers().member("a").is_some());
}

#[test]
fn a_member_without_heartbeats_is_fenced_when_its_session_expires() {
    let mut it = Fixture::new();
    it.topic("t", 2);
    it.ok(&join("a", &["t"]));
    it.step(44_999);
    it.ok(&beat("a", 1));
    it.step(44_999);
    assert_eq!(it.consumers().member_count(), 1);
    it.step(1);
    assert!(it.consumers().is_empty());
    assert_eq!(it.consumers().state_name(), "Empty");
    assert_eq!(it.refused(&beat("a", 1)), ResponseError::UnknownMemberId);
    it.check_replay();
    // It may come again.
    assert_eq!(it.ok(&join("a", &["t"])).member_epoch, 3);
}

#[test]
fn sessions_begin_anew_after_a_replay_and_revocation_is_still_watched() {
    let mut it = Fixture::new();
    it.topic("t", 2);
    it.ok(&join("a", &["t"]).with_rebalance_timeout_ms(10_000));
    it.ok(&join("b", &["t"]));
    it.ok(&beat("a", 1));
    it.step(9_000);
    it.restart();
    it.step(9_999);
    assert_eq!(it.consumers().member_count(), 2);
    it.step(1);
    assert_eq!(it.consumers().member_count(), 1, "A did not revoke within its time after the replay");
    it.step(34_999);
    assert_eq!(it.consumers().member_count(), 1);
    it.step(1);
    assert!(it.consumers().is_empty());
}

#[test]
fn revocation_is_watched_after_a_replay_though_a_heartbeat_comes_first() {
    let mut it = Fixture::new();
    it.topic("t", 2);
    it.ok(&join("a", &["t"]).with_rebalance_timeout_ms(10_000));
    it.ok(&join("b", &["t"]));
    it.ok(&beat("a", 1));
    // Nothing that is due has been looked at yet.
    it.groups = it.replayed();
    it.ok(&beat("a", 1));
    it.step(9_999);
    assert_eq!(it.consumers().member_count(), 2);
    it.step(1);
    assert_eq!(it.consumers().member_count(), 1);
}

#[test]
fn a_member_that_takes_another_instance_leaves_its_own() {
    let mut it = Fixture::new();
    it.topic("t", 1);
    it.ok(&join_static("a", "i", &["t"]));
    it.ok(&beat("a", -2).with_instance_id(Some(text("i"))));
    it.ok(&join_static("a", "j", &["t"]));
    assert_eq!(it.consumers().statics.len(), 1);
    assert!(it.consumers().static_member("i").is_none());
    // And so another may have it.
    it.ok(&join_static("b", "i", &["t"]));
    it.ok(&beat("a", -1).with_instance_id(Some(text("j"))));
    assert_eq!(it.consumers().static_member("i").map(|member| &*member.id), Some("b"));
}

#[test]
fn a_member_that_comes_back_with_an_instance_keeps_what_it_does_not_say() {
    let mut it = Fixture::new();
    it.topic("t", 1);
    it.topic("u1", 1);
    let by_both = join("a", &["t"]).with_subscribed_topic_regex(Some(text("u.*")));
    it.ok(&by_both.with_rack_id(Some(text("rack"))).with_server_assignor(Some(text("range"))));
    it.work();
    // It says its topics, and nothing of its expression.
    it.ok(&join_static("a", "i", &["t"]));
    let profile = it.consumers().member("a").unwrap().profile.clone();
    assert_eq!(
        (profile.instance_id.as_deref(), profile.regex().map(|regex| &**regex)),
        (Some("i"), Some("u.*"))
    );
    assert_eq!((profile.rack_id.as_deref(), profile.assignor.as_deref()), (Some("rack"), Some("range")));
    assert!(it.consumers().is_subscribed_to("u1"));
    // An expression that it takes the place of goes with what it matched.
    it.ok(&join_static("a", "j", &["t"]).with_subscribed_topic_regex(Some(text(""))));
    assert_eq!((it.consumers().regexes.resolved().len(), it.consumers().is_subscribed_to("u1")), (0, false));
    assert!(it.consumers().static_member("i").is_none());
}

#[test]
fn a_group_has_its_own_timeouts_where_it_is_configured() {
    use crate::protocol::stored::metadata::{ConfigRecord, Record as Metadata};
    let mut it = Fixture::new();
    it.topic("t", 1);
    it.change_image(|image| {
        for (name, value) in
            [("consumer.session.timeout.ms", "50000"), ("consumer.heartbeat.interval.ms", "7000")]
        {
            let record = ConfigRecord {
                resource_type: 32,
                resource_name: GROUP.to_owned(),
                name: name.to_owned(),
                value: Some(value.to_owned()),
            };
            image.apply(&Metadata::from(record)).unwrap();
        }
    });
    assert_eq!(it.ok(&join("a", &["t"])).heartbeat_interval_ms, 7_000);
    it.step(49_999);
    assert_eq!(it.consumers().member_count(), 1);
    it.step(1);
    assert_eq!(it.consumers().member_count(), 0);
}

#[test]
fn epochs_that_are_not_the_members_are_fenced_but_for_a_lost_answer() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 2);
    it.ok(&join("a", &["t"]));
    it.ok(&join("b", &["t"]));
    it.ok(&owning("a", 1, &[(topic, &[0])]));
    assert_eq!(it.refused(&beat("a", 3)), ResponseError::FencedMemberEpoch);
    // The epoch before, with no more than it has: the answer was lost.
    assert_eq!(it.ok(&owning("a", 1, &[(topic, &[0])])).member_epoch, 2);
    assert_eq!(it.ok(&owning("a", 1, &[])).member_epoch, 2);
    assert_eq!(it.refused(&owning("a", 1, &[(topic, &[1])])), ResponseError::FencedMemberEpoch);
    assert_eq!(it.refused(&beat("a", 1)), ResponseError::FencedMemberEpoch);
    assert_eq!(it.refused(&join("a", &["t"])), ResponseError::FencedMemberEpoch);
    // A join whose answer was lost.
    it.ok(&join("c", &["t"]));
    assert_eq!(it.ok(&join("c", &["t"])).member_epoch, 3);
}

#[test]
fn who_is_not_there_is_told_so() {
    let mut it = Fixture::new();
    it.topic("t", 1);
    assert_eq!(it.refused(&beat("a", 1)), ResponseError::GroupIdNotFound);
    assert_eq!(it.refused(&beat("a", -1)), ResponseError::GroupIdNotFound);
    it.ok(&join("a", &["t"]));
    assert_eq!(it.refused(&beat("b", 1)), ResponseError::UnknownMemberId);
    assert_eq!(it.refused(&beat("b", -1)), ResponseError::UnknownMemberId);
    let fixed = |epoch| beat("b", epoch).with_instance_id(Some(text("i")));
    assert_eq!(it.refused(&fixed(1)), ResponseError::UnknownMemberId);
    assert_eq!(it.refused(&fixed(-2)), ResponseError::UnknownMemberId);
}

#[test]
fn a_full_group_takes_no_other_member() {
    let mut it = Fixture::with("group.consumer.max.size=2");
    it.topic("t", 1);
    it.ok(&join("a", &["t"]));
    it.ok(&join("b", &["t"]));
    assert_eq!(it.refused(&join("c", &["t"])), ResponseError::GroupMaxSizeReached);
    it.ok(&join("b", &["t"]));
    it.ok(&beat("a", -1));
    it.ok(&join("c", &["t"]));
}

#[test]
fn a_member_that_leaves_frees_its_partitions() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 2);
    it.ok(&join("a", &["t"]));
    it.ok(&join("b", &["t"]));
    let answer = it.ok(&beat("a", -1));
    assert_eq!((answer.member_epoch, answer.heartbeat_interval_ms), (-1, 0));
    assert_eq!(answer.member_id.as_deref(), Some("a"));
    let kinds: Vec<i16> = it.records().iter().rev().take(4).map(Record::kind).collect();
    assert_eq!(kinds, [3, 5, 7, 8], "from the end: epoch, and the tombstones in Kafka's order");
    let answer = it.ok(&beat("b", 2));
    assert_eq!((answer.member_epoch, assigned(&answer)), (3, Some(vec![(topic, vec![0, 1])])));
}

#[test]
fn a_static_member_keeps_its_place_while_it_is_away() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 2);
    it.ok(&join_static("a1", "i", &["t"]));
    assert_eq!(it.refused(&join_static("a2", "i", &["t"])), ResponseError::UnreleasedInstanceId);
    let leave = beat("a1", -2).with_instance_id(Some(text("i")));
    let answer = it.ok(&leave);
    assert_eq!((answer.member_epoch, answer.member_id.as_deref()), (-2, Some("a1")));
    assert_eq!(it.member("a1"), (-2, MemberState::Stable, vec![0, 1], vec![]));
    // It comes back under another id: no new epoch, the same partitions.
    let answer = it.ok(&join_static("a2", "i", &["t"]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (1, Some(vec![(topic, vec![0, 1])])));
    assert_eq!(it.consumers().epoch(), 1);
    assert_eq!(it.consumers().member_count(), 1);
    let fenced = beat("a1", 1).with_instance_id(Some(text("i")));
    assert_eq!(it.refused(&fenced), ResponseError::FencedInstanceId);
    assert_eq!(it.refused(&beat("a1", 1)), ResponseError::UnknownMemberId);
    it.ok(&beat("a2", 1).with_instance_id(Some(text("i"))));
    // The session of the one that left does not end the one that came.
    it.step(44_000);
    it.ok(&beat("a2", 1));
    it.step(44_000);
    assert_eq!(it.consumers().member_count(), 1);
    it.restart();
    assert!(it.consumers().static_member("i").is_some());
}

#[test]
fn a_static_member_that_stays_away_is_fenced() {
    let mut it = Fixture::new();
    it.topic("t", 2);
    it.ok(&join_static("a1", "i", &["t"]));
    it.ok(&beat("a1", -2).with_instance_id(Some(text("i"))));
    it.step(45_000);
    assert!(it.consumers().is_empty());
    assert!(it.consumers().static_member("i").is_none());
}

#[test]
fn a_static_member_can_come_back_under_its_id_and_leave_for_good() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 2);
    it.ok(&join_static("a", "i", &["t"]));
    it.ok(&join("b", &["t"]));
    it.ok(&owning("a", 1, &[(topic, &[0])]));
    it.ok(&beat("b", 2));
    it.ok(&beat("a", -2).with_instance_id(Some(text("i"))));
    let answer = it.ok(&join_static("a", "i", &["t"]));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![(topic, vec![0])])));
    it.ok(&beat("a", -1).with_instance_id(Some(text("i"))));
    assert!(it.consumers().static_member("i").is_none());
    assert_eq!(it.ok(&beat("b", 2)).member_epoch, 3);
}

#[test]
fn the_group_is_assigned_anew_when_its_topics_come_grow_or_go() {
    let mut it = Fixture::new();
    let first = it.topic("t", 1);
    it.ok(&join("a", &["t", "later"]));
    it.topic("other", 5);
    assert_eq!(it.ok(&beat("a", 1)).member_epoch, 1, "nobody reads it");
    let later = it.topic("later", 2);
    let answer = it.ok(&beat("a", 1));
    assert_eq!(answer.member_epoch, 2);
    assert_eq!(assigned(&answer), Some(vec![(first, vec![0]), (later, vec![0, 1])]));
    it.grow("t", 3);
    let answer = it.ok(&beat("a", 2));
    assert_eq!(assigned(&answer), Some(vec![(first, vec![0, 1, 2]), (later, vec![0, 1])]));
    it.change_image(|image| {
        let gone = crate::protocol::stored::metadata::RemoveTopicRecord { topic_id: first };
        image.apply(&gone.into()).unwrap();
    });
    let answer = it.ok(&beat("a", 3));
    assert_eq!((answer.member_epoch, assigned(&answer)), (3, Some(vec![(later, vec![0, 1])])));
    assert_eq!(it.ok(&owning("a", 3, &[(later, &[0, 1])])).member_epoch, 4);
    assert_eq!(it.consumers().state_name(), "Stable");
}

#[test]
fn the_metadata_hash_survives_a_replay_so_that_nothing_moves() {
    let mut it = Fixture::new();
    it.topic("t", 3);
    it.ok(&join("a", &["t"]));
    it.restart();
    let written = it.log.len();
    assert_eq!(it.ok(&beat("a", 1)).member_epoch, 1);
    assert_eq!(it.log.len(), written);
}

#[test]
fn a_changed_subscription_raises_the_epoch_and_a_changed_client_does_not() {
    let mut it = Fixture::new();
    it.topic("t", 1);
    it.topic("u", 1);
    it.ok(&join("a", &["t"]));
    let both = [TopicName(text("u")), TopicName(text("t")), TopicName(text("u"))];
    let answer = it.ok(&beat("a", 1).with_subscribed_topic_names(Some(both.to_vec())));
    assert_eq!((answer.member_epoch, assigned(&answer).map(|it| it.len())), (2, Some(2)));
    let answer = it.ok(&beat("a", 2).with_rack_id(Some(text("r"))).with_rebalance_timeout_ms(5));
    assert_eq!((answer.member_epoch, it.consumers().epoch()), (2, 2));
    let profile = it.consumers().member("a").unwrap().profile.clone();
    assert_eq!((profile.rack_id.as_deref(), profile.rebalance_timeout_ms), (Some("r"), 5));
}

#[test]
fn most_members_choose_the_assignor() {
    let mut it = Fixture::new();
    it.topic("t", 1);
    let naming = |member, name| join(member, &["t"]).with_server_assignor(Some(text(name)));
    it.ok(&naming("a", "range"));
    assert_eq!(it.consumers().preferred_assignor(), Some("range"));
    it.ok(&naming("b", "uniform"));
    it.ok(&naming("c", "uniform"));
    assert_eq!(it.consumers().preferred_assignor(), Some("uniform"));
    it.ok(&beat("b", -1));
    it.ok(&beat("c", -1));
    assert_eq!(it.consumers().preferred_assignor(), Some("range"));
}

#[test]
fn requests_that_make_no_sense_are_refused_with_kafkas_sentences() {
    let it = Fixture::new();
    let check = |request: ConsumerGroupHeartbeatRequest, version| {
        check_heartbeat(&request, version, &it.settings).expect_err("it is refused")
    };
    let said = |request, version| check(request, version).message.unwrap();
    assert_eq!(said(join("", &["t"]), 1), "MemberId can't be empty.");
    assert_eq!(said(beat(" \t", 1), 0), "MemberId can't be empty.");
    assert_eq!(said(beat("", -1), 0), "MemberId can't be empty.");
    assert!(check_heartbeat(&join("", &["t"]), 0, &it.settings).is_ok());
    assert_eq!(said(join("a", &[]).with_group_id(GroupId(text(""))), 1), "GroupId can't be empty.");
    assert_eq!(said(join_static("a", "", &[]), 1), "InstanceId can't be empty.");
    assert_eq!(said(join("a", &[]).with_rack_id(Some(text(""))), 1), "RackId can't be empty.");
    assert_eq!(
        said(join("a", &[]).with_rebalance_timeout_ms(-1), 1),
        "RebalanceTimeoutMs must be provided in first request."
    );
    let owned = owning("a", 0, &[(TopicId::ZERO, &[1])]).topic_partitions;
    for owned in [None, owned] {
        let request = join("a", &[]).with_topic_partitions(owned);
        assert_eq!(said(request, 1), "TopicPartitions must be empty when (re-)joining.");
    }
    assert_eq!(
        said(join("a", &[]).with_subscribed_topic_names(None), 1),
        "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
    );
    assert_eq!(said(beat("a", -2), 1), "InstanceId can't be null.");
    assert_eq!(said(beat("a", -3), 1), "MemberEpoch is invalid.");
    let unknown = check(join("a", &[]).with_server_assignor(Some(text("none"))), 1);
    assert_eq!(unknown.error, ResponseError::UnsupportedAssignor);
    assert_eq!(
        unknown.message.unwrap(),
        "ServerAssignor none is not supported. Supported assignors: uniform, range."
    );
}

#[test]
fn commits_and_fetches_are_for_members_at_their_epoch() {
    let mut it = Fixture::new();
    it.topic("t", 1);
    it.ok(&join("a", &["t"]));
    let group = it.consumers();
    let code = |result: Result<(), ApiError>| result.err().map(|error| error.error);
    assert_eq!(code(group.validate_commit("a", None, 1, false, 9)), None);
    assert_eq!(code(group.validate_commit("a", None, 0, false, 9)), Some(ResponseError::StaleMemberEpoch));
    assert_eq!(code(group.validate_commit("a", None, 1, false, 8)), Some(ResponseError::UnsupportedVersion));
    assert_eq!(code(group.validate_commit("a", None, 1, true, 3)), None);
    assert_eq!(code(group.validate_commit("b", None, 1, false, 9)), Some(ResponseError::UnknownMemberId));
    assert_eq!(code(group.validate_commit("", None, -1, false, 9)), Some(ResponseError::UnknownMemberId));
    assert_eq!(code(group.validate_commit("", None, -1, true, 9)), None);
    assert_eq!(code(group.validate_fetch(None, -1)), None);
    assert_eq!(code(group.validate_fetch(Some("a"), 1)), None);
    assert_eq!(code(group.validate_fetch(Some("a"), 2)), Some(ResponseError::StaleMemberEpoch));
    assert_eq!(code(group.validate_fetch(Some("b"), 1)), Some(ResponseError::UnknownMemberId));
    assert!(group.is_subscribed_to("t") && !group.is_subscribed_to("u"));
    it.ok(&beat("a", -1));
    assert_eq!(code(it.consumers().validate_commit("", None, -1, false, 2)), None);
}

#[test]
fn tombstones_take_the_whole_group_away() {
    let mut it = Fixture::new();
    it.topic("t", 2);
    it.ok(&join_static("a", "i", &["t"]));
    it.ok(&join_by_regex("b", "t.*"));
    it.work();
    it.ok(&beat("a", -1).with_instance_id(Some(text("i"))));
    it.ok(&beat("b", -1));
    let tombstones = it.consumers().tombstones(GROUP);
    it.decide(|_, _, outcome| tombstones.into_iter().for_each(|record| outcome.record(record)));
    assert!(it.groups.group(GROUP).is_none());
    it.check_replay();
    assert_eq!(it.ok(&join("a", &["t"])).member_epoch, 1, "a group of that name begins anew");
}

#[test]
fn records_of_a_compacted_log_give_the_state_whatever_their_order() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 4);
    it.ok(&join("a", &["t"]));
    it.ok(&join("b", &["t"]));
    it.ok(&owning("a", 1, &[(topic, &[0, 1])]));
    it.ok(&beat("b", 2));
    let mut kept = it.consumers().records(GROUP);
    for _ in 0..kept.len() {
        kept.rotate_left(1);
        let mut groups = Groups::default();
        kept.iter().for_each(|record| groups.apply(record.clone()));
        groups.loaded(it.now);
        let Some(Group::Consumer(group)) = groups.group(GROUP) else { panic!("the group is gone") };
        let sorted = |group: &ConsumerGroup| {
            let mut records: Vec<_> = group.records(GROUP).iter().map(|it| format!("{it:?}")).collect();
            records.sort();
            records
        };
        assert_eq!(sorted(group), sorted(it.consumers()));
        assert_eq!(group.owners.owned_count(), 4);
    }
}

#[test]
fn what_kafka_before_4_1_stored_of_topics_is_taken_away() {
    let mut it = Fixture::new();
    it.topic("t", 1);
    it.ok(&join("a", &["t"]));
    let key = ConsumerGroupPartitionMetadataKey { group_id: GROUP.to_owned() };
    let old = Record::ConsumerGroupPartitionMetadata(key, Some(Default::default()));
    it.decide(|_, _, outcome| outcome.record(old));
    it.topic("u", 1);
    it.ok(&beat("a", 1));
    assert_eq!(it.records().last(), Some(&records::partition_metadata_tombstone(GROUP)));
}

#[test]
fn a_member_in_a_state_of_a_later_version_begins_from_nothing() {
    let mut it = Fixture::new();
    let topic = it.topic("t", 1);
    it.ok(&join("a", &["t"]));
    let mut progress = it.consumers().member("a").unwrap().progress.clone();
    progress.state = MemberState::Unknown(77);
    let record = records::current(GROUP, "a", &progress);
    it.decide(|_, _, outcome| outcome.record(record));
    assert_eq!(it.refused(&beat("a", 1)), ResponseError::FencedMemberEpoch);
    assert_eq!(it.refused(&owning("a", 1, &[(topic, &[0])])), ResponseError::FencedMemberEpoch);
    it.ok(&owning("a", 1, &[]));
    assert_eq!(it.member("a").1, MemberState::Stable);
}

mod beside_classic_groups {
    use super::*;

    fn classic(members: Vec<MemberMetadata>) -> Record {
        let value = GroupMetadataValue {
            protocol_type: "consumer".to_owned(),
            generation: 7,
            protocol: (!members.is_empty()).then(|| "range".to_owned()),
            leader: members.first().map(|member| member.member_id.clone()),
            members: members.into(),
            ..GroupMetadataValue::default()
        };
        Record::GroupMetadata(GroupMetadataKey { group: GROUP.to_owned() }, Some(value))
    }

    #[test]
    fn an_empty_one_makes_room_for_whoever_joins() {
        let mut it = Fixture::new();
        it.topic("t", 1);
        it.decide(|_, _, outcome| outcome.record(classic(Vec::new())));
        assert_eq!(it.refused(&beat("a", 1)), ResponseError::GroupIdNotFound);
        assert_eq!(it.ok(&join("a", &["t"])).member_epoch, 1);
        let kinds: Vec<i16> = it.records().iter().map(Record::kind).collect();
        assert_eq!(kinds, [2, 2, 5, 3, 7, 6, 8], "the classic group's tombstone comes first");
        it.restart();
        assert_eq!(it.ok(&beat("a", 1)).member_epoch, 1);
    }

    #[test]
    fn one_with_members_does_not() {
        let mut it = Fixture::new();
        let member = MemberMetadata {
            member_id: "m".to_owned(),
            session_timeout: 30_000,
            rebalance_timeout: 30_000,
            ..MemberMetadata::default()
        };
        it.decide(|_, _, outcome| outcome.record(classic(vec![member])));
        let refused = it.try_heartbeat(&join("a", &["t"]));
        assert_eq!(refused.unwrap_err().error, ResponseError::GroupIdNotFound);
    }

    #[test]
    fn offsets_that_were_committed_before_do_not_hinder() {
        let mut it = Fixture::new();
        let key = OffsetCommitKey {
            group: GROUP.to_owned(),
            topic: "t".to_owned(),
            partition: crate::types::PartitionId(0),
        };
        it.decide(|_, _, outcome| outcome.record(Record::OffsetCommit(key, Some(Default::default()))));
        it.topic("t", 1);
        assert_eq!(it.ok(&join("a", &["t"])).member_epoch, 1);
        it.restart();
        assert_eq!(it.consumers().member_count(), 1);
    }
}

mod large {
    use super::*;

    /// As many as are computed in the background.
    fn large() -> (Fixture, TopicId) {
        let mut it = Fixture::new();
        let topic = it.topic("t", 150_000);
        it.ok(&join("a", &["t"]));
        (it, topic)
    }

    #[test]
    fn a_large_target_is_computed_in_the_background_while_members_keep_the_old_one() {
        let (mut it, _) = large();
        let answer = it.ok(&join("b", &["t"]));
        assert_eq!((answer.member_epoch, assigned(&answer)), (1, Some(vec![])));
        assert_eq!(it.consumers().state_name(), "Assigning");
        assert_eq!(it.ok(&beat("a", 1)).assignment, None);
        it.work();
        it.check_replay();
        assert_eq!(it.ok(&beat("b", 1)).member_epoch, 2);
        let told = assigned(&it.ok(&beat("a", 1))).unwrap();
        assert_eq!(told[0].1.len(), 75_000);
    }

    #[test]
    fn a_large_first_target_follows_the_first_answer() {
        let mut it = Fixture::new();
        let topic = it.topic("t", 250_000);
        let answer = it.ok(&join("a", &["t"]));
        assert_eq!((answer.member_epoch, assigned(&answer)), (1, Some(vec![])), "nobody is at epoch 0");
        assert_eq!(it.works.len(), 1);
        assert_eq!(it.ok(&beat("a", 1)).assignment, None);
        it.work();
        let answer = it.ok(&beat("a", 1));
        assert_eq!(answer.member_epoch, 2);
        assert_eq!(assigned(&answer).map(|told| (told[0].0, told[0].1.len())), Some((topic, 250_000)));
    }

    #[test]
    fn a_target_of_members_with_long_ids_is_computed_beside_the_core() {
        let mut it = Fixture::new();
        it.topic("t", 1);
        let member = |n: usize| format!("{n:030000}");
        let first = (0..).find(|n| {
            it.try_heartbeat(&join(&member(*n), &["t"])).unwrap();
            !it.works.is_empty()
        });
        // An id counts three times.
        assert!((40..50).contains(&first.unwrap()), "{first:?}");
        it.work();
        assert_eq!(it.consumers().target_epoch, it.consumers().epoch);
    }

    #[test]
    fn a_target_for_an_epoch_that_is_past_is_computed_anew() {
        let (mut it, _) = large();
        it.ok(&join("b", &["t"]));
        it.ok(&join("c", &["t"]));
        assert_eq!(it.works.len(), 1);
        let targets = |it: &Fixture| it.records().iter().filter(|it| it.kind() == 6).count();
        let before = targets(&it);
        it.work();
        assert_eq!(targets(&it), before + 1, "one target, for the newest epoch");
        assert_eq!(it.ok(&beat("b", 1)).member_epoch, 3);
    }

    #[test]
    fn a_group_that_never_rests_gets_a_target_all_the_same() {
        let (mut it, _) = large();
        it.ok(&join("b", &["t"]));
        let mut rounds = 0;
        while it.consumers().target_epoch == 1 {
            it.ok(&join(&format!("m{rounds}"), &["t"]));
            assert_eq!(it.works.len(), 1, "a target is being computed");
            it.work_on();
            rounds += 1;
            assert!(rounds < 30);
        }
        it.check_replay();
        assert_eq!(it.works.len(), 1, "and the next is under way");
    }

    #[test]
    fn a_static_member_that_is_replaced_meanwhile_gets_its_part() {
        let (mut it, topic) = large();
        it.ok(&join("b", &["t"]));
        it.work();
        it.ok(&join_static("s", "i", &["t"]));
        it.work();
        it.ok(&beat("s", -2));
        it.ok(&beat("b", -1));
        it.ok(&beat("a", 1));
        assert_eq!(it.works.len(), 1, "a target for those who are left is being computed");
        it.ok(&join_static("s2", "i", &["t"]));
        it.work();
        it.check_replay();
        let mut parts: Vec<i32> =
            it.consumers().targets.values().flat_map(|target| target.partitions(topic).to_vec()).collect();
        parts.sort_unstable();
        assert!(parts.into_iter().eq(0..150_000), "each partition has one owner");
    }

    /// A member that takes what it is told and reports it with its next heartbeat.
    struct Reader {
        id: String,
        epoch: i32,
        owned: Vec<(TopicId, Vec<i32>)>,
        reports: bool,
    }

    impl Reader {
        fn beats(&mut self, it: &mut Fixture, topics: &[&str]) {
            let request = match self.epoch {
                0 => join(&self.id, topics),
                epoch if self.reports => {
                    let owned: Vec<_> = self.owned.iter().map(|(id, list)| (*id, &list[..])).collect();
                    owning(&self.id, epoch, &owned)
                }
                epoch => beat(&self.id, epoch),
            };
            let answer = it.try_heartbeat(&request).expect("the heartbeat is taken");
            self.epoch = answer.member_epoch;
            self.reports = false;
            if let Some(told) = assigned(&answer) {
                (self.owned, self.reports) = (told, true);
            }
        }
    }

    /// Rounds of heartbeats until the group is stable.
    fn rounds(it: &mut Fixture, readers: &mut [Reader], topics: &[&str]) -> usize {
        for round in 1..20 {
            readers.iter_mut().for_each(|reader| reader.beats(it, topics));
            it.work();
            it.step(5_000);
            if it.consumers().state_name() == "Stable" && readers.iter().all(|reader| !reader.reports) {
                return round;
            }
        }
        panic!("the group does not come to rest");
    }

    #[test]
    fn two_thousand_members_over_ten_thousand_partitions_settle_and_little_moves_when_one_goes() {
        let mut it = Fixture::new();
        let names: Vec<String> = (0..100).map(|i| format!("t{i}")).collect();
        for name in &names {
            it.topic(name, 100);
        }
        let topics: Vec<&str> = names.iter().map(String::as_str).collect();
        let reader = |i: usize| Reader { id: format!("m{i}"), epoch: 0, owned: Vec::new(), reports: false };
        let mut readers: Vec<Reader> = (0..2_000).map(reader).collect();
        assert!(rounds(&mut it, &mut readers, &topics) <= 6);
        assert!(readers.iter().all(|reader| reader.owned.iter().map(|it| it.1.len()).sum::<usize>() == 5));
        it.check_replay();
        // Heartbeats that change nothing store nothing.
        let written = it.log.len();
        readers.iter_mut().for_each(|reader| reader.beats(&mut it, &topics));
        assert_eq!(it.log.len(), written);
        // One goes and another comes: only what moves is written, besides an epoch a member for each of both.
        let gone = readers.pop().expect("there are some");
        it.try_heartbeat(&beat(&gone.id, -1)).expect("it leaves");
        assert!(rounds(&mut it, &mut readers, &topics) <= 3);
        readers.push(reader(5_000));
        assert!(rounds(&mut it, &mut readers, &topics) <= 5);
        let targets = it.records()[written..].iter().filter(|record| record.kind() == 7).count();
        assert!(targets <= 5 + 6 + 2, "{targets} targets changed");
        it.check_replay();
    }
}
