"""The real coordinator among workers and a Redis that do all that is ill: in each, every index exactly once.

Nothing here waits: a run of minutes is some thousand calls, on a clock of its own. The model is no kinder than the real
parts: messages to workers and reports back are lost, doubled, late and out of order, until the trouble ends; workers
die, come back under another name, give back, refuse, fall silent, are slow, and lie.
"""

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from play import found

from resolver import Policy, Query, Result, Status
from resolver.distributed.broker import BEAT, DEAD
from resolver.distributed.coordinator import FIRST, GRACE, MAX_DEATHS, MAX_OUT, PIECES, SILENCE, Coordinator
from resolver.distributed.outstanding import Order
from resolver.distributed.payload import ChunkReport

TROUBLE = 60.0  # seconds that it lasts
BOUND = TROUBLE + SILENCE + 300.0  # seconds by which a run is over, with one healthy worker


class Ill(NamedTuple):
    """What goes wrong, each as a chance at every occasion from 0 to 1, until the trouble ends."""

    lost: float = 0.0  # messages and reports
    doubled: float = 0.0
    late: float = 0.0  # by up to 20 seconds
    dies: float = 0.0  # a worker, with each chunk that it begins
    back: float = 0.0  # a worker gives back what it has not done yet
    refused: float = 0.0
    mute: float = 0.0  # a worker takes a chunk and says nothing of it
    lies: float = 0.0  # a worker tells of copies, indexes and names that are none
    wiped: float = 0.0  # each second: the Redis loses all it has


class Worker:
    """One of the fleet. `has`: indexes in hand. `pace`: seconds that a lookup takes."""

    def __init__(self, name: str, slots: int, pace: float, *, healthy: bool = False) -> None:
        self.name, self.slots, self.pace, self.healthy = name, slots, pace, healthy
        self.alive = True
        self.beat = 0.0
        self.has: Counter[int] = Counter()
        self.busy = 0


class World:
    """A run of so many lookups, its workers and the Redis between them."""

    def __init__(
        self, seed: int, lookups: int, workers: list[Worker], ill: Ill, policy: Policy, poison: int = -1
    ) -> None:
        self.chance = random.Random(seed)
        self.coordinator = Coordinator(policy, "redis", "wire")
        self.ill, self.poison = ill, poison
        self.lookups = lookups
        self.source = deque(Query(n, f"line {n}", f"h{n}.example", "A") for n in range(lookups))
        self.workers = workers
        self.now = 0.0
        self.queue: deque[Order] = deque()
        self.epoch = 0  # of the Redis's data
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.names = itertools.count()
        self.came: list[Result] = []
        self.launched: dict[int, set[int]] = {}
        self.sent = 0
        self.deaths = 0

    # --- Time.

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        """Do this so much later."""
        heapq.heappush(self.events, (self.now + seconds, next(self.order), what))

    def happens(self, chance: float) -> bool:
        """Does it?"""
        return self.now < TROUBLE and self.chance.random() < chance

    def play(self) -> float:
        """Until the run is over; returns when that was."""
        self.at(0.0, self.look)
        self.at(0.0, self.hand_out)
        self.at(0.0, self.work)
        while not (self.coordinator.exhausted and self.coordinator.idle):
            self.now, _, what = heapq.heappop(self.events)
            assert self.now < BOUND, (self.coordinator.recovered[-5:], len(self.came))
            what()
        return self.now

    # --- The coordinator's side.

    def hand_out(self) -> None:
        """As the engine does, again and again."""
        coordinator = self.coordinator
        while room := coordinator.room():
            queries = [self.source.popleft() for _ in range(min(room, len(self.source)))]
            if not queries:
                coordinator.exhausted = True
                break
            self.check_window()
            order = coordinator.launch(queries, self.now)
            self.launched[order.number] = {query.index for query in queries}
            self.push(order)
        for order in coordinator.resends(self.now):
            self.push(order)
        self.at(0.2, self.hand_out)

    def check_window(self) -> None:
        """Before another chunk is cut, those that are out are fewer than the most; what is in pieces is beside them."""
        pieces = sum("in pieces" in sentence for sentence in self.coordinator.recovered)
        out = sum(1 for open_ in self.launched.values() if open_)
        assert out < MAX_OUT * max(1, self.coordinator.slots) + pieces

    def look(self) -> None:
        """Once a second."""
        if self.happens(self.ill.wiped):
            self.queue.clear()
            self.epoch += 1
            for worker in self.workers:
                worker.beat = -DEAD
        there = {worker.name: worker.slots for worker in self.workers if self.now - worker.beat < DEAD}
        self.count(self.coordinator.on_snapshot(there, len(self.queue), self.now))
        self.at(1.0, self.look)

    def count(self, results: list[Result]) -> None:
        """These are believed."""
        self.came += results
        for result in results:
            for open_ in self.launched.values():
                open_.discard(result.index)

    # --- The way.

    def deliver(self, what: Callable[[], None]) -> None:
        """Now, or late, twice, or never; never, too, where the Redis loses its data before."""
        epoch = self.epoch

        def arrive() -> None:
            if epoch == self.epoch:
                what()

        if self.happens(self.ill.lost):
            return
        for _ in range(2 if self.happens(self.ill.doubled) else 1):
            self.at(self.chance.uniform(0.0, 20.0 if self.happens(self.ill.late) else 0.05), arrive)

    def push(self, order: Order) -> None:
        """Into the queue."""
        self.sent += 1
        self.deliver(lambda: self.queue.append(order))

    def report(self, worker: Worker, order: Order, queries: list[Query], **more: Any) -> None:
        """To the coordinator."""
        number, copy, results = order.number, order.copy, [found(query) for query in queries]
        if not worker.healthy and self.happens(self.ill.lies):
            number, copy = number + self.chance.randint(-1, 1), self.chance.randint(0, 5)
            results += [found(query, index=self.chance.randrange(self.lookups)) for query in order.queries[:3]]
            results += [found(query, name="evil.example", status=Status.NOERROR) for query in order.queries[:3]]
        report = ChunkReport(max(0, number), copy, worker.name, results, **more)
        self.deliver(lambda: self.count(self.coordinator.on_report(report, self.now)))

    # --- The workers.

    def work(self) -> None:
        """All of them, again and again: beat, and take what they have room for."""
        for worker in self.chance.sample(self.workers, len(self.workers)):
            if worker.alive and self.now - worker.beat >= BEAT:
                worker.beat = self.now
            while worker.alive and self.queue and worker.busy < 2 * worker.slots:
                self.begin(worker, self.queue.popleft())
        self.at(0.1, self.work)

    def begin(self, worker: Worker, order: Order) -> None:
        """A worker takes this."""
        ill = self.ill if not worker.healthy else Ill()
        if any(worker.has[query.index] for query in order.queries):
            self.report(worker, order, [], over="back", sentence="came to a worker that has it in hand")
            return
        if self.happens(ill.mute):
            return
        self.report(worker, order, [])
        if self.happens(ill.refused):
            self.report(worker, order, [], over="refused", sentence="no")
            return
        worker.busy += 1
        worker.has.update(query.index for query in order.queries)
        takes = worker.pace * len(order.queries)
        half = order.queries[: self.chance.randint(0, len(order.queries))]
        rest = order.queries[len(half) :]
        if self.poison in {query.index for query in order.queries}:
            self.at(takes * 0.4, lambda: self.die(worker))
        elif self.happens(ill.dies):
            self.at(takes * self.chance.random(), lambda: self.die(worker))
        self.at(takes / 2, lambda: self.tell(worker, order, half, taken=True))
        if self.happens(ill.back):
            self.at(takes, lambda: self.tell(worker, order, [], over="back", sentence="left"))
        else:
            self.at(takes, lambda: self.tell(worker, order, rest, over="done"))

    def tell(self, worker: Worker, order: Order, queries: list[Query], **more: Any) -> None:
        """What a worker has found, if it lives."""
        if not worker.alive:
            return
        self.report(worker, order, queries, **more)
        if "over" in more:
            worker.busy -= 1
            worker.has.subtract(query.index for query in order.queries)

    def die(self, worker: Worker) -> None:
        """It is gone with all it has; a while later another stands in its place."""
        if worker.alive:
            worker.alive = False
            self.deaths += 1
            again = Worker(f"w{next(self.names)}", worker.slots, worker.pace, healthy=worker.healthy)
            self.at(self.chance.uniform(0.5, 10.0), lambda: self.workers.append(again))


def indexes(world: World) -> list[int]:
    """Of all that came, in order."""
    return sorted(result.index for result in world.came)


CHANCES = st.sampled_from([0.0, 0.0, 0.05, 0.3])


@given(
    seed=st.integers(0, 1 << 30),
    lookups=st.integers(1, 1500),
    fleet=st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0.001, 0.01, 0.5])), max_size=4),
    ill=st.builds(Ill, *[CHANCES] * 8, wiped=st.sampled_from([0.0, 0.0, 0.05])),
    poison=st.sampled_from([-1, -1, 0, 70]),
    policy=st.sampled_from([Policy(tries=1), Policy(), Policy(tries=1, concurrency=3), Policy(tries=1, rate=500.0)]),
)
@settings(max_examples=60, deadline=None)
def test_every_index_once(
    seed: int, lookups: int, fleet: list[tuple[int, float]], ill: Ill, poison: int, policy: Policy
) -> None:
    """Whatever goes wrong, each lookup has one result, true to what was asked; soon after one healthy worker stays."""
    sick = [Worker(f"sick{n}", slots, pace) for n, (slots, pace) in enumerate(fleet)]
    world = World(seed, lookups, [Worker("healthy", 1, 0.005, healthy=True), *sick], ill, policy, poison)
    world.play()
    assert list(range(lookups)) == indexes(world)
    assert [] == [
        each for each in world.came if (each.input, each.name) != (f"line {each.index}", f"h{each.index}.example")
    ]
    wrong = {result.status for result in world.came} - {Status.NXDOMAIN}
    harmed = poison >= 0 or ill.dies or ill.refused or ill.wiped or ill.lies or ill.late
    assert wrong <= ({Status.ERROR} if harmed else set())


@pytest.mark.parametrize("seed", range(5))
def test_poison(seed: int) -> None:
    """Of one name that every worker dies of: few die, and all but its piece have their result."""
    fleet = [Worker(f"f{n}", 1, 0.01, healthy=True) for n in range(3)]
    world = World(seed, 500, fleet, Ill(), Policy(tries=1), poison=250)
    world.play()
    assert list(range(500)) == indexes(world)
    errors = [result.index for result in world.came if result.status is Status.ERROR]
    assert 250 in errors
    assert len(errors) <= 2 * FIRST // PIECES
    assert world.deaths <= 2 * MAX_DEATHS


@pytest.mark.parametrize("seed", range(5))
def test_a_worker_that_is_a_hundred_times_slower(seed: int) -> None:
    """The last chunks are not held up by it: idle workers take what it has."""
    fleet = [Worker("fast", 1, 0.002, healthy=True), Worker("slow", 1, 0.2, healthy=True)]
    world = World(seed, 2000, fleet, Ill(), Policy(tries=1, query_timeout=1.0))
    seconds = world.play()
    assert list(range(2000)) == indexes(world)
    assert seconds < 20.0


def test_nothing_wrong() -> None:
    """No lookup is sent twice."""
    world = World(1, 3000, [Worker(f"f{n}", 2, 0.002, healthy=True) for n in range(3)], Ill(), Policy(tries=1))
    world.play()
    assert (list(range(3000)), []) == (indexes(world), world.coordinator.recovered)
    assert len(world.launched) == world.sent


def test_all_gone_for_a_while() -> None:
    """Every worker dies; when others come, minutes later, the run goes on."""
    world = World(1, 500, [Worker("first", 1, 0.05)], Ill(), Policy(tries=1))
    world.at(5.0, lambda: setattr(world.workers[0], "alive", False))
    world.at(200.0, lambda: world.workers.append(Worker("second", 1, 0.005, healthy=True)))
    assert 200.0 < world.play() < 230.0 + GRACE
    assert (list(range(500)), {Status.NXDOMAIN}) == (indexes(world), {result.status for result in world.came})
