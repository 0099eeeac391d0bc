"""The coordinator's rules for the end of a run, for what workers die of, and for limits, in its own time."""

import itertools

import pytest
from play import Play, found, indexes

from resolver import Policy, Status
from resolver.distributed.chunk_window import FIRST, TARGET
from resolver.distributed.coordinator import MAX_COPIES, MAX_DEATHS, PIECES, SLOW
from resolver.distributed.outstanding import Order

# --- The end of a run.


def ending(**workers: int) -> tuple[Play, Order]:
    """A run with one chunk that worker a has in hand; others took a second."""
    play = Play(None, **workers)
    for _ in range(5):
        order = play.launch(10)
        play.on_report(order)
        play.now += 1.0
        play.done(order)
    order = play.launch(10)
    play.on_report(order)
    play.coordinator.exhausted = True
    return play, order


def test_idle_workers_at_the_end() -> None:
    """They get a copy of what takes SLOW times what others took, MAX_COPIES are in hand at most, and the first wins."""
    others = "bcdef"
    play, order = ending(a=1, **dict.fromkeys(others, 1))
    assert len(others) > MAX_COPIES
    for worker in others[: MAX_COPIES - 1]:
        play.wait(SLOW - 0.1)
        assert [] == play.resends()
        play.wait(0.2)
        [copy] = play.resends()
        play.on_report(copy, worker=worker)
        play.now -= 0.1
    play.wait(30.0)
    assert [] == play.resends()
    assert 10 == len(play.done(copy, "b"))
    assert ([], True) == (play.done(order), play.coordinator.idle)


def test_who_asked() -> None:
    """How often a lookup was asked is known as long as one worker has begun it, also where a copy is on its way."""
    play, order = ending(a=1, b=1)
    play.wait(SLOW + 0.1)
    [copy] = play.resends()
    first, second, *_ = order.queries
    [counted] = play.on_report(order, [found(first, attempts=2)])
    assert 2 == counted.attempts
    play.on_report(copy, worker="b")
    [uncounted] = play.on_report(order, [found(second, attempts=1)])
    assert uncounted.attempts is None


def test_how_long_others_took() -> None:
    """A copy took as long as its own worker was at it: of several chunks that a slow worker has, none waits longer."""
    play = Play(slow=1, b=1)
    first, *others = [play.launch(10) for _ in range(4)]
    play.coordinator.exhausted = True
    for order in others:
        play.on_report(order, worker="slow")
    play.done(first, "b")
    waited = []
    while not play.coordinator.idle:
        play.wait(1.0)
        for order in play.resends():
            waited.append(play.now)
            play.on_report(order, worker="b")
            play.done(order, "b")
        assert play.now < 200
    assert [1.0, 1.0] == [later - earlier for earlier, later in itertools.pairwise(waited)]


@pytest.mark.parametrize("why", ["nobody is idle", "more will come", "something is queued", "limits"])
def test_no_copy(why: str) -> None:
    """Where it would be of no use, or take more than its share."""
    play, _ = ending(a=1) if why == "nobody is idle" else ending(a=1, b=1)
    play.coordinator.exhausted = why != "more will come"
    play.queued = int(why == "something is queued")
    if why == "limits":
        play = Play(Policy(concurrency=5), a=1, b=1)
        play.on_report(play.launch(5))
        play.coordinator.exhausted = True
    play.wait(50.0)
    assert [] == play.resends()


# --- Poison.


def test_what_workers_die_of() -> None:
    """A chunk that MAX_DEATHS - 1 workers died with is cut in pieces, sent in turn; what one more dies with is ERROR.

    All others of the chunk have their result.
    """
    play = Play(a=1, b=1, c=1, d=1)
    poison = 19
    order = play.launch(FIRST)
    for worker in "ab"[: MAX_DEATHS - 1]:
        play.on_report(order, worker=worker)
        play.die(worker)
        [order] = play.resends()
    pieces = []
    while not play.coordinator.idle:
        pieces.append(indexes(order))
        play.on_report(order, worker="c")
        if poison in indexes(order):
            play.die("c")
        else:
            play.done(order, "d")
        orders = play.resends()
        assert len(orders) <= 1
        [order] = orders or [order]
    play.wait()
    assert PIECES == len(pieces)
    assert list(range(FIRST)) == sorted(itertools.chain.from_iterable(pieces))
    [condemned] = [piece for piece in pieces if poison in piece]
    assert list(range(FIRST)) == sorted(result.index for result in play.came)
    assert condemned == [result.index for result in play.came if result.status is Status.ERROR]
    assert {f"{MAX_DEATHS} workers ended while they looked this up, or another of the same chunk"} == {
        result.error for result in play.came if result.status is Status.ERROR
    }


def test_copies_that_die_at_once() -> None:
    """However many die with a chunk between two looks, it is cut first: nothing is condemned for its company."""
    play = Play(a=1, b=1, c=1, d=1)
    order = play.launch(FIRST)
    for worker in "abc":
        play.on_report(order, worker=worker)
    assert [] == play.die("a", "b", "c")
    [piece] = play.resends()
    assert (FIRST // PIECES, []) == (len(piece.queries), play.resends())


def test_no_copy_of_what_workers_die_of() -> None:
    """A piece that takes long may be about to kill: it is not sent to idle workers as well."""
    play = Play(a=1, b=1, c=1, d=1)
    order = play.launch(FIRST)
    play.coordinator.exhausted = True
    for worker in "ab":
        play.on_report(order, worker=worker)
    play.die("a", "b")
    [piece] = play.resends()
    play.on_report(piece, worker="c")
    play.wait(50.0)
    assert [] == play.resends()


def test_the_dead_company() -> None:
    """A worker that dies while another has the same chunk is not mourned until that one is gone too."""
    play = Play(a=1, b=1)
    order = play.launch(2)
    play.on_report(order)
    play.on_report(order, worker="b")
    play.die("a")
    assert [] == play.resends()
    assert 2 == len(play.done(order, "b"))


# --- Limits.


@pytest.mark.parametrize(
    ("policy", "workers", "shares"),
    [
        (Policy(concurrency=10), {"a": 2, "b": 1}, 3),
        (Policy(concurrency=2), {"a": 2, "b": 1}, 2),
        (Policy(rate=100.0), {"a": 2, "b": 1}, 3),
        (Policy(rate=100.0, concurrency=1), {"a": 2, "b": 1}, 1),
    ],
)
def test_limits_are_shared(policy: Policy, workers: dict[str, int], shares: int) -> None:
    """As many chunks are out as there are shares, each with one of them, and no more."""
    play = Play(policy, **workers)
    assert [shares] * shares == [order.parties for order in play.fill()]


def test_limits_with_nobody_there() -> None:
    """Nothing is sent: nobody knows how many will share them."""
    assert 0 == Play(Policy(rate=10.0)).coordinator.room()


def test_limits_with_more_workers() -> None:
    """What is out ends first, then they share anew; with fewer, what is left is used no further than it was shared."""
    play = Play(Policy(rate=1000.0), a=1)
    [order] = play.fill()
    play.workers["b"] = 1
    play.wait(1.0)
    assert [] == play.fill()
    play.done(order)
    assert [2, 2] == [order.parties for order in play.fill()]


def test_a_rate_bounds_the_size() -> None:
    """A chunk has no more lookups than its share lets out in TARGET seconds."""
    assert [int(TARGET * 2), int(TARGET * 2)] == [len(each.queries) for each in Play(Policy(rate=4.0), a=1, b=1).fill()]
