"""Stages: what a run does with a result before it is handed over, by lookups of its own.

A stage stands between the batch and its sink. It keeps a result until further lookups have told more about it (does a
wildcard make it?), then passes it on. Its lookups go through the run's own engine, at its pace and with its tries; they
have no line in the input and no result in the output, and only their queries are counted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from resolver.model import UNFINISHED, Query, Result
from resolver.tallies import NameserverTallies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized

    Sink = Callable[[list[Result]], None]
    StageMaker = Callable[["FurtherLookups", Sink], "Stage"]

FIRST = 1 << 40  # index of the first further lookup: no input has as many


class Stage(Protocol):
    """Sink of results that passes each on once, to the sink that it was made with; a list may be empty."""

    def __call__(self, results: list[Result]) -> None:
        """Take results, and pass on those of which there is nothing more to be found out."""

    @property
    def held(self) -> Sized:
        """The results that were taken and not passed on."""

    def tick(self) -> None:
        """Do what needs no result to come in; called at least every tenth of a second."""

    def finish(self) -> None:
        """Pass on all that is held, as it is: the run has ended, and no further lookup will be answered."""


class FurtherLookups:
    """Lookups that stages ask for, from `ask` to `deliver`.

    Attributes:
        asked: How many there were.
        waiting: Those that are to be taken.
        probes: Of these, how many look for wildcards.
        queries_sent: Their queries.
        unfinished: The run's end left something unfound of a result, whose error says so.
        tallies: Where the run counts what became of its queries; a second run's are added there.
    """

    def __init__(self, kinds: Sequence[tuple[int | None, int]] = ((None, 0),)) -> None:
        """Args: kinds: The variants of each lookup, as Policy has them."""
        self._kinds = kinds
        self.asked = 0
        self.probes: int | msgspec.UnsetType = msgspec.UNSET
        self.queries_sent = 0
        self.unfinished = False
        self.tallies = NameserverTallies()
        self.waiting: deque[Query] = deque()
        self._open: dict[int, Callable[[Result], None]] = {}

    def variant(self, index: int) -> tuple[int | None, int]:
        """Return the variant that a lookup of this index is: its nameserver, where it has its own, and its subnet."""
        return self._kinds[self.like(index)]

    def like(self, index: int) -> int:
        """Return the first index of the same variant."""
        return index % len(self._kinds)

    def ask(self, name: str, type_: str, answered: Callable[[Result], None], *, like: int = 0) -> None:
        """Have a name looked up.

        Args:
            name, type_: What is asked.
            answered: Called with the result, from within `deliver`.
            like: The index of a lookup of which it is to be the same variant.
        """
        index = FIRST + self.asked
        self.asked += 1
        nameserver, subnet = self.variant(like)
        self.waiting.append(Query(index, "", name, type_, nameserver=nameserver, subnet=subnet))
        self._open[index] = answered

    def leave(self, result: Result, what: str) -> None:
        """Note that a result is passed on before so much was done: `what` goes on from "the run ended before"."""
        result.error = f"{UNFINISHED} {what}"
        self.unfinished = True

    def take(self, n: int) -> list[Query]:
        """Take up to `n` of them to be asked."""
        return [self.waiting.popleft() for _ in range(min(n, len(self.waiting)))]

    def deliver(self, results: list[Result]) -> list[Result]:
        """Give results of further lookups to who asked; returns the other results."""
        others = []
        for result in results:
            if result.index < FIRST:
                others.append(result)
            elif (answered := self._open.pop(result.index, None)) is not None:
                self.queries_sent += result.attempts or 0
                answered(result)
        return others
