"""The ledger of a group: what its members said and what its committed offsets were, held against four rules.

1. A partition has at most one owner in one generation (classic) or member epoch (consumer protocol). In a
   polite history, where no member dies or is paused, it has at most one owner at any time as well.
2. A committed offset never moves back by itself, and no commit that was acknowledged is lost. A member's own doing
   is another matter: librdkafka sends an asynchronous commit again that was under way when the connection broke,
   behind the newer ones that it has sent meanwhile; franz-go gives one up for the next, which may come by another
   connection and so before it. What is found then are the very offsets of that commit, in as many partitions as it
   has, and few commits do so.
3. Every record is delivered to some member at least once.
4. After everything stopped, lag is zero: what is committed is the end of the log.

It is a pure account: events go in by `take`, observations by `observed`, and complaints stand in `wrong`.
Partitions are pairs (topic, number). An owner is a member by its name, or by its instance if it is static.
"""

TELLS_WITHIN_MS = 10_000
EXCUSES_MAX = 3  # commits by which members themselves moved offsets back, in one group


class Ledger:
    def __init__(self, polite=False):
        self.polite = polite
        self.wrong = []
        self.delivered = {}  # partition -> set of offsets
        self.claims = {}  # (partition, generation) -> owner
        self.owned = {}  # member -> set of partitions
        self.overlaps = []  # (partition, who had it, who got it, when): wrong unless it was given up before that
        self.committed = {}  # partition -> the offset that was observed last
        self.acknowledged = {}  # partition -> the highest offset whose commit was acknowledged
        self.by_member = {}  # (member, partition) -> the same of that member
        # partition -> old commits that came, or may come, behind newer ones: (offset, when it was told, by whom)
        self.overtaken = {}
        self.moved_back = []  # (partition, from, to, when): wrong unless a member did it just then
        self.counts = {"assigned": 0, "records": 0, "committed": 0, "refused": 0, "unsaid": 0, "observed": 0,
                       "excused": 0}

    def complain(self, what):
        self.wrong.append(what)

    # ---- what members say ----

    def take(self, member, event, instance=None):
        """One line of a member, as tests/clients/README.md describes it."""
        kind = event["event"]
        partitions = [tuple(p) for p in event.get("partitions", ())]
        if kind == "assigned":
            self.counts["assigned"] += 1
            self.assigned(member, instance or member, partitions, event.get("generation"), event["at"])
        elif kind == "generation":
            self.claim(instance or member, self.owned.get(member, ()), event["generation"])
        elif kind in ("revoked", "lost"):
            self.gave_up(member, partitions, event["at"])
        elif kind == "records":
            offsets = self.delivered.setdefault((event["topic"], event["partition"]), set())
            offsets.update(event["offsets"])
            self.counts["records"] += len(event["offsets"])
        elif kind == "committed":
            error = event.get("error")
            self.counts["unsaid" if error == "unsaid" else "refused" if error else "committed"] += 1
            for topic, partition, offset in event["offsets"]:
                if error == "context canceled":
                    told = (offset, event.get("at", 0), member)
                    self.overtaken.setdefault((topic, partition), []).append(told)
                elif not error:
                    self.was_committed(member, event["how"], (topic, partition), offset, event.get("at", 0))
        elif kind == "left":
            self.gone(member)

    def was_committed(self, member, how, at, offset, when):
        before = self.by_member.get((member, at), -1)
        if how == "async" and offset < before:
            # Which of the two came last is seen in what is committed.
            self.overtaken.setdefault(at, []).append((offset, when, member))
        else:
            self.by_member[member, at] = offset
            self.acknowledged[at] = max(offset, self.acknowledged.get(at, -1))

    def assigned(self, member, owner, partitions, generation, at):
        owned = self.owned.setdefault(member, set())
        if self.polite:
            for other, theirs in self.owned.items():
                for partition in theirs.intersection(partitions) if other != member else ():
                    self.overlaps.append((partition, other, member, at))
        owned.update(partitions)
        self.claim(owner, owned, generation)

    def gave_up(self, member, partitions, at):
        """Lines of two members may be read in the other order; what counts is when they were said."""
        self.owned.get(member, set()).difference_update(partitions)
        for overlap in [o for o in self.overlaps if o[1] == member and o[0] in partitions]:
            self.overlaps.remove(overlap)
            if at > overlap[3]:
                self.complain_of(overlap)

    def complain_of(self, overlap):
        self.complain(f"{shown(overlap[0])} was given to {overlap[2]} while {overlap[1]} had it")

    def claim(self, owner, partitions, generation):
        if generation is None or generation <= 0:  # not a member at this moment; librdkafka says 0 then
            return
        for partition in partitions:
            first = self.claims.setdefault((partition, generation), owner)
            if first != owner:
                self.complain(f"{shown(partition)} has two owners in generation {generation}: {first} and {owner}")

    def gone(self, member):
        """The member's process ended, by itself or not."""
        self.owned.pop(member, None)
        self.overlaps = [overlap for overlap in self.overlaps if overlap[1] != member]

    # ---- what is seen from outside ----

    def floor(self):
        """What an observation that begins now has to find at least; handed to `observed` afterwards."""
        return {at: max(self.acknowledged.get(at, -1), self.committed.get(at, -1))
                for at in {*self.acknowledged, *self.committed}}

    def observed(self, committed, floor, when=0):
        """The group's committed offsets, asked for after `floor` was taken; `when` in milliseconds since 1970."""
        self.counts["observed"] += 1
        for at, least in floor.items():
            found = committed.get(at, -1)
            if found < least:
                self.moved_back.append((at, least, found, when))
                if self.told_of(at, found, when) is not None:
                    self.reset({at: found})
        self.committed.update(committed)

    def told_of(self, at, found, when):
        """The overtaken commit that explains what is found, as when it was told and by whom; None if there is none.
        The member may tell a little later than it is seen."""
        return next(((told, member) for offset, told, member in self.overtaken.get(at, ())
                     if offset == found and abs(when - told) < TELLS_WITHIN_MS), None)

    def reset(self, offsets):
        """Offsets were set on purpose."""
        for at, offset in offsets.items():
            self.committed[at] = self.acknowledged[at] = offset

    # ---- at the end ----

    def undelivered(self, ends):
        """How many records below `ends` (partition -> end offset) no member has seen."""
        return sum(end - len([o for o in self.delivered.get(at, ()) if o < end]) for at, end in ends.items())

    def still(self):
        """All lines have been read."""
        for overlap in self.overlaps:
            self.complain_of(overlap)
        excused = set()
        for at, least, found, when in self.moved_back:
            told = self.told_of(at, found, when)
            if told is not None:
                excused.add(told)
            else:
                self.complain(f"the committed offset of {shown(at)} moved back from {least} to {found}")
        self.overlaps, self.moved_back = [], []
        self.counts["excused"] += len(excused)
        if self.counts["excused"] > EXCUSES_MAX:
            self.complain(f"{self.counts['excused']} commits of members moved offsets back")

    def close(self, ends, committed):
        """Holds the account against the ends of the partitions and what is committed when all is still."""
        self.still()
        for at, end in sorted(ends.items()):
            missing = sorted(set(range(end)) - self.delivered.get(at, set()))
            if missing:
                self.complain(f"{shown(at)}: {len(missing)} of {end} records were never delivered, "
                              f"the first at {missing[0]}")
            if committed.get(at, -1) != end and end:
                self.complain(f"{shown(at)}: lag is not zero: {committed.get(at)} is committed of {end}")
        for at, offset in committed.items():
            if offset > ends.get(at, 0):
                self.complain(f"{shown(at)}: {offset} is committed, past the end {ends.get(at)}")


def shown(partition):
    return f"{partition[0]}-{partition[1]}"
