"""What both sides of the backend `dnspython`, the blocking and the awaited one, say and understand alike.

The library makes and checks the messages, and decides what is a reply; what the reply means is read from its octets by
the codec, so that there is one set of rules and one text for each record. Nothing here does I/O: the sides differ only
in how they send.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.query

from resolver.attempts import Reply
from resolver.backends.conversation import conversation as conversation_of
from resolver.backends.descriptors import NONE_LEFT
from resolver.dns import message as codec
from resolver.model import Status

if TYPE_CHECKING:
    from collections.abc import Generator

    from resolver.backends.conversation import Habits
    from resolver.model import Query
    from resolver.nameserver import Nameserver
    from resolver.policy import Policy

PAYLOAD = 1232  # octets that a reply over UDP may have (DNS flag day 2020)
# Made once: making it costs a tenth of all that a lookup costs.
_OPT = dns.message.make_query(".", "A", use_edns=0, payload=PAYLOAD).opt


class Message(NamedTuple):
    """A query to be sent. Over udp, `dns.query.udp` is told to raise on truncation and to wait past what is wrong."""

    query: dns.message.QueryMessage
    transport: str


def conversation(
    query: Query, nameserver: Nameserver, habits: Habits | None = None
) -> Generator[Message, Reply | BaseException, Reply]:
    """One try: yields what to send, wants what came of it (a Reply, or what was raised), returns the Reply."""
    steps = conversation_of(nameserver.transport, habits)
    step = next(steps)
    while True:
        came = yield Message(make(query, step.edns), step.transport)
        truncated = isinstance(came, dns.message.Truncated) and step.transport == "udp"
        if isinstance(came, BaseException):
            came = failure(came, nameserver, step.transport)
        try:
            step = steps.send(None if truncated else came)
        except StopIteration as end:
            told: Reply = end.value
            return told


def make(query: Query, edns: bool) -> dns.message.QueryMessage:
    """The message that asks this, with the library's random ID. Raises DNSException where there is no such name."""
    message = dns.message.make_query(query.name, query.type)
    if edns:
        message.opt = _OPT
    return message


def heard(octets: bytes, asked: dns.message.Message, query: Query, nameserver: Nameserver, transport: str) -> Reply:
    """What octets mean that came from this nameserver. Raises Truncated where that is a truncated reply over udp.

    asked: the message that they are to answer. The library reads only so much of them as tells whether they do. What is
    no reply, or cannot be read, is TIMEOUT with an `error` that says so: wait past it.
    """
    try:
        message = dns.message.from_wire(octets, question_only=True)
        responds = asked.is_response(message)
    except Exception:  # whatever a parser of foreign octets says of them
        responds = False
    if not responds:
        return Reply(Status.TIMEOUT, [], codec.mismatch(octets))
    if transport == "udp" and message.flags & dns.flags.TC:
        raise dns.message.Truncated(message=message)  # type: ignore[no-untyped-call]
    return reply(octets, query, nameserver, transport)


def reply(wire: bytes, query: Query, nameserver: Nameserver, transport: str) -> Reply:
    """What these octets mean, which came back over `transport`; TIMEOUT as in `heard`."""
    start = codec.match(wire, codec.question(query.name, query.type))
    if start is None:
        return Reply(Status.TIMEOUT, [], codec.mismatch(wire))
    try:
        return Reply(*codec.read(wire, start, query), str(nameserver), transport)
    except codec.Malformed as error:
        return Reply(Status.TIMEOUT, [], codec.unreadable(error))


def failure(error: BaseException, nameserver: Nameserver, transport: str) -> Reply:
    """What a failed try is reported as: silence is TIMEOUT, all else ERROR with a sentence."""
    if isinstance(error, (dns.exception.Timeout, TimeoutError)):
        return Reply(Status.TIMEOUT, [])
    if isinstance(error, (dns.query.BadResponse, dns.message.TrailingJunk)):
        return Reply(Status.TIMEOUT, [], "replies came that could not be read: the library refuses them")
    return Reply(Status.ERROR, [], _sentence(error, nameserver, transport))


def broken(error: Exception) -> OSError:
    """An HTTP library's exception as that of a connection, or of the system that has no descriptor left for one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NONE_LEFT:
            return OSError(cause.errno, os.strerror(cause.errno))
        cause = cause.__cause__ or cause.__context__
    return ConnectionError(str(error) or type(error).__name__)


def endpoint(nameserver: Nameserver) -> tuple[int, tuple[str, int]]:
    """Its address as asyncio wants it, with the number of its zone. Raises OSError for a zone that there is not."""
    family, (host, port, *scope) = nameserver.address()
    return family, (f"{host}%{scope[1]}" if any(scope) else host, port)


def tls_context(policy: Policy) -> ssl.SSLContext:
    """How certificates are checked: against the policy's or the system's authorities, and always by name."""
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
