"""A token bucket: at most so many queries a second, evenly. The user's `--rate` is one, and so is a window's rate."""

from __future__ import annotations

import math

DEPTH = 0.02  # seconds: a full bucket holds what its rate gives in that time, and one query at least
SHORTEST = 1e-5  # seconds: no wait is shorter, or a clock might stand still
_ULPS = 1e-9  # summed floats fall short of a whole token by so little


class TokenBucket:
    """A bucket with one token in it. Times are seconds on any monotonic clock.

    Args:
        rate: Tokens that it gains a second. It may be changed at any time, and be infinite, where `allowance` and
            `wait` are not to be asked.
        since: From when on it gains some; None: from the first look at it.
    """

    __slots__ = ("_filled", "_tokens", "rate")

    def __init__(self, rate: float = math.inf, since: float | None = None) -> None:
        self.rate = rate
        self._tokens = 1.0
        self._filled = since

    def allowance(self, now: float) -> int:
        """Return how many queries may be sent at `now`."""
        self._tokens = self._level(now)
        self._filled = now
        return int(self._tokens + _ULPS)

    def spend(self, queries: int) -> None:
        """Take out a token for each query sent; a negative number puts them back."""
        self._tokens -= queries

    def drain(self, now: float) -> None:
        """Empty the bucket."""
        self._tokens, self._filled = 0.0, now

    def wait(self, now: float | None = None) -> float:
        """Return the seconds until a query may be sent, from `now` or from the last `allowance` on; 0: one may now."""
        missing = 1.0 - (self._tokens if now is None else self._level(now))
        return max(missing / self.rate, SHORTEST) if missing > _ULPS else 0.0

    def _level(self, now: float) -> float:
        if self._filled is None:
            return self._tokens
        return min(max(1.0, self.rate * DEPTH), self._tokens + (now - self._filled) * self.rate)
