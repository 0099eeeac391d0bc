"""The child processes of a run: each a process, a pipe, and the queries that are open in it.

Nothing waits here. The pipe is non-blocking on this side, and what it does not take yet is kept until it does: were
both sides to wait for the other to read, nobody would.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import threading
import time
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, NamedTuple

from resolver.blocks import OpenLookups
from resolver.processes.protocol import MESSAGE_OCTETS, Ready, Stop, Stopped, decode_from_child, frame
from resolver.subprocesses import FrameDecoder, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.processes.protocol import FromChild, ToChild

_PIPE = 1 << 20  # octets that a pipe holds, where the system allows so many: else a child waits for us to read
_FINISH = 0.2  # seconds that children have to stop at the end of a run, where they may be kept
_REAP = 1.0  # seconds that a killed process has to end
# glibc gives what it can of the heap back to the system, and what a batch of results takes is enough for it to do so:
# 25,000 page faults in 200,000 lookups. A child keeps these octets instead. Other C libraries do not read this.
_MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(32 << 20), "MALLOC_MMAP_THRESHOLD_": str(8 << 20)}


class Kind(NamedTuple):
    """A kind of child: the engine and the backend that it runs."""

    inner: str
    backend: str


class ChildPool:
    """All children of a run, which are started as they are needed."""

    def __init__(self, kind: Kind, idle: IdleChildren | None = None) -> None:
        self.children: list[Child] = []
        self._kind = kind
        self._idle = idle
        self._selector = selectors.PollSelector()

    def spawn(self, number: int | None = None) -> Child:
        """Add a child, or put one in the place of a dead one: an idle one, or one that is started now."""
        place = len(self.children) if number is None else number
        child = (self._idle.take(self._kind) if self._idle is not None else None) or Child(self._kind)
        child.assign(place)
        self.children[place : place + 1] = [child]
        self._selector.register(child.fd, EVENT_READ, child)
        return child

    def send(self, child: Child, message: ToChild) -> None:
        """Send a message, now or as soon as the child takes it."""
        self._watch(child, child.send(message))

    def listen(self, seconds: float) -> Iterator[tuple[Child, list[FromChild]]]:
        """Wait up to `seconds`; yield each child that said something or is dead now."""
        for key, event in self._selector.select(seconds):
            child = key.data
            if event & EVENT_WRITE:
                self._watch(child, child.flush())
            if event & EVENT_READ:
                messages = child.receive()
                if child.dead:
                    self._selector.unregister(child.fd)
                yield child, messages

    def finish(self, children: list[Child], seconds: float) -> Iterator[tuple[Child, list[FromChild]]]:
        """Have children stop; yield what they say until all have stopped or are dead, for `seconds` at most."""
        for child in children:
            # Once in each run, also where the child has stopped by itself at a deadline.
            if not child.told_to_stop and not child.dead:
                child.told_to_stop = True
                self.send(child, Stop())
        end = time.monotonic() + seconds
        while not all(each.stopped or each.dead for each in children) and (left := end - time.monotonic()) > 0:
            yield from self.listen(left)

    def close(self) -> None:
        """End every child, but for those that stop and may be kept for another run."""
        if self._idle is not None:
            ready = [each for each in self.children if each.ready]
            for _ in self.finish(ready, _FINISH):
                pass
            for child in ready:
                if child.stopped and not child.dead:
                    self.children.remove(child)
                    self._idle.give(child)
        for child in self.children:
            child.kill()
        for child in self.children:
            child.reap()

    def _watch(self, child: Child, sent: bool) -> None:
        self._selector.modify(child.fd, EVENT_READ if sent else EVENT_READ | EVENT_WRITE, child)


class IdleChildren:
    """Up to `most` children without a run, kept for the next: starting one takes a third of a second."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: list[Child] = []
        self._lock = threading.Lock()

    def take(self, kind: Kind) -> Child | None:
        """Return a child of this kind, if there is one."""
        with self._lock:
            for child in self._idle:
                if child.kind == kind and not child.dead:
                    self._idle.remove(child)
                    return child
        return None

    def give(self, child: Child) -> None:
        """Keep a child; the oldest is ended where there are too many."""
        with self._lock:
            self._idle.append(child)
            surplus = self._idle[: -self._most]
            del self._idle[: -self._most]
        for old in surplus:
            old.reap()

    def load(self, seconds: float) -> None:
        """Wait up to `seconds` until the first of them has loaded everything."""
        with self._lock, selectors.PollSelector() as selector:
            for child in self._idle:
                selector.register(child.fd, EVENT_READ, child)
            for key, _ in selector.select(seconds):
                key.data.receive()
            self._idle.sort(key=lambda each: not each.ready)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.reap()


class Child:
    """A child that is starting or running.

    Attributes:
        ready: It has loaded everything.
        dead: Its pipe has ended.
        number: Its place in the run's pool.
        told_to_stop, stopped: In this run it was told to stop, and has said how far it came.
        open: What it was given and has not answered.
        deaths: How many children died of the queries that it has now.
        given, since: How many queries it was given in this run, and when the first, on the monotonic clock.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.ready = False
        self.dead = False
        self.assign(0)
        self._decoder = FrameDecoder(decode_from_child, MESSAGE_OCTETS + (1 << 16))
        self._unsent = bytearray()
        self._pipe, theirs = socket.socketpair()
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIPE)
            self._pipe.setblocking(False)
            self._process = spawn(
                *("-m", "resolver.processes.child", kind.inner, kind.backend),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,  # ours belongs to the caller
                env={**_MALLOC, **os.environ},
            )

    def assign(self, number: int) -> None:
        """Make it a child of a new run."""
        self.number = number
        self.told_to_stop = self.stopped = False
        self.deaths = self.given = 0
        self.since = 0.0
        self.open = OpenLookups()

    @property
    def fd(self) -> int:
        """The pipe, to wait on."""
        return self._pipe.fileno()

    def send(self, message: ToChild) -> bool:
        """Send a message, now or later. Returns False where a rest is left, to `flush` when the pipe takes more."""
        self._unsent += frame(message)
        return self.flush()

    def flush(self) -> bool:
        """Send what is left. Returns False where there is still a rest."""
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
        """Return the messages that have come; notes what they say of the child itself."""
        try:
            size = self._pipe.recv_into(self._decoder.room())
        except BlockingIOError:
            return []
        except ConnectionResetError:
            size = 0
        self.dead = not size
        messages = self._decoder.received(size)
        for message in messages:
            if isinstance(message, Ready):
                self.ready = True
            elif isinstance(message, Stopped):
                self.stopped = True
        return messages

    def kill(self) -> None:
        """End it now, whatever it does."""
        self._process.kill()

    def reap(self) -> int | None:
        """Close the pipe, kill the process where it is not dead, and return its exit status."""
        self._pipe.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP)
        status: int | None = self._process.returncode
        return status
