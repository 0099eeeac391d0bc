"""Queries at hand, in a lane for each nameserver that is to be asked first, and when the next one of a lane may go.

What a nameserver takes at once is judged by the same window as that of the wire backend (wire/window.py), fed with what
becomes of each try. The one thing to know before changing anything: it holds back the beginning of lookups, not their
further tries, which wait long enough as it is. A lookup counts as sent when it is taken from its lane, or many more
would be taken before the first of them is sent.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

from resolver.message import Status
from resolver.wire.rounds import Round
from resolver.wire.window import Window

if TYPE_CHECKING:
    from resolver.message import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy
    from resolver.tries import Reply

LOOKED = 0.005  # seconds that the time spent waiting may be old


class Lanes:
    """The lanes of a run with at most `limit` lookups in flight; one, always free, where nobody is named to ask."""

    def __init__(self, policy: Policy, limit: int) -> None:
        self._servers = policy.nameservers
        patience = max(2 * policy.query_timeout, 1.0)
        self._windows = {each: Window(limit, patience) for each in self._servers}
        self._lanes: list[deque[Query]] = [deque() for _ in self._servers or (None,)]
        self._turn = 0
        self._taken: dict[int, Round] = {}
        self._paced = policy.rate is not None  # taken now, they go out when the rate lets them
        self._began = time.monotonic() - time.thread_time()
        self._looked, self._idle = 0.0, 0.0

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def extend(self, queries: list[Query]) -> None:
        """These are at hand."""
        for query in queries:
            self._lanes[query.index % len(self._lanes)].append(query)

    def take(self) -> Query | None:
        """The next query that may go now; None: there is none."""
        for _ in self._lanes:
            self._turn = (self._turn + 1) % len(self._lanes)
            lane = self._lanes[self._turn]
            if not lane:
                continue
            if not self._servers:
                return lane.popleft()
            window, now = self._windows[self._servers[self._turn]], time.monotonic()
            self._tick(window, now)
            if window.allowance(now) > 0:
                query = lane.popleft()
                if not self._paced:
                    self._taken[query.index] = window.sent(1, now)
                return query
        return None

    def wait(self) -> float:
        """Seconds until `take` may have something; infinite when only the end of a lookup can bring it."""
        now = time.monotonic()
        full = (server for server, lane in zip(self._servers, self._lanes, strict=False) if lane)
        return min((self._windows[each].wait(now) for each in full), default=math.inf)

    def asked(self, query: Query, nameserver: Nameserver) -> Round:
        """A try is about to begin; what is returned goes with it."""
        round_ = self._taken.pop(query.index, None)
        if round_ is not None:
            return round_
        window, now = self._windows[nameserver], time.monotonic()
        self._tick(window, now)
        return window.sent(1, now)

    def told(self, reply: Reply, query: Query, nameserver: Nameserver, round_: Round, seconds: float) -> None:
        """What came of the try, and after how many seconds."""
        window, now = self._windows[nameserver], time.monotonic()
        if reply.status is Status.TIMEOUT:
            window.silent(now)
        elif reply.status is Status.ERROR:
            window.failed(round_, now)
        else:
            window.answered(round_, 1, now)
            if query.attempts == reply.queries == 1:
                window.trip(seconds)

    def _tick(self, window: Window, now: float) -> None:
        if now - self._looked > LOOKED:
            # What this thread did not compute it has waited.
            self._looked, self._idle = now, now - time.thread_time() - self._began
        window.tick(now, self._idle)
