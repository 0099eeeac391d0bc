"""The interface of a script: one `Ask` in, octets or `PlannedReply`s out."""

import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .octets import NOERROR, NXDOMAIN, QNAME, ROOT, SOA, ReceivedQuery, encode, fit, record
from .records import records, soa


class How(enum.Enum):
    """The way in which the octets of a reply are sent; over UDP only the first two differ from each other."""

    WHOLE = enum.auto()
    OTHER_PORT = enum.auto()
    """UDP: from a socket that the client did not ask."""
    HALF = enum.auto()
    """TCP: one half of the message, then the connection is closed."""
    DRIBBLE = enum.auto()
    """TCP: a few octets at a time, and so does all that follows on the connection."""
    CLOSE = enum.auto()
    """TCP: the connection is closed, nothing is sent."""
    RESET = enum.auto()
    """TCP: the connection is reset, nothing is sent."""


class PlannedReply(NamedTuple):
    """Octets to send, `delay` seconds later than a plain reply would be."""

    octets: bytes
    delay: float = 0.0
    how: How = How.WHOLE


class Ask(NamedTuple):
    """One query to a scripted name: the message, its content, and the number in the name's first label."""

    data: bytes
    query: ReceivedQuery
    number: int
    seen_before: Callable[[], int]
    """Count this query, and return how often the name was asked for the type before it."""

    def encode(
        self, rcode: int = NOERROR, answer: Sequence[bytes] = (), authority: Sequence[bytes] = (), **more: Any
    ) -> bytes:
        """Make a reply to the query; for the arguments see `octets.encode`."""
        return encode(self.query, rcode, answer, authority, **more)

    def records(self) -> list[bytes]:
        """Return the records that the name would have without its script."""
        return records(self.query.key, self.query.type)

    def right(self) -> bytes:
        """Return the reply that the name would get without its script."""
        return positive(self.query, self.records())


# Octets alone are one plain reply; an empty list is silence.
Behaviour = Callable[[Ask], bytes | list[PlannedReply]]
# Rows: the pattern of a first label, in which N and MS stand for digits; its line of help; its behaviour.
Table = tuple[tuple[str, str, Behaviour], ...]


def nxdomain(query: ReceivedQuery, answer: Sequence[bytes] = ()) -> bytes:
    """Make a reply for a name that does not exist, with an SOA; `answer` is the chain that led to it."""
    return encode(query, NXDOMAIN, answer, [record(SOA, soa(ROOT), owner=ROOT)])


def positive(query: ReceivedQuery, answer: Sequence[bytes]) -> bytes:
    """Make a reply for a name that exists; without records of the type, NODATA with an SOA (RFC 2308 section 2.2)."""
    if answer:
        return fit(query, encode(query, answer=answer))
    return encode(query, authority=[record(SOA, soa(QNAME))])
