//! A second pair of brokers, under another configuration: clients make and delete no topics, the node has
//! another number, two listeners advertise addresses of their own, unstable versions are on, and there is
//! room for few fetch sessions. Only what differs under it is asked.

use serde_json::{Value, json};

use crate::Profile;
use crate::cases::{Case, Group, every, newest, versions};
use crate::harness::{Batch, message};
use crate::pair::{NO_ID, Pair};

const NODE: i32 = 7;
/// Apache Kafka divides them over eight caches, by turns.
const SESSIONS: usize = 8;

pub const PROFILE: Profile = Profile {
    name: "second",
    options: &[
        "node.id=7",
        "auto.create.topics.enable=false",
        "delete.topic.enable=false",
        "unstable.api.versions.enable=true",
        "max.incremental.fetch.session.cache.slots=8",
        "advertised.listeners=FIRST://first.example:1111,SECOND://second.example:2222",
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,FIRST:PLAINTEXT,SECOND:PLAINTEXT",
        "inter.broker.listener.name=FIRST",
    ],
    ours: &[
        "process.roles=broker,controller",
        "controller.quorum.bootstrap.servers=127.0.0.1:1",
        "controller.listener.names=CONTROLLER",
        "offsets.topic.replication.factor=1",
        "transaction.state.log.replication.factor=1",
        "share.coordinator.state.topic.replication.factor=1",
        "transaction.state.log.min.isr=1",
        "share.coordinator.state.topic.min.isr=1",
        // Sessions are divided over the cores, by connection; here all are to meet.
        "thalweg.cores=0",
    ],
    listeners: &["FIRST", "SECOND"],
    groups: &[
        Group { api: "Fetch", cases: FETCH },
        Group { api: "ApiVersions", cases: API_VERSIONS },
        Group { api: "Metadata", cases: METADATA },
        Group { api: "DescribeCluster", cases: DESCRIBE_CLUSTER },
        Group { api: "DeleteTopics", cases: DELETE_TOPICS },
        Group { api: "CreateTopics", cases: CREATE_TOPICS },
        Group { api: "DescribeTopicPartitions", cases: DESCRIBE_TOPIC_PARTITIONS },
        Group { api: "Produce", cases: PRODUCE },
        Group { api: "OffsetCommit", cases: OFFSET_COMMIT },
        Group { api: "OffsetFetch", cases: OFFSET_FETCH },
    ],
};

/// Runs `ask` through each of the two listeners.
fn through_both(pair: &mut Pair, ask: impl Fn(&mut Pair)) {
    for listener in [0, 1] {
        pair.speak_to(listener);
        ask(pair);
    }
}

const API_VERSIONS: &[Case] = &[
    every("the table", |pair, v| {
        through_both(pair, |pair| {
            let answers = pair.prepare(
                "ApiVersions",
                v,
                json!({"clientSoftwareName": "judge", "clientSoftwareVersion": "1"}),
            );
            // All but what transactions need; see the next case.
            let stable = |answer: &Value| {
                let mut answer = answer.clone();
                let keys = answer["apiKeys"].as_array_mut().expect("a table");
                keys.retain(|row| row["apiKey"] != message("InitProducerId").request.key);
                answer
            };
            pair.compared_as("ApiVersions", v, answers.each_ref().map(stable));
        });
    }),
    newest("unstable versions of what transactions need", |pair, v| {
        pair.both("ApiVersions", v, json!({"clientSoftwareName": "judge", "clientSoftwareVersion": "1"}));
    }),
];

const METADATA: &[Case] = &[
    every("an unknown topic is not made", |pair, v| {
        let name = pair.name("unknown");
        for wish in [true, false] {
            let tree = json!({"topics": [{"name": name}], "allowAutoTopicCreation": wish});
            through_both(pair, |pair| {
                pair.both("Metadata", v, tree.clone());
            });
        }
        for name in ["__consumer_offsets", "__transaction_state", "a/b", ""] {
            pair.both("Metadata", v, json!({"topics": [{"name": name}], "allowAutoTopicCreation": true}));
        }
    }),
    every("each listener tells its own addresses", |pair, v| {
        let topic = pair.topic("known", 2, &[]);
        through_both(pair, |pair| {
            let tree = json!({"topics": [{"name": topic}], "allowAutoTopicCreation": false});
            let answers = pair.both("Metadata", v, tree);
            assert_eq!(answers[1]["brokers"][0]["nodeId"], NODE);
        });
    }),
];

const DESCRIBE_CLUSTER: &[Case] = &[every("each listener tells its own addresses", |pair, v| {
    through_both(pair, |pair| {
        for kind in [1, 2] {
            pair.both("DescribeCluster", v, json!({"endpointType": kind}));
        }
    });
})];

const DELETE_TOPICS: &[Case] = &[
    every("nothing is deleted", |pair, v| {
        let topic = pair.topic("stays", 1, &[]);
        let named = |names: &[&str]| match v {
            6 => {
                let topics: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
                json!({"timeoutMs": 10000, "topics": topics})
            }
            _ => json!({"timeoutMs": 10000, "topicNames": names}),
        };
        for names in [
            &[&*topic][..],
            &["nobody-made-this"],
            &[&topic, "nobody-made-this"],
            &[&topic, &topic],
            &[""],
            &[],
        ] {
            pair.both("DeleteTopics", v, named(names));
        }
        let mut no_time = named(&[&topic]);
        no_time["timeoutMs"] = json!(0);
        pair.both("DeleteTopics", v, no_time);
        pair.both("Metadata", 12, json!({"topics": [{"name": topic}], "allowAutoTopicCreation": false}));
    }),
    versions(6, 6, "nothing is deleted by its id", |pair, v| {
        let topic = pair.topic("stays", 1, &[]);
        let id = format!("@id:{topic}");
        for topics in [
            json!([{"name": null, "topicId": id}]),
            json!([{"name": null, "topicId": NO_ID}]),
            json!([{"name": topic, "topicId": id}]),
            json!([{"name": null, "topicId": id}, {"name": null, "topicId": id}]),
        ] {
            pair.both("DeleteTopics", v, json!({"timeoutMs": 10000, "topics": topics}));
        }
    }),
];

const CREATE_TOPICS: &[Case] = &[every("replicas on the node that there is and on others", |pair, v| {
    for (part, node) in [("here", NODE), ("elsewhere", 1)] {
        let name = pair.name(part);
        let assignments = json!([{"partitionIndex": 0, "brokerIds": [node]}]);
        let topic =
            json!({"name": name, "numPartitions": -1, "replicationFactor": -1, "assignments": assignments});
        pair.both("CreateTopics", v, json!({"timeoutMs": 10000, "topics": [topic]}));
    }
})];

const DESCRIBE_TOPIC_PARTITIONS: &[Case] = &[newest("another node", |pair, v| {
    let topic = pair.topic("t", 2, &[]);
    pair.both(
        "DescribeTopicPartitions",
        v,
        json!({"topics": [{"name": topic}, {"name": "nobody-made-this"}], "responsePartitionLimit": 10, "cursor": null}),
    );
})];

const PRODUCE: &[Case] = &[newest("through each listener", |pair, v| {
    let topic = pair.topic("t", 1, &[]);
    through_both(pair, |pair| {
        pair.both("Produce", v, crate::pair::produce(&topic, 0, &Batch::small(2)));
        pair.both("Produce", v, crate::pair::produce("nobody-made-this", 0, &Batch::small(2)));
    });
})];

/// The unstable version of OffsetCommit and OffsetFetch, which names topics by their ids.
const TOPIC_IDS: i16 = 10;

fn zero() -> String {
    "0".repeat(32)
}

fn offsets(id: &str, offsets: &[(i32, i64)]) -> Value {
    let line = |(id, offset): &(i32, i64)| json!({"partitionIndex": id, "committedOffset": offset});
    json!({"topicId": id, "partitions": offsets.iter().map(line).collect::<Vec<_>>()})
}

fn commit(group: &str, topics: Value) -> Value {
    json!({"groupId": group, "generationIdOrMemberEpoch": -1, "memberId": "", "topics": topics})
}

fn some(id: &str, partitions: &[i32]) -> Value {
    json!({"topicId": id, "partitionIndexes": partitions})
}

fn ask(group: &str, topics: Value) -> Value {
    json!({"groups": [{"groupId": group, "memberEpoch": -1, "topics": topics}]})
}

const OFFSET_COMMIT: &[Case] = &[newest("topics by their ids", |pair, _| {
    let topic = pair.topic("t", 3, &[]);
    let other = pair.topic("u", 2, &[]);
    let group = pair.group("g");
    let (id, other) = (format!("@id:{topic}"), format!("@id:{other}"));
    for topics in [
        json!([offsets(&id, &[(0, 1), (2, 3)]), offsets(&other, &[(1, 4)])]),
        json!([
            offsets(&id, &[(0, 2), (9, 3)]),
            offsets(NO_ID, &[(0, 1), (1, 1)]),
            offsets(&zero(), &[(0, 4)])
        ]),
        json!([offsets(NO_ID, &[(0, 1)]), offsets(NO_ID, &[(1, 1)]), offsets(&other, &[(0, 1), (5, 1)])]),
        json!([]),
    ] {
        pair.both("OffsetCommit", TOPIC_IDS, commit(&group, topics));
        pair.both("OffsetFetch", TOPIC_IDS, ask(&group, json!(null)));
        pair.both("OffsetFetch", 9, ask(&group, json!(null)));
    }
    for generation in [0, 3] {
        let mut tree = commit(&group, json!([offsets(&id, &[(0, 9)]), offsets(NO_ID, &[(0, 1)])]));
        tree["memberId"] = json!("nobody");
        tree["generationIdOrMemberEpoch"] = json!(generation);
        pair.both("OffsetCommit", TOPIC_IDS, tree);
    }
})];

const OFFSET_FETCH: &[Case] = &[newest("topics by their ids", |pair, _| {
    let topic = pair.topic("t", 3, &[]);
    let other = pair.topic("u", 2, &[]);
    let (group, none) = (pair.group("g"), pair.group("none"));
    let (id, other_id) = (format!("@id:{topic}"), format!("@id:{other}"));
    pair.both("OffsetCommit", TOPIC_IDS, commit(&group, json!([offsets(&id, &[(0, 1), (2, 3)])])));
    // By name: no id is stored with it.
    let by_name = json!([{"name": other, "partitions": [{"partitionIndex": 1, "committedOffset": 5}]}]);
    pair.both("OffsetCommit", 9, commit(&group, by_name));
    for group in [&group, &none] {
        for topics in [
            json!(null),
            json!([some(&id, &[0, 1, 2, 7]), some(&other_id, &[1])]),
            json!([some(NO_ID, &[0, 1]), some(&id, &[0]), some(&zero(), &[3])]),
            json!([]),
        ] {
            pair.both("OffsetFetch", TOPIC_IDS, ask(group, topics));
        }
    }
})];

/// A fetch of one partition with this session.
fn fetch(topic: &str, session: &Value, epoch: i32) -> Value {
    let partition = json!({"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1_048_576});
    json!({"replicaId": -1, "maxWaitMs": 10, "minBytes": 1, "sessionId": session, "sessionEpoch": epoch, "topics": [
        {"topic": topic, "topicId": format!("@id:{topic}"), "partitions": [partition]}]})
}

fn in_session(pair: &mut Pair, v: i16, topic: &str, ids: &[Value; 2], epoch: i32) -> [Value; 2] {
    pair.each("Fetch", v, ids.each_ref().map(|id| fetch(topic, id, epoch)))
}

fn session_ids(answers: &[Value; 2]) -> [Value; 2] {
    answers.each_ref().map(|answer| answer["sessionId"].clone())
}

const FETCH: &[Case] = &[versions(7, 18, "more sessions than there is room for", |pair, v| {
    let topic = pair.topic("t", 1, &[]);
    let none = [json!(0), json!(0)];
    // Twice as many as there is room for: the later ones get none, and are answered all the same.
    let mut sessions = Vec::new();
    for _ in 0..2 * SESSIONS {
        let ids = session_ids(&in_session(pair, v, &topic, &none, 0));
        if ids[1] != 0 {
            sessions.push(ids);
        }
    }
    assert_eq!(sessions.len(), SESSIONS, "Apache Kafka makes as many as it was told");
    // Those that there are go on, and none was young enough to be put out.
    for ids in &sessions {
        in_session(pair, v, &topic, ids, 1);
    }
    // Who ends makes room. All end, as Apache Kafka asks the caches by turns.
    for ids in &sessions {
        in_session(pair, v, &topic, ids, -1);
        in_session(pair, v, &topic, ids, 2);
    }
    for _ in 0..SESSIONS {
        let ids = session_ids(&in_session(pair, v, &topic, &none, 0));
        in_session(pair, v, &topic, &ids, -1);
    }
})];
