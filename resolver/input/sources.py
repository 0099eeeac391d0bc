r"""Where hosts come from: files, pipes and terminals by the rules of lists, and the library's iterables.

A source gives its hosts in groups, neighbours that are asked the same types, so that a million ordinary names are
handled by the block, never by the line.

The one thing to know before changing anything here: nothing grows with the input. A list holds one block of octets
and at most the first 1 MiB of a line.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import select
import stat
from collections.abc import Iterator, Sized
from itertools import chain, cycle, islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from resolver.input.names import Stretch, name_of, stretches
from resolver.input.readahead import InTask, InThread, ReadAhead

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

_BLOCK = 16 * 1024  # octets read at once: about 700 names, less than a millisecond of work
_LONGEST = 1024 * 1024  # octets of a line that are kept
_GROUP = 64  # hosts after which a run is given out


class Source(Protocol):
    """Where hosts come from: made by `path`, `descriptor`, `text_file` and `elements`, which raise what is wrong.

    ended: nothing more will come of it.
    cut: it was given up before its end.
    once: it can be read only once: a pipe, an iterator.
    waitable: the descriptor to wait on while `read` gives None.
    total: the whole in octets or hosts; None where it is unknown.
    """

    ended: bool
    cut: bool
    once: bool
    waitable: int | None
    total: int | None

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        """The next hosts, no more than `hosts` of an iterable; None: nothing right now."""

    def stop(self) -> None:
        """The run ends early: what can be read only once and may never end (a pipe, an iterator) is given up."""

    def close(self) -> None:
        """Close what this source opened itself."""


class HostBlock(NamedTuple):
    """What one read gave. Its groups are made as they are taken: a name can cost 50 microseconds."""

    size: int  # octets or hosts, as the source's total
    lines: int  # blank ones and comments too
    groups: Iterator[HostGroup]


def path(name: str | os.PathLike[str]) -> Source:
    """A list in a file, a FIFO, a device. Raises OSError where it cannot be read; never waits for a FIFO's writer."""
    # O_NONBLOCK is for a FIFO without a writer yet; O_NOCTTY for a terminal.
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return descriptor(fd, owned=True, name=os.fspath(name))
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, error.strerror, os.fspath(name)) from None


def descriptor(fd: int, *, owned: bool = False, name: str = "standard input") -> Source:
    """A list on an open descriptor, such as standard input's 0; closed by `close()` where it is owned.

    name: what an error calls it.
    Raises OSError where it is not open, or a directory.
    """
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    close = (lambda: os.close(fd)) if owned else None
    if stat.S_ISREG(status.st_mode):
        # Standard input may stand in the middle of its file: { read header; resolve; } < hosts.csv
        rest = max(0, status.st_size - os.lseek(fd, 0, os.SEEK_CUR))
        return _Lines(lambda: os.read(fd, _BLOCK), total=rest, close=close, name=name)
    return _Lines(lambda: _read_ready(fd), once=True, waitable=fd, close=close, name=name)


def text_file(file: io.TextIOBase) -> Source:
    """A list in an open text file, from where it stands; the caller closes it.

    Where the file's text layer holds nothing back and is UTF-8, the octets below it are read. Else the text is read by
    the block or, where that may wait, line by line and ahead. Raises ValueError for a file that is closed or not
    readable.
    """
    if not file.readable():
        raise io.UnsupportedOperation("the file is not open for reading")
    if isinstance(file, io.StringIO):
        return _Lines(lambda: _octets(file.read(_BLOCK)))
    lines = iter(lambda: file.readline(_BLOCK), "")
    try:
        fd = file.fileno()
    except OSError:
        return _Lines(ahead=ReadAhead(InThread(lines)))
    waits = not stat.S_ISREG(os.fstat(fd).st_mode)
    name = str(getattr(file, "name", fd))  # a file has one, which its type does not say
    if isinstance(file, io.TextIOWrapper) and _holds_nothing(file):
        if _is_utf8(file.encoding):
            if waits:
                return descriptor(fd, name=name)
            buffer = file.buffer
            return _Lines(lambda: buffer.read(_BLOCK), total=max(0, os.fstat(fd).st_size - buffer.tell()), name=name)
        file = _decoded_once_more(file)
    if waits:
        return _Lines(ahead=ReadAhead(InThread(lines)), name=name)
    return _Lines(lambda: _octets(file.read(_BLOCK)), name=name)


def elements(hosts: Iterable[object], *, whole: bool = False) -> Source:
    """Each element is one host: a str, or an address of `ipaddress`. Any text is a host; a blank one is INVALID.

    An iterator is read ahead, since it may wait; a collection (whatever has a length) is read as it is used.
    whole: also an iterator is read to its end when the run ends early, as a collection is, unless it waits.
    Raises TypeError for another kind of element: at once in a collection, when it is met in an iterator.
    """
    if isinstance(hosts, str | bytes):
        raise TypeError(f"hosts are an iterable of hosts, not one {type(hosts).__name__}")
    if isinstance(hosts, Sized):
        return _Elements(hosts, len(hosts))
    return _Ahead(ReadAhead(InThread(hosts), whole=whole))


def async_elements(hosts: AsyncIterable[object]) -> Source:
    """The same of an asynchronous iterable, which is read in the event loop that groups when the first is taken."""
    return _Ahead(ReadAhead(InTask(hosts)))


class HostGroup:
    """Neighbours in the input that are asked the same types, or (error) one that cannot be asked."""

    __slots__ = ("_given", "error", "names", "texts", "types")

    def __init__(self, texts: list[str], names: list[str], types: tuple[str, ...], error: str | None = None) -> None:
        self.texts = texts
        self.names = names
        self.types = types
        self.error = error
        self._given = 0

    @property
    def left(self) -> int:
        """Lookups not given yet."""
        return len(self.texts) * len(self.types) - self._given

    def take(self, n: int) -> tuple[list[str], list[str], Iterator[str], int]:
        """The next lookups, `n` at most: inputs, names, types; and how many hosts begin with them."""
        many = len(self.types)
        start = self._given
        end = self._given = start + min(n, self.left)
        first, last = start // many, -(-end // many)
        texts, names = self.texts[first:last], self.names[first:last]
        if many == 1:
            return texts, names, repeat(self.types[0]), last - first
        skip, size = start % many, end - start
        texts = [text for text in texts for _ in self.types][skip : skip + size]
        names = [name for name in names for _ in self.types][skip : skip + size]
        return texts, names, islice(cycle(self.types), skip, None), last - first - (skip > 0)


class _Lines:
    """A list: the rules of lines, over octets from anywhere.

    `read` gives a block of octets, b"" at the end, None for nothing right now; in its place, `ahead` gives texts.
    """

    def __init__(
        self,
        read: Callable[[], bytes | None] | None = None,
        *,
        ahead: ReadAhead | None = None,
        once: bool = False,
        waitable: int | None = None,
        total: int | None = None,
        close: Callable[[], None] | None = None,
        name: str | None = None,
    ) -> None:
        self.ended = False
        self.cut = False
        self.waitable = waitable
        self.total = total
        self.once = once or ahead is not None
        self._ahead = ahead
        self._octets = read or self._octets_ahead
        self._close = close
        self._name = name
        self._rest = b""  # a line without its end
        self._begun = False

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        try:
            octets = self._octets()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._name) from None
        if octets is None:
            return None
        self.ended = not octets
        head, newline, rest = (octets or b"\n").rpartition(b"\n")
        if not newline:
            self._keep(octets)
            return HostBlock(len(octets), 0, iter(()))
        lines = self._rest + head + newline
        self._rest = rest
        if not self._begun:
            self._begun = True
            lines = lines.removeprefix(codecs.BOM_UTF8)
        if len(lines) <= _LONGEST:
            groups = _groups_of_lines(lines, types)
        else:
            line, _, others = lines.partition(b"\n")
            groups = chain(_groups_of_long_line(line, types), _groups_of_lines(others, types))
        return HostBlock(len(octets), lines.count(b"\n"), groups)

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
        taken = self._ahead.take(_GROUP)
        self.cut = self._ahead.cut
        return None if taken is None else _octets("".join(map(str, taken)))

    def _keep(self, block: bytes) -> None:
        # One octet more than is kept tells that the line is too long; the rest of it is let go.
        if len(self._rest) <= _LONGEST:
            self._rest += block
        if len(self._rest) > _LONGEST:
            # However long white space is, it makes no host.
            self._rest = self._rest.lstrip()


class _Elements:
    """A collection."""

    once = False

    def __init__(self, hosts: Iterable[object], size: int) -> None:
        self.ended = False
        self.cut = False
        self.waitable: int | None = None
        self.total: int | None = size
        for kind in set(map(type, hosts)):
            _check_kind(kind)
        self._hosts = iter(hosts)

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        taken = list(islice(self._hosts, hosts))
        self.ended = len(taken) < hosts
        return _block(taken, types)

    def stop(self) -> None:
        """It is read to its end."""

    def close(self) -> None:
        self.ended = True


class _Ahead:
    """An iterator that can be read once, and may wait."""

    once = True

    def __init__(self, ahead: ReadAhead) -> None:
        self.ended = False
        self.cut = False
        self.waitable: int | None = None
        self.total: int | None = None
        self._ahead = ahead

    def read(self, types: tuple[str, ...], hosts: int) -> HostBlock | None:
        taken = self._ahead.take(hosts)
        if taken is None:
            return None
        self.ended, self.cut = not taken, self._ahead.cut
        return _block(taken, types)

    def stop(self) -> None:
        self._ahead.stop()

    def close(self) -> None:
        self.ended = True
        self._ahead.close()


def _block(hosts: list[object], types: tuple[str, ...]) -> HostBlock:
    texts = [host if type(host) is str else _text(host) for host in hosts]
    lines = "\n".join([*texts, ""])
    # An element that holds a line feed is no two hosts.
    whole = lines.count("\n") == len(texts)
    return HostBlock(len(texts), len(texts), _groups(map(_stripped, stretches(lines) if whole else texts), types))


_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
# How Python writes octets that are not UTF-8 into arguments and file names; JSON has no such characters.
_SURROGATE = re.compile("[\ud800-\udfff]")
_CUT = "the line is longer than 1 MiB, of which the first is kept"


def _groups_of_lines(lines: bytes, types: tuple[str, ...]) -> Iterator[HostGroup]:
    # A line that is not UTF-8 spoils no other: no octet of a longer character is a line's end.
    text = lines.replace(b"\r\n", b"\n").decode("utf-8", "replace")
    return _groups(filter(None, map(_without_comment, stretches(text))), types)


def _groups_of_long_line(line: bytes, types: tuple[str, ...]) -> Iterator[HostGroup]:
    line = line.lstrip()
    if len(line) <= _LONGEST:
        return _groups_of_lines(line + b"\n", types)
    # Not final: a character that the cut divides is left out.
    text = codecs.utf_8_decode(line[:_LONGEST], "replace", False)[0]
    if _COMMENT.search(text):
        return _groups_of_lines(line[:_LONGEST] + b"\n", types)
    return iter([HostGroup([text.strip()], [""], types, _CUT)])


def _groups(parts: Iterable[Stretch | str], types: tuple[str, ...]) -> Iterator[HostGroup]:
    group = HostGroup([], [], types)
    for part in parts:
        error = None
        if isinstance(part, str):
            try:
                name, only = name_of(part)
            except ValueError as invalid:
                name, only, error = "", None, str(invalid)
            texts, names = [part], [name]
        else:
            texts, names, only = part
        asked = types if only is None else (only,)
        if group.types != asked or group.error is not error or len(group.texts) >= _GROUP:
            if group.texts:
                yield group
            group = HostGroup([], [], asked, error)
        group.texts += texts
        group.names += names
    if group.texts:
        yield group


def _without_comment(part: Stretch | str) -> Stretch | str:
    if not isinstance(part, str):
        return part
    return (_COMMENT.sub("", part) if "#" in part else part).strip()


def _stripped(part: Stretch | str) -> Stretch | str:
    return _SURROGATE.sub("\ufffd", part).strip() if isinstance(part, str) else part


def _text(host: object) -> str:
    _check_kind(type(host))
    return str.__str__(host) if isinstance(host, str) else str(host)


def _check_kind(kind: type) -> None:
    if issubclass(kind, str):
        return
    import ipaddress

    # Not issubclass: an interface is an address with a network.
    if kind not in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        raise TypeError(f"a host is a str or an ipaddress.IPv4Address or IPv6Address, not {kind.__name__}")


def _octets(text: str) -> bytes:
    return _SURROGATE.sub("\ufffd", text).encode()


def _read_ready(fd: int) -> bytes | None:
    """A block of what is there. A FIFO is not at its end before its first writer came: select knows, read does not."""
    if not _is_readable(fd):
        return None
    try:
        return os.read(fd, _BLOCK)
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


def _holds_nothing(file: io.TextIOWrapper) -> bool:
    """Does the text layer hold no text read ahead? Then its octets may be read below it."""
    try:
        if file.seekable():
            file.seek(file.tell())
        # Refused while text is held; of settings that it has already, it changes none.
        file.reconfigure(encoding=file.encoding, errors=file.errors)
    except OSError:
        return False
    return True


def _decoded_once_more(file: io.TextIOWrapper) -> io.TextIOBase:
    """The same text from where it stands, with bad octets replaced: of any encoding they make one bad line, and no
    exception. The caller's file keeps its settings."""
    twin = io.TextIOWrapper(_Borrowed(file.buffer), encoding=file.encoding, errors="replace")  # type: ignore[type-var]  # no raw
    if file.seekable():
        twin.seek(file.tell())
    return twin


class _Borrowed(io.BufferedIOBase):
    """The octets below somebody's file, which closing this does not close."""

    def __init__(self, below: Any) -> None:
        self._below = below

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._below.seekable())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._below.seek(offset, whence))

    def tell(self) -> int:
        return int(self._below.tell())

    def read(self, size: int | None = -1) -> bytes:
        return bytes(self._below.read(size))

    def read1(self, size: int = -1) -> bytes:
        return bytes(self._below.read1(size))


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
