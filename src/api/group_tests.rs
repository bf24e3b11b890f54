//! What requests about groups answer by way of their coordinators: several at once, and one whose log does not
//! keep up.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};

use super::{
    Context, consumer_group_describe, consumer_group_heartbeat, delete_groups, describe_groups, heartbeat,
    join_group, leave_group, list_groups, offset_commit, offset_delete, offset_fetch, sync_group,
};
use crate::clock;
use crate::group::{Groups, OFFSETS_TOPIC};
use crate::metadata::features::GROUP_VERSION;
use crate::protocol::stored::group::{self, OffsetCommitKey, OffsetCommitValue};
use crate::protocol::stored::metadata::{FeatureLevelRecord, Record};
use crate::protocol::wire::StrBytes;
use crate::runtime::tasks::{self, Queue};
use crate::shard::Shard;
use crate::shard::testing::{begin_to_write, groups_are_loaded, log_dir, make_topic, on_cores, publish};
use crate::storage::open_files;
use crate::types::{Offset, PartitionId};

/// COORDINATOR_NOT_AVAILABLE
const NOT_IN_TIME: i16 = 15;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

fn client(shard: &Rc<Shard>) -> Context {
    Context {
        shard: shard.clone(),
        listener: "PLAINTEXT".into(),
        peer: ([127, 0, 0, 1], 1).into(),
        client_id: RefCell::default(),
        software: RefCell::default(),
    }
}

async fn commit(client: &Context, group: &str, offset: i64) -> i16 {
    let partition =
        OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let topic =
        OffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default().with_group_id(group_id(group)).with_topics(vec![topic]);
    offset_commit::handle(client, request, 8).await.topics[0].partitions[0].error_code
}

async fn join(client: &Context, group: &str) -> i16 {
    let request = JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![JoinGroupRequestProtocol::default().with_name(text("range"))]);
    join_group::handle(client, request, 3).await.error_code
}

/// The code of each group, and what it committed.
async fn fetch(client: &Context, groups: &[&str]) -> Vec<(String, i16, Option<i64>)> {
    let asked = |group: &&str| {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(TopicName(text("t")))
            .with_partition_indexes(vec![0]);
        OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(Some(vec![topic]))
    };
    let request = OffsetFetchRequest::default().with_groups(groups.iter().map(asked).collect());
    let answer = offset_fetch::handle(client, request, 9).await;
    let told = |group: &kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup| {
        let offset = group.topics.first().map(|topic| topic.partitions[0].committed_offset);
        (group.group_id.to_string(), group.error_code, offset)
    };
    answer.groups.iter().map(told).collect()
}

/// What a coordinator that is made anew from the log says of the group's offset.
async fn replayed(shard: &Rc<Shard>, group: &str) -> Option<i64> {
    shard.stop_groups();
    shard.follow_everywhere().await;
    groups_are_loaded(shard).await;
    fetch(&client(shard), &[group]).await[0].2
}

#[test]
fn what_is_not_committed_in_time_is_answered_and_stays_what_the_log_makes_of_it() {
    on_cores(1, "offsets.commit.timeout.ms=50\ngroup.initial.rebalance.delay.ms=0", |shard| async move {
        make_topic(&shard, "t", 1).await;
        make_topic(&shard, OFFSETS_TOPIC, 1).await;
        groups_are_loaded(&shard).await;
        let client = client(&shard);
        // Nothing is written yet. Kafka 4.1 makes COORDINATOR_NOT_AVAILABLE of REQUEST_TIMED_OUT, and of an
        // offset fetch's NOT_COORDINATOR (CoordinatorOperationExceptionHelper, handleOffsetFetchException).
        assert_eq!(commit(&client, "g", 7).await, NOT_IN_TIME);
        assert_eq!(join(&client, "g").await, NOT_IN_TIME);
        let told = fetch(&client, &["g"]).await;
        assert_eq!(told[0].1, ResponseError::NotCoordinator.code());
        // Now it is, and the answers that came too late are of no account: the state is the log's.
        begin_to_write(&shard).await;
        // The log's files are made first, which may take longer than the time that is given.
        while commit(&client, "other", 8).await == NOT_IN_TIME {}
        assert_eq!(fetch(&client, &["g"]).await, [("g".to_owned(), 0, Some(7))]);
        assert_eq!(replayed(&shard, "g").await, Some(7));
        let ticking = tasks::spawn(Queue::Requests, shard.clone().tick_groups());
        let joined = async || loop {
            match join(&client, "g").await {
                NOT_IN_TIME => {}
                code => break code,
            }
        };
        assert_eq!(joined().await, 0);
        ticking.cancel().await;
    });
}

#[test]
fn what_was_not_committed_in_time_and_then_failed_is_not_in_the_state() {
    on_cores(1, "offsets.commit.timeout.ms=50", |shard| async move {
        make_topic(&shard, "t", 1).await;
        make_topic(&shard, OFFSETS_TOPIC, 1).await;
        groups_are_loaded(&shard).await;
        let client = client(&shard);
        assert_eq!(commit(&client, "g", 7).await, NOT_IN_TIME);
        let state = async || {
            let offset =
                |groups: &Groups| groups.offsets().get("g", "t", PartitionId(0)).map(|it| it.offset.0);
            shard.on_all_groups(move |coordinator| std::future::ready(coordinator.peek(offset))).await
        };
        // It may be committed yet.
        assert_eq!(state().await, [Some(Some(7))]);
        // Where the log's directory would be.
        std::fs::write(log_dir(&shard).join(format!("{OFFSETS_TOPIC}-0")), "in its way").unwrap();
        begin_to_write(&shard).await;
        while state().await != [None] {
            tasks::yield_now().await;
        }
        assert_ne!(commit(&client, "g", 8).await, 0);
    });
}

#[test]
fn several_groups_are_answered_in_the_order_of_the_request() {
    on_cores(2, "", |shard| async move {
        make_topic(&shard, "t", 1).await;
        make_topic(&shard, OFFSETS_TOPIC, 5).await;
        groups_are_loaded(&shard).await;
        begin_to_write(&shard).await;
        let client = client(&shard);
        let names: Vec<String> = (0..20).map(|n| format!("g{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            assert_eq!(commit(&client, name, n as i64).await, 0);
        }
        // Backwards, one of them twice, and one that nobody knows.
        let mut asked: Vec<&str> = names.iter().rev().map(String::as_str).collect();
        asked.extend(["g7", "unknown"]);
        let mut wanted: Vec<_> = (0..20).rev().map(|n| (format!("g{n}"), 0, Some(n))).collect();
        wanted.extend([("g7".to_owned(), 0, Some(7)), ("unknown".to_owned(), 0, Some(-1))]);
        assert_eq!(fetch(&client, &asked).await, wanted);
        // A small request makes no large answer.
        let over_and_over = vec!["g7"; 100];
        let told = fetch(&client, &over_and_over).await;
        assert!(told[..17].iter().all(|told| told.2 == Some(7)), "{told:?}");
        assert!(told[17..].iter().all(|told| told.1 == ResponseError::InvalidRequest.code()), "{told:?}");
        let request =
            DescribeGroupsRequest::default().with_groups(over_and_over.iter().map(|g| group_id(g)).collect());
        let told = describe_groups::handle(&client, request, 5).await.groups;
        let refused = ResponseError::InvalidRequest.code();
        assert_eq!(told.iter().filter(|told| told.error_code == refused).count(), 83);
        let names: Vec<String> = (0..200).map(|n| format!("g{n}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let told = fetch(&client, &all).await;
        assert!(told.iter().map(|told| &told.0).eq(&names), "in more than one piece, in order");
        asked.insert(3, "");
        let request = ConsumerGroupDescribeRequest::default()
            .with_group_ids(asked.iter().map(|group| group_id(group)).collect());
        let told = consumer_group_describe::handle(&client, request, 0).await.groups;
        let told: Vec<_> = told.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(told, asked);
    });
}

#[test]
fn coordinators_of_one_request_are_asked_at_the_same_time() {
    on_cores(2, "offsets.commit.timeout.ms=400", |shard| async move {
        make_topic(&shard, "t", 1).await;
        make_topic(&shard, OFFSETS_TOPIC, 5).await;
        groups_are_loaded(&shard).await;
        let commits = (0..20).map(|n| {
            let client = client(&shard);
            tasks::spawn(Queue::Requests, async move { commit(&client, &format!("g{n}"), n).await })
        });
        let commits: Vec<_> = commits.collect();
        for commit in commits {
            assert_eq!(commit.await, NOT_IN_TIME);
        }
        // Nothing is written, so each of the five lets its answer wait until the time is up.
        let names: Vec<String> = (0..20).map(|n| format!("g{n}")).collect();
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let began = Instant::now();
        let told = fetch(&client(&shard), &asked).await;
        assert!(told.iter().all(|told| told.1 == ResponseError::NotCoordinator.code()));
        assert!(began.elapsed() < Duration::from_millis(4 * 400), "{:?}", began.elapsed());
    });
}

/// What each API answers about a group: its name and code.
async fn codes(client: &Context, group: &str) -> Vec<(&'static str, i16)> {
    let id = || group_id(group);
    let mut codes = vec![
        ("JoinGroup", join(client, group).await),
        ("OffsetCommit", commit(client, group, 1).await),
        ("OffsetFetch 9", fetch(client, &[group]).await[0].1),
    ];
    let sync = SyncGroupRequest::default().with_group_id(id()).with_member_id(text("m"));
    codes.push(("SyncGroup", sync_group::handle(client, sync, 3).await.error_code));
    let beat = HeartbeatRequest::default().with_group_id(id()).with_member_id(text("m"));
    codes.push(("Heartbeat", heartbeat::handle(client, beat, 3).await.error_code));
    let leave = LeaveGroupRequest::default().with_group_id(id()).with_member_id(text("m"));
    codes.push(("LeaveGroup 2", leave_group::handle(client, leave.clone(), 2).await.error_code));
    codes.push(("LeaveGroup 4", leave_group::handle(client, leave, 4).await.error_code));
    for version in [1, 2, 7] {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(TopicName(text("t")))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_group_id(id()).with_topics(Some(vec![topic]));
        let answer = offset_fetch::handle(client, request, version).await;
        match version {
            1 => codes.push(("OffsetFetch 1", answer.topics[0].partitions[0].error_code)),
            _ => codes.push(("OffsetFetch 2 to 7", answer.error_code)),
        }
    }
    let request = OffsetDeleteRequest::default().with_group_id(id());
    codes.push(("OffsetDelete", offset_delete::handle(client, request, 0).await.error_code));
    let request = DescribeGroupsRequest::default().with_groups(vec![id()]);
    let described = describe_groups::handle(client, request, 5).await.groups.remove(0);
    codes.push(("DescribeGroups", described.error_code));
    assert!(described.error_code == 0 || described.group_state.is_empty());
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![id()]);
    let described = consumer_group_describe::handle(client, request, 0).await.groups.remove(0);
    codes.push(("ConsumerGroupDescribe", described.error_code));
    codes.push(("ConsumerGroupHeartbeat", consumer_heartbeat(client, group).await));
    let request = DeleteGroupsRequest::default().with_groups_names(vec![id()]);
    codes.push(("DeleteGroups", delete_groups::handle(client, request, 2).await.results[0].error_code));
    codes
}

async fn publish_consumer_groups(shard: &Rc<Shard>) {
    let level = FeatureLevelRecord { name: GROUP_VERSION.to_owned(), feature_level: 1 };
    publish(shard, &[Record::from(level)]).await;
}

/// Has the member "m" join, and stay in, a consumer group that follows "t".
async fn consumer_heartbeat(client: &Context, group: &str) -> i16 {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(text("m"))
        .with_rebalance_timeout_ms(1_000)
        .with_topic_partitions(Some(Vec::new()))
        .with_subscribed_topic_names(Some(vec![TopicName(text("t"))]));
    let beat = consumer_group_heartbeat::handle(client, request, 1).await;
    assert!(beat.error_code != 14 || beat.error_message.is_none(), "Kafka gives no sentence that is general");
    beat.error_code
}

#[test]
fn while_a_partition_is_loaded_its_groups_are_told_so() {
    let properties = "offsets.commit.timeout.ms=20000\ngroup.initial.rebalance.delay.ms=0";
    on_cores(1, properties, |shard| async move {
        publish_consumer_groups(&shard).await;
        make_topic(&shard, "t", 1).await;
        let offsets = make_topic(&shard, OFFSETS_TOPIC, 2).await;
        groups_are_loaded(&shard).await;
        let client = client(&shard);
        let in_partition = |id: i32| {
            let mut names = (0..).map(|n| format!("g{n}"));
            names.find(|name| shard.group_partition(name) == Some((offsets, PartitionId(id)))).unwrap()
        };
        let (loading, loaded) = (in_partition(0), in_partition(1));
        // One file may be open, and it is the other partition's: what that one holds puts the replay off.
        open_files::set_bound(1);
        begin_to_write(&shard).await;
        for group in [&loading, &loaded] {
            assert_eq!(commit(&client, group, 7).await, 0);
        }
        let other = shard.partition(offsets, PartitionId(1)).unwrap();
        let held = other.log().read(Offset(0), other.high_watermark(), 1, true).unwrap();
        shard.stop_groups();
        shard.follow_everywhere().await;
        while shard.replay_progress().partitions_done == 0 {
            tasks::yield_now().await;
        }
        for (api, code) in codes(&client, &loading).await {
            let wanted = match api {
                // Sessions begin when the group is loaded.
                "Heartbeat" => 0,
                _ => ResponseError::CoordinatorLoadInProgress.code(),
            };
            assert_eq!(code, wanted, "{api}");
        }
        let listed = async || list_groups::handle(&client, ListGroupsRequest::default(), 4).await;
        let told = listed().await;
        assert_eq!((told.error_code, told.groups.len()), (14, 0));
        // Several at once: each is told for itself.
        let told = fetch(&client, &[&loading, &loaded]).await;
        assert_eq!(told, [(loading.clone(), 14, None), (loaded.clone(), 0, Some(7))]);
        assert_eq!(shard.replay_progress().partitions_done, 1);
        drop(held);
        groups_are_loaded(&shard).await;
        assert_eq!(fetch(&client, &[&loading]).await, [(loading.clone(), 0, Some(7))]);
        assert_eq!(listed().await.groups.len(), 2);
        let ticking = tasks::spawn(Queue::Requests, shard.clone().tick_groups());
        let told = codes(&client, &loading).await;
        assert!(told.iter().all(|(_, code)| *code != 14), "{told:?}");
        ticking.cancel().await;
    });
}

#[test]
fn offsets_expire_where_nobody_follows_their_topic() {
    let properties = "offsets.retention.minutes=1\noffsets.retention.check.interval.ms=20";
    on_cores(1, properties, |shard| async move {
        publish_consumer_groups(&shard).await;
        make_topic(&shard, "t", 1).await;
        make_topic(&shard, OFFSETS_TOPIC, 1).await;
        groups_are_loaded(&shard).await;
        begin_to_write(&shard).await;
        let client = client(&shard);
        let committed_before = async |group: &'static str, seconds: i64| {
            let key = OffsetCommitKey { group: group.into(), topic: "t".into(), partition: PartitionId(0) };
            let commit_timestamp = clock::wall_ms() - seconds * 1_000;
            let value =
                OffsetCommitValue { offset: Offset(7), commit_timestamp, ..OffsetCommitValue::default() };
            let record = group::Record::OffsetCommit(key, Some(value));
            shard.ask_group(group, move |_, _, outcome| outcome.record(record)).await.unwrap();
        };
        assert_eq!(consumer_heartbeat(&client, "live").await, 0);
        for group in ["empty", "live"] {
            committed_before(group, 60).await;
        }
        committed_before("young", 40).await;
        let offsets = async || {
            let told = fetch(&client, &["empty", "live", "young"]).await;
            told.into_iter().map(|(_, code, offset)| (code, offset)).collect::<Vec<_>>()
        };
        assert_eq!(offsets().await, [(0, Some(7)); 3]);
        let ticking = tasks::spawn(Queue::Requests, shard.clone().tick_groups());
        while offsets().await[0].1 == Some(7) {
            glommio::timer::sleep(Duration::from_millis(5)).await;
        }
        // Several looks later the others are there still.
        glommio::timer::sleep(Duration::from_millis(300)).await;
        assert_eq!(offsets().await, [(0, Some(-1)), (0, Some(7)), (0, Some(7))]);
        let listed = list_groups::handle(&client, ListGroupsRequest::default(), 4).await.groups;
        let mut names: Vec<_> = listed.iter().map(|group| group.group_id.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["live", "young"]);
        ticking.cancel().await;
        // The log says the same.
        assert_eq!(replayed(&shard, "empty").await, Some(-1));
        assert_eq!(offsets().await, [(0, Some(-1)), (0, Some(7)), (0, Some(7))]);
    });
}
