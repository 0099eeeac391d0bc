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
import threading
import time
from typing import TYPE_CHECKING

from resolver.processes.protocol import FrameDecoder, FromChild, Ready, Stop, Stopped, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.model import Query
    from resolver.processes.protocol import ToChild

_READ = 1 << 16  # octets: a larger buffer would be mapped and unmapped by each call
REST = 0.2  # seconds that children have to stop, at the end of a run, where they may be kept
_REAP_SECONDS = 1.0
# glibc gives what it can of the heap back to the system, and what a batch of results takes is enough for it to do so:
# 25,000 page faults in 200,000 lookups. A child keeps these octets instead. Other C libraries do not read this.
_MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(32 << 20), "MALLOC_MMAP_THRESHOLD_": str(8 << 20)}


class ChildPool:
    """All children of a run, which are started as they are needed."""

    def __init__(self, inner: str, backend: str, idle: IdleChildren | None = None) -> None:
        self.children: list[Child] = []
        self._arguments = inner, backend
        self._idle = idle
        self._poll = select.poll()
        self._by_fd: dict[int, Child] = {}

    def spawn(self, number: int | None = None) -> Child:
        """Another child, or one in the place of a dead one: a spare one, or one that is started now."""
        place = len(self.children) if number is None else number
        child = self._idle.take(place, *self._arguments) if self._idle is not None else None
        if child is None:
            child = Child(place, *self._arguments)
        if number is None:
            self.children.append(child)
        else:
            self.children[number] = child
        self._by_fd[child.fd] = child
        self._watch(child, True)
        return child

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

    def reap(self, child: Child) -> int | None:
        """Listen to this dead child no more. Returns its exit status."""
        self._poll.unregister(child.fd)
        del self._by_fd[child.fd]
        return child.reap()

    def close(self) -> None:
        """End every child; those that have nothing in hand may be kept for another run."""
        if self._idle is not None:
            self._finish(self._idle)
        for child in self.children:
            child.kill()
        for child in self.children:
            child.reap()

    def stop(self, child: Child) -> None:
        """Have it stop, and say how far it came: once in each run, also where it has left by itself, at a deadline."""
        if not child.stopped:
            child.stopped = True
            self.send(child, Stop())

    def _finish(self, idle: IdleChildren) -> None:
        """Have the children stop, and keep those that say that they have."""
        resting = [child for child in self.children if child.ready and not child.dead]
        for child in resting:
            self.stop(child)
        end = time.monotonic() + REST
        while not all(child.left or child.dead for child in resting) and (left := end - time.monotonic()) > 0:
            for child, messages in self.listen(left):
                child.left |= any(isinstance(message, Stopped) for message in messages)
                if child.dead:
                    self._poll.unregister(child.fd)
        for child in resting:
            if child.left and not child.dead:
                self.children.remove(child)
                idle.give(child, *self._arguments)

    def _watch(self, child: Child, sent: bool) -> None:
        self._poll.register(child.fd, select.POLLIN if sent else select.POLLIN | select.POLLOUT)


class IdleChildren:
    """Children without a run, kept for the next: starting one takes a third of a second. `most` are kept at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: list[tuple[str, str, Child]] = []
        self._lock = threading.Lock()

    def take(self, number: int, inner: str, backend: str) -> Child | None:
        """One that runs this engine and backend, if there is one."""
        with self._lock:
            for at, (its_inner, its_backend, child) in enumerate(self._idle):
                if (inner, backend) == (its_inner, its_backend) and not child.dead:
                    del self._idle[at]
                    child.renew(number)
                    return child
        return None

    def give(self, child: Child, inner: str, backend: str) -> None:
        """Keep this one; the oldest goes where there are too many."""
        with self._lock:
            self._idle.append((inner, backend, child))
            over = self._idle[: -self._most]
            del self._idle[: -self._most]
        for _, _, old in over:
            old.reap()

    def load(self, seconds: float) -> None:
        """Wait so long at most until the first of them has loaded everything."""
        waiting = select.poll()
        with self._lock:
            by_fd = {child.fd: child for _, _, child in self._idle}
            for fd in by_fd:
                waiting.register(fd, select.POLLIN)
            for fd, _ in waiting.poll(math.ceil(1000 * seconds)):
                by_fd[fd].ready = any(isinstance(message, Ready) for message in by_fd[fd].receive())
            # The first to be taken is one that has.
            self._idle.sort(key=lambda each: not each[2].ready)

    def close(self) -> None:
        """End them."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, _, child in idle:
            child.reap()


class Child:
    """A child that is starting or running.

    ready: it has loaded everything. stopped: it was told to. left: it stopped and said how far it came. dead: its pipe
    has ended.
    open: the queries that it was given and has not answered. deaths: children that died of what it has at hand.
    given: how many it was given in this run, and since when, on the monotonic clock.
    """

    def __init__(self, number: int, inner: str, backend: str) -> None:
        self.number = number
        self.ready = False
        self.stopped = False
        self.left = False
        self.dead = False
        self.deaths = 0
        self.given = 0
        self.since = 0.0
        self.open: dict[int, Query] = {}
        self._frames: FrameDecoder[FromChild] = FrameDecoder(FromChild)
        self._unsent = bytearray()
        self._pipe, theirs = socket.socketpair()
        with theirs:
            self._pipe.setblocking(False)
            # The child finds the same packages as we do, also those that a program put on its path by itself; and with
            # -P none that lie about in the working directory. A session of its own: Ctrl-C at the terminal is for the
            # parent. Its standard input is the pipe, and its standard output nobody's: ours belong to the caller.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "resolver.processes.child", inner, backend],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**_MALLOC, **os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                start_new_session=True,
            )

    def renew(self, number: int) -> None:
        """It was kept, and is another run's now."""
        self.number = number
        self.stopped = False
        self.left = False
        self.deaths = 0
        self.given = 0
        self.open = {}

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

    def reap(self) -> int | None:
        """Close the pipe and take leave of the process, which is killed where it is not dead. Returns its status."""
        self._pipe.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_SECONDS)
        status: int | None = self._process.returncode
        return status
