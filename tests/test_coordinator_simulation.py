"""The real coordinator among workers and a Redis that go wrong in every way: in each run, every index exactly once.

Nothing here waits: a run of minutes is some thousand events, on a clock of its own. The model (benchmarks/fleet.py) is
no kinder than the real parts: tasks and reports are lost, doubled, late and out of order, until the trouble ends;
workers die, come back under another name, give back, refuse, fall silent, are slow, and lie.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fleet import Redis, Workers
from benchmarks.misfortunes import NEVER, Chance, Clock, Fleet
from benchmarks.simulation import Run
from resolver import Policy, Query, Result, Status
from resolver.distributed.chunk_window import FIRST, MAX_OUT
from resolver.distributed.coordinator import GRACE, MAX_DEATHS, PIECES, SILENCE
from resolver.distributed.outstanding import Order

TROUBLE = 60.0  # seconds that it lasts
BOUND = TROUBLE + SILENCE + 300.0  # seconds by which a run is over, with one healthy worker


class World(Run):
    """A run of so many lookups, its workers and the Redis between them."""

    def __init__(self, seed: int, lookups: int, fleet: Fleet, policy: Policy | None = None) -> None:
        self.clock = Clock()
        chance = Chance(self.clock, fleet, seed)
        redis = Redis(self.clock, fleet, chance)
        self.workers = Workers(self.clock, redis, fleet, chance)
        self.came: list[Result] = []
        self._open: dict[int, set[int]] = {}  # indexes without a result, by chunk
        super().__init__(self.clock, redis, lookups, NEVER, policy or Policy(tries=1))

    def play(self) -> float:
        """Go on until the run is over; return when that was."""
        while not self.over:
            self.clock.step()
            assert self.clock.now < BOUND, (self.why, len(self.came))
        return self.clock.now

    def _launch(self, queries: list[Query]) -> Order:
        """Check before that the chunks that are out are fewer than the most, beside those that were cut in pieces."""
        cut = self.why["lost a second worker"] + sum("in pieces" in each for each in self.coordinator.recovered)
        assert len(self._open) < MAX_OUT * max(1, self.coordinator.slots) + cut
        order = super()._launch(queries)
        self._open[order.number] = {query.index for query in queries}
        return order

    def _take(self, results: list[Result]) -> None:
        super()._take(results)
        self.came += results
        found = {result.index for result in results}
        for number, indexes in list(self._open.items()):
            indexes -= found
            if not indexes:
                del self._open[number]

    def indexes(self, *statuses: Status) -> list[int]:
        """Return the indexes of all results that came, or of those with these statuses, in order."""
        return sorted(result.index for result in self.came if not statuses or result.status in statuses)


CHANCES = st.sampled_from([0.0, 0.0, 0.05, 0.3])
CHANCE_FIELDS = ("lost", "twice", "report_lost", "report_twice", "late", "dies", "back", "refused", "mute", "lies")


@given(
    seed=st.integers(0, 1 << 30),
    lookups=st.integers(1, 1500),
    sick=st.lists(st.tuples(st.sampled_from([1000.0, 100.0, 2.0]), st.integers(1, 3)), max_size=4),
    fleet=st.builds(
        Fleet,
        trouble=st.just(TROUBLE),
        wiped=st.sampled_from([0.0, 0.0, 0.05]),
        poison=st.sampled_from([-1, -1, 0, 70]),
        **dict.fromkeys(CHANCE_FIELDS, CHANCES),
    ),
    policy=st.sampled_from([Policy(tries=1), Policy(), Policy(tries=1, concurrency=3), Policy(tries=1, rate=500.0)]),
)
@settings(max_examples=60, deadline=None)
def test_every_index_once(seed: int, lookups: int, sick: list[tuple[float, int]], fleet: Fleet, policy: Policy) -> None:
    """Whatever goes wrong, each lookup has one result, true to what was asked; soon after one healthy worker stays."""
    world = World(seed, lookups, fleet, policy)
    world.workers.come(200.0, healthy=True)
    for rate, slots in sick:
        world.workers.come(rate, slots)
    world.play()
    assert list(range(lookups)) == world.indexes()
    assert [] == [
        each for each in world.came if (each.input, each.name) != (f"line {each.index}", f"h{each.index}.example")
    ]
    wrong = {result.status for result in world.came} - {Status.NOERROR}
    harmed = fleet.poison >= 0 or fleet.dies or fleet.refused or fleet.wiped or fleet.lies or fleet.late
    assert wrong <= ({Status.ERROR} if harmed else set())


@pytest.mark.parametrize("seed", range(5))
def test_poison(seed: int) -> None:
    """Of one name that every worker dies of: few die, and all but its piece have their result."""
    world = World(seed, 500, Fleet(poison=250))
    for _ in range(3):
        world.workers.come(100.0, healthy=True)
    world.play()
    assert list(range(500)) == world.indexes()
    errors = world.indexes(Status.ERROR)
    assert 250 in errors
    assert len(errors) <= 2 * FIRST // PIECES
    assert world.workers.deaths <= 2 * MAX_DEATHS


@pytest.mark.parametrize("seed", range(5))
def test_a_worker_that_is_a_hundred_times_slower(seed: int) -> None:
    """The last chunks are not held up by it: idle workers take what it has."""
    world = World(seed, 2000, Fleet(), Policy(tries=1, query_timeout=1.0))
    world.workers.come(500.0)
    world.workers.come(5.0)
    seconds = world.play()
    assert list(range(2000)) == world.indexes()
    assert seconds < 20.0


def test_nothing_wrong() -> None:
    """No lookup is sent twice."""
    world = World(1, 3000, Fleet())
    for _ in range(3):
        world.workers.come(500.0, 2)
    world.play()
    assert [list(range(3000)), 0, 3000] == [world.indexes(), world.sent - world.chunks, world.workers.looked_up]


def test_all_gone_for_a_while() -> None:
    """Every worker dies; when others come, minutes later, the run goes on."""
    world = World(1, 500, Fleet(returns=NEVER))
    first = world.workers.come(20.0)
    world.clock.after(5.0, world.workers.end, first)
    world.clock.after(200.0, world.workers.come, 200.0)
    assert 200.0 < world.play() < 230.0 + GRACE
    assert [list(range(500))] * 2 == [world.indexes(), world.indexes(Status.NOERROR)]
