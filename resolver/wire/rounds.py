"""What a congestion window counts: rounds of queries, the time that replies take, and cuts that may be taken back.

They hold numbers; the rules stand in window.py.
"""

from __future__ import annotations

import math

LEAST_OVERDUE = 0.1  # seconds; a machine's scheduler alone can hold a reply back for some hundredths


class Round:
    """Queries that went out together, and how many of them were answered."""

    __slots__ = ("answered", "closed", "idle", "judged", "opened", "sent")

    def __init__(self, now: float, idle: float = 0.0) -> None:
        self.opened = now
        self.idle = idle  # seconds that were spent waiting: in all before it, then, once closed, within it
        self.closed = math.inf
        self.sent = 0
        self.answered = 0
        self.judged = False


class Cut:
    """What was cut, and why: enough to take it back."""

    __slots__ = ("loss", "lost", "rate", "round", "window")

    def __init__(self, loss: float, lost: int, round_: Round, rate: float, window: float) -> None:
        self.loss = loss
        self.lost = lost
        self.round = round_
        self.rate = rate
        self.window = window


class Trip:
    """How long replies take, in seconds: the usual time smoothed, its variation, and the shortest (RFC 6298)."""

    __slots__ = ("shortest", "swing", "usual")

    def __init__(self) -> None:
        self.usual = self.swing = 0.0
        self.shortest = math.inf

    def took(self, seconds: float) -> None:
        """So long took a reply."""
        self.shortest = min(seconds, self.shortest)
        if self.usual == 0.0:
            self.usual, self.swing = seconds, seconds / 2
        else:
            self.swing += (abs(seconds - self.usual) - self.swing) / 4
            self.usual += (seconds - self.usual) / 8

    @property
    def overdue(self) -> float:
        """After so many seconds a reply is presumed lost."""
        return max(LEAST_OVERDUE, self.usual + 4 * self.swing)
