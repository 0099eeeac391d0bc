"""Queries for an engine: the hosts as they are read, until the deadline or a cancellation.

An Intake is the Queries that an engine sees (seam.py). It never waits for input, and never lets an engine
wait for long, so that a silent pipe delays neither replies nor the end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from resolver.tallies import NameserverTallies

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.blocks import BlockSink, HostLines
    from resolver.input.lookups import LookupSource
    from resolver.model import Query, Result
    from resolver.policy import Deadline

MAX_WAIT = 0.1  # seconds: the longest that a deadline or a cancellation goes unseen
INPUT_INTERVAL = 0.01  # seconds between looks at an input that has nothing just now


class Intake:
    """Hosts for an engine.

    Args:
        hosts: What is looked up.
        deadline: That of the run.
        invalid: Gets the INVALID results that are met on the way.
        tick: Called again and again while the run goes on.

    Attributes:
        all_read: The hosts came to their end.
        tallies: Counts of each nameserver.
        block_sink: Where the engine may give results by the block.
        started: When the engine was ready, on the monotonic clock.
        failure: What the hosts, `invalid` or `tick` raised: nothing that the engine could be blamed for.
    """

    def __init__(
        self,
        hosts: LookupSource,
        deadline: Deadline,
        invalid: Callable[[list[Result]], None],
        tick: Callable[[], None] | None = None,
    ) -> None:
        self.hosts = hosts
        self.deadline = deadline
        self.failure: BaseException | None = None
        self.all_read = False
        self.tallies = NameserverTallies()
        self.block_sink: BlockSink | None = None
        self.started: float | None = None
        self._invalid = invalid
        self._tick = tick
        self._wait = MAX_WAIT

    def take(self, n: int) -> list[Query] | None:
        """Take up to `n` queries; an empty list: there is none just now; None: no more will come."""
        self._start()
        while n > 0 and not self.ended:
            try:
                got = self.hosts.take(n)
                if got is None:
                    self.all_read = True
                    return None
                queries, invalid = got
                if invalid:
                    self._invalid(invalid)
            except BaseException as error:
                self.failure = error
                raise
            if queries:
                self._wait = MAX_WAIT
                return queries
            if not invalid:
                self._wait = INPUT_INTERVAL if self.hosts.silent else 0.0
                break
        return []

    def take_lines(self, n: int) -> HostLines | None:
        """Take up to `n` queries as the lines that they stand in; None: `take` has the next ones."""
        self._start()
        if n <= 0 or self.ended:
            return None
        try:
            lines = self.hosts.take_lines(n)
        except BaseException as error:
            self.failure = error
            raise
        if lines is not None:
            self._wait = MAX_WAIT
        return lines

    @property
    def ended(self) -> bool:
        """The run ends now."""
        return self.deadline.ended

    def max_wait(self) -> float:
        """Seconds that an engine may wait at most before it asks again."""
        if self._tick is not None:
            self._tick()
        return min(self._wait, self.deadline.remaining())

    def look_again(self) -> None:
        """Have the engine ask again before long: nothing of the input is left, and results may still bring more."""
        self._wait = INPUT_INTERVAL

    def _start(self) -> None:
        if self.started is None:
            self.started = time.monotonic()
            self.deadline.start()

    def seconds(self) -> float:
        """Return the seconds since the engine was ready."""
        return 0.0 if self.started is None else time.monotonic() - self.started
