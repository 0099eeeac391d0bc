"""The backend `dnspython`: the library of that name makes and checks the messages; over UDP, TCP, TLS and HTTPS.

This is its blocking side, on sockets (dnspython_udp.py over UDP); the awaited one stands in dnspython_async.py, the
messages and failures of both in dnspython_messages.py. Any number of threads ask at once, and when the run ends some
are abandoned in the middle: a socket or client belongs to one thread at a time, which closes it or gives it back.
Connections are kept, one query at a time on each: the library does not pipeline. Over one of them a reply that comes
after its try is lost.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, Protocol

import dns.query

from resolver.backends.descriptors import Descriptors
from resolver.backends.dnspython_messages import Message, failure, http_client, plain_errors, tls_context
from resolver.backends.dnspython_udp import BlockingLookup
from resolver.backends.lookup import Conversation, RunLookups
from resolver.extras import NotInstalled, cure
from resolver.nameserver import bind

if TYPE_CHECKING:
    from resolver.attempts import AsyncSession, Reply
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy


OPENING = 16  # connections to one nameserver that are made at once: of more handshakes none would be done in its time


class Dnspython(NamedTuple):
    """Speaks DNS with dnspython."""

    name: str = "dnspython"

    def prepare(self, policy: Policy) -> Policy:
        """Return the policy with the nameservers that will be asked: the system's where it names none.

        Raises:
            LookupError: There is none, or one is asked over HTTPS and what that needs is not installed.
            ValueError: Certificates cannot be read.
        """
        policy = policy.with_nameservers()
        https = next((each for each in policy.nameservers if each.transport == "https"), None)
        if https is not None and not dns.query.have_doh:
            raise NotInstalled(
                f"backend dnspython needs an HTTP library for {https.url}, which is not installed: {cure('doh')}"
            )
        if policy.tls_ca is not None:
            try:
                tls_context(policy)
            except OSError as error:
                raise ValueError(f"{policy.tls_ca}: no certificates can be read: {error.strerror or error}") from None
        return policy

    def open(self, policy: Policy) -> Blocking:
        """Open a session for a policy that was prepared."""
        return Blocking(policy)

    def open_async(self, policy: Policy) -> AsyncSession:
        """Open the same, awaited, in the event loop that is running."""
        from resolver.backends.dnspython_async import AsyncDnspython

        return AsyncDnspython(policy)


class Blocking:
    """The connections of a run."""

    def __init__(self, policy: Policy) -> None:
        secure = any(each.transport in ("tls", "https") for each in policy.nameservers)
        self._context = tls_context(policy) if secure else None
        self._descriptors = Descriptors(policy.query_timeout, self._close_kept)
        self._run = RunLookups(policy, lambda query: BlockingLookup(query, self._run, self._descriptors))
        self._kept: defaultdict[tuple[str, Nameserver], list[_Kept]] = defaultdict(list)
        self._opening = {each: threading.Semaphore(OPENING) for each in policy.nameservers}
        self._closed = False

    def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """Ask once, with the repeats that belong to it, within `timeout` seconds from the sending."""
        assert nameserver is not None  # `prepare` named one
        lookup = self._run.of(query)
        end = 0.0
        conversation = Conversation(lookup, nameserver)
        while conversation.reply is None:
            message = Message(lookup, nameserver, conversation.transport, conversation.edns)
            try:
                if message.transport == "udp":
                    descriptor = lookup.send(message)
                    end = end or time.monotonic() + timeout
                    reply = lookup.receive(descriptor, end)
                else:
                    end = end or time.monotonic() + timeout
                    reply = self._over_connection(message, lookup, end)
            except Exception as error:  # `failure` knows its meaning
                reply = failure(error, nameserver, message.transport)
            conversation.hear(reply)
        return conversation.reply

    def done(self, query: Query) -> None:
        """Close the lookup's sockets."""
        self._run.end(query)

    def close(self) -> None:
        """Close the connections that no thread uses; the others are closed by their threads."""
        self._closed = True
        self._close_kept()

    def _close_kept(self) -> None:
        for kept in list(self._kept.values()):
            while connection := _last(kept):
                connection.close()

    def _over_connection(self, message: Message, lookup: BlockingLookup, end: float) -> Reply:
        nameserver, transport = message.nameserver, message.transport
        kept = self._kept[transport, nameserver]
        queries = 1
        if connection := _last(kept):
            try:
                return self._use(connection, message, kept, end)
            except (EOFError, ConnectionError, ssl.SSLError):
                # Servers close what is idle, whenever they like: RFC 7766 section 6.2.4 has us ask again.
                queries = 2
        began, until = time.monotonic(), end
        with self._opening[nameserver]:
            while True:
                # The wait for one's turn, or a descriptor, is not the nameserver's silence.
                end = until + time.monotonic() - began
                try:
                    connection = self._open(transport, nameserver, end)
                    # One over https connects when it is asked.
                    reply = self._use(connection, message, kept, end) if transport == "https" else None
                    break
                except OSError as error:
                    wait = self._descriptors.wait(error)
                    lookup.close()
                    time.sleep(wait)
        self._descriptors.got()
        reply = reply or self._use(connection, message, kept, end)
        return reply._replace(queries=queries)

    def _open(self, transport: str, nameserver: Nameserver, end: float) -> _Kept:
        source = self._run.sources.next(nameserver)
        if transport == "https":
            return _HttpClient(nameserver, self._context, source)
        return _Stream(nameserver, self._context if transport == "tls" else None, source, end)

    def _use(self, connection: _Kept, message: Message, kept: list[_Kept], end: float) -> Reply:
        try:
            reply = connection.ask(message, end)
        except BaseException:
            # A reply that comes too late must not meet the next query.
            connection.close()
            raise
        kept.append(connection)
        if self._closed or self._descriptors.scarce:
            self._close_kept()
        return reply


class _Kept(Protocol):
    """A connection that is kept. `ask` raises EOFError, ConnectionError or SSLError where it has ended."""

    def ask(self, message: Message, end: float) -> Reply: ...

    def close(self) -> None: ...


class _Stream:
    """A TCP connection, or one of TLS with a context; the certificate must be the nameserver's name or address."""

    def __init__(self, nameserver: Nameserver, context: ssl.SSLContext | None, source: str | None, end: float) -> None:
        family, address = nameserver.address()
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            bind(connection, source)
            connection.settimeout(_left(end))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                connection.settimeout(_left(end))
                connection = context.wrap_socket(connection, server_hostname=nameserver.certified)
        except BaseException:
            connection.close()
            raise
        self._socket = connection

    def ask(self, message: Message, end: float) -> Reply:
        """Return the reply; anything else is waited past."""
        octets = message.to_wire()
        self._socket.settimeout(_left(end))
        self._socket.sendall(len(octets).to_bytes(2, "big") + octets)
        while True:
            octets = self._read(int.from_bytes(self._read(2, end), "big"), end)
            if (reply := message.read(octets)) is not None:
                return reply

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _read(self, size: int, end: float) -> bytes:
        octets = b""
        while len(octets) < size:
            self._socket.settimeout(_left(end))
            if not (part := self._socket.recv(size - len(octets))):
                raise EOFError
            octets += part
        return octets


class _HttpClient:
    """A client that keeps its connection. Shared by threads, the library's HTTP/2 loses replies now and then."""

    def __init__(self, nameserver: Nameserver, context: ssl.SSLContext | None, source: str | None) -> None:
        self._client = http_client(context, source)
        self._url = nameserver.bare_url
        self._post = not nameserver.by_get

    def ask(self, message: Message, end: float) -> Reply:
        """Return the reply. The time is the library's for each step, connecting and reading, not for all of them."""
        with plain_errors():
            answer = dns.query.https(
                message.query, self._url, _left(end), session=self._client, ignore_trailing=True, post=self._post
            )
        return message.read_https(answer)

    def close(self) -> None:
        """Close the client's connection."""
        self._client.close()


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _last(kept: list[_Kept]) -> _Kept | None:
    # Looked at and taken in one step: another thread may take it in between.
    try:
        return kept.pop()
    except IndexError:
        return None


backend = Dnspython()
