"""Lookups and results by the block, for engines whose work other processes do: what passes through them unopened.

Lines of hosts go out as they were read, and lines of results come back as they will be written. What those on the way
need to know travels beside them.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from resolver.model import Result, Status, count_statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from resolver.model import Query

FORGET = 1 << 20  # octets of lines after which an OpenLookups lets go of those that are done


class HostLines(msgspec.Struct, frozen=True, eq=False):
    """Lines of a list, each of them one lookup (input/plain.py).

    Attributes:
        first: The index of the first; the others follow it.
        octets: The lines, each with its line feed.
        type: The record type that is asked, but of an address.
        count: How many there are.
    """

    first: int
    octets: bytes
    type: str
    count: int

    @classmethod
    def of(cls, first: int, octets: bytes, type: str) -> HostLines:
        """Return lines that are to be counted."""
        return cls(first, octets, type, octets.count(b"\n"))

    @property
    def indices(self) -> range:
        """The indices of the lookups."""
        return range(self.first, self.first + self.count)

    def __len__(self) -> int:
        return self.count

    def then(self, more: HostLines) -> HostLines:
        """Return these lines and those that follow them, as one. Raises ValueError where others do not."""
        if more.first != self.first + self.count or more.type != self.type:
            raise ValueError("lines that do not follow")
        return HostLines(self.first, self.octets + more.octets, self.type, self.count + more.count)


class OpenLookups:
    """Lookups without a result: queries, and those that still stand in their lines.

    Results of lines are taken out by the block, with no Python code for each.

    Attributes:
        queries: The queries, by index.
    """

    def __init__(self, work: Iterable[Query] | HostLines = ()) -> None:
        self.queries: dict[int, Query] = {}
        self._in_lines: set[int] = set()
        self._lines: dict[int, HostLines] = {}  # by their first index: those of the above, and some that are done
        self._octets = self._kept = 0  # of these lines, now and when they were last looked through
        if isinstance(work, HostLines):
            self.add_lines(work)
        else:
            self.queries.update({query.index: query for query in work})

    def __len__(self) -> int:
        return len(self.queries) + len(self._in_lines)

    def __contains__(self, index: int) -> bool:
        return index in self._in_lines or index in self.queries

    @property
    def indices(self) -> set[int]:
        """The indices of all."""
        return self._in_lines.union(self.queries)

    @property
    def lines(self) -> Iterable[tuple[HostLines, set[int]]]:
        """The lines, in the order in which they were added, with the indices that are open in each."""
        for lines in self._lines.values():
            if found := self._in_lines.intersection(lines.indices):
                yield lines, found

    def add_lines(self, lines: HostLines) -> None:
        """Add lines, in the order of their indices."""
        self._in_lines.update(lines.indices)
        self._lines[lines.first] = lines
        self._octets += len(lines.octets)
        if self._octets > 2 * self._kept + FORGET:
            self._forget()

    def among(self, indices: set[int]) -> set[int]:
        """Return those of these indices that are open."""
        found = self._in_lines & indices
        return found | self.queries.keys() & indices if self.queries else found

    def remove(self, index: int) -> bool:
        """Take out a lookup; return whether it was open."""
        if self.queries.pop(index, None) is not None:
            return True
        if index in self._in_lines:
            self._in_lines.remove(index)
            return True
        return False

    def remove_all(self, indices: Sequence[int]) -> bool:
        """Take out these; return False, and take out none, unless each of them is open and comes once."""
        left = self._in_lines
        if self.queries and not left.issuperset(indices):
            return self._remove_some(indices)
        if not left.issuperset(indices):
            return False
        before = len(left)
        left.difference_update(indices)
        if before - len(left) != len(indices):
            left.update(indices)
            return False
        return True

    def replace(self, queries: list[Query]) -> None:
        """Have those of these queries that are open in place of the lines that they stand in."""
        for query in queries:
            if query.index in self._in_lines:
                self._in_lines.remove(query.index)
                self.queries[query.index] = query

    def _remove_some(self, indices: Sequence[int]) -> bool:
        once = set(indices)
        asked = once - self._in_lines
        if len(once) < len(indices) or not self.queries.keys() >= asked:
            return False
        self._in_lines -= once
        for index in asked:
            del self.queries[index]
        return True

    def _forget(self) -> None:
        """Let go of the lines that are done."""
        done = self._in_lines.isdisjoint  # ends with the first that is open
        self._lines = {first: lines for first, lines in self._lines.items() if not done(lines.indices)}
        self._octets = self._kept = sum([len(lines.octets) for lines in self._lines.values()])


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
        lines: The body is lines in the run's format.
        tally: Counts for a page about the run (output/tally.py), in MessagePack; empty: it has none.
        body: Those lines, or else the results as a list in MessagePack.
    """

    indices: list[int]
    statuses: dict[str, int]
    queries: int
    shown: int
    lines: bool = False
    tally: bytes = b""
    body: bytes = b""  # last: what sends a block has it in pieces (processes/protocol.py)

    @classmethod
    def of(cls, results: list[Result], lines: bytes | None = None, shown: int | None = None) -> ResultBlock:
        """Encode results, or put lines that they make (`shown` of them) into a block."""
        body = _encode(results) if lines is None else lines
        return cls._of(results, len(results) if shown is None else shown, body, lines is not None)

    def results(self, part: slice = slice(None)) -> list[Result]:
        """Return the results, or this part of them; of lines, those in JSON (LineFormat.readable)."""
        if not self.lines:
            return _of_msgpack.decode(self.body)[part]
        body = self.body if part == slice(None) else b"".join(BytesIO(self.body).readlines()[part])
        return _of_lines.decode_lines(body)

    def check(self) -> None:
        """Raise ValueError where the lines, in JSON, are not those of the indices, or the counts not those of lines.

        What a line says beside its index is not looked at.
        """
        # Each line by itself: read as a whole, two results might share a line, or one have several.
        found = [part.index for part in map(_indices.decode, BytesIO(self.body).readlines())]
        if not self.lines or found != self.indices or not self.body.endswith(b"\n" if found else b""):
            raise ValueError("lines that are not those of their indices")
        if not self.body.isascii():
            self.body.decode()
        counts = list(self.statuses.values())
        if sum(counts) != len(found) or min([self.queries, *counts]) < 0 or not 0 <= self.shown <= len(found):
            raise ValueError("counts that are not those of the lines")
        if self.tally:
            raise ValueError("counts for a page that nobody asked for")
        for status in self.statuses:
            Status(status)

    def divide(self, parts: Sequence[Collection[int]]) -> list[ResultBlock]:
        """Return a block for each of these parts of the indices. Lines must be readable."""
        if not self.lines:
            found = self.results()
            return [self.of([each for each in found if each.index in part]) for part in parts]
        lines = BytesIO(self.body).readlines()
        alike = list(self.statuses) if self.queries == len(self.indices) else []  # nearly always: one query, one answer
        blocks = []
        for part in parts:
            picked = [(index, line) for index, line in zip(self.indices, lines, strict=True) if index in part]
            body, count = b"".join([line for _, line in picked]), len(picked)
            if len(alike) == 1:
                block = ResultBlock([index for index, _ in picked], {alike[0]: count}, count, count, True, body=body)
            else:
                block = self._of(_parts.decode_lines(body), count, body, True)
            blocks.append(block)
        return blocks

    @classmethod
    def _of(cls, results: list[Result] | list[_Part], shown: int, body: bytes, lines: bool) -> ResultBlock:
        block = cls([], {}, 0, 0, lines, body=body)
        block.count(results, shown)
        return block

    def count(self, results: list[Result] | list[_Part], shown: int) -> dict[str, int]:
        """Count results that are in the body, or that will be; return how many of them have each status."""
        self.indices += [result.index for result in results]
        self.shown += shown
        self.queries += sum([result.attempts or 0 for result in results])
        statuses = count_statuses([result.status for result in results])
        for status, count in statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        return statuses


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
