//! Two brokers that are asked the same: sends, normalises, compares.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exempt;
use crate::harness::connection::{Answer, Connection, decode_answer, request_header};
use crate::harness::schema::hex;
use crate::harness::{Batch, message};

const PAUSE: Duration = Duration::from_millis(10);
/// How long a change may take to reach every part of a broker.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

/// Errors, none among them, whose answer to a join names a member's id: MEMBER_ID_REQUIRED, FENCED_INSTANCE_ID.
const NAMES_A_MEMBER: [i16; 3] = [0, 79, 82];

/// A topic id that no broker makes.
pub const NO_ID: &str = "00000000000000000000000000000abc";

/// One of the two brokers.
pub struct Side {
    pub name: &'static str,
    /// One a listener.
    addresses: Vec<SocketAddr>,
    /// The one that is spoken to.
    listener: usize,
    connection: Option<Connection>,
    /// The connections of other actors; see [`Pair::speak_as`].
    others: HashMap<usize, Connection>,
    /// The members of groups by their ids, as a case names them.
    members: HashMap<String, String>,
    /// Names by topic id (hex), so that answers with ids can be compared.
    topics: HashMap<String, String>,
    /// What only this broker has, and the word that stands for it: port, directory, cluster id.
    own_words: Vec<(String, &'static str)>,
}

impl Side {
    pub fn new(name: &'static str, addresses: Vec<SocketAddr>) -> Side {
        Side {
            name,
            addresses,
            listener: 0,
            connection: None,
            others: HashMap::new(),
            members: HashMap::new(),
            topics: HashMap::new(),
            own_words: Vec::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.addresses[self.listener]
    }

    fn connection(&mut self) -> &mut Connection {
        let address = self.address();
        self.connection.get_or_insert_with(|| Connection::open(address).expect("the broker accepts"))
    }

    fn call(&mut self, api: &str, version: i16, tree: &Value) -> Answer {
        let mut tree = tree.clone();
        self.put_ids(&mut tree);
        let answer = self.connection().call(api, version, &tree);
        if !matches!(answer, Answer::Body(_)) {
            self.connection = None;
        }
        answer
    }

    /// `@id:NAME` in a request is the id that this broker gave to the topic NAME, or one that nobody has;
    /// `@member:NAME` likewise that of a group's member.
    fn put_ids(&self, tree: &mut Value) {
        match tree {
            Value::String(text) => {
                if let Some(name) = text.strip_prefix("@id:") {
                    let id = self.topics.iter().find(|(_, n)| *n == name).map(|(id, _)| id.clone());
                    *text = id.unwrap_or_else(|| NO_ID.to_owned());
                } else if let Some(name) = text.strip_prefix("@member:") {
                    let id = self.members.iter().find(|(_, n)| *n == name).map(|(id, _)| id.clone());
                    *text = id.unwrap_or_else(|| "nobody".to_owned());
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|item| self.put_ids(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.put_ids(item)),
            _ => {}
        }
    }

    /// Whether every partition is led here: a broker's metadata may run ahead of its replicas.
    fn serves(&mut self, name: &str, partitions: usize) -> bool {
        let partitions: Vec<_> =
            (0..partitions).map(|index| json!({"partitionIndex": index, "timestamp": -1})).collect();
        let tree = json!({"replicaId": -1, "topics": [{"name": name, "partitions": partitions}]});
        let answer = self.call("ListOffsets", 7, &tree).body();
        let partitions = answer["topics"][0]["partitions"].as_array();
        partitions.is_some_and(|list| list.iter().all(|p| p["errorCode"] == 0))
    }

    /// Learns what differs between brokers by nature: cluster id and log directory.
    fn learn(&mut self) {
        let cluster = self.call("DescribeCluster", 0, &json!({})).body();
        let dirs = self.call("DescribeLogDirs", 1, &json!({"topics": []})).body();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.own_words.push((self.address().port().to_string(), "<port>"));
        self.own_words.extend(text(&cluster["clusterId"]).map(|id| (id, "<cluster>")));
        self.own_words.extend(text(&dirs["results"][0]["logDir"]).map(|dir| (dir, "<directory>")));
    }

    pub fn plain(&self, text: &str) -> String {
        if let Some(name) = self.members.get(text) {
            return format!("member {name}");
        }
        let mut text = text.to_owned();
        for (own, word) in &self.own_words {
            text = text.replace(own, word);
        }
        text
    }

    pub fn is_own_port(&self, number: i64) -> bool {
        number == self.address().port() as i64
    }

    pub fn topic_of(&self, id: &str) -> Option<&String> {
        self.topics.get(id)
    }
}

pub struct Pair {
    pub sides: [Side; 2],
    /// What differed in the case that runs.
    pub differences: Vec<String>,
    pub compared: usize,
    prefix: String,
    nonce: String,
    actor: usize,
}

/// A request that was sent and not yet answered; a broker may keep its answer back.
pub struct Sent {
    api: &'static str,
    version: i16,
    tree: Value,
    actor: usize,
    correlations: [i32; 2],
}

impl Pair {
    pub fn new(left: Side, right: Side) -> Pair {
        let mut pair = Pair {
            sides: [left, right],
            differences: Vec::new(),
            compared: 0,
            prefix: String::new(),
            nonce: std::env::var("ORACLE_NONCE").unwrap_or_default(),
            actor: 0,
        };
        pair.sides.iter_mut().for_each(Side::learn);
        // The first block of producer ids takes Kafka a moment.
        let tree = json!({"transactionalId": null, "transactionTimeoutMs": 1000});
        while pair.prepare("InitProducerId", 4, tree.clone()).iter().any(|a| a["errorCode"] != 0) {
            thread::sleep(PAUSE);
        }
        pair
    }

    pub fn begin(&mut self, api: &str, case: &str, version: i16) {
        self.prefix = format!("{}{api}-{}-v{version}", self.nonce, fit(case));
        self.differences.clear();
        self.sides.iter_mut().for_each(|side| side.members.clear());
        self.actor = 0;
        self.speak_to(0);
    }

    /// Opens new connections, to this listener of both.
    pub fn speak_to(&mut self, listener: usize) {
        for side in &mut self.sides {
            side.connection = None;
            side.others.clear();
            side.listener = listener;
        }
    }

    /// A name of this case alone, fit for a topic.
    pub fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    /// Sends the same request to both and compares the answers; returns both as they came.
    pub fn both(&mut self, api: &str, version: i16, tree: Value) -> [Value; 2] {
        let answers = self.ask(api, version, &tree);
        self.compare(api, version, &tree, answers)
    }

    /// What both say once a change has reached every part of them: asks until the answers are equal, but
    /// not for ever.
    pub fn settles(&mut self, api: &str, version: i16, tree: Value) {
        self.settles_by(|pair| {
            pair.both(api, version, tree.clone());
        });
    }

    /// Takes comparisons again until they show no difference, but not for ever.
    pub fn settles_by(&mut self, compare: impl Fn(&mut Pair)) {
        let deadline = Instant::now() + SETTLES_WITHIN;
        let before = self.differences.len();
        loop {
            compare(self);
            if self.differences.len() == before || Instant::now() > deadline {
                return;
            }
            self.differences.truncate(before);
            thread::sleep(5 * PAUSE);
        }
    }

    fn ask(&mut self, api: &str, version: i16, tree: &Value) -> [Answer; 2] {
        let [left, right] = &mut self.sides;
        thread::scope(|scope| {
            let left = scope.spawn(|| left.call(api, version, tree));
            let right = right.call(api, version, tree);
            [left.join().expect("the other side's thread"), right]
        })
    }

    fn compare(&mut self, api: &str, version: i16, tree: &Value, answers: [Answer; 2]) -> [Value; 2] {
        self.compared += 1;
        let raw = answers.clone().map(|answer| match answer {
            Answer::Body(tree) => tree,
            other => json!({ "no answer": format!("{other:?}") }),
        });
        let seen: Vec<Value> =
            raw.iter().zip(&self.sides).map(|(t, s)| exempt::normalise(api, t, s)).collect();
        let mut found = Vec::new();
        differ("", &seen[0], &seen[1], &mut found);
        if !found.is_empty() {
            let asked: String = tree.to_string().chars().take(300).collect();
            let more = found.len().saturating_sub(12);
            found.truncate(12);
            let more = if more > 0 { format!("\n        and {more} more") } else { String::new() };
            self.differences
                .push(format!("{api} v{version} {asked}\n        {}{more}", found.join("\n        ")));
        }
        raw
    }

    /// Asks both without comparing: preparation. Both must answer.
    pub fn prepare(&mut self, api: &str, version: i16, tree: Value) -> [Value; 2] {
        self.ask(api, version, &tree).map(Answer::body)
    }

    /// Compares answers of which the case has taken something out.
    pub fn compared_as(&mut self, api: &str, version: i16, answers: [Value; 2]) {
        self.compare(api, version, &json!("see the case"), answers.map(Answer::Body));
    }

    /// The same, to each broker what its own state asks for.
    pub fn each(&mut self, api: &str, version: i16, trees: [Value; 2]) -> [Value; 2] {
        let [left, right] = &mut self.sides;
        let answers = [left.call(api, version, &trees[0]), right.call(api, version, &trees[1])];
        self.compare(api, version, &trees[1], answers)
    }

    /// Speaks on the connections of another actor, which are opened when they are first used.
    pub fn speak_as(&mut self, actor: usize) {
        let before = std::mem::replace(&mut self.actor, actor);
        for side in &mut self.sides {
            if let Some(connection) = side.connection.take() {
                side.others.insert(before, connection);
            }
            side.connection = side.others.remove(&actor);
        }
    }

    /// Sends a request as this actor; others may speak before [`Pair::answered`] reads the answer.
    pub fn send(&mut self, api: &'static str, version: i16, tree: Value) -> Sent {
        let correlations = self.sides.each_mut().map(|side| {
            let mut tree = tree.clone();
            side.put_ids(&mut tree);
            side.connection().send(message(api), version, &tree).expect("the broker reads")
        });
        Sent { api, version, tree, actor: self.actor, correlations }
    }

    /// Reads the answers to a request that was sent, as the actor who sent it, and compares them. The id that
    /// each gives to the member is from now on that of `member`.
    pub fn answered(&mut self, sent: Sent, member: &str) -> [Value; 2] {
        self.speak_as(sent.actor);
        let mut correlations = sent.correlations.into_iter();
        let answers = self.sides.each_mut().map(|side| {
            let correlation = correlations.next().expect("one for each side");
            let answer = side.connection().answer(message(sent.api), sent.version, correlation);
            if let Answer::Body(tree) = &answer
                && let Some(id) = tree["memberId"].as_str()
                && NAMES_A_MEMBER.iter().any(|error| tree["errorCode"] == *error)
                && !side.members.contains_key(id)
            {
                side.members.retain(|_, name| name != member);
                side.members.insert(id.to_owned(), member.to_owned());
            }
            answer
        });
        self.compare(sent.api, sent.version, &sent.tree, answers)
    }

    /// Asks until both answer with this error, without comparing: what others were asked before has come.
    pub fn until(&mut self, api: &str, version: i16, tree: Value, error: i16) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.prepare(api, version, tree.clone()).iter().any(|answer| answer["errorCode"] != error) {
            assert!(Instant::now() < deadline, "{api} {tree} is never answered with {error}");
            thread::sleep(PAUSE);
        }
    }

    /// Sends a request that has no answer, then asks for ApiVersions on the same connection: its answer
    /// comes first, or the connection is closed.
    pub fn unanswered(&mut self, api: &str, version: i16, tree: Value) {
        for side in &mut self.sides {
            let mut tree = tree.clone();
            side.put_ids(&mut tree);
            side.connection().send(message(api), version, &tree).expect("the broker reads");
        }
        self.both("ApiVersions", 0, json!({}));
    }

    /// Sends a frame (without its length) on new connections; the answers are compared as bytes.
    pub fn frame(&mut self, frame: &[u8]) {
        self.compared += 1;
        let answers: Vec<String> =
            self.answers_to(frame).map(|a| a.map_or("closed".into(), |b| hex(&b))).into();
        if answers[0] != answers[1] {
            self.differences.push(format!("frame {}: {} against {}", hex(frame), answers[0], answers[1]));
        }
    }

    /// A body of any bytes under a right header.
    pub fn body(&mut self, api: &str, version: i16, body: &[u8]) {
        let mut frame = request_header(message(api), version, 7);
        frame.extend(body);
        let answers = self.answers_to(&frame).map(|answer| match answer {
            Some(bytes) => {
                decode_answer(message(api), version, 7, &bytes).map_or_else(Answer::Undecodable, Answer::Body)
            }
            None => Answer::Closed,
        });
        self.compare(api, version, &json!(hex(body)), answers);
    }

    fn answers_to(&mut self, frame: &[u8]) -> [Option<Vec<u8>>; 2] {
        [0, 1].map(|side| {
            let mut connection = Connection::open(self.sides[side].address()).expect("the broker accepts");
            connection.send_frame(frame).expect("the broker reads");
            connection.read_frame().unwrap_or(None)
        })
    }

    /// Makes a topic on both and learns its ids.
    pub fn topic(&mut self, part: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
        let name = self.name(part);
        let configs: Vec<_> = configs.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
        let made = self.prepare(
            "CreateTopics",
            7,
            json!({"timeoutMs": 30000, "topics": [{
                "name": name, "numPartitions": partitions, "replicationFactor": 1, "configs": configs,
            }]}),
        );
        for (side, made) in self.sides.iter_mut().zip(made) {
            let topic = &made["topics"][0];
            assert_eq!(topic["errorCode"], 0, "{} cannot make {name}: {topic}", side.name);
            side.topics.insert(topic["topicId"].as_str().expect("an id").to_owned(), name.clone());
        }
        self.wait_for(&name);
        name
    }

    /// The name of a group of this case alone, whose coordinator is up on both.
    pub fn group(&mut self, part: &str) -> String {
        let name = self.name(part);
        self.await_group(&name);
        name
    }

    /// Waits until both brokers coordinate a group.
    pub fn await_group(&mut self, name: &str) {
        let finds = json!({"key": name, "keyType": 0});
        let asks = json!({"groupId": name, "topics": []});
        for side in &mut self.sides {
            let found = (0..1_000).any(|_| {
                let ready = side.call("FindCoordinator", 3, &finds).body()["errorCode"] == 0
                    && side.call("OffsetFetch", 5, &asks).body()["errorCode"] == 0;
                if !ready {
                    thread::sleep(PAUSE);
                }
                ready
            });
            assert!(found, "{} has no coordinator for {name:?}", side.name);
        }
    }

    /// Waits until both brokers lead every partition of a new topic.
    pub fn wait_for(&mut self, name: &str) {
        for side in &mut self.sides {
            for _ in 0..500 {
                let tree = json!({"topics": [{"name": name}], "allowAutoTopicCreation": false});
                let answer = side.call("Metadata", 12, &tree).body();
                let topic = &answer["topics"][0];
                let partitions = topic["partitions"].as_array().expect("partitions");
                let led = !partitions.is_empty() && partitions.iter().all(|p| p["errorCode"] == 0);
                if topic["errorCode"] == 0 && led {
                    side.topics.insert(topic["topicId"].as_str().expect("an id").into(), name.into());
                    let count = partitions.len();
                    if side.serves(name, count) {
                        break;
                    }
                }
                thread::sleep(PAUSE);
            }
        }
    }

    /// Has both make the offsets topic, and waits until both coordinate groups.
    pub fn offsets_topic(&mut self) {
        let began = Instant::now();
        loop {
            let found = self.prepare("FindCoordinator", 3, json!({"key": "ready", "keyType": 0}));
            if found.iter().all(|answer| answer["errorCode"] == 0) {
                self.wait_for("__consumer_offsets");
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "a broker has no offsets topic: {found:?}");
            thread::sleep(PAUSE);
        }
    }

    /// Deletes a topic on both and waits until both have forgotten it.
    pub fn delete(&mut self, name: &str) {
        self.prepare("DeleteTopics", 5, json!({"topicNames": [name], "timeoutMs": 10000}));
        let tree = json!({"topics": [{"name": name}], "allowAutoTopicCreation": false});
        for side in &mut self.sides {
            while side.call("Metadata", 12, &tree).body()["topics"][0]["errorCode"] == 0 {
                thread::sleep(PAUSE);
            }
            while side.serves(name, 1) {
                thread::sleep(PAUSE);
            }
        }
        // What else Kafka does with a topic that is gone follows its metadata cache.
        thread::sleep(10 * PAUSE);
    }

    /// Appends a batch on both, which must be accepted; returns the base offset.
    pub fn append(&mut self, topic: &str, partition: i32, batch: &Batch) -> i64 {
        let answers = self.prepare("Produce", 9, produce(topic, partition, batch));
        for (side, answer) in self.sides.iter().zip(&answers) {
            let error = &answer["responses"][0]["partitionResponses"][0]["errorCode"];
            assert_eq!(*error, 0, "{} refuses a batch: {answer}", side.name);
        }
        answers[1]["responses"][0]["partitionResponses"][0]["baseOffset"].as_i64().expect("an offset")
    }
}

/// A case's name as part of a topic's.
fn fit(case: &str) -> String {
    case.chars()
        .filter_map(|c| if c == ' ' { Some('-') } else { c.is_ascii_alphanumeric().then_some(c) })
        .collect()
}

/// A produce request of one batch at acks=all, for any version.
pub fn produce(topic: &str, partition: i32, batch: &Batch) -> Value {
    produce_records(topic, partition, json!(batch.hex()))
}

pub fn produce_records(topic: &str, partition: i32, records: Value) -> Value {
    json!({"acks": -1, "timeoutMs": 5000, "topicData": [
        {"name": topic, "topicId": format!("@id:{topic}"),
         "partitionData": [{"index": partition, "records": records}]}
    ]})
}

/// What tells an element of a list from the others.
pub fn name_of(item: &Value) -> Option<String> {
    const NAMES: [&str; 9] = [
        "name",
        "resourceName",
        "topic",
        "topicId",
        "partitionIndex",
        "index",
        "apiKey",
        "groupId",
        "memberId",
    ];
    NAMES.iter().find_map(|name| item.get(name)).map(Value::to_string)
}

/// A list's elements by what names them, if each has a name of its own.
fn keyed(list: &[Value]) -> Option<BTreeMap<String, &Value>> {
    let map: BTreeMap<_, _> = list.iter().filter_map(|item| Some((name_of(item)?, item))).collect();
    (map.len() == list.len()).then_some(map)
}

/// Where two trees differ: path, left, right.
fn differ(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                // Apache Kafka's UNKNOWN_SERVER_ERROR is an exception that it did not foresee.
                if key.ends_with("rrorCode") && *b == -1 && *a != 0 && a.is_number() {
                    continue;
                }
                differ(&format!("{path}.{key}"), a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differ(&format!("{path}[{index}]"), a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if keyed(a).is_some() && keyed(b).is_some() => {
            let (a, b) = (keyed(a).unwrap_or_default(), keyed(b).unwrap_or_default());
            let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (a, b) = (a.get(key).unwrap_or(&&Value::Null), b.get(key).unwrap_or(&&Value::Null));
                differ(&format!("{path}[{key}]"), a, b, found);
            }
        }
        _ if left == right => {}
        _ => {
            let short = |v: &Value| v.to_string().chars().take(400).collect::<String>();
            found.push(format!("{path}: {} against {}", short(left), short(right)));
        }
    }
}
