"""One lookup through a backend that asks one question at a time: which try comes next, and what is the result.

The retry rule itself is the policy's. This is the rule as steps, for the two drivers: `ask` for blocking backends and
`ask_async` for awaited ones are the only two loops over it; the exchange of the wire backend follows the same rule over
thousands of lookups at once.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from resolver import policy as rule
from resolver.congestion import TokenBucket
from resolver.model import Query, Record, Result, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resolver.nameserver import Nameserver
    from resolver.policy import Policy


# Lookups in flight where the user names no number. A blocking backend costs half a millisecond of the interpreter for
# each lookup: where a reply takes 60 ms, so many keep it busy, and more only make its threads fight over it.
BLOCKING_CONCURRENCY = 128
ASYNC_CONCURRENCY = 300  # of an awaited backend; more only makes libraries slower


class Reply(NamedTuple):
    """What came of one question: one status, TIMEOUT and ERROR among them, and who said so (None: not told).

    error: of TIMEOUT, what is to be said of replies that came and were none.
    """

    status: Status
    answers: list[Record]
    error: str | None = None
    nameserver: str | None = None
    transport: str | None = None
    queries: int = 1  # messages that it took: a repeat over TCP or without EDNS counts, and uses up no try


class Session(Protocol):
    """A backend of the style `call`, opened for a run. Any number of threads may ask at once."""

    def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once and wait up to `timeout` seconds. Reports what fails as a Reply; should it raise, that is ERROR."""

    def done(self, query: Query) -> None:
        """This lookup asks no further: give back what it kept from one try to the next."""

    def close(self) -> None:
        """Give back what was opened."""


class AsyncSession(Protocol):
    """A backend of the style `await`, opened for a run in an event loop."""

    concurrency: int  # the most lookups in flight where the user names no number

    async def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """As Session.ask, suspended for as long as it waits."""

    def done(self, query: Query) -> None:
        """As Session.done."""

    async def close(self) -> None:
        """Give back what was opened."""


class Tries:
    """The tries of one lookup, over the nameservers in turn.

    While it is `open`: `begin()`, ask, `take(reply)`. Then `result()` is the lookup's.
    `query.attempts` and `query.asked` are kept up to date, for whoever abandons the lookup.
    """

    def __init__(self, query: Query, policy: Policy, turn: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.query = query
        self._policy = policy
        self._turn = turn
        self._clock = clock
        self._attempt = 0
        self._best: Reply | None = None
        self._unread: str | None = None
        self._done = False

    @property
    def open(self) -> bool:
        """Is there another try to begin?"""
        return not self._done and self._attempt < self._policy.tries

    @property
    def target(self) -> Nameserver | None:
        """Whom the next try asks; None: the backend knows by itself."""
        servers = self._policy.nameservers
        return servers[(self._turn + self._attempt) % len(servers)] if servers else None

    def begin(self) -> tuple[Nameserver | None, float]:
        """Begin the next try: whom to ask, and seconds to wait."""
        target = self.target
        self._attempt += 1
        if self.query.asked is None:
            self.query.asked = self._clock()
        self.query.attempts = (self.query.attempts or 0) + 1
        return target, self._policy.wait(self._attempt)

    def take(self, reply: Reply) -> None:
        """What came of the try that was begun last."""
        self.query.attempts = (self.query.attempts or 0) + reply.queries - 1
        self._done = rule.final(reply.status)
        if reply.status is Status.TIMEOUT:
            self._unread = reply.error or self._unread
        if self._done or self._best is None or rule.outranks(reply.status, self._best.status):
            self._best = reply

    def result(self, engine: str, backend: str) -> Result:
        """The lookup's result. `take` was called at least once."""
        query, best = self.query, self._best
        assert best is not None
        error = best.error
        if best.status is Status.TIMEOUT:
            error = rule.silence(self._attempt, self._unread)
        heard = best.status not in (Status.TIMEOUT, Status.ERROR)
        return query.result(
            best.status,
            engine=engine,
            backend=backend,
            answers=best.answers,
            nameserver=best.nameserver if heard else None,
            transport=best.transport if heard else None,
            attempts=query.attempts,
            elapsed=None if query.asked is None else round(self._clock() - query.asked, 6),
            error=error,
        )


class Gate:
    """Lets queries pass as their nameserver has room, and at the policy's rate. Any number of threads may wait at once.

    room: seconds after which to ask again whether this query may go there; 0: it may, however often it is asked.
    """

    def __init__(self, policy: Policy, room: Callable[[Query, Nameserver], float]) -> None:
        self._rate = policy.rate
        self._bucket = TokenBucket(policy.rate) if policy.rate else None
        self._room = room
        self._lock = threading.Lock()
        self._tickets: dict[int, int] = {}  # of those that wait for the rate, by the index of their lookup
        self._issued = self._called = 0

    def delay(self, tries: Tries) -> float:
        """Seconds to wait before asking again whether the next try may begin; 0: it may, and is counted."""
        target = tries.target
        if target is not None and (delay := self._room(tries.query, target)):
            return delay
        if self._bucket is None or self._rate is None:
            return 0.0
        index = tries.query.index
        with self._lock:
            if self._bucket.allowance(time.monotonic()) > 0:
                self._bucket.spend(1)
                if self._tickets.pop(index, None) is not None:
                    self._called += 1
                return 0.0
            if index not in self._tickets:
                self._tickets[index] = self._issued
                self._issued += 1
            # About when its turn comes: were all to look for each query that may go, looking would be all they do.
            ahead = max(0, self._tickets[index] - self._called)
            return max(self._bucket.wait() + ahead / self._rate, 0.0005)

    def begun(self, tries: Tries, target: Nameserver | None) -> object:
        """The next try is about to be sent; what is returned is to be given to `heard`."""
        return None

    def heard(self, mark: Any, tries: Tries, target: Nameserver | None, reply: Reply) -> None:
        """What came of it."""
        if reply.queries > 1:
            self.repeated(reply.queries - 1)

    def repeated(self, queries: int) -> None:
        """So many repeats belonged to a try: they went out at once, and the queries after them wait the longer."""
        if self._bucket is not None and queries:
            with self._lock:
                self._bucket.spend(queries)


def ask(tries: Tries, session: Session, gate: Gate) -> None:
    """Follow the tries of one lookup with a blocking backend."""
    try:
        while tries.open:
            while delay := gate.delay(tries):
                time.sleep(delay)
            target, wait = tries.begin()
            mark = gate.begun(tries, target)
            try:
                reply = session.ask(tries.query, target, wait)
            except Exception as error:  # whatever a library raises is this lookup's result, and ends nothing else
                reply = broken(error)
            gate.heard(mark, tries, target, reply)
            tries.take(reply)
    finally:
        session.done(tries.query)


async def ask_async(
    tries: Tries, session: AsyncSession, gate: Gate, sleep: Callable[[float], Awaitable[object]]
) -> None:
    """Follow the tries of one lookup with an awaited backend; `sleep` is the event loop's."""
    try:
        while tries.open:
            while delay := gate.delay(tries):
                await sleep(delay)
            target, wait = tries.begin()
            mark = gate.begun(tries, target)
            try:
                reply = await session.ask(tries.query, target, wait)
            except Exception as error:  # as in `ask`
                reply = broken(error)
            gate.heard(mark, tries, target, reply)
            tries.take(reply)
    finally:
        session.done(tries.query)


def broken(error: Exception) -> Reply:
    """A backend raised what it should have reported."""
    return Reply(Status.ERROR, [], f"the backend broke: {type(error).__name__}: {error}")
