"""confluent-kafka, the Python face of librdkafka."""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

import scenario
from records import Record


class Confluent:
    name = "confluent"
    lacks = set()

    def __init__(self, bootstrap):
        self.base = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(self.base)
        self.consumer = Consumer(
            {
                **self.base,
                "group.id": "assigned-by-hand",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 100,
            }
        )

    def close(self):
        self.consumer.close()

    def producer(self, codec, acks, idempotent):
        return Producer(
            {
                **self.base,
                "compression.type": codec,
                "acks": acks,
                "enable.idempotence": idempotent,
                "linger.ms": 5,
                "batch.num.messages": 64,
            }
        )

    def produce(self, topic, partition, records, codec, acks, idempotent):
        producer = self.producer(codec, acks, idempotent)
        failures = []

        def delivered(error, message):
            if error is not None:
                failures.append(error)
            elif acks != 0 and message.offset() < 0:
                failures.append(f"no offset in the answer: {message.offset()}")

        for record in records:
            producer.produce(
                topic,
                partition=partition,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                timestamp=record.timestamp,
                on_delivery=delivered,
            )
            producer.poll(0)
        left = producer.flush(30)
        if failures or left:
            sys.exit(f"{topic}: {left} not delivered, {failures[:3]}")
        self.latest_producer = producer

    def produce_pairs(self, topic, pairs, codec):
        producer = Producer({**self.base, "compression.type": codec, "acks": "all", "linger.ms": 20})
        failures = []

        def delivered(error, message):
            if error is not None:
                failures.append(error)

        for key, value in pairs:
            while True:
                try:
                    producer.produce(topic, partition=0, key=key, value=value, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(60)
        if failures or left:
            sys.exit(f"{topic}: {left} not delivered, {failures[:3]}")

    def read(self, topic, partition, start, count):
        return list(self.read_each(topic, partition, start, count))

    def read_each(self, topic, partition, start, count):
        self.consumer.assign([TopicPartition(topic, partition, start)])
        got = 0
        while got < count:
            messages = self.consumer.consume(min(10000, count - got), timeout=20)
            if not messages:
                sys.exit(f"{topic}-{partition}: {got} of {count} records from {start}")
            for message in messages:
                if message.error():
                    raise KafkaException(message.error())
                got += 1
                yield Record(
                    message.offset(),
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    tuple(message.headers() or ()),
                )
        self.consumer.unassign()

    def offsets(self, topic, partition):
        for attempt in range(100):
            try:
                at = TopicPartition(topic, partition)
                return self.consumer.get_watermark_offsets(at, timeout=20, cached=False)
            except KafkaException as error:
                if not error.args[0].retriable() and error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
                time.sleep(0.05)
        sys.exit(f"{topic}-{partition}: not led")

    def offset_at(self, topic, partition, timestamp):
        (found,) = self.consumer.offsets_for_times([TopicPartition(topic, partition, timestamp)], timeout=20)
        if found.error:
            raise KafkaException(found.error)
        return found.offset if found.offset >= 0 else None

    def topics(self):
        return set(self.admin.list_topics(timeout=20).topics)

    def partition_count(self, topic):
        metadata = self.admin.list_topics(timeout=20).topics.get(topic)
        return len(metadata.partitions) if metadata else 0

    def create_topic(self, topic, partitions, configs):
        new = NewTopic(topic, partitions, 1, config=configs)
        self.admin.create_topics([new], operation_timeout=10)[topic].result(20)

    def refused_create(self, topic):
        try:
            self.create_topic(topic, 1, {})
        except KafkaException as error:
            return error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
        return False

    def describe(self, resource):
        (future,) = self.admin.describe_configs([resource]).values()
        return {name: entry.value for name, entry in future.result(20).items()}

    def configs(self, topic):
        return self.describe(ConfigResource(ResourceType.TOPIC, topic))

    def config_count_of_broker(self):
        (broker,) = self.admin.list_topics(timeout=20).brokers
        return len(self.describe(ConfigResource(ResourceType.BROKER, str(broker))))

    def alter_config(self, topic, configs):
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in configs.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(20)

    def grow_topic(self, topic, partitions):
        self.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(20)

    def delete_records(self, topic, partition, before):
        wanted = TopicPartition(topic, partition, before)
        (future,) = self.admin.delete_records([wanted]).values()
        assert future.result(20).low_watermark == before

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])[topic].result(20)


scenario.main(Confluent)
