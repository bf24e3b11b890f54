// The Java client through the calls of tests/clients/README.md: `Clients NAME check|write|read|put|get|member ...`.
// It compiles against the 2.x and the 4.x line; what was renamed between them is called by its name.

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Clients implements AutoCloseable {
    static final long BASE_TIMESTAMP = 1_700_000_000_000L;
    static final int COUNT = 150;
    static final String FILLER = "thalweg ".repeat(88);

    final String name;
    final String bootstrap = System.getenv("BOOTSTRAP");
    final Admin admin;
    final KafkaConsumer<byte[], byte[]> consumer;
    KafkaProducer<byte[], byte[]> latest;

    public static void main(String[] arguments) throws Exception {
        if (arguments[1].equals("member")) {
            Member.run(arguments[2]);
            return;
        }
        try (Clients client = new Clients(arguments[0])) {
            switch (arguments[1]) {
                case "check" -> client.check();
                case "write" -> client.write(arguments[2], arguments[3], arguments[4], Integer.parseInt(arguments[5]));
                case "read" -> client.readLines(arguments[2]);
                case "put" -> client.put(arguments[2], arguments[3]);
                case "get" -> client.get(arguments[2]);
                default -> throw new IllegalArgumentException(arguments[1]);
            }
        }
    }

    Clients(String name) {
        this.name = name;
        admin = Admin.create(base());
        Properties properties = base();
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "none");
        properties.put("fetch.max.wait.ms", "100");
        properties.put("isolation.level", "read_committed");
        consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    Properties base() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        return properties;
    }

    @Override
    public void close() {
        if (latest != null) latest.close();
        consumer.close();
        admin.close();
    }

    // ---- records ----

    /** A record as text, so that two of them compare and print. */
    static String line(int partition, long offset, long timestamp, byte[] key, byte[] value, Iterable<Header> headers) {
        List<String> shown = new ArrayList<>();
        for (Header header : headers) shown.add(header.key() + "=" + hex(header.value()));
        shown.sort(null);
        String joined = shown.isEmpty() ? "-" : String.join(",", shown);
        return partition + " " + offset + " " + timestamp + " " + shown(key) + " " + shown(value) + " " + joined;
    }

    static String line(ConsumerRecord<byte[], byte[]> r) {
        return line(r.partition(), r.offset(), r.timestamp(), r.key(), r.value(), r.headers());
    }

    static String shown(byte[] part) {
        return part == null ? "null" : "=" + hex(part);
    }

    static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte b : bytes) text.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
        return text.toString();
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static ProducerRecord<byte[], byte[]> expected(String topic, int partition, String who, int i) {
        byte[] key = i % 7 == 3 ? null : bytes(who + "-" + i);
        byte[] value;
        if (i % 11 == 5 && key != null) value = null;
        else if (i % 13 == 6) value = new byte[0];
        else value = bytes(who + ":" + i + ":" + FILLER.substring(0, 37 * i % 700));
        var record = new ProducerRecord<>(topic, partition, BASE_TIMESTAMP + 1000L * i, key, value);
        if (i % 5 != 0) {
            record.headers().add("client", bytes(who));
            if (i % 10 == 1) record.headers().add("empty", new byte[0]);
            record.headers().add("n", bytes("" + i));
        }
        return record;
    }

    static List<ProducerRecord<byte[], byte[]>> expectedMany(String topic, int partition, String who, int count) {
        return IntStream.range(0, count).mapToObj(i -> expected(topic, partition, who, i))
            .collect(Collectors.toList());
    }

    /** The lines of records that were written from offset 0 on. */
    static List<String> lines(List<ProducerRecord<byte[], byte[]>> records) {
        List<String> lines = new ArrayList<>();
        for (var r : records) lines.add(line(r.partition(), lines.size(), r.timestamp(), r.key(), r.value(), r.headers()));
        return lines;
    }

    // ---- cases ----

    void check() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = name + "-" + codec;
            createTopic(topic, 4, Map.of("retention.ms", "-1"));
            waitFor(topic, () -> partitionCount(topic) == 4);
            for (int partition = 0; partition < 4; partition++) offsets(topic, partition);
            checkWritten(topic, 0, codec, "0");
            checkWritten(topic, 1, codec, "1");
            checkWritten(topic, 2, codec, "all");
            checkWritten(topic, 3, codec, "idempotent");
        }
        checkLarge();
        checkAdmin();
    }

    void checkWritten(String topic, int partition, String codec, String how) throws Exception {
        String who = topic + "-" + how;
        var records = expectedMany(topic, partition, who, COUNT);
        List<String> wanted = lines(records);
        produce(records, codec, how);
        waitFor(who, () -> offsets(topic, partition)[1] == COUNT);
        equal(who, read(topic, partition, 0, COUNT), wanted);
        equal(who, read(topic, partition, 76, COUNT - 76), wanted.subList(76, COUNT));
        for (int at : new int[] {0, 1, COUNT / 3, COUNT - 1}) {
            Long found = offsetAt(topic, partition, BASE_TIMESTAMP + 1000L * at - 500);
            ensure(found == at, who + ": by timestamp: offset " + found + ", wanted " + at);
        }
        Long late = offsetAt(topic, partition, BASE_TIMESTAMP + 1000L * COUNT);
        ensure(late == null, who + ": past the last timestamp: offset " + late);
        long from = offsetAt(topic, partition, BASE_TIMESTAMP + 1000L * 40);
        equal(who, read(topic, partition, from, 10), wanted.subList(40, 50));
        System.out.println("ok " + who);
    }

    void checkLarge() throws Exception {
        String topic = name + "-large";
        createTopic(topic, 1, Map.of("retention.ms", "-1"));
        waitFor(topic, () -> partitionCount(topic) == 1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            byte[] value = new byte[900_000];
            Arrays.fill(value, (byte) ('a' + i));
            records.add(new ProducerRecord<>(topic, 0, BASE_TIMESTAMP + i, bytes("k"), value));
        }
        produce(records, "none", "all");
        equal(topic, read(topic, 0, 0, 3), lines(records));
        System.out.println("ok " + topic);
    }

    void checkAdmin() throws Exception {
        String topic = name + "-admin";
        createTopic(topic, 2, Map.of("retention.ms", "-1", "max.message.bytes", "200000"));
        waitFor("created", () -> partitionCount(topic) == 2);
        ensure(admin.listTopics().names().get().contains(topic), "the new topic is not listed");
        try {
            createTopic(topic, 1, Map.of());
            throw new AssertionError("a topic was created twice");
        } catch (ExecutionException e) {
            ensure(e.getCause() instanceof TopicExistsException, "refused by " + e.getCause());
        }
        Map<String, String> configs = configs(ConfigResource.Type.TOPIC, topic);
        ensure("200000".equals(configs.get("max.message.bytes")), "configs: " + configs);
        ensure("86400000".equals(configs.get("delete.retention.ms")), "configs: " + configs);
        Node node = admin.describeCluster().nodes().get().iterator().next();
        ensure(!admin.describeCluster().clusterId().get().isEmpty(), "no cluster id");
        ensure(configs(ConfigResource.Type.BROKER, node.idString()).size() > 100, "few configs of the broker");

        var change = new AlterConfigOp(new ConfigEntry("max.message.bytes", "300000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), List.of(change)))
            .all().get();
        waitFor("altered",
            () -> "300000".equals(configs(ConfigResource.Type.TOPIC, topic).get("max.message.bytes")));

        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
        waitFor("grown", () -> partitionCount(topic) == 5);
        List<String> last = List.of();
        for (int partition = 0; partition < 5; partition++) {
            offsets(topic, partition);
            var records = expectedMany(topic, partition, name, 20);
            produce(records, "none", "all");
            last = lines(records);
            equal("a grown topic", read(topic, partition, 0, 20), last);
        }
        var dirs = admin.describeLogDirs(List.of(node.id())).descriptions().get(node.id()).get(20, TimeUnit.SECONDS);
        boolean named = dirs.values().stream()
            .anyMatch(dir -> dir.replicaInfos().containsKey(new TopicPartition(topic, 4)));
        ensure(named, "the log directories do not name the topic: " + dirs);

        TopicPartition at = new TopicPartition(topic, 4);
        var deleted = admin.deleteRecords(Map.of(at, RecordsToDelete.beforeOffset(7))).lowWatermarks().get(at).get();
        ensure(deleted.lowWatermark() == 7, "low watermark " + deleted.lowWatermark());
        ensure(offsets(topic, 4)[0] == 7, "records are not deleted");
        equal("after deleted records", read(topic, 4, 7, 13), last.subList(7, 20));
        var listed = admin.listOffsets(Map.of(at, OffsetSpec.forTimestamp(BASE_TIMESTAMP + 10_000))).all().get();
        ensure(listed.get(at).offset() == 10, "listed " + listed);

        admin.deleteTopics(List.of(topic)).all().get();
        waitFor("deleted", () -> !admin.listTopics().names().get().contains(topic));
        System.out.println("ok " + topic);
    }

    // ---- the other calls ----

    void write(String topic, String who, String codec, int count) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < count; i++) records.add(expected(topic, i % 3, who, i));
        produce(records, codec, "idempotent");
    }

    void readLines(String topic) throws Exception {
        PrintStream out = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, "UTF-8");
        for (int partition = 0; partition < 3; partition++) {
            long[] range = offsets(topic, partition);
            readEach(topic, partition, range[0], range[1] - range[0], r -> out.println(line(r)));
        }
        out.flush();
    }

    void put(String topic, String codec) throws Exception {
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 20));
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (var producer = producer(codec, "idempotent", "131072")) {
            while (true) {
                byte[] key;
                try {
                    key = part(in);
                } catch (EOFException end) {
                    break;
                }
                producer.send(new ProducerRecord<>(topic, 0, key, part(in)), (metadata, e) -> {
                    if (e != null) failure.set(e);
                });
            }
        }
        if (failure.get() != null) throw failure.get();
    }

    void get(String topic) throws Exception {
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out, 1 << 20));
        long[] range = offsets(topic, 0);
        readEach(topic, 0, range[0], range[1] - range[0], r -> {
            writePart(out, r.key());
            writePart(out, r.value());
        });
        out.flush();
    }

    static byte[] part(DataInputStream in) throws IOException {
        int length = in.readInt();
        if (length < 0) return null;
        byte[] bytes = new byte[length];
        in.readFully(bytes);
        return bytes;
    }

    static void writePart(DataOutputStream out, byte[] bytes) {
        try {
            out.writeInt(bytes == null ? -1 : bytes.length);
            if (bytes != null) out.write(bytes);
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    // ---- the library ----

    KafkaProducer<byte[], byte[]> producer(String codec, String how, String batchBytes) {
        Properties properties = base();
        properties.put("compression.type", codec);
        properties.put("acks", how.equals("idempotent") ? "all" : how);
        properties.put("enable.idempotence", how.equals("idempotent") ? "true" : "false");
        properties.put("linger.ms", "5");
        properties.put("batch.size", batchBytes);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    void produce(List<ProducerRecord<byte[], byte[]>> records, String codec, String how) throws Exception {
        if (latest != null) latest.close();
        latest = producer(codec, how, "8192");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (var record : records) sent.add(latest.send(record));
        latest.flush();
        Map<Integer, Long> next = new HashMap<>();
        for (var future : sent) {
            RecordMetadata metadata = future.get();
            if (how.equals("0")) continue;
            Long wanted = next.get(metadata.partition());
            ensure(wanted == null || how.equals("idempotent") || metadata.offset() == wanted,
                "offset " + metadata.offset() + " in the answer, wanted " + wanted);
            next.put(metadata.partition(), metadata.offset() + 1);
        }
    }

    List<String> read(String topic, int partition, long start, long count) {
        List<String> lines = new ArrayList<>();
        readEach(topic, partition, start, count, r -> lines.add(line(r)));
        return lines;
    }

    void readEach(String topic, int partition, long start, long count, Consumer<ConsumerRecord<byte[], byte[]>> take) {
        if (count == 0) return;
        consumer.assign(List.of(new TopicPartition(topic, partition)));
        consumer.seek(new TopicPartition(topic, partition), start);
        long left = count;
        while (left > 0) {
            ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofSeconds(20));
            ensure(!polled.isEmpty(), topic + "-" + partition + ": " + left + " records from " + start + " did not come");
            for (ConsumerRecord<byte[], byte[]> record : polled) {
                if (left-- > 0) take.accept(record);
            }
        }
    }

    long[] offsets(String topic, int partition) {
        List<TopicPartition> at = List.of(new TopicPartition(topic, partition));
        return new long[] {consumer.beginningOffsets(at).get(at.get(0)), consumer.endOffsets(at).get(at.get(0))};
    }

    Long offsetAt(String topic, int partition, long timestamp) {
        TopicPartition at = new TopicPartition(topic, partition);
        OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(at, timestamp)).get(at);
        return found == null ? null : found.offset();
    }

    void createTopic(String topic, int partitions, Map<String, String> configs) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
    }

    @SuppressWarnings("unchecked")
    int partitionCount(String topic) throws Exception {
        Object result = admin.describeTopics(List.of(topic));
        Map<String, KafkaFuture<TopicDescription>> futures;
        try {
            futures = (Map<String, KafkaFuture<TopicDescription>>) result.getClass().getMethod("topicNameValues").invoke(result);
        } catch (NoSuchMethodException before4) {
            futures = (Map<String, KafkaFuture<TopicDescription>>) result.getClass().getMethod("values").invoke(result);
        }
        try {
            return futures.get(topic).get().partitions().size();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof UnknownTopicOrPartitionException) return 0;
            throw e;
        }
    }

    Map<String, String> configs(ConfigResource.Type type, String name) throws Exception {
        ConfigResource resource = new ConfigResource(type, name);
        Config config = admin.describeConfigs(Set.of(resource)).all().get().get(resource);
        Map<String, String> found = new HashMap<>();
        Collection<ConfigEntry> entries = config.entries();
        for (ConfigEntry entry : entries) found.put(entry.name(), entry.value());
        return found;
    }

    // ---- what must hold ----

    static void ensure(boolean holds, String otherwise) {
        if (!holds) throw new AssertionError(otherwise);
    }

    static void equal(String what, List<String> found, List<String> wanted) {
        for (int i = 0; i < Math.min(found.size(), wanted.size()); i++) {
            ensure(found.get(i).equals(wanted.get(i)),
                what + ": a record differs\n  found  " + found.get(i) + "\n  wanted " + wanted.get(i));
        }
        ensure(found.size() == wanted.size(), what + ": " + found.size() + " records, wanted " + wanted.size());
    }

    static void waitFor(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + 20_000_000_000L;
        while (!condition.call()) {
            ensure(System.nanoTime() < end, what + ": not within 20 s");
            Thread.sleep(20);
        }
    }
}
