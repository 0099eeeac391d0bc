"""The records of made-up names: everything follows from the name in lower case, so each run gives the same.

Addresses come from the ranges that documentation may use (RFC 5737, RFC 3849), so nothing that is learnt here can be
mistaken for a real address, or reached by accident.
"""

from collections.abc import Callable
from hashlib import blake2b
from zlib import crc32

from .octets import A, AAAA, ANY, CAA, HTTPS, MX, NS, PRIVATE, QNAME, SOA, SRV, SVCB, TXT, label, record

# The data of forged replies: no name has these, so that a test sees at once when one was believed.
_FORGED_V4, _FORGED_V6 = bytes((203, 0, 113, 66)), bytes.fromhex("20010db8000000000000000000000066")
# First and last address of each range left out: a /24 calls them network and broadcast.
_NETWORKS = ((192, 0, 2), (198, 51, 100), (203, 0, 113))
V4 = tuple(address for net in _NETWORKS for host in range(1, 255) if (address := bytes((*net, host))) != _FORGED_V4)
_V6 = bytes.fromhex("20010db8")


def records(key: bytes, rtype: int, at: bytes = QNAME) -> list[bytes]:
    """Return the records of a name, in lower case. `at`: a pointer to the name in the message, or the name."""
    wanted = _COMMON if rtype == ANY else (rtype,)
    return [record(one, _RDATA[one](key, at), owner=at) for one in wanted if one in _RDATA]


def forged(rtype: int) -> bytes:
    """Return a record that no answer may contain: 203.0.113.66, or 2001:db8::66 where AAAA is asked."""
    return record(AAAA, _FORGED_V6) if rtype == AAAA else record(A, _FORGED_V4)


def address4(key: bytes, index: int = 0) -> bytes:
    """Return the A rdata of a name; `index` for one that has several.

    Where the documentation ranges are used up, the range for benchmarks follows (RFC 2544), so that all differ.
    """
    if index < len(V4):
        return V4[(crc32(key) + index) % len(V4)]
    return (0xC6120000 + index).to_bytes(4)


def address6(key: bytes, index: int = 0) -> bytes:
    """Return the AAAA rdata of a name; `index` for one that has several."""
    digest = blake2b(key, digest_size=12).digest()
    return _V6 + digest[:8] + (int.from_bytes(digest[8:]) + index & 0xFFFFFFFF).to_bytes(4)


def soa(at: bytes) -> bytes:
    """Return the SOA rdata of the zone whose apex `at` is or points to (RFC 1035 section 3.3.13)."""
    numbers = (1, 7200, 3600, 1209600, 300)
    return at + b"\x0ahostmaster" + at + b"".join(number.to_bytes(4) for number in numbers)


def _srv(key: bytes, at: bytes) -> bytes:
    # The target is the host below the underscored labels, and may not be compressed (RFC 2782).
    host = key
    while host[:2] > b"\0" and host[1:2] == b"_":
        host = host[1 + host[0] :]
    return b"\0\x0a\0\x05\x01\xbb" + host


def _service(key: bytes, at: bytes) -> bytes:
    # Priority 1, the owner itself as target, alpn=h2 (RFC 9460 section 2.5.2).
    return b"\0\1\0" + b"\0\1\0\3\2h2"


_RDATA: dict[int, Callable[[bytes, bytes], bytes]] = {
    A: lambda key, at: address4(key),
    AAAA: lambda key, at: address6(key),
    NS: lambda key, at: at,
    SOA: lambda key, at: soa(at),
    MX: lambda key, at: b"\0\x0a" + at,
    TXT: lambda key, at: label("v=spf1 -all"),
    SRV: _srv,
    CAA: lambda key, at: b"\0" + label("issue") + b"ca.example",
    HTTPS: _service,
    SVCB: _service,
    PRIVATE: lambda key, at: b"\0\xff\x22\x5c",
}
# The answer to a query for ANY.
_COMMON = (A, AAAA, MX, TXT, NS, SOA, CAA, HTTPS)
