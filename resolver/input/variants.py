"""Variants of each lookup: the same question to each nameserver (`--each-nameserver`), or for each subnet (`--subnet`).

They follow one another in the input's order, so each has an index of its own and its own result.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from resolver.input.lookups import WrappedLookups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resolver.input.lookups import LookupSource, Row
    from resolver.model import Query, Result


class Variants(WrappedLookups):
    """Lookups of another source, each once for every nameserver and every subnet: a LookupSource.

    Args:
        source: The lookups.
        kinds: The variants, as Policy has them.
    """

    def __init__(self, source: LookupSource, kinds: Sequence[tuple[int | None, int]]) -> None:
        super().__init__(source)
        self._kinds = kinds
        self._rows: dict[int, Row] | None = None if source.rows is None else {}
        self._queries: deque[Query] = deque()
        self._invalid: deque[Result] = deque()

    def take(self, n: int) -> tuple[list[Query], list[Result]] | None:
        """Take the next lookups, `n` at most, as LookupSource has it."""
        if not (self._queries or self._invalid):
            got = self._source.take(-(-n // len(self._kinds)))
            if got is None:
                return None
            self._add(*got)
        invalid = [self._invalid.popleft() for _ in range(min(n, len(self._invalid)))]
        return [self._queries.popleft() for _ in range(min(n - len(invalid), len(self._queries)))], invalid

    def _add(self, queries: list[Query], invalid: list[Result]) -> None:
        replace, many = msgspec.structs.replace, len(self._kinds)
        for query in queries:
            for number, (nameserver, subnet) in enumerate(self._kinds):
                index = query.index * many + number
                self._queries.append(replace(query, index=index, nameserver=nameserver, subnet=subnet))
        if self._rows is not None and (rows := self._source.rows) is not None:
            for index in [*(query.index for query in queries), *(result.index for result in invalid)]:
                row = rows.pop(index, None)
                self._rows.update((index * many + number, row) for number in range(many))
        for result in invalid:
            self._invalid.extend(replace(result, index=result.index * many + number) for number in range(many))

    @property
    def rows(self) -> dict[int, Row] | None:
        """The rows of lookups given out, by index, where they are kept."""
        return self._rows

    @property
    def lookups(self) -> int:
        """Lookups given out so far."""
        return self._source.lookups * len(self._kinds)
