"""Lookups of a run as a batch reads them, and hosts that they are of."""

from __future__ import annotations

from itertools import chain, cycle, islice, repeat
from typing import TYPE_CHECKING, Protocol

from resolver.model import Query, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resolver.blocks import HostLines

    # A row of CSV: by the names of its header, or a list where there is none; None where it cannot be read.
    Row = dict[str, str | None] | list[str] | None


class LookupSource(Protocol):
    """Source of the lookups that a batch reads: Hosts, or what wraps it. Hosts says what each of these is."""

    def take(self, n: int) -> tuple[list[Query], list[Result]] | None: ...
    def take_lines(self, n: int) -> HostLines | None: ...
    def stop(self) -> None: ...
    def next_open(self, index: int) -> int: ...
    def position(self) -> tuple[int, int] | None: ...
    @property
    def rows(self) -> dict[int, Row] | None: ...
    @property
    def silent(self) -> bool: ...
    @property
    def passed_over(self) -> int: ...
    @property
    def complete(self) -> bool: ...
    @property
    def hosts_read(self) -> int: ...
    @property
    def lookups(self) -> int: ...


class HostGroup:
    """Neighbours in the input that are asked the same types, or (error) that cannot be asked, for one reason.

    Attributes:
        given: Lookups given so far.
        rows: The row that each of them stood in; empty where none are kept.
        variants: Lookups for each host and type: one for every nameserver that is asked, and every subnet.
    """

    __slots__ = ("error", "given", "names", "rows", "texts", "types", "variants")

    def __init__(self, texts: list[str], names: list[str], types: tuple[str, ...], error: str | None = None) -> None:
        self.texts = texts
        self.names = names
        self.types = types
        self.error = error
        self.given = 0
        self.rows: Sequence[Row] = ()
        self.variants = 1

    @property
    def size(self) -> int:
        """Hosts that it has."""
        return len(self.texts)

    @property
    def left(self) -> int:
        """Lookups not given yet."""
        return self.size * len(self.types) * self.variants - self.given

    def line_of(self, lookup: int) -> int:
        """Return which of its lines this lookup is of, both counted from 0."""
        return lookup // (len(self.types) * self.variants)

    def hosts(self, first: int, last: int) -> tuple[list[str], list[str]]:
        """Return inputs and names of its hosts from the first one up to the last."""
        return self.texts[first:last], self.names[first:last]

    def take(self, n: int) -> tuple[list[str], list[str], Iterator[str], int]:
        """Take the next lookups, `n` at most: inputs, names, types; and how many hosts begin with them."""
        many = len(self.types) * self.variants
        start = self.given
        end = self.given = start + min(n, self.left)
        first, last = start // many, -(-end // many)
        texts, names = self.hosts(first, last)
        if many == 1:
            return texts, names, repeat(self.types[0]), last - first
        places = [place // many - first for place in range(start, end)]
        types = cycle(chain.from_iterable(repeat(type_, self.variants) for type_ in self.types))
        texts, names = [texts[place] for place in places], [names[place] for place in places]
        return texts, names, islice(types, start % many, None), last - first - (start % many > 0)
