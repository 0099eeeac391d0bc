"""The wire backend as an engine sees it: sockets to wait on around an exchange.

An engine calls `flush()` (send what may be sent; take what is finished), waits until a socket is ready or `timeout()`
seconds have passed, calls `drain(fd)` for each ready socket, and begins again until `idle`. Sockets come and go as the
run does: `watch(fd, read, write)` tells the engine what to wait for, and (fd, False, False) to forget it, before it is
closed. This is the shape of c-ares' and libcurl's multi interface, and for their reason: it fits every way of waiting.
"""

from __future__ import annotations

import os
import ssl
import time
from typing import TYPE_CHECKING

from resolver.wire.datagram import Datagram
from resolver.wire.exchange import Exchange
from resolver.wire.stream import Closed, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from resolver.engines.base import Queries
    from resolver.message import Result
    from resolver.policy import Policy
    from resolver.wire.flight import Path

SWEEP = 0.25  # seconds between looks for sockets that are no longer needed


class Channel:
    """The sockets of one run. Used as a context: leaving it closes them all, and notes how far each lookup came."""

    def __init__(
        self,
        queries: Queries,
        policy: Policy,
        engine: str,
        watch: Callable[[int, bool, bool], None],
        clock: Callable[[], float] = time.monotonic,
        parties: int = 1,
    ) -> None:
        self._queries = queries
        self._policy = policy
        self._watch = watch
        self._clock = clock
        self._exchange = Exchange(policy, policy.nameservers, engine, clock=clock, parties=parties)
        self._sockets: dict[Path, Datagram | Stream] = {}
        self._by_fd: dict[int, Datagram | Stream] = {}
        self._wanted: dict[int, bool] = {}  # by descriptor: also for writing?
        self._context: ssl.SSLContext | None = None
        self._swept = 0.0
        self._waiting: float | None = None  # since when the engine has waited

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def idle(self) -> bool:
        """All queries were taken and each has its result."""
        return self._exchange.idle

    @property
    def queries_sent(self) -> int:
        """Messages that went out so far."""
        return self._exchange.queries_sent

    def timeout(self) -> float:
        """Seconds that an engine may wait for a socket at most, beginning now; may be infinite."""
        self._waiting = self._clock()
        return self._exchange.timeout(self._waiting)

    def flush(self) -> list[Result]:
        """Send what may be sent now; returns the results since the last call."""
        exchange = self._exchange
        now = self._clock()
        self._waited(now)
        if exchange.due() <= now:
            # In a busy process the reply may have come, with no turn to read it: not silence, then.
            for fd, link in list(self._by_fd.items()):
                if isinstance(link, Datagram):
                    self.drain(fd)
        exchange.flush(now, self._queries.take)
        while exchange.outbox:
            outbox, exchange.outbox = exchange.outbox, []
            for path, messages in outbox:
                self._send(path, messages, now)
        if now - self._swept > SWEEP:
            self._sweep(now)
        results, exchange.results = exchange.results, []
        return results

    def drain(self, fd: int) -> None:
        """A socket is ready: take what came, and go on with what waited for it."""
        link = self._by_fd.get(fd)
        if link is None:
            # Closed since the engine's wait returned.
            return
        now = self._clock()
        self._waited(now)
        if isinstance(link, Stream):
            self._progress(link, now)
            return
        try:
            messages = link.receive()
        except OSError as error:
            self._exchange.failed(link.path, _reason(error, link.path), now)
            return
        self._want(link, write=False)
        self._exchange.receive(link.path, messages, now)

    def close(self) -> None:
        """Abandon what is in flight and close every socket."""
        self._exchange.abandon()
        for link in list(self._sockets.values()):
            self._drop(link)

    def _waited(self, now: float) -> None:
        if self._waiting is not None:
            self._exchange.idled += now - self._waiting
            self._waiting = None

    def _send(self, path: Path, messages: list[bytes], now: float) -> None:
        link = self._sockets.get(path)
        try:
            if link is None:
                link = self._open(path)
            if isinstance(link, Stream):
                link.send(messages)
                self._progress(link, now)
                return
            unsent = link.send(messages)
        except OSError as error:
            self._exchange.failed(path, _reason(error, path), now)
            return
        if unsent:
            self._exchange.unsent(path, unsent)
            self._want(link, write=True)

    def _open(self, path: Path) -> Datagram | Stream:
        link = Stream(path, self._tls(path)) if path.stream else Datagram(path)
        self._sockets[path] = self._by_fd[link.fd] = link
        self._want(link, write=path.stream)
        return link

    def _progress(self, link: Stream, now: float) -> None:
        try:
            while messages := link.progress():
                self._exchange.receive(link.path, messages, now)
        except Closed:
            self._drop(link)
            self._exchange.closed(link.path, f"{link.path.server.text} closed the connection", now)
        except OSError as error:
            self._drop(link)
            broke = self._exchange.closed if link.established else self._exchange.failed
            broke(link.path, _reason(error, link.path), now)
        else:
            self._want(link, write=link.wants_write)

    def _sweep(self, now: float) -> None:
        """Close the sockets of lanes that were renewed, once nothing is awaited there."""
        self._swept = now
        for path, link in list(self._sockets.items()):
            if not path.flights and not path.stream and path not in path.server.lanes:
                self._drop(link)

    def _want(self, link: Datagram | Stream, *, write: bool) -> None:
        """Have the engine wait for this socket; it is told only what is new."""
        if self._wanted.get(link.fd) is not write:
            self._wanted[link.fd] = write
            self._watch(link.fd, True, write)

    def _drop(self, link: Datagram | Stream) -> None:
        self._watch(link.fd, False, False)
        del self._sockets[link.path], self._by_fd[link.fd], self._wanted[link.fd]
        link.close()

    def _tls(self, path: Path) -> ssl.SSLContext | None:
        if path.transport != "tls":
            return None
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._policy.tls_ca)
        return self._context


def _reason(error: OSError, path: Path) -> str:
    """What failed, as a sentence for `error`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{path.server.text} showed a certificate that does not fit: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {path.server.text} failed: {error.reason or error}"
    what = error.strerror or (os.strerror(error.errno) if error.errno else type(error).__name__)
    return f"{path.transport} to {path.server.text} failed: {what.lower()}"
