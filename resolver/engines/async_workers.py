"""Lookups through a backend of the style `await`, in the shape of a channel: an engine that waits on one waits on both.

Each lookup in flight is a worker: a coroutine that follows its tries, then takes the next query that may go
(throttle.py). Only `flush`, which the engine calls, takes queries and hands out results: a slow consumer stops it,
workers find nothing at hand and end, and no more than the limit and `SPARE` are open. Nothing here knows an event
loop: how a coroutine is started, and what sleeping is, comes from the engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resolver.attempts import ASYNC_CONCURRENCY, at_once
from resolver.daemons import Daemons
from resolver.engines.throttle import Throttle
from resolver.seam import AwaitBackend, CallBackend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from resolver.attempts import Reply, Session
    from resolver.model import Query, Result
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy
    from resolver.seam import Backend, Queries

    # Something to await in this loop, and how any other thread ends that.
    Waiter = Callable[[], tuple[Awaitable[object], Callable[[], object]]]

SPARE = 64  # queries at hand beyond that, so that a worker goes on without waiting for the engine's next turn
ENOUGH = 32  # results for which the engine's turn comes at once


@dataclass(eq=False)
class AsyncWorkers:
    """The lookups of one run. `start` starts a coroutine; `wake` tells that there is something to flush.

    The engine, which started the coroutines, cancels them at the end, and closes the session.
    """

    queries: Queries
    policy: Policy
    session: Session
    engine: str
    backend: str
    start: Callable[[Coroutine[object, object, None]], object]
    sleep: Callable[[float], Awaitable[object]]
    wake: Callable[[], None]

    def __post_init__(self) -> None:
        self._limit = self.policy.concurrency or self.session.concurrency
        self._throttle = Throttle(self.policy, self._limit, tallies=self.queries.tallies)
        self._running = 0
        self._exhausted = False
        self._results: list[Result] = []
        self._failure: BaseException | None = None

    @property
    def idle(self) -> bool:
        """Whether all queries were taken, and each has its result."""
        return self._exhausted and not self._running and not self._throttle and not self._results

    def flush(self) -> list[Result]:
        """Take queries for as many workers as may run; returns the results since the last call.

        Raises the exception that ended a worker.
        """
        if self._failure is not None:
            raise self._failure
        room = self._limit + SPARE - self._running - len(self._throttle)
        if room > 0 and not self._exhausted:
            queries = self.queries.take(room)
            if queries is None:
                self._exhausted = True
            else:
                self._throttle.extend(queries)
        # Some loops let a coroutine begin at once, and it may take more of what is at hand, and end.
        while self._running < self._limit and (query := self._throttle.take()) is not None:
            self._running += 1
            self.start(self._work(query))
        results, self._results = self._results, []
        return results

    def drain(self, fd: int) -> None:
        """Do nothing: the engine knows of no socket."""

    def timeout(self) -> float:
        """Return the seconds until a query at hand may go. A worker that finishes wakes the engine by itself."""
        return self._throttle.wait() if self._running < self._limit else math.inf

    async def _work(self, query: Query | None) -> None:
        session, throttle, sleep = self.session, self._throttle, self.sleep
        try:
            while query is not None:
                # Not in one statement: `flush` takes the list away meanwhile.
                result = await throttle.look_up(query, session, sleep, self.engine, self.backend)
                self._results.append(result)
                query = throttle.take()
                if len(self._results) >= ENOUGH:
                    self.wake()
        except Exception as error:  # raised again in `flush`, where it ends the run
            self._failure = error
        finally:
            self._running -= 1
            self.wake()


def open_session(backend: Backend, policy: Policy, waiter: Waiter) -> Session:
    """Open the backend's session in the event loop that is running; one that blocks is put into threads."""
    if isinstance(backend, AwaitBackend):
        return backend.open_async(policy)
    if isinstance(backend, CallBackend):
        return InThreads(backend.open(policy), policy.concurrency or ASYNC_CONCURRENCY, waiter)
    raise TypeError(f"backend {backend.name} cannot be awaited")


class InThreads:
    """A blocking session as an awaited one: each call on a daemon thread, since nobody can cancel it."""

    def __init__(self, session: Session, limit: int, waiter: Waiter) -> None:
        self.concurrency = limit
        self._session = session
        self._waiter = waiter
        self._daemons = Daemons(limit)

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask through the session, on a thread; this may take longer than `timeout` seconds where the session does."""
        outcomes: list[Reply | BaseException] = []
        waiting, wake = self._waiter()

        def done(outcome: Reply | BaseException) -> None:
            outcomes.append(outcome)
            wake()

        self._daemons.submit(lambda: at_once(self._session.ask(query, nameserver, timeout)), done)
        await waiting
        (outcome,) = outcomes
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def done(self, query: Query) -> None:
        """Give back what the session kept for this lookup."""
        self._session.done(query)

    async def close(self) -> None:
        """Abandon what still runs."""
        self._daemons.close()
        await self._session.close()
