"""Rows of hosts (`--group`): a row a host, a column a type, for people and for spreadsheets.

A row is held until each of its types has its result, so what is held are the hosts in flight.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from resolver.output.lines import LineWriter, asked_for, csv_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from resolver.model import Result
    from resolver.output.lines import Writer
    from resolver.output.selection import Differing, Selection

    # The results of a host by their types, in the order of the types.
    HostRow = dict[str, Result]


def host_rows(
    format: str,
    stream: BinaryIO,
    types: Sequence[str],
    selection: Selection | Differing | None,
    *,
    keep: bool = False,
) -> HostRows:
    """Return the writer of rows of hosts.

    An address is asked for PTR, whatever the types: that is the last column, where it is none of them.

    Args:
        format: `table` or `csv`.
        stream, selection, keep: As `open_writer` takes them.
        types: The record types that are asked.
    """
    columns = (*types, *(["PTR"] if "PTR" not in types else []))
    cells = partial(_cells, columns=columns)
    rows: Writer[HostRow]
    if format == "table":
        from resolver.output.table import Table, hosts_table

        rows = Table(stream, partial(hosts_table, types=columns))
    elif keep:
        from resolver.output.kept_columns import KeptColumns

        rows = KeptColumns(stream, ("input", *columns), cells, _first)
    else:
        rows = LineWriter(stream, lambda rows: csv_rows(map(cells, rows)), csv_rows([("input", *columns)]))
    return HostRows(rows, types, selection)


class HostRows:
    """Writer of results that gathers those of a host, and passes on the rows that are whole.

    A result that is not selected leaves its cell empty; a row without a selected one is left out.
    """

    def __init__(self, rows: Writer[HostRow], types: Sequence[str], selection: Selection | Differing | None) -> None:
        self._rows = rows
        self._types = types
        self._places = {type_: place for place, type_ in enumerate(types)}
        self._selection = selection
        self._open: dict[int, list[Result]] = {}  # by the index of the host's first lookup

    def write(self, results: list[Result]) -> None:
        whole = []
        for result in results:
            if len(self._types) == 1 or self._stands_alone(result):
                whole.append([result])
                continue
            first = result.index - self._places[result.type]
            row = self._open.setdefault(first, [])
            row.append(result)
            if len(row) == len(self._types):
                whole.append(self._open.pop(first))
        self._pass_on(whole)

    def close(self) -> None:
        # Of a run whose results could not all be made, what there is.
        rows, self._open = list(self._open.values()), {}
        self._pass_on(rows)
        self._rows.close()

    def _stands_alone(self, result: Result) -> bool:
        """Tell whether this is the one lookup of an address: PTR, of a name that does not stand in the input."""
        if result.type != "PTR" or result.name is None:
            return False
        if "PTR" not in self._places:
            return True
        name = result.name.rstrip(".")
        return name.endswith((".in-addr.arpa", ".ip6.arpa")) and name not in result.input.lower()

    def _pass_on(self, rows: list[list[Result]]) -> None:
        if self._selection is not None:
            rows = [chosen for row in rows if (chosen := self._selection.of(row))]
        if rows:
            ordered = [sorted(row, key=lambda result: result.index) for row in rows]
            self._rows.write([{result.type: result for result in row} for row in ordered])


def _cells(row: HostRow, columns: Sequence[str]) -> list[object]:
    return [_first(row).input, *[_found(row[type_]) if type_ in row else None for type_ in columns]]


def _first(row: HostRow) -> Result:
    return next(iter(row.values()))


def _found(result: Result) -> str:
    return "; ".join(asked_for(result)) or result.status
