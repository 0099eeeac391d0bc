"""Lists in text files that callers have open: the octets below the text where they can be read, else the text."""

from __future__ import annotations

import codecs
import io
import os
import stat
from typing import TYPE_CHECKING, Any

from resolver.input.groups import octets_of
from resolver.input.readahead import InThread, ReadAhead
from resolver.input.sources import BLOCK, LineSource, descriptor, twin_of

if TYPE_CHECKING:
    from resolver.input.columns import HostColumn


def text_file(file: io.TextIOBase, column: HostColumn | None = None) -> LineSource:
    """Return a list in an open text file, from where it stands; the caller closes it. With a column it is CSV.

    Where the file's text layer holds nothing back and is UTF-8, the octets below it are read. Else the text is read by
    the block or, where that may wait, line by line and ahead. Raises ValueError for a file that is closed or not
    readable, or whose header does not name the column.
    """
    if not file.readable():
        raise io.UnsupportedOperation("the file is not open for reading")
    if isinstance(file, io.StringIO):
        return LineSource(lambda: octets_of(file.read(BLOCK)), column=column).looked_at()
    lines = iter(lambda: file.readline(BLOCK), "")
    try:
        fd = file.fileno()
    except OSError:
        return LineSource(ahead=ReadAhead(InThread(lines)), column=column)
    waits = not stat.S_ISREG(os.fstat(fd).st_mode)
    name = str(getattr(file, "name", fd))  # a file has one, which its type does not say
    if isinstance(file, io.TextIOWrapper) and _holds_nothing(file):
        if _is_utf8(file.encoding):
            if waits:
                return descriptor(fd, name=name, column=column)
            buffer = file.buffer
            where = buffer.tell()
            return LineSource(
                lambda: buffer.read(BLOCK),
                total=max(0, os.fstat(fd).st_size - where),
                name=name,
                column=column,
                twin=lambda: twin_of(fd, where, name),
            ).looked_at()
        file = _decoded_once_more(file)
    if waits:
        return LineSource(ahead=ReadAhead(InThread(lines)), name=name, column=column)
    return LineSource(lambda: octets_of(file.read(BLOCK)), name=name, column=column).looked_at()


def _holds_nothing(file: io.TextIOWrapper) -> bool:
    """Tell whether the text layer holds no text read ahead: then its octets may be read below it."""
    try:
        if file.seekable():
            file.seek(file.tell())
        # Refused while text is held; of settings that it has already, it changes none.
        file.reconfigure(encoding=file.encoding, errors=file.errors)
    except OSError:
        return False
    return True


def _decoded_once_more(file: io.TextIOWrapper) -> io.TextIOBase:
    """Return the same text from where it stands, with bad octets replaced: they make one bad line, and no exception.

    The caller's file keeps its settings.
    """
    twin = io.TextIOWrapper(_Borrowed(file.buffer), encoding=file.encoding, errors="replace")  # type: ignore[type-var]  # no raw
    if file.seekable():
        twin.seek(file.tell())
    return twin


class _Borrowed(io.BufferedIOBase):
    """Octets below somebody's file, which closing this does not close."""

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
