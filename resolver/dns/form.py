"""The form of a run's queries: what stands around the question of each (RFC 1035 section 4.1.1, RFC 6891).

All of it is constant in a run, so that its bits and options cost a query nothing.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

_RD, _CD = 0x0100, 0x0010
_DO = 0x8000  # of the OPT record's flags, RFC 6891 section 6.1.4
NSID, SUBNET = 3, 8  # RFC 5001, RFC 7871
PAYLOAD = 1232  # octets that a reply over UDP may have (DNS flag day 2020)


class QueryForm(NamedTuple):
    """A message is its ID, `head`, the question, `opt`; without EDNS it is `plain_head` and nothing behind."""

    head: bytes
    plain_head: bytes
    opt: bytes

    @property
    def flags(self) -> int:
        """The bits of the header."""
        return int.from_bytes(self.head[:2], "big")

    def around(self, *, edns: bool) -> tuple[bytes, bytes]:
        """Return what stands before the question, behind the ID, and what stands behind it."""
        return (self.head, self.opt) if edns else (self.plain_head, b"")


def query_form(
    *, dnssec: bool = False, cd: bool = False, no_recurse: bool = False, nsid: bool = False, subnet: str | None = None
) -> QueryForm:
    """Return the form of queries with these bits and options.

    Args:
        dnssec: DNSSEC records are wanted (DO, RFC 4035 section 3.2.1).
        cd: The nameserver need not validate (checking disabled, RFC 4035 section 3.2.2).
        no_recurse: It is not to look up what it does not know (no RD).
        nsid: It is to say which of its instances it is (RFC 5001).
        subnet: A network to answer for, as ipaddress writes it (RFC 7871); None: not said.
    """
    flags = (0 if no_recurse else _RD) | (_CD if cd else 0)
    options = _option(NSID, b"") if nsid else b""
    if subnet is not None:
        options += _option(SUBNET, _client_subnet(subnet))
    opt = b"\0\0\x29" + PAYLOAD.to_bytes(2, "big") + b"\0\0" + (_DO if dnssec else 0).to_bytes(2, "big")
    head = flags.to_bytes(2, "big") + b"\0\x01\0\0\0\0\0"
    return QueryForm(head + b"\x01", head + b"\0", opt + len(options).to_bytes(2, "big") + options)


def _option(code: int, data: bytes) -> bytes:
    return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def _client_subnet(text: str) -> bytes:
    """Return the option's data (RFC 7871 section 6): family, prefix, scope 0, as many octets as the prefix has."""
    network = ipaddress.ip_network(text)
    family = 1 if network.version == 4 else 2
    octets = network.network_address.packed[: -(-network.prefixlen // 8)]
    return family.to_bytes(2, "big") + bytes((network.prefixlen, 0)) + octets
