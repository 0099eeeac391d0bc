"""The throttle of a run through a library: the queries at hand, and when the next try of a lookup may go.

How much a nameserver takes at once is judged by the same window as that of the wire backend (congestion/window.py), fed
with the outcome of each try. Further tries pass it too, and before new lookups: those of queries that were lost
together run out together, and sent so, they would be lost together again.

A try is granted first and sent a little later, by a thread that has its turn then, or when the rate lets it: until it
is sent, a granted try counts against the window. Any number of threads may call.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from resolver.attempts import Tries, broken
from resolver.congestion import TokenBucket, Window
from resolver.engines.standings import Standings
from resolver.model import ANSWERED, Status
from resolver.tallies import NameserverTallies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resolver.attempts import Reply, Session
    from resolver.congestion import Round
    from resolver.model import Query, Result
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

BUSY_AGE = 0.005  # seconds that the time spent waiting may be old
TICK = 0.0005  # seconds between looks whether a round is over
SHORTEST, LONGEST = 0.005, 0.1  # seconds after which it is asked again whether a try may go


class Abandoned(Exception):
    """The run has ended without waiting for this lookup."""


class SentTry(NamedTuple):
    """A try on its way to a nameserver: the window's round it belongs to, and when it was sent."""

    round: Round
    at: float


class Throttle:
    """The throttle of a run; only the rate counts where no nameserver is named.

    Args:
        policy: The run's.
        limit: The most lookups in flight.
        busy: Returns the seconds that the run has computed so far; those of this thread, where one thread does it all.
        tallies: Where outcomes are counted, by nameserver.
    """

    def __init__(
        self,
        policy: Policy,
        limit: int,
        busy: Callable[[], float] = time.thread_time,
        tallies: NameserverTallies | None = None,
    ) -> None:
        self._policy = policy
        self._servers = policy.nameservers
        silence = max(2 * policy.query_timeout, 1.0)
        self._windows = {each: Window(limit, silence) for each in self._servers}
        self._tallies = tallies or NameserverTallies()
        self._standings = Standings(self._servers, self._tallies)
        self._firsts: dict[int, int] = {}  # the nameserver that each query at hand asks first
        self._at_hand: list[deque[Query]] = [deque() for _ in self._servers or (None,)]  # by whom it asks first
        self._ticked = dict.fromkeys(self._servers, -math.inf)
        self._turn = 0
        self._granted: dict[Nameserver, set[int]] = {each: set() for each in self._servers}  # queries by their index
        self._again: dict[Nameserver, set[int]] = {each: set() for each in self._servers}  # with a try that waits
        self._rate = RateLimit(policy.rate) if policy.rate else None
        self._lock = threading.Lock()
        self._closed = False
        self._busy = busy
        self._began = time.monotonic() - busy()
        self._looked, self._idle = 0.0, 0.0

    def __len__(self) -> int:
        return sum(map(len, self._at_hand))

    def extend(self, queries: list[Query]) -> None:
        """Add queries to those at hand."""
        for query in queries:
            first = self._firsts[query.index] = self._first(query)
            self._at_hand[first].append(query)

    def take(self) -> Query | None:
        """Return the next query whose first try may go now; None: there is none."""
        for _ in self._at_hand:
            self._turn = (self._turn + 1) % len(self._at_hand)
            queries = self._at_hand[self._turn]
            if not queries:
                continue
            if not self._servers:
                return queries.popleft()
            nameserver = self._servers[self._turn]
            with self._lock:
                if not self._again[nameserver] and self._grant(queries[0], nameserver):
                    return queries.popleft()
        return None

    async def look_up(
        self, query: Query, session: Session, sleep: Callable[[float], Awaitable[object]], engine: str, backend: str
    ) -> Result:
        """Follow the tries of a lookup, each when its nameserver has room; return the result.

        Args:
            query: The lookup.
            session: Asks.
            sleep: Waits for so many seconds, as the session waits.
            engine, backend: Names, which only go into the result.
        """
        first = self._firsts.pop(query.index, None)
        tries = Tries(query, self._policy, self._first(query) if first is None else first, self._standings.number)
        try:
            while tries.open:
                while delay := self.delay(query, tries.target):
                    await sleep(delay)
                nameserver, wait = tries.begin()
                sent = self.sent(query, nameserver)
                try:
                    reply = await session.ask(query, nameserver, wait)
                except Exception as error:  # whatever a library raises is this lookup's result, and ends nothing else
                    reply = broken(error)
                self.heard(sent, nameserver, reply)
                tries.take(reply)
        finally:
            session.done(query)
        return tries.result(engine, backend)

    def wait(self) -> float:
        """Return the seconds until `take` may have a query; infinite when only the end of a lookup can bring one."""
        with self._lock:
            full = (server for server, queries in zip(self._servers, self._at_hand, strict=False) if queries)
            # The tries that go before them look by themselves.
            waits = [LONGEST if self._again[each] else self._wait(each) for each in full]
        return min(waits, default=math.inf)

    def delay(self, query: Query, nameserver: Nameserver | None) -> float:
        """Return the seconds after which to ask again whether the next try may go; 0: it may, and is to be sent.

        Raises Abandoned after `close`.
        """
        if self._closed:
            raise Abandoned
        if nameserver is not None and (delay := self._window_delay(query, nameserver)):
            return delay
        return self._rate.delay(query.index) if self._rate else 0.0

    def sent(self, query: Query, nameserver: Nameserver | None) -> SentTry | None:
        """Record that a try is about to be sent; the SentTry is to be given to `heard`."""
        if nameserver is None:
            return None
        with self._lock:
            self._granted[nameserver].discard(query.index)
            window, now = self._windows[nameserver], time.monotonic()
            window.allowance(now)  # from which it knows whether there was more to send than it let go
            return SentTry(window.sent(1, now), now)

    def heard(self, sent: SentTry | None, nameserver: Nameserver | None, reply: Reply) -> None:
        """Record the outcome of a try."""
        if self._rate and reply.queries > 1:
            self._rate.spend(reply.queries - 1)
        if nameserver is None or sent is None:
            return
        window, now = self._windows[nameserver], time.monotonic()
        self._count(str(nameserver), reply, now - sent.at)
        with self._lock:
            if not self._policy.each_nameserver:
                self._standings.heard(nameserver, answered=reply.status in ANSWERED)
            if reply.status is Status.TIMEOUT:
                window.expired(sent.round, now)
            elif reply.status is Status.ERROR:
                window.failed(sent.round, now)
            else:
                window.answered(sent.round, 1, now)
                if reply.queries == 1:
                    window.rtt.record(now - sent.at)

    def _count(self, nameserver: str, reply: Reply, seconds: float) -> None:
        with self._tallies.lock:
            tally = self._tallies.of(nameserver)
            tally.queries += reply.queries
            tally.failed(reply.status)
            if reply.nameserver is None:  # nobody replied, or a library's cache
                return
            # A late reply of another one may end a try.
            rcodes = () if reply.status is Status.NOERROR else (reply.status,)
            timed = reply.nameserver == nameserver and reply.queries == 1
            self._tallies.of(reply.nameserver).replied((seconds,), rcodes, timed=timed)

    def close(self) -> None:
        """Let no further try go: a worker that was abandoned between two tries, or waits for its turn, ends there."""
        self._closed = True

    def _first(self, query: Query) -> int:
        return self._standings.number(query.index) if query.nameserver is None else query.nameserver

    def _window_delay(self, query: Query, nameserver: Nameserver) -> float:
        again = self._again[nameserver]
        if query.index in self._granted[nameserver] and not again:
            return 0.0
        with self._lock:
            if query.index in self._granted[nameserver] or self._grant(query, nameserver):
                again.discard(query.index)
                return 0.0
            again.add(query.index)
            # Of those that wait, as many look as may go, and not all of them each time.
            wait = max(self._wait(nameserver), len(again) / self._windows[nameserver].rate)
            return min(LONGEST, max(SHORTEST, wait))

    def _grant(self, query: Query, nameserver: Nameserver) -> bool:
        window, now = self._windows[nameserver], time.monotonic()
        if now - self._ticked[nameserver] > TICK:
            self._ticked[nameserver] = now
            self._tick(window, now)
        if window.allowance(now) <= len(self._granted[nameserver]):
            return False
        self._granted[nameserver].add(query.index)
        return True

    def _wait(self, nameserver: Nameserver) -> float:
        """Return the seconds until the window may let another try go by itself."""
        window = self._windows[nameserver]
        wait = window.wait(time.monotonic())
        # The window does not know yet that the granted tries use up its rate.
        return (
            min(wait, max(SHORTEST, 1 / window.rate)) if self._granted[nameserver] and window.rate < math.inf else wait
        )

    def _tick(self, window: Window, now: float) -> None:
        if now - self._looked > BUSY_AGE:
            # The time that was not spent computing was spent waiting.
            self._looked, self._idle = now, now - self._busy() - self._began
        window.tick(now, self._idle)


class RateLimit:
    """The queries a second of a run, for any number of threads that wait at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._bucket = TokenBucket(rate)
        self._lock = threading.Lock()
        self._tickets: dict[int, int] = {}  # of those that wait, by the index of their lookup
        self._issued = self._called = 0

    def delay(self, index: int) -> float:
        """Return the seconds after which the lookup `index` asks again; 0: its query may go, and is counted."""
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

    def spend(self, queries: int) -> None:
        """Count queries that went out at once, as repeats of a try: those after them wait the longer."""
        with self._lock:
            self._bucket.spend(queries)
