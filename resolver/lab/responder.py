"""From a query's octets to what is sent back: octets, each with a delay and a way of sending. No socket and no clock.

Two paths lead there. The short one, `quick`, knows nothing but a well-formed question for the address of a name that
simply exists, and costs a few microseconds; whatever it is unsure of it leaves to `steps`, which knows everything.
Anything that changes what a plain name is answered has to be seen by both.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING
from zlib import crc32

from . import scripts
from .message import AXFR, BADVERS, IN, IXFR, NXDOMAIN, PAYLOAD, QNAME, REFUSED, ROOT, SOA, Query, encode, parse, record
from .script import Ask, Step, positive
from .settings import Settings
from .zone import SPECIAL, V4, Hosts, address6, soa

if TYPE_CHECKING:
    from .master import Masters

# Names and types whose first queries are being counted (flaky-N); past that the oldest begins anew.
REMEMBERED = 100_000


class Responder:
    """What a lab knows. `quick` and `steps` each take one message and say what to send."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = Hosts(settings.hosts)
        self._masters = _masters(settings)
        self._only_masters = self._masters is not None and settings.hosts is None
        self._seen: dict[tuple[bytes, int], int] = {}
        origins = self._masters.origins if self._masters else ()
        self.quick = _no_short_path if self._only_masters else _short_path(self._hosts, SPECIAL + origins)

    def steps(self, data: bytes, stream: bool = False) -> list[Step]:
        """All that is sent in reply to a message; `stream`: it came over TCP or TLS."""
        query = parse(data, stream)
        if query is None:
            return []
        if isinstance(query, bytes):
            return [Step(query)]
        if query.edns and query.edns.version > 0:
            return [Step(encode(query, BADVERS))]
        if query.cls != IN or query.type in (AXFR, IXFR):
            return [Step(encode(query, REFUSED))]
        if self._masters and (zone := self._masters.find(query.key)):
            return [Step(zone.answer(query))]
        found = None if query.key.endswith(SPECIAL) else scripts.find(query.first)
        if found:
            behave, number = found
            return behave(Ask(data, query, self._count), number)
        return [Step(self._plain(query))]

    def _plain(self, query: Query) -> bytes:
        if self._only_masters:
            return encode(query, REFUSED)
        if not self._hosts.exists(query.key):
            return encode(query, NXDOMAIN, authority=[record(SOA, soa(ROOT), owner=ROOT)])
        return positive(query, self._hosts.records(query.key, query.type))

    def _count(self, query: Query) -> int:
        """How often the name has been asked for the type before."""
        seen = self._seen
        key = (query.key, query.type)
        before = seen.pop(key, 0)
        if len(seen) >= REMEMBERED:
            del seen[next(iter(seen))]
        seen[key] = before + 1
        return before


def _masters(settings: Settings) -> "Masters | None":
    if not settings.zone:
        return None
    # Imported here: dnspython takes longer to load than all else that a lab needs.
    from .master import Masters

    return Masters(settings.zone, settings.origin)


def _no_short_path(data: bytes) -> bytes | None:
    return None


def _short_path(hosts: Hosts, special: tuple[bytes, ...]) -> Callable[[bytes], bytes | None]:
    """The reply to a plain query for A or AAAA, or None where `steps` has to be asked.

    Written for speed: no object is made but the slices, and each thing that the message must be is one comparison.
    """
    keys = hosts.keys
    heads = scripts.HEADS
    ipv4 = [QNAME + b"\0\1\0\1\0\0\1\x2c\0\4" + address for address in V4]
    ipv6 = QNAME + b"\0\x1c\0\1\0\0\1\x2c\0\x10"
    size = len(ipv4)
    # Octets 2 to 11 of the query, flags and counts, to those of the reply: RD and CD repeated, AA and RA set.
    # Only what stands here is a query with one question and at most one more record.
    headers = {
        bytes((rd, low, 0, 1, 0, 0, 0, 0, 0, opt)): bytes((0x84 | rd, 0x80 | low & 0x10, 0, 1, 0, 1, 0, 0, 0, opt))
        for rd in (0, 1)
        for low in (0x00, 0x10, 0x20, 0x30)
        for opt in (0, 1)
    }
    opt_start = b"\0\0\x29" + PAYLOAD.to_bytes(2) + b"\0\0"

    def quick(data: bytes) -> bytes | None:
        end = data.find(b"\0\0\1\0\1", 12)
        wide = end < 0
        if wide:
            end = data.find(b"\0\0\x1c\0\1", 12)
        header = headers.get(data[2:12])
        if header is None or end < 13 or end > 266:
            return None
        at = 12
        while at < end:
            length = data[at]
            if length > 63:
                return None
            at += length + 1
        key = data[12 : end + 1].lower()
        if at != end or key[1 : 1 + key[0]].partition(b"-")[0] in heads or key.endswith(special):
            return None
        if keys is not None and key not in keys:
            return None
        tail = data[end + 5 :]
        if tail:
            # The OPT record: no options, version 0, and as much said about it in the header.
            if len(tail) != 11 or tail[:3] != b"\0\0\x29" or tail[5:7] != b"\0\0" or tail[9:] != b"\0\0":
                return None
            tail = opt_start + tail[7:]
        if (header[9] == 1) is not bool(tail):
            return None
        rest = ipv6 + address6(key) if wide else ipv4[crc32(key) % size]
        return data[:2] + header + data[12 : end + 5] + rest + tail

    return quick
