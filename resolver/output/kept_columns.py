"""CSV with the columns of the lists before those of the results (`--keep`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from resolver.output.lines import csv_rows
from resolver.output.streams import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from resolver.model import Result

Item = TypeVar("Item")

_HELD = 1000  # results that wait for the first row


@dataclass
class KeptColumns(Generic[Item]):
    """Writer of CSV. The first row that was kept names the columns; cells that have none of these stand at the end.

    Results without a row (hosts that are words, lines that are no CSV) have empty cells there.

    Args:
        stream: Where to write.
        header: The columns of a result, or of what stands for several; empty once they were written.
        cells: Returns them.
        result_of: Returns a result that has the row.
    """

    stream: BinaryIO
    header: Sequence[str]
    cells: Callable[[Item], Sequence[object]]
    result_of: Callable[[Item], Result]
    _names: list[str] | None = None  # of the first row; empty: none came in time
    _held: list[Item] = field(default_factory=list)

    def write(self, items: list[Item]) -> None:
        self._held += items
        if self._names is None:
            self._names = next((list(row) for item in self._held if (row := self._row(item))), None)
        if self._names is not None or len(self._held) > _HELD:
            self._write_held()

    def close(self) -> None:
        if self.header:
            self._write_held()

    def _write_held(self) -> None:
        names = self._names = self._names or []
        rows: list[list[object]] = [[*names, *self.header]] if self.header else []
        for item in self._held:
            row = self._row(item)
            kept = [row.pop(name, None) for name in names]
            rows.append([*kept, *self.cells(item), *row.values()])
        self.header, self._held = (), []
        write_all(self.stream, csv_rows(rows))

    def _row(self, item: Item) -> dict[str, str | None]:
        """Return the row by names; cells without a header are named by their place, from 1."""
        row = self.result_of(item).row
        if isinstance(row, list):
            return {str(place): cell for place, cell in enumerate(row, 1)}
        return dict(row) if isinstance(row, dict) else {}
