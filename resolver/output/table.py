"""Table for people: results as rows, on a terminal or wherever it is wanted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Generic, TypeVar

from resolver.output.colours import kind
from resolver.output.lines import asked_for, data_of, visible
from resolver.output.streams import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    from resolver.model import Result

Row = TypeVar("Row")


class Table(Generic[Row]):
    """Table for people, shown when the writer is closed.

    It holds no more than `PAGE` rows: of a longer run each thousand is shown as a table of its own, as it fills.
    """

    PAGE = 1000

    def __init__(self, stream: BinaryIO, draw: Callable[[list[Row]], RichTable]) -> None:
        self._stream = stream
        self._draw = draw
        self._rows: list[Row] = []

    def write(self, rows: list[Row]) -> None:
        self._rows += rows
        while len(self._rows) >= self.PAGE:
            page, self._rows = self._rows[: self.PAGE], self._rows[self.PAGE :]
            self._show(page)

    def close(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._show(rows)

    def _show(self, rows: list[Row]) -> None:
        import io

        from rich.console import Console

        terminal = self._stream.isatty()
        text = io.StringIO()
        # Where it is no terminal, rich decides: by COLUMNS, else by the terminal that the command runs in, else 80.
        console = Console(
            file=text,
            force_terminal=terminal or None,
            width=terminal_width(self._stream) if terminal else None,
        )
        table = self._draw(rows)
        hosts = table.columns[0]
        longest = max(console.measure(cell).maximum for cell in hosts.cells)
        # A host is broken in two only where the rest would have too little room.
        hosts.no_wrap = longest <= console.width * 2 // 5
        console.print(table)
        write_all(self._stream, text.getvalue().encode("utf-8", "replace"))


_COLOURS = {"found": "green", "absent": "yellow", "failed": "red", "ended": "magenta"}

# Characters of a line that a table shows: no name is longer, and one that is would fill the screen.
_LONGEST_HOST = 255


def results_table(rows: list[Result]) -> RichTable:
    """Return a table with a row a result."""
    from rich.text import Text as RichText

    # Most runs ask one nameserver: then it is named once, and its column's width serves the names and answers.
    nameservers = {result.nameserver for result in rows} - {None}
    table = _empty()
    table.add_column("host", overflow="fold")
    table.add_column("type", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("answers", overflow="fold")
    table.add_column("ms", justify="right", no_wrap=True)
    if len(nameservers) > 1:
        table.add_column("nameserver", overflow="fold")
    elif nameservers:
        table.caption = RichText(f"nameserver {nameservers.pop()}")
    for result in rows:
        cells = (
            _host(result.input),
            _cell(result.type),
            _status(result),
            _cell(*data_of(result), *([result.error] if result.error else [])),
            _cell("" if result.elapsed is None else f"{result.elapsed * 1000:.1f}"),
            _cell(result.nameserver or ""),
        )
        table.add_row(*cells[: len(table.columns)])
    return table


def hosts_table(rows: list[dict[str, Result]], types: Sequence[str]) -> RichTable:
    """Return a table with a row a host, and a column for each of these types that some host has a result of."""
    shown = [type_ for type_ in types if any(type_ in row for row in rows)]
    table = _empty()
    table.add_column("host", overflow="fold")
    for type_ in shown:
        table.add_column(type_, overflow="fold")
    for row in rows:
        host = next(iter(row.values())).input
        table.add_row(_host(host), *[_found(row[type_]) if type_ in row else "" for type_ in shown])
    return table


def _empty() -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    return RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption_justify="left")


def _host(host: str) -> RichText:
    return _cell(host if len(host) <= _LONGEST_HOST else f"{host[:_LONGEST_HOST]}…")


def _status(result: Result) -> RichText:
    return _cell(result.status, style=_COLOURS[kind(result.status)])


def _found(result: Result) -> RichText:
    data = asked_for(result)
    return _cell(*data) if data else _status(result)


def _cell(*lines: str, style: str = "") -> RichText:
    from rich.text import Text as RichText

    # Never a plain str: rich would read `[2001:db8::1]` as markup.
    return RichText("\n".join(map(visible, lines)), style)


def terminal_width(stream: BinaryIO) -> int | None:
    """Return the columns of this stream's terminal; None: it is none, or does not know."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None
