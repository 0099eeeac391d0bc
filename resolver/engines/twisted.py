"""The engine `twisted`: a reactor that calls back when a socket is ready, when a delay is over, when a Deferred fires.

The reactor is this run's own: the engine runs again in the same process, in any thread, and beside a program's global
reactor. The global one must never come into being here: an import of `twisted.internet.reactor` installs it, and much
in Twisted imports that where no reactor is passed; one always is. For the same reason ours takes no signals and does
not claim to be the process' I/O thread.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from twisted.internet import defer, task

from resolver.attempts import at_once
from resolver.backends.twisted_reactor import HERE, ReactorSocket, running_reactor
from resolver.engines.async_workers import AsyncWorkers, open_session
from resolver.seam import PollBackend

try:
    from twisted.internet.epollreactor import EPollReactor as _Base
except ImportError:  # no Linux
    from twisted.internet.pollreactor import PollReactor as _Base  # type: ignore[assignment]  # the same to us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from twisted.python.failure import Failure

    from resolver.model import Result
    from resolver.policy import Policy
    from resolver.seam import Backend, PollChannel, Queries


class Twisted(NamedTuple):
    """A private reactor, run on the calling thread."""

    name: str = "twisted"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        with _reactor() as reactor:
            turns = _ReactorLoop(reactor, queries, deliver)
            with _channel(self.name, turns, queries, policy, backend) as channel:
                turns.run(channel)


class _ReactorLoop:
    """The loop over a channel, as calls that the reactor makes: one turn flushes, and sees when the next one is due."""

    def __init__(self, reactor: Any, queries: Queries, deliver: Callable[[list[Result]], None]) -> None:
        self.reactor = reactor
        self._queries = queries
        self._deliver = deliver
        self._channel: PollChannel | AsyncWorkers
        self._sockets: dict[int, ReactorSocket] = {}
        self._timer: Any = None
        self._soon = False
        self._failure: BaseException | None = None

    def run(self, channel: PollChannel | AsyncWorkers) -> None:
        """Run the reactor until all is done or the run has ended. Raises the exception of a turn."""
        self._channel = channel
        self.reactor.callWhenRunning(self._turn)
        self.reactor.run(installSignalHandlers=False)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._failure is not None:
            raise self._failure

    def wake(self) -> None:
        """Have a turn when the reactor has made the calls that are due."""
        if not self._soon and self._timer is not None and self._timer.active():
            self._soon = True
            self._timer.reset(0)

    def ready(self, fd: int) -> None:
        """Drain a socket of the channel that is ready."""
        try:
            self._channel.drain(fd)
        except BaseException as error:  # the reactor would log it and go on
            self.fail(error)
        self.wake()

    def watch(self, fd: int, read: bool, write: bool) -> None:
        """Wait until a socket can be read, or written; for neither, forget it."""
        socket = self._sockets.get(fd) or self._sockets.setdefault(fd, ReactorSocket(fd, self.ready, self.reactor))
        socket.wait(read, write)
        if not read and not write:
            del self._sockets[fd]

    def fail(self, error: BaseException) -> None:
        """End the run, and have `run` raise this error."""
        self._failure = self._failure or error
        self.reactor.crash()

    def _turn(self) -> None:
        self._soon = False
        try:
            if results := self._channel.flush():
                self._deliver(results)
            if self._channel.idle or self._queries.ended:
                self.reactor.crash()  # the one way out of `run` after which a reactor can be run again
                return
            seconds = min(self._channel.timeout(), self._queries.max_wait())
        except BaseException as error:  # as above
            self.fail(error)
        else:
            self._timer = self.reactor.callLater(seconds, self._turn)


@contextlib.contextmanager
def _channel(
    engine: str, turns: _ReactorLoop, queries: Queries, policy: Policy, backend: Backend
) -> Iterator[PollChannel | AsyncWorkers]:
    """Open the backend's own channel, or workers that await it."""
    if isinstance(backend, PollBackend):
        with backend.channel(queries, policy, engine, turns.watch) as channel:
            yield channel
        return
    reactor = turns.reactor
    working: WeakSet[Coroutine[object, object, None]] = WeakSet()

    def failed(outcome: Failure) -> None:
        turns.fail(outcome.value or RuntimeError("a worker ended without a reason"))

    def start(work: Coroutine[Any, Any, None]) -> None:
        working.add(work)
        defer.ensureDeferred(work).addErrback(failed)

    session = open_session(backend, policy, _waiter)
    try:
        yield AsyncWorkers(
            queries,
            policy,
            session,
            engine,
            backend.name,
            start=start,
            sleep=lambda seconds: task.deferLater(reactor, seconds),
            wake=turns.wake,
        )
    finally:
        # Cancelling their Deferreds would raise an Exception in them, which the driver takes for the backend's.
        for work in list(working):
            work.close()
        at_once(session.close())  # no session waits for a reactor to close what it has


def _waiter() -> tuple[Awaitable[object], Callable[[], object]]:
    reactor = running_reactor()
    deferred: defer.Deferred[None] = defer.Deferred()
    return deferred, lambda: reactor.callFromThread(deferred.callback, None)


class _PrivateReactor(_Base):
    # Twisted's global notion of the I/O thread is the program's.
    _registerAsIOThread = False

    def mainLoop(self) -> None:
        """Run until stopped; raises an exception, KeyboardInterrupt above all, in place of logging it."""
        try:
            while self._started:
                self.runUntilCurrent()
                self.doIteration(self.timeout() if self.running else 0)  # type: ignore[no-untyped-call]
        except BaseException:
            self.crash()
            raise

    def close(self) -> None:
        """Close every descriptor: sockets that are left, the pipe that wakes it, the poller."""
        self.disconnectAll()
        for reader in list(self._internalReaders):
            self._removeInternalReader(reader)
            reader.connectionLost(None)
        if hasattr(self._poller, "close"):
            self._poller.close()


@contextlib.contextmanager
def _reactor() -> Iterator[Any]:
    before = HERE.reactor
    reactor: Any = _PrivateReactor()  # type: ignore[no-untyped-call]
    HERE.reactor = reactor
    try:
        yield reactor
    finally:
        HERE.reactor = before
        reactor.close()


engine = Twisted()
