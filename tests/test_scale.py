"""The coordinator with many workers, a Redis that was away, reports that wait: its own logic, on a clock of ours."""

import itertools
from collections.abc import Iterable

from resolver import Policy, Query, Result, Status
from resolver.distributed.chunk_window import FIRST, MAX_OPEN, WINDOW
from resolver.distributed.coordinator import GRACE, Coordinator
from resolver.distributed.outstanding import Order
from resolver.distributed.payload import ChunkReport

WORKER = "w0"


def with_workers(workers: int = 1, slots: int = 1) -> Coordinator:
    """One that has seen so many workers, at second 0."""
    coordinator = Coordinator(Policy(), "redis", "wire")
    coordinator.on_snapshot({f"w{number}": slots for number in range(workers)}, 0, 0.0)
    return coordinator


def fill(coordinator: Coordinator, now: float = 0.0) -> list[Order]:
    """All chunks that there is room for."""
    orders: list[Order] = []
    numbers = itertools.count()
    while room := coordinator.room():
        queries = [Query(index, "h.example", "h.example.", "A") for index in itertools.islice(numbers, room)]
        orders.append(coordinator.launch(queries, now))
    return orders


def begin(coordinator: Coordinator, order: Order, now: float, worker: str = WORKER) -> None:
    """A worker has it in hand."""
    coordinator.on_report(ChunkReport(order.number, order.copy, worker), now)


def finish(coordinator: Coordinator, order: Order, now: float) -> list[Result]:
    """A worker is done with it."""
    results = [
        Result(each.index, "", each.name, each.type, Status.NODATA, [], None, None, 1, 0.1, "", "wire", None)
        for each in order.queries
    ]
    return coordinator.on_report(ChunkReport(order.number, order.copy, WORKER, [results], over="done"), now)


def numbers(orders: Iterable[Order]) -> list[int]:
    return [order.number for order in orders]


def test_what_is_out_is_bounded() -> None:
    """However many slots there are, coordinator and Redis hold no more than a million lookups; each slot has some."""
    coordinator = with_workers(workers=1000, slots=4)
    orders = fill(coordinator)
    out = sum(len(order.queries) for order in orders)
    assert out <= MAX_OPEN
    assert len(orders) >= 4000
    came = sum(len(finish(coordinator, order, 0.0)) for order in orders[:4])
    assert 4 * FIRST == came
    assert 0 < coordinator.room() <= MAX_OPEN - out + came


def test_a_chunk_whose_report_waits_to_be_read_is_not_lost() -> None:
    """The queue is empty, nothing was heard of a chunk: it is lost only if its report cannot be on its way."""
    coordinator = with_workers()
    (first, *rest) = fill(coordinator)
    assert [WINDOW - 1, FIRST] == [len(rest), len(first.queries)]
    for second in range(1, 10):
        coordinator.on_snapshot({WORKER: 1}, 0, second, behind=second)
    assert [] == coordinator.resends(9.0)
    coordinator.on_snapshot({WORKER: 1}, 0, 10.0)
    assert numbers([first, *rest]) == numbers(coordinator.resends(10.0))


def test_a_chunk_that_waited_in_the_queue_is_not_lost_when_that_is_empty() -> None:
    """It may have left the queue just now: it is lost once all is read that was said until the queue was empty."""
    coordinator = with_workers()
    orders = fill(coordinator)
    for second in range(1, 20):
        coordinator.on_snapshot({WORKER: 1}, len(orders), second, behind=min(second, 5.0))
    coordinator.on_snapshot({WORKER: 1}, 0, 20.0, behind=5.0)
    assert [] == coordinator.resends(20.0)
    for second in range(21, 26):
        coordinator.on_snapshot({WORKER: 1}, 1, second, behind=5.0)
    assert numbers(orders) == numbers(coordinator.resends(25.0))


def test_workers_have_a_while_to_be_seen_after_an_outage() -> None:
    """The Redis was away and shows no worker at first: none of them is dead for that; those that stay away are."""
    coordinator = with_workers(workers=2)
    first, second, *_ = fill(coordinator)
    begin(coordinator, first, 1.0, "w0")
    begin(coordinator, second, 1.0, "w1")
    coordinator.on_snapshot({"w0": 1, "w1": 1}, 4, 1.0)
    coordinator.on_snapshot({}, 4, 20.0)
    coordinator.on_snapshot({"w0": 1}, 4, 21.0)
    assert [] == coordinator.resends(21.0)
    for now in (22.0, 23.0, 20.0 + GRACE + 1.0):
        coordinator.on_snapshot({"w0": 1}, 4, now)
    assert numbers([second]) == numbers(coordinator.resends(now))


def test_pieces_that_met_in_a_dying_worker_go_out_one_at_a_time() -> None:
    """With many workers some pieces of a suspect chunk go out at once; two that die together condemn neither."""
    coordinator = with_workers(workers=32)
    order = coordinator.launch([Query(index, "h.example", "h.example.", "A") for index in range(FIRST)], 0.0)
    now, workers = 0.0, {f"w{number}": 1 for number in range(32)}

    def die(worker: str) -> list[Result]:
        nonlocal now
        del workers[worker]
        lost: list[Result] = []
        for _ in range(6):
            now += 1.0
            lost += coordinator.on_snapshot(workers, 100, now)
        return lost

    begin(coordinator, order, now, "w0")
    assert [] == die("w0")
    (order,) = coordinator.resends(now)
    begin(coordinator, order, now, "w1")
    assert [] == die("w1")
    pieces = coordinator.resends(now)
    assert len(pieces) == 3
    for piece in pieces[:2]:
        begin(coordinator, piece, now, "w2")
    assert [] == die("w2")
    assert [] == coordinator.resends(now)
    finish(coordinator, pieces[2], now)
    (alone,) = coordinator.resends(now)
    begin(coordinator, alone, now, "w3")
    assert len(alone.queries) == len(die("w3"))
