"""Which flights wait for a reply, and until when: timers without a timer for each.

All first tries wait equally long, all second ones too, and so on. So the flights of each try stand in one dictionary in
the order of sending, the oldest in front, and a look at the front says whether anything is overdue.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.policy import Policy
    from resolver.wire.flight import Flight


class Waiting:
    """The flights that wait for a reply. `tries[0]` holds those of the first try by the index of their query."""

    def __init__(self, policy: Policy) -> None:
        self._waits = [policy.wait(attempt) for attempt in range(1, policy.tries + 1)]
        self.tries: list[dict[int, Flight]] = [{} for _ in self._waits]

    def add(self, flight: Flight) -> None:
        """Its query went out just now."""
        self.tries[flight.attempt - 1][flight.query.index] = flight

    def remove(self, flight: Flight) -> bool:
        """It waits no more; returns whether it did."""
        return self.tries[flight.attempt - 1].pop(flight.query.index, None) is not None

    def __contains__(self, flight: Flight) -> bool:
        return flight.query.index in self.tries[flight.attempt - 1]

    def __iter__(self) -> Iterator[Flight]:
        return (flight for waiting in self.tries for flight in waiting.values())

    def overdue(self, now: float) -> list[Flight]:
        """Those whose try has run out; they still count as waiting."""
        found = []
        for waiting, wait in zip(self.tries, self._waits, strict=True):
            for flight in waiting.values():
                if flight.sent + wait > now:  # as in `due`, to the last bit
                    break
                found.append(flight)
        return found

    def due(self) -> float:
        """When the next one's try runs out; infinite where none waits."""
        due = math.inf
        for waiting, wait in zip(self.tries, self._waits, strict=True):
            for flight in waiting.values():
                due = min(due, flight.sent + wait)
                break
        return due
