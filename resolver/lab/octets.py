"""DNS messages as octets: reading a query, and putting a reply together (RFC 1035 section 4, RFC 6891).

Written apart from the resolver's own codec on purpose: a mistake that both ends share would be seen by no test.

Every reply that is made here has its question at octet 12, so records may point there: `QNAME`.
"""

from collections.abc import Sequence
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, OPT = 1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41
SVCB, HTTPS, IXFR, AXFR, ANY, CAA, PRIVATE = 64, 65, 251, 252, 255, 257, 65280
IN = 1

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

QNAME = b"\xc0\x0c"
ROOT = b"\0"
TTL = 300

# The size that the lab says it can take over UDP: DNS flag day 2020 agreed on it.
PAYLOAD = 1232
# The most octets sent over UDP, whatever a client allows: a larger datagram is refused by some kernels.
UDP_MOST = 4096


class Edns(NamedTuple):
    """The OPT record of a query (RFC 6891 section 6.1)."""

    payload: int
    version: int
    flags: bytes


class ReceivedQuery(NamedTuple):
    """One query that was understood. `stream`: it came over TCP or TLS."""

    id: bytes
    flags: int
    name: bytes
    key: bytes
    """The name in lower case, the form in which names are compared."""
    type: int
    cls: int
    edns: Edns | None
    stream: bool

    @property
    def question(self) -> bytes:
        """The question section, octet by octet as it came."""
        return self.name + self.type.to_bytes(2) + self.cls.to_bytes(2)

    @property
    def limit(self) -> int:
        """The octets that a reply may have."""
        if self.stream:
            return 65535
        return min(UDP_MOST, max(512, self.edns.payload)) if self.edns else 512

    @property
    def first(self) -> bytes:
        """The first label, in lower case."""
        return self.key[1 : 1 + self.key[0]]

    @property
    def rest(self) -> bytes:
        """The name without its first label, in lower case."""
        return self.key[1 + self.key[0] :] or ROOT

    @property
    def rest_pointer(self) -> bytes:
        """A compression pointer to the name without its first label (RFC 1035 section 4.1.4)."""
        return (0xC000 | 13 + self.name[0]).to_bytes(2) if self.name[0] else ROOT


def parse(data: bytes, stream: bool) -> ReceivedQuery | bytes | None:
    """Return the query in a message, or the reply that says what is wrong with it, or None, where none may be sent.

    A message that is itself a response is never answered: two servers would talk for ever.
    """
    if len(data) < 12 or data[2] & 0x80:
        return None
    if data[2] & 0x78:
        return bare(data, NOTIMP)
    try:
        return _read_query(data, stream)
    except (ValueError, IndexError):
        return bare(data, FORMERR)


def bare(data: bytes, rcode: int) -> bytes:
    """Make a reply of a header alone, to a message whose question cannot be repeated."""
    return data[:2] + bytes((0x80 | data[2] & 0x79, 0x80 | rcode)) + bytes(8)


def encode(
    query: ReceivedQuery,
    rcode: int = NOERROR,
    answer: Sequence[bytes] = (),
    authority: Sequence[bytes] = (),
    additional: Sequence[bytes] = (),
    *,
    aa: bool = True,
    tc: bool = False,
    question: bytes | None = None,
    options: bytes | None = b"",
) -> bytes:
    """Make a reply.

    It gets an OPT record where the query had one, or where its rcode cannot be said without (RFC 6891 section 6).

    Args:
        query: What was asked.
        rcode: Up to 4095.
        answer, authority, additional: Records, whole.
        aa, tc: Bits of the header.
        question: Sent instead of the one that was asked.
        options: Those of the OPT record; None: there is no OPT.
    """
    asked = query.question if question is None else question
    tail = list(additional)
    if options is not None and (query.edns or rcode > 15):
        flags = query.edns.flags if query.edns else b"\0\0"
        fixed = b"\0\0\x29" + PAYLOAD.to_bytes(2) + bytes((rcode >> 4, 0))
        tail.append(fixed + flags + len(options).to_bytes(2) + options)
    # The lab is what a stub resolver asks, so it says that recursion is available; a referral says that it is not.
    high = 0x80 | (0x04 if aa else 0) | (0x02 if tc else 0) | query.flags >> 8 & 0x01
    low = (0x80 if aa else 0) | query.flags & 0x10 | rcode & 0x0F
    counts = (1 if asked else 0, len(answer), len(authority), len(tail))
    header = query.id + bytes((high, low)) + b"".join(count.to_bytes(2) for count in counts)
    return b"".join((header, asked, *answer, *authority, *tail))


def truncated(query: ReceivedQuery) -> bytes:
    """Make a reply that only says: ask again over TCP (RFC 2181 section 9)."""
    return encode(query, tc=True)


def fit(query: ReceivedQuery, message: bytes) -> bytes:
    """Return the message, or where it has more octets than the client takes, the truncated one."""
    return message if len(message) <= query.limit else truncated(query)


def record(rtype: int, rdata: bytes, owner: bytes = QNAME, ttl: int = TTL, cls: int = IN) -> bytes:
    """Make one resource record; `owner` is a name or a compression pointer."""
    return b"".join((owner, rtype.to_bytes(2), cls.to_bytes(2), ttl.to_bytes(4), len(rdata).to_bytes(2), rdata))


def label(text: str | bytes) -> bytes:
    """Return one label with its length before it."""
    octets = text.encode("ascii") if isinstance(text, str) else text
    return bytes((len(octets),)) + octets


def labels(name: bytes) -> list[bytes]:
    """Return the labels of a name, the root left out."""
    found, at = [], 0
    while size := name[at]:
        found.append(name[at + 1 : at + 1 + size])
        at += 1 + size
    return found


def _read_query(data: bytes, stream: bool) -> ReceivedQuery:
    if data[4:6] != b"\0\1":
        raise ValueError("not one question")
    end = _skip_name(data, 12, compressed=False)
    name = data[12:end]
    if len(name) > 255 or len(data) < end + 4:
        raise ValueError("no whole question")
    at, edns = end + 4, None
    for section in (6, 8, 10):
        for _ in range(int.from_bytes(data[section : section + 2])):
            owner, at = at, _skip_name(data, at, compressed=True)
            fixed = data[at : at + 10]
            at += 10 + int.from_bytes(fixed[8:10])
            if len(fixed) < 10 or at > len(data):
                raise ValueError("a record past the end")
            if int.from_bytes(fixed[:2]) == OPT:
                if section != 10 or edns or data[owner]:
                    raise ValueError("OPT twice, or where it may not be")
                edns = Edns(int.from_bytes(fixed[2:4]), fixed[5], fixed[6:8])
    if at != len(data):
        raise ValueError("octets after the message")
    flags, rtype, cls = (int.from_bytes(data[i : i + 2]) for i in (2, end, end + 2))
    return ReceivedQuery(data[:2], flags, name, name.lower(), rtype, cls, edns, stream)


def _skip_name(data: bytes, at: int, *, compressed: bool) -> int:
    while size := data[at]:
        if size >= 0xC0 and compressed:
            return at + 2
        if size > 63:
            raise ValueError("not a label")
        at += 1 + size
    return at + 1
