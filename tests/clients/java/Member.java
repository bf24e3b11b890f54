// `Member OPTIONS`: a member of a group, as tests/clients/README.md says. It compiles against the 2.x and the 4.x line.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

final class Member implements ConsumerRebalanceListener {
    static final Map<String, String> ASSIGNORS = Map.of(
        "range", "RangeAssignor", "roundrobin", "RoundRobinAssignor",
        "sticky", "StickyAssignor", "cooperative-sticky", "CooperativeStickyAssignor");

    final Map<String, String> options = new HashMap<>();
    final boolean consumerProtocol;
    final String commit;
    final KafkaConsumer<byte[], byte[]> consumer;
    final ConcurrentLinkedQueue<String[]> commands = new ConcurrentLinkedQueue<>();
    final Set<TopicPartition> owned = new HashSet<>();
    final Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
    final Set<TopicPartition> dirty = new HashSet<>(); // owned, and not committed as far as `positions`
    int generation = -1;

    Member(String json) {
        // One flat object of strings, numbers and lists of strings, without escapes.
        Matcher entry = Pattern.compile("\"(\\w+)\": *(?:\"([^\"]*)\"|\\[([^\\]]*)\\]|(-?\\d+))").matcher(json);
        while (entry.find()) {
            String value = entry.group(2) != null ? entry.group(2) : entry.group(3) != null ? entry.group(3) : entry.group(4);
            options.put(entry.group(1), value);
        }
        consumerProtocol = "consumer".equals(options.get("protocol"));
        commit = options.getOrDefault("commit", "sync");
        Properties to = new Properties();
        to.put("bootstrap.servers", System.getenv("BOOTSTRAP"));
        to.put("group.id", options.get("group"));
        to.put("client.id", "java");
        to.put("auto.offset.reset", "earliest");
        to.put("enable.auto.commit", String.valueOf(commit.equals("auto")));
        to.put("auto.commit.interval.ms", "200");
        to.put("fetch.max.wait.ms", "100");
        to.put("metadata.max.age.ms", "1000");
        to.put("reconnect.backoff.max.ms", "500");
        to.put("key.deserializer", ByteArrayDeserializer.class.getName());
        to.put("value.deserializer", ByteArrayDeserializer.class.getName());
        to.put("max.poll.interval.ms", options.getOrDefault("poll_ms", "300000"));
        if (options.containsKey("instance")) to.put("group.instance.id", options.get("instance"));
        if (consumerProtocol) {
            to.put("group.protocol", "consumer");
            if (options.containsKey("assignor")) to.put("group.remote.assignor", options.get("assignor"));
        } else {
            String assignor = ASSIGNORS.get(options.getOrDefault("assignor", "range"));
            to.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
            to.put("session.timeout.ms", options.getOrDefault("session_ms", "6000"));
            to.put("heartbeat.interval.ms", options.getOrDefault("heartbeat_ms", "300"));
        }
        consumer = new KafkaConsumer<>(to);
    }

    static void run(String json) throws Exception {
        new Member(json).play();
    }

    void play() throws Exception {
        subscribe();
        Thread reader = new Thread(this::readCommands);
        reader.setDaemon(true);
        reader.start();
        say("started", "");
        while (obey()) {
            try {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                tellGeneration();
                take(records);
            } catch (KafkaException e) {
                say("error", ",\"text\":" + quoted(e.toString()));
            }
            if (commit.equals("sync") || commit.equals("async")) commit(commit);
        }
        consumer.close();
        say("left", "");
    }

    void subscribe() throws Exception {
        String regex = options.get("regex");
        if (regex == null) {
            List<String> topics = Pattern.compile("\"([^\"]*)\"").matcher(options.get("topics")).results()
                .map(found -> found.group(1)).collect(Collectors.toList());
            consumer.subscribe(topics, this);
        } else if (consumerProtocol) {
            // The broker's evaluation, which the 2.x line does not have.
            Class<?> pattern = Class.forName("org.apache.kafka.clients.consumer.SubscriptionPattern");
            KafkaConsumer.class.getMethod("subscribe", pattern, ConsumerRebalanceListener.class)
                .invoke(consumer, pattern.getConstructor(String.class).newInstance(regex), this);
        } else {
            consumer.subscribe(Pattern.compile(regex), this);
        }
    }

    void readCommands() {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) commands.add(line.split(" "));
        } catch (java.io.IOException e) {
            say("error", ",\"text\":" + quoted(e.toString()));
        }
        commands.add(new String[] {"leave"});
    }

    boolean obey() throws InterruptedException {
        String[] command = commands.poll();
        if (command == null) return true;
        switch (command[0]) {
            case "leave": return false;
            case "pause": Thread.sleep(Long.parseLong(command[1])); break;
            case "commit": commit(command[1]); break;
            default: say("error", ",\"text\":\"unknown command\"");
        }
        return true;
    }

    void tellGeneration() {
        int now = consumer.groupMetadata().generationId();
        if (consumerProtocol && now != generation) say("generation", ",\"generation\":" + now);
        generation = now;
    }

    void take(ConsumerRecords<byte[], byte[]> records) {
        for (TopicPartition at : records.partitions()) {
            List<ConsumerRecord<byte[], byte[]>> found = records.records(at);
            String offsets = found.stream().map(r -> String.valueOf(r.offset())).collect(Collectors.joining(","));
            say("records", ",\"topic\":" + quoted(at.topic()) + ",\"partition\":" + at.partition() + ",\"offsets\":[" + offsets + "]");
            if (!owned.contains(at)) continue;
            positions.put(at, new OffsetAndMetadata(found.get(found.size() - 1).offset() + 1));
            dirty.add(at);
        }
    }

    void commit(String how) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (TopicPartition at : dirty) offsets.put(at, positions.get(at));
        dirty.clear();
        if (offsets.isEmpty()) return;
        if (how.equals("async")) {
            consumer.commitAsync(offsets, (committed, error) -> committed(how, offsets, error));
            return;
        }
        try {
            consumer.commitSync(offsets);
            committed(how, offsets, null);
        } catch (KafkaException e) {
            committed(how, offsets, e);
        }
    }

    // ---- what is told ----

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        owned.addAll(partitions);
        say("assigned", listed(partitions) + ",\"generation\":" + consumer.groupMetadata().generationId());
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        owned.removeAll(partitions);
        dirty.removeAll(partitions);
        say("revoked", listed(partitions));
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        owned.removeAll(partitions);
        dirty.removeAll(partitions);
        say("lost", listed(partitions));
    }

    /** What was refused is committed again, from where the member then is, if it still owns it. */
    void committed(String how, Map<TopicPartition, OffsetAndMetadata> offsets, Exception error) {
        if (error != null) offsets.keySet().stream().filter(owned::contains).forEach(dirty::add);
        String shown = offsets.entrySet().stream()
            .map(e -> "[" + quoted(e.getKey().topic()) + "," + e.getKey().partition() + "," + e.getValue().offset() + "]")
            .collect(Collectors.joining(","));
        say("committed", ",\"how\":" + quoted(how) + ",\"offsets\":[" + shown + "],\"error\":"
            + (error == null ? "null" : quoted(error.toString())));
    }

    static String listed(Collection<TopicPartition> partitions) {
        return ",\"partitions\":[" + partitions.stream().map(p -> "[" + quoted(p.topic()) + "," + p.partition() + "]")
            .collect(Collectors.joining(",")) + "]";
    }

    static String quoted(String text) {
        return '"' + text.replaceAll("[\\\\\"\\p{Cntrl}]", " ") + '"';
    }

    static synchronized void say(String event, String rest) {
        System.out.println("{\"event\":" + quoted(event) + ",\"at\":" + System.currentTimeMillis() + rest + "}");
        System.out.flush();
    }
}
