"""The engine `twisted`: a reactor that calls back when a socket is ready, when a delay is over, when a Deferred fires.

The reactor is this run's own, so that the engine runs again in the same process, in any thread, and beside a program's
global reactor. The one thing to know before changing anything: that one must never come into being here. An import of
`twisted.internet.reactor` installs it, and much in Twisted does that where no reactor is passed; so one always is. For
the same reason ours takes no signals and does not claim to be the process' I/O thread.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet import defer, task
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from zope.interface import implementer  # type: ignore[import-untyped]

from resolver.engines.awaiting import Workers, open_session
from resolver.engines.base import PollBackend

try:
    from twisted.internet.epollreactor import EPollReactor as _Base
except ImportError:  # no Linux
    from twisted.internet.pollreactor import PollReactor as _Base  # type: ignore[assignment]  # the same to us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from twisted.python.failure import Failure

    from resolver.attempts import Reply
    from resolver.engines.base import Backend, Channel, Queries
    from resolver.model import Result
    from resolver.policy import Policy


class Twisted(NamedTuple):
    """A private reactor, run on the calling thread."""

    name: str = "twisted"

    def run(self, queries: Queries, policy: Policy, backend: Backend, deliver: Callable[[list[Result]], None]) -> None:
        with _reactor() as reactor:
            turns = _Turns(reactor, queries, deliver)
            with _channel(self.name, turns, queries, policy, backend) as channel:
                turns.run(channel)


def running_reactor() -> Any:
    """The reactor of the run on this thread: what asyncio.get_running_loop is there. Raises LookupError without one."""
    reactor = getattr(_HERE, "reactor", None)
    if reactor is None:
        raise LookupError("no run of the engine twisted on this thread")
    return reactor


_HERE = threading.local()


class _Turns:
    """The loop over a channel, as calls that the reactor makes: one turn flushes, and sees when the next one is due."""

    def __init__(self, reactor: Any, queries: Queries, deliver: Callable[[list[Result]], None]) -> None:
        self.reactor = reactor
        self._queries = queries
        self._deliver = deliver
        self._channel: Channel | Workers
        self._links: dict[int, _Link] = {}
        self._timer: Any = None
        self._soon = False
        self._failure: BaseException | None = None

    def run(self, channel: Channel | Workers) -> None:
        """Run the reactor until all is done or the run is over. Raises what a turn raised."""
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
        """A socket of the channel is ready."""
        try:
            self._channel.drain(fd)
        except BaseException as error:  # the reactor would log it and go on
            self.fail(error)
        self.wake()

    def watch(self, fd: int, read: bool, write: bool) -> None:
        """Wait for this of a socket."""
        link = self._links.get(fd) or self._links.setdefault(fd, _Link(fd, self))
        link.wait(self.reactor, read, write)
        if not read and not write:
            del self._links[fd]

    def fail(self, error: BaseException) -> None:
        """End the run, and raise this."""
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


@implementer(IReadDescriptor, IWriteDescriptor)
class _Link:
    """A socket of the channel, as the reactor knows sockets. It stays the channel's."""

    def __init__(self, fd: int, turns: _Turns) -> None:
        self._fd = fd
        self._turns = turns
        self._wanted = (False, False)

    def wait(self, reactor: Any, read: bool, write: bool) -> None:
        self._wanted = (read, write)
        (reactor.addReader if read else reactor.removeReader)(self)
        (reactor.addWriter if write else reactor.removeWriter)(self)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "resolve"

    def doRead(self) -> None:
        self._turns.ready(self._fd)

    doWrite = doRead

    def connectionLost(self, reason: object) -> None:
        """What the reactor makes of an error: it has forgotten the socket. A UDP socket of a closed port lives on."""
        self._turns.ready(self._fd)
        self.wait(self._turns.reactor, *self._wanted)


@contextlib.contextmanager
def _channel(
    engine: str, turns: _Turns, queries: Queries, policy: Policy, backend: Backend
) -> Iterator[Channel | Workers]:
    """The backend's own channel, or one of coroutines that await it."""
    if isinstance(backend, PollBackend):
        with backend.channel(queries, policy, engine, turns.watch) as channel:
            yield channel
        return
    reactor = turns.reactor
    working: set[Coroutine[object, object, None]] = set()

    def ended(outcome: Failure | None, work: Coroutine[Any, Any, None]) -> None:
        # A closed one may still be told of by what it awaited.
        if work in working:
            working.discard(work)
            if outcome is not None:
                turns.fail(outcome.value or RuntimeError("a worker ended without a reason"))

    def start(work: Coroutine[Any, Any, None]) -> None:
        working.add(work)
        defer.ensureDeferred(work).addBoth(ended, work)

    session = open_session(backend, policy, _promise)
    try:
        yield Workers(
            queries,
            policy,
            session,
            (engine, backend.name),
            start=start,
            sleep=lambda seconds: task.deferLater(reactor, seconds),
            wake=turns.wake,
        )
    finally:
        # Cancelling their Deferreds would raise an Exception in them, which the driver takes for the backend's.
        left = list(working)
        working.clear()
        for work in left:
            work.close()
        closing = defer.ensureDeferred(_quietly(session.close()))
        closing.addBoth(lambda _: reactor.callLater(0, reactor.crash))
        reactor.run(installSignalHandlers=False)


async def _quietly(closing: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(Exception):  # what was to be closed is closed with the reactor
        await closing


def _promise() -> tuple[Awaitable[Reply], Callable[[Reply | BaseException], None]]:
    """Something to await, and how another thread settles it."""
    reactor = running_reactor()
    deferred: defer.Deferred[Reply] = defer.Deferred()

    def settle(outcome: Reply | BaseException) -> None:
        if isinstance(outcome, BaseException):
            deferred.errback(outcome)
        else:
            deferred.callback(outcome)

    def settle_from_thread(outcome: Reply | BaseException) -> None:
        reactor.callFromThread(settle, outcome)

    return deferred, settle_from_thread


class _PrivateReactor(_Base):
    # Twisted's global notion of the I/O thread is the program's.
    _registerAsIOThread = False

    def mainLoop(self) -> None:
        """As the base's, but an exception, KeyboardInterrupt above all, goes to who runs it, and not to the log."""
        try:
            while self._started:
                self.runUntilCurrent()
                self.doIteration(self.timeout() if self.running else 0)  # type: ignore[no-untyped-call]
        except BaseException:
            self.crash()
            raise

    def close(self) -> None:
        """Give back every descriptor: sockets that are left, the pipe that wakes it, the poller. That is its end."""
        self.disconnectAll()
        for reader in list(self._internalReaders):
            self._removeInternalReader(reader)
            reader.connectionLost(None)
        if hasattr(self._poller, "close"):
            self._poller.close()


@contextlib.contextmanager
def _reactor() -> Iterator[Any]:
    before = getattr(_HERE, "reactor", None)
    reactor: Any = _PrivateReactor()  # type: ignore[no-untyped-call]
    _HERE.reactor = reactor
    try:
        yield reactor
    finally:
        _HERE.reactor = before
        reactor.close()


engine = Twisted()
