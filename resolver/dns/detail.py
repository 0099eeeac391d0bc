"""The look of a reply, for `--detail`: flags, sections and options, beside what `message.read` makes of it."""

from __future__ import annotations

from datetime import UTC, datetime

from resolver.dns import edns, rdata
from resolver.dns import message as codec
from resolver.dns import name as names
from resolver.dns.form import NSID, SUBNET
from resolver.model import Detail, ExtendedError, Record, Subnet

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
    for number in range(authority + additional):
        section = found.authority if number < authority else found.additional
        at = _add(found, section, message, at, known)
    return found


def _add(found: Detail, section: list[Record], message: bytes, at: int, known: dict[int, bytes]) -> int:
    """Add the record at `at` to its section, or the OPT record to what is found; returns where it ends."""
    owner, at = at, names.skip(message, at)
    number, ttl, begin, size = codec.record_at(message, at)
    end = begin + size
    if number == rdata.OPT:
        _add_options(found, ttl, message[begin:end])
        return end
    try:
        name = names.to_text(names.read(message, owner, known)[0])
    except codec.UNPARSABLE:
        return end  # `message.read` has stepped over it too, and a record without an owner tells nothing
    try:
        data = rdata.reader(number)(message, begin, size, known)
    except codec.UNPARSABLE:
        data = rdata.generic(number, message[begin:end])
    section.append(Record(name, rdata.mnemonic(number), ttl if ttl <= codec.LONGEST_TTL else 0, data))
    return end


def _add_options(found: Detail, ttl: int, octets: bytes) -> None:
    found.rcode |= ttl >> 24 << 4  # RFC 6891 section 6.1.3
    for code, data in edns.read_options(octets):
        if code == NSID:
            text = data.decode("ascii", "replace")
            found.nsid = text if text.isascii() and text.isprintable() else data.hex()
        elif code == SUBNET and len(data) >= 4 and found.subnet is not None:
            found.subnet.scope = data[3]
        elif code == edns.EDE and len(data) > 1:
            found.ede.append(ExtendedError(*edns.error(data)))
