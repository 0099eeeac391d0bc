"""What a worker has in hand: for each run a team, which is the engine `processes` over whatever chunks come.

A team goes on from one chunk to the next without a pause: how much a nameserver can take is learned once, and while a
chunk waits for names that are not answered, others are looked up. A chunk that is a share of a run's limits has a team
of its own. Children are kept from one team to the next.

The one thing to know before changing anything here: a team's engine runs on a thread of its own, and the tasks of its
chunks on others. They meet in `Executor` under its lock, and in each ActiveChunk's queue; nothing blocks while the lock
is held.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from resolver import engines
from resolver.processes.pool import Child, Spares
from resolver.processes.protocol import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.distributed.payload import Chunk
    from resolver.engines.base import Backend, Engine
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy
    from resolver.processes.protocol import Block
    from resolver.wire.oneway import Sent

ASKED_PER_SLOT = 2  # chunks for each slot that wait, or are not asked to their end yet
HELD_PER_SLOT = 16  # and with those that only wait for their last replies
LOAD = 10.0  # seconds that the first children have to load everything
IDLE, IDLE_IN_TURN = 5.0, 0.3  # seconds that a team without a chunk waits for another; where others may want its turn
WAKE_INTERVAL = 0.02  # seconds until a chunk that came is seen


class CannotExecute(Exception):
    """This worker cannot do it; the sentence says why."""


class ChunkEnded(NamedTuple):
    """The last of a chunk: `sentence` where it was left undone, by an engine that `broke`; how far its lookups came."""

    sentence: str | None
    unfinished: list[Progress]
    broke: bool = False
    sent: int = 0
    failed: int = 0
    reasons: tuple[str, ...] = ()


class AllAsked:
    """All of a chunk is being asked."""


class ActiveChunk:
    """One chunk in hand. `found`: blocks of results as they come, a AllAsked between them, then an ChunkEnded."""

    def __init__(self, queries: list[Query]) -> None:
        self.open = {query.index: query for query in queries}
        self.waiting = len(self.open)
        self.found: queue.SimpleQueue[Block | AllAsked | ChunkEnded] = queue.SimpleQueue()

    def leave(self, sentence: str, *, broke: bool) -> None:
        """It is left undone."""
        now = time.monotonic()
        unfinished = [
            Progress(query.index, query.attempts, None if query.asked is None else now - query.asked)
            for query in self.open.values()
        ]
        self.found.put(ChunkEnded(sentence, unfinished, broke))


class WorkerLimits(NamedTuple):
    """What a worker's own options say: whom to ask instead, and how much at most."""

    nameservers: tuple[Nameserver, ...] = ()
    concurrency: int | None = None
    rate: float | None = None
    tls_ca: str | None = None

    def within(self, policy: Policy) -> Policy:
        """The policy, as far as this worker goes along with it."""
        changes: dict[str, object] = {}
        if self.nameservers:
            changes["nameservers"] = self.nameservers
        if self.concurrency is not None:
            changes["concurrency"] = min(self.concurrency, policy.concurrency or self.concurrency)
        if self.rate is not None:
            changes["rate"] = min(self.rate, policy.rate or self.rate)
        if self.tls_ca is not None:
            changes["tls_ca"] = self.tls_ca
        return msgspec.structs.replace(policy, **changes)

    @property
    def shared(self) -> bool:
        """Does a limit hold for all that the worker does?"""
        return self.concurrency is not None or self.rate is not None


class Executors:
    """All teams of a worker with so many slots, whose children run the engine `inner`; first, for this backend."""

    def __init__(self, inner: str, slots: int, bounds: WorkerLimits, backend: str) -> None:
        self.slots = slots
        self._inner = inner
        self._bounds = bounds
        self._spares = Spares(2 * slots)
        for _ in range(slots):
            self._spares.give(Child(0, inner, backend), inner, backend)
        self._spares.load(LOAD)
        self._teams: dict[tuple[str, int | None, int | None], Executor] = {}
        self._turn = FifoLock() if bounds.shared else None
        self._lock = threading.Lock()
        self._closed = False

    def take(
        self, chunk: Chunk, queries: list[Query], certificates: str | None, seconds: float | None
    ) -> ActiveChunk | None:
        """Have a chunk looked up, by the run's end at the latest (in so many seconds); None: it is in hand already.

        queries: those of the chunk. certificates: the file that holds its authority. Raises CannotExecute.
        """
        key = (chunk.run, chunk.number, chunk.copy) if chunk.alone else (chunk.run, None, None)
        lot = ActiveChunk(queries)
        while True:
            with self._lock:
                if self._closed:
                    raise CannotExecute("this worker is leaving")
                team = self._teams.get(key)
                if team is None:
                    team = self._teams[key] = self._start(chunk, certificates, seconds)
            took = team.add(lot)
            if took is not None:
                return lot if took else None
            self._forget(key, team)

    def runs(self) -> set[str]:
        """The runs that have a team."""
        with self._lock:
            return {run for run, _, _ in self._teams}

    def busy(self, run: str) -> bool:
        """Is a chunk of this run in hand?"""
        with self._lock:
            return any(team.busy for key, team in self._teams.items() if key[0] == run)

    def stop(self, run: str | None, sentence: str) -> None:
        """Leave everything of this run, or of all."""
        with self._lock:
            teams = [team for key, team in self._teams.items() if run in (None, key[0])]
        for team in teams:
            team.stop(sentence)

    def close(self) -> None:
        """Take no more, and end every child when the teams have ended."""
        with self._lock:
            self._closed = True
            teams = list(self._teams.values())
        for team in teams:
            team.finish()
        for team in teams:
            team.join(2.0)
        self._spares.close()

    def _start(self, chunk: Chunk, certificates: str | None, seconds: float | None) -> Executor:
        policy = self._bounds.within(chunk.policy)
        if certificates is not None and policy.tls_ca is None:
            policy = msgspec.structs.replace(policy, tls_ca=certificates)
        try:
            engine, backend = engines.find("processes", chunk.backend, self._inner)
            tally = None
            if chunk.oneway:
                from resolver.wire.oneway import Forgetful, Sent

                tally = Sent([0], [0], [])
                backend = Forgetful(tally)
            if (check := getattr(backend, "check_types", None)) is not None:
                check({asked.type for asked in chunk.queries})
            policy = backend.prepare(policy)
        except (ValueError, LookupError, OSError) as error:
            raise CannotExecute(str(error)) from None
        children = 1 if chunk.alone else min(self.slots, policy.in_flight)
        # Where each worker asks nameservers of its own, the others' processes are at other ones.
        parties = chunk.parties if chunk.policy.nameservers and not self._bounds.nameservers else 1
        engine = engine._replace(  # type: ignore[attr-defined]  # Processes
            children=children, spares=self._spares, packed=True, parties=parties
        )
        team = Executor(engine, policy, backend, seconds, tally, self._turn, once=chunk.alone)
        key = (chunk.run, chunk.number, chunk.copy) if chunk.alone else (chunk.run, None, None)
        team.start(lambda: self._forget(key, team))
        return team

    def _forget(self, key: tuple[str, int | None, int | None], team: Executor) -> None:
        with self._lock:
            if self._teams.get(key) is team:
                del self._teams[key]


class Executor:
    """One run's engine in this worker, which sees it as its Queries. `once`: it ends with its first chunk."""

    def __init__(
        self,
        engine: Engine,
        policy: Policy,
        backend: Backend,
        seconds: float | None,
        tally: Sent | None,
        turn: FifoLock | None,
        *,
        once: bool,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._backend = backend
        self._ends = None if seconds is None else time.monotonic() + seconds
        self._tally = tally
        self._turn = turn
        self._once = once
        self._lock = threading.Condition()
        self._waiting: deque[Query] = deque()
        self._line: deque[ActiveChunk] = deque()  # whose queries wait
        self._lots: dict[int, ActiveChunk] = {}  # by index of the open queries
        self._volleys: deque[tuple[ActiveChunk, int]] = deque()  # of queries whose replies nobody awaits, how many
        self._counted = (0, 0)
        self._stopped: str | None = None
        self._finishing = False
        self._gone = False
        self._thread: threading.Thread | None = None
        self._ended: Callable[[], None] = lambda: None

    def start(self, ended: Callable[[], None]) -> None:
        """Start the engine; `ended` is called when it has ended."""
        self._ended = ended
        self._thread = threading.Thread(target=self._work, name="resolve-team", daemon=True)
        self._thread.start()

    def add(self, lot: ActiveChunk) -> bool | None:
        """Have this looked up too. False: it is in hand already; None: this team has ended."""
        with self._lock:
            if self._turn is not None and self._turn.crowded(self):
                self._finishing = True  # others wait for their turn: what comes now has its own, after them
            if self._gone or self._finishing or self._stopped is not None:
                return None
            if not self._lots.keys().isdisjoint(lot.open):
                return False
            self._lots.update(dict.fromkeys(lot.open, lot))
            self._waiting += lot.open.values()
            self._line.append(lot)
            self._finishing = self._once
            if self._tally is not None:
                self._volleys.append((lot, len(lot.open)))
            self._lock.notify()
            return True

    @property
    def busy(self) -> bool:
        """Is a chunk in hand?"""
        return bool(self._lots)

    def stop(self, sentence: str) -> None:
        """Leave everything undone."""
        with self._lock:
            self._stopped = self._stopped or sentence
            self._lock.notify()

    def finish(self) -> None:
        """End when all is done that is in hand."""
        with self._lock:
            self._finishing = True
            self._lock.notify()

    def join(self, seconds: float) -> None:
        """Wait so long at most until it has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    # --- What the engine sees.

    def take(self, n: int) -> list[Query] | None:
        """Up to `n` queries; an empty list where there is none just now, None where no more will come."""
        waiting = self._waiting
        with self._lock:
            idle = IDLE if self._turn is None else IDLE_IN_TURN
            if not waiting and not self._lots and not self._lock.wait_for(self._woken, idle):
                self._finishing = True
            if not waiting and self._finishing:
                return None
            queries = [waiting.popleft() for _ in range(min(n, len(waiting)))]
            self._leave_line(len(queries))
            return queries

    def _leave_line(self, taken: int) -> None:
        """So many of the queries that waited wait no more."""
        while taken:
            lot = self._line[0]
            part = min(taken, lot.waiting)
            lot.waiting -= part
            taken -= part
            if not lot.waiting:
                self._line.popleft()
                lot.found.put(AllAsked())

    def _woken(self) -> bool:
        return bool(self._waiting) or self._finishing or self._stopped is not None

    @property
    def over(self) -> bool:
        """The run ends now, or the worker does."""
        return self._stopped is not None or (self._ends is not None and time.monotonic() >= self._ends)

    def patience(self) -> float:
        """Seconds that the engine may wait at most before it asks again."""
        if self._tally is not None:
            self._count(self._tally)
        left = WAKE_INTERVAL if self._ends is None else self._ends - time.monotonic()
        return max(0.0, min(WAKE_INTERVAL, left))

    def _deliver(self, blocks: list[Any]) -> None:
        """To each lot what is its."""
        block: Block
        for block in blocks:
            by_lot: dict[ActiveChunk, list[int]] = {}
            with self._lock:
                for index in block.indices:
                    lot = self._lots.pop(index, None)
                    if lot is not None:
                        del lot.open[index]
                        by_lot.setdefault(lot, []).append(index)
            for lot, its in by_lot.items():
                lot.found.put(block if len(its) == len(block) else block.only(set(its)))
                if not lot.open:
                    lot.found.put(ChunkEnded(None, []))

    def _count(self, tally: Sent) -> None:
        """Of queries whose replies nobody awaits: the first lots are done when as many went out as they had."""
        (sent,), (failed,) = tally.sent, tally.failed
        while self._volleys:
            lot, size = self._volleys[0]
            before = self._counted
            if sent + failed - sum(before) < size:
                return
            refused = min(size, failed - before[1])
            self._counted = before[0] + size - refused, before[1] + refused
            with self._lock:
                self._volleys.popleft()
                for index in lot.open:
                    self._lots.pop(index, None)
            lot.found.put(ChunkEnded(None, [], sent=size - refused, failed=refused, reasons=tuple(tally.reasons)))

    def _work(self) -> None:
        sentence, broke = "the run's time is over", False
        try:
            if self._turn is not None:
                self._turn.wait(self, lambda: self.over)
            self._engine.run(self, self._policy, self._backend, self._deliver)
            if self._tally is not None:
                self._count(self._tally)
        except Exception as error:
            sentence, broke = f"the engine of a worker broke: {type(error).__name__}: {error}", True
        finally:
            if self._turn is not None:
                self._turn.leave(self)
            with self._lock:
                self._gone = True
                lots = set(self._lots.values())
                self._lots.clear()
            for lot in lots:
                lot.leave(self._stopped or sentence, broke=broke)
            self._ended()


class FifoLock:
    """One team after the other, in the order in which they came: limits of the worker are for all that it does."""

    def __init__(self) -> None:
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    def wait(self, team: object, over: Callable[[], bool]) -> None:
        """Until it is this team's turn, or it is over."""
        with self._changed:
            self._line.append(team)
            while self._line[0] is not team and not over():
                self._changed.wait(WAKE_INTERVAL)

    def crowded(self, team: object) -> bool:
        """Do others wait for this one?"""
        with self._changed:
            return len(self._line) > 1 and self._line[0] is team

    def leave(self, team: object) -> None:
        """The next one's turn."""
        with self._changed:
            if team in self._line:
                self._line.remove(team)
            self._changed.notify_all()
