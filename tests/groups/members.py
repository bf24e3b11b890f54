"""Members of a group as processes, whatever client library they are made of, and the group they are in.

A member is `tests/clients/call CLIENT member OPTIONS`; what it says goes to the group's ledger as it comes. All
waiting is for a condition, with a limit, and says what everybody last said when the limit is over.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections import deque
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from ledger import Ledger

CALL = Path(__file__).parent.parent / "clients" / "call"


class Failed(Exception):
    pass


class Member:
    """One process. `owned` is what it holds by its own words."""

    def __init__(self, group, name, client, options):
        self.group, self.name, self.client, self.options = group, name, client, options
        self.instance = options.get("instance")
        self.owned, self.records = set(), 0
        self.moves = 0  # how often partitions came or went
        self.given_up = set()  # what it ever had and gave up, or was taken from it
        self.said = {}  # event -> how often
        self.latest = deque(maxlen=12)
        self.left = self.dismissed = False  # ended; and told to
        self.trouble = open(group.scratch / f"{group.name}-{name}.err", "w+")
        self.account = open(group.scratch / f"{group.name}-{name}.said", "w")
        self.process = subprocess.Popen(
            [CALL, client, "member", json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.trouble, text=True, bufsize=1, env={**os.environ, "BOOTSTRAP": group.bootstrap},
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.account.write(line)
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "error", "at": 0, "text": line.strip()}
            with self.group.changed:
                self.take(event)
                self.group.changed.notify_all()
        self.account.close()
        with self.group.changed:
            self.left = True
            self.owned = set()
            if not (self.dismissed or self.group.excuses(self)):
                self.group.deserted.append(self)
            self.group.ledger.gone(self.name)
            self.group.changed.notify_all()

    def take(self, event):
        kind = event["event"]
        self.said[kind] = self.said.get(kind, 0) + 1
        self.latest.append(event if kind != "records" else {**event, "offsets": len(event["offsets"])})
        partitions = [tuple(p) for p in event.get("partitions", ())]
        self.moves += bool(partitions)
        if kind == "assigned":
            self.owned.update(partitions)
        elif kind in ("revoked", "lost"):
            self.owned.difference_update(partitions)
            self.given_up.update(partitions)
        elif kind == "records":
            self.records += len(event["offsets"])
        self.group.ledger.take(self.name, event, self.instance)

    def send(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self):
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.dismissed = True
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.reader.join(10)

    def leave(self, seconds=40):
        """Leaves the group in order; the process has to end well."""
        self.dismissed = True
        self.go_on()
        self.send("leave")
        self.group.wait(f"{self.name} leaves", lambda: self.left, seconds)
        if self.process.wait(10) != 0:
            raise Failed(f"{self.name} ended with status {self.process.returncode}\n{self}")

    def heard(self, text):
        """Whether its last lines tell of it."""
        return text in "".join(map(json.dumps, self.latest)) or text in self.troubled()

    def troubled(self):
        """The end of its standard error."""
        self.trouble.seek(0)
        return self.trouble.read()[-1500:]

    def __str__(self):
        trouble = self.troubled()
        owned = sorted(f"{topic}-{partition}" for topic, partition in self.owned)
        lines = "".join(f"\n    {json.dumps(event)[:300]}" for event in self.latest)
        return f"{self.name} has {owned}, {self.records} records{', ended' if self.left else ''}{lines}\n{trouble}"


class Group:
    """A group under test: its members, its topics, its ledger, and one that watches its committed offsets."""

    def __init__(self, name, bootstrap, scratch, polite=False, **options):
        self.name, self.bootstrap, self.scratch = name, bootstrap, scratch
        self.options = {"group": name, **options}
        self.ledger = Ledger(polite)
        self.changed = threading.Condition(threading.RLock())
        self.members, self.started, self.topics = [], 0, {}
        self.deserted = []  # members that ended and were not told to
        self.excuses = lambda member: False  # whether one that did may
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 300, "log_level": 0})
        self.producer = Producer({
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0,
            "reconnect.backoff.max.ms": 300, "message.timeout.ms": 120000,
        })
        # Asks for committed offsets; it never subscribes, so it is no member.
        self.onlooker = Consumer({"bootstrap.servers": bootstrap, "group.id": name, "enable.auto.commit": False,
                                  "reconnect.backoff.max.ms": 300, "log_level": 0})
        self.undelivered_reports = []
        self.watching = threading.Event()
        self.watcher = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.watching.set()
        for member in self.members:
            member.go_on()
            member.kill()
        if self.watcher:
            self.watcher.join(30)
        self.onlooker.close()
        self.ledger.still()
        if kind is None and self.ledger.wrong:
            raise Failed("\n".join(self.ledger.wrong[:20]))

    # ---- members ----

    def start(self, client, **options):
        self.started += 1
        member = Member(self, f"{client}.{self.started}", client, {**self.options, **options})
        self.members.append(member)
        return member

    def living(self):
        return [m for m in self.members if m.process.poll() is None and not m.left]

    def wait(self, what, condition, seconds=40):
        """Until the condition holds, which is looked at when a member says something, and now and then."""
        end = time.monotonic() + seconds
        with self.changed:
            while not condition():
                if self.ledger.wrong:
                    raise Failed("\n".join(self.ledger.wrong[:20]))
                if self.deserted:
                    raise Failed(f"group {self.name}: {what}: a member ended by itself\n  {self.deserted[0]}")
                if time.monotonic() > end:
                    everybody = "\n  ".join(str(m) for m in self.members[-8:])
                    raise Failed(f"group {self.name}: {what}: not within {seconds} s\n  {everybody}")
                self.changed.wait(0.1)

    def all_partitions(self):
        return {(topic, p) for topic, count in self.topics.items() for p in range(count)}

    def settled(self, members):
        """The members, and nobody else, own each partition once, and each of them owns some."""
        owned = [m.owned for m in members]
        return all(owned) and sum(map(len, owned)) == len(self.all_partitions()) \
            and set().union(*owned) == self.all_partitions()

    def settle(self, *members, seconds=40):
        names = ", ".join(m.name for m in members)
        self.wait(f"all partitions belong to {names}", lambda: self.settled(members), seconds)

    # ---- topics and records ----

    def create(self, topic, partitions):
        self.admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
        self.topics[topic] = partitions

    def write(self, count, topics=None):
        """`count` records over the topics' partitions; returns when all are acknowledged."""
        partitions = sorted(at for at in self.all_partitions() if topics is None or at[0] in topics)
        for i in range(count):
            self.send_one(*partitions[i % len(partitions)])
        if self.producer.flush(60) or self.undelivered_reports:
            raise Failed(f"records were not acknowledged: {self.undelivered_reports[:3]}")

    def send_one(self, topic, partition):
        self.producer.produce(topic, partition=partition, value=b"a record", on_delivery=self.reported)
        self.producer.poll(0)

    def reported(self, error, _):
        if error is not None:
            self.undelivered_reports.append(error)

    def ends(self):
        found, limit = {}, time.monotonic() + 30
        while missing := self.all_partitions() - found.keys():
            for at in missing:
                try:
                    found[at] = self.onlooker.get_watermark_offsets(TopicPartition(*at), timeout=10, cached=False)[1]
                except KafkaException as error:  # not led yet
                    if time.monotonic() > limit:
                        raise Failed(f"{at} tells no end: {error}")
                    time.sleep(0.05)
        return found

    # ---- committed offsets ----

    def committed(self):
        asked = [TopicPartition(*at) for at in sorted(self.all_partitions())]
        found = self.onlooker.committed(asked, timeout=10) if asked else []
        for at in found:
            if at.error:
                raise KafkaException(at.error)
        return {(at.topic, at.partition): at.offset for at in found if at.offset >= 0}

    def observe(self):
        with self.changed:
            floor = self.ledger.floor()
        found = self.committed()
        with self.changed:
            self.ledger.observed(found, floor, time.time_ns() // 1_000_000)
        return found

    def watch(self):
        """Observes the committed offsets from now on, five times a second."""

        def run():
            while not self.watching.wait(0.2):
                try:
                    self.observe()
                except KafkaException:
                    pass  # the broker is away; the next look counts

        self.watcher = threading.Thread(target=run, daemon=True)
        self.watcher.start()

    # ---- the end ----

    def drained(self, seconds=60):
        """Every record was delivered and committed; the ledger is asked as long as members work."""
        ends = self.ends()
        self.wait("every record is delivered", lambda: self.ledger.undelivered(ends) == 0, seconds)
        limit = time.monotonic() + seconds
        while (found := self.observe()) != {at: end for at, end in ends.items() if end}:
            if time.monotonic() > limit:
                raise Failed(f"{self.name}: not all is committed: {sorted(found.items())} of {sorted(ends.items())}")
            time.sleep(0.1)
        return ends

    def finish(self, seconds=60, last=None):
        """Drains the group, lets everybody leave, and closes the ledger. While `last` stays the group is not empty."""
        self.drained(seconds)
        for member in sorted(self.living(), key=lambda member: member is last):
            member.leave()
        self.close()

    def close(self):
        self.observe()
        with self.changed:
            self.ledger.close(self.ends(), self.committed())
            if self.ledger.wrong:
                raise Failed("\n".join(self.ledger.wrong[:20]))
