"""Output of a run: a format is chosen, and what writes it is put together; on a binary stream.

A writer takes results in batches. It writes each batch whole and at once, so that what is done can be seen, and kept,
while the run goes on; only a table waits for its rows. What goes wrong in writing (a full disk, a closed pipe) is the
caller's to explain: every `write` and `close` here raises the OSError as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resolver.model import KEYS
from resolver.output.lines import EACH_TEXT, ENCODERS, LineWriter, csv_cells, csv_encoder, csv_header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from resolver.blocks import ResultBlock
    from resolver.model import Result
    from resolver.output.lines import Writer
    from resolver.output.selection import Differing, Selection

FORMATS = ("text", "table", "jsonl", "csv", "hosts", "answers")
GROUPED = ("table", "csv")  # formats that can have a row a host


def open_writer(
    format: str,
    stream: BinaryIO,
    *,
    selection: Selection | Differing | None = None,
    group: Sequence[str] = (),
    more: Sequence[str] = (),
    keep: bool = False,
    each: bool = False,
) -> Writer[Result]:
    """Return a writer of results.

    Args:
        format: One of `FORMATS`; or `auto`, which chooses table or text by the length.
        stream: A binary stream, buffered or not.
        selection: Which results are written; None: all.
        group: The record types that are asked, for a row a host where the format is one of `GROUPED`; empty: a row or
            line a result.
        more: The fields behind `error` that the results of this run have, for columns of CSV.
        keep: They have the rows of their lists, whose columns come first in CSV.
        each: Each nameserver was asked each question: text says which one a line is of.

    Raises:
        ValueError: There is no such format.
        OSError: The stream cannot be written.
    """

    def selected(format: str) -> Writer[Result]:
        writer = _writer(EACH_TEXT if each and format == "text" else format, stream, more, keep=keep)
        return writer if selection is None else SelectingWriter(writer, selection)

    if format not in (*FORMATS, "auto"):
        raise ValueError(f"{format!r} is no format; valid: {', '.join(FORMATS)}")
    if group and format in GROUPED:
        from resolver.output.grouped import host_rows

        return host_rows(format, stream, group, selection, keep=keep)
    return Auto(selected) if format == "auto" else selected(format)


def _writer(format: str, stream: BinaryIO, more: Sequence[str], *, keep: bool) -> Writer[Result]:
    if format == "table":
        from resolver.output.table import Table, results_table

        return Table(stream, results_table)
    if format == "csv" and keep:
        from resolver.output.kept_columns import KeptColumns

        return KeptColumns(stream, (*KEYS, *more), csv_cells(more), lambda result: result)
    if format == "csv":
        return LineWriter(stream, csv_encoder(more), csv_header(more))
    return LineWriter(stream, ENCODERS[format])


class SelectingWriter:
    """Writer of those results that are selected."""

    def __init__(self, writer: Writer[Result], selection: Selection | Differing) -> None:
        self._writer = writer
        self._selection = selection

    def write(self, results: list[Result]) -> None:
        if chosen := self._selection.of(results):
            self._writer.write(chosen)

    def write_block(self, block: ResultBlock) -> None:
        """Write lines of results that were selected elsewhere (output/blocks.py)."""
        assert isinstance(self._writer, LineWriter)
        self._selection.shown += block.shown
        self._writer.write_block(block)

    def close(self) -> None:
        self._writer.close()


class Auto:
    """Table of a short run, text of a longer one: held back until it is known which."""

    SHORT = 100

    def __init__(self, writer_of: Callable[[str], Writer[Result]]) -> None:
        self._writer_of = writer_of
        self._held: list[Result] = []
        self._text: Writer[Result] | None = None

    def write(self, results: list[Result]) -> None:
        if self._text is None:
            self._held += results
            if len(self._held) <= self.SHORT:
                return
            self._text = self._writer_of("text")
            results, self._held = self._held, []
        self._text.write(results)

    def close(self) -> None:
        if self._text is None:
            table = self._writer_of("table")
            table.write(sorted(self._held, key=lambda result: result.index))
            table.close()
