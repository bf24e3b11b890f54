//! Subscription by regular expression: when it is resolved, what it moves, and that nobody waits for another's.

use std::sync::Arc;

use super::*;
use crate::group::consumer::regexes::Kept;

#[test]
fn topics_are_resolved_in_the_background_and_assigned_at_the_next_heartbeat() {
    let mut it = Fixture::new();
    let first = it.topic("logs-1", 1);
    it.topic("other", 1);
    let answer = it.ok(&join_by_regex("a", "logs-.*"));
    assert_eq!((answer.member_epoch, assigned(&answer)), (1, Some(vec![])));
    it.work();
    it.check_replay();
    let answer = it.ok(&beat("a", 1));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, Some(vec![(first, vec![0])])));
    assert!(it.consumers().is_subscribed_to("logs-1") && !it.consumers().is_subscribed_to("other"));
    // Topics that come are found, but no sooner than ten seconds after the last time.
    let second = it.topic("logs-2", 1);
    it.step(10_000);
    it.ok(&beat("a", 2));
    assert!(it.works.is_empty());
    it.step(1);
    it.ok(&beat("a", 2));
    it.work();
    let answer = it.ok(&beat("a", 2));
    assert_eq!(assigned(&answer), Some(vec![(first, vec![0]), (second, vec![0])]));
    it.restart();
    assert_eq!(it.ok(&beat("a", 3)).member_epoch, 3);
}

#[test]
fn an_expression_that_is_none_is_refused() {
    let mut it = Fixture::new();
    assert_eq!(it.refused(&join_by_regex("a", "(")), ResponseError::InvalidRegularExpression);
    assert!(it.groups.group(GROUP).is_none());
}

#[test]
fn an_expression_lives_as_long_as_its_last_member() {
    let mut it = Fixture::new();
    it.topic("t1", 2);
    it.ok(&join_by_regex("a", "t."));
    it.work();
    it.ok(&join_by_regex("b", "t."));
    assert_eq!(it.consumers().epoch(), 3, "a resolved expression asks for a new target");
    it.ok(&beat("a", -1));
    assert!(it.consumers().is_subscribed_to("t1"));
    it.ok(&join("b", &["t1"]).with_subscribed_topic_regex(Some(text(""))).with_member_epoch(3));
    assert_eq!(it.consumers().regexes.resolved().len(), 0);
    assert!(it.consumers().is_subscribed_to("t1"), "by its name now");
    it.ok(&beat("b", -1));
    assert!(!it.consumers().is_subscribed_to("t1"));
}

#[test]
fn an_expression_that_nobody_has_is_compiled_before_it_is_decided() {
    let mut it = Fixture::new();
    it.topic("t1", 1);
    let decide = |it: &mut Fixture, request: &ConsumerGroupHeartbeatRequest| {
        it.decide(|groups, context, outcome| {
            groups.consumer_heartbeat(request, None, &client("c"), context, outcome)
        })
    };
    let first = decide(&mut it, &join_by_regex("a", "t.*"));
    assert!(matches!(first, Err(Undecided::NotCompiled)), "{first:?}");
    assert!(it.log.is_empty() && it.groups.group(GROUP).is_none(), "nothing is changed");
    it.ok(&join_by_regex("a", "t.*"));
    // Whoever comes with the same one needs nothing, and what is refused otherwise is not compiled for.
    assert!(decide(&mut it, &join_by_regex("b", "t.*")).is_ok());
    let ahead = join_by_regex("a", "u.*").with_member_epoch(9);
    assert!(matches!(decide(&mut it, &ahead), Err(Undecided::Refused(_))));
}

#[test]
fn a_member_that_changes_to_an_expression_without_topics_loses_what_it_had() {
    let mut it = Fixture::new();
    let topic = it.topic("t1", 2);
    it.ok(&join_by_regex("a", "t.*"));
    it.work();
    assert_eq!(assigned(&it.ok(&beat("a", 1))), Some(vec![(topic, vec![0, 1])]));
    it.step(10_001);
    // It keeps them until the new one is resolved, so that those of both stay where they are.
    let answer = it.ok(&beat("a", 2).with_subscribed_topic_regex(Some(text("u.*"))));
    assert_eq!((answer.member_epoch, assigned(&answer)), (2, None));
    assert!(!it.consumers().is_subscribed_to("t1"));
    it.work();
    let answer = it.ok(&beat("a", 2));
    assert_eq!(assigned(&answer), Some(vec![]));
    assert_eq!(it.ok(&owning("a", 2, &[])).member_epoch, 3);
}

#[test]
fn a_dropped_expressions_topics_go_though_another_refresh_finds_nothing_new() {
    let mut it = Fixture::new();
    let (first, second) = (it.topic("t1", 1), it.topic("u1", 1));
    it.ok(&join_by_regex("a", "t.*"));
    it.work();
    it.ok(&join_by_regex("b", "u.*"));
    it.step(10_001);
    it.ok(&beat("a", 1));
    it.work();
    let answer = it.ok(&beat("a", 2));
    let epoch = it.consumers().epoch();
    assert_eq!((answer.member_epoch, it.consumers().is_subscribed_to("u1")), (epoch, true));
    // The other's is resolved again, with what this one takes in the place of its own, which is nothing more.
    it.step(10_001);
    let answer = it.ok(&beat("a", epoch).with_subscribed_topic_regex(Some(text("x.*"))));
    assert_eq!((answer.member_epoch, it.works.len()), (epoch, 1));
    it.work();
    assert_eq!(it.consumers().epoch(), epoch + 1);
    assert_eq!(assigned(&it.ok(&beat("a", epoch))), Some(vec![]), "no more of {first:?}");
    let told: Vec<_> = it.consumers().targets.values().flat_map(|it| it.topics()).collect();
    assert_eq!(told, [(second, &[0][..])]);
}

#[test]
fn a_member_that_takes_no_expression_in_the_place_of_its_own_loses_its_topics_at_once() {
    let mut it = Fixture::new();
    let (first, second) = (it.topic("t1", 1), it.topic("u1", 1));
    it.ok(&join("a", &["u1"]).with_subscribed_topic_regex(Some(text("t.*"))));
    it.work();
    assert_eq!(it.ok(&beat("a", 1)).member_epoch, 2);
    assert!(it.consumers().is_subscribed_to("t1"));
    let answer = it.ok(&beat("a", 2).with_subscribed_topic_regex(Some(text(""))));
    assert_eq!(it.consumers().epoch(), 3);
    assert_eq!(assigned(&answer), Some(vec![(second, vec![0])]), "and no more {first:?}");
}

/// A group that resolves an expression which takes long over many topics.
fn hostile() -> Fixture {
    let mut it = Fixture::new();
    for at in 0..50 {
        it.topic(&format!("{}-{at}", "a".repeat(240)), 1);
    }
    it.ok(&join_by_regex("a", "(?:a*){1000}x|.*-7").with_group_id(GroupId(text("hostile"))));
    it
}

#[test]
fn others_are_computed_between_slices_of_a_hostile_expression() {
    let mut it = hostile();
    let hostile = |it: &Fixture| match it.groups.group("hostile") {
        Some(Group::Consumer(group)) => group.topics.keys().cloned().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let topic = it.topic("t", 150_000);
    it.ok(&join("a", &["t"]));
    it.ok(&join("b", &["t"]));
    assert_eq!(it.works.len(), 2, "the expression and then the large target");
    it.work_on();
    it.work_on();
    assert_eq!(
        (it.works.len(), it.consumers().target_epoch),
        (1, 2),
        "the target is there, the topics are not"
    );
    assert_eq!(assigned(&it.ok(&beat("a", 1))).map(|told| told[0].1.len()), Some(75_000), "{topic:?}");
    // Each topic is a slice of its own where slices are the shortest. What comes now is not looked at.
    let later = it.topic("later-7", 1);
    let mut slices = 1;
    while !it.works.is_empty() {
        it.work_on();
        slices += 1;
    }
    assert!(slices >= 50, "{slices} slices");
    let matched = hostile(&it);
    assert!(matched.len() == 1 && matched[0].ends_with("a-7"), "{matched:?} and not {later:?}");
    it.step(10_001);
    it.ok(&beat("a", 1).with_group_id(GroupId(text("hostile"))));
    it.work();
    assert_eq!(hostile(&it).len(), 2, "the next refresh finds it");
}

#[test]
fn a_resolution_whose_group_is_gone_ends_early() {
    let mut it = hostile();
    it.work_on();
    it.ok(&beat("a", -1).with_group_id(GroupId(text("hostile"))));
    assert_eq!(it.works.len(), 1, "it goes on while the group is there");
    let Some(Group::Consumer(group)) = it.groups.group("hostile") else { panic!("it is there") };
    let tombstones = group.tombstones("hostile");
    it.decide(|_, _, outcome| tombstones.into_iter().for_each(|record| outcome.record(record)));
    it.work_on();
    assert!(it.works.is_empty());
}

#[test]
fn all_are_resolved_again_after_the_refresh_interval() {
    let mut it = Fixture::with("group.consumer.regex.refresh.interval.ms=600000");
    it.topic("t1", 1);
    it.ok(&join_by_regex("a", "t."));
    it.work();
    let mut epoch = 1;
    for _ in 0..20 {
        it.step(30_000);
        epoch = it.ok(&beat("a", epoch)).member_epoch;
        assert!(it.works.is_empty());
    }
    it.step(1);
    it.ok(&beat("a", epoch));
    assert_eq!(it.works.len(), 1);
    it.work();
    assert_eq!(it.ok(&beat("a", epoch)).member_epoch, epoch, "it matched the same");
}

#[test]
fn all_groups_together_keep_few_compiled_expressions_and_what_has_no_place_is_resolved_all_the_same() {
    const MORE_THAN_PLACES: usize = 1_000;
    let mut it = Fixture::new();
    for number in 0..20 {
        it.topic(&format!("logs-{number}"), 1);
    }
    let compiled = Arc::new(crate::group::regex::compile("logs-1.*").unwrap());
    let kept: Vec<Kept> = std::iter::from_fn(|| Kept::new(compiled.clone())).take(MORE_THAN_PLACES).collect();
    assert!(kept.len() < MORE_THAN_PLACES, "the places have an end");
    it.ok(&join_by_regex("a", "logs-1.*"));
    it.work();
    let topics: Vec<_> = it.consumers().regexes.resolution("logs-1.*").unwrap().topics.to_vec();
    assert_eq!(topics.len(), 11, "{topics:?}");
    drop(kept);
    assert!(Kept::new(compiled).is_some(), "a place is given back");
}

/// Has all resolved again, as the first member's next heartbeat does.
fn resolve_again(it: &mut Fixture) {
    it.step(10_001);
    // There is a topic that came since.
    it.topic(&format!("another-{}", it.log.len()), 1);
    let epoch = it.consumers().member("a").expect("it is there").progress.epoch;
    it.try_heartbeat(&beat("a", epoch)).expect("the heartbeat is taken");
    it.work();
}

fn matched(it: &Fixture, regex: &str) -> Arc<[Arc<str>]> {
    it.consumers().regexes.resolution(regex).expect("it is resolved").topics.clone()
}

#[test]
fn what_stays_the_same_is_written_again_and_kept_in_the_memory_that_it_has() {
    let mut it = Fixture::new();
    for at in 0..20 {
        it.topic(&format!("t{at}"), 1);
    }
    it.ok(&join_by_regex("a", "t.*"));
    it.ok(&join_by_regex("b", "t[0-9]*"));
    it.ok(&join_by_regex("c", "t1.*"));
    it.work();
    resolve_again(&mut it);
    let bytes = it.consumers().bytes.get();
    let (one, other, third) = (matched(&it, "t.*"), matched(&it, "t[0-9]*"), matched(&it, "t1.*"));
    assert!(Arc::ptr_eq(&one, &other) && third.len() == 11);
    for _ in 0..2 {
        let (epoch, written) = (it.consumers().epoch(), it.log.len());
        resolve_again(&mut it);
        it.check_replay();
        let expressions = it.records()[written..].iter().filter(|record| record.kind() == 16).count();
        assert_eq!((expressions, it.consumers().epoch()), (3, epoch));
        for (regex, before) in [("t.*", &one), ("t[0-9]*", &one), ("t1.*", &third)] {
            assert!(Arc::ptr_eq(&matched(&it, regex), before), "{regex}");
        }
    }
    // Equal ones are one after a replay too, and with what a member names.
    it.restart();
    assert_eq!(it.consumers().bytes.get(), bytes);
    assert!(Arc::ptr_eq(&matched(&it, "t.*"), &matched(&it, "t[0-9]*")));
    it.topic("t20", 1);
    it.topic("t1-1", 1);
    resolve_again(&mut it);
    it.check_replay();
    assert_eq!(["t.*", "t[0-9]*", "t1.*"].map(|regex| matched(&it, regex).len()), [22, 21, 12]);
    let counted = |it: &Fixture, topic| it.consumers().topics.get(topic).map(|count| count.by_regex);
    assert_eq!(["t1", "t2", "t1-1"].map(|topic| counted(&it, topic)), [Some(3), Some(2), Some(2)]);
}

/// A group of three expressions, each of which matches more than half of what is taken at once, in the middle of
/// taking them.
fn in_parts() -> Fixture {
    let mut it = Fixture::new();
    it.change_image(|image| {
        use crate::protocol::stored::metadata::{Record as Metadata, TopicRecord};
        for at in 0..3_600 {
            let topic_id = TopicId(uuid::Uuid::from_u128(at << 64 | 8));
            let name = format!("{}-{at:04}", ["t", "u", "v"][(at / 1_200) as usize]);
            image.apply(&Metadata::from(TopicRecord { name, topic_id })).unwrap();
        }
    });
    for (member, regex) in [("a", "t-.*"), ("b", "u-.*"), ("c", "v-.*")] {
        it.ok(&join_by_regex(member, regex));
    }
    // The first one alone was asked for.
    it.work();
    it.step(10_001);
    it.ok(&beat("a", it.consumers().member("a").unwrap().progress.epoch));
    while it.consumers().regexes.resolved().len() < 2 {
        it.work_on();
    }
    it
}

#[test]
fn what_many_expressions_match_is_taken_in_parts_and_the_epoch_rises_with_the_last() {
    let mut it = in_parts();
    let epoch = it.consumers().epoch();
    let newest = it.consumers().regexes.newest();
    let resolved_now = |it: &Fixture| {
        let versions = it.consumers().regexes.resolved().map(|(_, of)| (of.version, of.timestamp_ms));
        versions
            .filter(|of| newest.is_some_and(|newest| *of == (newest.version, newest.timestamp_ms)))
            .count()
    };
    assert!((1..3).contains(&resolved_now(&it)), "a part of them");
    assert_eq!(it.works.len(), 1, "the next part comes by itself");
    it.check_replay();
    // Nobody resolves them another time meanwhile.
    it.step(10_001);
    it.ok(&beat("a", it.consumers().member("a").unwrap().progress.epoch));
    assert_eq!((it.works.len(), it.consumers().epoch()), (1, epoch));
    // A restart in between has them all resolved again.
    let mut restarted = in_parts();
    restarted.restart();
    let at = restarted.consumers().member("a").unwrap().progress.epoch;
    restarted.ok(&beat("a", at));
    assert_eq!(restarted.works.len(), 1);
    it.work();
    assert_eq!((resolved_now(&it), it.consumers().epoch()), (3, epoch + 1));
    assert_eq!(it.consumers().topics.len(), 3_600);
    it.check_replay();
}

#[test]
fn a_resolution_is_not_taken_further_by_a_group_that_is_gone_or_has_left_the_expression() {
    let mut it = in_parts();
    for member in ["a", "b", "c"] {
        it.ok(&beat(member, -1));
    }
    let written = it.log.len();
    it.work();
    assert!(it.consumers().regexes.resolved().len() == 0 && it.consumers().topics.is_empty());
    assert!(it.records()[written..].iter().all(|record| record.kind() != 16), "no more of it is written");

    let mut it = in_parts();
    let tombstones = it.consumers().tombstones(GROUP);
    it.decide(|_, _, outcome| tombstones.into_iter().for_each(|record| outcome.record(record)));
    it.ok(&join_by_regex("n", "u-1.*"));
    assert_eq!(it.works.len(), 2, "the group of that name is another");
    it.work_on();
    assert_eq!((it.works.len(), it.consumers().regexes.resolved().len()), (1, 0));
    it.work();
    assert_eq!(matched(&it, "u-1.*").len(), 800);
    it.check_replay();
}

#[test]
fn an_expression_keeps_what_it_matched_before_where_more_would_pass_the_bounds() {
    use crate::group::{bounds, held};
    let mut it = Fixture::new();
    it.topic("t1", 1);
    it.ok(&join_by_regex("a", "t.*"));
    it.work();
    it.topic("t2", 1);
    let refresh = |it: &mut Fixture| {
        resolve_again(it);
        matched(it, "t.*").len()
    };
    // The core has no room for one name more.
    let held_now = {
        held::set_bound(usize::MAX);
        usize::MAX - held::room()
    };
    held::set_bound(held_now + bounds::NAME_OVERHEAD_BYTES);
    let epoch = it.consumers().epoch();
    assert_eq!((refresh(&mut it), it.consumers().epoch()), (1, epoch));
    assert_eq!(it.consumers().regexes.newest().map(|newest| newest.timestamp_ms), Some(it.now.wall_ms));
    held::set_bound(usize::MAX);
    // Nor has the group.
    let with_group = |it: &mut Fixture, change: fn(&mut ConsumerGroup)| match it.groups.groups.get_mut(GROUP)
    {
        Some(Group::Consumer(group)) => change(group),
        other => panic!("{other:?}"),
    };
    with_group(&mut it, |group| group.bytes += bounds::GROUP_BYTES_MAX);
    it.topic("t3", 1);
    assert_eq!((refresh(&mut it), it.consumers().epoch()), (1, epoch));
    with_group(&mut it, |group| group.bytes -= bounds::GROUP_BYTES_MAX);
    assert_eq!((refresh(&mut it), it.consumers().epoch()), (3, epoch + 1));
    it.check_replay();
    // A new one without room names nothing until there is.
    it.ok(&join_by_regex("b", "t[12]"));
    it.step(10_001);
    it.ok(&beat("a", it.consumers().member("a").unwrap().progress.epoch));
    held::set_bound(0);
    it.work();
    held::set_bound(usize::MAX);
    assert_eq!(matched(&it, "t[12]").len(), 0);
    it.check_replay();
    refresh(&mut it);
    assert_eq!(matched(&it, "t[12]").len(), 2);
}

/// `cargo test --release --lib parts_of_a_large_resolution -- --ignored --nocapture` says how long the longest takes.
#[test]
#[ignore = "measures"]
fn parts_of_a_large_resolution() {
    let mut it = Fixture::new();
    it.change_image(|image| {
        use crate::protocol::stored::metadata::{Record as Metadata, TopicRecord};
        for at in 0..10_000 {
            let topic_id = TopicId(uuid::Uuid::from_u128(at << 64 | 8));
            let name = format!("a-topic-of-some-length-{at:05}");
            image.apply(&Metadata::from(TopicRecord { name, topic_id })).unwrap();
        }
    });
    for at in 0..40 {
        it.try_heartbeat(&join_by_regex(&format!("m{at}"), &format!("a.*[0-9]{{{at}}}.?.*|a.*{at}")))
            .unwrap();
    }
    it.work();
    for round in ["the first time", "with one more topic", "the same"] {
        it.step(10_001);
        let name = format!("a-topic-of-some-length-{round}");
        it.topic(if round == "the same" { "b" } else { &name }, 1);
        let at = it.consumers().member("m0").unwrap().progress.epoch;
        it.try_heartbeat(&beat("m0", at)).unwrap();
        let (mut longest, mut all, mut parts) = (std::time::Duration::ZERO, std::time::Duration::ZERO, 0);
        while !it.works.is_empty() {
            let worked = match it.works.remove(0) {
                crate::group::Work::Whole(work) => work(),
                crate::group::Work::Sliced(mut work) => work(&|| false).unwrap(),
            };
            let began = std::time::Instant::now();
            it.decide(|groups, context, outcome| groups.worked(worked, context, outcome));
            (longest, all, parts) = (longest.max(began.elapsed()), all + began.elapsed(), parts + 1);
        }
        println!("{round}: the longest of {parts} decisions {longest:?}, all {all:?}, encoding among it");
    }
}

#[test]
fn an_expression_whose_record_would_not_fit_the_offsets_topic_keeps_what_it_matched_before() {
    let mut it = Fixture::with("message.max.bytes=1000");
    it.topic("t-few", 1);
    it.ok(&join_by_regex("a", "t-.*"));
    it.work();
    for number in 0..30 {
        it.topic(&format!("t-{number:040}"), 1);
    }
    resolve_again(&mut it);
    assert_eq!(matched(&it, "t-.*").len(), 1);
    it.check_replay();
}
