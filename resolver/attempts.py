"""One lookup through a backend that asks one question at a time: which try comes next, and the result. No I/O.

The retry rule itself is the policy's; `Tries` is that rule as steps. One loop follows them (`Throttle.look_up` in
engines/throttle.py), for backends that block and for those that are awaited: a coroutine of the former never waits for
an event loop, and `at_once` runs it. The exchange of the wire backend follows the same rule over thousands of lookups
at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from resolver import policy as rule
from resolver.model import Detail, Query, Record, Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

Outcome = TypeVar("Outcome")

# Lookups in flight where the user names no number. A blocking backend costs half a millisecond of the interpreter for
# each lookup: where a reply takes 60 ms, so many keep it busy, and more only make its threads fight over it.
BLOCKING_CONCURRENCY = 128
ASYNC_CONCURRENCY = 300  # of an awaited backend; more only makes libraries slower


class Reply(NamedTuple):
    """The outcome of one try.

    Attributes:
        status: TIMEOUT and ERROR are among them.
        answers: The records.
        error: A sentence; of TIMEOUT, about messages that came and were no replies.
        nameserver: The one that gave it; None: not told.
        transport: How it came.
        queries: Messages sent: a repeat over TCP or without EDNS counts, and uses up no try.
        detail: How it looked, where that is asked for.
    """

    status: Status
    answers: list[Record]
    error: str | None = None
    nameserver: str | None = None
    transport: str | None = None
    queries: int = 1
    detail: Detail | None = None


class Session(Protocol):
    """A backend opened for a run. Of the style `await`, in the event loop that was running.

    Of the style `call`, its coroutines block where they wait, for `at_once`; any number of threads may ask.
    """

    concurrency: int  # the most lookups in flight where the user names no number

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once and wait up to `timeout` seconds. A failure is a Reply too; an exception counts as ERROR."""

    def done(self, query: Query) -> None:
        """Give back what this lookup kept from one try to the next: it asks no further."""

    async def close(self) -> None:
        """Give back what was opened."""


def at_once(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run a coroutine that blocks where it waits, and so never waits for an event loop; return its outcome."""
    try:
        work.send(None)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    raise RuntimeError("what is to block waits for an event loop")


class Tries:
    """The tries of one lookup, over the nameservers in turn.

    While it is `open`: `begin()`, ask, `take(reply)`. Then `result()` is the lookup's.
    `query.attempts` and `query.asked` are kept up to date, for the batch, which may abandon the lookup.

    Args:
        query: The lookup.
        policy: The run's.
        turn: The number of the nameserver that is asked first.
        number: Returns the number of the nameserver that a later turn asks.
    """

    def __init__(self, query: Query, policy: Policy, turn: int, number: Callable[[int], int]) -> None:
        self.query = query
        self._policy = policy
        self._turn = turn
        self._number = number
        self._attempt = 0
        self._best: Reply | None = None
        self._unread: str | None = None
        self._done = False

    @property
    def open(self) -> bool:
        """Whether there is another try to begin."""
        return not self._done and self._attempt < self._policy.tries

    @property
    def target(self) -> Nameserver | None:
        """The nameserver that the next try asks; None: the backend knows by itself."""
        servers = self._policy.nameservers
        if self.query.nameserver is not None:
            return servers[self.query.nameserver]
        return servers[self._turn] if servers else None

    def begin(self) -> tuple[Nameserver | None, float]:
        """Begin the next try; returns the nameserver to ask, and the seconds to wait."""
        target = self.target
        self._attempt += 1
        if self.query.asked is None:
            self.query.asked = time.monotonic()
        self.query.attempts = (self.query.attempts or 0) + 1
        return target, self._policy.wait(self._attempt)

    def take(self, reply: Reply) -> None:
        """Record the outcome of the try that was begun last."""
        self.query.attempts = (self.query.attempts or 0) + reply.queries - 1
        self._done = reply.status.answered
        self._turn = self._number(self._turn + 1)
        if reply.status is Status.TIMEOUT:
            self._unread = reply.error or self._unread
        if self._done or self._best is None or rule.outranks(reply.status, self._best.status):
            self._best = reply

    def result(self, engine: str, backend: str) -> Result:
        """Return the lookup's result, after at least one try."""
        query, best = self.query, self._best
        assert best is not None
        error = best.error
        if best.status is Status.TIMEOUT:
            error = rule.silence(self._attempt, self._unread)
        heard = best.status not in (Status.TIMEOUT, Status.ERROR)
        pinned = None if query.nameserver is None else str(self._policy.nameservers[query.nameserver])
        result = query.result(
            best.status,
            engine=engine,
            backend=backend,
            answers=best.answers,
            nameserver=best.nameserver if heard else pinned,
            transport=best.transport if heard else None,
            attempts=query.attempts,
            elapsed=None if query.asked is None else round(time.monotonic() - query.asked, 6),
            error=error,
        )
        if self._policy.detail:
            result.detail = best.detail if heard else None
        return result


def broken(error: Exception) -> Reply:
    """Return the outcome of a try in which a backend raised what it should have reported."""
    return Reply(Status.ERROR, [], f"the backend broke: {type(error).__name__}: {error}")
