"""Evidence of who lies: how often trusted nameservers took back what each had said. No I/O.

One reply proves nothing: names come and go, and many have other addresses for everybody who asks. So a nameserver
counts as a liar by its share in all that it said, beside the same share of the others.
"""

from __future__ import annotations

from collections import Counter

TIMES = 3.0  # a liar's statements are taken back so many times as often as the others'
INVENTED = 5  # names that there are not, at least
CHANGED, CHANGED_SHARE = 10, 0.8  # names with other records, and their share, at least: of an honest one some are


class Honesty:
    """Statements of nameservers, and those that trusted ones took back. `liars`: who was found out."""

    def __init__(self) -> None:
        self.liars: set[str] = set()
        self._invented = Statements(INVENTED, 0.0)  # all answers, and names of which there are no such records
        self._changed = Statements(CHANGED, CHANGED_SHARE)  # names that exist, and those with other records

    def said(self, nameserver: str) -> None:
        """Count an answer."""
        if nameserver not in self.liars:
            self._invented.make(nameserver)

    def asked_again(self, nameserver: str, *, exists: bool, alike: bool) -> bool:
        """Count what became of an answer with records; returns whether the nameserver is a liar by now.

        Args:
            nameserver: Who gave it.
            exists: A trusted nameserver has such records too.
            alike: It has at least one of them.
        """
        if nameserver in self.liars:
            return True
        if exists:
            self._changed.make(nameserver)
        statements = self._changed if exists else self._invented
        if not alike and statements.take_back(nameserver):
            self.liars.add(nameserver)
            self._invented.leave_out(nameserver)
            self._changed.leave_out(nameserver)
        return nameserver in self.liars


class Statements:
    """Statements of one kind, by nameserver: those made, and those taken back.

    Args:
        least: Statements taken back that make a liar, at least.
        share: Their share in its statements, at least.
    """

    def __init__(self, least: int, share: float) -> None:
        self._least, self._share = least, share
        self._made: Counter[str] = Counter()
        self._taken_back: Counter[str] = Counter()
        self._all_made = self._all_taken_back = 0

    def make(self, nameserver: str) -> None:
        """Count a statement."""
        self._made[nameserver] += 1
        self._all_made += 1

    def take_back(self, nameserver: str) -> bool:
        """Count a statement that was not so; returns whether its nameserver has made too many of them."""
        self._taken_back[nameserver] += 1
        self._all_taken_back += 1
        own, made = self._taken_back[nameserver], self._made[nameserver]
        others = self._all_made - made
        usual = (self._all_taken_back - own) / others if others else 0.0
        return own >= self._least and own >= self._share * made and own > TIMES * usual * made

    def leave_out(self, nameserver: str) -> None:
        """Compare nobody with this one: it lies, and what it says counts no more."""
        self._all_made -= self._made.pop(nameserver, 0)
        self._all_taken_back -= self._taken_back.pop(nameserver, 0)
