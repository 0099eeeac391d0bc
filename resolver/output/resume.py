"""File of a run that is resumed (`--resume`): what it holds is kept, what is missing is added to it.

Where nothing that the file holds is asked again, results are appended to it. Else it stays as it is while the run goes
on: results go into FILE.resume, and at the end FILE.resume.new is written, from the lines of both that count, and takes
FILE's place. Whatever ends the run before leaves FILE whole; what FILE.resume holds by then is made a part of it when
it is next resumed.

A kill may come between any two calls to the system. FILE.resume begins with the length and the checksum of the FILE
that it belongs to, so that it never becomes a part of another.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections import Counter
from contextlib import ExitStack, suppress
from io import BytesIO
from itertools import chain, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from resolver.output.files import lock, open_locked
from resolver.output.kept import UNDONE, Kept, Lines, Remaining, rows_of
from resolver.output.streams import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from resolver.input.lookups import LookupSource
    from resolver.input.sources import Source
    from resolver.model import Result
    from resolver.output.summary import Summary

_CHECKED = 1000  # lookups of a list that are compared at a time
_FIRST = b'{"resumes":'


class JournalHeader(msgspec.Struct, frozen=True):
    """First line of FILE.resume: which FILE it belongs to."""

    resumes: int  # octets of the FILE
    checksum: int


class Resumed(ExitStack):
    """File of results that a run goes on with; as a context it closes its files, which unlocks them.

    `stream` takes the results, once `begin` was called.

    Args:
        path: The file.
        redo: Statuses that are asked again.
        ordered: The file is to be in input order.
        nameservers: Those that are each asked, as results name them; empty: any is asked.

    Raises:
        OSError: It cannot be opened or read.
        ValueError: It cannot be resumed; it is as it was then.
    """

    def __init__(self, path: str, redo: Collection[str], *, ordered: bool, nameservers: Sequence[str] = ()) -> None:
        super().__init__()
        self.path = path
        self._real = os.path.realpath(path)  # what takes the file's place must not take that of a link
        self._file = self.enter_context(open_locked(path))
        self._journal = f"{self._real}.resume"
        self._unfinished = f"{self._journal}.new"
        try:
            self._recover()
            self.kept = Kept(path, redo, nameservers)
            self._lines = _read(self._file, self.kept, 0, os.fstat(self._file.fileno()).st_size)
            if ordered and not self.kept.in_order:
                raise ValueError(f"the results in {path} are not in input order; leave --order out")
        except BaseException:
            self.close()
            raise
        # A line that is added in the order of the input stands at the end of the file only behind all others.
        self._replaces = self.kept.again or (ordered and self.kept.next_open(0) < self.kept.end)
        self._statuses: Counter[str] = Counter()  # of the lines that stay, as far as the lookups were read
        self.stream: BinaryIO = self._file

    def check(self, lists: Sequence[Source], lookups: Callable[[Sequence[Source]], LookupSource]) -> None:
        """Compare the lists as far as they can be read twice: a pipe, and what comes after one, as the run reads it.

        Args:
            lists: The sources.
            lookups: Returns what reads them.

        Raises:
            OtherInput: They are not the file's.
        """
        again = list(takewhile(lambda source: not source.once, lists))
        reading = lookups(again)
        while reading.lookups < self.kept.end and (got := reading.take(_CHECKED)) is not None:
            for part in got:
                self.kept.check(part)
        if len(again) == len(lists):
            self.kept.check_length(reading.lookups)

    def begin(self, hosts: LookupSource) -> LookupSource:
        """Make the file ready to be written to; returns the lookups that are left. Raises OSError."""
        lines = self._lines
        if self._replaces:
            self.stream = self._open_journal()
        elif lines.unended:
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"\n")
        else:
            self._file.truncate(lines.end)
            self._file.seek(lines.end)
        remaining = Remaining(hosts, self.kept)
        self._statuses = remaining.statuses
        return remaining

    @property
    def takes_lines(self) -> bool:
        """Whether `fresh` selects every result, whatever it is."""
        return not self.kept.again

    def fresh(self, results: list[Result]) -> list[Result]:
        """Select the results that are to be written: one that the run's end cut short replaces none that counts."""
        if not self.kept.again:
            return results
        kept = self.kept
        fresh = []
        for result in results:
            before = kept.status(result.index) if result.status in UNDONE else None
            if before is None or before in UNDONE:
                kept.replace(result.index)
                fresh.append(result)
            else:
                # The line that stands counts in its place.
                self._statuses.update({before: 1, result.status: -1})
        return fresh

    def finish(self) -> None:
        """Put the results in their place, when all are written. Raises OSError; then the file is as it was."""
        if self._replaces:
            with open(self._journal, "rb", buffering=0) as journal:
                journal.readline()
                self._merge(journal, lambda index: self.kept.status(index) is not None)
            os.unlink(self._journal)
            _sync_directory(self._real)

    def put_back(self) -> None:
        """Make the file what it was before: the input was another."""
        lines = self._lines
        if self._replaces:
            os.unlink(self._journal)
        else:
            self._file.truncate(lines.end)
            self._file.seek(lines.end)
            self._file.write(lines.tail)

    def whole(self, figures: Summary) -> Summary:
        """Return the figures as those of the whole file; what was sent, and how fast, stays that of the run."""
        statuses = self._statuses + Counter(figures.statuses)
        written = statuses.total()
        return msgspec.structs.replace(
            figures,
            results_written=written,
            results_shown=written,
            statuses={str(status): count for status, count in sorted(statuses.items())},
        )

    def _open_journal(self) -> BinaryIO:
        """Begin FILE.resume."""
        file = open(self._journal, "xb", buffering=0)  # noqa: SIM115  # kept open
        try:
            _as_if(self._file, file)
            octets = self._lines.end + len(self._lines.tail)
            header = msgspec.json.encode(JournalHeader(octets, self._lines.checksum)) + b"\n"
            write_all(file, header)
        except BaseException:
            file.close()
            os.unlink(self._journal)
            raise
        return self.enter_context(file)

    def _recover(self) -> None:
        """Make what a run that was killed left in FILE.resume a part of the file."""
        if not os.path.exists(self._journal):
            return
        with open(self._journal, "rb", buffering=0) as journal:
            header = _header(journal.readline(), self._journal)
            if header is not None and (header.resumes, header.checksum) == self._checksum():
                found = Kept(self._journal)
                where = journal.tell()
                # The few that are replaced may stand anywhere in a long file.
                _read(journal, found, where, header.resumes + os.fstat(journal.fileno()).st_size)
                if found.end:
                    journal.seek(where)
                    self._merge(journal, lambda index: found.status(index) is None)
        _remove(self._unfinished)
        os.unlink(self._journal)
        _sync_directory(self._real)

    def _merge(self, journal: BinaryIO, stands: Callable[[int], bool]) -> None:
        """Put the lines of the file that stand, and those of the journal from its position on, in the file's place.

        They are in input order where both are.
        """
        self._file.seek(0)
        old = (line for line in _numbered(Lines(self._file.read, self.path)) if stands(line[0]))
        merged = heapq.merge(old, _numbered(Lines(journal.read, self._journal)), key=itemgetter(0))
        path = self._unfinished
        _remove(path)
        with open(path, "x+b") as file:
            try:
                _as_if(self._file, file)
                lock(file.fileno(), self.path)
                file.writelines(map(itemgetter(1), merged))
                file.flush()
                os.fsync(file.fileno())
                os.replace(path, self._real)
            except BaseException:
                os.unlink(path)
                raise
            # The same open file, and so under the same lock.
            fd = os.dup(file.fileno())
            self._file = self.enter_context(open(fd, "r+b", buffering=0))  # noqa: SIM115  # kept open

    def _checksum(self) -> tuple[int, int]:
        """Return how many octets the file has, and their checksum."""
        self._file.seek(0)
        lines = Lines(self._file.read, self.path)
        for _ in lines:
            pass
        return lines.end + len(lines.tail), lines.checksum


def _read(file: BinaryIO, kept: Kept, where: int, octets: int) -> Lines:
    """Take in what a file holds from there on. `octets`: as `Kept.add` takes it.

    Raises ValueError where that is no file of results.
    """
    file.seek(where)
    lines = Lines(file.read, kept.path)
    for rows in lines.rows():
        kept.add(rows, octets)
    kept.settle()
    return lines


def _header(line: bytes, path: str) -> JournalHeader | None:
    """Decode the first line of FILE.resume; None where it is torn. Raises ValueError where no run has written it."""
    try:
        return msgspec.json.decode(line, type=JournalHeader)
    except ValueError:
        begun = line.rstrip(b"\0")  # after a power failure, octets that were never written
        if begun.endswith(b"\n") or not _FIRST.startswith(begun[: len(_FIRST)]):
            raise ValueError(f"{path} is in the way: it is none that --resume has left; move it") from None
        return None


def _remove(path: str) -> None:
    """Remove a file, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def _as_if(old: BinaryIO, new: BinaryIO) -> None:
    """Give the new file the mode of the old one, and its owner where we may."""
    status = os.fstat(old.fileno())
    with suppress(OSError):
        os.fchown(new.fileno(), status.st_uid, status.st_gid)
    os.fchmod(new.fileno(), stat.S_IMODE(status.st_mode))


def _numbered(lines: Lines) -> Iterator[tuple[int, bytes]]:
    """Return lines that were read before, each with its index."""
    return chain.from_iterable(
        zip([row.index for row in rows_of(block) or []], BytesIO(block).readlines(), strict=False) for block in lines
    )


def _sync_directory(path: str) -> None:
    """See that what a directory says of this file is on the disk."""
    fd = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
