"""One chunk in a worker: from its arrival, by Celery, to its last report on the run's stream.

A task never raises and never asks Celery for another try: whatever becomes of a chunk, the coordinator is told, or
finds out by itself, and sends it again.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import RedisError

from resolver.distributed.active_chunk import ActiveChunk, AllAsked
from resolver.distributed.broker import LEASE, OVER, TIMED, Keys
from resolver.distributed.executor_pool import CannotExecute
from resolver.distributed.outage import told
from resolver.distributed.payload import ChunkReport, Refused, decode_chunk, encode_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resolver.blocks import ResultBlock
    from resolver.distributed.executor_pool import ExecutorPool
    from resolver.distributed.payload import Chunk

PART = 3000  # results that make a report full,
PART_OCTETS = 1 << 20  # or so many octets,
LINGER = 0.2  # and seconds between two reports of a chunk, where it is not full;
BRIEF, FEW = 0.05, 200  # and where the last had fewer results than so many: what is not reported is lost with a worker

ONE_WAY = {"TIMEOUT": "sent", "ERROR": "failed"}  # words for the statuses of one-way queries (wire/oneway.py)

log = logging.getLogger("resolver.distributed")


class TaskRunner:
    """Performs the tasks that Celery brings.

    Attributes:
        done: How many lookups were done, in chunks that are over.
        statuses: How many results each status has, in chunks that are over.
    """

    def __init__(self, name: str, executors: ExecutorPool, client: Any) -> None:
        self.name = name
        self.done = 0
        self.statuses: Counter[str] = Counter()
        self.on_room: Callable[[], None] = lambda: None  # called when there is room for other chunks
        self._executors = executors
        self._client = client
        self._leaving = threading.Event()
        self._lock = threading.Lock()
        self._active: list[ActiveChunk] = []  # one that came twice is in it twice; others read a copy

    def perform(self, text: object) -> None:
        """Look a chunk up, and report. Returns when it is done, or was handed back."""
        try:
            active = ActiveChunk(*decode_chunk(text))
        except Refused as refused:
            log.warning("a task was refused: %s", refused)
            return
        self._active.append(active)
        try:
            self._perform(active, Reporter(active.chunk, self.name, self._client, self._leaving))
        except Exception:
            log.exception("%s of this worker broke; the coordinator sends it again", _named(active.chunk))
        finally:
            self._active.remove(active)

    @property
    def held(self) -> int:
        """How many chunks are in hand."""
        return len(self._active)

    @property
    def all_asked(self) -> int:
        """How many of them have all their queries being asked."""
        return sum(not each.waiting for each in self._active.copy())

    @property
    def open(self) -> int:
        """How many lookups there are in them."""
        return sum(each.size for each in self._active.copy())

    def active(self) -> dict[str, list[int]]:
        """Return the numbers of the chunks in hand, by run."""
        found: dict[str, list[int]] = {}
        for each in self._active.copy():
            found.setdefault(each.chunk.run, []).append(each.chunk.number)
        return found

    def leave(self) -> None:
        """Try no report again that Redis does not take now: the worker ends."""
        self._leaving.set()

    def _perform(self, active: ActiveChunk, reporter: Reporter) -> None:
        began, chunk = time.monotonic(), active.chunk
        alive, seconds = reporter.begin()
        if not alive:
            log.info("%s: its run is over; dropped", _named(chunk))
            return
        try:
            taken = self._executors.take(active, seconds)
        except CannotExecute as error:
            log.warning("%s is refused: %s", _named(chunk), error)
            # A worker that leaves refuses it for no fault of the chunk's.
            reporter.end("refused" if not self._leaving.is_set() else "back", str(error))
            return
        if not taken:
            reporter.end("held", "it is in hand here already")
            return
        counts, sentence = reporter.follow(active, self.on_room)
        with self._lock:
            self.done += counts.total()
            if not chunk.oneway:  # where no reply is awaited, none says anything
                self.statuses.update(counts)
        words = ONE_WAY if chunk.oneway else {}
        figures = ", ".join(f"{words.get(status, status)} {count:,}" for status, count in counts.most_common())
        log.info(
            "%s: %s of %s lookups in %.2f s%s%s",
            _named(chunk),
            f"{counts.total():,}",
            f"{active.size:,}",
            time.monotonic() - began,
            f": {figures}" if figures else "",
            f"; left: {sentence}" if sentence else "",
        )


class Reporter:
    """Reports of one chunk, to its run's stream."""

    def __init__(self, chunk: Chunk, worker: str, client: Any, leaving: threading.Event) -> None:
        self._chunk = chunk
        self._worker = worker
        self._client = client
        self._leaving = leaving
        self._keys = Keys.of(chunk.run)

    def begin(self) -> tuple[bool, float | None]:
        """Report that the chunk is begun.

        Returns:
            Whether its run is alive, and the seconds that the run has left (None: as many as it takes).
        """
        reply = self._execute(lambda pipe: pipe.get(self._keys.alive).pttl(self._keys.ends))
        lease, milliseconds = reply or (None, 0)
        lease = (lease or OVER.encode()).decode(errors="replace")
        if lease == OVER or (lease == TIMED and milliseconds < 0):
            return False, None
        self._send()
        return True, milliseconds / 1000 if lease == TIMED else None

    def follow(self, active: ActiveChunk, on_room: Callable[[], None]) -> tuple[Counter[str], str | None]:
        """Report results as they come, until the chunk ends.

        Args:
            active: The chunk.
            on_room: Called when all of its queries are being asked: there is room for another chunk.

        Returns:
            How many results there were of each status, and why it was left undone, if it was.
        """
        counts: Counter[str] = Counter()
        held: list[ResultBlock] = []
        size = octets = 0
        taken = False
        sent, linger = time.monotonic(), LINGER  # that it was begun has been told just now
        while True:
            try:
                item = active.found.get(timeout=max(0.0, sent + linger - time.monotonic()) if held or taken else None)
            except queue.Empty:
                item = None
            if isinstance(item, dict):
                break
            if isinstance(item, AllAsked):
                taken = True
                on_room()
            elif item is not None:
                counts.update(item.statuses)
                held.append(item)
                size += item.count
                octets += len(item.body)
            if size >= PART or octets >= PART_OCTETS or time.monotonic() - sent >= linger:
                self._send(held, taken=taken, tallies=active.tallies.take())
                linger = BRIEF if size < FEW else LINGER
                held, size, octets, taken, sent = [], 0, 0, False, time.monotonic()
        self._send(held, tallies=active.tallies.take(), **item)
        return counts, item.get("sentence")

    def end(self, over: str, sentence: str) -> None:
        """Report that the chunk is not done here."""
        self._send(over=over, sentence=sentence[:4000])

    def _send(self, blocks: Sequence[ResultBlock] = (), **fields: Any) -> None:
        bodies: list[Any] = [msgspec.Raw(block.body) for block in blocks if not block.lines]
        lines = [block for block in blocks if block.lines]
        entry: Any = encode_report(
            ChunkReport(self._chunk.number, self._chunk.copy, self._worker, bodies, lines=lines, **fields)
        )
        results = self._keys.results
        # Where the coordinator is gone, nobody else removes the stream.
        self._execute(lambda pipe: pipe.xadd(results, entry).pexpire(results, int(4000 * LEASE)))

    def _execute(self, fill: Callable[[Any], object]) -> Any:
        """Execute a pipeline, however long the Redis is away; None where the worker leaves before."""
        wait = 0.05
        while True:
            # A new one each time: a pipeline that failed has forgotten its commands, and sends nothing the next time.
            pipe = self._client.pipeline(transaction=False)
            fill(pipe)
            try:
                return pipe.execute()
            except (RedisError, OSError) as error:
                log.debug("the Redis does not take a report: %s", told(error))
            if self._leaving.wait(wait):
                return None
            wait = min(1.0, 2 * wait)


def _named(chunk: Chunk) -> str:
    return f"chunk {chunk.number} of run {chunk.run[:8]}"
