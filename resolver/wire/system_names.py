"""Addresses of nameservers that are given by name (`https://dns.example/…`), from the system's own resolver.

Each name is looked up once for a run, before it begins, and goes with the nameserver wherever that goes. getaddrinfo
cannot be cancelled and may hang for long, so daemon threads call it, and are waited for no longer than LONGEST.
"""

from __future__ import annotations

import queue
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from resolver.daemons import Daemons

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resolver.nameserver import Nameserver

Found: TypeAlias = "queue.Queue[tuple[str, list[str] | BaseException]]"

LONGEST = 10.0  # seconds
AT_ONCE = 20


def with_addresses(nameservers: Iterable[Nameserver], sources: Iterable[str]) -> tuple[Nameserver, ...]:
    """Return the nameservers, those over https that are names with their addresses.

    Args:
        nameservers: Any.
        sources: Local addresses that they are asked from; none: any. A name has only addresses of their families.

    Raises:
        LookupError: A name has no address that can be asked, or none was found in time.
    """
    nameservers = tuple(nameservers)
    names = {each.host for each in nameservers if _is_new(each)}
    if not names:
        return nameservers
    found: Found = queue.Queue()
    addresses: dict[str, tuple[str, ...]] = {}
    families = {":" in source for source in sources} or {True, False}
    end = time.monotonic() + LONGEST
    with Daemons(AT_ONCE) as daemons:
        for name in names:
            daemons.submit(partial(_look_up, name), partial(_put, found, name))
        while len(addresses) < len(names):
            try:
                name, outcome = found.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                late = ", ".join(sorted(names - addresses.keys()))
                raise LookupError(f"the system does not say within {LONGEST:.0f} s which address {late} has") from None
            if isinstance(outcome, BaseException):
                reason = getattr(outcome, "strerror", None) or str(outcome)
                raise LookupError(f"the system knows no address of the nameserver {name}: {reason}")
            addresses[name] = tuple(each for each in dict.fromkeys(outcome) if (":" in each) in families)
            if not addresses[name]:
                raise LookupError(f"the nameserver {name} has no address of the family to ask from (source)")
    return tuple(
        msgspec.structs.replace(each, addresses=addresses[each.host]) if _is_new(each) else each for each in nameservers
    )


def _is_new(nameserver: Nameserver) -> bool:
    return nameserver.transport == "https" and not nameserver.is_address and not nameserver.addresses


def _put(found: Found, name: str, outcome: list[str] | BaseException) -> None:
    found.put((name, outcome))


def _look_up(name: str) -> list[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
