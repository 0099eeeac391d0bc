"""Content of a file of results, a few octets a lookup, and the lookups that are left to ask (`--resume`).

Six octets a lookup stand for the whole file: a hash of its input and type, its status, and what becomes of it. That
is enough to tell another list from the one that the file was made with, and to count. Nothing here writes; the file
itself is in resume.py.

Ten million lines pass through `Kept.add`: nothing but the loops that are there may run Python code for each line, and
no object may be kept for one.
"""

from __future__ import annotations

import zlib
from array import array
from collections import Counter, deque
from io import BytesIO
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated

import msgspec

from resolver.model import ANSWERED, UNFINISHED, Status
from resolver.output.files import OtherInput
from resolver.output.selection import UNANSWERED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from resolver.input.lookups import LookupSource
    from resolver.model import Query, Result

_OPEN_STILL = "NOERROR, of which something is unknown"  # in place of the status, while a file is read
UNDONE = frozenset({Status.DEADLINE, Status.CANCELLED})  # results of the run, and not of the lookup

_ERROR = f'"error":"{UNFINISHED} '.encode()
_BEGINNING = b'{"index":'
_BLOCK = 1 << 20  # octets read at once
_LONGEST = 1 << 25  # octets of a line: an input of 1 MiB, each octet an escape of six, and a large answer
_AHEAD = 1000  # lookups that are read at once while kept ones are passed over
_MOST = 16  # times that, at most, in one take: the engine has replies to see to
_STATUSES = 255
# A line has more octets than this, so an index says how long a file must be; but for what was in flight, which is
# missing when a run is killed, no index is higher.
_SHORTEST, _IN_FLIGHT = 100, 1_000_000


class KeptRow(msgspec.Struct, gc=False):
    """Part of a line that is read; the rest of it is skipped in C."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    input: str
    type: str
    status: str
    nameserver: str | None = None


class _KeptError(msgspec.Struct):
    error: str | None


_DECODER = msgspec.json.Decoder(KeptRow)


class Lines:
    """Whole lines of a file of results, in blocks, each ended by a line feed; to be gone through once.

    Args:
        read: Gives the next octets, no more than so many; b"" at the end.
        path: The file's name, for errors.

    Attributes:
        end: Octets of the lines so far, up to the last line feed.
        checksum: CRC-32 of all that was read.
        tail: After the end, what follows the last line feed.
        unended: That is a line, whole but for its line feed.
    """

    def __init__(self, read: Callable[[int], bytes], path: str) -> None:
        self._read = read
        self._path = path
        self.end = 0
        self.checksum = 0
        self.tail = b""
        self.unended = False

    def __iter__(self) -> Iterator[bytes]:
        while octets := self._read(_BLOCK):
            self.checksum = zlib.crc32(octets, self.checksum)
            head, feed, rest = octets.rpartition(b"\n")
            if not feed:
                self.tail += rest
            else:
                lines = self.tail + head + feed
                self.tail = rest
                yield lines
                self.end += len(lines)
            if len(self.tail) > _LONGEST:
                raise _foreign(self._path, "a line is longer than any result")
        if rows_of(self.tail + b"\n"):
            self.unended = True
            yield self.tail + b"\n"
        # After a power failure the file may end in octets that were never written.
        elif (begun := self.tail.rstrip(b"\0"))[: len(_BEGINNING)] != _BEGINNING[: len(begun)]:
            raise _foreign(self._path, f"octet {self.end} begins a line that is no result")

    def rows(self) -> Iterator[list[KeptRow]]:
        """Decode the lines, a block of them at a time. Raises ValueError where one is no result."""
        for lines in self:
            rows = rows_of(lines)
            if rows is None:
                wrong = self.end + sum(map(len, takewhile(rows_of, BytesIO(lines))))
                raise _foreign(self._path, f"octet {wrong} begins a line that is no result")
            yield rows


def rows_of(lines: bytes) -> list[KeptRow] | None:
    """Decode whole lines; None where one of them is no result."""
    try:
        rows = _DECODER.decode_lines(lines)
    except (ValueError, RecursionError):
        return None
    if len(rows) != lines.count(b"\n"):
        return None
    if _ERROR in lines:
        for row, line in zip(rows, lines.split(b"\n"), strict=False):
            if _ERROR in line and row.status == Status.NOERROR and _is_unfinished(line):
                row.status = _OPEN_STILL
    return rows


def _is_unfinished(line: bytes) -> bool:
    return (msgspec.json.decode(line, type=_KeptError).error or "").startswith(UNFINISHED)


class Kept:
    """Results that a file holds, by index.

    Args:
        path: The file's name, for errors.
        redo: The statuses that are looked up again, beside those that always are; also UNANSWERED.
        nameservers: Those that are each asked, as results name them; empty: any is asked, and it does not matter which.

    Attributes:
        again: There are lines whose lookups are asked again.
        in_order: The lines stand in the order of their index.
    """

    def __init__(self, path: str, redo: Collection[str] = (), nameservers: Sequence[str] = ()) -> None:
        self.path = path
        self._nameservers = nameservers
        self._redo = {*UNDONE, _OPEN_STILL, *redo}
        self._marks = array("I")  # a hash of input and type; 0: no line
        self._statuses: list[str] = []
        self._codes: dict[str, int] = {}
        self._code = bytearray()  # of the line's status, in `_statuses`
        self._asked = bytearray()  # of each lookup, 1: it is asked; 0: its line stays
        self._last = -1
        self.again = False
        self.in_order = True

    @property
    def end(self) -> int:
        """One more than the highest index."""
        return len(self._marks)

    def add(self, rows: Sequence[KeptRow], octets: int) -> None:
        """Take these lines of a run whose results have so many octets.

        Raises ValueError where an index stands in it twice, or cannot stand in a file of its length.
        """
        indices = [row.index for row in rows]
        top = max(indices)
        if top >= self.end:
            if top > octets // _SHORTEST + _IN_FLIGHT:
                raise ValueError(
                    f"{self.path} has an index of {top} and too few lines: results were taken out of it, and it cannot "
                    "be resumed; write to another file"
                )
            self._grow(top + 1)
        if self.in_order:
            self.in_order = indices[0] > self._last and indices == sorted(indices)
            self._last = indices[-1]
        for status in {row.status for row in rows} - self._codes.keys():
            self._learn(status)
        marks, code, codes, pinned = self._marks, self._code, self._codes, bool(self._nameservers)
        for index, row in zip(indices, rows, strict=True):
            if marks[index]:
                raise ValueError(
                    f"{self.path} has two results of index {index}: it is not one run's; write to another file"
                )
            asked = (row.input, row.type, row.nameserver) if pinned else (row.input, row.type)
            marks[index] = hash(asked) & 0xFFFFFFFF or 1
            code[index] = codes[row.status]

    def settle(self) -> None:
        """Find out which lines stay, after all were added."""
        unanswered = UNANSWERED in self._redo
        redone = {
            code
            for status, code in self._codes.items()
            if status in self._redo or (unanswered and status not in ANSWERED)
        }
        self._asked = self._code.translate(bytes(n in redone or not n for n in range(256)))
        self.again = any(bytes([code]) in self._code for code in redone)

    def check(self, lookups: Iterable[Query] | Iterable[Result]) -> None:
        """Raise OtherInput where one of these is not the lookup that the file has a line of."""
        marks, end, nameservers = self._marks, self.end, self._nameservers
        asked: tuple[str | None, ...]
        for one in lookups:
            if one.index >= end or not (mark := marks[one.index]):
                continue
            asked = one.input, one.type
            if nameservers:
                asked += (nameservers[one.nameserver] if isinstance(one.nameserver, int) else None,)
            if mark != (hash(asked) & 0xFFFFFFFF or 1):
                shown = " ".join([repr(one.input[:100]), *filter(None, asked[1:])])
                raise self._other(f"lookup {one.index} is {shown} now, and was another")

    def check_length(self, lookups: int) -> None:
        """Raise OtherInput where so many lookups are all, and the file has more."""
        if lookups < self.end:
            raise self._other(f"there are {lookups} lookups now, and were {self.end} or more")

    def holds(self, index: int) -> bool:
        """Tell whether the file has a line of this lookup that stays."""
        return index < self.end and not self._asked[index]

    def next_open(self, index: int) -> int:
        """Return the first lookup from this index on that is to be asked."""
        found = self._asked.find(1, index)
        return max(index, self.end) if found < 0 else found

    def status(self, index: int) -> str | None:
        """Return the status that the file's line has; None where there is none, or a new one takes its place."""
        return self._statuses[code - 1] if index < self.end and (code := self._code[index]) else None

    def replace(self, index: int) -> None:
        """Note that a new line takes the place of the file's, if it has one."""
        if index < self.end:
            self._code[index] = 0

    def _other(self, why: str) -> OtherInput:
        return OtherInput(
            f"{self.path} was made with another list or other types: {why}; resume it with those, or write to another "
            "file"
        )

    def _grow(self, end: int) -> None:
        more = end - self.end
        self._marks.frombytes(bytes(more * self._marks.itemsize))
        self._code.extend(bytes(more))

    def _learn(self, status: str) -> None:
        try:
            known = Status.NOERROR if status == _OPEN_STILL else Status(status)
        except ValueError:
            raise _foreign(self.path, f"{status[:50]!r} is no status") from None
        if len(self._statuses) == _STATUSES:
            raise _foreign(self.path, f"it has more than {_STATUSES} statuses")
        self._statuses.append(str(known))
        self._codes[status] = len(self._statuses)


class Remaining:
    """Lookups of a run without those that a file holds: the LookupSource that a batch reads (hosts.py).

    Attributes:
        statuses: How many of the lookups that were passed over so far have each.
    """

    def __init__(self, hosts: LookupSource, kept: Kept) -> None:
        self._hosts = hosts
        self._kept = kept
        self._queries: deque[Query] = deque()
        self._invalid: list[Result] = []
        self.statuses: Counter[str] = Counter()
        self.next_open = kept.next_open
        self.position, self.stop = hosts.position, hosts.stop
        self.rows = hosts.rows

    def take(self, n: int) -> tuple[list[Query], list[Result]] | None:
        """Take the next lookups, as Hosts gives them. Raises OtherInput where they are not the file's."""
        for _ in range(_MOST):
            if self._queries or self._invalid:
                break
            # A long list is read as a long list, however few lookups the engine has room for.
            got = self._hosts.take(max(n, _AHEAD) if self.lookups < self._kept.end else n)
            if got is None:
                if self.complete:
                    self._kept.check_length(self.lookups)
                return None
            queries, invalid = got
            if not queries and not invalid:
                break
            self._queries += self._left(queries)
            self._invalid += self._left(invalid)
        invalid, self._invalid = self._invalid, []
        return [self._queries.popleft() for _ in range(min(n, len(self._queries)))], invalid

    def take_lines(self, n: int) -> None:
        """Take no lines: each lookup is looked at here."""

    @property
    def passed_over(self) -> int:
        """Lookups that were passed over so far."""
        return self.statuses.total()

    @property
    def silent(self) -> bool:
        return self._hosts.silent

    @property
    def complete(self) -> bool:
        return self._hosts.complete

    @property
    def hosts_read(self) -> int:
        return self._hosts.hosts_read

    @property
    def lookups(self) -> int:
        return self._hosts.lookups

    def _left(self, lookups: list[Query] | list[Result]) -> list:  # type: ignore[type-arg]  # of the same kind
        kept = self._kept
        kept.check(lookups)
        left = [one for one in lookups if not kept.holds(one.index)]
        if len(left) < len(lookups):
            held = [one.index for one in lookups if kept.holds(one.index)]
            self.statuses.update([kept.status(index) or "" for index in held])
            if self.rows is not None:
                for index in held:
                    self.rows.pop(index, None)
        return left


def _foreign(path: str, why: str) -> ValueError:
    return ValueError(
        f"{path} is no file of results that this command wrote as JSON Lines ({why}); write to another file"
    )
