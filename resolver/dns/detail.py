"""The look of a reply, for `--detail`: flags, sections and options, beside what `message.read` makes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from resolver.dns import edns, rdata
from resolver.dns import message as codec
from resolver.dns import name as names
from resolver.dns.form import NSID, SUBNET
from resolver.model import Detail, ExtendedError, Record, Subnet

if TYPE_CHECKING:
    from collections.abc import Iterator

# RFC 1035 section 4.1.1, RFC 4035 section 3: in the order of the header.
_FLAGS = {"qr": 0x8000, "aa": 0x0400, "tc": 0x0200, "rd": 0x0100, "ra": 0x0080, "ad": 0x0020, "cd": 0x0010}


def detail(message: bytes, start: int, when: float, subnet: str | None = None) -> Detail:
    """Return how a reply looked that `message.read` has read.

    Args:
        message: Its octets.
        start: Where its answer section begins.
        when: When it came, in seconds since the epoch.
        subnet: The network that was asked for (RFC 7871).
    """
    bits = message[2] << 8 | message[3]
    found = Detail(
        time=datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        rcode=bits & 15,
        flags=[flag for flag, bit in _FLAGS.items() if bits & bit],
        authority=[],
        additional=[],
        nsid=None,
        subnet=None if subnet is None else Subnet(subnet, None),
        ede=[],
        octets=len(message),
    )
    answers, authority, additional = (message[at] << 8 | message[at + 1] for at in (6, 8, 10))
    known: dict[int, bytes] = {}
    at = start
    for _ in range(answers):
        at = names.skip(message, at)
        at += 10 + (message[at + 8] << 8 | message[at + 9])
    section, at = _section(message, at, authority, known)
    found.authority = [record for record in section if record is not None]
    for record, (number, ttl, begin, size) in _records(message, at, additional, known):
        if number != rdata.OPT:
            found.additional.append(record)
            continue
        found.rcode |= ttl >> 24 << 4  # RFC 6891 section 6.1.3
        for code, data in edns.read_options(message[begin : begin + size]):
            if code == NSID:
                text = data.decode("ascii", "replace")
                found.nsid = text if text.isascii() and text.isprintable() else data.hex()
            elif code == SUBNET and len(data) >= 4 and found.subnet is not None:
                found.subnet.scope = data[3]
            elif code == edns.EDE and len(data) > 1:
                found.ede.append(ExtendedError(*edns.error(data)))
    return found


def _section(message: bytes, at: int, count: int, known: dict[int, bytes]) -> tuple[list[Record | None], int]:
    section: list[Record | None] = []
    for record, (number, _, begin, size) in _records(message, at, count, known):
        section.append(None if number == rdata.OPT else record)
        at = begin + size
    return section, at


def _records(
    message: bytes, at: int, count: int, known: dict[int, bytes]
) -> Iterator[tuple[Record, tuple[int, int, int, int]]]:
    """Yield each record of a section, with its type, its TTL as it stands there, and where its rdata is and ends."""
    for _ in range(count):
        owner, at = names.read(message, at, known)
        number, ttl, begin, size = codec.record_at(message, at)
        at = begin + size
        try:
            data = rdata.reader(number)(message, begin, size, known)
        except codec.UNPARSABLE:
            data = rdata.generic(number, message[begin:at])
        seconds = ttl if ttl <= codec.LONGEST_TTL else 0
        yield Record(names.to_text(owner), rdata.mnemonic(number), seconds, data), (number, ttl, begin, size)
