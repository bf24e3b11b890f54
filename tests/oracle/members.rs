//! Members of classic groups as the cases of several APIs need them: who joins, synchronises and waits.

use serde_json::{Value, json};

use crate::pair::{Pair, Sent};

/// The versions that steps are made in which a case does not judge.
pub const JOIN: i16 = 9;
pub const SYNC: i16 = 5;

/// From this version on a member without an id is given one first.
const ID_REQUIRED_FROM: i16 = 4;

/// What consumers say under a protocol: version 0, no topics, no user data. Of bytes that are none of it Apache
/// Kafka answers no join at all.
pub const SUBSCRIPTION: &str = "000000000000ffffffff";
/// The same with user data of no bytes.
pub const OTHER_SUBSCRIPTION: &str = "00000000000000000000";

pub fn id_of(member: &str) -> String {
    format!("@member:{member}")
}

pub fn protocols(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "metadata": SUBSCRIPTION})).collect()
}

pub fn joining(group: &str, id: &str) -> Value {
    json!({
        "groupId": group, "sessionTimeoutMs": 30000, "rebalanceTimeoutMs": 60000, "memberId": id,
        "groupInstanceId": null, "protocolType": "consumer", "protocols": protocols(&["range"]), "reason": "why",
    })
}

pub fn fixed(group: &str, id: &str, instance: &str) -> Value {
    let mut tree = joining(group, id);
    tree["groupInstanceId"] = json!(instance);
    tree
}

/// Sends the join of a dynamic member that is new, as this actor; where the version asks for it, after it has
/// got an id.
pub fn come(pair: &mut Pair, version: i16, actor: usize, member: &str, mut tree: Value) -> Sent {
    pair.speak_as(actor);
    if version >= ID_REQUIRED_FROM {
        let sent = pair.send("JoinGroup", version, tree.clone());
        let answers = pair.answered(sent, member);
        assert_eq!(answers[1]["errorCode"], 79, "a new member gets an id first");
        tree["memberId"] = json!(id_of(member));
    }
    pair.send("JoinGroup", version, tree)
}

pub fn join(pair: &mut Pair, version: i16, actor: usize, member: &str, tree: Value) -> [Value; 2] {
    pair.speak_as(actor);
    let sent = pair.send("JoinGroup", version, tree);
    pair.answered(sent, member)
}

/// A request to synchronise, with the assignments of a leader.
pub fn syncing(group: &str, member: &str, generation: i32, assigned: &[(&str, &str)]) -> Value {
    let list: Vec<_> =
        assigned.iter().map(|(who, bytes)| json!({"memberId": id_of(who), "assignment": bytes})).collect();
    json!({
        "groupId": group, "generationId": generation, "memberId": id_of(member), "groupInstanceId": null,
        "protocolType": "consumer", "protocolName": "range", "assignments": list,
    })
}

pub fn beating(group: &str, member: &str, generation: i32) -> Value {
    json!({"groupId": group, "generationId": generation, "memberId": id_of(member), "groupInstanceId": null})
}

/// Makes a stable group whose only member is `a` (actor 0), at generation 1.
pub fn alone(pair: &mut Pair, group: &str) {
    let sent = come(pair, JOIN, 0, "a", joining(group, ""));
    pair.answered(sent, "a");
    pair.both("SyncGroup", SYNC, syncing(group, "a", 1, &[("a", "aa")]));
}

/// Makes a group of `a` (actor 0, leading) and `b` (actor 1), both of which have joined generation 2.
pub fn joined_by_two(pair: &mut Pair, group: &str) {
    alone(pair, group);
    let b = come(pair, JOIN, 1, "b", joining(group, ""));
    pair.speak_as(0);
    pair.until("Heartbeat", 4, beating(group, "a", 1), 27);
    let a = pair.send("JoinGroup", JOIN, joining(group, &id_of("a")));
    pair.answered(b, "b");
    pair.answered(a, "a");
}

/// The same, stable.
pub fn stable_of_two(pair: &mut Pair, group: &str) {
    joined_by_two(pair, group);
    pair.speak_as(1);
    let waits = pair.send("SyncGroup", SYNC, syncing(group, "b", 2, &[]));
    pair.speak_as(0);
    pair.both("SyncGroup", SYNC, syncing(group, "a", 2, &[("a", "aaaa"), ("b", "bbbb")]));
    pair.answered(waits, "b");
    pair.speak_as(0);
}

pub fn leaving(group: &str, members: Value) -> Value {
    json!({"groupId": group, "memberId": members[0]["memberId"], "members": members})
}

pub fn leave(pair: &mut Pair, group: &str, member: &str) {
    pair.both("LeaveGroup", 5, leaving(group, json!([{"memberId": id_of(member)}])));
}
