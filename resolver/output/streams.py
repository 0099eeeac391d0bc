"""Writing on a binary stream that takes its time: a raw one may take a part, one that does not block nothing yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO


def write_all(stream: BinaryIO, octets: bytes) -> None:
    """Write every octet and flush. A raw stream may take a part, and one that does not block may take nothing yet."""
    rest = memoryview(octets)
    while rest:
        try:
            written = stream.write(rest)
        except BlockingIOError as error:
            written = error.characters_written
        if written:
            rest = rest[written:]
        else:
            _wait_until_writable(stream)
    while True:
        try:
            stream.flush()
        except BlockingIOError:
            _wait_until_writable(stream)
        else:
            return


def _wait_until_writable(stream: BinaryIO) -> None:
    import select

    poll = select.poll()
    poll.register(stream, select.POLLOUT)
    poll.poll()
