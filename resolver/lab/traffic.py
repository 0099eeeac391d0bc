"""The network that the lab plays: latency, jitter, loss, and a server that can take only so much."""

import random
import time

from .settings import Settings

# The bucket holds what arrives in this part of a second, and at least so many queries.
_BURST_SECONDS = 1 / 50
_BURST_LEAST = 16


class Traffic:
    """Decides for each query whether it is lost or too much, and when its reply leaves."""

    def __init__(self, settings: Settings) -> None:
        self._latency, self._jitter, self._loss = settings.latency, settings.jitter, settings.loss
        self._capacity = settings.capacity or 0.0
        self._random = random.Random(settings.seed)
        self._burst = max(_BURST_LEAST, self._capacity * _BURST_SECONDS)
        self._tokens, self._filled = self._burst, time.monotonic()
        self.drops = self._loss > 0 or settings.capacity is not None
        """Whether any query is dropped at all."""
        self.delays = self._latency > 0 or self._jitter > 0
        """Whether any reply is delayed at all."""

    def lost(self) -> bool:
        """Whether a datagram is lost on its way. Over TCP nothing is: TCP would send it again."""
        return self._loss > 0 and self._random.random() < self._loss

    def overloaded(self) -> bool:
        """Whether a query is one too many: a token bucket, refilled by the clock."""
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
        """Seconds until the reply leaves."""
        if not self._jitter:
            return self._latency
        return max(0.0, self._latency + self._random.uniform(-self._jitter, self._jitter))
