"""What runs in a child of the engine `processes`: an engine of its own over the queries that come down the pipe.

`python -m resolver.processes.child ENGINE BACKEND`; the pipe is a socket, passed as standard input. A thread that no
engine, hanging lookup or monkey-patching can hold up watches over its end, and over nothing else (woken for each chunk,
it would take the interpreter from the engine): when the pipe ends, the run is over, or the parent is dead, and this
process ends at once, wherever it is.
"""

from __future__ import annotations

import _thread
import importlib
import os
import sys
import time

# Bound here, before gevent may patch: waiting for the pipe is not for the hub.
from _socket import MSG_DONTWAIT, socket
from collections import deque
from select import POLLIN, poll
from typing import TYPE_CHECKING

from resolver.processes.protocol import (
    Begin,
    Done,
    EngineFailed,
    Found,
    FrameDecoder,
    Ready,
    SentSince,
    Stop,
    Stopped,
    ToChild,
    Unfinished,
    Work,
    frame,
)

if TYPE_CHECKING:
    from resolver.engines.base import Backend, Engine
    from resolver.model import Query, Result
    from resolver.processes.protocol import FromChild
    from resolver.wire.oneway import Sent

LULL = 0.05  # seconds: the longest that a stop goes unseen,
HUNGRY = 0.01  # and queries that came, where there are no others
SATED = 0.2  # for so many seconds after the last; then it is likely that none will come soon
LOOK = 0.005  # seconds between two looks for one, where there is much to do
LINGER = 0.010  # seconds between two messages with results: one that comes alone goes at once,
FULL = 512  # unless they are so many
LARGE = 1 << 18  # octets of results in a message
_READ = 1 << 16  # octets: a larger buffer would be mapped and unmapped by each call


def main() -> None:
    """Ask what comes, run after run, until the pipe ends. Never returns."""
    engine_name, backend_name = sys.argv[1:]
    # Whatever else reads standard input finds it empty; whatever writes to standard output was given /dev/null.
    pipe = Pipe(os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    _thread.start_new_thread(_watch, (pipe.fd, os.getppid()))
    try:
        engine, backend = _load(engine_name, backend_name)
        pipe.send(Ready())
        while True:
            _serve(pipe, engine, backend)
    except Exception as error:  # the parent raises it where it can be seen
        pipe.send(EngineFailed(f"{type(error).__name__}: {error}"))
    # The parent decides when this ends: to it, the end of the pipe is a death.
    while True:
        time.sleep(3600)


def _serve(pipe: Pipe, engine: Engine, backend: Backend) -> None:
    """One run, from its Begin to its Stop."""
    begin, *early = pipe.first()
    if not isinstance(begin, Begin):  # stopped before there was anything to do
        pipe.send(Stopped([]))
        return
    tally = None
    if begin.send_only:
        from resolver.wire.oneway import Forgetful, Sent

        tally = Sent([0], [0], [])
        backend = Forgetful(tally)
    else:
        from resolver.wire import Wire

        if isinstance(backend, Wire):
            backend = backend._replace(parties=begin.parties)
    feed = ChildQueries(pipe, tally, packed=begin.packed)
    feed.heed(early)
    engine.run(feed, begin.policy, backend, feed.deliver)
    feed.leave()


class ChildQueries:
    """The chunks from the parent, as an engine sees its Queries; and the way of the results back.

    What arrived last is last in `_waiting`; what the engine took and has not delivered stands in `_open`.
    """

    def __init__(self, pipe: Pipe, tally: Sent | None, *, packed: bool) -> None:
        self._pipe = pipe
        self._packed = packed
        self._tally = tally
        self._reported = (0, 0)
        self._waiting: deque[Query] = deque()
        self._open: dict[int, Query] = {}
        self._results: list[Result] = []
        self._sent = 0.0  # when some were sent last
        self._received = 0.0  # when we looked what the parent sent,
        self._taken = 0.0  # and when the engine took queries
        self._end = float("inf")
        self._stopped = False

    def take(self, n: int) -> list[Query] | None:
        """Up to `n` queries; an empty list where there is none just now. There is always more to come."""
        waiting = self._waiting
        if len(waiting) < n:
            self._receive()
        if not waiting and not self._open:
            self._rest()
        queries = [waiting.popleft() for _ in range(min(n, len(waiting)))]
        if queries:
            self._taken = time.monotonic()
        if self._tally is None:
            self._open.update({query.index: query for query in queries})
        return queries

    @property
    def ended(self) -> bool:
        """The run ends now."""
        now = time.monotonic()
        if not self._stopped and now - self._received >= LOOK:
            self._receive()
        return self._stopped or now >= self._end

    def max_wait(self) -> float:
        """Seconds that an engine may wait at most before it asks again; where it has nothing in hand, waits here."""
        hungry = not self._waiting and time.monotonic() < self._taken + SATED
        longest = HUNGRY if hungry else LULL
        if self._tally is not None:
            self._report(self._tally)
        elif not self._open and not self._waiting:
            self._rest()
            longest = 0.0
        patience = max(0.0, min(longest, self._end - time.monotonic()))
        if self._results:
            since = time.monotonic() - self._sent
            if since < LINGER:
                return min(patience, LINGER - since)
            self._flush()
        return patience

    def deliver(self, results: list[Result]) -> None:
        """Send these results soon: a few together cost the parent little more than one. A full pipe waits here."""
        for result in results:
            self._open.pop(result.index, None)
        self._results += results
        if len(self._results) >= FULL or time.monotonic() - self._sent >= LINGER:
            self._flush()

    def leave(self) -> None:
        """The engine is back: send what is still here, and how far the rest came."""
        self._flush()
        if self._tally is not None:
            self._report(self._tally)
        now = time.monotonic()
        unfinished = [*self._open.values(), *self._waiting]
        self._pipe.send(
            Stopped(
                [
                    Unfinished(query.index, query.attempts, None if query.asked is None else now - query.asked)
                    for query in unfinished
                ]
            )
        )
        # Every run has one Stop and one Stopped. At a deadline this may be back before it was told to stop; were it to
        # take the word of that for the next run's, it would leave that.
        while not self._stopped:
            messages = self._pipe.receive(60.0)
            for at, message in enumerate(messages):
                if isinstance(message, Stop):
                    self._stopped = True
                    self._pipe.put_back(messages[at + 1 :])
                    break

    def _rest(self) -> None:
        """The engine has nothing that it could wait for: it may as well wait here, and go on as soon as more comes."""
        self._flush()
        if not self._stopped:
            self._receive(LULL)

    def _receive(self, wait: float = 0.0) -> None:
        """Take in what the parent sent; wait so many seconds at most where there is nothing."""
        self.heed(self._pipe.receive(wait))
        self._received = time.monotonic()

    def heed(self, messages: list[ToChild]) -> None:
        """The parent sent these."""
        for message in messages:
            if isinstance(message, Work):
                self._end = time.monotonic() + message.seconds
                self._waiting += message.queries
            elif isinstance(message, Stop):
                self._stopped = True

    def _flush(self) -> None:
        if self._results:
            results, self._results = self._results, []
            self._sent = time.monotonic()
            if self._packed:
                self._pack(results)
            else:
                self._pipe.send(Done(results))

    def _pack(self, results: list[Result]) -> None:
        """Send these, in parts where they are too many octets to be one report of a worker's."""
        if not self._pipe.send(Found.of(results), LARGE if len(results) > 1 else None):
            half = len(results) // 2
            self._pack(results[:half])
            self._pack(results[half:])

    def _report(self, tally: Sent) -> None:
        (sent,), (failed,) = tally.sent, tally.failed
        before = self._reported
        if (sent, failed) != before:
            self._reported = sent, failed
            self._pipe.send(SentSince(sent - before[0], failed - before[1], tally.reasons))


class Pipe:
    """The child's end of the pipe. Where the other end is gone this process ends, with every method."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._socket = socket(fileno=fd)
        self._frames: FrameDecoder[ToChild] = FrameDecoder(ToChild)
        self._back: list[ToChild] = []
        self._ready = poll()
        self._ready.register(fd, POLLIN)

    def send(self, message: FromChild | Found, most: int | None = None) -> bool:
        """Send this; waits where the pipe is full. False: it has more than so many octets, and was not sent."""
        octets = frame(message)
        if most is not None and len(octets) > most:
            return False
        try:
            self._socket.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)
        return True

    def receive(self, wait: float = 0.0) -> list[ToChild]:
        """What has come; waits so many seconds at most where there is nothing."""
        if self._back:
            messages, self._back = self._back, []
            return messages
        if wait:
            self._ready.poll(1000 * wait)
        try:
            octets = self._socket.recv(_READ, MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            octets = b""
        if not octets:
            os._exit(0)
        return list(self._frames.feed(octets))

    def put_back(self, messages: list[ToChild]) -> None:
        """These are for whoever asks next."""
        self._back = messages

    def first(self) -> list[ToChild]:
        """What comes first; waits for it as long as it takes."""
        while not (messages := self.receive(60.0)):
            pass
        return messages


def _watch(pipe: int, parent: int) -> None:
    """Wait for the end of the pipe, and end the process with it.

    A copy of the pipe's other end may live on in a fork of the parent: that the parent is dead shows here as well.
    """
    try:
        ended = poll()
        ended.register(pipe, 0)
        while os.getppid() == parent and not ended.poll(500):
            pass
    finally:
        os._exit(0)


def _load(engine: str, backend: str) -> tuple[Engine, Backend]:
    """The engine, under the name that the parent's results have, and the backend."""
    from resolver.__main__ import prepare

    prepare(engine)
    from resolver import engines

    found, asker = engines.find(engine, backend)
    if backend == "wire":
        # Loaded for the first query otherwise, when the run's time has begun.
        importlib.import_module("resolver.wire.channel")
    return found._replace(name="processes"), asker  # type: ignore[attr-defined]  # engines are named tuples


if __name__ == "__main__":
    main()
