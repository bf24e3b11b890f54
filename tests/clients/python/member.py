"""`member.py LIBRARY OPTIONS`: a member of a group, as tests/clients/README.md says, by each Python library."""

import asyncio
import json
import os
import queue
import struct
import sys
import threading
import time

OPTIONS = json.loads(sys.argv[2])
GROUP, PROTOCOL = OPTIONS["group"], OPTIONS.get("protocol", "classic")
COMMIT = OPTIONS.get("commit", "sync")
POLL_MS = 100


def say(event, **rest):
    print(json.dumps({"event": event, "at": time.time_ns() // 1_000_000, **rest}), flush=True)


class Account:
    """What this member owns, where it is in each of these partitions, and what of that is not committed."""

    def __init__(self):
        self.owned, self.position, self.dirty = set(), {}, set()

    def assigned(self, partitions, generation):
        self.owned.update(partitions)
        say("assigned", partitions=sorted(partitions), generation=generation)

    def gave_up(self, event, partitions):
        self.owned.difference_update(partitions)
        self.dirty.difference_update(partitions)
        say(event, partitions=sorted(partitions))

    def took(self, records):
        """`records`: (topic, partition, offset) of one poll, said a line a partition."""
        found = {}
        for topic, partition, offset in records:
            found.setdefault((topic, partition), []).append(offset)
        for at, offsets in found.items():
            say("records", topic=at[0], partition=at[1], offsets=offsets)
            if at in self.owned:
                self.position[at] = offsets[-1] + 1
                self.dirty.add(at)

    def to_commit(self):
        positions = {at: self.position[at] for at in self.dirty}
        self.dirty = set()
        return positions

    def committed(self, how, positions, error=None):
        """What was refused is committed again, from where the member then is, if it still owns it."""
        offsets = [[topic, partition, offset] for (topic, partition), offset in positions.items()]
        say("committed", how=how, offsets=offsets, error=None if error is None else str(error)[:200])
        if error is not None:
            self.dirty.update(self.owned.intersection(positions))


ACCOUNT = Account()


class Commands:
    """What stands on standard input; its end means leave."""

    def __init__(self):
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in sys.stdin:
            self.lines.put(line.split())
        self.lines.put(["leave"])

    def next(self):
        try:
            return self.lines.get_nowait()
        except queue.Empty:
            return None


def play(member):
    """Polls, says, commits and obeys until it is told to leave."""
    commands, generation = Commands(), None

    def commit(how):
        if positions := ACCOUNT.to_commit():
            member.commit(how, positions)

    say("started")
    while True:
        command = commands.next()
        if command == ["leave"]:
            break
        if command and command[0] == "pause":
            time.sleep(int(command[1]) / 1000)
        if command and command[0] == "commit":
            commit(command[1])
        records = member.poll()
        if PROTOCOL == "consumer" and member.generation() != generation:
            generation = member.generation()
            say("generation", generation=generation)
        ACCOUNT.took(records)
        if COMMIT in ("sync", "async"):
            commit(COMMIT)
    member.close()
    say("left")


class Confluent:
    def __init__(self):
        from confluent_kafka import Consumer, KafkaException, TopicPartition

        self.at, self.failed = TopicPartition, KafkaException
        options = {
            "bootstrap.servers": os.environ["BOOTSTRAP"],
            "group.id": GROUP,
            "group.protocol": PROTOCOL,
            "client.id": "confluent",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": COMMIT == "auto",
            "auto.commit.interval.ms": 200,
            "fetch.wait.max.ms": 100,
            "topic.metadata.refresh.interval.ms": 1000,
            "reconnect.backoff.max.ms": 500,
            "on_commit": self.acknowledged,
        }
        if PROTOCOL == "classic":
            options["partition.assignment.strategy"] = OPTIONS.get("assignor", "range")
            options["session.timeout.ms"] = OPTIONS.get("session_ms", 6000)
            options["heartbeat.interval.ms"] = OPTIONS.get("heartbeat_ms", 300)
        elif "assignor" in OPTIONS:
            options["group.remote.assignor"] = OPTIONS["assignor"]
        options["max.poll.interval.ms"] = OPTIONS.get("poll_ms", 300000)
        if "instance" in OPTIONS:
            options["group.instance.id"] = OPTIONS["instance"]
        self.consumer = Consumer(options)
        topics = [OPTIONS["regex"]] if "regex" in OPTIONS else OPTIONS["topics"]
        self.consumer.subscribe(
            topics, on_assign=self.told("assigned"), on_revoke=self.told("revoked"), on_lost=self.told("lost")
        )

    def told(self, event):
        def callback(consumer, partitions):
            named = [(p.topic, p.partition) for p in partitions]
            if event == "assigned":
                ACCOUNT.assigned(named, self.generation())
            else:
                ACCOUNT.gave_up(event, named)

        return callback

    def generation(self):
        # "CGMDv2:", the generation (4 bytes, the machine's order), group and member: the library's own form.
        metadata = self.consumer.consumer_group_metadata()
        return struct.unpack_from("=i", bytes(metadata), 7)[0] if metadata else -1

    def acknowledged(self, error, partitions):
        if COMMIT != "sync":
            moved = {(p.topic, p.partition): p.offset for p in partitions if p.offset >= 0}
            ACCOUNT.committed("async", moved, error or next((p.error for p in partitions if p.error), None))

    def poll(self):
        records = []
        for message in self.consumer.consume(200, timeout=POLL_MS / 1000):
            if message.error():
                say("error", text=str(message.error()))
            else:
                records.append((message.topic(), message.partition(), message.offset()))
        return records

    def commit(self, how, positions):
        offsets = [self.at(topic, partition, offset) for (topic, partition), offset in positions.items()]
        try:
            found = self.consumer.commit(offsets=offsets, asynchronous=how == "async")
            if how == "sync":
                ACCOUNT.committed(how, positions, next((p.error for p in found if p.error), None))
        except self.failed as error:
            ACCOUNT.committed(how, positions, error)

    def close(self):
        self.consumer.close()


class KafkaPython:
    def __init__(self):
        from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
        from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
        from kafka.coordinator.assignors.range import RangePartitionAssignor
        from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
        from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
        from kafka.errors import KafkaError
        from kafka.structs import OffsetAndMetadata

        self.at, self.offset, self.failed = TopicPartition, OffsetAndMetadata, KafkaError
        known = (RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor,
                 CooperativeStickyAssignor)
        wanted = OPTIONS.get("assignor", "range")
        self.consumer = KafkaConsumer(
            bootstrap_servers=os.environ["BOOTSTRAP"],
            group_id=GROUP,
            group_instance_id=OPTIONS.get("instance"),
            auto_offset_reset="earliest",
            enable_auto_commit=COMMIT == "auto",
            auto_commit_interval_ms=200,
            session_timeout_ms=OPTIONS.get("session_ms", 6000),
            heartbeat_interval_ms=OPTIONS.get("heartbeat_ms", 300),
            max_poll_interval_ms=OPTIONS.get("poll_ms", 300000),
            fetch_max_wait_ms=100,
            metadata_max_age_ms=1000,
            reconnect_backoff_max_ms=500,
            partition_assignment_strategy=[a for a in known if a.name == wanted],
        )
        member = self

        class Told(ConsumerRebalanceListener):
            def on_partitions_assigned(self, assigned):
                ACCOUNT.assigned([tuple(p) for p in assigned], member.generation())

            def on_partitions_revoked(self, revoked):
                ACCOUNT.gave_up("revoked", [tuple(p) for p in revoked])

            def on_partitions_lost(self, lost):
                ACCOUNT.gave_up("lost", [tuple(p) for p in lost])

        if "regex" in OPTIONS:
            self.consumer.subscribe(pattern=OPTIONS["regex"], listener=Told())
        else:
            self.consumer.subscribe(OPTIONS["topics"], listener=Told())

    def generation(self):
        return self.consumer._coordinator._generation.generation_id

    def poll(self):
        # Where a poll ends in the middle of a join, 3.0.12 may never finish it; a longer one seldom does.
        found = self.consumer.poll(timeout_ms=10 * POLL_MS)
        return [(r.topic, r.partition, r.offset) for records in found.values() for r in records]

    def commit(self, how, positions):
        offsets = {self.at(*at): self.offset(offset, "", -1) for at, offset in positions.items()}
        if how == "async":
            def acknowledged(_, answer):
                ACCOUNT.committed("async", positions, answer if isinstance(answer, Exception) else None)

            self.consumer.commit_async(offsets, callback=acknowledged)
            return
        try:
            self.consumer.commit(offsets)
            ACCOUNT.committed("sync", positions)
        except self.failed as error:
            ACCOUNT.committed("sync", positions, repr(error))

    def close(self):
        self.consumer.close()


class AioKafka:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.run(self.start())

    def run(self, work):
        return self.loop.run_until_complete(work)

    async def start(self):
        from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
        from aiokafka.coordinator.assignors.range import RangePartitionAssignor
        from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
        from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
        from aiokafka.errors import KafkaConnectionError, KafkaError

        self.at, self.failed = TopicPartition, (KafkaError, AssertionError)
        known = (RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor)
        wanted = OPTIONS.get("assignor", "range")
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=os.environ["BOOTSTRAP"],
            group_id=GROUP,
            group_instance_id=OPTIONS.get("instance"),
            auto_offset_reset="earliest",
            enable_auto_commit=COMMIT == "auto",
            auto_commit_interval_ms=200,
            session_timeout_ms=OPTIONS.get("session_ms", 6000),
            heartbeat_interval_ms=OPTIONS.get("heartbeat_ms", 300),
            max_poll_interval_ms=OPTIONS.get("poll_ms", 300000),
            fetch_max_wait_ms=100,
            metadata_max_age_ms=1000,
            partition_assignment_strategy=[a for a in known if a.name == wanted],
        )
        member = self

        class Told(ConsumerRebalanceListener):
            async def on_partitions_assigned(self, assigned):
                ACCOUNT.assigned([tuple(p) for p in assigned], member.generation())

            async def on_partitions_revoked(self, revoked):
                ACCOUNT.gave_up("revoked", [tuple(p) for p in revoked])

        # Unlike the others it gives up where nobody listens at this moment.
        for patience in range(100, -1, -1):
            try:
                await self.consumer.start()
                break
            except KafkaConnectionError:
                if not patience:
                    raise
                await asyncio.sleep(POLL_MS / 1000)
        if "regex" in OPTIONS:
            self.consumer.subscribe(pattern=OPTIONS["regex"], listener=Told())
        else:
            self.consumer.subscribe(OPTIONS["topics"], listener=Told())

    def generation(self):
        return self.consumer._coordinator.generation

    def poll(self):
        return self.run(self.poll_once())

    async def poll_once(self):
        try:
            found = await self.consumer.getmany(timeout_ms=POLL_MS, max_records=200)
        except self.failed as error:
            say("error", text=repr(error))
            await asyncio.sleep(POLL_MS / 1000)
            return []
        return [(r.topic, r.partition, r.offset) for records in found.values() for r in records]

    def commit(self, how, positions):
        """The library waits for every commit; an asynchronous one is a task beside the next polls."""
        if how == "async":
            self.loop.create_task(self.commit_once(how, positions))
        else:
            self.run(self.commit_once(how, positions))

    async def commit_once(self, how, positions):
        try:
            await self.consumer.commit({self.at(*at): offset for at, offset in positions.items()})
            ACCOUNT.committed(how, positions)
        except self.failed as error:
            ACCOUNT.committed(how, positions, repr(error))
        except Exception as error:  # a partition that is not ours any more
            ACCOUNT.committed(how, positions, repr(error))

    def close(self):
        self.run(self.consumer.stop())


play({"confluent": Confluent, "kafka-python": KafkaPython, "aiokafka": AioKafka}[sys.argv[1]]())
