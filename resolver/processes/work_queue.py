"""Queries on their way to a run's children: new ones, those in reserve, and those that a child died of.

Whatever a child had open when it died may have killed it. Such queries are in quarantine: they are asked again alone in
a child, so that the next death concerns nobody else, and given up after the third.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from resolver.seam import LineQueries

if TYPE_CHECKING:
    from resolver.blocks import HostLines
    from resolver.model import Query
    from resolver.policy import Policy
    from resolver.seam import Queries

FIRST = 16  # queries in a chunk at first, so that a short list is spread
CHUNK = 1024  # and later
DEATHS = 3  # children that a chunk may take with it


class WorkQueue:
    """The queries of a run that no child has yet.

    Attributes:
        exhausted: No more will come.
        reserve: Queries that were taken and not handed out.
        quarantined: Chunks that were open in a child that died, each with how many children died of it.
    """

    def __init__(self, queries: Queries) -> None:
        self.exhausted = False
        self.reserve: list[Query] = []
        self.quarantined: deque[tuple[list[Query], int]] = deque()
        self._queries = queries
        self._by_line = queries if isinstance(queries, LineQueries) else None
        self._handed_out = 0

    @property
    def empty(self) -> bool:
        """Nothing is left to hand out, unless another child dies."""
        return self.exhausted and not self.reserve and not self.quarantined

    def stock(self, n: int) -> list[Query]:
        """Take queries until `n` are in reserve, as far as there are any; return the reserve."""
        while not self.exhausted and len(self.reserve) < n:
            more = self._take(n - len(self.reserve))
            if not more:
                break
            self.reserve += more
        return self.reserve

    def chunk(self, n: int) -> list[Query] | HostLines:
        """Return the next queries, `n` at most; an empty list where there are none just now."""
        if self.reserve:
            chunk, self.reserve = self.reserve[:n], self.reserve[n:]
        else:
            if self._by_line is not None and (lines := self._by_line.take_lines(n)) is not None:
                self._handed_out += len(lines)
                return lines
            chunk = self._take(n)
        self._handed_out += len(chunk)
        return chunk

    def size(self, share: Policy, children: int) -> int:
        """Return how many queries a chunk has by now, for one of `children` that has this share of the policy."""
        return max(1, min(CHUNK, max(FIRST, self._handed_out // (4 * children)), share.in_flight))

    def quarantine(self, queries: list[Query], deaths: int) -> list[Query]:
        """Keep what a child died of, the `deaths`-th in a row; return those queries that are to be given up."""
        for query in queries:
            query.attempts = None
        if deaths >= DEATHS:
            return queries
        size = CHUNK if deaths == 1 else FIRST
        self.quarantined += [(queries[at : at + size], deaths) for at in range(0, len(queries), size)]
        return []

    def _take(self, n: int) -> list[Query]:
        taken = None if self.exhausted else self._queries.take(n)
        self.exhausted = taken is None
        return taken or []


def shares(policy: Policy, children: int, usual: int | None = None) -> list[Policy]:
    """Split the run's concurrency and rate over its children.

    Args:
        usual: A child's concurrency at most, where the policy names none.
    """
    most = policy.in_flight if policy.concurrency or usual is None else min(policy.in_flight, usual * children)
    least, rest = divmod(most, children)
    rate = None if policy.rate is None else policy.rate / children
    return [
        msgspec.structs.replace(policy, timeout=None, concurrency=least + (number < rest), rate=rate)
        for number in range(children)
    ]
