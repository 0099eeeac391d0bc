"""The coordinator's rules one by one: what it sends, believes and sends again, in times that the tests tell."""

from typing import Any

import pytest
from play import Play, found, indexes

from resolver import Status
from resolver.distributed.chunk_window import (
    FIRST,
    LOOKUPS_PER_SLOT,
    MAX_LOOKUPS_PER_SLOT,
    MAX_OUT,
    SHORT_WINDOW,
    TARGET,
    WINDOW,
)
from resolver.distributed.coordinator import GRACE, MAX_REFUSALS, SILENCE
from resolver.distributed.outstanding import Order
from resolver.distributed.payload import MAX_QUERIES
from resolver.processes.protocol import Unfinished

# --- The window, and the sizes of chunks.


@pytest.mark.parametrize(("workers", "slots"), [({}, 1), ({"a": 1}, 1), ({"a": 2, "b": 1}, 3)])
def test_window(workers: dict[str, int], slots: int) -> None:
    """WINDOW chunks for each slot are out, and as many before any worker is seen as if there were one slot."""
    assert WINDOW * slots == len(Play(None, **workers).fill())


def test_each_that_ends_makes_room() -> None:
    """For one other."""
    play = Play(a=1)
    first, *_ = play.fill()
    play.on_report(first)
    play.now += 2.0
    play.done(first)
    assert 1 == len(play.fill())


def test_more_are_out_where_they_are_brief() -> None:
    """Of chunks that take no half second SHORT_WINDOW are out; when they take longer, no more than otherwise."""
    play = Play(a=1)
    play.done(play.launch())
    orders = play.fill(FIRST)
    assert SHORT_WINDOW == len(orders)
    for order in orders[:2]:
        play.on_report(order)
        play.now += 3.0
        play.done(order)
    assert 0 == play.coordinator.room()
    for order in orders[2:4]:
        play.done(order)
    assert 1 == len(play.fill(FIRST))


def test_those_that_only_wait_make_room() -> None:
    """A chunk that is asked to its end is beside the window, up to MAX_OUT for each slot."""
    play = Play(a=1)
    orders = play.fill(10)
    for order in orders:
        play.on_report(order, taken=True)
    for order in orders:
        play.on_report(order, taken=True)
    more = play.fill(10)
    assert WINDOW == len(more)
    while more:
        for order in more:
            play.on_report(order, taken=True)
        orders += more
        more = play.fill(10)
    assert MAX_OUT == len(orders)


def test_lookups_that_are_out() -> None:
    """However they are spread over chunks, no more of them are out for each slot than LOOKUPS_PER_SLOT."""
    play = Play(a=2)
    orders: list[Order] = []
    while (room := play.coordinator.room()) and len(orders) < 1000:
        orders.append(play.launch(room))
        play.on_report(orders[-1], taken=True)
    assert 2 * LOOKUPS_PER_SLOT - MAX_QUERIES < sum(len(order.queries) for order in orders) <= 2 * LOOKUPS_PER_SLOT


@pytest.mark.parametrize("done", [2 * 25_000, 2 * 90_000])
def test_workers_that_are_fast_have_more_out(done: int) -> None:
    """As many for each slot as have come back, so that none waits for its next chunk; at most MAX_LOOKUPS_PER_SLOT."""
    play = Play(a=2)
    while play.next < done:
        play.done(play.launch())
    most = 2 * min(play.next // 2, MAX_LOOKUPS_PER_SLOT)
    back = play.next
    while play.coordinator.room() and play.next < 3 * done:
        play.on_report(play.launch(), taken=True)
    assert most - MAX_QUERIES < play.next - back <= most


def test_sizes_grow() -> None:
    """The first chunks are small, so that a short list is shared; then they grow with what was handed out."""
    play = Play(a=1)
    sizes = []
    for _ in range(40):
        order = play.launch()
        sizes.append(len(order.queries))
        play.done(order)
    assert [FIRST, FIRST] == sizes[:2]
    assert sizes == sorted(sizes)
    assert MAX_QUERIES == sizes[-1]


def test_sizes_follow_the_time_that_chunks_take() -> None:
    """Where a lookup takes 10 ms, a chunk gets as many as take TARGET seconds, without what its last replies wait."""
    play = Play(a=1)
    for _ in range(60):
        order = play.launch()
        play.on_report(order)
        play.now += 1.0 + 0.01 * len(order.queries)
        play.done(order)
    assert pytest.approx(TARGET / 0.01, abs=1) == play.coordinator.room()


# --- What is believed.


def test_the_first_result_of_each_index() -> None:
    """Counts, with the line of the coordinator and the name of its engine; further ones do not."""
    play = Play(a=1)
    order = play.launch(2)
    first, second = order.queries
    expected = found(first, input="line 0", engine="redis")
    assert [expected] == play.on_report(order, [found(first), found(first, status=Status.NOERROR)])
    assert [] == play.on_report(order, [found(first)], "b")
    assert [1] == [result.index for result in play.on_report(order, [found(first), found(second)], over="done")]
    assert [] == play.done(order, "b")
    assert play.coordinator.idle


@pytest.mark.parametrize(
    "lie", [{"index": 77}, {"index": -1}, {"name": "evil.example"}, {"name": None}, {"type": "MX"}]
)
def test_what_was_not_asked(lie: dict[str, Any]) -> None:
    """A result of another index, name or type does not count, and the lookup stays open."""
    play = Play(a=1)
    order = play.launch(1)
    assert [] == play.on_report(order, [found(order.queries[0], **lie)])
    assert not play.coordinator.idle
    assert [0] == [result.index for result in play.done(order)]


def test_a_chunk_that_is_not_out() -> None:
    """Whatever is said of it counts for nothing."""
    play = Play(a=1)
    order = play.launch(1)
    stranger = order._replace(number=99)
    assert [] == play.done(stranger)
    play.on_report(stranger, taken=True, over="back")
    assert ([], False) == (play.resends(), play.coordinator.idle)


def test_done_with_lookups_undone() -> None:
    """What has no result is sent again, whatever the worker calls it."""
    play = Play(a=1)
    order = play.launch(3)
    play.on_report(order, [found(order.queries[1])], over="done")
    [again] = play.resends()
    assert ([0, 2], 1, order.number) == (indexes(again), again.copy, again.number)


# --- What comes back.


def test_given_back() -> None:
    """What has no result is sent again; how often it is asked in all, nobody knows, where it was asked before."""
    play = Play(a=1)
    order = play.launch(3)
    play.on_report(order, [found(order.queries[0])], over="back", sentence="left", unfinished=[Unfinished(1, 2, 5.0)])
    [again] = play.resends()
    assert ([1, 2], 1) == (indexes(again), again.copy)
    assert [None, None] == [query.attempts for query in again.queries]
    assert [f"chunk {order.number} left; 2 of 3 lookups are sent again"] == play.coordinator.recovered


def test_given_back_as_the_run_ends() -> None:
    """It is not sent again, and tells how far each lookup came."""
    play = Play(a=1)
    order = play.launch(2)
    play.on_report(order)
    assert [0, 1] == [query.index for query in play.coordinator.begun()]
    play.coordinator.ending = True
    play.on_report(order, over="back", unfinished=[Unfinished(0, 2, 5.0), Unfinished(1, 0, None)])
    assert ([], []) == (play.resends(), list(play.coordinator.begun()))
    assert [(2, 95.0), (0, None)] == [(query.attempts, query.asked) for query in order.queries]


def test_a_copy_given_back() -> None:
    """While another worker still has the chunk, or another copy is in the queue, it is not sent a third time."""
    play = Play(a=1, b=1)
    order = play.launch(2)
    play.on_report(order)
    play.on_report(order, worker="b")
    play.on_report(order, worker="b", over="back")
    assert [] == play.resends()
    play.on_report(order, over="back")
    [again] = play.resends()
    play.on_report(order, worker="c", over="back")
    assert ([], [0, 1]) == (play.resends(), [result.index for result in play.done(again)])


def test_refused() -> None:
    """By MAX_REFUSALS workers in turn, it is given up as ERROR with their sentence."""
    play = Play(a=1, b=1, c=1, d=1)
    order = play.launch(2)
    for worker in "aabc"[:MAX_REFUSALS]:
        play.on_report(order, worker=worker, over="refused", sentence="no such backend here")
        assert [] == play.resends()  # not at once: the same worker may take it again
        play.wait(GRACE + 1.0)
        [order] = play.resends()
    play.on_report(order, worker="c", over="refused", sentence="no such backend here")
    given_up = play.wait()
    assert [
        (0, Status.ERROR, "no such backend here", "line 0"),
        (1, Status.ERROR, "no such backend here", "line 1"),
    ] == [(result.index, result.status, result.error, result.input) for result in given_up]
    assert (True, []) == (play.coordinator.idle, play.wait())


# --- What is lost.


def test_a_dead_worker() -> None:
    """What it had without a result goes to others, when it has been gone for a moment."""
    play = Play(a=1, b=1)
    order = play.launch(3)
    play.on_report(order, [found(order.queries[0])])
    del play.workers["a"]
    play.wait(GRACE - 0.1)
    assert [] == play.resends()
    play.wait(0.2)
    [again] = play.resends()
    assert [1, 2] == indexes(again)
    assert [f"chunk {order.number} lost its worker (a); 2 of 3 lookups are sent again"] == play.coordinator.recovered


def test_a_worker_that_was_thought_dead() -> None:
    """What it finds still counts."""
    play = Play(a=1)
    order = play.launch(1)
    play.on_report(order)
    play.die("a")
    [again] = play.resends()
    assert [0] == [result.index for result in play.done(order)]
    assert ([], True) == (play.done(again, "b"), play.coordinator.idle)


def test_lost_on_the_way() -> None:
    """What nobody began, though the queue is empty, is sent again after GRACE seconds; in the queue it may wait."""
    play = Play(a=1)
    order = play.launch(1)
    play.queued = 1
    play.wait(1000.0)
    assert [] == play.resends()
    play.queued = 0
    play.wait(0.0)
    [again] = play.resends()
    assert (order.number, 1) == (again.number, again.copy)
    play.wait(GRACE - 0.1)
    assert [] == play.resends()
    play.wait(0.2)
    assert [2] == [each.copy for each in play.resends()]


def test_refused_by_all_there_are() -> None:
    """Where fewer workers are there, it is given up when each of them has refused it."""
    play = Play(a=1)
    order = play.launch(1)
    play.on_report(order, over="refused", sentence="no such backend here")
    assert [Status.ERROR] == [result.status for result in play.wait()]


def test_overtaken() -> None:
    """Workers take the oldest first: what nobody began though a younger one is in hand for long is lost."""
    play = Play(a=1)
    older, younger = play.launch(1), play.launch(1)
    play.queued = 5
    play.wait(GRACE)
    play.on_report(younger)
    play.wait(GRACE - 0.1)
    assert [] == play.resends()
    play.wait(0.2)
    assert [older.number] == [each.number for each in play.resends()]


def test_silence() -> None:
    """A worker that beats, and says nothing of a chunk for long, is not waited for."""
    play = Play(a=1, b=1)
    order = play.launch(1)
    play.on_report(order)
    play.wait(SILENCE + 2.0 + GRACE)
    assert [] == play.resends()
    play.wait(0.1)
    assert [order.number] == [each.number for each in play.resends()]
