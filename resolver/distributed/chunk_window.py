"""Size of a run's chunks, and how many of them are out: enough that no worker runs dry, and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.distributed.payload import MAX_QUERIES

if TYPE_CHECKING:
    from resolver.policy import Policy

WINDOW = 3  # chunks out for each slot that are not all asked yet: those in work, and some to go on with;
SHORT_WINDOW, SHORT_CHUNK = 6, 1.0  # and where a chunk takes less than so many seconds, much of it on its way
MAX_OUT = 20  # and with those that only wait for their last replies
LOOKUPS_PER_SLOT = 15_000  # lookups out for each slot: a slow reader of results soon slows the reading of hosts;
MAX_LOOKUPS_PER_SLOT = 40_000  # where as many have come back: fast workers must not wait for the next chunk
MAX_OPEN = 1_000_000  # and in all: the coordinator and the Redis never hold more
FIRST = 128  # lookups in the first chunks, so that a short list is shared
TARGET = 4.0  # seconds that a chunk should take,
CHUNKS = 50  # or, with very many slots, as long that about so many are sent in a second: each costs milliseconds


class ChunkWindow:
    """Room for chunks of one run.

    Attributes:
        open: Lookups out without a result.
        taken: Chunks out that are all asked.
        parties: Shares of the run's limits; None: it has none, or nobody has a share yet.
    """

    def __init__(self, policy: Policy) -> None:
        self.open = 0
        self.taken = 0
        self.parties: int | None = None
        self._concurrency, self._rate = policy.concurrency, policy.rate
        self._launched = 0
        self._per_lookup: float | None = None  # seconds that a lookup adds to a chunk, of late

    @property
    def limited(self) -> bool:
        """Whether the run has limits, of which a chunk has a share."""
        return bool(self._concurrency or self._rate)

    def launched(self, lookups: int) -> None:
        """Count the lookups of a chunk that goes out."""
        self._launched += lookups
        self.open += lookups

    def took(self, per_lookup: float) -> None:
        """Record the seconds that each lookup added to a chunk that is done."""
        self._per_lookup = per_lookup if self._per_lookup is None else 0.7 * self._per_lookup + 0.3 * per_lookup

    def room(self, slots: int, out: int) -> int:
        """Return how many lookups the next chunk may have, where so many chunks are out; 0: none may be sent now."""
        concurrency, rate = self._concurrency, self._rate
        if self.limited:
            share = min(slots, concurrency or slots)
            if not out and share:
                # The run's limits in so many shares, and as many chunks: whoever has these, together they keep below.
                self.parties = share
            if self.parties is None or share > self.parties:
                return 0  # nobody is there; or more than before: what is out ends first
        slots = max(1, slots)
        first = max(FIRST, 4 * (concurrency or 0) // (self.parties or 1))  # a share is for one chunk at a time
        size = max(min(first, MAX_QUERIES), min(MAX_QUERIES, self._launched // slots, MAX_OPEN // (2 * slots)))
        if self._per_lookup:
            size = min(size, max(FIRST, int(max(TARGET, slots / CHUNKS) / self._per_lookup)))
        if rate:
            size = min(size, max(1, int(TARGET * rate / (self.parties or 1))))
        done = (self._launched - self.open) // slots
        most = min(MAX_OPEN, max(LOOKUPS_PER_SLOT, min(done, MAX_LOOKUPS_PER_SLOT)) * slots)
        return size if self.open + size <= most and not self._full(size, slots, out) else 0

    def _full(self, size: int, slots: int, out: int) -> bool:
        """Return whether enough chunks are out, where the next one has this size."""
        if self.parties is not None:
            return out >= self.parties
        window = SHORT_WINDOW if self._per_lookup is not None and self._per_lookup * size < SHORT_CHUNK else WINDOW
        return out - self.taken >= window * slots or out >= MAX_OUT * slots
