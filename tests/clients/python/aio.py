"""aiokafka, driven on a loop of its own."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError

import scenario
from records import Record


class AioKafka:
    name = "aiokafka"
    lacks = set()

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.loop = asyncio.new_event_loop()
        self.run(self.start())

    def run(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    async def start(self):
        self.admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await self.admin.start()
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=100,
        )
        await self.consumer.start()

    def close(self):
        self.run(self.consumer.stop())
        self.run(self.admin.close())

    def produce(self, topic, partition, records, codec, acks, idempotent):
        self.run(self.send(topic, partition, records, codec, acks, idempotent))

    async def send(self, topic, partition, records, codec, acks, idempotent):
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            compression_type=None if codec == "none" else codec,
            acks=acks,
            enable_idempotence=idempotent,
            linger_ms=5,
        )
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic,
                    value=record.value,
                    key=record.key,
                    partition=partition,
                    timestamp_ms=record.timestamp,
                    headers=list(record.headers),
                )
                for record in records
            ]
            await producer.flush()
            for at, future in enumerate(sent):
                metadata = await future
                if acks != 0 and len(records) == records[-1].offset + 1:
                    assert metadata.offset == at, f"{topic}: offset {metadata.offset} in the answer, wanted {at}"
        finally:
            await producer.stop()

    def read(self, topic, partition, start, count):
        return self.run(self.fetch(topic, partition, start, count))

    async def fetch(self, topic, partition, start, count):
        at = TopicPartition(topic, partition)
        self.consumer.assign([at])
        self.consumer.seek(at, start)
        records = []
        while len(records) < count:
            polled = await self.consumer.getmany(at, timeout_ms=20000, max_records=count - len(records))
            if not polled:
                sys.exit(f"{topic}-{partition}: {len(records)} of {count} records from {start}")
            records += [
                Record(message.offset, message.timestamp, message.key, message.value, tuple(message.headers))
                for message in polled[at]
            ]
        return records

    def offsets(self, topic, partition):
        at = TopicPartition(topic, partition)
        return (
            self.run(self.consumer.beginning_offsets([at]))[at],
            self.run(self.consumer.end_offsets([at]))[at],
        )

    def offset_at(self, topic, partition, timestamp):
        at = TopicPartition(topic, partition)
        found = self.run(self.consumer.offsets_for_times({at: timestamp}))[at]
        return found.offset if found and found.offset >= 0 else None

    def topics(self):
        return set(self.run(self.admin.list_topics()))

    def partition_count(self, topic):
        for found in self.run(self.admin.describe_topics([topic])):
            if not found["error_code"]:
                return len(found["partitions"])
        return 0

    def create_topic(self, topic, partitions, configs):
        new = NewTopic(topic, partitions, 1, topic_configs=configs)
        response = self.run(self.admin.create_topics([new]))
        (error,) = response.topic_errors
        if error[1]:
            raise TopicAlreadyExistsError if error[1] == 36 else RuntimeError(error)

    def refused_create(self, topic):
        try:
            self.create_topic(topic, 1, {})
        except TopicAlreadyExistsError:
            return True
        return False

    def describe(self, kind, name):
        (response,) = self.run(self.admin.describe_configs([ConfigResource(kind, name)]))
        (found,) = response.resources
        assert found[0] == 0, found[:2]
        return {entry[0]: entry[1] for entry in found[4]}

    def configs(self, topic):
        return self.describe(ConfigResourceType.TOPIC, topic)

    def config_count_of_broker(self):
        (broker,) = self.run(self.admin.describe_cluster())["brokers"]
        return len(self.describe(ConfigResourceType.BROKER, str(broker["node_id"])))

    def alter_config(self, topic, configs):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs)
        for response in self.run(self.admin.alter_configs([resource])):
            for found in response.resources:
                assert found[0] == 0, found

    def grow_topic(self, topic, partitions):
        response = self.run(self.admin.create_partitions({topic: NewPartitions(partitions)}))
        for error in response.topic_errors:
            assert error[1] == 0, error

    def delete_records(self, topic, partition, before):
        self.run(self.admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)}))

    def delete_topic(self, topic):
        self.run(self.admin.delete_topics([topic]))


scenario.main(AioKafka)
