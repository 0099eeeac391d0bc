"""Queries at hand, in a lane for each nameserver that is to be asked first, and when the next try of a lookup may go.

What a nameserver takes at once is judged by the same window as that of the wire backend (congestion/window.py), fed
with what becomes of each try. Further tries pass it too, and before new lookups: those of queries that were lost
together run out together, and sent so, they would be lost together again.

A try is granted first and sent a little later, by a thread that has its turn then, or when the rate lets it: what was
granted and is not sent yet counts against the window. Any number of threads may call.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from resolver.attempts import Gate
from resolver.congestion import Window
from resolver.model import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.attempts import Reply, Tries
    from resolver.congestion import Round
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

LOOKED = 0.005  # seconds that the time spent waiting may be old
TICK = 0.0005  # seconds between looks whether a round is over
NAP, SLEEP = 0.005, 0.1  # seconds after which it is asked again whether a try may go, at least and at most


class Lanes:
    """The lanes of a run with at most `limit` lookups in flight; one, always free, where nobody is named to ask.

    busy: seconds that the run has computed so far; that of this thread, where one thread does it all.
    """

    def __init__(self, policy: Policy, limit: int, busy: Callable[[], float] = time.thread_time) -> None:
        self._servers = policy.nameservers
        patience = max(2 * policy.query_timeout, 1.0)
        self._windows = {each: Window(limit, patience) for each in self._servers}
        self._lanes: list[deque[Query]] = [deque() for _ in self._servers or (None,)]
        self._ticked = dict.fromkeys(self._servers, -math.inf)
        self._turn = 0
        self._granted: dict[Nameserver, set[int]] = {each: set() for each in self._servers}  # queries by their index
        self._again: dict[Nameserver, set[int]] = {each: set() for each in self._servers}  # with a try that waits
        self._lock = threading.Lock()
        self._busy = busy
        self._began = time.monotonic() - busy()
        self._looked, self._idle = 0.0, 0.0

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def extend(self, queries: list[Query]) -> None:
        """These are at hand."""
        for query in queries:
            self._lanes[query.index % len(self._lanes)].append(query)

    def take(self) -> Query | None:
        """The next query whose first try may go now; None: there is none."""
        for _ in self._lanes:
            self._turn = (self._turn + 1) % len(self._lanes)
            lane = self._lanes[self._turn]
            if not lane:
                continue
            if not self._servers:
                return lane.popleft()
            nameserver = self._servers[self._turn]
            with self._lock:
                if not self._again[nameserver] and self._grant(lane[0], nameserver):
                    return lane.popleft()
        return None

    def wait(self) -> float:
        """Seconds until `take` may have something; infinite when only the end of a lookup can bring it."""
        with self._lock:
            full = (server for server, lane in zip(self._servers, self._lanes, strict=False) if lane)
            # The tries that go before them look by themselves.
            waits = [SLEEP if self._again[each] else self._wait(each) for each in full]
        return min(waits, default=math.inf)

    def delay(self, query: Query, nameserver: Nameserver) -> float:
        """Seconds after which to ask again whether a try may go to this nameserver; 0: it may."""
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
            return min(SLEEP, max(NAP, wait))

    def asked(self, query: Query, nameserver: Nameserver) -> Round:
        """A try that was granted is about to be sent; what is returned goes with it."""
        with self._lock:
            self._granted[nameserver].discard(query.index)
            window, now = self._windows[nameserver], time.monotonic()
            window.allowance(now)  # from which it knows whether there was more to send than it let go
            return window.sent(1, now)

    def told(self, reply: Reply, query: Query, nameserver: Nameserver, round_: Round, seconds: float) -> None:
        """What came of the try, and after how many seconds."""
        window, now = self._windows[nameserver], time.monotonic()
        with self._lock:
            if reply.status is Status.TIMEOUT:
                window.expired(round_, now)
            elif reply.status is Status.ERROR:
                window.failed(round_, now)
            else:
                window.answered(round_, 1, now)
                if reply.queries == 1:
                    window.record_rtt(seconds)

    def _grant(self, query: Query, nameserver: Nameserver) -> bool:
        if self._room(nameserver) <= 0:
            return False
        self._granted[nameserver].add(query.index)
        return True

    def _room(self, nameserver: Nameserver) -> int:
        window, now = self._windows[nameserver], time.monotonic()
        if now - self._ticked[nameserver] > TICK:
            self._ticked[nameserver] = now
            self._tick(window, now)
        return window.allowance(now) - len(self._granted[nameserver])

    def _wait(self, nameserver: Nameserver) -> float:
        """Seconds until there may be another to grant by itself."""
        window = self._windows[nameserver]
        wait = window.wait(time.monotonic())
        # Of what is granted the window does not know yet that it uses up the rate.
        return min(wait, max(NAP, 1 / window.rate)) if self._granted[nameserver] and window.rate < math.inf else wait

    def _tick(self, window: Window, now: float) -> None:
        if now - self._looked > LOOKED:
            # What was not computed was spent waiting.
            self._looked, self._idle = now, now - self._busy() - self._began
        window.tick(now, self._idle)


class LaneGate(Gate):
    """The gate of a run with lanes: they learn what became of each try."""

    def __init__(self, policy: Policy, lanes: Lanes) -> None:
        super().__init__(policy, lanes.delay)
        self._lanes = lanes

    def begun(self, tries: Tries, target: Nameserver | None) -> tuple[Round, float] | None:
        return None if target is None else (self._lanes.asked(tries.query, target), time.monotonic())

    def heard(self, mark: tuple[Round, float] | None, tries: Tries, target: Nameserver | None, reply: Reply) -> None:
        super().heard(mark, tries, target, reply)
        if target is not None and mark is not None:
            self._lanes.told(reply, tries.query, target, mark[0], time.monotonic() - mark[1])
