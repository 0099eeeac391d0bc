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

from resolver.backends.dnspython_lookup import Lookup
from resolver.backends.dnspython_messages import conversation, tls_context
from resolver.engines import DISTRIBUTION
from resolver.nameserver import system

if TYPE_CHECKING:
    from resolver.backends.dnspython_messages import Message
    from resolver.message import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy
    from resolver.tries import AsyncSession, Reply


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
                f"pip install '{DISTRIBUTION}[doh]'"
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
        self._lookups: dict[int, Lookup] = {}
        self._kept: defaultdict[tuple[str, Nameserver], list[_Link]] = defaultdict(list)
        self._opening = {each: threading.Semaphore(OPENING) for each in policy.nameservers}
        self._closed = False

    def ask(self, query: Query, nameserver: Nameserver | None, timeout: float) -> Reply:
        """One try: wait `timeout` seconds at most from the sending, repeats over TCP and without EDNS included."""
        assert nameserver is not None  # `prepare` named one
        lookup = self._lookups.get(query.index)
        if lookup is None:
            lookup = self._lookups[query.index] = Lookup(query)
        expiration = 0.0  # by the wall clock, which dnspython's functions want
        again = 0
        steps = conversation(query, nameserver, lookup.habits(nameserver))
        message = next(steps)
        while True:
            heard: dns.message.Message | Reply | BaseException
            try:
                if message.transport == "udp":
                    place = lookup.send(message.query, nameserver)
                    expiration = expiration or time.time() + timeout
                    heard = lookup.receive(place, expiration)
                else:
                    expiration = expiration or time.time() + timeout
                    heard, repeated = self._over_link(message, nameserver, expiration)
                    again += repeated
            except Exception as error:  # what it means, dnspython_messages knows
                heard = error
            try:
                message = steps.send(heard)
            except StopIteration as end:
                reply: Reply = lookup.best(end.value)
                return reply._replace(queries=reply.queries + again) if again else reply

    def done(self, query: Query) -> None:
        """Close the lookup's sockets."""
        if lookup := self._lookups.pop(query.index, None):
            lookup.close()

    def close(self) -> None:
        """Close what no thread uses; what is in use is closed by who uses it."""
        self._closed = True
        for kept in list(self._kept.values()):
            while link := _last(kept):
                link.close()

    def _over_link(
        self, message: Message, nameserver: Nameserver, expiration: float
    ) -> tuple[dns.message.Message, int]:
        """The reply, and how many further queries it took: 1 where a link that was kept had ended meanwhile."""
        kept = self._kept[message.transport, nameserver]
        repeated = 0
        if link := _last(kept):
            try:
                return self._use(link, message.query, kept, expiration), 0
            except (EOFError, ConnectionError, ssl.SSLError):
                # Servers close what is idle, whenever they like: RFC 7766 section 6.2.4 has us ask again.
                repeated = 1
        began = time.time()
        with self._opening[nameserver]:
            # The wait for one's turn is not the nameserver's silence.
            expiration += time.time() - began
            link = self._open(message.transport, nameserver, expiration)
            if message.transport == "https":
                # It connects when it is asked.
                return self._use(link, message.query, kept, expiration), repeated
        return self._use(link, message.query, kept, expiration), repeated

    def _open(self, transport: str, nameserver: Nameserver, expiration: float) -> _Link:
        if transport == "https":
            return _Http(nameserver, self._context)
        return _Connection(nameserver, self._context if transport == "tls" else None, expiration)

    def _use(
        self, link: _Link, query: dns.message.Message, kept: list[_Link], expiration: float
    ) -> dns.message.Message:
        try:
            reply = link.ask(query, expiration)
        except BaseException:
            # A reply that comes too late must not meet the next query.
            link.close()
            raise
        kept.append(link)
        if self._closed:
            self.close()
        return reply


class _Link(Protocol):
    """A connection that is kept. Raises EOFError, ConnectionError or SSLError where it has ended."""

    def ask(self, query: dns.message.Message, expiration: float) -> dns.message.Message: ...

    def close(self) -> None: ...


class _Connection:
    """TCP, or TLS with a context; the certificate must be the nameserver's name or address."""

    def __init__(self, nameserver: Nameserver, context: ssl.SSLContext | None, expiration: float) -> None:
        connection = socket.create_connection((nameserver.host, nameserver.port), _left(expiration))
        try:
            if context is not None:
                connection.settimeout(_left(expiration))
                connection = context.wrap_socket(connection, server_hostname=nameserver.name or nameserver.host)
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
        self._socket = connection

    def ask(self, query: dns.message.Message, expiration: float) -> dns.message.Message:
        """The reply; what is none is waited past."""
        dns.query.send_tcp(self._socket, query, expiration)
        while True:
            try:
                reply = dns.query.receive_tcp(self._socket, expiration)[0]
            except (OSError, EOFError, dns.exception.Timeout):
                raise
            except Exception:  # whatever a parser of foreign octets says of them
                continue
            if query.is_response(reply):
                return reply

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class _Http:
    """A client that keeps its connection. Shared by threads, the library's HTTP/2 loses replies now and then."""

    def __init__(self, nameserver: Nameserver, context: ssl.SSLContext | None) -> None:
        # httpx with dnspython 2.8, httpx2 with 2.9.
        self._library: Any = vars(dns.query).get("httpx2") or vars(dns.query)["httpx"]
        self._client = self._library.Client(http1=True, http2=True, verify=context)
        self._url = nameserver.url or ""

    def ask(self, query: dns.message.Message, expiration: float) -> dns.message.Message:
        """The reply. The time is the library's for each step, connecting and reading, not for all of them."""
        try:
            return dns.query.https(query, self._url, _left(expiration), session=self._client)
        except self._library.TimeoutException:
            raise TimeoutError from None
        except self._library.TransportError as error:
            raise ConnectionError(str(error) or type(error).__name__) from None
        except dns.exception.FormError:
            # Nothing further comes to wait for.
            raise dns.query.BadResponse from None
        except ValueError as error:
            # An HTTP status; the lines after the first are the page that came with it.
            raise ValueError(str(error).partition("\n")[0]) from None

    def close(self) -> None:
        """Close its connection."""
        self._client.close()


def _left(expiration: float) -> float:
    left = expiration - time.time()
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
