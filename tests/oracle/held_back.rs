//! Pairs of brokers whose configuration holds groups back: how many members they may have, in which direction
//! alone they migrate, and that there are no consumer groups, by `group.coordinator.rebalance.protocols` and
//! by the level of `group.version`.

use serde_json::{Value, json};

use crate::cases::{Case, Group, every, newest, versions};
use crate::consumer_group_heartbeat::{API as HEARTBEAT, beat, heard_of, join as subscribe, with};
use crate::members::{
    self, JOIN, SYNC, alone, beating, come, fixed, id_of, join, joined_by_two, joining, leave, stable_of_two,
    syncing,
};
use crate::migration::{
    DOWNGRADE, UPGRADE, assigned, classic, commit, consumer_group, describe, leaving, named_beat,
};
use crate::pair::Pair;
use crate::update_features::{SAFE, UPGRADE as RAISE, update};
use crate::{OPTIONS, Profile};

const DESCRIBE: &str = "ConsumerGroupDescribe";
const UNSUPPORTED_VERSION: i16 = 35;

/// Three members of a classic group, two of a consumer group, and a group that became a consumer group stays one.
pub const UP: Profile = Profile {
    name: "up",
    options: &[
        "group.max.size=3",
        "group.consumer.max.size=2",
        "group.consumer.migration.policy=upgrade",
        "group.initial.rebalance.delay.ms=0",
    ],
    ours: OPTIONS,
    listeners: &["PLAINTEXT"],
    groups: &[
        Group { api: "JoinGroup", cases: FULL_CLASSIC },
        Group { api: HEARTBEAT, cases: FULL_CONSUMER },
        Group { api: HEARTBEAT, cases: UPGRADE },
        // It changes the whole broker.
        Group { api: "UpdateFeatures", cases: LOWERED },
    ],
};

/// One member of a classic group, and only consumer groups change their kind.
pub const DOWN: Profile = Profile {
    name: "down",
    options: &[
        "group.max.size=1",
        "group.consumer.max.size=3",
        "group.consumer.migration.policy=downgrade",
        "group.initial.rebalance.delay.ms=0",
    ],
    ours: OPTIONS,
    listeners: &["PLAINTEXT"],
    groups: &[
        Group { api: HEARTBEAT, cases: DOWNGRADE },
        Group { api: HEARTBEAT, cases: TOO_MANY_TO_GO_DOWN },
    ],
};

pub const CLASSIC: Profile = Profile {
    name: "classic",
    options: &["group.coordinator.rebalance.protocols=classic", "group.initial.rebalance.delay.ms=0"],
    ours: OPTIONS,
    listeners: &["PLAINTEXT"],
    groups: &[
        Group { api: "ApiVersions", cases: TABLE },
        Group { api: HEARTBEAT, cases: NO_HEARTBEATS },
        Group { api: DESCRIBE, cases: NO_DESCRIPTIONS },
        Group { api: "ListGroups", cases: CLASSIC_GROUPS_ALONE },
    ],
};

/// The third comes to a stable group of two, and all have joined generation 3.
fn third_joins(pair: &mut Pair, v: i16, group: &str) {
    let third = come(pair, v, 2, "c", joining(group, ""));
    pair.speak_as(0);
    pair.until("Heartbeat", 4, beating(group, "a", 2), 27);
    let first = pair.send("JoinGroup", v, joining(group, &id_of("a")));
    pair.speak_as(1);
    let second = pair.send("JoinGroup", v, joining(group, &id_of("b")));
    pair.answered(third, "c");
    pair.answered(second, "b");
    pair.answered(first, "a");
}

const FULL_CLASSIC: &[Case] = &[
    every("a group that is full", |pair, v| {
        let group = pair.group("g");
        stable_of_two(pair, &group);
        third_joins(pair, v, &group);
        let more = |pair: &mut Pair| {
            join(pair, v, 3, "d", joining(&group, ""));
            join(pair, v, 3, "d", joining(&group, "who"));
            if v >= 5 {
                join(pair, v, 3, "d", fixed(&group, "", "i"));
            }
        };
        more(pair);
        pair.speak_as(0);
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 3, &[("a", "aa")]));
        more(pair);
        // Who is there may say that again.
        join(pair, v, 1, "b", joining(&group, &id_of("b")));
        pair.both("DescribeGroups", 6, json!({"groups": [group]}));
        for member in ["c", "b"] {
            leave(pair, &group, member);
        }
        pair.speak_as(0);
        join(pair, v, 0, "a", joining(&group, &id_of("a")));
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 4, &[("a", "aa")]));
        let waits = come(pair, v, 3, "d", joining(&group, ""));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 4), 27);
        let first = pair.send("JoinGroup", v, joining(&group, &id_of("a")));
        pair.answered(waits, "d");
        pair.answered(first, "a");
    }),
    // Before, nobody knows their id while they wait.
    versions(4, i16::MAX, "a round that is full", |pair, v| {
        let group = pair.group("g");
        alone(pair, &group);
        let mut waiting = Vec::new();
        for (actor, member) in [(1, "b"), (2, "c"), (3, "d")] {
            waiting.push((come(pair, v, actor, member, joining(&group, "")), member));
        }
        // Its own leader finds no place, and is out.
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 1), 27);
        join(pair, v, 0, "a", joining(&group, &id_of("a")));
        pair.both("Heartbeat", 4, beating(&group, "a", 1));
        join(pair, v, 4, "e", joining(&group, ""));
        // Two go at once, so that who leads is not left to the order of ids.
        let gone = ["c", "d"].map(|member| json!({"memberId": id_of(member)}));
        pair.both("LeaveGroup", 5, members::leaving(&group, json!(gone)));
        for (sent, member) in waiting.into_iter().rev() {
            pair.answered(sent, member);
        }
    }),
    versions(5, i16::MAX, "a full group with a static member", |pair, v| {
        let group = pair.group("g");
        stable_of_two(pair, &group);
        pair.speak_as(2);
        let third = pair.send("JoinGroup", v, fixed(&group, "", "i"));
        pair.speak_as(0);
        pair.until("Heartbeat", 4, beating(&group, "a", 2), 27);
        let first = pair.send("JoinGroup", v, joining(&group, &id_of("a")));
        pair.speak_as(1);
        let second = pair.send("JoinGroup", v, joining(&group, &id_of("b")));
        pair.answered(third, "c");
        pair.answered(second, "b");
        pair.answered(first, "a");
        pair.speak_as(0);
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 3, &[("c", "cc")]));
        join(pair, v, 3, "d", fixed(&group, "", "j"));
        join(pair, v, 2, "c2", fixed(&group, "", "i"));
        pair.both("DescribeGroups", 6, json!({"groups": [group]}));
    }),
];

const FULL_CONSUMER: &[Case] = &[
    every("a consumer group that is full", |pair, v| {
        pair.offsets_topic();
        let (topic, group) = (pair.topic("t", 2, &[]), pair.name("g"));
        heard_of(pair, &group, &topic);
        let fixed = |request: Value, instance: &str| with(request, &[("instanceId", json!(instance))]);
        pair.both(HEARTBEAT, v, subscribe(&group, "a", &[&topic]));
        pair.both(HEARTBEAT, v, fixed(subscribe(&group, "b", &[&topic]), "i"));
        pair.both(HEARTBEAT, v, subscribe(&group, "c", &[&topic]));
        pair.both(HEARTBEAT, v, fixed(subscribe(&group, "c", &[&topic]), "j"));
        pair.both(HEARTBEAT, v, fixed(subscribe(&group, "c", &[&topic]), "i"));
        pair.both("JoinGroup", JOIN, classic(&group, "c", &topic, &[]));
        join(pair, JOIN, 0, "c", classic(&group, "", &topic, &[]));
        join(pair, JOIN, 0, "c", with(classic(&group, "", &topic, &[]), &[("groupInstanceId", json!("j"))]));
        // Those who are there come again, the static one under another name too.
        pair.both(HEARTBEAT, v, subscribe(&group, "a", &[&topic]));
        pair.both(HEARTBEAT, v, fixed(beat(&group, "b", -2), "i"));
        pair.both(HEARTBEAT, v, subscribe(&group, "c", &[&topic]));
        pair.both(HEARTBEAT, v, fixed(subscribe(&group, "d", &[&topic]), "i"));
        describe(pair, &group);
        pair.both(HEARTBEAT, v, beat(&group, "a", -1));
        pair.both(HEARTBEAT, v, subscribe(&group, "c", &[&topic]));
        describe(pair, &group);
    }),
    newest("a classic group that is too large for the other kind", |pair, v| {
        pair.offsets_topic();
        let (topic, group) = (pair.topic("t", 4, &[]), pair.group("g"));
        heard_of(pair, &group, &topic);
        let (first, second) = (assigned(&topic, &[0, 1]), assigned(&topic, &[2, 3]));
        joined_by_two(pair, &group);
        pair.speak_as(1);
        let waits = pair.send("SyncGroup", SYNC, syncing(&group, "b", 2, &[]));
        pair.speak_as(0);
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 2, &[("a", &first), ("b", &second)]));
        pair.answered(waits, "b");
        // As many as there may be, and one more; then more than there may be.
        pair.both(HEARTBEAT, v, subscribe(&group, "n", &[&topic]));
        describe(pair, &group);
        third_joins(pair, JOIN, &group);
        pair.speak_as(0);
        pair.both("SyncGroup", SYNC, syncing(&group, "a", 3, &[("a", &first), ("b", &second)]));
        pair.both(HEARTBEAT, v, subscribe(&group, "n", &[&topic]));
        describe(pair, &group);
        pair.both("Heartbeat", 4, beating(&group, "a", 3));
    }),
];

const TOO_MANY_TO_GO_DOWN: &[Case] =
    &[newest("a consumer group that is too large for the other kind", |pair, v| {
        let (topic, group) = consumer_group(pair);
        for member in ["b", "c"] {
            pair.both("JoinGroup", JOIN, classic(&group, member, &topic, &[]));
        }
        pair.both("JoinGroup", JOIN, classic(&group, "d", &topic, &[]));
        pair.both(HEARTBEAT, v, subscribe(&group, "d", &[&topic]));
        pair.both(HEARTBEAT, v, beat(&group, "n", -1));
        describe(pair, &group);
        pair.both("Heartbeat", 4, named_beat(&group, "b", 2));
        // It stays what it is with the last of them too: nobody of the consumer protocol leaves.
        pair.both("LeaveGroup", 5, leaving(&group, "c", None));
        describe(pair, &group);
    })];

fn ask_for_the_table(pair: &mut Pair, v: i16) {
    pair.settles("ApiVersions", v, json!({"clientSoftwareName": "judge", "clientSoftwareVersion": "1"}));
}

const TABLE: &[Case] = &[every("the table without consumer groups", ask_for_the_table)];

const NO_HEARTBEATS: &[Case] = &[every("no consumer groups", |pair, v| {
    let group = pair.group("g");
    for request in [
        subscribe(&group, "a", &["t"]),
        beat(&group, "a", 1),
        beat(&group, "a", -1),
        with(subscribe(&group, "", &["t"]), &[("groupId", json!("")), ("memberEpoch", json!(-7))]),
    ] {
        pair.both(HEARTBEAT, v, request);
    }
    alone(pair, &group);
    pair.both(HEARTBEAT, v, subscribe(&group, "n", &["t"]));
    pair.both("DescribeGroups", 6, json!({"groups": [group]}));
})];

const NO_DESCRIPTIONS: &[Case] = &[every("no consumer groups", |pair, v| {
    let group = pair.group("g");
    alone(pair, &group);
    for groups in [json!([]), json!([group]), json!([group, "none", "", group])] {
        pair.both(DESCRIBE, v, json!({"groupIds": groups, "includeAuthorizedOperations": true}));
    }
})];

const CLASSIC_GROUPS_ALONE: &[Case] = &[newest("no consumer groups", |pair, v| {
    let group = pair.group("g");
    alone(pair, &group);
    let configs = json!([{"name": "consumer.session.timeout.ms", "configOperation": 0, "value": "50000"}]);
    let resources = json!([{"resourceType": 32, "resourceName": group, "configs": configs}]);
    pair.both("IncrementalAlterConfigs", 1, json!({"resources": resources, "validateOnly": false}));
    pair.settles("ListConfigResources", 1, json!({"resourceTypes": [32]}));
    pair.both(DESCRIBE, 1, json!({"groupIds": [group]}));
    for types in [json!(["consumer"]), json!(["unheard-of"])] {
        pair.both("ListGroups", v, json!({"statesFilter": [], "typesFilter": types}));
    }
})];

const LOWERED: &[Case] = &[newest("groups while their version is lowered", |pair, v| {
    let (topic, group) = consumer_group(pair);
    let other = pair.group("h");
    alone(pair, &other);
    update(pair, v, &[("group.version", 0, SAFE)], false);
    for version in [3, 4] {
        ask_for_the_table(pair, version);
    }
    pair.until(HEARTBEAT, 1, beat(&group, "n", 1), UNSUPPORTED_VERSION);
    for version in [0, 1] {
        pair.both(HEARTBEAT, version, beat(&group, "n", 1));
        pair.both(HEARTBEAT, version, subscribe(&other, "n", &[&topic]));
        pair.both(DESCRIBE, version, json!({"groupIds": [group, "none", other]}));
    }
    // What is there stays there.
    describe(pair, &group);
    pair.both("OffsetCommit", 9, commit(&group, "n", 1, &topic));
    pair.both("OffsetFetch", 7, json!({"groupId": group, "topics": null}));
    pair.both("DeleteGroups", 2, json!({"groupsNames": [group]}));
    pair.both("JoinGroup", JOIN, classic(&group, "b", &topic, &[]));
    pair.both("Heartbeat", 4, beating(&other, "a", 1));
    update(pair, v, &[("group.version", 1, RAISE)], false);
    pair.until(HEARTBEAT, 1, beat("none", "n", 1), 69);
    pair.both(HEARTBEAT, 1, beat(&group, "n", 1));
    describe(pair, &group);
})];
