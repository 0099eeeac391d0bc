"""A chunk that a worker has in hand, from its arrival to its last lookup."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, NamedTuple

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
    engine raised. sent, failed, reasons: of a one-way chunk.
    """

    sentence: str | None
    unfinished: list[Unfinished]
    engine_failed: bool = False
    sent: int = 0
    failed: int = 0
    reasons: tuple[str, ...] = ()


class AllAsked:
    """The point in a chunk's results at which all of its queries have been taken by the engine."""


class ActiveChunk:
    """A chunk in hand. `found`: blocks of results as they come, an AllAsked between them, then a ChunkEnded.

    `tallies`: what is counted of each nameserver, for all chunks of its executor; there before the results are.
    """

    def __init__(self, queries: list[Query]) -> None:
        self.open = {query.index: query for query in queries}
        self.waiting = len(self.open)  # queries that the engine has not taken yet
        self.tallies = NameserverTallies()
        self.found: queue.SimpleQueue[ResultBlock | AllAsked | ChunkEnded] = queue.SimpleQueue()

    def leave(self, sentence: str, *, engine_failed: bool) -> None:
        """Leave it undone."""
        now = time.monotonic()
        unfinished = [Unfinished.of(query, now) for query in self.open.values()]
        self.found.put(ChunkEnded(sentence, unfinished, engine_failed))
