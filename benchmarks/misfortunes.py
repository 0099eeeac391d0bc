"""The clock of a model, the misfortunes that can befall a fleet of workers, and the chance that decides on each."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NEVER = float("inf")


@dataclass(frozen=True)
class Fleet:
    """The misfortunes of a fleet. Spans in seconds, NEVER for none; shares and chances from 0 to 1."""

    lives: float = NEVER  # span between two deaths of one worker; every fourth end is one in order
    returns: float = 5.0  # span until another takes its place
    cut: float = NEVER  # span between two times that one worker is cut off from the Redis
    lost: float = 0.0  # share of messages that are lost on their way to a worker
    twice: float = 0.0  # share of messages that come twice
    report_lost: float = 0.0
    report_twice: float = 0.0
    late: float = 0.0  # share of messages and reports that are late
    silent: float = 0.0  # share of names that nobody answers
    patience: float = 0.0  # seconds that such a name takes
    dies: float = 0.0  # chance with each chunk: the worker dies during it
    back: float = 0.0  # the worker gives it back when it is half done
    refused: float = 0.0  # it refuses it
    mute: float = 0.0  # it takes it and never reports
    lies: float = 0.0  # chance with each report: of copies, indexes and names that are none
    wiped: float = 0.0  # chance in each second: the Redis loses its data
    poison: int = -1  # index of a query that every worker dies of
    trouble: float = NEVER  # the chances hold until then


class Clock:
    """The order of events. `now` in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, action: Callable[..., object], *arguments: Any) -> None:
        """Have this happen in so many seconds; an event that never happens is not kept."""
        if seconds != NEVER:
            heapq.heappush(self._events, (self.now + seconds, next(self._order), action, arguments))

    def step(self) -> None:
        """Have the next event happen."""
        self.now, _, action, arguments = heapq.heappop(self._events)
        action(*arguments)


class Chance:
    """The generator that decides what goes wrong, until the trouble ends."""

    def __init__(self, clock: Clock, fleet: Fleet, seed: int) -> None:
        self.random = random.Random(seed)
        self._clock, self._trouble = clock, fleet.trouble

    def happens(self, chance: float) -> bool:
        """Return whether something of this chance happens now."""
        return chance > 0 and self._clock.now < self._trouble and self.random.random() < chance

    def span(self, mean: float) -> float:
        """Return a random span with this mean."""
        return mean if mean == NEVER else self.random.expovariate(1 / mean)
