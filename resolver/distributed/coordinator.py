"""The rules of a run's coordinator: which chunk to send when, and which result to believe. No I/O, no clock of its own.

It remembers each query until its result has come. `launch` cuts a chunk, `on_report` takes a worker's report,
`on_snapshot` is told once a second which workers are there and how long the queue is, and `resends` returns the chunks
to be sent another time.

A chunk is sent again when
  - the worker that began it is gone: its beats have ended;
  - the worker that began it has it no more: its last report was lost;
  - a worker gives it back, with whatever it did not finish;
  - nobody began it, and it is not in the queue: Redis lost it, or a worker died that had just taken it;
  - the worker that has it is there but has long said nothing of it;
  - there is nothing else to send, workers are idle, and it takes much longer than others did.
Only lookups without a result are sent again. All copies may answer; the first result for each index counts.

A worker that dies may have died of a chunk. A chunk that three workers died with is given up as ERROR. Lest a lookup be
given up for its company, a chunk that two died with is first cut in pieces, and these go out one at a time, or a few
where there are many workers; pieces that were together in a worker that died are tried again.

All times are seconds on one monotonic clock, the caller's.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from itertools import chain
from typing import TYPE_CHECKING

from resolver.distributed.chunk_window import ChunkWindow
from resolver.distributed.outstanding import Order, Outstanding
from resolver.model import Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from resolver.blocks import HostLines, ResultBlock
    from resolver.distributed.payload import ChunkReport
    from resolver.model import Query
    from resolver.policy import Policy

GRACE = 3.0  # seconds in which a chunk that was sent is in the queue or begun, and a worker that began one is seen
STALE = 6.0  # seconds: more than a beat lasts, so a worker's beat is newer than the report heard before
SILENCE = 60.0  # seconds without a report of a chunk, beyond the time that its queries may wait
MAX_DEATHS = 3  # workers that may die with a chunk
PIECES = 8  # of a chunk that two workers died with
APART = 8  # workers for each piece that is out, so that two seldom meet
MAX_REFUSALS = 3  # workers that may refuse a chunk, where there are as many
SLOW = 3.0  # times the usual: at the end, a chunk that takes so long is sent to idle workers too
SUSPECT = 30.0  # seconds more for a chunk that a worker died with: one that does no harm in that time may be copied
MAX_COPIES = 4  # workers that have one chunk in hand: more than two, since the second may be slow as well


class Coordinator:
    """The chunks of one run.

    Attributes:
        exhausted: To be set when no more queries will come.
        ending: To be set when the run ends early: chunks that come back are not sent again.
        workers: Slots by name, as of the last snapshot.
        slots: The sum of these.
        recovered: Sentences about what went wrong and was mended, for a log that empties the list.
        blocks: Results that came as lines and count, for the caller to take out.
    """

    def __init__(
        self,
        policy: Policy,
        engine: str,
        backend: str,
        put_back: Callable[[list[Query]], None] = lambda queries: None,
    ) -> None:
        """Args: put_back: Gets queries that had to be read from the lines that they stand in."""
        self.exhausted = False
        self.ending = False
        self.workers: Mapping[str, int] = {}
        self.slots = 0
        self.recovered: list[str] = []
        self.blocks: list[ResultBlock] = []
        self._put_back = put_back
        self._window = ChunkWindow(policy)
        self._wait = math.fsum(policy.wait(attempt) for attempt in range(1, policy.tries + 1))
        self._names = engine, backend
        self._out: dict[int, Outstanding] = {}
        self._next = 0
        self._took: deque[float] = deque(maxlen=32)  # seconds that the latest chunks took
        self._youngest = (-1, 0.0)  # the latest of the chunks that were begun, and when
        self._snapshot_at = -math.inf
        self._steady_since = -math.inf  # since then there was a snapshot about every second
        self._empty: deque[float] = deque()  # when the queue was empty; reports of then may be unread
        self._emptied = -math.inf  # when it last was empty, of the times whose reports are all read
        self._again: deque[Order] = deque()
        self._pieces: deque[tuple[list[Query], int]] = deque()  # to be sent; with the deaths of each
        self._probes: set[int] = set()  # the pieces that are out
        self._probes_held: Counter[str] = Counter()  # by worker
        self._one_probe = False  # two met in a worker that died: one at a time, until none is left
        self._given_up: list[Result] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is out, and nothing is to be sent again."""
        return not (self._out or self._pieces or self._given_up)

    def begun(self) -> Iterator[Query]:
        """Yield the queries that some worker has in hand."""
        for chunk in self._out.values():
            if chunk.holders:
                yield from self._read(chunk)

    # --- Out.

    def room(self) -> int:
        """Return how many lookups the next chunk may have; 0: none may be sent now."""
        return self._window.room(self.slots, len(self._out))

    def launch(self, work: list[Query] | HostLines, now: float) -> Order:
        """Make a chunk of these queries, or of the lines that they stand in; it counts as sent."""
        chunk = self._new(work, now)
        self._window.launched(chunk.size)
        return self._order(chunk)

    def resends(self, now: float) -> list[Order]:
        """Return the chunks to be sent another time; they count as sent."""
        self._one_probe = self._one_probe and bool(self._pieces or self._probes)
        most = 1 if self._one_probe else max(1, len(self.workers) // APART)
        while self._pieces and len(self._probes) < most:
            queries, deaths = self._pieces.popleft()
            chunk = self._new(queries, now, deaths)
            self._probes.add(chunk.number)
            self._again.append(self._order(chunk))
        orders, self._again = list(self._again), deque()
        return orders

    # --- In.

    def on_report(self, report: ChunkReport, now: float) -> list[Result]:
        """Take a worker's report of a chunk; return the results that count."""
        chunk = self._out.get(report.chunk)
        if chunk is None:
            return []
        self._on_begun(chunk, report, now)
        opened = [each for block in report.lines for each in self._pass_on(chunk, block)]
        if report.results:
            self._read(chunk)  # the worker wrote some itself: of a line, the query is needed
        results = []
        for result in chain(opened, *report.results):
            query = chunk.open.queries.get(result.index)
            if query is None or (query.name, query.type) != (result.name, result.type):
                continue
            del chunk.open.queries[result.index]
            result.input = query.input
            result.engine = self._names[0]
            if query.attempts is None:
                result.attempts = None  # somebody else asked too
            results.append(result)
        self._window.open -= len(results)
        if not chunk.open:
            self._on_done(chunk, now)
        elif report.over is not None and report.over != "held":
            self._on_handed_back(chunk, report, now)
        return results

    def _pass_on(self, chunk: Outstanding, block: ResultBlock) -> list[Result]:
        """Take a block of lines unopened, or return its results, where they have to be looked at one by one."""
        if chunk.lines is not None and chunk.open.remove_all(block.bits, block.count):
            self._window.open -= block.count
            self.blocks.append(block)
            return []
        self._read(chunk)
        try:
            return block.results()
        except (ValueError, RecursionError):  # on arrival only the indices are looked at
            self.recovered.append(f"lines of chunk {chunk.number} are dropped, since they are no results")
            return []

    def on_redis_back(self, now: float) -> None:
        """Record that the Redis was away, or has lost its data: workers and chunks may only not be seen yet."""
        self._steady_since = now

    def on_snapshot(
        self,
        workers: Mapping[str, int],
        queued: int,
        now: float,
        behind: float = 0.0,
        held: Mapping[str, Collection[int]] | None = None,
    ) -> list[Result]:
        """Take a snapshot of workers and queue; return the results of chunks that are given up.

        To be called about once a second while the Redis can be asked, and not while it cannot: after that, workers
        have a while to be seen again.

        Args:
            workers: Slots by name.
            queued: Tasks in the queue.
            now: The time.
            behind: Seconds by which the latest report that was heard is older than the snapshot.
            held: Numbers of the chunks that each worker says it has in hand.
        """
        self.workers = workers
        self.slots = sum(workers.values())
        if now - self._snapshot_at > GRACE:
            self._steady_since = now
        self._snapshot_at = now
        if not queued:
            self._empty.append(now)
        while self._empty and self._empty[0] <= now - behind:
            self._emptied = self._empty.popleft()
        self._probes_held = Counter(name for number in self._probes for name in self._out[number].holders)
        if self._steady_since < now - behind - GRACE:
            for chunk in list(self._out.values()):
                self._check(chunk, now, now - behind, held or {})
        if self.exhausted and not queued and behind < GRACE:
            self._copy_late_chunks(now)
        given_up, self._given_up = self._given_up, []
        return given_up

    # --- One chunk.

    def _check(self, chunk: Outstanding, now: float, read_to: float, held: Mapping[str, Collection[int]]) -> None:
        """Send a chunk again that is lost, as far as the workers, the queue and the reports until `read_to` show."""
        holders, settled = chunk.holders, read_to - GRACE  # the lack of an event since then means nothing yet
        gone, rid = [], []
        for name, heard in holders.items():
            if name not in self.workers:
                gone += [name] * (heard < settled)
            elif name in held and heard < read_to - STALE and chunk.number not in held[name]:
                rid.append(name)
        for name in gone or rid:
            del holders[name]
        if gone:
            chunk.deaths += len(gone)
            self._on_deaths(chunk, gone, now)
        elif rid:
            self._forget_attempts(chunk)
            if not holders and chunk.sent is None:
                self._resend(chunk, now, f"was done, and the word of it was lost ({', '.join(rid)})")
        elif chunk.sent is not None and chunk.sent < settled and self._lost_on_its_way(chunk, settled):
            self._resend(chunk, now, "was lost on its way")
        elif chunk.sent is None and not holders:
            self._resend(chunk, now, "was refused by a worker")
        elif holders and max(holders.values()) < settled - SILENCE - 2 * self._wait:
            self._forget_attempts(chunk)
            self._resend(chunk, now, "was begun, and nothing more was heard")
            holders.clear()

    def _new(self, work: list[Query] | HostLines, now: float, deaths: int = 0) -> Outstanding:
        chunk = self._out[self._next] = Outstanding.of(self._next, work, self._window.parties, now, deaths)
        self._next += 1
        return chunk

    def _order(self, chunk: Outstanding) -> Order:
        return Order(chunk.number, chunk.copies - 1, chunk.queries, chunk.parties, chunk.lines)

    def _read(self, chunk: Outstanding) -> list[Query]:
        """Return the open queries of a chunk, read from their lines where they stand in some.

        Lines that cannot be asked get their result with those that are given up.
        """
        if chunk.lines is not None:
            invalid = chunk.read(*self._names)
            self._window.open -= len(invalid)
            self._given_up += invalid
            self._put_back(chunk.queries)
        return chunk.queries

    def _forget_attempts(self, chunk: Outstanding) -> list[Query]:
        """Return the open queries of a chunk, marked as asked an unknown number of times."""
        queries = self._read(chunk)
        for query in queries:
            query.attempts = None
        return queries

    def _on_begun(self, chunk: Outstanding, report: ChunkReport, now: float) -> None:
        if report.copy == chunk.copies - 1:
            chunk.sent = None
        if chunk.began is None:
            chunk.began = now
            if chunk.number > self._youngest[0]:
                self._youngest = chunk.number, now
        if chunk.holders and report.worker not in chunk.holders:
            self._forget_attempts(chunk)  # from here on two ask
        chunk.holders[report.worker] = now
        if report.taken and not chunk.taken:
            chunk.taken = True
            self._window.taken += 1

    def _remove(self, chunk: Outstanding) -> None:
        del self._out[chunk.number]
        self._window.taken -= chunk.taken
        self._probes.discard(chunk.number)

    def _on_done(self, chunk: Outstanding, now: float) -> None:
        self._remove(chunk)
        # A chunk that was sent again tells nothing: several workers had a part of it, or one was slow.
        if chunk.began is not None and chunk.copies == 1 and not chunk.deaths:
            took = now - chunk.began
            self._took.append(took)
            # A chunk waits at its end for those that are not answered at all: no smaller one would wait less.
            self._window.took(max(0.0, took - self._wait) / chunk.size or 1e-6)

    def _on_handed_back(self, chunk: Outstanding, report: ChunkReport, now: float) -> None:
        """Send a chunk again that a worker left with lookups undone."""
        chunk.holders.pop(report.worker, None)
        told = {progress.index: progress for progress in report.unfinished}
        for query in self._read(chunk):
            progress = told.get(query.index)
            query.attempts = progress.attempts if progress is not None and query.attempts == 0 else None
            if progress is not None and progress.ago is not None:
                query.asked = now - progress.ago
        if report.over == "refused":
            chunk.refused.add(report.worker)
            if len(chunk.refused) >= MAX_REFUSALS or chunk.refused.issuperset(self.workers):
                self._give_up(chunk, report.sentence or "the workers refuse it")
            return  # the next snapshot sends it again: not at once, as the same worker may take it
        if not chunk.holders and chunk.sent is None and not self.ending:
            self._resend(chunk, now, report.sentence or "came back unfinished")

    def _resend(self, chunk: Outstanding, now: float, why: str) -> None:
        queries = self._read(chunk)
        if not queries:  # none of its lines could be asked
            self._remove(chunk)
            return
        chunk.sent = now
        chunk.copies += 1
        for query in queries:
            # A worker that still has it may finish before another begins the copy.
            if query.attempts:
                query.attempts = None
        self._again.append(self._order(chunk))
        self.recovered.append(f"chunk {chunk.number} {why}; {len(chunk.open)} of {chunk.size} lookups are sent again")

    def _on_deaths(self, chunk: Outstanding, gone: list[str], now: float) -> None:
        """Send a chunk again whose workers died, perhaps of it: whole, in pieces, or not at all."""
        self._forget_attempts(chunk)
        if chunk.holders:
            return
        if not chunk.open:  # of lines, none could be asked
            self._remove(chunk)
            return
        alone = chunk.size == 1 or chunk.number in self._probes
        if chunk.number in self._probes and any(self._probes_held[name] > 1 for name in gone):
            self._one_probe = True
            self._remove(chunk)
            self._pieces.append((self._forget_attempts(chunk), chunk.deaths - len(gone)))
        elif chunk.deaths >= MAX_DEATHS and alone:
            why = f"{chunk.deaths} workers ended while they looked this up, or another of the same chunk"
            self._give_up(chunk, why)
        elif chunk.deaths >= MAX_DEATHS - 1 and not alone:
            # Copies may have died all at once: what was not alone yet is not given up, however many did.
            self._remove(chunk)
            queries = self._forget_attempts(chunk)
            size = -(-len(queries) // PIECES)
            self._pieces += [(queries[at : at + size], MAX_DEATHS - 1) for at in range(0, len(queries), size)]
            self.recovered.append(f"chunk {chunk.number} lost a second worker; its lookups are sent in pieces, in turn")
        elif chunk.sent is None:
            self._resend(chunk, now, f"lost its worker ({', '.join(gone)})")

    def _give_up(self, chunk: Outstanding, error: str) -> None:
        self._remove(chunk)
        queries = self._forget_attempts(chunk)
        self._window.open -= len(queries)
        for query in queries:
            self._given_up.append(query.unanswered(Status.ERROR, error, *self._names))
        self.recovered.append(f"chunk {chunk.number} is given up: {error}")

    def _lost_on_its_way(self, chunk: Outstanding, settled: float) -> bool:
        """Return whether a chunk that no worker began has left the queue. Workers take the oldest first."""
        if chunk.sent is not None and chunk.sent < self._emptied - GRACE:
            return True
        number, when = self._youngest
        return chunk.copies == 1 and chunk.number < number and when < settled

    def _copy_late_chunks(self, now: float) -> None:
        """Send copies of chunks that take long to idle workers, where nothing else is left to send."""
        held = Counter(name for chunk in self._out.values() for name in chunk.holders)
        idle = sum(max(0, slots - held[name]) for name, slots in self.workers.items())
        if not idle or self._window.limited:
            return  # a copy would use more than its share
        usual = sorted(self._took)[len(self._took) // 2] if self._took else 0.0
        late = max(SLOW * usual, self._wait + 1.0)
        for chunk in list(self._out.values()):
            if chunk.deaths >= MAX_DEATHS - 1:
                continue  # two workers must not die of it at a time
            if idle and chunk.sent is None and chunk.began is not None and len(chunk.holders) < MAX_COPIES:
                since = now - chunk.began
                if since > late * len(chunk.holders) + SUSPECT * chunk.deaths:
                    idle -= 1
                    self._resend(chunk, now, f"takes long ({since:.0f} s)")
