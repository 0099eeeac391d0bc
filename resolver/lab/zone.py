"""Which records a made-up name has: everything follows from the name in lower case, so each run gives the same.

Addresses come from the ranges that documentation may use (RFC 5737, RFC 3849), so nothing that is learnt here can be
mistaken for a real address, or reached by accident.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from hashlib import blake2b
from zlib import crc32

from .message import (
    A,
    AAAA,
    ANY,
    CAA,
    HTTPS,
    MX,
    NS,
    PRIVATE,
    PTR,
    QNAME,
    ROOT,
    SOA,
    SRV,
    SVCB,
    TXT,
    label,
    labels,
    record,
)
from .names import to_wire

# What forged replies say: no name has these, so that a test sees at once when one was believed.
FORGED_V4, FORGED_V6 = bytes((203, 0, 113, 66)), bytes.fromhex("20010db8000000000000000000000066")
# First and last address of each range left out: a /24 calls them network and broadcast.
_NETWORKS = ((192, 0, 2), (198, 51, 100), (203, 0, 113))
V4 = tuple(address for net in _NETWORKS for host in range(1, 255) if (address := bytes((*net, host))) != FORGED_V4)
_V6 = bytes.fromhex("20010db8")

_ARPA = label("arpa") + ROOT
_IN_ADDR = label("in-addr") + _ARPA
_IP6 = label("ip6") + _ARPA
_INVALID = label("invalid") + ROOT
# No name that ends so is answered on the short path.
SPECIAL = (_INVALID, _ARPA)


class Hosts:
    """The names that exist: those that are given, or all of them.

    Names that DNS cannot ask are left out of a list: nobody can miss them. Names under `invalid.` never exist
    (RFC 6761 section 6.4).
    """

    def __init__(self, hosts: Iterable[str] | None) -> None:
        self.keys = None if hosts is None else dict.fromkeys(_wire_names(hosts))

    def exists(self, key: bytes) -> bool:
        """Whether the name, in lower case, has any records."""
        if key.endswith(_INVALID) and labels(key)[-1] == b"invalid":
            return False
        if self.keys is None or key in self.keys:
            return True
        return (address := _reversed_address(key)) is not None and self._owner(address) is not None

    def records(self, key: bytes, rtype: int) -> list[bytes]:
        """The records of a name that exists, owned by the name that was asked."""
        address = _reversed_address(key)
        if address is None:
            return records(key, rtype)
        return [record(PTR, self._owner(address) or _made_up(address))] if rtype in (PTR, ANY) else []

    def _owner(self, address: bytes) -> bytes | None:
        """The first listed host that has an address."""
        return (self._owners4 if len(address) == 4 else self._owners6).get(address)

    # Made when first asked for, since a long list takes its time: IPv4 ends when each address has an owner.

    @cached_property
    def _owners4(self) -> dict[bytes, bytes]:
        owners: dict[bytes, bytes] = {}
        for key in self._forward:
            owners.setdefault(address4(key), key)
            if len(owners) == len(V4):
                break
        return owners

    @cached_property
    def _owners6(self) -> dict[bytes, bytes]:
        return {address6(key): key for key in self._forward}

    @property
    def _forward(self) -> Iterator[bytes]:
        return (key for key in self.keys or () if not key.endswith(_ARPA))


def records(key: bytes, rtype: int, at: bytes = QNAME) -> list[bytes]:
    """The records of a name, in lower case. `at`: a pointer to the name in the message, or the name."""
    wanted = _COMMON if rtype == ANY else (rtype,)
    return [record(one, _RDATA[one](key, at), owner=at) for one in wanted if one in _RDATA]


def address4(key: bytes, index: int = 0) -> bytes:
    """The A rdata of a name; `index` for one that has several.

    Where the documentation ranges are used up, the range for benchmarks follows (RFC 2544), so that all differ.
    """
    if index < len(V4):
        return V4[(crc32(key) + index) % len(V4)]
    return (0xC6120000 + index).to_bytes(4)


def address6(key: bytes, index: int = 0) -> bytes:
    """The AAAA rdata of a name; `index` for one that has several."""
    digest = blake2b(key, digest_size=12).digest()
    return _V6 + digest[:8] + (int.from_bytes(digest[8:]) + index & 0xFFFFFFFF).to_bytes(4)


def soa(at: bytes) -> bytes:
    """SOA rdata of the zone whose apex `at` is or points to (RFC 1035 section 3.3.13)."""
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
# What a query for ANY gets.
_COMMON = (A, AAAA, MX, TXT, NS, SOA, CAA, HTTPS)


def _reversed_address(key: bytes) -> bytes | None:
    """The address octets that a whole reverse name stands for (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    if not key.endswith((_IN_ADDR, _IP6)):
        return None
    parts = labels(key)[::-1]
    try:
        if parts[:2] == [b"arpa", b"in-addr"] and len(parts) == 6:
            return ipaddress.IPv4Address(b".".join(parts[2:]).decode("ascii")).packed
        if parts[:2] == [b"arpa", b"ip6"] and len(parts) == 34 and all(len(part) == 1 for part in parts[2:]):
            return bytes.fromhex(b"".join(parts[2:]).decode("ascii"))
    except ValueError:
        pass
    return None


def _made_up(address: bytes) -> bytes:
    text = ipaddress.ip_address(address).exploded.replace(".", "-").replace(":", "-")
    return label("host-" + text) + label("example") + ROOT


def _wire_names(hosts: Iterable[str]) -> Iterator[bytes]:
    for host in hosts:
        try:
            yield to_wire(host)
        except ValueError:
            continue
