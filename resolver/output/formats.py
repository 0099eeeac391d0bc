"""Output of a run: results as text, as a table, as JSON Lines or as CSV, on a binary stream.

A writer takes results in batches. It writes each batch whole and at once, so that what is done can be seen, and kept,
while the run goes on; only a table waits for its rows. JSON Lines is the hot path, at more than a hundred thousand
results a second: nothing there may run Python code for each result. What goes wrong in writing (a full disk, a closed
pipe) is the caller's to explain: every `write` and `close` here raises the OSError as it is.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Protocol

import msgspec

from resolver.model import KEYS, Result, Status

if TYPE_CHECKING:
    from typing import BinaryIO

    from rich.table import Table as RichTable

FORMATS = ("text", "table", "jsonl", "csv")


class ResultWriter(Protocol):
    """Writer of results. Both methods raise OSError where the stream cannot be written."""

    def write(self, results: list[Result]) -> None:
        """Write these results after those before."""

    def close(self) -> None:
        """Write what is held back. The stream stays open: it is the caller's."""


def open_writer(format: str, stream: BinaryIO) -> ResultWriter:
    """Return a writer of results.

    Args:
        format: One of `FORMATS`; or `auto`, which chooses table or text by the length.
        stream: A binary stream, buffered or not.

    Raises:
        ValueError: There is no such format.
        OSError: The stream cannot be written.
    """
    if format not in _REPORTS:
        raise ValueError(f"{format!r} is no format; valid: {', '.join(FORMATS)}")
    return _REPORTS[format](stream)


class JsonLines:
    """JSON Lines: one object a line, with the fields of Result in their order."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._encode_lines = msgspec.json.Encoder().encode_lines

    def write(self, results: list[Result]) -> None:
        _write_all(self._stream, self._encode_lines(results))

    def close(self) -> None:
        pass


class Csv:
    """CSV: a header, then one row a result; the columns are the keys of JSON Lines, null is empty.

    `answers` is one cell: `TYPE DATA` of each record, joined by `; `. Lines end in CR LF, as RFC 4180 has it and
    spreadsheets write it; every csv reader takes it. UTF-8 without a byte order mark, which would become a part of
    the first column's name in every reader but a spreadsheet.
    """

    def __init__(self, stream: BinaryIO) -> None:
        import csv
        import io

        self._stream = stream
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text)
        self._header: tuple[str, ...] | None = KEYS

    def write(self, results: list[Result]) -> None:
        self._write_header()
        self._writer.writerows(map(_cells, results))
        self._flush()

    def close(self) -> None:
        self._write_header()
        self._flush()

    def _write_header(self) -> None:
        if self._header:
            self._writer.writerow(self._header)
            self._header = None

    def _flush(self) -> None:
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        _write_all(self._stream, text.encode("utf-8", "replace"))


class Text:
    """Text for people and grep, one line a result: input, type, status, then the answers or the error; tabs between."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, results: list[Result]) -> None:
        text = "".join([f"{visible(one.input)}\t{one.type}\t{one.status}\t{_outcome(one)}\n" for one in results])
        _write_all(self._stream, text.encode("utf-8", "replace"))

    def close(self) -> None:
        pass


class Table:
    """Table for people, shown when the writer is closed.

    It holds no more than `PAGE` rows: of a longer run each thousand is shown as a table of its own, as it fills.
    """

    PAGE = 1000

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rows: list[Result] = []

    def write(self, results: list[Result]) -> None:
        self._rows += results
        while len(self._rows) >= self.PAGE:
            page, self._rows = self._rows[: self.PAGE], self._rows[self.PAGE :]
            self._show(page)

    def close(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._show(rows)

    def _show(self, rows: list[Result]) -> None:
        import io

        from rich.console import Console

        terminal = self._stream.isatty()
        text = io.StringIO()
        # Where it is no terminal, rich decides: by COLUMNS, else by the terminal that the command runs in, else 80.
        console = Console(
            file=text,
            force_terminal=terminal or None,
            width=_terminal_width(self._stream) if terminal else None,
        )
        console.print(_table(rows))
        _write_all(self._stream, text.getvalue().encode("utf-8", "replace"))


class Auto:
    """Table of a short run, text of a longer one: held back until it is known which."""

    SHORT = 100

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held: list[Result] = []
        self._text: Text | None = None

    def write(self, results: list[Result]) -> None:
        if self._text is None:
            self._held += results
            if len(self._held) <= self.SHORT:
                return
            self._text = Text(self._stream)
            results, self._held = self._held, []
        self._text.write(results)

    def close(self) -> None:
        if self._text is None:
            table = Table(self._stream)
            table.write(sorted(self._held, key=lambda result: result.index))
            table.close()


def visible(text: str) -> str:
    """Return the text with all that could move the cursor, break the line or turn its direction written as an escape.

    A list of hosts may come from anywhere, and so may what a nameserver says.
    """
    return text if text.isprintable() else _UNSEEN.sub(_escape, text)


_REPORTS: dict[str, type[JsonLines | Csv | Text | Table | Auto]] = {
    "auto": Auto,
    "text": Text,
    "table": Table,
    "jsonl": JsonLines,
    "csv": Csv,
}

# Controls (C0, DEL, C1), line and paragraph separators, embeddings, overrides and isolates of direction (UAX 9), and
# surrogates, which no encoding has. Joiners stay: names in Persian and some emoji are written with them.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_COLOURS = {
    Status.NOERROR: "green",
    Status.NODATA: "yellow",
    Status.NXDOMAIN: "yellow",
    Status.DEADLINE: "magenta",
    Status.CANCELLED: "magenta",
}

# Characters of a line that a table shows: no name is longer, and one that is would fill the screen.
_LONGEST_HOST = 255


def _cells(result: Result) -> list[object]:
    answers = "; ".join([f"{record.type} {record.data}" for record in result.answers])
    return [answers if value is result.answers else value for value in msgspec.structs.astuple(result)[: len(KEYS)]]


def _outcome(result: Result) -> str:
    data = ", ".join([record.data for record in result.answers])
    if result.error is not None:
        data = f"{data}; {result.error}" if data else result.error
    return visible(data)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _table(rows: list[Result]) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    def cell(*lines: str, style: str = "") -> RichText:
        # Never a plain str: rich would read `[2001:db8::1]` as markup.
        return RichText("\n".join(map(visible, lines)), style)

    # Most runs ask one nameserver: then it is named once, and its column's width serves the names and answers.
    nameservers = {result.nameserver for result in rows} - {None}
    table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption_justify="left")
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
        host = result.input
        cells = (
            cell(host if len(host) <= _LONGEST_HOST else f"{host[:_LONGEST_HOST]}…"),
            cell(result.type),
            cell(result.status, style=_COLOURS.get(result.status, "red")),
            cell(*[record.data for record in result.answers], *([result.error] if result.error else [])),
            cell("" if result.elapsed is None else f"{result.elapsed * 1000:.1f}"),
            cell(result.nameserver or ""),
        )
        table.add_row(*cells[: len(table.columns)])
    return table


def _terminal_width(stream: BinaryIO) -> int | None:
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def _write_all(stream: BinaryIO, octets: bytes) -> None:
    """Write every octet and flush. A raw stream may take a part, and one that does not block may take nothing yet."""
    rest = memoryview(octets)
    while rest:
        try:
            written = stream.write(rest)
        except BlockingIOError as error:
            written = error.characters_written
        if written:
            rest = rest[written:]
        else:
            _wait_until_writable(stream)
    while True:
        try:
            stream.flush()
        except BlockingIOError:
            _wait_until_writable(stream)
        else:
            return


def _wait_until_writable(stream: BinaryIO) -> None:
    import select

    poll = select.poll()
    poll.register(stream, select.POLLOUT)
    poll.poll()
