//! Replays the answers of Apache Kafka's own assignors, written by `tests/apache-kafka/Assignments.java`.

use std::sync::Arc;

use super::*;

const ANSWERS: &str = include_str!("fixtures/apache-kafka-4.1.txt");

fn topic_id(text: &str) -> TopicId {
    let (high, low) = text.split_once('.').expect("two halves");
    let half = |text: &str| text.parse::<i64>().expect("a number") as u64;
    TopicId(uuid::Uuid::from_u64_pair(half(high), half(low)))
}

fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    text.split(',').filter(|n| *n != "-").map(|n| n.parse().expect("a number")).collect()
}

fn assignment(text: &str, topics: &[TopicId]) -> Arc<Assignment> {
    let parts = text.split(';').filter_map(|part| part.split_once(':'));
    let place = |text: &str| text.parse::<usize>().expect("a topic's place");
    Arc::new(Assignment::new(parts.map(|(topic, partitions)| (topics[place(topic)], numbers(partitions)))))
}

#[test]
fn every_answer_is_kafkas() {
    let mut groups = 0;
    for group in ANSWERS.split("group ").skip(1) {
        let mut lines = group.lines();
        let (name, kind) = lines.next().and_then(|line| line.split_once(' ')).expect("assignor and type");
        let listed = lines.next().and_then(|line| line.strip_prefix("topics ")).expect("topics");
        let (topics, counts): (Vec<TopicId>, Vec<i32>) = listed
            .split(' ')
            .map(|topic| {
                let (id, count) = topic.split_once(':').expect("id and count");
                (topic_id(id), count.parse::<i32>().expect("a count"))
            })
            .unzip();
        let mut members = Vec::new();
        let mut expected = Vec::new();
        for line in lines {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, id, instance, subscribed, owned, assigned] = fields[..] else { panic!("{line}") };
            members.push(Member {
                id: id.into(),
                instance_id: Some(instance).filter(|id| *id != "-").map(Into::into),
                subscribed: numbers::<usize>(subscribed).into_iter().map(|place| topics[place]).collect(),
                owned: assignment(owned, &topics),
            });
            expected.push(assignment(assigned, &topics));
        }
        // The spec may name its members in any order.
        members.reverse();
        expected.reverse();
        let spec = Spec {
            subscription_type: match kind {
                "Homogeneous" => SubscriptionType::Homogeneous,
                _ => SubscriptionType::Heterogeneous,
            },
            members,
            partition_counts: Arc::new(topics.into_iter().zip(counts).collect()),
        };
        let assignor = Assignor::from_name(name).expect("a known assignor");
        assert_eq!(assignor.assign(&spec), Ok(expected), "group {group}");
        groups += 1;
    }
    assert_eq!(groups, 240);
}
