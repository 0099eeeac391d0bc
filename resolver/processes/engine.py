"""The engine `processes`: child processes, each with an engine and an interpreter lock of its own.

Queries go out in chunks, results come back in batches, over one pipe a child. What a child was given stays open here
until its results have come (the pattern of task_done and join): that bounds what is on its way, and it is what a dead
child leaves to be done again. Chunks go to children that have room, so a slow child simply gets less.

A child can die at any moment. What it had open is then asked again, alone, or given up as ERROR (work_queue.py), and
how often such a lookup was asked is not known: its `attempts` is null.

Not multiprocessing: its Queue shares a lock between processes, and a child killed while it holds that wedges all the
others; its spawn runs the caller's main module again, which a library must not do to a program without a guard for it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from resolver.attempts import BLOCKING_CONCURRENCY
from resolver.blocks import BlockSink, HostLines, OpenLookups, ResultBlock
from resolver.input.plain import read_open
from resolver.model import Status
from resolver.policy import Deadline
from resolver.processes import protocol
from resolver.processes.pool import ChildPool, Kind
from resolver.processes.work_queue import CHUNK, DEATHS, FIRST, WorkQueue, shares
from resolver.seam import PollBackend

if TYPE_CHECKING:
    from resolver.model import Query, Result
    from resolver.policy import Policy
    from resolver.processes.pool import Child, IdleChildren
    from resolver.processes.protocol import FromChild
    from resolver.seam import Backend, Deliver, Queries

DEATHS_IN_A_ROW = 12  # of children that gave no result: it is not the lookups' fault then
SOON = 0.25  # seconds for which a child has something to send, where its rate is bounded
EARLY = 0.005  # seconds between two looks whether it is time for more
_NOBODY_ANSWERED = frozenset({Status.TIMEOUT, Status.ERROR})
FINISH = 0.1  # seconds that children have, when the run ends early, to say how far they came


class Processes(NamedTuple):
    """Children that each run the engine `inner`; as many as there are cores to run on, or `children`.

    Attributes:
        idle: Where children come from, and are kept for another run; None: they end with this one.
        parties: Processes of the run at its nameservers, in all places, as far as is known; at least the children are.
        ahead: Chunks that wait in a child, so that it does not run dry.
    """

    inner: str = "threads"
    children: int | None = None
    idle: IdleChildren | None = None
    parties: int = 1
    ahead: int = 3
    name: str = "processes"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Deliver) -> None:
        sink = queries.block_sink or BlockSink(None, lambda block: deliver(block.results()))
        _ProcessesRun(self, queries, policy, backend, sink).run()

    def around(self, inner: str) -> Processes:
        """Return this engine with another one in the children."""
        return self._replace(inner=inner)


class _ProcessesRun:
    """One run: what is handed out to its children, and what comes back."""

    def __init__(self, engine: Processes, queries: Queries, policy: Policy, backend: Backend, sink: BlockSink) -> None:
        self._engine = engine
        self._queries = queries
        self._policy = policy
        self._backend = backend
        self._lines, self._deliver = sink
        self._shares: list[Policy] = []  # each child's of the policy; none before the first queries came
        self._work = WorkQueue(queries)
        self._deadline = Deadline(policy.timeout)  # on our own clock
        self._answered = False  # something was, by a nameserver
        self._finishing = False
        self._early = False  # what is to be asked may be handed out later only, for the sake of the rate
        self._all_ready = False  # all children have once been ready
        self._failed_starts = 0  # children in a row that died before they were ready
        self._deaths = 0  # and before any gave a result
        self._pool = ChildPool(Kind(engine.inner, backend.name), engine.idle)

    def run(self) -> None:
        """Have all queries asked. Raises RuntimeError where the children cannot."""
        try:
            self._spawn()
            self._ask_all()
        finally:
            for child in self._pool.children:
                if not child.stopped:  # it never said how often it asked
                    for query in self._read(child)[0]:
                        query.attempts = None
            self._pool.close()

    def _ask_all(self) -> None:
        """Hand out and gather until all is done or the run has ended."""
        queries = self._queries
        while True:
            self._hand_out()
            if self._work.empty and not any(each.open for each in self._pool.children):
                return
            max_wait = queries.max_wait()
            if queries.ended:
                self._finish()
                return
            self._gather(max_wait)

    # --- Out.

    def _hand_out(self) -> None:
        """Give each child what it has room for: the one with the least first, what is in quarantine alone."""
        work = self._work
        self._early = False
        able = [each for each in self._pool.children if each.ready and not each.stopped]
        if not able or not (self._shares or self._begin()):
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
        """Take the first queries, and see by them how many children it takes. Returns False where none came yet."""
        self._deadline.start()
        most = min(self._engine.children or cores(), self._policy.in_flight)
        reserve = self._work.stock(most * FIRST)
        if not reserve:
            return False
        if self._work.exhausted:
            most = min(most, -(-reserve // FIRST))
        # A backend that blocks has the number of its callers in each child, where the user names none.
        usual = None if isinstance(self._backend, PollBackend) else BLOCKING_CONCURRENCY
        self._shares = shares(self._policy, most, usual)
        for child in self._pool.children:
            self._send_begin(child)
        return True

    def _spawn(self, number: int | None = None) -> None:
        child = self._pool.spawn(number)
        if self._shares:
            self._send_begin(child)

    def _send_begin(self, child: Child) -> None:
        from resolver.wire.oneway import SendOnly  # while the child loads it too

        parties = max(len(self._shares), self._engine.parties)
        share, send_only = self._shares[child.number], isinstance(self._backend, SendOnly)
        self._pool.send(child, protocol.Begin(share, self._engine.name, parties, send_only, self._lines))

    def _room(self, child: Child, size: int) -> int:
        """Return how many queries a child may have open: what it asks at once, and some to go on with.

        Of a short list something is left for those that are not ready yet.
        """
        most = self._shares[child.number].in_flight + self._engine.ahead * size
        if not self._all_ready:
            children = self._pool.children
            self._all_ready = len(children) == len(self._shares) and all(each.ready for each in children)
        return most if self._all_ready or not self._work.exhausted else min(most, 2 * FIRST)

    def _due(self, child: Child) -> int:
        """Return how many more a child can send soon at its rate; what it cannot is for another, which can."""
        rate = self._shares[child.number].rate
        if rate is None:
            return CHUNK
        since = time.monotonic() - child.since if child.given else 0.0
        return int(rate * (since + SOON)) + 1 - child.given

    def _give(self, child: Child, chunk: list[Query] | HostLines, deaths: int = 0) -> None:
        now = time.monotonic()
        if not child.given:
            child.since = now
        before = len(child.open)
        if isinstance(chunk, HostLines):
            child.open.add_lines(chunk)
        else:
            child.open.queries.update({query.index: query for query in chunk})
        child.given += len(child.open) - before
        child.deaths = deaths
        distrusted = list(self._queries.tallies.distrusted)
        work = protocol.Work(self._deadline.remaining(), chunk, self._answered, deaths > 0, distrusted)
        self._pool.send(child, work)

    # --- In.

    def _gather(self, seconds: float) -> None:
        """Wait up to `seconds`, and take what came."""
        if self._early:  # more hosts may be there at once, but it is not their time
            seconds = max(seconds, EARLY)
        for child, messages in self._pool.listen(seconds):
            self._take_in(child, messages)

    def _finish(self) -> None:
        """End early: ask each child how far it came, and wait a moment for the answer."""
        self._finishing = True
        busy = [each for each in self._pool.children if each.open]
        for child, messages in self._pool.finish(busy, FINISH):
            self._take_in(child, messages)

    def _take_in(self, child: Child, messages: list[FromChild]) -> None:
        for message in messages:
            self._on_message(child, message)
        if not child.open:
            child.deaths = 0
        if child.dead:
            self._on_exit(child)

    def _on_message(self, child: Child, message: FromChild) -> None:
        if isinstance(message, ResultBlock):
            self._on_results(child, message)
        elif isinstance(message, protocol.Counted):
            self._queries.tallies.merge(message.tallies)
        elif isinstance(message, protocol.Ready):
            self._failed_starts = 0
        elif isinstance(message, protocol.Stopped):
            now = time.monotonic()
            unfinished = {each.index: each for each in message.unfinished}
            for query in self._read(child)[0]:
                if query.attempts is not None and (far := unfinished.get(query.index)) is not None:
                    query.attempts = far.attempts
                    query.asked = None if far.ago is None else now - far.ago
        elif isinstance(message, protocol.EngineFailed):
            raise RuntimeError(message.error)

    def _on_results(self, child: Child, block: ResultBlock) -> None:
        """Take a block whole: each of its results is of a lookup that the child was given, and has no result yet."""
        self._deaths = 0
        self._answered = self._answered or not block.statuses.keys() <= _NOBODY_ANSWERED
        if not child.open.remove_all(block.bits, block.count):
            raise RuntimeError("a child gave a result of a lookup that it did not have")
        self._deliver(block)

    def _on_exit(self, child: Child) -> None:
        """Put what a dead child had open in quarantine, or give it up, and start another child in its place."""
        status = child.reap()
        if self._finishing:
            return
        if not child.ready:
            self._failed_starts += 1
            if self._failed_starts >= DEATHS:
                raise RuntimeError(f"its children end before they can begin (exit status {status})")
        self._deaths += 1
        if self._deaths >= DEATHS_IN_A_ROW:
            raise RuntimeError(f"its children end one after the other, without a result (exit status {status})")
        left, invalid = self._read(child)
        child.open = OpenLookups()
        if invalid:
            self._deliver(ResultBlock.of(invalid))
        if given_up := self._work.quarantine(left, child.deaths + 1):
            self._give_up(given_up)
        self._spawn(child.number)

    def _read(self, child: Child) -> tuple[list[Query], list[Result]]:
        """Read the lines among what a child has open, so that each lookup can say how far it came.

        Returns:
            The lookups, which are what it has open now, and the results of lines that cannot be asked.
        """
        queries, invalid = read_open(child.open, self._engine.name, self._backend.name)
        child.open = OpenLookups(queries)
        self._work.put_back(queries)
        return queries, invalid

    def _give_up(self, queries: list[Query]) -> None:
        error = f"{DEATHS} processes died while they looked this up, or another of the same chunk"
        name, backend = self._engine.name, self._backend.name
        self._deliver(ResultBlock.of([query.unanswered(Status.ERROR, error, name, backend) for query in queries]))


def cores() -> int:
    """Return how many cores this process may run on, or how many there are where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


engine = Processes()
