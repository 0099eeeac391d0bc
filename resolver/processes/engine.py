"""The engine `processes`: child processes, each with an engine and an interpreter lock of its own.

Queries go out in chunks, results come back in batches, over one pipe a child. What a child was given stays open here
until its results have come (the pattern of task_done and join): that bounds what is on its way, and it is what a dead
child leaves to be done again. Handing out follows the children's room, so a slow child simply gets less.

The one thing to know before changing anything here: a child can die at any moment, and what it had open is then asked
again, alone, or given up as ERROR (work_queue.py). How often a lookup was asked is then not known: its `attempts` is
null.

Not multiprocessing: its Queue shares a lock between processes, and a child killed while it holds that wedges all the
others; its spawn runs the caller's main module again, which a library must not do to a program without a guard for it.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from resolver.engines.base import PollBackend
from resolver.engines.calling import CONCURRENCY
from resolver.model import Status
from resolver.processes.pool import ChildPool
from resolver.processes.protocol import Begin, Done, EngineFailed, PackedResults, Ready, SentSince, Stopped, Work
from resolver.processes.work_queue import CHUNK, DEATHS, FIRST, WorkQueue, shares

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.engines.base import Backend, Queries
    from resolver.model import Query, Result
    from resolver.policy import Policy
    from resolver.processes.pool import Child, IdleChildren
    from resolver.processes.protocol import FromChild

VAIN = 12  # children in a row that die before any of them gave a result: it is not the lookups' fault then
AHEAD = 2  # chunks that wait in a child, so that it does not run dry;
FURTHER_AHEAD = 4  # where other threads keep this process busy meanwhile
SOON = 0.25  # and seconds for which it has something to send, where its rate is bounded
EARLY = 0.005  # seconds between two looks whether it is time for more
FAREWELL = 0.1  # seconds that children have, when the run ends early, to say how far they came


class Processes(NamedTuple):
    """Children that each run the engine `inner`; as many as there are cores to run on, or `children`.

    idle: where children come from, and are kept for another run; None: they end with this one.
    packed: deliver what can be sent on as it is, Blocks in place of results (processes/protocol.py).
    parties: processes of the run at its nameservers, in all places, as far as is known; at least the children are.
    """

    inner: str = "threads"
    children: int | None = None
    idle: IdleChildren | None = None
    packed: bool = False
    parties: int = 1
    name: str = "processes"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        run = _Run(self, queries, policy, backend, deliver)
        try:
            run.work()
        finally:
            run.close()

    def around(self, inner: str) -> Processes:
        """The same with this engine in the children."""
        return self._replace(inner=inner)


class _Run:
    """One run: what is handed out to its children, and what comes back."""

    def __init__(
        self,
        engine: Processes,
        queries: Queries,
        policy: Policy,
        backend: Backend,
        deliver: Callable[[list[Result]], None],
    ) -> None:
        self._engine = engine
        self._queries = queries
        self._policy = policy
        self._backend = backend
        self._deliver = deliver
        self._most = min(engine.children or cores(), policy.in_flight)
        # A backend that blocks has the number of its callers in each child, where the user names none.
        self._usual = None if isinstance(backend, PollBackend) else CONCURRENCY
        self._shares: list[Policy] = []  # each child's of the policy; none before the first queries came
        self._pool = ChildPool(engine.inner, backend.name, engine.idle)
        self._work = WorkQueue(queries)
        self._end = math.inf  # of the run, on our own clock
        self._over = False
        self._early = False  # what is to be asked may be handed out later only, for the sake of the rate
        self._manned = False  # all children have once been ready
        self._stillborn = 0  # children in a row that died before they were ready
        self._vain = 0  # and before any gave a result
        # The first child loads the package while we do.
        self._pool.spawn()
        from resolver.wire.oneway import Forgetful

        self._tally = backend.tally if isinstance(backend, Forgetful) else None

    def work(self) -> None:
        """Hand out and gather until all is done or the run is over. Raises RuntimeError where the children cannot."""
        queries = self._queries
        while True:
            self._hand_out()
            if self._work.empty and not any(each.open for each in self._pool.children):
                return
            max_wait = queries.max_wait()
            if queries.ended:
                self._wind_up()
                return
            self._gather(max_wait)

    def close(self) -> None:
        """End every child. What they leave without a word was asked nobody knows how often."""
        for child in self._pool.children:
            for query in {} if child.left else child.open.values():
                query.attempts = None
        self._pool.close()

    # --- Out.

    def _hand_out(self) -> None:
        """Give each child what it has room for: the one with the least first, quarantined alone."""
        work = self._work
        self._early = False
        able = [each for each in self._pool.children if each.ready and not each.left]
        if not able:
            return
        if not self._shares and not self._begin():
            return
        for child in able:
            if work.quarantined and not child.open:
                self._give(child, *work.quarantined.popleft())
        able = [each for each in able if not each.deaths]
        while able and not self._queries.ended:
            child = min(able, key=lambda each: len(each.open))
            size = work.size(self._shares[child.number], len(self._shares))
            if len(child.open) + size > self._room(child, size):
                break
            if (due := self._due(child)) < 1:
                self._early = True
                able.remove(child)
                continue
            chunk = work.chunk(min(size, due))
            if not chunk:
                break
            self._give(child, chunk)
        # Others are only worth their start where there is work for them.
        while len(self._pool.children) < len(self._shares) and (work.reserve or work.stock(FIRST)):
            self._spawn()

    def _begin(self) -> bool:
        """Take the first queries, and see by them how many children it takes. False: there is nothing to do yet."""
        if self._policy.timeout is not None and self._end == math.inf:
            self._end = time.monotonic() + self._policy.timeout
        reserve = self._work.stock(self._most * FIRST)
        if not reserve:
            return False
        most = -(-len(reserve) // FIRST) if self._work.exhausted else self._most
        self._shares = shares(self._policy, min(self._most, most), self._usual)
        for child in self._pool.children:
            self._initiate(child)
        return True

    def _spawn(self, number: int | None = None) -> None:
        child = self._pool.spawn(number)
        if child.ready:  # it was kept from another run, and does not say so again
            self._initiate(child)

    def _room(self, child: Child, size: int) -> int:
        """The most queries that a child may have open: what it asks at once, and some to go on with.

        Of a short list something is left for those that are not ready yet.
        """
        most = self._shares[child.number].in_flight + (FURTHER_AHEAD if self._engine.packed else AHEAD) * size
        if not self._manned:
            children = self._pool.children
            self._manned = len(children) == len(self._shares) and all(each.ready for each in children)
        return most if self._manned or not self._work.exhausted else min(most, 2 * FIRST)

    def _due(self, child: Child) -> int:
        """How many more a child can send soon at its rate: what it cannot may be for another, which can."""
        share = self._shares[child.number]
        if share.rate is None:
            return CHUNK
        since = time.monotonic() - child.since if child.given else 0.0
        return int(share.rate * (since + SOON)) + 1 - child.given

    def _give(self, child: Child, queries: list[Query], deaths: int = 0) -> None:
        if not child.given:
            child.since = time.monotonic()
        child.given += len(queries)
        child.deaths = deaths
        child.open.update({query.index: query for query in queries})
        self._pool.send(child, Work(max(0.0, self._end - time.monotonic()), queries))

    def _initiate(self, child: Child) -> None:
        parties = max(len(self._shares), self._engine.parties)
        self._pool.send(child, Begin(self._shares[child.number], parties, self._tally is not None, self._engine.packed))

    # --- In.

    def _gather(self, seconds: float) -> None:
        """Wait so long at most, and take what came."""
        if self._early:  # more hosts may be there at once, but it is not their time
            seconds = max(seconds, EARLY)
        for child, messages in self._pool.listen(seconds):
            for message in messages:
                self._heed(child, message)
            if child.dead:
                self._on_exit(child)

    def _heed(self, child: Child, message: FromChild) -> None:
        if isinstance(message, Done):
            self._vain = 0
            opened = child.open
            results = [result for result in message.results if opened.pop(result.index, None) is not None]
            self._deliver(_uncounted(results) if child.deaths else results)
        elif isinstance(message, PackedResults):
            self._vain = 0
            opened = child.open
            known = opened.keys() & message.indices
            for index in known:
                del opened[index]
            block = message if len(known) == len(message) else message.only(known)
            self._pass_on(PackedResults.of(_uncounted(block.unpack())) if child.deaths else block)
        elif isinstance(message, SentSince):
            self._vain = 0
            for index in list(child.open)[: message.sent + message.failed]:
                del child.open[index]
            if self._tally is not None:
                self._tally.add(message.sent, message.failed, message.reasons)
        elif isinstance(message, Ready):
            child.ready = True
            self._stillborn = 0
            if self._shares:
                self._initiate(child)
        elif isinstance(message, Stopped):
            child.left = True
            now = time.monotonic()
            for progress in message.unfinished:
                query = child.open.get(progress.index)
                if query is not None and query.attempts is not None:
                    query.attempts = progress.attempts
                    query.asked = None if progress.ago is None else now - progress.ago
        elif isinstance(message, EngineFailed):
            raise RuntimeError(message.error)
        if not child.open:
            child.deaths = 0

    def _on_exit(self, child: Child) -> None:
        """A child died: suspect what it had open, or condemn it, and have another in its place."""
        status = self._pool.reap(child)
        if self._over:
            return
        if not child.ready:
            self._stillborn += 1
            if self._stillborn >= DEATHS:
                raise RuntimeError(f"its children end before they can begin (exit status {status})")
        self._vain += 1
        if self._vain >= VAIN:
            raise RuntimeError(f"its children end one after the other, without a result (exit status {status})")
        left, child.open = list(child.open.values()), {}
        if given_up := self._work.quarantine(left, child.deaths + 1):
            self._give_up(given_up)
        self._spawn(child.number)

    def _give_up(self, queries: list[Query]) -> None:
        error = f"{DEATHS} processes died while they looked this up, or another of the same chunk"
        if self._tally is not None:
            self._tally.add(0, len(queries), [error])
            return
        name, backend = self._engine.name, self._backend.name
        results = [query.unanswered(Status.ERROR, error, name, backend) for query in queries]
        if self._engine.packed:
            self._pass_on(PackedResults.of(results))
        else:
            self._deliver(results)

    def _pass_on(self, block: PackedResults) -> None:
        blocks: list[Any] = [block]
        self._deliver(blocks)

    def _wind_up(self) -> None:
        """The run ends early: ask each child how far it came, and wait a moment for the answer."""
        self._over = True
        busy = [each for each in self._pool.children if each.open and not each.left]
        for child in busy:
            self._pool.stop(child)
        end = time.monotonic() + FAREWELL
        while any(each.open and not (each.left or each.dead) for each in busy):
            if (seconds := end - time.monotonic()) <= 0:
                return
            self._gather(seconds)


def _uncounted(results: list[Result]) -> list[Result]:
    """These were asked before, by a child that died: nobody knows how often."""
    for result in results:
        result.attempts = None
    return results


def cores() -> int:
    """How many cores this process may run on; not every system tells more than how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


engine = Processes()
