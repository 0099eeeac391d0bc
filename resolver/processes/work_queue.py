"""Queries on their way to a run's children or workers: new ones, those in reserve, and those that a child died of.

Whatever a child had open when it died may have killed it. Such queries are in quarantine: they are asked again alone in
a child, so that the next death concerns nobody else, and given up after the third.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from resolver.blocks import HostLines
from resolver.input.groups import cut
from resolver.seam import LineQueries

if TYPE_CHECKING:
    from resolver.model import Query
    from resolver.policy import Policy
    from resolver.seam import Queries

FIRST = 16  # queries in a chunk at first, so that a short list is spread
CHUNK = 1024  # and later
DEATHS = 3  # children that a chunk may take with it
JOINED = 3 << 20  # octets of lines to which no more are joined


class WorkQueue:
    """The queries of a run that nobody has yet, as the lines that they stand in where that can be.

    Quarantine and `size` are for children: the chunks of workers, and what those died of, are the coordinator's.

    Attributes:
        exhausted: No more will come.
        quarantined: Chunks that were open in a child that died, each with how many children died of it.
    """

    def __init__(self, queries: Queries, *, lines: bool = True) -> None:
        """Args: lines: They may be lines."""
        self.exhausted = False
        self.quarantined: deque[tuple[list[Query], int]] = deque()
        self._queries = queries
        self._by_line = queries if lines and isinstance(queries, LineQueries) else None
        self._reserve: deque[list[Query] | HostLines] = deque()  # taken, and not handed out
        self._handed_out = 0

    @property
    def reserve(self) -> int:
        """How many queries were taken and not handed out."""
        return sum(map(len, self._reserve))

    @property
    def empty(self) -> bool:
        """Nothing is left to hand out, unless another child dies."""
        return self.exhausted and not self._reserve and not self.quarantined

    def stock(self, n: int) -> int:
        """Take queries until `n` are in reserve, as far as there are any; return how many are."""
        while (missing := n - self.reserve) > 0:
            last = self._reserve[-1] if self._reserve else None
            # Behind queries, lines are read as queries: a chunk is of one kind, and would end wherever they alternate.
            if not (more := self._take(missing, lines=not isinstance(last, list))):
                break
            if isinstance(last, list) and isinstance(more, list):
                last += more
            elif isinstance(last, HostLines) and isinstance(more, HostLines) and _follow(last, more):
                self._reserve[-1] = last.then(more)
            else:
                self._reserve.append(more)
        return self.reserve

    def chunk(self, n: int) -> list[Query] | HostLines:
        """Return the next queries, `n` at most; an empty list where there are none just now."""
        work = self._reserve.popleft() if self._reserve else self._take(n)
        chunk, rest = cut(work, n) if isinstance(work, HostLines) else (work[:n], work[n:])
        if rest:
            self._reserve.appendleft(rest)
        self._handed_out += len(chunk)
        return chunk

    def put_back(self, queries: list[Query]) -> None:
        """Keep these, which say how far they came, in place of the lines that they stood in."""
        if self._by_line is not None:
            self._by_line.put_back(queries)

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

    def _take(self, n: int, *, lines: bool = True) -> list[Query] | HostLines:
        if self.exhausted:
            return []
        if lines and self._by_line is not None and (block := self._by_line.take_lines(n)) is not None:
            return block
        taken = self._queries.take(n)
        self.exhausted = taken is None
        return taken or []


def _follow(lines: HostLines, more: HostLines) -> bool:
    """Tell whether lines may be joined. Between two takes there may have been some that cannot be asked."""
    return more.first == lines.indices.stop and more.type == lines.type and len(lines.octets) <= JOINED


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
