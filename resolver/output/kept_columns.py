"""CSV with the columns of the lists before those of the results (`--keep`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from resolver.output.lines import csv_rows
from resolver.output.streams import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from resolver.model import Result

Item = TypeVar("Item")

_HELD = 1000  # results that wait for the first row


class KeptColumns(Generic[Item]):
    """Writer of CSV. The first row that was kept names the columns; cells that have none of these stand at the end.

    Results without a row (hosts that are words, lines that are no CSV) have empty cells there.

    Args:
        stream: Where to write.
        header: The columns of a result, or of what stands for several.
        cells: Returns them.
        result_of: Returns a result that has the row.
    """

    def __init__(
        self,
        stream: BinaryIO,
        header: Sequence[str],
        cells: Callable[[Item], Sequence[object]],
        result_of: Callable[[Item], Result],
    ) -> None:
        self._stream = stream
        self._header = header
        self._cells = cells
        self._result_of = result_of
        self._names: list[str] | None = None
        self._held: list[Item] = []

    def write(self, items: list[Item]) -> None:
        if self._names is None:
            self._held += items
            names = next((list(row) for item in self._held if (row := _by_name(self._result_of(item)))), None)
            if names is not None or len(self._held) > _HELD:
                self._begin(names or [])
            return
        self._write(items)

    def close(self) -> None:
        if self._names is None:
            self._begin([])

    def _begin(self, names: list[str]) -> None:
        self._names = names
        write_all(self._stream, csv_rows([(*names, *self._header)]))
        held, self._held = self._held, []
        self._write(held)

    def _write(self, items: list[Item]) -> None:
        names = self._names or []
        rows: list[list[object]] = []
        for item in items:
            row = _by_name(self._result_of(item))
            kept = [row.pop(name, None) for name in names]
            rows.append([*kept, *self._cells(item), *row.values()])
        write_all(self._stream, csv_rows(rows))


def _by_name(result: Result) -> dict[str, str | None]:
    """Return the row by names; cells without a header are named by their place, from 1."""
    if isinstance(result.row, dict):
        return dict(result.row)
    if isinstance(result.row, list):
        return {str(place): cell for place, cell in enumerate(result.row, 1)}
    return {}
