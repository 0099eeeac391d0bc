"""A chunk that a worker has in hand, from its arrival to its last lookup."""

from __future__ import annotations

import queue
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from resolver.blocks import HostLines, OpenLookups
from resolver.input.groups import cut
from resolver.processes.protocol import Unfinished
from resolver.tallies import NameserverTallies

if TYPE_CHECKING:
    from resolver.blocks import ResultBlock
    from resolver.distributed.payload import Chunk
    from resolver.model import Query

ASKED_PER_SLOT = 2  # chunks for each slot that wait, or are not asked to their end yet
HELD_PER_SLOT = 16  # and with those that only wait for their last replies


class AllAsked:
    """The point in a chunk's results at which all of its queries have been taken by the engine."""


class ActiveChunk:
    """A chunk in hand.

    Attributes:
        chunk: As it came.
        open: What has no result yet.
        size: How many lookups it came with.
        found: Blocks of results as they come, an AllAsked between them, then the fields of its last ChunkReport.
        tallies: Counts of each nameserver, for all chunks of its executor; there before the results are.
    """

    def __init__(self, chunk: Chunk, work: list[Query] | HostLines) -> None:
        self.chunk = chunk
        self.open = OpenLookups(work)
        self.size = len(self.open)
        # What the engine has not taken yet: queries or lines.
        self._queries = deque(self.open.queries.values())
        self._lines = work if isinstance(work, HostLines) else None
        self.tallies = NameserverTallies()
        self.found: queue.SimpleQueue[ResultBlock | AllAsked | dict[str, Any]] = queue.SimpleQueue()

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

    def end(self, over: str = "done", **fields: Any) -> None:
        """Have its last report say `over`, and what these fields hold."""
        self.found.put({"over": over, **fields})

    def leave(self, sentence: str, *, engine_failed: bool) -> None:
        """Leave it undone."""
        now = time.monotonic()
        unfinished = [Unfinished.of(query, now) for query in self.open.queries.values()]
        self.end("refused" if engine_failed else "back", sentence=sentence, unfinished=unfinished)
