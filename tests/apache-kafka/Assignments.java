// Writes what Apache Kafka's server-side assignors answer to random groups, for the fixture
// src/group/assignors/fixtures/apache-kafka-4.1.txt:
//
//     java -cp "$KAFKA_LIBS/*" tests/apache-kafka/Assignments.java > src/group/assignors/fixtures/apache-kafka-4.1.txt
//
// Kafka's results follow the order of the maps it is given; these are sorted, which is the order our
// assignors take. Each group lives through some changes, each answer being what the next step starts from.
//
//     group <assignor> <Homogeneous|Heterogeneous>
//     topics <high>.<low>:<partitions> ...
//     member <id> <instance id or -> <topics, each its place above> <owned> <assigned>
//         owned and assigned: <topic>:<partition>,<partition>;<topic>:... or -

import java.util.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.*;
import org.apache.kafka.coordinator.group.assignor.*;
import org.apache.kafka.coordinator.group.modern.*;

public class Assignments {
    static final long SEED = 4111;
    static final Random random = new Random(SEED);
    static final String[] NAMES = {
        "a", "B", "consumer-1", "consumer-10", "consumer-2", "Zz", "_x", "0", "k9", "\u00e9", "\uff01", "\ud83d\ude00", "m"
    };

    static class Person {
        String instance;
        TreeSet<Integer> topics = new TreeSet<>();
        TreeMap<Integer, TreeSet<Integer>> owned = new TreeMap<>();
    }

    public static void main(String[] args) throws Exception {
        var out = new java.io.PrintStream(System.out, true, "UTF-8");
        out.println("# seed " + SEED);
        for (int life = 0; life < 60; life++) {
            boolean homogeneous = life % 2 == 0;
            PartitionAssignor assignor = life % 6 < 2 ? new RangeAssignor() : new UniformAssignor();
            live(out, assignor, homogeneous);
        }
    }

    static void live(java.io.PrintStream out, PartitionAssignor assignor, boolean homogeneous) {
        List<Uuid> topics = new ArrayList<>();
        List<Integer> counts = new ArrayList<>();
        int topicCount = 1 + random.nextInt(6);
        for (int i = 0; i < topicCount; i++) {
            // Small ids keep a hash set in their order, which the homogeneous builder walks.
            topics.add(homogeneous ? new Uuid(0, i + 1) : new Uuid(random.nextInt(3) - 1, random.nextInt(5000) - 2500));
            counts.add(1 + random.nextInt(9));
        }
        TreeMap<String, Person> people = new TreeMap<>();
        int memberCount = 1 + random.nextInt(7);
        while (people.size() < memberCount) join(people, topicCount);
        TreeSet<Integer> shared = subset(topicCount);
        for (int step = 0; step < 4; step++) {
            if (homogeneous) for (Person p : people.values()) p.topics = shared;
            answer(out, assignor, homogeneous, topics, counts, people);
            switch (random.nextInt(5)) {
                case 0 -> { if (people.size() > 1) people.remove(any(people)); }
                case 1 -> { for (int i = random.nextInt(3); i >= 0; i--) join(people, topicCount); }
                case 2 -> { int t = random.nextInt(topicCount); counts.set(t, counts.get(t) + 1 + random.nextInt(4)); }
                case 3 -> { shared = subset(topicCount); people.get(any(people)).topics = subset(topicCount); }
                default -> { if (people.size() > 2) people.remove(any(people)); join(people, topicCount); }
            }
        }
    }

    static String any(TreeMap<String, Person> people) {
        return new ArrayList<>(people.keySet()).get(random.nextInt(people.size()));
    }

    static void join(TreeMap<String, Person> people, int topicCount) {
        Person p = new Person();
        String name = NAMES[random.nextInt(NAMES.length)];
        if (people.containsKey(name)) return;
        if (random.nextInt(3) == 0) p.instance = "i" + random.nextInt(1000) + name;
        p.topics = subset(topicCount);
        people.put(name, p);
    }

    static TreeSet<Integer> subset(int n) {
        TreeSet<Integer> s = new TreeSet<>();
        for (int i = 0; i < n; i++) if (random.nextInt(3) > 0) s.add(i);
        if (s.isEmpty() && random.nextInt(4) > 0) s.add(random.nextInt(n));
        return s;
    }

    static void answer(java.io.PrintStream out, PartitionAssignor assignor, boolean homogeneous,
            List<Uuid> topics, List<Integer> counts, TreeMap<String, Person> people) {
        TreeMap<String, MemberSubscriptionAndAssignmentImpl> members = new TreeMap<>();
        Map<Uuid, Map<Integer, String>> inverted = new HashMap<>();
        people.forEach((id, p) -> {
            Set<Uuid> subscribed = new LinkedHashSet<>();
            for (int t : p.topics) subscribed.add(topics.get(t));
            TreeMap<Uuid, Set<Integer>> owned = new TreeMap<>();
            p.owned.forEach((t, partitions) -> {
                owned.put(topics.get(t), partitions);
                for (int x : partitions) inverted.computeIfAbsent(topics.get(t), k -> new HashMap<>()).put(x, id);
            });
            members.put(id, new MemberSubscriptionAndAssignmentImpl(Optional.empty(),
                Optional.ofNullable(p.instance), subscribed, new Assignment(Collections.unmodifiableMap(owned))));
        });
        SubscribedTopicDescriber describer = new SubscribedTopicDescriber() {
            public int numPartitions(Uuid id) { return topics.contains(id) ? counts.get(topics.indexOf(id)) : -1; }
            public Set<String> racksForPartition(Uuid id, int p) { throw new IllegalStateException("racks are asked for"); }
        };
        SubscriptionType type = homogeneous ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS;
        GroupAssignment result = assignor.assign(
            new GroupSpecImpl(Collections.unmodifiableMap(members), type, inverted), describer);

        out.println("group " + assignor.name() + " " + (homogeneous ? "Homogeneous" : "Heterogeneous"));
        StringBuilder line = new StringBuilder("topics");
        for (int t = 0; t < topics.size(); t++) {
            Uuid id = topics.get(t);
            line.append(" " + id.getMostSignificantBits() + "." + id.getLeastSignificantBits() + ":" + counts.get(t));
        }
        out.println(line);
        people.forEach((id, p) -> {
            TreeMap<Integer, TreeSet<Integer>> assigned = new TreeMap<>();
            MemberAssignment a = result.members().get(id);
            if (a != null) a.partitions().forEach((t, partitions) -> assigned.put(topics.indexOf(t), new TreeSet<>(partitions)));
            StringJoiner subscribed = new StringJoiner(",");
            p.topics.forEach(t -> subscribed.add("" + t));
            out.println("member " + id + " " + (p.instance == null ? "-" : p.instance) + " "
                + (p.topics.isEmpty() ? "-" : subscribed) + " " + text(p.owned) + " " + text(assigned));
            p.owned = assigned;
        });
    }

    static String text(TreeMap<Integer, TreeSet<Integer>> assignment) {
        StringJoiner topics = new StringJoiner(";").setEmptyValue("-");
        assignment.forEach((t, partitions) -> {
            StringJoiner joined = new StringJoiner(",");
            partitions.forEach(p -> joined.add("" + p));
            topics.add(t + ":" + joined);
        });
        return topics.toString();
    }
}
