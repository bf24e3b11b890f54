"""What kafka-python's integration tests ask for, on a broker that runs already (BOOTSTRAP).

Their own conftest starts brokers; this one stands in its place and gives the fixtures by the same names.
"""

import os
import time
import uuid

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.client_async import KafkaClient

BOOTSTRAP = os.environ["BOOTSTRAP"]


class Broker:
    host, port = BOOTSTRAP.rsplit(":", 1)
    port = int(port)

    @staticmethod
    def create_topics(names):
        admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
        admin.create_topics([NewTopic(name, 4, 1) for name in names])
        asked = KafkaConsumer(bootstrap_servers=BOOTSTRAP)
        end = time.monotonic() + 20
        while any(len(asked.partitions_for_topic(name) or ()) < 4 for name in names):
            assert time.monotonic() < end, f"{names} did not come"
            time.sleep(0.02)
        asked.close()
        admin.close()


@pytest.fixture(scope="session")
def kafka_broker():
    return Broker


def made_by(make):
    """A fixture that gives a function; what it made is closed at the end of the test."""

    @pytest.fixture
    def fixture(request):
        made = []

        def factory(**options):
            options.setdefault("client_id", request.node.name)
            made.append(make(request, bootstrap_servers=BOOTSTRAP, **options))
            return made[-1]

        yield factory
        for each in made:
            each.close()

    return fixture


def consumer(request, topics=None, **options):
    options.setdefault("auto_offset_reset", "earliest")
    if topics is None:
        topics = (request.getfixturevalue("topic"),)
    return KafkaConsumer(*topics, **options)


kafka_consumer_factory = made_by(consumer)
kafka_producer_factory = made_by(lambda _, **options: KafkaProducer(**options))
kafka_admin_client_factory = made_by(lambda _, **options: KafkaAdminClient(**options))
kafka_client_factory = made_by(lambda _, **options: KafkaClient(**options))


@pytest.fixture
def kafka_consumer(kafka_consumer_factory):
    return kafka_consumer_factory()


@pytest.fixture
def kafka_producer(kafka_producer_factory):
    return kafka_producer_factory()


@pytest.fixture
def kafka_admin_client(kafka_admin_client_factory):
    return kafka_admin_client_factory()


@pytest.fixture
def kafka_client(kafka_client_factory):
    return kafka_client_factory()


@pytest.fixture
def topic(request, kafka_broker):
    name = f"{request.node.originalname}-{uuid.uuid4().hex[:10]}"
    kafka_broker.create_topics([name])
    return name


@pytest.fixture
def send_messages(topic, kafka_producer, request):
    default = topic

    def send(numbers, partition=0, topic=None, producer=kafka_producer):
        values = [f"{number}-{request.node.name}-{uuid.uuid4()}".encode() for number in numbers]
        sent = [producer.send(topic or default, value=value, partition=partition) for value in values]
        producer.flush()
        for future in sent:
            future.get(timeout=20)
        return values

    return send
