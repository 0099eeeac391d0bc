"""Lookups and results by the block, for engines whose work other processes do: what passes through them unopened.

Lines of hosts go out as they were read, and lines of results come back as they will be written. What those on the way
need to know travels beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from itertools import compress, repeat
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from resolver.bits import PAGE, Bits, bits_of, bits_of_octets, bits_of_range, indices_of, octets_of
from resolver.model import Result, Status, count_statuses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resolver.model import Query

FORGET = 1 << 20  # octets of lines after which an OpenLookups lets go of those that are done


class HostLines(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """Lines of a list, each of them one lookup (input/groups.py).

    Attributes:
        first: The index of the first; the others follow it.
        octets: The lines, each with its line feed.
        type: The record type that is asked, but of an address.
        count: How many there are.
    """

    first: int
    octets: bytes
    type: Annotated[str, msgspec.Meta(max_length=64)]
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
        self._bits: Bits = {}  # of those in lines; a page has some
        self._count = 0
        self._lines: dict[int, HostLines] = {}  # by their first index: those of the above, and some that are done
        self._octets = self._kept = 0  # of these lines, now and when they were last looked through
        if isinstance(work, HostLines):
            self.add_lines(work)
        else:
            self.queries.update({query.index: query for query in work})

    def __len__(self) -> int:
        return len(self.queries) + self._count

    def __contains__(self, index: int) -> bool:
        return index in self.queries or self._in_lines(index)

    @property
    def indices(self) -> set[int]:
        """The indices of all."""
        return {*self.queries, *indices_of(self._bits)}

    @property
    def lines(self) -> Iterable[tuple[HostLines, set[int]]]:
        """The lines, in the order in which they were added, with the indices that are open in each."""
        for lines in self._lines.values():
            if found := self._common(bits_of_range(lines.indices)):
                yield lines, set(indices_of(found))

    def add_lines(self, lines: HostLines) -> None:
        """Add lines, none of which is open."""
        self._put(bits_of_range(lines.indices))
        self._count += lines.count
        self._lines[lines.first] = lines
        self._octets += len(lines.octets)
        if self._octets > 2 * self._kept + FORGET:
            self._forget()

    def meets(self, other: OpenLookups) -> bool:
        """Tell whether a lookup is open in both."""
        mine, theirs = self.queries.keys(), other.queries.keys()
        if self._common(other._bits) or not mine.isdisjoint(theirs):
            return True
        return bool((self._bits and self._common(bits_of(theirs))) or (other._bits and other._common(bits_of(mine))))

    def remove(self, index: int) -> bool:
        """Take out a lookup; return whether it was open."""
        if self.queries.pop(index, None) is not None:
            return True
        if not self._in_lines(index):
            return False
        self._take_out({index // PAGE: 1 << index % PAGE})
        return True

    def remove_queries(self, indices: list[int]) -> bool:
        """Take out these queries; return False, and take out none, unless each is open, and named once."""
        opened, before = self.queries, len(self.queries)
        found = list(map(opened.pop, indices, repeat(None)))  # no Python code for each
        if before - len(opened) == len(indices):
            return True
        opened.update({query.index: query for query in found if query is not None})
        return False

    def remove_all(self, bits: Bits, count: int) -> bool:
        """Take out so many lookups; return False, and take out none, unless each is open and has a bit of its own."""
        if sum(map(int.bit_count, bits.values())) != count:
            return False
        found = self._common(bits)
        if found == bits:
            self._take_out(found)
            return True
        asked = [index for index in indices_of(bits) if index in self.queries] if self.queries else []
        if len(asked) + sum(map(int.bit_count, found.values())) != count:
            return False
        self.remove_open(bits)
        return True

    def remove_open(self, bits: Bits) -> Bits:
        """Take out those of these lookups that are open, and return which."""
        found = self._common(bits)
        self._take_out(found)
        if self.queries:
            asked = [index for index in indices_of(bits) if self.queries.pop(index, None) is not None]
            for page, set_ in bits_of(asked).items():
                found[page] = found.get(page, 0) | set_
        return found

    def replace(self, queries: list[Query]) -> None:
        """Have those of these queries that are open in place of the lines that they stand in."""
        found = {query.index: query for query in queries if self._in_lines(query.index)}
        self._take_out(bits_of(found))
        self.queries.update(found)

    def _in_lines(self, index: int) -> bool:
        return bool(self._bits.get(index // PAGE, 0) >> index % PAGE & 1)

    def _common(self, bits: Bits) -> Bits:
        """Return those of these bits that are of open lines."""
        mine = self._bits
        return {page: both for page, set_ in bits.items() if (both := mine.get(page, 0) & set_)}

    def _put(self, bits: Bits) -> None:
        for page, set_ in bits.items():
            self._bits[page] = self._bits.get(page, 0) | set_

    def _take_out(self, bits: Bits) -> None:
        """Take out bits, all of which are of open lines."""
        for page, set_ in bits.items():
            self._count -= set_.bit_count()
            if left := self._bits[page] ^ set_:
                self._bits[page] = left
            else:
                del self._bits[page]

    def _forget(self) -> None:
        """Let go of the lines that are done."""
        kept = [lines for lines in self._lines.values() if self._common(bits_of_range(lines.indices))]
        self._lines = {lines.first: lines for lines in kept}
        self._octets = self._kept = sum([len(lines.octets) for lines in kept])


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
    def plain(self) -> bool:
        """Whether there is a line for every result, which is its usual fields in JSON."""
        return self.name == "jsonl" and not self.more and not self.only

    @property
    def readable(self) -> bool:
        """Whether the lines still say all of every result."""
        return self.name == "jsonl" and not self.only


class BlockSink(NamedTuple):
    """Sink of results that need not be opened.

    Attributes:
        format: Lines in which they may be written where they are made; None: they are wanted as they are.
        write: Takes a block, in lines or not.
    """

    format: LineFormat | None
    write: Callable[[ResultBlock], None]


class ResultBlock(msgspec.Struct, tag="results"):
    """Results that were encoded where they were made.

    Attributes:
        count: How many results there are.
        indices: Theirs, in a list, or as `bits` has them, each page as octets.
        statuses: How many results have each status.
        queries: Queries that were sent for them, as far as that is known.
        shown: Results that the lines are of.
        lines: The body is lines in the run's format.
        tally: Counts for a page about the run (output/tally.py), in MessagePack; empty: it has none.
        elapsed: Seconds, and how many of the results took them; empty: only the results tell.
        body: Those lines, or else the results as a list in MessagePack.
    """

    count: int = 0
    indices: dict[int, bytes] | list[int] = {}
    statuses: dict[str, int] = {}
    queries: int = 0
    shown: int = 0
    lines: bool = False
    tally: bytes = b""
    elapsed: list[tuple[float, int]] = []
    body: bytes = b""  # last: what sends a block has it in pieces (processes/protocol.py)

    @classmethod
    def of(cls, results: list[Result], lines: bytes | None = None, shown: int | None = None) -> ResultBlock:
        """Encode results, or put lines that they make (`shown` of them) into a block."""
        body = _encode(results) if lines is None else lines
        return cls._of(results, len(results) if shown is None else shown, body, lines is not None)

    @property
    def bits(self) -> Bits:
        """The indices of the results."""
        if isinstance(self.indices, list):
            return bits_of(self.indices)
        return bits_of_octets(self.indices)

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
        right = self.lines and len(found) == self.count and bits_of(found) == self.bits
        if not right or not self.body.endswith(b"\n" if found else b""):
            raise ValueError("lines that are not those of their indices")
        if not self.body.isascii():
            self.body.decode()
        counts = list(self.statuses.values())
        if sum(counts) != len(found) or min([self.queries, *counts]) < 0 or not 0 <= self.shown <= len(found):
            raise ValueError("counts that are not those of the lines")
        if self.tally or self.elapsed or isinstance(self.indices, list):
            raise ValueError("fields that do not travel so far")
        for status in self.statuses:
            Status(status)

    def divide(self, parts: Sequence[Bits]) -> list[ResultBlock]:
        """Return a block for each of these parts of the indices. Lines must be readable."""
        sets = [set(indices_of(part)) for part in parts]
        if not self.lines:
            found = self.results()
            return [self.of([each for each in found if each.index in part]) for part in sets]
        indices = [part.index for part in _indices.decode_lines(self.body)]
        lines = BytesIO(self.body).readlines()
        alike = list(self.statuses) if self.queries == self.count else []  # nearly always: one query, one answer
        blocks = []
        for part, bits in zip(sets, parts, strict=True):
            mine = list(map(part.__contains__, indices))
            body, count = b"".join(compress(lines, mine)), sum(mine)
            if len(alike) == 1:
                block = ResultBlock(count, octets_of(bits), {alike[0]: count}, count, count, True, body=body)
            else:
                block = self._of(_parts.decode_lines(body), count, body, True)
            blocks.append(block)
        return blocks

    def merge(self, other: ResultBlock) -> None:
        """Count the results of another block too; its body goes behind this one's."""
        self.count += other.count
        self.shown += other.shown
        self.queries += other.queries
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count

    @classmethod
    def _of(cls, results: list[Result] | list[_Part], shown: int, body: bytes, lines: bool) -> ResultBlock:
        block = cls(lines=lines, body=body)
        block.add(results, shown)
        block.number(result.index for result in results)
        return block

    def number(self, indices: Iterable[int]) -> None:
        """Set the indices of the results."""
        self.indices = octets_of(bits_of(indices))

    def add(self, results: list[Result] | list[_Part], shown: int) -> dict[str, int]:
        """Count results that are in the body, or that will be; return how many of them have each status."""
        self.count += len(results)
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
