"""The look of a reply, for `--detail`: flags, sections and options, beside what `message.read` makes of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from resolver.dns import edns, rdata
from resolver.dns import message as codec
from resolver.dns import name as names
from resolver.dns.form import NSID, SUBNET
from resolver.model import Detail, EdnsDetail, ExtendedError, Record, Result, Subnet

# RFC 1035 section 4.1.1, RFC 4035 section 3: in the order of the header.
_FLAGS = {"qr": 0x8000, "aa": 0x0400, "tc": 0x0200, "rd": 0x0100, "ra": 0x0080, "ad": 0x0020, "cd": 0x0010}
_KNOWN: dict[int, list[str]] = {}  # of the flags and rcodes that were seen


def time_of_day(when: float) -> str:
    """Return seconds since the epoch as RFC 3339 writes them, in UTC, to the millisecond."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain_detail(message: bytes, time: str, subnet: str | None = None) -> Detail:
    """Return how a reply looked that has nothing behind its answers, but for an OPT record without options.

    Args:
        message: Its octets.
        time: When it came, as `time_of_day` writes it.
        subnet: The network that was asked for (RFC 7871).
    """
    return _header(EdnsDetail if message[10:12] != b"\0\0" else Detail, message, time, subnet)


def _header(kind: type[Detail], message: bytes, time: str, subnet: str | None) -> Detail:
    bits = (message[2] << 8 | message[3]) & 0x87BF
    flags = _KNOWN.get(bits) or _KNOWN.setdefault(bits, [flag for flag, bit in _FLAGS.items() if bits & bit])
    # By position: this is on the way of every reply that is told of.
    return kind(
        time, bits & 15, flags.copy(), [], [], None, None if subnet is None else Subnet(subnet, None), [], len(message)
    )


def tell_plain(messages: list[bytes], others: list[bytes], results: list[Result], time: str) -> None:
    """Tell of each result how its reply looked, a plain one: the `messages` without the `others`, in their order."""
    left, told = iter(others), iter(results)
    other = next(left, None)
    for message in messages:
        if message is other:
            other = next(left, None)
        else:
            next(told).detail = plain_detail(message, time)


def detail(message: bytes, start: int, time: str, subnet: str | None = None) -> Detail:
    """Return how a reply looked that `message.read` has read.

    Args:
        message: Its octets.
        start: Where its answer section begins.
        time, subnet: As `plain_detail` takes them.
    """
    if message[8:12] == b"\0\0\0\0":
        return _header(Detail, message, time, subnet)
    at = start
    for _ in range(message[6] << 8 | message[7]):
        at = names.skip(message, at)
        at += 10 + (message[at + 8] << 8 | message[at + 9])
    behind = _behind_answers(message, start, at)
    found = _header(type(behind), message, time, subnet)
    found.rcode |= behind.rcode
    found.authority, found.additional, found.ede = behind.authority.copy(), behind.additional.copy(), behind.ede.copy()
    found.nsid = behind.nsid
    if found.subnet is not None and behind.subnet is not None:
        found.subnet.scope = behind.subnet.scope
    return found


def _read(message: bytes, at: int) -> Detail:
    """Return what stands behind the answers, which end at `at`, as a Detail that says no more than that.

    Its rcode has the upper bits only, its subnet the scope.
    """
    sections: tuple[list[Record], list[Record]] = [], []
    authority, additional = (message[count] << 8 | message[count + 1] for count in (8, 10))
    known: dict[int, bytes] = {}
    opt = None
    for place, (owner, number, _, ttl, begin, size) in enumerate(rdata.records(message, at, authority + additional)):
        if number == rdata.OPT:
            opt = ttl, message[begin : begin + size]
        elif record := _record(message, owner, (number, ttl, begin, size), known):
            sections[place >= authority].append(record)
    if opt is None:
        return Detail("", 0, [], *sections, None, None, [], 0)
    options = edns.read_options(opt[1])
    rcode = opt[0] >> 24 << 4  # RFC 6891 section 6.1.3
    errors = [ExtendedError(*error) for error in edns.errors(options)]
    found = EdnsDetail("", rcode, [], *sections, None, None, errors, 0)
    for code, data in options:
        if code == NSID:
            text = data.decode("ascii", "replace")
            found.nsid = text if text.isascii() and text.isprintable() else data.hex()
        elif code == SUBNET and len(data) >= 4:
            found.subnet = Subnet("", data[3])
    return found


def _record(message: bytes, owner: int, fixed: tuple[int, int, int, int], known: dict[int, bytes]) -> Record | None:
    number, ttl, begin, size = fixed
    try:
        name = names.to_text(names.read(message, owner, known)[0])
    except codec.UNPARSABLE:
        return None  # `message.read` has stepped over it too, and a record without an owner tells nothing
    try:
        data = rdata.reader(number)(message, begin, size, known)
    except codec.UNPARSABLE:
        data = rdata.generic(number, message[begin : begin + size])
    return Record(name, rdata.mnemonic(number), ttl if ttl <= codec.LONGEST_TTL else 0, data)


def _behind_answers(message: bytes, start: int, at: int) -> Detail:
    """Return what stands behind the answers, which end at `at`; `start` is where they begin.

    The nameservers of a zone add the same to all their replies, up to the first label of the question: what was read
    before is not read again. It must lead nowhere but to what it is known by: the rest of the question, and itself.
    """
    label = message[12] if start > 12 else 0
    parent, octets = message[13 + label : start], message[at:]
    key = (at, label, message[8:12], parent, octets)
    known = READ.get(key)
    if known is None:
        known = _read(message, at)
        leads = [(pointer[1][0] & 0x3F) << 8 | pointer[1][1] for pointer in _POINTER.finditer(octets)]
        if len(octets) <= _LONGEST and all(to >= at or 13 + label <= to < start for to in leads):
            if len(READ) >= _MOST:
                READ.clear()
            READ[key] = known
    return known


READ: dict[tuple[int, int, bytes, bytes, bytes], Detail] = {}
_MOST, _LONGEST = 512, 1024  # of those; octets of each
_POINTER = re.compile(b"(?=([\xc0-\xff].))", re.DOTALL)  # whatever may be one, RFC 1035 section 4.1.4
