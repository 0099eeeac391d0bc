"""Child processes: starting and ending one, ending with the parent, frames over a pipe.

A child is spawned and never forked, since a fork copies locks that other threads hold. Its standard input is a pipe
from its parent. That pipe ends when the parent closes it or is dead, whatever it died of, and the child ends with it:
none is left behind.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import struct
import sys
import time

# Bound here, before gevent may patch: waiting for the parent is not for the hub.
from select import poll
from typing import IO, TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

_PIPE = -1  # subprocess.PIPE
_LOOK = 0.5  # seconds between two looks whether the parent lives
_LENGTH = struct.Struct("!I")
_Message = TypeVar("_Message")


def spawn(
    *arguments: str,
    stdin: int = _PIPE,
    stdout: int = _PIPE,
    stderr: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a Python interpreter in a session of its own: Ctrl-C at the terminal is for the parent.

    It finds the same packages as this process, also those that a program put on its path by itself, and none that lie
    about in the working directory (-P).

    Args:
        arguments: The interpreter's, such as "-m" and a module that calls `end_with_parent`.
        env: Variables to set besides those of this process.
    """
    import subprocess  # not above: a child imports this module before gevent patches

    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, **(env or {}), "PYTHONPATH": path},
        start_new_session=True,
    )


def end(*processes: subprocess.Popen[bytes], seconds: float = 2.0) -> None:
    """Close the pipes of these children and wait until all have ended; kill those that have not after `seconds`."""
    from subprocess import TimeoutExpired

    for pipe in [pipe for process in processes for pipe in (process.stdin, process.stdout)]:
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except TimeoutExpired:
            process.kill()
            process.wait()


class Parent:
    """The process that started this one, as seen over the pipe from it."""

    def __init__(self, pipe: int = 0) -> None:
        self._pid = os.getppid()
        self._poll = poll()
        self._poll.register(pipe, 0)  # the end of a pipe is reported always, and nothing is read

    def gone(self, seconds: float = _LOOK) -> bool:
        """Return whether the parent has closed the pipe or is dead, after waiting for it so many seconds at most."""
        # A copy of the pipe's other end may live on in a fork of the parent.
        return bool(self._poll.poll(1000 * seconds)) or os.getppid() != self._pid


def end_with_parent(pipe: int = 0) -> None:
    """Have this process end at once when its parent does, wherever it is then.

    A native thread waits, which no event loop, hanging lookup or monkey-patching can hold up.

    Args:
        pipe: The descriptor of the pipe from the parent.
    """
    # The parent is looked up here: by the time that the thread has its turn, it may be dead already.
    _thread.start_new_thread(wait_for_end, (Parent(pipe),))


def wait_for_end(parent: Parent) -> NoReturn:
    """Wait for the parent's end here, and end the process with it; see `end_with_parent`."""
    try:
        while not parent.gone():
            pass
    finally:
        os._exit(0)


def encode_frame(message: object, encode_into: Callable[[Any, bytearray, int], None]) -> bytearray:
    """Return the octets of a message behind their number, as `encode_into(message, buffer, offset)` writes them."""
    buffer = bytearray(_LENGTH.size)
    encode_into(message, buffer, _LENGTH.size)
    return lengthened(buffer, 0)


def lengthened(frame: bytearray, more: int) -> bytearray:
    """Have a frame say that so many octets follow it which belong to its message, and return it."""
    _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size + more)
    return frame


class FrameDecoder(Generic[_Message]):
    """Turns octets, as they come, into the messages that were framed; `decode` reads one, and keeps none of it.

    They are received into its own buffer: `room` is filled, and `received` told how far.
    """

    def __init__(self, decode: Callable[[memoryview], _Message], size: int = 1 << 16) -> None:
        """Args: size: Octets of the buffer, where no message is longer."""
        self._decode = decode
        self._size = size
        self._buffer = bytearray(size)
        self._held = 0  # octets in it: the begin of a message

    def room(self) -> memoryview:
        """Return where the next octets are to be put."""
        return memoryview(self._buffer)[self._held :]

    def received(self, octets: int) -> list[_Message]:
        """Return the messages that are whole with so many more octets. Raises what `decode` raises."""
        end = self._held + octets
        messages = []
        start = needed = 0
        with memoryview(self._buffer) as view:
            while end - start >= _LENGTH.size:
                needed = _LENGTH.size + _LENGTH.unpack_from(view, start)[0]
                if end - start < needed:
                    break
                with view[start + _LENGTH.size : start + needed] as message:
                    messages.append(self._decode(message))
                start += needed
                needed = 0
        self._keep(start, end, max(self._size, needed))
        return messages

    def _keep(self, start: int, end: int, size: int) -> None:
        """Move what is held to the begin of a buffer of this size."""
        before = self._buffer
        if size != len(before):
            self._buffer = bytearray(size)
        if end > start and (start or size != len(before)):
            self._buffer[: end - start] = before[start:end]
        self._held = end - start
