"""The judge, judged: histories that break one rule each, which the ledger must see, and some that break none."""

from ledger import EXCUSES_MAX, Ledger

T0, T1 = ("t", 0), ("t", 1)


def assigned(*partitions, generation, at=0):
    return {"event": "assigned", "at": at, "partitions": partitions, "generation": generation}


def revoked(*partitions, at=0):
    return {"event": "revoked", "at": at, "partitions": partitions}


def records(partition, *offsets):
    return {"event": "records", "topic": partition[0], "partition": partition[1], "offsets": offsets}


def committed(*offsets, how="sync", error=None, at=0):
    return {"event": "committed", "at": at, "how": how, "offsets": offsets, "error": error}


def history(*lines, polite=False):
    ledger = Ledger(polite)
    for member, event in lines:
        ledger.take(member, event)
    return ledger


def two_owners_in_a_generation():
    return history(("a", assigned(T0, T1, generation=3)), ("b", assigned(T1, generation=3)))


def two_owners_in_an_epoch_that_came_later():
    return history(("a", assigned(T0, generation=3)), ("a", {"event": "generation", "generation": 5}),
                   ("b", assigned(T0, generation=5)))


def two_owners_at_once():
    ledger = history(("a", assigned(T0, generation=3)), ("b", assigned(T0, generation=4)), polite=True)
    return ledger


def two_owners_for_a_while():
    return history(("a", assigned(T0, generation=3)), ("b", assigned(T0, generation=4, at=10)),
                   ("a", revoked(T0, at=11)), polite=True)


def a_commit_that_moves_back():
    ledger = Ledger()
    ledger.observed({T0: 10}, ledger.floor())
    ledger.observed({T0: 9}, ledger.floor())
    return ledger


def a_commit_that_vanishes():
    ledger = Ledger()
    ledger.observed({T0: 10}, ledger.floor())
    ledger.observed({}, ledger.floor())
    return ledger


def an_acknowledged_commit_that_is_lost():
    ledger = history(("a", committed(("t", 0, 12))))
    ledger.observed({T0: 11}, ledger.floor())
    return ledger


def an_older_commit_that_returns_by_itself():
    ledger = history(("a", committed(("t", 0, 9), how="async")), ("a", committed(("t", 0, 12), how="async")))
    ledger.observed({T0: 9}, ledger.floor())
    return ledger


def a_loss_long_after_a_commit_was_sent_again():
    ledger = history(("a", committed(("t", 0, 12), how="async")), ("a", committed(("t", 0, 9), how="async")),
                     ("a", committed(("t", 0, 1000), how="async", at=60_000)))
    ledger.observed({T0: 500}, ledger.floor(), when=61_000)
    return ledger


def a_loss_beside_a_commit_that_was_sent_again():
    ledger = history(("a", committed(("t", 0, 12), how="async")), ("a", committed(("t", 0, 9), how="async")))
    ledger.observed({T0: 10}, ledger.floor())
    return ledger


def a_loss_beside_a_commit_that_was_given_up():
    ledger = history(("a", committed(("t", 0, 9), how="async", error="context canceled")),
                     ("a", committed(("t", 0, 12), how="async")), ("a", committed(("t", 0, 15), how="async")))
    ledger.observed({T0: 12}, ledger.floor())
    return ledger


def a_loss_after_a_commit_that_was_sent_again_was_followed():
    ledger = history(("a", committed(("t", 0, 12), how="async")), ("a", committed(("t", 0, 9), how="async")))
    ledger.observed({T0: 9}, ledger.floor())
    ledger.take("a", committed(("t", 0, 15), how="async"))
    ledger.observed({T0: 12}, ledger.floor())
    return ledger


def commits_that_are_sent_again_and_again():
    ledger = Ledger()
    for number in range(EXCUSES_MAX + 1):
        ledger.take("a", committed(("t", 0, 100 * number + 12), how="async", at=number))
        ledger.take("a", committed(("t", 0, 100 * number + 9), how="async", at=number))
        ledger.observed({T0: 100 * number + 9}, ledger.floor())
    return ledger


def commits_of_many_members_that_are_sent_again():
    ledger = Ledger()
    for member in range(EXCUSES_MAX + 1):
        ledger.take(member, committed(("t", member, 12), how="async"))
        ledger.take(member, committed(("t", member, 9), how="async"))
        ledger.observed({("t", p): 9 for p in range(member + 1)}, ledger.floor())
    return ledger


def a_refused_commit_that_counts():
    ledger = history(("a", committed(("t", 0, 9), how="async", error="ILLEGAL_GENERATION")),
                     ("a", committed(("t", 0, 12), how="async")))
    ledger.observed({T0: 9}, ledger.floor())
    return ledger


def a_commit_of_another_member_that_returns():
    ledger = history(("a", committed(("t", 0, 12), how="async")), ("b", committed(("t", 0, 9), how="async")))
    ledger.observed({T0: 9}, ledger.floor())
    return ledger


def a_record_that_nobody_got():
    ledger = history(("a", records(T0, 0, 2)), ("b", records(T0, 2, 3)))
    ledger.close({T0: 4}, {T0: 4})
    return ledger


def a_partition_that_nobody_read():
    ledger = history(("a", records(T0, 0)))
    ledger.close({T0: 1, T1: 2}, {T0: 1, T1: 2})
    return ledger


def lag_at_the_end():
    ledger = history(("a", records(T0, 0, 1)))
    ledger.close({T0: 2}, {T0: 1})
    return ledger


def nothing_committed_at_the_end():
    ledger = history(("a", records(T0, 0, 1)))
    ledger.close({T0: 2}, {})
    return ledger


def a_commit_past_the_end():
    ledger = history(("a", records(T0, 0)))
    ledger.close({T0: 1}, {T0: 1, T1: 5})
    return ledger


def fine_a_partition_that_moves():
    ledger = history(
        ("a", assigned(T0, T1, generation=1)), ("a", records(T0, 0, 1)), ("a", committed(("t", 0, 1))),
        ("a", revoked(T0, T1)), ("a", assigned(T0, generation=2)), ("b", assigned(T1, generation=2)),
        ("a", records(T0, 1, 2)), ("b", records(T1, 0)), polite=True)
    ledger.observed({T0: 1}, ledger.floor())
    ledger.close({T0: 3, T1: 1}, {T0: 3, T1: 1})
    return ledger


def fine_lines_that_are_read_in_the_other_order():
    ledger = history(("a", assigned(T0, generation=1)), ("b", assigned(T0, generation=2, at=10)),
                     ("a", revoked(T0, at=9)), polite=True)
    return ledger


def fine_a_zombie_whose_commit_is_refused():
    ledger = history(
        ("a", assigned(T0, generation=1)), ("b", assigned(T0, generation=2)), ("b", committed(("t", 0, 2))),
        ("a", committed(("t", 0, 5), error="ILLEGAL_GENERATION")), ("b", records(T0, 0, 1)))
    ledger.observed({T0: 2}, ledger.floor())
    ledger.close({T0: 2}, {T0: 2})
    return ledger


def fine_an_asynchronous_commit_that_is_sent_again():
    ledger = history(("a", committed(("t", 0, 12), how="async")))
    ledger.observed({T0: 9}, ledger.floor())  # seen before the member tells
    ledger.take("a", committed(("t", 0, 9), how="async"))
    ledger.observed({T0: 9}, ledger.floor())
    return ledger


def fine_an_asynchronous_commit_that_was_given_up_and_comes_late():
    ledger = history(("a", committed(("t", 0, 9), how="async", error="context canceled")),
                     ("a", committed(("t", 0, 12), how="async")))
    ledger.observed({T0: 9}, ledger.floor())
    ledger.observed({T0: 10}, ledger.floor())
    return ledger


def fine_a_commit_that_was_sent_again_and_came_first():
    ledger = history(("a", committed(("t", 0, 12), how="async")), ("a", committed(("t", 0, 9), how="async")))
    ledger.observed({T0: 12}, ledger.floor())
    ledger.observed({T0: 12}, ledger.floor())
    return ledger


def fine_as_many_excuses_as_there_may_be():
    ledger = Ledger()
    for number in range(EXCUSES_MAX):
        ledger.take("a", committed(("t", 0, 100 * number + 12), how="async", at=number))
        ledger.take("a", committed(("t", 0, 100 * number + 9), how="async", at=number))
        for _ in range(3):  # it is seen as long as nothing follows
            ledger.observed({T0: 100 * number + 9}, ledger.floor())
    return ledger


def fine_a_commit_of_many_partitions_that_is_sent_again():
    partitions = range(EXCUSES_MAX + 6)
    ledger = history(("a", committed(*(("t", p, 12) for p in partitions), how="async", at=1)),
                     ("a", committed(*(("t", p, 9) for p in partitions), how="async", at=2)))
    ledger.observed({("t", p): 9 for p in partitions}, ledger.floor())
    return ledger


def fine_who_is_no_member_at_this_moment():
    return history(("a", assigned(T0, generation=0)), ("b", assigned(T0, generation=0)))


def fine_a_static_member_that_returns():
    ledger = Ledger()
    ledger.take("a", assigned(T0, generation=1), instance="one")
    ledger.gone("a")
    ledger.take("b", assigned(T0, generation=1), instance="one")
    return ledger


def fine_an_offset_reset_on_purpose():
    ledger = Ledger()
    ledger.observed({T0: 10}, ledger.floor())
    ledger.reset({T0: 2})
    ledger.observed({T0: 2}, ledger.floor())
    return ledger


def fine_an_owner_that_died():
    ledger = history(("a", assigned(T0, generation=1)), ("b", assigned(T0, generation=2)), polite=True)
    ledger.gone("a")
    return ledger


WRONG = {
    two_owners_in_a_generation: "t-1 has two owners in generation 3: a and b",
    two_owners_in_an_epoch_that_came_later: "t-0 has two owners in generation 5: a and b",
    two_owners_for_a_while: "t-0 was given to b while a had it",
    two_owners_at_once: "t-0 was given to b while a had it",
    a_commit_that_moves_back: "the committed offset of t-0 moved back from 10 to 9",
    a_commit_that_vanishes: "the committed offset of t-0 moved back from 10 to -1",
    an_older_commit_that_returns_by_itself: "the committed offset of t-0 moved back from 12 to 9",
    a_loss_long_after_a_commit_was_sent_again: "the committed offset of t-0 moved back from 1000 to 500",
    a_loss_beside_a_commit_that_was_sent_again: "the committed offset of t-0 moved back from 12 to 10",
    a_loss_beside_a_commit_that_was_given_up: "the committed offset of t-0 moved back from 15 to 12",
    a_loss_after_a_commit_that_was_sent_again_was_followed: "the committed offset of t-0 moved back from 15 to 12",
    commits_that_are_sent_again_and_again: f"{EXCUSES_MAX + 1} commits of members moved offsets back",
    commits_of_many_members_that_are_sent_again: f"{EXCUSES_MAX + 1} commits of members moved offsets back",
    a_refused_commit_that_counts: "the committed offset of t-0 moved back from 12 to 9",
    a_commit_of_another_member_that_returns: "the committed offset of t-0 moved back from 12 to 9",
    an_acknowledged_commit_that_is_lost: "the committed offset of t-0 moved back from 12 to 11",
    a_record_that_nobody_got: "t-0: 1 of 4 records were never delivered, the first at 1",
    a_partition_that_nobody_read: "t-1: 2 of 2 records were never delivered, the first at 0",
    lag_at_the_end: "t-0: lag is not zero: 1 is committed of 2",
    nothing_committed_at_the_end: "t-0: lag is not zero: None is committed of 2",
    a_commit_past_the_end: "t-1: 5 is committed, past the end None",
}
FINE = [case for name, case in globals().items() if name.startswith("fine_")]


def found_wrong(case):
    ledger = case()
    ledger.still()
    return ledger.wrong


for case, complaint in WRONG.items():
    found = found_wrong(case)
    assert complaint in found, f"{case.__name__}: wanted {complaint!r}, found {found}"
for case in FINE:
    found = found_wrong(case)
    assert not found, f"{case.__name__}: {found}"
print(f"ok ledger: {len(WRONG)} wrong histories are seen, {len(FINE)} right ones pass")
