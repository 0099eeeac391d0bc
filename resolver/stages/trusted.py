"""The stage of `--trusted`: what was answered with records is asked once more, of nameservers that are trusted.

Their verdict is the result's; `first` shows what was said before, where it was something else. They are few and are
asked at a pace of their own, so they have a run of their own on the same engine, in a thread beside the first, which
ends with it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from resolver.model import UNFINISHED, First, Query, Result, Status
from resolver.output.selection import alike, said
from resolver.stages.honesty import Honesty

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.stages import FurtherLookups, Sink
    from resolver.tallies import NameserverTallies


class Trusted:
    """The stage.

    Args:
        further: Counts the probes of the second run.
        sink: Gets the results.
        run: Runs the second run to its end: (its queries, where its results go) -> (queries that are no result's,
            probes, what it counted of each nameserver).
        wildcards: The second run tests for wildcards.
        follow: It looks up the targets of records.
    """

    def __init__(
        self,
        further: FurtherLookups,
        sink: Sink,
        run: Callable[[Confirmations, Sink], tuple[int, int, NameserverTallies]],
        wildcards: bool,
        follow: bool,
    ) -> None:
        self._further = further
        self._sink = sink
        self._run = run
        self._wildcards = wildcards
        self._follow = follow
        self._asked = Confirmations()
        self._came: deque[Result] = deque()  # from the thread
        self._honesty = Honesty()
        self.held: dict[int, tuple[Result, float]] = {}  # first replies by index, and when they were put here
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        if wildcards:
            further.probes = 0

    def __call__(self, results: list[Result]) -> None:
        """Have what was answered with records asked once more; pass on the rest."""
        others = []
        now = time.monotonic()
        for result in results:
            result.first = None
            if result.nameserver is not None and result.answered:
                self._honesty.said(result.nameserver)
            if self._wildcards:
                result.wildcard = None
            if self._follow:
                result.follow = None
            if result.status is Status.NOERROR and result.name is not None:
                self.held[result.index] = result, now
                _, subnet = self._further.variant(result.index)
                self._asked.put(Query(result.index, result.input, result.name, result.type, subnet=subnet))
            else:
                others.append(result)
        self._sink(others)
        if self.held and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="resolve-trusted", daemon=True)
            self._thread.start()

    def tick(self) -> None:
        """Pass on what has been confirmed or corrected meanwhile."""
        finished = []
        while self._came:
            second = self._came.popleft()
            if (held := self.held.pop(second.index, None)) is not None:
                self._weigh(held[0], second)
                finished.append(verdict(*held, second))
                self._further.unfinished |= (finished[-1].error or "").startswith(UNFINISHED)
        self._sink(finished)

    def finish(self) -> None:
        """End the second run, and pass on what it did not come to."""
        self._asked.stop()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure
        self.tick()
        left = [result for result, _ in self.held.values()]
        self.held.clear()
        for result in left:
            self._further.leave(result, "a trusted nameserver was asked")
        self._sink(left)

    def _weigh(self, first: Result, second: Result) -> None:
        """Have a nameserver that was found to lie asked last from now on."""
        if first.nameserver is None or not second.answered:
            return
        exists = second.status is Status.NOERROR
        if self._honesty.asked_again(first.nameserver, exists=exists, alike=exists and alike(first, second)):
            self._further.tallies.distrusted.add(first.nameserver)

    def _work(self) -> None:
        try:
            queries, probes, tallies = self._run(self._asked, self._came.extend)
        except BaseException as error:  # raised again on the engine's thread
            self._failure = error
            return
        self._further.queries_sent += queries
        self._further.tallies.merge(tallies.take())
        if self._wildcards:
            self._further.probes = probes


class Confirmations:
    """Lookups for the second run, as they come: a LookupSource."""

    passed_over = 0
    complete = True
    rows = None

    def __init__(self) -> None:
        self._queries: deque[Query] = deque()
        self._ended = False
        self.silent = False
        self.hosts_read = self.lookups = 0

    def put(self, query: Query) -> None:
        """Add a lookup."""
        self._queries.append(query)

    def take(self, n: int) -> tuple[list[Query], list[Result]] | None:
        """Take the next lookups; none: there are none just now. None: no more will come."""
        ended = self._ended  # looked at first: all that was put before stands there then
        queries = [self._queries.popleft() for _ in range(min(n, len(self._queries)))]
        self.silent = not queries
        self.hosts_read = self.lookups = self.lookups + len(queries)
        return None if ended and not queries else (queries, [])

    def take_lines(self, n: int) -> None:
        """Take the next lookups as lines: they stand in none."""

    def stop(self) -> None:
        """Let no more come."""
        self._ended = True

    def next_open(self, index: int) -> int:
        """Return the first lookup from this index on that a result will come of."""
        return index

    def position(self) -> None:
        """Return how far the input is read: not known."""


def verdict(first: Result, came: float, second: Result) -> Result:
    """Return the one result of two replies.

    Args:
        first: The result of the first.
        came: When that was put here, on the monotonic clock.
        second: The result of the trusted nameservers' reply.
    """
    unknown = first.attempts is None or second.attempts is None
    attempts = None if unknown else (first.attempts or 0) + (second.attempts or 0)
    if not second.answered:
        first.error = f"no trusted nameserver answered: {second.error or f'it said {second.status}'}"
        if second.status in (Status.DEADLINE, Status.CANCELLED):
            first.error = f"{UNFINISHED} a trusted nameserver answered"
        first.attempts, first.wildcard, first.follow = attempts, second.wildcard, second.follow
        return first
    second.first = None
    if said(first) != said(second):
        second.first = First(nameserver=first.nameserver, status=first.status, answers=first.answers)
    second.attempts = attempts
    second.elapsed = None if first.elapsed is None else round(first.elapsed + time.monotonic() - came, 6)
    return second
