"""Results over time, for the page about a run: how many of each kind there were by when, and what happened meanwhile.

Memory is bounded: where the points become too many, every second one goes, and the others lie twice as far apart.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from resolver.output.colours import kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INTERRUPTED = "the run was interrupted"  # the text of that mark
POINTS = 120
MARKS = 9
_FIRST_INTERVAL = 0.02  # seconds


class Point(NamedTuple):
    """Results by kind, after so many seconds: found, absent and failed; those that the run's end made do not count."""

    seconds: float
    found: int
    absent: int
    failed: int


class Mark(NamedTuple):
    """Event of a run, for people, after so many seconds."""

    seconds: float
    text: str


class Timeline:
    """Points of a run so far, from its beginning."""

    def __init__(self) -> None:
        self.points = [Point(0.0, 0, 0, 0)]
        self.marks: list[Mark] = []
        self._interval = _FIRST_INTERVAL
        self._next = 0.0
        self._look: Callable[[], tuple[float, Mapping[str, int]]] = lambda: (0.0, {})

    def begin(self, look: Callable[[], tuple[float, Mapping[str, int]]]) -> None:
        """Take what tells of the run: the seconds since it began, and how many results each status has."""
        self._look = look

    def tick(self) -> None:
        """Note how far the run is, if it is time. To be called often: it costs next to nothing where it is not."""
        if time.monotonic() >= self._next:
            self.note(*self._look())
            self._next = time.monotonic() + self._interval

    def note(self, seconds: float, statuses: Mapping[str, int]) -> None:
        """Add a point."""
        counts = {"found": 0, "absent": 0, "failed": 0, "ended": 0}
        for status, count in statuses.items():
            counts[kind(status)] += count
        if seconds <= self.points[-1].seconds:
            seconds = self.points.pop().seconds  # the engine is not ready yet, or no time has passed
        self.points.append(Point(seconds, counts["found"], counts["absent"], counts["failed"]))
        if len(self.points) > POINTS:
            self.points = self.points[::2]
            self._interval *= 2

    def interrupted(self) -> None:
        """Note that a signal ends the run now."""
        self.mark(INTERRUPTED)

    def mark(self, text: str) -> None:
        """Note an event of now; of very many the first ones are kept."""
        if len(self.marks) < MARKS:
            self.marks.append(Mark(self._look()[0], text))
