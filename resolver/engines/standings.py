"""Nameservers of a run through a library: which of them are asked last, and whom a try asks.

The rule is that of the wire backend (wire/servers.py): one that never answered and fails, that fails or refuses nearly
everything, or that was found to lie, is asked only where all are so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.policy import FAILING, MEMORY, USELESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.nameserver import Nameserver
    from resolver.tallies import NameserverTallies


class Standings:
    """Standing of each nameserver. Its caller holds a lock where several threads call."""

    def __init__(self, nameservers: Sequence[Nameserver], tallies: NameserverTallies) -> None:
        self._servers = nameservers
        self._names = {each: str(each) for each in nameservers}
        self._tallies = tallies
        self._failures = dict.fromkeys(nameservers, 0)  # before the first answer
        self._failing: dict[Nameserver, float] = {}  # share that failed of the latest tries, once one was answered
        self._last: set[Nameserver] = set()

    def heard(self, nameserver: Nameserver, *, answered: bool) -> None:
        """Count the outcome of a try."""
        share = self._failing.get(nameserver)
        if answered:
            self._failing[nameserver] = (share or 0.0) * (1 - MEMORY)
            useless = False
        elif share is None:
            self._failures[nameserver] += 1
            useless = self._failures[nameserver] >= USELESS
        else:
            self._failing[nameserver] = share = share + MEMORY * (1 - share)
            useless = share > FAILING
        others = len(self._failing) - (nameserver in self._failing)
        if answered and nameserver in self._last:
            self._last.remove(nameserver)
            self._count(nameserver, -1)
        elif useless and others and nameserver not in self._last:
            self._last.add(nameserver)
            self._count(nameserver, 1)

    def number(self, turn: int) -> int:
        """Return the number of the nameserver whose turn it is: that of `turn`, or the next that is not asked last."""
        count, distrusted = len(self._servers), self._tallies.distrusted
        if self._last or distrusted:
            for number in range(turn, turn + count):
                server = self._servers[number % count]
                if server not in self._last and self._names[server] not in distrusted:
                    return number % count
        return turn % count if count else 0

    def _count(self, nameserver: Nameserver, change: int) -> None:
        with self._tallies.lock:
            self._tallies.of(self._names[nameserver]).failing += change
