"""A chunk that a worker has in hand, from its arrival to its last lookup."""

from __future__ import annotations

import queue
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from resolver.blocks import HostLines, OpenLookups
from resolver.input.plain import cut
from resolver.processes.protocol import Unfinished
from resolver.tallies import NameserverTallies

if TYPE_CHECKING:
    from resolver.blocks import ResultBlock
    from resolver.model import Query

ASKED_PER_SLOT = 2  # chunks for each slot that wait, or are not asked to their end yet
HELD_PER_SLOT = 16  # and with those that only wait for their last replies


class ChunkEnded(NamedTuple):
    """The end of a chunk.

    sentence: why it was left undone; None where it was not. unfinished: how far its lookups came. engine_failed: its
    engine raised.
    """

    sentence: str | None
    unfinished: list[Unfinished]
    engine_failed: bool = False


class AllAsked:
    """The point in a chunk's results at which all of its queries have been taken by the engine."""


class ActiveChunk:
    """A chunk in hand.

    Attributes:
        open: What has no result yet.
        found: Blocks of results as they come, an AllAsked between them, then a ChunkEnded.
        tallies: Counts of each nameserver, for all chunks of its executor; there before the results are.
    """

    def __init__(self, work: list[Query] | HostLines) -> None:
        self.open = OpenLookups(work)
        # What the engine has not taken yet: queries or lines.
        self._queries: deque[Query] = deque()
        self._lines: HostLines | None = None
        if isinstance(work, HostLines):
            self._lines = work
        else:
            self._queries.extend(self.open.queries.values())
        self.tallies = NameserverTallies()
        self.found: queue.SimpleQueue[ResultBlock | AllAsked | ChunkEnded] = queue.SimpleQueue()

    @property
    def waiting(self) -> bool:
        """Whether the engine has not taken all of it yet."""
        return bool(self._queries) or self._lines is not None

    def take(self, n: int) -> list[Query]:
        """Take up to `n` queries; none where lines wait."""
        return [self._queries.popleft() for _ in range(min(n, len(self._queries)))]

    def take_lines(self, n: int) -> HostLines | None:
        """Take up to `n` lines, where those wait."""
        if self._lines is None:
            return None
        taken, self._lines = cut(self._lines, n)
        return taken

    def leave(self, sentence: str, *, engine_failed: bool) -> None:
        """Leave it undone."""
        now = time.monotonic()
        unfinished = [Unfinished.of(query, now) for query in self.open.queries.values()]
        self.found.put(ChunkEnded(sentence, unfinished, engine_failed))
