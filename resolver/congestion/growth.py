"""Growth of a window: while growing brings more replies a second, and not where it does not.

growing --(a full round, and more replies a second than at the size before)--> growing, at a multiple of the size
growing --(a full round, and no more)--> standing, at the size before
standing --(so many seconds later, twice as many each time)--> growing
"""

from __future__ import annotations

import math

BETTER = 1.15  # times the replies a second: growing has brought something
LONG = 0.05  # seconds of round trip: a long path, on which each round trip counts,
LONG_SHARED = 0.3  # where the shortest may be that of a queue which others fill
FACTOR, LONG_FACTOR = 2.0, 4.0  # by which a window grows at once
STANDING, LONGEST_STANDING = 1.0, 16.0  # seconds that it stands, at first and at most


class Growth:
    """Judge of whether a window may grow.

    Args:
        alone: No other window shares the nameserver.

    Attributes:
        grown: When the window last changed size; rounds from before say nothing of it.
    """

    __slots__ = ("_best", "_long", "_standing", "_stood", "grown")

    def __init__(self, *, alone: bool) -> None:
        self._long = LONG if alone else LONG_SHARED
        self.grown = -math.inf
        self._best = 0.0  # replies a second at the size before this one
        self._stood = -math.inf  # since when it stands,
        self._standing = STANDING  # and for how long

    def restart(self) -> None:
        """Grow anew: what was learned was about a nameserver that was dead meanwhile."""
        self._best = 0.0
        self._stood = -math.inf

    def factor(self, through: float, rtt: float, now: float) -> float:
        """Return what to multiply the size by after a full round.

        Args:
            through: The replies a second that it had.
            rtt: The shortest round trip in seconds, without what waits at a bottleneck.
            now: Seconds on any monotonic clock.
        """
        if now - self._stood < self._standing:
            return 1.0
        self.grown = now
        factor = LONG_FACTOR if rtt > self._long else FACTOR
        if through > BETTER * self._best:
            self._best, self._standing = through, STANDING
            return factor
        # The larger window brought nothing: the one before serves as well, and loses less when the path narrows.
        self._best = through / BETTER
        self._stood, self._standing = now, min(LONGEST_STANDING, 2 * self._standing)
        return 1 / factor
