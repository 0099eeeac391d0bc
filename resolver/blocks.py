"""Lookups and results by the block, for engines whose work other processes do: what passes through them unopened.

Lines of hosts go out as they were read, and lines of results come back as they will be written. What those on the way
need to know travels beside them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver.model import Result, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class HostLines(msgspec.Struct, frozen=True, eq=False):
    """Lines of a list, each of them one lookup (input/plain.py).

    Attributes:
        first: The index of the first; the others follow it.
        octets: The lines, each with its line feed.
        type: The record type that is asked, but of an address.
    """

    first: int
    octets: bytes
    type: str

    @property
    def indices(self) -> range:
        """The indices of the lookups."""
        return range(self.first, self.first + len(self))

    def __len__(self) -> int:
        return self.octets.count(b"\n")

    def then(self, more: HostLines) -> HostLines:
        """Return these lines and those that follow them, as one."""
        return HostLines(self.first, self.octets + more.octets, self.type)


class LineFormat(msgspec.Struct, frozen=True, array_like=True):
    """A format in which a result can be written without knowing of any other.

    Attributes:
        name: One of `output.lines.ENCODERS`.
        more: The fields behind `error` that the results of the run have.
        only: The words of `--only`; empty: every result is written.
        tallied: The results are counted for a page about the run, too.
    """

    name: str
    more: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    tallied: bool = False

    @property
    def readable(self) -> bool:
        """Whether the lines still say all of every result."""
        return self.name == "jsonl" and not self.only


class LineSink(NamedTuple):
    """Sink of results that other processes write: the format, and what takes a block of lines in it."""

    format: LineFormat
    write: Callable[[ResultBlock], None]


class ResultBlock(msgspec.Struct, tag="results"):
    """Results that were encoded where they were made.

    Attributes:
        indices: Those of the results, in their order.
        statuses: How many results have each status.
        queries: Queries that were sent for them, as far as that is known.
        shown: Results that the lines are of.
        body: Lines in the run's format, or else the results as a list in MessagePack.
        lines: The former.
        tally: Counts for a page about the run (output/tally.py), in MessagePack; empty: it has none.
    """

    indices: list[int]
    statuses: dict[str, int]
    queries: int
    shown: int
    body: bytes
    lines: bool = False
    tally: bytes = b""

    @classmethod
    def of(cls, results: list[Result], lines: bytes | None = None, shown: int | None = None) -> ResultBlock:
        """Encode results, or put lines that they make (`shown` of them) into a block."""
        body = _encode(results) if lines is None else lines
        return cls._of(results, len(results) if shown is None else shown, body, lines is not None)

    def results(self) -> list[Result]:
        """Return the results; of lines, those in JSON (LineFormat.readable)."""
        return _of_lines.decode_lines(self.body) if self.lines else _of_msgpack.decode(self.body)

    def check(self) -> None:
        """Raise ValueError where the lines, in JSON, are not those of the indices, or the counts not those of lines."""
        found = [part.index for part in _indices.decode_lines(self.body)]
        if not self.lines or found != self.indices or self.body.count(b"\n") != len(found):
            raise ValueError("lines that are not those of their indices")
        if not self.body.isascii():
            self.body.decode()
        if sum(self.statuses.values()) != len(self.indices) or min(self.queries, *self.statuses.values()) < 0:
            raise ValueError("counts that are not those of the lines")
        for status in self.statuses:
            Status(status)

    def only(self, indices: Collection[int]) -> ResultBlock:
        """Return the part with these indices, each once. Lines must be readable."""
        if not self.lines:
            return self.of(list({each.index: each for each in self.results() if each.index in indices}.values()))
        found = zip(_parts.decode_lines(self.body), self.body.splitlines(keepends=True), strict=True)
        lines = {part.index: (part, line) for part, line in found if part.index in indices}
        parts = [part for part, _ in lines.values()]
        return self._of(parts, len(parts), b"".join([line for _, line in lines.values()]), True)

    @classmethod
    def _of(cls, results: list[Result] | list[_Part], shown: int, body: bytes, lines: bool) -> ResultBlock:
        statuses = [result.status for result in results]
        usual = statuses.count(Status.NOERROR)  # by list.count, which compares in C, and nearly all are
        counts = {str(Status.NOERROR): usual} if usual else {}
        if usual < len(statuses):
            counts.update(Counter(str(status) for status in statuses if status != Status.NOERROR))
        queries = sum([result.attempts or 0 for result in results])
        return cls([result.index for result in results], counts, queries, shown, body, lines)


class _Index(msgspec.Struct, gc=False):
    """The part of a line that says which result it is; the rest is skipped in C."""

    index: int


class _Part(_Index, gc=False):
    """The parts of a line that are counted."""

    status: str
    attempts: int | None


_encode = msgspec.msgpack.Encoder().encode
_of_msgpack = msgspec.msgpack.Decoder(list[Result])
_of_lines = msgspec.json.Decoder(Result)
_indices = msgspec.json.Decoder(_Index)
_parts = msgspec.json.Decoder(_Part)
