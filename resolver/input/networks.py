"""Networks and addresses: what a text means, and reverse names (RFC 1035 section 3.5, RFC 3596 section 2.5)."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ipaddress

MOST = 1 << 24  # addresses of a network
AN_ADDRESS = 16  # octets that each further one counts as in a list's total, as if it had its own line
_NETWORK = re.compile(r"([0-9.]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)/([0-9]+|(?:[0-9]+\.){3}[0-9]+)")
# The same at the end of a line, to be found among many; also what is none.
_LINES = re.compile(rb"[0-9A-Fa-f.:]/[0-9.]+(?=\s)")
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network that a text means, whose host bits may be set; None: it does not look like one.

    Raises ValueError, one plain sentence, for what looks like a network and is none, or a larger one than is asked.
    """
    if _NETWORK.fullmatch(text) is None:
        return None
    import ipaddress  # here: most lists have none

    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("this looks like a network and is none: valid are 192.0.2.0/24 and 2001:db8::/120") from None
    if network.num_addresses > MOST:
        raise ValueError(f"the network has more than 2^24 addresses: valid are /{network.max_prefixlen - 24} and above")
    return network


def further_addresses(lines: bytes) -> int:
    """Return how many lookups these lines have more than lines, by the networks among them."""
    if b"/" not in lines:
        return 0
    more = 0
    for found in _LINES.finditer(lines):
        start = lines.rfind(b"\n", 0, found.start()) + 1
        more += further_of(lines[start : found.end()].decode("ascii", "replace").strip())
    return more


def further_of(text: str) -> int:
    """Return how many addresses a text stands for besides one."""
    try:
        network = network_of(text)
    except ValueError:
        return 0
    return 0 if network is None else network.num_addresses - 1


def is_address(text: str) -> bool:
    """Tell whether this is an IPv4 or IPv6 address, the latter with its scope (RFC 4007 section 11) or without."""
    return reverse_name(text) is not None


def reverse_name(text: str) -> str | None:
    """Return the reverse name of an IPv4 or IPv6 address, None for any other text."""
    try:
        if ":" in text:
            # A scope (fe80::1%eth0, RFC 4007 section 11) means something to one machine only.
            return _reverse_v6(socket.inet_pton(socket.AF_INET6, text.partition("%")[0]))
        return _reverse_v4(socket.inet_pton(socket.AF_INET, text))
    except (OSError, ValueError):
        return None


def _reverse_v4(octets: bytes) -> str:
    return ".".join(map(str, octets[::-1])) + ".in-addr.arpa."


def _reverse_v6(octets: bytes) -> str:
    if octets.startswith(_MAPPED):
        return _reverse_v4(octets[12:])
    return ".".join(octets.hex()[::-1]) + ".ip6.arpa."


def v4_addresses(start: int, end: int) -> tuple[list[str], list[str]]:
    """Return the addresses from `start` up to `end`, and their reverse names."""
    texts: list[str] = []
    names: list[str] = []
    while start < end:
        # Those of one /24 differ in their last octet only.
        last = min(end, (start | 255) + 1)
        high, middle, low, _ = start.to_bytes(4)
        before, after = f"{high}.{middle}.{low}.", f".{low}.{middle}.{high}.in-addr.arpa."
        octets = _OCTETS[start & 255 : (start & 255) + last - start]
        texts += [before + octet for octet in octets]
        names += [octet + after for octet in octets]
        start = last
    return texts, names


_OCTETS = [str(octet) for octet in range(256)]


def v6_addresses(start: int, end: int) -> tuple[list[str], list[str]]:
    """Return the same of IPv6."""
    octets = [number.to_bytes(16) for number in range(start, end)]
    return [socket.inet_ntop(socket.AF_INET6, each) for each in octets], list(map(_reverse_v6, octets))
