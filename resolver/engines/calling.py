"""The loop of the engines that wait on a backend of the style `call`: workers of theirs, each of which blocks.

The calling thread takes queries, hands them to the workers, and delivers what comes back, in batches; a worker follows
the tries of one lookup, each when its nameserver has room for it (lanes.py). The one thing to know before changing
anything: a worker may hang for longer than anyone wants to wait. The calling thread waits for results only, never for a
worker, and at the end abandons those that are left.
"""

from __future__ import annotations

import queue
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from resolver.attempts import Tries, ask
from resolver.engines.lanes import LaneGate, Lanes

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.engines.base import CallBackend, Queries
    from resolver.model import Query, Result
    from resolver.policy import Policy

# Lookups in flight where the user names no number. A blocking backend costs half a millisecond of the interpreter for
# each lookup: where a reply takes 60 ms, so many keep it busy, and more only make its threads fight over it.
CONCURRENCY = 128


class Workers(Protocol):
    """Who calls what blocks: Daemons, or green threads."""

    def submit(self, function: Callable[[], Result], done: Callable[[Any], None]) -> None:
        """Call `function` on a worker, and there `done` with what it returned or raised."""

    def close(self) -> None:
        """Abandon what still runs. No `done` is called any more."""


class Box(Protocol):
    """Where results come in: what queue.Queue is, or gevent's of that name."""

    def put(self, item: Any, /) -> None: ...

    def get(self, block: bool = True, timeout: float | None = None) -> Any: ...


def by_call(
    workers: Workers,
    arrived: Box,
    most: int,
    queries: Queries,
    policy: Policy,
    backend: CallBackend,
    engine: str,
    deliver: Callable[[list[Result]], None],
) -> None:
    """Ask through these workers until all is done or the run is over; `most` lookups are handed to them at once."""
    session = backend.open(policy)
    lanes = Lanes(policy, most, time.process_time)
    gate = _Gate(policy, lanes)

    def look_up(query: Query) -> Result:
        tries = Tries(query, policy, query.index)
        ask(tries, session, gate)
        return tries.result(engine, backend.name)

    outstanding, exhausted = 0, False
    try:
        while True:
            if not exhausted and outstanding < most:
                taken = queries.take(most - outstanding)
                exhausted = taken is None
                for query in taken or ():
                    workers.submit(partial(look_up, query), arrived.put)
                    outstanding += 1
            if exhausted and not outstanding:
                return
            # Not 0: green threads need a pause to run in.
            results = _come(arrived, max(queries.max_wait(), 0.0005))
            if results:
                outstanding -= len(results)
                deliver(results)
            if queries.ended:
                return
    finally:
        gate.over = True
        workers.close()
        session.close()


def _come(arrived: Box, patience: float) -> list[Result]:
    """What has come, waiting up to `patience` seconds for the first. Raises what a worker has met."""
    results: list[Result] = []
    try:
        outcome = arrived.get(True, patience)
        while True:
            if isinstance(outcome, BaseException):
                raise outcome
            results.append(outcome)
            outcome = arrived.get(False)
    except queue.Empty:
        return results


class _Gate(LaneGate):
    """Closed at the end of the run: a worker that was abandoned between two tries, or waits for the rate, ends here."""

    over = False

    def delay(self, tries: Tries) -> float:
        if self.over:
            raise _Abandoned
        return super().delay(tries)


class _Abandoned(Exception):
    """The run has ended without waiting for this lookup."""
