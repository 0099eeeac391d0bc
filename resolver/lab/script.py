"""What a script is given and what it gives back: `Ask` in, `Step`s out."""

import enum
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .message import QNAME, SOA, Query, encode, fit, record
from .zone import records, soa


class How(enum.Enum):
    """How the octets of a step are sent; over UDP only the first two differ from each other."""

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


class Step(NamedTuple):
    """Octets to send, `delay` seconds later than a plain reply would be."""

    octets: bytes
    delay: float = 0.0
    how: How = How.WHOLE


class Ask(NamedTuple):
    """One query to a scripted name: the message, and what it says. `remember` is for `seen_before`."""

    data: bytes
    query: Query
    remember: Callable[[Query], int]

    def seen_before(self) -> int:
        """How often the name was asked for the type before this query, which is counted for the next."""
        return self.remember(self.query)

    def records(self) -> list[bytes]:
        """The records that the name would have without its script."""
        return records(self.query.key, self.query.type)

    def right(self) -> bytes:
        """The reply that the name would get without its script."""
        return positive(self.query, self.records())


def positive(query: Query, answer: Sequence[bytes], at: bytes = QNAME) -> bytes:
    """A reply for a name that exists; without records of the type, NODATA with an SOA (RFC 2308 section 2.2).

    `at`: a pointer to the name that the negative reply is about.
    """
    if answer:
        return fit(query, encode(query, answer=answer))
    return encode(query, authority=[record(SOA, soa(at), owner=at)])
