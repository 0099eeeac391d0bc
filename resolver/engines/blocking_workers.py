"""The loop of the engines that wait on a backend of the style `call`: workers of theirs, each of which blocks.

The calling thread takes queries, hands them to the workers, and delivers the results in batches; a worker follows the
tries of one lookup, each when its nameserver has room for it (throttle.py). A worker may hang for longer than anyone
wants to wait: the calling thread waits for results only, never for a worker, and at the end abandons those that are
left.
"""

from __future__ import annotations

import queue
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from resolver.attempts import at_once
from resolver.engines.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.model import Query, Result
    from resolver.policy import Policy
    from resolver.seam import CallBackend, Queries


class BlockingWorkers(Protocol):
    """Threads that call a blocking function: Daemons, or green threads."""

    def submit(self, function: Callable[[], Result], done: Callable[[Any], None]) -> None:
        """Call `function` on a worker, and there `done` with its result or exception."""

    def close(self) -> None:
        """Abandon the calls that still run. No `done` is called any more."""


class ResultQueue(Protocol):
    """A queue that results arrive in: queue.Queue, or gevent's of that name."""

    def put(self, item: Any, /) -> None: ...

    def get(self, block: bool = True, timeout: float | None = None) -> Any: ...


def run_blocking_workers(
    workers: BlockingWorkers,
    arrived: ResultQueue,
    most: int,
    queries: Queries,
    policy: Policy,
    backend: CallBackend,
    engine: str,
    deliver: Callable[[list[Result]], None],
) -> None:
    """Ask through workers until all is done or the run is over.

    Args:
        workers: They block.
        arrived: Where their results arrive.
        most: Lookups that are handed to them at once.
        queries, policy, backend, deliver: As `Engine.run` has them.
        engine: The engine's name.
    """
    session = backend.open(policy)
    throttle = Throttle(policy, most, time.process_time, queries.tallies)

    def look_up(query: Query) -> Result:
        return at_once(throttle.look_up(query, session, _sleep, engine, backend.name))

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
            results = _collect(arrived, max(queries.max_wait(), 0.0005))
            if results:
                outstanding -= len(results)
                deliver(results)
            if queries.ended:
                return
    finally:
        throttle.close()
        workers.close()
        at_once(session.close())


def _collect(arrived: ResultQueue, max_wait: float) -> list[Result]:
    """Return the results that arrived, waiting up to `max_wait` seconds for the first. Raises a worker's exception."""
    results: list[Result] = []
    try:
        outcome = arrived.get(True, max_wait)
        while True:
            if isinstance(outcome, BaseException):
                raise outcome
            results.append(outcome)
            outcome = arrived.get(False)
    except queue.Empty:
        return results


async def _sleep(seconds: float) -> None:
    """Block this worker."""
    time.sleep(seconds)
