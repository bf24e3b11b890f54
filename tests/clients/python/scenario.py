"""What every Python client is asked to do, written once over a small face that each client library wears.

A face has `name`, `lacks` (what the library cannot do) and the methods used below. `main` reads the
command line of tests/clients/README.md.
"""

import os
import sys
import time

from records import CODECS, BASE_TIMESTAMP, equal, expected, read_packed, write_packed

COUNT = 150
PARTITION_OF = {"acks=0": 0, "acks=1": 1, "acks=all": 2, "idempotent": 3}


def wait_for(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def check(face):
    for codec in CODECS:
        if codec in face.lacks:
            continue
        topic = f"{face.name}-{codec}"
        face.create_topic(topic, 4, {"retention.ms": "-1"})
        wait_for(f"{topic} in the metadata", lambda: face.partition_count(topic) == 4)
        for partition in range(4):
            # Answered by a leader that knows it leads: without it the first batches may be refused and come
            # out of order, and those of acks=0 be lost.
            assert face.offsets(topic, partition) == (0, 0)
        for how, partition in PARTITION_OF.items():
            if how in face.lacks:
                continue
            who = f"{face.name}-{codec}-{how}"
            wanted = [expected(who, i) for i in range(COUNT)]
            acks = {"acks=0": 0, "acks=1": 1}.get(how, "all")
            face.produce(topic, partition, wanted, codec, acks, how == "idempotent")
            wait_for(f"{who}: end offset", lambda: face.offsets(topic, partition)[1] == COUNT)
            assert face.offsets(topic, partition)[0] == 0
            equal(f"{who}: by assignment", face.read(topic, partition, 0, COUNT), wanted)
            middle = COUNT // 2 + 1
            equal(f"{who}: by offset", face.read(topic, partition, middle, COUNT - middle), wanted[middle:])
            for at in (0, 1, COUNT // 3, COUNT - 1):
                found = face.offset_at(topic, partition, BASE_TIMESTAMP + 1000 * at - 500)
                assert found == at, f"{who}: by timestamp: offset {found}, wanted {at}"
            late = face.offset_at(topic, partition, BASE_TIMESTAMP + 1000 * COUNT)
            assert late is None, f"{who}: past the last timestamp: offset {late}, wanted none"
            from_time = face.offset_at(topic, partition, BASE_TIMESTAMP + 1000 * 40)
            equal(f"{who}: by time", face.read(topic, partition, from_time, 10), wanted[40:50])
            print(f"ok {who}", flush=True)
    check_large(face)
    check_admin(face)
    if face.lacks:
        print(f"{face.name} lacks: {' '.join(sorted(face.lacks))}")


def check_large(face):
    topic = f"{face.name}-large"
    face.create_topic(topic, 1, {"retention.ms": "-1"})
    wait_for(topic, lambda: face.partition_count(topic) == 1)
    wanted = [expected(face.name, i)._replace(value=bytes([i]) * 900_000) for i in range(1, 4)]
    wanted = [record._replace(offset=at) for at, record in enumerate(wanted)]
    face.produce(topic, 0, wanted, "none", "all", False)
    equal("large records", face.read(topic, 0, 0, 3), wanted)
    print(f"ok {face.name}-large", flush=True)


def check_admin(face):
    topic = f"{face.name}-admin"
    face.create_topic(topic, 2, {"retention.ms": "-1", "max.message.bytes": "200000"})
    wait_for("created", lambda: face.partition_count(topic) == 2)
    assert topic in face.topics(), "the new topic is not listed"
    assert face.refused_create(topic), "a topic was created twice"
    configs = face.configs(topic)
    assert configs["max.message.bytes"] == "200000", configs
    assert configs["delete.retention.ms"] == "86400000", configs
    assert face.config_count_of_broker() > 100

    face.alter_config(topic, {"retention.ms": "-1", "max.message.bytes": "300000"})
    wait_for("altered", lambda: face.configs(topic)["max.message.bytes"] == "300000")

    face.grow_topic(topic, 5)
    wait_for("grown", lambda: face.partition_count(topic) == 5)
    wanted = [expected(face.name, i) for i in range(20)]
    for partition in range(5):
        face.produce(topic, partition, wanted, "none", "all", False)
        equal("a grown topic", face.read(topic, partition, 0, 20), wanted)

    if "delete_records" not in face.lacks:
        face.delete_records(topic, 3, 7)
        wait_for("deleted records", lambda: face.offsets(topic, 3) == (7, 20))
        equal("after deleted records", face.read(topic, 3, 7, 13), wanted[7:])

    face.delete_topic(topic)
    wait_for("deleted", lambda: topic not in face.topics())
    print(f"ok {face.name}-admin", flush=True)


def write(face, topic, who, codec, count):
    for partition in range(3):
        records = [expected(who, i) for i in range(count) if i % 3 == partition]
        face.produce(topic, partition, records, codec, "all", "idempotent" not in face.lacks)


def read(face, topic):
    for partition in range(3):
        begin, end = face.offsets(topic, partition)
        for record in face.read(topic, partition, begin, end - begin):
            print(record.line(partition))


def put(face, topic, codec):
    packed = read_packed(sys.stdin.buffer)
    face.produce_pairs(topic, packed, codec)


def get(face, topic):
    begin, end = face.offsets(topic, 0)
    for record in face.read_each(topic, 0, begin, end - begin):
        write_packed(sys.stdout.buffer, record.key, record.value)
    sys.stdout.buffer.flush()


def compare(file, count, *clients):
    """Holds what was read from the crosswise topic against what the clients wrote."""
    found = {partition: [] for partition in range(3)}
    for line in open(file):
        partition, offset, rest = line.rstrip("\n").split(" ", 2)
        if int(offset) != len(found[int(partition)]):
            sys.exit(f"partition {partition}: offset {offset} after {len(found[int(partition)])} records")
        found[int(partition)].append(rest)
    for partition, lines in found.items():
        wanted = []
        for who, number in [("first", 3), *((client, int(count)) for client in clients)]:
            own = [expected(who, i).line(0).split(" ", 2)[2] for i in range(number) if i % 3 == partition]
            wanted += own
            keyed = [line for line in own if f" ={who.encode().hex()}2d" in line]
            if [line for line in lines if f" ={who.encode().hex()}2d" in line] != keyed:
                sys.exit(f"partition {partition}: the records of {who} are missing, doubled or out of order")
        if sorted(lines) != sorted(wanted):
            sys.exit(f"partition {partition}: {len(lines)} records, wanted {len(wanted)}")


def main(make_face):
    call, arguments = sys.argv[1], sys.argv[2:]
    if call == "compare":
        compare(*arguments)
        return
    face = make_face(os.environ["BOOTSTRAP"])
    if call == "check":
        check(face)
    elif call == "write":
        topic, who, codec, count = arguments
        write(face, topic, who, codec, int(count))
    elif call == "read":
        read(face, *arguments)
    elif call == "put":
        put(face, *arguments)
    elif call == "get":
        get(face, *arguments)
    else:
        sys.exit(f"unknown call {call}")
    face.close()
