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
import dns.message
import dns.query

from resolver.backends.conversation import conversation as conversation_of
from resolver.message import Status
from resolver.tries import Reply
from resolver.wire import codec

if TYPE_CHECKING:
    from collections.abc import Generator

    from resolver.backends.conversation import Habits
    from resolver.message import Query
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
) -> Generator[Message, dns.message.Message | Reply | BaseException, Reply]:
    """One try: yields what to send, wants what came of it (the reply, or what was raised), returns the Reply."""
    steps = conversation_of(nameserver.transport, habits)
    step = next(steps)
    while True:
        heard = yield Message(make(query, step.edns), step.transport)
        try:
            step = steps.send(_meaning(heard, query, nameserver, step.transport))
        except StopIteration as end:
            told: Reply = end.value
            return told


def _meaning(
    heard: dns.message.Message | Reply | BaseException, query: Query, nameserver: Nameserver, transport: str
) -> Reply | None:
    if isinstance(heard, Reply):
        return heard
    if isinstance(heard, dns.message.Truncated) and transport == "udp":
        return None
    if isinstance(heard, BaseException):
        return failure(heard, nameserver, transport)
    assert heard.wire is not None  # it was read from octets
    return reply(heard.wire, query, nameserver, transport)


def make(query: Query, edns: bool) -> dns.message.QueryMessage:
    """The message that asks this, with the library's random ID. Raises DNSException where there is no such name."""
    message = dns.message.make_query(query.name, query.type)
    if edns:
        message.opt = _OPT
    return message


def datagram(octets: bytes, asked: dns.message.Message, query: Query, nameserver: Nameserver) -> Reply | None:
    """What a datagram says that came from this nameserver; None: nothing, wait past it. Raises Truncated where it is.

    asked: the message that it is to answer. The library reads only so much of it as tells whether it does.
    """
    try:
        heard = dns.message.from_wire(octets, question_only=True, raise_on_truncation=True)
    except dns.message.Truncated as error:
        if asked.is_response(error.message()):  # type: ignore[no-untyped-call]  # what was read of it
            raise
        return None
    except Exception:  # whatever a parser of foreign octets says of them
        return None
    told = reply(octets, query, nameserver, "udp") if asked.is_response(heard) else None
    return None if told is None or told.status is Status.TIMEOUT else told


def reply(wire: bytes, query: Query, nameserver: Nameserver, transport: str) -> Reply:
    """What these octets mean, which came back over `transport`.

    What does not match the question or cannot be read counts as silence.
    """
    start = codec.match(wire, codec.question(query.name, query.type))
    if start is not None:
        try:
            return Reply(*codec.read(wire, start, query), str(nameserver), transport)
        except codec.Malformed:
            pass
    return Reply(Status.TIMEOUT, [])


def failure(error: BaseException, nameserver: Nameserver, transport: str) -> Reply:
    """What a failed try is reported as: silence is TIMEOUT, all else ERROR with a sentence."""
    if isinstance(error, (dns.exception.Timeout, TimeoutError, dns.query.BadResponse, dns.message.TrailingJunk)):
        return Reply(Status.TIMEOUT, [])
    return Reply(Status.ERROR, [], _sentence(error, nameserver, transport))


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
