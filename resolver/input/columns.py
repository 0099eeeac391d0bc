"""Lists that are CSV (`--column`): a line is a row, and the host stands in one of its cells.

A line stays a line: a quoted cell may hold no line break, so that one wrong quote spoils one row. Blank lines are
passed over; nothing begins a comment, since any cell may hold a #. Rows that are kept are never changed.
"""

from __future__ import annotations

import csv
import re
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from resolver.input.groups import CUT, LONGEST, HostBlock, groups_of, text_of
from resolver.input.lookups import HostGroup
from resolver.input.names import stretches
from resolver.input.networks import AN_ADDRESS, further_of
from resolver.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from resolver.input.lookups import Row

_QUOTED = re.compile(r'"[^"]*"')
_OPEN_QUOTE = "a quoted cell does not end on its line"


class HostColumn(NamedTuple):
    """Where the host stands in a row, from 0, or under which name of the header; and whether rows are kept."""

    place: int | str
    keep: bool = False

    @classmethod
    def of(cls, given: int | str | None, *, keep: bool = False) -> HostColumn | None:
        """Return the column of a number from 1 or a name, None for none.

        Raises ValueError for another number, and where rows are to be kept without a column; TypeError for other kinds.
        """
        if given is None:
            if keep:
                raise ValueError(
                    "keep keeps the rows of a list that is CSV: it needs column, which says where the host stands"
                )
            return None
        if isinstance(given, bool) or not isinstance(given, int | str):
            raise TypeError(f"column is a number from 1 or a name of the header, not {given!r}")
        if isinstance(given, int) or re.fullmatch("[+-]?[0-9]+", given):
            if int(given) < 1:
                raise ValueError(f"column is a number from 1 or a name of the header, not {given}")
            return cls(int(given) - 1, keep)
        if not given.strip():
            raise ValueError("column is a number from 1 or a name of the header, and is empty")
        return cls(given.strip(), keep)


class RowReader:
    """Reader of the rows of one list."""

    def __init__(self, column: HostColumn) -> None:
        self._column = column
        self._delimiter: str | None = None  # told from the first row
        self._names: list[str] | None = None  # the header's
        self._place = 0

    def check(self, lines: bytes) -> None:
        """Raise ValueError where the first row does not name the column, of the lines that begin the list."""
        first = next((line for line in text_of(lines).split("\n") if line and not line.isspace()), None)
        if first is not None:
            RowReader(self._column)._begin(first)

    def block(self, size: int, lines: bytes, types: tuple[str, ...]) -> HostBlock:
        """Return the hosts of these lines, of which the first may be longer than is kept.

        Raises ValueError where the first row does not name the column.
        """
        long = []
        if len(lines) > LONGEST and lines.find(b"\n") > LONGEST:
            first, _, lines = lines.partition(b"\n")
            long = [first[:LONGEST].decode("utf-8", "ignore")]
        texts = [line for line in text_of(lines).split("\n") if line and not line.isspace()]
        if texts and self._delimiter is None and self._begin(texts[0]):
            del texts[0]
        rows = [*[CUT for _ in long], *self._rows(texts)]
        cells = self._cells([*long, *texts], rows, types)
        further = sum([further_of(cell) for cell in cells if isinstance(cell, str) and "/" in cell])
        groups = groups_of(_parts(cells, types), types)
        if self._column.keep:
            groups = with_rows(groups, list(map(self._kept, rows)))
        return HostBlock(size + AN_ADDRESS * further, len(cells) + further, groups)

    def _begin(self, line: str) -> bool:
        """Tell the delimiter and the place from the first row; returns whether that is a header."""
        bare = _QUOTED.sub("", line)
        self._delimiter = ";" if bare.count(";") > bare.count(",") else ","
        place = self._column.place
        if isinstance(place, int):
            self._place = place
            return False
        cells = self._row(line)
        names = [] if isinstance(cells, str) else [cell.strip() for cell in cells]
        if place not in names:
            asked = meant(place, names)
            raise ValueError(f"there is no column {place!r}; the first row has: {', '.join(names)[:1000]}{asked}")
        self._place = names.index(place)
        self._names = _distinct(names)
        return True

    def _rows(self, lines: list[str]) -> Sequence[list[str] | str]:
        """Return the cells of each line, or why it cannot be read."""
        assert self._delimiter is not None or not lines
        try:
            # The blank line shows whether a quoted cell goes on after the last one.
            rows = list(csv.reader([*lines, ""], delimiter=self._delimiter or ","))
        except csv.Error:
            rows = []
        if len(rows) == len(lines) + 1:
            return rows[:-1]
        return [self._row(line) for line in lines]

    def _row(self, line: str) -> list[str] | str:
        reader = csv.reader([line, ""], delimiter=self._delimiter or ",")
        try:
            cells = next(reader)
        except csv.Error as error:
            return f"the line is no row of CSV: {error}"
        return cells if reader.line_num == 1 else _OPEN_QUOTE

    def _cells(
        self, lines: list[str], rows: Sequence[list[str] | str], types: tuple[str, ...]
    ) -> Sequence[str | HostGroup]:
        """Return the host of each row, or what stands in place of one that has none."""
        place = self._place
        cells: list[str | HostGroup] = []
        for line, row in zip(lines, rows, strict=True):
            if isinstance(row, str):
                cells.append(HostGroup([line.strip()], [""], types, row))
            elif len(row) <= place:
                cells.append(HostGroup([""], [""], types, f"the row has no column {place + 1}"))
            else:
                cells.append(row[place].strip())
        return cells

    def _kept(self, row: list[str] | str) -> Row:
        if isinstance(row, str):
            return None
        names = self._names
        if names is None:
            return row
        if len(row) == len(names):
            return dict(zip(names, row, strict=True))
        # Cells past the header are named by their place, so that none is lost; cells that are missing are null.
        further = [str(place) for place in range(len(names) + 1, len(row) + 1)]
        return dict(zip(_distinct([*names, *further]), [*row, *[None] * (len(names) - len(row))], strict=True))


def _parts(cells: Iterable[str | HostGroup], types: tuple[str, ...]) -> Iterator[str | HostGroup]:
    """Yield hosts that follow one another as stretches, as far as they can be."""
    for kind, cells_of_it in groupby(cells, type):
        some = list(cells_of_it)
        yield from stretches("\n".join([*map(str, some), ""]), types) if kind is str else some


def with_rows(groups: Iterator[HostGroup], rows: Sequence[Row]) -> Iterator[HostGroup]:
    """Yield the groups, each with the rows of its lines."""
    at = 0
    for group in groups:
        group.rows = rows[at : at + len(group.texts)]
        at += len(group.texts)
        yield group


def _distinct(names: list[str]) -> list[str]:
    """Return names that differ: one that is empty, or was there before, has its place added."""
    distinct: dict[str, None] = {}
    for place, name in enumerate(names, 1):
        new = name
        while not new or new in distinct:
            new = f"{new} {place}".strip()
        distinct[new] = None
    return list(distinct)
