"""The child processes of a run, as the engine `processes` sees them: each a process, a pipe, and what is open in it.

The one thing to know before changing anything here: nothing waits. The pipe is non-blocking on this side, and what it
does not take yet is kept until it does; were both sides to wait for the other to read, nobody would.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from resolver.engines.chunk import Frames, FromChild, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.engines.chunk import ToChild
    from resolver.message import Query

_READ = 1 << 16  # octets: a larger buffer would be mapped and unmapped by each call
_REAP_SECONDS = 1.0


class Crew:
    """All children of a run, which are started as they are needed."""

    def __init__(self, inner: str, backend: str) -> None:
        self.children: list[Child] = []
        self._arguments = inner, backend
        self._poll = select.poll()
        self._by_fd: dict[int, Child] = {}

    def hire(self, number: int | None = None) -> None:
        """Start another child, or one in the place of a dead one."""
        child = Child(len(self.children) if number is None else number, *self._arguments)
        if number is None:
            self.children.append(child)
        else:
            self.children[number] = child
        self._by_fd[child.fd] = child
        self._watch(child, True)

    def send(self, child: Child, message: ToChild) -> None:
        """Send a message, now or as soon as the child takes it."""
        self._watch(child, child.send(message))

    def listen(self, seconds: float) -> Iterator[tuple[Child, list[FromChild]]]:
        """Wait so long at most; what each child has said, and perhaps died then."""
        for fd, event in self._poll.poll(math.ceil(1000 * seconds)):
            child = self._by_fd[fd]
            if event & select.POLLOUT:
                self._watch(child, child.flush())
            if event & ~select.POLLOUT:
                yield child, child.receive()

    def bury(self, child: Child) -> int | None:
        """Listen to this dead child no more. Returns its exit status."""
        self._poll.unregister(child.fd)
        del self._by_fd[child.fd]
        return child.bury()

    def dismiss(self) -> None:
        """End every child."""
        for child in self.children:
            child.kill()
        for child in self.children:
            child.bury()

    def _watch(self, child: Child, sent: bool) -> None:
        self._poll.register(child.fd, select.POLLIN if sent else select.POLLIN | select.POLLOUT)


class Child:
    """A child that is starting or running.

    ready: it has loaded everything. left: it stopped and said how far it came. dead: its pipe has ended.
    open: the queries that it was given and has not answered. deaths: children that died of what it has at hand.
    """

    def __init__(self, number: int, inner: str, backend: str) -> None:
        self.number = number
        self.ready = False
        self.left = False
        self.dead = False
        self.deaths = 0
        self.open: dict[int, Query] = {}
        self._frames: Frames[FromChild] = Frames(FromChild)
        self._unsent = bytearray()
        self._pipe, theirs = socket.socketpair()
        with theirs:
            self._pipe.setblocking(False)
            # The child finds the same packages as we do, also those that a program put on its path by itself; and with
            # -P none that lie about in the working directory. A session of its own: Ctrl-C at the terminal is for the
            # parent. Its standard input is the pipe, and its standard output nobody's: ours belong to the caller.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "resolver.engines.child", inner, backend],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                start_new_session=True,
            )

    @property
    def fd(self) -> int:
        """The pipe, to wait on."""
        return self._pipe.fileno()

    def send(self, message: ToChild) -> bool:
        """Send a message, now or later. False: there is a rest, to `flush` when the pipe can be written to."""
        self._unsent += frame(message)
        return self.flush()

    def flush(self) -> bool:
        """Send what waits. False: there is still a rest."""
        try:
            while self._unsent:
                del self._unsent[: self._pipe.send(self._unsent)]
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            # Dead; reading will say so, after what it sent before.
            self._unsent.clear()
        return True

    def receive(self) -> list[FromChild]:
        """The messages that have come. Sets `dead` at the end of the pipe."""
        try:
            octets = self._pipe.recv(_READ)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            octets = b""
        self.dead = not octets
        return list(self._frames.feed(octets))

    def kill(self) -> None:
        """End it now, whatever it does."""
        self._process.kill()

    def bury(self) -> int | None:
        """Close the pipe and take leave of the process, which is killed where it is not dead. Returns its status."""
        self._pipe.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_SECONDS)
        status: int | None = self._process.returncode
        return status
