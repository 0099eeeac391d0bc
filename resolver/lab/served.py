"""The names that exist: those of a list, each turned into the octets that a query for it carries, or all of them."""

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator
from functools import cached_property

from .octets import ANY, PTR, ROOT, label, labels, record
from .records import V4, address4, address6, records

_ARPA = label("arpa") + ROOT
_IN_ADDR = label("in-addr") + _ARPA
_IP6 = label("ip6") + _ARPA
_INVALID = label("invalid") + ROOT
# No name that ends so is answered on the short path.
SPECIAL = (_INVALID, _ARPA)


class ServedNames:
    """The names that exist: those that are given, or all of them.

    Names under `invalid.` never exist (RFC 6761 section 6.4).
    """

    def __init__(self, hosts: Iterable[str] | None, *, lies: bool = False) -> None:
        self._lies = lies
        self.keys = None if hosts is None else dict.fromkeys(map(_to_wire, hosts))

    def exists(self, key: bytes) -> bool:
        """Return whether the name, in lower case, has any records."""
        if not self._lies and key.endswith(_INVALID) and labels(key)[-1] == b"invalid":
            return False
        if self.keys is None or key in self.keys:
            return True
        return (address := _reversed_address(key)) is not None and self._owner(address) is not None

    def records(self, key: bytes, rtype: int) -> list[bytes]:
        """Return the records of a name that exists, owned by the name that was asked."""
        address = _reversed_address(key)
        if address is None:
            return records(key, rtype)
        return [record(PTR, self._owner(address) or _made_up(address))] if rtype in (PTR, ANY) else []

    def _owner(self, address: bytes) -> bytes | None:
        """Return the first listed host that has an address."""
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


def _reversed_address(key: bytes) -> bytes | None:
    """Return the address octets that a whole reverse name stands for (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    if not key.endswith((_IN_ADDR, _IP6)):
        return None
    parts = labels(key)[::-1]
    with contextlib.suppress(ValueError):
        if parts[:2] == [b"arpa", b"in-addr"] and len(parts) == 6:
            return ipaddress.IPv4Address(b".".join(parts[2:]).decode("ascii")).packed
        if parts[:2] == [b"arpa", b"ip6"] and len(parts) == 34 and all(len(part) == 1 for part in parts[2:]):
            return bytes.fromhex(b"".join(parts[2:]).decode("ascii"))
    return None


def _made_up(address: bytes) -> bytes:
    text = ipaddress.ip_address(address).exploded.replace(".", "-").replace(":", "-")
    return label("host-" + text) + label("example") + ROOT


def _to_wire(name: str) -> bytes:
    """Return the name in lower case, uncompressed (RFC 1035 section 3.1)."""
    if "\\" in name:
        import dns.name  # here: few lists need it, and a lab should start at once

        return dns.name.from_text(name).canonicalize().to_wire() or b""
    return b"".join([label(part) for part in name.lower().split(".") if part]) + ROOT
