"""Formats of lines: results go in, octets come out, and nothing is held back.

JSON Lines is the hot path, at more than a hundred thousand results a second: nothing there may run Python code for each
result.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from resolver.model import KEYS, Result
from resolver.output.streams import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import BinaryIO

    from resolver.blocks import ResultBlock

    Encoder = Callable[[list[Result]], bytes]

Row = TypeVar("Row")


class Writer(Protocol[Row]):
    """Writer of results, or of rows of them. Both methods raise OSError where the stream cannot be written."""

    def write(self, rows: list[Row], /) -> None:
        """Write these after those before."""

    def close(self) -> None:
        """Write what is held back. The stream stays open: it is the caller's."""


class LineWriter(Generic[Row]):
    """Writer of rows in a format of lines: each batch is one write, after a header before the first."""

    def __init__(self, stream: BinaryIO, encode: Callable[[list[Row]], bytes], header: bytes = b"") -> None:
        self._stream = stream
        self._encode = encode
        self._header = header

    def write(self, rows: list[Row]) -> None:
        self._write(self._encode(rows))

    def write_block(self, block: ResultBlock) -> None:
        """Write lines that were made elsewhere (output/blocks.py)."""
        self._write(block.body)

    def close(self) -> None:
        if self._header:
            self._write(b"")

    def _write(self, octets: bytes) -> None:
        if self._header:
            octets, self._header = self._header + octets, b""
        write_all(self._stream, octets)


def csv_header(more: Sequence[str] = ()) -> bytes:
    """Return the line that CSV begins with: the keys of JSON Lines, with those `more` that a run has."""
    return csv_rows([(*KEYS, *more)])


def csv_encoder(more: Sequence[str] = ()) -> Encoder:
    """Return what encodes results as CSV: a row a result, in the columns of `csv_header`."""
    cells = csv_cells(more)
    return lambda results: csv_rows(map(cells, results))


def csv_cells(more: Sequence[str] = ()) -> Callable[[Result], list[object]]:
    """Return what makes the cells of a result.

    `answers` is one cell: TYPE DATA of each record, joined by `; `; what is no text or number otherwise is JSON.
    """

    def cells(result: Result) -> list[object]:
        answers = "; ".join([f"{record.type} {record.data}" for record in result.answers])
        row = [answers if value is result.answers else value for value in msgspec.structs.astuple(result)[: len(KEYS)]]
        return row + [_cell(getattr(result, name)) for name in more]

    return cells


def csv_rows(rows: Iterable[Iterable[object]]) -> bytes:
    """Return rows of cells as CSV; None is empty.

    Lines end in CR LF, as RFC 4180 has it and spreadsheets write it; every csv reader takes it. UTF-8 without a byte
    order mark, which would become a part of the first column's name in every reader but a spreadsheet.
    """
    import csv  # here: most runs need neither
    import io

    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> object:
    if value is None or value is msgspec.UNSET:
        return None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return msgspec.json.encode(value).decode()


def _text(results: list[Result]) -> bytes:
    return "".join([f"{_line(one)}\n" for one in results]).encode("utf-8", "replace")


def _text_of_each(results: list[Result]) -> bytes:
    return "".join([f"{_line(one)}\t{one.nameserver or ''}\n" for one in results]).encode("utf-8", "replace")


def _line(result: Result) -> str:
    data = ", ".join(data_of(result))
    if result.error is not None:
        data = f"{data}; {result.error}" if data else result.error
    return f"{visible(result.input)}\t{result.type}\t{result.status}\t{visible(data)}"


def data_of(result: Result) -> list[str]:
    """Return what people are shown of an answer: the data of its records, and where they lead (`follow`)."""
    data = [record.data for record in result.answers]
    for target in result.follow or ():
        data.append(f"{target.name} {' '.join(target.addresses) or target.status}")
    return data


def _hosts(results: list[Result]) -> bytes:
    return "".join([f"{visible(one.input)}\n" for one in results]).encode("utf-8", "replace")


def _answers(results: list[Result]) -> bytes:
    return "".join([f"{visible(data)}\n" for one in results for data in asked_for(one)]).encode("utf-8", "replace")


def asked_for(result: Result) -> list[str]:
    """Return the data of the records of the type that was asked for: without the CNAMEs that led to them."""
    return [record.data for record in result.answers if record.type == result.type]


# JSON Lines: an object a result, the fields of Result in their order. Text, for people and grep: input, type, status,
# then the answers or the error, with tabs between, and at the end, where each nameserver is asked, which one it was.
# Hosts: the input, fit to be read again. Answers: data, one a line.
EACH_TEXT = "text of each nameserver"
ENCODERS: dict[str, Encoder] = {
    "text": _text,
    EACH_TEXT: _text_of_each,
    "jsonl": msgspec.json.Encoder().encode_lines,
    "csv": csv_encoder(),
    "hosts": _hosts,
    "answers": _answers,
}


def visible(text: str) -> str:
    """Return the text with all that could move the cursor, break the line or turn its direction written as an escape.

    A list of hosts may come from anywhere, and so may what a nameserver says.
    """
    return text if text.isprintable() else _UNSEEN.sub(_escape, text)


# Controls (C0, DEL, C1), line and paragraph separators, embeddings, overrides and isolates of direction (UAX 9), and
# surrogates, which no encoding has. Joiners stay: names in Persian and some emoji are written with them.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
