"""Churn: members start, leave, stop and die at random while records are written, and the ledger is kept.

Each run has its own broker. Now and then the next deed waits for progress: a record has to be delivered first.
"""

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from confluent_kafka import KafkaException

from broker import Broker
from members import Failed, Group

KINDS = {
    # kind: how often it is chosen (a JVM costs a second of processor time to start)
    "classic": {"confluent": 4, "kafka-python": 3, "aiokafka": 3, "franz-go": 4, "sarama": 3, "kafkajs": 2,
                "java-4.1": 2, "java-2.8": 1},
    "consumer": {"confluent": 5, "franz-go": 3, "java-4.1": 3},
}
# In one group with the consumer protocol: those whose assignor of Kafka's name speaks Kafka's own format.
CLASSIC_BESIDE_CONSUMER = {"confluent": 4, "aiokafka": 2, "franz-go": 2, "sarama": 1, "java-4.1": 1}
# What all members of the classic protocol in a group have to agree on, and who has it.
CLASSIC_ASSIGNORS = {
    "range": set(KINDS["classic"]),
    "roundrobin": set(KINDS["classic"]) - {"kafkajs"},
    "cooperative-sticky": {"confluent", "kafka-python", "franz-go", "java-4.1", "java-2.8"},
}
# librdkafka's leader writes into a sticky assignment what members told of themselves; a group whose assignments carry
# such data is never upgraded, by Apache Kafka neither.
ASSIGNORS_BESIDE_CONSUMER = ["range", "roundrobin"]
# Of the other protocol each names its own, and the broker takes what most of them name.
CONSUMER_ASSIGNORS = [{}, {"assignor": "uniform"}, {"assignor": "range"}]
MEMBERS_MAX = 5
SESSION_MS = 3000  # of broker.options too
OPTIONS = (Path(__file__).parent / "broker.options").read_text().split()
APACHE = os.environ.get("BROKER") == "apache"


class Writer(threading.Thread):
    """Writes a little all the time, over broker kills too: nothing that it has sent may get lost."""

    def __init__(self, group, topics, per_second=200):
        super().__init__(daemon=True)
        self.group, self.pause, self.over = group, 10 / per_second, threading.Event()
        self.partitions = sorted((topic, p) for topic, count in topics.items() for p in range(count))
        self.sent = 0

    def run(self):
        while not self.over.wait(self.pause):
            for _ in range(10):
                self.group.send_one(*self.partitions[self.sent % len(self.partitions)])
                self.sent += 1

    def stop(self):
        self.over.set()
        self.join()
        if self.group.producer.flush(60) or self.group.undelivered_reports:
            raise Failed(f"records were not acknowledged: {self.group.undelivered_reports[:3]}")


class Churn:
    def __init__(self, protocol, broker, directory, chance):
        self.protocol, self.broker, self.chance = protocol, broker, chance
        self.assignor = chance.choice(ASSIGNORS_BESIDE_CONSUMER if protocol == "mixed" else list(CLASSIC_ASSIGNORS))
        self.topics = {"churn-a": 6, "churn-b": 3}
        self.group = Group(f"churn-{protocol}", broker.bootstrap, directory, topics=list(self.topics),
                           protocol=protocol, session_ms=SESSION_MS)
        self.writer = Writer(self.group, self.topics)
        self.group.excuses = self.excused
        self.stopped = {}  # member -> when it goes on
        self.paused = set()  # members that were ever stopped, perhaps past their session
        # Never touched, so that a mixed group is never empty: one that is may begin again, and its epochs at 1.
        self.anchor = None
        self.deeds = {}

    def run(self, seconds, kills):
        with self.group as group:
            for topic, partitions in self.topics.items():
                group.create(topic, partitions)
            group.watch()
            if self.protocol == "mixed":
                self.anchor = group.start("confluent", protocol="classic", assignor=self.assignor)
                group.settle(self.anchor)
            self.start()
            # In a mixed group one of each at least, so that it changes its kind.
            self.start("consumer" if self.protocol == "mixed" else None)
            self.writer.start()
            group.wait("the first record", self.progress_from(0), 60)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.act()
            for _ in range(kills):
                for _ in range(self.chance.randint(1, 4)):
                    self.act()
                self.kill_broker()
            self.finish()

    def progress_from(self, before):
        return lambda: self.let_go_on() or self.delivered() > before

    def delivered(self):
        return self.group.ledger.counts["records"]

    def finish(self):
        for member in self.stopped:
            member.go_on()
        self.stopped.clear()
        if not self.working():
            self.start()
        self.writer.stop()
        self.group.finish(90, last=self.anchor)
        counts, deeds = self.group.ledger.counts, dict(sorted(self.deeds.items()))
        if counts["records"] < self.writer.sent or counts["assigned"] < 2 or counts["observed"] < 5:
            raise Failed(f"the ledger is too empty to mean anything: {counts}")
        if self.protocol == "mixed" and not APACHE:
            deeds["changes of kind"] = self.broker.out.read_text().count(" group now")
            if not deeds["changes of kind"] and not deeds.get("broker killed"):
                raise Failed("the group has never changed its kind")
        protocol = self.protocol if self.protocol == "consumer" else f"{self.protocol} ({self.assignor})"
        print(f"ok churn {protocol}: {self.writer.sent} records, {counts}, {deeds}", flush=True)

    # ---- deeds ----

    def act(self):
        working = [m for m in self.working() if m is not self.anchor]
        deeds = []
        if len(working) + len(self.stopped) < MEMBERS_MAX:
            deeds += ["start"] * 3
        if len(working) > 1:
            deeds += ["kill", "leave", "stop"]
        deed = self.chance.choice(deeds or ["start"])
        member = self.chance.choice(working) if working else None
        self.deeds[deed] = self.deeds.get(deed, 0) + 1
        if deed == "start":
            self.start()
        elif deed == "kill":
            member.kill()
        elif deed == "leave":
            # Not waited for: it may take its time while others come and go.
            member.dismissed = True
            member.send("leave")
        elif deed == "stop":
            member.stop()
            self.stopped[member] = time.monotonic() + self.chance.choice([0.3, 1, 5])
            self.paused.add(member)
        self.let_go_on()
        time.sleep(self.chance.uniform(0, 0.5))  # the next deed comes at any moment of a rebalance
        if self.chance.random() < 0.5:
            self.group.wait("records are delivered under churn", self.progress_from(self.delivered()), 60)

    def working(self):
        """Who will go on by itself: not those that are stopped, and not those that were told to leave and still do."""
        return [m for m in self.group.living() if m not in self.stopped and not m.dismissed]

    def start(self, protocol=None):
        protocol = protocol or self.protocol
        if protocol == "mixed":
            protocol = self.chance.choice(["classic", "consumer"])
        kinds = CLASSIC_BESIDE_CONSUMER if (self.protocol, protocol) == ("mixed", "classic") else KINDS[protocol]
        assignor = self.chance.choice(CONSUMER_ASSIGNORS)
        if protocol == "classic":
            kinds = {kind: often for kind, often in kinds.items() if kind in CLASSIC_ASSIGNORS[self.assignor]}
            assignor = {"assignor": self.assignor}
        client = self.chance.choices(list(kinds), list(kinds.values()))[0]
        self.group.start(client, protocol=protocol, commit=self.chance.choice(["sync", "sync", "async"]), **assignor)

    def excused(self, member):
        """A group whose last consumer member is gone becomes classic. One that was fenced and comes back after that
        is told GROUP_ID_NOT_FOUND, by Apache Kafka too, and to its library that is the end."""
        excused = self.protocol == "mixed" and member in self.paused and member.heard("GROUP_ID_NOT_FOUND")
        if excused:
            self.deeds["fenced for good"] = self.deeds.get("fenced for good", 0) + 1
        return excused

    def let_go_on(self):
        for member, when in list(self.stopped.items()):
            if time.monotonic() >= when:
                member.go_on()
                del self.stopped[member]

    def kill_broker(self):
        self.deeds["broker killed"] = self.deeds.get("broker killed", 0) + 1
        self.broker.kill()
        self.broker.start()
        self.group.wait("records are delivered after the broker was killed",
                        self.progress_from(self.delivered()), 90)


def first_use(broker, directory):
    """Installs and builds what is not there yet, one after the other."""
    with Group("first-use", broker.bootstrap, directory) as group:
        group.create("first-use", 1)
        for client in KINDS["classic"]:
            member = group.start(client, topics=["first-use"])
            group.wait(f"{client} runs", lambda: "started" in member.said, 300)
            member.kill()


def main():
    seed = int(os.environ.get("CHURN_SEED") or random.SystemRandom().randrange(1 << 32))
    kills = int(os.environ.get("CHURN_KILLS") or (4 if APACHE else 20))
    seconds = float(os.environ.get("CHURN_SECONDS") or 30)
    print(f"CHURN_SEED={seed}", flush=True)
    work = Path(tempfile.mkdtemp(prefix="groups-"))
    plans = [("classic", seconds, 0), ("consumer", seconds, 0), ("mixed", seconds, 0),
             ("classic", 0, kills - 2 * (kills // 3)), ("consumer", 0, kills // 3), ("mixed", 0, kills // 3)]
    only, installs = os.environ.get("CHURN_ONLY"), True
    for number, (protocol, lasting, deaths) in enumerate(plans):
        if only not in (None, protocol) or not (lasting or deaths):
            continue
        directory = work / str(number)
        directory.mkdir()
        broker = Broker(directory, OPTIONS)
        broker.start()
        began = time.monotonic()
        try:
            if installs:
                first_use(broker, directory)
                installs = False
            Churn(protocol, broker, directory, random.Random(seed + number)).run(lasting, deaths)
            broker.stop()
        except (Failed, KafkaException) as failure:
            sys.exit(f"FAILED churn {protocol} (CHURN_SEED={seed}), kept in {work}: {failure}\n"
                     f"---- the end of what the broker said\n{broker.said()}")
        finally:
            broker.kill()
        print(f"   {time.monotonic() - began:.0f}s", flush=True)
    shutil.rmtree(work)


main()
