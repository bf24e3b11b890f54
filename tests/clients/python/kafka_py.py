"""kafka-python: its current line, the one before its rewrite, and the one of 2020, in one face."""

import logging
import sys

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import TopicAlreadyExistsError

import scenario
from records import Record

VERSION = tuple(int(part) for part in kafka.__version__.split(".")[:2])
logging.basicConfig(level=logging.ERROR)


class KafkaPython:
    name = "kafka-python-" + kafka.__version__
    lacks = set()
    if VERSION < (2, 1):
        lacks = {"idempotent", "delete_records"}
    elif VERSION < (3, 0):
        # This line reports records of acks=0 as sent that never reach a broker, Apache Kafka included.
        lacks = {"acks=0"}

    def __init__(self, bootstrap):
        self.base = {"bootstrap_servers": bootstrap}
        self.admin = KafkaAdminClient(**self.base)
        self.consumer = KafkaConsumer(
            **self.base, group_id=None, enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=100
        )

    def close(self):
        self.consumer.close()
        self.admin.close()

    def producer(self, codec, acks, idempotent):
        options = {"enable_idempotence": idempotent} if VERSION >= (2, 1) else {}
        return KafkaProducer(
            **self.base,
            compression_type=None if codec == "none" else codec,
            acks=acks,
            linger_ms=5,
            retries=5,
            **options,
        )

    def produce(self, topic, partition, records, codec, acks, idempotent):
        producer = self.producer(codec, acks, idempotent)
        sent = [
            producer.send(
                topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                partition=partition,
                timestamp_ms=record.timestamp,
            )
            for record in records
        ]
        producer.flush(30)
        for at, future in enumerate(sent):
            metadata = future.get(timeout=20)
            if acks != 0 and len(records) == records[-1].offset + 1:
                assert metadata.offset == at, f"{topic}: offset {metadata.offset} in the answer, wanted {at}"
        producer.close()

    def produce_pairs(self, topic, pairs, codec):
        producer = self.producer(codec, "all", False)
        sent = [producer.send(topic, value=value, key=key, partition=0) for key, value in pairs]
        producer.flush(60)
        for future in sent:
            future.get(timeout=20)
        producer.close()

    def read(self, topic, partition, start, count):
        return list(self.read_each(topic, partition, start, count))

    def read_each(self, topic, partition, start, count):
        at = TopicPartition(topic, partition)
        self.consumer.assign([at])
        self.consumer.seek(at, start)
        got = 0
        while got < count:
            polled = self.consumer.poll(timeout_ms=20000, max_records=count - got)
            if not polled:
                sys.exit(f"{topic}-{partition}: {got} of {count} records from {start}")
            for message in polled[at]:
                got += 1
                yield Record(
                    message.offset, message.timestamp, message.key, message.value, tuple(message.headers or ())
                )

    def offsets(self, topic, partition):
        at = TopicPartition(topic, partition)
        return self.consumer.beginning_offsets([at])[at], self.consumer.end_offsets([at])[at]

    def offset_at(self, topic, partition, timestamp):
        at = TopicPartition(topic, partition)
        found = self.consumer.offsets_for_times({at: timestamp})[at]
        return found.offset if found and found.offset >= 0 else None

    def topics(self):
        return set(self.admin.list_topics())

    def partition_count(self, topic):
        for found in self.admin.describe_topics([topic]):
            if not found["error_code"]:
                return len(found["partitions"])
        return 0

    def create_topic(self, topic, partitions, configs):
        if VERSION >= (3, 0):
            new = {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}}
            self.admin.create_topics(new)
        else:
            self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])

    def refused_create(self, topic):
        try:
            self.create_topic(topic, 1, {})
        except TopicAlreadyExistsError:
            return True
        return False

    def describe(self, kind, name):
        resource = ConfigResource(kind, name)
        if VERSION >= (3, 0):
            (of_kind,) = self.admin.describe_configs([resource], config_filter="all").values()
            return {key: entry["value"] for key, entry in of_kind[name].items()}
        (response,) = self.admin.describe_configs([resource])
        (found,) = response.resources
        assert found[0] == 0, found[:2]
        return {entry[0]: entry[1] for entry in found[4]}

    def configs(self, topic):
        return self.describe(ConfigResourceType.TOPIC, topic)

    def config_count_of_broker(self):
        (broker,) = self.admin.describe_cluster()["brokers"]
        node = broker.get("node_id", broker.get("broker_id"))
        return len(self.describe(ConfigResourceType.BROKER, str(node)))

    def alter_config(self, topic, configs):
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])

    def grow_topic(self, topic, partitions):
        new = partitions if VERSION >= (3, 0) else NewPartitions(partitions)
        self.admin.create_partitions({topic: new})

    def delete_records(self, topic, partition, before):
        self.admin.delete_records({TopicPartition(topic, partition): before})

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])


scenario.main(KafkaPython)
