"""The estimator of round-trip times of RFC 6298.

Two things differ from TCP. A query that is sent again has an ID of its own, so that each reply tells which query it
answers: every round trip is a sample, and Karn's rule is not needed. And nothing is sent again when `rto` has passed
(that is the policy's to say): a reply that is overdue is presumed lost in the accounts, no more. So its margin may be
much smaller than TCP's second.
"""

from __future__ import annotations

import math

INITIAL = 1.0  # seconds: the rto before the first sample (RFC 6298 section 2.1)
LEAST = 0.1  # seconds: the shortest rto; a machine's scheduler alone can hold a reply back for some hundredths
MARGIN = 0.05  # seconds: the least margin over srtt
QUEUE = 0.02  # seconds above twice the shortest round trip: queries wait somewhere


class RttEstimator:
    """Round-trip times, in seconds.

    Attributes:
        srtt: The smoothed time; 0 before the first sample.
        rttvar: The variation.
        least: The shortest time; infinite before the first sample.
    """

    __slots__ = ("least", "rttvar", "srtt")

    def __init__(self) -> None:
        self.srtt = self.rttvar = 0.0
        self.least = math.inf

    def record(self, seconds: float) -> None:
        """Record a round-trip sample of `seconds`: from the query that a reply answers to the reply."""
        self.least = min(seconds, self.least)
        if self.srtt == 0.0:
            self.srtt, self.rttvar = seconds, seconds / 2
        else:
            self.rttvar += (abs(seconds - self.srtt) - self.rttvar) / 4
            self.srtt += (seconds - self.srtt) / 8

    @property
    def queueing(self) -> bool:
        """Do queries wait at a bottleneck, as round trips much above the shortest tell?"""
        return self.srtt > 2 * self.least + QUEUE

    @property
    def rto(self) -> float:
        """Seconds after which a reply is presumed lost."""
        if self.srtt == 0.0:
            return INITIAL
        return max(LEAST, self.srtt + max(MARGIN, 4 * self.rttvar))
