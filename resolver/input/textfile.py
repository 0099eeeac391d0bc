"""Lists in text files that callers have open: the octets below the text where they can be read, else the text."""

from __future__ import annotations

import codecs
import io
import os
import stat
from typing import TYPE_CHECKING

from resolver.input.groups import octets_of
from resolver.input.readahead import InThread, ReadAhead
from resolver.input.sources import BLOCK, LineSource, descriptor

if TYPE_CHECKING:
    from resolver.input.columns import HostColumn


def text_file(file: io.TextIOBase, column: HostColumn | None = None) -> LineSource:
    """Return a list in an open text file, from where it stands; the caller closes it. With a column it is CSV.

    Where the file's text layer holds nothing back, the octets below it are read. Else the text is read by the block or,
    where that may wait, line by line and ahead. Raises ValueError for a file that is closed or not
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
        decoder = _decoder_of(file.encoding, fd, 0 if waits else file.buffer.tell())
        return descriptor(fd, name=name, column=column, decoder=decoder, buffer=file.buffer)
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


def _decoder_of(encoding: str, fd: int, where: int) -> codecs.IncrementalDecoder | None:
    """Return what decodes the octets of a file from `where` on; None: they are UTF-8.

    Bad octets are replaced, whatever the caller's settings: they make one bad line, and no exception.
    """
    kind = codecs.lookup(encoding).name
    if kind in ("utf-8", "utf-8-sig", "ascii"):
        return None
    decoder = codecs.getincrementaldecoder(kind)("replace")
    if where and kind in _MARKS:
        decoder.decode(os.pread(fd, _MARKS[kind], 0))
    return decoder


_MARKS = {"utf-16": 2, "utf-32": 4}  # octets that say their order, at the beginning of the file
