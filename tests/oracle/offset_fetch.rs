//! OffsetFetch: some partitions, all topics, several groups, groups and members that are not there.

use serde_json::{Value, json};

use crate::cases::{Case, every, versions};
use crate::offset_commit::{commit, consume, offsets};
use crate::pair::Pair;

pub const API: &str = "OffsetFetch";
const SEVERAL_GROUPS_FROM: i16 = 8;

fn some(topic: &str, partitions: &[i32]) -> Value {
    json!({"name": topic, "partitionIndexes": partitions})
}

/// A request for one group in the form of the version.
fn ask(v: i16, group: &str, topics: Value) -> Value {
    match v >= SEVERAL_GROUPS_FROM {
        true => json!({"groups": [{"groupId": group, "memberEpoch": -1, "topics": topics}]}),
        false => json!({"groupId": group, "topics": topics}),
    }
}

/// Two topics of which a group has committed some.
fn committed(pair: &mut Pair) -> (String, [String; 2]) {
    let topics = [pair.topic("t", 3, &[]), pair.topic("u", 2, &[])];
    let group = pair.group("g");
    let first = offsets(&topics[0], &[(2, 7), (0, 5)]);
    pair.both("OffsetCommit", 6, commit(&group, json!([first, offsets(&topics[1], &[(1, 9)])])));
    (group, topics)
}

pub const CASES: &[Case] = &[
    every("some partitions", |pair, v| {
        let (group, [topic, other]) = committed(pair);
        pair.both(API, v, ask(v, &group, json!([some(&topic, &[0, 1, 2, 9, -1])])));
        pair.both(
            API,
            v,
            ask(v, &group, json!([some(&other, &[1]), some("nobody", &[0]), some(&topic, &[2, 2])])),
        );
        pair.both(API, v, ask(v, &group, json!([some(&topic, &[0]), some(&topic, &[2]), some("", &[1])])));
        pair.both(API, v, ask(v, &group, json!([some(&topic, &[])])));
        pair.both(API, v, ask(v, &group, json!([])));
    }),
    versions(2, i16::MAX, "all topics", |pair, v| {
        let (group, [topic, _]) = committed(pair);
        pair.both(API, v, ask(v, &group, json!(null)));
        // Offsets of a topic go with it.
        pair.delete(&topic);
        pair.settles(API, v, ask(v, &group, json!(null)));
        let none = pair.group("none");
        pair.both(API, v, ask(v, &none, json!(null)));
    }),
    every("a group that is not there", |pair, v| {
        let topic = pair.topic("t", 1, &[]);
        let group = pair.group("g");
        pair.both(API, v, ask(v, &group, json!([some(&topic, &[0, 1]), some("nobody", &[0])])));
        pair.await_group("");
        pair.both(API, v, ask(v, "", json!([some("nobody", &[0])])));
    }),
    versions(7, i16::MAX, "stable offsets", |pair, v| {
        let (group, [topic, _]) = committed(pair);
        for topics in [json!([some(&topic, &[0, 1])]), json!(null)] {
            let mut tree = ask(v, &group, topics);
            tree["requireStable"] = json!(true);
            pair.both(API, v, tree);
        }
    }),
    versions(8, i16::MAX, "several groups", |pair, v| {
        let (group, [topic, other]) = committed(pair);
        let second = pair.group("h");
        pair.both("OffsetCommit", 6, commit(&second, json!([offsets(&other, &[(0, 3)])])));
        let none = pair.group("none");
        let of = |group: &str, topics: Value| json!({"groupId": group, "memberEpoch": -1, "topics": topics});
        pair.both(
            API,
            v,
            json!({"groups": [
                of(&second, json!(null)),
                of(&group, json!([some(&topic, &[0, 1])])),
                of(&none, json!([some(&topic, &[0])])),
                of(&none, json!(null)),
                of(&group, json!(null)),
            ]}),
        );
        pair.both(API, v, json!({"groups": []}));
    }),
    versions(8, i16::MAX, "members of a consumer group", |pair, v| {
        let topic = pair.topic("t", 2, &[]);
        let group = pair.group("g");
        consume(pair, &group, "member", &topic);
        let mut tree = commit(&group, json!([offsets(&topic, &[(0, 1)])]));
        (tree["memberId"], tree["generationIdOrMemberEpoch"]) = (json!("member"), json!(1));
        pair.both("OffsetCommit", 9, tree);
        for topics in [json!([some(&topic, &[0, 1])]), json!(null)] {
            for epoch in [1, 0, 2, -1] {
                for member in [json!("member"), json!("somebody-else"), json!(null), json!("")] {
                    let asks = json!([{"groupId": group, "memberId": member, "memberEpoch": epoch, "topics": topics}]);
                    pair.both(API, v, json!({"groups": asks}));
                }
            }
        }
    }),
    versions(9, i16::MAX, "members that are not there", |pair, v| {
        let (group, [topic, _]) = committed(pair);
        let none = pair.group("none");
        for group in [&group, &none] {
            for (member, epoch) in [(json!("m"), 3), (json!("m"), -1), (json!(null), 0), (json!(""), -1)] {
                for topics in [json!([some(&topic, &[0])]), json!(null)] {
                    pair.both(
                        API,
                        v,
                        json!({"groups": [
                            {"groupId": group, "memberId": member, "memberEpoch": epoch, "topics": topics},
                        ]}),
                    );
                }
            }
        }
    }),
];
