"""The wire backend as an engine sees it: sockets to wait on around an exchange.

An engine calls `flush()` (send what may be sent; take what is finished), waits until a socket is ready or `timeout()`
seconds have passed, calls `drain(fd)` for each ready socket, and begins again until `idle`. Sockets come and go as the
run does: `watch(fd, read, write)` tells the engine what to wait for, and (fd, False, False) to forget it, before it is
closed. This is the shape of c-ares' and libcurl's multi interface, and for their reason: it fits every way of waiting.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from resolver.descriptors import descriptors_left
from resolver.nameserver import Sources, tls_context
from resolver.wire.connections import Connection
from resolver.wire.exchange import Exchange
from resolver.wire.lines import PlainLines
from resolver.wire.tcp import Closed, LengthFraming, Stream
from resolver.wire.udp import UNREACHABLE, Datagram

if TYPE_CHECKING:
    import ssl  # at run time where there is TLS, as in tcp.py
    from collections.abc import Callable

    from resolver.model import Result
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy
    from resolver.seam import Queries
    from resolver.wire.endpoint import Endpoint
    from resolver.wire.https import HttpFraming
    from resolver.wire.inflight import Flow

L = TypeVar("L", Datagram, Stream)


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
        answered: Callable[[], bool] | None = None,
    ) -> None:
        self._queries = queries
        self._policy = policy
        self._watch = watch
        self._clock = clock
        self._exchange = Exchange(
            policy,
            policy.nameservers,
            engine,
            clock=clock,
            parties=parties,
            sockets=descriptors_left(),
            answered=answered,
        )
        queries.tallies.watch(server.tally for server in self._exchange.servers)
        self._sockets: dict[Flow, Datagram | Stream] = {}
        self._by_fd: dict[int, Datagram | Stream] = {}
        self._wanted: dict[int, bool] = {}  # by descriptor: also for writing?
        self._contexts: dict[str, ssl.SSLContext] = {}  # by transport
        self._sessions: dict[Nameserver, ssl.SSLSession | None] = {}
        self._endpoints: dict[Nameserver, Endpoint] = {}  # of https://
        self._missed: Counter[Nameserver] = Counter()  # addresses of a name that took no connection
        self._sources = Sources(policy.source)
        self._distrusted = 0  # nameservers of which the exchange knows that they lie
        self._waiting: float | None = None  # since when the engine has waited
        self._lines: PlainLines | None = None
        self._told = False  # the exchange heard something since it last said what to send

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def idle(self) -> bool:
        """Say whether all queries were taken and each has its result."""
        return self._exchange.idle

    def timeout(self) -> float:
        """Seconds that an engine may wait for a socket at most, beginning now; may be infinite."""
        self._waiting = self._clock()
        # What came while queries went out has made room for more of them: nobody else would say so.
        return 0.0 if self._told else self._exchange.timeout(self._waiting)

    def flush(self) -> list[Result]:
        """Send what may be sent now; returns the results since the last call."""
        exchange = self._exchange
        now = self._clock()
        self._waited(now)
        for flow in exchange.overdue(now):
            # In a busy process the reply may have come, with no turn to read it: not silence, then.
            if link := self._sockets.get(flow):
                self.drain(link.fd)
        if len(distrusted := self._queries.tallies.distrusted) > self._distrusted:
            self._distrusted = len(distrusted)
            exchange.distrust(frozenset(distrusted))
        exchange.flush(now, self._queries.take)
        self._told = False
        while exchange.outbox:
            outbox = exchange.outbox.copy()
            exchange.outbox.clear()
            for flow, messages in outbox:
                self._close_dropped()
                self._send(flow, messages, now)
        self._close_dropped()
        if self._lines is not None:
            self._lines.write()
        return exchange.take_results()

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
        messages, error = link.receive()
        self._want(link, write=False)
        if messages:
            self._exchange.receive(link.flow, messages, now, self._plain_lines())
        if error is not None:
            self._exchange.unreachable(link.flow, _reason(error, link.flow), now)
            self._close_dropped()

    def close(self) -> None:
        """Abandon what is in flight and close every socket."""
        self._exchange.abandon()
        for link in list(self._sockets.values()):
            self._drop(link)

    def _plain_lines(self) -> PlainLines | None:
        """Return where plain replies are written; None: they are wanted as Results, or in a form that is not plain."""
        sink = self._queries.block_sink
        if sink is None:
            return None
        if self._lines is None and sink.format is not None and sink.format.plain:
            self._lines = PlainLines(sink)
        return self._lines

    def _waited(self, now: float) -> None:
        if self._waiting is not None:
            self._exchange.idled += now - self._waiting
            self._waiting = None

    def _send(self, flow: Flow, messages: list[bytes], now: float) -> None:
        link = self._sockets.get(flow)
        if link is None:
            if not flow.in_flight:
                return  # it failed since these were queued, and they go elsewhere
            try:
                link = self._open(flow)
            except OSError as error:
                none_left = error.errno in (errno.EMFILE, errno.ENFILE)
                reason = _reason(error, flow)
                if none_left:
                    self._exchange.no_socket(flow, messages, reason, now)
                else:
                    self._told = True
                    self._exchange.failed(flow, reason, now)
                return
        if isinstance(link, Stream):
            link.framing.send(messages)
            self._progress(link, now)
            return
        outcome = link.send(messages)
        if outcome.refused:
            assert outcome.error is not None
            self._told = True
            self._exchange.refused(flow, outcome.refused, _reason(outcome.error, flow), now)
        if outcome.unsent:
            self._exchange.unsent(flow, outcome.unsent)
            self._want(link, write=True)
        if outcome.error is not None and outcome.error.errno in UNREACHABLE:
            self._exchange.unreachable(flow, _reason(outcome.error, flow), now)

    def _open(self, flow: Flow) -> Datagram | Stream:
        if flow.stream:
            return self._connect(flow, self._framing(flow), len(flow.server.nameserver.addresses) or 1)
        return self._add(Datagram(flow, self._sources.next(flow.server.nameserver)))

    def _connect(self, flow: Flow, framing: LengthFraming | HttpFraming, addresses: int) -> Stream:
        """Begin a connection, at the first of so many addresses of a nameserver's name that allows it."""
        nameserver = flow.server.nameserver
        at = nameserver.at(self._missed[nameserver])
        try:
            link = Stream(flow, at, framing, self._tls(flow), self._sources.next(at), self._sessions)
        except OSError:
            self._missed[nameserver] += 1
            if addresses <= 1:
                raise
            return self._connect(flow, framing, addresses - 1)
        link.further = addresses - 1
        self._add(link)
        return link

    def _add(self, link: L) -> L:
        self._sockets[link.flow] = self._by_fd[link.fd] = link
        self._want(link, write=link.flow.stream)
        return link

    def _framing(self, flow: Flow) -> LengthFraming | HttpFraming:
        if flow.transport != "https":
            return LengthFraming()
        from resolver.wire.endpoint import Endpoint
        from resolver.wire.https import HttpFraming

        nameserver = flow.server.nameserver
        if nameserver not in self._endpoints:
            self._endpoints[nameserver] = Endpoint(nameserver)
        assert isinstance(flow, Connection)
        return HttpFraming(flow, self._endpoints[nameserver])

    def _progress(self, link: Stream, now: float) -> None:
        try:
            while messages := link.progress():
                self._told = True
                self._exchange.receive(link.flow, messages, now, self._plain_lines())
        except OSError as error:
            self._told = True
            self._unanswered(link, now)
            if link.connected or not link.further:
                made = link.established or isinstance(error, Closed)
                broke = self._exchange.closed if made else self._exchange.failed
                broke(link.flow, _reason(error, link.flow), now)
            else:
                self._drop(link)
                try:
                    self._connect(link.flow, link.framing, link.further)
                except OSError as last:
                    self._exchange.failed(link.flow, _reason(last, link.flow), now)
        else:
            self._unanswered(link, now)
            self._want(link, write=link.wants_write)
            return
        self._close_dropped()

    def _unanswered(self, link: Stream, now: float) -> None:
        """Tell the exchange of single queries to which no reply comes, though the connection goes on."""
        framing, flow = link.framing, link.flow
        if not (framing.no_replies or framing.leaving):
            return
        self._told = True
        if framing.leaving:
            self._exchange.leaving(flow, sum(reason is None for _, reason in framing.no_replies))
        for ident, reason in framing.no_replies:
            said = f"{flow.server.text} {reason or 'takes no more queries on this connection'}"
            self._exchange.no_reply(flow, ident, said, now, processed=reason is not None)
        framing.no_replies.clear()

    def _close_dropped(self) -> None:
        dropped = self._exchange.dropped
        while dropped:
            if link := self._sockets.get(dropped.pop()):
                self._drop(link)

    def _want(self, link: Datagram | Stream, *, write: bool) -> None:
        """Have the engine wait for this socket; it is told only what is new."""
        if self._wanted.get(link.fd) is not write:
            self._wanted[link.fd] = write
            self._watch(link.fd, True, write)

    def _drop(self, link: Datagram | Stream) -> None:
        if isinstance(link, Stream) and not link.connected:
            self._missed[link.flow.server.nameserver] += 1
        self._watch(link.fd, False, False)
        del self._sockets[link.flow], self._by_fd[link.fd], self._wanted[link.fd]
        link.close()

    def _tls(self, flow: Flow) -> ssl.SSLContext | None:
        if flow.transport not in ("tls", "https"):
            return None
        if flow.transport not in self._contexts:
            context = self._contexts[flow.transport] = tls_context(self._policy.tls_ca)
            if flow.transport == "https":
                context.set_alpn_protocols(["h2"])
        return self._contexts[flow.transport]


def _reason(error: OSError, flow: Flow) -> str:
    """Put what failed into a sentence for `error`."""
    if isinstance(error, Closed):
        return f"{flow.server.text} closed the connection"
    if flow.transport in ("tls", "https"):
        import ssl

        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{flow.server.text} showed a certificate that does not fit: {error.verify_message}"
        if isinstance(error, ssl.SSLError):
            if "NO_APPLICATION_PROTOCOL" in (error.reason or ""):
                return f"{flow.transport} to {flow.server.text} failed: it does not speak HTTP/2"
            return f"TLS with {flow.server.text} failed: {error.reason or error}"
    what = error.strerror or (os.strerror(error.errno) if error.errno else type(error).__name__)
    return f"{flow.transport} to {flow.server.text} failed: {what[:1].lower()}{what[1:]}"
