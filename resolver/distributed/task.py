"""One chunk in a worker: from its arrival, by Celery, to its last report on the run's stream.

The one thing to know before changing anything here: a task never raises and never asks to be tried again. Whatever
becomes of a chunk, the coordinator is told, or finds out by itself; a task that came back by Celery would only be a
copy that nobody counts.
"""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from resolver.distributed.broker import LEASE, OVER, TIMED, Keys
from resolver.distributed.executor import AllAsked, CannotExecute, ChunkEnded
from resolver.distributed.outage import told
from resolver.distributed.payload import EncodedReport, Refused, decode_chunk, encode_report
from resolver.processes.protocol import joined

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.distributed.executor import ActiveChunk, Executors
    from resolver.distributed.payload import Chunk
    from resolver.model import Query
    from resolver.processes.protocol import Block

PART = 2000  # results that make a report full,
PART_OCTETS = 1 << 20  # or so many octets,
LINGER = 0.2  # and seconds between two reports of a chunk, where it is not full;
BRIEF, FEW = 0.05, 200  # and where the last had fewer results than so many: what is not reported is lost with a worker

log = logging.getLogger("resolver.distributed")


class TaskRunner:
    """What a worker does with each task that Celery brings. `done`: lookups, for people."""

    def __init__(self, name: str, teams: Executors, client: Any) -> None:
        self.name = name
        self.done = 0
        self.taken = 0  # of those that are held, how many are asked to their end
        self.on_room: Callable[[], None] = lambda: None  # to be called when there is room for other chunks
        self._teams = teams
        self._client = client
        self._leaving = threading.Event()
        self._lock = threading.Lock()
        self._in_hand: list[tuple[str, int]] = []  # run and number; one that came twice is in it twice
        self._authorities: dict[str, tuple[str, set[str]]] = {}  # each with its file, and the runs that have it

    def perform(self, text: object) -> None:
        """Look a chunk up, and report. Returns when it is done, or is another's again."""
        try:
            chunk, queries = decode_chunk(text)
        except Refused as refused:
            log.warning("a task was refused: %s", refused)
            return
        with self._lock:
            self._in_hand.append((chunk.run, chunk.number))
        try:
            self._perform(chunk, queries, Reporter(chunk, self.name, self._client, self._leaving))
        except Exception:
            log.exception("%s of this worker broke; the coordinator sends it again", _named(chunk))
        finally:
            with self._lock:
                self._in_hand.remove((chunk.run, chunk.number))

    @property
    def held(self) -> int:
        """How many chunks are in hand."""
        return len(self._in_hand)

    def has(self) -> dict[str, list[int]]:
        """The chunks that are in hand, by run."""
        found: dict[str, list[int]] = {}
        with self._lock:
            for run, number in self._in_hand:
                found.setdefault(run, []).append(number)
        return found

    def leave(self) -> None:
        """The worker ends: a report that Redis does not take now is not tried again."""
        self._leaving.set()

    def _perform(self, chunk: Chunk, queries: list[Query], reports: Reporter) -> None:
        began = time.monotonic()
        lives, seconds = reports.begin()
        if not lives:
            log.info("%s: its run is over; dropped", _named(chunk))
            return
        try:
            lot = self._teams.take(chunk, queries, self._certificates(chunk), seconds)
        except CannotExecute as unable:
            log.warning("%s is refused: %s", _named(chunk), unable)
            # To one that leaves it is no fault of the chunk's.
            reports.end("refused" if not self._leaving.is_set() else "back", str(unable))
            return
        if lot is None:
            reports.end("held", "it is in hand here already")
            return
        counts = self._follow(lot, reports)
        with self._lock:
            self.done += counts.total()
        figures = ", ".join(f"{status} {count:,}" for status, count in counts.most_common())
        log.info(
            "%s: %s of %s lookups in %.2f s%s%s",
            _named(chunk),
            f"{counts.total():,}",
            f"{len(chunk.queries):,}",
            time.monotonic() - began,
            f": {figures}" if figures else "",
            f"; left: {reports.sentence}" if reports.sentence else "",
        )

    def _follow(self, lot: ActiveChunk, reports: Reporter) -> Counter[str]:
        counted = 0

        def taken() -> None:
            nonlocal counted
            counted = 1
            with self._lock:
                self.taken += 1
            self.on_room()

        try:
            return reports.follow(lot, taken)
        finally:
            with self._lock:
                self.taken -= counted

    def _certificates(self, chunk: Chunk) -> str | None:
        """A file with the run's certificates, the same in each of its chunks. It stays while one of its runs lives."""
        if chunk.authority is None:
            return None
        alive = self._teams.runs() | self.has().keys()
        with self._lock:
            if chunk.authority not in self._authorities:
                for authority, (path, runs) in list(self._authorities.items()):
                    if len(self._authorities) >= 16 and not runs & alive:
                        del self._authorities[authority]
                        os.unlink(path)
                fd, path = tempfile.mkstemp(prefix="resolve-authority-", suffix=".pem")
                with open(fd, "w", encoding="ascii", errors="replace") as file:
                    file.write(chunk.authority)
                self._authorities[chunk.authority] = path, set()
            path, runs = self._authorities[chunk.authority]
            runs.intersection_update(alive)
            runs.add(chunk.run)
            return path

    def close(self) -> None:
        """Remove the files. Where a worker is slow to end, two threads may come to that."""
        while self._authorities:
            os.unlink(self._authorities.popitem()[1][0])


class Reporter:
    """What is told of one chunk, on its run's stream. `sentence`: why it was left, if it was."""

    def __init__(self, chunk: Chunk, worker: str, client: Any, leaving: threading.Event) -> None:
        self.sentence: str | None = None
        self._chunk = chunk
        self._worker = worker
        self._client = client
        self._leaving = leaving
        self._keys = Keys.of(chunk.run)

    def begin(self) -> tuple[bool, float | None]:
        """Say that it is begun. Is its run alive, and how many seconds has that (None: as many as it takes)?"""

        def ask(pipe: Any) -> None:
            pipe.get(self._keys.alive)
            pipe.pttl(self._keys.ends)

        lease, ends = self._try(ask) or (None, 0)
        lease = (lease or OVER.encode()).decode(errors="replace")
        if lease == OVER or (lease == TIMED and ends < 0):
            return False, None
        self._send(self._report())
        return True, ends / 1000 if lease == TIMED else None

    def follow(self, lot: ActiveChunk, taken: Callable[[], None]) -> Counter[str]:
        """Report what is found, until the chunk ends. Returns how many results there were of each status.

        `taken` is called when all of it is being asked.
        """
        counts: Counter[str] = Counter()
        held: list[Block] = []
        size = octets = 0
        sent, linger = 0.0, BRIEF
        while True:
            try:
                item = lot.found.get(timeout=max(0.0, sent + linger - time.monotonic()) if held else None)
            except queue.Empty:
                item = None
            if isinstance(item, ChunkEnded):
                break
            if isinstance(item, AllAsked):
                taken()
            elif item is not None:
                counts.update(item.statuses)
                held.append(item)
                size += len(item)
                octets += len(memoryview(item.results))
            full = size >= PART or octets >= PART_OCTETS
            if full or isinstance(item, AllAsked) or time.monotonic() - sent >= linger:
                self._send(self._report(results=joined(held), taken=isinstance(item, AllAsked)))
                linger = BRIEF if size < FEW else LINGER
                held, size, octets, sent = [], 0, 0, time.monotonic()
        self.sentence = item.sentence
        if item.sent:
            counts["sent"] = item.sent
        if item.failed:
            counts["failed"] = item.failed
        self._send(
            self._report(
                results=joined(held),
                over="done" if item.sentence is None else "refused" if item.broke else "back",
                sentence=item.sentence,
                unfinished=item.unfinished,
                sent=item.sent,
                failed=item.failed,
                reasons=list(item.reasons),
            )
        )
        return counts

    def end(self, over: str, sentence: str) -> None:
        """It is not done here."""
        self.sentence = sentence
        self._send(self._report(over=over, sentence=sentence[:4000]))

    def _report(self, **more: Any) -> EncodedReport:
        return EncodedReport(self._chunk.number, self._chunk.copy, self._worker, **more)

    def _send(self, report: EncodedReport) -> None:
        octets = encode_report(report)

        def add(pipe: Any) -> None:
            pipe.xadd(self._keys.results, {"report": octets})
            # Where the coordinator is gone, nobody else clears it away.
            pipe.pexpire(self._keys.results, int(4000 * LEASE))

        self._try(add)

    def _try(self, fill: Callable[[Any], None]) -> Any:
        """Send what this puts into a pipeline, however long the Redis is away; None where the worker leaves before."""
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
