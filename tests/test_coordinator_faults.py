"""What the coordinator of a run makes of what it sees: no I/O, and a clock that the test sets."""

from collections.abc import Mapping
from typing import Any

import pytest

from resolver import Policy, Query, Result, Status
from resolver.distributed.coordinator import DEATHS, GRACE, PIECES, STALE, Coordinator, Order
from resolver.distributed.payload import Report

BOTH = {"one": 1, "two": 1}


def made(number: int = 8) -> tuple[Coordinator, Order]:
    """A coordinator that has sent its only chunk, of so many lookups, at 0 s."""
    mind = Coordinator(Policy(query_timeout=2, tries=1), "redis", "wire")
    order = mind.launch([Query(index, f"n{index}", f"n{index}.example.", "A") for index in range(number)], 0.0)
    mind.exhausted = True
    return mind, order


def report(order: Order, worker: str, **more: Any) -> Report:
    """What a worker says of a chunk."""
    return Report(order.number, order.copy, worker, **more)


def found(order: Order, worker: str) -> Report:
    """A worker has done it."""
    results = [
        Result(each.index, "", each.name, each.type, Status.NOERROR, [], None, None, 1, 0.1, "", "", None)
        for each in order.queries
    ]
    return report(order, worker, results=results, over="done")


def die(mind: Coordinator, order: Order, worker: str, now: float) -> list[Result]:
    """This worker begins the chunk and is gone; what is given up thereby, as it shows a little later."""
    assert [] == mind.hear(report(order, worker), now)
    return mind.look({"another": 1}, 0, now + GRACE + 1)


def test_a_redis_that_was_away_is_no_death() -> None:
    """Beats that are not there yet when the Redis is back tell nothing; those that never come do."""
    mind, order = made()
    mind.hear(report(order, "one"), 1.0)
    mind.returned(30.0)
    mind.look({}, 0, 30.0)
    mind.look({}, 0, 30.0 + GRACE)
    assert [] == mind.again(33.0)
    mind.look({}, 0, 31.0 + GRACE)
    assert [(0, 1)] == [(each.number, each.copy) for each in mind.again(34.0)]


def test_the_word_of_a_chunk_s_end_is_lost() -> None:
    """A worker that lives and has it in hand no more has done it, or lost it: it is sent again."""
    mind, order = made()
    mind.exhausted = False
    mind.hear(report(order, "one"), 1.0)
    mind.look(BOTH, 0, 1.5 + STALE, {"one": [order.number], "two": []})
    assert [] == mind.again(8.0), "it is in hand"
    mind.look(BOTH, 0, 1.0 + STALE, {"one": [], "two": []})
    assert [] == mind.again(8.0), "the beat may be older than what was heard"
    mind.look(BOTH, 0, 1.5 + STALE, {"one": [], "two": []}, 1)
    assert [] == mind.again(8.0), "the word may be among what waits to be read"
    mind.look(BOTH, 0, 1.5 + STALE, {"one": [], "two": []})
    (again,) = mind.again(8.0)
    assert [list(range(8)), ["chunk 0 was done, and the word of it was lost (one); 8 of 8 lookups are sent again"]] == [
        [query.index for query in again.queries],
        mind.recovered,
    ]
    assert 8 == len(mind.hear(found(again, "two"), 9.0))
    assert [True, []] == [mind.idle, mind.hear(found(order, "one"), 10.0)]


@pytest.mark.parametrize(("unread", "copies"), [(0, 1), (1, 0)])
def test_what_waits_to_be_read_is_not_lost(unread: int, copies: int) -> None:
    """A chunk that is not in the queue was begun, perhaps, and the report of that has not been read."""
    mind, _ = made()
    mind.look(BOTH, 0, GRACE + 1, {}, unread)
    assert copies == len(mind.again(5.0))


def test_a_suspect_goes_to_one_worker_at_a_time() -> None:
    """Idle workers get copies of what takes long at the end, but not of what a worker died with."""
    for deaths, copies in ((0, 1), (1, 0)):
        mind, order = made()
        if deaths:
            die(mind, order, "zero", 0.0)
            (order,) = mind.again(5.0)
        mind.hear(report(order, "one"), 6.0)
        mind.look(BOTH, 0, 50.0)
        assert copies == len(mind.again(50.0))


def test_what_workers_die_with() -> None:
    """The second death cuts it in pieces, which go out in turn; only that with which the third died is given up."""
    mind, order = made(16)
    for death in range(DEATHS - 1):
        assert [] == die(mind, order, f"victim {death}", 10.0 * death)
        (order, *more) = mind.again(10.0 * death + 9)
        assert [] == more
    assert 16 // PIECES == len(order.queries)
    given_up = die(mind, order, "the last victim", 30.0)
    assert [(0, Status.ERROR, None), (1, Status.ERROR, None)] == [
        (each.index, each.status, each.attempts) for each in given_up
    ]
    answered = []
    while orders := mind.again(40.0):
        (order,) = orders
        answered += mind.hear(found(order, "another"), 41.0)
    assert [list(range(2, 16)), True] == [[each.index for each in answered], mind.idle]


def test_three_die_at_once() -> None:
    """Also of three deaths at once not all that they had in hand is condemned: it goes out in pieces."""
    mind, order = made(16)
    workers: Mapping[str, int] = {"one": 1, "two": 1, "three": 1}
    for name in ("one", "two"):
        mind.hear(report(order, name), 1.0)
        mind.look(workers, 0, 20.0)
        mind.again(20.0)
    mind.hear(report(order, "three"), 20.0)
    assert [] == mind.look({}, 0, 60.0)
    (order,) = mind.again(60.0)
    assert [2, False] == [len(order.queries), mind.idle]
