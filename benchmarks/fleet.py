"""A fleet of workers and a Redis that exist only on paper: what benchmarks/simulation.py sets the coordinator to.

Discrete events on a clock of its own; nothing here waits. Tasks and reports are the real ones as far as a coordinator
can tell: real Orders go into the queue, real ChunkReports come out of the stream, in parts, as
resolver/distributed/task.py sends them. A worker looks up at its own speed, chunk after chunk, and then
waits for names that nobody answers.

What can go wrong, all by one seeded generator: a worker dies with what it has, and another comes after a while; leaves
in order and gives back; is cut off from the Redis and comes back with reports that nobody expects any more; is a
hundred times slower than others. A message is lost between queue and worker, or comes twice. The Redis is away, and
comes back with what it held or without.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from resolver.distributed.active_chunk import ASKED_PER_SLOT, HELD_PER_SLOT
from resolver.distributed.broker import BEAT, DEAD, VISIBILITY
from resolver.distributed.outstanding import Order
from resolver.distributed.payload import ChunkReport
from resolver.distributed.task import LINGER, PART
from resolver.model import Query, Result, Status
from resolver.processes.protocol import Progress

ROUND_TRIP = 0.02  # seconds to a nameserver and back


@dataclass(frozen=True)
class Fleet:
    """How many workers, how fast (lookups a second, each), and what befalls them. Spans in seconds; inf: never."""

    workers: int
    slots: int
    rate: float
    lives: float  # between two deaths of one worker; every fourth end is one in order
    returns: float  # until another takes its place
    cut: float  # between two times that one worker is cut off, for half a minute
    slow: float  # share of workers at a hundredth of the speed
    lost: float  # share of messages that are lost on their way to a worker
    twice: float  # share of messages that come twice
    silent: float  # share of names that nobody answers
    patience: float  # that such a name takes
    seed: int


class Clock:
    """What happens next. `now` in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Have this happen in so many seconds; what never happens is not kept."""
        if seconds != float("inf"):
            heapq.heappush(self._events, (self.now + seconds, next(self._order), action, arguments))

    def step(self) -> None:
        """Have the next event happen."""
        self.now, _, action, arguments = heapq.heappop(self._events)
        action(*arguments)


class Said(NamedTuple):
    """A report before it is read: `found` are queries, and become results only then, so that few are kept."""

    when: float
    worker: "Worker"
    number: int
    copy: int
    found: list[Query]
    silent: bool = False
    taken: bool = False
    over: str | None = None
    sentence: str | None = None
    left: tuple[Query, ...] = ()

    def report(self) -> ChunkReport:
        """As the coordinator decodes it."""
        status, name = (Status.TIMEOUT if self.silent else Status.NOERROR), self.worker.name
        results = [
            Result(each.index, "", each.name, each.type, status, [], None, None, 1, ROUND_TRIP, "", "wire", None)
            for each in self.found
        ]
        unfinished = [Progress(each.index, 0, None) for each in self.left]
        return ChunkReport(self.number, self.copy, name, results, self.taken, self.over, self.sentence, unfinished)  # type: ignore[arg-type]  # one of the three


class Redis:
    """The queue, the stream and the beats. `up`: it can be reached."""

    def __init__(self, clock: Clock, fleet: Fleet, chance: random.Random) -> None:
        self.up = True
        self.stream: deque[Said] = deque()
        self.queue: deque[Order] = deque()
        self.beats: dict[str, tuple[int, float]] = {}  # slots, and when it counts as gone
        self.on_report: Callable[[], None] = lambda: None
        self.given = self.lost = self.doubled = 0
        self._clock, self._fleet, self._chance = clock, fleet, chance
        self._hungry: deque[Worker] = deque()
        self._unsent: list[Said] = []
        self._unput: list[Order] = []

    def put(self, order: Order) -> None:
        """From the coordinator."""
        if not self.up:
            self._unput.append(order)
            return
        self.queue.append(order)
        self.match()

    def add(self, said: Said) -> None:
        """From a worker; what cannot be sent now is sent when it can be."""
        if not self.up or said.worker.cut:
            self._unsent.append(said)
        else:
            self.stream.append(said._replace(when=self._clock.now))
            self.on_report()

    def ask(self, worker: "Worker") -> None:
        """It waits for a task, once."""
        if not worker.waits:
            worker.waits = True
            self._hungry.append(worker)

    def match(self) -> None:
        """Tasks to whoever has waited longest, one at a time."""
        while self.up and self.queue and self._hungry:
            worker = self._hungry.popleft()
            worker.waits = False
            if worker.cut or not worker.hungry:
                continue
            order = self.queue.popleft()
            self.given += 1
            fate = self._chance.random()
            if fate < self._fleet.lost:
                self.lost += 1
            else:
                if fate > 1 - self._fleet.twice:
                    self.doubled += 1
                    self._clock.after(1.0, self.restore, order)
                worker.begin(order)
            if worker.hungry:
                self.ask(worker)

    def restore(self, order: Order) -> None:
        """Celery gives it out once more."""
        if self.up:
            self.queue.appendleft(order)
            self.match()

    def roll(self) -> dict[str, int]:
        """The slots of the workers that beat."""
        now = self._clock.now
        for name in [name for name, (_, until) in self.beats.items() if until < now]:
            del self.beats[name]
        return {name: slots for name, (slots, _) in self.beats.items()}

    def behind(self) -> float:
        """Seconds that the oldest report has waited to be read."""
        return self._clock.now - self.stream[0].when if self.stream else 0.0

    def fall(self, *, lose: bool) -> None:
        """It is away; `lose`: with all that it holds."""
        self.up = False
        if lose:
            self.queue.clear()
            self.stream.clear()
            self.beats.clear()

    def rise(self) -> None:
        """It is back, and takes what has waited."""
        self.up = True
        for name, (slots, _) in list(self.beats.items()):
            self.beats[name] = slots, self._clock.now + DEAD
        orders, self._unput = self._unput, []
        self.queue += orders
        self.heal()

    def heal(self) -> None:
        """Workers can reach it again."""
        unsent, self._unsent = self._unsent, []
        for said in unsent:
            if said.worker.alive:
                self.add(said)
        self.match()


class Held:
    """A chunk in hand; `silent` is the query of it that nobody answers."""

    def __init__(self, order: Order, silent: Query | None) -> None:
        self.order = order
        self.silent = silent
        self.at = 0


class Worker:
    """One worker, from its first beat to its end."""

    looked_up = 0  # by all

    def __init__(self, name: str, rate: float, clock: Clock, redis: Redis, fleet: Fleet, chance: random.Random) -> None:
        self.name = name
        self.rate = rate
        self.alive = True
        self.cut = False
        self.waits = False
        self._clock, self._redis, self._fleet, self._chance = clock, redis, fleet, chance
        self._line: deque[Held] = deque()  # not asked to their end
        self._held: dict[Held, None] = {}
        self._hand: set[tuple[int, int]] = set()
        self._credit = 0.0
        self._ticking = False
        clock.after(chance.random() * BEAT, self._beat)
        redis.ask(self)

    @property
    def hungry(self) -> bool:
        """Would it take another?"""
        slots = self._fleet.slots
        return self.alive and len(self._line) < ASKED_PER_SLOT * slots and len(self._held) < HELD_PER_SLOT * slots

    def begin(self, order: Order) -> None:
        """Take a task from the queue."""
        if (order.number, order.copy) in self._hand:
            self._say(order, [], over="back", sentence="came to a worker that has it in hand")
            return
        self._hand.add((order.number, order.copy))
        queries = order.queries
        silent = self._chance.random() < self._fleet.silent * len(queries)
        held = Held(order, self._chance.choice(queries) if silent else None)
        self._line.append(held)
        self._held[held] = None
        self._say(order, [])
        if not self._ticking:
            self._ticking = True
            self._clock.after(LINGER, self._tick)

    def end(self, *, in_order: bool) -> None:
        """It is dead, or leaves."""
        for held in self._held if in_order else ():
            left = (*held.order.queries[held.at :], *filter(None, [held.silent]))
            self._say(held.order, [], over="back", sentence="its worker is leaving", left=left)
        self.alive = False
        if in_order:
            self._redis.beats.pop(self.name, None)
            return
        for held in self._held:
            self._clock.after(VISIBILITY, self._redis.restore, held.order)

    def sever(self, seconds: float) -> None:
        """It cannot reach the Redis for so long."""
        self.cut = True
        self._clock.after(seconds, self._reach)

    def _reach(self) -> None:
        self.cut = False
        self._redis.ask(self)
        self._redis.heal()

    def _beat(self) -> None:
        if self.alive:
            if self._redis.up and not self.cut:
                self._redis.beats[self.name] = self._fleet.slots, self._clock.now + DEAD
            self._clock.after(BEAT, self._beat)

    def _tick(self) -> None:
        """Look up what a fifth of a second is enough for."""
        if not self.alive or not self._line:
            self._ticking = False
            return
        self._credit += self.rate * LINGER
        while self._line and self._credit >= 1:
            held = self._line[0]
            queries = held.order.queries
            part = min(int(self._credit), PART, len(queries) - held.at)
            found = queries[held.at : held.at + part]
            if held.silent is not None:
                found = [each for each in found if each is not held.silent]
            held.at += part
            self._credit -= part
            Worker.looked_up += part
            if held.at < len(queries):
                self._say(held.order, found)
            else:
                self._line.popleft()
                self._say(held.order, found, taken=True)
                tail = ROUND_TRIP if held.silent is None else self._fleet.patience
                self._clock.after(tail, self._finish, held)
        self._redis.ask(self)
        self._redis.match()
        self._clock.after(LINGER, self._tick)

    def _finish(self, held: Held) -> None:
        if self.alive:
            del self._held[held]
            self._hand.discard((held.order.number, held.order.copy))
            found = [] if held.silent is None else [held.silent]
            self._say(held.order, found, silent=bool(found), over="done")
            self._redis.ask(self)
            self._redis.match()

    def _say(self, order: Order, found: list[Query], **more: Any) -> None:
        self._redis.add(Said(self._clock.now, self, order.number, order.copy, found, **more))


class Workers:
    """All of them, and what befalls them. `speed`: lookups a second of those that began."""

    def __init__(self, clock: Clock, redis: Redis, fleet: Fleet, chance: random.Random) -> None:
        self.deaths = self.leaves = self.cuts = 0
        self.speed = 0.0
        self._clock, self._redis, self._fleet, self._chance = clock, redis, fleet, chance
        self._number = itertools.count()
        for number in range(fleet.workers):
            rate = fleet.rate * chance.lognormvariate(0.0, 0.3)
            if number < fleet.slow * fleet.workers:
                rate /= 100
            self.speed += rate
            self._come(rate)

    def _come(self, rate: float) -> None:
        chance, fleet = self._chance, self._fleet
        worker = Worker(f"w{next(self._number)}", rate, self._clock, self._redis, fleet, chance)
        self._clock.after(_span(chance, fleet.lives), self._end, worker)
        self._clock.after(_span(chance, fleet.cut), self._sever, worker)
        self._redis.match()

    def _end(self, worker: Worker) -> None:
        in_order = self._chance.random() < 0.25 and self._redis.up and not worker.cut
        self.leaves += in_order
        self.deaths += not in_order
        worker.end(in_order=in_order)
        self._clock.after(_span(self._chance, self._fleet.returns), self._come, worker.rate)

    def _sever(self, worker: Worker) -> None:
        if worker.alive:
            self.cuts += 1
            worker.sever(_span(self._chance, 30.0))
            self._clock.after(_span(self._chance, self._fleet.cut), self._sever, worker)


def _span(chance: random.Random, mean: float) -> float:
    return mean if mean == float("inf") else chance.expovariate(1 / mean)
