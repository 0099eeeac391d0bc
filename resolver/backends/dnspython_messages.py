"""The messages and failures of the backend `dnspython`, for its blocking and its awaited side alike. No I/O.

The library makes and checks the messages, and decides what is a reply; the codec reads the meaning of a reply from its
octets, so that there is one set of rules and one text for each record. The sides differ only in how they send.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.message
import dns.query

from resolver.attempts import Reply
from resolver.backends.descriptors import NONE_LEFT
from resolver.backends.lookup import SILENCE
from resolver.dns import message as codec
from resolver.model import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resolver.backends.lookup import Lookup
    from resolver.dns.form import QueryForm
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy


@functools.cache
def _opt(form: QueryForm) -> Any:
    """Return the OPT record of this form; made once: making it costs a tenth of all that a lookup costs."""
    return dns.message.from_wire(b"\0\0" + form.head + b"\0\0\1\0\1" + form.opt).opt


class Message:
    """A query of a lookup, made by the library with a random ID. Raises DNSException where there is no such name."""

    def __init__(self, lookup: Lookup, nameserver: Nameserver, transport: str, edns: bool) -> None:
        self.lookup = lookup
        self.nameserver = nameserver
        self.transport = transport
        self.query = dns.message.make_query(lookup.query.name, lookup.query.type, flags=lookup.form.flags)
        if edns:
            self.query.opt = _opt(lookup.form)

    def to_wire(self, ident: int | None = None) -> bytes:
        """Return its octets, under the ID `ident` from now on."""
        if ident is not None:
            self.query.id = ident
        return self.query.to_wire()

    def read(self, octets: bytes) -> Reply | None:
        """Return the meaning of octets that came from its nameserver, as Lookup.read does; None: wait past them.

        The library reads only so much of them as tells whether they respond to the query.
        """
        try:
            responds = self.query.is_response(dns.message.from_wire(octets, question_only=True))
        except Exception:  # whatever a parser of foreign octets says of them
            responds = False
        if not responds:
            self.lookup.unread = codec.mismatch(octets)
            return None
        return self.lookup.read(octets, self.nameserver, self.transport)

    def read_https(self, answer: dns.message.Message) -> Reply:
        """Return the meaning of the library's answer over HTTPS, where nothing further comes to wait for."""
        assert answer.wire is not None  # it was read from octets
        return self.lookup.read(answer.wire, self.nameserver, self.transport) or SILENCE


def failure(error: BaseException, nameserver: Nameserver, transport: str) -> Reply:
    """Return the outcome of a failed try: silence is TIMEOUT, all else ERROR with a sentence.

    Args:
        error: The exception that it failed with.
        nameserver, transport: Who was asked, and how.
    """
    if isinstance(error, (dns.exception.Timeout, TimeoutError)):
        return SILENCE
    if isinstance(error, (dns.query.BadResponse, dns.message.TrailingJunk)):
        return Reply(Status.TIMEOUT, [], "replies came that could not be read: the library refuses them")
    return Reply(Status.ERROR, [], _sentence(error, nameserver, transport))


def http_library() -> Any:
    """Return the HTTP library that dnspython has found: httpx with 2.8, httpx2 with 2.9."""
    return vars(dns.query).get("httpx2") or vars(dns.query)["httpx"]


def http_client(context: ssl.SSLContext | None, source: str | None, kind: str = "") -> Any:
    """Return a client of the HTTP library.

    Args:
        context: What certificates are checked with.
        source: The local address to ask from; None: the system's choice.
        kind: "Async" for one that is awaited.
    """
    library = vars(http_library())
    ways: dict[str, Any] = {"http1": True, "http2": True, "verify": context}
    if source is not None:
        ways = {"transport": library[f"{kind}HTTPTransport"](**ways, local_address=source)}
    return library[f"{kind}Client"](**ways)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raise the HTTP library's exceptions as those of connections."""
    library = http_library()
    try:
        yield
    except library.TimeoutException:
        raise TimeoutError from None
    except library.TransportError as error:
        raise _as_os_error(error) from None
    except dns.exception.FormError:
        # Nothing further comes to wait for.
        raise dns.query.BadResponse from None
    except ValueError as error:
        # An HTTP status; the lines after the first are the page that came with it.
        raise ValueError(str(error).partition("\n")[0]) from None


def _as_os_error(error: Exception) -> OSError:
    """Return an HTTP library's exception as that of a connection, or of a system that has no descriptor left."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NONE_LEFT:
            return OSError(cause.errno, os.strerror(cause.errno))
        cause = cause.__cause__ or cause.__context__
    return ConnectionError(str(error) or type(error).__name__)


def tls_context(policy: Policy) -> ssl.SSLContext:
    """Return a context that checks certificates against the policy's or the system's authorities, always by name."""
    return ssl.create_default_context(cafile=policy.tls_ca)


def _sentence(error: BaseException, nameserver: Nameserver, transport: str) -> str:
    where = nameserver.url or str(nameserver)
    if isinstance(error, EOFError):
        return f"{where} closed the connection"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where} showed a certificate that does not fit: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS with {where} failed: {error.reason or error}"
    if isinstance(error, OSError) and error.errno:
        # Its own text may be a library's, with the address in it.
        return f"{transport} to {where} failed: {os.strerror(error.errno).lower()}"
    return f"{transport} to {where} failed: {' '.join(str(error).split()) or type(error).__name__}"
