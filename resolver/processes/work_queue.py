"""What a run's children are still to be asked: new queries, those in reserve, and those that a child died of.

The one thing to know before changing anything here: whatever a child was given when it died is suspected of having
killed it. A suspect is asked again alone in its child, so that the next death condemns nobody else; after three it is
given up.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from resolver.engines.base import Queries
    from resolver.model import Query
    from resolver.policy import Policy

FIRST = 16  # queries in a chunk at first, so that a short list is spread
CHUNK = 512  # and later
DEATHS = 3  # children that a chunk may take with it


class Quarantined(NamedTuple):
    """Queries that were open in a child that died, and how many died of them."""

    queries: list[Query]
    deaths: int


class WorkQueue:
    """The queries of a run, on their way to the children. `exhausted`: no more will come from where they are taken."""

    def __init__(self, queries: Queries) -> None:
        self.exhausted = False
        self.reserve: list[Query] = []  # taken, and not handed out yet
        self.quarantined: deque[Quarantined] = deque()
        self._queries = queries
        self._handed = 0

    @property
    def empty(self) -> bool:
        """Nothing is left to be handed out, unless another child dies."""
        return self.exhausted and not self.reserve and not self.quarantined

    def stock(self, n: int) -> list[Query]:
        """Have so many in reserve, as far as there are any; returns the reserve."""
        while not self.exhausted and len(self.reserve) < n:
            more = self._take(n - len(self.reserve))
            if not more:
                break
            self.reserve += more
        return self.reserve

    def chunk(self, n: int) -> list[Query]:
        """The next queries, `n` at most; none where there are none just now."""
        if self.reserve:
            chunk, self.reserve = self.reserve[:n], self.reserve[n:]
        else:
            chunk = self._take(n)
        self._handed += len(chunk)
        return chunk

    def size(self, share: Policy, children: int) -> int:
        """How many queries a chunk has by now, for one of so many children that has this share of the policy."""
        return max(1, min(CHUNK, max(FIRST, self._handed // (4 * children)), share.in_flight // 2))

    def quarantine(self, queries: list[Query], deaths: int) -> list[Query]:
        """A child died with these open, `deaths` in a row by now; returns those that are given up."""
        for query in queries:
            query.attempts = None
        if deaths >= DEATHS:
            return queries
        size = CHUNK if deaths == 1 else FIRST
        self.quarantined += [Quarantined(queries[at : at + size], deaths) for at in range(0, len(queries), size)]
        return []

    def _take(self, n: int) -> list[Query]:
        taken = None if self.exhausted else self._queries.take(n)
        if taken is None:
            self.exhausted = True
        return taken or []


def shares(policy: Policy, children: int, usual: int | None = None) -> list[Policy]:
    """The run's concurrency and rate, split over so many children.

    usual: a child's concurrency at most, where the policy names none.
    """
    most = policy.in_flight if policy.concurrency or usual is None else min(policy.in_flight, usual * children)
    least, rest = divmod(most, children)
    return [
        msgspec.structs.replace(
            policy,
            timeout=None,
            concurrency=least + (number < rest),
            rate=None if policy.rate is None else policy.rate / children,
        )
        for number in range(children)
    ]
