"""Sources of hosts: files, pipes and terminals by the rules of lists, and the library's iterables.

Nothing here grows with the input: a list holds one block of octets and at most the first 1 MiB of a line.
"""

from __future__ import annotations

import codecs
import errno
import os
import select
import stat
from collections.abc import Sized
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from resolver.input.groups import GROUP, LONGEST, HostBlock, block_of, check_kind, groups_of_lines, octets_of
from resolver.input.networks import AN_ADDRESS, further_addresses, further_of
from resolver.input.readahead import InThread, ReadAhead

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable
    from typing import BinaryIO

    from resolver.input.columns import HostColumn, RowReader

BLOCK = 16 * 1024  # octets read at once: about 700 names, less than a millisecond of work
_COUNTED = 256 * 1024  # octets of a twin: its lines are only counted


class Source(Protocol):
    """List or iterable that hosts are read from.

    `path`, `descriptor` and `elements` make one, and `text_file` (textfile.py).

    Attributes:
        ended: Nothing more will come of it.
        cut: It was given up before its end.
        once: It can be read only once: a pipe, an iterator.
        waitable: The descriptor to wait on while `read` gives None.
        total: The whole in octets or hosts; None where it is unknown.
    """

    ended: bool = False
    cut: bool = False
    once: bool = False
    waitable: int | None = None
    total: int | None = None

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        """Read the next hosts, no more than `hosts` of an iterable; None: nothing right now."""

    def stop(self) -> None:
        """Give up what can be read only once and may never end (a pipe, an iterator): the run ends early."""

    def close(self) -> None:
        """Close what this source opened itself, and read no more."""
        self.ended = True


def path(name: str | os.PathLike[str], column: HostColumn | None = None) -> LineSource:
    """Open a list in a file, a FIFO, a device; with a column, one that is CSV. Never waits for a FIFO's writer.

    Raises OSError where it cannot be opened, and ValueError where a file's header does not name the column.
    """
    # O_NONBLOCK is for a FIFO without a writer yet; O_NOCTTY for a terminal.
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return descriptor(fd, owned=True, name=os.fspath(name), column=column)
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, error.strerror, os.fspath(name)) from None
    except ValueError:
        os.close(fd)
        raise


def descriptor(
    fd: int,
    *,
    owned: bool = False,
    name: str = "standard input",
    column: HostColumn | None = None,
    decoder: codecs.IncrementalDecoder | None = None,
    buffer: BinaryIO | None = None,
) -> LineSource:
    """Return a list on an open descriptor, such as standard input's 0; closed by `close()` where it is owned.

    Args:
        fd: The descriptor.
        owned: `close` closes it.
        name: What an error calls it.
        column: Where the host stands in a list that is CSV.
        decoder: Decodes it; None: it is UTF-8, or UTF-16 that says so.
        buffer: What reads it where it is a regular file; None: nothing stands between.

    Raises:
        OSError: It is not open, or a directory.
        ValueError: As `path` raises it.
    """
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    close = (lambda: os.close(fd)) if owned else None
    if stat.S_ISREG(status.st_mode):
        # Standard input may stand in the middle of its file: { read header; resolve; } < hosts.csv
        where = os.lseek(fd, 0, os.SEEK_CUR) if buffer is None else buffer.tell()
        lines = LineSource(
            lambda: os.read(fd, BLOCK) if buffer is None else buffer.read(BLOCK),
            total=max(0, status.st_size - where),
            close=close,
            name=name,
            column=column,
            twin=None if decoder else lambda: twin_of(fd, where, name),
            decoder=decoder,
        )
        return lines.looked_at()
    return LineSource(lambda: _read_ready(fd), waitable=fd, close=close, name=name, column=column, decoder=decoder)


def twin_of(fd: int, where: int, name: str) -> LineSource:
    """Return the list in an open regular file from an octet on, to be read beside its reader, who keeps its place."""

    def read() -> bytes:
        nonlocal where
        octets = os.pread(fd, _COUNTED, where)
        where += len(octets)
        return octets

    return LineSource(read, name=name)


def elements(hosts: Iterable[object], *, whole: bool = False) -> Source:
    """Return a source of which each element is one host: a str, blank ones INVALID, or an address of `ipaddress`.

    An iterator is read ahead, since it may wait; a collection (whatever has a length) is read as it is used.

    Args:
        hosts: The elements.
        whole: Also an iterator is read to its end when the run ends early, as a collection is, unless it waits.

    Raises:
        TypeError: An element is of another kind: told at once of a collection, when it is met in an iterator.
    """
    if isinstance(hosts, str | bytes):
        raise TypeError(f"hosts are an iterable of hosts, not one {type(hosts).__name__}")
    if isinstance(hosts, Sized):
        return _Elements(hosts, len(hosts))
    return _Ahead(ReadAhead(InThread(hosts), whole=whole))


def async_elements(hosts: AsyncIterable[object]) -> Source:
    """Return the same of an asynchronous iterable, read in the event loop that runs when the first is taken."""
    from resolver.input.task import InTask

    return _Ahead(ReadAhead(InTask(hosts)))


class LineSource(Source):
    """List: lines of octets from anywhere.

    `read` gives a block of octets, b"" at the end, None for nothing right now; in its place, `ahead` gives texts.
    `twin` gives the same list once more, from its beginning; None: it can be read only once. `decoder` is for lists
    that are no UTF-8; UTF-16 with its mark is found out.
    """

    def __init__(
        self,
        read: Callable[[], bytes | None] | None = None,
        *,
        ahead: ReadAhead | None = None,
        waitable: int | None = None,
        total: int | None = None,
        close: Callable[[], None] | None = None,
        name: str | None = None,
        column: HostColumn | None = None,
        twin: Callable[[], LineSource] | None = None,
        decoder: codecs.IncrementalDecoder | None = None,
    ) -> None:
        self.twin = twin
        self._rows = None if column is None else _row_reader(column)
        self.waitable = waitable
        self.total = total
        self.once = waitable is not None or ahead is not None
        self._ahead = ahead
        self._octets = read or self._octets_ahead
        self._close = close
        self._name = name
        self._rest = b""  # a line without its end
        self._looked_at: tuple[int, bytes] | None = None  # the first lines, until they are read
        self._begun = decoder is not None
        self._decoder = decoder

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        got, self._looked_at = self._looked_at or self.lines(), None
        if got is None:
            return None
        size, lines = got
        if self._rows is None:
            further = further_addresses(lines)
            many = lines.count(b"\n") + further
            block = HostBlock(size + AN_ADDRESS * further, many, groups_of_lines(lines, types), lines)
        else:
            try:
                block = self._rows.block(size, lines, types)
            except ValueError as error:
                raise OSError(errno.EINVAL, str(error), self._name) from None
        if self.total is not None:
            self.total += block.size - size
        return block

    def lines(self) -> tuple[int, bytes] | None:
        """Read the next lines, in UTF-8: octets that were read for them, and those that are whole; None: nothing now.

        The first of them may be longer than is kept.
        """
        try:
            octets = self._octets()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._name) from None
        if octets is None:
            return None
        self.ended = not octets
        size = len(octets)
        if not self._begun or self._decoder is not None:
            octets = self._decoded(octets)
        if self.ended:
            octets += b"\n"
        head, newline, rest = octets.rpartition(b"\n")
        if not newline:
            self._keep(octets)
            return size, b""
        lines = self._rest + head + newline
        self._rest = rest
        return size, lines

    def looked_at(self) -> LineSource:
        """Return this list, which can be read at once, if its first row names the column that is asked for.

        Raises ValueError where it does not, before anything is asked or written.
        """
        if self._rows is not None:
            self._looked_at = self.lines()
            try:
                self._rows.check(self._looked_at[1] if self._looked_at else b"")
            except ValueError as error:
                raise ValueError(f"{self._name}: {error}" if self._name else str(error)) from None
        return self

    def stop(self) -> None:
        if self._ahead is not None:
            self._ahead.stop()
        elif self.once and not self.ended:
            self.ended = self.cut = True

    def close(self) -> None:
        self.ended = True
        if self._ahead is not None:
            self._ahead.close()
        if self._close is not None:
            self._close()
            self._close = None

    def _octets_ahead(self) -> bytes | None:
        assert self._ahead is not None
        taken = self._ahead.take(GROUP)
        self.cut = self._ahead.cut
        return None if taken is None else octets_of("".join(map(str, taken)))

    def _decoded(self, octets: bytes) -> bytes:
        """Return octets of UTF-8; the list is UTF-16 where its first two octets are the mark of that."""
        if not self._begun:
            octets = self._rest + octets
            if len(octets) < 2 and not self.ended:
                self._rest = octets
                return b""
            self._begun = True
            self._rest = b""
            if octets[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        if self._decoder is None:
            return octets
        return octets_of(self._decoder.decode(octets, final=self.ended))

    def _keep(self, block: bytes) -> None:
        # One octet more than is kept tells that the line is too long; the rest of it is let go.
        if len(self._rest) <= LONGEST:
            self._rest += block
        if len(self._rest) > LONGEST:
            # However long white space is, it makes no host.
            self._rest = self._rest.lstrip()


class _Elements(Source):
    """Collection, which is read to its end also where the run ends early."""

    def __init__(self, hosts: Iterable[object], size: int) -> None:
        self.total = size
        # Only a text with a slash can be a network.
        texts = [host for host in hosts if isinstance(host, str) and "/" in host]
        self.total += sum(further_of(text.strip()) for text in texts)
        for kind in set(map(type, hosts)):
            check_kind(kind)
        self._hosts = iter(hosts)

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        taken = list(islice(self._hosts, hosts))
        self.ended = len(taken) < hosts
        return block_of(taken, types)

    def stop(self) -> None:
        """Nothing: it ends by itself."""


class _Ahead(Source):
    """Iterator that can be read once, and may wait."""

    once = True

    def __init__(self, ahead: ReadAhead) -> None:
        self._ahead = ahead

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        taken = self._ahead.take(hosts)
        if taken is None:
            return None
        self.ended, self.cut = not taken, self._ahead.cut
        return block_of(taken, types)

    def stop(self) -> None:
        self._ahead.stop()

    def close(self) -> None:
        self.ended = True
        self._ahead.close()


def _row_reader(column: HostColumn) -> RowReader:
    from resolver.input.columns import RowReader  # here: most lists are no CSV

    return RowReader(column)


def _read_ready(fd: int) -> bytes | None:
    """Read what is there. A FIFO is not at its end before its first writer came: select knows, read does not."""
    if not _is_readable(fd):
        return None
    try:
        return os.read(fd, BLOCK)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:  # a terminal that is gone
            return b""
        raise


def _is_readable(fd: int) -> bool:
    try:
        return bool(select.select([fd], [], [], 0)[0])
    except ValueError:  # a number past FD_SETSIZE
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))
