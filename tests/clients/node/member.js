// `member.js member OPTIONS`: kafkajs as a member of a group, as tests/clients/README.md says.
//
// The library tells neither its generation nor what it gives up, so its own `joinAndSync` is watched: with it
// everything is given up, and when it is done the new assignment stands.

const readline = require("readline");
const { Kafka, AssignerProtocol, logLevel } = require("kafkajs");
const ConsumerGroup = require("kafkajs/src/consumer/consumerGroup");

const options = { assignor: "range", commit: "sync", session_ms: 6000, heartbeat_ms: 300, ...JSON.parse(process.argv[3]) };
let group; // the library's own, with its generation
let owned = [];
const positions = new Map(); // "topic/partition" -> { topic, partition, offset }
const dirty = new Set(); // the names of those that are not committed so far
let paused = Promise.resolve();

function say(event, rest = {}) {
  process.stdout.write(JSON.stringify({ event, at: Date.now(), ...rest }) + "\n");
}

const joinAndSync = ConsumerGroup.prototype.joinAndSync;
ConsumerGroup.prototype.joinAndSync = async function (...rest) {
  group = this;
  if (owned.length) say("revoked", { partitions: owned });
  owned = [];
  positions.clear();
  dirty.clear();
  await joinAndSync.apply(this, rest);
  owned = this.assigned().flatMap(({ topic, partitions }) => partitions.map((p) => [topic, p]));
  say("assigned", { partitions: owned, generation: this.generationId });
};

// Kafka's range assignor, under the name by which other libraries know it.
const range = ({ cluster }) => ({
  name: "range",
  version: 0,
  protocol: ({ topics }) => ({
    name: "range",
    metadata: AssignerProtocol.MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) }),
  }),
  async assign({ members }) {
    const subscribed = {};
    for (const { memberId, memberMetadata } of members) {
      for (const topic of AssignerProtocol.MemberMetadata.decode(memberMetadata).topics) {
        (subscribed[topic] ??= []).push(memberId);
      }
    }
    const given = Object.fromEntries(members.map(({ memberId }) => [memberId, {}]));
    for (const [topic, ids] of Object.entries(subscribed)) {
      await cluster.addTargetTopic(topic);
      const partitions = cluster.findTopicPartitionMetadata(topic).map((p) => p.partitionId).sort((a, b) => a - b);
      ids.sort();
      let at = 0;
      ids.forEach((id, i) => {
        const count = Math.floor(partitions.length / ids.length) + (i < partitions.length % ids.length ? 1 : 0);
        if (count) given[id][topic] = partitions.slice(at, (at += count));
      });
    }
    return members.map(({ memberId }) => ({
      memberId,
      memberAssignment: AssignerProtocol.MemberAssignment.encode({
        version: 0, assignment: given[memberId], userData: Buffer.alloc(0),
      }),
    }));
  },
});

const kafka = new Kafka({
  clientId: "kafkajs",
  brokers: [process.env.BOOTSTRAP],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 1000, retries: 1000 },
});
const consumer = kafka.consumer({
  groupId: options.group,
  sessionTimeout: options.session_ms,
  heartbeatInterval: options.heartbeat_ms,
  rebalanceTimeout: 10_000,
  maxWaitTimeInMs: 100,
  metadataMaxAge: 1000,
  partitionAssigners: [range],
});

// What was refused is committed again, from where the member then is, if it still owns it.
async function commit(how) {
  const names = [...dirty];
  dirty.clear();
  if (!names.length) return;
  const offsets = names.map((name) => positions.get(name));
  const said = offsets.map(({ topic, partition, offset }) => [topic, partition, Number(offset)]);
  const done = consumer.commitOffsets(offsets).then(
    () => say("committed", { how, offsets: said, error: null }),
    (error) => {
      say("committed", { how, offsets: said, error: String(error) });
      for (const name of names) if (positions.has(name)) dirty.add(name);
    },
  );
  if (how === "sync") await done;
}

async function eachBatch({ batch, resolveOffset, heartbeat, isStale }) {
  await paused;
  const { topic, partition } = batch;
  if (isStale()) return;
  const offsets = batch.messages.map((message) => Number(message.offset));
  say("records", { topic, partition, offsets });
  resolveOffset(batch.lastOffset());
  // The library commits under the generation of the moment, whoever owns the partition by then.
  if (owned.some(([t, p]) => t === topic && p === partition)) {
    positions.set(`${topic}/${partition}`, { topic, partition, offset: String(offsets[offsets.length - 1] + 1) });
    dirty.add(`${topic}/${partition}`);
  }
  if (options.commit === "sync" || options.commit === "async") await commit(options.commit);
  await heartbeat();
}

async function main() {
  await consumer.connect();
  const topics = options.regex ? [new RegExp(options.regex)] : options.topics;
  await consumer.subscribe({ topics, fromBeginning: true });
  say("started");
  await consumer.run({ autoCommit: options.commit === "auto", autoCommitInterval: 200, eachBatchAutoResolve: false, eachBatch });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [command, argument] = line.split(" ");
    if (command === "leave") break;
    if (command === "pause") paused = new Promise((resolve) => setTimeout(resolve, Number(argument)));
    if (command === "commit") await commit(argument);
  }
  await consumer.disconnect();
  say("left");
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
