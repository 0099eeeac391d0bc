"""From a query's octets to replies: octets, each with a delay and a way of sending. No socket and no clock.

Two paths lead there. The short one, `quick`, knows nothing but a well-formed question for the address of a name that
simply exists, and costs a few microseconds; all else it leaves to `replies`. A change of a plain name's answer must be
made in both.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from . import scripts
from .octets import AXFR, BADVERS, IN, IXFR, PAYLOAD, QNAME, REFUSED, ReceivedQuery, encode, parse
from .records import V4, address6
from .script import Ask, PlannedReply, nxdomain, positive
from .served import SPECIAL, ServedNames
from .settings import Settings

if TYPE_CHECKING:
    from .master import Zone

# Names and types whose first queries are being counted (flaky-N); past that the oldest begins anew.
_REMEMBERED = 100_000


class Responder:
    """The knowledge of a lab. `quick` and `replies` each take one message and return what to send."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = ServedNames(settings.hosts, lies=settings.lies)
        self._zones = _zones(settings)
        self._only_zones = bool(self._zones) and settings.hosts is None
        self._seen: dict[tuple[bytes, int], int] = {}
        self.quick = _short_path(self._hosts, (*SPECIAL, *(zone.origin for zone in self._zones)))
        if self._only_zones:
            self.quick = lambda data: None

    def replies(self, data: bytes, stream: bool = False) -> list[PlannedReply]:
        """Return all that is sent in reply to a message; `stream`: it came over TCP or TLS."""
        query = parse(data, stream)
        sent = self._answer(data, query) if isinstance(query, ReceivedQuery) else query or []
        return [PlannedReply(sent)] if isinstance(sent, bytes) else sent

    def _answer(self, data: bytes, query: ReceivedQuery) -> bytes | list[PlannedReply]:
        if query.edns and query.edns.version > 0:
            return encode(query, BADVERS)
        if query.cls != IN or query.type in (AXFR, IXFR):
            return encode(query, REFUSED)
        if zone := next((zone for zone in self._zones if zone.holds(query.key)), None):
            return zone.answer(query)
        if not query.key.endswith(SPECIAL) and (found := scripts.find(query.first)):
            behave, number = found
            return behave(Ask(data, query, number, partial(self._count, query)))
        if self._only_zones:
            return encode(query, REFUSED)
        if not self._hosts.exists(query.key):
            return nxdomain(query)
        return positive(query, self._hosts.records(query.key, query.type))

    def _count(self, query: ReceivedQuery) -> int:
        """Count the query, and return how often the name has been asked for the type before."""
        seen = self._seen
        key = (query.key, query.type)
        before = seen.pop(key, 0)
        if len(seen) >= _REMEMBERED:
            del seen[next(iter(seen))]
        seen[key] = before + 1
        return before


def _zones(settings: Settings) -> "list[Zone]":
    if not settings.zone:
        return []
    # Imported here: dnspython takes longer to load than all else that a lab needs.
    from .master import read_zones

    return read_zones(settings.zone, settings.origin)


def _short_path(hosts: ServedNames, special: tuple[bytes, ...]) -> Callable[[bytes], bytes | None]:
    """Make the function that returns the reply to a plain query for A or AAAA, or None where `replies` has to be asked.

    Written for speed: no object is made but the slices, and each thing that the message must be is one comparison.
    """
    keys = hosts.keys
    heads = scripts.HEADS
    ipv4 = [QNAME + b"\0\1\0\1\0\0\1\x2c\0\4" + address for address in V4]
    ipv6 = QNAME + b"\0\x1c\0\1\0\0\1\x2c\0\x10"
    size = len(ipv4)
    # Octets 2 to 11 of the query, flags and counts, to those of the reply: RD and CD repeated, AA and RA set.
    # Nothing else is a query with one question and at most one more record.
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
