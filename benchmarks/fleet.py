"""A model of workers and a Redis, for the real coordinator: of benchmarks/simulation.py, and of tests.

Discrete events on a clock of its own; nothing here waits. Tasks and reports are the real ones as far as a coordinator
can tell: real Orders go into the queue, real ChunkReports come out of the stream, in parts, as
resolver/distributed/task.py sends them. A worker looks up at its own speed, chunk after chunk, and then waits for names
that nobody answers. Misfortunes stand in benchmarks/misfortunes.py.
"""

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.misfortunes import Chance, Clock, Fleet
from resolver.distributed.active_chunk import ASKED_PER_SLOT, HELD_PER_SLOT
from resolver.distributed.broker import BEAT, DEAD, VISIBILITY
from resolver.distributed.outstanding import Order
from resolver.distributed.payload import ChunkReport
from resolver.distributed.task import LINGER, PART
from resolver.model import Query, Result, Status
from resolver.processes.protocol import Unfinished

ROUND_TRIP = 0.02  # seconds to a nameserver and back
SECOND_DELIVERY = 1.0  # seconds until a message that comes twice comes again
LATE = 20.0  # seconds by which a late message or report is late at most
CUT = 30.0  # seconds for which a worker is cut off, on average


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
    lies: tuple[Result, ...] = ()

    def report(self) -> ChunkReport:
        """Return it as the coordinator decodes it."""
        status = Status.TIMEOUT if self.silent else Status.NOERROR
        results = [result_of(each, status) for each in self.found]
        unfinished = [Unfinished(each.index, 0, None) for each in self.left]
        more: Any = (self.taken, self.over, self.sentence, unfinished)
        return ChunkReport(self.number, self.copy, self.worker.name, [[*results, *self.lies]], *more)


class Redis:
    """The queue, the stream and the beats. `up`: it can be reached."""

    def __init__(self, clock: Clock, fleet: Fleet, chance: Chance) -> None:
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
        if fleet.wiped:
            clock.after(1.0, self._wipe)

    def put(self, order: Order) -> None:
        """Take a task from the coordinator."""
        if not self.up:
            self._unput.append(order)
        elif self._chance.happens(self._fleet.late):
            self._clock.after(self._chance.random.uniform(0.0, LATE), self._queue, order)
        else:
            self._queue(order)

    def _queue(self, order: Order) -> None:
        self.queue.append(order)
        self.match()

    def add(self, said: Said) -> None:
        """Take a report from a worker; one that cannot be sent now is sent when it can be."""
        if not self.up or said.worker.cut:
            self._unsent.append(said)
            return
        chance, fleet = self._chance, self._fleet
        if chance.happens(fleet.report_lost):
            return
        for _ in range(2 if chance.happens(fleet.report_twice) else 1):
            if chance.happens(fleet.late):
                self._clock.after(chance.random.uniform(0.0, LATE), self._arrive, said)
            else:
                self._arrive(said)

    def _arrive(self, said: Said) -> None:
        self.stream.append(said._replace(when=self._clock.now))
        self.on_report()

    def ask(self, worker: "Worker") -> None:
        """Have a worker wait for a task, once."""
        if not worker.waits:
            worker.waits = True
            self._hungry.append(worker)

    def match(self) -> None:
        """Give tasks to the workers that have waited longest, one at a time."""
        while self.up and self.queue and self._hungry:
            worker = self._hungry.popleft()
            worker.waits = False
            if worker.cut or not worker.hungry:
                continue
            order = self.queue.popleft()
            self.given += 1
            if self._chance.happens(self._fleet.lost):
                self.lost += 1
            else:
                if self._chance.happens(self._fleet.twice):
                    self.doubled += 1
                    self._clock.after(SECOND_DELIVERY, self.restore, order)
                worker.begin(order)
            if worker.hungry:
                self.ask(worker)

    def restore(self, order: Order) -> None:
        """Give a task out once more, as Celery does."""
        if self.up:
            self.queue.appendleft(order)
            self.match()

    def roll(self) -> dict[str, int]:
        """Return the slots of the workers that beat."""
        now = self._clock.now
        for name in [name for name, (_, until) in self.beats.items() if until < now]:
            del self.beats[name]
        return {name: slots for name, (slots, _) in self.beats.items()}

    def behind(self) -> float:
        """Return for how many seconds the oldest report has waited to be read."""
        return self._clock.now - self.stream[0].when if self.stream else 0.0

    def fall(self, *, lose: bool) -> None:
        """Be away; `lose`: with all data."""
        self.up = False
        if lose:
            self._lose()

    def _lose(self) -> None:
        self.queue.clear()
        self.stream.clear()
        self.beats.clear()

    def _wipe(self) -> None:
        if self._chance.happens(self._fleet.wiped):
            self._lose()
        self._clock.after(1.0, self._wipe)

    def rise(self) -> None:
        """Be back, and take what has waited."""
        self.up = True
        for name, (slots, _) in list(self.beats.items()):
            self.beats[name] = slots, self._clock.now + DEAD
        orders, self._unput = self._unput, []
        self.queue += orders
        self.heal()

    def heal(self) -> None:
        """Take the reports of workers that can reach it again."""
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
        self.gives_back = False


class Worker:
    """One worker, from its first beat to its end. rate: lookups a second; healthy: no misfortune is its own."""

    def __init__(self, name: str, rate: float, slots: int, healthy: bool, workers: "Workers") -> None:
        self.name, self.rate, self.slots, self.healthy = name, rate, slots, healthy
        self.alive = True
        self.cut = False
        self.waits = False
        self._workers = workers
        self._clock, self._redis, self._fleet = workers.clock, workers.redis, workers.fleet
        self._chance = workers.chance
        self._line: deque[Held] = deque()  # not all asked
        self._held: dict[int, Held] = {}
        self._credit = 0.0
        self._ticking = False
        self._clock.after(self._chance.random.random() * BEAT, self._beat)
        self._redis.ask(self)

    @property
    def hungry(self) -> bool:
        """Whether it would take another task."""
        return (
            self.alive
            and len(self._line) < ASKED_PER_SLOT * self.slots
            and len(self._held) < HELD_PER_SLOT * self.slots
        )

    def begin(self, order: Order) -> None:
        """Take a task from the queue."""
        fleet, queries = self._fleet, order.queries
        if order.number in self._held:
            self._say(order, [], over="held", sentence="it is in hand here already")
            return
        if self._unlucky(fleet.mute):
            return
        self._say(order, [])
        if self._unlucky(fleet.refused):
            self._say(order, [], over="refused", sentence="no")
            return
        takes = len(queries) / self.rate
        if fleet.poison >= 0 and any(query.index == fleet.poison for query in queries):
            self._clock.after(0.4 * takes, self._workers.end, self)
        elif self._unlucky(fleet.dies):
            self._clock.after(self._chance.random.random() * takes, self._workers.end, self)
        silent = self._chance.happens(fleet.silent * len(queries))
        held = Held(order, self._chance.random.choice(queries) if silent else None)
        held.gives_back = self._unlucky(fleet.back)
        self._line.append(held)
        self._held[order.number] = held
        if not self._ticking:
            self._ticking = True
            self._clock.after(LINGER, self._tick)

    def _unlucky(self, chance: float) -> bool:
        return not self.healthy and self._chance.happens(chance)

    def end(self, *, in_order: bool) -> None:
        """Die, or leave in order."""
        for held in self._held.values() if in_order else ():
            self._give_back(held, "its worker is leaving")
        self.alive = False
        if in_order:
            self._redis.beats.pop(self.name, None)
            return
        for held in self._held.values():
            self._clock.after(VISIBILITY, self._redis.restore, held.order)

    def _give_back(self, held: Held, sentence: str) -> None:
        left = (*held.order.queries[held.at :], *filter(None, [held.silent]))
        self._say(held.order, [], over="back", sentence=sentence, left=left)

    def sever(self, seconds: float) -> None:
        """Lose the connection to the Redis for so long."""
        self.cut = True
        self._clock.after(seconds, self._reach)

    def _reach(self) -> None:
        self.cut = False
        self._redis.ask(self)
        self._redis.heal()

    def _beat(self) -> None:
        if self.alive:
            if self._redis.up and not self.cut:
                self._redis.beats[self.name] = self.slots, self._clock.now + DEAD
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
            self._workers.looked_up += part
            if held.gives_back and 2 * held.at >= len(queries):
                self._line.popleft()
                del self._held[held.order.number]
                self._say(held.order, found)
                self._give_back(held, "left")
            elif held.at < len(queries):
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
            del self._held[held.order.number]
            found = [] if held.silent is None else [held.silent]
            self._say(held.order, found, silent=bool(found), over="done")
            self._redis.ask(self)
            self._redis.match()

    def _say(self, order: Order, found: list[Query], **more: Any) -> None:
        number, copy, lies = order.number, order.copy, ()
        if self._unlucky(self._fleet.lies):
            number, copy, lies = self._lie(order)
        self._redis.add(Said(self._clock.now, self, number, copy, found, lies=lies, **more))

    def _lie(self, order: Order) -> tuple[int, int, Any]:
        """Return a wrong chunk and copy, and results of wrong indexes and names."""
        dice, some = self._chance.random, order.queries[:3]
        wrong_index = [result_of(each, Status.NOERROR, index=dice.randrange(2 * each.index + 2)) for each in some]
        wrong_name = [result_of(each, Status.NODATA, name="evil.example") for each in some]
        return max(0, order.number + dice.randint(-1, 1)), dice.randint(0, 5), (*wrong_index, *wrong_name)


class Workers:
    """The workers of a fleet, and their ends. speed: lookups a second of all that began; looked_up: by all."""

    def __init__(self, clock: Clock, redis: Redis, fleet: Fleet, chance: Chance) -> None:
        self.clock, self.redis, self.fleet, self.chance = clock, redis, fleet, chance
        self.deaths = self.leaves = self.cuts = self.looked_up = 0
        self._number = itertools.count()

    def come(self, rate: float, slots: int = 1, healthy: bool = False) -> Worker:
        """Have a worker begin."""
        worker = Worker(f"w{next(self._number)}", rate, slots, healthy, self)
        self.clock.after(self.chance.span(self.fleet.lives), self._end_some_way, worker)
        self.clock.after(self.chance.span(self.fleet.cut), self._sever, worker)
        self.redis.match()
        return worker

    def end(self, worker: Worker, *, in_order: bool = False) -> None:
        """End a worker; another comes after a while."""
        if not worker.alive:
            return
        self.leaves += in_order
        self.deaths += not in_order
        worker.end(in_order=in_order)
        self.clock.after(self.chance.span(self.fleet.returns), self.come, worker.rate, worker.slots, worker.healthy)

    def _end_some_way(self, worker: Worker) -> None:
        self.end(worker, in_order=self.chance.random.random() < 0.25 and self.redis.up and not worker.cut)

    def _sever(self, worker: Worker) -> None:
        if worker.alive:
            self.cuts += 1
            worker.sever(self.chance.span(CUT))
            self.clock.after(self.chance.span(self.fleet.cut), self._sever, worker)


def result_of(query: Query, status: Status, *, index: int | None = None, name: str | None = None) -> Result:
    """Return a worker's result for a query: it has no input, and names its own engine."""
    number = query.index if index is None else index
    return Result(number, "", name or query.name, query.type, status, [], None, None, 1, ROUND_TRIP, "", "wire", None)
