"""The protocols of twisted.names as the backend `twisted` drives them: over UDP, and pipelined over TCP.

Theirs are the IDs, the table of what is in flight, the timers and the sending. A message that comes in does not pass
through their parser, which neither compares the question nor survives all octets: the codec matches and reads it, as
everywhere, and their Deferreds are fired with a Reply.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.error import ConnectError
from twisted.names import dns

from resolver.dns.form import PAYLOAD

if TYPE_CHECKING:
    from resolver.backends.lookup import Lookup
    from resolver.dns.form import QueryForm
    from resolver.nameserver import Nameserver


@functools.cache
def _opt(form: QueryForm) -> Any:
    options = dns.UnknownRecord(form.options)  # type: ignore[no-untyped-call]
    return dns.RRHeader(b"", dns.OPT, PAYLOAD, form.edns_flags, options)  # type: ignore[arg-type]


class TransportFailed(Exception):
    """The local side failed, or the connection was closed; the text is a sentence."""


class Question(dns.Query):
    """A question of a lookup. `ident`: of the message that it went out in."""

    ident = 0

    def __init__(self, lookup: Lookup, nameserver: Nameserver, edns: bool) -> None:
        super().__init__()
        self.edns = edns
        self.lookup = lookup
        self.nameserver = nameserver

    def encode(self, strio: Any, compDict: object = None) -> None:
        """Write the question: dns.Name knows no escapes, and there is no name before it to point to."""
        strio.write(self.lookup.question)


class _Never:
    """A timer that is never due."""

    def cancel(self) -> None:
        """Nothing."""


_NEVER = _Never()


class _Asking:
    """The side of both protocols that they do not inherit. `link`: the transport, once there is one."""

    transport_name: str
    liveMessages: dict[int, tuple[Any, Any]]

    def __init__(self, nameserver: Nameserver, reactor: Any) -> None:
        super().__init__(self, reactor)  # type: ignore[call-arg]  # a DNSMixin's; the controller is itself
        self.nameserver = nameserver
        self.answered = 0
        self.link: Any = None
        self._questions: dict[int, Question] = {}

    @property
    def in_flight(self) -> int:
        """Questions that wait for a reply."""
        return len(self.liveMessages)

    def prepared(self, message: dns.Message) -> bytes:
        """The octets of a query that is about to be sent."""
        (question,) = message.queries
        assert isinstance(question, Question)
        self._questions[message.id] = question
        form = question.lookup.form
        message.recDes = form.flags >> 8 & 1
        message.checkingDisabled = form.flags >> 4 & 1
        if question.edns:
            message.additional.append(_opt(form))
        question.ident = message.id
        return message.toStr()

    def heard(self, message: bytes) -> None:
        """Take a message that came; one that is no reply is dropped."""
        ident = int.from_bytes(message[:2], "big")
        if ident not in self.liveMessages:
            return
        reply = self._questions[ident].lookup.read(message, self.nameserver, self.transport_name)
        if reply is None:
            return
        self.answered += 1
        deferred, timer = self.liveMessages.pop(ident)
        timer.cancel()
        deferred.callback(reply)

    def abandon(self) -> list[Any]:
        """Stop the timers of what is in flight; returns its Deferreds, which will not fire by themselves."""
        live, self.liveMessages = list((self.liveMessages or {}).values()), {}
        for _, timer in live:
            timer.cancel()
        return [deferred for deferred, _ in live]


class Datagrams(_Asking, dns.DNSDatagramProtocol):
    """A socket that is connected to one nameserver. `used`: questions that it was given; `up`: it can be given more."""

    transport_name = "udp"
    used = 0
    up = False
    _refused = False

    def open(self, source: str | None) -> None:
        """Open it, at the local address `source`. Raises CannotListenError or OSError where none is to be had."""
        host = self.nameserver.host
        self.link = self._reactor.listenUDP(0, self, interface=source or ("::" if ":" in host else ""))
        # Connected: the kernel drops what other sources send, and tells of a closed port.
        self.link.connect(host, self.nameserver.port)
        self.up = True

    def close(self) -> None:
        """Close the socket, in the reactor's next round."""
        if self.up:
            self.up = False
            self.link.stopListening()

    def ask(self, question: Question, ident: int | None) -> Any:
        """Send it, under this ID if it is free. The Deferred fires with a Reply.

        It fails with TransportFailed, and never by time: `forget` it.
        """
        self.used += 1
        ident = None if ident in self.liveMessages else ident
        return self.query((self.nameserver.host, self.nameserver.port), [question], 0, ident)

    def look(self) -> None:
        """Take what has come, without waiting for the reactor to say so."""
        if self.up:
            with contextlib.suppress(OSError):  # the reactor will meet it too
                self.link.doRead()

    def forget(self, question: Question) -> None:
        """Wait for it no more; its Deferred will not fire."""
        if self._is_live(question):
            del self.liveMessages[question.ident]

    def callLater(self, period: float, func: object, *args: object) -> Any:
        return _NEVER  # a try has its time, which is not the question's

    def writeMessage(self, message: dns.Message, address: object) -> None:
        self._write(self.prepared(message))

    def _write(self, octets: bytes) -> None:
        self._refused = False
        self.link.write(octets)
        if self._refused:
            # The refusal was of an earlier query; it was told in place of sending this one.
            self.link.write(octets)

    def _is_live(self, question: Question) -> bool:
        return question.ident in self.liveMessages and self._questions[question.ident] is question

    def datagramReceived(self, data: bytes, addr: object) -> None:
        self.heard(data)

    def connectionRefused(self) -> None:
        self._refused = True
        for deferred in self.abandon():
            deferred.errback(TransportFailed(f"udp to {self.nameserver} failed: connection refused"))

    def stopProtocol(self) -> None:
        # The reactor closes a socket that has an error; a connected UDP socket has no other one.
        self.up = False
        self.connectionRefused()
        super().stopProtocol()


class TcpConnection(_Asking, dns.DNSProtocol):
    """A connection to one nameserver, to be opened by an endpoint. `up`: it stands; None: not yet."""

    transport_name = "tcp"
    up: bool | None = None

    def __init__(self, nameserver: Nameserver, reactor: Any) -> None:
        super().__init__(nameserver, reactor)
        self.liveMessages = {}
        self._waiting: list[defer.Deferred[None]] = []
        self._octets = b""

    def opened(self) -> defer.Deferred[None]:
        """Fires when the connection stands; fails with what it failed of. Any number may wait for it."""
        deferred: defer.Deferred[None] = defer.Deferred()
        if self.up:
            deferred.callback(None)
        else:
            self._waiting.append(deferred)
        return deferred

    def close(self) -> None:
        """Close the connection, in the reactor's next round."""
        if self.up:
            self.up = False
            self.link.abortConnection()

    def ask(self, question: Question, timeout: float) -> Any:
        """Send it on a connection that stands. The Deferred fires with a Reply.

        It fails with DNSQueryTimeoutError after `timeout` seconds, or with TransportFailed.
        """
        return self.query([question], timeout)

    def writeMessage(self, message: dns.Message) -> None:
        octets = self.prepared(message)
        self.link.write(len(octets).to_bytes(2, "big") + octets)

    def connectionMade(self) -> None:
        self.up = True
        self.link = self.transport
        for deferred in self._awakened():
            deferred.callback(None)

    def failed(self, failure: Any) -> None:
        """No connection came about."""
        self.up = False
        for deferred in self._awakened():
            deferred.errback(failure)

    def connectionLost(self, reason: object = None) -> None:
        self.up = False
        for deferred in self.abandon():
            deferred.errback(TransportFailed(f"{self.nameserver} closed the connection"))

    def dataReceived(self, data: bytes) -> None:
        """Take the messages, each with its length before it (RFC 1035 section 4.2.2)."""
        octets = self._octets + data
        while len(octets) >= 2 and len(octets) >= (end := 2 + int.from_bytes(octets[:2], "big")):
            self.heard(octets[2:end])
            octets = octets[end:]
        self._octets = octets

    def _awakened(self) -> list[defer.Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return [each for each in waiting if not each.called]


def sentence(error: Exception, nameserver: Nameserver, transport: str) -> str:
    """Return a sentence about a failure."""
    if isinstance(error, TransportFailed):
        return str(error)
    code = getattr(error, "osError", None) if isinstance(error, ConnectError) else getattr(error, "errno", None)
    what = os.strerror(code).lower() if isinstance(code, int) else str(error) or type(error).__name__
    return f"{transport} to {nameserver} failed: {what}"
