"""The network that the lab plays: latency, jitter, loss, and a server that can take only so much."""

import asyncio
import heapq
import random
import time
from collections.abc import Callable

from .settings import Settings

# The bucket holds the queries that arrive in this part of a second, and at least the second number.
_BURST_SECONDS = 1 / 50
_BURST_LEAST = 16
# Replies that may wait at once, of a few hundred octets each.
_WAITING_MOST = 200_000


class Traffic:
    """Decide for each query whether it is lost or too much, and when its reply leaves."""

    def __init__(self, settings: Settings) -> None:
        self._latency, self._jitter, self._loss = settings.latency, settings.jitter, settings.loss
        self._capacity = settings.capacity or 0.0
        self._random = random.Random(settings.seed)
        self._burst = max(_BURST_LEAST, self._capacity * _BURST_SECONDS)
        self._tokens, self._filled = self._burst, time.monotonic()
        self.drops = self._loss > 0 or settings.capacity is not None
        """True where any query is dropped at all."""
        self.delays = self._latency > 0 or self._jitter > 0
        """True where any reply is delayed at all."""

    def lost(self) -> bool:
        """Decide whether a datagram is lost on its way. Over TCP none is: TCP would send it again."""
        return self._loss > 0 and self._random.random() < self._loss

    def overloaded(self) -> bool:
        """Decide whether a query is one too many: a token bucket, refilled by the clock."""
        if not self._capacity:
            return False
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._capacity)
        self._filled = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    def delay(self) -> float:
        """Return the seconds until the reply leaves."""
        if not self._jitter:
            return self._latency
        return max(0.0, self._latency + self._random.uniform(-self._jitter, self._jitter))


class DelayQueue:
    """Actions that are due later. They share one timer of asyncio: it compares its own in Python, which is slower."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None

    def later(self, delay: float, action: Callable[[], object]) -> bool:
        """Act once, `delay` seconds from now. Return False, and never act, where too many actions wait already."""
        waiting = self._waiting
        if len(waiting) >= _WAITING_MOST:
            return False
        self._sequence += 1
        entry = (time.monotonic() + delay, self._sequence, action)
        heapq.heappush(waiting, entry)
        if waiting[0] is entry:
            self._set_timer()
        return True

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._waiting[0][0], self._act)

    def _act(self) -> None:
        waiting, now = self._waiting, time.monotonic
        self._timer = None
        while waiting and waiting[0][0] <= now():
            heapq.heappop(waiting)[2]()
        if waiting:
            self._set_timer()
