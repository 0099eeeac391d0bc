"""Whether a reply without answers is a referral, and where to, as a sentence (RFC 2308 section 2.2).

The message comes from a stranger, and its authority section may hold anything.
"""

from __future__ import annotations

from resolver.dns import name as names
from resolver.dns import rdata


def sentence(message: bytes, at: int) -> str | None:
    """Name the zone whose nameservers the authority section, which begins at `at`, refers to; None: it does not."""
    owners = []
    for _ in range(message[8] << 8 | message[9]):
        start, at = at, names.skip(message, at)
        number, cls, _, size = rdata.fixed(message, at)
        at += 10 + size
        if cls == rdata.IN and number == rdata.SOA:
            return None
        if cls == rdata.IN and number == rdata.NS:
            owners.append(start)
    if not owners:
        return None
    enclosing = names.ancestors(message[12:].lower())
    known: dict[int, bytes] = {}
    zones = [names.read(message, start, known)[0] for start in owners]
    zone = next((zone for zone in zones if zone.lower() in enclosing), None)
    if zone is None:
        return None
    if zone == b"\0":
        return "upward referral to the nameservers of the root: the nameserver asked does not recurse"
    return f"referral to the nameservers of {names.to_text(zone)}: the nameserver asked does not recurse"
