"""The backend `dnspython`: the library of that name sends, receives, makes and checks the messages; over UDP, TCP, TLS
and HTTPS. This is its blocking side, on sockets; the awaited one stands in dnspython_async.py, what both say and
understand in dnspython_messages.py.

The one thing to know before changing anything: any number of threads ask at once, and when the run ends some of them
are abandoned in the middle. So a socket or client belongs to one thread at a time, which closes it or gives it back.

What goes over UDP stands in dnspython_lookup.py. Connections are kept, one query at a time on each: the library does
not pipeline. Over one of them a reply that comes after its try is lost.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import dns.exception
import dns.message
import dns.query
import msgspec

from resolver.backends.descriptors import Descriptors
from resolver.backends.dnspython_lookup import Lookup
from resolver.backends.dnspython_messages import broken, conversation, heard, reply, tls_context
from resolver.model import Status
from resolver.nameserver import system

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
        """The policy with the nameservers that will be asked: the system's where it names none.

        Raises LookupError where there is none, or one is asked over https and what that needs is not installed;
        ValueError for certificates that cannot be read.
        """
        if not policy.nameservers:
            policy = msgspec.structs.replace(policy, nameservers=system())
        https = next((each for each in policy.nameservers if each.transport == "https"), None)
        if https is not None and not dns.query.have_doh:
            raise LookupError(
                f"backend dnspython needs an HTTP library for {https.url}, which is not installed: "
                "pip install 'resolve-dns[doh]'"
            )
        if policy.tls_ca is not None:
            try:
                tls_context(policy)
            except OSError as error:
                raise ValueError(f"{policy.tls_ca}: no certificates can be read: {error.strerror or error}") from None
        return policy

    def open(self, policy: Policy) -> Blocking:
        """A session for a policy that was prepared."""
        return Blocking(policy)

    def open_async(self, policy: Policy) -> AsyncSession:
        """The same, awaited, in the event loop that is running."""
        from resolver.backends.dnspython_async import AsyncDnspython

        return AsyncDnspython(policy)


class Blocking:
    """The connections of a run."""

    def __init__(self, policy: Policy) -> None:
        secure = any(each.transport in ("tls", "https") for each in policy.nameservers)
        self._context = tls_context(policy) if secure else None
        self._descriptors = Descriptors(policy.query_timeout, self._close_kept)
        self._lookups: dict[int, Lookup] = {}
        self._kept: defaultdict[tuple[str, Nameserver], list[_Link]] = defaultdict(list)
        self._opening = {each: threading.Semaphore(OPENING) for each in policy.nameservers}
        self._closed = False

    def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """One try: wait `timeout` seconds at most from the sending, repeats over TCP and without EDNS included."""
        assert nameserver is not None  # `prepare` named one
        lookup = self._lookups.get(query.index)
        if lookup is None:
            lookup = self._lookups[query.index] = Lookup(query, self._descriptors)
        expiration = 0.0
        again = 0
        steps = conversation(query, nameserver, lookup.habits(nameserver))
        message = next(steps)
        while True:
            told: Reply | BaseException
            try:
                if message.transport == "udp":
                    place = lookup.send(message.query, nameserver)
                    expiration = expiration or time.monotonic() + timeout
                    told = lookup.receive(place, expiration)
                else:
                    expiration = expiration or time.monotonic() + timeout
                    told, repeated = self._over_link(
                        Asked(message.query, query, lookup), message.transport, nameserver, expiration
                    )
                    again += repeated
            except Exception as error:  # what it means, dnspython_messages knows
                told = error
            try:
                message = steps.send(told)
            except StopIteration as end:
                best: Reply = lookup.best(end.value)
                return best._replace(queries=best.queries + again) if again else best

    def done(self, query: Query) -> None:
        """Close the lookup's sockets."""
        if lookup := self._lookups.pop(query.index, None):
            lookup.close()

    def close(self) -> None:
        """Close what no thread uses; what is in use is closed by who uses it."""
        self._closed = True
        self._close_kept()

    def _close_kept(self) -> None:
        for kept in list(self._kept.values()):
            while link := _last(kept):
                link.close()

    def _over_link(self, asked: Asked, transport: str, nameserver: Nameserver, expiration: float) -> tuple[Reply, int]:
        """The reply, and how many further queries it took: 1 where a link that was kept had ended meanwhile."""
        kept = self._kept[transport, nameserver]
        repeated = 0
        if link := _last(kept):
            try:
                return self._use(link, asked, kept, expiration), 0
            except (EOFError, ConnectionError, ssl.SSLError):
                # Servers close what is idle, whenever they like: RFC 7766 section 6.2.4 has us ask again.
                repeated = 1
        began = time.monotonic()
        with self._opening[nameserver]:
            while True:
                # The wait for one's turn, or a descriptor, is not the nameserver's silence.
                end = expiration + time.monotonic() - began
                try:
                    link = self._open(transport, nameserver, end)
                    # One over https connects when it is asked.
                    reply = self._use(link, asked, kept, end) if transport == "https" else None
                    break
                except OSError as error:
                    wait = self._descriptors.wait(error)
                    asked.lookup.close()
                    time.sleep(wait)
        self._descriptors.got()
        return reply or self._use(link, asked, kept, end), repeated

    def _open(self, transport: str, nameserver: Nameserver, expiration: float) -> _Link:
        if transport == "https":
            return _Http(nameserver, self._context)
        return _Connection(nameserver, transport, self._context if transport == "tls" else None, expiration)

    def _use(self, link: _Link, asked: Asked, kept: list[_Link], expiration: float) -> Reply:
        try:
            reply = link.ask(asked, expiration)
        except BaseException:
            # A reply that comes too late must not meet the next query.
            link.close()
            raise
        kept.append(link)
        if self._closed or self._descriptors.scarce:
            self._close_kept()
        return reply


class Asked(NamedTuple):
    """What is asked on a connection, and for which lookup."""

    message: dns.message.QueryMessage
    query: Query
    lookup: Lookup


class _Link(Protocol):
    """A connection that is kept. Raises EOFError, ConnectionError or SSLError where it has ended."""

    def ask(self, asked: Asked, expiration: float) -> Reply: ...

    def close(self) -> None: ...


class _Connection:
    """TCP, or TLS with a context; the certificate must be the nameserver's name or address."""

    def __init__(
        self, nameserver: Nameserver, transport: str, context: ssl.SSLContext | None, expiration: float
    ) -> None:
        family, address = nameserver.address()
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(expiration))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                connection.settimeout(_left(expiration))
                connection = context.wrap_socket(connection, server_hostname=nameserver.certified)
        except BaseException:
            connection.close()
            raise
        self._nameserver = nameserver
        self._transport = transport
        self._socket = connection

    def ask(self, asked: Asked, expiration: float) -> Reply:
        """The reply; what is none is waited past."""
        octets = asked.message.to_wire()
        self._socket.settimeout(_left(expiration))
        self._socket.sendall(len(octets).to_bytes(2, "big") + octets)
        while True:
            octets = self._read(int.from_bytes(self._read(2, expiration), "big"), expiration)
            came = heard(octets, asked.message, asked.query, self._nameserver, self._transport)
            if came.status is not Status.TIMEOUT:
                return came
            asked.lookup.unread = came.error

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _read(self, size: int, expiration: float) -> bytes:
        octets = b""
        while len(octets) < size:
            self._socket.settimeout(_left(expiration))
            if not (part := self._socket.recv(size - len(octets))):
                raise EOFError
            octets += part
        return octets


class _Http:
    """A client that keeps its connection. Shared by threads, the library's HTTP/2 loses replies now and then."""

    def __init__(self, nameserver: Nameserver, context: ssl.SSLContext | None) -> None:
        # httpx with dnspython 2.8, httpx2 with 2.9.
        self._library: Any = vars(dns.query).get("httpx2") or vars(dns.query)["httpx"]
        self._client = self._library.Client(http1=True, http2=True, verify=context)
        self._nameserver = nameserver

    def ask(self, asked: Asked, expiration: float) -> Reply:
        """The reply. The time is the library's for each step, connecting and reading, not for all of them."""
        try:
            came = dns.query.https(
                asked.message,
                self._nameserver.url or "",
                _left(expiration),
                session=self._client,
                ignore_trailing=True,
            )
        except self._library.TimeoutException:
            raise TimeoutError from None
        except self._library.TransportError as error:
            raise broken(error) from None
        except dns.exception.FormError:
            # Nothing further comes to wait for.
            raise dns.query.BadResponse from None
        except ValueError as error:
            # An HTTP status; the lines after the first are the page that came with it.
            raise ValueError(str(error).partition("\n")[0]) from None
        assert came.wire is not None  # it was read from octets
        return reply(came.wire, asked.query, self._nameserver, "https")

    def close(self) -> None:
        """Close its connection."""
        self._client.close()


def _left(expiration: float) -> float:
    left = expiration - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _last(kept: list[_Link]) -> _Link | None:
    # Looked at and taken in one step: another thread may take it in between.
    try:
        return kept.pop()
    except IndexError:
        return None


backend = Dnspython()
