"""What every kind of member goes through, each case with a group and a ledger of its own.

A kind is a client and a protocol: `confluent` speaks the classic one, `confluent/consumer` that of KIP-848.
"""

import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "groups"))

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition  # noqa: E402

from members import Failed, Group  # noqa: E402

CLASSIC = ["java-4.1", "java-2.8", "confluent", "kafka-python", "aiokafka", "kafkajs", "franz-go", "sarama"]
CONSUMER = ["java-4.1/consumer", "confluent/consumer", "franz-go/consumer"]
COOPERATIVE = ["java-4.1", "java-2.8", "confluent", "kafka-python", "franz-go"]  # whose library has the assignor
SESSION_MS = 2000
SCRATCH = Path(tempfile.mkdtemp(prefix="members-"))


class Lacks:
    """What a library cannot do, and so stays untested with it."""

    regex = {"sarama", "kafkajs"}  # kafkajs looks once, when it subscribes
    deletion = {"java-4.1/consumer"}  # its network thread may fail on a topic id that is gone
    instance = {"kafkajs", "franz-go/consumer"}  # the latter never tells that it leaves for a while
    automatic = {"franz-go/consumer"}
    poll_limit = {"kafkajs", "aiokafka", "franz-go", "sarama", "franz-go/consumer"}


def group_of(case, kind, **options):
    client, _, protocol = kind.partition("/")
    name = f"{case}-{kind.replace('/', '-')}"
    options = {"topics": [name], "protocol": protocol or "classic", "session_ms": SESSION_MS, **options}
    group = Group(name, os.environ["BOOTSTRAP"], SCRATCH, polite=True, **options)
    return group, client


def lives(kind):
    """Members come, leave, die by SIGKILL, and stop for longer than their session."""
    group, client = group_of("lives", kind)
    with group:
        group.create(group.name, 6)
        group.watch()
        # The one that leaves has a session that is too long to wait for (where a member has one of its own).
        first, leaving = group.start(client), group.start(client, session_ms=60000)
        group.settle(first, leaving)
        group.write(60)
        dying = group.start(client)
        group.settle(first, leaving, dying)
        group.write(60)
        leaving.leave(30)  # and 20 s more: its session would take longer
        group.settle(first, dying, seconds=20)
        group.ledger.polite = False
        dying.kill()
        group.write(60)
        group.settle(first)
        stopping = group.start(client)
        group.settle(first, stopping)
        stopping.stop()
        group.wait("the stopped member is expelled", lambda: first.owned == group.all_partitions())
        group.write(60)
        stopping.go_on()
        group.settle(first, stopping)
        group.write(60)
        group.finish()


def unpolled(kind):
    """A member that does not poll for longer than it may is left out, and comes back when it polls."""
    group, client = group_of("unpolled", kind, poll_ms=SESSION_MS + 500)
    with group:
        group.create(group.name, 4)
        first, pausing = group.start(client), group.start(client)
        group.settle(first, pausing)
        group.write(40)
        group.ledger.polite = False
        pausing.send("pause 12000")
        group.wait("the pausing member is left out", lambda: first.owned == group.all_partitions())
        group.write(40)
        group.settle(first, pausing)
        group.finish()


def commits(kind):
    """Commits on demand, asynchronous, and automatic; each next member starts where the last one committed."""
    group, client = group_of("commits", kind)
    with group:
        group.create(group.name, 3)
        group.watch()
        asked = group.start(client, commit="asked")
        group.settle(asked)
        group.write(30)
        group.wait("30 records", lambda: asked.records == 30)
        if found := group.committed():
            raise Failed(f"nobody committed, and there is {found}")
        asked.send("commit sync")
        group.drained()
        asked.leave()
        for how in ("async", *(["auto"] if kind not in Lacks.automatic else []), "sync"):
            member = group.start(client, commit=how)
            group.settle(member)
            group.write(30)
            group.drained()
            if member.records != 30:
                raise Failed(f"{member.records} records from the committed offsets on, wanted 30\n{member}")
            member.leave()
        group.close()


def regex(kind):
    """A subscription by a regular expression meets topics that are made later, and lets deleted ones go."""
    group, client = group_of("regex", kind)
    # librdkafka takes a subscription for a regular expression by its first sign.
    group.options["regex"] = f"^{group.name}-[a-z]+"
    del group.options["topics"]
    with group:
        group.create(f"{group.name}-one", 3)
        first, second = group.start(client), group.start(client)
        group.settle(first, second)
        group.create(f"{group.name}-two", 2)
        group.settle(first, second)
        group.write(50)
        group.drained()
        if kind in Lacks.deletion:
            group.finish()
            return
        gone = f"{group.name}-one"
        group.admin.delete_topics([gone])[gone].result(30)
        del group.topics[gone]
        group.wait("a deleted topic is let go", lambda: first.owned | second.owned == group.all_partitions())
        for member in group.living():
            member.leave()


def static(kind):
    """A static member that comes back within its session gets what it had, and nobody else notices."""
    group, client = group_of("static", kind, session_ms=15000)
    with group:
        group.create(group.name, 4)
        group.watch()
        first, second = group.start(client, instance="first"), group.start(client, instance="second")
        group.settle(first, second)
        group.write(40)
        group.drained()
        had, moves = set(second.owned), first.moves
        # Under KIP-848 a dead member keeps its instance until its session ends; one that leaves keeps its place.
        second.leave() if "/" in kind else second.kill()
        second = group.start(client, instance="second")
        group.settle(first, second)
        group.write(40)
        group.drained()
        if second.owned != had:
            raise Failed(f"it had {sorted(had)} and came back to {sorted(second.owned)}")
        if first.moves != moves:
            raise Failed(f"the other member noticed\n{first}")
        group.finish()


def cooperative(kind):
    """Who comes and goes takes no partition from the one that keeps it, not even for a moment."""
    options = {} if "/" in kind else {"assignor": "cooperative-sticky"}
    group, client = group_of("cooperative", kind, **options)
    with group:
        group.create(group.name, 6)
        group.watch()
        first = group.start(client)
        group.settle(first)
        group.write(60)
        for _ in range(2):
            before = set(first.given_up)
            second = group.start(client)
            group.settle(first, second)
            moved = set(second.owned)
            group.write(60)
            second.leave()
            group.settle(first, seconds=20)
            group.write(60)
            if len(moved) != 3 or first.given_up != before | moved:
                raise Failed(f"{sorted(moved)} went to the other member, {sorted(first.given_up)} was given up\n{first}")
        group.finish()


def named(kind):
    """The assignor that the members name is the one that assigns: one member gets the same of both topics, or both
    members get as much."""
    for assignor, shares in (("range", [2, 4]), ("uniform", [3, 3])):
        group, client = group_of(f"named-{assignor}", kind, assignor=assignor)
        topics = [f"{group.name}-a", f"{group.name}-b"]
        group.options["topics"] = topics
        with group:
            for topic in topics:
                group.create(topic, 3)
            members = group.start(client), group.start(client)
            group.settle(*members)
            group.wait(f"{assignor} assigns", lambda: sorted(len(m.owned) for m in members) == shares, 20)
            for member in members:
                one, other = ({p for topic, p in member.owned if topic == each} for each in topics)
                if assignor == "range" and one != other:
                    raise Failed(f"it has different partitions of the two topics\n{member}")
            group.write(60)
            group.finish()


def reset(kind):
    """Offsets are reset while nobody is there, and not while somebody is."""
    group, client = group_of("reset", kind)
    with group:
        group.create(group.name, 2)
        member = group.start(client)
        group.settle(member)
        group.write(20)
        ends = group.drained()
        back = {at: 4 for at in ends}
        refusal = alter(group, back)
        if refusal is None:
            raise Failed("offsets were reset under an active member")
        if group.observe() != ends:
            raise Failed(f"a refused reset moved offsets to {group.committed()}")
        member.leave()
        group.wait("offsets are reset in the empty group", lambda: alter(group, back) is None, 20)
        group.ledger.reset(back)
        again = group.start(client)
        group.settle(again)
        group.drained()
        group.wait("the records behind the reset come again", lambda: again.records == 12, 20)
        group.finish()


def alter(group, offsets):
    """None, or the error by which the broker refuses."""
    asked = ConsumerGroupTopicPartitions(group.name, [TopicPartition(*at, offset) for at, offset in offsets.items()])
    try:
        found = group.admin.alter_consumer_group_offsets([asked])[group.name].result(30)
    except KafkaException as error:
        return error
    return next((p.error for p in found.topic_partitions if p.error), None)


def together():
    """All kinds of classic members in one group, whoever of them leads it."""
    group, _ = group_of("together", "classic", session_ms=4000)
    with group:
        group.create(group.name, 16)
        group.watch()
        members = []
        for client in CLASSIC:
            members.append(group.start(client))
            group.settle(*members)
        group.write(320)
        group.drained()
        group.ledger.polite = False
        for leader in list(members[:-2]):  # the oldest member leads
            leader.leave() if members.index(leader) % 2 else leader.kill()
            members.remove(leader)
            group.write(32)
            group.settle(*members)
        group.finish()


def migration():
    """Members of both protocols in one group, which changes its type with them, and back."""
    group, _ = group_of("migration", "both", session_ms=6000)
    with group:
        group.create(group.name, 8)
        group.watch()
        steps = ["java-4.1", "confluent", "java-2.8", "confluent/consumer", "java-4.1/consumer", "aiokafka",
                 "franz-go", "franz-go/consumer", "kafka-python", "kafkajs"]
        members, kinds = [], []

        def joins(kind):
            client, _, protocol = kind.partition("/")
            members.append(group.start(client, protocol=protocol or "classic"))
            kinds.append(kind)
            settled()

        def leaves(at):
            members.pop(at).leave()
            kinds.pop(at)
            settled()

        def settled():
            group.write(16)
            group.settle(*members)

        for kind in steps[:5]:
            joins(kind)
        for _ in range(3):  # the classic ones; what is left is of the new protocol alone
            leaves(0)
        for kind in steps[5:7]:
            joins(kind)
        for _ in range(2):  # those of the new protocol: the group is classic again
            leaves(0)
        for kind in steps[7:]:
            joins(kind)
        while len(members) > 1:
            leaves(0)
        group.finish()


def cases():
    for kind in COOPERATIVE + CONSUMER:
        yield f"cooperative {kind}", lambda kind=kind: cooperative(kind)
    for kind in CONSUMER:
        yield f"named {kind}", lambda kind=kind: named(kind)
    for kind in CLASSIC + CONSUMER:
        for case in (lives, commits, regex, static, reset, unpolled):
            lacks = {regex: Lacks.regex, static: Lacks.instance, unpolled: Lacks.poll_limit}.get(case, ())
            if kind not in lacks:
                yield f"{case.__name__} {kind}", lambda case=case, kind=kind: case(kind)
    yield "together", together
    yield "migration", migration


def first_use():
    """Installs and builds what is not there yet, one after the other."""
    with Group("first-use", os.environ["BOOTSTRAP"], SCRATCH) as group:
        group.create("first-use", 1)
        for client in CLASSIC:
            member = group.start(client, topics=["first-use"])
            group.wait(f"{client} runs", lambda: "started" in member.said, 300)
            member.kill()


def run(name, case):
    began = time.monotonic()
    try:
        case()
    except (Failed, KafkaException) as failure:
        return f"FAILED {name}: {failure}"
    except Exception:
        return f"FAILED {name}: {traceback.format_exc()}"
    print(f"ok {name} {time.monotonic() - began:.0f}s", flush=True)
    return None


def main():
    chosen = [(name, case) for name, case in cases() if re.search(os.environ.get("ONLY", ""), name)]
    first_use()
    # Cases wait for sessions to end more than they compute.
    with ThreadPoolExecutor(int(os.environ.get("AT_ONCE", "4"))) as pool:
        failures = [f for f in pool.map(lambda chosen: run(*chosen), chosen) if f]
    if failures:
        sys.exit("\n".join(failures))  # what members said stays in the scratch directory, for a look
    shutil.rmtree(SCRATCH)


main()
