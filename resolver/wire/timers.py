"""Timers of the lookups that wait for a reply, without a timer for each.

All first tries wait equally long, all second ones too, and so on. So the lookups of each try stand in one dictionary in
the order of sending, the oldest in front, and a look at the front says whether anything is overdue.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.policy import Policy
    from resolver.wire.inflight import InFlight


class Timers:
    """The lookups that wait for a reply. `tries[0]` holds those of the first try by the index of their query."""

    def __init__(self, policy: Policy) -> None:
        self._waits = [policy.wait(number) for number in range(1, policy.tries + 1)]
        self.tries: list[dict[int, InFlight]] = [{} for _ in self._waits]

    def add(self, lookup: InFlight) -> None:
        """Start the timer of a lookup whose query went out just now."""
        self.tries[lookup.tries - 1][lookup.query.index] = lookup

    def remove(self, lookup: InFlight) -> bool:
        """Stop the timer of a lookup; returns whether it ran."""
        return self.tries[lookup.tries - 1].pop(lookup.query.index, None) is not None

    def __contains__(self, lookup: InFlight) -> bool:
        return lookup.query.index in self.tries[lookup.tries - 1]

    def __iter__(self) -> Iterator[InFlight]:
        return (lookup for waiting in self.tries for lookup in waiting.values())

    def overdue(self, now: float) -> list[InFlight]:
        """The lookups whose try has run out; their timers still stand."""
        found = []
        for waiting, wait in zip(self.tries, self._waits, strict=True):
            for lookup in waiting.values():
                if lookup.sent + wait > now:  # as in `due`, to the last bit
                    break
                found.append(lookup)
        return found

    def due(self) -> float:
        """When the next try runs out; infinite where none waits."""
        due = math.inf
        for waiting, wait in zip(self.tries, self._waits, strict=True):
            for lookup in waiting.values():
                due = min(due, lookup.sent + wait)
                break
        return due
