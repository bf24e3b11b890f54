// kafkajs through the calls of tests/clients/README.md.
//
// Its consumer cannot do without a group, so records are read by the library's own broker connection
// (`cluster.findBroker(..).fetch(..)`), the layer below that consumer: the same requests and decoding.

const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require("kafkajs");
const lz4 = require("lz4-napi");
const { ZstdCodec } = require("zstd-codec");

CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: async (buffer) => lz4.decompressFrame(buffer),
});

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
const BASE_TIMESTAMP = 1_700_000_000_000;
const FILLER = "thalweg ".repeat(88);
const COUNT = 150;

const kafka = new Kafka({
  clientId: "kafkajs",
  brokers: [process.env.BOOTSTRAP],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 12 },
});
const admin = kafka.admin();
let cluster;
let latest;

async function start() {
  // The streaming form also opens frames that do not say how large they are.
  const streaming = await new Promise((resolve) => ZstdCodec.run((zstd) => resolve(new zstd.Streaming())));
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder) => Buffer.from(streaming.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(streaming.decompress(buffer)),
  });
  await admin.connect();
  const [create] = Object.getOwnPropertySymbols(kafka).filter((s) => String(s).includes("createCluster"));
  cluster = kafka[create]({ metadataMaxAge: 1000, allowAutoTopicCreation: false, maxInFlightRequests: null });
  await cluster.connect();
}

async function stop() {
  if (latest) await latest.disconnect();
  await cluster.disconnect();
  await admin.disconnect();
}

// ---- records ----

function expected(who, i) {
  const key = i % 7 === 3 ? null : Buffer.from(`${who}-${i}`);
  let value = Buffer.from(`${who}:${i}:${FILLER.slice(0, (37 * i) % 700)}`);
  if (i % 11 === 5 && key !== null) value = null;
  else if (i % 13 === 6) value = Buffer.alloc(0);
  const headers = {};
  if (i % 5 !== 0) {
    headers.client = Buffer.from(who);
    if (i % 10 === 1) headers.empty = Buffer.alloc(0);
    headers.n = Buffer.from(String(i));
  }
  return { offset: i, timestamp: BASE_TIMESTAMP + 1000 * i, key, value, headers };
}

const shown = (part) => (part === null ? "null" : "=" + part.toString("hex"));

function line(record, partition) {
  const headers = Object.entries(record.headers).map(([name, value]) => `${name}=${value.toString("hex")}`);
  const joined = headers.sort().join(",") || "-";
  const { offset, timestamp, key, value } = record;
  return `${partition} ${offset} ${timestamp} ${shown(key)} ${shown(value)} ${joined}`;
}

const range = (count) => Array.from({ length: count }, (_, i) => i);

// ---- the library ----

async function produce(topic, partition, records, codec, how) {
  if (latest) await latest.disconnect();
  const idempotent = how === "idempotent";
  latest = kafka.producer({ idempotent, maxInFlightRequests: 1 });
  await latest.connect();
  const acks = { "acks=0": 0, "acks=1": 1 }[how] ?? -1;
  for (let at = 0; at < records.length; at += 64) {
    const messages = records.slice(at, at + 64).map((record) => ({
      key: record.key,
      value: record.value,
      headers: record.headers,
      partition,
      timestamp: String(record.timestamp),
    }));
    if (messages.some((message) => message.value && message.value.length > 100_000)) {
      for (const message of messages) await latest.send({ topic, acks, messages: [message] });
    } else {
      await latest.send({ topic, acks, compression: CODECS[codec], messages });
    }
  }
}

async function* readEach(topic, partition, start, count) {
  await cluster.addTargetTopic(topic);
  await cluster.refreshMetadata();
  const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
  const broker = await cluster.findBroker({ nodeId });
  let next = start;
  const end = Date.now() + 20_000;
  while (next < start + count) {
    ensure(Date.now() < end, `${topic}-${partition}: records from ${next} did not come`);
    const { responses } = await broker.fetch({
      maxWaitTime: 200,
      minBytes: 1,
      maxBytes: 4 << 20,
      isolationLevel: 1,
      topics: [{ topic, partitions: [{ partition, fetchOffset: String(next), maxBytes: 4 << 20 }] }],
    });
    for (const message of responses[0].partitions[0].messages) {
      const offset = Number(message.offset);
      if (offset < next || offset >= start + count) continue; // a batch comes whole
      next = offset + 1;
      yield { ...message, offset, timestamp: Number(message.timestamp) };
    }
  }
}

async function read(topic, partition, start, count) {
  const records = [];
  for await (const record of readEach(topic, partition, start, count)) records.push(record);
  return records;
}

async function offsets(topic, partition) {
  const found = (await admin.fetchTopicOffsets(topic)).find((each) => each.partition === partition);
  return [Number(found.low), Number(found.high)];
}

// Whether each partition is led by a broker that knows it.
async function led(topic, count) {
  try {
    return (await admin.fetchTopicOffsets(topic)).length === count;
  } catch (error) {
    if (error.retriable) return false;
    throw error;
  }
}

// The library turns "none that late" into the end offset.
async function offsetAt(topic, partition, timestamp) {
  const found = await admin.fetchTopicOffsetsByTimestamp(topic, timestamp);
  return Number(found.find((each) => each.partition === partition).offset);
}

async function partitionCount(topic) {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0].partitions.length;
  } catch (error) {
    if (error.type === "UNKNOWN_TOPIC_OR_PARTITION") return 0;
    throw error;
  }
}

async function createTopic(topic, numPartitions, configs) {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
  return admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] });
}

async function configs(type, name) {
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type, name }] });
  return Object.fromEntries(resources[0].configEntries.map((entry) => [entry.configName, entry.configValue]));
}

// ---- cases ----

async function check() {
  for (const codec of Object.keys(CODECS)) {
    const topic = `kafkajs-${codec}`;
    ensure(await createTopic(topic, 4, { "retention.ms": "-1" }), `${topic} is not new`);
    await waitFor(topic, async () => (await partitionCount(topic)) === 4);
    await waitFor(topic + " led", () => led(topic, 4));
    for (const [partition, how] of ["acks=0", "acks=1", "acks=all", "idempotent"].entries()) {
      await checkWritten(topic, partition, codec, how);
    }
  }
  await checkLarge();
  await checkAdmin();
}

async function checkWritten(topic, partition, codec, how) {
  const who = `${topic}-${how}`;
  const wanted = range(COUNT).map((i) => expected(who, i));
  await produce(topic, partition, wanted, codec, how);
  await waitFor(who, async () => (await offsets(topic, partition))[1] === COUNT);
  equal(who, await read(topic, partition, 0, COUNT), wanted);
  equal(who, await read(topic, partition, 76, COUNT - 76), wanted.slice(76));
  for (const at of [0, 1, COUNT / 3, COUNT - 1, COUNT]) {
    const found = await offsetAt(topic, partition, BASE_TIMESTAMP + 1000 * at - 500);
    ensure(found === at, `${who}: by timestamp: offset ${found}, wanted ${at}`);
  }
  const from = await offsetAt(topic, partition, BASE_TIMESTAMP + 1000 * 40);
  equal(who, await read(topic, partition, from, 10), wanted.slice(40, 50));
  console.log(`ok ${who}`);
}

async function checkLarge() {
  const topic = "kafkajs-large";
  await createTopic(topic, 1, { "retention.ms": "-1" });
  await waitFor(topic, async () => (await partitionCount(topic)) === 1);
  const wanted = range(3).map((i) => ({ ...expected(topic, i), value: Buffer.alloc(900_000, 97 + i) }));
  await produce(topic, 0, wanted, "none", "acks=all");
  equal(topic, await read(topic, 0, 0, 3), wanted);
  console.log(`ok ${topic}`);
}

async function checkAdmin() {
  const topic = "kafkajs-admin";
  await createTopic(topic, 2, { "retention.ms": "-1", "max.message.bytes": "200000" });
  await waitFor("created", async () => (await partitionCount(topic)) === 2);
  ensure((await admin.listTopics()).includes(topic), "the new topic is not listed");
  ensure(!(await createTopic(topic, 1, {})), "a topic was created twice");
  const found = await configs(2, topic);
  ensure(found["max.message.bytes"] === "200000", JSON.stringify(found));
  ensure(found["delete.retention.ms"] === "86400000", JSON.stringify(found));
  const { brokers, clusterId } = await admin.describeCluster();
  ensure(clusterId && Object.keys(await configs(4, String(brokers[0].nodeId))).length > 100, "few configs of the broker");

  const configEntries = [
    { name: "retention.ms", value: "-1" },
    { name: "max.message.bytes", value: "300000" },
  ];
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topic, configEntries }] });
  await waitFor("altered", async () => (await configs(2, topic))["max.message.bytes"] === "300000");

  await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] });
  await waitFor("grown", async () => (await partitionCount(topic)) === 5);
  await waitFor("led", () => led(topic, 5));
  const wanted = range(20).map((i) => expected(topic, i));
  for (const partition of range(5)) {
    await produce(topic, partition, wanted, "none", "acks=all");
    equal("a grown topic", await read(topic, partition, 0, 20), wanted);
  }
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 3, offset: "7" }] });
  await waitFor("deleted records", async () => (await offsets(topic, 3)).join() === "7,20");
  equal("after deleted records", await read(topic, 3, 7, 13), wanted.slice(7));

  await admin.deleteTopics({ topics: [topic] });
  await waitFor("deleted", async () => !(await admin.listTopics()).includes(topic));
  console.log(`ok ${topic}`);
}

// ---- the other calls ----

async function write(topic, who, codec, count) {
  for (const partition of range(3)) {
    const records = range(count).filter((i) => i % 3 === partition);
    await produce(topic, partition, records.map((i) => expected(who, i)), codec, "idempotent");
  }
}

async function readLines(topic) {
  for (const partition of range(3)) {
    const [begin, end] = await offsets(topic, partition);
    for await (const record of readEach(topic, partition, begin, end - begin)) console.log(line(record, partition));
  }
}

// ---- what must hold ----

function ensure(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

function equal(what, found, wanted) {
  for (let i = 0; i < Math.min(found.length, wanted.length); i++) {
    const [f, w] = [line(found[i], 0), line(wanted[i], 0)];
    ensure(f === w, `${what}: a record differs\n  found  ${f}\n  wanted ${w}`);
  }
  ensure(found.length === wanted.length, `${what}: ${found.length} records, wanted ${wanted.length}`);
}

async function waitFor(what, condition) {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    ensure(Date.now() < end, `${what}: not within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function main([call, ...rest]) {
  await start();
  if (call === "check") await check();
  else if (call === "write") await write(rest[0], rest[1], rest[2], Number(rest[3]));
  else if (call === "read") await readLines(rest[0]);
  else throw new Error(`unknown call ${call}`);
  await stop();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
