"""The program of a child of the engine `processes`: an engine over the queries that come down the pipe.

`python -m resolver.processes.child ENGINE BACKEND`; the pipe is a socket, passed as standard input. When it ends, the
run is over or the parent is dead, and this process ends at once, wherever it is. The thread that waits for that does
nothing else: woken for each chunk, it would take the interpreter from the engine.
"""

from __future__ import annotations

import importlib
import os
import sys
import time

# Bound here, before gevent may patch: waiting for the pipe is not for the hub.
from _socket import MSG_DONTWAIT, socket
from collections import deque
from operator import attrgetter
from select import POLLIN, poll
from typing import TYPE_CHECKING

import msgspec

from resolver.blocks import BlockSink
from resolver.processes import protocol
from resolver.processes.protocol import MESSAGE_OCTETS, block_frame, frame
from resolver.subprocesses import FrameDecoder, Parent, end_with_parent, wait_for_end
from resolver.tallies import NameserverTallies

if TYPE_CHECKING:
    from resolver.blocks import HostLines, ResultBlock
    from resolver.model import Query, Result
    from resolver.processes.protocol import Begin, FromChild, ToChild
    from resolver.seam import Backend, Engine

_MAX_WAIT = 0.05  # seconds: the longest that a stop goes unseen,
_MAX_WAIT_EMPTY = 0.01  # and queries that came, where there are no others
_EMPTY = 0.2  # for so many seconds after the last; then it is likely that none will come soon
_LOOK = 0.005  # seconds between two looks for a stop, where there is much to do
_LINGER = 0.050  # seconds between two messages with results: one that comes alone goes at once;
_LINGER_EMPTY = 0.010  # and where nothing waits, so that the parent may send more;
_FULL = 1500  # unless there are so many
_PIECES = 500  # that are sent by one call: IOV_MAX is 1024


def main() -> None:
    """Ask what comes, run after run, until the pipe ends. Never returns."""
    engine_name, backend_name = sys.argv[1:]
    # Whatever else reads standard input finds it empty; whatever writes to standard output was given /dev/null.
    pipe = Pipe(socket(fileno=os.dup(0)))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    end_with_parent(pipe.fd)
    try:
        engine, backend = _load(engine_name, backend_name)
        pipe.send(protocol.Ready())
        while True:
            _serve(pipe, engine, backend)
    except Exception as error:  # the parent raises it where it can be seen
        pipe.send(protocol.EngineFailed(f"{type(error).__name__}: {error}"))
    # The parent decides when this ends: to it, the end of the pipe is a death.
    wait_for_end(Parent(pipe.fd))


def _load(engine_name: str, backend_name: str) -> tuple[Engine, Backend]:
    from resolver.bootstrap import prepare

    prepare(engine_name, backend_name)
    from resolver import engines

    found = engines.find(engine_name, backend_name)
    if backend_name == "wire":
        # Loaded for the first query otherwise, when the run's time has begun.
        importlib.import_module("resolver.wire.channel")
    return found


def _serve(pipe: Pipe, engine: Engine, backend: Backend) -> None:
    """Serve one run, from its Begin to its Stop."""
    begin = pipe.first()
    if not isinstance(begin, protocol.Begin):  # stopped before there was anything to do
        pipe.send(protocol.Stopped([]))
        return
    queries = ChildQueries(pipe, begin, backend.name)
    if begin.send_only:
        from resolver.wire.oneway import SendOnly

        backend = SendOnly()
    elif backend.name == "wire":
        from resolver.wire import Wire

        backend = Wire(parties=begin.parties, answered=lambda: queries.answered, engine=begin.engine)
    engine.run(queries, begin.policy, backend, queries.deliver)
    queries.finish()


_index = attrgetter("index")


class ChildQueries:
    """The chunks from the parent, as an engine sees its Queries, and the way of the results back.

    A query is in `_waiting` until the engine takes it, then in `_open` until its result is delivered. `answered`: a
    nameserver has answered something in this run. `tallies`: what is counted of each nameserver.
    """

    def __init__(self, pipe: Pipe, begin: Begin, backend: str) -> None:
        from resolver.output.blocks import BlockMaker

        self._pipe = pipe
        self._names = begin.engine, backend
        self._detail = begin.policy.detail
        self._results = BlockMaker(begin.lines)  # that are not sent yet
        self._sink = BlockSink(begin.lines, self._deliver_lines) if begin.lines is not None else None
        self._again = False  # the latest were asked before
        self._waiting: deque[Query] = deque()
        self._open: dict[int, Query] = {}
        self._sent = 0.0  # when results were sent last,
        self._received = 0.0  # when the pipe was read,
        self._taken = 0.0  # and when the engine took queries
        self._end = float("inf")
        self._stopped = False
        self.answered = False
        self.tallies = NameserverTallies()

    def take(self, n: int) -> list[Query] | None:
        """Return up to `n` queries; an empty list where there is none just now. There is always more to come."""
        waiting = self._waiting
        if len(waiting) < n:
            self._receive()
        if not waiting and not self._open:
            self._wait_for_work()
        queries = [waiting.popleft() for _ in range(min(n, len(waiting)))]
        if queries:
            self._taken = time.monotonic()
            self._open.update(zip(map(_index, queries), queries, strict=True))
        return queries

    @property
    def block_sink(self) -> BlockSink | None:
        """Where an engine may give blocks; None: nowhere, while nobody knows how often their lookups were asked."""
        return None if self._again else self._sink

    @property
    def ended(self) -> bool:
        """The run ends now."""
        now = time.monotonic()
        if not self._stopped and now - self._received >= _LOOK:
            self._receive()
        return self._stopped or now >= self._end

    def max_wait(self) -> float:
        """Return for how many seconds an engine may wait. Where it has nothing in hand, the wait is here."""
        empty = not self._waiting and time.monotonic() < self._taken + _EMPTY
        longest = _MAX_WAIT_EMPTY if empty else _MAX_WAIT
        if not self._open and not self._waiting:
            self._wait_for_work()
            longest = 0.0
        longest = max(0.0, min(longest, self._end - time.monotonic()))
        if self._results:
            left = self._linger - (time.monotonic() - self._sent)
            if left > 0:
                return min(longest, left)
            self._flush()
        return longest

    def deliver(self, results: list[Result]) -> None:
        """Send results soon: a few together cost the parent little more than one. A full pipe waits here."""
        opened, (engine, _) = self._open, self._names
        results = [result for result in results if opened.pop(result.index, None) is not None]
        for result in results:
            result.engine = engine
        if self._again:
            for result in results:
                result.attempts = None
        if self._detail:
            for result in results:
                if result.detail is msgspec.UNSET:  # nobody answered
                    result.detail = None
        self._add(results)
        self._flush_if_due()

    def _deliver_lines(self, block: ResultBlock) -> None:
        """Send results soon, which are lines already, with their indices in a list."""
        assert isinstance(block.indices, list)
        if len(block.body) > MESSAGE_OCTETS:
            self.deliver(block.results())
            return
        if self._results.octets + len(block.body) > MESSAGE_OCTETS:
            self._flush()
        for index in block.indices:
            del self._open[index]
        self._results.add_lines(block.indices, block)
        self._flush_if_due()

    def _flush_if_due(self) -> None:
        if len(self._results) >= _FULL or time.monotonic() - self._sent >= self._linger:
            self._flush()

    @property
    def _linger(self) -> float:
        return _LINGER if self._waiting else _LINGER_EMPTY

    def finish(self) -> None:
        """Send what is still here, and how far the rest came, when the engine is back."""
        self._flush()
        self._tell_counts()
        now = time.monotonic()
        self._pipe.send(
            protocol.Stopped([protocol.Unfinished.of(query, now) for query in (*self._open.values(), *self._waiting)])
        )
        # Every run has one Stop and one Stopped. At a deadline the engine may be back before the Stop came; it must not
        # be taken for the next run's.
        while not self._stopped:
            self._receive(60.0)

    def _wait_for_work(self) -> None:
        """Wait here, and not with an engine that has nothing to wait for: it goes on as soon as more comes."""
        self._flush()
        if not self._stopped:
            self._receive(_MAX_WAIT)

    def _receive(self, seconds: float = 0.0) -> None:
        """Take in what the parent sent, up to a Stop; wait up to `seconds` where there is nothing."""
        inbox = self._pipe.receive(seconds)
        self._received = time.monotonic()
        while inbox and not self._stopped:
            message = inbox.popleft()
            if isinstance(message, protocol.Work):
                self._end = self._received + message.seconds
                self.answered = message.answered
                self._again = message.again
                self.tallies.distrusted.update(message.distrusted)
                self._waiting += message.queries if isinstance(message.queries, list) else self._read(message.queries)
            elif isinstance(message, protocol.Stop):
                self._stopped = True

    def _read(self, lines: HostLines) -> list[Query]:
        from resolver.input.plain import lookups_of  # here: gevent patches before most is loaded

        queries, invalid = lookups_of(lines, *self._names)
        self._add(invalid)
        return queries

    def _add(self, results: list[Result]) -> None:
        """Encode these; what there is before is sent where it would be too much to be one report of a worker's."""
        encoded = self._results.encode(results)
        if len(encoded.octets) > MESSAGE_OCTETS and len(results) > 1:
            half = len(results) // 2
            self._add(results[:half])
            self._add(results[half:])
            return
        if self._results.octets + len(encoded.octets) > MESSAGE_OCTETS:
            self._flush()
        self._results.add(results, encoded)

    def _flush(self) -> None:
        if not self._open and not self._waiting:
            self._tell_counts()  # first: with the last result the run may be over
        if self._results:
            self._sent = time.monotonic()
            self._send(*self._results.take())

    def _send(self, block: ResultBlock, body: list[bytes]) -> None:
        self._pipe.write(*block_frame(block, body))

    def _tell_counts(self) -> None:
        if counted := self.tallies.take():
            self._pipe.send(protocol.Counted(counted))


class Pipe:
    """The child's end of the pipe. Every method ends this process where the other end is gone."""

    def __init__(self, end: socket) -> None:
        self.fd = end.fileno()
        self._socket = end
        self._decoder: FrameDecoder[ToChild] = FrameDecoder(protocol.decode_to_child)
        self._inbox: deque[ToChild] = deque()
        self._ready = poll()
        self._ready.register(self.fd, POLLIN)

    def send(self, message: FromChild) -> None:
        """Send a message; waits where the pipe is full."""
        self.write(frame(message))

    def write(self, *pieces: bytes | bytearray) -> None:
        """Send the pieces of a frame; waits where the pipe is full."""
        try:
            for at in range(0, len(pieces), _PIECES):
                some = pieces[at : at + _PIECES]
                sent = self._socket.sendmsg(some)
                if sent < sum(map(len, some)):
                    self._socket.sendall(b"".join(some)[sent:])
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)

    def receive(self, seconds: float = 0.0) -> deque[ToChild]:
        """Return the inbox, for its reader to pop; where it is empty, read the pipe and wait up to `seconds` for it."""
        if self._inbox:
            return self._inbox
        if seconds:
            self._ready.poll(1000 * seconds)
        try:
            octets = self._socket.recv_into(self._decoder.room(), 0, MSG_DONTWAIT)
        except BlockingIOError:
            return self._inbox
        except ConnectionResetError:
            octets = 0
        if not octets:
            os._exit(0)
        self._inbox += self._decoder.received(octets)
        return self._inbox

    def first(self) -> ToChild:
        """Return the next message; waits for it as long as it takes."""
        while not (inbox := self.receive(60.0)):
            pass
        return inbox.popleft()


if __name__ == "__main__":
    main()
