"""A blackout: a nameserver that answered falls silent at once, with plenty to ask.

One that answers so many queries by the second of the clock and then none until the next is like that. Whatever is sent
meanwhile is lost, so that one query at times looks whether it is over.

    none --(SILENT queries in a row lost, which chance does not explain)--> blackout
    blackout --(a reply)--> none
    blackout --(LONGEST passed)--> none, and for a time that doubles silence is not taken for one: it is no limit by
                                   the second, and what is asked now is answered by nobody, at any speed
"""

from __future__ import annotations

import math

SILENT = 40  # queries in a row without an answer: a sudden silence
PROBE = 0.1  # seconds between the queries that look whether it is over
LONGEST = 1.2  # seconds that it may last: a little over the second by which many a limit counts
SURPRISE = 1e-3  # how likely it may be that the silence is chance
TRUST, LONGEST_TRUST = 4.0, 64.0  # seconds: the first and the longest time for which silence is not taken for one


class Blackout:
    """State of a nameserver that may have fallen silent.

    Attributes:
        since: When the blackout was seen; None: there is none.
        round: When the round began that showed it.
        probed: When the last query went out in it.
    """

    __slots__ = ("_silent", "_trust", "_trusted", "probed", "round", "since")

    def __init__(self) -> None:
        self.since: float | None = None
        self.round = 0.0
        self.probed = -math.inf
        self._silent = 0  # queries lost since a round had an answer
        self._trusted, self._trust = -math.inf, TRUST

    def record(self, answered: int, lost: int) -> None:
        """Count a judged round."""
        self._silent = 0 if answered else self._silent + lost

    def shows(self, usual: float, now: float) -> bool:
        """Say whether so much silence is a blackout, where that share of loss is usual."""
        surprising: bool = max(usual, 0.5) ** self._silent < SURPRISE
        return now > self._trusted and self._silent >= SILENT and surprising

    def begin(self, opened: float, now: float) -> None:
        """Begin a blackout that is seen now, by a round that began at `opened`."""
        self.since = self.probed = now
        self.round = opened

    def outlasted(self, now: float) -> bool:
        """Say whether it has lasted too long to be a blackout; then it is over."""
        if self.since is None or now - self.since <= LONGEST:
            return False
        self.since = None
        self._trusted, self._trust = now + self._trust, min(LONGEST_TRUST, 2 * self._trust)
        return True

    def allowance(self, now: float) -> int:
        """Return how many queries may look whether it is over."""
        return int(now >= self.probed + PROBE)

    def wait(self, now: float) -> float:
        """Return the seconds until the next may; infinite: it may already."""
        return self.probed + PROBE - now if self.probed + PROBE > now else math.inf
